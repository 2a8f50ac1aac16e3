"""Search by pgvector: what it finds on every branch, at every point and under every filter."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import numpy as np
import perdure
import pytest
from numpy.typing import NDArray
from perdure import F, Memory, State, Store, Vector
from perdure.kit import owner_id, scores

FLOOR = 0.95

Floats = NDArray[Any]


def name_of(i: int) -> str:
    return f"m{i:05}"


def low_rank(noise: np.random.Generator, n: int, dim: int) -> Floats:
    """Vectors near a space of few dimensions, as embeddings are."""
    rank = min(8, dim)
    near = noise.normal(size=(n, rank)) @ noise.normal(size=(rank, dim))
    return (near + 0.1 * noise.normal(size=(n, dim))).astype(np.float32)


class Model:
    """The vectors of a place, in memory: what an exact search would find."""

    def __init__(self, metric: Any, matrix: Floats) -> None:
        self.metric = metric
        self.matrix = matrix.astype(np.float64)
        self.live = np.ones(len(matrix), dtype=bool)

    def copy(self) -> "Model":
        other = Model(self.metric, self.matrix.copy())
        other.live = self.live.copy()
        return other

    def best(self, query: Floats, k: int, mask: Floats) -> list[str]:
        found = scores(self.metric, self.matrix, query)
        order = sorted(np.flatnonzero(mask & self.live), key=lambda i: (-found[i], i))
        return [name_of(int(i)) for i in order[:k]]

    def recall(self, view: Any, queries: Floats, where: Any = None, mask: Any = None, k: int = 10) -> float:
        """The share found; results are as many, as well scored and in the same order as they must be."""
        shown = np.ones(len(self.matrix), dtype=bool) if mask is None else mask
        hits = total = 0
        for query in queries.astype(np.float64):
            want = self.best(query, k, shown)
            got = view.memories.search(query, k=k, where=where, space="s")
            ids = [found.record.id for found in got]
            assert len(set(ids)) == len(ids) == len(want)
            assert all(self.live[int(id_[1:])] and shown[int(id_[1:])] for id_ in ids)
            rows = self.matrix[[int(id_[1:]) for id_ in ids]]
            assert [found.score for found in got] == list(scores(self.metric, rows, query))
            assert [(-found.score, found.record.id) for found in got] == sorted(
                (-found.score, found.record.id) for found in got
            )
            hits += len(set(ids) & set(want))
            total += len(want)
        return hits / total if total else 1.0


def fill(store: Store, matrix: Floats, **space: Any) -> None:
    """Memories with vectors in the space `s`; tiers from 0 to 99 in turn."""
    store.spaces.create("s", matrix.shape[1], table="memories", **space)
    with store.batch() as batch:
        batch.memories.put([Memory(id=name_of(i), tier=i % 100) for i in range(len(matrix))])
        batch.vectors.put([vector(i, row) for i, row in enumerate(matrix)])


def vector(i: int, row: Floats) -> Vector:
    return Vector(space="s", id=name_of(i), values=row)


@pytest.fixture
def new(server: Any) -> Iterator[Callable[..., Store]]:
    """Opens stores, in which every space has an index from its first vector on."""
    stores = []

    def opened(**options: Any) -> Store:
        stores.append(perdure.open(server.url(**{"index": 1, **options})))
        return stores[-1]

    yield opened
    for store in stores:
        store.close()


@pytest.mark.parametrize("metric", ["cosine", "l2", "dot"])
@pytest.mark.parametrize(
    ("dim", "dtype"),
    [
        (3, "float64"),
        (384, "float32"),
        (384, "float16"),
        (64, "float64"),
        (2_500, "float32"),
        (5_000, "float16"),
    ],
)
def test_every_kind_of_space(new: Callable[..., Store], metric: str, dim: int, dtype: str) -> None:
    noise = np.random.default_rng(dim)
    matrix = low_rank(noise, 620 if dim > 1_000 else 1_220, dim).astype(dtype)
    store = new()
    fill(store, matrix[20:], metric=metric, dtype=dtype)
    assert Model(metric, matrix[20:]).recall(store, matrix[:20]) >= FLOOR


@pytest.fixture
def forked(new: Callable[..., Store]) -> "Forked":
    return Forked(new(), 9)


class Forked:
    """A store whose main has moved on since a chain of branches was taken, and what each place of it holds."""

    def __init__(self, store: Store, depth: int) -> None:
        noise = np.random.default_rng(depth)
        matrix = low_rank(noise, 2_020, 32)
        self.store, self.queries, matrix = store, matrix[:20], matrix[20:]
        fill(store, matrix, metric="l2")
        self.then, self.old = store.head(), Model("l2", matrix)
        self.view: Any = store
        self.model = self.old
        for i in range(depth):
            self.view, self.model = self.view.branch(f"b{i}"), self.model.copy()
            change(self.view, self.model, noise, 40, 40)
        self.main = self.old.copy()
        change(store, self.main, noise, 300, 700)


def change(view: Any, model: Model, noise: np.random.Generator, moves: int, deletions: int) -> None:
    """Move some vectors of a place, and delete the rows of others."""
    picked = noise.permutation(np.flatnonzero(model.live))[: moves + deletions]
    moved, gone = np.split(picked, [moves])
    model.matrix[moved] = low_rank(noise, moves, model.matrix.shape[1])
    model.live[gone] = False
    view.vectors.put([vector(int(i), model.matrix[i]) for i in moved])
    view.memories.delete([name_of(int(i)) for i in gone])


TIERS = np.arange(2_000) % 100


@pytest.mark.parametrize(
    ("where", "mask"),
    [
        (None, None),
        (F.tier == 37, TIERS == 37),
        (F.tier < 50, TIERS < 50),
        (F.tier > 99, TIERS > 99),
        (F.content["x"].is_null() & (F.tier < 3), TIERS < 3),
        (F.content["x"].is_null() & (F.tier < 60), TIERS < 60),
    ],
    ids=["all", "1 %", "50 %", "none", "judged 3 %", "judged 60 %"],
)
def test_branches_past_points_and_filters(forked: Forked, where: Any, mask: Any) -> None:
    store = forked.store
    assert forked.main.recall(store, forked.queries, where, mask) >= FLOOR
    assert forked.model.recall(forked.view, forked.queries, where, mask) >= FLOOR
    assert forked.old.recall(store.at(forked.then), forked.queries, where, mask) >= FLOOR


def test_after_merge_compaction_and_new_commits(forked: Forked) -> None:
    store, queries = forked.store, forked.queries
    store.merge("b8", strategy="theirs")
    live = {row.id for row in store.memories.find()}
    merged = forked.model.copy()
    # Where both moved a vector the branch won; where one did, that one.
    for row in store.vectors.find():
        merged.matrix[int(row.id[1:])] = row.values
    merged.live[:] = [name_of(i) in live for i in range(2_000)]
    assert merged.recall(store, queries) >= FLOOR
    store.compact(1, lease=timedelta(0))
    assert merged.recall(store, queries) >= FLOOR
    assert forked.model.recall(store.at("b8"), queries) >= FLOOR
    change(store, merged, np.random.default_rng(5), 10, 10)
    assert merged.recall(store, queries) >= FLOOR
    assert store.verify().ok


def test_a_commit_is_found_at_once_and_what_was_purged_never(new: Callable[..., Store]) -> None:
    matrix = low_rank(np.random.default_rng(2), 1_500, 16)
    store = new()
    fill(store, matrix)
    model = Model("cosine", matrix)
    for i in range(0, 60, 3):
        query = matrix[i].astype(np.float64)
        assert store.memories.search(query, k=1, space="s")[0].record.id == name_of(i)
        if i % 2:
            store.memories.purge(name_of(i))
        else:
            store.memories.delete(name_of(i))
        model.live[i] = False
        assert [f.record.id for f in store.memories.search(query, k=5, space="s")] == model.best(
            query, 5, model.live
        )
        store.memories.put(Memory(id=name_of(i + 1)))
        store.vectors.put(vector(i + 1, 3 * matrix[i]))
        model.matrix[i + 1] = 3.0 * matrix[i]
        assert store.memories.search(query, k=1, space="s")[0].record.id == name_of(i + 1)


def test_rows_whose_key_has_two_parts(new: Callable[..., Store]) -> None:
    matrix = low_rank(np.random.default_rng(3), 1_200, 8)
    store = new()
    store.spaces.create("s", 8, table="states", metric="l2")
    keys = [(f"k/{i % 3}", f"~{i}/x") for i in range(1_200)]
    with store.batch() as batch:
        batch.states.put([State(kind=kind, id=id_) for kind, id_ in keys])
        batch.vectors.put(
            [Vector(space="s", id=owner_id(key), values=row) for key, row in zip(keys, matrix, strict=True)]
        )
    for kind in ("k/1", "k/7"):
        for query in matrix[:20].astype(np.float64):
            order = np.argsort(-scores("l2", matrix, query), kind="stable")
            want = [keys[i] for i in order if keys[i][0] == kind][:10]
            got = store.states.search(query, k=10, where=F.kind == kind, space="s")
            assert len(got) == len(want)
            assert len({(f.record.kind, f.record.id) for f in got} & set(want)) >= 0.9 * len(want)


def test_a_free_space_and_hostile_names(new: Callable[..., Store]) -> None:
    matrix = low_rank(np.random.default_rng(4), 1_200, 8)
    name = "Select-1/--x"
    store = new()
    store.spaces.create(name, 8)
    store.vectors.put(
        [Vector(space=name, id=f"%({i})s", values=row, text=f"{i % 4}") for i, row in enumerate(matrix)]
    )
    for i in range(20):
        got = store.vectors.search(matrix[i], k=3, space=name, where=F.text == f"{i % 4}")
        assert got[0].record.id == f"%({i})s"
        assert {found.record.text for found in got} == {f"{i % 4}"}
    store.spaces.drop(name)
    store.spaces.create(name, 5, metric="dot")
    store.vectors.put(Vector(space=name, id="a", values=[1.0, 0, 0, 0, 0]))
    assert [f.record.id for f in store.vectors.search([1.0, 0, 0, 0, 0], space=name)] == ["a"]


@pytest.mark.parametrize("metric", ["cosine", "l2", "dot"])
def test_numbers_that_float32_cannot_hold(new: Callable[..., Store], metric: Any) -> None:
    noise = np.random.default_rng(6)
    matrix = noise.normal(size=(1_100, 4))
    matrix[:8] *= 10.0 ** np.array([99, 60, 45, 30, -30, -45, -60, -99])[:, None]
    if metric != "cosine":
        matrix[8] = 0
    store = new()
    fill(store, matrix, metric=metric, dtype="float64")
    model = Model(metric, matrix)
    queries = np.concatenate([matrix[:8], noise.normal(size=(8, 4))])
    assert model.recall(store, queries) >= FLOOR


def test_ties_are_broken_by_id(new: Callable[..., Store]) -> None:
    matrix = np.repeat(low_rank(np.random.default_rng(7), 30, 8), 50, axis=0)
    store = new()
    fill(store, matrix, metric="l2")
    for query in matrix[::150].astype(np.float64):
        want = Model("l2", matrix).best(query, 60, np.ones(len(matrix), dtype=bool))
        for k in (1, 7, 60):
            assert [f.record.id for f in store.memories.search(query, k=k, space="s")] == want[:k]


def test_a_branch_of_a_branch_that_was_flattened(new: Callable[..., Store]) -> None:
    forked = Forked(new(), 10)
    forked.store.compact(lease=timedelta(0))
    assert forked.model.recall(forked.view, forked.queries) >= FLOOR
    leaf, model = forked.view.branch("leaf"), forked.model.copy()
    change(leaf, model, np.random.default_rng(8), 50, 50)
    assert model.recall(leaf, forked.queries) >= FLOOR
