"""Purge: nothing of the row is left anywhere, what shares things with it stays, and a marker keeps it out."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import numpy as np
from perdure import (
    TABLES,
    ChangeBatch,
    CorruptStore,
    Memory,
    Point,
    Query,
    Ref,
    State,
    Store,
    Vector,
)

from perdure_conformance._case import Case
from perdure_conformance._checks import check
from perdure_conformance.expect import equal, holds, refused

#: Texts that occur nowhere but in the row that is purged.
KEY, TEXT, OTHER_TEXT, TAG, INNER = "key-f3a9c1", "text-77b0e2", "text-5d41aa", "tag-c0ffee", "inner-9e8d7c"
NUMBERS = (0.123456789, -98765.4321)


def with_history(store: Store, mark: str = "", numbers: tuple[float, ...] = NUMBERS) -> None:
    """A memory and a state of which branches have versions, with vectors, payload, counters and a selective merge.

    `mark` goes into each of their texts.
    """
    key, payload = KEY + mark, (mark.encode() or b"payload") * 9_000
    first = Memory(id=key, text=TEXT + mark, tags=[TAG + mark], content={"a": INNER + mark})
    store.spaces.create("mem", 2, dtype="float64", table="memories")
    store.spaces.create("free", 2)
    store.memories.put(first, vector=numbers)
    store.memories.put(Memory(id="stays", text="other"), vector=[1.0, 0.0])
    store.vectors.put(Vector(space="free", id=key, values=np.array([1.0, 1.0])))
    store.states.put(
        [State(kind="k", id=key, payload=payload), State(kind="k", id="stays", payload=b"shared" * 20_000)]
    )
    lab = store.branch("lab")
    lab.memories.update(key, text=OTHER_TEXT + mark)
    lab.memories.put(Memory(id=key, text=OTHER_TEXT + mark, tier=1), vector=[5.0, 5.0])
    store.memories.touch([key, "stays"])
    store.branch("taker").memories.update("stays", tier=2)
    store.merge("lab", into="taker", keys={"memories": [key, "stays"]}, strategy="theirs")
    store.checkpoints.create("mark", metrics={"n": 1})
    store.memories.delete(key)


def places(store: Store) -> list[Point | str]:
    """Every point that there is, and the names of branches and of a checkpoint."""
    found = {}
    for branch in store.branches.list():
        for commit in store.log(branch.name):
            found[commit.branch, commit.seq] = Point(commit.branch, commit.seq)
    return [*found.values(), "main", "lab", "taker", "mark"]


@check("UP-020", level="branches", needs=("purge",))
def no_read_finds_a_purged_row(case: Case) -> None:
    """After a purge, no branch, checkpoint or past point shows the row or its vector; other rows stay."""
    store = case.store()
    with_history(store)
    report = store.memories.purge(KEY)
    equal((report.keys, report.versions, report.vectors), (1, 5, 1), "keys, versions and vectors erased")
    for at in places(store):
        view = store.at(at)
        equal(view.memories.get(KEY), None, f"the row at {at}")
        equal(view.memories.version(KEY), None, f"the version of the row at {at}")
        equal(view.memories.count({"id": KEY}), 0, f"the rows that match its key at {at}")
        equal(view.vectors.get(("mem", KEY)), None, f"its vector in a bound space at {at}")
        found = [hit.record.id for hit in view.memories.search(NUMBERS, k=10, exact=True)]
        holds(KEY not in found, f"a search at {at} does not find it", found)
    equal(store.memories["stays"].text, "other", "a row beside it")
    equal([hit.record.id for hit in store.memories.search([1.0, 0.0])], ["stays"], "the search that is left")
    holds(("free", KEY) in store.vectors, "a vector of that id in a space that is not bound stays")
    holds(("k", KEY) in store.states, "a row of that id in another table stays")
    holds(store.verify().ok, "verify finds no damage", store.verify())


@check("UP-020", level="branches", needs=("purge",))
def history_does_not_mention_a_purged_row(case: Case) -> None:
    """The changes of old commits, the export and the record of selective merges do not have the key any more."""
    store, hooks = case.store(), case.hooks()
    with_history(store)
    store.memories.purge(KEY)
    for branch in store.branches.list():
        upto = branch.head.seq
        batches = hooks.changes(ctx=case.ctx, branch=branch.id, after=0, upto=upto, compacted=True)
        changed = [(c.table, c.key) for batch in batches for c in batch.changes]
        holds(
            not [x for x in changed if x in (("memories", (KEY,)), ("vectors", ("mem", KEY)))],
            "no change has the key",
            changed,
        )
        log = hooks.log(ctx=case.ctx, branch=branch.id, after=0, upto=upto, merges=False, newest_first=True)
        picks = [pick for commit in log for pick in commit.picks]
        if branch.name == "taker":
            equal([pick.keys for pick in picks], [(("stays",),)], "what the selective merge says it took")
    holds(not mentions(store.export(), {"memories": (KEY,), "vectors": ("mem", KEY)}), "no event has the row")


def mentions(events: Iterable[Any], keys: dict[str, tuple[str, ...]]) -> list[Any]:
    """The changes, counters and picks of an export that name one of the rows."""
    found: list[Any] = []
    for event in events:
        if isinstance(event, ChangeBatch):
            found += [c for c in event.changes if keys.get(c.table) == c.key]
            found += [p for p in event.commit.picks if p.keys and keys.get(p.table) in p.keys]
        elif hasattr(event, "access_count") and keys.get(event.table) == event.key:
            found.append(event)
    return found


@check("UP-020", "DM-072", needs=("purge",))
def read_counters_are_purged_with_their_row(case: Case) -> None:
    """The read counters of a purged row are as if it had never been read; also when it is written again."""
    store = case.store()
    store.memories.put([Memory(id=KEY), Memory(id="stays")])
    for _ in range(2):
        store.memories.touch([KEY, "stays"])
    store.memories.purge(KEY)
    for what in ("after the purge", "when the row was written again"):
        counter = store.memories.counters(KEY)
        equal((counter.accessed_at, counter.access_count), (None, 0), f"the counters {what}")
        store.memories.put(Memory(id=KEY))
    equal(store.memories.counters("stays").access_count, 2, "the counters of another row")


@check("UP-020", needs=("purge",))
def payload_pieces_are_purged_unless_shared(case: Case) -> None:
    """The pieces of a purged payload go; a piece that any version of another row has stays."""
    store, hooks = case.store(), case.hooks()
    own, shared = b"o" * 65_536, b"s" * 65_536
    store.states.put(
        [State(kind="k", id=KEY, payload=own + shared), State(kind="k", id="stays", payload=shared)]
    )
    store.states.put(State(kind="k", id="stays", payload=b"now something else"))
    (manifest,) = store.states.to_arrow({"id": KEY}, columns=["payload"])["payload"].to_pylist()
    mine, others = str(manifest).partition(":")[2].split(",")
    before = store.stats().payload_bytes
    report = store.states.purge(("k", KEY))
    equal((report.keys, report.chunks), (1, 1), "the keys and the pieces that were erased")
    with refused(CorruptStore, what="reading a piece that was purged"):
        list(hooks.read_chunks(ctx=case.ctx, digests=[mine]))
    equal(
        list(hooks.read_chunks(ctx=case.ctx, digests=[others])), [shared], "a piece that an old version has"
    )
    equal(store.stats().payload_bytes, before - len(own), "the bytes of payloads")
    past = store.log(limit=2)
    next(past)
    equal(
        store.at(f"@{next(past).id}").states[("k", "stays")].payload, shared, "the payload of the old version"
    )


@check("UP-020", needs=("purge",))
def every_table_can_be_purged(case: Case) -> None:
    """Rows of each table can be purged by their keys; absent keys are no error, and are not counted."""
    store = case.store()
    store.spaces.create("free", 2)
    store.memories.put(Memory(id="a"))
    rows: dict[str, tuple[dict[str, Any], Any]] = {
        "memories": ({"id": "x"}, "x"),
        "links": ({"id": "x", "source": "a", "target": "a"}, "x"),
        "skills": ({"id": "x"}, "x"),
        "traces": ({"id": "x"}, "x"),
        "states": ({"kind": "k", "id": "x"}, ("k", "x")),
        "vectors": ({"space": "free", "id": "x", "values": np.array([1.0, 2.0])}, ("free", "x")),
    }
    equal(set(rows), set(TABLES), "the tables that this check tries")
    for name, (fields, key) in rows.items():
        table = store.table(name)
        table.put(fields)
        before = store.head()
        absent = "absent" if isinstance(key, str) else ("absent", "absent")
        report = table.purge([key, absent])
        equal((report.keys, report.versions), (1, 1), f"the keys and versions of {name} that were erased")
        equal(store.at(before).table(name).get(key), None, f"the row of {name} in the past")
    equal([memory.id for memory in store.memories.scan()], ["a"], "the row that was not purged")


@check("UP-023", level="branches", needs=("purge",))
def a_purged_key_can_be_written_again(case: Case) -> None:
    """A key that was purged can be written again, on any branch, and its new past is readable."""
    store = case.store()
    with_history(store)
    store.memories.purge(KEY)
    store.memories.put(Memory(id=KEY, text="new"), vector=[0.5, 0.5])
    first = store.head()
    store.memories.update(KEY, text="newer")
    equal(store.memories[KEY].text, "newer", "the row")
    equal(store.at(first).memories[KEY].text, "new", "the row's new past")
    equal(store.at("mark").memories.get(KEY), None, "the row before it was written again")
    equal(store.at("lab").memories.get(KEY), None, "the row on another branch")
    equal(store.memories.search([0.5, 0.5], k=1)[0].record.id, KEY, "the nearest")


@check("UP-022", needs=("purge",))
def ingest_drops_what_was_purged(case: Case) -> None:
    """A history from before the purge brings nothing of the row back, nor its vector; what is later comes in."""
    source, copy = case.new_store(), case.new_store()
    with_history(source)
    events = list(source.export())
    copy.memories.purge(KEY)
    report = copy.ingest(events)
    holds(report.purged > 0, "the report counts what was dropped", report)
    for at in places(copy):
        equal(copy.at(at).memories.get(KEY), None, f"the purged row at {at}")
    equal(copy.memories["stays"].text, "other", "a row that was not purged")
    holds(not mentions(copy.export(), {"memories": (KEY,)}), "what is exported again does not have the row")
    source.memories.put(Memory(id=KEY, text="written later"))
    copy.ingest(source.export())
    equal(copy.memories[KEY].text, "written later", "a version that is later than the purge")


@check("UP-022", "UP-023", needs=("purge",))
def a_restored_past_does_not_undo_a_purge(case: Case) -> None:
    """A store that has the history already stays purged when the same history comes again."""
    store = case.store()
    store.memories.put([Memory(id=KEY, text=TEXT), Memory(id="stays")])
    events = list(store.export())
    store.memories.purge(KEY)
    report = store.ingest(events)
    equal((report.commits, report.rows), (0, 0), "what the second ingest wrote")
    equal([memory.id for memory in store.memories.scan()], ["stays"], "the rows")


def found_in_files(case: Case, needles: dict[str, bytes]) -> list[tuple[str, str]]:
    """(what, file) for each needle in a file of the engine."""
    found = []
    for path in case.place.files():
        data = path.read_bytes()
        found += [(what, path.name) for what, needle in needles.items() if needle in data]
    return found


def everything(store: Store, hooks: Any, ctx: Any) -> str:
    """All that the hooks give out, as text."""
    seen: list[Any] = [*store.export(), *store.branches.list(), *store.checkpoints.list()]
    for branch in store.branches.list():
        upto = branch.head.seq
        seen += hooks.log(ctx=ctx, branch=branch.id, after=0, upto=upto, merges=False, newest_first=True)
        seen += hooks.changes(ctx=ctx, branch=branch.id, after=0, upto=upto, compacted=True)
        seen += hooks.touched(ctx=ctx, branch=branch.id, after=max(branch.floor, branch.fork_seq), upto=upto)
        for table in TABLES:
            seen += hooks.select(ctx=ctx, query=Query(table), at=Ref(branch.name))
    return repr(seen)


@check("UP-021", "UP-024", level="branches", needs=("purge", "compact"))
def nothing_of_a_purged_row_is_in_the_storage(case: Case) -> None:
    """After a purge and a compaction the row's texts, vector, payload and key are in no file, and in no answer."""
    store, hooks, mark = case.store(), case.hooks(), case.unique()
    numbers = (case.random.random(), case.random.random())
    needles = {
        "a text, the key or the payload": mark.encode(),
        "the vector": np.array(numbers, "<f8").tobytes(),
    }
    with_history(store, mark, numbers)
    holds(mark in everything(store, hooks, case.ctx), "the row is there at first")
    if not found_in_files(case, needles):
        case.note("the storage does not show rows in the clear: looked through every read instead")
    for table, key in (
        ("memories", KEY + mark),
        ("states", ("k", KEY + mark)),
        ("vectors", ("free", KEY + mark)),
    ):
        store.purge(table, [key])
    store.compact(lease=timedelta(0))
    holds(mark not in everything(store, hooks, case.ctx), "no read gives anything of the row")
    equal(found_in_files(case, needles), [], "what the files still hold of the row")
    store.close()
    hooks.close(ctx=case.ctx)
    equal(
        found_in_files(case, needles), [], "what the files still hold of the row after the store was closed"
    )
