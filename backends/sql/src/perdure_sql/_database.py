"""Connections: a pool of readers, and the one writer, as objects that run statements."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from perdure import Context, Retryable, StorageError

from perdure_sql._dialect import Dialect, Scope

__all__ = ["Database", "Session"]

_T = TypeVar("_T")


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
        return self.one_with(text, values)

    def one_with(self, text: str, values: Mapping[str, Any]) -> Any:
        """The same, with the parameters as a mapping."""
        return self.dialect.first(self.raw, self.dialect.statement(text), values)

    def all(self, text: str, **values: Any) -> list[Any]:
        """All rows of the answer."""
        return self.all_with(text, values)

    def count(self, text: str, **values: Any) -> int:
        """Run a statement that changes rows; how many it changed."""
        return max(0, int(self.run(text, **values).rowcount))

    def many(self, text: str, rows: Sequence[Mapping[str, Any]]) -> int:
        """Run a statement once for each mapping; how many rows changed."""
        statement = self.dialect.statement(text)
        cursor = self.raw.cursor()
        cursor.executemany(statement.sql, map(statement.bind, rows))
        return max(0, int(cursor.rowcount))

    def all_with(self, text: str, values: Mapping[str, Any]) -> list[Any]:
        """The same, with the parameters as a mapping."""
        return self.dialect.rows(self.raw, self.dialect.statement(text), values)

    def stream(self, text: str, **values: Any) -> Iterator[Any]:
        """Run a statement whose answer may be large; its rows, one after the other."""
        return self.dialect.stream(self.raw, self.dialect.statement(text), values)


class Database:
    """The connections of one open store. Safe from several threads."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect

    def take(self) -> Session:
        """A reading session; give it back with `give`."""
        return Session(self.dialect.acquire(), self.dialect)

    def give(self, session: Session) -> None:
        """Put a reading session back."""
        self.dialect.release(session.raw)

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

    def write(self, ctx: Context | None, ns: int, scope: Scope, body: Callable[[Session], _T]) -> _T:
        """Run `body` inside a write transaction; again where the engine says so.

        Args:
            ctx: Has the deadline.
            ns: The namespace; 0 where it is not known yet.
            scope: What `body` may change.
            body: Changes nothing but through the session, so that it can be run again.
        """
        deadline = ctx.deadline if ctx is not None else None
        tries = 0
        doubt: Exception | None = None
        while True:
            try:
                with self.writing(ctx, ns, scope) as session:
                    return body(session)
            except self.dialect.driver_error as error:
                tries += 1
                doubt = error if self.dialect.unsure(error) else doubt
                if not self.dialect.again(error, scope, tries, deadline):
                    if doubt is None or doubt is error:
                        raise
                    raise doubt from error
            except (StorageError, Retryable) as error:
                # Nobody knows yet whether an earlier run was committed: no error may say that nothing was.
                if doubt is None:
                    raise
                raise doubt from error

    @contextmanager
    def writing(self, ctx: Context | None, ns: int, scope: Scope) -> Iterator[Session]:
        """A session inside one write transaction, which is not run again."""
        with self.dialect.writer(ctx.deadline if ctx is not None else None, ns, scope) as raw:
            yield Session(raw, self.dialect)

    def close(self) -> None:
        """Close all connections; those in use are closed when they come back."""
        self.dialect.close()
