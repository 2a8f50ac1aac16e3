"""Encoded rows to and from Arrow, without a Python object per cell where Arrow can avoid it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa

from perdure._schema import Row, Table

__all__ = ["batch_of", "project", "rows_of"]


def rows_of(batch: pa.RecordBatch) -> Iterator[Row]:
    """The rows of a record batch whose columns are those of a `Table.arrow`, or a projection of it."""
    if not batch.num_columns:
        return iter(())
    return zip(*[_cells(column) for column in batch.columns], strict=True)


def _cells(column: pa.Array) -> list[object]:
    if pa.types.is_timestamp(column.type):
        return column.cast(pa.int64()).to_pylist()  # type: ignore[no-any-return]
    if pa.types.is_list(column.type):
        return [None if cell is None else tuple(cell) for cell in column.to_pylist()]
    return column.to_pylist()  # type: ignore[no-any-return]


def project(table: Table, columns: Sequence[str] | None) -> pa.Schema:
    """The Arrow schema of a query's result."""
    if columns is None:
        return table.arrow
    return pa.schema([table.arrow.field(name) for name in columns], metadata=table.arrow.metadata)


def batch_of(schema: pa.Schema, rows: Sequence[Row]) -> pa.RecordBatch:
    """Rows in the column order of `schema` → one record batch."""
    cells: Sequence[Sequence[object]] = list(zip(*rows, strict=True)) if rows else [()] * len(schema)
    arrays = []
    for values, field in zip(cells, schema, strict=True):
        if pa.types.is_timestamp(field.type):
            arrays.append(pa.array(values, pa.int64()).cast(field.type))
        else:
            arrays.append(pa.array(values, field.type))
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
