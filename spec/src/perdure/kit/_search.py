"""Exact vector search: a fast product chooses candidates, the specified formula scores them."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perdure._errors import InvalidRecord, NotFound
from perdure._schema import TABLES
from perdure._types import At, Hit, Key, Point, Query, Search, Space
from perdure.kit._apply import owner_id
from perdure.kit._commits import Commits
from perdure.kit._head import Lineage, State
from perdure.kit._keys import Keys, after
from perdure.kit._objects import decode_row
from perdure.kit._reading import Reader
from perdure.kit._rows import Rows
from perdure.kit._score import NUMPY_DTYPE, scores

__all__ = ["Searcher"]

#: Bytes of matrices kept.
CACHE_BYTES = 1 << 30

#: Commits that a cached matrix is carried over; past them it is read anew.
CARRY = 1_000

_VALUES = TABLES["vectors"].position["values"]
_VECTORS = TABLES["vectors"]

Floats = NDArray[Any]


class _Buffer:
    """Vectors by arrival; matrices are views of it, so that adding to it disturbs none of them."""

    def __init__(self, space: Space) -> None:
        self.stored = NUMPY_DTYPE[space.dtype]
        self.dtype = np.dtype(np.float64 if space.dtype == "float64" else np.float32)
        self.dim = space.dim
        self.used = 0
        self.data: Floats = np.empty((0, space.dim), self.dtype)
        self.norms: Floats = np.empty(0)
        self.ids: list[str] = []

    def add(self, ids: list[str], values: list[bytes] | Floats) -> None:
        """Append vectors, as stored or as a matrix; the rows that views see never change."""
        need = self.used + len(ids)
        if need > len(self.data):
            size = max(need, 2 * len(self.data), 64) if self.used else need
            data, norms = np.empty((size, self.dim), self.dtype), np.empty(size)
            data[: self.used], norms[: self.used] = self.data[: self.used], self.norms[: self.used]
            self.data, self.norms = data, norms
        flat = np.frombuffer(b"".join(values), self.stored) if isinstance(values, list) else values
        block = flat.reshape(len(ids), self.dim)
        self.data[self.used : need] = block
        wide = block.astype(np.float64)
        self.norms[self.used : need] = np.sqrt(np.einsum("ij,ij->i", wide, wide))
        self.ids += ids
        self.used = need


class _Matrix:
    """The vectors of a space at one point: the first `size` of a buffer, less the dead ones."""

    def __init__(self, buffer: _Buffer, alive: NDArray[np.bool_], places: dict[str, int]) -> None:
        self.buffer = buffer
        self.size = buffer.used
        self.data = buffer.data[: buffer.used]
        self.norms = buffer.norms[: buffer.used]
        self.alive = alive
        self.places = places


class Searcher:
    """Searches the spaces of one namespace; keeps recent matrices."""

    def __init__(self, keys: Keys, commits: Commits, rows: Rows, reader: Reader) -> None:
        self._keys = keys
        self._commits = commits
        self._rows = rows
        self._reader = reader
        self._lock = threading.Lock()
        self._cache: dict[tuple[str, Lineage], tuple[object, _Matrix]] = {}

    def search(self, search: Search, at: At) -> list[Hit]:
        """The nearest vectors, by score descending, then id ascending.

        Raises:
            NotFound: There is no such space.
            InvalidRecord: The query has the wrong size, is not finite, or is zero under cosine.
            InvalidFilter: The filter cannot be asked of the table.
        """
        state, point = self._reader.place(at)
        space = state.head.spaces.get(search.space)
        if space is None:
            raise NotFound(
                f"there is no space {search.space!r}; list them with store.spaces", space=search.space
            )
        query = _query(space, search)
        wanted = self._allowed(state, point, space, search)
        with self._lock:
            matrix = self._matrix(state, point, space)
        mask = matrix.alive
        if wanted is not None:
            mask = np.zeros(matrix.size, np.bool_)
            mask[[matrix.places[item] for item in wanted if item in matrix.places]] = True
        rows = _candidates(space, matrix, mask, query, search.k)
        exact = scores(space.metric, matrix.data[rows], query)
        ids = matrix.buffer.ids
        best = sorted(zip((-exact).tolist(), (ids[row] for row in rows.tolist()), strict=True))
        return [Hit(item, -score) for score, item in best[: search.k]]

    def _allowed(self, state: State, point: Point, space: Space, search: Search) -> Iterable[str] | None:
        """The ids of vectors that the filter lets through; None: all."""
        if search.where is None:
            return None
        if space.table is not None:
            table = TABLES[space.table]
            query = Query(space.table, search.where, columns=table.key)
            return [owner_id(key) for key in self._reader.select(query, point)]  # type: ignore[arg-type]
        test, prefix = self._reader.test(_VECTORS, search.where), self._prefix(space)
        rows: Iterable[Any] = (
            decode_row("vectors", value)
            for _, _, value in self._rows.scan(state, point, prefix, after(prefix))
        )
        return [row[1] for row in rows if test(row)]

    def _prefix(self, space: Space) -> bytes:
        return self._keys.rows("vectors") + space.name.encode() + b"\0"

    # ------------------------------------------------------------------------------- matrices

    def _matrix(self, state: State, point: Point, space: Space) -> _Matrix:
        lineage = state.lineage(point)
        era = (state.era, space)
        found = self._cache.pop((space.name, lineage), None)
        if found is None or found[0] != era:
            found = (era, self._carried(state, point, space, lineage) or self._read(state, point, space))
        self._cache[space.name, lineage] = found
        self._evict()
        return found[1]

    def _evict(self) -> None:
        buffers = {id(m.buffer): m.buffer.data.nbytes for _, m in self._cache.values()}
        while len(self._cache) > 1 and (sum(buffers.values()) > CACHE_BYTES or len(self._cache) > 64):
            _, (_, gone) = next(iter(self._cache.items()))
            del self._cache[next(iter(self._cache))]
            if all(m.buffer is not gone.buffer for _, m in self._cache.values()):
                buffers.pop(id(gone.buffer), None)

    def _read(self, state: State, point: Point, space: Space) -> _Matrix:
        buffer = _Buffer(space)
        ids, values = self.live(state, point, space)
        if ids:
            buffer.add(ids, values)
        return _Matrix(buffer, np.ones(len(ids), np.bool_), {item: place for place, item in enumerate(ids)})

    def live(self, state: State, point: Point, space: Space) -> tuple[list[str], list[bytes] | Floats]:
        """The ids of all live vectors of a space, in any order, and their numbers: as stored, or as a matrix.

        An engine that keeps vectors as columns puts its own way in place of this one.
        """
        prefix = self._prefix(space)
        ids: list[str] = []
        values: list[bytes] = []
        for _, _, value in self._rows.scan(state, point, prefix, after(prefix)):
            row: Any = decode_row("vectors", value)
            ids.append(row[1])
            values.append(row[_VALUES])
        return ids, values

    def _carried(self, state: State, point: Point, space: Space, lineage: Lineage) -> _Matrix | None:
        """An older matrix of the same branch, brought up to the point by what commits changed since."""
        era = (state.era, space)
        number, upto = lineage[0]
        older = [
            (line[0][1], line)
            for (name, line), (of, _) in self._cache.items()
            if name == space.name
            and of == era
            and line[0][0] == number
            and line[1:] == lineage[1:]
            and line[0][1] < upto
        ]
        if not older or upto - max(older)[0] > CARRY:
            return None
        since, line = max(older)
        base = self._cache[space.name, line][1]
        if base.buffer.used != base.size:
            return None  # another matrix has added to the buffer since
        branch = state.by_number[number]
        changed: set[Key] = set()
        for slot, record in self._commits.walk(state, branch, since, upto):
            generation = self._commits.record(branch, slot)[0] if record.parts else 0
            changed |= {
                key
                for table, key in self._commits.writes(slot, generation, record)
                if table == "vectors" and key[0] == space.name
            }
        if len(changed) > base.size // 2 + 100 or base.size - int(base.alive.sum()) > base.size // 2 + 100:
            return None
        return self._patched(state, point, base, sorted(changed)) if changed else base

    def _patched(self, state: State, point: Point, base: _Matrix, changed: list[Key]) -> _Matrix:
        rows = self._rows.fetch(state, point, "vectors", changed)
        live: dict[str, Any] = {
            key[1]: row for key, row in zip(changed, rows, strict=True) if row is not None
        }
        dead = [base.places[key[1]] for key in changed if key[1] in base.places]
        if live:
            base.buffer.add(list(live), [row[_VALUES] for row in live.values()])
        alive = np.ones(base.size + len(live), np.bool_)
        alive[: base.size] = base.alive
        alive[dead] = False
        gone = {key[1] for key in changed}
        places = {item: place for item, place in base.places.items() if item not in gone}
        places.update((item, base.size + place) for place, item in enumerate(live))
        return _Matrix(base.buffer, alive, places)


def _query(space: Space, search: Search) -> NDArray[np.float64]:
    if search.k < 0:
        raise InvalidRecord(f"k is {search.k}; ask for 0 or more vectors")
    if len(search.vector) != 8 * space.dim:
        raise InvalidRecord(
            f"the query has {len(search.vector) / 8:g} numbers; space {space.name!r} needs {space.dim}",
            space=space.name,
        )
    query = np.frombuffer(search.vector, "<f8")
    if not np.isfinite(query).all():
        raise InvalidRecord("the query has a number that is not finite; embed the text again")
    if space.metric == "cosine" and not query.any():
        raise InvalidRecord("the query is zero, which has no direction; a cosine space cannot search for it")
    return query


def _candidates(
    space: Space, matrix: _Matrix, mask: NDArray[np.bool_], query: NDArray[np.float64], k: int
) -> NDArray[np.int64]:
    """Rows that hold the best `k`, and few others.

    One product in the matrix's own precision gives each score with a bound on its error (Higham, Accuracy
    and Stability of Numerical Algorithms, 2nd ed., eq. 3.5: |fl(a·b) - a·b| <= n u / (1 - n u) · |a|·|b|);
    a row is left out only where k others are better for certain.
    """
    rows: NDArray[np.int64] = np.flatnonzero(mask)
    if k == 0:
        return rows[:0]
    if len(rows) <= max(k, 256):
        return rows
    unit = float(np.finfo(matrix.data.dtype).eps)
    with np.errstate(all="ignore"):  # what leaves the range is not finite, and then every row is scored
        narrow = query.astype(matrix.data.dtype)
        length = float(np.sqrt(np.add.reduce(query * query)))
        dots = (matrix.data @ narrow)[rows].astype(np.float64)
        norms = matrix.norms[rows]
        error = (space.dim + 8) * (
            unit * norms * length + float(np.finfo(matrix.data.dtype).tiny) * (norms + length + 1)
        )
        if space.metric == "cosine":
            score, error = dots / (norms * length), error / (norms * length)
        elif space.metric == "l2":
            score = -(norms * norms - 2 * dots + length * length)
            error = 2 * error + 1e-13 * (space.dim + 8) * (norms * norms + length * length)
        else:
            score = dots
        error = error + 1e-15 * np.abs(score)
    if not (np.isfinite(score).all() and np.isfinite(error).all()):
        return rows
    least = np.partition(score - error, len(rows) - k)[len(rows) - k]
    best: NDArray[np.int64] = rows[score + error >= least]
    return best
