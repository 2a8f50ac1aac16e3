"""Interleaved timing: both contestants in turn, medians over rounds, the ratio as the figure."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.table import Table

T = TypeVar("T")


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


def timed(call: Callable[[], T]) -> tuple[T, float]:
    """What a function returns, and the seconds that it took."""
    start = time.perf_counter()
    return call(), time.perf_counter() - start


def _time(call: Callable[[], object], calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        call()
    return (time.perf_counter() - start) / calls * 1e6


def show(engine: str, lines: Iterable[Line], console: Console) -> None:
    """Print the lines of an engine as a table."""
    table = Table(
        title=f"perdure on {engine} beside the raw driver (median, least to most; microseconds per call)"
    )
    for heading in ("work", "perdure", "raw", "ratio", "at most", ""):
        table.add_column(heading, justify="left" if heading == "work" else "right")
    for line in lines:
        limit = "" if line.limit is None else f"{line.limit:g}×"
        verdict = "" if line.limit is None else ("ok" if line.met else "MISSED")
        ours = f"{line.ours:,.0f} ({line.ours_min:,.0f} to {line.ours_max:,.0f})"
        raw = f"{line.raw:,.0f} ({line.raw_min:,.0f} to {line.raw_max:,.0f})"
        table.add_row(line.name, ours, raw, f"{line.ratio:.2f}×", limit, verdict)
        if line.note:
            table.add_row(f"  {line.note}", "", "", "", "", "", style="dim")
    console.print(table)


def save(results: Mapping[str, Iterable[Line]], path: Path) -> None:
    """Write the lines of each engine as JSON, with their ratios."""
    found = [
        {"engine": engine, **asdict(line), "ratio": line.ratio}
        for engine, lines in results.items()
        for line in lines
    ]
    path.write_text(json.dumps(found, indent=1) + "\n")
