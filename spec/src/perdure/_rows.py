"""Records to encoded rows and back.

The two directions are on every hot path: one C-level attribute fetch, one loop over the cells.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from operator import attrgetter
from typing import Any

import numpy as np

from perdure._cells import column_encoder, decoder, encoder, vector_bytes
from perdure._errors import InvalidRecord, NotFound
from perdure._payload import PayloadWriter
from perdure._records import RECORDS, Record
from perdure._schema import TABLES, Row, Table
from perdure._show import shown
from perdure._types import Key, Space

__all__ = ["RowCodec", "encode_key", "encode_keys"]

SpaceLookup = Callable[[str], Space]


class RowCodec:
    """Encodes and decodes the rows of one table."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.record = RECORDS[table.name]
        self._get = attrgetter(*table.names)
        self._special = next(
            (i for i, c in enumerate(table.columns) if c.kind in ("vector", "payload")), None
        )
        self._encode = [
            None if i == self._special else encoder(table.name, c) for i, c in enumerate(table.columns)
        ]
        self._columns = [column_encoder(table.name, c) for c in table.columns if self._special is None]
        self._empty: list[Any] = [_empty(table, i) for i in range(len(table.columns))]
        decoders = [(i, decoder(c)) for i, c in enumerate(table.columns)]
        self._decode = [(i, d) for i, d in decoders if d is not None]

    # ---------------------------------------------------------------------------------- encoding

    def encode(self, record: Any, spaces: SpaceLookup, payloads: PayloadWriter) -> Row:
        """A record (or a mapping of its fields) → an encoded row; absent times stay None.

        Raises:
            InvalidRecord: A field is refused.
            NotFound: A vector names a space that does not exist.
        """
        if type(record) is not self.record:
            record = self._coerce(record)
        row: list[Any] = []
        append = row.append
        for cell, encode, empty in zip(self._get(record), self._encode, self._empty, strict=True):
            if cell is None:
                append(empty if empty is not _REQUIRED else self._refuse_null(len(row)))
            elif encode is None:
                append(self._encode_special(record, cell, spaces, payloads))
            else:
                append(encode(cell))
        return tuple(row)

    def encode_many(self, records: Sequence[Any], spaces: SpaceLookup, payloads: PayloadWriter) -> list[Row]:
        """Many records → encoded rows, column by column, which is several times as fast as one by one.

        Raises:
            As `encode`.
        """
        kinds = set(map(type, records))
        if self._special is not None or len(records) < 8 or kinds != {self.record}:
            return [self.encode(record, spaces, payloads) for record in records]
        columns = list(zip(*map(self._get, records), strict=True))
        for place, empty in enumerate(self._empty):
            if empty is _REQUIRED and type(None) in map(type, columns[place]):
                self._refuse_null(place)
        return list(zip(*[encode(c) for encode, c in zip(self._columns, columns, strict=True)], strict=True))

    def _coerce(self, record: Any) -> Record:
        if isinstance(record, Mapping):
            unknown = [name for name in record if name not in self.table.position]
            if unknown:
                raise InvalidRecord(
                    f"{self.table.name} has no field {unknown[0]!r}; its fields are {', '.join(self.table.names)}"
                )
            return self.record(**record)
        raise InvalidRecord(
            f"{self.table.name} holds {self.record.__name__} records, not {type(record).__name__}"
        )

    def _refuse_null(self, place: int) -> Any:
        raise InvalidRecord(
            f"{self.table.name}.{self.table.names[place]} is None, but a row means nothing without it"
        )

    def _encode_special(self, record: Any, cell: Any, spaces: SpaceLookup, payloads: PayloadWriter) -> Any:
        if self.table.name == "states":
            return payloads.write(cell)
        if not isinstance(record.space, str):
            raise InvalidRecord(f"vectors.space must be text, not {type(record.space).__name__}")
        space = spaces(record.space)
        return vector_bytes(cell, space.dim, space.dtype, space.metric, f"vector {shown(record.id)}")

    def encode_fields(
        self, fields: Mapping[str, Any], payloads: PayloadWriter, space: Space | None = None
    ) -> dict[str, Any]:
        """Named fields of an update → encoded cells.

        Raises:
            InvalidRecord: A field does not exist, is part of the key, or is refused.
        """
        encoded: dict[str, Any] = {}
        for name, cell in fields.items():
            place = self.table.position.get(name)
            if place is None:
                raise InvalidRecord(
                    f"{self.table.name} has no field {name!r}; its fields are {', '.join(self.table.names)}"
                )
            if name in self.table.key:
                raise InvalidRecord(
                    f"{self.table.name}.{name} is part of the key; put a new row and delete the old one"
                )
            encode = self._encode[place]
            if cell is None:
                empty = self._empty[place]
                encoded[name] = empty if empty is not _REQUIRED else self._refuse_null(place)
            elif encode is not None:
                encoded[name] = encode(cell)
            elif space is not None:
                encoded[name] = vector_bytes(cell, space.dim, space.dtype, space.metric, "the vector")
            else:
                encoded[name] = payloads.write(cell)
        return encoded

    # ---------------------------------------------------------------------------------- decoding

    def decode(self, row: Row, spaces: SpaceLookup | None = None) -> Any:
        """An encoded row → a record. A payload stays its manifest; see `perdure._payload`."""
        cells = list(row)
        for place, decode in self._decode:
            cell = cells[place]
            if cell is not None:
                cells[place] = decode(cell)
        if spaces is not None:
            dtype = spaces(cells[0]).dtype  # type: ignore[arg-type]
            cells[2] = np.frombuffer(cells[2], _DTYPES[dtype]).copy()  # type: ignore[call-overload]
        return self.record(*cells)


_DTYPES = {"float16": "<f2", "float32": "<f4", "float64": "<f8"}

_REQUIRED = object()


def _empty(table: Table, place: int) -> Any:
    """What None means in a column: null, the empty value, or a refusal. Times are filled by the commit."""
    column = table.columns[place]
    if column.kind == "value":
        return "null"
    if column.kind == "tags":
        return ()
    if column.required and column.name not in ("created_at", "updated_at"):
        return _REQUIRED
    return None


@cache
def _codec(name: str) -> RowCodec:
    return RowCodec(TABLES[name])


def codec(name: str) -> RowCodec:
    """The row codec of a table.

    Raises:
        NotFound: There is no such table.
    """
    if not isinstance(name, str) or name not in TABLES:
        raise NotFound(f"there is no table {shown(name)}; the tables are {', '.join(TABLES)}")
    return _codec(name)


def encode_key(table: Table, key: Any) -> Key:
    """A key as people write it (an id, a tuple, or a record) → the tuple that hooks take.

    Raises:
        InvalidRecord: It is no key of this table.
    """
    if isinstance(key, str) and len(table.key) == 1:
        parts: tuple[Any, ...] = (key,)
    elif isinstance(key, Record) and key.TABLE is table:
        parts = tuple(getattr(key, name) for name in table.key)
    elif isinstance(key, (tuple, list)):
        parts = tuple(key)
    else:
        parts = ()
    if len(parts) != len(table.key):
        shape = table.key[0] if len(table.key) == 1 else f"({', '.join(table.key)})"
        raise InvalidRecord(f"a key of {table.name} is {shape}, not {shown(key)}")
    checks = _key_encoders(table.name)
    return tuple(check(part) for check, part in zip(checks, parts, strict=True))


@cache
def _key_encoders(name: str) -> tuple[Callable[[Any], Any], ...]:
    table = TABLES[name]
    return tuple(encoder(name, table.by_name[part]) for part in table.key)


def encode_keys(table: Table, keys: Any) -> list[Key]:
    """One key or an iterable of keys → the tuples that hooks take."""
    if isinstance(keys, (str, Record)) or (isinstance(keys, tuple) and len(table.key) == len(keys) > 1):
        return [encode_key(table, keys)]
    if not isinstance(keys, Iterable):
        raise InvalidRecord(f"keys of {table.name} are ids or an iterable of ids, not {type(keys).__name__}")
    return [encode_key(table, key) for key in keys]


def sequence_of(keys: Sequence[Key]) -> list[Any]:
    """Keys as people write them: the id, or the tuple where there are two parts."""
    return [key[0] if len(key) == 1 else key for key in keys]
