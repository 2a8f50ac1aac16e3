"""Exports: all history as events, in an order that can be read in one pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from itertools import groupby, islice
from typing import Any

from perdure import (
    TABLES,
    Branch,
    ChangeBatch,
    Checkpoint,
    Chunk,
    Counter,
    HistoryEvent,
    HistoryExpired,
    Memory,
    NotFound,
    Query,
    Ref,
    Space,
    State,
    Store,
    parse_ref,
)
from perdure.history import export

from perdure_conformance._case import Case
from perdure_conformance._checks import check
from perdure_conformance.expect import equal, holds, refused
from perdure_conformance.invariants import dump

PAYLOAD = TABLES["states"].position["payload"]


def rich(store: Store) -> None:
    """A history with every kind of event: forks of forks, merges both ways, shared payloads."""
    store.spaces.create("z", 1)
    store.spaces.create("bound", 1, table="memories")
    shared = b"a" * 65_536 + b"b" * 10
    with store.batch(message="first", author="me") as batch:
        batch.memories.put([Memory(id="a"), Memory(id="b", tier=1)])
        batch.vectors.put({"space": "bound", "id": "a", "values": [1.0]})
        batch.states.put([State(kind="k", id="x", payload=shared), State(kind="k", id="e", payload=b"")])
    store.branches.create("a-child")  # its name and those of others sort before those of their parents
    late = store.branch("z-late")
    late.states.put(State(kind="k", id="y", payload=shared + b"c" * 70_000))
    late.memories.put([Memory(id=f"more{number}") for number in range(9)])
    late.branch("b-grandchild").states.put(State(kind="k", id="x", payload=b"b" * 20))
    store.memories.delete("b")
    store.memories.put(Memory(id="b", tier=2))
    store.merge("b-grandchild", into="a-child")
    store.merge("a-child")
    store.merge("main", into="z-late", tables=["memories"], strategy="ours")
    store.branch("a-child").memories.put(Memory(id="c"))
    store.checkpoints.create("mark", "z-late", metrics={"score": 1.0}, message="good")
    store.checkpoints.create("empty", "main@0")
    store.memories.touch(["a", "b"], datetime(2026, 1, 1, tzinfo=UTC))
    store.vectors.put({"space": "z", "id": "v", "values": [2.0]})


def pieces_of(batch: ChangeBatch) -> Iterator[str]:
    """The names of the payload pieces that the rows of a batch refer to."""
    for change in batch.changes:
        if change.table == "states" and change.row is not None and change.row[PAYLOAD] is not None:
            yield from filter(None, str(change.row[PAYLOAD]).partition(":")[2].split(","))


@check("CO-060", level="branches")
def the_kinds_of_events_come_in_order(case: Case) -> None:
    """Spaces come first, then branches, pieces and commits, then checkpoints, then read counters: all there are."""
    store = case.store()
    rich(store)
    events = list(store.export())
    stages = {Space: 0, Branch: 1, Chunk: 1, ChangeBatch: 1, Checkpoint: 2, Counter: 3}
    order = [stages[type(event)] for event in events]
    equal(order, sorted(order), "the stages of the events")
    equal([e.name for e in events if isinstance(e, Space)], ["bound", "z"], "the spaces")
    names = sorted(event.name for event in events if isinstance(event, Branch))
    equal(names, [branch.name for branch in store.branches.list()], "the branches")
    marks = sorted((e for e in events if isinstance(e, Checkpoint)), key=lambda mark: mark.name)
    equal(marks, store.checkpoints.list(), "the checkpoints")
    counters = sorted((e.table, e.key, e.access_count) for e in events if isinstance(e, Counter))
    equal(counters, [("memories", ("a",), 1), ("memories", ("b",), 1)], "the read counters")
    commits = [event.commit.id for event in events if isinstance(event, ChangeBatch) and event.final]
    logged = {commit.id for branch in names for commit in store.log(branch)}
    equal(sorted(commits), sorted(logged), "the commits")


@check("CO-061", level="branches")
def what_is_referred_to_comes_first(case: Case) -> None:
    """A branch comes after the commits up to its fork, a commit after its branch and all that it descends from."""
    store = case.store()
    rich(store)
    events = list(store.export())
    commits = [event.commit for event in events if isinstance(event, ChangeBatch) and event.final]
    own = {branch.id: {c.seq for c in commits if c.branch == branch.id} for branch in store.branches.list()}
    sent: dict[str, set[int]] = {}

    def complete(branch: str, upto: int) -> bool:
        return branch in sent and {seq for seq in own[branch] if seq <= upto} <= sent[branch]

    ids: set[str] = set()
    for event in events:
        if isinstance(event, Branch):
            if event.parent is not None:
                there = complete(event.parent, event.fork_seq)
                holds(there, f"the commits that {event.name} was forked from come before it")
            sent[event.id] = set()
        elif isinstance(event, ChangeBatch):
            commit = event.commit
            holds(commit.branch in sent, f"the branch of {commit} comes before it")
            holds(complete(commit.branch, commit.seq - 1), f"the commits before {commit} come before it")
            holds(set(commit.parents) <= ids, f"the parents of {commit} come before it")
            for branch, seq in commit.vector.items():
                holds(complete(branch, seq), f"what {commit} merged from {branch} comes before it")
            if event.final:
                sent[commit.branch].add(commit.seq)
                ids.add(commit.id)


@check("CO-062", level="branches")
def each_payload_piece_comes_once(case: Case) -> None:
    """Each piece that a row refers to comes once, under the name of its bytes, before the first such row."""
    store = case.store()
    rich(store)
    sent: list[str] = []
    wanted: set[str] = set()
    for event in store.export():
        if isinstance(event, Chunk):
            equal(blake2b(event.data, digest_size=32).hexdigest(), event.digest, "the name of a piece")
            sent.append(event.digest)
        elif isinstance(event, ChangeBatch):
            needed = set(pieces_of(event))
            equal(needed - set(sent), set(), f"pieces that {event.commit.id} needs before they come")
            wanted |= needed
    equal(sorted(sent), sorted(wanted), "the pieces: all that are needed, each once")
    equal(len(sent), 5, "how many pieces the payloads have")


@check("CO-063", level="branches")
def the_batches_of_a_commit_come_together(case: Case) -> None:
    """A commit's batches follow one another, apart from pieces, in the order of their rows; the last is final."""
    store = case.store()
    rich(store)
    store.branch("z-late").memories.put([Memory(id=f"big{number:04}") for number in range(2_300)])
    batches = [event for event in store.export() if not isinstance(event, Chunk)]
    seen = set()
    for id, group in groupby(batches, lambda e: e.commit.id if isinstance(e, ChangeBatch) else None):
        if id is None:
            continue
        parts = [part for part in group if isinstance(part, ChangeBatch)]
        holds(id not in seen, f"the batches of {id} come together")
        seen.add(id)
        equal(
            [part.final for part in parts],
            [False] * (len(parts) - 1) + [True],
            f"which batch of {id} is final",
        )
        addresses = [(change.table, change.key) for part in parts for change in part.changes]
        equal(addresses, sorted(set(addresses)), f"the rows of {id}, in order")


@check("CO-064", level="branches")
def an_export_is_of_one_moment(case: Case) -> None:
    """What is written while an export is read is not in it, whether the rows, the branches or the checkpoints."""
    store = case.store()
    rich(store)
    for place in (1, 9):
        before = dump(store)
        events = store.export()
        start = list(islice(events, place))
        for name in ("main", "z-late", "b-grandchild"):
            store.branch(name).memories.put(Memory(id=f"meanwhile{place}"))
            store.branch(name).states.put(State(kind="k", id="x", payload=bytes([place]) * 70_000))
        store.branch(f"new{place}").memories.delete("a")
        store.merge("z-late", into="a-child", strategy="ours")
        store.checkpoints.create(f"mark{place}")
        with case.new_store() as copy:
            copy.ingest([*start, *events])
            equal(dump(copy), before, f"a copy of what was exported, with writes after event {place}")


@check("CO-064", level="branches")
def writes_between_all_events_are_not_exported(case: Case) -> None:
    """An export into which a commit comes before each event is as one that nobody disturbed."""
    store = case.store()
    rich(store)
    undisturbed = list(store.export())
    events = []
    for number, event in enumerate(store.export()):
        events.append(event)
        store.memories.put(Memory(id=f"meanwhile{number}"))
        store.branch("b-grandchild").memories.put(Memory(id="a", tier=number))
    equal(described(events), described(undisturbed), "the events")


def described(events: Sequence[HistoryEvent]) -> list[Any]:
    """What the events say of spaces, branches, pieces, commits and checkpoints, in order."""
    return [
        (event.name, event.parent, event.fork_seq) if isinstance(event, Branch) else event
        for event in events
        if not isinstance(event, Counter)
    ]


def readings(store: Store, hooks: Any, ctx: Any) -> dict[str, Any]:
    """All rows, with the commits that wrote them, at every commit by id, by number and by time, and at checkpoints."""
    refs = [Ref(checkpoint.name) for checkpoint in store.checkpoints.list()]
    for branch in store.branches.list():
        refs.append(Ref(branch.name))
        for commit in store.log(branch.name):
            refs += [Ref("", commit=commit.id), Ref(branch.name, seq=commit.seq)]
            refs += [Ref(branch.name, time=commit.time), Ref(branch.name, time=commit.time - 1)]
    found: dict[str, Any] = {}
    for ref in refs:
        if str(ref) not in found:
            found[str(ref)] = reading(hooks, ctx, ref)
    return found


def reading(hooks: Any, ctx: Any, ref: Ref) -> Any:
    """The commit of a ref, and all rows there with their versions; None where a compaction dropped it."""
    try:
        point = hooks.resolve(ctx=ctx, ref=ref)
        rows = {name: list(hooks.select(ctx=ctx, query=Query(name), at=point)) for name in TABLES}
        keys = {name: [TABLES[name].key_of(row) for row in rows[name]] for name in TABLES}
        versions = {
            name: hooks.versions(ctx=ctx, table=name, keys=keys[name], at=point)
            for name in TABLES
            if keys[name]
        }
    except NotFound:  # expired, or the id of a commit that was dropped
        return None
    return point.commit, rows, versions


@check("CO-066", level="branches")
def a_copy_reads_the_same_everywhere(case: Case) -> None:
    """A namespace that took an export is equal to its source, at every commit, number, time and checkpoint."""
    store = case.store()
    rich(store)
    copied = case.unique()
    copy = case.store(copied)
    copy.ingest(store.export())
    equal(dump(copy), dump(store), "the copy, as a whole")
    there = readings(copy, case.hooks(copied), case.ctx)
    for ref, rows in readings(store, case.hooks(), case.ctx).items():
        equal(there.get(ref), rows, f"the rows of the copy at {ref}")
    for name in ("a", "b"):
        equal(copy.memories.counters(name), store.memories.counters(name), f"the read counters of {name}")
    payloads = [[state.payload for state in each.branch("z-late").states.scan()] for each in (store, copy)]
    equal(payloads[1], payloads[0], "the payloads of a branch of the copy")
    copy.merge("z-late", strategy="theirs")
    store.merge("z-late", strategy="theirs")
    equal(dump(copy), dump(store), "both, after the same merge")


@check("CO-065", "CO-066", level="branches", needs=("compact",))
def an_export_after_compaction_has_what_is_left(case: Case) -> None:
    """An export of a compacted namespace makes a copy that reads the same wherever the source can be read."""
    store, hooks = case.store(), case.hooks()
    rich(store)
    for number in range(6):
        store.memories.put(Memory(id="hot", tier=number))
    every = readings(store, hooks, case.ctx)
    store.compact(keep=2, lease=timedelta(0))
    copied = case.unique()
    copy = case.store(copied)
    copy.ingest(store.export())
    there = case.hooks(copied)
    for text, rows in every.items():
        ref = parse_ref(text)
        now = reading(hooks, case.ctx, ref)
        if now is not None:
            equal(now, rows, f"the source at {text} after the compaction")
            equal(reading(there, case.ctx, ref), now, f"the copy at {text}")


@check("CO-065", level="branches", needs=("compact",))
def an_export_since_a_dropped_place_is_refused(case: Case) -> None:
    """An export since a cursor below a branch's floor is refused as expired; one since its floor has the rest."""
    store, hooks = case.store(), case.hooks()
    for number in range(8):
        store.memories.put(Memory(id="hot", tier=number), commit_id=f"c{number}")
    numbers = {commit.id: commit.seq for commit in store.log()}
    store.compact(keep=3, lease=timedelta(0))
    (main,) = store.branches.list()
    for id, seq in numbers.items():
        if seq < main.floor:
            with refused(HistoryExpired, what=f"an export since {id}, below the floor {main.floor}"):
                list(export(hooks, case.ctx, {main.id: seq}))
        else:
            events = export(hooks, case.ctx, {main.id: seq})
            found = [event.commit.id for event in events if isinstance(event, ChangeBatch)]
            equal(found, sorted(other for other, n in numbers.items() if n > seq), f"the commits since {id}")


@check("CO-066", level="branches", needs=("compact",))
def a_copy_of_a_compacted_store_merges_alike(case: Case) -> None:
    """A merge that starts from a place below the floor comes to the same in a copy: nothing is counted twice."""
    store = case.store()
    store.skills.put({"id": "k", "success_count": 1})
    lab = store.branch("lab")
    for here in (store, lab):
        here.skills.increment("k", success_count=10)
    store.merge("lab", strategy="field")
    for here in (store, lab):
        for number in range(3):
            here.skills.increment("k", success_count=100)
            here.memories.put(Memory(id=f"{here.branch_name}{number}"))
    store.compact(lease=timedelta(0))
    copy = case.new_store()
    copy.ingest(store.export())
    for each, what in ((store, "the source"), (copy, "the copy")):
        each.merge("lab", strategy="field")
        equal(each.skills["k"].success_count, 621, f"the count in {what} after a merge")
        each.branch("lab").sync(strategy="field")
        equal(each.branch("lab").skills["k"].success_count, 621, f"the count in {what} after a merge back")
    equal(dump(copy, history=False), dump(store, history=False), "the copy, after the same merges")


@check("CO-067", "CO-064", level="branches", needs=("compact",))
def an_export_that_compaction_overtakes_is_whole_or_refused(case: Case) -> None:
    """History that is dropped while it is exported is not missing without a word."""
    store = case.store()
    for number in range(30):
        store.memories.put(Memory(id="a", tier=number))
    before = {seq: store.at(f"main@{seq}").memories["a"].tier for seq in range(1, 31)}
    events = iter(store.export())
    seen = [next(events) for _ in range(3)]
    case.store().compact(lease=timedelta(0))
    try:
        seen += list(events)
    except HistoryExpired:
        return
    copy = case.new_store()
    copy.ingest(iter(seen))
    floor = next(event.floor for event in seen if isinstance(event, Branch))
    for seq in range(max(1, floor), 31):
        equal(copy.at(f"main@{seq}").memories["a"].tier, before[seq], f"what main@{seq} reads in the copy")
