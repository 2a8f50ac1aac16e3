"""Errors of the `sqlite3` module as errors of the perdure tree."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from perdure import (
    Busy,
    CorruptStore,
    InvalidRecord,
    PerdureError,
    PermissionDenied,
    StorageError,
    Unavailable,
)

__all__ = ["translate"]


def translate(error: BaseException, path: Path) -> PerdureError:
    """The perdure error that a driver's error means."""
    text, name = str(error), path.name
    code = getattr(error, "sqlite_errorcode", 0) or 0
    facts = {"driver": text, "sqlite_code": getattr(error, "sqlite_errorname", None)}
    primary = code & 0xFF
    if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return Busy(f"{name} is locked by another connection; try again", **facts)
    damaged = primary in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT)
    if damaged or isinstance(error, UnicodeDecodeError) or "decode to UTF-8" in text:
        # No code of SQLite's: a text, or the schema that the driver's message quotes, is no UTF-8.
        return CorruptStore(
            f"{name} is damaged ({text}); stop writing, run verify, restore from a backup", **facts
        )
    if primary == sqlite3.SQLITE_FULL:
        return StorageError(f"the disk is full; make room for {name} and try again", **facts)
    if primary in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH):
        return PermissionDenied(
            f"{name} cannot be written ({text}); check the file and its directory", **facts
        )
    if isinstance(error, sqlite3.ProgrammingError) and "closed" in text:
        return Unavailable("the store is closed; open it again with perdure.open", **facts)
    if isinstance(error, UnicodeEncodeError | OverflowError | sqlite3.InterfaceError | sqlite3.DataError):
        return InvalidRecord(
            f"a value cannot be stored ({text}); encode rows as perdure.TABLES says", **facts
        )
    if primary == sqlite3.SQLITE_TOOBIG:
        return InvalidRecord("a cell is larger than SQLite's limit of 1 GB; store it as a payload", **facts)
    return StorageError(f"SQLite failed on {name} ({text}); the previous commit is intact", **facts)
