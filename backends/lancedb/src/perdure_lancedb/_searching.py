"""Vector search: the index of a space chooses candidates, and what it lacks is looked at beside it.

An index covers what was in the table when it was made. What was folded since lies in fragments of its own, which are kept
as a matrix; what was not folded yet is held by the store. All candidates are scored by the formula of the contract.
Where this cannot give as many vectors as there are, or would look at too much, the kit's exact search does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from perdure import TABLES, At, Hit, Point, Query, Search, Space
from perdure.filters import uses_counters
from perdure.kit import (
    NUMPY_DTYPE,
    SLOT,
    Commits,
    Keys,
    Reader,
    Rows,
    Searcher,
    State,
    decode_row,
    is_tombstone,
    owner_id,
    owner_key,
    scores,
)

from perdure_lancedb._candidates import Block, Floats, depths_of, matrix_of, nearest, tail_of, within
from perdure_lancedb._columns import of_rows
from perdure_lancedb._filter import push
from perdure_lancedb._sql import pieces
from perdure_lancedb._storage import LanceStorage

if TYPE_CHECKING:
    from perdure_lancedb._snapshot import Snapshot
    from perdure_lancedb._tables import View

__all__ = ["LanceSearcher"]

#: Vectors that a search may ask for, and steps of a lineage, up to which an index is of use.
_MOST, _DEEP = 1_000, 24

#: Candidates that a search looks at before it is an exact one.
_PATIENCE = 4_000

#: Vectors that were not folded yet, and rows of them that were deleted by a maintenance.
_HELD, _UNCERTAIN = 20_000, 200

#: Rows that meet a filter up to which only their vectors are looked at.
_FEW = 1_000

#: The error of a distance in the index, as a share of the lengths involved.
_SLACK = 1e-6

_COLUMNS = ("row_key", "branch", "seq", "ended", "dead", "id", "values")
_VALUES = TABLES["vectors"].position["values"]

Lineage = tuple[tuple[int, int], ...]


class _Request(NamedTuple):
    search: Search
    space: Space
    query: NDArray[np.float64]
    state: State
    point: Point
    lineage: Lineage
    prefix: bytes


class _Recent(NamedTuple):
    """What was not folded yet, at one lineage.

    Attributes:
        decided: Rows whose versions in the table do not count.
        block: Those of their vectors that live.
    """

    decided: frozenset[bytes]
    block: Block


class _Tail(NamedTuple):
    """What an index lacks of its table."""

    versions: pa.Table
    block: Block


class _Found(NamedTuple):
    """Candidates, and the score below which there may be others."""

    ids: list[str]
    scores: NDArray[np.float64]
    horizon: float


class LanceSearcher(Searcher):
    """Searches the spaces of one namespace, by their indexes where they have any."""

    def __init__(self, keys: Keys, commits: Commits, rows: Rows, reader: Reader) -> None:
        super().__init__(keys, commits, rows, reader)
        self._storage = cast(LanceStorage, rows._storage)
        self._heads = rows._heads
        self._recents: dict[bytes, tuple[object, _Recent]] = {}
        self._tails: dict[bytes, tuple[object, _Tail]] = {}

    def search(self, search: Search, at: At) -> list[Hit]:
        """The nearest vectors; about, where there is an index and the search is not said to be exact."""
        if not search.exact and 0 < search.k <= _MOST:
            found = self._heads.steady(partial(self._approximate, search, at))
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
        request = _Request(search, space, query, state, point, lineage, prefix)
        few = self._few(request)
        if few is not None:
            return self._among(request, few)
        return self._storage.look(prefix, partial(self._nearest, request))

    # ------------------------------------------------------------------------------------ few that match

    def _few(self, request: _Request) -> list[str] | None:
        """The ids of the vectors whose owners match the filter; None where there are many, or no filter."""
        where, table = request.search.where, request.space.table
        if where is None or table is None:
            return None
        query = Query(table, where, columns=TABLES[table].key, limit=_FEW + 1)
        ids = [owner_id(cast(tuple[str, ...], key)) for key in self._reader.select(query, request.point)]
        return ids if len(ids) <= _FEW else None

    def _among(self, request: _Request, ids: list[str]) -> list[Hit]:
        space = request.space
        keys = [(space.name, item) for item in ids]
        rows = self._rows.fetch(request.state, request.point, "vectors", keys)
        live: dict[str, Any] = {
            item: row[_VALUES] for item, row in zip(ids, rows, strict=True) if row is not None
        }
        matrix = _matrix(space, live.values())
        return _hits(live, scores(space.metric, matrix, request.query))[: request.search.k]

    # ------------------------------------------------------------------------------------------ by the index

    def _nearest(self, request: _Request, snapshot: Snapshot) -> list[Hit] | None:
        view = snapshot.view
        index = None if view is None else view.stored.index
        if view is None or index is None or not index.probes or index.metric != request.space.metric:
            return None
        recent = self._recent(request, snapshot)
        tail = self._tail(request, view)
        if recent is None or tail is None:
            return None
        for wanted, condition in _rungs(request):
            found = _candidates(request, view, recent, tail, wanted, condition)
            if found is None:
                return None
            hits = self._matching(request, _hits(found.ids, found.scores))
            if len(hits) == request.search.k and hits[-1].score > found.horizon:
                return hits
            if found.horizon == -np.inf:
                return None
        return None

    def _matching(self, request: _Request, hits: list[Hit]) -> list[Hit]:
        """The first `k` whose rows match the filter."""
        where, k = request.search.where, request.search.k
        if where is None:
            return hits[:k]
        table = TABLES[request.space.table or "vectors"]
        test = self._reader.test(table, where)
        found: list[Hit] = []
        step = max(64, 2 * k)
        for start in range(0, len(hits), step):
            some = hits[start : start + step]
            keys = [
                (request.space.name, hit.id) if request.space.table is None else owner_key(table, hit.id)
                for hit in some
            ]
            rows = self._rows.fetch(request.state, request.point, table.name, keys)
            found += [hit for hit, row in zip(some, rows, strict=True) if row is not None and test(row)]
            if len(found) >= k:
                break
        return found[:k]

    # --------------------------------------------------------------------------------- what the index lacks

    def _recent(self, request: _Request, snapshot: Snapshot) -> _Recent | None:
        """What was not folded yet; None where that is much.

        It is the same for a lineage as long as the table is: what comes is of later commits.
        """
        view, state = snapshot.view, request.state
        marker = (
            request.lineage,
            state.era,
            None if view is None else (view.dataset.uri, view.stored.version),
        )
        known = self._recents.get(request.prefix)
        if known is not None and known[0] == marker:
            return known[1]
        if len(snapshot.held) > _HELD:
            return None
        found = self._unfolded(request.space, state, request.lineage, snapshot)
        if found is not None:
            self._recents[request.prefix] = (marker, found)
        return found

    def _unfolded(self, space: Space, state: State, lineage: Lineage, snapshot: Snapshot) -> _Recent | None:
        """The same, whatever its size; None where a maintenance removed much."""
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
                if self._commits.committed(state, state.by_number[lineage[depth][0]], slot):
                    best = (depth, -seq)
                    live[row_key] = cast(bytes, value)
            if best is not None:
                decided.append(row_key)
        if len(uncertain) > _UNCERTAIN:
            return None
        live.update(self._rows.find_many(state, lineage, uncertain))
        rows: dict[bytes, Any] = {
            row_key: decode_row("vectors", value)
            for row_key, value in live.items()
            if not is_tombstone(value)
        }
        matrix = _matrix(space, (row[_VALUES] for row in rows.values()))
        block = Block(list(rows), [row[1] for row in rows.values()], matrix)
        return _Recent(frozenset([*decided, *uncertain]), block)

    def _tail(self, request: _Request, view: View) -> _Tail | None:
        marker = (view.dataset.uri, view.stored.version)
        known = self._tails.get(request.prefix)
        if known is not None and known[0] == marker:
            return known[1]
        fragments = tail_of(view.dataset)
        if fragments is None:
            return None
        versions = view.scan(_COLUMNS, "NOT dead", fragments=fragments) if fragments else None
        if versions is None:
            versions = view.dataset.schema.empty_table().select([*_COLUMNS])
        block = Block(
            versions["row_key"].to_pylist(), versions["id"].to_pylist(), matrix_of(versions["values"])
        )
        found = _Tail(versions.select(["branch", "seq", "ended", "dead"]), block)
        self._tails[request.prefix] = (marker, found)
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
        recent = self._unfolded(space, state, lineage, snapshot)
        if recent is None:
            return None
        block = recent.block
        if snapshot.view is None:
            return block.ids, block.matrix
        alone = " AND NOT dead" if len(lineage) == 1 else ""  # else a deletion hides what is behind it
        found = snapshot.view.scan(_COLUMNS, within(lineage) + alone)
        keys = found["row_key"].to_pylist()
        shown = depths_of(found, lineage) >= 0
        if len(lineage) > 1:
            shown &= _front(keys, found["branch"].to_pylist(), lineage)
        if recent.decided:
            shown &= np.array([key not in recent.decided for key in keys], np.bool_)
        if not shown.all():
            found = found.filter(pa.array(shown))
        ids = found["id"].to_pylist()
        return [*ids, *block.ids], np.concatenate([matrix_of(found["values"]), block.matrix])


def _query(space: Space, search: Search) -> NDArray[np.float64] | None:
    """The numbers of a query; None where the kit refuses it."""
    if len(search.vector) != 8 * space.dim:
        return None
    query = np.frombuffer(search.vector, "<f8")
    if not np.isfinite(query).all() or (space.metric == "cosine" and not query.any()):
        return None
    return query


def _matrix(space: Space, values: Iterable[bytes]) -> Floats:
    return np.frombuffer(b"".join(values), NUMPY_DTYPE[space.dtype]).reshape(-1, space.dim)


def _hits(ids: Iterable[str], found: NDArray[np.float64]) -> list[Hit]:
    """Best first, and by id."""
    return [Hit(item, -score) for score, item in sorted(zip((-found).tolist(), ids, strict=True))]


def _rungs(request: _Request) -> Iterator[tuple[int, str]]:
    """How many candidates to ask for, and by which condition.

    A condition is judged for all rows of the table first, which takes longer than the search itself. Most rows of
    most tables are shown by the point asked for, so that at first a few more are asked for instead.
    """
    k, where, space = request.search.k, request.search.where, request.space
    condition = f"{within(request.lineage)} AND NOT dead"
    if where is not None and space.table is None and not uses_counters(where):
        pushed = push(TABLES["vectors"], where).condition
        condition = f"{condition} AND ({pushed})" if pushed else condition
    wanted = k + 6 + k // 4 if where is None else max(64, 8 * k)
    if where is None or space.table is not None:
        yield wanted, ""
        wanted *= 3
    while wanted <= _PATIENCE:
        yield wanted, condition
        wanted *= 6


def _candidates(
    request: _Request, view: View, recent: _Recent, tail: _Tail, wanted: int, condition: str
) -> _Found | None:
    """The nearest of what was indexed, of what was folded since and of what was not; None: the index cannot tell."""
    space, query, lineage = request.space, request.query, request.lineage
    index = view.stored.index
    assert index is not None
    asked = nearest(index, view.layout.schema.field("values").type, query, wanted)
    if asked is None:
        return None
    near = view.scan(
        [*_COLUMNS, "_distance"], condition, nearest=asked, prefilter=bool(condition), fast_search=True
    )
    exact = scores(space.metric, matrix_of(near["values"]), query)
    limits = [float(exact.min())] if len(near) and len(near) >= asked["k"] else []
    keys, depths = near["row_key"].to_pylist(), depths_of(near, lineage)
    rows = _open(keys, depths, recent)
    parts = [_part(keys, near["id"].to_pylist(), rows, depths, exact[rows])]
    depths, latest = depths_of(tail.versions, lineage), np.arange(len(recent.block.ids))
    for block, at, shown in (
        (tail.block, depths, _open(tail.block.keys, depths, recent)),
        (recent.block, np.zeros_like(latest), latest),
    ):
        rows, more = block.best(space.metric, query, shown, wanted)
        exact = scores(space.metric, block.matrix[rows], query)
        if more:
            limits.append(float(exact.min()))
        parts.append(_part(block.keys, block.ids, rows, at, exact))
    found = pa.concat_tables(parts)
    if len(lineage) > 1:
        found = found.filter(_unhidden(view, lineage, found))
    horizon = max(limits) + _slack(space, limits, query) if limits else -np.inf
    return _Found(found["id"].to_pylist(), found["score"].to_numpy(), horizon)


def _part(
    keys: Sequence[bytes],
    ids: Sequence[str],
    rows: NDArray[np.int64],
    depths: NDArray[np.int64],
    exact: NDArray[np.float64],
) -> pa.Table:
    """Some rows as candidates."""
    some = rows.tolist()
    return pa.table(
        {
            "row_key": pa.array([keys[row] for row in some], pa.large_binary()),
            "id": pa.array([ids[row] for row in some], pa.large_string()),
            "depth": depths[rows],
            "score": exact,
        }
    )


def _open(keys: list[bytes], depths: NDArray[np.int64], recent: _Recent) -> NDArray[np.int64]:
    """Which rows a lineage shows, and what was not folded leaves as they are."""
    rows = np.flatnonzero(depths >= 0)
    if not recent.decided:
        return rows
    return rows[[keys[row] not in recent.decided for row in rows.tolist()]]


def _slack(space: Space, limits: list[float], query: NDArray[np.float64]) -> float:
    """How far a score may be off by which an index, or a product in float32, has left a row out."""
    if space.metric == "cosine":
        return _SLACK
    return _SLACK * (abs(max(limits)) + float(np.linalg.norm(query)))


def _unhidden(view: View, lineage: Lineage, found: pa.Table) -> pa.Array:
    """Which candidates no closer branch replaced or deleted."""
    keys, depths = found["row_key"].to_pylist(), found["depth"].to_pylist()
    closest: dict[bytes, int] = {}
    numbers = {number: depth for depth, (number, _) in enumerate(lineage)}
    for some in pieces(key for key, depth in zip(keys, depths, strict=True) if depth):
        versions = view.scan(["row_key", "branch"], f"{of_rows(some)} AND {within(lineage)}")
        for key, branch in zip(versions["row_key"].to_pylist(), versions["branch"].to_pylist(), strict=True):
            closest[key] = min(closest.get(key, len(lineage)), numbers[branch])
    first = [not depth or closest[key] == depth for key, depth in zip(keys, depths, strict=True)]
    return pa.array(first, pa.bool_())


def _front(keys: list[bytes], branches: list[int], lineage: Lineage) -> NDArray[np.bool_]:
    """Which versions are those of the closest branch that has any of their row."""
    numbers = {number: depth for depth, (number, _) in enumerate(lineage)}
    depths = [numbers[branch] for branch in branches]
    first: dict[bytes, int] = {}
    for key, depth in zip(keys, depths, strict=True):
        first[key] = min(first.get(key, depth), depth)
    return np.array([first[key] == depth for key, depth in zip(keys, depths, strict=True)], np.bool_)
