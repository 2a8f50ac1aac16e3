"""Loss of power: what was acknowledged was on the disk by then."""

from __future__ import annotations

from pathlib import Path

from perdure_conformance._case import Case
from perdure_conformance._checks import check
from perdure_conformance.clauses._crash import claims, cleared
from perdure_conformance.crash import Recording, recorded, said

#: Commits in a stream, and losses of power of each kind that are tried of it.
COMMITS, LOSSES = 8, 3

#: Each so manieth stream, from the first, begins before the store is made, which may take longer than all commits.
ANEW = 4

#: Files that a report names.
NAMED = 8


def record(case: Case, *, fresh: bool) -> Recording:
    """Follow the processes of an engine in a stream of commits; where it is fresh, also as they make the store."""
    claims(case.description, "power")
    files = case.directory()
    recording = recorded(
        case.move(), case.unique(), COMMITS, files / "calls", files / "acknowledged", fresh=fresh
    )
    cleared(files)
    return recording


def new_path(case: Case) -> Path:
    """A path where nothing is."""
    return case.directory() / "disk"


def named(files: list[str]) -> str:
    """Files, for a report."""
    more = f" and {len(files) - NAMED} more" if len(files) > NAMED else ""
    return f"{', '.join(files[:NAMED]) or 'nothing'}{more}"


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
    for number in case.rounds():
        recording = record(case, fresh=number % ANEW == 0)
        moments = recording.acknowledgements
        for at in sorted({moments[0], moments[-1], case.random.choice(moments)}):
            path = new_path(case)
            unsynced, findings = recording.lost_at(at + 1, path, None)
            commits = recording.acknowledged(at + 1)
            said(findings, f"a loss of power after {commits} commits, with {named(unsynced)} not synced")
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
    for number in case.rounds():
        recording = record(case, fresh=(case.seed + number) % 2 == 1)
        for moment in recording.moments(case.random, LOSSES):
            path = new_path(case)
            unsynced, findings = recording.lost_at(moment, path, case.random)
            said(findings, f"a loss of power at call {moment}, with {named(unsynced)} synced in part")
            losses += 1
            cleared(path)
        cleared(recording.place.directory)
    case.note(f"losses of power: {losses}, at any moment")
