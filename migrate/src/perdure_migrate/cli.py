"""The command `perdure migrate`, and what goes with it.

Exit codes are those of the program: 0 all is there and equal; 1 something is not equal, or was left out;
2 the source is not recognised or damaged, or the command line is wrong; 3 the source or the target does not
exist; 4 the target holds something else under the same keys; 5 to 7 as for every command.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from perdure import InvalidInput
from perdure.cli import BranchOption, ExitCode, JsonOption, Output, finish, output
from typer.core import TyperGroup

from perdure_migrate import _cli_replicate
from perdure_migrate._report import Report, check_report_path, save
from perdure_migrate._run import inspect, migrate, verify
from perdure_migrate._settings import Settings
from perdure_migrate.inert import Limits
from perdure_migrate.replicate import is_history

__all__ = ["register"]

_SHOWN = 20

_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def _size(text: str) -> int:
    """Bytes, such as 1048576 or 512M."""
    number, unit = text.rstrip("KMGT"), text.lstrip("0123456789")
    if not number.isascii() or not number.isdecimal() or unit not in _UNITS or not int(number):
        raise typer.BadParameter(f"{text!r} is no size; write a number of bytes, or one with K, M, G or T")
    return int(number) * _UNITS[unit]


_SourceArgument = Annotated[str, typer.Argument(metavar="SOURCE", help="A file or a directory; only read.")]
_TargetArgument = Annotated[
    str, typer.Argument(metavar="TARGET", help="The URL of a store, such as sqlite:///agent.db.")
]
_KindOption = Annotated[
    str | None,
    typer.Option("--kind", metavar="NAME", help="What the source is: nexus, aura; else found out."),
]
_MetricOption = Annotated[
    str, typer.Option("--metric", metavar="NAME", help="How vectors are compared: cosine, l2 or dot.")
]
_MemoryOption = Annotated[
    int | None,
    typer.Option(
        "--max-memory",
        metavar="SIZE",
        parser=_size,
        help="Memory that reading a file may take, such as 512M or 16G; default 8G.",
    ),
]
_ExpansionOption = Annotated[
    int | None,
    typer.Option(
        "--max-expansion",
        metavar="TIMES",
        min=1,
        help="How many times its length compressed data may have; default 200.",
    ),
]
_NamespaceOption = Annotated[
    str | None,
    typer.Option(
        "--namespace", "-n", metavar="NAME", help="Whose memory; default, and all of them from a store."
    ),
]
_ReportOption = Annotated[
    Path | None, typer.Option("--report", metavar="FILE", help="Write the whole report here, as JSON.")
]


class _Group(TyperGroup):
    """Takes `perdure migrate SOURCE TARGET` for `perdure migrate run SOURCE TARGET`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = ["run", *args]
        return super().parse_args(ctx, args)


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    group = typer.Typer(
        cls=_Group,
        help="Bring a legacy store in: perdure migrate SOURCE TARGET. Nothing in the source is ever run.",
        no_args_is_help=True,
    )
    group.command("run")(_run)
    group.command("verify")(_verify)
    group.command("inspect")(_inspect)
    app.add_typer(group, name="migrate")
    _cli_replicate.register(app)


def _run(
    source: _SourceArgument,
    target: _TargetArgument,
    namespace: _NamespaceOption = None,
    into: _cli_replicate.IntoOption = None,
    branch: BranchOption = "main",
    kind: _KindOption = None,
    metric: _MetricOption = "cosine",
    max_memory: _MemoryOption = None,
    max_expansion: _ExpansionOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be written.")] = False,
    no_backup: Annotated[
        bool, typer.Option("--no-backup", help="Do not back up a target that holds other rows.")
    ] = False,
    report_to: _ReportOption = None,
    as_json: JsonOption = False,
) -> None:
    """Migrate: plan, back up, copy, read everything back, report. The word `run` may be left out.

    From a store, or a file that `export` or `backup` wrote, whole namespaces come with all their history.
    """
    if is_history(source):
        _check_whole(branch, kind)
        _cli_replicate.copy_history(
            source,
            target,
            namespace=namespace,
            into=into,
            dry_run=dry_run,
            report_to=report_to,
            as_json=as_json,
        )
    if into is not None:
        raise typer.BadParameter("--into is for the namespaces of a store; a legacy store has --namespace")
    out = output(as_json)
    if report_to is not None:
        check_report_path(report_to, Path(source))
    with out.stages() as progress:
        report = migrate(
            source,
            target,
            namespace=namespace or "default",
            branch=branch,
            kind=kind,
            dry_run=dry_run,
            backup=not no_backup,
            settings=_settings(metric),
            limits=_limits(max_memory, max_expansion),
            progress=progress,
        )
    _tell(out, report, report_to, Path(source))


def _verify(
    source: _SourceArgument,
    target: _TargetArgument,
    namespace: _NamespaceOption = None,
    branch: BranchOption = "main",
    kind: _KindOption = None,
    metric: _MetricOption = "cosine",
    max_memory: _MemoryOption = None,
    max_expansion: _ExpansionOption = None,
    report_to: _ReportOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare a store with the source that it was migrated from; neither is changed."""
    if is_history(source):
        _check_whole(branch, kind)
        _cli_replicate.verify_history(
            source, target, namespace=namespace, report_to=report_to, as_json=as_json
        )
    out = output(as_json)
    if report_to is not None:
        check_report_path(report_to, Path(source))
    with out.stages() as progress:
        report = verify(
            source,
            target,
            namespace=namespace or "default",
            branch=branch,
            kind=kind,
            settings=_settings(metric),
            limits=_limits(max_memory, max_expansion),
            progress=progress,
        )
    _tell(out, report, report_to, Path(source))


def _inspect(
    source: _SourceArgument,
    kind: _KindOption = None,
    max_memory: _MemoryOption = None,
    max_expansion: _ExpansionOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what a source is, what it holds, and which classes it names; nothing is written."""
    found = inspect(source, kind=kind, limits=_limits(max_memory, max_expansion))
    classes = {f"{seen.module}.{seen.qualname}": seen.count for seen in found.classes}
    detected = {d.source: f"{d.score:.2f}: {d.reason}" for d in found.detections}
    output(as_json).document(
        {
            "source": source,
            "sha256": found.digest,
            "detected": detected,
            "found": found.found,
            "rows": found.planned,
            "checkpoints": found.checkpoints,
            "notes": found.notes,
            "classes": classes if as_json else [f"{name} ×{count}" for name, count in classes.items()],
        }
    )


def _check_whole(branch: str, kind: str | None) -> None:
    if branch != "main" or kind is not None:
        raise InvalidInput("the history of a store is copied whole; leave --branch and --kind out")


def _settings(metric: str) -> Settings:
    if metric not in ("cosine", "l2", "dot"):
        raise typer.BadParameter("--metric is one of cosine, l2, dot")
    return Settings(metric=metric)  # type: ignore[arg-type]


def _limits(memory: int | None, expansion: int | None) -> Limits:
    given = {"max_memory": memory, "max_expansion": expansion}
    return Limits(**{name: value for name, value in given.items() if value is not None})


def _tell(out: Output, report: Report, report_to: Path | None, source: Path) -> None:
    if report_to is not None:
        save(report, report_to, source)
    if out.json:
        out.document(report.document())
    else:
        _tell_people(out, report)
    finish(ExitCode.OK if report.ok else ExitCode.FINDINGS)


def _tell_people(out: Output, report: Report) -> None:
    dry = report.action == "dry run"
    tables = [
        {
            "table": table,
            "in source": planned,
            "was there": report.present.get(table, 0),
            "equal": None if dry else report.equal.get(table, 0),
        }
        for table, planned in report.planned.items()
    ]
    columns = ["table", "in source", "was there", "equal"]
    out.rows(tables, columns[:3] if dry else columns)
    for mismatch in report.mismatches[:_SHOWN]:
        out.notice(f"mismatch: {mismatch.table} {mismatch.key!r} {mismatch.what} (from {mismatch.origin})")
    for note in report.notes[:_SHOWN]:
        out.notice(f"{note.kind}: {note.where}: {note.what}")
    hidden = max(0, len(report.mismatches) - _SHOWN) + max(0, len(report.notes) - _SHOWN)
    if hidden:
        out.notice(f"and {hidden} more; --report FILE writes them all")
    out.document(
        {
            "source": f"{report.source} ({report.kind}: {report.why})",
            "found": ", ".join(f"{count} {what}" for what, count in report.found.items()) or "nothing",
            "target": f"{report.target} namespace {report.namespace} branch {report.branch}",
            "checkpoints": report.checkpoints,
            "backup": report.backup,
            "written": None
            if report.action == "verify"
            else f"{report.written} rows in {len(report.commits)} commits",
            "result": _result(report),
        }
    )


def _result(report: Report) -> str:
    if report.mismatches:
        return f"{len(report.mismatches)} mismatches"
    left_out = report.note_counts.get("left out", 0)
    if left_out:
        return f"equal, but {left_out} things in the source were left out"
    return "nothing was written (dry run)" if report.action == "dry run" else "all equal"
