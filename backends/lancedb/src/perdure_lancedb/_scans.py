"""What the scans of a query ask, and what is made of what they find."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from perdure import InvalidFilter, Row, Table
from perdure.filters import And, Compare, Filter, IsNull, Or, OrderTerm, Path, columns_of, matcher
from perdure.kit import State, batch_of, rows_of

from perdure_lancedb._columns import Rows as Layout
from perdure_lancedb._columns import of_rows
from perdure_lancedb._rows import Lineage, shown
from perdure_lancedb._sql import pieces

if TYPE_CHECKING:
    from perdure_lancedb._tables import View

__all__ = [
    "KEY",
    "Job",
    "beyond",
    "closer_of",
    "cut",
    "needed",
    "projected",
    "taken",
    "tested",
    "visible",
    "whole",
]

KEY = pa.field("row_key", pa.large_binary())

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Job(NamedTuple):
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


def whole(span: str, lineage: Lineage, job: Job) -> str:
    """The condition of all that may be a row of a query."""
    condition = f"({job.condition})" if job.condition else ""
    return " AND ".join(filter(None, (span, shown(lineage), "NOT dead", condition)))


def needed(job: Job) -> list[str]:
    """The columns that a page needs: those that are asked for, and those that are still to be judged."""
    judged = columns_of(job.where) if job.where is not None and not job.exact else ()
    return [*dict.fromkeys([*job.columns, *judged])]


def _depths(lineage: Lineage, branches: pa.ChunkedArray) -> np.ndarray[Any, Any]:
    numbers = pa.array([number for number, _ in lineage], pa.int64())
    return cast("np.ndarray[Any, Any]", pc.index_in(branches, numbers).to_numpy())


def visible(
    found: pa.Table, closer: pa.Table | None, lineage: Lineage, state: State, recent: set[bytes]
) -> pa.ChunkedArray | pa.Array:
    """Of which rows what was found is what a point shows, and nothing came since."""
    keys = found["row_key"].combine_chunks()
    kept = np.ones(len(keys), bool)
    if recent:
        kept &= ~pc.is_in(keys, pa.array(list(recent), KEY.type)).to_numpy(zero_copy_only=False)
    if closer is not None and closer.num_rows:
        nearest: dict[bytes, int] = {}
        for key, depth in zip(closer["row_key"].to_pylist(), _depths(lineage, closer["branch"]), strict=True):
            nearest[key] = min(depth, nearest.get(key, depth))
        at = pc.index_in(keys, pa.array(list(nearest), KEY.type)).fill_null(-1).to_numpy(zero_copy_only=False)
        depths = np.array([*nearest.values(), len(lineage)])
        kept &= depths[at] >= _depths(lineage, found["branch"])
    if state.hidden:
        kept &= ~np.array([state.is_hidden(key) for key in keys.to_pylist()], bool)
    return pa.array(kept)


def closer_of(view: View, lineage: Lineage, found: pa.Table) -> pa.Table | None:
    """What closer ancestors have of the rows that were found on others."""
    others = found.filter(pc.not_equal(found["branch"], lineage[0][0]))["row_key"].to_pylist()
    if len(lineage) == 1 or not others:
        return None
    return pa.concat_tables(
        view.scan(["row_key", "branch"], f"{of_rows(some)} AND {shown(lineage[:-1])}")
        for some in pieces(others)
    )


def cut(found: pa.Table, end: bytes, rows: int, size: int) -> tuple[bytes, pa.Table]:
    """As many rows, in their order, as one page holds; and where what was not read begins."""
    sizes = np.cumsum(found["size"].to_numpy())
    most = min(rows, max(1, int(np.searchsorted(sizes, size))))
    if found.num_rows <= most:
        return end, found
    return found["row_key"][most].as_py(), found.slice(0, most)


def taken(view: View, found: pa.Table, columns: list[str]) -> pa.Table:
    """The rows that were found, with these columns and their keys."""
    wanted = [*dict.fromkeys([*columns, "row_key"])]
    if not found.num_rows:
        return view.layout.schema.empty_table().select(wanted)
    return view.take(found["_rowid"].to_pylist(), wanted)


def tested(job: Job, view: View, found: pa.Table) -> pa.Table:
    """Those rows that match, with their columns as rows have them."""
    layout = cast(Layout, view.layout)
    batches = layout.cell_batches(found)
    table = pa.Table.from_batches(batches) if batches else found
    if batches and not job.exact:
        names = needed(job)
        blank: list[Any] = [None] * len(job.table.names)
        places, test, verdicts = [job.table.position[name] for name in names], job.test, []
        for row in chain.from_iterable(rows_of(batch.select(names)) for batch in batches):
            for place, cell in zip(places, row, strict=True):
                blank[place] = cell
            verdicts.append(test(tuple(blank)))
        table = table.filter(pa.array(verdicts, pa.bool_()))
    schema = pa.schema([*(layout.stored.field(name) for name in job.columns), KEY])
    return table.select(schema.names).cast(schema)


def projected(job: Job, rows: Sequence[Row]) -> pa.Table:
    """Whole rows as a table of the columns that are asked for."""
    schema = pa.schema([job.table.arrow.field(name).with_nullable(True) for name in job.columns])
    places = [job.table.position[name] for name in job.columns]
    return pa.Table.from_batches([batch_of(schema, [tuple(row[i] for i in places) for row in rows])])


def beyond(table: Table, order: Sequence[OrderTerm], cursor: tuple[Any, ...]) -> Filter | None:
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
