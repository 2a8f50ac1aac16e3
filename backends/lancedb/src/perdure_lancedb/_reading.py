"""Queries: filter, order and limit are judged by LanceDB's scanner, as far as it gives them the same meaning.

Rows that have versions since the last fold are judged one by one; the others are read by one scan for all ancestors
of a point, less those of which a closer ancestor has a version.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain, islice
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import pyarrow as pa
import pyarrow.compute as pc
from perdure import TABLES, At, InvalidFilter, Point, Query, Row, Table
from perdure.filters import (
    And,
    Filter,
    matcher,
    sort_rows,
    uses_counters,
)
from perdure.kit import Reader, State, decode_row, project, rows_of

from perdure_lancedb._columns import Rows as Layout
from perdure_lancedb._columns import of_rows
from perdure_lancedb._filter import order_by, push
from perdure_lancedb._rows import ANCESTORS, LanceRows, Lineage, folded, shown
from perdure_lancedb._scans import (
    KEY,
    Job,
    beyond,
    closer_of,
    cut,
    needed,
    projected,
    taken,
    tested,
    visible,
    whole,
)
from perdure_lancedb._sql import after, literal, pieces

if TYPE_CHECKING:
    from perdure_lancedb._snapshot import Snapshot
    from perdure_lancedb._storage import LanceStorage
    from perdure_lancedb._tables import View

__all__ = ["LanceReader"]

#: Rows of a page, and their bytes: what is in memory at once.
_PAGE, _PAGE_BYTES = 5_000, 16_000_000

#: Items of the stretch whose keys are read at once: at first, and at most.
_FIRST, _MOST = 2_000, 200_000

#: Rows of a record batch.
_BATCH = 5_000

#: Rows read beyond a limit, in place of those that other versions may hide.
_SPARE = 32

#: Limits up to which the best rows are asked of LanceDB alone, and stretches are read by row ids.
_TOP, _SHORT = 20_000, 500

#: Row keys of closer ancestors that are looked up, before a count goes page by page.
_CLOSER = 20_000


class _Place(NamedTuple):
    """Where a page begins, and of how many items the keys are read for it."""

    start: bytes
    end: bytes
    prefix: bytes
    items: int


class LanceReader(Reader):
    """Answers reads of one namespace."""

    _storage: LanceStorage
    _rows: LanceRows

    # ---------------------------------------------------------------------------------- queries

    def select(self, query: Query, at: At) -> Iterator[Row]:
        """The rows of a query; the point is resolved and the query checked before the first row."""
        columns = TABLES[query.table].names if query.columns is None else query.columns
        job = self._job(query, columns)
        if job is None or not columns:
            return super().select(query, at)
        if query.order:
            rows = self._ordered(query, at)
            return super().select(query, at) if rows is None else rows
        return (row for page in self._pages(job, query, at) for batch in page for row in rows_of(batch))

    def scan(self, query: Query, at: At) -> Iterator[pa.RecordBatch]:
        """The rows of a query as record batches."""
        table = TABLES[query.table]
        columns = table.names if query.columns is None else query.columns
        job = None if query.order else self._job(query, columns)
        if job is None or not columns:
            return self._batches(project(table, query.columns), self.select(query, at))
        return (batch for page in self._pages(job, query, at) for batch in page)

    def count(self, table: str, where: Filter | None, at: At) -> int:
        """How many rows match."""
        query = Query(table, where)
        job = self._job(query, TABLES[table].key)
        if job is None:
            return super().count(table, where, at)

        def read(state: State) -> int | None:
            point = self.place(at, state)[1]
            lineage = state.lineage(point)
            if state.hidden or not job.exact or len(lineage) > ANCESTORS:
                return None
            counts = [
                self._storage.look(prefix, partial(self._counted, job, state, lineage))
                for prefix in self._prefixes(state, job.table)
            ]
            return None if None in counts else sum(cast(list[int], counts))

        counted = self._heads.steady(read)
        if counted is not None:
            return counted
        return sum(batch.num_rows for page in self._pages(job, query, at) for batch in page)

    def _job(self, query: Query, columns: Sequence[str]) -> Job | None:
        """What LanceDB does of a query; None where the kit has to do it."""
        table = TABLES[query.table]
        if query.where is not None:
            matcher(table, query.where)  # says what is wrong with it
            if uses_counters(query.where):
                return None
        pushed = push(table, query.where)
        return Job(table, pushed.condition, pushed.exact, query.where, tuple(columns))

    def _prefixes(self, state: State, table: Table) -> list[bytes]:
        """What the keys of rows of a table begin with, for each of LanceDB's tables."""
        prefix = self._keys.rows(table.name)
        if table.name != "vectors":
            return [prefix]
        return [prefix + name.encode() + b"\0" for name in sorted(state.head.spaces)]

    # ------------------------------------------------------------------------------- in key order

    def _pages(self, job: Job, query: Query, at: At) -> Iterator[list[pa.RecordBatch]]:
        """The rows in key order. The first page is read at once, with the place."""
        left = query.limit
        places: list[_Place] = []

        def first(state: State) -> tuple[Point, list[pa.RecordBatch]]:
            point = self.place(at, state)[1]
            places[:] = self._places(state, job.table, query.after)
            return point, self._page(job, point, places, left, state)

        point, page = self._heads.steady(first)
        return self._rest(job, point, places, left, page)

    def _places(self, state: State, table: Table, cursor: tuple[Any, ...] | None) -> list[_Place]:
        group = None if cursor is None else self._keys.group(table.name, cursor)
        begin = b"" if group is None else group + b"\xff"
        ends = ((prefix, after(prefix)) for prefix in self._prefixes(state, table))
        return [_Place(max(p, begin), end, p, _FIRST) for p, end in ends if begin < end]

    def _rest(
        self, job: Job, point: Point, places: list[_Place], left: int | None, page: list[pa.RecordBatch]
    ) -> Iterator[list[pa.RecordBatch]]:
        while True:
            if page:
                yield page
            left = None if left is None else left - sum(batch.num_rows for batch in page)
            if not places or left == 0:
                return
            ahead = [*places]

            def following(state: State, left: int | None = left, ahead: list[_Place] = ahead) -> Any:
                places[:] = ahead
                return self._page(job, point, places, left, state)

            page = self._heads.steady(following)

    def _page(
        self, job: Job, point: Point, places: list[_Place], left: int | None, state: State
    ) -> list[pa.RecordBatch]:
        """The rows of the next stretch; `places` is moved on."""
        lineage = state.lineage(point)
        if not places or left == 0:
            return []
        place = places[0]
        if len(lineage) > ANCESTORS:
            found, rest = self._walked(job, point, place, state)
        else:
            read = partial(self._stretch, job, state, lineage, place, left)
            found, rest = self._storage.look(place.prefix, read)
        places[:1] = [] if rest is None else [rest]
        schema = project(job.table, job.columns)
        if left is not None:
            found = found.slice(0, left)
        return [
            pa.RecordBatch.from_arrays(batch.columns, schema=schema)
            for batch in found.to_batches(max_chunksize=_BATCH)
            if batch.num_rows
        ]

    def _walked(self, job: Job, point: Point, place: _Place, state: State) -> tuple[pa.Table, _Place | None]:
        """The next rows as the kit finds them, where there are too many ancestors for one condition."""
        versions = list(islice(self._rows.scan(state, point, place.start, place.end), _PAGE))
        rows = (cast(Row, decode_row(job.table.name, value)) for _, _, value in versions)
        found = projected(job, list(filter(job.test, rows)))
        return found, place._replace(start=versions[-1][0] + b"\xff") if len(versions) == _PAGE else None

    def _stretch(
        self,
        job: Job,
        state: State,
        lineage: Lineage,
        place: _Place,
        left: int | None,
        snapshot: Snapshot,
    ) -> tuple[pa.Table, _Place | None]:
        """The matching rows from a place on, in key order, and the place after them."""
        view, start, end = snapshot.view, place.start, place.end
        recent = {key for key in self._rows.recent(state, lineage, snapshot) if start <= key < end}
        tables, items = [], place.items
        if view is not None:
            sparse = bool(job.condition) or (left is not None and left <= _SHORT)
            end = view.reach(start, end, items, None if sparse else _PAGE_BYTES)
            span = f"row_key >= {literal(start)} AND row_key < {literal(end)}"
            columns = ["size"] if sparse else needed(job)
            found = self._scanned(view, lineage, job, span, columns, items, state, recent)
            items = min(4 * items, _MOST if sparse else _PAGE)
            if sparse:
                end, found = cut(
                    found, end, _PAGE if left is None or not job.exact else min(left, _PAGE), _PAGE_BYTES
                )
                if end < place.end and found.num_rows:
                    items = max(_FIRST, place.items)
                found = taken(view, found, needed(job))
            tables.append(tested(job, view, found))
        some = sorted(key for key in recent if key < end)
        judged = self._rows.judge(state, lineage, [k for k in some if not state.is_hidden(k)], snapshot)
        test, rows = job.test, {key: live.decoded(job.table.name) for key, live in judged.items()}
        kept = sorted(key for key, row in rows.items() if test(row))
        fresh = projected(job, [rows[key] for key in kept])
        tables.append(fresh.append_column(KEY, pa.array(kept, KEY.type)))
        whole = pa.concat_tables([table.select([*job.columns, "row_key"]) for table in tables])
        whole = whole.take(pc.sort_indices(whole["row_key"])).select([*job.columns])
        return whole, None if end >= place.end else place._replace(start=end, items=items)

    def _scanned(
        self,
        view: View,
        lineage: Lineage,
        job: Job,
        span: str,
        columns: Sequence[str],
        items: int,
        state: State,
        recent: set[bytes],
    ) -> pa.Table:
        """What the table has of a stretch: the rows that nothing hides, in the order of their keys."""
        names = [*dict.fromkeys(["row_key", "branch", *columns])]
        lineage = folded(lineage, view)
        if not lineage:
            return view.layout.schema.empty_table().select(names)
        indexed = 4 * items < view.dataset.count_rows()
        closer = (
            view.scan(["row_key", "branch"], f"{span} AND {shown(lineage[:-1])}", use_scalar_index=indexed)
            if len(lineage) > 1
            else None
        )
        found = view.scan(
            names, whole(span, lineage, job), use_scalar_index=indexed, with_row_id="size" in columns
        )
        found = found.filter(visible(found, closer, lineage, state, recent))
        return found.take(pc.sort_indices(found["row_key"]))

    # ------------------------------------------------------------------------------- in another order

    def _ordered(self, query: Query, at: At) -> Iterator[Row] | None:
        """The rows of a query with an order; None where the kit has to find them."""
        table = TABLES[query.table]
        where = query.where
        if query.after is not None:
            later = beyond(table, query.order, query.after)
            if later is None:
                return None
            try:
                where = later if where is None else And((where, later))
            except InvalidFilter:  # larger than filters may be
                return None
        everything = Query(query.table, where)
        job = self._job(everything, table.names)
        assert job is not None
        places = [table.position[name] for name in query.columns or ()]
        limit = query.limit
        ordering = order_by(table, query.order)

        def read(state: State) -> list[Row] | None:
            lineage = state.lineage(self.place(at, state)[1])
            short = limit is not None and limit <= _TOP and len(lineage) <= ANCESTORS
            if not short or ordering is None or not job.exact:
                return None
            best = [
                row
                for prefix in self._prefixes(state, table)
                for row in self._storage.look(prefix, partial(self._best, job, query, state, lineage))
            ]
            return sort_rows(best, table, query.order, limit)

        rows = self._heads.steady(read)
        if rows is None:
            pages = self._pages(job, everything, at)
            found = chain.from_iterable(rows_of(batch) for page in pages for batch in page)
            rows = sort_rows(found, table, query.order, limit)
        if query.columns is None:
            return iter(rows)
        only = itemgetter(*places)
        return map(only, rows) if len(places) > 1 else ((only(row),) for row in rows)

    def _best(self, job: Job, query: Query, state: State, lineage: Lineage, snapshot: Snapshot) -> list[Row]:
        """At least the first `limit` rows, and those that came since the fold."""
        table, limit = job.table, cast(int, query.limit)
        recent = self._rows.recent(state, lineage, snapshot)
        judged = self._rows.judge(state, lineage, [k for k in recent if not state.is_hidden(k)], snapshot)
        rows = [live.decoded(table.name) for live in judged.values()]
        rows = list(filter(job.test, rows))
        view = snapshot.view
        lineage = () if view is None else folded(lineage, view)
        if view is None or not limit or not lineage:
            return rows
        ordered = [term.column for term in query.order]
        columns = [*dict.fromkeys(["row_key", "branch", *ordered, *table.key])]
        condition, asked = whole(snapshot.condition(), lineage, job), limit + _SPARE
        while True:
            found = view.scan(
                columns,
                condition,
                order_by=order_by(table, query.order),
                limit=asked,
                with_row_id=True,
                use_scalar_index=False,
            )
            closer = closer_of(view, lineage, found)
            kept = found.filter(visible(found, closer, lineage, state, recent))
            if kept.num_rows >= limit or found.num_rows < asked:
                whole_rows = taken(view, kept.slice(0, limit), list(table.names))
                layout = cast(Layout, view.layout)
                whole_rows = whole_rows.select([*table.names])
                return rows + [row for batch in layout.cell_batches(whole_rows) for row in rows_of(batch)]
            asked *= 4

    # ------------------------------------------------------------------------------- counts

    def _counted(self, job: Job, state: State, lineage: Lineage, snapshot: Snapshot) -> int | None:
        """How many rows match; None where too many are hidden to look each up."""
        recent = self._rows.recent(state, lineage, snapshot)
        live = self._rows.judge(state, lineage, [*recent], snapshot)
        fresh = sum(map(job.test, (found.decoded(job.table.name) for found in live.values())))
        view = snapshot.view
        lineage = () if view is None else folded(lineage, view)
        if view is None or not lineage:
            return fresh
        hiding, closer = set(recent), None
        if len(lineage) > 1:
            arms = " AND ".join(filter(None, (snapshot.condition(), shown(lineage[:-1]))))
            if view.dataset.count_rows(arms) > _CLOSER:
                return None
            closer = view.scan(["row_key", "branch"], arms, use_scalar_index=False)
            hiding |= set(closer["row_key"].to_pylist())
        total = view.dataset.count_rows(whole(snapshot.condition(), lineage, job))
        for some in pieces(hiding):
            found = view.scan(["row_key", "branch"], whole(of_rows(some), lineage, job))
            kept = visible(found, closer, lineage, state, recent)
            total -= found.num_rows - pc.sum(kept, min_count=0).as_py()
        return int(total) + fresh
