"""Tagged forms of immutable leaves: each a pure function from a value to its JSON payload, and back.

A decoder here may assume nothing about its payload and may raise any of `BAD`; the caller turns that into
`InvalidRecord`, and also checks that the value encodes to the very payload that it came from. So the
functions below need no checks of their own beyond what keeps construction safe.
"""

from __future__ import annotations

import binascii
import math
import re
import struct
from base64 import b64encode
from collections.abc import Callable
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from fractions import Fraction
from pathlib import Path, PosixPath, PurePath, PurePosixPath, PureWindowsPath, WindowsPath
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from perdure._errors import InvalidRecord

__all__ = ["BAD", "LEAF_TAGS", "LEAVES", "Json", "base64", "bits", "int_json", "str_json", "unbase64"]

#: A tree of JSON values as Python objects.
Json = Any

#: What a leaf's decoder may raise on a malformed payload.
BAD = (
    ValueError,
    TypeError,
    ArithmeticError,
    LookupError,
    AttributeError,
    MemoryError,
    RecursionError,
    struct.error,
)

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1
_NAN_BITS = 0x7FF8000000000000
_ZONE = re.compile(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*")
_HEX_INT = re.compile(r"-?0x[1-9a-f][0-9a-f]*")
_DECIMAL = re.compile(r"-?(\d+(\.\d+)?(E[+-]\d+)?|Infinity|s?NaN\d*)", re.ASCII)
_PATHS = {c.__name__: c for c in (PurePosixPath, PureWindowsPath, PosixPath, WindowsPath)}
_HERE = type(Path())


def base64(data: bytes | bytearray) -> str:
    """Standard base64 with padding."""
    return b64encode(data).decode("ascii")


def unbase64(text: Json) -> bytes:
    """The bytes of canonical base64; raises ValueError on anything else."""
    if type(text) is not str:
        raise TypeError("base64 text expected")
    data = binascii.a2b_base64(text.encode("ascii"), strict_mode=True)
    if base64(data) != text:  # strict_mode still allows stray bits in the last digit
        raise ValueError("base64 is not canonical")
    return data


def bits(number: float) -> int:
    """The 64 bits of a float."""
    return int.from_bytes(struct.pack(">d", number), "big")


# --- numbers and text ---------------------------------------------------------------------------------


def int_json(value: int) -> Json:
    """A JSON number within int64; hexadecimal text beyond (no digit limit, linear time)."""
    return value if INT64_MIN <= value <= INT64_MAX else {"$int": hex(value)}


def _int_back(payload: Json) -> int:
    if not _HEX_INT.fullmatch(payload):
        raise ValueError("hexadecimal integer expected")
    return int(payload, 16)


def _float(value: float) -> Json:
    if value - value == 0.0:
        return value
    if math.isnan(value):
        pattern = bits(value)
        return {"$float": "nan" if pattern == _NAN_BITS else f"{pattern:016x}"}
    return {"$float": "inf" if value > 0 else "-inf"}


def _float_back(payload: Json) -> float:
    if payload in ("nan", "inf", "-inf"):
        return float(payload)  # a new object each time, so that two NaNs in one set stay two
    return float(struct.unpack(">d", bytes.fromhex(payload))[0])


def str_json(value: str) -> Json:
    """A JSON string, or base64 of UTF-8 with surrogates passed through."""
    if value.isascii():
        return value
    try:
        value.encode()
    except UnicodeEncodeError:
        return {"$str": base64(value.encode("utf-8", "surrogatepass"))}
    return value


def _str_back(payload: Json) -> str:
    return unbase64(payload).decode("utf-8", "surrogatepass")


def _part(value: Json) -> Json:
    """A nested leaf: a number or a string as it stands, or its tagged form."""
    if type(value) is dict:
        ((tag, payload),) = value.items()
        return {"$int": _int_back, "$float": _float_back, "$str": _str_back}[tag](payload)
    return value


def _ints(payload: Json, count: int) -> list[int]:
    parts = [_part(p) for p in payload]
    if len(parts) != count or any(type(p) is not int for p in parts):
        raise ValueError(f"{count} integers expected")
    return parts


def _complex_back(payload: Json) -> complex:
    real, imag = (_part(p) for p in payload)
    if type(real) is not float or type(imag) is not float:
        raise TypeError("two floats expected")
    return complex(real, imag)


def _fraction_back(payload: Json) -> Fraction:
    return Fraction(*_ints(payload, 2))


def _range_back(payload: Json) -> range:
    return range(*_ints(payload, 3))


def _decimal_back(payload: Json) -> Decimal:
    if not _DECIMAL.fullmatch(payload):
        raise ValueError("decimal number expected")
    return Decimal(payload)


# --- time ---------------------------------------------------------------------------------------------


def _zone(zone: tzinfo | None) -> Json:
    if zone is None:
        return None
    if type(zone) is ZoneInfo:
        if not zone.key or not _ZONE.fullmatch(zone.key):
            raise InvalidRecord(
                f"{zone!r} has no zone name: build it with ZoneInfo(name), or use a fixed offset"
            )
        return zone.key
    if type(zone) is timezone:
        offset, *name = zone.__getinitargs__()  # type: ignore[attr-defined]  # public through pickle only
        micros = offset // timedelta(microseconds=1)
        return [micros, str_json(name[0])] if name else [micros]
    raise InvalidRecord(
        f"a tzinfo of class {type(zone).__qualname__} cannot be stored: use zoneinfo.ZoneInfo or datetime.timezone"
    )


def _zone_back(payload: Json) -> tzinfo | None:
    if payload is None:
        return None
    if type(payload) is str:
        if not _ZONE.fullmatch(payload):
            raise ValueError("zone name expected")
        try:
            return ZoneInfo(payload)
        except (LookupError, OSError, ValueError) as error:
            raise InvalidRecord(
                f"time zone {payload!r} is not known here: install the `tzdata` package", zone=payload
            ) from error
    micros, *name = payload
    if type(micros) is not int:
        raise TypeError("offset in microseconds expected")
    return timezone(timedelta(microseconds=micros), *(_part(n) for n in name))


def _moment(text: str, zone: tzinfo | None, fold: int) -> Json:
    return text if zone is None and not fold else [text, _zone(zone), fold]


def _moment_parts(payload: Json) -> tuple[str, tzinfo | None, int]:
    if type(payload) is str:
        return payload, None, 0
    text, zone, fold = payload
    return text, _zone_back(zone), fold


def _datetime(value: datetime) -> Json:
    text = value.replace(tzinfo=None, fold=0).isoformat(timespec="microseconds")
    return {"$datetime": _moment(text, value.tzinfo, value.fold)}


def _datetime_back(payload: Json) -> datetime:
    text, zone, fold = _moment_parts(payload)
    return datetime.fromisoformat(text).replace(tzinfo=zone, fold=fold)


def _time(value: time) -> Json:
    text = value.replace(tzinfo=None, fold=0).isoformat(timespec="microseconds")
    return {"$time": _moment(text, value.tzinfo, value.fold)}


def _time_back(payload: Json) -> time:
    text, zone, fold = _moment_parts(payload)
    return time.fromisoformat(text).replace(tzinfo=zone, fold=fold)


def _timedelta_back(payload: Json) -> timedelta:
    return timedelta(*_ints(payload, 3))


# --- paths --------------------------------------------------------------------------------------------


def _path(value: PurePath) -> Json:
    text = str(value)
    if type(value)(text).parts != value.parts:
        raise InvalidRecord(f"{value!r} does not survive as text: store its parts, or an unambiguous path")
    return {"$path": [type(value).__name__, str_json(text)]}


def _path_back(payload: Json) -> PurePath:
    name, text = payload
    kind: type[PurePath] = _PATHS[name]
    if issubclass(kind, Path) and kind is not _HERE:
        kind = PureWindowsPath if kind is WindowsPath else PurePosixPath
    path = kind(_part(text))
    if str(path) != _part(text):
        raise ValueError("path is not normalised")
    return path


#: Exact type → its JSON form.
LEAVES: dict[type, Callable[[Any], Json]] = {
    type(None): lambda v: v,
    bool: lambda v: v,
    int: int_json,
    float: _float,
    str: str_json,
    bytes: lambda v: {"$bytes": base64(v)},
    complex: lambda v: {"$complex": [_float(v.real), _float(v.imag)]},
    Decimal: lambda v: {"$decimal": str(v)},
    Fraction: lambda v: {"$fraction": [int_json(v.numerator), int_json(v.denominator)]},
    range: lambda v: {"$range": [int_json(v.start), int_json(v.stop), int_json(v.step)]},
    UUID: lambda v: {"$uuid": str(v)},
    datetime: _datetime,
    date: lambda v: {"$date": v.isoformat()},
    time: _time,
    timedelta: lambda v: {"$timedelta": [v.days, v.seconds, v.microseconds]},
    **dict.fromkeys(_PATHS.values(), _path),
}

#: Tag → the value of its payload; may raise any of `BAD`.
LEAF_TAGS: dict[str, Callable[[Json], object]] = {
    "$int": _int_back,
    "$float": _float_back,
    "$str": _str_back,
    "$bytes": unbase64,
    "$complex": _complex_back,
    "$decimal": _decimal_back,
    "$fraction": _fraction_back,
    "$range": _range_back,
    "$uuid": UUID,
    "$datetime": _datetime_back,
    "$date": date.fromisoformat,
    "$time": _time_back,
    "$timedelta": _timedelta_back,
    "$path": _path_back,
}
