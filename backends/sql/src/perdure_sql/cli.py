"""The commands `perdure schema diff` and `perdure schema upgrade`.

Exit codes are those of the program. `diff` ends with 0 where there is no difference and with 1 where there
is one; `upgrade` with 0 where the store is of the newest revision afterwards.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import Annotated

import typer
from perdure import Unsupported, find_backend
from perdure.cli import ExitCode, JsonOption, Output, UrlArgument, UrlCommand, finish, output

from perdure_sql._care import Revision, SchemaCare

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    group = typer.Typer(
        help="Look after the schema of a database: what differs, and what is newer.", no_args_is_help=True
    )
    group.command("diff", cls=UrlCommand)(_diff)
    group.command("upgrade", cls=UrlCommand)(_upgrade)
    app.add_typer(group, name="schema")


def _diff(url: UrlArgument, as_json: JsonOption = False) -> None:
    """Print the SQL that separates a database from what this version expects; nothing is changed.

    A difference ends with exit code 1.
    """
    out = output(as_json)
    statements = _care(url).schema_diff(url)
    if as_json:
        out.document({"ok": not statements, "statements": statements})
    else:
        for statement in statements:
            _sql(out, statement)
        if any("drop " in statement.lower() for statement in statements):
            out.notice("some of these statements drop something: read them before they are run")
        if not statements:
            out.notice("no difference")
    finish(ExitCode.FINDINGS if statements else ExitCode.OK)


def _upgrade(
    url: UrlArgument,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only print the SQL that would be run; nothing is changed.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Run the revisions that a database lacks: all or none of them. Back it up before."""
    out, care = output(as_json), _care(url)
    with out.stages() as tell:
        revisions = care.schema_upgrade(url, dry_run=dry_run, progress=partial(tell, "revisions"))
    if as_json:
        steps = [
            {"revision": each.id, "title": each.title, "statements": list(each.statements)}
            for each in revisions
        ]
        out.document({"dry_run": dry_run, "revisions": steps})
    elif not revisions:
        out.notice("nothing to do: the schema is of the newest revision")
    elif dry_run:
        _script(out, revisions)
    else:
        rows = [
            {"revision": each.id, "statements": len(each.statements), "title": each.title}
            for each in revisions
        ]
        out.rows(rows, ["revision", "statements", "title"])


def _care(url: str) -> SchemaCare:
    plugin = find_backend(url)
    if not isinstance(plugin, SchemaCare):
        raise Unsupported(
            f"the backend {url.partition('://')[0]} has no schema to look after: it has neither schema_diff "
            "nor schema_upgrade"
        )
    return plugin


def _script(out: Output, revisions: list[Revision]) -> None:
    """What psql or sqlite3 can run."""
    _sql(out, "BEGIN")
    for revision in revisions:
        _sql(out, f"-- {revision.id}: {revision.title}")
        for statement in revision.statements:
            _sql(out, statement)
    _sql(out, "COMMIT")


def _sql(out: Output, statement: str) -> None:
    """One statement on lines of its own; what would steer a terminal is shown there, and kept in a file."""
    if sys.stdout.isatty():
        statement = "".join(
            char if char.isprintable() or char == "\n" else ascii(char)[1:-1]
            for char in statement.expandtabs(4)
        )
    out.text(statement if statement.startswith("--") else f"{statement};", {"statement": statement})
