"""Approximate search: one statement has the engine's index name candidates, and the formula decides.

The index holds the current vectors of a space on all branches. What a place shows beyond them is read exactly:
versions that ended since, and vectors that the index cannot hold. The SQL is that of engines with arrays.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from perdure import TABLES, At, Hit, InvalidRecord, Point, Search, Space, Table
from perdure.kit import NUMPY_DTYPE, owner_id, scores

from perdure_sql._codec import columns, quote
from perdure_sql._database import Database, Session
from perdure_sql._places import Arm, Place
from perdure_sql._query import Plan, Queries
from perdure_sql._tables import OPEN

__all__ = ["Indexed", "Nearest", "VectorIndex", "query_vector"]

_F64 = NDArray[np.float64]

#: Candidates at most, before the exact search is the faster one.
_PATIENCE = 2_000

#: Vectors outside the index at most: ended since, of each place; and unfit for the index, among those.
_ENDED, _UNFIT = 2_000, 50

#: Matches of a filter up to which their vectors are read one by one.
_FEW = 1_000

#: Seconds for which a place's lineage and index are not looked up again; what they say is checked all the same.
_KNOWN = 30.0

_BRANCHES, _UPTOS = "CAST(:branches AS BIGINT[])", "(CAST(:uptos AS BIGINT[]))"

#: What every search checks: that the place is readable, and that its lineage and the space are what they were.
_CHECK = """
SELECT {setup} AS ready FROM branches b JOIN namespaces n ON n.no = b.ns
WHERE b.ns = :ns AND b.id = :id AND (b.parent IS NULL OR b.fork_seq <= :seq) AND b.floor <= :seq
AND b.head_seq >= :seq AND n.purge_epoch = :purges AND n.space_epoch = :spaces"""


class Indexed(NamedTuple):
    """An index over the current vectors of a space.

    Attributes:
        current: SQL that rows ``v`` in the index satisfy.
        near: SQL for the distance from ``:query`` of a row that the index has, as the index orders by it.
        far: SQL for the same where the index is not to be used; ``{}`` stands for the row.
        setup: SQL for something not null that is computed before the index is read.
        params: Of these, where a place shows the rows of one branch only.
        wide: Of these, where it does not: what closer branches hide is in the way, so more has to be looked at.
        settings: A statement for the transaction of a search, without which the planner misjudges the index; or "".
        slack: The error of a distance in the index, as a share of the lengths involved.
    """

    current: str
    near: str
    far: str
    setup: str
    params: dict[str, Any]
    wide: dict[str, Any]
    settings: str
    slack: float


class VectorIndex(Protocol):
    """What an engine with an index for vectors tells of it."""

    def look(self, session: Session, ns: int, space: Space) -> Indexed | None:
        """The index of a space; None where it has none that can be used."""

    def cell(self, session: Session, space: Space, query: _F64) -> Any:
        """A query as the parameter ``:query``; None where the index cannot search by it."""


class _Known(NamedTuple):
    """What a search found out that the next one at the same branch can use."""

    space: Space
    spaces: int
    indexed: Indexed
    where: Place
    until: float


class _Request(NamedTuple):
    search: Search
    query: _F64
    cell: Any
    known: _Known
    plan: Plan
    check: bool
    ids: list[str] | None = None


class Nearest:
    """Approximate searches in one namespace. Safe from several threads.

    Args:
        database: Whose dialect has an index.
        ns: The namespace.
        queries: Compiles filters.
        judge: The hits whose rows match the filter of a search.
    """

    def __init__(
        self,
        database: Database,
        ns: int,
        queries: Queries,
        judge: Callable[[Search, Space, Place, list[Hit]], list[Hit]],
    ) -> None:
        self._database = database
        self._ns = ns
        self._queries = queries
        self._judge = judge
        self._known: dict[tuple[str, str], _Known] = {}

    def again(self, search: Search, at: At) -> list[Hit] | None:
        """Search a branch that was searched before, in one statement; None where that does not do."""
        if not isinstance(at, Point) or at.commit is None:
            return None
        known = self._known.get((at.branch, search.space))
        if known is None or known.until < time.monotonic():
            return None
        own, *ancestors = known.where.arms
        where = known.where._replace(point=at, arms=(Arm(own.ancestor, at.seq), *ancestors))
        try:
            query = query_vector(search, known.space)
        except InvalidRecord:  # unless the space is another one by now
            return None
        known = known._replace(where=where)
        with self._database.snapshot() if known.indexed.settings else self._database.reading() as session:
            return self._search(session, search, query, known, True)

    def first(
        self, session: Session, search: Search, space: Space, where: Place, query: _F64
    ) -> list[Hit] | None:
        """Search at a place just resolved, in the same snapshot; None where an exact search is to be had."""
        index = self._database.dialect.vectors
        indexed = index.look(session, self._ns, space) if index is not None else None
        if indexed is None:
            return None
        epoch = session.one("SELECT space_epoch FROM namespaces WHERE no = :ns", ns=self._ns)[0]
        known = _Known(space, epoch, indexed, where, time.monotonic() + _KNOWN)
        if len(self._known) > 1_000:
            self._known.clear()
        self._known[where.point.branch, space.name] = known
        return self._search(session, search, query, known, False)

    def _search(
        self, session: Session, search: Search, query: _F64, known: _Known, check: bool
    ) -> list[Hit] | None:
        index, space = self._database.dialect.vectors, known.space
        plan = self._queries.plan(TABLES[space.table or "vectors"], search.where)
        cell = index.cell(session, space, query) if index is not None else None
        if cell is None or plan.counters or search.k > _PATIENCE:
            return None
        if known.indexed.settings:
            session.run(known.indexed.settings)
        return self._best(session, _Request(search, query, cell, known, plan, check))

    def _best(self, session: Session, request: _Request) -> list[Hit] | None:
        """The first `k`: more candidates where few match or many are as near, all rows where the index has none."""
        k, recheck = request.search.k, request.plan.recheck is not None
        wanted, far = max(64, 4 * k) if recheck else max(2 * k, k + 10), False
        if isinstance(request.plan.pushed.sql, str):
            ids = self._few(session, request)
            if ids is not None:
                request, far = request._replace(ids=ids), True
                wanted = max(wanted, len(ids) + 1) if recheck else wanted
        while wanted <= _PATIENCE:
            wanted = -(-wanted // 16) * 16  # few different statements
            rows = self._candidates(session, request, wanted, far)
            if rows is None:
                return None
            hits, sure = _scored(request, rows, k, wanted)
            if recheck:
                hits = self._judge(request.search, request.known.space, request.known.where, hits)
            count = sum(not row[2] for row in rows)
            if count < (wanted if recheck or far else k):
                if far:
                    return hits[:k]
                far = True
            elif len(hits) >= k and (sure or recheck):
                return hits[:k]
            else:
                wanted *= 8
        return None

    def _few(self, session: Session, request: _Request) -> list[str] | None:
        """The ids of the vectors whose rows match the filter; None where there are many."""
        known, where = request.known, request.plan.pushed.sql
        assert isinstance(where, str)
        text = _matching(known.space, where, len(known.where.arms) == 1)
        rows = session.run_with(text, self._params(request)).fetchall()
        return (
            None
            if len(rows) > _FEW
            else [owner_id(tuple(row)) if known.space.table else row[0] for row in rows]
        )

    def _candidates(
        self, session: Session, request: _Request, wanted: int, far: bool
    ) -> list[tuple[str, bytes, int]] | None:
        """Id, bytes and kind (0: among the nearest, 1: outside the index) of candidates; None: cannot tell."""
        rows = session.run_with(_statement(request, wanted, far), self._params(request)).fetchall()
        if not rows or any(row[3] > _ENDED for row in rows if row[0] is not None):
            return None
        found = [row[:3] for row in rows if row[0] is not None]
        return None if sum(row[2] == 2 for row in found) > _UNFIT else found

    def _params(self, request: _Request) -> dict[str, Any]:
        known, where = request.known, request.known.where
        return {
            **request.plan.pushed.params,
            **(known.indexed.params if len(where.arms) == 1 else known.indexed.wide),
            "ns": self._ns,
            "space": known.space.name,
            "query": request.cell,
            "id": where.point.branch,
            "seq": where.point.seq,
            "purges": where.epoch,
            "spaces": known.spaces,
            "branches": [arm.ancestor for arm in where.arms],
            "uptos": [arm.upto for arm in where.arms],
            "branch": where.arms[0].ancestor,
            "upto": where.arms[0].upto,
            "ids": request.ids,
        }


def query_vector(search: Search, space: Space) -> _F64:
    """The numbers of a query.

    Raises:
        InvalidRecord: They are none to search the space by.
    """
    if len(search.vector) != 8 * space.dim:
        raise InvalidRecord(
            f"the query has {len(search.vector)} bytes; space {space.name!r} needs {space.dim} float64 numbers"
        )
    query = np.frombuffer(search.vector, "<f8").astype(np.float64)
    if not np.isfinite(query).all():
        raise InvalidRecord("the query vector has a number that is not finite; search by finite numbers")
    if space.metric == "cosine" and not query.any():
        raise InvalidRecord(
            "the query vector is zero, which has no direction; search by another, or another metric"
        )
    return query


def _scored(
    request: _Request, rows: list[tuple[str, bytes, int]], k: int, wanted: int
) -> tuple[list[Hit], bool]:
    """Candidates by their score, and whether none beyond them could be among the first `k`."""
    if not rows:
        return [], True
    space, query = request.known.space, request.query
    matrix = np.frombuffer(b"".join(row[1] for row in rows), NUMPY_DTYPE[space.dtype]).reshape(len(rows), -1)
    found = scores(space.metric, matrix, query)
    order = sorted((-float(score), row[0]) for score, row in zip(found, rows, strict=True))
    near = [float(score) for score, row in zip(found, rows, strict=True) if not row[2]]
    sure = True
    if len(near) >= wanted and k <= len(order):
        gap = -order[k - 1][0] - min(near)
        sure = gap > request.known.indexed.slack * _scale(space, matrix, query)
    return [Hit(id_, -score + 0.0) for score, id_ in order], sure


def _scale(space: Space, matrix: NDArray[Any], query: _F64) -> float:
    """What errors of scores are in proportion to."""
    if space.metric == "cosine":
        return 1.0
    longest = math.sqrt(max(float(np.dot(row, row)) for row in matrix.astype(np.float64)))
    length = math.sqrt(float(np.dot(query, query)))
    return longest * length if space.metric == "dot" else longest + length


# ---------------------------------------------------------------------------------------------- the SQL


def _statement(request: _Request, wanted: int, far: bool) -> str:
    indexed, alone = request.known.indexed, len(request.known.where.arms) == 1
    space, where = request.known.space, request.plan.pushed.sql
    fits = _matches(space, where, alone) if request.ids is None else " AND v.id = ANY (CAST(:ids AS TEXT[]))"
    near = (
        f'(SELECT v.id, v."values", 0 AS kind, 0 AS many FROM vectors v WHERE {indexed.current} '
        f"AND {_visible(TABLES['vectors'], alone, current=True)}{fits} ORDER BY {indexed.near} LIMIT {wanted})"
    )
    outside = f"(v.to_seq <> {OPEN} OR v.search IS NULL)"
    beyond = (
        'SELECT v.id, v."values", v.search, v.to_seq FROM vectors v WHERE v.ns = :ns AND v.space = :space '
        f"AND v.dead = 0 AND {{}}{_visible(TABLES['vectors'], alone)}{fits}"
    )
    kind = f"CASE WHEN e.search IS NULL THEN 2 WHEN {int(far)} = 1 THEN 0 ELSE 1 END"
    distance = indexed.far.format("e")
    if far:
        parts = (
            f'(SELECT e.id, e."values", {kind} AS kind, 0 AS many FROM ({beyond.format("")}) e '
            f"ORDER BY {distance} NULLS FIRST LIMIT {wanted + _UNFIT + 1})"
        )
    else:
        parts = (
            f'{near} UNION ALL (SELECT e.id, e."values", {kind}, CAST(count(*) OVER () AS INTEGER) FROM '
            f"({beyond.format(outside + ' AND ')} LIMIT {_ENDED + 1}) e "
            f"ORDER BY {distance} NULLS FIRST LIMIT {wanted + _UNFIT + 1})"
        )
    check = _CHECK if request.check else "SELECT {setup} AS ready"
    return (
        f'SELECT h.id, h."values", h.kind, h.many FROM ({check.format(setup=indexed.setup)}) k '
        f"LEFT JOIN LATERAL ({parts}) h ON k.ready IS NOT NULL"
    )


def _visible(table: Table, alone: bool, *, current: bool = False) -> str:
    """SQL for "the version `v` is in the place": on a branch of the lineage, by then, not hidden by a closer one."""
    if alone:
        ended = "" if current else " AND v.to_seq > :upto"
        return f"v.branch = :branch AND v.from_seq <= :upto{ended}"
    depth, upto = f"array_position({_BRANCHES}, v.branch)", _upto("v.branch")
    ended = "" if current else f" AND v.to_seq > {upto}"
    key = " AND ".join(f"o.{quote(name)} = v.{quote(name)}" for name in table.key)
    return (
        f"v.branch = ANY ({_BRANCHES}) AND v.from_seq <= {upto}{ended} AND NOT EXISTS (SELECT 1 "
        f"FROM {table.name}_overrides o WHERE o.ns = :ns AND {key} "
        f"AND array_position({_BRANCHES}, o.branch) < {depth} AND o.first_seq <= {_upto('o.branch')})"
    )


def _upto(branch: str) -> str:
    return f"{_UPTOS}[array_position({_BRANCHES}, {branch})]"


def _matches(space: Space, where: str | bool, alone: bool) -> str:
    """SQL for "the filter holds", with a leading AND: of the owner's row in a bound space."""
    if where is True:
        return ""
    if where is False:
        return " AND 1 = 0"
    if space.table is None:
        return f" AND {where}"
    table = TABLES[space.table]
    parts = ["w.owner"]
    if len(table.key) > 1:
        parts = [
            f"replace(replace(split_part(w.owner, '/', {i + 1}), '~1', '/'), '~0', '~')"
            for i in range(len(table.key))
        ]
    on = " AND ".join(f"v.{quote(name)} = {part}" for name, part in zip(table.key, parts, strict=True))
    # The fence has the row looked up by its key: planners take a bad index of the filter's fields for it.
    return (
        f" AND EXISTS (SELECT 1 FROM (SELECT v.* FROM (SELECT v.id AS owner) w CROSS JOIN {table.name} v "
        f"WHERE v.ns = :ns AND {on} AND v.dead = 0 AND {_visible(table, alone)} OFFSET 0) v WHERE {where})"
    )


def _matching(space: Space, where: str, alone: bool) -> str:
    """SQL for the keys of what the filter matches: of owners in a bound space, of vectors in a free one."""
    table = TABLES[space.table or "vectors"]
    key = columns(("id",) if space.table is None else table.key)
    own = " AND v.space = :space" if space.table is None else ""
    return (
        f"SELECT {key} FROM {table.name} v WHERE v.ns = :ns{own} AND v.dead = 0 AND {_visible(table, alone)} "
        f"AND {where} LIMIT {_FEW + 1}"
    )
