"""Answers that a comparison with the memory engine, and hostile arguments, once showed to be wrong."""

import random

import numpy as np
import perdure
import pytest
from perdure import (
    TABLES,
    Branch,
    Change,
    ChangeBatch,
    Checkpoint,
    Commit,
    CommitRequest,
    CompactRequest,
    Context,
    Counter,
    Delete,
    Pick,
    Point,
    Put,
    Query,
    Ref,
    Search,
    Space,
    Update,
)
from perdure.filters import F
from perdure_sqlite import plugin

CTX = Context()
MEMORIES = TABLES["memories"]
MAIN = Ref("main")


def memory(id_, **cells):
    start = {"id": id_, "content": "null", "metadata": "null", "tags": ()}
    return tuple({**start, **cells}.get(name) for name in MEMORIES.names)


def vector(space, id_, *numbers):
    return (space, id_, np.array(numbers, "<f4").tobytes(), None, "null", None, None)


def commit(backend, *operations, branch="main", **more):
    request = CommitRequest(branch, more.pop("id", None) or perdure.uuid7(), list(operations), **more)
    return backend.commit(ctx=CTX, request=request)


def ids(backend, at=MAIN, **query):
    return [row[0] for row in backend.select(ctx=CTX, query=Query("memories", **query), at=at)]


def found(backend, space, *numbers, at=MAIN):
    query = np.array(numbers, "<f8").tobytes()
    return [hit.id for hit in backend.search(ctx=CTX, search=Search(space, query, 10), at=at)]


@pytest.mark.parametrize("other", [False, True], ids=["this process", "another handle"])
def test_a_vector_whose_tombstone_was_compacted_is_not_found(store, path, other):
    store.create_space(ctx=CTX, space=Space("s", 2))
    commit(store, Put("vectors", [vector("s", "gone", 1, 0), vector("s", "here", 0, 1)]))
    assert found(store, "s", 1, 0) == ["gone", "here"]
    writer = plugin.open(f"sqlite:///{path}", "test", "rw") if other else store
    commit(writer, Delete("vectors", [("s", "gone")]))
    commit(writer, Put("memories", [memory("m")]))
    writer.compact(ctx=CTX, request=CompactRequest(lease=0))
    assert found(store, "s", 1, 0) == ["here"]
    if other:
        writer.close(ctx=CTX)


def test_a_comma_that_begins_a_tag_is_no_end_of_another(store):
    rows = [memory("two", tags=("x,", "y")), memory("one", tags=(",",)), memory("mid", tags=("a", ",b"))]
    commit(store, Put("memories", rows))
    assert ids(store, where=F.tags.contains(",")) == ["one"]
    assert ids(store, where=~F.tags.contains(",")) == ["mid", "two"]
    assert ids(store, where=F.tags.contains(",b")) == ["mid"]


@pytest.mark.parametrize("depth", [1, 4, 14, 45])
def test_count_is_the_number_of_rows_whatever_the_depth(store, depth):
    rng = random.Random(depth)
    name = "main"
    for level in range(depth):
        fresh = {f"m{rng.randrange(60)}" for _ in range(rng.choice([2, 40]))}
        gone = [(f"m{rng.randrange(60)}",) for _ in range(8)]
        commit(store, Put("memories", [memory(id_) for id_ in fresh]), Delete("memories", gone), branch=name)
        point = store.resolve(ctx=CTX, ref=Ref(name))
        store.create_branch(ctx=CTX, name=f"b{level}", at=point)
        name = f"b{level}"
        for at in (point, Ref(name)):
            assert store.count(ctx=CTX, table="memories", where=None, at=at) == len(ids(store, at))


def test_a_point_is_recorded_as_the_store_knows_it(store):
    first = commit(store, Put("memories", [memory("a")]), time=7).point
    commit(store, Put("memories", [memory("b")]))
    made_up = Point(first.branch, first.seq, "zz", 5)
    named = store.create_checkpoint(ctx=CTX, checkpoint=Checkpoint("c", made_up))
    assert named.point == first
    assert store.create_branch(ctx=CTX, name="b", at=made_up).head.commit == first.commit
    empty = store.create_checkpoint(ctx=CTX, checkpoint=Checkpoint("e", Point(first.branch, 0, "zz", 5)))
    assert (empty.point.seq, empty.point.commit, empty.point.time) == (0, None, 0)


def test_a_commit_id_is_replayed_whatever_the_branch(store):
    first = commit(store, Put("memories", [memory("a")]), id="once")
    store.create_branch(ctx=CTX, name="lab", at=MAIN)
    again = commit(store, Put("memories", [memory("b")]), id="once", branch="lab")
    assert (again.replayed, again.commit) == (True, first.commit)
    assert ids(store, Ref("lab")) == ["a"]


def test_purge_takes_bound_vectors_out_of_picks(store):
    store.create_space(ctx=CTX, space=Space("s", 2, table="memories"))
    point = commit(store, Put("memories", [memory("m")]), Put("vectors", [vector("s", "m", 1, 0)])).point
    picks = (Pick(point, "vectors", (("s", "m"), ("s", "n"))), Pick(point, "memories", (("m",),)))
    made = commit(store, force=True, picks=picks).commit
    store.purge(ctx=CTX, table="memories", keys=[("m",)])
    (kept,) = store.get_commits(ctx=CTX, ids=[made.id])
    assert [pick.keys for pick in kept.picks] == [(("s", "n"),), ()]
    store.drop_space(ctx=CTX, name="s")
    assert [pick.keys for pick in store.get_commits(ctx=CTX, ids=[made.id])[0].picks] == [(), ()]
    assert store.verify(ctx=CTX).problems == ()


def test_a_limit_of_nothing_still_resolves_its_place(store):
    assert ids(store, limit=0) == []
    with pytest.raises(perdure.NotFound):
        ids(store, Ref("nowhere"), limit=0)


def test_history_that_does_not_continue_the_head_is_refused(store):
    commit(store, Put("memories", [memory("a")]))
    (main,) = store.list_branches(ctx=CTX)
    after = {"branch": main.id, "seq": main.head.seq + 1, "time": main.head.time + 1}
    for parents in ((), ("elsewhere",)):
        with pytest.raises(perdure.Conflict):
            store.ingest(ctx=CTX, events=[ChangeBatch(Commit("c", **after, parents=parents), ())])
    report = store.ingest(
        ctx=CTX, events=[ChangeBatch(Commit("c", **after, parents=(main.head.commit,)), ())]
    )
    assert report.commits == 1


@pytest.mark.parametrize(
    "events",
    [
        [ChangeBatch(None, ())],
        [ChangeBatch(Commit(5, "b", 1, 1), ())],
        [ChangeBatch(Commit("c", "b", 2**63, 1), ())],
        [Counter("memories", ("a",), "1", 1)],
        [Branch(b"x", "new", None, 0, Point("x", 0))],
        ["nonsense"],
    ],
)
def test_events_that_no_engine_gave_are_refused(store, events):
    with pytest.raises(perdure.InvalidRecord):
        store.ingest(ctx=CTX, events=[Space("s", 2), *events])
    assert store.list_spaces(ctx=CTX) == []


def test_a_commit_that_is_cut_short_is_refused(store):
    (main,) = store.list_branches(ctx=CTX)
    first = ChangeBatch(Commit("c", main.id, 1, 1), (Change("memories", ("a",), None),), final=False)
    other = ChangeBatch(Commit("d", main.id, 2, 1), ())
    for events in ([first], [first, other], [first, other, first]):
        with pytest.raises(perdure.InvalidRecord):
            store.ingest(ctx=CTX, events=events)
    assert store.get_commits(ctx=CTX, ids=["c", "d"]) == [None, None]


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -0.0])
def test_a_number_that_would_come_back_as_another_is_refused(store, number):
    for operation in (
        Put("memories", [memory("a", importance=number)]),
        Update("memories", ("b",), {"importance": number}),
    ):
        with pytest.raises(perdure.InvalidRecord):
            commit(store, Put("memories", [memory("b")]), operation)
    assert ids(store) == []


def test_a_namespace_that_was_dropped_is_not_found(store, path):
    other = plugin.open(f"sqlite:///{path}", "other", "rw")
    store.drop_namespace(ctx=CTX, name="other")
    for call in (
        lambda: other.purge(ctx=CTX, table="memories", keys=[("a",)]),
        lambda: other.ingest(ctx=CTX, events=[]),
        lambda: ids(other),
    ):
        with pytest.raises(perdure.NotFound):
            call()
    again = plugin.open(f"sqlite:///{path}", "other", "rw")
    commit(again, Put("memories", [memory("new")]))
    with pytest.raises(perdure.NotFound):
        ids(other)
    other.close(ctx=CTX)
    again.close(ctx=CTX)
