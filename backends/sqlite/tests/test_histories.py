"""Branches, compaction, flattening, export and search, against what was read before."""

from datetime import timedelta

import numpy as np
import perdure
import pytest
from perdure import Checkpoint, CommitRequest, CompactRequest, Context, Delete, Put, Query, Ref, Search, Space
from perdure.filters import F
from perdure.kit import scores
from perdure_sqlite import plugin

CTX = Context()
MEMORIES = perdure.TABLES["memories"]


def memory(id_, kind):
    cells = {"id": id_, "kind": kind, "content": "null", "metadata": "null", "tags": ("x",)}
    return tuple(cells.get(name) for name in MEMORIES.names)


def commit(backend, *operations, branch="main"):
    request = CommitRequest(branch, perdure.uuid7(), list(operations))
    return backend.commit(ctx=CTX, request=request)


def rows(backend, at, where=None):
    return list(backend.select(ctx=CTX, query=Query("memories", where), at=at))


def deep(store, depth):
    """A chain of forks, each with a row put, one replaced and one deleted."""
    names = ["main"]
    commit(store, Put("memories", [memory(f"m{i:02}", "main") for i in range(40)]))
    for level in range(depth):
        names.append(f"b{level}")
        store.create_branch(ctx=CTX, name=names[-1], at=Ref(names[-2]))
        fresh = [memory(f"m{level:02}", names[-1]), memory(f"new{level}", names[-1])]
        commit(store, Put("memories", fresh), Delete("memories", [(f"m{level + 20:02}",)]), branch=names[-1])
    return names


def test_a_deep_lineage_reads_the_same_after_flattening(store):
    names = deep(store, 14)
    before = {name: rows(store, Ref(name)) for name in names}
    assert [len(found) for found in before.values()] == [40] * 15
    scan = store.scan(ctx=CTX, query=Query("memories"), at=Ref(names[-1]))
    report = store.compact(ctx=CTX, request=CompactRequest(lease=0))
    assert report.flattened > 0
    assert sum(batch.num_rows for batch in scan) == 40
    assert {name: rows(store, Ref(name)) for name in names} == before
    assert store.verify(ctx=CTX).problems == ()
    for name in names[::5]:
        commit(store, Put("memories", [memory("m30", "late")]), branch=name)
        assert len(rows(store, Ref(name), F.kind == "late")) == 1
    assert store.verify(ctx=CTX).problems == ()


def test_compaction_keeps_what_is_named_and_expires_the_rest(store):
    points = [commit(store, Put("memories", [memory("a", f"k{i}")])).point for i in range(6)]
    store.create_checkpoint(ctx=CTX, checkpoint=Checkpoint("pin", points[1]))
    store.create_branch(ctx=CTX, name="lab", at=points[2])
    store.compact(ctx=CTX, request=CompactRequest(keep_commits=2, lease=0))
    for place, kind in (("pin", "k1"), ("lab", "k2"), ("main@5", "k4"), ("main@6", "k5"), ("main@2", "k1")):
        assert rows(store, perdure.parse_ref(place))[0][1] == kind
    for at in (points[0], points[3], Ref("main", seq=4)):
        with pytest.raises(perdure.HistoryExpired):
            rows(store, at)
    assert store.verify(ctx=CTX).problems == ()


def export(backend):
    yield from backend.list_spaces(ctx=CTX)
    for branch in sorted(backend.list_branches(ctx=CTX), key=lambda b: b.created_at):
        yield branch
        yield from backend.changes(ctx=CTX, branch=branch.id, after=0, upto=2**60, compacted=True)


def test_history_moves_to_an_empty_store_once(store, tmp_path):
    names = deep(store, 3)
    other = plugin.open(f"sqlite:///{tmp_path}/copy.db", "test", "rw")
    first = other.ingest(ctx=CTX, events=export(store))
    assert (first.commits, first.branches) == (4, 4)
    assert other.ingest(ctx=CTX, events=export(store)).commits == 0
    for name in names:
        assert rows(other, Ref(name)) == rows(store, Ref(name))
    commit(store, Put("memories", [memory("more", "m")]))
    commit(store, Put("memories", [memory("again", "before the purge")]))
    other.purge(ctx=CTX, table="memories", keys=[("m39",), ("again",)])
    commit(store, Put("memories", [memory("m39", "after the purge")]))
    later = other.ingest(ctx=CTX, events=export(store))
    assert (later.commits, later.purged) == (3, 1)
    assert other.verify(ctx=CTX).problems == ()
    commit(other, Put("memories", [memory("own", "m")]))
    commit(store, Put("memories", [memory("theirs", "m")]))
    with pytest.raises(perdure.Conflict):
        other.ingest(ctx=CTX, events=export(store))
    other.close(ctx=None)


@pytest.mark.parametrize("metric", ["cosine", "l2", "dot"])
def test_search_equals_brute_force_on_every_branch(store, metric):
    rng = np.random.default_rng(5)
    store.create_space(ctx=CTX, space=Space("s", 6, metric=metric))

    def put(branch, ids):
        batch = [
            ("s", id_, rng.normal(size=6).astype("<f4").tobytes(), None, "null", None, None) for id_ in ids
        ]
        commit(store, Put("vectors", batch), branch=branch)

    put("main", [f"v{i}" for i in range(200)])
    store.create_branch(ctx=CTX, name="lab", at=Ref("main"))
    past = store.resolve(ctx=CTX, ref=Ref("main"))
    put("lab", ["v3", "v4", "new"])
    put("main", ["v3", "later"])
    commit(store, Delete("vectors", [("s", "v5")]), branch="lab")
    for _ in range(5):
        query = rng.normal(size=6)
        for at in (Ref("main"), Ref("lab"), past):
            for where in (None, F.id.starts_with("v1")):
                found = list(store.select(ctx=CTX, query=Query("vectors", where), at=at))
                values = np.stack([np.frombuffer(row[2], "<f4") for row in found])
                best = sorted(zip(-scores(metric, values, query), [row[1] for row in found], strict=True))[:7]
                hits = store.search(ctx=CTX, search=Search("s", query.tobytes(), 7, where), at=at)
                assert [(hit.id, hit.score) for hit in hits] == [(id_, -score) for score, id_ in best]


def test_touched_keys_come_once_and_in_order_over_many_pages(store, monkeypatch):
    monkeypatch.setattr("perdure_sql._history._KEYS", 3)
    deep(store, 2)
    store.create_space(ctx=CTX, space=Space("s", 1))
    vectors = [("s", f"v{i}", b"\0\0\x80\x3f", None, "null", None, None) for i in range(7)]
    head = commit(store, Put("vectors", vectors)).point
    touched = list(store.touched(ctx=CTX, branch=head.branch, after=0, upto=head.seq))
    assert touched == sorted(set(touched))
    assert len(touched) == 40 + 7


@pytest.mark.parametrize("engine", ["memory://times", "sqlite"])
def test_a_time_on_a_fork_of_the_empty_store_survives_its_parents_compaction(engine, path):
    with perdure.open(f"sqlite:///{path}" if engine == "sqlite" else engine) as store:
        store.branches.create("lab", at="main@0")
        begin = perdure.now_us()
        for i in range(4):
            store.memories.put(perdure.Memory(id=f"m{i}"))
        store.compact(lease=timedelta(0))
        assert store.at(Ref("lab", time=begin)).memories.count() == 0
        with pytest.raises(perdure.HistoryExpired):
            store.at(Ref("main", time=begin))
