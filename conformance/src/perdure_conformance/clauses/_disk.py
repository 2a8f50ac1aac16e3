"""Disks that are full, or fail."""

from __future__ import annotations

from collections import Counter

from perdure_conformance._case import Case
from perdure_conformance._checks import check
from perdure_conformance._target import Place
from perdure_conformance.clauses._crash import claims, cleared
from perdure_conformance.crash import (
    ACTS,
    Rehearsal,
    drawn_fault,
    failed,
    history,
    limited,
    rehearsed,
    said,
    writes_of,
)
from perdure_conformance.expect import Skipped

#: The acts that disks fail in.
FAILING = ("batch", "merge", "ingest", "create branch", "first open", "compact", "purge")

#: Faults that are tried in a round, and the largest file, in bytes, that is still too small now and then.
FAULTS, LARGEST = 3, 400_000

UNSEEN = "needs a URL with {tmp}: the files of an engine elsewhere cannot be seen"


def rehearsal_of(case: Case, number: int) -> Rehearsal:
    """An act that a disk may fail in: another in each round."""
    claims(case.description, "power")
    place = case.move()
    if place.directory is None:
        raise Skipped(UNSEEN)
    names = [name for name in FAILING if case.supports(ACTS[name].needs)]
    name = names[(case.seed + number) % len(names)]
    events = history(place, case.unique())
    return rehearsed(place_of(case, name), case.unique(), name, events)


def place_of(case: Case, act: str) -> Place:
    """Where an act of this round takes place: that which opens a store makes it, too."""
    return case.move() if ACTS[act].opens else case.place


@check(
    "UP-082",
    "UP-081",
    "ER-004",
    level="power",
    needs=("persistent", "processes", "places", "strace"),
    kind="kill",
    weight=0.6,
)
def a_failing_disk_leaves_the_commit_before(case: Case) -> None:
    """A write or sync that fails is a StorageError, the commit before is intact, and writing goes on later."""
    ends: Counter[str] = Counter()
    for number in case.rounds():
        rehearsal, log = rehearsal_of(case, number), case.directory() / "log"
        writes = writes_of(place_of(case, rehearsal.act), case.unique(), rehearsal, log)
        for _ in range(FAULTS):
            fault, place = drawn_fault(writes, case.random), place_of(case, rehearsal.act)
            end, findings = failed(place, case.unique(), rehearsal, fault, log)
            said(findings, f"{fault} in the act {rehearsal.act!r}")
            ends[f"{fault.error} in {rehearsal.act}: {end}"] += 1
        cleared(case.place.directory)
    case.note(f"faults: {dict(sorted(ends.items()))}")


@check(
    "UP-082",
    "ER-004",
    "CO-013",
    level="power",
    needs=("persistent", "processes", "places"),
    kind="kill",
    weight=0.4,
)
def a_full_disk_leaves_the_commit_before(case: Case) -> None:
    """Where files may not grow any more, a write is a StorageError, and goes on when they may."""
    ends: Counter[str] = Counter()
    for number in case.rounds():
        rehearsal = rehearsal_of(case, number)
        for limit in (0, case.random.randrange(LARGEST)):
            place = place_of(case, rehearsal.act)
            end, findings = limited(place, case.unique(), rehearsal, limit)
            said(findings, f"the act {rehearsal.act!r} with files of at most {limit} bytes")
            ends[end] += 1
        cleared(case.place.directory)
    if set(ends) == {"done"}:
        raise Skipped("the limit does not reach the files of the engine")
    case.note(f"acts on a full disk: {dict(ends)}")
