"""What a pandas DataFrame holds, out of the stand-ins that reading its pickle gives; pandas itself is not needed.

It knows how pandas 1.0 to 3 lay a frame out: blocks of rows, the places of their rows among the columns, two axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from perdure_migrate.inert._stand_in import Opaque

__all__ = ["Frame", "frame_of"]

#: The types of Arrow whose columns pandas writes, by their names.
_ARROW = {
    **{
        name: pa.type_for_alias(name) for name in ("string", "large_string", "binary", "large_binary", "bool")
    },
    **{
        f"{sign}int{bits}": pa.type_for_alias(f"{sign}int{bits}")
        for sign in ("", "u")
        for bits in (8, 16, 32, 64)
    },
    **{name: pa.type_for_alias(name) for name in ("float", "double", "halffloat")},
}


@dataclass(frozen=True, slots=True)
class Frame:
    """A table of pandas.

    Attributes:
        columns: The names of the columns, of any type; tuples where they have levels.
        index: The labels of the rows.
        names: What the index is called, level by level; then what the columns are called.
        dtypes: What pandas calls the type of each column.
        cells: The cells of each column: an array, or a list where None stands for what is missing; of a type
            that is not known, the stand-in that holds them.
        attrs: What is noted on the frame.
    """

    columns: list[Any]
    index: list[Any]
    names: tuple[list[Any], list[Any]]
    dtypes: list[str]
    cells: list[Any]
    attrs: Any


class _Unknown(Exception):
    """A part is not laid out as any known pandas does it."""


def frame_of(value: Any) -> Frame | None:
    """The table of a stand-in; None where it stands for something else, or is laid out in an unknown way."""
    if type(value) is not Opaque or value.qualname != "DataFrame" or type(value.state) is not dict:
        return None
    if value.module.partition(".")[0] != "pandas":
        return None
    try:
        blocks, axes = _manager(value.state.get("_mgr", value.state.get("_data")))
        most = sum(_length(values) for values, _ in blocks)
        (columns, column_names), (index, index_names) = (_labels(axis, most) for axis in axes)
        placed: dict[int, tuple[str, Any]] = {}
        for values, places in blocks:
            _place(placed, values, _places(places, len(columns)), len(index))
        if placed.keys() != set(range(len(columns))):
            return None
    except (_Unknown, TypeError, ValueError, LookupError, AttributeError, pa.ArrowException):
        return None
    found = [placed[number] for number in range(len(columns))]
    return Frame(
        columns,
        index,
        (index_names, column_names),
        [dtype for dtype, _ in found],
        [cells for _, cells in found],
        value.state.get("attrs", {}),
    )


def _manager(value: Any) -> tuple[list[tuple[Any, Any]], Sequence[Any]]:
    """The blocks of a frame with their places, and its axes: columns, then rows."""
    if type(value) is not Opaque or value.qualname != "BlockManager":
        raise _Unknown
    if type(value.state) is tuple:  # before 1.3
        kept = value.state[3]["0.14.1"]
        axes, blocks = kept["axes"], [(block["values"], block["mgr_locs"]) for block in kept["blocks"]]
    else:
        args: Any = value.args
        blocks, axes = [(block.args[0], block.args[1]) for block in args[0]], args[1]
    if len(axes) != 2:
        raise _Unknown
    return blocks, axes


def _places(value: Any, count: int) -> list[int]:
    """The numbers of the columns that a block has; never more than there are."""
    if type(value) is Opaque and (value.module, value.qualname) in (
        ("builtins", "slice"),
        ("__builtin__", "slice"),
    ):
        return list(range(count)[slice(*value.args)])  # type: ignore[misc]  # three integers, or a TypeError
    places: list[int] = value.tolist()
    return places


def _length(values: Any) -> int:
    """How many cells a block has."""
    _, cells = _cells(values)
    return cells.size if type(cells) is np.ndarray else 0 if type(cells) is Opaque else len(cells)


def _place(placed: dict[int, tuple[str, Any]], values: Any, places: list[int], rows: int) -> None:
    """Put the rows of a block where they belong."""
    dtype, cells = _cells(values)
    if type(cells) is np.ndarray and cells.ndim == 2:
        parts: list[Any] = list(cells)
    else:
        parts = [cells]
    if len(parts) != len(places) or any(type(part) is not Opaque and len(part) != rows for part in parts):
        raise _Unknown
    for place, part in zip(places, parts, strict=True):
        if place in placed:
            raise _Unknown
        placed[place] = (dtype, part)


# -- arrays


def _cells(value: Any) -> tuple[str, Any]:
    """The name of the type of an array of pandas, and what it holds."""
    if type(value) is np.ndarray:
        return str(value.dtype), value
    if type(value) is not Opaque:
        raise _Unknown
    if value.qualname == "__pyx_unpickle_NDArrayBacked":
        return _backed(value)
    state, name = value.state, value.qualname
    if type(state) is dict and "_mask" in state:
        return _masked(name, state)
    if type(state) is dict and "_codes" in state:
        return "category", _categories(state["_dtype"], state["_codes"])
    if type(state) is dict and name in ("DatetimeArray", "TimedeltaArray"):
        return _times(state["_dtype"], state["_data"])
    if type(state) is dict and (kept := state.get("_pa_array", state.get("_data"))) is not None:
        return _arrow(name, kept)
    if name in (
        "_new_Index",
        "_new_DatetimeIndex",
    ):  # before 1.3, a block of times with a zone may be an index
        return _cells(value.args[1]["data"])  # type: ignore[index]  # a LookupError or TypeError is unknown
    return name, value


def _backed(value: Opaque) -> tuple[str, Any]:
    """Arrays that stand on one of NumPy: codes, times, texts."""
    args: Any = value.args
    state: Any = value.state if value.state is not None else args[2]
    array = next(part for part in state if type(part) is np.ndarray)
    dtype = next(part for part in state if type(part) is Opaque)
    name = args[0].qualname
    if name == "Categorical":
        return "category", _categories(dtype, array)
    if name in ("DatetimeArray", "TimedeltaArray"):
        return _times(dtype, array)
    if name == "StringArray":
        return "string", array
    if name in ("PandasArray", "NumpyExtensionArray"):
        return str(array.dtype), array
    return name, value


def _categories(dtype: Any, codes: Any) -> list[Any]:
    labels, _ = _labels(dtype.state["categories"])
    if codes.size and not -1 <= codes.min() <= codes.max() < len(labels):
        raise _Unknown
    return [None if code < 0 else labels[code] for code in codes.reshape(-1).tolist()]


def _times(dtype: Any, array: Any) -> tuple[str, Any]:
    """Times; those with a zone are in UTC, as pandas keeps them, and the zone is in the name of the type."""
    if type(dtype) is not Opaque or dtype.qualname != "DatetimeTZDtype":
        return str(array.dtype), array
    state: Any = dtype.state
    zone = state["tz"]
    if type(zone) is Opaque:  # of pytz, whose first argument is the name
        zone = zone.args[0] if zone.args else "UTC"
    return f"datetime64[{state['unit']}, {zone}]", array


def _masked(name: str, state: dict[Any, Any]) -> tuple[str, list[Any]]:
    data, mask = state["_data"], state["_mask"]
    if mask.dtype != bool or mask.shape != data.shape:
        raise _Unknown
    kind = (
        "boolean"
        if name == "BooleanArray"
        else str(data.dtype).replace("int", "Int").replace("float", "Float")
    )
    kind = kind.replace("uInt", "UInt")
    return kind, [None if missing else one for one, missing in zip(data.tolist(), mask.tolist(), strict=True)]


def _arrow(name: str, value: Any) -> tuple[str, Any]:
    """Arrays of Arrow, from their buffers, once these are found to be whole."""
    if type(value) is not Opaque:
        raise _Unknown
    args: Any = value.args
    if value.qualname == "chunked_array":
        parts = [_arrow(name, chunk) for chunk in args[0]]
        return parts[0][0], [cell for _, cells in parts for cell in cells]
    kind, length, missing, offset, buffers, children, dictionary = args[0]
    alias = kind.args[0]
    if children or dictionary is not None or alias not in _ARROW:
        return name, value
    raw = [None if one is None else pa.py_buffer(bytes(one.args[0])) for one in buffers]
    made = pa.Array.from_buffers(_ARROW[alias], length, raw, missing, offset)
    made.validate(full=True)
    return ("str" if alias.endswith("string") else f"{alias}[pyarrow]"), made.to_pylist()


# -- axes


def _labels(value: Any, most: int = 0) -> tuple[list[Any], list[Any]]:
    """The labels of an axis, and the names of its levels; numbers are counted out as far as there are cells."""
    if type(value) is not Opaque or value.qualname not in ("_new_Index", "_new_DatetimeIndex"):
        raise _Unknown
    args: Any = value.args
    kind, held = args[0].qualname, args[1]
    if kind == "MultiIndex":
        return _levels(held), held["names"]
    if kind == "RangeIndex":
        found = range(held["start"], held["stop"], held["step"])
        if len(found) > most:  # the numbers of the file are not to say how much is made
            raise _Unknown
        return list(found), [held["name"]]
    if kind == "CategoricalIndex" and "codes" in held:  # before 1.3
        raise _Unknown
    _, cells = _cells(held["data"])
    if type(cells) is Opaque:
        raise _Unknown
    labels: list[Any] = (
        list(cells) if type(cells) is np.ndarray and cells.dtype.kind in "mM" else _listed(cells)
    )
    return labels, [held["name"]]


def _listed(cells: Any) -> list[Any]:
    return cells.tolist() if type(cells) is np.ndarray else list(cells)


def _levels(held: dict[Any, Any]) -> list[Any]:
    columns = []
    for level, codes in zip(held["levels"], held["codes"], strict=True):
        labels, _ = _labels(level)
        if type(codes) is not np.ndarray or (
            codes.size and not -1 <= codes.min() <= codes.max() < len(labels)
        ):
            raise _Unknown
        columns.append([None if code < 0 else labels[code] for code in codes.tolist()])
    return list(zip(*columns, strict=True))
