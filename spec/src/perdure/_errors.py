"""Every error that perdure raises, split by what a handler would do about it.

`PerdureError` draws the tree.
"""

from __future__ import annotations

from typing import Any, ClassVar

__all__ = [
    "AlreadyExists",
    "Busy",
    "Conflict",
    "CorruptStore",
    "HistoryExpired",
    "IncompatibleStore",
    "InvalidFilter",
    "InvalidInput",
    "InvalidRecord",
    "InvalidRef",
    "InvalidURL",
    "MergeConflict",
    "NotFound",
    "PerdureError",
    "PermissionDenied",
    "PluginError",
    "Retryable",
    "StaleHead",
    "StorageError",
    "Unavailable",
    "Unsupported",
    "VersionConflict",
]


class PerdureError(Exception):
    """The root of every error that perdure raises on purpose.

    The tree (builtin parents in brackets)::

        PerdureError
        ├── InvalidInput [ValueError]      mend the call
        │   ├── InvalidRecord              a field, value, vector or batch is malformed
        │   ├── InvalidFilter              a filter or an order is malformed
        │   ├── InvalidRef                 a ref or a name is malformed
        │   └── InvalidURL                 a store URL is malformed
        ├── NotFound [KeyError]            the thing asked for does not exist
        │   └── HistoryExpired             it existed; compaction dropped it
        ├── Conflict                       somebody else was first: read again, decide again
        │   ├── AlreadyExists              the key or the name is taken
        │   ├── StaleHead                  the branch moved past `expect_head`
        │   ├── VersionConflict            the row is not at `if_version`
        │   └── MergeConflict              a merge or a revert found conflicts; nothing was applied
        ├── Retryable                      the same call may succeed later
        │   ├── Busy [TimeoutError]        a lock was not had within the stated wait
        │   └── Unavailable                the engine cannot be reached
        ├── Unsupported [NotImplementedError]   this backend, or its version, cannot do that
        ├── PermissionDenied [PermissionError]  the store or a wrapper forbids it
        ├── StorageError [OSError]         the disk or the engine failed; the previous commit is intact
        │   ├── CorruptStore               the stored bytes are not what was written
        │   └── IncompatibleStore          written by a version, or by a program, that this one cannot read
        └── PluginError                    an entry point clashes, fails to load or breaks the hookspecs

    Attributes:
        code: Stable, machine-readable name of the kind of error.
        message: What is wrong, and what to do next.
        detail: Facts for a program or a log: the driver's own message, keys, limits.
    """

    code: ClassVar[str] = "error"

    def __init__(self, message: str, **detail: Any) -> None:
        super().__init__(message)
        self.message = message
        self.detail: dict[str, Any] = detail

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self), self.message, self.detail))


def _rebuild(cls: type[PerdureError], message: str, detail: dict[str, Any]) -> PerdureError:
    return cls(message, **detail)


class InvalidInput(PerdureError, ValueError):
    """The call itself is wrong; the same call will never succeed."""

    code = "invalid_input"


class InvalidRecord(InvalidInput):
    """A field, a value, a vector or a batch is malformed; nothing was written."""

    code = "invalid_record"


class InvalidFilter(InvalidInput):
    """A filter or an order is malformed."""

    code = "invalid_filter"


class InvalidRef(InvalidInput):
    """A ref, or the name of a branch, checkpoint, space or namespace, is malformed."""

    code = "invalid_ref"


class InvalidURL(InvalidInput):
    """A store URL is malformed, or names a backend that is not installed."""

    code = "invalid_url"


class NotFound(PerdureError, KeyError):
    """The row, ref, space or namespace asked for does not exist."""

    code = "not_found"


class HistoryExpired(NotFound):
    """The point in history asked for was dropped by compaction."""

    code = "history_expired"


class Conflict(PerdureError):
    """Somebody else was first. Read again, then decide again; nothing was written."""

    code = "conflict"


class AlreadyExists(Conflict):
    """The key or the name is taken."""

    code = "already_exists"


class StaleHead(Conflict):
    """The branch has moved past the head that the caller expected."""

    code = "stale_head"


class VersionConflict(Conflict):
    """The row is not at the version that the caller expected."""

    code = "version_conflict"


class MergeConflict(Conflict):
    """A merge or a revert found conflicts and applied nothing.

    `conflicts` holds all of them, as `perdure.MergeConflictRow` items.
    """

    code = "merge_conflict"

    @property
    def conflicts(self) -> list[Any]:
        """Every conflict found, in (table, key) order."""
        return list(self.detail.get("conflicts", ()))


class Retryable(PerdureError):
    """The same call may succeed later; nothing was written."""

    code = "retryable"


class Busy(Retryable, TimeoutError):
    """A lock was not had within the stated wait."""

    code = "busy"


class Unavailable(Retryable):
    """The engine cannot be reached, or the store was closed."""

    code = "unavailable"


class Unsupported(PerdureError, NotImplementedError):
    """This backend, or the spec version that it declares, cannot do that."""

    code = "unsupported"


class PermissionDenied(PerdureError, PermissionError):
    """The store was opened read-only, or a wrapper forbids the call."""

    code = "permission_denied"


class StorageError(PerdureError, OSError):
    """The disk or the engine failed. The previous commit is intact."""

    code = "storage_error"


class CorruptStore(StorageError):
    """The stored bytes are not what was written."""

    code = "corrupt_store"


class IncompatibleStore(StorageError):
    """Written by a newer version, or by another program; the file was left as it was."""

    code = "incompatible_store"


class PluginError(PerdureError):
    """An entry point clashes, fails to load, or does not keep to the hookspecs."""

    code = "plugin_error"
