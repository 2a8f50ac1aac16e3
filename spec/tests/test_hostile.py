"""Hostile arguments at every public method: refused with a `PerdureError`, and what was there stays."""

import enum
import gc
import pickle
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import perdure
import pyarrow as pa
import pytest
from perdure import (
    F,
    InvalidInput,
    InvalidRecord,
    InvalidRef,
    Link,
    Memory,
    MergeConflict,
    NotFound,
    Options,
    PerdureError,
    PermissionDenied,
    PluginError,
    Point,
    Ref,
    Skill,
    State,
    Store,
    Transaction,
    Vector,
)


class Level(enum.IntEnum):
    HIGH = 3


class Name(enum.StrEnum):
    A = "a"


ODD: list[Any] = [
    *(None, 0, -1, True, 1.5, float("nan"), 2**80, -(2**80), Decimal("NaN"), timedelta.max, object(), len),
    *("", "a\0", "\ud800", "x" * 3000, "main@", "@", "main@999999999999999999", "a@b@c", "--importance"),
    *(
        b"a",
        bytearray(b"a"),
        [],
        [1],
        [["a"]],
        ("a", 1),
        {},
        {1: 2},
        {"a"},
        range(3),
        memoryview(b"abcd")[::2],
    ),
    *(
        np.int64(3),
        np.array([1, 2]),
        np.array(["a"]),
        pa.array(["a"]),
        pa.table({"id": ["a"]}),
        pa.schema([]),
    ),
    *(datetime(2020, 1, 1), datetime.max.replace(tzinfo=UTC), Level.HIGH, Name.A, F.kind, F.nope == 1),
    *(
        Memory(id=None),
        Link(),
        Vector(),
        State(),
        Point("x", 2**80),
        Point(5, "x"),
        Ref(5),
        Ref("main", seq=-5),
    ),  # type: ignore[arg-type]
]

TABLE_CALLS: dict[str, Callable[[Any, Any], Any]] = {
    "get": lambda t, x: t.get(x),
    "get_many": lambda t, x: t.get_many(x),
    "in": lambda t, x: x in t,
    "version": lambda t, x: t.version(x),
    "find": lambda t, x: t.find(x),
    "find order": lambda t, x: t.find(order_by=x),
    "find limit": lambda t, x: t.find(limit=x),
    "find after": lambda t, x: t.find(after=x),
    "scan": lambda t, x: list(t.scan(x)),
    "count": lambda t, x: t.count(x),
    "columns": lambda t, x: t.to_arrow(columns=x),
    "search": lambda t, x: t.search(x, space="s"),
    "search k": lambda t, x: t.search([1, 0], space="s", k=x),
    "search space": lambda t, x: t.search([1, 0], space=x),
    "search model": lambda t, x: t.search([1, 0], space="s", model=x),
    "put": lambda t, x: t.put(x),
    "put many": lambda t, x: t.put([x] * 9),
    "put chunk": lambda t, x: t.put([], chunk=x),
    "put in chunks": lambda t, x: t.put(x, chunk=2),
    "put vector": lambda t, x: t.put(Memory(id="v"), vector=x),
    "put if_version": lambda t, x: t.put(Memory(id="v"), if_version=x),
    "put if_absent": lambda t, x: t.put(Memory(id="v"), if_absent=x),
    "put expect_head": lambda t, x: t.put([], expect_head=x),
    "put commit_id": lambda t, x: t.put([], commit_id=x),
    "put author": lambda t, x: t.put([], author=x),
    "update": lambda t, x: t.update(x, metadata=1),
    "update if_version": lambda t, x: t.update("a", if_version=x, metadata=1),
    "update options": lambda t, x: t.update("a", options=x, metadata=1),
    "delete": lambda t, x: t.delete(x),
    "delete missing_ok": lambda t, x: t.delete([], missing_ok=x),
    "delete if_version": lambda t, x: t.delete([], if_version=x),
    "increment": lambda t, x: t.increment(x, success_count=1),
    "increment by": lambda t, x: t.increment("a", success_count=x),
    "touch": lambda t, x: t.touch(x),
    "touch at": lambda t, x: t.touch([], x),
    "purge": lambda t, x: t.purge(x),
}

STORE_CALLS: dict[str, Callable[[Store, Any], Any]] = {
    "neighbors": lambda s, x: s.links.neighbors(x),
    "neighbors direction": lambda s, x: s.links.neighbors("a", direction=x),
    "chain": lambda s, x: list(s.links.chain(x)),
    "chain depth": lambda s, x: list(s.links.chain("a", max_depth=x)),
    "link": lambda s, x: s.links.put(Link(source="a", target="b", relation=x)),
    "matching": lambda s, x: s.skills.matching(x),
    "record_outcome": lambda s, x: s.skills.record_outcome("s", success=x),
    "payload": lambda s, x: s.states.put(State(kind="k", payload=x)),
    "ancestors": lambda s, x: list(s.states.ancestors(("k", "i"), max_depth=x)),
    "table": lambda s, x: s.table(x),
    "at": lambda s, x: s.at(x).memories.count(),
    "at without": lambda s, x: s.at("main", without=x),
    "branch": lambda s, x: s.branch(x),
    "batch": lambda s, x: s.batch(message=x),
    "transact": lambda s, x: s.transact(x) if x is not len else None,
    "transact attempts": lambda s, x: s.transact(lambda tx: None, attempts=x),
    "expire": lambda s, x: s.expire(x),
    "log": lambda s, x: list(s.log(x)),
    "log limit": lambda s, x: list(s.log(limit=x)),
    "diff": lambda s, x: list(s.diff(x, "main")),
    "diff tables": lambda s, x: list(s.diff("main", "main", tables=x)),
    "merge": lambda s, x: s.merge(x),
    "merge into": lambda s, x: s.merge("main", into=x),
    "merge strategy": lambda s, x: s.merge("main", strategy=x),
    "merge tables": lambda s, x: s.merge("main", tables=x),
    "merge keys": lambda s, x: s.merge("main", keys=x),
    "merge keys of": lambda s, x: s.merge("main", keys={"memories": x}),
    "revert": lambda s, x: s.revert(x),
    "revert parent": lambda s, x: s.revert(str(s.head().commit), parent=x, dry_run=True),
    "changes": lambda s, x: list(s.changes(x)),
    "changes poll": lambda s, x: list(s.changes(poll=x)),
    "ingest": lambda s, x: s.ingest(x),
    "backup": lambda s, x: None if isinstance(x, str) and x.isprintable() else s.backup(x),
    "stats": lambda s, x: s.stats(x),
    "compact": lambda s, x: s.compact(x),
    "compact lease": lambda s, x: s.compact(lease=x),
    "fork at": lambda s, x: s.branches.create("fork", x),
    "branch get": lambda s, x: s.branches.get(x),
    "branch delete": lambda s, x: s.branches.delete(x),
    "checkpoint": lambda s, x: s.checkpoints.create(x),
    "checkpoint message": lambda s, x: s.checkpoints.create("c", message=x),
    "space": lambda s, x: s.spaces.create(x, 2),
    "space dim": lambda s, x: s.spaces.create("d", x),
    "space dtype": lambda s, x: s.spaces.create("d", 2, dtype=x),
    "space table": lambda s, x: s.spaces.create("d", 2, table=x),
    "space drop": lambda s, x: s.spaces.drop(x),
    "namespace drop": lambda s, x: s.namespaces.drop(x),
    "open": lambda s, x: perdure.open(x),
    "open mode": lambda s, x: perdure.open("memory://", mode=x),
    "open branch": lambda s, x: perdure.open("memory://", branch=x),
    "open wrap": lambda s, x: perdure.open("memory://", wrap=x),
    "open wrapper": lambda s, x: perdure.open("memory://", wrap=[("readonly", x)]),
    "open observers": lambda s, x: perdure.open("memory://", observers=x),
    "open principal": lambda s, x: perdure.open("memory://", principal=x),
    "restore": lambda s, x: perdure.restore(x, "memory://"),
    "parse_ref": lambda s, x: perdure.parse_ref(x),
    "parse_time": lambda s, x: perdure.parse_time(x),
    "link_id": lambda s, x: perdure.link_id("a", x, None),
}


def refused_or_done(call: Callable[[Any], Any]) -> None:
    for odd in ODD:
        try:
            call(odd)
        except PerdureError as error:
            pickle.dumps(error)  # workers send errors home


@pytest.fixture
def filled(store: Store) -> Store:
    store.spaces.create("s", 2)
    store.memories.put(Memory(id="a", kind="x"))
    store.states.put(State(kind="k", id="i", parents=["j"]))
    return store


@pytest.mark.parametrize("name", perdure.TABLES)
@pytest.mark.parametrize("call", TABLE_CALLS)
def test_a_table_refuses(filled: Store, call: str, name: str) -> None:
    refused_or_done(lambda odd: TABLE_CALLS[call](filled.table(name), odd))
    assert filled.verify().ok


@pytest.mark.parametrize("call", STORE_CALLS)
def test_a_store_refuses(filled: Store, call: str) -> None:
    refused_or_done(lambda odd: STORE_CALLS[call](filled, odd))
    assert filled.verify().ok


@pytest.mark.parametrize(
    ("table", "name"), [(t.name, c.name) for t in perdure.TABLES.values() for c in t.columns]
)
def test_a_field_refuses(filled: Store, table: str, name: str) -> None:
    record, collection = perdure.RECORDS[table], filled.table(table)
    refused_or_done(lambda odd: collection.put(record(**{name: odd})))
    refused_or_done(lambda odd: collection.put([record(**{name: odd}) for _ in range(9)]))
    refused_or_done(lambda odd: collection.put({name: odd}))
    refused_or_done(lambda odd: collection.update(("k", "i") if table == "states" else "a", **{name: odd}))
    assert filled.verify().ok


# ------------------------------------------------------------------------------------------- numbers


def test_numbers_of_other_types_are_taken_by_value(store: Store) -> None:
    store.memories.put(Memory(id=Name.A, tier=Level.HIGH, importance=np.float32(0.5), tags=[Name.A]))  # type: ignore[arg-type]
    memory = store.memories["a"]
    assert (memory.tier, memory.importance, memory.tags) == (3, 0.5, ["a"])
    assert [type(x) for x in (memory.id, memory.tier, memory.importance, memory.tags[0])] == [
        str,
        int,
        float,
        str,
    ]
    store.skills.put(Skill(id="s"))
    store.skills.increment("s", success_count=np.int64(2))  # type: ignore[arg-type]
    assert store.skills["s"].success_count == 2


def test_texts_of_other_types_become_plain(store: Store) -> None:
    done = store.memories.put(Memory(id="a"), message=Name.A, author=np.str_("me"), commit_id=Name.A)
    assert done is not None
    assert done.commit is not None
    checkpoint = store.checkpoints.create(Name.A, message=Name.A)
    space = store.spaces.create(Name.A, 2, model=Name.A, table=np.str_("memories"))
    branch = store.branches.create(np.str_("b"), Name.A)
    texts = [done.commit.id, done.commit.message, done.commit.author, checkpoint.name, checkpoint.message]
    texts += [space.name, space.model, str(space.table), branch.name, store.branch(np.str_("b")).branch_name]
    assert {type(text) for text in texts} == {str}, "hashes and drivers know no subclass"


def test_huge_numbers_mean_all(store: Store) -> None:
    store.spaces.create("s", np.int64(2), table="memories")  # type: ignore[arg-type]
    store.memories.put(Memory(id="a"), vector=[1, 0])
    assert len(store.memories.find(limit=2**80)) == len(store.memories.search([1, 0], k=2**80)) == 1
    store.compact(timedelta.max, lease=timedelta.max)
    store.compact(2**80)
    for keep in (timedelta(-1), 0, timedelta.min):
        with pytest.raises(InvalidInput, match="keep"):
            store.compact(keep)


# -------------------------------------------------------------------------------------------- writes


def test_an_iterator_that_gives_one_object_again_is_refused(store: Store) -> None:
    def reuse() -> Iterator[Memory]:
        memory = Memory()
        for i in range(20):
            memory.id = str(i)
            yield memory

    for chunk in (None, 10):
        with pytest.raises(InvalidRecord, match="again"):
            store.memories.put(reuse(), chunk=chunk)
    assert store.memories.count() == 0
    memory = Memory(id="a")
    store.memories.put([memory, memory])
    assert store.memories.count() == 1


def test_temporary_files_are_closed(store: Store) -> None:
    def fails() -> Iterator[Memory]:
        yield from (Memory() for _ in range(25_000))
        raise ZeroDivisionError

    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        store.memories.put(Memory() for _ in range(20_000))
        store.states.put(State(kind="k", payload=[b"x" * 2**20] * 17))
        with pytest.raises(ZeroDivisionError):
            store.memories.put(fails())
        gc.collect()


def test_progress_counts_records_of_any_source(store: Store) -> None:
    told: list[int] = []
    store.spaces.create("s", 2, table="memories")
    store.memories.put(pa.table({"id": ["a", "b"]}), progress=told.append)
    store.memories.put((Memory() for _ in range(20_000)), progress=told.append)
    store.memories.put(Memory(), vector=[1, 0], progress=told.append)
    reader = pa.table({"id": ["a", "b", "c"]}).to_reader()
    store.memories.put(reader, chunk=2, progress=told.append)
    assert told == [2, 20_000, 1, 2, 3]


def test_chunks_of_arrow_data_are_full(store: Store) -> None:
    told: list[int] = []
    table = pa.concat_tables([pa.table({"id": [str(i)]}) for i in range(10)])
    store.memories.put(table, chunk=4, progress=told.append)
    store.memories.put(table.to_reader(), chunk=4, progress=told.append)
    store.memories.put(table.combine_chunks().to_batches()[0], chunk=4, progress=told.append)
    assert told == [4, 8, 10] * 3


def test_a_batch_ends_once(store: Store) -> None:
    store.skills.put(Skill(id="s"))
    batch = store.batch()
    with batch:
        batch.skills.increment("s", success_count=1)
        with pytest.raises(InvalidInput, match="no part of a batch"):
            batch.skills.purge("s")
    with pytest.raises(InvalidInput, match="ended"), batch:
        pass
    assert store.skills["s"].success_count == 1


def test_a_vector_in_a_batch_goes_with_its_row(store: Store) -> None:
    store.spaces.create("s", 2, table="memories")
    with store.batch() as batch:
        batch.memories.put(Memory(id="a"), vector=[1, 0])
    assert [f.record.id for f in store.memories.search([1, 0])] == ["a"]
    with pytest.raises(InvalidInput, match="of its own|are its own"):
        store.vectors.put(Vector(space="s", id="a", values=[1, 0]), vector=[1, 0])
    store.spaces.create("t", 2, table="memories")
    with pytest.raises(InvalidInput, match="name the space: s, t"):
        store.memories.search([1, 0])


def test_update_takes_any_name_as_a_field(store: Store) -> None:
    store.memories.put(Memory(id="a"))
    for name in ("key", "self", "message"):
        with pytest.raises(InvalidRecord, match=name):
            store.memories.update("a", **{name: "x"})  # type: ignore[arg-type]
        with pytest.raises(InvalidRecord, match=name):
            store.skills.increment("a", **{name: "x"})  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="exclude"):
        store.memories.put(Memory(id="a"), if_absent=True, if_version="x")


def test_options_are_checked_where_they_are_made() -> None:
    for wrong in ({"message": 5}, {"author": "\0"}, {"commit_id": "a b"}, {"check_references": "yes"}):
        with pytest.raises(InvalidInput):
            Options(**wrong)  # type: ignore[arg-type]


def test_expire_keeps_what_was_extended_meanwhile(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    soon, later = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)
    store.memories.put([Memory(id="a", expires_at=soon), Memory(id="b", expires_at=soon)])
    begin = Transaction.__init__

    def interrupted(self: Transaction, *args: Any) -> None:
        begin(self, *args)
        store.memories.update("a", expires_at=later)

    monkeypatch.setattr(Transaction, "__init__", interrupted)
    done = store.expire(soon)
    assert done is not None
    assert done.deleted == 1
    assert "a" in store.memories


# --------------------------------------------------------------------------------------------- places


def test_a_store_opens_on_a_branch_only(store: Store) -> None:
    store.checkpoints.create("cp")
    for name in ("cp", "missing", "main@0"):
        with pytest.raises((NotFound, InvalidRef)):
            perdure.open("memory://", branch=name)


def test_a_snapshot_purges_nothing(store: Store) -> None:
    store.memories.put(Memory(id="a"))
    with pytest.raises(PermissionDenied):
        store.snapshot().memories.purge("a")
    assert "a" in store.memories


def test_a_wrapper_that_gives_no_backend_leaves_nothing_open() -> None:
    closed: list[bool] = []

    class Inner(perdure.wrappers.Forward):  # type: ignore[name-defined, misc]
        @perdure.hookimpl
        def close(self, ctx: perdure.Context) -> bool:
            closed.append(True)
            return bool(super().close(ctx))

    with pytest.raises(PluginError, match="lacks"):
        perdure.open("memory://", wrap=[Inner, lambda inner: None])
    assert closed == [True]


def test_a_what_if_view_knows_read_counters(store: Store) -> None:
    store.memories.put([Memory(id="a"), Memory(id="b")])
    done = store.memories.put([Memory(id="a", text="x"), Memory(id="c")])
    assert done is not None
    assert done.commit is not None
    store.memories.touch(["a", "b", "c"])
    view = store.at("main", without=done.commit.id)
    assert [m.id for m in view.memories.find(F.access_count > 0)] == ["a", "b"]
    assert view.memories.count(F.access_count > 0) == 2
    assert view.memories.count(F.access_count == 0) == 0


def test_a_page_of_a_what_if_view_stays_in_it(store: Store) -> None:
    store.memories.put([Memory(id="a"), Memory(id="b")])
    done = store.memories.put(Memory(id="c"))
    assert done is not None
    assert done.commit is not None
    page = store.at("main", without=done.commit.id).memories.find(limit=1)
    with pytest.raises(InvalidInput, match="another query"):
        store.memories.find(limit=1, after=page.cursor)
    store.memories.put(Memory(id="d"))
    with pytest.raises(InvalidInput, match="what-if"):
        store.at("main", without=done.commit.id).memories.find(limit=1, after=page.cursor)


def test_errors_travel_between_processes(store: Store) -> None:
    lab = store.branch("lab")
    store.memories.put(Memory(id="a", text="1"))
    lab.memories.put(Memory(id="a", text="2"))
    with pytest.raises(MergeConflict) as caught:
        store.merge("lab")
    back = pickle.loads(pickle.dumps(caught.value))
    assert back.conflicts == caught.value.conflicts
