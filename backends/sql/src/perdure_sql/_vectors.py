"""Vectors in memory, for exact search: blocks of versions, and views of them at a place.

A block holds the versions of one branch in one space, with the range of sequence numbers in which each is
visible. One block thereby serves every place from `low` on: a place is a mask. New commits are appended; the
only change to what is there is that a version's end becomes known. Branches share the blocks of their
ancestors, and mask out what they override.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from perdure import Space
from perdure.kit import NUMPY_DTYPE

from perdure_sql._database import Session
from perdure_sql._places import Arm, Place

__all__ = ["Block", "Part", "VectorCache"]

_Floats = NDArray[Any]

#: A block is read anew when it has more ended versions than current ones, beyond this many.
_STALE = 1_000

_LOAD = """
SELECT id, from_seq, to_seq, dead, "values" FROM vectors
WHERE ns = :ns AND branch = :branch AND space = :space AND from_seq <= :upto AND to_seq > :low"""

_DELTA = """
SELECT id, from_seq, to_seq, dead, "values" FROM vectors
WHERE ns = :ns AND branch = :branch AND from_seq > :high AND from_seq <= :upto AND space = :space
ORDER BY from_seq"""


class Block:
    """The versions of one branch in one space that are visible at some point from `low` to `high`."""

    def __init__(self, space: Space, branch: int, low: int) -> None:
        self.space = space
        self.branch = branch
        self.low = low
        self.high = low
        self.size = 0
        self.current = 0
        self.ids: list[str] = []
        self.matrix: _Floats = np.empty((0, space.dim), NUMPY_DTYPE[space.dtype])
        self.search: _Floats = self.matrix
        self.norms: NDArray[np.float64] = np.empty(0)
        self.begin: NDArray[np.int64] = np.empty(0, np.int64)
        self.end: NDArray[np.int64] = np.empty(0, np.int64)
        #: id → the places of its versions, oldest first.
        self.places: dict[str, list[int]] = {}
        #: id → the first version of its own, tombstones too: what hides the ancestors' rows.
        self.first: dict[str, int] = {}

    @property
    def nbytes(self) -> int:
        """Memory that the block takes, about."""
        extra = 0 if self.search is self.matrix else self.search.nbytes
        return self.matrix.nbytes + extra + len(self.norms) * 24 + self.size * 200

    def append(self, versions: Sequence[tuple[str, int, int, int, bytes]]) -> None:
        """Add versions, oldest first."""
        live = [version for version in versions if not version[3]]
        start = self.size
        self._reserve(start + len(live))
        if live:
            data = b"".join(version[4] for version in live)
            stop = start + len(live)
            block = np.frombuffer(data, self.matrix.dtype).reshape(len(live), self.space.dim)
            self.matrix[start:stop] = block
            if self.search is not self.matrix:
                self.search[start:stop] = block
            wide = block.astype(np.float64)
            self.norms[start:stop] = np.sqrt(np.einsum("ij,ij->i", wide, wide))
            self.begin[start:stop] = [version[1] for version in live]
            self.end[start:stop] = [version[2] for version in live]
        place = start
        for id_, begin, _, dead, _ in versions:
            known = self.places.get(id_)
            if known is not None and self.end[known[-1]] > begin:
                self.end[known[-1]] = begin
                self.current -= 1
            self.first.setdefault(id_, begin)
            if not dead:
                self.ids.append(id_)
                self.places.setdefault(id_, []).append(place)
                self.current += 1
                place += 1
        self.size = place

    def _reserve(self, needed: int) -> None:
        """Room for so many versions. Readers keep the arrays that they took, so these are replaced whole."""
        room = len(self.begin)
        if needed <= room:
            return
        room = needed if not room else max(needed, room + room // 2)

        def grown(old: Any) -> Any:
            new = np.empty((room, *old.shape[1:]), old.dtype)
            new[: self.size] = old[: self.size]
            return new

        shared = self.search is self.matrix
        self.matrix = grown(self.matrix)
        if self.space.dtype == "float16":
            self.search = np.empty((room, self.space.dim), np.float32)
            self.search[: self.size] = self.matrix[: self.size]
        else:
            assert shared
            self.search = self.matrix
        self.norms, self.begin, self.end = grown(self.norms), grown(self.begin), grown(self.end)


class Part(NamedTuple):
    """A block as seen from a place: its first `size` versions, of which `mask` (None: all) are visible."""

    block: Block
    size: int
    mask: NDArray[np.bool_] | None
    matrix: _Floats
    search: _Floats
    norms: NDArray[np.float64]


class VectorCache:
    """Blocks, the least recently used dropped first. Safe from several threads."""

    def __init__(self, ns: int, limit: int) -> None:
        self._ns = ns
        self._limit = limit
        self._lock = threading.Lock()
        self._blocks: OrderedDict[tuple[str, int], Block] = OrderedDict()
        self._views: dict[str, tuple[Any, list[Part]]] = {}
        self._epoch = -1

    def parts(self, session: Session, space: Space, where: Place) -> list[Part]:
        """What is visible in a space at a place."""
        with self._lock:
            if where.epoch != self._epoch:
                self._blocks.clear()
                self._views.clear()
                self._epoch = where.epoch
            blocks = [self._block(session, space, arm) for arm in where.arms]
            # The same place over blocks of the same size is the same view.
            seen = (where.arms, [(block, block.size, len(block.first)) for block in blocks])
            known = self._views.get(space.name)
            if known is None or known[0] != seen:
                known = (seen, _view(blocks, where.arms))
                self._views[space.name] = known
            self._evict(blocks)
            return known[1]

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._blocks.clear()
            self._views.clear()

    def _block(self, session: Session, space: Space, arm: Arm) -> Block:
        key = (space.name, arm.ancestor)
        block = self._blocks.get(key)
        stale = (
            block is not None
            and block.size - block.current > block.current + _STALE
            and arm.upto >= block.high
        )
        if block is None or arm.upto < block.low or stale or block.space != space:
            block = Block(space, arm.ancestor, arm.upto)
            rows = session.all(
                _LOAD, ns=self._ns, branch=arm.ancestor, space=space.name, upto=arm.upto, low=arm.upto
            )
            rows.sort(key=lambda row: row[1])
            block.append(rows)
            self._blocks[key] = block
        elif arm.upto > block.high:
            rows = session.all(
                _DELTA, ns=self._ns, branch=arm.ancestor, space=space.name, high=block.high, upto=arm.upto
            )
            if rows:
                block.append(rows)
            block.high = arm.upto
        self._blocks.move_to_end(key)
        return block

    def _evict(self, used: Iterable[Block]) -> None:
        total = sum(block.nbytes for block in self._blocks.values())
        for key in list(self._blocks):
            if total <= self._limit:
                return
            total -= self._blocks.pop(key).nbytes
            self._views.pop(key[0], None)


def _view(blocks: Sequence[Block], arms: Sequence[Arm]) -> list[Part]:
    parts = []
    hidden: set[str] = set()
    for block, arm in zip(blocks, arms, strict=True):
        size, upto = block.size, arm.upto
        mask = (block.begin[:size] <= upto) & (block.end[:size] > upto)
        if len(hidden) < len(block.places):
            covered = [place for id_ in hidden for place in block.places.get(id_, ())]
        else:
            covered = [place for id_, places in block.places.items() if id_ in hidden for place in places]
        mask[covered] = False
        visible = None if mask.all() else mask
        if size:
            parts.append(
                Part(block, size, visible, block.matrix[:size], block.search[:size], block.norms[:size])
            )
        hidden |= {id_ for id_, first in block.first.items() if first <= upto}
    return parts
