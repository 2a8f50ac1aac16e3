"""Errors of psycopg as errors of the perdure tree."""

from __future__ import annotations

import re

import psycopg
from perdure import (
    Busy,
    CorruptStore,
    InvalidRecord,
    InvalidURL,
    NotFound,
    PerdureError,
    PermissionDenied,
    StorageError,
    Unavailable,
)
from psycopg import errors

__all__ = ["conflicts", "lost", "translate"]

#: The classes of SQLSTATE that mean that the server went, or was never there.
_GONE = ("08", "57P")

_BUSY = (errors.LockNotAvailable, errors.DeadlockDetected, errors.SerializationFailure)
_ENDED = (
    errors.QueryCanceled,
    errors.IdleInTransactionSessionTimeout,
)  # by the operator, or a limit of theirs
_FULL = (errors.DiskFull, errors.OutOfMemory)
_DAMAGED = (errors.DataCorrupted, errors.IndexCorrupted)
_ALTERED = (errors.UndefinedTable, errors.UndefinedColumn, errors.InvalidSchemaName, errors.UndefinedObject)
_FORBIDDEN = (
    errors.InsufficientPrivilege,
    errors.ReadOnlySqlTransaction,
    errors.InvalidPassword,
    errors.InvalidAuthorizationSpecification,
)

#: What a server, or libpq, says of a connection that it does not make; in English, else it is only "unavailable".
_REFUSED = re.compile(
    r"(?P<database>database \".*\" does not exist)|authentication failed|no password supplied|pg_hba\.conf|role \".*\" "
    r"(does not exist|is not permitted)|permission denied for database|SSL was required|certificate|(?P<option>"
    r"invalid (\w+ value:|integer value|port number:|value for parameter)|unrecognized configuration parameter)"
)
_CROWDED = re.compile(r"too many (clients|connections)|connection slots")


def lost(error: BaseException) -> bool:
    """Whether the connection is gone with what it was doing."""
    if isinstance(error, psycopg.Error) and error.diag.severity_nonlocalized == "PANIC":
        return True  # the whole server restarts, and what was being committed may be there then
    if not isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        return False
    state = error.sqlstate
    return not _turned_away(error) if state is None else state.startswith(_GONE)


def _turned_away(error: BaseException) -> re.Match[str] | None:
    """What of a failed connection will be the same the next time; libpq gives it no SQLSTATE."""
    return _REFUSED.search(str(error)) if isinstance(error, psycopg.OperationalError) else None


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
    if isinstance(error, _ENDED):
        return Busy(
            f"{place} ended it ({text}), and nothing was changed; try again with less at a time, or raise that limit",
            **facts,
        )
    refused = _turned_away(error) if state is None else None
    if refused is not None and refused["database"]:
        return NotFound(f"{place} cannot be opened ({text}); check the URL, or create the database", **facts)
    if refused is not None and refused["option"]:
        return InvalidURL(f"{place} cannot be opened ({text}); correct that option of the URL", **facts)
    if isinstance(error, _FORBIDDEN) or refused is not None:
        return PermissionDenied(
            f"{place} forbids it ({text}); check the role and what it was granted", **facts
        )
    if isinstance(error, errors.TooManyConnections) or (state is None and _CROWDED.search(text)):
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
