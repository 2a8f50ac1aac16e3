"""Connections to one server, shared by all stores that this process has open there."""

from __future__ import annotations

import select
import threading
import time
from collections.abc import Iterable
from typing import Any

import psycopg
from perdure import Busy, Unavailable
from psycopg import pq, sql
from psycopg.types.numeric import Int8BinaryDumper
from psycopg.types.string import StrBinaryDumper
from sqlalchemy.pool import QueuePool

from perdure_postgres._embedded import EmbeddedServer, start
from perdure_postgres._options import Options

__all__ = ["Connection", "Pool"]

#: Seconds after which a connection is made anew, so that no server process grows for ever.
_RECYCLE = 3_600


class _Cursor(psycopg.Cursor[tuple[Any, ...]]):
    """Answers in binary: numbers need no parsing, and bytes no hexadecimal."""

    def __init__(self, connection: Any, **options: Any) -> None:
        super().__init__(connection, **options)
        self.format = pq.Format.BINARY


class Connection(psycopg.Connection[tuple[Any, ...]]):
    """A connection that knows its place in the pool.

    Attributes:
        lease: The pool's record of it while it is in use.
        written: Rows that the transaction under way put into each table.
    """

    lease: Any = None
    written: dict[str, int]


class Pool:
    """At most `Options.pool` connections. Safe from several threads.

    Raises:
        NotFound, IncompatibleStore, StorageError: What `start` raises for an embedded server.
    """

    def __init__(self, options: Options) -> None:
        self._options = options
        self._server: EmbeddedServer | None = None
        if options.directory is not None:
            until = time.monotonic() + options.timeout
            self._server = start(options.directory, until, create=not options.read_only)
        self._free = threading.BoundedSemaphore(options.pool)
        self._connections = QueuePool(
            self._connect,  # type: ignore[arg-type]
            pool_size=options.pool,
            max_overflow=0,
            recycle=_RECYCLE,
            reset_on_return=None,
            use_lifo=True,
        )
        self._closed = False

    def take(self, deadline: float | None = None) -> Connection:
        """A connection outside of any transaction.

        Raises:
            Busy: All were in use for the whole wait.
            psycopg.Error: The server cannot be reached.
        """
        wait = self._options.timeout
        if deadline is not None:
            wait = min(wait, max(0.0, deadline - time.monotonic()))
        if not self._free.acquire(timeout=wait):
            raise Busy(
                f"all {self._options.pool} connections of this process to {self._options.place} were in use for "
                f"{wait:g} s; try again, or open with a larger ?pool="
            )
        try:
            return self._fresh()
        except BaseException:
            self._free.release()
            raise

    def _fresh(self) -> Connection:
        while True:
            lease = self._connections.connect()
            connection: Any = lease.dbapi_connection
            if not _hung_up(connection):
                connection.lease = lease
                return connection  # type: ignore[no-any-return]
            lease.invalidate()

    def give(self, connection: Connection) -> None:
        """Take a connection back; one that is broken, or in the middle of something, is closed."""
        lease, connection.lease = connection.lease, None
        try:
            if (
                self._closed
                or connection.closed
                or connection.pgconn.transaction_status != pq.TransactionStatus.IDLE
            ):
                lease.invalidate()
            else:
                lease.close()
        finally:
            self._free.release()

    def failure(self) -> str | None:
        """What an embedded server died of, where it says so."""
        return self._server.failure() if self._server is not None else None

    def close(self) -> None:
        """Close all connections, and give up the share in an embedded server."""
        self._closed = True
        self._connections.dispose()
        if self._server is not None:
            self._server.close()

    def _connect(self) -> Connection:
        if self._closed:
            raise Unavailable("the store is closed; open it again with perdure.open")
        conninfo, options = self._options.conninfo, self._options
        if self._server is not None:
            self._server.ensure(time.monotonic() + options.timeout)
            conninfo = self._server.conninfo
        connection = Connection.connect(conninfo, autocommit=True, cursor_factory=_Cursor)
        connection.written = {}
        connection.prepared_max = 1_000
        # One type for all numbers and one for all texts: a statement is then planned once.
        connection.adapters.register_dumper(int, Int8BinaryDumper)
        connection.adapters.register_dumper(str, StrBinaryDumper)
        try:
            run(connection, _settings(options))
            extension = connection.execute(_EXTENSION).fetchone()
            if extension is not None:
                run(connection, [_search_path(options.schema, extension[0])])
        except BaseException:
            connection.close()
            raise
        return connection


_EXTENSION = "SELECT n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'vector'"


def run(connection: psycopg.Connection[Any], statements: Iterable[sql.Composable | str]) -> None:
    """Statements without parameters, in one round trip."""
    composed = [sql.SQL(each) if isinstance(each, str) else each for each in statements]
    psycopg.Cursor(connection).execute(sql.SQL("; ").join(composed))


def _settings(options: Options) -> list[sql.Composable | str]:
    return [
        _search_path(options.schema),
        sql.SQL("SET lock_timeout = {}").format(max(1, int(options.timeout * 1_000))),
        f"SET default_transaction_read_only = {'on' if options.read_only else 'off'}",
        "SET default_transaction_isolation = 'read committed'",
        "SET client_encoding = 'UTF8'",
        "SET jit = off",  # takes longer than it saves
        # An acknowledged commit is on the server's disk, whatever the server's default.
        "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'",
        "SET hnsw.iterative_scan = 'strict_order'",
    ]


def _search_path(*schemas: str) -> sql.Composable:
    names = dict.fromkeys((*schemas, "pg_catalog"))
    return sql.SQL("SET search_path = {}").format(sql.SQL(", ").join(map(sql.Identifier, names)))


def _hung_up(connection: Connection) -> bool:
    """Whether the server closed the connection while nobody used it: there is then something to read."""
    if connection.closed:
        return True
    poll = select.poll()
    poll.register(connection.pgconn.socket, select.POLLIN)
    return bool(poll.poll(0))
