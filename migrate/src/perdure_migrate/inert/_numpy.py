"""The part of the allowlist that makes numpy arrays and scalars.

A dtype stays an `Opaque` in what is read; here it is understood, for an array or a scalar that needs it.
The bytes of an array must be exactly as many as shape times item size before anything is allocated.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from perdure import PerdureError

from perdure_migrate.inert._stand_in import Opaque

if TYPE_CHECKING:
    from perdure_migrate.inert._machine import Machine

__all__ = ["REBUILDERS", "array_from", "dtype_of"]

Name = tuple[str, str]
Args = tuple[Any, ...]
Rebuilder = Callable[["Machine", Name, Args], Any]

_CODE = re.compile(
    r"[<>|=]?(?:b1|[iu][1248]|f(?:2|4|8|12|16)|c(?:8|16|24|32)|[SUV][0-9]{1,9}|O[48]?|[mM]8)", re.A
)
_UNITS = frozenset({"Y", "M", "W", "D", "h", "m", "s", "ms", "us", "ns", "ps", "fs", "as"})
_ALIGNED = 0x80

#: The most dtypes that one dtype may hold, nested ones counted wherever they come up.
_MOST_FIELDS = 4_096
_MOST_NESTING = 16

#: A dtype, and how many it holds.
Sized = tuple["np.dtype[Any]", int]


# -- dtypes


def dtype_of(m: Machine, value: Any) -> np.dtype[Any] | None:
    """The dtype that a stand-in describes, or None where it is not understood in full."""
    if not _is_dtype(value):
        return None
    known: dict[int, tuple[Opaque, Any, np.dtype[Any] | None]] = m.scratch.setdefault("dtypes", {})
    found = known.get(id(value))
    if found is not None and found[1] is value.state:
        return found[2]
    try:
        sized = _understand(m, value, 0)
    except PerdureError:  # a limit, which is a ValueError as well
        raise
    except (TypeError, ValueError, OverflowError):
        sized = None
    made = sized[0] if sized else None
    known[id(value)] = (value, value.state, made)
    return made


def _is_dtype(value: Any) -> bool:
    return type(value) is Opaque and (value.module, value.qualname) == ("numpy", "dtype")


def _is(value: Any, *numbers: int) -> bool:
    """Whether it is one of these integers; the type comes first, since `==` belongs to the other side."""
    return type(value) is int and value in numbers


def _text(value: Any) -> str:
    """A short text of a dtype.

    Raises:
        TypeError: It is none.
    """
    if type(value) is bytes and value.isascii():
        value = value.decode("ascii")
    if type(value) is not str or len(value) > 256:
        raise TypeError("not a short text")
    return value


def _understand(m: Machine, value: Any, depth: int) -> Sized | None:
    m.work(1)
    if depth > _MOST_NESTING or not _is_dtype(value):
        return None
    args: tuple[Any, ...] = value.args or ()
    state = value.state
    if not 1 <= len(args) <= 3 or any(type(flag) not in (bool, int) for flag in args[1:]):
        return None
    code = _text(args[0])
    if not _CODE.fullmatch(code):
        return None
    plain = np.dtype(code)
    if state is None:
        return plain, 1
    if type(state) is not tuple or len(state) not in (8, 9) or not _is(state[0], 3, 4):
        return None
    _, order, sub, names, fields, size, _alignment, flags = state[:8]
    if type(size) is not int or size not in (-1, plain.itemsize) or type(flags) is not int:
        return None
    if sub is not None:
        return _subarray(m, sub, plain.itemsize, depth)
    if names is not None or fields is not None:
        return _structure(m, state, depth, plain.itemsize)
    return _simple(plain, _text(order), state[8] if len(state) == 9 else None), 1


def _simple(plain: np.dtype[Any], order: str, metadata: Any) -> np.dtype[Any]:
    if order not in ("<", ">", "|", "="):
        raise ValueError("an unknown byte order")
    if plain.kind in "mM" and metadata is not None:
        extra, (unit, count, denominator, _event) = metadata
        if extra or type(count) is not int or not 0 < count < 2**31 or not _is(denominator, 1):
            raise ValueError("an unknown time unit")
        unit = _text(unit)
        if unit != "generic":
            if unit not in _UNITS:
                raise ValueError("an unknown time unit")
            plain = np.dtype(f"{plain.kind}8[{count}{unit}]")
    elif metadata is not None:
        raise ValueError("a dtype with metadata")
    return plain.newbyteorder(order) if order in "<>" else plain  # type: ignore[arg-type]


def _subarray(m: Machine, sub: Any, size: int, depth: int) -> Sized | None:
    if type(sub) is not tuple or len(sub) != 2:
        return None
    base, shape = _understand(m, sub[0], depth + 1), sub[1]
    shape = (shape,) if type(shape) is int else shape
    if base is None or not _is_shape(shape) or math.prod(shape) * base[0].itemsize != size or not all(shape):
        return None
    return np.dtype((base[0], shape)), base[1] + 1


def _structure(m: Machine, state: Any, depth: int, size: int) -> Sized | None:
    names, fields, aligned = state[3], state[4], bool(state[7] & _ALIGNED)
    if (
        type(names) is not tuple
        or type(fields) is not dict
        or len(fields) != len(names)
        or len(names) > _MOST_FIELDS
    ):
        return None
    formats, offsets, count = [], [], 1
    for name in names:
        field = fields.get(name) if type(name) is str else None
        if type(field) is not tuple or len(field) != 2:
            return None
        inner, offset = _understand(m, field[0], depth + 1), field[1]
        if inner is None or type(offset) is not int or not 0 <= offset <= size - inner[0].itemsize:
            return None
        count += inner[1]
        if count > _MOST_FIELDS:
            return None
        formats.append(inner[0])
        offsets.append(offset)
    made = np.dtype(
        {"names": list(names), "formats": formats, "offsets": offsets, "itemsize": size},
        align=aligned,
    )
    return (made, count) if made.itemsize == size else None


# -- arrays


def _is_shape(shape: Any) -> bool:
    if type(shape) is not tuple or len(shape) > 32:
        return False
    return all(type(n) is int and 0 <= n < 2**62 for n in shape)


def array_from(m: Machine, dtype: np.dtype[Any], shape: Any, fortran: bool, data: Any) -> Any:
    """An array over a copy of `data`.

    Raises:
        InvalidRecord: The bytes are not as many as the shape and the item size say.
    """
    if not _is_shape(shape):
        return NotImplemented
    count = math.prod(shape)
    if dtype.itemsize == 0 or 0 in shape:
        m.work(sum(shape))  # nothing bounds these numbers, and somebody may count to them
        m.work(count)
    if count * dtype.itemsize != len(data):
        raise m.fail(f"an array of {count} × {dtype.itemsize} bytes comes with {len(data)} bytes")
    m.copies(len(data))
    made: np.ndarray[Any, Any] = np.ndarray(
        shape, dtype, buffer=bytearray(data) or None, order="F" if fortran else "C"
    )
    return made if _is_text_valid(made) else NotImplemented


def _is_text_valid(array: np.ndarray[Any, Any]) -> bool:
    """Whether text elements are code points, as any use of them takes for granted."""
    dtype = array.dtype
    if dtype.names is not None:
        return all(_is_text_valid(array[name]) for name in dtype.names)
    if dtype.kind != "U" or not array.size or not dtype.itemsize:
        return True
    units = np.ascontiguousarray(array).reshape(-1).view(np.dtype(np.uint32).newbyteorder(dtype.byteorder))
    return bool(units.max() <= 0x10FFFF)


def _bytes_of(data: Any) -> bytes | bytearray | None:
    if type(data) is str and data.isascii():
        return data.encode("ascii")
    return data if type(data) in (bytes, bytearray) else None


def _reconstruct(m: Machine, name: Name, args: Args) -> Any:
    """An empty array that waits for its state."""
    if len(args) != 3 or m.name_of(args[0]) != ("numpy", "ndarray") or not _is_shape(args[1]):
        return NotImplemented
    if args[1] != (0,) or _bytes_of(args[2]) != b"b":
        return NotImplemented
    return m.unfinished(name, args, _finish_array)


def _finish_array(m: Machine, target: Any, state: Any) -> Any:
    if type(state) is not tuple or len(state) not in (4, 5) or (len(state) == 5 and not _is(state[0], 0, 1)):
        return NotImplemented
    shape, described, fortran, data = state[-4:]
    dtype = dtype_of(m, described)
    if dtype is None or type(fortran) not in (bool, int):
        return NotImplemented
    if dtype.hasobject:
        return _objects(m, dtype, shape, bool(fortran), data)
    raw = _bytes_of(data)
    return NotImplemented if raw is None else array_from(m, dtype, shape, bool(fortran), raw)


def _objects(m: Machine, dtype: np.dtype[Any], shape: Any, fortran: bool, data: Any) -> Any:
    if (
        dtype != np.dtype(object)
        or type(data) is not list
        or not _is_shape(shape)
        or math.prod(shape) != len(data)
    ):
        return NotImplemented
    m.copies(len(data))
    flat = np.empty(len(data), dtype=object)
    for index, item in enumerate(data):  # one by one: numpy would look into sequences
        flat[index] = item
    # The list runs in C order, whatever the order of the array in memory.
    return np.array(flat.reshape(shape), order="F" if fortran else "C")


def _frombuffer(m: Machine, name: Name, args: Args) -> Any:
    if len(args) not in (4, 5):
        return NotImplemented
    data, described, shape, order = args[:4]
    dtype = dtype_of(m, described)
    shape = (shape,) if type(shape) is int else shape
    if (
        dtype is None
        or dtype.hasobject
        or type(order) is not str
        or order not in ("C", "F", "K")
        or type(data) not in (bytes, bytearray)
    ):
        return NotImplemented
    made = array_from(m, dtype, shape, order == "F", data)
    axes = args[4] if len(args) == 5 else None
    if made is NotImplemented or axes is None:
        return made
    if order != "K" or not _is_shape(axes) or sorted(axes) != list(range(made.ndim)):
        return NotImplemented
    return made.transpose(axes)


def _scalar(m: Machine, name: Name, args: Args) -> Any:
    dtype = dtype_of(m, args[0]) if len(args) == 2 else None
    raw = _bytes_of(args[1]) if dtype is not None else None
    if dtype is None or raw is None or dtype.hasobject or dtype.subdtype is not None:
        return NotImplemented
    if len(raw) != dtype.itemsize:
        raise m.fail(f"a scalar of {dtype.itemsize} bytes comes with {len(raw)} bytes")
    made = array_from(m, dtype, (1,), False, raw)
    return made if made is NotImplemented else made[0]


#: What REDUCE may make; the modules moved in numpy 2.
REBUILDERS: dict[Name, Rebuilder] = {
    **{(core, "_reconstruct"): _reconstruct for core in ("numpy.core.multiarray", "numpy._core.multiarray")},
    **{(core, "scalar"): _scalar for core in ("numpy.core.multiarray", "numpy._core.multiarray")},
    **{(core, "_frombuffer"): _frombuffer for core in ("numpy.core.numeric", "numpy._core.numeric")},
}
