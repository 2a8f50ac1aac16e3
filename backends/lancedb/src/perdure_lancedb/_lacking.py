"""What an index lacks: vectors that were folded since it was made, and vectors that were not folded yet."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from perdure import TABLES, Row, Space
from perdure.kit import NUMPY_DTYPE, SLOT, Commits, Rows, State, decode_row, is_tombstone

from perdure_lancedb._candidates import Block, Floats, matrix_of, tail_of
from perdure_lancedb._rows import Lineage
from perdure_lancedb._versions import Versions

if TYPE_CHECKING:
    from perdure_lancedb._snapshot import Snapshot
    from perdure_lancedb._tables import View

__all__ = ["Recent", "Tail", "recent_of", "stored_matrix"]

#: Rows that were not folded yet and that a maintenance deleted versions of, above which they are not looked up.
_UNCERTAIN = 200

_VALUES = TABLES["vectors"].position["values"]


class Recent(NamedTuple):
    """What was not folded yet, at one lineage.

    Attributes:
        decided: Rows whose versions in the table do not count.
        rows: Those of them that live, by their keys.
        keys: The same keys, in the order of the vectors.
        block: Their vectors.
    """

    decided: frozenset[bytes]
    rows: dict[bytes, Row]
    keys: list[bytes]
    block: Block


class Tail:
    """What an index lacks of its table, with row ids; deletions have no vectors, and are not among it."""

    def __init__(self, view: View, fragments: list[Any]) -> None:
        self._view, self._fragments = view, fragments
        columns = ("row_key", "id", "values")
        if fragments:
            found = view.scan(columns, "NOT dead", fragments=fragments, with_row_id=True)
        else:
            schema = view.dataset.schema
            found = pa.schema([schema.field(name) for name in columns]).empty_table()
            found = found.append_column("_rowid", pa.array([], pa.uint64()))
        self.row_ids: NDArray[np.uint64] = found["_rowid"].to_numpy()
        self.block = Block(matrix_of(found["values"]))
        self._keys, self._ids = (found[name].combine_chunks() for name in ("row_key", "id"))
        self._shown: tuple[Any, NDArray[np.int64], NDArray[np.int64]] | None = None
        self._meeting: tuple[str, NDArray[np.bool_]] = ("", np.ones(len(found), np.bool_))

    @classmethod
    def of(cls, view: View) -> Tail | None:
        """That of a table; None where it has no index."""
        fragments = tail_of(view.dataset)
        return None if fragments is None else cls(view, fragments)

    def keys(self, rows: NDArray[np.int64]) -> list[bytes]:
        """Of some rows."""
        return self._keys.take(pa.array(rows)).to_pylist()  # type: ignore[no-any-return]

    def ids(self, rows: NDArray[np.int64]) -> list[str]:
        """The ids of some vectors."""
        return self._ids.take(pa.array(rows)).to_pylist()  # type: ignore[no-any-return]

    def shown(
        self, versions: Versions, lineage: Lineage, recent: Recent
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The rows that a lineage shows, as far as what was not folded leaves them as they are; and all depths."""
        known = self._shown
        if known is None or known[0] != (lineage, recent.decided):
            depths = versions.depths(self.row_ids, lineage)
            open_ = depths >= 0
            if recent.decided and len(open_):
                decided = pc.is_in(self._keys, pa.array(recent.decided, pa.large_binary()))
                open_ &= ~decided.to_numpy(zero_copy_only=False)
            known = self._shown = ((lineage, recent.decided), np.flatnonzero(open_), depths)
        return known[1], known[2]

    def meeting(self, condition: str) -> NDArray[np.bool_]:
        """Which rows meet a condition in LanceDB's SQL."""
        known = self._meeting
        if known[0] != condition:
            fit = np.ones(len(self.row_ids), np.bool_)
            if condition and len(fit):
                found = self._view.scan([], condition, fragments=self._fragments, with_row_id=True)
                fit = np.isin(self.row_ids, found["_rowid"].to_numpy())
            known = self._meeting = (condition, fit)
        return known[1]


def stored_matrix(space: Space, values: Iterable[bytes]) -> Floats:
    """Vectors as stored, as a matrix."""
    return np.frombuffer(b"".join(values), NUMPY_DTYPE[space.dtype]).reshape(-1, space.dim)


def recent_of(
    commits: Commits, rows: Rows, space: Space, state: State, lineage: Lineage, snapshot: Snapshot
) -> Recent | None:
    """What was not folded yet; None where a maintenance removed much."""
    depths = {number.to_bytes(4, "big"): (depth, upto) for depth, (number, upto) in enumerate(lineage)}
    live: dict[bytes, bytes] = {}
    uncertain: list[bytes] = []
    decided: list[bytes] = []
    for row_key, versions in snapshot.recent().items():
        if None in versions.values():  # removed by a maintenance, in the table as well
            uncertain.append(row_key)
            continue
        best: tuple[int, int] | None = None
        for key, value in versions.items():
            slot = key[-SLOT:]
            depth, upto = depths.get(slot[:4], (0, -1))
            seq = int.from_bytes(slot[4:12], "big")
            if seq > upto or (best is not None and (depth, -seq) > best):
                continue
            if commits.committed(state, state.by_number[lineage[depth][0]], slot):
                best = (depth, -seq)
                live[row_key] = cast(bytes, value)
        if best is not None:
            decided.append(row_key)
    if len(uncertain) > _UNCERTAIN:
        return None
    live.update(rows.find_many(state, tuple(lineage), uncertain))
    there: dict[bytes, Any] = {
        row_key: decode_row("vectors", value) for row_key, value in live.items() if not is_tombstone(value)
    }
    block = Block(stored_matrix(space, (row[_VALUES] for row in there.values())))
    return Recent(frozenset([*decided, *uncertain]), there, [*there], block)
