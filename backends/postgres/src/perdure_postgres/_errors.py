"""Errors of psycopg as errors of the perdure tree."""

from __future__ import annotations

import psycopg
from perdure import (
    Busy,
    CorruptStore,
    InvalidRecord,
    PerdureError,
    PermissionDenied,
    StorageError,
    Unavailable,
)
from psycopg import errors

__all__ = ["conflicts", "lost", "translate"]

#: The classes of SQLSTATE that mean that the server went, or was never there.
_GONE = ("08", "57P")

_BUSY = (errors.LockNotAvailable, errors.DeadlockDetected, errors.SerializationFailure, errors.QueryCanceled)
_FULL = (errors.DiskFull, errors.OutOfMemory)
_DAMAGED = (errors.DataCorrupted, errors.IndexCorrupted)
_ALTERED = (errors.UndefinedTable, errors.UndefinedColumn, errors.InvalidSchemaName, errors.UndefinedObject)
_FORBIDDEN = (
    errors.InsufficientPrivilege,
    errors.ReadOnlySqlTransaction,
    errors.InvalidPassword,
    errors.InvalidAuthorizationSpecification,
)


def lost(error: BaseException) -> bool:
    """Whether the connection is gone with what it was doing."""
    if not isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        return False
    state = error.sqlstate
    return state is None or state.startswith(_GONE)


def conflicts(error: BaseException) -> bool:
    """Whether the transaction was rolled back because of another one, so that it can be run again at once."""
    return isinstance(error, errors.SerializationFailure | errors.DeadlockDetected | errors.UniqueViolation)


def translate(error: BaseException, place: str) -> PerdureError:
    """The perdure error that a driver's error means.

    Args:
        error: The driver's; its text never has a password.
        place: The store, for the message.
    """
    state = error.sqlstate if isinstance(error, psycopg.Error) else None
    text = " ".join(str(error).split()) or type(error).__name__
    facts = {"driver": text, "sqlstate": state}
    if isinstance(error, _BUSY):
        return Busy(f"{place}: a lock was not had in time ({text}); try again", **facts)
    if isinstance(error, _FORBIDDEN):
        return PermissionDenied(
            f"{place} forbids it ({text}); check the role and what it was granted", **facts
        )
    if isinstance(error, errors.TooManyConnections):
        return Unavailable(
            f"{place} takes no more connections; try again, lower ?pool=, or raise max_connections", **facts
        )
    if isinstance(error, _FULL):
        return StorageError(f"{place} has no room ({text}); make room and try again", **facts)
    if lost(error):
        return Unavailable(
            f"{place} cannot be reached, or the connection was lost ({text}); try again: a commit is applied at "
            "most once under its id",
            **facts,
        )
    if isinstance(error, _DAMAGED):
        return CorruptStore(
            f"{place} is damaged ({text}); stop writing, run verify, restore from a backup", **facts
        )
    if isinstance(error, _ALTERED):
        return CorruptStore(
            f"{place} has not the schema that it should have ({text}); see perdure schema diff", **facts
        )
    if isinstance(error, errors.UniqueViolation):
        return InvalidRecord(
            "the batch holds a key twice though it says that its keys are unique; say unique=False", **facts
        )
    if isinstance(error, psycopg.DataError | UnicodeError | OverflowError | errors.ProgramLimitExceeded):
        return InvalidRecord(
            f"a value cannot be stored ({text}); encode rows as perdure.TABLES says", **facts
        )
    return StorageError(f"Postgres failed on {place} ({text}); the previous commit is intact", **facts)
