"""Of which branch and time the versions of a table are, by LanceDB's row ids, kept in memory.

An index answers with row ids: what of them a point shows is thus known without a look at the table.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from perdure_lancedb._rows import Lineage

__all__ = ["COLUMNS", "Versions"]

#: What a table is asked for, with its row ids.
COLUMNS = ("branch", "seq", "ended", "dead")

Ids = NDArray[np.uint64]


class Versions:
    """The versions of one table at one of its own versions.

    Neighbours that one commit wrote, and that nothing replaced, are kept as one run: 41 bytes for all of them.

    Args:
        found: `COLUMNS` and row ids of all rows.
    """

    def __init__(self, found: pa.Table) -> None:
        ids: Ids = found["_rowid"].to_numpy()
        order = np.argsort(ids, kind="stable")
        columns: list[NDArray[Any]] = [found[name].to_numpy()[order] for name in COLUMNS]
        begins = np.ones(len(ids), np.bool_)
        for column in columns:
            begins[1:] &= column[1:] == column[:-1]
        begins[1:] ^= True
        self._first: Ids = ids[order][begins]
        self._branch, self._seq, self._ended, self._dead = (column[begins] for column in columns)
        self._rows = np.diff(np.flatnonzero(begins), append=len(ids))

    @property
    def nbytes(self) -> int:
        """How much memory they take."""
        kept = (self._first, self._branch, self._seq, self._ended, self._dead, self._rows)
        return sum(column.nbytes for column in kept)

    def depths(self, row_ids: Ids, lineage: Lineage) -> NDArray[np.int64]:
        """At which step of a lineage each row is shown, but for what closer branches say of it; -1: at none."""
        if not len(row_ids):
            return np.empty(0, np.int64)
        return self._depths(np.searchsorted(self._first, row_ids, side="right") - 1, lineage)

    def _depths(self, runs: Any, lineage: Lineage) -> NDArray[np.int64]:
        branch, seq, ended = self._branch[runs], self._seq[runs], self._ended[runs]
        depths = np.full(len(branch), -1)
        for depth, (number, upto) in enumerate(lineage):
            depths[(branch == number) & (seq <= upto) & (ended > upto)] = depth
        depths[self._dead[runs]] = -1
        return depths

    def of_branches(self, lineage: Lineage) -> int:
        """How many versions, deletions too, the branches of a lineage show."""
        shown = np.zeros(len(self._first), np.bool_)
        for number, upto in lineage:
            shown |= (self._branch == number) & (self._seq <= upto) & (self._ended > upto)
        return int(self._rows[shown].sum())
