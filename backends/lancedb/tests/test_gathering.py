"""What searches keep in memory: of the versions of a table, of what its index lacks, and of the rows that they found."""

import random
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import lance
import numpy as np
import perdure
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from perdure import F, Vector
from perdure_lancedb._candidates import NAME
from perdure_lancedb._searching import LanceSearcher
from perdure_lancedb._tables import View
from perdure_lancedb._versions import Versions

DIM, COUNT = 16, 600


def matrix(seed: int = 1) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(size=(COUNT, DIM))


def vector(row: int, values: Any, **cells: Any) -> Vector:
    return Vector(space="s", id=f"m{row:05}", values=values, **cells)


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Of a store that folds and indexes when it is compacted."""
    return f"lancedb:///{tmp_path}/store?index=300"


def fill(store: Any, values: NDArray[Any]) -> None:
    store.spaces.create("s", DIM, metric="l2")
    store.vectors.put(vector(row, values[row], text=f"t{row % 5}") for row in range(len(values)))
    store.compact()


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is read of tables."""
    found: list[str] = []

    def watch(name: str) -> None:
        read = getattr(View, name)

        def watched(self: View, *arguments: Any, **more: Any) -> Any:
            found.append(f"{name} {self.stored.kind}")
            return read(self, *arguments, **more)

        monkeypatch.setattr(View, name, watched)

    watch("scan")
    watch("take")
    return found


# ------------------------------------------------------------------------------------------------- versions


def test_versions_say_what_a_lineage_shows():
    """As numpy says of all rows at once, whatever runs they make."""
    chance = random.Random(4)
    for _ in range(50):
        rows = chance.randrange(1, 60)
        ids = sorted(chance.sample(range(1_000), rows))
        table = pa.table(
            {
                "branch": [chance.randrange(3) for _ in ids],
                "seq": [chance.randrange(4) for _ in ids],
                "ended": [chance.choice([3, 5, 2**62]) for _ in ids],
                "dead": [chance.random() < 0.2 for _ in ids],
                "_rowid": pa.array(ids, pa.uint64()),
            }
        )
        order = chance.sample(range(rows), rows)
        versions = Versions(table.take(order))
        lineage = ((2, chance.randrange(5)), (0, chance.randrange(5)))
        expected, closer = [], 0
        for row in table.to_pylist():
            steps = [
                depth
                for depth, (number, upto) in enumerate(lineage)
                if row["branch"] == number and row["seq"] <= upto < row["ended"]
            ]
            closer += steps == [0]
            expected.append(steps[0] if steps and not row["dead"] else -1)
        assert versions.depths(np.array(ids, np.uint64), lineage).tolist() == expected
        assert versions.of_branches(lineage[:1]) == closer


def test_neighbours_of_one_commit_are_one_run():
    ids = pa.array(range(9), pa.uint64())
    cells = {"branch": [0] * 9, "seq": [1] * 9, "ended": [2**62] * 9, "dead": [False] * 9, "_rowid": ids}
    versions = Versions(pa.table(cells))
    assert versions.nbytes < 50
    assert versions.of_branches(((0, 1),)) == 9
    empty = Versions(pa.table(cells).slice(0, 0))
    assert empty.depths(np.empty(0, np.uint64), ((0, 1),)).tolist() == []
    assert empty.of_branches(((0, 1),)) == 0


# ----------------------------------------------------------------------------------------- rows of the hits


def test_the_rows_of_hits_are_read_once_and_whole(url, reads):
    values = matrix()
    with perdure.open(url) as store:
        fill(store, values)
        store.vectors.search(values[0], space="s")
        reads.clear()
        hits = store.vectors.search(values[5], space="s")
        assert reads == ["scan vectors", "take vectors"]
        assert hits[0].record.id == "m00005"
        for hit in hits:
            record = store.vectors.get(("s", hit.record.id))
            assert record is not None
            assert (record.text, record.created_at) == (hit.record.text, hit.record.created_at)
            assert record.values.tolist() == hit.record.values.tolist()


def test_what_is_purged_between_a_search_and_its_rows_is_not_given_out(url, monkeypatch):
    values = matrix()
    search = LanceSearcher.search
    with perdure.open(url) as store, perdure.open(url) as other:
        fill(store, values)

        def purged(self: LanceSearcher, *arguments: Any) -> Any:
            hits = search(self, *arguments)
            other.purge("vectors", [("s", hits[0].id)])
            return hits

        monkeypatch.setattr(LanceSearcher, "search", purged)
        hits = store.vectors.search(values[5], k=3, space="s")
        assert "m00005" not in [hit.record.id for hit in hits]
        assert len(hits) == 2


def test_rows_are_given_out_only_at_the_place_where_they_were_found(url):
    values = matrix()
    with perdure.open(url) as store:
        fill(store, values)
        branch = store.branch("b")
        branch.vectors.put(vector(5, values[5], text="mine"))
        found = store.vectors.search(values[5], k=1, space="s")[0]
        assert (found.record.text, store.vectors.get(("s", "m00005")).text) == ("t0", "t0")
        for view, text in ((branch, "mine"), (store, "t0")):
            rows = view.vectors.search(values[5], k=3, space="s")
            assert rows[0].record.text == text


# ------------------------------------------------------------------------------------ what comes meanwhile


def test_folds_between_searches(tmp_path):
    """What is kept of a table is that of its newest version."""
    values = matrix()
    with perdure.open(f"lancedb:///{tmp_path}/store?index=300&fold=100") as store:
        fill(store, values)
        for start in range(0, 300, 30):
            rows = range(start, start + 30)
            store.vectors.put(vector(row, values[row] + 40) for row in rows[:20])
            store.vectors.delete([("s", f"m{row:05}") for row in rows[20:]])
            for row in rows[::4]:
                found = store.vectors.search(values[row], k=1, space="s")[0].record.id
                assert found not in [f"m{row:05}" for row in rows]
            moved = store.vectors.search(values[start + 7] + 40, k=1, space="s")[0].record.id
            assert moved == f"m{start + 7:05}"
        assert len(store.vectors.search(values[0], k=COUNT, space="s")) == COUNT - 100


CHANGES = """
    import sys, numpy as np, perdure
    from perdure import Vector

    values = np.load(sys.argv[2])
    with perdure.open(sys.argv[1]) as store:
        store.vectors.delete([("s", f"m{row:05}") for row in range(0, 600, 3)])
        store.vectors.put(Vector(space="s", id=f"m{row:05}", values=values[row] + 40) for row in range(1, 600, 3))
        store.compact()
"""


def test_a_compaction_by_another_process(url, tmp_path):
    """Row ids change, and rows are those of other versions."""
    values = matrix()
    np.save(tmp_path / "values.npy", values)
    with perdure.open(url) as store:
        fill(store, values)
        assert store.vectors.search(values[0], k=1, space="s")[0].record.id == "m00000"
        command = [sys.executable, "-c", textwrap.dedent(CHANGES), url, str(tmp_path / "values.npy")]
        subprocess.run(command, timeout=120, check=True)
        for row in range(0, COUNT, 30):
            assert store.vectors.search(values[row], k=1, space="s")[0].record.id != f"m{row:05}"
            moved = store.vectors.search(values[row + 1] + 40, k=1, space="s")[0]
            assert moved.record.id == f"m{row + 1:05}"
            assert moved.score == pytest.approx(0, abs=1e-4)
            assert store.vectors.search(values[row + 2], k=1, space="s")[0].record.id == f"m{row + 2:05}"
        assert len(store.vectors.search(values[0], k=COUNT, space="s")) == 400


def test_a_filter_on_what_was_indexed_what_was_folded_since_and_what_was_not(tmp_path):
    values = matrix()
    with perdure.open(f"lancedb:///{tmp_path}/store?index=300&fold=100") as store:
        fill(store, values[:450])
        for start in (450, 480, 510, 540, 570):
            store.vectors.put(vector(row, values[row], text="late") for row in range(start, start + 30))
            assert store.vectors.search(values[start], k=1, space="s")[0].record.id == f"m{start:05}"
        for row in range(450, COUNT, 7):
            found = store.vectors.search(values[row], k=2, space="s", where=F.text == "late")
            assert found[0].record.id == f"m{row:05}"
            assert all(hit.record.text == "late" for hit in found)
            found = store.vectors.search(values[row], k=150, space="s", where=F.text == "late")
            assert len(found) == 150
            found = store.vectors.search(values[row], k=50, space="s", where=F.text != "late")
            assert len(found) == 50
            assert all(hit.record.text != "late" for hit in found)


def test_a_damaged_index_is_gone_round(url):
    """Vectors are in the table: what is derived of them is not needed."""
    values = matrix()
    with perdure.open(url) as store:
        fill(store, values)
    folder = Path(url.removeprefix("lancedb:///").partition("?")[0])
    damaged = 0
    for table in folder.rglob("vectors-*.lance"):
        for index in lance.dataset(str(table)).list_indices():
            for path in (table / "_indices" / index["uuid"]).iterdir() if index["name"] == NAME else ():
                path.write_bytes(b"damaged")
                damaged += 1
    assert damaged
    with perdure.open(url) as store:
        for row in range(0, COUNT, 50):
            near, exact = (store.vectors.search(values[row], space="s", exact=how) for how in (False, True))
            assert [hit.score for hit in near] == [hit.score for hit in exact]
