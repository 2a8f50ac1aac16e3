"""NumPy arrays, dtypes and scalars as JSON, by content and bit for bit; never through pickle."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np

from perdure._errors import InvalidRecord
from perdure.values._leaves import Json, base64, str_json, unbase64

__all__ = [
    "array_json",
    "array_of",
    "describe",
    "memory_order",
    "parse_dtype",
    "scalar_json",
    "scalar_of",
    "shape_of",
]

Array = np.ndarray[Any, Any]
Dtype = np.dtype[Any]

_SIMPLE = re.compile(
    r"[<>|](b1|[iu][1248]|f[248]|c8|c16|[SUV]\d{1,10}"
    r"|[mM]8(\[\d{0,10}(Y|M|W|D|h|m|s|ms|us|ns|ps|fs|as)\])?)",
    re.ASCII,
)
_LONG = re.compile(r"([<>](?:f|c)(?:12|16|24|32)):(x87|quad|double-double)")
_LONG_FORMATS = {63: "x87", 112: "quad", 105: "double-double"}
_MAX_NESTING = 16
_MAX_DIMS = 64
_MAX_EMPTY = 1_000_000


def _long_format() -> str | None:
    """The name of this platform's long double format, or None where it is a plain double."""
    return _LONG_FORMATS.get(int(np.finfo(np.longdouble).nmant))


def _is_long(dtype: Dtype) -> bool:
    return dtype.char in "gG" and _long_format() is not None


# --- dtypes -------------------------------------------------------------------------------------------


def describe(dtype: Dtype) -> Json:
    """The JSON form of a dtype.

    Raises:
        InvalidRecord: The dtype has metadata, is user-defined, or has object fields.
    """
    if isinstance(dtype, np.dtypes.StringDType):
        return _describe_string(dtype)
    if dtype.metadata is not None:
        raise InvalidRecord(
            f"the metadata of {dtype!r} cannot be stored: drop it, and keep it beside the array"
        )
    if dtype.kind == "V" and dtype.type is not np.void:
        raise InvalidRecord(f"{dtype!r} is not a plain NumPy dtype: view or cast the array to one first")
    if dtype.names is not None and dtype.fields is not None:
        fields = [_describe_field(name, dtype.fields[name]) for name in dtype.names]
        return {"fields": fields, "itemsize": dtype.itemsize, "align": dtype.isalignedstruct}
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        return {"base": describe(base), "shape": list(shape)}
    if _is_long(dtype):
        return f"{dtype.str}:{_long_format()}"
    if dtype.kind not in "biufcSUVmM" or not _SIMPLE.fullmatch(dtype.str):
        raise InvalidRecord(f"an array of {dtype!r} cannot be stored: cast it, or hold the objects in a list")
    return dtype.str


def _describe_field(name: str, field: tuple[Any, ...]) -> Json:
    dtype, offset, *title = field
    if any(type(t) is not str for t in title):
        raise InvalidRecord(f"field {name!r} has a title that is no text: rename it before storing the array")
    return [str_json(name), describe(dtype), offset, *map(str_json, title)]


def _describe_string(dtype: Any) -> Json:
    if not hasattr(dtype, "na_object"):
        return {"string": dtype.coerce}
    na = dtype.na_object
    if type(na) is str:
        return {"string": dtype.coerce, "na": [str_json(na)]}
    if na is None or (type(na) is float and math.isnan(na)):
        return {"string": dtype.coerce, "na": None if na is None else "nan"}
    raise InvalidRecord(f"the missing-value marker {na!r} cannot be stored: use None, NaN or a text")


def parse_dtype(form: Json, nesting: int = 0) -> Dtype:
    """The dtype of a validated form; may raise what `BAD` lists."""
    if nesting > _MAX_NESTING:
        raise ValueError("dtype nests too deeply")
    if type(form) is str:
        dtype = _parse_simple(form)
    elif "string" in form:
        dtype = _parse_string(form)
    elif "base" in form:
        dtype = np.dtype((parse_dtype(form["base"], nesting + 1), tuple(_sizes(form["shape"]))))
    else:
        dtype = _parse_struct(form, nesting)
    if describe(dtype) != form:
        raise ValueError("dtype is not in its canonical form")
    return dtype


def _parse_simple(form: str) -> Dtype:
    if long := _LONG.fullmatch(form):
        if long[2] != _long_format():
            raise InvalidRecord(
                f"this machine has no {long[2]} long double: read the value where it was written"
            )
        return np.dtype(long[1])
    if not _SIMPLE.fullmatch(form):
        raise ValueError("unknown dtype")
    return np.dtype(form)


def _parse_string(form: Json) -> Dtype:
    if type(form["string"]) is not bool:
        raise TypeError("string dtype needs a boolean")
    if "na" not in form:
        return np.dtypes.StringDType(coerce=form["string"])
    na = form["na"]
    marker = None if na is None else math.nan if na == "nan" else _text(na[0])
    return np.dtypes.StringDType(coerce=form["string"], na_object=marker)


def _parse_struct(form: Json, nesting: int) -> Dtype:
    fields = form["fields"]
    if any(len(f) not in (3, 4) for f in fields):
        raise ValueError("a field is [name, dtype, offset] or [name, dtype, offset, title]")
    spec = {
        "names": [_text(f[0]) for f in fields],
        "formats": [parse_dtype(f[1], nesting + 1) for f in fields],
        "offsets": _sizes([f[2] for f in fields]),
        "titles": [_text(f[3]) if len(f) == 4 else None for f in fields],
        "itemsize": _sizes([form["itemsize"]])[0],
    }
    return np.dtype(spec, align=form["align"] is True)  # type: ignore[call-overload, no-any-return]


def _text(form: Json) -> str:
    """A name: a string, or the `$str` form of one that is not valid Unicode."""
    text = unbase64(form["$str"]).decode("utf-8", "surrogatepass") if type(form) is dict else form
    if type(text) is not str:
        raise TypeError("text expected")
    return text


def _sizes(sizes: Json) -> list[int]:
    if type(sizes) is not list or any(type(s) is not int or not 0 <= s < 2**62 for s in sizes):
        raise ValueError("sizes must be integers from 0 up")
    return sizes


# --- arrays -------------------------------------------------------------------------------------------


def memory_order(array: Array) -> str:
    """``"F"`` for an array that is only Fortran-contiguous, else ``"C"``."""
    return "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"


def shape_of(form: Json) -> tuple[int, ...]:
    """A validated shape; may raise what `BAD` lists."""
    if len(form) > _MAX_DIMS:
        raise ValueError(f"at most {_MAX_DIMS} dimensions")
    return tuple(_sizes(form))


def _check_count(dtype: Dtype, shape: tuple[int, ...]) -> None:
    """Refuse what a few bytes could blow up: elements without bytes are bounded by nothing else."""
    if dtype.itemsize == 0 and math.prod(shape) > _MAX_EMPTY:
        raise InvalidRecord(f"an array of more than {_MAX_EMPTY:,} elements without bytes cannot be stored")


def array_json(array: Array) -> Json:
    """The payload of an array of anything but Python objects and variable-length strings."""
    form, order = describe(array.dtype), memory_order(array)
    _check_count(array.dtype, array.shape)
    data = _clean(array).tobytes(order="F" if order == "F" else "C")
    return {"dtype": form, "shape": list(array.shape), "order": order, "data": base64(data)}


def array_of(payload: Json) -> Array:
    """The array of a payload made by `array_json`; may raise what `BAD` lists."""
    dtype, shape, order = parse_dtype(payload["dtype"]), shape_of(payload["shape"]), payload["order"]
    _check_count(dtype, shape)
    data = unbase64(payload["data"])
    if len(data) != math.prod(shape) * dtype.itemsize:
        raise ValueError("array data does not fill its shape")
    if order not in ("C", "F"):
        raise ValueError("memory order must be C or F")
    array = np.ndarray(shape, dtype, buffer=data, order=order).copy(order=order)
    if array.dtype != dtype or memory_order(array) != order:
        raise ValueError("array is not in its canonical form")
    return array


def _clean(array: Array) -> Array:
    """The array with zeros in its padding, which holds whatever memory held, so that equal means equal text."""
    if not _has_padding(array.dtype):
        return array
    clean = np.zeros(array.shape, array.dtype, order="F" if memory_order(array) == "F" else "C")
    _copy_fields(array, clean)
    return clean


def _has_padding(dtype: Dtype) -> bool:
    if dtype.subdtype is not None:
        return _has_padding(dtype.subdtype[0])
    if dtype.names is None or dtype.fields is None:
        return _is_long(dtype)
    parts = [f[0] for f in dtype.fields.values()]
    return sum(dtype[n].itemsize for n in dtype.names) != dtype.itemsize or any(map(_has_padding, parts))


def _copy_fields(source: Array, target: Array) -> None:
    if source.dtype.names is not None:
        for name in source.dtype.names:
            _copy_fields(source[name], target[name])
        return
    target[...] = source
    if _is_long(source.dtype) and _long_format() == "x87":
        # ten bytes of number, then padding up to the alignment, once per real part
        part = target.dtype.itemsize // (2 if target.dtype.kind == "c" else 1)
        raw = target.view(np.dtype((np.void, target.dtype.itemsize)))
        width = np.dtype({"names": ["pad"], "formats": [f"V{part - 10}"], "offsets": [10], "itemsize": part})
        big = target.dtype.byteorder == ">"
        for start in range(0, target.dtype.itemsize, part):
            offset = start if big else start + 10
            pad = np.dtype(
                {
                    "names": ["pad"],
                    "formats": [width["pad"]],
                    "offsets": [offset],
                    "itemsize": raw.dtype.itemsize,
                }
            )
            raw.view(pad)["pad"] = np.void(bytes(part - 10))


# --- scalars ------------------------------------------------------------------------------------------


def scalar_json(scalar: np.generic) -> Json:
    """The payload of a NumPy scalar: its dtype and its bytes, little-endian.

    Raises:
        InvalidRecord: It is of a subclass, or of a dtype that cannot be stored.
    """
    if isinstance(scalar, np.str_) and type(scalar) is np.str_:
        return ["str", str_json(str.__str__(scalar))]  # str() would drop trailing NULs
    if isinstance(scalar, np.bytes_) and type(scalar) is np.bytes_:
        return ["bytes", base64(bytes(scalar))]
    if scalar.dtype.type is not type(scalar):
        raise InvalidRecord(f"{type(scalar).__qualname__} is a subclass of a NumPy scalar: convert it first")
    array = np.array(scalar)
    if scalar.dtype.names is None:
        array = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return [describe(array.dtype), base64(_clean(array).tobytes())]


def scalar_of(payload: Json) -> np.generic:
    """The scalar of a payload made by `scalar_json`; may raise what `BAD` lists."""
    form, data = payload
    if form == "str":
        return np.str_(_text(data))
    if form == "bytes":
        return np.bytes_(unbase64(data))
    dtype, raw = parse_dtype(form), unbase64(data)
    if len(raw) != dtype.itemsize:
        raise ValueError("scalar data does not fill its dtype")
    value = np.ndarray((), dtype, buffer=bytearray(raw))[()]
    if not isinstance(value, np.generic):
        raise ValueError("dtype has no scalar")
    return value
