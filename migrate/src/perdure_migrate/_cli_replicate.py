"""The commands `sync`, `export` and `import`, and `migrate` from store to store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, NoReturn

import typer
from perdure import InvalidInput
from perdure.cli import ExitCode, JsonOption, Output, finish, output

from perdure_migrate._report import check_report_path, save_document
from perdure_migrate.replicate import ReplicaReport, copy, export_file, is_store, sync, verify

__all__ = ["copy_history", "register", "verify_history"]

_SHOWN = 20

NamespacesOption = Annotated[
    list[str] | None,
    typer.Option("--namespace", "-n", metavar="NAME", help="Only this one; may be repeated. Else all."),
]
IntoOption = Annotated[
    str | None,
    typer.Option("--into", metavar="NAME", help="The target's name for it, where one namespace is copied."),
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Only say what would be copied.")]
FileArgument = Annotated[str, typer.Argument(metavar="FILE", help="A portable file, or a backup.")]
SourceArgument = Annotated[str, typer.Argument(metavar="SOURCE", help="The store to copy from; only read.")]
TargetArgument = Annotated[
    str, typer.Argument(metavar="TARGET", help="The store to copy to; it is created where it is missing.")
]


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.command("sync")(_sync)
    app.command("export")(_export)
    app.command("import")(_import)


def _sync(
    source: SourceArgument,
    target: TargetArgument,
    namespace: NamespacesOption = None,
    into: IntoOption = None,
    prune: Annotated[
        bool,
        typer.Option(
            "--prune",
            help="Delete branches, checkpoints and spaces that only the target has, and purge what was purged.",
        ),
    ] = False,
    full: Annotated[
        bool, typer.Option("--full", help="Compare every row, and carry the read counters of all rows.")
    ] = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Copy what is new in one store to another: commits, branches, checkpoints and spaces.

    How far the target is says the target itself. What only the target has is kept, unless --prune.
    """
    out = output(as_json)
    with out.stages() as progress:
        report = sync(
            source,
            target,
            namespaces=namespace,
            into=into,
            prune=prune,
            full=full,
            dry_run=dry_run,
            progress=progress,
        )
    _tell(out, report)


def _export(
    url: Annotated[str, typer.Argument(metavar="URL", help="The store; only read.")],
    file: Annotated[str, typer.Argument(metavar="FILE", help="The portable file to write.")],
    namespace: NamespacesOption = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that exists.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write whole namespaces, history included, to one portable file of Arrow tables.

    The file is read back and compared with the store.
    """
    out = output(as_json)
    with out.stages() as progress:
        report = export_file(url, file, namespaces=namespace, overwrite=overwrite, progress=progress)
    _tell(out, report)


def _import(
    file: FileArgument,
    url: TargetArgument,
    namespace: NamespacesOption = None,
    into: IntoOption = None,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Read a portable file, or a backup, into a store whose namespaces are empty or older."""
    if is_store(file):
        raise InvalidInput(
            "a file is imported; copy from store to store with `perdure migrate SOURCE TARGET`"
        )
    out = output(as_json)
    with out.stages() as progress:
        report = copy(file, url, namespaces=namespace, into=into, dry_run=dry_run, progress=progress)
    _tell(out, report)


def copy_history(
    source: str,
    target: str,
    *,
    namespace: str | None,
    into: str | None,
    dry_run: bool,
    report_to: Path | None,
    as_json: bool,
) -> NoReturn:
    """`perdure migrate SOURCE TARGET` where the source is a store, or a file of history."""
    out, names = output(as_json), None if namespace is None else [namespace]
    _check_report(report_to, source)
    with out.stages() as progress:
        if not is_store(target):
            if dry_run or into is not None:
                raise InvalidInput("a file is written whole, and keeps names; leave --dry-run and --into out")
            report = export_file(source, target, namespaces=names, progress=progress)
        else:
            report = copy(source, target, namespaces=names, into=into, dry_run=dry_run, progress=progress)
    _tell(out, report, report_to)


def verify_history(
    source: str, target: str, *, namespace: str | None, report_to: Path | None, as_json: bool
) -> NoReturn:
    """`perdure migrate verify SOURCE TARGET` where the source is a store, or a file of history."""
    out = output(as_json)
    _check_report(report_to, source)
    with out.stages() as progress:
        report = verify(
            source, target, namespaces=None if namespace is None else [namespace], progress=progress
        )
    _tell(out, report, report_to)


def _check_report(report_to: Path | None, source: str) -> None:
    if report_to is not None and not is_store(source):
        check_report_path(report_to, Path(source))


def _tell(out: Output, report: ReplicaReport, report_to: Path | None = None) -> NoReturn:
    if report_to is not None:
        save_document(report.document(), report_to)
    if out.json:
        out.document(report.document())
    else:
        _tell_people(out, report)
    finish(ExitCode.OK if report.ok else ExitCode.FINDINGS)


def _tell_people(out: Output, report: ReplicaReport) -> None:
    columns = ["namespace", "commits", "rows", "branches", "checkpoints", "spaces", "equal rows"]
    out.rows(
        [
            {
                "namespace": found.target,
                "commits": found.commits,
                "rows": found.rows,
                "branches": found.branches,
                "checkpoints": found.checkpoints,
                "spaces": found.spaces,
                "equal rows": found.equal_rows if found.compared else None,
            }
            for found in report.namespaces
        ],
        columns,
    )
    for found in report.namespaces:
        for what in found.mismatches[:_SHOWN]:
            out.notice(f"mismatch: {found.target}: {what}")
        if found.missing:
            out.notice(
                f"missing: {found.target} lacks {found.missing} row versions of the source; if they were purged "
                "here, purge them in the source too, else run `perdure verify`"
            )
        if found.left_out:
            out.notice(f"left out: {found.left_out} row versions that were purged in {found.target}")
        for what in found.only_here[:_SHOWN]:
            out.notice(f"kept: {found.target} has {what}, which the source does not have; --prune deletes it")
        for what in found.pruned[:_SHOWN]:
            out.notice(f"pruned: {found.target}: {what}")
    out.document(
        {"source": report.source, "target": report.target, "result": _result(report)},
    )


def _result(report: ReplicaReport) -> str:
    if report.action == "dry run":
        return "nothing was written (dry run)"
    if not report.ok:
        count = sum(found.mismatched + found.missing for found in report.namespaces)
        return f"{count} mismatches"
    compared = all(found.compared for found in report.namespaces)
    return "all equal" if compared else "up to date"
