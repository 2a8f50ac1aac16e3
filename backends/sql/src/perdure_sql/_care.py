"""What a backend offers to whoever looks after its schema; the command `perdure schema` asks for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol, runtime_checkable

__all__ = ["Progress", "Revision", "SchemaCare"]

#: Called with how many revisions have been run, and how many there are.
Progress = Callable[[int, int], None]


class Revision(NamedTuple):
    """One step of the schema's history.

    Attributes:
        id: As the database records it.
        title: What it changes, in one line.
        statements: The SQL that does it.
    """

    id: str
    title: str
    statements: tuple[str, ...]


@runtime_checkable
class SchemaCare(Protocol):
    """What the object that `perdure.backends` names may offer beside `perdure.Plugin`."""

    def schema_diff(self, url: str) -> list[str]:
        """What separates a store's schema from the one that this version creates.

        Nothing is changed. Indexes and columns that the backend adds by itself, grants and policies are no
        difference.

        Args:
            url: The store.

        Returns:
            SQL statements, without a final semicolon, that bring it there if run in this order; what SQL
            cannot mend is told in a comment (``-- ...``). Empty where there is no difference.

        Raises:
            NotFound: There is no store.
            IncompatibleStore: It is of another revision, or something else.
            Unsupported: What the comparison needs is not installed.
            PermissionDenied: The role may not compare.
        """
        ...

    def schema_upgrade(self, url: str, *, dry_run: bool, progress: Progress | None = None) -> list[Revision]:
        """Run the revisions that a store lacks: all or none of them, and in one process at a time.

        Args:
            url: The store.
            dry_run: Only say what would be run; nothing is changed.
            progress: Told after each revision.

        Returns:
            What was, or would be, run; empty where the store is of the newest revision.

        Raises:
            NotFound: There is no store, and this backend creates none here.
            IncompatibleStore: It is of a newer revision, or something else.
            PermissionDenied: The role may not.
            Busy: Another process held a lock for the whole wait.
        """
        ...
