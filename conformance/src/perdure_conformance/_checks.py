"""What a check is: a function that tries clauses of the specification on a backend."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from perdure_conformance._case import Case

__all__ = ["LEVELS", "NEEDS", "Check", "Kind", "Level", "Need", "check"]

#: What a backend can be granted; each but `core` rests on `core`.
Level = Literal["core", "branches", "vectors", "crash", "power", "concurrent"]

LEVELS: tuple[Level, ...] = get_args(Level)

#: What a check asks of the backend: a capability, of those in `perdure.CAPABILITIES`, declared in full.
#: What it asks of the surroundings: `places`, stores elsewhere than the one that others share (the URL has
#: `{unique}`); `processes`, a target that another process can open; `strace`, that program at work.
Need = Literal[
    "persistent",
    "concurrent",
    "approximate",
    "read_only",
    "compact",
    "purge",
    "namespaces",
    "places",
    "processes",
    "strace",
]

NEEDS: tuple[Need, ...] = get_args(Need)

#: `example`: a few calls, the same each time. `property`: random examples, shrunk. `history`: random
#: histories beside the model, shrunk. `race`, `kill`: several processes or threads, in an order that nobody
#: controls; `kill` also covers failures of the disk.
Kind = Literal["example", "property", "history", "race", "kill"]


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes:
        area: The module of `perdure_conformance.clauses` that it stands in.
        name: The function's name.
        clauses: Ids of the clauses that it tries.
        level: The level that it is a condition of.
        needs: See `NEEDS`.
        kind: See `Kind`.
        weight: Its share of a profile's time; 0 for a check that is over when it is over.
        summary: The first line of the function's docstring.
        run: The function. It returns where the clauses hold, and raises an `AssertionError` where not.
    """

    area: str
    name: str
    clauses: tuple[str, ...]
    level: Level
    needs: frozenset[str]
    kind: Kind
    weight: float
    summary: str
    run: Callable[[Case], None]

    @property
    def id(self) -> str:
        """``area.name``, unique in the suite."""
        return f"{self.area}.{self.name}"

    def __call__(self, case: Case) -> None:
        self.run(case)


def check(
    *clauses: str,
    level: Level = "core",
    needs: tuple[Need, ...] = (),
    kind: Kind = "example",
    weight: float = 0.0,
) -> Callable[[Callable[[Case], None]], Check]:
    """Make a check of a function that takes a `Case`; the name and the docstring say what it shows.

    Args:
        *clauses: Ids of the clauses of the specification that it tries, at least one.
        level: The level that it is a condition of.
        needs: What must be there for it to run.
        kind: See `Kind`; any but "example" needs a weight.
        weight: Its share of the time of a profile; the case's `seconds` come from it.
    """
    if not clauses or (kind != "example") != (weight > 0):
        raise ValueError("a check names at least one clause, and has a weight exactly if it is timed")

    def decorate(run: Callable[[Case], None]) -> Check:
        area = run.__module__.rpartition(".")[2].strip("_")
        summary = (run.__doc__ or "").strip().partition("\n")[0]
        return Check(area, run.__name__, clauses, level, frozenset(needs), kind, weight, summary, run)

    return decorate
