"""Arguments and options that commands share, with one meaning and one help text each."""

from __future__ import annotations

import os
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from perdure._schema import TABLES
from perdure.cli._errors import UsageProblem

__all__ = [
    "AtOption",
    "AuthorOption",
    "BranchOption",
    "JsonOption",
    "MessageOption",
    "NamespaceOption",
    "TableArgument",
    "UrlArgument",
    "UrlCommand",
    "WhereOption",
    "YesOption",
]

#: The store that commands work on where none is named.
URL_VARIABLE = "PERDURE_URL"


class UrlCommand(TyperCommand):
    """A command whose first argument is a store URL, taken from the environment where it is left out.

    Arguments are assigned from the left, so a missing URL would take the place of the table that follows:
    where the first argument is no URL, that of the environment is put before it.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        default = os.environ.get(URL_VARIABLE)
        if default and not self._names_a_store(ctx, args):
            args = [default, *args]
        return super().parse_args(ctx, args)

    def _names_a_store(self, ctx: Any, args: list[str]) -> bool:
        try:
            found, _, _ = self.make_parser(ctx).parse_args(args=list(args))
        except UsageProblem:
            return True  # the real parser says what is wrong
        return "://" in str(found.get("url"))


def _tables(incomplete: str) -> list[str]:
    return [name for name in TABLES if name.startswith(incomplete)]


UrlArgument = Annotated[
    str,
    typer.Argument(metavar="URL", envvar=URL_VARIABLE, help="The store, such as sqlite:///agent.db."),
]
TableArgument = Annotated[
    str,
    typer.Argument(metavar="TABLE", autocompletion=_tables, help=f"One of {', '.join(TABLES)}."),
]
NamespaceOption = Annotated[
    str,
    typer.Option("--namespace", "-n", metavar="NAME", help="Whose memory: a tenant, agent or experiment."),
]
BranchOption = Annotated[
    str, typer.Option("--branch", "-b", metavar="NAME", help="The branch to read and write.")
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print JSON: one document, or one line for each item of a list.")
]
AtOption = Annotated[
    str | None,
    typer.Option(
        "--at",
        metavar="REF",
        help="Read as of a branch, checkpoint, main@12, main@2026-11-20T12:00Z or @COMMIT.",
    ),
]
WhereOption = Annotated[
    str | None,
    typer.Option(
        "--where", "-w", metavar="EXPR", help="A filter, such as 'kind = \"fix\" and importance > 0.5'."
    ),
]
MessageOption = Annotated[
    str, typer.Option("--message", "-m", metavar="TEXT", help="What the log says of the commit.")
]
AuthorOption = Annotated[str, typer.Option("--author", metavar="NAME", help="Who the log says it was.")]
YesOption = Annotated[
    bool, typer.Option("--yes", "-y", help="Do not ask before something that has no way back.")
]
