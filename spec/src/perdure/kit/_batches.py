"""Checks of a batch: what its request says, its operations, and the shape of its rows.

What a text, a value or a vector holds is judged where it is encoded, and taken as it is here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from itertools import chain
from typing import Any

import msgspec
import pyarrow as pa

from perdure._errors import InvalidRecord
from perdure._schema import TABLES, Column, Kind, Row, Table
from perdure._types import Chunk, CommitRequest, Context, Delete, Increment, Pick, Put, PutArrow, Update
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
    check_word,
    known_table,
)
from perdure.kit._hash import CHUNK_SIZE, chunk_digest

__all__ = [
    "cell_types",
    "check_batch",
    "check_cell",
    "check_chunk",
    "check_commit",
    "check_operation",
    "check_rows",
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
        self.tags = [i for i, column in enumerate(table.columns) if column.kind == "tags"]
        #: The types of the cells of rows that were found right.
        self.seen: set[tuple[type, ...]] = set()


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
    try:
        kinds = {tuple(map(type, row)) for row in rows}
    except TypeError:
        raise InvalidRecord(f"a row of {table.name} is a tuple of its cells") from None
    for types in kinds - shape.seen:
        if len(types) != len(shape.allowed):
            raise InvalidRecord(f"a row of {table.name} has {len(shape.allowed)} cells, not {len(types)}")
        for column, found, allowed in zip(table.columns, types, shape.allowed, strict=True):
            check_cell(table, column, found, allowed)
        shape.seen.add(types)
    if set(map(type, rows)) - {tuple}:
        raise InvalidRecord(f"a row of {table.name} is a tuple of its cells")
    width = len(table.key)
    check_parts(table, [row[:width] for row in rows])  # type: ignore[misc]
    for place in shape.tags:
        _tags(table, [row[place] for row in rows if row[place]])


def check_cell(table: Table, column: Column, found: type, allowed: frozenset[type]) -> None:
    if found not in allowed:
        wanted = " or ".join(sorted(kind.__name__ for kind in allowed))
        raise InvalidRecord(
            f"{table.name}.{column.name} is {wanted} in a row, not {found.__name__}; see perdure.TABLES"
        )


def _tags(table: Table, cells: Iterable[Any]) -> None:
    if not set(map(type, chain.from_iterable(cells))) <= {str}:
        raise InvalidRecord(f"tags of {table.name} are texts")


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
        if operation.mode not in ("put", "insert"):
            raise InvalidRecord(f"the mode of a put is 'put' or 'insert', not {operation.mode!r:.80}")
        if isinstance(operation, Put):
            check_list(operation.rows, "the rows of a put", InvalidRecord)
        elif not isinstance(operation.batches, Iterable):
            raise InvalidRecord("the batches of a put are an iterable of record batches")
    elif isinstance(operation, Delete):
        check_keys(table, operation.keys)
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
            raise InvalidRecord(f"{table.name} has no field {name!r:.80}; see perdure.TABLES")
        check_cell(table, table.columns[place], type(cell), shape.allowed[place])
        if place in shape.tags:
            _tags(table, (cell,))


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
    if chunk_digest(chunk.data) != chunk.digest:
        raise InvalidRecord(f"payload piece {chunk.digest!r:.80} does not hash to its name; send it again")


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
    if request.reverts is not None:
        check_text(request.reverts, "the commit that is reverted")
    check_flag(request.force, "force")
    check_flag(request.check_references, "check_references")
    if request.parents or request.vector or request.picks:
        _ancestry(request)
    if request.chunks != () and not isinstance(request.chunks, Iterable):
        raise InvalidRecord(f"chunks are an iterable of payload pieces, not {type(request.chunks).__name__}")


def _ancestry(request: CommitRequest) -> None:
    check_list(request.parents, "the parents of a commit", InvalidRecord)
    for parent in request.parents:
        check_text(parent, "a parent of a commit", InvalidRecord)
    if not isinstance(request.vector, dict):
        raise InvalidRecord(f"a version vector is a dict, not {type(request.vector).__name__}")
    for branch, seq in request.vector.items():
        check_text(branch, "a branch of a version vector", InvalidRecord)
        check_number(seq, "a number of a version vector", 0, InvalidRecord)
    check_list(request.picks, "picks", InvalidRecord)
    for pick in request.picks:
        check_kind(pick, Pick, "a pick", InvalidRecord)
        check_place(pick.source)
        table = known_table(pick.table)
        if pick.keys is not None:
            check_keys(table, pick.keys)
