"""How far an index must be searched to find what an exact search finds: tried out, once it is built."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from perdure_sql import Indexed
from psycopg import sql

from perdure_postgres._extension import Searchable
from perdure_postgres._pool import Connection

__all__ = ["Calibration", "calibrate", "decoded", "encoded"]

#: Queries tried, how many neighbours of each are looked for, and the share that is to be found.
_QUERIES, _NEAREST, _RECALL = 24, 10, 0.98

#: How many of the nearest are hidden at most.
_HIDDEN = 150

#: Vectors of a space from which fewer queries are tried.
_MANY = 300_000

#: What is tried; pgvector takes no more than 1,000.
_STEPS = (40, 60, 100, 150, 250, 400, 650, 1_000)


class Calibration(NamedTuple):
    """What an index's comment says.

    Attributes:
        ef: The candidates to keep in view (``hnsw.ef_search``); 0: it finds too little whatever that is.
        rows: The vectors of the space when this was found out, about.
    """

    ef: int
    rows: int


def encoded(found: Calibration) -> sql.Composable:
    """As a comment."""
    return sql.Literal(f"perdure ef={found.ef} rows={found.rows}")


def decoded(comment: str | None) -> Calibration | None:
    """The inverse of `encoded`; None where the index was not tried yet."""
    try:
        _, ef, rows = (comment or "").split(" ")
        return Calibration(int(ef.removeprefix("ef=")), int(rows.removeprefix("rows=")))
    except ValueError:
        return None


def calibrate(connection: Connection, index: Indexed, rows: int, least: int) -> Calibration:
    """Try an index with some of its vectors, and with mixtures of them, which are nowhere in it.

    For every other query the nearest vectors do not count, as if a branch or a filter hid them: to get past
    those, a search has to look further.
    """
    queries = _queries(connection, index, _QUERIES if rows < _MANY else _QUERIES // 3)
    if not queries:
        return Calibration(least, rows)
    tries = []
    exact = index.far.format("v")
    far = _statement(index, exact, exact, _HIDDEN + _NEAREST)
    for i, query in enumerate(queries):
        found = connection.execute(far, {"query": query, "hidden": []}).fetchall()
        hidden = min(_HIDDEN, len(found) // 2) if i % 2 else 0
        distances = [row[1] for row in found[hidden : hidden + _NEAREST]]
        farthest = distances[-1] + 1e-6 * abs(distances[-1])
        tries.append((query, [row[0] for row in found[:hidden]], farthest, len(distances)))
    near = _statement(index, exact, index.near, 2 * _NEAREST)
    wanted = sum(count for _, _, _, count in tries)
    for ef in [least, *(step for step in _STEPS if step > least)]:
        connection.execute("SELECT set_config('hnsw.ef_search', %s, false)", (str(ef),))
        hits = 0
        for query, ids, farthest, count in tries:
            rows_found = connection.execute(near, {"query": query, "hidden": ids})
            hits += min(count, sum(row[1] <= farthest for row in rows_found))
        if hits >= _RECALL * wanted:
            return Calibration(ef, rows)
    return Calibration(0, rows)


def _queries(connection: Connection, index: Indexed, count: int) -> list[Searchable]:
    """Vectors of the index, and as many that lie between two of them."""
    found = connection.execute(
        f"SELECT v.search FROM vectors v WHERE {index.current} ORDER BY hashtextextended(v.id, 0) LIMIT {2 * count}"
    ).fetchall()
    vectors = [bytes(row[0]) for row in found]
    if not vectors:
        return []
    head = vectors[0][:4]
    block = np.stack([np.frombuffer(vector, ">f4", offset=4) for vector in vectors])
    half = len(block) // 2
    mixed = 0.7 * block[:half] + 0.3 * block[half : 2 * half]
    chosen = [*block[: count // 2], *mixed[count // 2 : count]]
    return [Searchable(head + row.astype(">f4").tobytes()) for row in chosen]


def _statement(index: Indexed, distance: str, order: str, limit: int) -> str:
    return (
        (
            f"SELECT v.id, CAST({distance} AS FLOAT8) FROM vectors v WHERE {index.current} "
            f"AND v.id <> ALL (CAST(:hidden AS TEXT[])) ORDER BY {order} LIMIT {limit}"
        )
        .replace(":query", "%(query)s")
        .replace(":hidden", "%(hidden)s")
    )
