"""The private encoding in which the reader's process hands a graph over: columns of plain data, never code.

`dumps` walks a graph and writes each object once: its kind in one column, the numbers of what it holds in
another, leaves in columns of their type. So cycles and sharing stay as they are, no depth reaches a stack, and
reading back is a few bulk operations. Rare leaves are texts of the value codec. It is no format for files: both
ends are the same version of this module.
"""

from __future__ import annotations

import gc
import json
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from datetime import time, timezone, tzinfo
from itertools import accumulate, islice, pairwise
from typing import Any, TypeVar
from uuid import UUID, SafeUUID
from zoneinfo import ZoneInfo

import numpy as np
from perdure import InvalidRecord, values

from perdure_migrate.inert._stand_in import Opaque

__all__ = ["SECTIONS", "dumps", "loads"]

(
    _NONE,
    _TRUE,
    _FALSE,
    _INT,
    _LONG,
    _FLOAT,
    _TEXT,
    _BYTES,
    _BYTEARRAY,
    _UUID,
    _ZONE,
    _VALUE,
    _SCALAR,
    _ARRAY,
    _LIST,
    _TUPLE,
    _DICT,
    _ORDERED,
    _SET,
    _FROZENSET,
    _DEQUE,
    _OPAQUE,
    _OBJECTS,
    _FLOATS,
) = range(24)

_KINDS: dict[type, int] = {
    type(None): _NONE,
    int: _INT,
    float: _FLOAT,
    str: _TEXT,
    bytes: _BYTES,
    bytearray: _BYTEARRAY,
    UUID: _UUID,
    timezone: _ZONE,
    ZoneInfo: _ZONE,
    list: _LIST,
    tuple: _TUPLE,
    dict: _DICT,
    OrderedDict: _ORDERED,
    set: _SET,
    frozenset: _FROZENSET,
    deque: _DEQUE,
    Opaque: _OPAQUE,
}
_FIRST_NODE = _LIST

#: Columns of a graph: kinds, sizes, what nodes hold, integers, floats, texts, their lengths, bytes, their lengths.
SECTIONS = 9

Cut = TypeVar("Cut", str, bytes)

#: Longer texts are seldom met twice.
_INTERNED = 64
_INT64 = range(-(2**63), 2**63)


class _Writer:
    """Gives each object its number, and collects the columns."""

    def __init__(self) -> None:
        self.objects: list[Any] = []
        self.kinds = bytearray()
        self.numbers: dict[int, int] = {}
        self.texts: dict[str, int] = {}
        self.leaves: dict[int, int] = {}
        self.kept: list[Any] = []  # what is made on the way keeps its id for itself

    def number(self, value: Any) -> int:
        """The number of an object; a container that was met before keeps its own."""
        kind = type(value)
        if kind is str:
            if len(value) > _INTERNED:
                return self._new(value, _TEXT)
            known = self.texts.get(value)
            if known is None:
                known = self.texts[value] = self._new(value, _TEXT)
            return known
        if kind is float:
            return self._new(value, _FLOAT)
        if kind is bool or value is None:
            code = _NONE if value is None else _TRUE if value else _FALSE
            if code not in self.leaves:
                self.leaves[code] = self._new(value, code)
            return self.leaves[code]
        if kind is int:
            return self._new(value, _INT if value in _INT64 else _LONG)
        known = self.numbers.get(id(value))
        if known is None:
            known = self.numbers[id(value)] = self._new(value, self._kind(value))
        return known

    def _new(self, value: Any, kind: int) -> int:
        self.objects.append(value)
        self.kinds.append(kind)
        return len(self.objects) - 1

    def _kind(self, value: Any) -> int:
        kind = type(value)
        if kind is np.ndarray:
            return _OBJECTS if value.dtype == object else _ARRAY
        if kind is list and value and type(value[0]) is float and {float}.issuperset(map(type, value)):
            return _FLOATS
        if issubclass(kind, np.generic) and kind not in (np.str_, np.bytes_):
            return _SCALAR
        return _KINDS.get(kind, _VALUE)

    def keep(self, value: Any) -> Any:
        """`value`, alive until the end."""
        self.kept.append(value)
        return value


def dumps(root: Any) -> list[bytes]:
    """The columns of a graph of what the machine makes.

    Raises:
        InvalidRecord: A leaf is one that the value codec does not keep.
    """
    writer = _Writer()
    writer.number(root)
    refs: list[int] = []
    sizes: list[int] = []
    ints: list[int] = []
    floats: list[float] = []
    texts: list[bytes] = []
    raw: list[Any] = []
    number, kinds = writer.number, writer.kinds
    for index, value in _growing(writer.objects):
        kind = kinds[index]
        if kind >= _FIRST_NODE:
            if kind == _FLOATS:
                floats += value
                sizes.append(len(value))
                continue
            held = _HELD[kind](value, writer)
            refs += [number(one) for one in held]
            sizes.append(len(held))
        elif kind == _TEXT:
            texts.append(value.encode("utf-8", "surrogatepass"))
        elif kind == _FLOAT:
            floats.append(value)
        elif kind == _INT:
            ints.append(value)
        elif kind in (_BYTES, _BYTEARRAY):
            raw.append(value)
        elif kind == _LONG:
            texts.append(hex(value).encode())
        elif kind == _UUID:
            texts.append(f"{value.int:x} {value.is_safe.value}".encode())
        elif kind == _ZONE:  # the codec keeps zones in times only
            texts.append(values.encode(time(tzinfo=value)).encode())
        elif kind == _VALUE:
            texts.append(values.encode(value, limits=_LEAF_LIMITS).encode())
        elif kind in (_ARRAY, _SCALAR):
            head, data = _flat(np.asarray(value))
            texts.append(head)
            raw.append(data)
    return [
        bytes(kinds),
        np.array(sizes, np.uint64).tobytes(),
        np.array(refs, np.uint32 if len(kinds) < 2**32 else np.uint64).tobytes(),
        np.array(ints, np.int64).tobytes(),
        np.array(floats, np.float64).tobytes(),
        b"".join(texts),
        np.array([len(text) for text in texts], np.uint64).tobytes(),
        b"".join(raw),
        np.array([len(data) for data in raw], np.uint64).tobytes(),
    ]


def _growing(objects: list[Any]) -> Iterator[tuple[int, Any]]:
    """Every object with its number, those too that are added on the way."""
    done = 0
    while done < len(objects):
        block = objects[done:]
        yield from enumerate(block, done)
        done += len(block)


def _pairs(value: Any, _: _Writer) -> list[Any]:
    return [*value.keys(), *value.values()]


def _opaque(value: Opaque, writer: _Writer) -> Sequence[Any]:
    keep = writer.keep
    pairs = [part for pair in value.pairs for part in pair]
    return (
        value.module,
        value.qualname,
        value.args,
        keep(dict(value.kwargs)),
        value.state,
        keep(list(value.items)),
        keep(pairs),
        value.order,
    )


def _objects(value: np.ndarray[Any, Any], writer: _Writer) -> Sequence[Any]:
    order = "F" if value.flags.f_contiguous and not value.flags.c_contiguous else "C"
    return [writer.keep(value.shape), order, *value.ravel(order="C").tolist()]


_HELD: dict[int, Callable[[Any, _Writer], Sequence[Any]]] = {
    **dict.fromkeys((_LIST, _TUPLE), lambda value, _: value),
    **dict.fromkeys((_SET, _FROZENSET), lambda value, _: list(value)),
    **dict.fromkeys((_DICT, _ORDERED), _pairs),
    _DEQUE: lambda value, _: [value.maxlen, *value],
    _OPAQUE: _opaque,
    _OBJECTS: _objects,
}

#: One leaf may be as large as the limits of the reading let it.
_LEAF_LIMITS = values.Limits(max_bytes=2**40, max_nodes=2**40)


def _flat(array: np.ndarray[Any, Any]) -> tuple[bytes, bytes]:
    """How an array is laid out, and its bytes in the order of memory."""
    axes = sorted(range(array.ndim), key=lambda axis: -abs(array.strides[axis]))
    if not array.transpose(axes).flags.c_contiguous:
        axes = list(range(array.ndim))
    base = array.transpose(axes)
    dtype = values.encode(np.empty(0, array.dtype))
    return json.dumps([dtype, base.shape, axes]).encode(), base.tobytes()


# -- back


class _Damaged(Exception):
    """The columns do not fit together."""


def loads(columns: Sequence[bytes]) -> Any:
    """The graph of its columns.

    Raises:
        InvalidRecord: They are not what `dumps` makes.
    """
    collecting = gc.isenabled()
    gc.disable()  # nothing of it is garbage yet, and a collector would look at all of it again and again
    try:
        return _Loader(columns).load()
    except InvalidRecord:
        raise
    except (_Damaged, ValueError, TypeError, LookupError, StopIteration, OverflowError) as error:
        raise InvalidRecord(f"what the reader handed over is damaged ({error}); read it again") from error
    finally:
        if collecting:
            gc.enable()


class _Loader:
    def __init__(self, columns: Sequence[bytes]) -> None:
        kinds, sizes, refs, ints, floats, texts, text_sizes, raw, raw_sizes = columns
        self.kinds = kinds
        self.sizes: list[int] = np.frombuffer(sizes, np.uint64).tolist()
        wide = np.uint32 if len(kinds) < 2**32 else np.uint64
        self.refs: list[int] = np.frombuffer(refs, wide).tolist()
        self.ints = iter(np.frombuffer(ints, np.int64).tolist())
        self.floats = iter(np.frombuffer(floats, np.float64).tolist())
        self.texts = iter(_texts(texts, text_sizes))
        self.raw = iter(_slices(raw, raw_sizes))
        self.values: list[Any] = []
        self.held: dict[int, list[int]] = {}
        self.pairs: list[tuple[Opaque, list[Any]]] = []

    def load(self) -> Any:
        made, sizes, place = self.values, iter(self.sizes), 0
        leaves = {
            _NONE: lambda: None,
            _TRUE: lambda: True,
            _FALSE: lambda: False,
            _INT: self.ints.__next__,
            _FLOAT: self.floats.__next__,
            _TEXT: self.texts.__next__,
            _LONG: lambda: int(next(self.texts), 16),
            _BYTES: self.raw.__next__,
            _BYTEARRAY: lambda: bytearray(next(self.raw)),
            _UUID: self._uuid,
            _ZONE: self._zone,
            _VALUE: lambda: values.decode(next(self.texts), limits=_LEAF_LIMITS),
            _ARRAY: self._array,
            _SCALAR: lambda: self._array()[()],
        }
        waiting = []
        for index, kind in enumerate(self.kinds):
            if kind < _FIRST_NODE:
                made.append(leaves[kind]())
                continue
            size = next(sizes)
            if kind == _FLOATS:
                made.append(list(islice(self.floats, size)))
                continue
            self.held[index] = self.refs[place : place + size]
            place += size
            made.append(_SHELLS[kind]())
            if kind in _IMMUTABLE:
                waiting.append(index)
        for index in waiting:
            self._finish(index)
        for index, held in self.held.items():
            self._fill(index, held)
        for target, flat in self.pairs:
            target.pairs = list(zip(flat[::2], flat[1::2], strict=True))
        self._check_ends(sizes, place)
        return made[0]

    def _check_ends(self, sizes: Iterator[int], place: int) -> None:
        """All columns must be used up."""
        left = [next(column, None) for column in (sizes, self.ints, self.floats, self.texts, self.raw)]
        if place != len(self.refs) or any(one is not None for one in left):
            raise _Damaged("something is left over")

    def _uuid(self) -> UUID:
        number, safe = next(self.texts).split()
        return UUID(int=int(number, 16), is_safe=SafeUUID(None if safe == "None" else int(safe)))

    def _zone(self) -> tzinfo | None:
        held = values.decode(next(self.texts))
        if type(held) is not time:
            raise _Damaged("a time zone is in no time")
        return held.tzinfo

    def _array(self) -> np.ndarray[Any, Any]:
        text, shape, axes = json.loads(next(self.texts))
        empty = values.decode(text)
        if type(empty) is not np.ndarray:
            raise _Damaged("an array has no dtype")
        base: np.ndarray[Any, Any] = np.ndarray(tuple(shape), empty.dtype, bytearray(next(self.raw)) or None)
        return base.transpose(np.argsort(axes)) if axes else base

    def _finish(self, index: int) -> None:
        """Make a tuple, a frozenset, a deque or an array of objects, those that it holds first."""
        made, kinds = self.values, self.kinds
        path, begun = [index], set()
        while path:
            top = path[-1]
            if made[top] is not _UNMADE:
                path.pop()
                continue
            missing = [one for one in self._needed(top) if made[one] is _UNMADE]
            if missing and top in begun:
                raise _Damaged("a tuple holds itself")
            begun.add(top)
            if missing:
                path.extend(missing)
                continue
            path.pop()
            made[top] = _MAKE[kinds[top]]([made[one] for one in self.held[top]])

    def _needed(self, index: int) -> list[int]:
        """What must be there before an object is made; of mutable ones only how they are laid out."""
        held, kind = self.held[index], self.kinds[index]
        return held[:1] if kind == _DEQUE else held[:2] if kind == _OBJECTS else held

    def _fill(self, index: int, refs: list[int]) -> None:
        kind, target, get = self.kinds[index], self.values[index], self.values.__getitem__
        if kind in (_DICT, _ORDERED):
            half = len(refs) // 2
            if half * 2 != len(refs):
                raise _Damaged("a key has no value")
            target.update(zip(map(get, refs[:half]), map(get, refs[half:]), strict=True))
        elif kind == _LIST:
            target.extend(map(get, refs))
        elif kind == _SET:
            target.update(map(get, refs))
        elif kind == _DEQUE:
            target.extend(map(get, refs[1:]))
        elif kind == _OBJECTS:
            flat = np.empty(len(refs) - 2, object)
            for place, one in enumerate(map(get, refs[2:])):  # one by one: numpy would look into sequences
                flat[place] = one
            target[...] = flat.reshape(target.shape)
        elif kind == _OPAQUE:
            held = list(map(get, refs))
            target.module, target.qualname, target.args, target.kwargs, target.state = held[:5]
            target.items, target.order = held[5], held[7]
            self.pairs.append((target, held[6]))


_UNMADE = object()

_IMMUTABLE = frozenset({_TUPLE, _FROZENSET, _DEQUE, _OBJECTS})  # or of a layout that has to be known first

_SHELLS: dict[int, Callable[[], Any]] = {
    _LIST: list,
    _DICT: dict,
    _ORDERED: OrderedDict,
    _SET: set,
    _OPAQUE: lambda: Opaque("", ""),
    **dict.fromkeys(_IMMUTABLE, lambda: _UNMADE),
}

_MAKE: dict[int, Callable[[list[Any]], Any]] = {
    _TUPLE: tuple,
    _FROZENSET: frozenset,
    _DEQUE: lambda held: deque(maxlen=held[0]),
    _OBJECTS: lambda held: np.empty(held[0], object, order=held[1]),
}


def _texts(data: bytes, sizes: bytes) -> list[str]:
    """The parts of the column of texts; their sizes are in bytes."""
    if data.isascii():  # one text to cut is many times faster than many to decode
        return _slices(data.decode(), sizes)
    return [part.decode("utf-8", "surrogatepass") for part in _slices(data, sizes)]


def _slices(data: Cut, sizes: bytes) -> list[Cut]:
    """The parts of a column of texts or bytes."""
    ends = list(accumulate(np.frombuffer(sizes, np.uint64).tolist(), initial=0))
    if ends[-1] != len(data):
        raise _Damaged("a column is not as long as it should be")
    return [data[start:end] for start, end in pairwise(ends)]
