"""Which levels a backend is granted: by what was run whole and passed, and by nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from perdure import CAPABILITIES, Description

from perdure_conformance._checks import LEVELS
from perdure_conformance._results import Status
from perdure_conformance.report._entry import RAN, Entry

__all__ = ["Counts", "Verdict", "verdicts"]

#: Level → the levels that it rests on.
_RESTS_ON: dict[str, tuple[str, ...]] = {
    "core": (),
    "branches": ("core",),
    "vectors": ("core",),
    "crash": ("core",),
    "power": ("core", "crash"),
    "concurrent": ("core",),
}

#: Level → what a backend must declare that an acknowledged commit survives.
_DURABILITY: dict[str, tuple[str, ...]] = {"crash": ("crash", "power"), "power": ("power",)}

_DENYING = {
    Status.FAILED: "failed",
    Status.SKIPPED: "skipped",
    Status.EXPECTED: "failed as expected",
    Status.UNEXPECTED: "passed unexpectedly",
    Status.NOT_RUN: "not run",
}


@dataclass(frozen=True)
class Counts:
    """How many checks there are, and how they ended.

    Attributes:
        declared: In the suite.
        ran: To their end: passed, failed, expected and unexpected.
        passed: The clauses hold.
        failed: They do not.
        skipped: Could not be run here.
        absent: The backend declares that it lacks what they need.
        inapplicable: There is nothing on this backend that they could try; they do not count.
        expected: Failed, as was said in the file of known failures.
        unexpected: Passed, though that file said that they fail.
        preview: Of clauses newer than what the backend declares; they do not count.
        not_run: Not chosen, or not reached.
    """

    declared: int
    ran: int
    passed: int
    failed: int
    skipped: int
    absent: int
    inapplicable: int
    expected: int
    unexpected: int
    preview: int
    not_run: int

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> Counts:
        """The counts of some entries."""
        found = Counter(entry.status for entry in entries)
        each = {status.name.lower(): found[status] for status in Status}
        return cls(declared=found.total(), ran=sum(found[status] for status in RAN), **each)


@dataclass(frozen=True)
class Verdict:
    """One level.

    Attributes:
        level: Its name.
        state: "granted"; "denied"; or "not run", where none of its checks was.
        claimed: Whether the backend claims it.
        asked: Whether whoever started the run asked for it.
        why: Why it is not granted; empty if it is.
        without: The capabilities of its checks that the backend declares to lack.
        counts: Of its checks.
    """

    level: str
    state: Literal["granted", "denied", "not run"]
    claimed: bool
    asked: bool
    why: tuple[str, ...]
    without: tuple[str, ...]
    counts: Counts

    @property
    def granted(self) -> bool:
        """Whether the backend has the level."""
        return self.state == "granted"

    @property
    def title(self) -> str:
        """Such as "core, without purge"."""
        return f"{self.level}, without {', '.join(self.without)}" if self.without else self.level


def verdicts(
    entries: Sequence[Entry], description: Description, asked: Collection[str], *, interrupted: bool
) -> tuple[Verdict, ...]:
    """A verdict for each level.

    Args:
        entries: One for each check of the suite that binds the backend.
        description: What the backend declares.
        asked: Levels that were asked for besides.
        interrupted: The run was stopped; nothing is granted.
    """
    found: dict[str, Verdict] = {}
    for level in LEVELS:
        mine = [entry for entry in entries if entry.level == level]
        why = [*_denials(mine), *_foundations(level, description, found)]
        if interrupted:
            why.append("the run was stopped")
        wanted = level in description.levels or level in asked
        idle = all(entry.status is Status.NOT_RUN for entry in mine) and bool(mine or not wanted)
        found[level] = Verdict(
            level,
            "not run" if idle else "denied" if why else "granted",
            level in description.levels,
            level in asked,
            tuple(why),
            _without(mine, description),
            Counts.of(mine),
        )
    return tuple(found.values())


def _denials(entries: Sequence[Entry]) -> list[str]:
    """What the checks of a level have against it."""
    if not entries:
        return ["the suite has no check of it"]
    found = Counter(entry.status for entry in entries)
    why = [f"{found[status]} {word}" for status, word in _DENYING.items() if found[status]]
    if not why and not found[Status.PASSED]:
        why.append("nothing of it could be tried")
    return why


def _foundations(level: str, description: Description, found: dict[str, Verdict]) -> list[str]:
    """What a level needs besides its own checks."""
    why = [f"{other} is not granted" for other in _RESTS_ON[level] if not found[other].granted]
    durability = _DURABILITY.get(level)
    if durability and description.durability not in durability:
        why.append(f"the backend declares durability {description.durability!r}")
    return why


def _without(entries: Iterable[Entry], description: Description) -> tuple[str, ...]:
    lacking = {
        need
        for entry in entries
        if entry.status is Status.ABSENT
        for need in entry.needs
        if need in CAPABILITIES and not description.supports(need)
    }
    return tuple(sorted(lacking))
