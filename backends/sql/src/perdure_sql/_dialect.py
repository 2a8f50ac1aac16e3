"""What one SQL engine does differently from the next, behind one small interface.

Statements are written once, as SQL text that both SQLite and Postgres read, with ``:name`` parameters.
SQLAlchemy compiles each to the driver's own parameter style, once; it then runs on the driver's cursor.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from enum import Enum, auto
from functools import cache, lru_cache
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from perdure import Key, PerdureError, Problem, Space, Table
from sqlalchemy.dialects import registry

if TYPE_CHECKING:
    from perdure_sql._nearest import VectorIndex

__all__ = ["Dialect", "Scope", "Statement", "sql_dialect"]


class Scope(Enum):
    """What a write transaction may change: what an engine with locks of several sizes has to lock.

    Attributes:
        ROWS: Rows of one branch, whose record the transaction locks itself.
        NAMES: New branches and checkpoints.
        COUNTERS: Read counters.
        NAMESPACE: Anything in the namespace; nobody else writes there meanwhile.
        STORE: The list of namespaces.
    """

    ROWS = auto()
    NAMES = auto()
    COUNTERS = auto()
    NAMESPACE = auto()
    STORE = auto()


@cache
def sql_dialect(name: str, paramstyle: str) -> sa.Dialect:
    """SQLAlchemy's dialect of that name, compiling to a parameter style; the same for all stores."""
    make: type[sa.Dialect] = registry.load(name)
    return make(paramstyle=paramstyle)  # type: ignore[call-arg]


class Statement:
    """Compiled SQL text, and how to turn named parameters into what the driver takes."""

    __slots__ = ("bind", "sql")

    def __init__(self, sql: str, names: Sequence[str] | None) -> None:
        self.sql = sql
        self.bind: Callable[[Mapping[str, Any]], Any]
        if names is None:
            self.bind = dict
        elif not names:
            self.bind = _nothing
        elif len(names) == 1:
            only = names[0]
            self.bind = lambda values: (values[only],)
        else:
            self.bind = itemgetter(*names)


@lru_cache(maxsize=2_000)  # filter shapes are the caller's, so bound what they cost
def _compiled(text: str, dialect: sa.Dialect) -> Statement:
    """One compilation for all stores that are opened, which take most of their time to open otherwise."""
    compiled = sa.text(text).compile(dialect=dialect)
    return Statement(str(compiled), compiled.positiontup)


def _nothing(_values: Mapping[str, Any]) -> tuple[()]:
    return ()


class Dialect(ABC):
    """One engine. Connections are those of its DBAPI driver, in autocommit mode, and may change threads."""

    #: The engine's name, for messages.
    name: str
    #: The scalar function that gives the least of its arguments.
    least: str
    #: The driver's placeholder for a parameter by position.
    placeholder: str
    #: Starts a transaction that sees one state of the store.
    begin_snapshot: str
    #: The base class of the driver's errors.
    driver_error: type[Exception]
    #: Follows a SELECT whose rows of `b` are to be locked until the transaction ends.
    lock_rows: str = ""
    #: Whether an index has nulls after all else, so that only rows without null can be read from it backwards.
    nulls_high: bool = False
    #: Whether a subquery may refer to what stands before it in FROM.
    lateral: bool = False
    #: Whether a statement may have others that write inside.
    writes_nest: bool = False
    #: Up to so many keys, a statement for each is faster than one that joins a list of keys.
    few: int = 12
    #: Whether damage may move a record to another namespace unseen: `verify` then looks through all of them.
    strays: bool = True
    #: Table → columns that the engine derives from a row's own, for itself.
    derived: Mapping[str, tuple[str, ...]] = {}
    #: The engine's index for approximate search, where it has one.
    vectors: VectorIndex | None = None

    def __init__(self, sqlalchemy: sa.Dialect) -> None:
        self._sqlalchemy = sqlalchemy
        self._compiled: dict[str, Statement] = {}
        self._lock = threading.Lock()

    # ------------------------------------------------------------------------------------ statements

    def statement(self, text: str) -> Statement:
        """The statement for SQL text with ``:name`` parameters, compiled at its first use."""
        found = self._compiled.get(text)
        if found is None:
            found = _compiled(text, self._sqlalchemy)
            with self._lock:
                if len(self._compiled) > 2_000:
                    self._compiled.clear()
                self._compiled[text] = found
        return found

    def first(self, connection: Any, statement: Statement, values: Mapping[str, Any]) -> Any:
        """The first row of a statement's answer, or None."""
        return connection.execute(statement.sql, statement.bind(values)).fetchone()

    def send(self, connection: Any, statement: Statement, values: Mapping[str, Any]) -> Any:
        """Run a statement, of which the answer may be read before it is run again on the connection; the cursor."""
        return connection.execute(statement.sql, statement.bind(values))

    def rows(self, connection: Any, statement: Statement, values: Mapping[str, Any]) -> list[Any]:
        """All rows of a statement's answer."""
        return connection.execute(statement.sql, statement.bind(values)).fetchall()  # type: ignore[no-any-return]

    @abstractmethod
    def key_source(self, width: int) -> tuple[str, tuple[str, ...]]:
        """SQL that yields the keys that `bind_keys` binds: a FROM item called ``k``, and each key part."""

    @abstractmethod
    def bind_keys(self, keys: Sequence[Key]) -> dict[str, Any]:
        """The parameters of `key_source`, for keys of one width."""

    @abstractmethod
    def instr(self, text: str, part: str) -> str:
        """SQL for "`text` contains `part`", by code point."""

    @abstractmethod
    def member(self, column: str, param: str, negated: bool) -> str:
        """SQL for "`column` is (not) in the list bound as `param`"."""

    @abstractmethod
    def bind_list(self, values: Sequence[Any]) -> Any:
        """A list of texts, or of int64, as one parameter."""

    def equal_unbounded(self, column: str, param: str) -> str:
        """SQL for "`column` is `param`", where the column is a text without a limit on its length."""
        return f"{column} = {param}"

    # -------------------------------------------------------------------------------------- bulk work

    def insert_many(
        self, connection: Any, table: str, names: Sequence[str], rows: Iterable[Sequence[Any]], ignore: bool
    ) -> None:
        """Insert rows.

        Args:
            connection: Inside a write transaction.
            table: Its name.
            names: The columns, quoted.
            rows: Cells in their order.
            ignore: Leave out rows whose key is there.
        """
        conflict = " ON CONFLICT DO NOTHING" if ignore else ""
        marks = ", ".join([self.placeholder] * len(names))
        connection.cursor().executemany(
            f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks}){conflict}", rows
        )

    def derive(
        self, connection: Any, table: Table, spaces: Mapping[str, Space], rows: Iterable[Sequence[Any]]
    ) -> Iterable[Sequence[Any]]:
        """Rows with the cells of the `derived` columns, for `insert_many`.

        Args:
            connection: Inside a write transaction.
            table: Which of the six, with derived columns.
            spaces: All of the namespace, by name.
            rows: Versions: the bookkeeping of `VERSION_COLUMNS`, then the row's own columns.
        """
        return rows

    def wrote(self, connection: Any, table: str, rows: int) -> None:
        """Take note of rows that were inserted in another way than by `insert_many`."""
        return

    def end_versions(
        self,
        connection: Any,
        table: Table,
        where: tuple[int, int],
        seq: int,
        versions: Sequence[tuple[Key, int]],
    ) -> None:
        """Let versions end at `seq`.

        Args:
            connection: Inside a write transaction.
            table: Which of the six.
            where: Namespace and branch.
            seq: What `to_seq` becomes.
            versions: Key and `from_seq` of each.
        """
        mark = self.placeholder
        keys = " AND ".join(f'"{name}" = {mark}' for name in table.key)
        connection.cursor().executemany(
            f"UPDATE {table.name} SET to_seq = {mark} "
            f"WHERE ns = {mark} AND branch = {mark} AND {keys} AND from_seq = {mark}",
            [(seq, *where, *key, begin) for key, begin in versions],
        )

    def stream(self, connection: Any, statement: Statement, values: Mapping[str, Any]) -> Iterator[Any]:
        """The rows of an answer that may be large, inside a snapshot; never all of them in memory."""
        return iter(connection.execute(statement.sql, statement.bind(values)))

    # ----------------------------------------------------------------------------------- connections

    @abstractmethod
    def acquire(self) -> Any:
        """A connection for reading; give it back with `release`.

        Raises:
            Busy: None was free for the whole wait.
            Unavailable: The store is closed, or the engine cannot be reached.
        """

    @abstractmethod
    def release(self, connection: Any) -> None:
        """Take a connection back."""

    @abstractmethod
    def writer(self, deadline: float | None, ns: int, scope: Scope) -> AbstractContextManager[Any]:
        """A connection inside a write transaction, which commits at the end, and rolls back on any error.

        Args:
            deadline: Of `time.monotonic`: when to give up waiting for the lock.
            ns: The namespace; 0 where it is not known yet.
            scope: What it may change.

        Raises:
            Busy: The lock was not had in time.
            PermissionDenied: The store is open read-only.
        """

    def beside(self) -> AbstractContextManager[None]:
        """Room for one write transaction during which its caller reads through other sessions of this process."""
        return nullcontext()

    def again(self, error: BaseException, scope: Scope, tries: int, deadline: float | None) -> bool:
        """Whether a write transaction that failed is to be run again; waits before it says so.

        Args:
            error: The driver's.
            scope: Of the transaction.
            tries: How often it has been run.
            deadline: Of `time.monotonic`: when to give up.
        """
        return False

    def unsure(self, error: BaseException) -> bool:
        """Whether nobody knows if the transaction that ended with that error was committed."""
        return False

    @abstractmethod
    def close(self) -> None:
        """Close all connections; those in use are closed when they come back."""

    @abstractmethod
    def translate(self, error: BaseException) -> PerdureError:
        """The perdure error that a driver's error means."""

    # ------------------------------------------------------------------------------------------ upkeep

    @abstractmethod
    def integrity(self, connection: Any) -> list[Problem]:
        """The engine's own check of its pages and indexes, and of the schema's text."""

    @abstractmethod
    def overwrite(self, connection: Any, ns: int) -> None:
        """See that what this transaction deletes is overwritten, now or by the next `reclaim`."""

    @abstractmethod
    def reclaim(self, deadline: float | None) -> int:
        """Give free space back, so that erased bytes are gone from live storage; the bytes freed."""

    @abstractmethod
    def store_bytes(self, connection: Any) -> int:
        """The size of the store in bytes."""
