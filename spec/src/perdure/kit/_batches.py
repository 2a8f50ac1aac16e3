"""Checks of a batch: what its request says, its operations, and the shape of its rows.

What a text, a value or a vector holds is judged where it is encoded, and taken as it is here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from itertools import chain
from math import copysign, isfinite
from typing import Any

import msgspec
import pyarrow as pa

from perdure._errors import InvalidRecord
from perdure._schema import TABLES, Column, Kind, Row, Table
from perdure._show import shown
from perdure._types import (
    Chunk,
    Commit,
    CommitRequest,
    Context,
    Delete,
    Increment,
    Pick,
    Point,
    Put,
    PutArrow,
    Update,
)
from perdure.kit._checking import (
    TOP,
    check_flag,
    check_keys,
    check_kind,
    check_list,
    check_number,
    check_parts,
    check_place,
    check_text,
    check_tuple,
    check_word,
    known_table,
)
from perdure.kit._hash import CHUNK_SIZE, chunk_digest

__all__ = [
    "cell_types",
    "check_ancestry",
    "check_batch",
    "check_cell",
    "check_chunk",
    "check_columns",
    "check_commit",
    "check_operation",
    "check_rows",
    "is_kept",
]

_CELLS: dict[Kind, type] = {
    "text": str,
    "int": int,
    "float": float,
    "time": int,
    "tags": tuple,
    "value": str,
    "vector": bytes,
    "payload": str,
}

# ------------------------------------------------------------------------------------------ rows


class _Shape:
    """What cells the rows of a table have."""

    def __init__(self, table: Table) -> None:
        self.allowed = [cell_types(column) for column in table.columns]
        self.closer = {
            i: column for i, column in enumerate(table.columns) if column.kind in ("tags", "float")
        }


def cell_types(column: Column) -> frozenset[type]:
    """The types of a cell. Times that a commit fills may be absent."""
    kind = _CELLS[column.kind]
    filled = column.name in ("created_at", "updated_at")
    return frozenset((kind, type(None)) if column.nullable or filled else (kind,))


@cache
def _shape(name: str) -> _Shape:
    return _Shape(TABLES[name])


def check_rows(table: Table, rows: Sequence[Row]) -> None:
    """Rows to write: as many cells as the table has columns, each of its type, and keys that can be.

    Raises:
        InvalidRecord: One is something else.
    """
    shape = _shape(table.name)
    if not set(map(type, rows)) <= {tuple}:
        raise InvalidRecord(f"a row of {table.name} is a tuple of its cells")
    for width in set(map(len, rows)):
        if width != len(shape.allowed):
            raise InvalidRecord(f"a row of {table.name} has {len(shape.allowed)} cells, not {width}")
    columns = list(zip(*rows, strict=True))  # column by column is fastest
    for column, cells, allowed in zip(table.columns, columns, shape.allowed, strict=False):
        for found in set(map(type, cells)) - allowed:
            check_cell(table, column, found, allowed)
    if columns:
        for cells in columns[: len(table.key)]:
            check_parts(table, cells)
        for place, column in shape.closer.items():
            _look_closer(table, column, columns[place])


def check_columns(table: Table, batch: pa.RecordBatch) -> None:
    """As `check_rows`, of a batch with the table's columns, which tell the types; cheaper by far.

    Raises:
        InvalidRecord: A row is none.
        UnicodeDecodeError: A key is no UTF-8.
    """
    shape = _shape(table.name)
    for column, cells, allowed in zip(table.columns, batch.columns, shape.allowed, strict=True):
        if cells.null_count:
            check_cell(table, column, type(None), allowed)
    for cells in batch.columns[: len(table.key)]:
        check_parts(table, cells.to_pylist())
    for place, column in shape.closer.items():
        cells = batch.column(place)
        _look_closer(
            table, column, [cells.flatten().to_pylist()] if column.kind == "tags" else cells.to_pylist()
        )


def _look_closer(table: Table, column: Column, cells: Iterable[Any]) -> None:
    """Cells of which the type does not say enough: what not every engine would give back as it came."""
    if column.kind == "tags":
        if not set(map(type, chain.from_iterable(cells))) <= {str}:
            raise InvalidRecord(f"{table.name}.{column.name} are texts")
    elif not _are_kept(cells):
        raise InvalidRecord(f"{table.name}.{column.name} is finite, and a zero has no sign")


def _are_kept(numbers: Iterable[float | None]) -> bool:
    some = [number for number in numbers if number is not None]
    if 0.0 not in some and isfinite(
        sum(some)
    ):  # most columns: no zero that may have a sign, and nothing infinite
        return True
    return all(map(is_kept, some))


def is_kept(number: float | None) -> bool:
    """Whether every engine keeps a number as it is."""
    return number is None or (isfinite(number) and (number != 0.0 or copysign(1.0, number) > 0.0))


def check_cell(table: Table, column: Column, found: type, allowed: frozenset[type]) -> None:
    if found not in allowed:
        wanted = " or ".join(sorted(kind.__name__ for kind in allowed))
        raise InvalidRecord(
            f"{table.name}.{column.name} is {wanted} in a row, not {found.__name__}; see perdure.TABLES"
        )


# ------------------------------------------------------------------------------------------ batches


def check_operation(operation: Any) -> Table:
    """The table of an operation, whose parts are what they should be; rows are `check_rows`' to look at.

    Raises:
        NotFound: There is no such table.
        InvalidRecord: It is no operation, or malformed.
    """
    if not isinstance(operation, (Put, PutArrow, Update, Delete, Increment)):
        raise InvalidRecord(
            f"{type(operation).__name__} is no operation; use Put, Update, Delete or Increment"
        )
    table = known_table(operation.table)
    if isinstance(operation, (Put, PutArrow)):
        if type(operation.mode) is not str or operation.mode not in ("put", "insert"):
            raise InvalidRecord(f"the mode of a put is 'put' or 'insert', not {shown(operation.mode)}")
        if isinstance(operation, Put):
            check_list(operation.rows, "the rows of a put", InvalidRecord)
        else:
            check_flag(operation.unique, "unique", InvalidRecord)
            if not isinstance(operation.batches, Iterable):
                raise InvalidRecord("the batches of a put are an iterable of record batches")
    elif isinstance(operation, Delete):
        check_keys(table, operation.keys)
        check_flag(operation.missing_ok, "missing_ok", InvalidRecord)
    else:
        check_keys(table, (operation.key,))
        _fields(table, operation.fields)
        if isinstance(operation, Increment):
            _amounts(operation.amounts)
    version = None if isinstance(operation, (PutArrow, Increment)) else operation.if_version
    if version is not None:
        check_text(version, "if_version", InvalidRecord)
    return table


def check_batch(table: Table, batch: Any) -> None:
    """A record batch with the columns of the table.

    Raises:
        InvalidRecord: It is something else.
    """
    if not isinstance(batch, pa.RecordBatch):
        raise InvalidRecord(f"a put takes record batches, not {type(batch).__name__}")
    if batch.schema.names != table.arrow.names or batch.schema.types != table.arrow.types:
        raise InvalidRecord(f"the batch has other columns than perdure.TABLES[{table.name!r}].arrow")


def _fields(table: Table, fields: Any) -> None:
    if not isinstance(fields, Mapping):
        raise InvalidRecord(f"fields map names to cells, and are no {type(fields).__name__}")
    shape = _shape(table.name)
    for name, cell in fields.items():
        place = table.position.get(name) if type(name) is str else None
        if place is None:
            raise InvalidRecord(f"{table.name} has no field {shown(name)}; see perdure.TABLES")
        check_cell(table, table.columns[place], type(cell), shape.allowed[place])
        if place in shape.closer:
            _look_closer(table, table.columns[place], (cell,))


def _amounts(amounts: Any) -> None:
    if not isinstance(amounts, Mapping):
        raise InvalidRecord(f"amounts map names to ints, and are no {type(amounts).__name__}")
    for amount in amounts.values():
        check_number(amount, "an amount", -TOP, InvalidRecord)


def check_chunk(chunk: Any) -> None:
    """A payload piece that is what its name says.

    Raises:
        InvalidRecord: It is something else.
    """
    check_kind(chunk, Chunk, "a payload piece", InvalidRecord)
    if type(chunk.data) is not bytes or len(chunk.data) > CHUNK_SIZE:
        raise InvalidRecord(f"a payload piece is at most {CHUNK_SIZE:,} bytes")
    if type(chunk.digest) is not str or chunk_digest(chunk.data) != chunk.digest:
        raise InvalidRecord(f"payload piece {shown(chunk.digest)} does not hash to its name; send it again")


def check_commit(ctx: Context, request: Any) -> None:
    """What a request says of its commit; `apply` looks at the operations."""
    check_kind(request, CommitRequest, "a request", InvalidRecord)
    check_word(request.branch, "branch name")
    check_word(request.id, "commit id")
    check_list(request.operations, "operations", InvalidRecord)
    check_text(request.author, "the author of a commit")
    check_text(request.message, "the message of a commit")
    if request.time is not None:
        check_number(request.time, "the time of a commit", -TOP)
    if request.expect_head is not None and request.expect_head is not msgspec.UNSET:
        check_text(request.expect_head, "expect_head")
    check_flag(request.force, "force")
    check_flag(request.check_references, "check_references")
    check_ancestry(request)
    if type(request.chunks) is not tuple and not isinstance(request.chunks, Iterable):
        raise InvalidRecord(f"chunks are an iterable of payload pieces, not {type(request.chunks).__name__}")


def check_ancestry(commit: CommitRequest | Commit) -> None:
    """What a commit, or a request for one, says of where it comes from."""
    check_tuple(commit.parents, "the parents of a commit")
    for parent in commit.parents:
        check_text(parent, "a parent of a commit", InvalidRecord)
    if type(commit.vector) is not dict:
        raise InvalidRecord(f"a version vector is a dict, not {type(commit.vector).__name__}")
    for branch, seq in commit.vector.items():
        check_text(branch, "a branch of a version vector", InvalidRecord)
        check_number(seq, "a number of a version vector", 0, InvalidRecord)
    check_tuple(commit.picks, "picks")
    for pick in commit.picks:
        check_kind(pick, Pick, "a pick", InvalidRecord)
        check_kind(pick.source, Point, "the source of a pick", InvalidRecord)
        check_place(pick.source)
        table = known_table(pick.table)
        if pick.keys is not None:
            check_tuple(pick.keys, "the keys of a pick")
            check_keys(table, pick.keys)
    if commit.reverts is not None:
        check_text(commit.reverts, "the commit that is reverted")
