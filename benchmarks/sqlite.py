"""SQLite: perdure beside `sqlite3` on a file with the same schema, pragmas and bytes.

The raw file is a copy of a perdure file without rows: what the raw contestant inserts are the very rows
that perdure stored, read back from its file.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count, cycle
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import perdure
import pyarrow as pa
from perdure import F, Memory, Store

from benchmarks.harness import Line, compare
from benchmarks.work import memories, vectors

DEPTH = 10
BULK = 10_000
TOP = 50
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Bench:
    """One perdure file with `rows` memories, a branch ten deep, and a raw twin."""

    def __init__(self, folder: Path, rows: int) -> None:
        self.folder = folder
        self.rows = rows
        self.store = perdure.open(f"sqlite:///{folder / 'ours.db'}")
        self.raw = self._twin("raw.db")
        for start in range(0, rows, 50_000):
            self.store.memories.put(memories(rows)[start : start + 50_000])
        self.deep = self._deepen(self.store)
        with closing(sqlite3.connect(folder / "ours.db")) as ours:
            self.columns = [row[1] for row in ours.execute("PRAGMA table_info(memories)")]
            self.raw.execute("BEGIN")
            self.raw.executemany(self.insert, ours.execute(f"SELECT {', '.join(self.columns)} FROM memories"))
            self.raw.execute("COMMIT")
            self.main = ours.execute("SELECT ns, no FROM branches WHERE name = 'main'").fetchone()
        self.raw.execute("ANALYZE")

    @property
    def insert(self) -> str:
        """The statement that inserts one version row."""
        return (
            f"INSERT INTO memories ({', '.join(self.columns)}) VALUES ({', '.join('?' * len(self.columns))})"
        )

    def _twin(self, name: str) -> sqlite3.Connection:
        """A raw connection to an empty copy, with perdure's pragmas."""
        with perdure.open(f"sqlite:///{self.folder / 'empty.db'}"):
            pass
        shutil.copy(self.folder / "empty.db", self.folder / name)
        twin = sqlite3.connect(self.folder / name, isolation_level=None, check_same_thread=False)
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "cache_size=-65536", "temp_store=MEMORY"):
            twin.execute(f"PRAGMA {pragma}")
        return twin

    def _deepen(self, store: Store) -> Store:
        for level in range(1, DEPTH + 1):
            store = store.branch(f"depth-{level}")
            store.memories.put(memories(20, prefix=f"d{level}-"))
            store.memories.update(f"m{level * 100:08d}", importance=0.5)
        return store


def run(folder: Path, rows: int, wanted: Callable[[str], bool]) -> Iterator[Line]:
    """All lines, one after the other."""
    bench = Bench(folder, rows)
    for name, measure in CASES.items():
        if wanted(name):
            yield from measure(bench)
    bench.store.close()


def put_one(bench: Bench) -> Iterator[Line]:
    """One record, one durable commit."""
    fresh = iter(memories(5_000, prefix="one-"))
    rows = _stored(bench, 5_000)
    numbers = count(10**9)
    sql = bench.insert
    place = bench.columns.index("from_seq")

    def ours() -> None:
        bench.store.memories.put(next(fresh))

    def raw() -> None:
        row = list(next(rows))
        row[place] = next(numbers)
        bench.raw.execute("BEGIN IMMEDIATE")
        bench.raw.execute(sql, row)
        bench.raw.execute("COMMIT")

    yield compare(
        "put one, one commit",
        ours,
        raw,
        limit=2,
        calls=100,
        note="both synchronous=FULL; perdure also writes the commit and the head",
    )


def put_many(bench: Bench) -> Iterator[Line]:
    """10,000 records in one commit, from records and from Arrow."""
    names = count()
    table = _arrow(bench, BULK)

    def rows_for_raw() -> list[tuple[Any, ...]]:
        number = 2 * 10**9 + next(names)
        place = bench.columns.index("from_seq")
        return [(*row[:place], number, *row[place + 1 :]) for row in _stored(bench, BULK, repeat=False)]

    batches = iter([rows_for_raw() for _ in range(20)])
    records = iter([memories(BULK, prefix=f"bulk{next(names)}-") for _ in range(10)])
    tables = iter([_renamed(table, f"arrow{next(names)}-") for _ in range(10)])

    def raw() -> None:
        bench.raw.execute("BEGIN IMMEDIATE")
        bench.raw.executemany(bench.insert, next(batches))
        bench.raw.execute("COMMIT")

    def from_records() -> None:
        bench.store.memories.put(next(records))

    def from_arrow() -> None:
        bench.store.memories.put(next(tables))

    yield compare(f"put {BULK:,} from records", from_records, raw, limit=4, rounds=5)
    yield compare(f"put {BULK:,} from Arrow", from_arrow, raw, limit=2, rounds=5)


def get(bench: Bench) -> Iterator[Line]:
    """One row by id, on main and ten branches deep."""
    ids = cycle([f"m{i * 7919 % bench.rows:08d}" for i in range(1_000)])
    names = ", ".join(perdure.TABLES["memories"].names)
    # The newest version on a branch is the last one by from_seq: the raw way to ask for it.
    sql = (
        f"SELECT {names} FROM memories WHERE ns = ? AND branch = ? AND id = ? ORDER BY from_seq DESC LIMIT 1"
    )
    ns, main = bench.main

    def on(store: Store) -> Callable[[], object]:
        return lambda: store.memories.get(next(ids))

    def raw() -> object:
        return _record(bench.raw.execute(sql, (ns, main, next(ids))).fetchone())

    yield compare("get by id", on(bench.store), raw, limit=3, calls=1_000)
    yield compare(
        f"get by id at depth {DEPTH}, beside main", on(bench.deep), on(bench.store), limit=2, calls=1_000
    )


def find(bench: Bench) -> Iterator[Line]:
    """The fifty most important of a kind."""
    names = ", ".join(perdure.TABLES["memories"].names)
    sql = (
        f"SELECT {names} FROM memories WHERE ns = ? AND branch = ? AND kind = ? AND to_seq >= ? AND dead = 0 "
        f"ORDER BY importance DESC, id LIMIT {TOP}"
    )
    ns, main = bench.main

    def on(store: Store) -> Callable[[], object]:
        return lambda: store.memories.find(F.kind == "episode", order_by="-importance", limit=TOP)

    def raw() -> object:
        return [_record(row) for row in bench.raw.execute(sql, (ns, main, "episode", 2**62))]

    yield compare(f"find: filter, order, top {TOP}", on(bench.store), raw, limit=2, calls=50)
    yield compare(f"find at depth {DEPTH}, beside main", on(bench.deep), on(bench.store), limit=2, calls=50)


def branch(bench: Bench) -> Iterator[Line]:
    """Creating a branch, beside one raw durable insert."""
    names = count()
    numbers = count(3 * 10**9)
    row = list(next(_stored(bench, 1)))
    place = bench.columns.index("from_seq")

    def ours() -> None:
        bench.store.branches.create(f"b{next(names)}")

    def raw() -> None:
        row[place] = next(numbers)
        bench.raw.execute("BEGIN IMMEDIATE")
        bench.raw.execute(bench.insert, row)
        bench.raw.execute("COMMIT")

    line = compare("create a branch, beside one durable insert", ours, raw, limit=None, calls=20)
    verdict = "ok" if line.ours <= 5_000 else "MISSED"
    note = f"{line.ours / 1000:.2f} ms at {bench.rows:,} rows; at most 5 ms: {verdict}"
    yield replace(line, note=note)


def search(bench: Bench) -> Iterator[Line]:
    """Exact top-10 over 384 dimensions, beside a cached numpy product."""
    for size in (10_000, 100_000):
        matrix = vectors(size, 384)
        space = f"s{size}"
        bench.store.spaces.create(space, 384, metric="cosine")
        flat = pa.FixedSizeListArray.from_arrays(pa.array(matrix.ravel()), 384)
        ids = [f"v{i:07d}" for i in range(size)]
        bench.store.vectors.put(pa.table({"space": [space] * size, "id": ids, "values": flat}))
        unit = matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
        queries = cycle(vectors(50, 384, seed=3))

        def ours(space: str = space, queries: Any = queries) -> object:
            return bench.store.vectors.search(next(queries), k=10, space=space)

        def raw(unit: Any = unit, queries: Any = queries) -> object:
            query = next(queries)
            product = unit @ (query / np.linalg.norm(query))
            best = np.argpartition(-product, 10)[:10]
            return best[np.argsort(-product[best])]

        yield compare(f"exact top-10 of {size:,} × 384", ours, raw, limit=1.5, calls=10)


def _record(row: tuple[Any, ...]) -> Memory:
    """What a careful user of the raw driver would write to get the same objects."""
    cells = list(row)
    for place in (11, 13, 14):  # times
        if cells[place] is not None:
            cells[place] = EPOCH + timedelta(microseconds=cells[place])
    cells[7] = msgspec.json.decode(cells[7])
    cells[8] = msgspec.json.decode(cells[8])
    cells[12] = msgspec.json.decode(cells[12])
    return Memory(*cells)


def _stored(bench: Bench, wanted: int, *, repeat: bool = True) -> Iterator[tuple[Any, ...]]:
    """Version rows as perdure stored them."""
    found = bench.raw.execute(f"SELECT {', '.join(bench.columns)} FROM memories LIMIT {wanted}").fetchall()
    return cycle(found) if repeat else iter(found)


def _arrow(bench: Bench, rows: int) -> pa.Table:
    return bench.store.memories.to_arrow(limit=rows)


def _renamed(table: pa.Table, prefix: str) -> pa.Table:
    return table.set_column(0, "id", pa.array([f"{prefix}{i:08d}" for i in range(table.num_rows)]))


CASES: dict[str, Callable[[Bench], Iterator[Line]]] = {
    "put one": put_one,
    "put many": put_many,
    "get": get,
    "find": find,
    "branch": branch,
    "search": search,
}
