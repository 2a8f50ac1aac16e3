"""Hypothesis strategies of values: everything that the value codec keeps, sharing and cycles included."""

from __future__ import annotations

import struct
from collections import OrderedDict, deque
from collections.abc import Callable
from datetime import UTC, timedelta, timezone, tzinfo
from decimal import Decimal
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from hypothesis import strategies as st
from perdure.values import Opaque

__all__ = ["arrays", "hashables", "leaves", "numpy_scalars", "opaques", "plain_values", "values"]

_ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe")
_DTYPES = (
    "|b1",
    "|i1",
    "|u1",
    "<i2",
    ">i2",
    "<u2",
    "<i4",
    ">u4",
    "<i8",
    ">i8",
    "<u8",
    "<f2",
    ">f2",
    "<f4",
    ">f4",
    "<f8",
    ">f8",
    "<c8",
    "<c16",
    ">c16",
    "<M8[ns]",
    ">M8[D]",
    "<M8[25s]",
    "<m8[us]",
    "<m8",
    "|S1",
    "|S5",
    "<U3",
    ">U2",
    "|V4",
)


def _text() -> st.SearchStrategy[str]:
    return st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


def _wild_text() -> st.SearchStrategy[str]:
    return st.text(st.characters(), max_size=12) | st.sampled_from(
        ["", "\0", "$int", '{"$', "\ud800", "a\udfffb"]
    )


def plain_values(max_leaves: int = 20) -> st.SearchStrategy[Any]:
    """Trees that plain JSON holds: no tagged form in their text, no sharing."""
    keys = _text().filter(lambda key: not key.startswith("$"))
    leaves = (
        st.none()
        | st.booleans()
        | st.integers(-(2**63), 2**63 - 1)
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.just(-0.0)
        | _text()
    )
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
        max_leaves=max_leaves,
    )


def _any_float() -> st.SearchStrategy[float]:
    # every bit pattern, signalling NaNs and payloads too
    patterns = st.integers(0, 2**64 - 1) | st.sampled_from([0x7FF8000000000001, 0xFFF8000000000000])
    from_bits: Callable[[int], float] = lambda bits: struct.unpack("<d", bits.to_bytes(8, "little"))[0]  # noqa: E731
    return st.floats() | patterns.map(from_bits)


def _zones() -> st.SearchStrategy[tzinfo]:
    offsets = st.timedeltas(timedelta(hours=-23, minutes=-59), timedelta(hours=23, minutes=59))
    return (
        st.sampled_from(_ZONES).map(ZoneInfo)
        | offsets.map(timezone)
        | st.builds(timezone, offsets, _wild_text())
        | st.just(UTC)
    )


def _times() -> st.SearchStrategy[Any]:
    zones = st.none() | _zones()
    folds = st.sampled_from([0, 1])
    return st.one_of(
        st.builds(lambda d, z, f: d.replace(tzinfo=z, fold=f), st.datetimes(), zones, folds),
        st.builds(lambda t, z, f: t.replace(tzinfo=z, fold=f), st.times(), zones, folds),
        st.dates(),
        st.timedeltas(),
    )


def _paths() -> st.SearchStrategy[Any]:
    names = st.lists(st.sampled_from(["a", "b c", "é", "..", "x.tar", "\udc80"]), max_size=3).map("/".join)
    roots = st.sampled_from(["", "/", "C:/", "//host/share/"])
    kinds = st.sampled_from([PurePosixPath, PureWindowsPath, Path])
    return st.builds(lambda kind, root, name: kind(root + name), kinds, roots, names)


def _ranges() -> st.SearchStrategy[range]:
    wide = st.integers(-(2**70), 2**70)
    return st.builds(range, wide, wide, wide.filter(bool))


def leaves() -> st.SearchStrategy[Any]:
    """Immutable values of every built-in leaf type."""
    return st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.integers(-(2**80), 2**80),
        st.sampled_from([2**63, -(2**63), -(2**63) - 1, 2**64]),
        _any_float(),
        _wild_text(),
        st.binary(max_size=12),
        st.decimals(),
        st.decimals(places=3, allow_nan=False),
        st.fractions(),
        st.builds(complex, _any_float(), _any_float()),
        _ranges(),
        st.uuids(),
        _times(),
        _paths(),
    )


def hashables() -> st.SearchStrategy[Any]:
    """Values for sets and keys: leaves, tuples, frozensets, NumPy scalars."""
    numbers = st.sampled_from([np.int64(3), np.float32(0.5), np.str_("s"), np.datetime64("2020", "D")])
    return st.recursive(
        leaves().filter(_can_hash) | numbers,
        lambda inner: st.lists(inner, max_size=3).map(tuple) | st.frozensets(inner, max_size=3),
        max_leaves=5,
    )


def _can_hash(leaf: Any) -> bool:
    return not (isinstance(leaf, Decimal) and leaf.is_snan())


@st.composite
def _simple_dtypes(draw: st.DrawFn) -> np.dtype[Any]:
    return np.dtype(draw(st.sampled_from([*_DTYPES, np.dtype(np.longdouble), np.dtype(np.clongdouble)])))


@st.composite
def _dtypes(draw: st.DrawFn) -> np.dtype[Any]:
    if draw(st.integers(0, 3)):
        return draw(_simple_dtypes())
    parts = draw(st.lists(_simple_dtypes(), min_size=1, max_size=3))
    names = [f"f{i}" for i in range(len(parts))]
    layout = draw(st.sampled_from(["packed", "aligned", "spread", "titled", "nested", "block"]))
    if layout == "aligned":
        return np.dtype(list(zip(names, parts, strict=True)), align=True)
    if layout == "spread":
        offsets = [40 * (len(parts) - 1 - i) + 3 for i in range(len(parts))]
        spec = {"names": names, "formats": parts, "offsets": offsets, "itemsize": 40 * len(parts) + 5}
        return np.dtype(spec)  # type: ignore[call-overload, no-any-return]
    if layout == "titled":
        return np.dtype([((f"title {n}", n), p) for n, p in zip(names, parts, strict=True)])
    if layout == "nested":
        return np.dtype([("é", np.dtype(list(zip(names, parts, strict=True)))), ("n", "<i2")])
    if layout == "block":
        return np.dtype([(n, p, (2,)) for n, p in zip(names, parts, strict=True)])
    return np.dtype(list(zip(names, parts, strict=True)))


@st.composite
def _filled(draw: st.DrawFn, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    size = int(np.prod(shape, dtype=int)) * dtype.itemsize
    if _has_text(dtype):  # arbitrary bytes are no code points
        return np.zeros(shape, dtype)
    data = draw(st.binary(min_size=size, max_size=size) | st.just(bytes(size)))
    return np.ndarray(shape, dtype, buffer=data).copy() if size else np.empty(shape, dtype)


def _has_text(dtype: np.dtype[Any]) -> bool:
    if dtype.subdtype is not None:
        return _has_text(dtype.subdtype[0])
    if dtype.names is not None:
        return any(_has_text(dtype[name]) for name in dtype.names)
    return dtype.kind in "UM" or dtype.char in "gG"


@st.composite
def arrays(draw: st.DrawFn) -> np.ndarray[Any, Any]:
    """NumPy arrays of every kind, shape and memory layout; elements of object arrays are leaves."""
    shape = tuple(draw(st.lists(st.integers(0, 3), max_size=3)))
    kind = draw(st.sampled_from(["bytes", "bytes", "bytes", "text", "object", "string"]))
    size = int(np.prod(shape, dtype=int))
    array: np.ndarray[Any, Any]
    if kind == "bytes":
        array = draw(_filled(shape, draw(_dtypes())))
    elif kind == "text":
        words = draw(st.lists(_text(), min_size=size, max_size=size))
        array = np.array(words, dtype="U12").reshape(shape)
    elif kind == "string":
        words = draw(st.lists(_text(), min_size=size, max_size=size))
        array = np.array(words, dtype=np.dtypes.StringDType()).reshape(shape)
    else:
        array = np.empty(size, dtype=object)
        for place in range(size):
            array[place] = draw(leaves())
        array = array.reshape(shape)
    layout = draw(st.sampled_from(["C", "F", "transposed", "strided"]))
    if layout == "F":
        return np.asfortranarray(array) if array.ndim else array
    if layout == "transposed":
        return array.T
    return array[::-1] if layout == "strided" and array.ndim else array


@st.composite
def numpy_scalars(draw: st.DrawFn) -> np.generic:
    """NumPy scalars of every kind."""
    if draw(st.booleans()):
        return draw(st.builds(np.str_, _wild_text()) | st.builds(np.bytes_, st.binary(max_size=5)))
    dtype = draw(_dtypes())
    value: np.generic = draw(_filled((1,), dtype))[0]
    return value


def opaques(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Opaque]:
    """Stand-ins that hold values of `inner`."""
    short = st.lists(inner, max_size=2)
    return st.builds(
        Opaque,
        st.sampled_from(["app.core", "__main__", "m\ud800"]),
        st.sampled_from(["Node", "Outer.Inner", ""]),
        st.none() | short,
        st.none() | inner | st.dictionaries(_text(), inner, max_size=2),
        kwargs=st.dictionaries(_wild_text(), inner, max_size=2),
        items=short,
        pairs=st.lists(st.tuples(inner, inner), max_size=2),
    )


def _containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    lists = st.lists(inner, max_size=4)
    keyed = st.dictionaries(hashables(), inner, max_size=3)
    return st.one_of(
        lists,
        lists.map(tuple),
        st.dictionaries(_wild_text(), inner, max_size=4),
        keyed,
        keyed.map(OrderedDict),
        st.sets(hashables(), max_size=4),
        st.frozensets(hashables(), max_size=4),
        st.frozensets(opaques(leaves()), max_size=3),
        st.builds(deque, lists, st.none() | st.integers(4, 9)),
        st.builds(bytearray, st.binary(max_size=8)),
        arrays(),
        opaques(inner),
    )


@st.composite
def _tied(draw: st.DrawFn, trees: st.SearchStrategy[Any]) -> Any:
    """A value in which mutable containers are reached twice, or from within themselves."""
    hub: list[Any] = draw(st.lists(trees, max_size=3))
    stand_in = Opaque("app.graph", "Node", state={"links": {1}})
    members: list[Any] = [hub, {}, {"k": hub}, deque([hub]), stand_in, bytearray(b"x"), np.array([1, 2])]
    members += draw(st.lists(trees, max_size=2))
    for _ in range(draw(st.integers(1, 5))):
        source, target = draw(st.sampled_from(members)), draw(st.sampled_from(members))
        _tie(source, target if draw(st.booleans()) else (target,))
    if draw(st.booleans()):
        stand_in.pairs.append(({stand_in, "x"}, frozenset({stand_in, (stand_in, 1)})))
    return draw(st.sampled_from(members[:5]))


def _tie(source: Any, target: Any) -> None:
    """Make one container hold another."""
    if type(source) is list or type(source) is deque:
        source.append(target)
    elif type(source) is dict:
        source[f"link{len(source)}"] = target
    elif type(source) is Opaque:
        source.items.append(target)


def values(max_leaves: int = 12) -> st.SearchStrategy[Any]:
    """Every value that the codec keeps: all types, shared references and cycles.

    Args:
        max_leaves: About how many leaves a value has at most.
    """
    simple = leaves() | numpy_scalars() | arrays()
    trees = st.recursive(simple, _containers, max_leaves=max_leaves)
    return plain_values() | trees | trees | _tied(trees)
