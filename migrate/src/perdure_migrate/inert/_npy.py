"""Arrays in the formats of NumPy: one .npy after another, and .npz archives of them."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
from perdure import InvalidRecord

from perdure_migrate.inert._context import Context
from perdure_migrate.inert._literal import parse_literal
from perdure_migrate.inert._machine import Machine
from perdure_migrate.inert._numpy import array_from
from perdure_migrate.inert._zip import Archive

__all__ = ["MAGIC", "read_npy", "read_npz"]

MAGIC = b"\x93NUMPY"
_WIDTHS = {1: 2, 2: 4, 3: 4}
_LONGEST_HEADER = 1 << 20
_CODE = re.compile(
    r"[<>|=]?(?:b1|[iu][1248]|f(?:2|4|8|12|16)|c(?:8|16|24|32)|[SUVa][0-9]{1,9}|O[48]?"
    r"|[mM]8(?:\[[0-9]{0,9}(?:Y|M|W|D|h|m|s|ms|us|ns|ps|fs|as)\])?)",
    re.ASCII,
)
_MOST_FIELDS = 4_096


def read_npy(data: bytes, context: Context, where: str) -> Any:
    """The array of a file; a list of them where several were written one after another.

    Raises:
        InvalidRecord: It is damaged, or passes a limit; the message says where.
    """
    machine = context.machine(data)
    found: list[Any] = []
    try:
        while machine.pos < machine.size or not found:
            found.append(_next(machine))
    except InvalidRecord as error:
        raise InvalidRecord(f"{where}: {error.message}", **error.detail) from (error.__cause__ or error)
    return found[0] if len(found) == 1 else found


def read_npz(archive: Archive, context: Context) -> dict[str, Any]:
    """The arrays of an archive, by name.

    Raises:
        InvalidRecord: One is damaged.
    """
    return {name.removesuffix(".npy"): read_npy(archive.read(name), context, name) for name in archive.names}


def _next(m: Machine) -> Any:
    if _take(m, len(MAGIC)) != MAGIC:
        raise InvalidRecord("bytes that are no array follow an array; cut them off.", offset=m.pos)
    version = _take(m, 2)[0]
    if version not in _WIDTHS:
        raise InvalidRecord(f"version {version} of the array format is not known; save it as version 1 to 3.")
    length = int.from_bytes(_take(m, _WIDTHS[version]), "little")
    if length > _LONGEST_HEADER:
        raise InvalidRecord(f"the header of an array has {length} bytes; leave the file out.")
    header = parse_literal(_take(m, length).decode("utf-8" if version == 3 else "latin-1", "replace"))
    if type(header) is not dict or set(header) != {"descr", "fortran_order", "shape"}:
        raise InvalidRecord("the header of an array lacks a part. The file is damaged; copy it again.")
    shape, fortran = header["shape"], header["fortran_order"]
    if (
        not (type(shape) is tuple and all(type(n) is int and 0 <= n < 2**62 for n in shape))
        or len(shape) > 32
    ):
        raise InvalidRecord("the shape of an array is malformed. The file is damaged; copy it again.")
    dtype = _dtype(header["descr"])
    if dtype.hasobject:
        return _objects(m, dtype, shape)
    made = array_from(m, dtype, shape, fortran is True, _take(m, math.prod(shape) * dtype.itemsize))
    if made is NotImplemented:
        raise InvalidRecord("the text of an array is no text. The file is damaged; copy it again.")
    return made


def _take(m: Machine, count: int) -> bytes:
    left = m.size - m.pos
    if count > left:
        raise InvalidRecord(
            f"an array is cut off: {count} more bytes are needed, {left} are left.", offset=m.pos
        )
    return m.take(count)


def _objects(m: Machine, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Any:
    """An array of objects is a pickle of itself."""
    m.forget()
    made = m.read()
    if type(made) is not np.ndarray or made.dtype != dtype or made.shape != shape:
        raise InvalidRecord(
            "the objects of an array do not fit its header. The file is damaged; copy it again."
        )
    return made


def _dtype(described: Any) -> np.dtype[Any]:
    """The dtype of a header, checked part by part before NumPy sees it.

    Raises:
        InvalidRecord: It is unknown.
    """
    try:
        if _count(described, 0) <= _MOST_FIELDS:
            return np.lib.format.descr_to_dtype(described)
    except (TypeError, ValueError, OverflowError):
        pass
    raise InvalidRecord(
        f"the type {str(described)[:200]!r} of an array is not known; save it in another form."
    )


def _count(described: Any, depth: int) -> int:
    """How many types a description holds.

    Raises:
        ValueError: A part of it is malformed.
    """
    if type(described) is str and _CODE.fullmatch(described):
        return 1
    if depth > 16 or not described:
        raise ValueError("malformed")
    if type(described) is tuple and len(described) == 2 and _is_shape(described[1]):
        return _count(described[0], depth + 1)
    if type(described) is not list:
        raise ValueError("malformed")
    count = 1
    for field in described:
        if type(field) is not tuple or len(field) not in (2, 3) or type(field[0]) is not str:
            raise ValueError("malformed")
        if len(field) == 3 and not _is_shape(field[2]):
            raise ValueError("malformed")
        count += _count(field[1], depth + 1)
    return count


def _is_shape(shape: Any) -> bool:
    return type(shape) is tuple and len(shape) <= 16 and all(type(n) is int and 0 < n < 2**31 for n in shape)
