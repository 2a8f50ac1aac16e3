"""Nearest-vector search: a float32 product picks candidates, the specification's formula decides."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from perdure import TABLES, At, Hit, Key, NotFound, Query, Search, Space
from perdure.filters import And, F, matcher
from perdure.kit import owner_id, owner_key, scores

from perdure_sql._commit import load_spaces
from perdure_sql._database import Database
from perdure_sql._nearest import Nearest, query_vector
from perdure_sql._places import Place, place
from perdure_sql._query import Queries
from perdure_sql._rows import RowReader
from perdure_sql._vectors import Part, VectorCache

__all__ = ["Searcher"]

_F64 = NDArray[np.float64]

#: Unit roundoff of the type that products are taken in.
_UNIT = {"float16": 2.0**-24, "float32": 2.0**-24, "float64": 2.0**-53}

#: Norms within which a float32 product neither overflows nor underflows in a way that matters.
_TAME = (1e-12, 1e15)

#: Candidates whose rows are fetched, before all matching ids are asked for instead.
_PATIENCE = 2_000


class Searcher:
    """Searches one namespace. Safe from several threads."""

    def __init__(
        self, database: Database, ns: int, queries: Queries, readers: dict[str, RowReader], cache_bytes: int
    ) -> None:
        self._database = database
        self._ns = ns
        self._queries = queries
        self._readers = readers
        self.cache = VectorCache(ns, cache_bytes)
        self._nearest: Nearest | None = None
        if database.dialect.vectors is not None:
            self._nearest = Nearest(database, ns, queries, self._matching)

    def search(self, search: Search, at: At) -> list[Hit]:
        """The nearest vectors, best first."""
        nearest = None if search.exact or not search.k else self._nearest
        if nearest is not None and (hits := nearest.again(search, at)) is not None:
            return hits
        with self._database.snapshot() as session:  # the cache must see the state that its epoch belongs to
            where = place(session, self._ns, at)
            space = load_spaces(session, self._ns).get(search.space)
            if space is None:
                raise NotFound(
                    f"there is no space {search.space!r}; create it with store.spaces.create",
                    space=search.space,
                )
            query = query_vector(search, space)
            if search.k == 0:
                return []
            if search.where is not None:  # malformed filters are refused whatever the space holds
                self._queries.plan(TABLES[space.table or "vectors"], search.where)
            if nearest is not None:
                hits = nearest.first(session, search, space, where, query)
                if hits is not None:
                    return hits
            parts = self.cache.parts(session, space, where)
        if search.where is None:
            return _best(space, parts, query, search.k, None)
        return self._filtered(search, space, where, parts, query)

    def _filtered(
        self, search: Search, space: Space, where: Place, parts: list[Part], query: _F64
    ) -> list[Hit]:
        """Candidates in order, their rows judged in growing batches; all matching ids where that drags on."""
        if not self._queries.plan(TABLES[space.table or "vectors"], search.where).counters:
            wanted = max(64, 4 * search.k)
            while wanted <= _PATIENCE:
                hits = _best(space, parts, query, wanted, None)
                kept = self._matching(search, space, where, hits)
                if len(kept) >= search.k or len(hits) < wanted:
                    return kept[: search.k]
                wanted *= 8
        ids = self._matching_ids(search, space, where)
        return _best(space, parts, query, search.k, ids)

    def _matching(self, search: Search, space: Space, where: Place, hits: list[Hit]) -> list[Hit]:
        assert search.where is not None
        table = TABLES[space.table or "vectors"]
        test = matcher(table, search.where)
        keys = {hit.id: _owner(space, hit.id) for hit in hits}
        with self._database.snapshot() as session:
            place(session, self._ns, where.point)  # compaction may have come in between
            rows = self._readers[table.name].rows(
                session, self._ns, where.branch, where.point.seq, list(keys.values())
            )
        return [hit for hit in hits if (row := rows.get(keys[hit.id])) is not None and test(row)]

    def _matching_ids(self, search: Search, space: Space, where: Place) -> set[str]:
        table = TABLES[space.table or "vectors"]
        wanted = search.where
        if space.table is None and wanted is not None:
            wanted = And((F.space == space.name, wanted))
        rows = self._queries.select(Query(table.name, wanted, columns=table.key), where.point)
        if space.table is None:
            return {str(row[1]) for row in rows}
        return {owner_id(row) for row in rows}  # type: ignore[arg-type]


def _owner(space: Space, id_: str) -> Key:
    return (space.name, id_) if space.table is None else owner_key(TABLES[space.table], id_)


def _best(space: Space, parts: Sequence[Part], query: _F64, k: int, only: set[str] | None) -> list[Hit]:
    """The `k` best of all parts, exactly."""
    found: list[tuple[float, str]] = []
    bounds = [_bounds(space, part, query) for part in parts]
    masks = [_mask(part, only) for part in parts]
    lows = [low if mask is None else low[mask] for (low, _), mask in zip(bounds, masks, strict=True)]
    total = sum(map(len, lows))
    floor = -math.inf
    if total > k:
        joined = lows[0] if len(lows) == 1 else np.concatenate(lows)
        floor = float(np.partition(joined, total - k)[total - k])
    for part, (_, high), mask in zip(parts, bounds, masks, strict=True):
        chosen = high >= floor
        if mask is not None:
            chosen &= mask
        places = np.flatnonzero(chosen)
        ids = part.block.ids
        for start in range(0, len(places), 10_000):
            piece = places[start : start + 10_000]
            exact = scores(space.metric, part.matrix[piece], query)
            found += [(-float(score), ids[i]) for score, i in zip(exact, piece, strict=True)]
    found.sort()
    return [Hit(id_, -score + 0.0) for score, id_ in found[:k]]


def _mask(part: Part, only: set[str] | None) -> NDArray[np.bool_] | None:
    if only is None:
        return part.mask
    allowed = np.zeros(part.size, np.bool_)
    places = part.block.places
    allowed[[i for id_ in only for i in places.get(id_, ()) if i < part.size]] = True
    return allowed if part.mask is None else allowed & part.mask


def _bounds(space: Space, part: Part, query: _F64) -> tuple[NDArray[Any], NDArray[Any]]:
    """A quantity that orders like the score, with its least and greatest possible value.

    A dot product of n numbers in arithmetic of unit roundoff u is off by at most about n·u·‖a‖‖q‖ in whatever
    order it is summed (Higham, Accuracy and Stability of Numerical Algorithms, section 3.1); doubled for
    the rounding of the query and of the steps that follow.
    """
    norms = part.norms
    size = math.sqrt(float(np.dot(query, query)))
    wild = (norms > _TAME[1]) | ((norms < _TAME[0]) & (norms > 0))
    if not (size == 0 or _TAME[0] < size < _TAME[1]):
        wild[:] = True
    unit = query / size if size else query
    with np.errstate(all="ignore"):
        dots = (part.search @ unit.astype(part.search.dtype)).astype(np.float64)
        error = 2 * (space.dim + 8) * _UNIT[space.dtype]
        if space.metric == "cosine":
            near = dots / norms
            slack: Any = error
        elif space.metric == "dot":
            near, slack = dots * size, (error * size) * norms
        else:  # -d² orders like -d
            near = 2 * size * dots - norms * norms - size * size
            slack = error * (norms + size) ** 2
        low, high = near - slack, near + slack
    if wild.any() or not np.isfinite(high).all():
        odd = wild | ~np.isfinite(low) | ~np.isfinite(high)
        low[odd], high[odd] = -math.inf, math.inf
    return low, high
