"""One cell in and out: strict checks on the way in, so that every engine refuses the same input.

`encoder(column)` and `decoder(column)` give functions for cells that are not None; the meaning of the
encoded forms is in `perdure._schema`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from math import isfinite
from typing import Any

import numpy as np
import re2

from perdure import values
from perdure._errors import InvalidRecord
from perdure._names import to_us
from perdure._schema import KEY_LIMIT, Column

__all__ = [
    "MAX_COMPONENT",
    "column_encoder",
    "compile_trigger",
    "decoder",
    "encoder",
    "int64",
    "time_us",
    "us_time",
    "vector_bytes",
]

#: Vector components beyond this are refused, so that scores stay finite in float64.
MAX_COMPONENT = 1e100

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MIN_US = to_us(datetime.min.replace(tzinfo=UTC))
_MAX_US = to_us(datetime.max.replace(tzinfo=UTC))
_DTYPES: dict[str, Any] = {"float16": np.dtype("<f2"), "float32": np.dtype("<f4"), "float64": np.dtype("<f8")}


def encoder(table: str, column: Column) -> Callable[[Any], Any]:
    """The function that checks and encodes one non-null cell, or raises `InvalidRecord`."""
    where = f"{table}.{column.name}"
    if column.kind == "text":
        return _text_encoder(where, column)
    if column.kind == "int":
        return lambda cell: int64(where, cell)
    if column.kind == "float":
        return lambda cell: cell + 0.0 if type(cell) is float and isfinite(cell) else _float(where, cell)
    if column.kind == "time":
        return lambda cell: time_us(cell, where)
    if column.kind == "tags":
        return lambda cell: _tags(where, cell, KEY_LIMIT if column.references else column.limit)
    if column.kind == "value":
        return values.encode
    raise AssertionError(f"{where} is encoded by its own writer")


def _text_encoder(where: str, column: Column) -> Callable[[Any], Any]:
    """Most texts are short ASCII: they pass by four C calls, and the rest takes the explaining way."""
    limit, required = column.limit, column.required
    trigger = where == "skills.trigger"
    room = 0 if trigger else 2**62 if limit is None else limit

    def encode(cell: Any) -> str:
        if type(cell) is str and cell and cell.isascii() and len(cell) <= room and "\0" not in cell:
            return cell
        return _text(where, cell, limit, required, trigger)

    return encode


def column_encoder(table: str, column: Column) -> Callable[[Sequence[Any]], Sequence[Any]]:
    """The function that checks and encodes many cells of a column, None included, where they are simple.

    It looks at a column with a few C calls, and at single cells only where those do not settle it.
    """
    one = encoder(table, column)
    kind, limit = column.kind, column.limit
    simple = None if f"{table}.{column.name}" == "skills.trigger" else _SIMPLE.get(kind)
    empty = "null" if kind == "value" else () if kind == "tags" else None

    def encode(cells: Sequence[Any]) -> Sequence[Any]:
        present = [cell for cell in cells if cell is not None]
        if not present:
            return [empty] * len(cells)
        if simple is not None and simple(present, limit):
            if kind == "time":
                return [None if cell is None else to_us(cell) for cell in cells]
            # turns -0.0 into 0.0
            return [None if cell is None else cell + 0.0 for cell in cells] if kind == "float" else cells
        return [empty if cell is None else one(cell) for cell in cells]

    return encode


def _simple_texts(cells: list[Any], limit: int | None) -> bool:
    if set(map(type, cells)) != {str} or "" in cells:
        return False
    joined = "".join(cells)
    return joined.isascii() and "\0" not in joined and (limit is None or max(map(len, cells)) <= limit)


def _simple_floats(cells: list[Any], limit: int | None) -> bool:
    return set(map(type, cells)) == {float} and all(map(isfinite, cells))


def _simple_ints(cells: list[Any], limit: int | None) -> bool:
    return set(map(type, cells)) == {int} and min(cells) >= -(2**63) and max(cells) < 2**63


def _simple_times(cells: list[Any], limit: int | None) -> bool:
    return set(map(type, cells)) == {datetime} and {cell.tzinfo for cell in cells} == {UTC}


_SIMPLE: dict[str, Callable[[list[Any], int | None], bool]] = {
    "text": _simple_texts,
    "float": _simple_floats,
    "int": _simple_ints,
    "time": _simple_times,
}


def _text(where: str, cell: Any, limit: int | None, required: bool, trigger: bool) -> str:
    if type(cell) is not str:
        if not isinstance(cell, str):
            raise _wrong(where, "text", cell)
        cell = str.__str__(cell)
    if cell.isascii():
        size = len(cell)
    else:
        try:
            size = len(cell.encode())
        except UnicodeEncodeError:
            raise InvalidRecord(f"{where} holds a lone surrogate; put such text into a value field") from None
    if limit is not None and size > limit:
        raise InvalidRecord(
            f"{where} has {size} UTF-8 bytes; at most {limit} are allowed, so put long text elsewhere"
        )
    if "\0" in cell:
        raise InvalidRecord(f"{where} holds a NUL character; put such text into a value field")
    if required and not cell:
        raise InvalidRecord(f"{where} is empty; it must name something")
    if trigger:
        compile_trigger(cell)
    return cell  # type: ignore[no-any-return]


@lru_cache(maxsize=4096)
def compile_trigger(pattern: str) -> Any:
    """A compiled RE2 pattern.

    Raises:
        InvalidRecord: It is no RE2 pattern (RE2 has no look-around and no back references).
    """
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0] if error.args else error
        shown = reason.decode(errors="replace") if isinstance(reason, bytes) else reason
        raise InvalidRecord(f"skills.trigger {pattern[:80]!r} is no RE2 pattern: {shown}") from None


def int64(where: str, cell: Any) -> int:
    """An int, numpy's too, but no bool, of 64 bits.

    Raises:
        InvalidRecord: It is none.
    """
    if isinstance(cell, (bool, np.bool_)) or not isinstance(cell, (int, np.integer)):
        raise _wrong(where, "an int", cell)
    number = int(cell)
    if not -(2**63) <= number < 2**63:
        raise InvalidRecord(f"{where} is outside int64; put such a number into a value field")
    return number


def _float(where: str, cell: Any) -> float:
    if type(cell) is not float:
        if isinstance(cell, (bool, np.bool_)) or not isinstance(cell, (int, float, np.integer, np.floating)):
            raise _wrong(where, "a number", cell)
        try:
            number = float(cell)
        except OverflowError:
            number = float("inf")
        if isinstance(cell, (int, np.integer)) and isfinite(number) and int(number) != int(cell):
            raise InvalidRecord(
                f"{where} is an int that no float64 equals; put such a number into a value field"
            )
        cell = number
    if not isfinite(cell):
        raise InvalidRecord(f"{where} is not finite; leave it None, or put such a number into a value field")
    return cell + 0.0  # type: ignore[no-any-return]  # turns -0.0 into 0.0


def time_us(cell: Any, where: str = "time") -> int:
    """An aware datetime → microseconds since the epoch.

    Raises:
        InvalidRecord: It is no datetime, has no zone, or leaves the years 1 to 9999 in UTC.
    """
    if type(cell) is datetime and cell.tzinfo is UTC:
        return to_us(cell)
    if not isinstance(cell, datetime):
        raise _wrong(where, "an aware datetime", cell)
    if cell.tzinfo is None or cell.utcoffset() is None:
        raise InvalidRecord(f"{where} has no time zone; use datetime.now(UTC) or .replace(tzinfo=UTC)")
    us = to_us(cell)
    if not _MIN_US <= us <= _MAX_US:
        raise InvalidRecord(f"{where} is outside the years 1 to 9999 in UTC")
    return us


def us_time(us: int) -> datetime:
    """Microseconds since the epoch → an aware datetime in UTC."""
    return _EPOCH + timedelta(microseconds=us)


def _tags(where: str, cell: Any, limit: int | None) -> tuple[str, ...]:
    if isinstance(cell, (str, bytes)) or not isinstance(cell, (list, tuple)):
        raise _wrong(where, "a list of texts", cell)
    if not cell:
        return ()
    if limit is None and _simple(cell):
        return tuple(cell)
    tags = tuple(_text(f"{where}[{i}]", item, limit, True, False) for i, item in enumerate(cell))
    if len(set(tags)) != len(tags):
        raise InvalidRecord(f"{where} holds a duplicate; each text may occur once")
    return tags


def _simple(cell: list[Any] | tuple[Any, ...]) -> bool:
    """Whether these are, at a glance, distinct non-empty ASCII texts."""
    try:
        joined = "".join(cell)
    except TypeError:
        return False
    return (
        joined.isascii()
        and "\0" not in joined
        and "" not in cell
        and len(set(cell)) == len(cell)
        and all(type(tag) is str for tag in cell)
    )


def vector_bytes(cell: Any, dim: int, dtype: str, metric: str, where: str) -> bytes:
    """An array-like of `dim` numbers → the space's stored bytes, exactly.

    Raises:
        InvalidRecord: Wrong shape, not numbers, not finite, beyond ±1e100, numbers that the dtype
            would round away (ints and float64 given to a narrower dtype are rounded as numpy does),
            or a vector of zero length under cosine.
    """
    try:
        array = np.asarray(cell)
    except (ValueError, TypeError, OverflowError):
        raise InvalidRecord(f"{where} is no array of numbers") from None
    if array.dtype.kind not in "fiu" or array.shape != (dim,):
        shape = "x".join(map(str, array.shape)) or "scalar"
        raise InvalidRecord(
            f"{where} is {array.dtype} of shape {shape}; the space holds {dim} numbers of {dtype}"
        )
    with np.errstate(over="ignore"):
        stored = np.ascontiguousarray(array, dtype=_DTYPES[dtype])
    wide = stored.astype(np.float64)
    top = float(np.max(np.abs(wide), initial=0.0))
    if not top <= MAX_COMPONENT:
        raise InvalidRecord(
            f"{where} holds a number that is not finite, or beyond ±{MAX_COMPONENT:g}, as {dtype}"
        )
    if metric == "cosine" and float(wide @ wide) < 1e-200:
        raise InvalidRecord(f"{where} has length zero, which has no cosine; leave the vector out")
    return stored.tobytes()


def decoder(column: Column) -> Callable[[Any], Any] | None:
    """The function that decodes one non-null cell; None where the encoded form is the cell."""
    decoders: dict[str, Callable[[Any], Any]] = {"time": us_time, "tags": list, "value": _value}
    return decoders.get(column.kind)


def _value(text: str) -> Any:
    return None if text == "null" else values.decode(text, trusted=True)


def _wrong(where: str, wanted: str, cell: Any) -> InvalidRecord:
    return InvalidRecord(f"{where} must be {wanted}, not {type(cell).__name__}")
