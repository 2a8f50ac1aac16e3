"""The index of pgvector over each large space: looking it up, and keeping it as the spaces are.

An index belongs to the current vectors of one space, on all branches. It is built beside the writers, by one
process at a time, once a space has so many vectors as the URL says; then it is tried with some queries, and
its comment says how far a search must look to find what an exact one finds.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray
from perdure import Space
from perdure_sql import OPEN, Indexed, Session
from psycopg import errors, sql

from perdure_postgres._calibrate import Calibration, calibrate, decoded, encoded
from perdure_postgres._options import Options
from perdure_postgres._pool import Connection, run
from perdure_postgres._tasks import Tasks
from perdure_postgres._vectors import INDEXABLE, INLINE, cell_of, halved, key_of

__all__ = ["PREFIX", "Hnsw"]

_F64 = NDArray[np.float64]

_OPERATORS = {"cosine": ("<=>", "cosine_ops"), "l2": ("<->", "l2_ops"), "dot": ("<#>", "ip_ops")}

#: All indexes of ours begin with it.
PREFIX = "perdure_hnsw_"

#: Seconds for which it is believed that a space has an index, and that it has none.
_THERE, _MISSING = 60.0, 5.0

#: Seconds that a commit waits for an index that is soon built.
_WAIT = 2.0

#: Seconds without a new vector after which a load is over, and that its end is waited for: rows that come while
#: an index is there take many times longer than those that it is built from.
_QUIET, _LOAD = 2.0, 120.0

#: Numbers in a space that is soon indexed.
_SOON = 1_000_000

#: Vectors below which no calibration is needed: a search looks at all of them, or nearly so.
_FEW = 1_000

#: Bytes that a build may use: the graph is then built in memory, which takes a fraction of the time.
_MEMORY = (64 << 20, 1 << 30)

#: Said before each search. Relaxed, since candidates are put in order anyway, and strict order loses some of them.
_SETUP = "set_config('hnsw.ef_search', :ef, true) || set_config('hnsw.iterative_scan', 'relaxed_order', true)"

_LOOK = (
    "SELECT i.indisvalid AND i.indisready, obj_description(i.indexrelid, 'pg_class') FROM pg_index i "
    "WHERE i.indexrelid = to_regclass(%s)"
)

_COUNT = (
    "SELECT count(*) FROM (SELECT 1 FROM branches b JOIN vectors v ON v.ns = b.ns AND v.branch = b.no "
    "WHERE b.ns = %s AND v.space = %s LIMIT %s) c"
)

#: Whether this role may build indexes of vectors.
_OWNED = (
    "SELECT pg_has_role(relowner, 'USAGE') AND NOT pg_is_in_recovery() FROM pg_class "
    "WHERE oid = to_regclass('vectors')"
)

#: Our indexes in the schema, where this role may drop them, and whether they are usable.
_OURS = (
    "SELECT c.relname, i.indisvalid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid "
    "WHERE c.relnamespace = current_schema()::regnamespace AND starts_with(c.relname, %s) "
    "AND pg_has_role(c.relowner, 'USAGE') AND NOT row_security_active('spaces')"  # who sees all spaces
)


@dataclass
class _Grown:
    """How many vectors a space has, about: as last counted and with what this process added since;
    from how many on to count anew; when this process added some last."""

    known: int = 0
    due: int = 0
    last: float = 0.0


class Hnsw:
    """The indexes of one store. Safe from several threads.

    Args:
        options: Of the store.
        connect: Makes a connection that is not one of the pool's.
    """

    def __init__(self, options: Options, connect: Callable[[], Connection]) -> None:
        self._options = options
        self._connect = connect
        self._lock = threading.Lock()
        self._found: dict[str, tuple[float, Calibration | None]] = {}
        self._grown: dict[tuple[int, str], _Grown] = {}
        self._tasks = Tasks(connect)
        self._closing = threading.Event()

    # ---------------------------------------------------------------------------------- for searches

    def look(self, session: Session, ns: int, space: Space) -> Indexed | None:
        """The index of a space; None where it has none, or where it finds too little."""
        if space.dim > INDEXABLE:
            return None
        found = self._look(session.raw, ns, space)
        if found is None or not found.ef:
            return None
        return self._indexed(ns, space, found.ef)

    def _indexed(self, ns: int, space: Space, ef: int) -> Indexed:
        distance, breadth = _OPERATORS[space.metric][0], max(ef, self._options.ef_search)
        return Indexed(
            current=f"v.ns = {ns} AND v.search_key = {key_of(ns, space)} AND v.to_seq = {OPEN} AND v.dead = 0",
            near=f"{_indexed(space, 'v.search')} {distance} {_indexed(space, ':query')}",
            far=f"{{}}.search {distance} :query",
            setup=_SETUP,
            params={"ef": str(breadth)},
            wide={"ef": str(min(1_000, 3 * breadth))},
            # The planner does not know that vectors this long are stored apart from their rows.
            settings="SET LOCAL enable_sort = off" if space.dim > INLINE else "",
            slack=1e-4 if halved(space) and space.dtype != "float16" else 1e-6,
        )

    def cell(self, session: Session, space: Space, query: _F64) -> Any:
        """A query as pgvector takes it."""
        return cell_of(space, query)

    def _look(self, connection: Connection, ns: int, space: Space) -> Calibration | None:
        name = index_name(ns, space)
        until, found = self._found.get(name, (0.0, None))
        if until < time.monotonic():
            row = connection.execute(_LOOK, (name,)).fetchone()
            found = decoded(row[1]) if row is not None and row[0] else None
            self._found[name] = time.monotonic() + (_MISSING if found is None else _THERE), found
        return found

    # ------------------------------------------------------------------------------------- upkeep

    def wrote(self, connection: Connection) -> None:
        """What a connection wrote is committed now: have done what is due; raises nothing."""
        added, connection.vectors = connection.vectors, {}
        dropped, connection.dropped = connection.dropped, False
        waits = []
        try:
            if dropped:
                self._found.clear()
                if any(name for name, _ in _ours(connection)):
                    waits.append(self._tasks.do("sweep", self._sweep))
            for (ns, name), count in added.items():
                waits.append(self._added(connection, ns, name, count))
        except psycopg.Error:  # the commit is done, and this is no part of it
            return
        for done in waits:
            if done is not None:
                done.wait(_WAIT)

    def close(self) -> None:
        """Break off what is under way; the next process to write does it."""
        self._closing.set()
        self._tasks.close()

    def _added(self, connection: Connection, ns: int, name: str, count: int) -> threading.Event | None:
        """Have an index built, or tried again, where a space has grown enough; None: nothing to wait for."""
        least = self._options.indexed
        if not least:
            return None
        with self._lock:
            grown = self._grown.setdefault((ns, name), _Grown())
            grown.known, grown.last = grown.known + count, time.monotonic()
            if grown.known < grown.due:
                return None
        space = _space(connection, ns, name)
        if space is None:
            return None
        found = self._look(connection, ns, space)
        most = least if found is None else max(_FEW, 2 * found.rows)
        there = _one(connection, _COUNT, ns, name, most)
        with self._lock:
            grown.known, grown.due = there, min(most, there + max(least // 10, 1))
            if there >= most:
                grown.due = there + max(there // 2, 1)
        if there < most:
            return None
        soon = there * space.dim <= _SOON
        done = self._tasks.do((ns, name), lambda own: self._build(own, ns, name, wait=not soon))
        return done if soon else None

    # --------------------------------------------------------------------------------- in the background

    def _build(self, connection: Connection, ns: int, name: str, *, wait: bool) -> None:
        """See that the space has an index, and find out how well it finds."""
        if wait:
            self._settle(ns, name)
        lock = f"{PREFIX}{self._options.schema}"
        if not _one(connection, "SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", lock):
            return  # somebody else is at it
        try:
            space = _space(connection, ns, name)
            if space is None or not _one(connection, _OWNED):
                return
            index, rows = index_name(ns, space), _one(connection, _COUNT, ns, name, 1 << 40)
            row = connection.execute(_LOOK, (index,)).fetchone()
            if row is None or not row[0]:
                if row is not None:  # what is left of a build that was broken off
                    _drop(connection, index)
                _create(connection, ns, space, index, rows)
                # Else the planner may take the space for empty, and all its vectors for the cheaper way.
                run(connection, ["ANALYZE (SKIP_LOCKED) vectors"])
            run(connection, ["SET hnsw.iterative_scan = 'relaxed_order'"])
            found = Calibration(self._options.ef_search, rows)
            if rows >= _FEW:
                found = calibrate(connection, self._indexed(ns, space, found.ef), rows, found.ef)
            comment = sql.SQL("COMMENT ON INDEX {} IS {}").format(sql.Identifier(index), encoded(found))
            run(connection, [comment])
            self._found.pop(index, None)
        finally:
            connection.execute("SELECT pg_advisory_unlock_all()")

    def _settle(self, ns: int, name: str) -> None:
        """Wait for the end of a load by this process."""
        grown, until = self._grown[ns, name], time.monotonic() + _LOAD
        while (left := min(grown.last + _QUIET, until) - time.monotonic()) > 0:
            if self._closing.wait(left):
                return

    def _sweep(self, connection: Connection) -> None:
        """Drop the indexes of spaces that are gone."""
        spaces = connection.execute("SELECT ns, name, dim, dtype, metric FROM spaces").fetchall()
        wanted = {index_name(row[0], Space(*row[1:])) for row in spaces}
        for name, _ in _ours(connection):
            if name not in wanted:
                _drop(connection, name)


def index_name(ns: int, space: Space) -> str:
    """The name of a space's index, of numbers only."""
    return f"{PREFIX}{ns}_{key_of(ns, space):016x}"


def _create(connection: Connection, ns: int, space: Space, name: str, rows: int) -> None:
    kind = "halfvec" if halved(space) else "vector"
    memory = min(_MEMORY[1], max(_MEMORY[0], rows * (space.dim * (2 if halved(space) else 4) + 400)))
    build = sql.SQL(
        f"CREATE INDEX CONCURRENTLY {{}} ON vectors USING hnsw (({_indexed(space, 'search')}) "
        f"{kind}_{_OPERATORS[space.metric][1]}) WHERE ns = {ns} AND search_key = {key_of(ns, space)} "
        f"AND to_seq = {OPEN} AND dead = 0"
    ).format(sql.Identifier(name))
    run(connection, [f"SET maintenance_work_mem = '{memory >> 10}kB'"])
    try:
        run(connection, [build])
    except (errors.DiskFull, errors.InsufficientResources):  # shared memory for workers may be short
        _drop(connection, name)
        run(connection, ["SET max_parallel_maintenance_workers = 0"])
        run(connection, [build])
    run(connection, [sql.SQL("ALTER INDEX {} ALTER COLUMN 1 SET STATISTICS 0").format(sql.Identifier(name))])


def _drop(connection: Connection, name: str) -> None:
    run(connection, [sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {}").format(sql.Identifier(name))])


def _indexed(space: Space, value: str) -> str:
    """A vector as the index of its space holds it."""
    return f"CAST({value} AS {'halfvec' if halved(space) else 'vector'}({space.dim}))"


def _space(connection: Connection, ns: int, name: str) -> Space | None:
    row = connection.execute(
        "SELECT name, dim, dtype, metric FROM spaces WHERE ns = %s AND name = %s", (ns, name)
    ).fetchone()
    return None if row is None else Space(*row)


def _ours(connection: Connection) -> list[tuple[Any, ...]]:
    return connection.execute(_OURS, (PREFIX,)).fetchall()


def _one(connection: Connection, text: str, *values: Any) -> Any:
    row = connection.execute(text, values).fetchone()
    assert row is not None
    return row[0]
