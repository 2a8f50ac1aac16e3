"""Which containers are reached twice: the one question that decides between a tree and a node table."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable
from typing import Any

import numpy as np

from perdure._errors import InvalidRecord
from perdure.values._limits import Limits
from perdure.values._opaque import Opaque

__all__ = ["MUTABLE", "children", "object_items", "outer_opaques", "shared_ids"]

#: Exact types whose identity is kept. Everything else that the codec takes is immutable and has none.
MUTABLE = frozenset({list, dict, set, bytearray, deque, OrderedDict, np.ndarray, Opaque})


def object_items(array: np.ndarray[Any, Any]) -> list[object]:
    """The elements of an array of Python objects, in C order."""
    flat: list[object] = array.ravel(order="C").tolist()
    return flat


def children(value: object) -> Iterable[object]:
    """What a container holds, and nothing for a leaf; the order is the one of the stored form."""
    kind = type(value)
    if kind is list or kind is tuple or kind is set or kind is frozenset or kind is deque:
        return value  # type: ignore[return-value]
    if kind is dict or kind is OrderedDict:
        return [part for pair in value.items() for part in pair]  # type: ignore[attr-defined]
    if kind is Opaque:
        held = value
        assert isinstance(held, Opaque)
        pairs = [part for pair in held.pairs for part in pair]
        return [*(held.args or ()), *held.kwargs.values(), held.state, *held.items, *pairs]
    if isinstance(value, np.ndarray) and kind is np.ndarray and value.dtype.kind == "O":
        return object_items(value)
    return ()


def shared_ids(root: object, limits: Limits) -> set[int]:
    """The ids of all mutable containers that are reached more than once from the root.

    Raises:
        InvalidRecord: There are more parts than `max_nodes`; tuples that share tuples count each time.
    """
    seen: set[int] = set()
    shared: set[int] = set()
    todo = [root]
    count = 0
    while todo:
        value = todo.pop()
        count += 1
        if type(value) in MUTABLE:
            if id(value) in seen:
                shared.add(id(value))
                continue
            seen.add(id(value))
        todo.extend(children(value))
        if count + len(todo) > limits.max_nodes:
            raise InvalidRecord(
                f"the value has more than {limits.max_nodes:,} parts: split it over several rows"
            )
    return shared


def outer_opaques(element: object) -> list[Opaque]:
    """The stand-ins in an element of a set: itself, or those in its tuples and frozensets."""
    found: list[Opaque] = []
    todo = [element]
    while todo:
        value = todo.pop()
        if type(value) is Opaque:
            found.append(value)
        elif type(value) is tuple or type(value) is frozenset:
            todo.extend(reversed(list(value)))
    return found
