"""Writes: what inserts, puts, updates, deletes and batches do, and when they are refused."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from perdure import (
    TABLES,
    AlreadyExists,
    InvalidRecord,
    Memory,
    NotFound,
    Skill,
    Store,
)

from perdure_conformance._case import Case
from perdure_conformance._checks import check
from perdure_conformance.clauses._field_texts import LEAST, filled, record
from perdure_conformance.expect import equal, holds, refused, unchanged

THEN = datetime(2020, 1, 2, 3, 4, 5, 6, UTC)
LATER = datetime(2021, 1, 1, tzinfo=UTC)


def versions(store: Store) -> int:
    """How many row versions there are in the history of main."""
    return sum(len(item.batch.changes) for item in store.changes() if item.batch is not None)


@check("DM-050")
def insert_refuses_an_existing_key(case: Case) -> None:
    """`insert` of a key that is there is refused with `AlreadyExists` in every table, alone or among others."""
    store = filled(case)
    with unchanged(store):
        for table, definition in TABLES.items():
            last = definition.key[-1]
            many = [record(table, **{last: f"n{i}"}) for i in range(3)]
            for what, given in (("one row", record(table)), ("several rows", [*many, record(table)])):
                with refused(AlreadyExists, what=f"insert of {what} in {table}"):
                    store.table(table).insert(given)
            with refused(AlreadyExists, what=f"insert of a key twice in {table}"):
                store.table(table).insert([many[0], many[0]])


@check("DM-050")
def insert_takes_a_key_that_is_free(case: Case) -> None:
    """`insert` creates a row, also one that was deleted before or is deleted in the same batch."""
    store = case.store()
    store.memories.insert(Memory(id="a", text="1"))
    store.memories.delete("a")
    store.memories.insert(Memory(id="a", text="2"))
    with store.batch() as batch:
        batch.memories.delete("a")
        batch.memories.insert(Memory(id="a", text="3"))
    equal(store.memories["a"].text, "3", "the row that was inserted again")


@check("DM-051")
def put_replaces_the_whole_row(case: Case) -> None:
    """`put` creates a row or replaces all of it: fields that are not given are empty then."""
    store = case.store()
    store.spaces.create("free", 2)
    store.memories.put(Memory(id="a", text="t", tags=["x"], content={"k": 1}, tier=3, importance=0.5))
    store.memories.put(Memory(id="a", title="new"))
    got = store.memories["a"]
    cells = (got.text, got.tags, got.content, got.tier, got.importance, got.title)
    equal(cells, (None, [], None, None, None, "new"), "the row after the second put")
    store.skills.put(Skill(id="s", success_count=5))
    store.skills.put(Skill(id="s"))
    equal(store.skills["s"].success_count, 0, "a counter after a put without it")


@check("DM-052")
def update_changes_the_named_columns_only(case: Case) -> None:
    """`update` leaves what it does not name as it was, in every table."""
    store = filled(case)
    store.memories.put(Memory(id="a", text="t", tags=["x"], content={"k": 1}, created_at=THEN))
    store.memories.update("a", title="new", tags=["y"])
    got = store.memories["a"]
    cells = (got.title, got.tags, got.text, got.content, got.created_at)
    equal(cells, ("new", ["y"], "t", {"k": 1}, THEN), "the row after the update")
    for table, definition in TABLES.items():
        before = store.table(table)[record(table).key]
        value = next(c.name for c in definition.columns if c.kind == "value")
        fields: dict[str, Any] = {value: {"changed": True}}
        store.table(table).update(record(table).key, **fields)
        after = store.table(table)[record(table).key]
        for column in definition.columns:
            if column.kind not in ("value", "vector") and column.name != "updated_at":
                same = getattr(after, column.name) == getattr(before, column.name)
                holds(same, f"an update of {table}.{value} leaves {column.name}")
        equal(getattr(after, value), {"changed": True}, f"{table}.{value} after the update")


@check("DM-052")
def update_of_an_absent_row_is_refused(case: Case) -> None:
    """`update` of a row that is not there, or was deleted, is refused with `NotFound`."""
    store = filled(case)
    store.memories.put(Memory(id="gone"))
    store.memories.delete("gone")
    with unchanged(store):
        for key in ("never", "gone"):
            with refused(NotFound, what=f"an update of the row {key!r}"):
                store.memories.update(key, title="t")
        with refused(NotFound, what="an update in a batch that deletes the row"), store.batch() as batch:
            batch.memories.delete("a")
            batch.memories.update("a", title="t")


@check("DM-053")
def a_key_column_is_not_updated(case: Case) -> None:
    """`update` of a key column is refused with `InvalidRecord`, to its own value too."""
    store = filled(case)
    with unchanged(store):
        for table, definition in TABLES.items():
            for part in definition.key:
                for text in ("other", LEAST[table][part], None):
                    fields: dict[str, Any] = {part: text}
                    with refused(InvalidRecord, what=f"an update of {table}.{part} to {text!r}"):
                        store.table(table).update(record(table).key, **fields)


@check("DM-054")
def delete_of_an_absent_key_does_nothing(case: Case) -> None:
    """`delete` of a key that is not there makes no commit; with missing_ok=False it is `NotFound`."""
    store = filled(case)
    with unchanged(store):
        for table, definition in TABLES.items():
            absent = record(table, **{definition.key[-1]: "never"}).key
            done = store.table(table).delete([absent])
            holds(done is not None and done.commit is None, f"no commit for an absent key of {table}", done)
            for keys in ([absent], [record(table).key, absent], [record(table).key] * 2):
                with refused(NotFound, what=f"a delete of {keys} in {table} with missing_ok=False"):
                    store.table(table).delete(keys, missing_ok=False)
    for table in TABLES:
        done = store.table(table).delete([record(table).key] * 2)
        equal(done and done.deleted, 1, f"the rows of {table} that were deleted")
        equal(store.table(table).count(), 0, f"the rows of {table} after that")


@check("DM-055")
def created_at_stays(case: Case) -> None:
    """`created_at` is the caller's, else that of the row that is replaced, else the time of the commit."""
    store = case.store()
    store.memories.put(Memory(id="mine", created_at=THEN))
    store.memories.put(Memory(id="clock"))
    first = store.memories["clock"].created_at
    equal(store.memories["mine"].created_at, THEN, "the caller's time")
    equal(store.at("main").point.time, _us(first), "the time of the commit")
    store.memories.put([Memory(id=key, text="new") for key in ("mine", "clock")])
    store.memories.update("mine", text="newer")
    equal(
        [m.created_at for m in store.memories.scan()], [first, THEN], "the times after the rows were replaced"
    )
    store.memories.put(Memory(id="mine", created_at=LATER))
    store.memories.update("clock", created_at=LATER)
    equal([m.created_at for m in store.memories.scan()], [LATER, LATER], "the caller's new times")
    store.memories.delete("mine")
    store.memories.put(Memory(id="mine"))
    equal(
        _us(store.memories["mine"].created_at), store.head().time, "the time of a row that was deleted before"
    )


@check("DM-056")
def updated_at_moves(case: Case) -> None:
    """`updated_at` is the caller's, else the time of the commit that changed the row."""
    store = case.store()
    store.memories.put(Memory(id="a", updated_at=THEN))
    equal(store.memories["a"].updated_at, THEN, "the caller's time")
    store.memories.put(Memory(id="a", text="1"))
    equal(_us(store.memories["a"].updated_at), store.head().time, "the time of the second put")
    store.memories.update("a", text="2")
    equal(_us(store.memories["a"].updated_at), store.head().time, "the time of the update")
    store.memories.update("a", text="3", updated_at=LATER)
    equal(store.memories["a"].updated_at, LATER, "the caller's time in an update")
    store.skills.put(Skill(id="s", updated_at=THEN))
    store.skills.increment("s", success_count=1)
    equal(_us(store.skills["s"].updated_at), store.head().time, "the time of the increment")


@check("DM-057")
def what_changes_nothing_makes_no_version(case: Case) -> None:
    """A write that leaves a row as it was makes no version, unless it gives another `updated_at`."""
    store = case.store()
    row = Memory(id="a", text="t", content={"k": [1, 2.5]}, tags=["x"])
    store.memories.put(row)
    store.skills.put(Skill(id="s", success_count=1))
    version, count = store.memories.version("a"), versions(store)
    with unchanged(store):
        store.memories.put(row)
        store.memories.put([row, row])
        store.memories.update("a", text="t", tags=["x"])
        store.memories.update("a", created_at=store.memories["a"].created_at)
        store.skills.increment("s", success_count=0)
        store.memories.put(store.memories["a"])
    equal(
        (store.memories.version("a"), versions(store)), (version, count), "the version of the row, and of all"
    )
    done = store.memories.put(Memory(id="a", text="t", content={"k": [1, 2.5]}, tags=["x"], updated_at=LATER))
    equal(done and done.written, 1, "the rows written with another updated_at")


@check("DM-057")
def what_looks_alike_is_a_change(case: Case) -> None:
    """A value that is equal but of another type, or in another order, is another row."""
    store = case.store()
    contents: list[Any] = [
        1,
        1.0,
        True,
        "1",
        None,
        [],
        {},
        {"a": 1, "b": 2},
        {"b": 2, "a": 1},
        0.0,
        -0.0,
        [1],
        (1,),
    ]
    for content in contents:
        done = store.memories.put(Memory(id="a", content=content))
        equal(done and done.written, 1, f"the rows written with the content {content!r}")


@check("DM-058")
def a_batch_is_judged_in_order(case: Case) -> None:
    """Each operation of a batch sees the effects of those before it."""
    store = case.store()
    store.skills.put(Skill(id="s", success_count=1))
    with store.batch() as batch:
        batch.memories.insert(Memory(id="a", text="1", title="kept"))
        batch.memories.update("a", text="2")
        batch.skills.increment("s", success_count=2)
        batch.skills.update("s", success_count=10)
        batch.skills.increment("s", success_count=5)
        batch.memories.put(Memory(id="b"))
        batch.memories.delete("b", missing_ok=False)
        batch.memories.insert(Memory(id="b", text="again"))
    got = store.memories["a"]
    equal((got.text, got.title), ("2", "kept"), "a row that was inserted and updated")
    equal(store.skills["s"].success_count, 15, "a counter that was added to, set and added to")
    equal(store.memories["b"].text, "again", "a row that was put, deleted and inserted")
    wrong: dict[str, Callable[[Any], Any]] = {
        "update before insert": lambda b: (
            b.memories.update("c", text="t"),
            b.memories.insert(Memory(id="c")),
        ),
        "delete before put": lambda b: (
            b.memories.delete("c", missing_ok=False),
            b.memories.put(Memory(id="c")),
        ),
        "increment before put": lambda b: (
            b.skills.increment("c", success_count=1),
            b.skills.put(Skill(id="c")),
        ),
    }
    with unchanged(store):
        for what, work in wrong.items():
            with refused(NotFound, what=what), store.batch() as batch:
                work(batch)


@check("DM-059")
def a_batch_leaves_one_version_of_a_row(case: Case) -> None:
    """Several writes of one row in a batch leave its net effect, once; nothing where that is nothing."""
    store = case.store()
    store.memories.put([Memory(id="a", text="1"), Memory(id="gone")])
    before = versions(store)
    with store.batch() as batch:
        for text in ("2", "3", "4"):
            batch.memories.update("a", text=text)
        batch.memories.put([Memory(id="b", text=text) for text in ("1", "2")])
        batch.memories.put(Memory(id="brief"))
        batch.memories.delete(["brief", "gone"])
    equal(versions(store) - before, 3, "the versions that the batch left")
    head = store.head().commit
    (left,) = [item.batch for item in store.changes() if item.batch and item.batch.commit.id == head]
    changed = sorted((change.key, change.row is None) for change in left.changes)
    equal(changed, [(("a",), False), (("b",), False), (("gone",), True)], "what the batch changed")
    with unchanged(store), store.batch() as batch:
        batch.memories.update("a", text="5")
        batch.memories.update("a", text="4")


def _us(moment: datetime | None) -> int:
    """An aware datetime as microseconds since the epoch."""
    assert moment is not None
    delta = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds
