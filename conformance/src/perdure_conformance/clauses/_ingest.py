"""Ingest: history keeps its ids and times, comes whole or not at all, and is refused where it is malformed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any

from perdure import (
    ChangeBatch,
    Conflict,
    HistoryEvent,
    Link,
    Memory,
    PerdureError,
    Query,
    Ref,
    State,
    Store,
)

from perdure_conformance._case import Case
from perdure_conformance._checks import check
from perdure_conformance.dump import dump
from perdure_conformance.expect import equal, holds, refused, unchanged

Events = list[HistoryEvent]


def with_history(store: Store) -> None:
    """A small history with every kind of event, a merge, a selective merge and a revert."""
    store.spaces.create("s", 2)
    store.memories.put([Memory(id="a", content={"n": 1}), Memory(id="b")], message="first", author="alice")
    lab = store.branch("lab")
    lab.states.put(State(kind="k", id="c", payload=b"x" * 70_000))
    lab.memories.update("a", tier=1)
    store.memories.put(Memory(id="d"))
    undone = store.head().commit
    store.merge("lab", message="merged")
    store.branch("other").memories.update("b", tier=5)
    store.merge("other", keys={"memories": ["b"]})
    store.revert(str(undone))
    store.checkpoints.create("done", metrics={"ok": True}, message="for people")
    store.checkpoints.create("before", f"@{undone}")
    store.memories.touch("a")


def history(case: Case) -> Events:
    """The events of such a history."""
    with case.new_store() as store:
        with_history(store)
        return list(store.export())


def of(events: Iterable[Any], kind: type[Any]) -> list[Any]:
    """The events of one kind."""
    return [event for event in events if isinstance(event, kind)]


@check("UP-040", level="branches")
def ids_times_and_names_are_kept(case: Case) -> None:
    """Commits keep id, branch, number, time, author, message and parents; branches their ids; names are kept."""
    source, copy = case.new_store(), case.new_store()
    with_history(source)
    copy.ingest(source.export())
    mine, theirs = source.branches.list(), copy.branches.list()
    equal(
        [(b.id, b.name, b.parent, b.fork_seq, b.head) for b in theirs],
        [(b.id, b.name, b.parent, b.fork_seq, b.head) for b in mine],
        "the branches",
    )
    for branch in mine:
        equal(list(copy.log(branch.name)), list(source.log(branch.name)), f"the commits of {branch.name}")
    named = [(c.name, c.point, c.metrics, c.message) for c in source.checkpoints.list()]
    equal(
        [(c.name, c.point, c.metrics, c.message) for c in copy.checkpoints.list()], named, "the checkpoints"
    )
    spaces = [(s.name, s.dim, s.dtype, s.metric, s.model, s.table) for s in source.spaces.list()]
    equal(
        [(s.name, s.dim, s.dtype, s.metric, s.model, s.table) for s in copy.spaces.list()],
        spaces,
        "the spaces",
    )
    equal(copy.memories.counters("a"), source.memories.counters("a"), "the read counters")


@check("UP-040", level="branches")
def a_copy_goes_on_as_the_source_would(case: Case) -> None:
    """What is merged, reverted or committed on a copy has the same outcome as on the source."""
    source, copy = case.new_store(), case.new_store()
    with_history(source)
    copy.ingest(source.export())
    outcomes = []
    for store in (source, copy):
        again = store.merge("lab")
        store.branch("lab").memories.update("b", tier=7)
        later = store.merge("lab", strategy="theirs", dry_run=True)
        changed = [(c.table, c.key, c.row) for c in later.changes]
        outcomes.append((again.already_merged, changed, [base.commit for base in later.bases]))
        holds(store.memories.put(Memory(id="z")), "the store takes more commits")
    equal(outcomes[1][0], outcomes[0][0], "whether the branch is merged already")
    equal(outcomes[1][2], outcomes[0][2], "the bases of the next merge")
    equal([c[:2] for c in outcomes[1][1]], [c[:2] for c in outcomes[0][1]], "what the next merge changes")


class Broken(Exception):
    """What stops an ingest in these checks."""


def breaking(events: Events, after: int) -> Iterator[HistoryEvent]:
    """The first events, and then an error of the source."""
    yield from events[:after]
    raise Broken


@check("UP-041")
def an_ingest_that_breaks_off_leaves_nothing(case: Case) -> None:
    """Wherever the source of the events fails, nothing of them is there, and a later ingest works."""
    store, events = case.store(), history(case)
    store.memories.put(Memory(id="mine"))
    store.memories.delete("mine")
    with case.new_store() as store, unchanged(store):
        for after in range(1, len(events)):
            try:
                store.ingest(breaking(events, after))
            except Broken:
                pass
            except PerdureError as error:
                holds(
                    isinstance(error.__cause__ or error.__context__, Broken),
                    "the error of the source is kept",
                    error,
                )
            else:
                holds(False, f"an ingest that fails after {after} events is an error")
            equal(store.head().commit, None, f"the head after an ingest that failed after {after} events")
            equal(store.stats().commits, 0, f"the commits after an ingest that failed after {after} events")
    with case.new_store() as store:
        for after in (1, len(events) // 2):
            with suppress(Broken, PerdureError):
                store.ingest(breaking(events, after))
        equal(
            store.ingest(events).commits, len(commits(events)), "the commits of the ingest that went through"
        )


def commits(events: Events) -> list[str]:
    """The ids of all commits of a history."""
    return list(dict.fromkeys(batch.commit.id for batch in of(events, ChangeBatch)))


def watched(events: Events, reader: Any, ctx: Any, seen: list[int]) -> Iterator[HistoryEvent]:
    """The events; before each, somebody else looks at what is there."""
    for event in events:
        seen.append(len(list(reader.select(ctx=ctx, query=Query("memories"), at=Ref("main")))))
        seen.append(len(reader.list_branches(ctx=ctx)) - 1)
        yield event


@check("UP-041", "CO-003")
def nobody_sees_a_part_of_an_ingest(case: Case) -> None:
    """While an ingest runs, another handle sees nothing of it; afterwards, all of it."""
    events = history(case)
    store, reader = case.store(), case.hooks()
    seen: list[int] = []
    store.ingest(watched(events, reader, case.ctx, seen))
    equal(set(seen), {0}, "what another handle saw meanwhile")
    equal(
        [row[0] for row in reader.select(ctx=case.ctx, query=Query("memories"), at=Ref("main"))],
        ["a", "b"],
        "what it sees then",
    )


@check("UP-042", level="branches")
def a_second_ingest_changes_nothing(case: Case) -> None:
    """Running an ingest twice, or on its own source, writes nothing, and says so."""
    events = history(case)
    store = case.store()
    first = store.ingest(events)
    equal(first.commits, len(commits(events)), "the commits of the first ingest")
    equal(
        (first.branches, first.checkpoints, first.spaces), (3, 2, 1), "its branches, checkpoints and spaces"
    )
    equal(first.rows, sum(len(batch.changes) for batch in of(events, ChangeBatch)), "its rows")
    with unchanged(store):
        for what, again in (("the same events", events), ("its own export", list(store.export()))):
            report = store.ingest(again)
            wrote = (report.commits, report.rows, report.branches, report.checkpoints, report.spaces)
            equal(wrote, (0, 0, 0, 0, 0), f"what an ingest of {what} wrote")
            holds(report.known > 0, f"an ingest of {what} says what was known", report)
    equal(store.memories.counters("a").access_count, 1, "the reads that were counted")


@check("UP-042", "UP-043", level="branches")
def an_ingest_brings_what_is_newer(case: Case) -> None:
    """A copy takes what its source did since, again and again, and only that."""
    source, copy = case.new_store(), case.new_store()
    with_history(source)
    copy.ingest(source.export())
    for number in range(3):
        source.memories.put(Memory(id="a", tier=10 + number))
        source.branch(f"more{number}").memories.put(Memory(id=f"m{number}"))
        source.merge(f"more{number}")
        report = copy.ingest(source.export())
        equal((report.commits, report.branches), (3, 1), "the commits and branches that were new")
        holds(dump(copy) == dump(source), "the copy is as the source")


def parts_of(events: Events) -> Iterator[Events]:
    """The events, cut after each commit."""
    part: Events = []
    for event in events:
        part.append(event)
        if isinstance(event, ChangeBatch) and event.final:
            yield part
            part = []
    yield part


@check("UP-046", "UP-041", "UP-042", level="branches")
def a_copy_in_parts_is_the_copy_at_once(case: Case) -> None:
    """There and back in parts of one commit, each broken off before it is made and repeated later, is identity."""
    source, there, back = case.new_store(), case.new_store(), case.new_store()
    with_history(source)
    for begin, end in ((source, there), (there, back)):
        events, seen = list(begin.export()), 0
        for part in parts_of(events):
            with suppress(Broken, PerdureError):
                end.ingest(breaking(part, len(part)))
            end.ingest(part)
            seen += len(part)
            if case.random.random() < 0.2:  # begin anew, as one that was killed does
                equal(end.ingest(events[:seen]).commits, 0, "the commits that a repeated ingest writes")
    equal(dump(there), dump(source), "the copy")
    equal(dump(back), dump(source), "the copy of the copy")
    equal(back.memories.counters("a"), source.memories.counters("a"), "the read counters")


def store_with_other_history(store: Store) -> None:
    """A commit that no other store has."""
    store.memories.put(Memory(id="own"))


def store_that_went_on(store: Store, events: Events) -> None:
    """The history, and a commit after it."""
    store.ingest(events)
    store.memories.put(Memory(id="own"))


@check("UP-043")
def a_history_that_is_not_continued_is_refused(case: Case) -> None:
    """A namespace with commits of its own takes no other history, and one that went another way no newer one."""
    with case.new_store() as source, case.new_store() as diverged, case.new_store() as other:
        source.memories.put(Memory(id="a"))
        events = list(source.export())
        source.memories.put(Memory(id="b"))
        newer = list(source.export())
        store_with_other_history(other)
        store_that_went_on(diverged, events)
        for what, store in (("another history", other), ("a history that went another way", diverged)):
            with unchanged(store), refused(Conflict, what=f"ingest into {what}"):
                store.ingest(newer)
        equal(diverged.ingest(events).commits, 0, "the commits that an older state of it brings")


@check("UP-043", level="branches")
def names_that_clash_are_refused(case: Case) -> None:
    """A branch, checkpoint or space of a history whose name means something else here is refused."""
    clashes: dict[str, Callable[[Store], Any]] = {
        "a branch of its name": lambda store: store.branches.create("lab"),
        "a checkpoint of its name": lambda store: store.checkpoints.create("lab"),
        "a branch with the name of a checkpoint": lambda store: store.branches.create("done"),
        "a checkpoint with the name of a checkpoint": lambda store: store.checkpoints.create("done"),
        "a space of its name": lambda store: store.spaces.create("s", 9),
    }
    events = history(case)
    for what, clash in clashes.items():
        with case.new_store() as store:
            clash(store)
            with unchanged(store), refused(Conflict, what=f"ingest where there is {what}"):
                store.ingest(events)


@check("UP-040")
def references_need_not_hold_in_a_history(case: Case) -> None:
    """A history whose rows refer to absent rows comes in as it was."""
    source, store = case.new_store(), case.store()
    source.links.put(Link(source="a", target="gone"))
    equal(store.ingest(source.export()).rows, 1, "the rows that came in")
    equal([link.target for link in store.links.scan()], ["gone"], "the target of the link")
