"""The rows of one kind in one namespace, or the vectors of one space, as one look at the store sees them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pyarrow as pa
import pyarrow.compute as pc
from perdure import Space
from perdure.kit import SLOT

from perdure_lancedb._columns import of_rows
from perdure_lancedb._segments import Loaded
from perdure_lancedb._sql import pieces, within
from perdure_lancedb._tables import Tables, View

__all__ = ["Snapshot", "written"]

#: Times as many rows in the table as are asked for, up to which to read all row keys is faster than to look each up.
_FEW = 50


class Snapshot:
    """What was folded, and what came since.

    Attributes:
        prefix: What the keys of all these rows begin with.
        view: The table with the versions that were committed when the log was folded; None: there is none.
        held: Versions that came since, by their keys; None where one was deleted. Their attempts may not be
            committed. What is held counts, whatever the table says of that key.
    """

    def __init__(
        self,
        prefix: bytes,
        held: Mapping[bytes, bytes | None],
        tables: Tables,
        *,
        pending: bool,
        folded: bool,
    ) -> None:
        self.prefix = prefix
        self.view: View | None = tables.of_row(prefix) if folded else None
        self.held = held if not pending else {**dict(tables.loose(prefix)), **held}

    def recent(self) -> dict[bytes, dict[bytes, bytes | None]]:
        """What is held, by rows: row key → key → stored bytes. What the table says of other rows stands."""
        found: dict[bytes, dict[bytes, bytes | None]] = {}
        for key, value in self.held.items():
            found.setdefault(key[:-SLOT], {})[key] = value
        return found

    def of_space(self, space: Space) -> View | None:
        """The table, unless it is still that of a space of the same name with other vectors, which was dropped."""
        view = self.view
        return view if view is not None and view.stored.values == (space.dtype, space.dim) else None

    def condition(self) -> str:
        """The table may have rows of other namespaces; this condition leaves them out."""
        if self.view is not None and self.view.stored.prefix:
            return ""
        return within("row_key", self.prefix)


def written(
    prefix: bytes,
    row_keys: pa.Array,
    held: set[bytes],
    segments: Iterable[Loaded],
    tables: Tables,
    *,
    pending: bool,
) -> pa.Array:
    """Of which rows under a prefix there are versions.

    Args:
        prefix: What all their keys begin with.
        row_keys: Of the rows asked for.
        held: Row keys of versions that came since the fold.
        segments: More of these.
        tables: What was folded.
        pending: Whether some of it may lie among other objects.
    """
    if pending:
        held = held | {key[:-SLOT] for key, _ in tables.loose(prefix)}
    known = [pa.chunked_array([pa.array(held, pa.large_binary())])]
    known += [loaded.table["row_key"] for loaded in segments]
    view = tables.of_row(prefix)
    if view is not None and view.dataset.count_rows() > _FEW * len(row_keys):
        known += [view.scan(["row_key"], of_rows(some))["row_key"] for some in pieces(row_keys.to_pylist())]
    elif view is not None:
        known.append(view.scan(["row_key"])["row_key"])
    # What is asked for is the smaller set to look in, and most often nothing of it is there.
    there = pa.chunked_array([chunk for keys in known for chunk in keys.chunks], pa.large_binary())
    there = there.filter(pc.is_in(there, row_keys))
    return pc.is_in(row_keys, there.combine_chunks())
