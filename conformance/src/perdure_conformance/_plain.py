"""Rows of the model: a dict of column name → cell, in column order.

A cell is what can be compared with ``==``: text, int and float as they are, a time as microseconds since
1970, tags as a tuple, a value as its canonical text, a vector as the bytes of its numbers, a payload as
the whole bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

import numpy as np
from perdure import TABLES, Column, Record, Row
from perdure.values import encode

__all__ = ["DTYPES", "Entry", "Plain", "encoded", "entry_of", "plain", "plain_cell"]

Plain: TypeAlias = dict[str, Any]

#: The address of a row: table name and key.
Entry: TypeAlias = tuple[str, tuple[str, ...]]

DTYPES: Mapping[str, np.dtype[Any]] = {
    "float16": np.dtype("<f2"),
    "float32": np.dtype("<f4"),
    "float64": np.dtype("<f8"),
}

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def plain(table: str, record: Record | Mapping[str, Any], dtype: str | None = None) -> Plain:
    """A record, or a mapping of some of its fields, as the store should keep it.

    Args:
        table: The name of its table.
        record: What is written or was read; the fields that a mapping leaves out are empty.
        dtype: For a vector that is written: the dtype of its space.
    """
    get: Callable[[str], Any] = (
        record.get if isinstance(record, Mapping) else lambda name: getattr(record, name)
    )
    return {column.name: plain_cell(column, get(column.name), dtype) for column in TABLES[table].columns}


def plain_cell(column: Column, cell: Any, dtype: str | None = None) -> Any:
    """One cell; None is what it means in the column."""
    if column.kind == "value":
        return encode(cell)
    if column.kind == "tags":
        return () if cell is None else tuple(cell)
    if cell is None:
        return 0 if column.counter else None
    if column.kind == "time":
        return (cell.astimezone(UTC) - _EPOCH) // timedelta(microseconds=1)
    if column.kind == "float":
        return float(cell) + 0.0  # -0.0 + 0.0 is 0.0
    if column.kind == "vector":
        numbers = np.asarray(cell)
        return numbers.astype(numbers.dtype if dtype is None else DTYPES[dtype]).tobytes()
    return cell


def encoded(row: Plain) -> Row:
    """The row as the evaluator of filters takes it."""
    return tuple(row.values())


def entry_of(table: str, row: Mapping[str, Any]) -> Entry:
    """The address of a row."""
    return table, tuple(row[name] for name in TABLES[table].key)
