"""`verify`, `backup`, `restore`, `compact` and `purge`."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

import perdure
from perdure import InvalidInput
from perdure.cli._errors import ExitCode, finish
from perdure.cli._forms import struct_document
from perdure.cli._keys import keys_of, table_of
from perdure.cli._opening import confirm, open_store
from perdure.cli._options import (
    JsonOption,
    NamespaceOption,
    TableArgument,
    UrlArgument,
    UrlCommand,
    YesOption,
)
from perdure.cli._output import output

__all__ = ["parse_keep", "register"]

_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}


def register(app: typer.Typer) -> None:
    """Add the commands that look after a store."""
    for name, command in (("verify", verify), ("backup", backup), ("compact", compact), ("purge", purge)):
        app.command(name, cls=UrlCommand)(command)
    app.command("restore")(restore)


def verify(url: UrlArgument, namespace: NamespaceOption = "default", as_json: JsonOption = False) -> None:
    """Recompute hashes, lineage, references and indexes. Damage ends with exit code 1."""
    out = output(as_json)
    with open_store(url, namespace=namespace) as store:
        report = store.verify()
    problems = [struct_document(problem) for problem in report.problems]
    if as_json:
        out.document({"ok": report.ok, "checked": report.checked, "problems": problems})
    else:
        out.document({"ok": report.ok, "checked": report.checked, "problems": len(problems)})
        out.rows(problems, ["where", "severity", "code", "message"])
        if not report.ok:
            out.notice("keep a copy of the store as it is, and restore a backup from before the damage")
    if not report.ok:
        finish(ExitCode.FINDINGS)


def backup(
    url: UrlArgument,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The archive to write.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that exists.")] = False,
    namespace: NamespaceOption = "default",
    as_json: JsonOption = False,
) -> None:
    """Write the whole namespace, history included, to one file that `restore` reads into any engine."""
    with open_store(url, namespace=namespace) as store:
        written = store.backup(file, overwrite=overwrite)
    output(as_json).document({"file": str(written), "bytes": written.stat().st_size})


def restore(
    file: Annotated[str, typer.Argument(metavar="FILE", help="What `backup` wrote.")],
    url: Annotated[str, typer.Argument(metavar="URL", help="The store; it is created where it is missing.")],
    namespace: NamespaceOption = "default",
    as_json: JsonOption = False,
) -> None:
    """Read a backup into a namespace that is empty or strictly older."""
    report = perdure.restore(file, url, namespace=namespace)
    output(as_json).document(struct_document(report))


def compact(
    url: UrlArgument,
    keep: Annotated[
        str | None,
        typer.Option(
            "--keep",
            metavar="30d|100",
            help="What stays readable: a time (s, m, h, d, w) or a number of commits.",
        ),
    ] = None,
    namespace: NamespaceOption = "default",
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Drop old row versions that nothing needs, and give space back.

    Without --keep only the heads stay, beside what forks, checkpoints and merges need, and what was a
    head in the last 15 minutes.
    """
    window = None if keep is None else parse_keep(keep)
    with open_store(url, namespace=namespace, write=True) as store:
        what = "all history but the heads" if keep is None else f"history older than the last {keep}"
        confirm(f"Drop {what} of namespace {namespace!r}?", yes=yes)
        report = store.compact(window)
    out = output(as_json)
    out.document(struct_document(report))
    if not report.versions and not report.commits:
        out.notice("nothing was dropped: all of it is needed, or was a head in the last 15 minutes")


def parse_keep(text: str) -> timedelta | int:
    """``100`` commits, or a time such as ``30d``.

    Raises:
        InvalidInput: It is neither.
    """
    match = re.fullmatch(r"([0-9]{1,9})([smhdw]?)", text)
    if match is None or not int(match[1]):
        raise InvalidInput(f"--keep is a number of commits, or a time such as 12h, 30d or 8w, not {text!r}")
    if not match[2]:
        return int(match[1])
    try:
        return timedelta(seconds=int(match[1]) * _SECONDS[match[2]])
    except OverflowError:
        raise InvalidInput(f"--keep {text} is longer than any history") from None


def purge(
    url: UrlArgument,
    table: TableArgument,
    keys: Annotated[
        list[str], typer.Argument(metavar="KEY...", help="Ids; for vectors SPACE ID, for states KIND ID.")
    ],
    namespace: NamespaceOption = "default",
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Erase records from all history on all branches. There is no way back."""
    wanted = keys_of(table_of(table), keys)
    with open_store(url, namespace=namespace, write=True) as store:
        confirm(f"Erase {len(wanted)} of {table} from all history on all branches?", yes=yes)
        report = store.purge(table, wanted)
    output(as_json).document(struct_document(report))
