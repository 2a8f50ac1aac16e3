"""Arrays as joblib writes them: raw, in the middle of the pickle, behind the wrapper that describes them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from perdure_migrate.inert._numpy import array_from, dtype_of
from perdure_migrate.inert._stand_in import Opaque

if TYPE_CHECKING:
    from perdure_migrate.inert._machine import Machine

__all__ = ["CONSTRUCTORS"]

Name = tuple[str, str]
Args = tuple[Any, ...]

_PLAIN = (("numpy", "ndarray"), ("numpy", "memmap"), ("numpy.core.memmap", "memmap"))


def _wrapper(m: Machine, name: Name, args: Args) -> Any:
    # objects are a pickle of their own, in which no raw array can be
    return NotImplemented if args or m.is_nested else m.unfinished(name, args, _finish)


def _finish(m: Machine, target: Opaque, state: Any) -> Any:
    """The array whose bytes come next; of a subclass, the wrapper with the plain array as its one item."""
    if type(state) is not dict or not {"subclass", "shape", "order", "dtype"} <= state.keys():
        return NotImplemented
    dtype, shape, order = dtype_of(m, state["dtype"]), state["shape"], state["order"]
    if dtype is None or type(order) is not str or order not in ("C", "F"):
        raise m.fail("an array of an unknown type follows, and nothing says where it ends")
    if type(shape) is not tuple or not all(type(n) is int and 0 <= n < 2**62 for n in shape):
        raise m.fail("an array of a malformed shape follows")
    made = m.nested() if dtype.hasobject else _raw(m, dtype, shape, order, state)
    if type(made) is not np.ndarray or made.dtype != dtype or made.shape != shape:
        raise m.fail("an array follows that is not of the type and shape that it should have")
    if m.name_of(state["subclass"]) in _PLAIN:
        return made
    target.items.append(made)
    return NotImplemented


def _raw(m: Machine, dtype: np.dtype[Any], shape: tuple[int, ...], order: str, state: dict[Any, Any]) -> Any:
    if type(state.get("numpy_array_alignment_bytes")) is int:
        m.take(m.number(1))  # padding, and before it how much there is
    # joblib writes the items of an array of order F transposed, which is their order in memory
    return array_from(m, dtype, shape, order == "F", m.take(math.prod(shape) * dtype.itemsize))


#: What NEWOBJ may make.
CONSTRUCTORS: dict[Name, Callable[[Machine, Name, Args], Any]] = {
    (f"{package}.numpy_pickle", "NumpyArrayWrapper"): _wrapper
    for package in ("joblib", "sklearn.externals.joblib")
}
