"""`select`, `scan` and `count`: pages read at a fixed place, continued by key, filtered to the exact meaning."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import islice
from typing import Any, NamedTuple

import pyarrow as pa
from perdure import TABLES, At, Key, Query, Row, Table
from perdure.filters import Counters, Filter, Matcher, columns_of, matcher, sort_key, uses_counters
from perdure.kit import batch_of, project

from perdure_sql._arms import (
    Phase,
    after,
    arm_params,
    arms_sql,
    from_the_start,
    lateral_params,
    lateral_sql,
    order_sql,
    whole_count,
)
from perdure_sql._codec import columns, decoder, key_text
from perdure_sql._database import Database, Session
from perdure_sql._filter import Pushed, push
from perdure_sql._places import STANDS, Arm, Place, Seen, place

__all__ = ["Plan", "Queries", "read_counters"]

#: Rows of a page: what one statement reads.
_PAGE = 2_000
_FIRST_PAGE = 256

#: Bytes of a record batch that a scan aims at.
_BATCH_BYTES = 8_000_000

#: Arms of one statement; SQLite takes 500, and more are merged here.
_ARMS = 40


class Plan(NamedTuple):
    """A compiled filter: what SQL does of it, and the rest, if there is one."""

    pushed: Pushed
    recheck: Matcher | None
    counters: bool


class Queries:
    """Reads over one namespace of a database. Safe from several threads."""

    def __init__(self, database: Database, ns: int) -> None:
        self._database = database
        self._ns = ns
        self.seen = Seen()
        self.plan: Callable[[Table, Filter | None], Plan] = lru_cache(maxsize=256)(self._plan)

    def _plan(self, table: Table, where: Filter | None) -> Plan:
        if where is None:
            return Plan(push(table, None, self._database.dialect), None, False)
        test = matcher(table, where)  # validates
        pushed = push(table, where, self._database.dialect)
        return Plan(pushed, None if pushed.exact else test, uses_counters(where))

    # ------------------------------------------------------------------------------------------ hooks

    def select(self, query: Query, at: At) -> Iterator[Row]:
        """Rows, in order."""
        pages = self._pages(query, at, _FIRST_PAGE)
        first = next(pages, [])
        return (row for page in _chain(first, pages) for row in page)

    def scan(self, query: Query, at: At) -> Iterator[pa.RecordBatch]:
        """The same rows as record batches."""
        table = TABLES[query.table]
        schema = project(table, query.columns)
        pages = self._pages(query, at, _PAGE)
        first = next(pages, [])
        return (batch for page in _chain(first, pages) if page for batch in _batches(schema, page))

    def count(self, table: Table, where: Filter | None, at: At) -> int:
        """How many rows match."""
        plan = self.plan(table, where)
        if plan.recheck is not None:
            query = Query(table.name, where, columns=table.key)
            return sum(len(page) for page in self._pages(query, at, _PAGE))
        with self._database.snapshot() as session:
            return self._counted(session, table, plan, place(session, self._ns, at))

    def live(self, session: Session, table: Table, where: Place) -> int:
        """How many rows a place has, in the caller's snapshot."""
        return self._counted(session, table, self.plan(table, None), where)

    def _counted(self, session: Session, table: Table, plan: Plan, where: Place) -> int:
        params = {**arm_params(self._ns, where.arms), **plan.pushed.params}
        if plan.pushed.sql is True and 1 < len(where.arms) <= _ARMS:
            return _count_all(session, table, where.arms, params)
        return sum(
            session.run_with(text, params).fetchone()[0]
            for text in arms_sql(table, "count(*)", where.arms, _conditions(plan))
        )

    # ------------------------------------------------------------------------------------------ pages

    def _pages(self, query: Query, at: At, size: int) -> Iterator[list[Row]]:
        table = TABLES[query.table]
        plan = self.plan(table, query.where)
        return _Reader(self._database, self._ns, table, query, plan, at, self.seen).pages(size)


class _Reader:
    """One query at one place. Holds no session between pages."""

    def __init__(
        self, database: Database, ns: int, table: Table, query: Query, plan: Plan, at: At, seen: Seen
    ) -> None:
        self._seen = seen
        self._database = database
        self._ns = ns
        self._table = table
        self._query = query
        self._plan = plan
        self._at_place = at
        wanted = table.names if query.columns is None else query.columns
        # A recheck and a continuation need columns that the caller may not have asked for.
        extra = dict.fromkeys([*wanted, *(t.column for t in query.order), *table.key])
        if plan.recheck is not None and query.where is not None:
            needed = [name for name in table.names if name in columns_of(query.where)]
            extra.update(dict.fromkeys(needed))
        self._names = table.names if len(extra) >= len(table.names) else tuple(extra)
        self._decode = decoder(table, None if self._names == table.names else self._names)
        position = {name: i for i, name in enumerate(self._names)}
        self._at = [position[name] for name in (*(t.column for t in query.order), *table.key)]
        self._key_at = [position[name] for name in table.key]
        self._wanted = None if wanted == self._names else [position[name] for name in wanted]
        self._full = None if self._names == table.names else [position.get(name) for name in table.names]

    def pages(self, size: int) -> Iterator[list[Row]]:
        """Lists of result rows, until the limit or the end."""
        left, position = self._query.limit, self._query.after
        exact = self._plan.recheck is None
        if left == 0:  # says what is wrong with the place all the same
            with self._database.snapshot() as session:
                place(session, self._ns, self._at_place)
        while left is None or left > 0:
            page = size if left is None else min(left, _PAGE) if exact else max(size, min(4 * left, _PAGE))
            rows, kept = self._page(position, page)
            if left is not None:
                kept = kept[:left]
                left -= len(kept)
            if kept:
                yield kept if self._wanted is None else [self._project(row) for row in kept]
            if len(rows) < page:
                return
            last = rows[-1]
            position = tuple(last[i] for i in self._at)
            size = min(2 * size, _PAGE)

    def _page(self, position: Sequence[Any] | None, size: int) -> tuple[list[Row], list[Row]]:
        """The rows after a position, and those of them that match."""
        where = self._seen.at(self._at_place)
        if where is not None:
            with self._database.reading() as session:
                rows = self._read(session, where, position, size, f" AND {STANDS}")
                if len(rows) == size or self._seen.still(session, self._ns, where):
                    return rows, self._kept(session, rows)
        # Compaction may have moved rows, so the place is looked up in the snapshot that is read.
        with self._database.snapshot() as session:
            where = place(session, self._ns, self._at_place)
            self._at_place = where.point
            self._seen.note(where)
            rows = self._read(session, where, position, size, "")
            return rows, self._kept(session, rows)

    def _kept(self, session: Session, rows: list[Row]) -> list[Row]:
        return rows if self._plan.recheck is None else self._matching(session, rows)

    def _project(self, row: Row) -> Row:
        assert self._wanted is not None
        return tuple(row[i] for i in self._wanted)

    def _matching(self, session: Session, rows: list[Row]) -> list[Row]:
        test = self._plan.recheck
        assert test is not None
        if self._plan.counters:
            keys: list[Key] = [tuple(row[i] for i in self._key_at) for row in rows]  # type: ignore[misc]
            counted = read_counters(session, self._ns, self._table, keys)
            return [
                row for row, key in zip(rows, keys, strict=True) if test(self._whole(row), counted.get(key))
            ]
        return [row for row in rows if test(self._whole(row))]

    def _whole(self, row: Row) -> Row:
        """The row with every column in its place; those that the filter does not read are null."""
        return row if self._full is None else tuple(None if i is None else row[i] for i in self._full)

    def _read(
        self, session: Session, where: Place, position: Sequence[Any] | None, limit: int, guard: str
    ) -> list[Row]:
        query, table = self._query, self._table
        if position is not None:
            phases = after(table, query.order, position)
        elif self._database.dialect.nulls_high:
            phases = from_the_start(table, query.order)
        else:
            phases = [Phase("", {}, False)]
        rows: list[Row] = []
        for phase in phases:
            rows += self._phase(session, where, phase, limit - len(rows), guard)
            if len(rows) >= limit:
                break
        return rows

    def _phase(self, session: Session, where: Place, phase: Phase, limit: int, guard: str) -> list[Row]:
        arms, dialect = where.arms, session.dialect
        conditions = _conditions(self._plan) + (f" AND {phase.sql}" if phase.sql else "") + guard
        params = {**arm_params(self._ns, arms), **self._plan.pushed.params, **phase.params, "limit": limit}
        if guard:
            params.update(self._seen.params(where))
        order = order_sql(self._table, self._query.order, phase.sure)
        if dialect.lateral and len(arms) > 1:
            text = lateral_sql(self._table, columns(self._names), conditions, order)
            params.update(lateral_params(arms, dialect.bind_list))
            return list(map(self._decode, session.all_with(text, params)))
        texts = arms_sql(self._table, columns(self._names), arms, conditions)
        groups = [
            list(
                map(
                    self._decode,
                    session.all_with(
                        f"{' UNION ALL '.join(texts[start : start + _ARMS])} ORDER BY {order} LIMIT :limit",
                        params,
                    ),
                )
            )
            for start in range(0, len(texts), _ARMS)
        ]
        if len(groups) == 1:
            return groups[0]
        by = sort_key(self._table, self._query.order)
        place_of = {name: i for i, name in enumerate(self._names)}
        full = [place_of.get(name) for name in self._table.names]
        keyed = [[(by(tuple(None if i is None else row[i] for i in full)), row) for row in g] for g in groups]
        return [row for _, row in islice(heapq.merge(*keyed, key=lambda pair: pair[0]), limit)]


def _conditions(plan: Plan) -> str:
    sql = plan.pushed.sql
    return f" AND {sql}" if isinstance(sql, str) else "" if sql else " AND 1 = 0"


def _count_all(session: Session, table: Table, arms: Sequence[Arm], params: dict[str, Any]) -> int:
    """All rows of a place: those of the arm that has the most, corrected by what the others wrote."""
    counts = [
        int(
            session.run_with(
                f"SELECT count(*) FROM {table.name} v WHERE v.ns = :ns AND v.branch = :b{depth} "
                f"AND v.from_seq <= :u{depth} AND v.to_seq > :u{depth} AND v.dead = 0",
                params,
            ).fetchone()[0]
        )
        for depth in range(len(arms))
    ]
    base = counts.index(max(counts))
    return counts[base] + int(session.run_with(whole_count(table, arms, base), params).fetchone()[0])


def _chain(first: list[Row], rest: Iterator[list[Row]]) -> Iterator[list[Row]]:
    yield first
    yield from rest


def _batches(schema: pa.Schema, rows: list[Row]) -> Iterator[pa.RecordBatch]:
    batch = batch_of(schema, rows)
    pieces = max(1, min(len(rows), batch.nbytes // _BATCH_BYTES))
    step = -(-len(rows) // pieces)
    return (batch.slice(start, step) for start in range(0, len(rows), step))


def read_counters(session: Session, ns: int, table: Table, keys: Sequence[Key]) -> dict[Key, Counters]:
    """The read counters of those keys that were touched."""
    found: dict[Key, Counters] = {}
    names = {key_text(key): key for key in keys}
    source, (part,) = session.dialect.key_source(1)
    texts = list(names)
    for start in range(0, len(texts), _PAGE):
        bound = session.dialect.bind_keys([(text,) for text in texts[start : start + _PAGE]])
        for text, accessed, count in session.run(
            f"SELECT c.row_key, c.accessed_at, c.access_count FROM {source} "
            f"CROSS JOIN counters c WHERE c.ns = :ns AND c.tbl = :tbl AND c.row_key = {part}",
            ns=ns,
            tbl=table.name,
            **bound,
        ):
            if text in names:
                found[names[text]] = (accessed, count)
    return found
