"""Vector search: the index of a space chooses candidates, and what it lacks is looked at beside it.

An index covers what was in the table when it was made. It is asked for row ids alone: what of them a point shows is
known in memory. What was folded since lies in fragments of its own, which are kept as a matrix; what was not folded yet
is held by the store. All candidates are scored by the formula of the contract. Where this cannot give as many vectors
as there are, or would look at too much, the kit's exact search does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from perdure import TABLES, At, Hit, Point, Query, Row, Search, Space, StorageError
from perdure.filters import Filter, uses_counters
from perdure.kit import Commits, Keys, Reader, Rows, Searcher, State, owner_id, owner_key, scores

from perdure_lancedb._candidates import Floats, matrix_of
from perdure_lancedb._filter import Pushed, push
from perdure_lancedb._gathering import Candidate, Gathered, Request, Rung, Sources, gathered, rows_for
from perdure_lancedb._indexed import Indexed
from perdure_lancedb._lacking import Recent, recent_of, stored_matrix
from perdure_lancedb._rows import LanceRows, Lineage, shown
from perdure_lancedb._storage import LanceStorage

if TYPE_CHECKING:
    from perdure_lancedb._snapshot import Snapshot
    from perdure_lancedb._tables import View

__all__ = ["LanceSearcher"]

#: Vectors that a search may ask for, and steps of a lineage, up to which an index is of use.
_MOST, _DEEP = 1_000, 24

#: Candidates that a search looks at before it is an exact one.
_PATIENCE = 4_000

#: Vectors that were not folded yet.
_HELD = 20_000

#: Rows that meet a filter up to which only their vectors are looked at.
_FEW = 1_000

_VALUES = TABLES["vectors"].position["values"]


class LanceSearcher(Searcher):
    """Searches the spaces of one namespace, by their indexes where they have any."""

    _rows: LanceRows

    def __init__(self, keys: Keys, commits: Commits, rows: Rows, reader: Reader) -> None:
        super().__init__(keys, commits, rows, reader)
        self._storage = cast(LanceStorage, rows._storage)
        self._heads = rows._heads
        self._recents: dict[bytes, tuple[object, Recent]] = {}
        self._tables: dict[bytes, Indexed] = {}

    def search(self, search: Search, at: At) -> list[Hit]:
        """The nearest vectors; about, where there is an index and the search is not said to be exact."""
        if not search.exact and 0 < search.k <= _MOST:
            try:
                found = self._heads.steady(partial(self._approximate, search, at))
            except StorageError:
                found = None  # the index may be damaged, and the vectors be sound
            if found is not None:
                return found
        return super().search(search, at)

    def _approximate(self, search: Search, at: At, state: State) -> list[Hit] | None:
        """The same; None where an exact search is to be had."""
        space = state.head.spaces.get(search.space)
        query = None if space is None else _query(space, search)
        if space is None or query is None or state.hidden:
            return None
        prefix = self._prefix(space)
        if not self._storage.is_indexed(prefix):
            return None
        state, point = self._reader.place(at, state)
        lineage = state.lineage(point)
        if len(lineage) > _DEEP:
            return None
        own = search.where is not None and space.table is None
        fits = self._reader.test(TABLES["vectors"], search.where) if own else None
        request = Request(search, space, query, state, point, lineage, prefix, fits)
        few = self._few(request)
        if few is not None:
            return self._among(request, few)
        return self._storage.look(prefix, partial(self._nearest, request))

    # ------------------------------------------------------------------------------------ few that match

    def _few(self, request: Request) -> list[str] | None:
        """The ids of the vectors whose owners match the filter; None where there are many, or no filter."""
        where, table = request.search.where, request.space.table
        if where is None or table is None:
            return None
        if self._reader.count(table, where, request.point) > _FEW:
            return None
        query = Query(table, where, columns=TABLES[table].key)
        return [owner_id(cast(tuple[str, ...], key)) for key in self._reader.select(query, request.point)]

    def _among(self, request: Request, ids: list[str]) -> list[Hit]:
        space = request.space
        keys = [(space.name, item) for item in ids]
        rows = self._rows.fetch(request.state, request.point, "vectors", keys)
        live: dict[str, Any] = {
            item: row[_VALUES] for item, row in zip(ids, rows, strict=True) if row is not None
        }
        exact = scores(space.metric, stored_matrix(space, live.values()), request.query)
        best = sorted(zip((-exact).tolist(), live, strict=True))
        return [Hit(item, -score) for score, item in best[: request.search.k]]

    # ------------------------------------------------------------------------------------------ by the index

    def _nearest(self, request: Request, snapshot: Snapshot) -> list[Hit] | None:
        view = snapshot.of_space(request.space)
        index = None if view is None else view.stored.index
        if view is None or index is None or not index.probes or index.metric != request.space.metric:
            return None
        recent = self._recent(request, snapshot)
        if recent is None:
            return None
        indexed = self._indexed(request.prefix, view)
        if indexed.tail is None:
            return None
        sources = Sources(indexed, indexed.tail, recent)
        for rung in _rungs(request):
            found = gathered(request, sources, rung)
            if found is None:
                return None
            best = self._matching(request, sources, found)
            if len(best) == request.search.k and best[-1].score > found.horizon:
                if request.space.table is None:
                    rows = rows_for(request, sources, found, best)
                    keys = [near.key for near in best]
                    self._rows.expect(request.state, request.lineage, dict(zip(keys, rows, strict=True)))
                return [Hit(near.id, near.score) for near in best]
            if found.horizon == -np.inf:
                return None
        return None

    def _indexed(self, prefix: bytes, view: View) -> Indexed:
        """What is kept of a table, as long as it is at that version."""
        known = self._tables.get(prefix)
        if known is None or not known.is_of(view):
            known = self._tables[prefix] = Indexed(view)
        return known

    def _matching(self, request: Request, sources: Sources, found: Gathered) -> list[Candidate]:
        """The first `k` whose rows match the filter."""
        where, k = request.search.where, request.search.k
        if where is None:
            return found.candidates[:k]
        best: list[Candidate] = []
        start, step = 0, 2 * k
        while start < len(found.candidates) and len(best) < k:
            some = found.candidates[start : start + step]
            best += self._fitting(request, sources, found, some, where)
            start, step = start + step, 2 * step
        return best[:k]

    def _fitting(
        self, request: Request, sources: Sources, found: Gathered, some: list[Candidate], where: Filter
    ) -> list[Candidate]:
        unsure = [near for near in some if not near.matches]
        test = request.fits
        if test is not None:
            rows: Iterable[Row | None] = rows_for(request, sources, found, unsure) if unsure else ()
        else:
            table = TABLES[cast(str, request.space.table)]
            test = self._reader.test(table, where)
            keys = [owner_key(table, near.id) for near in unsure]
            rows = self._rows.fetch(request.state, request.point, table.name, keys)
        fit = {near.key for near, row in zip(unsure, rows, strict=True) if row is not None and test(row)}
        return [near for near in some if near.matches or near.key in fit]

    def _recent(self, request: Request, snapshot: Snapshot) -> Recent | None:
        """What was not folded yet; None where that is much.

        It is the same for a lineage as long as the table is: what comes is of later commits.
        """
        view, state, space = snapshot.view, request.state, request.space
        marker = (request.lineage, state.era, None if view is None else (view.place, view.stored.version))
        known = self._recents.get(request.prefix)
        if known is not None and known[0] == marker:
            return known[1]
        if len(snapshot.held) > _HELD:
            return None
        found = recent_of(self._commits, self._rows, space, state, request.lineage, snapshot)
        if found is not None:
            self._recents[request.prefix] = (marker, found)
        return found

    # ---------------------------------------------------------------------------------------- exact search

    def live(self, state: State, point: Point, space: Space) -> tuple[list[str], list[bytes] | Floats]:
        """All live vectors of a space, as columns of the table."""

        def read(now: State) -> tuple[list[str], Floats] | None:
            lineage = now.lineage(point)
            if now.hidden or len(lineage) > _DEEP:
                return None
            return self._storage.look(self._prefix(space), partial(self._live, now, lineage, space))

        found = self._heads.steady(read)
        return super().live(state, point, space) if found is None else found

    def _live(
        self, state: State, lineage: Lineage, space: Space, snapshot: Snapshot
    ) -> tuple[list[str], Floats] | None:
        recent = recent_of(self._commits, self._rows, space, state, lineage, snapshot)
        if recent is None:
            return None
        fresh = [cast(str, row[1]) for row in recent.rows.values()]
        view = snapshot.of_space(space)
        if view is None:
            return fresh, recent.block.matrix
        alone = " AND NOT dead" if len(lineage) == 1 else ""  # else a deletion hides what is behind it
        columns = ("row_key", "branch", "dead", "id", "values")
        found = view.scan(columns, shown(lineage) + alone)
        keys = found["row_key"].to_pylist()
        counts = ~found["dead"].to_numpy()
        if len(lineage) > 1:
            counts &= _front(keys, found["branch"].to_pylist(), lineage)
        if recent.decided:
            counts &= np.array([key not in recent.decided for key in keys], np.bool_)
        if not counts.all():
            found = found.filter(pa.array(counts))
        ids = found["id"].to_pylist()
        return [*ids, *fresh], np.concatenate([matrix_of(found["values"]), recent.block.matrix])


def _query(space: Space, search: Search) -> NDArray[np.float64] | None:
    """The numbers of a query; None where the kit refuses it."""
    if len(search.vector) != 8 * space.dim:
        return None
    query = np.frombuffer(search.vector, "<f8")
    if not np.isfinite(query).all() or (space.metric == "cosine" and not query.any()):
        return None
    return query


def _rungs(request: Request) -> Iterator[Rung]:
    """How many candidates to ask for, and by which condition.

    A condition is judged for all rows of the table first, which takes longer than the search itself. Most rows of
    most tables are shown by the point asked for, so that at first a few more are asked for instead.
    """
    k, where, space = request.search.k, request.search.where, request.space
    condition = f"{shown(request.lineage)} AND NOT dead"
    pushed = Pushed("", where is None)
    if where is not None and space.table is None and not uses_counters(where):
        pushed = push(TABLES["vectors"], where)
        condition = f"{condition} AND ({pushed.condition})" if pushed.condition else condition
    wanted = k + 4 + k // 8 if pushed.exact else max(64, 8 * k)
    reach = 0 if where is None else max(64, 8 * k)
    if where is None or space.table is not None:
        yield Rung(wanted, "", pushed.exact, reach)
        wanted *= 3
    while wanted <= _PATIENCE:
        yield Rung(wanted, condition, pushed.exact, reach)
        wanted *= 6


def _front(keys: list[bytes], branches: list[int], lineage: Lineage) -> NDArray[np.bool_]:
    """Which versions are those of the closest branch that has any of their row."""
    numbers = {number: depth for depth, (number, _) in enumerate(lineage)}
    depths = [numbers[branch] for branch in branches]
    first: dict[bytes, int] = {}
    for key, depth in zip(keys, depths, strict=True):
        first[key] = min(first.get(key, depth), depth)
    return np.array([first[key] == depth for key, depth in zip(keys, depths, strict=True)], np.bool_)
