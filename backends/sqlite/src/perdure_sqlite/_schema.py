"""The database file: telling ours from others before anything is written, creating it, and its schema's text."""

from __future__ import annotations

import random
import re
import sqlite3
import time
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from perdure import Busy, CorruptStore, IncompatibleStore, NotFound, Problem, StorageError
from perdure_sql import SCHEMA_VERSION, create_statements, sql_dialect

__all__ = [
    "APPLICATION_ID",
    "Difference",
    "begin_immediate",
    "create",
    "ddl",
    "differences",
    "inspect",
    "schema_problems",
    "write_ahead",
]

#: "prdu": marks the file as a perdure store, in SQLite's own header field for that.
APPLICATION_ID = 0x70726475

_MAGIC = b"SQLite format 3\0"

#: How a rollback journal begins, and where it says how many pages the file had before.
_JOURNAL, _PAGES_BEFORE = bytes.fromhex("d9d505f920a163d7"), slice(16, 20)


@cache
def ddl() -> tuple[str, ...]:
    """The statements that create the newest schema."""
    statements = create_statements(sql_dialect("sqlite", "qmark"))
    statements.append(f"PRAGMA application_id = {APPLICATION_ID}")
    statements.append(f"PRAGMA user_version = {SCHEMA_VERSION}")
    return tuple(statements)


def inspect(path: Path, read_only: bool) -> bool:
    """Whether the file is a perdure store; False where it is to be created. Nothing is written.

    Raises:
        NotFound: There is no file, and the store is to be read only.
        CorruptStore: It is the beginning of a store, and no more.
        IncompatibleStore: It is something else, or newer than this version.
        StorageError: It cannot be read.
    """
    try:
        empty = not path.stat().st_size
    except FileNotFoundError:
        empty = True
        if not path.parent.is_dir():
            raise NotFound(
                f"there is no directory {str(path.parent)!r}; create it first", path=str(path)
            ) from None
    except OSError as error:
        raise StorageError(f"{str(path)!r} cannot be read: {error.strerror}", path=str(path)) from error
    if empty or _unborn(path):
        if read_only:
            raise NotFound(
                f"there is no store {str(path)!r}; check the path, or write to it (mode='rw') to create it",
                path=str(path),
            )
        return False
    application, version = _marks(path) or _raw_marks(path)
    if application != APPLICATION_ID:
        raise IncompatibleStore(
            f"{str(path)!r} is a database of another program, and was left as it is; choose another path, "
            "or import it with perdure migrate",
            path=str(path),
        )
    if version > SCHEMA_VERSION:
        raise IncompatibleStore(
            f"{str(path)!r} has schema version {version}; this perdure-sqlite knows up to {SCHEMA_VERSION}: upgrade it",
            path=str(path),
            version=version,
        )
    return True


def _unborn(path: Path) -> bool:
    """Whether the file was being created when its process died, or is just now by another one.

    Its pages are then those of a transaction that has not ended, which SQLite takes back to an empty file.
    """
    try:
        with path.with_name(f"{path.name}-journal").open("rb") as journal:
            header = journal.read(28)
    except OSError:
        return False
    return header.startswith(_JOURNAL) and not any(header[_PAGES_BEFORE])


def _marks(path: Path) -> tuple[int, int] | None:
    """The application's mark and the schema version of a database; None where SQLite takes the file for none.

    SQLite itself reads them: where a process closes a file that it opened by other means, the system drops
    the locks of all its connections to that file.
    """
    name = quote(str(path), errors="surrogateescape")
    try:
        with closing(sqlite3.connect(f"file:{name}?mode=ro&immutable=1", uri=True)) as connection:
            mark, version = (
                connection.execute(f"PRAGMA {field}").fetchone()[0]
                for field in ("application_id", "user_version")
            )
            return mark, version
    except sqlite3.Error:
        return None


def _raw_marks(path: Path) -> tuple[int, int]:
    """The same from the bytes of a file that no connection can be open on, since it is no whole database."""
    try:
        with path.open("rb") as file:
            header = file.read(100)
    except OSError as error:
        raise StorageError(f"{str(path)!r} cannot be read: {error.strerror}", path=str(path)) from error
    if not header.startswith(_MAGIC[: len(header)]):
        raise IncompatibleStore(
            f"{str(path)!r} is no SQLite database, and was left as it is; choose another path", path=str(path)
        )
    if len(header) < 100:
        raise CorruptStore(
            f"{str(path)!r} is cut off after {len(header)} bytes; restore it from a backup", path=str(path)
        )
    return int.from_bytes(header[68:72], "big"), int.from_bytes(header[60:64], "big")


def begin_immediate(connection: sqlite3.Connection, until: float) -> None:
    """Start a write transaction.

    SQLite's own busy handler sleeps for up to 100 ms at a time; short random waits are fairer and faster.

    Raises:
        Busy: The lock was not had by `until` (of `time.monotonic`).
    """
    pause = 0.0005
    while True:
        try:
            connection.execute("BEGIN IMMEDIATE")
            return
        except sqlite3.OperationalError as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF not in (
                sqlite3.SQLITE_BUSY,
                sqlite3.SQLITE_LOCKED,
            ):
                raise
            if time.monotonic() >= until:
                raise Busy(
                    "another process has held the database's write lock for the whole wait; "
                    "try again, or open with a longer ?timeout=",
                    driver=str(error),
                ) from error
        time.sleep(min(pause, max(0.0, until - time.monotonic())) * random.uniform(0.5, 1.0))
        pause = min(pause * 2, 0.01)


def create(connection: sqlite3.Connection, until: float) -> None:
    """Create the schema unless another process was first, and switch the file to write-ahead logging."""
    begin_immediate(connection, until)
    try:
        if connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0] == 0:
            for statement in ddl():
                connection.execute(statement)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def write_ahead(connection: sqlite3.Connection, until: float) -> None:
    """Switch to write-ahead logging, for which SQLite needs the file to itself for a moment."""
    while True:
        try:
            if connection.execute("PRAGMA journal_mode = WAL").fetchone()[0] == "wal":
                return
        except sqlite3.OperationalError as error:
            if (
                getattr(error, "sqlite_errorcode", 0) & 0xFF != sqlite3.SQLITE_BUSY
                or time.monotonic() > until
            ):
                raise
        if time.monotonic() > until:
            raise StorageError("the file system does not allow write-ahead logging; use a local disk")
        time.sleep(0.005)


class Difference(NamedTuple):
    """Something whose definition in the file is not the one that this version creates.

    Attributes:
        kind: "table", "index", "view" or "trigger".
        name: Its name.
        expected: Its definition in this version; None where it has none.
        actual: Its definition in the file; None where it has none.
    """

    kind: str
    name: str
    expected: str | None
    actual: str | None


def differences(connection: sqlite3.Connection) -> list[Difference]:
    """Where the schema in the file is not the one that this version creates; tables before indexes."""
    query = "SELECT name, type, sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
    with closing(sqlite3.connect(":memory:")) as fresh:
        for statement in ddl():
            fresh.execute(statement)
        expected = {name: (kind, sql) for name, kind, sql in fresh.execute(query)}
    actual = {name: (kind, sql) for name, kind, sql in connection.execute(query)}
    found = []
    for name in sorted(expected.keys() | actual.keys()):
        wanted, there = expected.get(name), actual.get(name)
        if wanted is None or there is None or _plain(wanted[1]) != _plain(there[1]):
            kind = (wanted or there or ("",))[0]
            found.append(Difference(kind, name, wanted and wanted[1], there and there[1]))
    return sorted(found, key=lambda each: each.kind != "table")


def schema_problems(connection: sqlite3.Connection, where: str) -> list[Problem]:
    """Differences between the schema in the file and the one that this version creates."""
    return [
        Problem(
            "error",
            "schema",
            f"{where}:{each.name}",
            f"the definition of {each.name!r} is not the one this version creates; see perdure schema diff",
        )
        if each.expected is not None
        else Problem("warning", "schema", f"{where}:{each.name}", f"{each.name!r} is not part of the schema")
        for each in differences(connection)
    ]


def _plain(sql: str) -> str:
    return re.sub(r"\s*([(),])\s*", r"\1", " ".join(sql.split()))
