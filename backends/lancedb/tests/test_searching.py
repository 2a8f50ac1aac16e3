"""Searches by an index, beside numpy: on branches, at past points, under filters, after folds and before them."""

import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import lance
import numpy as np
import perdure
import pytest
from numpy.typing import NDArray
from perdure import F, Memory, Vector
from perdure_lancedb._searching import LanceSearcher

DIM, COUNT, K = 24, 1_200, 10
DTYPES, METRICS = ("float16", "float32", "float64"), ("cosine", "l2", "dot")


def low_rank(count: int, seed: int = 1) -> NDArray[np.float64]:
    """Near a plane of six dimensions, as embeddings are."""
    noise, basis = np.random.default_rng(seed), np.random.default_rng(0).normal(size=(6, DIM))
    return noise.normal(size=(count, 6)) @ basis + 0.1 * noise.normal(size=(count, DIM))


def random(count: int, seed: int = 1) -> NDArray[np.float64]:
    """In all directions alike, which suits no index."""
    return np.random.default_rng(seed).normal(size=(count, DIM))


def name_of(row: int) -> str:
    return f"m{row:05}"


def vectors(matrix: NDArray[Any], rows: Any, space: str = "s") -> list[Vector]:
    return [Vector(space=space, id=name_of(int(row)), values=matrix[row]) for row in rows]


def truth(metric: str, matrix: NDArray[Any], query: NDArray[Any], live: NDArray[np.bool_]) -> list[str]:
    """The nearest of all, as numpy finds them."""
    wide = matrix.astype(np.float64)
    score = wide @ query
    if metric == "cosine":
        score = score / np.linalg.norm(wide, axis=1)
    elif metric == "l2":
        score = -np.linalg.norm(wide - query, axis=1)
    score[~live] = -np.inf
    order = np.argsort(-score, kind="stable")[:K]
    return [name_of(row) for row in order if live[row]]


def recall(
    view: Any, metric: str, matrix: NDArray[Any], live: NDArray[np.bool_] | None = None, **how: Any
) -> float:
    """The share of the nearest that searches find; each finds as many as there are, and nothing that is not."""
    live = np.ones(len(matrix), np.bool_) if live is None else live
    found = wanted = 0
    for query in low_rank(15, seed=9):
        best = truth(metric, matrix, query, live)
        hits = view.vectors.search(query, k=K, space="s", **how)
        names = [hit.record.id for hit in hits]
        assert len(names) == len(set(names)) == len(best)
        assert all(live[int(name[1:])] for name in names)
        assert hits == sorted(hits, key=lambda hit: (-hit.score, hit.record.id))
        found += len(set(best).intersection(names))
        wanted += len(best)
    return found / wanted


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Of a store that folds after every 200 items, and indexes spaces from 300 vectors on."""
    return f"lancedb:///{tmp_path}/store?fold=200&index=300"


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each search that an index was asked for was answered by it."""
    found: list[bool] = []
    search = LanceSearcher._nearest

    def watched(self: LanceSearcher, *arguments: Any) -> Any:
        hits = search(self, *arguments)
        found.append(hits is not None)
        return hits

    monkeypatch.setattr(LanceSearcher, "_nearest", watched)
    return found


def fill(store: Any, matrix: NDArray[Any], metric: str = "cosine", **space: Any) -> None:
    """Put the vectors in small commits, so that most are folded, some of them since the index was made."""
    store.spaces.create("s", DIM, metric=metric, **space)
    for start in range(0, len(matrix), 90):
        rows = range(start, min(start + 90, len(matrix)))
        if space.get("table"):
            with store.batch() as batch:
                batch.memories.put([Memory(id=name_of(row), tier=row % 100) for row in rows])
                batch.vectors.put(vectors(matrix, rows))
        else:
            store.vectors.put(vectors(matrix, rows))


def tables(url: str) -> list[Any]:
    """The tables of vectors, as they are now."""
    folder = Path(url.removeprefix("lancedb:///").partition("?")[0])
    return [lance.dataset(str(path)) for path in folder.rglob("vectors-*.lance")]


def indexes(url: str) -> list[str]:
    """The types of all indexes of vectors."""
    return [
        index["type"]
        for table in tables(url)
        for index in table.list_indices()
        if "values" in index["fields"]
    ]


# -------------------------------------------------------------------------------------------- what is found


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("metric", METRICS)
def test_each_metric_and_precision(url, answers, metric, dtype):
    matrix = low_rank(COUNT).astype(dtype)
    with perdure.open(url) as store:
        fill(store, matrix, metric, dtype=dtype)
        assert recall(store, metric, matrix) >= 0.97
        assert recall(store, metric, matrix, exact=True) >= 0.99  # numpy's own order has ties in float16
        for query in low_rank(3, seed=4):
            near, exact = (store.vectors.search(query, k=K, space="s", exact=how) for how in (False, True))
            assert near[0] == exact[0]
    assert answers == [True] * 18
    assert indexes(url) == ["IVF_FLAT"]


@pytest.mark.parametrize(("method", "kind"), [("ivf_rq", "IVF_RQ"), ("hnsw", "IVF_HNSW_SQ")])
@pytest.mark.parametrize("metric", METRICS)
def test_other_methods(url, answers, metric, method, kind):
    matrix = low_rank(COUNT)
    with perdure.open(f"{url}&method={method}") as store:
        fill(store, matrix, metric)
        assert recall(store, metric, matrix) >= 0.95
    assert answers == [True] * 15
    assert indexes(url) == [kind]


def test_vectors_in_all_directions(url):
    matrix = random(COUNT)
    with perdure.open(url) as store:
        fill(store, matrix)
        assert recall(store, "cosine", matrix) >= 0.95


def test_rows_that_are_not_folded_are_found(url, answers):
    matrix = low_rank(COUNT)
    with perdure.open(url) as store:
        fill(store, matrix)
        folded = sum(table.count_rows() for table in tables(url))
        assert 300 < folded < COUNT
        assert recall(store, "cosine", matrix) >= 0.97
        for row in range(COUNT - 20, COUNT):
            assert store.vectors.search(matrix[row], k=1, space="s")[0].record.id == name_of(row)
    assert all(answers)


def test_rows_that_were_folded_since_the_index_was_made_are_found(url, answers):
    matrix = low_rank(COUNT)
    with perdure.open(url) as store:
        fill(store, matrix[: COUNT - 150])
        store.vectors.put(vectors(matrix, range(COUNT - 150, COUNT)))
        store.compact()  # makes the index anew
        store.vectors.put(vectors(matrix, range(60)))
        store.vectors.put(vectors(matrix, range(60, 220)))
        (table,) = tables(url)
        (index,) = (index for index in table.list_indices() if "values" in index["fields"])
        rest = [f for f in table.get_fragments() if f.fragment_id not in set(index["fragment_ids"])]
        found = [row["id"] for fragment in rest for row in fragment.to_table(columns=["id"]).to_pylist()]
        for name in found[::7]:
            hit = store.vectors.search(matrix[int(name[1:])], k=1, space="s")[0]
            assert hit.record.id == name
        store.vectors.put(vectors(matrix, range(5)))
    assert found
    assert all(answers)


def test_updates_and_deletions_before_and_after_a_fold(url, answers):
    matrix = low_rank(COUNT)
    live = np.ones(COUNT, np.bool_)
    moved = np.random.default_rng(3).permutation(COUNT)
    with perdure.open(url) as store:
        fill(store, matrix)
        then, before = store.head(), matrix.copy()
        for part in range(6):
            change, gone = np.split(moved[part * 60 : part * 60 + 60], [40])
            matrix[change] = low_rank(40, seed=20 + part)
            live[gone] = False
            store.vectors.put(vectors(matrix, change))
            store.vectors.delete([("s", name_of(int(row))) for row in gone])
            assert recall(store, "cosine", matrix, live) >= 0.97
            assert recall(store.at(then), "cosine", before) >= 0.97
    assert sum(answers) > 0.9 * len(answers)


def test_a_neighbourhood_that_was_deleted_or_moved(url):
    """Those that the index has nearest do not count any more."""
    matrix = low_rank(COUNT)
    live = np.ones(COUNT, np.bool_)
    with perdure.open(url) as store:
        fill(store, matrix)
        near = {name for query in low_rank(15, seed=9)[:3] for name in self_and_near(matrix, query, 60)}
        rows = sorted(near)
        live[rows[::2]] = False
        matrix[rows[1::2]] += 50
        store.vectors.delete([("s", name_of(row)) for row in rows[::2]])
        store.vectors.put(vectors(matrix, rows[1::2]))
        assert recall(store, "cosine", matrix, live) >= 0.97


def self_and_near(matrix: NDArray[Any], query: NDArray[Any], count: int) -> list[int]:
    score = matrix @ query / np.linalg.norm(matrix, axis=1)
    return [int(row) for row in np.argsort(-score)[:count]]


def test_branches_and_past_points(url, answers):
    matrix = low_rank(COUNT)
    views = []
    with perdure.open(url) as store:
        fill(store, matrix)
        views.append((store.at(store.head()), matrix.copy(), np.ones(COUNT, np.bool_)))
        view, live = store, np.ones(COUNT, np.bool_)
        for depth in range(4):
            view = view.branch(f"b{depth}")
            change, gone = np.split(np.random.default_rng(depth).permutation(COUNT)[:90], [60])
            matrix[change] = low_rank(60, seed=30 + depth)
            live[change], live[gone] = True, False
            view.vectors.put(vectors(matrix, change))
            view.vectors.delete([("s", name_of(int(row))) for row in gone])
            views.append((view, matrix.copy(), live.copy()))
        store.vectors.put(vectors(low_rank(COUNT, seed=77), range(100)))
        for place, state, alive in views:
            assert recall(place, "cosine", state, alive) >= 0.97
    assert sum(answers) > 0.9 * len(answers)


@pytest.mark.parametrize(("where", "part"), [(F.tier < 50, 50), (F.tier < 20, 20), (F.tier == 37, 1)])
def test_filters_on_the_owner(url, where, part):
    matrix = low_rank(COUNT)
    owned = np.arange(COUNT) % 100
    live = owned == 37 if part == 1 else owned < part
    with perdure.open(url) as store:
        fill(store, matrix, table="memories")
        for query in low_rank(10, seed=9):
            best = truth("cosine", matrix, query, live)
            found = store.memories.search(query, k=K, where=where, space="s")
            assert [hit.record.id for hit in found] == best
        assert store.memories.search(matrix[0], k=K, where=F.tier > 200, space="s") == []


def test_a_filter_that_many_match_is_judged_for_candidates_alone(url, answers, monkeypatch):
    monkeypatch.setattr("perdure_lancedb._searching._FEW", 20)
    matrix = low_rank(COUNT)
    with perdure.open(url) as store:
        fill(store, matrix, table="memories")
        for query in low_rank(10, seed=9):
            best = truth("cosine", matrix, query, np.arange(COUNT) % 100 < 50)
            found = store.memories.search(query, k=K, where=F.tier < 50, space="s")
            assert [hit.record.id for hit in found] == best
    assert answers == [True] * 10


def test_filters_on_vectors_of_a_free_space(url, answers):
    matrix = low_rank(COUNT)
    with perdure.open(url) as store:
        store.spaces.create("s", DIM, metric="cosine")
        for start in range(0, COUNT, 60):
            store.vectors.put(
                Vector(space="s", id=name_of(row), values=matrix[row], text=f"t{row % 10}")
                for row in range(start, start + 60)
            )
        live = np.arange(COUNT) % 10 == 3
        assert recall(store, "cosine", matrix, live, where=F.text == "t3") >= 0.97
    assert answers == [True] * 15


def test_more_than_there_are(url):
    matrix = low_rank(COUNT)
    with perdure.open(url) as store:
        fill(store, matrix)
        assert len(store.vectors.search(matrix[0], k=900, space="s")) == 900
        found = store.vectors.search(matrix[0], k=5_000, space="s")
        assert {hit.record.id for hit in found} == {name_of(row) for row in range(COUNT)}
        empty = store.branch("empty")
        empty.vectors.delete([("s", name_of(row)) for row in range(5, COUNT)])
        assert len(empty.vectors.search(matrix[0], k=K, space="s")) == 5


def test_ties_are_ordered_by_id(url):
    matrix = low_rank(COUNT).astype(np.float32)
    matrix[100:900] = matrix[100]
    with perdure.open(url) as store:
        fill(store, matrix, "l2")
        found = store.vectors.search(matrix[100], k=K, space="s")
        assert [hit.record.id for hit in found] == [name_of(row) for row in range(100, 110)]
        assert {hit.score for hit in found} == {0.0}


@pytest.mark.parametrize("scale", [1e-30, 1e25])
@pytest.mark.parametrize("metric", METRICS)
def test_lengths_that_squares_in_float32_do_not_hold(url, metric, scale):
    matrix = (low_rank(COUNT) * scale).astype(np.float32)
    with perdure.open(url) as store:
        fill(store, matrix, metric)
        for query in low_rank(3, seed=9) * scale:
            near, exact = (store.vectors.search(query, k=K, space="s", exact=how) for how in (False, True))
            assert near == exact


# --------------------------------------------------------------------------------------- when there is an index


def test_a_store_that_is_opened_again_has_its_index(url, answers):
    matrix = low_rank(COUNT)
    with perdure.open(url) as store:
        fill(store, matrix)
    versions = [table.version for table in tables(url)]
    with perdure.open(url, mode="r") as store:
        assert recall(store, "cosine", matrix) >= 0.97
    assert answers == [True] * 15
    assert [table.version for table in tables(url)] == versions


@pytest.mark.parametrize("least", [0, 5_000])
def test_small_spaces_have_none(tmp_path, answers, least):
    url = f"lancedb:///{tmp_path}/s?fold=200&index={least}"
    matrix = low_rank(COUNT)
    with perdure.open(url) as store:
        fill(store, matrix)
        assert recall(store, "cosine", matrix) == 1
    assert answers == []
    assert indexes(url) == []


def test_folds_make_it_anew_only_when_much_has_come(url):
    matrix = low_rank(3_000)
    made = set()
    with perdure.open(url) as store:
        store.spaces.create("s", DIM, metric="cosine")
        for start in range(0, 3_000, 100):
            store.vectors.put(vectors(matrix, range(start, start + 100)))
            made |= {
                index["uuid"]
                for table in tables(url)
                for index in table.list_indices()
                if "values" in index["fields"]
            }
        assert recall(store, "cosine", matrix) >= 0.97
    assert 2 <= len(made) <= 9


def test_a_space_that_was_made_again_has_other_vectors(tmp_path):
    """While the table still has those that were dropped."""
    with perdure.open(f"lancedb:///{tmp_path}/store?fold=1000") as store:
        fill(store, low_rank(15))
        store.compact()
        store.spaces.drop("s")
        store.spaces.create("s", dim=2)
        assert store.vectors.search([1.0, 0.0], k=3, space="s") == []
        store.vectors.put(vectors(np.eye(2), range(2)))
        found = store.vectors.search([0.0, 1.0], k=3, space="s")
        assert [hit.record.id for hit in found] == ["m00001", "m00000"]


def test_purged_vectors_are_in_no_file(url):
    matrix = low_rank(COUNT).astype(np.float32)
    folder = Path(url.removeprefix("lancedb:///").partition("?")[0])

    def holds() -> bool:
        return any(matrix[7].tobytes() in path.read_bytes() for path in folder.rglob("*") if path.is_file())

    with perdure.open(url) as store:
        fill(store, matrix)
        assert holds()
        store.purge("vectors", [("s", name_of(7))])
        store.compact()
        assert not holds()
        assert indexes(url) == ["IVF_FLAT"]
        live = np.arange(COUNT) != 7
        assert recall(store, "cosine", matrix, live) >= 0.97
        store.spaces.drop("s")
        assert not any(table.count_rows() for table in tables(url))


KILLED = """
    import os, signal, sys
    import lance, numpy as np, perdure
    from perdure import Vector

    make = lance.LanceDataset.create_index

    def killed(self, *arguments, **options):
        if sys.argv[2] == "after":
            make(self, *arguments, **options)
        os.kill(os.getpid(), signal.SIGKILL)

    lance.LanceDataset.create_index = killed
    matrix = np.load(sys.argv[3])
    with perdure.open(sys.argv[1]) as store:
        for start in range(0, len(matrix), 50):
            rows = range(start, start + 50)
            store.vectors.put(Vector(space="s", id=f"m{row:05}", values=matrix[row]) for row in rows)
"""


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_process_that_is_killed_while_it_makes_one(url, tmp_path, when):
    """The fold does not count, the commits do; who folds next makes the index."""
    matrix = low_rank(COUNT)
    np.save(tmp_path / "matrix.npy", matrix)
    with perdure.open(url) as store:
        store.spaces.create("s", DIM, metric="cosine")
    command = [sys.executable, "-c", textwrap.dedent(KILLED), url, when, str(tmp_path / "matrix.npy")]
    assert subprocess.run(command, timeout=120, check=False).returncode == -signal.SIGKILL
    with perdure.open(url) as store:
        there = store.vectors.count()
        assert there >= 300
        assert recall(store, "cosine", matrix[:there]) == 1
        for start in range(there, COUNT, 50):
            store.vectors.put(vectors(matrix, range(start, start + 50)))
        assert recall(store, "cosine", matrix) >= 0.97
        assert store.verify().ok
    assert indexes(url) == ["IVF_FLAT"]


def test_an_index_that_cannot_be_made_fails_no_commit(url, monkeypatch):
    """As where the disk has no room for it."""

    def fails(self: Any, *arguments: Any, **options: Any) -> None:
        raise OSError("No space left on device (os error 28)")

    monkeypatch.setattr(lance.LanceDataset, "create_index", fails)
    matrix = low_rank(COUNT)
    with perdure.open(url) as store:
        fill(store, matrix)
        assert recall(store, "cosine", matrix) == 1
        assert sum(table.count_rows() for table in tables(url)) > 300
    assert indexes(url) == []


@pytest.mark.parametrize("option", ["index=-1", "index=many", "method=pq", "method="])
def test_options_that_say_nothing_sensible(tmp_path, option):
    with pytest.raises(perdure.InvalidURL, match=option.partition("=")[0]):
        perdure.open(f"lancedb:///{tmp_path}/s?{option}")
