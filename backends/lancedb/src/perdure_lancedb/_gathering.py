"""The candidates of a search: of the index of a space, and of what it lacks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import repeat, starmap
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from perdure import TABLES, Point, Row, Search, Space
from perdure.kit import State, rows_of, scores

from perdure_lancedb._candidates import matrix_of, nearest
from perdure_lancedb._columns import Rows as Layout

if TYPE_CHECKING:
    from perdure_lancedb._indexed import Indexed
    from perdure_lancedb._lacking import Recent, Tail
    from perdure_lancedb._rows import Lineage
    from perdure_lancedb._tables import View

__all__ = ["Candidate", "Gathered", "Request", "Rung", "Sources", "gathered", "rows_for"]

#: The error of a distance in the index, as a share of the lengths involved.
_SLACK = 1e-6

#: What a candidate is judged by, and what else its row has; the space is known.
_JUDGED = ("id", "values")
_REST = tuple(name for name in TABLES["vectors"].names if name not in ("space", *_JUDGED))


class Request(NamedTuple):
    """A search at one point of one state.

    Attributes:
        prefix: What the keys of the space's rows begin with.
        fits: The filter, if it is one of the vectors' own rows.
    """

    search: Search
    space: Space
    query: NDArray[np.float64]
    state: State
    point: Point
    lineage: Lineage
    prefix: bytes
    fits: Callable[[Row], bool] | None

    def key_of(self, vector: str) -> bytes:
        """The key of a vector's row."""
        return self.prefix + vector.encode() + b"\0"


class Sources(NamedTuple):
    """Where the candidates of a search come from."""

    indexed: Indexed
    tail: Tail
    recent: Recent


class Rung(NamedTuple):
    """How many candidates to ask for, by which condition, and where.

    Attributes:
        exact: Whether all that meet the condition match the filter.
        reach: Of how many neighbours the index looks at all partitions, at least.
    """

    wanted: int
    condition: str
    exact: bool
    reach: int


class Candidate(NamedTuple):
    """A vector that may be among the nearest.

    Attributes:
        depth: The step of the lineage at which it is shown.
        row_id: LanceDB's; None where it was not folded yet.
        place: Among the cells that were read already; None: it is not.
        matches: Whether it is known to match the filter.
    """

    id: str
    key: bytes
    score: float
    depth: int
    row_id: int | None = None
    place: int | None = None
    matches: bool = False


class Gathered(NamedTuple):
    """Candidates, best first and by id, and the score below which there may be others.

    Attributes:
        cells: Whole rows of some of them, but for their space; None: of none.
    """

    candidates: list[Candidate]
    horizon: float
    cells: pa.Table | None


def gathered(request: Request, sources: Sources, rung: Rung) -> Gathered | None:
    """The nearest of what was indexed, of what was folded since and of what was not; None: the index cannot tell."""
    (indexed, _, recent), query = sources, request.query
    view = indexed.view
    index = view.stored.index
    assert index is not None
    asked = nearest(index, view.layout.schema.field("values").type, query, rung.wanted, rung.reach)
    if asked is None:
        return None
    ask = {"nearest": asked, "fast_search": True, "with_row_id": True, "prefilter": bool(rung.condition)}
    row_ids = view.scan(["_distance"], rung.condition, **ask)["_rowid"].to_numpy()
    # To read whole rows is faster than to read the rest of them later, where few are in vain.
    whole = request.space.table is None and index.breadth == 1
    cells = view.take(row_ids.tolist(), (*_JUDGED, *_REST) if whole else _JUDGED) if len(row_ids) else None
    found: list[Candidate] = []
    limits: list[float] = []
    if cells is not None:
        exact = scores(request.space.metric, matrix_of(cells["values"]), query)
        depths = indexed.versions.depths(row_ids, request.lineage).tolist()
        limits = [float(exact.min())] if len(row_ids) >= asked["k"] else []
        ids = cells["id"].to_pylist()
        places = range(len(ids)) if whole else repeat(None)
        near = zip(
            ids,
            map(request.key_of, ids),
            exact.tolist(),
            depths,
            row_ids.tolist(),
            places,
            repeat(rung.exact),
        )
        found = [
            item for item in starmap(Candidate, near) if item.depth >= 0 and item.key not in recent.decided
        ]
    found, limits = _others(request, sources, rung, found, limits)
    if len(request.lineage) > 1:
        keys = [near.key for near in found if near.depth]
        closest = indexed.closest(keys, request.lineage) if keys else {}
        found = [near for near in found if closest.get(near.key, near.depth) >= near.depth]
    found.sort(key=lambda near: (-near.score, near.id))
    horizon = max(limits) + _slack(request.space, limits, query) if limits else -np.inf
    return Gathered(found, horizon, cells if whole else None)


def _others(
    request: Request,
    sources: Sources,
    rung: Rung,
    found: list[Candidate],
    limits: list[float],
) -> tuple[list[Candidate], list[float]]:
    """The same with the nearest of what the index lacks."""
    space, query, (indexed, tail, recent) = request.space, request.query, sources
    shown, depths = tail.shown(indexed.versions, request.lineage, recent)
    if rung.condition:
        shown = shown[tail.meeting(rung.condition)[shown]]
    rows, exact = tail.block.best(space, query, shown, rung.wanted)
    if len(rows) < len(shown):
        limits = [*limits, float(exact.min())]
    ids, row_ids = tail.ids(rows), tail.row_ids[rows].tolist()
    near = zip(ids, tail.keys(rows), exact.tolist(), depths[rows].tolist(), row_ids, strict=True)
    found = [*found, *(Candidate(*item, None, rung.exact) for item in near)]
    fits = request.fits
    every = [row for row, key in enumerate(recent.keys) if fits is None or fits(recent.rows[key])]
    rows, exact = recent.block.best(space, query, np.array(every, np.int64), rung.wanted)
    if len(rows) < len(every):
        limits = [*limits, float(exact.min())]
    for row, score in zip(rows.tolist(), exact.tolist(), strict=True):
        key = recent.keys[row]
        item = cast(str, recent.rows[key][1])
        found.append(Candidate(item, key, score, 0, matches=fits is not None))
    return found, limits


def rows_for(request: Request, sources: Sources, found: Gathered, some: Sequence[Candidate]) -> list[Row]:
    """The rows of some candidates."""
    view, rows = sources.indexed.view, dict(sources.recent.rows)
    read = {near.key: near.place for near in some if near.place is not None}
    rest = {near.key: near.row_id for near in some if near.place is None and near.row_id is not None}
    if read and found.cells is not None:
        rows.update(zip(read, _rows(request, view, found.cells.take([*read.values()])), strict=True))
    if rest:
        rows.update(
            zip(rest, _rows(request, view, view.take([*rest.values()], (*_JUDGED, *_REST))), strict=True)
        )
    return [rows[near.key] for near in some]


def _rows(request: Request, view: View, cells: pa.Table) -> Iterable[Row]:
    space = pa.array([request.space.name] * len(cells))
    cells = cells.add_column(0, "space", space).select([*TABLES["vectors"].names])
    layout = cast(Layout, view.layout)
    return (row for batch in layout.cell_batches(cells) for row in rows_of(batch))


def _slack(space: Space, limits: list[float], query: NDArray[np.float64]) -> float:
    """How far a score may be off by which an index, or a product in float32, has left a row out."""
    if space.metric == "cosine":
        return _SLACK
    return _SLACK * (abs(max(limits)) + float(np.linalg.norm(query)))
