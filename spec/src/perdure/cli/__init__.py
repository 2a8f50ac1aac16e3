"""The command line, and what plugins need to add commands to it.

A distribution adds commands with the entry point group ``perdure.commands``; the entry point names a
function ``register(app: typer.Typer) -> None``::

    def register(app: typer.Typer) -> None:
        @app.command("shout", cls=UrlCommand)
        def shout(url: UrlArgument, namespace: NamespaceOption = "default", as_json: JsonOption = False) -> None:
            "Count the memories, loudly."
            with open_store(url, namespace=namespace) as store:
                output(as_json).document({"memories": store.memories.count()})

What holds for every command, a plugin's too:

- Raise `PerdureError`s: the program reports them on stderr (as JSON where ``--json`` was given) and exits
  with `exit_code(error)`. Call `finish(ExitCode.FINDINGS)` to end with another code.
- Print results with `output(as_json)` only: one JSON document, or JSON lines for a stream, under
  ``--json``; tables on a terminal; tab-separated text elsewhere. Notices and progress go to stderr.
- Read with `open_store(url)`, which never creates anything; write with ``write=True``, which wants a store
  that exists, or ``create=True``, which makes one.
"""

from perdure.cli._errors import ExitCode, exit_code, finish, report, run_guarded
from perdure.cli._forms import commit_document, point_document, record_document, struct_document, to_json
from perdure.cli._main import main
from perdure.cli._opening import confirm, open_input, open_store
from perdure.cli._options import (
    BranchOption,
    JsonOption,
    NamespaceOption,
    TableArgument,
    UrlArgument,
    UrlCommand,
    YesOption,
)
from perdure.cli._output import Output, output

__all__ = [
    "BranchOption",
    "ExitCode",
    "JsonOption",
    "NamespaceOption",
    "Output",
    "TableArgument",
    "UrlArgument",
    "UrlCommand",
    "YesOption",
    "commit_document",
    "confirm",
    "exit_code",
    "finish",
    "main",
    "open_input",
    "open_store",
    "output",
    "point_document",
    "record_document",
    "report",
    "run_guarded",
    "struct_document",
    "to_json",
]
