"""Queries: filter, order and limit are judged by LanceDB's scanner, as far as it gives them the same meaning.

Rows that have versions since the last fold are judged one by one; the others are read by one scan for all ancestors
of a point, less those of which a closer ancestor has a version.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import chain, islice
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from perdure import TABLES, At, InvalidFilter, Point, Query, Row, Table
from perdure.filters import (
    And,
    Compare,
    Filter,
    IsNull,
    Or,
    OrderTerm,
    Path,
    columns_of,
    matcher,
    sort_rows,
    uses_counters,
)
from perdure.kit import Reader, State, batch_of, decode_row, project, rows_of

from perdure_lancedb._columns import Rows as Layout
from perdure_lancedb._columns import of_rows
from perdure_lancedb._filter import order_by, push
from perdure_lancedb._rows import ANCESTORS, LanceRows, Lineage, shown
from perdure_lancedb._sql import literal, pieces

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

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class _Job(NamedTuple):
    """What a query asks of one table.

    Attributes:
        condition: What LanceDB judges.
        test: What is left to judge of a row, if anything is.
        columns: What each row that is found has: those that are asked for, in their order.
    """

    table: Table
    condition: str
    exact: bool
    where: Filter | None
    columns: tuple[str, ...]

    @property
    def test(self) -> Callable[[Row], bool]:
        where = self.where
        return (lambda row: True) if where is None else matcher(self.table, where)


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

    def _job(self, query: Query, columns: Sequence[str]) -> _Job | None:
        """What LanceDB does of a query; None where the kit has to do it."""
        table = TABLES[query.table]
        if query.where is not None:
            matcher(table, query.where)  # says what is wrong with it
            if uses_counters(query.where):
                return None
        pushed = push(table, query.where)
        return _Job(table, pushed.condition, pushed.exact, query.where, tuple(columns))

    def _prefixes(self, state: State, table: Table) -> list[bytes]:
        """What the keys of rows of a table begin with, for each of LanceDB's tables."""
        prefix = self._keys.rows(table.name)
        if table.name != "vectors":
            return [prefix]
        return [prefix + name.encode() + b"\0" for name in sorted(state.head.spaces)]

    # ------------------------------------------------------------------------------- in key order

    def _pages(self, job: _Job, query: Query, at: At) -> Iterator[list[pa.RecordBatch]]:
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
        ends = ((prefix, _after(prefix)) for prefix in self._prefixes(state, table))
        return [_Place(max(p, begin), end, p, _FIRST) for p, end in ends if begin < end]

    def _rest(
        self, job: _Job, point: Point, places: list[_Place], left: int | None, page: list[pa.RecordBatch]
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
        self, job: _Job, point: Point, places: list[_Place], left: int | None, state: State
    ) -> list[pa.RecordBatch]:
        """The rows of the next stretch; `places` is moved on."""
        lineage = state.lineage(point)
        if not places or left == 0:
            return []
        place = places[0]
        if len(lineage) > ANCESTORS:
            found, after = self._walked(job, point, place, state)
        else:
            read = partial(self._stretch, job, state, lineage, place, left)
            found, after = self._storage.look(place.prefix, read)
        places[:1] = [] if after is None else [after]
        schema = project(job.table, job.columns)
        if left is not None:
            found = found.slice(0, left)
        return [
            pa.RecordBatch.from_arrays(batch.columns, schema=schema)
            for batch in found.to_batches(max_chunksize=_BATCH)
            if batch.num_rows
        ]

    def _walked(self, job: _Job, point: Point, place: _Place, state: State) -> tuple[pa.Table, _Place | None]:
        """The next rows as the kit finds them, where there are too many ancestors for one condition."""
        versions = list(islice(self._rows.scan(state, point, place.start, place.end), _PAGE))
        rows = (cast(Row, decode_row(job.table.name, value)) for _, _, value in versions)
        found = _projected(job, list(filter(job.test, rows)))
        return found, place._replace(start=versions[-1][0] + b"\xff") if len(versions) == _PAGE else None

    def _stretch(
        self,
        job: _Job,
        state: State,
        lineage: Lineage,
        place: _Place,
        left: int | None,
        snapshot: Snapshot,
    ) -> tuple[pa.Table, _Place | None]:
        """The matching rows from a place on, in key order, and the place after them."""
        view, start, end = snapshot.view, place.start, place.end
        recent = {key for key in snapshot.recent() if start <= key < end}
        tables, items = [], place.items
        if view is not None:
            sparse = bool(job.condition) or (left is not None and left <= _SHORT)
            end = view.reach(start, end, items, None if sparse else _PAGE_BYTES)
            span = f"row_key >= {literal(start)} AND row_key < {literal(end)}"
            columns = ["size"] if sparse else _read(job)
            found = self._scanned(view, lineage, job, span, columns, items, state, recent)
            items = min(4 * items, _MOST if sparse else _PAGE)
            if sparse:
                end, found = _cut(found, end, left if job.exact else None)
                if end < place.end and found.num_rows:
                    items = max(_FIRST, place.items)
                found = _taken(view, found, _read(job))
            tables.append(_tested(job, view, found))
        some = sorted(key for key in recent if key < end)
        judged = self._rows.judge(state, lineage, [k for k in some if not state.is_hidden(k)], snapshot)
        test, rows = job.test, {key: live.decoded(job.table.name) for key, live in judged.items()}
        kept = sorted(key for key, row in rows.items() if test(row))
        fresh = _projected(job, [rows[key] for key in kept])
        tables.append(fresh.append_column(_KEY, pa.array(kept, _KEY.type)))
        whole = pa.concat_tables([table.select([*job.columns, "row_key"]) for table in tables])
        whole = whole.take(pc.sort_indices(whole["row_key"])).select([*job.columns])
        return whole, None if end >= place.end else place._replace(start=end, items=items)

    def _scanned(
        self,
        view: View,
        lineage: Lineage,
        job: _Job,
        span: str,
        columns: Sequence[str],
        items: int,
        state: State,
        recent: set[bytes],
    ) -> pa.Table:
        """What the table has of a stretch: the rows that nothing hides, in the order of their keys."""
        indexed = 4 * items < view.dataset.count_rows()
        closer = (
            view.scan(["row_key", "branch"], f"{span} AND {shown(lineage[:-1])}", use_scalar_index=indexed)
            if len(lineage) > 1
            else None
        )
        names = [*dict.fromkeys(["row_key", "branch", *columns])]
        found = view.scan(
            names, _whole(span, lineage, job), use_scalar_index=indexed, with_row_id="size" in columns
        )
        found = found.filter(_kept(found, closer, lineage, state, recent))
        return found.take(pc.sort_indices(found["row_key"]))

    # ------------------------------------------------------------------------------- in another order

    def _ordered(self, query: Query, at: At) -> Iterator[Row] | None:
        """The rows of a query with an order; None where the kit has to find them."""
        table = TABLES[query.table]
        where = query.where
        if query.after is not None:
            beyond = _beyond(table, query.order, query.after)
            if beyond is None:
                return None
            try:
                where = beyond if where is None else And((where, beyond))
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

    def _best(self, job: _Job, query: Query, state: State, lineage: Lineage, snapshot: Snapshot) -> list[Row]:
        """At least the first `limit` rows, and those that came since the fold."""
        table, limit = job.table, cast(int, query.limit)
        recent = set(snapshot.recent())
        judged = self._rows.judge(state, lineage, [k for k in recent if not state.is_hidden(k)], snapshot)
        rows = [live.decoded(table.name) for live in judged.values()]
        rows = list(filter(job.test, rows))
        view = snapshot.view
        if view is None or not limit:
            return rows
        ordered = [term.column for term in query.order]
        columns = [*dict.fromkeys(["row_key", "branch", *ordered, *table.key])]
        condition, asked = _whole(snapshot.condition(), lineage, job), limit + _SPARE
        while True:
            found = view.scan(
                columns,
                condition,
                order_by=order_by(table, query.order),
                limit=asked,
                with_row_id=True,
                use_scalar_index=False,
            )
            closer = _closer(view, lineage, found)
            kept = found.filter(_kept(found, closer, lineage, state, recent))
            if kept.num_rows >= limit or found.num_rows < asked:
                taken = _taken(view, kept.slice(0, limit), list(table.names))
                layout = cast(Layout, view.layout)
                taken = taken.select([*table.names])
                return rows + [row for batch in layout.cell_batches(taken) for row in rows_of(batch)]
            asked *= 4

    # ------------------------------------------------------------------------------- counts

    def _counted(self, job: _Job, state: State, lineage: Lineage, snapshot: Snapshot) -> int | None:
        """How many rows match; None where too many are hidden to look each up."""
        recent = snapshot.recent()
        live = self._rows.judge(state, lineage, [*recent], snapshot)
        fresh = sum(map(job.test, (found.decoded(job.table.name) for found in live.values())))
        view = snapshot.view
        if view is None:
            return fresh
        hiding, closer = set(recent), None
        if len(lineage) > 1:
            arms = " AND ".join(filter(None, (snapshot.condition(), shown(lineage[:-1]))))
            if view.dataset.count_rows(arms) > _CLOSER:
                return None
            closer = view.scan(["row_key", "branch"], arms, use_scalar_index=False)
            hiding |= set(closer["row_key"].to_pylist())
        total = view.dataset.count_rows(_whole(snapshot.condition(), lineage, job))
        for some in pieces(hiding):
            found = view.scan(["row_key", "branch"], _whole(of_rows(some), lineage, job))
            kept = _kept(found, closer, lineage, state, set(recent))
            total -= found.num_rows - pc.sum(kept, min_count=0).as_py()
        return int(total) + fresh


_KEY = pa.field("row_key", pa.large_binary())


def _after(prefix: bytes) -> bytes:
    return prefix[:-1] + bytes((prefix[-1] + 1,))


def _whole(span: str, lineage: Lineage, job: _Job) -> str:
    """The condition of all that may be a row of a query."""
    condition = f"({job.condition})" if job.condition else ""
    return " AND ".join(filter(None, (span, shown(lineage), "NOT dead", condition)))


def _read(job: _Job) -> list[str]:
    """The columns that a page needs: those that are asked for, and those that are still to be judged."""
    judged = columns_of(job.where) if job.where is not None and not job.exact else ()
    return [*dict.fromkeys([*job.columns, *judged])]


def _depths(lineage: Lineage, branches: pa.ChunkedArray) -> np.ndarray[Any, Any]:
    numbers = pa.array([number for number, _ in lineage], pa.int64())
    return cast("np.ndarray[Any, Any]", pc.index_in(branches, numbers).to_numpy())


def _kept(
    found: pa.Table, closer: pa.Table | None, lineage: Lineage, state: State, recent: set[bytes]
) -> pa.ChunkedArray | pa.Array:
    """Of which rows what was found is what a point shows, and nothing came since."""
    keys = found["row_key"].combine_chunks()
    kept = np.ones(len(keys), bool)
    if recent:
        kept &= ~pc.is_in(keys, pa.array(list(recent), _KEY.type)).to_numpy(zero_copy_only=False)
    if closer is not None and closer.num_rows:
        nearest: dict[bytes, int] = {}
        for key, depth in zip(closer["row_key"].to_pylist(), _depths(lineage, closer["branch"]), strict=True):
            nearest[key] = min(depth, nearest.get(key, depth))
        at = (
            pc.index_in(keys, pa.array(list(nearest), _KEY.type)).fill_null(-1).to_numpy(zero_copy_only=False)
        )
        depths = np.array([*nearest.values(), len(lineage)])
        kept &= depths[at] >= _depths(lineage, found["branch"])
    if state.hidden:
        kept &= ~np.array([state.is_hidden(key) for key in keys.to_pylist()], bool)
    return pa.array(kept)


def _closer(view: View, lineage: Lineage, found: pa.Table) -> pa.Table | None:
    """What closer ancestors have of the rows that were found on others."""
    others = found.filter(pc.not_equal(found["branch"], lineage[0][0]))["row_key"].to_pylist()
    if len(lineage) == 1 or not others:
        return None
    return pa.concat_tables(
        view.scan(["row_key", "branch"], f"{of_rows(some)} AND {shown(lineage[:-1])}")
        for some in pieces(others)
    )


def _cut(found: pa.Table, end: bytes, left: int | None) -> tuple[bytes, pa.Table]:
    """As many rows, in their order, as one page holds; and where what was not read begins."""
    sizes = np.cumsum(found["size"].to_numpy())
    most = min(_PAGE if left is None else min(left, _PAGE), max(1, int(np.searchsorted(sizes, _PAGE_BYTES))))
    if found.num_rows <= most:
        return end, found
    return found["row_key"][most].as_py(), found.slice(0, most)


def _taken(view: View, found: pa.Table, columns: list[str]) -> pa.Table:
    """The rows that were found, with these columns and their keys."""
    wanted = [*dict.fromkeys([*columns, "row_key"])]
    if not found.num_rows:
        return view.layout.schema.empty_table().select(wanted)
    return view.take(found["_rowid"].to_pylist(), wanted)


def _tested(job: _Job, view: View, found: pa.Table) -> pa.Table:
    """Those rows that match, with their columns as rows have them."""
    layout = cast(Layout, view.layout)
    batches = layout.cell_batches(found)
    table = pa.Table.from_batches(batches) if batches else found
    if batches and not job.exact:
        names = _read(job)
        blank: list[Any] = [None] * len(job.table.names)
        places, test, verdicts = [job.table.position[name] for name in names], job.test, []
        for row in chain.from_iterable(rows_of(batch.select(names)) for batch in batches):
            for place, cell in zip(places, row, strict=True):
                blank[place] = cell
            verdicts.append(test(tuple(blank)))
        table = table.filter(pa.array(verdicts, pa.bool_()))
    schema = pa.schema([*(layout.stored.field(name) for name in job.columns), _KEY])
    return table.select(schema.names).cast(schema)


def _projected(job: _Job, rows: Sequence[Row]) -> pa.Table:
    """Whole rows as a table of the columns that are asked for."""
    schema = pa.schema([job.table.arrow.field(name).with_nullable(True) for name in job.columns])
    places = [job.table.position[name] for name in job.columns]
    return pa.Table.from_batches([batch_of(schema, [tuple(row[i] for i in places) for row in rows])])


def _beyond(table: Table, order: Sequence[OrderTerm], cursor: tuple[Any, ...]) -> Filter | None:
    """A filter that the rows after a position match; None where there is no such filter."""
    keys = [OrderTerm(name) for name in table.key]
    arms: list[Filter] = []
    same: list[Filter] = []
    for term, value in zip([*order, *keys], cursor, strict=True):
        path, kind = Path(term.column), table.by_name[term.column].kind
        if value is None:  # nulls come last
            same.append(IsNull(path))
            continue
        try:
            cell = _EPOCH + timedelta(microseconds=value) if kind == "time" else value
            later = Compare(path, "lt" if term.descending else "gt", cell)
            arms.append(And((*same, Or((later, IsNull(path))))))
            same.append(Compare(path, "eq", cell))
        except (InvalidFilter, OverflowError):
            return None
    return Or(tuple(arms))
