"""A table whose vectors have an index, at one of its versions: what searches keep of it in memory."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from perdure_lancedb._columns import of_rows
from perdure_lancedb._lacking import Tail
from perdure_lancedb._rows import Lineage, shown
from perdure_lancedb._sql import pieces
from perdure_lancedb._versions import COLUMNS, Versions

if TYPE_CHECKING:
    import pyarrow as pa

    from perdure_lancedb._tables import View

__all__ = ["Indexed"]

#: Versions on closer branches up to which their rows are kept in memory.
_CLOSER = 10_000


class Indexed:
    """Searches of several threads may share one; what they keep may then be read twice, and is the same."""

    def __init__(self, view: View) -> None:
        self.view = view
        self._closer: tuple[Lineage, dict[bytes, int] | None] | None = None

    def is_of(self, view: View) -> bool:
        """Whether this is that table at that version."""
        return self.view.stored.version == view.stored.version and self.view.place == view.place

    @cached_property
    def versions(self) -> Versions:
        """Those of all its rows."""
        return Versions(self.view.scan(COLUMNS, with_row_id=True))

    @cached_property
    def tail(self) -> Tail | None:
        """What the index lacks; None: there is no index."""
        return Tail.of(self.view)

    def closest(self, keys: Sequence[bytes], lineage: Lineage) -> dict[bytes, int]:
        """At which step of a lineage the closest version of rows is, deletions too.

        Rows that only the last step shows may be left out.
        """
        known = self._closer
        if known is None or known[0] != lineage:
            number = self.versions.of_branches(lineage[:-1])
            found = self._read("", lineage[:-1]) if 0 < number <= _CLOSER else None if number else {}
            known = self._closer = (lineage, found)
        if known[1] is not None:
            return known[1]
        closest: dict[bytes, int] = {}
        for some in pieces(keys):
            closest |= self._read(f"{of_rows(some)} AND ", lineage[:-1])
        return closest

    def _read(self, condition: str, lineage: Lineage) -> dict[bytes, int]:
        numbers = {number: depth for depth, (number, _) in enumerate(lineage)}
        found: pa.Table = self.view.scan(["row_key", "branch"], f"{condition}{shown(lineage)}")
        closest: dict[bytes, int] = {}
        for key, branch in zip(found["row_key"].to_pylist(), found["branch"].to_pylist(), strict=True):
            closest[key] = min(closest.get(key, len(lineage)), numbers[branch])
        return closest
