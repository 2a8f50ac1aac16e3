"""What one SQL engine does differently from the next, behind one small interface.

Statements are written once, as SQL text that both SQLite and Postgres read, with ``:name`` parameters.
SQLAlchemy compiles each to the driver's own parameter style, once; it then runs on the driver's cursor.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cache, lru_cache
from operator import itemgetter
from typing import Any

import sqlalchemy as sa
from perdure import Key, PerdureError, Problem
from sqlalchemy.dialects import registry

__all__ = ["Dialect", "Statement", "sql_dialect"]


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

    @abstractmethod
    def key_source(self, width: int) -> tuple[str, tuple[str, ...]]:
        """SQL that yields the keys bound as ``:keys``: a FROM item called ``k``, and each key part."""

    @abstractmethod
    def bind_keys(self, keys: Sequence[Key]) -> Any:
        """The value of ``:keys``."""

    @abstractmethod
    def instr(self, text: str, part: str) -> str:
        """SQL for "`text` contains `part`", by code point."""

    @abstractmethod
    def member(self, column: str, param: str, negated: bool) -> str:
        """SQL for "`column` is (not) in the list bound as `param`"."""

    @abstractmethod
    def bind_list(self, values: Sequence[Any]) -> Any:
        """A list of texts, or of int64, as one parameter."""

    # ----------------------------------------------------------------------------------- connections

    @abstractmethod
    def connect(self) -> Any:
        """A new connection for reading."""

    @abstractmethod
    def writer(self, deadline: float | None) -> AbstractContextManager[Any]:
        """A connection inside a write transaction, which commits at the end, and rolls back on any error.

        Args:
            deadline: Of `time.monotonic`: when to give up waiting for the lock.

        Raises:
            Busy: The lock was not had in time.
            PermissionDenied: The store is open read-only.
        """

    @abstractmethod
    def close(self) -> None:
        """Close the writing connection."""

    @abstractmethod
    def translate(self, error: BaseException) -> PerdureError:
        """The perdure error that a driver's error means."""

    # ------------------------------------------------------------------------------------------ upkeep

    @abstractmethod
    def integrity(self, connection: Any) -> list[Problem]:
        """The engine's own check of its pages and indexes, and of the schema's text."""

    @abstractmethod
    def overwrite(self, connection: Any) -> None:
        """See that what this transaction deletes is overwritten, as far as the engine can."""

    @abstractmethod
    def reclaim(self, deadline: float | None) -> int:
        """Give free space back, so that erased bytes are gone from live storage; the bytes freed."""

    @abstractmethod
    def store_bytes(self, connection: Any) -> int:
        """The size of the store in bytes."""
