"""The rows of one kind in one namespace, or the vectors of one space, as one look at the store sees them."""

from __future__ import annotations

from collections.abc import Mapping

from perdure.kit import SLOT

from perdure_lancedb._sql import literal
from perdure_lancedb._tables import Tables, View

__all__ = ["Snapshot"]


class Snapshot:
    """What was folded, and what came since.

    Attributes:
        prefix: What the keys of all these rows begin with.
        view: The table with the versions that were committed when the log was folded; None: there is none.
        held: Versions that came since, by their keys; None where one was deleted. Their attempts may not be
            committed. What is held counts, whatever the table says of that key.
    """

    def __init__(
        self, prefix: bytes, held: Mapping[bytes, bytes | None], tables: Tables, *, pending: bool
    ) -> None:
        self.prefix = prefix
        self.view: View | None = tables.of_row(prefix)
        self.held = held if not pending else {**dict(tables.loose(prefix)), **held}

    def recent(self) -> dict[bytes, dict[bytes, bytes | None]]:
        """What is held, by rows: row key → key → stored bytes. What the table says of other rows stands."""
        found: dict[bytes, dict[bytes, bytes | None]] = {}
        for key, value in self.held.items():
            found.setdefault(key[:-SLOT], {})[key] = value
        return found

    def condition(self) -> str:
        """The table may have rows of other namespaces; this condition leaves them out."""
        if self.view is not None and self.view.stored.prefix:
            return ""
        end = self.prefix[:-1] + bytes((self.prefix[-1] + 1,))
        return f"row_key >= {literal(self.prefix)} AND row_key < {literal(end)}"
