"""Connections: a pool of readers, and the one writer, as objects that run statements."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from perdure import Context, Unavailable

from perdure_sql._dialect import Dialect

__all__ = ["Database", "Session"]


class Session:
    """A connection that runs statements of a dialect. Belongs to one thread at a time."""

    __slots__ = ("dialect", "raw")

    def __init__(self, raw: Any, dialect: Dialect) -> None:
        self.raw = raw
        self.dialect = dialect

    def run(self, text: str, **values: Any) -> Any:
        """Run a statement with named parameters; the cursor."""
        statement = self.dialect.statement(text)
        return self.raw.execute(statement.sql, statement.bind(values))

    def run_with(self, text: str, values: Mapping[str, Any]) -> Any:
        """The same, with the parameters as a mapping."""
        statement = self.dialect.statement(text)
        return self.raw.execute(statement.sql, statement.bind(values))

    def one(self, text: str, **values: Any) -> Any:
        """The first row of the answer, or None."""
        return self.run(text, **values).fetchone()

    def all(self, text: str, **values: Any) -> list[Any]:
        """All rows of the answer."""
        return self.run(text, **values).fetchall()  # type: ignore[no-any-return]

    def count(self, text: str, **values: Any) -> int:
        """Run a statement that changes rows; how many it changed."""
        return max(0, int(self.run(text, **values).rowcount))

    def many(self, text: str, rows: Sequence[Mapping[str, Any]]) -> int:
        """Run a statement once for each mapping; how many rows changed."""
        statement = self.dialect.statement(text)
        return max(0, int(self.raw.cursor().executemany(statement.sql, map(statement.bind, rows)).rowcount))

    def bulk(self, text: str, rows: Iterable[Sequence[Any]]) -> None:
        """Run a statement with positional placeholders once for each row."""
        self.raw.cursor().executemany(text, rows)


class Database:
    """The connections of one open store. Safe from several threads."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self._idle: list[Session] = []
        self._lock = threading.Lock()
        self._closed = False

    def take(self) -> Session:
        """A reading session; give it back with `give`."""
        if self._closed:
            raise Unavailable("the store is closed; open it again with perdure.open")
        try:
            return self._idle.pop()
        except IndexError:
            return Session(self.dialect.connect(), self.dialect)

    def give(self, session: Session) -> None:
        """Put a reading session back."""
        self._idle.append(session)
        if self._closed:
            self._drain()

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A reading session; each statement sees the newest commit."""
        session = self.take()
        try:
            yield session
        finally:
            self.give(session)

    @contextmanager
    def snapshot(self) -> Iterator[Session]:
        """A reading session whose statements all see one state of the store."""
        with self.reading() as session:
            session.raw.execute(self.dialect.begin_snapshot)
            try:
                yield session
            finally:
                with suppress(self.dialect.driver_error):  # an I/O error has ended it already
                    session.raw.execute("ROLLBACK")

    @contextmanager
    def writing(self, ctx: Context | None) -> Iterator[Session]:
        """A session inside the write transaction."""
        if self._closed:
            raise Unavailable("the store is closed; open it again with perdure.open")
        with self.dialect.writer(ctx.deadline if ctx is not None else None) as raw:
            yield Session(raw, self.dialect)

    def close(self) -> None:
        """Close all connections; those in use are closed when they come back."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._drain()
        self.dialect.close()

    def _drain(self) -> None:
        while self._idle:
            with suppress(IndexError, self.dialect.driver_error):
                self._idle.pop().raw.close()
