"""LanceDB: perdure beside pylance on a table of memories in plain columns, with an index on the id.

The raw contestant keeps neither history nor branches, and syncs nothing: LanceDB leaves that to the system.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import lance
import numpy as np
import perdure
import pyarrow as pa
from lance.dataset import ColumnOrdering
from perdure import Memory, Store, Vector

from benchmarks.cases import CASES, TOP, Bench, Case, Raw, Row, fill_space, load, record, run_cases
from benchmarks.harness import Line, compare, timed
from benchmarks.work import low_rank

LIMITS = {"get": 2.0, "branch": 20.0}

_SCHEMA = perdure.TABLES["memories"].arrow

#: Of the raw contestant's index.
_PARTITIONS = 256

#: The id of a vector, and whatever the contestant found.
Hit = tuple[str, Any]

#: Single commits after which the store is compared with one that was loaded at once.
_SMALL = 5_000


def run(folder: Path, rows: int, wanted: Callable[[str], bool]) -> Iterator[Line]:
    """All lines, one after the other."""
    with perdure.open(f"lancedb:///{folder / 'ours'}") as store:
        deep, seconds = timed(lambda: load(store, rows))
        print(f"loaded {rows:,} memories in {seconds:,.1f} s")
        raw = Lance(folder / "raw.lance", store.memories.to_arrow(limit=rows))
        bench = Bench(store, deep, raw, rows, "an append by pylance", "synced; raw is not", LIMITS)
        yield from run_cases(bench, {**CASES, "search low-rank": search, "small": small(folder)}, wanted)


class Lance(Raw):
    """pylance, as its user would write it."""

    columns = _SCHEMA.names
    place = (0, 0)

    def __init__(self, path: Path, table: pa.Table) -> None:
        self.dataset = lance.write_dataset(table, path)
        for column in ("id", "kind"):
            self.dataset.create_scalar_index(column, "BTREE")

    def stored(self, rows: int) -> list[Row]:
        table = self.dataset.scanner(limit=rows).to_table()
        return list(zip(*(column.to_pylist() for column in _cells(table)), strict=True))

    def put(self, row: Row) -> None:
        self.load([row])

    def load(self, rows: Sequence[Row]) -> None:
        columns = [
            pa.array(cells, field.type) for cells, field in zip(zip(*rows, strict=True), _SCHEMA, strict=True)
        ]
        self.dataset = lance.write_dataset(pa.table(columns, schema=_SCHEMA), self.dataset, mode="append")

    def get(self, id: str) -> Memory:
        return self._memories(self.dataset.scanner(filter=f"id = '{id}'").to_table())[0]

    def find(self) -> list[Memory]:
        order = [ColumnOrdering("importance", False, False), ColumnOrdering("id")]
        best = self.dataset.scanner(
            columns=["id", "importance"],
            filter="kind = 'episode'",
            order_by=order,
            limit=TOP,
            with_row_id=True,
        ).to_table()
        return self._memories(self.dataset._take_rows(best["_rowid"].to_pylist()))

    def _memories(self, table: pa.Table) -> list[Memory]:
        return [record(row) for row in zip(*(column.to_pylist() for column in _cells(table)), strict=True)]


def _cells(table: pa.Table) -> list[Any]:
    """Columns as `record` takes them: times in microseconds, tags as JSON."""
    return [
        table[field.name].cast(pa.int64()) if pa.types.is_timestamp(field.type) else table[field.name]
        for field in _SCHEMA
    ]


def search(bench: Bench) -> Iterator[Line]:
    """Nearest neighbours among 100,000, beside an IVF_FLAT index that looks at as many partitions as it has to."""
    matrix = low_rank(100_050, 384)
    queries, matrix = matrix[:50], matrix[50:]
    space = fill_space(bench.store, "nearest", matrix)
    assert isinstance(bench.raw, Lance)
    folder = Path(bench.raw.dataset.uri).parent
    values = pa.FixedSizeListArray.from_arrays(pa.array(matrix.ravel()), 384)
    table = bench.store.vectors.to_arrow().set_column(2, "values", values)
    dataset = lance.write_dataset(table, folder / "vectors.lance")
    dataset.create_index("values", "IVF_FLAT", num_partitions=_PARTITIONS, metric="cosine")
    unit = matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
    truth = [{f"v{i:07d}" for i in np.argsort(-(unit @ query))[:10]} for query in queries]

    def ours(query: Any) -> list[Hit]:
        return [(hit.record.id, hit) for hit in bench.store.vectors.search(query, k=10, space=space)]

    def raw(query: Any, probes: int) -> list[Hit]:
        nearest = {"column": "values", "q": query, "k": 10, "nprobes": probes}
        found = dataset.scanner(columns=[*table.column_names, "_distance"], nearest=nearest).to_table()
        cells = [found[name].to_pylist() for name in found.column_names if name != "values"]
        rows = np.concatenate([chunk.flatten().to_numpy() for chunk in found["values"].chunks])
        return [(row[1], row) for row in zip(*cells, rows.reshape(-1, 384), strict=True)]

    def recall(ask: Callable[[Any], list[Hit]]) -> float:
        found = [len(best & {id for id, _ in ask(query)}) for best, query in zip(truth, queries, strict=True)]
        return sum(found) / (10 * len(queries))

    reached = recall(ours)
    tries = ((probes, recall(partial(raw, probes=probes))) for probes in range(8, _PARTITIONS + 1, 8))
    probes, same = next(found for found in tries if found[1] >= reached or found[0] == _PARTITIONS)
    mine, theirs = cycle(queries), cycle(queries)
    yield compare(
        "top-10 of 100,000 × 384, low-rank",
        lambda: ours(next(mine)),
        lambda: raw(next(theirs), probes),
        limit=1.5,
        rounds=15,
        calls=10,
        note=f"recall {reached:.3f}, and {same:.3f} by IVF_FLAT with {probes} probes; both read whole rows",
    )


def small(folder: Path) -> Case:
    """Many small commits, each a memory with its vector, beside one large one of the same rows."""

    def measure(bench: Bench) -> Iterator[Line]:
        rows, matrix = bench.store.memories.find(limit=_SMALL), low_rank(_SMALL, 384)
        near = [Vector("near", row.id, values) for row, values in zip(rows, matrix, strict=True)]
        stores = [perdure.open(f"lancedb:///{folder / name}") for name in ("single", "bulk")]
        single, bulk = stores
        for store in stores:
            store.spaces.create("near", 384, metric="cosine")
        _, seconds = timed(lambda: [_commit(single, [row], [near[i]]) for i, row in enumerate(rows)])
        _commit(bulk, rows, near)
        disk = size_of(folder / "single") / size_of(folder / "bulk")
        bulk.compact()  # else all of it would be answered from memory
        ids, queries = cycle([row.id for row in rows]), cycle(matrix[:50])
        note = f"{_SMALL / seconds:,.0f} commits a second; {disk:.2f} times the disk (limit 3)"
        what = f"after {_SMALL:,} commits, beside one"

        def get(store: Store) -> Callable[[], object]:
            return lambda: store.memories.get(next(ids))

        def search(store: Store) -> Callable[[], object]:
            return lambda: store.vectors.search(next(queries), k=10, space="near")

        yield compare(f"get {what}", get(single), get(bulk), limit=2, calls=100, note=note)
        yield compare(f"search {what}", search(single), search(bulk), limit=2, calls=20, note="top-10, exact")
        for store in stores:
            store.close()

    return measure


def _commit(store: Store, rows: Sequence[Memory], near: Sequence[Vector]) -> None:
    with store.batch() as batch:
        batch.memories.put(rows)
        batch.vectors.put(near)


def size_of(folder: Path) -> int:
    """Bytes of all files below."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
