"""Shelves: pickles by key, in an SQLite database or in the two files of dbm.dumb."""

from __future__ import annotations

import re
import sqlite3
from typing import Any

from perdure import InvalidRecord, Unsupported

from perdure_migrate.inert._context import Context
from perdure_migrate.inert._literal import parse_literal

__all__ = ["SQLITE", "Database", "read_dumb", "read_sqlite"]

SQLITE = b"SQLite format 3\0"

#: What dbm.sqlite3 makes; no table of another form is asked anything.
_TABLE = re.compile(r"CREATE TABLE Dict \( ?key BLOB UNIQUE NOT NULL, value BLOB NOT NULL ?\)")
_OTHER = (
    "it is an SQLite database and no shelf. A store of perdure is named by its URL, such as sqlite:///agent.db; "
    "other databases are not read yet."
)


class Database:
    """A database in memory, opened before anything is read, which takes on the bytes of a file."""

    def __init__(self) -> None:
        self._connection: Any = None
        if hasattr(sqlite3.Connection, "deserialize"):
            self._connection = sqlite3.connect(":memory:", isolation_level=None)
            self._connection.execute("PRAGMA trusted_schema = OFF")
            self._connection.execute("PRAGMA cell_size_check = ON")

    def rows(self, data: bytes) -> list[tuple[Any, Any]]:
        """The keys and values of a shelf, in the order in which they were written.

        Raises:
            InvalidRecord: It is none, or is damaged.
            Unsupported: This Python cannot take on the bytes of a database.
        """
        if self._connection is None:
            raise Unsupported("this Python has an SQLite that reads no database from bytes; use another")
        if data[18:20] == b"\2\2":  # a log beside the file, which holds nothing any more, is not for memory
            data = data[:18] + b"\1\1" + data[20:]
        try:
            self._connection.deserialize(data)
            tables = self._connection.execute("SELECT type, name, sql FROM sqlite_schema").fetchmany(3)
            if not _is_shelf(tables):
                raise InvalidRecord(_OTHER)
            found: list[tuple[Any, Any]] = self._connection.execute(
                "SELECT key, value FROM Dict ORDER BY rowid"
            ).fetchall()
        except (sqlite3.Error, OverflowError) as error:
            raise InvalidRecord(f"sqlite: {error}. The file is damaged; copy it again.") from error
        return found


def _is_shelf(tables: list[tuple[Any, Any, Any]]) -> bool:
    shown = [(kind, name) for kind, name, _ in tables]
    if shown != [("table", "Dict"), ("index", "sqlite_autoindex_Dict_1")]:
        return False
    return type(tables[0][2]) is str and _TABLE.fullmatch(re.sub(r"\s+", " ", tables[0][2])) is not None


def read_sqlite(data: bytes, database: Database, context: Context) -> dict[str | bytes, Any]:
    """A shelf of dbm.sqlite3.

    Raises:
        InvalidRecord: It is damaged, or passes a limit.
    """
    made: dict[str | bytes, Any] = {}
    for key, value in database.rows(data):
        if type(key) is not bytes or type(value) is not bytes:
            raise InvalidRecord(
                "a key or a value of the shelf is no bytes. The file is damaged; copy it again."
            )
        context.budget.spend(len(value))
        made[_name(key)] = context.pickle(value, f"key {_name(key)!r}")
    return made


def read_dumb(directory: bytes, data: bytes, context: Context) -> dict[str | bytes, Any]:
    """A shelf of dbm.dumb: lines of key, place and length, and the bytes that they point into.

    Raises:
        InvalidRecord: It is damaged, or passes a limit.
    """
    made: dict[str | bytes, Any] = {}
    for number, line in enumerate(directory.decode("latin-1").splitlines(), 1):
        if not line.strip():
            continue
        match parse_literal(f"({line})"):
            case (str(text), (int(start), int(size))) if start >= 0 and 0 <= size <= len(data) - start:
                key = _key(text)
            case _:
                raise InvalidRecord(
                    f"line {number} of the directory of the shelf is malformed; copy it again."
                )
        context.budget.spend(size)
        made[_name(key)] = context.pickle(data[start : start + size], f"key {_name(key)!r}")
    return made


def _key(text: str) -> bytes:
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError as error:
        raise InvalidRecord(f"the key {text!r} of the shelf is malformed; copy it again.") from error


def _name(key: bytes) -> str | bytes:
    """A key as `shelve` takes it, or its bytes where they are no text."""
    try:
        return key.decode()
    except UnicodeDecodeError:
        return key
