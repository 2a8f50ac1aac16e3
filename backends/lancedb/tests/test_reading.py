"""Queries that LanceDB's scanner answers: as the kit answers them from the same versions."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import perdure
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from perdure import TABLES, F, Memory, Query, Vector
from perdure.filters import OrderTerm
from perdure.kit import Reader, Rows
from perdure_lancedb import _reading
from perdure_lancedb._plugin import LancePlugin
from perdure_lancedb._tables import View

MEMORIES = TABLES["memories"]


@contextmanager
def backend(url: str) -> Iterator[Any]:
    opened = LancePlugin(remote=False).open(url, "default", "rw")
    try:
        yield opened
    finally:
        opened.close(None)


def kits(engine: Any) -> Reader:
    """The kit's own reader on what the engine reads."""
    parts = engine._storage, engine._keys, engine._heads, engine._commits
    return Reader(*parts, Rows(*parts))


IDS = [f"{letter}{number}" for letter in "aé\U0001f600" for number in range(6)]
KINDS = [None, "episode", "fact"]
ACTS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.lists(st.tuples(*map(st.sampled_from, (IDS, KINDS, [0.0, 0.5, 1.0]))))),
        st.tuples(st.just("delete"), st.lists(st.sampled_from(IDS), max_size=3)),
        st.tuples(st.sampled_from(["branch", "switch", "fold"]), st.integers(0, 5)),
    ),
    max_size=25,
)
WHERES = st.sampled_from(
    [
        None,
        F.kind == "episode",
        F.kind != "episode",
        F.kind.is_null(),
        F.importance > 0.25,
        (F.importance <= 0.5) & ~(F.kind == "fact"),
        F.metadata["n"] == 1,
        (F.metadata["n"] == 1) & (F.kind == "fact"),
        F.id >= "b",
    ]
)
ORDERS = st.lists(
    st.builds(OrderTerm, st.sampled_from(["kind", "importance", "updated_at", "id"]), st.booleans()),
    max_size=2,
    unique_by=lambda term: term.column,
).map(tuple)
COLUMNS = st.sampled_from([None, ("kind",), ("importance", "id"), ("tags", "metadata", "created_at")])
ASKED = st.lists(
    st.tuples(WHERES, ORDERS, st.sampled_from([None, 0, 1, 3, 100]), COLUMNS, st.integers(0, 30)),
    min_size=1,
    max_size=6,
)


@settings(max_examples=40, deadline=None)
@given(acts=ACTS, asked=ASKED)
def test_queries_answer_as_the_kit_does(acts, asked):
    """Branches, points of the past, deletions, and folds in between."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        for name, value in {"_PAGE": 3, "_FIRST": 2, "_MOST": 6, "_SPARE": 1, "_SHORT": 2}.items():
            patch.setattr(_reading, name, value)
        url = f"lancedb:///{folder}/store"
        with perdure.open(url) as first, backend(url) as engine:
            points = history(first, engine, acts)
            for where, order, limit, columns, pick in asked:
                at = points[pick % len(points)]
                compare(engine, Query("memories", where, order, limit, None, columns), at)


def history(store: perdure.Store, engine: Any, acts: list[tuple[str, Any]]) -> list[perdure.Point]:
    """Do all that, and return the points that there were."""
    places, points = [store], [store.head()]
    for act, what in acts:
        place = places[0]
        if act == "put":
            rows = {row[0]: row for row in what}.values()
            place.memories.put([Memory(id=i, kind=k, importance=n, metadata={"n": n}) for i, k, n in rows])
        elif act == "delete":
            place.memories.delete(what, missing_ok=True)
        elif act == "branch":
            places.insert(0, place.branch(f"b{len(places)}"))
        elif act == "switch":
            places.insert(0, places.pop(what % len(places)))
        else:
            with engine._storage._lease.use() as files:
                files.fold()
        points.append(places[0].head())
    return points


def compare(engine: Any, query: Query, at: perdure.Point) -> None:
    """All three hooks, and the pages that follow from a cursor."""
    mine, kit = engine._reader, kits(engine)
    rows = list(kit.select(query, at))
    assert list(mine.select(query, at)) == rows
    table = pa.Table.from_batches(kit.scan(query, at), perdure.kit.project(MEMORIES, query.columns))
    batches = list(mine.scan(query, at))
    assert all(batch.num_rows and batch.schema.equals(table.schema, True) for batch in batches)
    assert pa.Table.from_batches(batches, table.schema).equals(table)
    assert mine.count("memories", query.where, at) == kit.count("memories", query.where, at)
    whole = list(kit.select(Query("memories", query.where, query.order, query.limit), at))
    for row in whole[-1:]:
        cursor = (*(row[MEMORIES.position[term.column]] for term in query.order), row[0])
        following = Query("memories", query.where, query.order, 2, cursor, query.columns)
        assert list(mine.select(following, at)) == list(kit.select(following, at))


def test_few_rows_of_many_are_read(tmp_path, monkeypatch):
    """A filtered find, by order or by key, takes its rows from 20,000 and no others."""
    url = f"lancedb:///{tmp_path}/store"
    read: dict[str, int] = {}
    with perdure.open(url) as store, backend(url) as engine:
        store.memories.put([Memory(id=f"m{i:05d}", tier=i % 1_000, title="t") for i in range(20_000)])
        with engine._storage._lease.use() as files:
            files.fold()

        def counted(view: View, columns: Any, *more: Any, **options: Any) -> Any:
            found = scan(view, columns, *more, **options)
            if "title" in columns:
                read["rows"] = read.get("rows", 0) + found.num_rows
            return found

        def took(view: View, ids: Any, columns: Any) -> Any:
            read["rows"] = read.get("rows", 0) + len(ids)
            return take(view, ids, columns)

        scan, take = View.scan, View.take
        monkeypatch.setattr(View, "scan", counted)
        monkeypatch.setattr(View, "take", took)
        for order, most in (("-updated_at", 5), (None, 5), (None, None)):
            read.clear()
            found = store.memories.find(F.tier == 7, order_by=order, limit=most)
            assert len(found) == (most or 20)
            assert {memory.tier for memory in found} == {7}
            assert read["rows"] == len(found)
        read.clear()
        assert store.memories.count(F.tier == 7) == 20
        assert read == {}


def test_vectors_of_all_spaces_come_in_order(tmp_path):
    url = f"lancedb:///{tmp_path}/store"
    with perdure.open(url) as store, backend(url) as engine:
        for name in ("b", "a", "c"):
            store.spaces.create(name, 2)
            for i in range(4):
                store.vectors.put(Vector(space=name, id=f"v{i}", values=[float(i + 1), 1.0]))
            with engine._storage._lease.use() as files:
                files.fold()
        store.vectors.put(Vector(space="a", id="v0", values=[9.0, 9.0]))
        at = store.head()
        for after in (None, ("a", "v2"), ("b", "v3")):
            for limit in (None, 3):
                query = Query("vectors", None, (), limit, after)
                rows = list(kits(engine).select(query, at))
                assert list(engine._reader.select(query, at)) == rows
                assert [
                    row for batch in engine._reader.scan(query, at) for row in perdure.kit.rows_of(batch)
                ] == rows
        assert engine._reader.count("vectors", None, at) == 12
