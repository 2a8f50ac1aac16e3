"""How row versions lie in LanceDB: a table for each kind of row, and one for each space, in the columns of the contract.

A version's key is its row's prefix (`row_key`) and its slot, which is kept as `branch`, `seq` and `token`. `ended` is
the sequence number of the same branch's next version of the row, or `OPEN`: a point (branch, seq) thus shows what has
`seq <= point < ended`, and `dead` tells a deletion. Only versions whose attempt was committed lie there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from perdure import TABLES
from perdure.kit import CODES, SLOT, batch_of, decode_row, encode_row, is_tombstone, rows_of

from perdure_lancedb._sql import literal

__all__ = [
    "DIGEST",
    "ITEMS",
    "OPEN",
    "VERSION",
    "Items",
    "Layout",
    "Rows",
    "key_of",
    "kind_of",
    "of_rows",
    "values_type",
]

#: `ended` of a version that no other follows on its branch.
OPEN = 2**62

#: Bytes of the hash before a stored row.
DIGEST = 16

Item = tuple[bytes, bytes]

#: What each version has beside the columns of its table.
VERSION = pa.schema(
    [
        pa.field("row_key", pa.large_binary(), nullable=False),
        pa.field("branch", pa.int64(), nullable=False),
        pa.field("seq", pa.int64(), nullable=False),
        pa.field("token", pa.binary(12), nullable=False),
        pa.field("ended", pa.int64(), nullable=False),
        pa.field("dead", pa.bool_(), nullable=False),
        pa.field("size", pa.int64(), nullable=False),
        pa.field("digest", pa.binary(DIGEST), nullable=False),
    ]
)

_FLOATS = {"float16": pa.float16(), "float32": pa.float32(), "float64": pa.float64()}

_NAMES = {code[0]: name for name, code in CODES.items()}


@dataclass(frozen=True)
class Items:
    """Keys and values in bytes: all that is no row, and versions of rows that are not committed yet."""

    #: The column that items are ordered by.
    order = "key"
    #: The columns that have a scalar index.
    indexed = ("key", "row_key")
    #: What a key needs.
    identity = ("key",)
    #: What a whole item needs.
    columns = ("key", "value")

    @cached_property
    def schema(self) -> pa.Schema:
        """The table's."""
        return pa.schema(
            [
                pa.field("key", pa.large_binary(), nullable=False),
                pa.field("row_key", pa.large_binary()),  # what the versions of one row share
                pa.field("size", pa.int64(), nullable=False),
                pa.field("value", pa.large_binary(), nullable=False),
            ]
        )

    def table(self, items: Sequence[Item]) -> pa.Table:
        """Items as the table has them."""
        keys, values = zip(*items, strict=True) if items else ((), ())
        rows = [key[:-SLOT] if key[key.index(b"\0") + 1 :][:1] == b"r" else None for key in keys]
        return pa.table([keys, rows, [*map(len, values)], values], schema=self.schema)

    def keys(self, found: pa.Table) -> list[bytes]:
        """The keys of what was found."""
        return found["key"].to_pylist()  # type: ignore[no-any-return]

    def items(self, found: pa.Table) -> list[Item]:
        """What was found as items, in no order."""
        return list(zip(found["key"].to_pylist(), found["value"].to_pylist(), strict=True))

    def place(self, key: bytes) -> bytes:
        """The value of `order` of an item."""
        return key

    def low(self, start: bytes) -> bytes:
        """No item from `start` on has a lower place."""
        return start

    def among(self, keys: Sequence[bytes]) -> str:
        """A condition that just these keys meet, if they are there."""
        return _among("key", keys)


ITEMS = Items()


@dataclass(frozen=True)
class Rows:
    """Versions of the rows of one kind; of vectors, those of one space.

    Attributes:
        kind: The table of the contract.
        values: Of vectors: the type of the column, which tells dimension and precision.
    """

    kind: str
    values: pa.DataType | None = None

    order = "row_key"
    identity = ("row_key", "branch", "seq", "token")

    @property
    def indexed(self) -> tuple[str, ...]:
        """The columns that have a scalar index from the first row on."""
        return ("row_key",)

    @cached_property
    def cells(self) -> pa.Schema:
        """The columns of the contract, all of which are null in a deletion."""
        fields = [field.with_nullable(True) for field in TABLES[self.kind].arrow]
        if self.values is not None:
            fields = [field.with_type(self.values) if field.name == "values" else field for field in fields]
        return pa.schema(fields)

    @cached_property
    def schema(self) -> pa.Schema:
        """The table's."""
        return pa.schema([*VERSION, *self.cells])

    @property
    def columns(self) -> tuple[str, ...]:
        """What a whole item needs."""
        return ("row_key", "branch", "seq", "token", "dead", "digest", *self.cells.names)

    def table(self, items: Sequence[Item]) -> pa.Table:
        """Items as the table has them, all of them open."""
        columns = version_columns(items)
        rows = [decode_row(self.kind, value) for _, value in items]
        blank = (None,) * len(self.cells)
        cells = batch_of(self.stored, [blank if row is None else row for row in rows])
        return pa.Table.from_arrays([*columns, *self._typed(cells.columns)], schema=self.schema)

    def typed(self, versions: Sequence[pa.Array], cells: pa.RecordBatch) -> pa.Table:
        """Versions and their cells, as rows have them, as the table has them."""
        return pa.Table.from_arrays([*versions, *self._typed(cells.columns)], schema=self.schema)

    @cached_property
    def stored(self) -> pa.Schema:
        """The columns of the contract as rows have them."""
        return pa.schema([field.with_nullable(True) for field in TABLES[self.kind].arrow])

    def _typed(self, cells: Iterable[pa.Array]) -> list[pa.Array]:
        """Vectors as lists of numbers instead of bytes."""
        return [
            _lists(cell, self.values) if self.values is not None and name == "values" else cell
            for name, cell in zip(self.cells.names, cells, strict=True)
        ]

    def cell_batches(self, found: pa.Table) -> list[pa.RecordBatch]:
        """The columns of the contract that were found, as rows have them: vectors as bytes. At least one batch."""
        if self.values is not None and "values" in found.column_names:
            place = found.column_names.index("values")
            vectors = pa.chunked_array([_bytes(chunk) for chunk in found["values"].chunks], pa.binary())
            found = found.set_column(place, "values", vectors)
        return found.to_batches() or [pa.RecordBatch.from_pylist([], schema=found.schema)]

    def keys(self, found: pa.Table) -> list[bytes]:
        """The keys of what was found."""
        return [
            key_of(*slot) for slot in zip(*(found[name].to_pylist() for name in self.identity), strict=True)
        ]

    def items(self, found: pa.Table) -> list[Item]:
        """What was found as items, in no order."""
        items: list[Item] = []
        for batch in self.cell_batches(found.select([*self.columns])):
            rows = rows_of(batch.select(self.cells.names))
            head = (
                batch[name].to_pylist() for name in ("row_key", "branch", "seq", "token", "dead", "digest")
            )
            for row_key, branch, seq, token, dead, digest, row in zip(*head, rows, strict=True):
                key = key_of(row_key, branch, seq, token)
                body = encode_row(self.kind, (), None if dead else row)[DIGEST:]
                items.append((key, digest + body))
        return items

    def place(self, key: bytes) -> bytes:
        """The value of `order` of an item."""
        return key[:-SLOT]

    def low(self, start: bytes) -> bytes:
        """No version from `start` on has a lower row."""
        at = start.find(b"\0") + 3  # after the letters of rows and of the kind
        for _ in TABLES[self.kind].key:
            at = start.find(b"\0", at) + 1
            if not at:
                return start
        return start[:at]

    def near(self, keys: Sequence[bytes]) -> str:
        """A condition that these keys meet, if they are there, and few others."""
        versions = [key for key in keys if len(key) > SLOT]
        rows = dict.fromkeys(key[:-SLOT] for key in versions)
        tokens = dict.fromkeys(key[-12:] for key in versions)
        return f"{_among('row_key', [*rows])} AND {_among('token', [*tokens])}" if rows else "false"

    def among(self, keys: Sequence[bytes]) -> str:
        """A condition that just these keys meet, if they are there."""
        by_slot: dict[bytes, list[bytes]] = {}
        for key in keys:
            if len(key) > SLOT:  # an ingest writes many versions of a row with one token
                by_slot.setdefault(key[-SLOT:], []).append(key[:-SLOT])
        exact = [f"({_at(slot)} AND {_among('row_key', rows)})" for slot, rows in by_slot.items()]
        if not exact:
            return "false"
        if len(exact) == 1:
            return exact[0]
        everyone = _among("row_key", [*dict.fromkeys(row for rows in by_slot.values() for row in rows)])
        return f"{everyone} AND ({' OR '.join(exact)})"


Layout = Items | Rows


def values_type(dtype: str, dim: int) -> pa.DataType:
    """The type of a column of vectors."""
    return pa.list_(_FLOATS[dtype], dim)


def kind_of(key: bytes) -> str | None:
    """The kind of row that a key is of."""
    at = key.index(b"\0") + 1
    return _NAMES.get(key[at + 1]) if key[at : at + 1] == b"r" and len(key) > at + 1 else None


def version_columns(items: Sequence[Item]) -> list[pa.Array]:
    """The columns of `VERSION` for items, all of them open."""
    slots = [key[-SLOT:] for key, _ in items]
    columns: list[Any] = [
        [key[:-SLOT] for key, _ in items],
        [int.from_bytes(slot[:4], "big") for slot in slots],
        [int.from_bytes(slot[4:12], "big") for slot in slots],
        [slot[12:] for slot in slots],
        [OPEN] * len(items),
        [is_tombstone(value) for _, value in items],
        [len(value) for _, value in items],
        [value[:DIGEST] for _, value in items],
    ]
    return [pa.array(column, field.type) for column, field in zip(columns, VERSION, strict=True)]


def _lists(vectors: pa.Array, kind: pa.DataType) -> pa.Array:
    """Vectors in bytes → lists of numbers; those of deletions are null."""
    size = kind.list_size
    width = size * kind.value_type.bit_width // 8
    data = b"".join(bytes(width) if cell is None else cell for cell in vectors.to_pylist())
    numbers = pa.Array.from_buffers(kind.value_type, len(vectors) * size, [None, pa.py_buffer(data)])
    return pa.FixedSizeListArray.from_arrays(numbers, type=kind, mask=vectors.is_null())


def _bytes(vectors: pa.Array) -> pa.Array:
    """Lists of numbers → vectors in bytes."""
    if not len(vectors):
        return pa.array([], pa.binary())
    width = vectors.type.list_size * vectors.type.value_type.bit_width // 8
    if not vectors.null_count and len(vectors) * width < 2**31:
        ends = np.arange(len(vectors) + 1, dtype=np.int32) * width
        first = vectors.values.offset * width // vectors.type.list_size + vectors.offset * width
        data = vectors.values.buffers()[1].slice(first)
        return pa.Array.from_buffers(pa.binary(), len(vectors), [None, pa.py_buffer(ends), data])
    flat = vectors.values.slice(
        vectors.offset * vectors.type.list_size, len(vectors) * vectors.type.list_size
    )
    data = memoryview(flat.to_numpy(zero_copy_only=False)).cast("B")
    cells = [data[at : at + width] for at in range(0, len(data), width)]
    return pa.array(
        [None if null else cell for null, cell in zip(vectors.is_null().to_pylist(), cells, strict=True)],
        pa.binary(),
    )


def of_rows(row_keys: Sequence[bytes]) -> str:
    """A condition that all versions of some rows meet."""
    return _among("row_key", row_keys)


def key_of(row_key: bytes, branch: int, seq: int, token: bytes) -> bytes:
    """The key of a version."""
    return row_key + branch.to_bytes(4, "big") + seq.to_bytes(8, "big") + token


def _at(slot: bytes) -> str:
    branch, seq = int.from_bytes(slot[:4], "big"), int.from_bytes(slot[4:12], "big")
    return f"branch = {branch} AND seq = {seq} AND token = {literal(slot[12:])}"


def _among(column: str, values: Sequence[bytes]) -> str:
    if len(values) == 1:
        return f"{column} = {literal(values[0])}"
    return f"{column} IN ({', '.join(map(literal, values))})"
