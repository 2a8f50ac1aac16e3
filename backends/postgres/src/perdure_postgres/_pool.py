"""Connections to one server, shared by all stores that this process has open there."""

from __future__ import annotations

import os
import select
import threading
import time
import weakref
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from math import ceil
from typing import Any

import psycopg
from perdure import Busy, Unavailable
from psycopg import pq, sql
from psycopg.conninfo import conninfo_to_dict
from psycopg.types.array import ListBinaryDumper
from psycopg.types.numeric import Int8BinaryDumper
from psycopg.types.string import StrBinaryDumper

from perdure_postgres._embedded import EmbeddedServer, start
from perdure_postgres._extension import attach, search_path
from perdure_postgres._options import Options

__all__ = ["Connection", "Pool", "run"]

#: Seconds that making a cluster may take at least, whatever the wait for locks is.
_MAKING = 60.0

#: Seconds after which a connection is made anew, so that no server process grows for ever.
_RECYCLE = 3_600

#: Seconds to wait for a server to answer at first, where the URL and libpq's own settings do not say.
_CONNECT = 10

#: Statements that a connection keeps a cursor for.
_KEPT = 64

#: A network that swallows all packets is found out within a minute, on both ends.
_KEEP_ALIVE = {
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}


class _Cursor(psycopg.Cursor[tuple[Any, ...]]):
    """Answers in binary: numbers need no parsing, and bytes no hexadecimal."""

    def __init__(self, connection: Any, **options: Any) -> None:
        super().__init__(connection, **options)
        self.format = pq.Format.BINARY


class Connection(psycopg.Connection[tuple[Any, ...]]):
    """A connection of the pool.

    Attributes:
        process: The process that made it, which alone may use it.
        born: When it was made, of `time.monotonic`.
        written: Rows that the transaction under way put into each table.
        vectors: Vectors that it put into each space, by namespace and name.
        dropped: Whether it deleted what an index may have been for.
        vector: Whether the connection knows the extension of that name.
        kept: A cursor for each statement that was asked lately.
    """

    process: int
    born: float
    written: dict[str, int]
    vectors: dict[tuple[int, str], int]
    dropped: bool
    vector: bool
    kept: dict[str, _Cursor]
    _pipeline_context: AbstractContextManager[Any] | None

    def cursor_for(self, text: str) -> _Cursor:
        """The statement's own cursor, to be read to the end at once.

        Making a cursor, and learning anew what types its columns have, takes as long as a small answer.
        """
        cursor = self.kept.get(text)
        if cursor is None:
            if len(self.kept) >= _KEPT:
                self.kept.clear()
            cursor = self.kept[text] = _Cursor(self)
        return cursor

    @property
    def piped(self) -> bool:
        """Whether statements are sent without waiting for their answers."""
        return self.pgconn.pipeline_status != pq.PipelineStatus.OFF

    def pipe(self) -> None:
        """Send statements without waiting, until an answer is read; what is sent until `unpipe` is one transaction.

        So the protocol has it: a transaction that nobody begins is committed where the client waits for all answers.
        """
        context = self.pipeline()
        context.__enter__()
        self._pipeline_context = context

    def begin(self) -> None:
        """Make what was sent the start of a transaction that COMMIT ends, whose statements are waited for."""
        if self.piped:
            self.execute("BEGIN")
            self.unpipe()

    def unpipe(self) -> None:
        """Wait for the answers of all statements that were sent, of which no other transaction is left open.

        Raises:
            psycopg.Error: What the first of them failed of; nothing is committed then.
        """
        context, self._pipeline_context = self._pipeline_context, None
        if context is None:
            return
        try:
            context.__exit__(None, None, None)
        except psycopg.Error as error:
            # psycopg does not expect that COMMIT itself fails, nor an interrupt, and then hides it by one of its own.
            hidden = error.__context__
            if error.sqlstate is None and (
                (isinstance(hidden, psycopg.Error) and hidden.sqlstate is not None)
                or isinstance(hidden, KeyboardInterrupt)
            ):
                raise hidden from None
            raise

    def abandon(self, error: BaseException) -> None:
        """Roll back what ended with an error; after one of the driver, or an interrupt, it is closed as well.

        psycopg takes statements for prepared that the server left out after an error, and an interrupt may come
        anywhere.
        """
        if isinstance(error, Exception):
            with suppress(psycopg.Error):
                self.begin()  # what nobody began is rolled back as well, but the server's log complains
                if self.pgconn.transaction_status != pq.TransactionStatus.IDLE:
                    self.execute("ROLLBACK")
                if not isinstance(error, psycopg.Error):
                    return
        self.close()
        with suppress(psycopg.Error):
            self.unpipe()


class Pool:
    """At most `Options.pool` connections. Safe from several threads, and in forked children.

    Raises:
        NotFound, IncompatibleStore, StorageError: What `start` raises for an embedded server.
    """

    def __init__(self, options: Options) -> None:
        self._options = options
        self._server: EmbeddedServer | None = None
        if options.directory is not None:
            until = time.monotonic() + max(options.timeout, _MAKING)
            self._server = start(options.directory, until, create=not options.read_only)
        self._defaults = _defaults(options)
        self._changed = threading.Condition()
        self._idle: deque[Connection] = deque()
        self._used, self._limit = 0, options.pool
        self._closed = False
        _pools.add(self)

    def take(self, deadline: float | None = None) -> Connection:
        """A connection outside of any transaction.

        Raises:
            Busy: All were in use for the whole wait.
            Unavailable: The pool is closed.
            psycopg.Error: The server cannot be reached.
        """
        wait = self._options.timeout
        if deadline is not None:
            wait = min(wait, max(0.0, deadline - time.monotonic()))
        with self._changed:
            if not self._changed.wait_for(lambda: self._closed or self._used < self._limit, wait):
                raise Busy(
                    f"all {self._options.pool} connections of this process to {self._options.place} were in use "
                    f"for {wait:.3g} s; try again, or open with a larger ?pool="
                )
            self._check_open()
            self._used += 1
        try:
            return self._fresh()
        except BaseException:
            self._returned()
            raise

    def _fresh(self) -> Connection:
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return self.connect()
            if not _stale(connection):
                return connection
            connection.close()

    def give(self, connection: Connection) -> None:
        """Take a connection back; one that is broken, or in the middle of something, is closed."""
        if connection.process != os.getpid():
            _foreign.append(connection)  # the parent's, which a child got hold of when it was forked
            return
        try:
            if connection.pgconn.transaction_status == pq.TransactionStatus.IDLE and not connection.piped:
                self._idle.append(connection)
            else:
                connection.close()
        finally:
            self._returned()

    def _returned(self) -> None:
        with self._changed:
            self._used -= 1
            self._changed.notify()
            if not self._closed:
                return
            last = not self._used
        self._drain(last)

    @contextmanager
    def beside(self) -> Iterator[None]:
        """One connection more while the block runs, for who holds one and reads through others of the pool."""
        with self._changed:
            self._limit += 1
            self._changed.notify()
        try:
            yield
        finally:
            with self._changed:
                self._limit -= 1
                surplus = len(self._idle) + self._used > self._limit
            if surplus:
                with suppress(IndexError):  # another thread took it just now
                    self._idle.popleft().close()

    def failure(self) -> str | None:
        """What an embedded server died of, where it says so."""
        return self._server.failure() if self._server is not None else None

    def close(self) -> None:
        """Close all connections, and give up the share in an embedded server; those in use go when they come back."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            last = not self._used
        self._drain(last)

    def _drain(self, last: bool) -> None:
        while self._idle:
            try:
                self._idle.pop().close()
            except IndexError:  # another thread drains it as well
                break
        if last and self._server is not None:
            self._server.close()

    def _check_open(self) -> None:
        if self._closed:
            raise Unavailable("the store is closed; open it again with perdure.open")

    def connect(self) -> Connection:
        """A connection that is not one of the pool's; whoever asked closes it."""
        conninfo, options = self._options.conninfo, self._options
        if self._server is not None:
            self._server.ensure(time.monotonic() + options.timeout)
            conninfo = self._server.conninfo
        connection = Connection.connect(conninfo, autocommit=True, cursor_factory=_Cursor, **self._defaults)
        connection.process, connection.born = os.getpid(), time.monotonic()
        connection.written, connection.vectors = {}, {}
        connection.vector = connection.dropped = False
        connection.kept, connection._pipeline_context = {}, None
        connection.prepared_max = 1_000
        # One type for all numbers and one for all texts: a statement is then planned once.
        connection.adapters.register_dumper(int, Int8BinaryDumper)
        connection.adapters.register_dumper(str, StrBinaryDumper)
        # In text, a list would have the type of the first one in the same statement, be it too small.
        connection.adapters.register_dumper(list, ListBinaryDumper)
        try:
            run(connection, _settings(options))
            attach(connection, options.schema)
        except BaseException:
            connection.close()
            raise
        return connection

    def _after_fork(self) -> None:
        """The parent goes on to use its connections: the child must not say a word on them."""
        self._changed = threading.Condition()
        _foreign.extend(self._idle)
        self._idle = deque()
        self._used, self._limit = 0, self._options.pool


#: All pools of this process, and connections that belong to its parent: they are neither used nor closed.
_pools: weakref.WeakSet[Pool] = weakref.WeakSet()
_foreign: list[Connection] = []


def _after_fork() -> None:
    for pool in tuple(_pools):
        pool._after_fork()


os.register_at_fork(after_in_child=_after_fork)


def _defaults(options: Options) -> dict[str, Any]:
    """Parameters of libpq for what the URL, the environment and a service leave open."""
    given = conninfo_to_dict(options.conninfo)
    if options.directory is not None or "service" in given or "PGSERVICE" in os.environ:
        return {}
    wanted: dict[str, Any] = dict(_KEEP_ALIVE)
    if "PGCONNECT_TIMEOUT" not in os.environ:
        wanted["connect_timeout"] = max(2, min(_CONNECT, ceil(options.timeout)))
    return {name: value for name, value in wanted.items() if name not in given}


def run(connection: psycopg.Connection[Any], statements: Iterable[sql.Composable | str]) -> None:
    """Statements without parameters, in one round trip."""
    composed = [sql.SQL(each) if isinstance(each, str) else each for each in statements]
    psycopg.Cursor(connection).execute(sql.SQL("; ").join(composed))


def _settings(options: Options) -> list[sql.Composable | str]:
    return [
        search_path(options.schema),
        sql.SQL("SET lock_timeout = {}").format(max(1, int(options.timeout * 1_000))),
        f"SET default_transaction_read_only = {'on' if options.read_only else 'off'}",
        "SET default_transaction_isolation = 'read committed'",
        "SET client_encoding = 'UTF8'",
        "SET jit = off",  # takes longer than it saves
        # Every table is read by an index that begins with its namespace. A plan that was made while the table
        # was small would go on to read all of it when it is large.
        "SET enable_seqscan = off",
        # An acknowledged commit is on the server's disk, whatever the server's default.
        "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'",
        "SET hnsw.iterative_scan = 'strict_order'",
        # A client that is gone without a word keeps its locks no longer than this.
        "SET tcp_keepalives_idle = 30",
        "SET tcp_keepalives_interval = 10",
        "SET tcp_keepalives_count = 3",
        "SET tcp_user_timeout = 60000",
    ]


def _stale(connection: Connection) -> bool:
    """Whether it is too old, or the server hung up while nobody used it: there is then something to read."""
    if connection.closed or time.monotonic() - connection.born > _RECYCLE:
        return True
    poll = select.poll()
    poll.register(connection.pgconn.socket, select.POLLIN)
    return bool(poll.poll(0))
