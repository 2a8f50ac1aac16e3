"""Arrow data in: the checks of `perdure._cells`, column by column instead of cell by cell.

Columns may be in any order and absent columns are empty, but an unknown one is refused. Values are the
codec's JSON text, as `to_arrow` gives it; text that is not canonical is made so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from perdure import values
from perdure._cells import MAX_COMPONENT, compile_trigger, vector_bytes
from perdure._errors import InvalidRecord
from perdure._names import link_id, uuid7
from perdure._schema import KEY_LIMIT, Column, Table
from perdure._types import Space
from perdure.values._texts import are_plain

__all__ = ["encode_batch"]

_MAX_US = 253_402_300_799_999_999
_MIN_US = -62_135_596_800_000_000

#: Value texts that are looked at together: so many that the cost of a look hardly shows, and so few that
#: what is read of them stays small, and that one odd text among them costs little.
_TOGETHER = 64

_from_json = msgspec.json.Decoder().decode


def encode_batch(table: Table, batch: pa.RecordBatch, spaces: Callable[[str], Space]) -> pa.RecordBatch:
    """A caller's record batch → one with the columns of `table.arrow`, every cell checked.

    Raises:
        InvalidRecord: A column is unknown or of a wrong type, or a cell is refused.
    """
    unknown = [name for name in batch.schema.names if name not in table.position]
    if unknown:
        raise InvalidRecord(
            f"{table.name} has no field {unknown[0]!r}; its fields are {', '.join(table.names)}"
        )
    if len(set(batch.schema.names)) != len(batch.schema.names):
        raise InvalidRecord("the record batch has two columns of one name")
    try:
        batch.validate(full=True)
    except pa.ArrowInvalid as error:
        raise InvalidRecord(f"the record batch is not valid Arrow data: {error}") from None
    given = set(batch.schema.names)
    arrays = []
    for column in table.columns:
        if column.name not in given:
            arrays.append(_absent(table, column, batch))
        elif column.kind == "vector":
            arrays.append(_vectors(batch, spaces))
        else:
            arrays.append(_column(table, column, batch.column(column.name)))
    fields = [field.with_nullable(True) for field in table.arrow]
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))


def _absent(table: Table, column: Column, batch: pa.RecordBatch) -> pa.Array:
    rows = batch.num_rows
    target = table.arrow.field(column.name).type
    if column.name == "id" and table.name == "links" and {"source", "target"} <= set(batch.schema.names):
        parts = [
            _column(table, table.by_name[name], batch.column(name)).to_pylist()
            if name in batch.schema.names
            else [None] * rows
            for name in ("source", "target", "relation")
        ]
        return pa.array(map(link_id, *parts), target)
    if column.name == "id" and table.name != "vectors":
        return pa.array([uuid7() for _ in range(rows)], target)
    if column.counter:
        return pa.array([0] * rows, target)
    if column.kind == "value":
        return pa.array(["null"] * rows, target)
    if column.kind == "tags":
        return pa.array([()] * rows, target)
    if column.required and column.name not in ("created_at", "updated_at"):
        raise InvalidRecord(
            f"the record batch lacks {table.name}.{column.name}, without which a row means nothing"
        )
    return pa.nulls(rows, target)


def _column(table: Table, column: Column, array: pa.Array) -> pa.Array:
    where = f"{table.name}.{column.name}"
    target = table.arrow.field(column.name).type
    array = _cast(where, column, array, target)
    if column.kind == "value":
        return _values(where, array)
    if column.kind == "tags":
        return _tags(where, column, array)
    if array.null_count and column.required and column.name not in ("created_at", "updated_at"):
        raise InvalidRecord(f"{where} is null, but a row means nothing without it")
    if column.kind == "text":
        _check_text(where, column, array)
    elif column.kind == "float":
        if pc.any(pc.invert(pc.is_finite(array))).as_py():
            raise InvalidRecord(f"{where} holds a number that is not finite; leave it null")
        array = pc.add(array, 0.0)
    elif column.kind == "time":
        ends = pc.min_max(array.cast(pa.int64())).as_py()
        if ends["min"] is not None and not (ends["min"] >= _MIN_US and ends["max"] <= _MAX_US):
            raise InvalidRecord(f"{where} holds a time outside the years 1 to 9999 in UTC")
    elif column.kind == "payload" and array.null_count != len(array):
        raise InvalidRecord("payloads are not put through Arrow; put State records")
    return array


def _cast(where: str, column: Column, array: pa.Array, target: pa.DataType) -> pa.Array:
    if array.type == target:
        return array
    naive = pa.types.is_timestamp(array.type) and array.type.tz is None
    numeric = pa.types.is_integer(array.type) or pa.types.is_floating(array.type)
    allowed = {
        "text": _is_text(array.type),
        "int": pa.types.is_integer(array.type),
        "float": numeric,
        "time": pa.types.is_timestamp(array.type) and not naive,
        "tags": _is_list(array.type)
        and (_is_text(inner := array.type.value_type) or pa.types.is_null(inner)),
    }
    allowed["value"] = allowed["payload"] = allowed["text"]
    if not (allowed.get(column.kind, False) or pa.types.is_null(array.type)):
        hint = "; give the timestamps a zone" if naive else ""
        raise InvalidRecord(f"{where} is Arrow {array.type}, which is not {target}{hint}")
    try:
        return array.cast(target, safe=True)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InvalidRecord(f"{where} does not fit {target}: {error}") from None


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _check_text(where: str, column: Column, array: pa.Array) -> None:
    if _has_zero_byte(array) and pc.any(pc.match_substring(array, "\0")).as_py():
        raise InvalidRecord(f"{where} holds a NUL character; put such text into a value field")
    ends = pc.min_max(pc.binary_length(array)).as_py()
    if column.limit is not None and (longest := ends["max"] or 0) > column.limit:
        raise InvalidRecord(f"{where} has {longest} UTF-8 bytes; at most {column.limit} are allowed")
    if column.required and ends["min"] == 0:
        raise InvalidRecord(f"{where} is empty; it must name something")
    if where == "skills.trigger":
        for pattern in array.unique().to_pylist():
            if pattern is not None:
                compile_trigger(pattern)


def _has_zero_byte(array: pa.Array) -> bool:
    """Whether the bytes of all texts, taken at once, have a zero among them; those under a null count too."""
    _, offsets, data = array.buffers()
    if not len(array) or data is None or not data.size:
        return False
    ends = np.frombuffer(offsets, np.int32, len(array) + 1, array.offset * 4)
    used = np.frombuffer(data, np.uint8)[ends[0] : ends[-1]]
    return bool(used.size and not used.min())


def _tags(where: str, column: Column, array: pa.Array) -> pa.Array:
    flat = array.flatten()
    if flat.null_count:
        raise InvalidRecord(f"{where} holds a null; leave it out")
    limit = KEY_LIMIT if column.references else column.limit
    _check_text(where, Column(column.name, "text", required=True, limit=limit), flat)
    lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy().astype(np.int64)
    # One number for each list and text: where two are equal, a list holds a text twice.
    encoded = flat.dictionary_encode()
    numbers = np.repeat(np.arange(len(array)), lengths) * len(encoded.dictionary) + encoded.indices.to_numpy()
    numbers.sort()
    if (numbers[1:] == numbers[:-1]).any():
        raise InvalidRecord(f"{where} holds a duplicate; each text may occur once")
    if not array.null_count:
        return array
    offsets = np.concatenate(([0], np.cumsum(lengths))).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), flat, type=array.type)


def _values(where: str, array: pa.Array) -> pa.Array:
    """Canonical value texts; most are so already, and then the column is kept as it is."""
    if array.null_count:
        array = pc.fill_null(array, "null")
    if len(array) and pc.all(pc.equal(array, array[0])).as_py():
        given = array[0].as_py()
        text = _canonical(where, given)
        return array if text == given else pa.array([text] * len(array), pa.string())
    parts = []
    kept = True
    for start in range(0, len(array), _TOGETHER):
        part = array.slice(start, _TOGETHER)
        texts = part.to_pylist()
        if not are_plain(texts):
            canonical = [_canonical(where, text) for text in texts]
            if canonical != texts:
                part, kept = pa.array(canonical, pa.string()), False
        parts.append(part)
    return array if kept else pa.concat_arrays(parts)


def _canonical(where: str, text: str) -> str:
    try:
        values.decode(text)  # accepts canonical text only
    except InvalidRecord:
        return _made_canonical(where, text)
    return text


def _made_canonical(where: str, text: str) -> str:
    """Plain JSON that is only spelled otherwise, such as with spaces, is welcome; anything else is not."""
    try:
        if values.is_plain(text):
            return values.encode(_from_json(text))
        return values.encode(values.decode(text))
    except (InvalidRecord, msgspec.DecodeError, ValueError, RecursionError) as error:
        raise InvalidRecord(f"{where} holds {text[:60]!r}, which is no value text: {error}") from None


def _vectors(batch: pa.RecordBatch, spaces: Callable[[str], Space]) -> pa.Array:
    array = batch.column("values")
    names = batch.column("space").to_pylist() if "space" in batch.schema.names else []
    if len(names) != batch.num_rows or array.null_count or None in names:
        raise InvalidRecord("a vector needs a space and values")
    binary = pa.types.is_binary(array.type)
    if not binary and not _is_list(array.type):
        raise InvalidRecord(
            f"vectors.values is Arrow {array.type}; give lists of numbers, or the stored bytes"
        )
    if len(set(names)) == 1:
        packed = _one_space(array, spaces(names[0]))
        if packed is not None:
            return packed
    # Where it has to copy, `to_numpy` makes of a null a NaN and of what is no number an object: both are refused.
    cells = array.to_pylist() if binary else [cell.values.to_numpy(zero_copy_only=False) for cell in array]
    out = []
    for i, (name, cell) in enumerate(zip(names, cells, strict=True)):
        space = spaces(name)
        if isinstance(cell, bytes):
            if len(cell) != space.dim * _WIDTHS[space.dtype].itemsize:
                raise InvalidRecord(
                    f"vectors.values[{i}] has {len(cell)} bytes, which are not {space.dim} {space.dtype}"
                )
            cell = np.frombuffer(cell, _WIDTHS[space.dtype])  # noqa: PLW2901
        out.append(vector_bytes(cell, space.dim, space.dtype, space.metric, f"vectors.values[{i}]"))
    return pa.array(out, pa.binary())


_WIDTHS: dict[str, np.dtype[Any]] = {
    "float16": np.dtype("<f2"),
    "float32": np.dtype("<f4"),
    "float64": np.dtype("<f8"),
}


def _one_space(array: pa.Array, space: Space) -> pa.Array | None:
    """All vectors of one space at once, where they lie in memory as one matrix; None where they do not."""
    dtype = _WIDTHS[space.dtype]
    if (
        not pa.types.is_fixed_size_list(array.type)
        or array.type.list_size != space.dim
        or array.flatten().null_count
    ):
        return None
    flat = array.flatten().to_numpy(zero_copy_only=False)
    if flat.dtype.kind != "f":
        return None
    with np.errstate(over="ignore"):
        matrix = np.ascontiguousarray(flat.reshape(-1, space.dim), dtype=dtype)
    wide = np.abs(matrix.astype(np.float64))
    if not (wide <= MAX_COMPONENT).all() or (
        space.metric == "cosine" and ((wide * wide).sum(axis=1) < 1e-200).any()
    ):
        return None  # the cell-by-cell way finds the culprit
    step = space.dim * dtype.itemsize
    offsets = np.arange(len(matrix) + 1, dtype=np.int64) * step
    if offsets[-1] >= 2**31:
        return None
    buffers = [None, pa.py_buffer(offsets.astype(np.int32)), pa.py_buffer(matrix)]
    return pa.Array.from_buffers(pa.binary(), len(matrix), buffers)
