"""Postgres: perdure beside psycopg (and pgvector) on one embedded server, over the same socket.

The raw tables are those of an empty perdure store in another schema; the raw rows are the very rows that
perdure stored, copied from its schema.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import perdure
import psycopg
from numpy.typing import NDArray
from perdure import Memory, Store, Support, Vector
from perdure_postgres import embedded
from perdure_postgres._embedded import start
from pgvector.psycopg import register_vector

from benchmarks.cases import (
    CASES,
    FIND,
    GET,
    NEWEST,
    Bench,
    Case,
    Raw,
    Row,
    exact,
    fill_space,
    load,
    record,
    run_cases,
)
from benchmarks.harness import Line, compare, timed
from benchmarks.work import low_rank, vectors

LIMITS = {"get": 1.5, "branch": 10.0}
DURABILITY = "synchronous_commit=on, fsync=on"

#: Cases of short calls, of which each waits for the server.
_SMALL = ("get", "find", "put one", "branch")

#: Seconds to wait for the server, and for an index, which perdure builds beside the writers.
_WAIT, _BUILD = 120.0, 1_200.0

#: The breadth of pgvector's search where perdure has no index that says another.
_BREADTH = 40

_QUERIES = 50
_NEAREST = 10


def run(folder: Path, rows: int, wanted: Callable[[str], bool]) -> Iterator[Line]:
    """All lines, one after the other."""
    url = f"postgresql+embedded:///{folder / 'server'}"
    directory = folder / "server"
    with (
        perdure.open(url) as store,
        closing(start(directory, time.monotonic() + _WAIT, create=False)) as server,
    ):
        deep, seconds = timed(lambda: load(store, rows))
        print(f"loaded {rows:,} memories in {seconds:,.1f} s")
        with perdure.open(f"{url}?schema=raw"):
            pass
        with psycopg.connect(server.conninfo, autocommit=True) as connection:
            raw, seconds = timed(lambda: Psycopg(connection))
            print(f"copied them into the raw tables in {seconds:,.1f} s")
            bench = Bench(store, deep, raw, rows, "COPY in binary", DURABILITY, LIMITS)
            small = {name: case for name, case in CASES.items() if name in _SMALL}
            with _on_one_cpu(connection):
                yield from run_cases(bench, small, wanted)
            yield from run_cases(
                bench, {**{n: c for n, c in CASES.items() if n not in small}, **_OWN}, wanted
            )


@contextmanager
def _on_one_cpu(connection: psycopg.Connection[Row]) -> Iterator[None]:
    """Both contestants, and the server's processes for them, on one CPU, where the system lets us say so.

    To wake a CPU that sleeps takes as long as a small call itself, and otherwise befalls either contestant by luck.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    found = connection.execute("SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend'")
    pids = [0, *(pid for (pid,) in found)]
    before = os.sched_getaffinity(0)
    for pid in pids:
        os.sched_setaffinity(pid, {max(before)})
    try:
        yield
    finally:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.sched_setaffinity(pid, before)


class Psycopg(Raw):
    """psycopg, as its user would write it; it prepares by itself what is sent more than a few times."""

    def __init__(self, connection: psycopg.Connection[Row]) -> None:
        self.connection = connection
        connection.execute("SET synchronous_commit = on")
        connection.execute("SET search_path = raw, perdure, public")
        found = connection.execute(
            "SELECT column_name, udt_name FROM information_schema.columns "
            "WHERE table_schema = 'raw' AND table_name = 'memories' ORDER BY ordinal_position"
        ).fetchall()
        self.columns = [name for name, _ in found]
        self._types = [kind for _, kind in found]
        names = ", ".join(f'"{name}"' for name in self.columns)
        self._select = f"SELECT {names} FROM memories WHERE branch = %s LIMIT %s"
        self._insert = f"INSERT INTO memories ({names}) VALUES ({', '.join(['%s'] * len(found))})"
        self._copy = f"COPY memories ({names}) FROM STDIN (FORMAT BINARY)"
        self._get, self._find = (text.replace("?", "%s") for text in (GET, FIND))
        place = connection.execute("SELECT ns, no FROM perdure.branches WHERE name = 'main'").fetchone()
        assert place is not None
        self.place = place
        connection.execute(f"INSERT INTO raw.memories ({names}) SELECT {names} FROM perdure.memories")
        connection.execute("VACUUM (ANALYZE)")  # else the server does it at any time, for one of the two
        connection.execute("CHECKPOINT")

    def stored(self, rows: int) -> list[Row]:
        return self.connection.execute(self._select, (self.place[1], rows)).fetchall()

    def put(self, row: Row) -> None:
        with self.connection.transaction():
            self.connection.execute(self._insert, row)

    def load(self, rows: Sequence[Row]) -> None:
        with self.connection.transaction(), self.connection.cursor().copy(self._copy) as copy:
            copy.set_types(self._types)
            for row in rows:
                copy.write_row(row)

    def get(self, id: str) -> Memory:
        row = self.connection.execute(self._get, (*self.place, id)).fetchone()
        assert row is not None
        return record(row)

    def find(self) -> list[Memory]:
        return [record(row) for row in self.connection.execute(self._find, (*self.place, "episode", NEWEST))]


def search(bench: Bench) -> Iterator[Line]:
    """Exact search."""
    yield from exact(bench, 10_000)


def nearest(made: Callable[[int, int], NDArray[np.float32]], name: str) -> Case:
    """Nearest neighbours by an HNSW index, of vectors of one make."""

    def measure(bench: Bench) -> Iterator[Line]:
        assert isinstance(bench.raw, Psycopg)
        # The queries are of the same make, and not in the store.
        matrix = made(100_000 + _QUERIES, 384)
        yield _nearest(bench.store, bench.raw.connection, name, matrix[_QUERIES:], matrix[:_QUERIES])

    return measure


def _nearest(
    store: Store,
    connection: psycopg.Connection[Row],
    name: str,
    matrix: NDArray[np.float32],
    queries: NDArray[np.float32],
) -> Line:
    """Top-10 by an HNSW index, beside a plain pgvector table with one, and the recall of both."""
    size, dim = matrix.shape
    space = f"nearest_{name.replace('-', '_')}"
    _, raw_s = timed(lambda: _plain(connection, space, matrix))
    breadth, ours_s = timed(lambda: _indexed(connection, store, space, matrix))
    how = "HNSW" if breadth else "no index" if breadth is None else "its index finds too little"
    how = how if breadth else f"{how}: perdure searches exactly"
    breadth = breadth or _BREADTH
    connection.execute(f"SET hnsw.ef_search = {breadth}")
    text = (
        f"SELECT id, embedding, 1 - (embedding <=> %s) FROM raw.{space} "
        f"ORDER BY embedding <=> %s LIMIT {_NEAREST}"
    )

    def ours(query: NDArray[np.float32]) -> list[tuple[Vector, float]]:
        return [(found.record, found.score) for found in store.vectors.search(query, k=_NEAREST, space=space)]

    def raw(query: NDArray[np.float32]) -> list[tuple[Vector, float]]:
        rows = connection.execute(text, (query, query))
        return [(Vector(space, id, values), score) for id, values, score in rows]

    truth = _truth(matrix, queries)
    recalls = [_recall(answer, queries, truth) for answer in (ours, raw)]
    mine, theirs = cycle(queries), cycle(queries)
    note = (
        f"{how}; recall {recalls[0]:.3f} beside {recalls[1]:.3f} at ef_search={breadth}; loaded and indexed in "
        f"{ours_s:.0f} s beside {raw_s:.0f} s; both {DURABILITY}"
    )
    return compare(
        f"top-{_NEAREST} of {size:,} × {dim}, {name}",
        lambda: ours(next(mine)),
        lambda: raw(next(theirs)),
        limit=1.5,
        calls=_QUERIES,
        note=note,
    )


def _plain(connection: psycopg.Connection[Row], name: str, matrix: NDArray[np.float32]) -> None:
    """The table that a user of pgvector would have."""
    connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
    register_vector(connection)
    connection.execute(
        f'CREATE TABLE raw.{name} (id TEXT COLLATE "C" PRIMARY KEY, embedding vector({matrix.shape[1]}))'
    )
    with connection.cursor().copy(f"COPY raw.{name} FROM STDIN (FORMAT BINARY)") as copy:
        copy.set_types(["text", "vector"])
        for i, row in enumerate(matrix):
            copy.write_row((f"v{i:07d}", row))
    connection.execute("SET maintenance_work_mem = '1GB'")
    connection.execute(f"CREATE INDEX ON raw.{name} USING hnsw (embedding vector_cosine_ops)")
    connection.execute(f"VACUUM (ANALYZE) raw.{name}")


def _indexed(
    connection: psycopg.Connection[Row], store: Store, space: str, matrix: NDArray[np.float32]
) -> int | None:
    """Fill a space and wait for its index; the ef_search that perdure found right for it; None without one."""
    known = set(_breadths(connection))
    fill_space(store, space, matrix)
    if embedded.describe().capabilities["approximate"] is Support.MISSING:
        return None
    until = time.monotonic() + _BUILD
    while time.monotonic() < until:
        new = {name: ef for name, ef in _breadths(connection).items() if name not in known}
        if new:
            connection.execute("VACUUM (ANALYZE) perdure.vectors")
            return new.popitem()[1]
        time.sleep(0.1)
    return None


def _breadths(connection: psycopg.Connection[Row]) -> dict[str, int]:
    """The indexes of perdure's schema that are usable, and the ef_search that the comment of each says."""
    found = connection.execute(
        "SELECT c.relname, substring(obj_description(c.oid, 'pg_class') FROM 'ef=([0-9]+)')::int "
        "FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am a ON a.oid = c.relam "
        "WHERE c.relnamespace = 'perdure'::regnamespace AND a.amname = 'hnsw' AND i.indisvalid"
    )
    return {name: ef for name, ef in found if ef is not None}


def _truth(matrix: NDArray[np.float32], queries: NDArray[np.float32]) -> list[set[str]]:
    """The ids that are nearest to each query."""
    unit = matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
    best = np.argpartition(-(queries @ unit.T), _NEAREST)[:, :_NEAREST]
    return [{f"v{i:07d}" for i in row} for row in best]


def _recall(
    answer: Callable[[Any], list[tuple[Vector, float]]], queries: NDArray[Any], truth: list[set[str]]
) -> float:
    """The share of the nearest that an answer has, on average."""
    found = [
        len(nearest.intersection(vector.id for vector, _ in answer(query)))
        for query, nearest in zip(queries, truth, strict=True)
    ]
    return sum(found) / (len(queries) * _NEAREST)


_OWN: dict[str, Case] = {
    "search exact": search,
    "search low-rank": nearest(low_rank, "low-rank"),
    "search random": nearest(vectors, "random"),
}
