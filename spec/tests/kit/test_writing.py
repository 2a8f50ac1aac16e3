"""Commits: outcomes, races, and what a crash between any two writes leaves."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import perdure.kit._compact as compaction
import pyarrow as pa
import pytest
from perdure._errors import (
    AlreadyExists,
    Busy,
    Conflict,
    InvalidFilter,
    InvalidInput,
    InvalidRecord,
    NotFound,
    PermissionDenied,
    StaleHead,
    Unavailable,
    VersionConflict,
)
from perdure._names import parse_ref, uuid7
from perdure._schema import TABLES
from perdure._types import (
    ABSENT,
    CommitRequest,
    CompactRequest,
    Context,
    Delete,
    Increment,
    Put,
    PutArrow,
    Query,
    Update,
)
from perdure.kit import batch_of

CTX = Context()


def test_a_commit_records_its_facts(store: Any, row: Any) -> None:
    first = store.commit(Put("memories", [row("memories", "a")]), author="ann", message="one", time=5)
    assert (first.commit.seq, first.commit.time, first.commit.author, first.commit.parents) == (
        1,
        5,
        "ann",
        (),
    )
    assert (first.written, first.deleted, first.replayed) == (1, 0, False)
    second = store.commit(Put("memories", [row("memories", "b")]), time=3, parents=("x",))
    assert second.commit.time == 5, "time never decreases along a branch"
    assert second.commit.parents == (first.commit.id, "x")
    assert store.hook.get_commits(CTX, [second.commit.id, "none", first.commit.id]) == [
        second.commit,
        None,
        first.commit,
    ]
    assert store.fetch("memories", ("b",))[0][-2:] == (5, 5)


def test_a_replay_returns_the_first_outcome(store: Any, row: Any) -> None:
    first = store.commit(Put("memories", [row("memories", "a")]), id="c1")
    store.commit(Put("memories", [row("memories", "b")]))
    again = store.commit(Put("memories", [row("memories", "z")]), id="c1", expect_head=None)
    assert again.replayed
    assert (again.commit, again.point, again.written) == (first.commit, first.point, 0)
    assert store.ids() == ["a", "b"]


def test_no_net_effect_makes_no_commit_unless_forced(store: Any, row: Any) -> None:
    store.commit(Put("memories", [row("memories", "a", text="x")]))
    head = store.resolve("main")
    for batch in ([], [Put("memories", [row("memories", "a", text="x")])], [Delete("memories", [("z",)])]):
        done = store.commit(*batch)
        assert (done.commit, done.point) == (None, head)
    assert store.commit(force=True).commit.seq == head.seq + 1


def test_expect_head(store: Any, row: Any) -> None:
    done = store.commit(Put("memories", [row("memories", "a")]), expect_head=None)
    with pytest.raises(StaleHead):
        store.commit(Put("memories", [row("memories", "b")]), expect_head=None)
    store.branch("lab")
    store.commit(Put("memories", [row("memories", "b")]), branch="lab", expect_head=done.commit.id)
    assert store.ids() == ["a"]


def test_a_child_goes_on_after_its_fork(store: Any, row: Any) -> None:
    first = store.commit(Put("memories", [row("memories", "a")]))
    lab = store.branch("lab")
    own = store.commit(Put("memories", [row("memories", "b")]), branch="lab")
    assert own.commit.seq == lab.fork_seq + 1
    assert own.commit.parents == (first.commit.id,)
    assert store.ids(at="lab@1") == ["a"]
    assert store.resolve("lab@1").branch == store.resolve("main").branch


def test_versions_and_operations(store: Any, row: Any) -> None:
    first = store.commit(Put("skills", [row("skills", "s", success_count=1)], if_version=ABSENT))
    with pytest.raises(VersionConflict):
        store.commit(Put("skills", [row("skills", "s")], if_version=ABSENT))
    with pytest.raises(AlreadyExists):
        store.commit(Put("skills", [row("skills", "s")], mode="insert"))
    with pytest.raises(NotFound):
        store.commit(Update("skills", ("none",), {"name": "x"}))
    store.commit(Increment("skills", ("s",), {"success_count": 2}))
    assert store.fetch("skills", ("s",))[0][8] == 3
    store.branch("lab")
    now = store.hook.versions(CTX, "skills", [("s",), ("none",)], parse_ref("lab"))
    assert now == [store.resolve("main").commit, None]
    with pytest.raises(VersionConflict):
        store.commit(Delete("skills", [("s",)], if_version=first.commit.id))


def test_arrow_batches(store: Any, row: Any) -> None:
    schema = TABLES["memories"].arrow
    rows = [
        row("memories", f"m{i:04}", tags=("a", "b"), created_at=1, updated_at=2, importance=0.5)
        for i in range(50)
    ]
    store.commit(PutArrow("memories", [batch_of(schema, rows)], unique=True))
    batches = list(store.hook.scan(CTX, Query("memories"), parse_ref("main")))
    assert batches[0].schema.equals(schema)
    assert list(store.contents().values()) == rows
    with pytest.raises(InvalidRecord):
        store.commit(
            PutArrow(
                "memories",
                [batch_of(schema, [row("memories", "twice", created_at=1, updated_at=1)])] * 2,
                unique=True,
            )
        )
    assert len(store.ids()) == 50


@pytest.mark.parametrize("key", ["a\0b", "\ud800"])
def test_a_key_that_cannot_be(store: Any, row: Any, key: str) -> None:
    with pytest.raises(InvalidRecord):
        store.commit(Put("memories", [row("memories", (key,))]))
    for asked in (key,), ("a", "b"), ():
        with pytest.raises(InvalidRecord):
            store.fetch("memories", asked)


def test_text_that_cannot_be_stored_writes_nothing(store: Any, row: Any) -> None:
    for text in ("\ud800", 2**80):
        with pytest.raises(InvalidRecord):
            store.commit(Put("memories", [row("memories", "a"), row("memories", "b", text=text)]))
    assert store.ids() == []


def test_read_only_and_closed(storage: Any, driver: Any, row: Any) -> None:
    with pytest.raises(NotFound):
        driver(storage, mode="r")
    driver(storage).commit(Put("memories", [row("memories", "a")]))
    reader = driver(storage, mode="r")
    assert reader.ids() == ["a"]
    for write in (
        lambda: reader.commit(Put("memories", [])),
        lambda: reader.branch("lab"),
        lambda: reader.hook.touch(CTX, "memories", [("a",)], 1),
        lambda: reader.hook.compact(CTX, CompactRequest()),
        lambda: reader.hook.purge(CTX, "memories", [("a",)]),
        lambda: reader.hook.ingest(CTX, []),
    ):
        with pytest.raises(PermissionDenied):
            write()
    assert reader.hook.close(CTX)
    assert reader.hook.close(CTX)
    with pytest.raises(Unavailable):
        reader.ids()


def test_counters_belong_to_the_row_not_to_a_branch(store: Any, row: Any) -> None:
    store.branch("lab")
    store.commit(Put("memories", [row("memories", "a")]), branch="lab")
    assert store.hook.touch(CTX, "memories", [("a",), ("a",), ("none",)], 7) == 1
    assert store.hook.touch(CTX, "memories", [("a",)], 5) == 1
    counter = store.hook.counters(CTX, "memories", [("a",), ("none",)])
    assert [(c.accessed_at, c.access_count) for c in counter] == [(7, 2), (None, 0)]
    store.commit(Delete("memories", [("a",)]), branch="lab")
    assert store.hook.touch(CTX, "memories", [("a",)], 9) == 0
    assert store.hook.counters(CTX, "memories", [("a",)])[0].access_count == 2


# ------------------------------------------------------------------------------------- races and crashes


def test_no_increment_is_lost(storage: Any, driver: Any, row: Any) -> None:
    driver(storage).commit(Put("skills", [row("skills", "s")]))
    errors: list[BaseException] = []

    def work() -> None:
        own = driver(storage)
        try:
            for _ in range(10):
                own.commit(Increment("skills", ("s",), {"success_count": 1}))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    [thread.start() for thread in threads]  # type: ignore[func-returns-value]
    [thread.join() for thread in threads]  # type: ignore[func-returns-value]
    assert not errors
    final = driver(storage)
    assert final.fetch("skills", ("s",))[0][8] == 40
    assert final.hook.verify(CTX).ok
    before = final.hook.verify(CTX).checked["garbage"]
    final.hook.compact(CTX, CompactRequest(lease=0))
    assert final.hook.verify(CTX).checked["garbage"] == 0, f"of {before} row versions of lost races"


class Crashed(Exception):
    pass


def crash_at(storage: Any, number: int) -> None:
    left = number

    def fail(name: str, key: bytes) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Crashed

    storage.fail = fail


@pytest.mark.parametrize("work", ["commit", "compact", "purge"])
def test_a_crash_at_any_write_leaves_a_whole_state(
    dict_storage: Any, driver: Any, row: Any, work: str, monkeypatch: Any
) -> None:
    for number in range(200):
        storage = dict_storage()
        store = driver(storage)
        for text in "xyz":
            store.commit(Put("memories", [row("memories", key, text=text) for key in "abc"]))
        store.commit(Delete("memories", [("c",)]))
        before = store.contents()
        crash_at(storage, number)
        try:
            if work == "commit":
                store.commit(Put("memories", [row("memories", key, text="new") for key in "abd"]), id="c")
            elif work == "compact":
                store.hook.compact(CTX, CompactRequest(lease=0))
            else:
                store.hook.purge(CTX, "memories", [("a",), ("c",)])
        except Crashed:
            crashed = True
        else:
            crashed = False
        storage.fail = lambda name, key: None
        again = driver(storage)
        after = again.contents()
        kept = {key: held for key, held in before.items() if key != ("a",)}
        if work == "commit":
            assert (after == before) is crashed or len(after) == 3
            assert {held[6] for held in after.values()} in ({"z"}, {"new"}), "never half of a commit"
        else:
            assert after in ((before,) if work == "compact" else (before, kept))
        assert again.hook.verify(CTX).ok
        if not crashed:
            break
        with monkeypatch.context() as patch:
            patch.setattr("perdure.kit._alive.LOOKS", 0)  # one that did not say that it ended counts as dead
            again.hook.purge(CTX, "memories", [("a",)])
        assert again.contents() == {key: held for key, held in after.items() if key != ("a",)}
        assert again.hook.verify(CTX).ok
    else:
        raise AssertionError("the work never came to its end")


def test_a_second_maintenance_waits_its_turn(dict_store: Any, row: Any) -> None:
    dict_store.commit(Put("memories", [row("memories", "a")]))
    with dict_store.hook._upkeep.maintenance(CTX), pytest.raises(Busy):
        dict_store.hook.compact(CTX, CompactRequest())
    dict_store.hook.compact(CTX, CompactRequest())


def test_main_stays(store: Any) -> None:
    with pytest.raises(Conflict):
        store.hook.delete_branch(CTX, "main", True)
    with pytest.raises(NotFound):
        store.commit(branch=uuid7())


def test_a_row_is_not_written_while_it_is_purged(dict_store: Any, driver: Any, row: Any) -> None:
    """At each moment of a purge, another handle writes the row: it waits, and what it wrote then stays."""
    store, other = dict_store, driver(dict_store.storage)
    look = store.storage.range
    refused = 0

    def write(deadline: float | None) -> None:
        request = CommitRequest("main", uuid7(), [Put("memories", [row("memories", "a", text="again")])])
        other.hook.commit(Context(deadline=deadline), request)

    def looked_in(start: bytes, end: bytes, reverse: bool = False) -> Any:
        nonlocal refused
        if not writing and store.hook._heads.load().hidden:
            writing.append(True)
            with pytest.raises(Busy):
                write(0.0)
            refused += 1
            writing.clear()
        return look(start, end, reverse)

    writing: list[bool] = []
    store.commit(Put("memories", [row("memories", "a"), row("memories", "b")]))
    store.storage.range = looked_in
    assert store.hook.purge(CTX, "memories", [("a",)]).versions == 1
    store.storage.range = look
    assert refused > 1
    write(None)
    assert store.ids() == ["a", "b"]
    assert store.hook.verify(CTX).ok


def test_an_attempt_is_later_than_the_maintenance_that_it_sees(
    dict_store: Any, driver: Any, row: Any, monkeypatch: Any
) -> None:
    """A writer whose clock is behind commits during a compaction, which does not take that for garbage."""
    store, other = dict_store, driver(dict_store.storage)
    store.commit(Put("memories", [row("memories", "a")]))
    plan = compaction.plan_of

    def write(*args: Any) -> Any:
        monkeypatch.setattr("perdure.kit._writing.now_us", lambda: 1)
        other.commit(Put("memories", [row("memories", "b")]))
        return plan(*args)

    monkeypatch.setattr(compaction, "plan_of", write)
    store.hook.compact(CTX, CompactRequest(lease=0))
    assert store.ids() == ["a", "b"]
    assert store.hook.verify(CTX).ok


@pytest.mark.parametrize("cells", [{"tier": 2**63}, {"importance": float("nan")}, {"importance": -0.0}])
def test_numbers_that_not_every_engine_keeps(store: Any, row: Any, cells: Any) -> None:
    store.commit(Put("memories", [row("memories", "a")]))
    for operation in (Put("memories", [row("memories", "b", **cells)]), Update("memories", ("a",), cells)):
        with pytest.raises(InvalidRecord):
            store.commit(operation)
    assert store.ids() == ["a"]


def test_arguments_without_a_repr_or_a_truth_value(store: Any, row: Any) -> None:
    """An int of thousands of digits cannot be shown, and an array is neither true nor false."""
    array = np.array([1, 2])
    for fields in ({"time": 10**5000}, {"parents": array}, {"chunks": 10**5000}, {"picks": [1]}):
        with pytest.raises(InvalidInput):
            store.commit(Put("memories", [row("memories", "a")]), **fields)
    for operation in (
        Put("memories", [row("memories", "a")], mode=array),
        PutArrow("memories", [], unique=array),
        Delete("memories", [("a",)], missing_ok=array),
    ):
        with pytest.raises(InvalidRecord):
            store.commit(operation)
    with pytest.raises(InvalidFilter):
        store.hook.select(CTX, Query("memories", order=array), parse_ref("main"))


def test_an_arrow_text_that_is_no_utf8(store: Any, row: Any) -> None:
    good = batch_of(TABLES["memories"].arrow, [row("memories", "a", created_at=1, updated_at=1)])
    buffers = [None, pa.py_buffer(bytes(4) + b"\1\0\0\0"), pa.py_buffer(b"\xff")]
    columns = [pa.Array.from_buffers(pa.string(), 1, buffers), *good.columns[1:]]
    for unique in (True, False):
        with pytest.raises(InvalidRecord):
            store.commit(
                PutArrow("memories", [pa.RecordBatch.from_arrays(columns, schema=good.schema)], unique)
            )
