"""What fits a typed field, exactly; what does not stays whole, in a value."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from math import copysign, isfinite
from typing import Any
from uuid import UUID

import numpy as np
from perdure import KEY_LIMIT, PerdureError, values
from perdure.values import Opaque

__all__ = ["Fields", "Keys", "as_float", "as_key", "as_text", "as_time", "class_name", "fields_of", "show"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def as_text(value: Any, limit: int | None = None) -> str | None:
    """The text itself where a typed field of at most `limit` UTF-8 bytes takes it, else None."""
    if type(value) is not str or "\0" in value:
        return None
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        return None
    return value if limit is None or size <= limit else None


def as_key(value: Any) -> str | None:
    """The text itself where it may be a key, else None."""
    return as_text(value, KEY_LIMIT) or None


def as_float(value: Any) -> tuple[float | None, bool]:
    """The finite float64 that equals a number, if there is one; and whether it is that very value."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.integer, np.floating)):
        return None, False
    try:
        number = float(value)
    except OverflowError:
        return None, False
    if not isfinite(number) or bool(number != value):
        return None, False
    return number + 0.0, type(value) is float and not (value == 0 and copysign(1.0, value) < 0)


def as_time(seconds: Any) -> datetime | None:
    """Seconds since 1970 in UTC → the time, to the microsecond; None where it is no such number."""
    number, _ = as_float(seconds)
    if number is None:
        return None
    try:
        return _EPOCH + timedelta(seconds=number)
    except OverflowError:
        return None


def class_name(value: Any) -> str | None:
    """The dotted name of the class of a stand-in, None for anything else."""
    return f"{value.module}.{value.qualname}" if type(value) is Opaque else None


def fields_of(value: Any) -> dict[Any, Any] | None:
    """The fields of a dict, or of a stand-in for an object that has nothing but fields; else None."""
    if type(value) is dict:
        return value
    if type(value) is not Opaque or value.args or value.args is None:
        return None
    if value.kwargs or value.items or value.pairs:
        return None
    state = value.state
    if type(state) is dict:
        return state
    if type(state) is tuple and len(state) == 2 and state[0] is None and type(state[1]) is dict:
        return state[1]  # what a class with __slots__ writes
    return None


def show(value: Any) -> str:
    """A short, printable text for a report, whatever the value is."""
    if type(value) is str:
        return repr(value if len(value) <= 80 else value[:77] + "…")
    if value is None or type(value) in (bool, float, complex):
        return repr(value)
    if type(value) is int:
        return repr(value) if value.bit_length() <= 256 else f"an int of {value.bit_length()} bits"
    if type(value) is bytes:
        return repr(value[:40])
    if type(value) is np.ndarray:
        return f"an array of {value.dtype} of shape {value.shape}"
    return class_name(value) or f"a {type(value).__name__}"


class Keys:
    """Hands out the keys of one table: a source's own where it fits and is free, else a derived one.

    A derived key depends on the source's key and on how many alike came before, so it is the same each time.
    """

    def __init__(self, scope: str) -> None:
        self._scope = scope
        self._taken: set[str] = set()

    def assign(self, original: Any) -> str:
        """A free key for the row that the source calls `original`; `as_key(original)` unless that cannot be."""
        key = as_key(original)
        ordinal = 0
        while key is None or key in self._taken:
            key = self._derive(original, ordinal)
            ordinal += 1
        self._taken.add(key)
        return key

    def _derive(self, original: Any, ordinal: int) -> str:
        digest = blake2b(digest_size=16, person=b"perdure.migrate")
        try:
            text = values.encode(original)
        except PerdureError:  # too large or too deep for a value: the ordinal tells such keys apart
            text = ""
        for part in (self._scope, text, str(ordinal)):
            data = part.encode("utf-8", "surrogatepass")
            digest.update(len(data).to_bytes(8, "little") + data)
        return f"legacy-{UUID(bytes=digest.digest())}"


class Fields:
    """The fields of one source object. What a typed field takes exactly is taken out; `rest` is what is left.

    A number that a float field takes inexactly (an int, a NumPy scalar) is both in the field, to be found by,
    and in the rest, to be exact. `misfits` names the fields whose content only the rest holds.
    """

    def __init__(self, fields: dict[Any, Any]) -> None:
        self.rest = dict(fields)
        self.misfits: list[str] = []

    def text(self, name: str, limit: int | None = None) -> str | None:
        """Take a text out; None where it is absent or does not fit."""
        fits = as_text(self.rest.get(name), limit)
        if fits is not None:
            del self.rest[name]
        elif self.rest.get(name) is not None:
            self.misfits.append(f"{name} is {_why_no_text(self.rest[name], limit)}")
        return fits

    def number(self, name: str) -> float | None:
        """Take a float out; see the class for what is not exactly one."""
        fits, exact = as_float(self.rest.get(name))
        if exact:
            del self.rest[name]
        elif fits is None and self.rest.get(name) is not None:
            self.misfits.append(f"{name} is {show(self.rest[name])}")
        return fits

    def value(self, name: str) -> Any:
        """Take anything out, for a value field; a None stays in the rest, to differ from absence."""
        return None if self.rest.get(name) is None else self.rest.pop(name)

    def leftover(self, legacy: dict[str, Any]) -> Any:
        """What is left, for a value field: the fields under their names, and `legacy` facts beside them."""
        if "legacy" in self.rest:
            return {"legacy": {**legacy, "fields": self.rest}}
        if legacy:
            return {**self.rest, "legacy": legacy}
        return self.rest or None


def _why_no_text(value: Any, limit: int | None) -> str:
    if type(value) is not str:
        return show(value)
    if "\0" in value:
        return "text with a NUL character"
    try:
        return f"text of {len(value.encode())} bytes, over {limit}"
    except UnicodeEncodeError:
        return "text with a lone surrogate"
