"""SQLite behind the `perdure_sql.Dialect` interface."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from perdure import Busy, Key, PerdureError, PermissionDenied, Problem, Unavailable
from perdure_sql import Dialect, Scope, sql_dialect

from perdure_sqlite._errors import translate
from perdure_sqlite._options import Options
from perdure_sqlite._schema import begin_immediate, schema_problems

__all__ = ["SQLite"]


class SQLite(Dialect):
    """One database file: a pool's worth of readers, and one writer that all threads share."""

    name = "SQLite"
    least = "min"
    placeholder = "?"
    begin_snapshot = "BEGIN"
    driver_error = sqlite3.Error

    def __init__(self, path: Path, options: Options, connect: Callable[[bool], sqlite3.Connection]) -> None:
        """`connect` opens a connection; its argument says whether to write."""
        super().__init__(sql_dialect("sqlite", "qmark"))
        self._path = path
        self._options = options
        self._connect = connect
        self._idle: list[sqlite3.Connection] = []
        self._writing = threading.Lock()
        self._writer: sqlite3.Connection | None = None
        self._closed = False

    # ------------------------------------------------------------------------------------ SQL fragments

    def key_source(self, width: int) -> tuple[str, tuple[str, ...]]:
        if width == 1:
            return "json_each(:keys) k", ("k.value",)
        parts = ", ".join(f"json_extract(value, '$[{i}]') AS k{i}" for i in range(width))
        return f"(SELECT {parts} FROM json_each(:keys)) k", tuple(f"k.k{i}" for i in range(width))

    def bind_keys(self, keys: Sequence[Key]) -> dict[str, Any]:
        return {"keys": self.bind_list([key[0] if len(key) == 1 else key for key in keys])}

    def bind_list(self, values: Sequence[Any]) -> str:
        text = json.dumps(values, ensure_ascii=False)
        if not text.isascii():
            text.encode()  # SQLite's JSON makes something else of a lone surrogate
        return text

    def member(self, column: str, param: str, negated: bool) -> str:
        return f"{column} {'NOT IN' if negated else 'IN'} (SELECT value FROM json_each({param}))"

    def instr(self, text: str, part: str) -> str:
        return f"instr({text}, {part}) > 0"

    # -------------------------------------------------------------------------------------- connections

    def acquire(self) -> sqlite3.Connection:
        if self._closed:
            raise Unavailable("the store is closed; open it again with perdure.open")
        try:
            return self._idle.pop()
        except IndexError:
            return self._connect(False)

    def release(self, connection: sqlite3.Connection) -> None:
        self._idle.append(connection)
        if self._closed:
            self._drain()

    @contextmanager
    def writer(self, deadline: float | None, ns: int, scope: Scope) -> Iterator[sqlite3.Connection]:
        connection = self._begin(deadline)
        try:
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                self._rollback(connection)
                raise
        finally:
            self._writing.release()

    def _begin(self, deadline: float | None) -> sqlite3.Connection:
        """The writing connection inside a transaction, with the lock of this process held."""
        if self._options.read_only:
            raise PermissionDenied("the store is open read-only; open it with mode='rw' to write")
        until = time.monotonic() + self._options.timeout
        if deadline is not None:
            until = min(until, deadline)
        if not self._writing.acquire(timeout=max(0.0, until - time.monotonic())):
            raise Busy(f"another thread has held the write lock of {self._path.name} for too long; try again")
        try:
            if self._closed:
                raise Unavailable("the store is closed; open it again with perdure.open")
            if self._writer is None:
                self._writer = self._connect(True)
            begin_immediate(self._writer, until)
        except BaseException:
            self._writing.release()
            raise
        return self._writer

    def _rollback(self, connection: sqlite3.Connection) -> None:
        try:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        except sqlite3.Error:  # a connection that cannot roll back is given up, which rolls back
            self._writer = None
            with suppress(sqlite3.Error):
                connection.close()

    def close(self) -> None:
        self._closed = True
        self._drain()
        with self._writing:
            if self._writer is not None:
                self._writer.close()
                self._writer = None

    def _drain(self) -> None:
        while self._idle:
            with suppress(IndexError, sqlite3.Error):
                self._idle.pop().close()

    def translate(self, error: BaseException) -> PerdureError:
        return translate(error, self._path)

    # ------------------------------------------------------------------------------------------- upkeep

    def integrity(self, connection: sqlite3.Connection) -> list[Problem]:
        problems = schema_problems(connection, str(self._path.name))
        for (line,) in connection.execute("PRAGMA integrity_check(100)"):
            if line != "ok":
                problems.append(Problem("error", "integrity", self._path.name, line))
        return problems

    def overwrite(self, connection: sqlite3.Connection, ns: int) -> None:
        connection.execute("PRAGMA secure_delete = ON")  # stays on: whoever purges once cares

    def reclaim(self, deadline: float | None) -> int:
        before = self._file_bytes()
        connection = self._begin(deadline)
        try:
            connection.execute("ROLLBACK")  # VACUUM starts a transaction of its own
            connection.execute(f"PRAGMA busy_timeout = {self._milliseconds(deadline)}")
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            with suppress(sqlite3.Error):
                connection.execute("PRAGMA busy_timeout = 0")
            self._writing.release()
        return max(0, before - self._file_bytes())

    def _milliseconds(self, deadline: float | None) -> int:
        """How long SQLite itself may wait for others."""
        left = self._options.timeout
        if deadline is not None:
            left = min(left, max(0.0, deadline - time.monotonic()))
        return int(left * 1_000)

    def store_bytes(self, connection: sqlite3.Connection) -> int:
        return self._file_bytes()

    def _file_bytes(self) -> int:
        total = 0
        for suffix in ("", "-wal"):
            with suppress(OSError):
                total += self._path.with_name(self._path.name + suffix).stat().st_size
        return total
