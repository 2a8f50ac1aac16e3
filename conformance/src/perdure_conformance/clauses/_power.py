"""Loss of power: what was acknowledged was on the disk by then."""

from __future__ import annotations

from pathlib import Path

from perdure_conformance._case import Case
from perdure_conformance._checks import check
from perdure_conformance.clauses._crash import claims, cleared
from perdure_conformance.crash import Recording, recorded, said

#: Commits in a stream, and losses of power of each kind that are tried of it.
COMMITS, LOSSES = 8, 3


def record(case: Case) -> Recording:
    """Follow a process that makes a store and commits to it."""
    claims(case.description, "power")
    files = case.directory()
    return recorded(case.move(), case.unique(), COMMITS, files / "calls", files / "acknowledged")


def new_path(case: Case) -> Path:
    """A path where nothing is."""
    return case.directory() / "disk"


@check(
    "UP-080",
    "CO-002",
    level="power",
    needs=("persistent", "processes", "places", "strace"),
    kind="kill",
    weight=0.5,
)
def what_was_acknowledged_survives_a_loss_of_power(case: Case) -> None:
    """At each acknowledgement, the bytes that were synced by then hold everything acknowledged."""
    losses = 0
    for _ in case.rounds():
        recording = record(case)
        moments = recording.acknowledgements
        for at in {moments[0], moments[-1], case.random.choice(moments)}:
            path = new_path(case)
            unsynced, findings = recording.lost_at(at + 1, path, None)
            number = recording.acknowledged(at + 1)
            said(findings, f"a loss of power at acknowledgement {number}, with {unsynced} not synced")
            losses += 1
            cleared(path)
        cleared(recording.place.directory)
    case.note(f"losses of power: {losses}, at acknowledgements")


@check(
    "UP-081", level="power", needs=("persistent", "processes", "places", "strace"), kind="kill", weight=0.5
)
def a_loss_of_power_leaves_whole_commits(case: Case) -> None:
    """At any moment, whatever part of what was not synced yet is on the disk, each commit is whole or not there."""
    losses = 0
    for _ in case.rounds():
        recording = record(case)
        for moment in recording.moments(case.random, LOSSES):
            path = new_path(case)
            unsynced, findings = recording.lost_at(moment, path, case.random)
            said(findings, f"a loss of power at call {moment}, with {unsynced} synced in part")
            losses += 1
            cleared(path)
        cleared(recording.place.directory)
    case.note(f"losses of power: {losses}, at any moment")
