"""Small immutable objects by name, which are created once or not at all: in a directory, or on object storage."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

__all__ = ["TABLES", "Objects"]

#: The folder of LanceDB's tables.
TABLES = "tables"


class Objects(Protocol):
    """A place for objects, and for LanceDB's tables beside them. Safe from several threads and processes.

    Names are relative paths of plain segments (`log/000000000001`). What a method acknowledged is seen by
    every later call of any process. Errors of the medium are raised as `StorageError`, `Busy`, `Unavailable` or
    `PermissionDenied`, never as the driver's.
    """

    #: The store, for messages; without credentials.
    place: str
    #: Whether an acknowledged object survives the loss of power.
    durable: bool

    def create(self, name: str, data: bytes) -> bool:
        """Store an object unless there is one; whether this call stored it.

        `data` is unlike that of all other calls, so that a doubtful outcome is settled by reading back.
        """
        ...

    def read(self, name: str) -> bytes | None:
        """An object, or None where there is none."""
        ...

    def read_many(self, names: list[str]) -> list[bytes | None]:
        """Several objects, at once where that is faster."""
        ...

    def names(self, folder: str) -> list[str]:
        """The names of all objects in a folder, without its own name, in order."""
        ...

    def remove(self, names: Iterable[str]) -> None:
        """Remove objects; an absent one is no error."""
        ...

    def table(self, name: str) -> tuple[str, dict[str, str] | None]:
        """Where LanceDB's table of that name lies: its URI, and the storage options for it."""
        ...

    def files(self) -> dict[str, list[str]]:
        """The names of all files of each table, in any state, for `remove`."""
        ...

    def settle(self, name: str) -> None:
        """See that all files of a table are as durable as objects are."""
        ...

    def close(self) -> None:
        """Release what it holds; closing twice is no error."""
        ...
