"""Death of the process: what was acknowledged stays, and nothing is there in part."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from perdure import Description, HistoryEvent

from perdure_conformance._case import Case
from perdure_conformance._checks import Need, check
from perdure_conformance._target import Place
from perdure_conformance.crash import (
    ACTS,
    Rehearsal,
    Writer,
    drawn,
    history,
    kill_all,
    killed,
    rehearsed,
    said,
)
from perdure_conformance.expect import Skipped, holds

#: At most so many milliseconds pass between an acknowledgement and a kill.
LATEST = 40

#: So many kills there are at least, however long they take: one says little.
LEAST = 3

KILLING: tuple[Need, ...] = ("persistent", "processes")


def claims(description: Description, durability: str) -> None:
    """Skip a check of a durability that the backend does not declare."""
    ranks = ["none", "crash", "power"]
    if ranks.index(description.durability) < ranks.index(durability):
        raise Skipped(f"the backend declares the durability {description.durability!r}")


def fresh(case: Case) -> Place:
    """A place for one kill: a new one where there can be several."""
    return case.move() if case.site.target.many else case.place


def cleared(directory: Path | None) -> None:
    """Give back the room of files that are done with."""
    if directory is not None:
        kill_all(directory)  # an engine may go on where only its client was killed
        shutil.rmtree(directory, ignore_errors=True)


def kill_acts(case: Case, names: Sequence[str]) -> None:
    """Kill processes at drawn moments of acts, each act at least once, and judge what they leave."""
    claims(case.description, "crash")
    chosen = [name for name in names if case.supports(ACTS[name].needs)]
    events: list[HistoryEvent] = []
    rehearsals: dict[str, Rehearsal] = {}
    kills: Counter[str] = Counter()
    first = case.random.randrange(len(chosen))
    for number in case.rounds(max(LEAST, len(chosen))):
        events = events or history(fresh(case), case.unique())
        name = chosen[(first + number) % len(chosen)]
        if name not in rehearsals:
            rehearsals[name] = rehearsed(fresh(case), case.unique(), name, events)
        moment = drawn(rehearsals[name].moments, case.random)
        place = fresh(case)
        acknowledged, findings = killed(place, case.unique(), rehearsals[name], moment)
        when = "after" if acknowledged else f"at call {moment} of"
        said(findings, f"a kill {when} the act {name!r}")
        kills[f"after {name}" if acknowledged else f"in {name}"] += 1
        if case.site.target.many:
            cleared(place.directory)
    case.note(f"kills: {dict(sorted(kills.items()))}")


@check("UP-080")
def what_a_commit_survives_is_stated(case: Case) -> None:
    """The backend states a durability, keeps rows where it claims any, and claims no level beyond it."""
    durability, levels = case.description.durability, case.description.levels
    holds(durability in ("none", "crash", "power"), "the durability is none, crash or power", durability)
    holds(
        durability == "none" or case.supports("persistent"),
        "what survives a failure is there after the store is opened again",
        f"durability {durability}, not persistent",
    )
    holds("crash" not in levels or durability != "none", "level crash goes with durability crash", durability)
    holds(
        "power" not in levels or durability == "power", "level power goes with durability power", durability
    )


@check("UP-081", "CO-001", "CO-005", level="crash", needs=KILLING, kind="kill", weight=0.8)
def a_batch_is_there_whole_or_not_at_all(case: Case) -> None:
    """A process that dies in a batch over all tables leaves it whole or not at all; sent again it is applied once."""
    kill_acts(case, ["batch"])


@check("UP-081", "CO-001", level="crash", needs=KILLING, kind="kill", weight=0.5)
def a_merge_is_there_whole_or_not_at_all(case: Case) -> None:
    """A process that dies in a merge or a revert leaves it whole or not at all."""
    kill_acts(case, ["merge", "revert"])


@check("UP-041", "UP-081", "UP-042", level="crash", needs=KILLING, kind="kill", weight=0.5)
def a_copy_of_a_history_is_there_whole_or_not_at_all(case: Case) -> None:
    """A process that dies while it copies a history into a namespace leaves all of it or nothing."""
    kill_acts(case, ["ingest"])


@check("UP-081", level="crash", needs=KILLING, kind="kill", weight=0.5)
def branches_and_names_survive_a_kill(case: Case) -> None:
    """A process that dies while it makes or deletes a branch, a checkpoint or a namespace does no harm."""
    kill_acts(case, ["create branch", "first open", "delete branch", "create checkpoint"])


@check("UP-081", "UP-001", level="crash", needs=(*KILLING, "compact"), kind="kill", weight=0.5)
def a_kill_in_a_compaction_costs_no_row(case: Case) -> None:
    """A process that dies in a compaction changes no row at a head, and the compaction can be made again."""
    kill_acts(case, ["compact"])


@check("UP-081", level="crash", needs=(*KILLING, "purge"), kind="kill", weight=0.4)
def a_kill_in_a_purge_costs_no_other_row(case: Case) -> None:
    """A process that dies in a purge changes no other row, and the purge can be made again."""
    kill_acts(case, ["purge"])


@check("UP-081", "CO-001", "CO-002", level="crash", needs=KILLING, kind="kill", weight=0.8)
def what_was_acknowledged_survives_a_kill(case: Case) -> None:
    """A process that is killed at any time in a stream of commits loses none that it acknowledged."""
    claims(case.description, "crash")
    writer, kills, commits = Writer(fresh(case), case.unique(), "w"), 0, 0
    for _ in case.rounds(LEAST):
        before = writer.acknowledged
        kill_in_stream(case, writer)
        commits += writer.acknowledged - before
        said(writer.judged(), f"a kill after {writer.acknowledged} commits")
        kills += 1
    case.note(f"kills: {kills}, at any time in streams of {commits} commits")


@check("UP-081", "CO-001", "CO-002", level="crash", needs=(*KILLING, "places"), kind="kill", weight=0.5)
def what_was_acknowledged_survives_the_death_of_the_engine(case: Case) -> None:
    """Where all processes of the engine are killed at one moment, nothing that was acknowledged is lost."""
    claims(case.description, "crash")
    writer, kills = Writer(case.move(), case.unique(), "w"), 0
    for _ in case.rounds(LEAST):
        kill_in_stream(case, writer, engine=True)
        said(writer.judged(), f"the death of the engine after {writer.acknowledged} commits")
        kills += 1
    seen = "all processes of the engine" if writer.place.directory else "the client of an engine elsewhere"
    case.note(f"kills: {kills}, of {seen}, in streams of {writer.acknowledged} commits")


def kill_in_stream(case: Case, writer: Writer, *, engine: bool = False) -> None:
    """Let the stream go on for some commits, and a random time more, and kill it, or all of the engine."""
    child = writer.start()
    try:
        for _ in range(case.random.randint(1, 6)):
            writer.hear()
        if case.random.random() < 0.5:  # else at once
            writer.hear(case.random.random() * LATEST / 1_000)
    finally:
        writer.kill(engine=engine)
        child.close()


@check("UP-081", "CO-002", level="crash", needs=(*KILLING, "concurrent"), kind="kill", weight=0.5)
def the_death_of_a_writer_does_not_stop_another(case: Case) -> None:
    """While one process is killed in a stream of commits, another goes on, and both lose nothing."""
    claims(case.description, "crash")
    place, namespace, kills = fresh(case), case.unique(), 0
    with place.open(namespace) as store:
        store.branch("other")
    mortal, other = Writer(place, namespace, "w"), Writer(place, namespace, "v", "other")
    for _ in case.rounds(LEAST):
        other.start()
        try:
            other.hear()
            kill_in_stream(case, mortal)
            for _ in range(3):
                holds(other.hear() is not None, "the other writer goes on", "it ended")
        finally:
            other.stop()
        said(mortal.judged(), f"a kill of one of two writers after {mortal.acknowledged} commits")
        said(other.judged(), f"the death of another writer after {other.acknowledged} commits")
        kills += 1
    case.note(f"kills: {kills}, of one of two writers")
