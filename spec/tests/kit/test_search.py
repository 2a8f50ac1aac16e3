"""Exact search, against a plain loop."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from perdure._errors import AlreadyExists, InvalidInput, InvalidRecord, NotFound
from perdure._names import parse_ref
from perdure._types import Context, Delete, Put, Search, Space
from perdure.filters import F
from perdure.kit import NUMPY_DTYPE, scores

CTX = Context()


def vector(row: Any, space: str, key: str, values: Any, dtype: str = "float32") -> Any:
    return row("vectors", (space, key), values=np.asarray(values).astype(NUMPY_DTYPE[dtype]).tobytes())


def ask(
    store: Any, query: Any, k: int, at: str = "main", space: str = "s", **more: Any
) -> list[tuple[str, float]]:
    hits = store.hook.search(CTX, Search(space, np.asarray(query, "<f8").tobytes(), k, **more), parse_ref(at))
    return [(hit.id, hit.score) for hit in hits]


def plain(metric: Any, held: dict[str, Any], query: Any, k: int) -> list[tuple[str, float]]:
    found = [(-float(scores(metric, v[None, :], query)[0]), key) for key, v in held.items()]
    return [(key, -score) for score, key in sorted(found)[:k]]


@pytest.mark.parametrize("metric", ["cosine", "l2", "dot"])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_the_best_of_many(dict_store: Any, row: Any, metric: Any, dtype: Any) -> None:
    random = np.random.default_rng(1)
    vectors = random.standard_normal((600, 5)).astype(NUMPY_DTYPE[dtype])
    vectors[100:150] = vectors[7]  # ties, in order of id
    held = {f"v{i:03}": v for i, v in enumerate(vectors)}
    dict_store.hook.create_space(CTX, Space("s", 5, dtype, metric))
    dict_store.commit(Put("vectors", [vector(row, "s", key, v, dtype) for key, v in held.items()]))
    for query in (
        vectors[7].astype(np.float64),
        random.standard_normal(5),
        1e-300 * random.standard_normal(5),
        1e200 * random.standard_normal(5),
    ):
        if metric != "cosine" and abs(query).max() > 1e100:
            continue
        for k in (0, 1, 10, 60, 10_000):
            assert ask(dict_store, query, k) == plain(metric, held, query, k)


def test_extreme_numbers(dict_store: Any, row: Any) -> None:
    held = {f"v{i:03}": np.array([3e38, -3e38, 1e-44], "f4") * np.float32((i % 7) / 7) for i in range(400)}
    dict_store.hook.create_space(CTX, Space("s", 3, "float32", "dot"))
    dict_store.commit(Put("vectors", [vector(row, "s", key, v) for key, v in held.items()]))
    query = np.array([1e30, 1e30, 1.0])
    assert ask(dict_store, query, 9) == plain("dot", held, query, 9)


def test_the_matrix_follows_writes_branches_and_time(store: Any, row: Any) -> None:
    store.hook.create_space(CTX, Space("s", 2, metric="l2"))
    store.commit(Put("vectors", [vector(row, "s", str(i), [i, 0]) for i in range(5)]))
    assert ask(store, [0, 0], 2) == [("0", -0.0), ("1", -1.0)]
    store.branch("lab")
    store.commit(Delete("vectors", [("s", "0")]), Put("vectors", [vector(row, "s", "n", [0.5, 0])]))
    assert ask(store, [0, 0], 2) == [("n", -0.5), ("1", -1.0)]
    store.commit(Put("vectors", [vector(row, "s", "1", [9, 0])]), branch="lab")
    assert ask(store, [0, 0], 2, "lab") == [("0", -0.0), ("2", -2.0)]
    assert ask(store, [0, 0], 2, "main@1") == [("0", -0.0), ("1", -1.0)]
    for step in range(30):
        store.commit(Put("vectors", [vector(row, "s", "n", [0.5 + step, 0])]))
        assert ask(store, [0, 0], 9)[-1][1] <= -4.0
    assert len(ask(store, [0, 0], 99)) == 5
    store.hook.purge(CTX, "vectors", [("s", "1")])
    assert "1" not in dict(ask(store, [0, 0], 99))
    assert "1" not in dict(ask(store, [0, 0], 99, "lab"))


def test_filters_and_owners(store: Any, row: Any) -> None:
    store.hook.create_space(CTX, Space("s", 2, table="memories"))
    store.hook.create_space(CTX, Space("free", 2))
    with pytest.raises(InvalidRecord):
        store.commit(Put("vectors", [vector(row, "s", "a", [1, 0])]))
    store.commit(
        Put("memories", [row("memories", "a", kind="x"), row("memories", "b", kind="y")]),
        Put(
            "vectors",
            [vector(row, "s", "a", [1, 0]), vector(row, "s", "b", [1, 0]), vector(row, "free", "z", [0, 1])],
        ),
    )
    assert ask(store, [1, 0], 5) == [("a", 1.0), ("b", 1.0)]
    assert ask(store, [1, 0], 5, where=F.kind == "y") == [("b", 1.0)]
    assert ask(store, [1, 0], 5, space="free", where=F.id == "z") == [("z", 0.0)]
    assert ask(store, [1, 0], 5, space="free", where=F.id == "a") == []
    done = store.commit(Delete("memories", [("b",)]))
    assert done.deleted == 2
    assert ask(store, [1, 0], 5) == [("a", 1.0)]
    store.hook.purge(CTX, "memories", [("a",)])
    assert ask(store, [1, 0], 5, "main@1") == [("b", 1.0)]


def test_bad_questions(store: Any, row: Any) -> None:
    store.hook.create_space(CTX, Space("s", 2))
    for query in ([1], [1, 2, 3], [0, 0], [np.nan, 1], [np.inf, 1]):
        with pytest.raises(InvalidRecord):
            ask(store, query, 1)
    with pytest.raises(InvalidInput):
        ask(store, [1, 0], -1)
    with pytest.raises(NotFound):
        ask(store, [1, 0], 1, space="none")
    assert ask(store, [1, 0], 1) == []


def test_spaces(store: Any, row: Any) -> None:
    first = store.hook.create_space(CTX, Space("s", 2))
    assert store.hook.create_space(CTX, Space("s", 2)) == first
    with pytest.raises(AlreadyExists):
        store.hook.create_space(CTX, Space("s", 3))
    for wrong in (Space("t", 0), Space("t", 2, table="vectors"), Space("t", True)):
        with pytest.raises(InvalidRecord):
            store.hook.create_space(CTX, wrong)
    with pytest.raises(NotFound):
        store.commit(Put("vectors", [vector(row, "none", "a", [1, 0])]))
    store.commit(Put("vectors", [vector(row, "s", key, [1, 0]) for key in "abc"]))
    report = store.hook.drop_space(CTX, "s")
    assert (report.keys, report.versions, report.vectors) == (3, 3, 3)
    assert store.hook.list_spaces(CTX) == []
    assert store.ids("vectors") == []
    store.hook.create_space(CTX, Space("s", 3))
    assert ask(store, [1, 0, 0], 5) == []
    assert store.hook.verify(CTX).ok


def test_cosine_keeps_its_meaning_where_squares_do_not_fit() -> None:
    shape = np.array([3.0, -4.0, 12.0])
    vectors = np.array([shape * scale for scale in (1e-320, 1e-300, 1e-150, 1.0, 1e150, 1e300)])
    for scale in (1e-300, 1.0, 1e300):
        found = scores("cosine", vectors, shape * scale)
        assert np.allclose(found, 1.0, atol=1e-3)
        assert found[3] == scores("cosine", vectors[3:4], shape * scale)[0]
    assert scores("cosine", np.zeros((1, 3)), shape).tolist() == [-1.0]
