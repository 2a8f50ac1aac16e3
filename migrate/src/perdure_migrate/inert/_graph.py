"""Walks over what was read: how deep it is, and late replacement of one object by another.

Both are iterative, so that no depth of nesting reaches the interpreter's own stack.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from perdure_migrate.inert._stand_in import Opaque, parts, replace_parts

__all__ = ["measure", "resolve"]

#: Old object by its id, with the new one; the old is kept so that its id stays its own.
Replaced = dict[int, tuple[Any, Any]]

_NESTING = frozenset({list, tuple, dict, OrderedDict, set, frozenset, deque, Opaque, np.ndarray})


def _children(value: Any) -> Iterable[Any]:
    """What a container holds directly."""
    kind = type(value)
    if kind is dict or kind is OrderedDict:
        return [*value.keys(), *value.values()]
    if kind is Opaque:
        return parts(value)
    if kind is np.ndarray:
        return value.ravel(order="K").tolist() if value.dtype == object else ()
    return value  # type: ignore[no-any-return]


def _nested(value: Any) -> list[Any]:
    """The containers among the children."""
    return [child for child in _children(value) if type(child) in _NESTING]


def measure(root: Any, most: int) -> int:
    """How deep containers nest, on the longest path that meets none twice; stops one past `most`."""
    if type(root) not in _NESTING:
        return 0
    height: dict[int, int] = {id(root): 0}  # 0 while on the path: the end of a cycle adds nothing
    path: list[Any] = [root]
    rest = [iter(_nested(root))]
    best = [0]
    while path:
        for child in rest[-1]:
            known = height.get(id(child))
            if known is None:
                below = _nested(child)
                if below:
                    height[id(child)] = 0
                    path.append(child)
                    rest.append(iter(below))
                    best.append(0)
                    if len(path) > most:
                        return len(path)
                    break
                known = height[id(child)] = 1
            best[-1] = max(best[-1], known)
        else:
            done = best.pop() + 1
            rest.pop()
            height[id(path.pop())] = done
            if best and done > best[-1]:
                best[-1] = done
    return height[id(root)]


def resolve(root: Any, replaced: Replaced) -> Any:
    """`root`, with every replaced object swapped for its replacement, in place wherever that can be.

    Tuples and frozensets that hold a replaced object are made anew, once each, so that sharing stays; cycles
    always run through something mutable, which keeps its identity.
    """

    def latest(value: Any) -> Any:
        while (found := replaced.get(id(value))) is not None:
            value = found[1]
        return value

    root = latest(root)
    seen: dict[int, Any] = {}
    todo = [root]
    while todo:
        value = todo.pop()
        if type(value) in _NESTING and id(value) not in seen:
            seen[id(value)] = value
            todo.extend(map(latest, _children(value)))
    renewed: dict[int, Any] = {}

    def swap(value: Any) -> Any:
        value = latest(value)
        return renewed.get(id(value), value)

    for value in seen.values():
        if type(value) in (tuple, frozenset):
            _renew(value, latest, renewed)
    for value in seen.values():
        _patch(value, swap)
    return swap(root)


def _renew(value: Any, latest: Callable[[Any], Any], renewed: dict[int, Any]) -> None:
    """Make anew, children first, an immutable container and those in it that hold a replaced object."""
    path = [value]
    while path:
        top = path[-1]
        inner = [v for v in map(latest, top) if type(v) in (tuple, frozenset) and id(v) not in renewed]
        if id(top) not in renewed and inner:
            path.extend(inner)
            continue
        path.pop()
        if id(top) not in renewed:
            new = [renewed.get(id(v), v) for v in map(latest, top)]
            renewed[id(top)] = top if all(a is b for a, b in zip(new, top, strict=True)) else type(top)(new)


def _patch(value: Any, swap: Callable[[Any], Any]) -> None:
    kind = type(value)
    if kind is list:
        value[:] = map(swap, value)
    elif kind is dict or kind is OrderedDict:
        pairs = [(swap(k), swap(v)) for k, v in value.items()]
        value.clear()
        value.update(pairs)
    elif kind is set:
        members = list(map(swap, value))
        value.clear()
        value.update(members)
    elif kind is deque:
        members = list(map(swap, value))
        value.clear()
        value.extend(members)
    elif kind is np.ndarray and value.dtype == object:
        flat = value.reshape(-1, order="A")  # a view: what is rebuilt is contiguous in one order or the other
        for index, item in enumerate(flat.tolist()):
            flat[index] = swap(item)
    elif kind is Opaque:
        replace_parts(value, swap)
