"""Tensors of torch: the bytes of their storages, with shape and strides, as NumPy arrays.

A storage is a persistent id in the pickle; `Storages` answers it. What NumPy has no type for (bfloat16, the
quantised ones) stays a stand-in, whose storage names its type and has the bytes for state.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from perdure_migrate.inert._stand_in import Opaque

if TYPE_CHECKING:
    from perdure_migrate.inert._machine import Machine

__all__ = ["REBUILDERS", "Storages", "Wanted"]

Name = tuple[str, str]
Args = tuple[Any, ...]

#: Names of storages, how many bytes an item takes, and what NumPy calls it.
_STORAGES: dict[str, tuple[int, str | None]] = {
    "DoubleStorage": (8, "f8"),
    "FloatStorage": (4, "f4"),
    "HalfStorage": (2, "f2"),
    "BFloat16Storage": (2, None),
    "LongStorage": (8, "i8"),
    "IntStorage": (4, "i4"),
    "ShortStorage": (2, "i2"),
    "CharStorage": (1, "i1"),
    "ByteStorage": (1, "u1"),
    "BoolStorage": (1, "b1"),
    "ComplexFloatStorage": (8, "c8"),
    "ComplexDoubleStorage": (16, "c16"),
    "QInt8Storage": (1, None),
    "QUInt8Storage": (1, None),
    "QUInt4x2Storage": (1, None),
    "QUInt2x4Storage": (1, None),
    "QInt32Storage": (4, None),
    "UntypedStorage": (1, "u1"),
}

#: Types that are named beside an untyped storage.
_DTYPES = {"uint16": "u2", "uint32": "u4", "uint64": "u8"}

_STORAGE_KINDS = ("torch", "torch.storage", "torch.cuda")


@dataclass(slots=True)
class Wanted:
    """A storage that a pickle refers to.

    Attributes:
        kind: The name of its class.
        count: How many items it has, by the pickle.
        width: Bytes of an item.
        dtype: Of its items; None where NumPy has none.
        stand_in: What stands for it in what is read.
        data: Its bytes, once they are known.
    """

    kind: str
    count: int
    width: int
    dtype: np.dtype[Any] | None
    stand_in: Opaque
    data: bytes | None = None


class Storages:
    """Answers the persistent ids of one pickle.

    Attributes:
        wanted: What was asked for, by key.
    """

    def __init__(self, machine: Machine, load: Callable[[str, Wanted], bytes | None], big: bool) -> None:
        self.wanted: dict[str, Wanted] = {}
        self.by_id: dict[int, Wanted] = {}
        self._machine = machine
        self._load = load
        self._order = ">" if big else "<"
        machine.persistent = self.answer
        machine.scratch["storages"] = self.by_id

    def answer(self, key: Any) -> Any:
        """The stand-in of a storage, or `NotImplemented` for any other id."""
        if type(key) is not tuple or len(key) not in (5, 6) or key[0] != "storage":
            return NotImplemented
        named, name, location, count = self._machine.name_of(key[1]), key[2], key[3], key[4]
        if named is None or named[0] not in _STORAGE_KINDS or named[1] not in _STORAGES:
            return NotImplemented
        if type(name) is not str or type(location) is not str or type(count) is not int or count < 0:
            return NotImplemented
        if len(key) == 6 and key[5] is not None:
            return NotImplemented  # a view of another storage, as torch wrote before 0.4
        known = self.wanted.get(name)
        if known is None:
            known = self.wanted[name] = self._take(named, name, location, count)
        elif known.kind != named[1] or known.count != count:
            raise self._machine.fail(f"storage {name!r} is described in two ways")
        return known.stand_in

    def _take(self, named: Name, name: str, location: str, count: int) -> Wanted:
        width, code = _STORAGES[named[1]]
        dtype = None if code is None else np.dtype(code).newbyteorder(self._order)  # type: ignore[arg-type]
        stand_in = self._machine.opaque(named, (name, location, count))
        made = Wanted(named[1], count, width, dtype, stand_in)
        made.data = stand_in.state = self._load(name, made)
        if made.data is not None:
            if len(made.data) != count * width:
                raise self._machine.fail(
                    f"storage {name!r} of {count} × {width} bytes has {len(made.data)} bytes"
                )
            self._machine.admit(2 * len(made.data))
        self.by_id[id(stand_in)] = made
        return made


def _tensor(m: Machine, name: Name, args: Args) -> Any:
    """The array of a tensor, as far as NumPy has its type, and its strides show each item once or less."""
    if not 4 <= len(args) <= 8:
        return NotImplemented
    wanted: Wanted | None = m.scratch.get("storages", {}).get(id(args[0]))
    if wanted is None or wanted.data is None:
        return NotImplemented
    dtype, count, rest = wanted.dtype, wanted.count, args[4:]
    if name[1] == "_rebuild_tensor_v3":
        named = m.name_of(args[6]) if len(args) > 6 else None
        code = _DTYPES.get(named[1]) if named is not None and named[0] == "torch" else None
        if wanted.kind != "UntypedStorage" or code is None or dtype is None:
            return NotImplemented
        dtype = np.dtype(code).newbyteorder(dtype.byteorder)
        count, rest = wanted.count // dtype.itemsize, (*args[4:6], *args[7:])
    made = None if dtype is None else _strided(m, wanted.data, dtype, count, args[1:4])
    if made is None:
        return NotImplemented
    return made if _is_plain(rest) else m.opaque(name, (made, *args[4:]))


def _is_plain(rest: Args) -> bool:
    """Whether a tensor is nothing but its items: it asks for no gradient, and has no hooks or attributes."""
    return not rest or (rest[0] is False and all(not one for one in rest[1:] if not isinstance(one, Opaque)))


def _strided(m: Machine, data: bytes, dtype: np.dtype[Any], count: int, layout: Args) -> Any:
    offset, size, strides = layout
    if type(offset) is not int or offset < 0 or not (_are_sizes(size) and _are_sizes(strides)):
        return None
    if len(size) != len(strides):
        return None
    items = math.prod(size)
    if items and offset + sum((n - 1) * step for n, step in zip(size, strides, strict=True)) >= count:
        raise m.fail("a tensor reaches beyond its storage")
    if items > count:
        return None  # it shows items several times over: the storage says all
    m.work(sum(size))
    m.copies(items * dtype.itemsize)
    base = np.frombuffer(data, dtype, count)
    if not items:
        return np.empty(size, dtype)
    steps = tuple(step * dtype.itemsize for step in strides)
    view: np.ndarray[Any, Any] = np.lib.stride_tricks.as_strided(base[offset:], size, steps, writeable=False)
    return view.copy(order="K")


def _are_sizes(value: Any) -> bool:
    return type(value) is tuple and len(value) <= 32 and all(type(n) is int and 0 <= n < 2**62 for n in value)


#: What REDUCE may make.
REBUILDERS: dict[Name, Callable[[Machine, Name, Args], Any]] = {
    ("torch._utils", name): _tensor
    for name in ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3")
}
