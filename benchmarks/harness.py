"""Interleaved timing: both contestants in turn, medians over rounds, the ratio as the figure."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Line:
    """One comparison. Times are in microseconds per call; `limit` is the ratio that the design allows."""

    name: str
    ours: float
    ours_min: float
    ours_max: float
    raw: float
    raw_min: float
    raw_max: float
    limit: float | None
    note: str = ""

    @property
    def ratio(self) -> float:
        """Ours over raw."""
        return self.ours / self.raw

    @property
    def met(self) -> bool:
        """Whether the ratio is within the limit."""
        return self.limit is None or self.ratio <= self.limit


def compare(
    name: str,
    ours: Callable[[], object],
    raw: Callable[[], object],
    *,
    limit: float | None,
    rounds: int = 7,
    calls: int = 1,
    note: str = "",
) -> Line:
    """Time two functions in turn; each round times `calls` calls of each."""
    ours(), raw()
    mine: list[float] = []
    theirs: list[float] = []
    for _ in range(rounds):
        mine.append(_time(ours, calls))
        theirs.append(_time(raw, calls))
    return Line(
        name,
        statistics.median(mine),
        min(mine),
        max(mine),
        statistics.median(theirs),
        min(theirs),
        max(theirs),
        limit,
        note,
    )


def _time(call: Callable[[], object], calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        call()
    return (time.perf_counter() - start) / calls * 1e6


def show(lines: Iterable[Line], console: Console) -> None:
    """Print the lines as a table."""
    table = Table(title="perdure beside the raw driver (median, microseconds per call)")
    for heading in ("work", "perdure", "raw", "ratio", "at most", ""):
        table.add_column(heading, justify="left" if heading == "work" else "right")
    for line in lines:
        limit = "" if line.limit is None else f"{line.limit:g}×"
        verdict = "" if line.limit is None else ("ok" if line.met else "MISSED")
        table.add_row(
            line.name, f"{line.ours:,.1f}", f"{line.raw:,.1f}", f"{line.ratio:.2f}×", limit, verdict
        )
        if line.note:
            table.add_row(f"  {line.note}", "", "", "", "", "", style="dim")
    console.print(table)


def save(lines: Iterable[Line], path: Path) -> None:
    """Write the lines as JSON, with their ratios."""
    path.write_text(json.dumps([{**asdict(line), "ratio": line.ratio} for line in lines], indent=1) + "\n")
