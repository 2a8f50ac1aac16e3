"""Postgres behind the `perdure_sql.Dialect` interface."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache
from hashlib import blake2b
from itertools import count
from sys import getsizeof
from typing import Any

import psycopg
from perdure import Key, PerdureError, PermissionDenied, Problem, Space, StorageError, Table, Unavailable
from perdure.kit import Lease
from perdure_sql import Dialect, Scope, Statement
from psycopg import errors

from perdure_postgres._bulk import Figures, insert, insert_missing
from perdure_postgres._errors import conflicts, lost, translate
from perdure_postgres._extension import attach
from perdure_postgres._hnsw import Hnsw
from perdure_postgres._options import Options
from perdure_postgres._pool import Connection, Pool, run
from perdure_postgres._schema import DIALECT
from perdure_postgres._upkeep import integrity, reclaim, store_bytes
from perdure_postgres._vectors import COLUMNS, derive, has_columns

__all__ = ["Postgres"]

#: Runs of a transaction that others made fail.
_TRIES = 12

_STREAMED = 2_000

#: Parameters, and answers, of at most so many bytes may stay in memory until the statement is asked again.
_SMALL = 100_000

#: Of a longer answer the size is not looked at: that takes longer than it saves to keep its cursor.
_FEW = 8

#: Locks that each scope takes before anything is read: number of the lock, and whether it is shared. Rows of a
#: branch are locked by its record.
_LOCKS: dict[Scope, tuple[tuple[int, bool], ...]] = {
    Scope.STORE: ((0, False),),
    Scope.NAMESPACE: ((1, False),),
    Scope.ROWS: ((1, True),),
    Scope.NAMES: ((1, True), (2, False)),
    Scope.COUNTERS: ((1, True), (3, False)),
}

#: Look-ups by key need no plan of their own for each key; but where the operator chose one way, it stays.
_ONE_PLAN = (
    "CASE current_setting('plan_cache_mode') WHEN 'auto' "
    "THEN set_config('plan_cache_mode', 'force_generic_plan', true) END"
)

_WAIT = "SELECT set_config('lock_timeout', %s, true)"

_numbers = count()


class _Unsure(psycopg.OperationalError):
    """The connection was lost while a transaction was being committed: nobody knows whether it was."""


@lru_cache(maxsize=10_000)
def _lock_number(schema: str, lock: int, ns: int) -> int:
    """The number of an advisory lock: they are one to a database, which other stores and programs use as well."""
    digest = blake2b(f"perdure\0{schema}\0{lock}\0{ns}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


def _size(cells: Iterable[Any]) -> int:
    """Bytes that cells, or lists of them, take in memory."""
    return sum(_size(cell) if type(cell) is list else getsizeof(cell) for cell in cells)


class Postgres(Dialect):
    """One store: a share in the process's pool of connections to its server."""

    name = "Postgres"
    least = "least"
    placeholder = "%s"
    begin_snapshot = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
    driver_error = psycopg.Error
    lock_rows = " FOR UPDATE OF b"
    nulls_high = True
    writes_nest = True
    lateral = True
    few = 1
    strays = False  # pages have checksums

    def __init__(self, options: Options, lease: Lease[Pool]) -> None:
        super().__init__(DIALECT)
        self._options = options
        self._lease = lease
        self._figures = Figures()
        self._hnsw: Hnsw | None = None
        self._closed = False
        with lease.use() as pool:
            self._pool = pool

    def use_vectors(self, connection: Connection) -> None:
        """Search by pgvector, where the store can; before that, all searches are exact."""
        if has_columns(connection, self._options):
            self._hnsw = Hnsw(self._options, self._pool.connect)
            self.derived, self.vectors = {"vectors": COLUMNS}, self._hnsw

    # ------------------------------------------------------------------------------------- statements

    def send(self, connection: Connection, statement: Statement, values: Mapping[str, Any]) -> Any:
        bound = statement.bind(values)
        if _size(values.values()) > _SMALL:
            return connection.execute(statement.sql, bound)
        return connection.cursor_for(statement.sql).execute(statement.sql, bound)

    def first(self, connection: Connection, statement: Statement, values: Mapping[str, Any]) -> Any:
        row = self.send(connection, statement, values).fetchone()
        if row is not None and sum(map(getsizeof, row)) > _SMALL:
            connection.kept.pop(statement.sql, None)
        return row

    def rows(self, connection: Connection, statement: Statement, values: Mapping[str, Any]) -> list[Any]:
        rows: list[Any] = self.send(connection, statement, values).fetchall()
        if len(rows) > _FEW or sum(sum(map(getsizeof, row)) for row in rows) > _SMALL:
            connection.kept.pop(statement.sql, None)
        return rows

    def key_source(self, width: int) -> tuple[str, tuple[str, ...]]:
        names = [f"k{i}" for i in range(width)]
        arrays = ", ".join(f"CAST(:keys{i} AS TEXT[])" for i in range(width))
        return f"unnest({arrays}) AS k ({', '.join(names)})", tuple(f"k.{name}" for name in names)

    def bind_keys(self, keys: Sequence[Key]) -> dict[str, Any]:
        return {f"keys{i}": list(parts) for i, parts in enumerate(zip(*keys, strict=True))}

    def bind_list(self, values: Sequence[Any]) -> list[Any]:
        return list(values)

    def member(self, column: str, param: str, negated: bool) -> str:
        return f"{column} {'<> ALL' if negated else '= ANY'} ({param})"

    def instr(self, text: str, part: str) -> str:
        return f"strpos({text}, {part}) > 0"

    def equal_unbounded(self, column: str, param: str) -> str:
        return f"(hashtextextended({column}, 0) = hashtextextended({param}, 0) AND {column} = {param})"

    # ---------------------------------------------------------------------------------------- bulk work

    def insert_many(
        self,
        connection: Connection,
        table: str,
        names: Sequence[str],
        rows: Iterable[Sequence[Any]],
        ignore: bool,
    ) -> None:
        if ignore:
            insert_missing(connection, table, names, list(rows))
        else:
            insert(connection, table, names, rows)
        self._figures.during(connection, table)

    def wrote(self, connection: Connection, table: str, rows: int) -> None:
        connection.written[table] = connection.written.get(table, 0) + rows

    def derive(
        self, connection: Connection, table: Table, spaces: Mapping[str, Space], rows: Iterable[Sequence[Any]]
    ) -> Iterable[Sequence[Any]]:
        connection.begin()
        attach(connection, self._options.schema)  # a store may have learned it after this was connected
        return derive(connection, spaces, rows)

    def end_versions(
        self,
        connection: Connection,
        table: Table,
        where: tuple[int, int],
        seq: int,
        versions: Sequence[tuple[Key, int]],
    ) -> None:
        on = " AND ".join(f'v."{name}" = k.k{i}' for i, name in enumerate(table.key))
        statement = self.statement(
            f"UPDATE {table.name} v SET to_seq = :seq FROM unnest("
            f"{', '.join(f'CAST(:keys{i} AS TEXT[])' for i in range(len(table.key)))}, CAST(:begins AS BIGINT[])) "
            f"AS k ({', '.join(f'k{i}' for i in range(len(table.key)))}, begins) "
            f"WHERE v.ns = :ns AND v.branch = :branch AND {on} AND v.from_seq = k.begins"
        )
        values = {
            **self.bind_keys([key for key, _ in versions]),
            "begins": [begin for _, begin in versions],
            "seq": seq,
            "ns": where[0],
            "branch": where[1],
        }
        connection.execute(statement.sql, statement.bind(values))

    def stream(
        self, connection: Connection, statement: Statement, values: Mapping[str, Any]
    ) -> Iterator[Any]:
        with connection.cursor(f"perdure_{next(_numbers)}", binary=True) as cursor:
            cursor.itersize = _STREAMED
            yield from cursor.execute(statement.sql, statement.bind(values))

    # -------------------------------------------------------------------------------------- connections

    def acquire(self) -> Connection:
        return self._take(None)

    def release(self, connection: Connection) -> None:
        self._pool.give(connection)

    def _take(self, deadline: float | None) -> Connection:
        if self._closed:
            raise Unavailable("the store is closed; open it again with perdure.open")
        return self._pool.take(deadline)

    def beside(self) -> AbstractContextManager[None]:
        return self._pool.beside()

    @contextmanager
    def writer(self, deadline: float | None, ns: int, scope: Scope) -> Iterator[Connection]:
        if self._options.read_only:
            raise PermissionDenied("the store is open read-only; open it with mode='rw' to write")
        connection = self._take(deadline)
        try:
            if scope is Scope.ROWS:  # most are of one row, whose statements need not wait for each other
                connection.pipe()
            self._begin(connection, deadline, ns, scope)
            yield connection
            self._commit(connection)
        except BaseException as error:
            connection.written.clear()
            connection.vectors.clear()
            connection.dropped = False
            if connection.process == os.getpid():  # else it is the parent's, who goes on with it
                connection.abandon(error)
            raise
        else:
            if connection.written:
                self._figures.wrote(connection)
            if self._hnsw is not None and (connection.vectors or connection.dropped):
                self._hnsw.wrote(connection)
        finally:
            self._pool.give(connection)

    def _begin(self, connection: Connection, deadline: float | None, ns: int, scope: Scope) -> None:
        locks = [
            f"pg_advisory_xact_lock{'_shared' if shared else ''}({_lock_number(self._options.schema, lock, ns)})"
            for lock, shared in _LOCKS[scope]
        ]
        locked = f"SELECT {', '.join([*locks, _ONE_PLAN])}"
        left = self._options.timeout if deadline is None else deadline - time.monotonic()
        wait = str(max(1, int(min(left, self._options.timeout) * 1_000)))
        if not connection.piped:
            run(connection, ["BEGIN READ WRITE", f"SET LOCAL lock_timeout = {wait}", locked])
            return
        if deadline is not None:  # else it is as the connection has it
            connection.cursor_for(_WAIT).execute(_WAIT, (wait,))
        connection.cursor_for(locked).execute(locked)

    def _commit(self, connection: Connection) -> None:
        try:
            if connection.piped:
                connection.unpipe()
                return
            done = connection.execute("COMMIT").statusmessage
        except psycopg.Error as error:
            if lost(error) or (
                connection.piped and error.sqlstate is None
            ):  # it has not answered as it should
                raise _Unsure(*error.args) from error
            raise
        if done != "COMMIT":  # so Postgres answers where a statement of the transaction had failed
            raise psycopg.InternalError("a failed transaction was to be committed; it was rolled back")

    def again(self, error: BaseException, scope: Scope, tries: int, deadline: float | None) -> bool:
        left = self._options.timeout if deadline is None else deadline - time.monotonic()
        if tries >= _TRIES or left <= 0 or self._closed:
            return False
        if isinstance(error, errors.UniqueViolation):
            # Another transaction had the same commit id, or the same name, at the same time: it is there now.
            if error.diag.table_name not in ("commits", "branches", "checkpoints", "namespaces"):
                return False
        elif isinstance(error, _Unsure):
            if scope not in (
                Scope.ROWS,
                Scope.STORE,
            ):  # a commit's id, or a name, tells whether it was applied
                return False
        elif isinstance(error, errors.ConnectionTimeout) or not (conflicts(error) or lost(error)):
            return False  # a server that is silent for the whole wait would be so again
        time.sleep(min(0.002 * 2**tries, 0.5, left) * random.uniform(0.5, 1.0))
        return True

    def unsure(self, error: BaseException) -> bool:
        return isinstance(error, _Unsure)

    def close(self) -> None:
        self._closed = True
        if self._hnsw is not None:
            self._hnsw.close()
        self._lease.close()

    def translate(self, error: BaseException) -> PerdureError:
        if isinstance(error, _Unsure):
            return Unavailable(
                f"the connection to {self._options.place} was lost while the change was being committed, and its "
                "outcome is unknown: submit a commit again under its id; look whether any other change is there",
                driver=" ".join(str(error).split()),
            )
        if lost(error):
            why = self._pool.failure()
            if why is not None:
                return StorageError(
                    f"the server of {self._options.place} failed ({why}); the previous commit is intact",
                    driver=why,
                )
        return translate(error, self._options.place)

    # ------------------------------------------------------------------------------------------- upkeep

    def integrity(self, connection: Connection) -> list[Problem]:
        return integrity(connection, self._options.schema)

    def overwrite(self, connection: Connection, ns: int) -> None:
        connection.dropped = True
        connection.execute("INSERT INTO erased (ns, mark) VALUES (%s, %s)", (ns, random.getrandbits(63)))

    def reclaim(self, deadline: float | None) -> int:
        connection = self._take(deadline)
        try:
            latest = time.monotonic() + self._options.timeout
            return reclaim(connection, latest if deadline is None else min(deadline, latest))
        finally:
            self._pool.give(connection)

    def store_bytes(self, connection: Connection) -> int:
        return store_bytes(connection)
