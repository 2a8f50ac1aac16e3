"""The report on a terminal."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from perdure_conformance._results import Status
from perdure_conformance._spec import Specification
from perdure_conformance.report import Counts, Entry, Report, masked

__all__ = ["tell"]

#: How many failures are told at length; the files have them all.
SHOWN = 20

#: Characters in a line where there is no terminal.
WIDTH = 200

_STYLES = {"granted": "bold green", "denied": "bold red", "not run": "dim"}
_COLUMNS = ("declared", "ran", "passed", "failed", "skipped", "absent", "expected")
#: What is named with its reason, besides failures.
_TOLD = (Status.SKIPPED, Status.INAPPLICABLE, Status.EXPECTED)
#: Shown only where there are some.
_RARE = ("inapplicable", "unexpected", "preview")


def tell(report: Report, target: str, url: str | None, programs: Mapping[str, Path]) -> None:
    """Print a report on stdout.

    Args:
        report: What there is to tell.
        target: The word that the person gave, for commands to copy.
        url: The template that the person gave.
        programs: The files of the programs that show failures, by check.
    """
    console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH)
    backend = report.backend
    head = f"{report.name} {backend.version}, perdure specification {backend.spec_version}"
    console.print(Text(f"{head}; suite {report.suite}, profile {report.profile}, seed {report.seed}", "bold"))
    columns = [*_COLUMNS, *(name for name in _RARE if getattr(report.counts, name))]
    console.print(_levels(report, columns))
    console.print()
    console.print(_areas(report, columns))
    again = ["perdure", "conformance", masked(target), *(["--url", masked(url)] if url else [])]
    for entry in report.failures[:SHOWN]:
        _failure(console, entry, [*again, "--profile", report.profile], programs.get(entry.check))
    if len(report.failures) > SHOWN:
        console.print(Text(f"… and {len(report.failures) - SHOWN} more; --json or --html has them all"))
    for entry in report.entries:
        if entry.status in _TOLD or (entry.status is Status.NOT_RUN and entry.reason):
            console.print(Text(f"{entry.status}: {entry.check}: {entry.reason}", "yellow"))
    _verdict(console, report)


def _verdict(console: Console, report: Report) -> None:
    for problem in report.problems:
        console.print(Text(problem, "red"))
    granted = ", ".join(verdict.title for verdict in report.verdicts if verdict.granted)
    style = "bold green" if report.good else "bold red"
    if report.only:
        console.print(Text(f"only a part was run, which grants no level: {', '.join(report.only)}", "yellow"))
    console.print(Text(f"granted: {granted or 'no level'} ({report.seconds} s)", style))


def _levels(report: Report, columns: Sequence[str]) -> Table:
    table = _table(("level", "verdict", "claimed"), columns)
    for verdict in report.verdicts:
        part = bool(report.only) and verdict.state == "denied"
        state = Text("in part", "dim") if part else Text(verdict.state, _STYLES[verdict.state])
        claimed = "claimed" if verdict.claimed else "asked for" if verdict.asked else ""
        table.add_row(Text(verdict.title), state, Text(claimed), *_cells(verdict.counts, columns))
    return table


def _areas(report: Report, columns: Sequence[str]) -> Table:
    table = _table(("area",), columns)
    for area, counts in report.areas.items():
        if counts.not_run < counts.declared:
            table.add_row(Text(area), *_cells(counts, columns))
    return table


def _table(first: Sequence[str], columns: Sequence[str]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for name in first:
        table.add_column(name, overflow="fold")
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _cells(counts: Counts, columns: Sequence[str]) -> list[Text]:
    numbers = asdict(counts)
    return [Text(str(numbers[name]), "red" if name == "failed" and numbers[name] else "") for name in columns]


def _failure(console: Console, entry: Entry, command: list[str], program: Path | None) -> None:
    spec = Specification.load()
    console.print()
    console.print(Text(f"{entry.status}: {entry.check}", "bold red"))
    console.print(Text(entry.summary))
    for clause in entry.clauses:
        console.print(Text(f"  {clause}: {spec[clause].text}" if clause in spec else f"  {clause}"))
    facts = [("what", entry.what), ("expected", entry.expected), ("got", entry.got), ("reason", entry.reason)]
    facts += [("example", entry.example), ("notes", "; ".join(entry.notes))]
    facts += [("replay", shlex.join([*command, "--replay", f"{entry.check}:{entry.seed}:{entry.round}"]))]
    facts += [("repro", "" if program is None else str(program)), ("repro", entry.repro_note)]
    for name, text in facts:
        if text:
            console.print(Text(f"  {name}: {text}"))
