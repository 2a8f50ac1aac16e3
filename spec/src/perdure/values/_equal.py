"""Strict equality of values: by type, bit, order and identity structure. Knows nothing of the stored form."""

from __future__ import annotations

from collections import OrderedDict, deque
from datetime import datetime, time, timezone, tzinfo
from decimal import Decimal
from pathlib import PurePath
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from perdure.values._encode import sort_key
from perdure.values._graph import MUTABLE, children, object_items, outer_opaques
from perdure.values._leaves import LEAVES, bits
from perdure.values._limits import DEPTH_CEILING, Limits, on_fresh_stack
from perdure.values._numpy import array_json, describe, memory_order, scalar_json
from perdure.values._opaque import Opaque

__all__ = ["equal"]

_SORT_LIMITS = Limits(max_bytes=2**62, max_depth=DEPTH_CEILING, max_nodes=2**62)
_SIZED = (list, tuple, dict, OrderedDict, set, frozenset, deque)


def equal(a: object, b: object) -> bool:
    """Whether two values are the same to the last bit.

    Stricter than ``==``: 1, 1.0 and True differ, 0.0 and -0.0 differ, a NaN equals a NaN of the same
    bits; dicts have the same order; arrays the same dtype, shape, memory order and bytes (padding
    aside); times the same zone and fold; and wherever one value holds the same mutable container
    twice, or itself, so does the other. Immutable values have no identity. Safe for cycles.

    In sets, stand-ins (`Opaque`) that are alike but for what is nested in further stand-ins are paired
    in their `order`; where that order differs, two equal sets may be reported as different, never the
    other way round.

    Raises:
        InvalidRecord: A set holds a value that the codec does not know.
    """
    try:
        return _Comparison().same(a, b)
    except RecursionError:
        return on_fresh_stack(lambda: _Comparison().same(a, b))


class _Comparison:
    """One comparison, with the pairing of mutable containers that it has found so far."""

    def __init__(self) -> None:
        self.partner: dict[int, int] = {}
        self.taken: dict[int, int] = {}
        self.compared: set[tuple[int, int]] = set()
        self.keep: list[object] = []  # elements of object arrays and the like: ids must stay valid

    def same(self, a: object, b: object) -> bool:
        """Whether all pairs reached from this one agree."""
        todo = [(a, b)]
        while todo:
            a, b = todo.pop()
            if type(a) is not type(b):
                if (
                    isinstance(a, np.generic)
                    and isinstance(b, np.generic)
                    and scalar_json(a) == scalar_json(b)
                ):
                    continue  # C names of one width, such as longlong and int64
                return False
            kind = type(a)
            if kind in MUTABLE:
                known, taken = self.partner.get(id(a)), self.taken.get(id(b))
                if known is not None or taken is not None:
                    if known != id(b) or taken != id(a):
                        return False
                    continue
                self.partner[id(a)], self.taken[id(b)] = id(b), id(a)
            elif kind is tuple or kind is frozenset:
                if (id(a), id(b)) in self.compared:
                    continue
                self.compared.add((id(a), id(b)))
            if not self.heads(a, b):
                return False
            todo.extend(self.parts(a, b))
        return True

    def heads(self, a: Any, b: Any) -> bool:
        """Whether two values of one type agree in all but what they hold."""
        kind = type(a)
        if kind in _SIZED:
            return len(a) == len(b) and (kind is not deque or a.maxlen == b.maxlen)
        if kind is Opaque:
            return _outline(a) == _outline(b)
        if kind is np.ndarray:
            return _same_array(a, b)
        if isinstance(a, np.generic):
            return bool(scalar_json(a) == scalar_json(b))
        return _same_leaf(a, b)

    def parts(self, a: Any, b: Any) -> list[tuple[object, object]]:
        """The pairs that two containers of one outline hold."""
        if type(a) is set or type(a) is frozenset:
            return list(zip(self.ordered(a), self.ordered(b), strict=True))
        return list(zip(children(a), children(b), strict=True))

    def ordered(self, elements: Any) -> list[object]:
        """The elements of a set in an order that equal sets share; those already paired come first."""

        def rank(element: object) -> tuple[bytes, list[tuple[bool, int]]]:
            found = outer_opaques(element)
            return sort_key(element, _SORT_LIMITS), sorted((o.order == 0, o.order) for o in found)

        return sorted(elements, key=rank)


def _outline(stand_in: Opaque) -> tuple[object, ...]:
    return (
        stand_in.module,
        stand_in.qualname,
        stand_in.args is None,
        len(stand_in.args or ()),
        list(stand_in.kwargs),
        len(stand_in.items),
        len(stand_in.pairs),
    )


def _same_array(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> bool:
    if a.shape != b.shape or memory_order(a) != memory_order(b) or a.dtype.kind != b.dtype.kind:
        return False
    if a.dtype.kind == "O":
        return True  # the elements are compared as parts
    if describe(a.dtype) != describe(b.dtype):
        return False
    if a.dtype.kind == "T":
        pairs = zip(object_items(a), object_items(b), strict=True)
        return all(type(x) is type(y) and _same_leaf(x, y) for x, y in pairs)
    return bool(array_json(a)["data"] == array_json(b)["data"])


def _same_leaf(a: Any, b: Any) -> bool:
    kind = type(a)
    if kind is float:
        return bits(a) == bits(b)
    if kind is complex:
        return bits(a.real) == bits(b.real) and bits(a.imag) == bits(b.imag)
    if kind is Decimal:
        return bool(a.as_tuple() == b.as_tuple())
    if kind is range:
        return (a.start, a.stop, a.step) == (b.start, b.stop, b.step)
    if kind is datetime or kind is time:
        naive = a.replace(tzinfo=None, fold=0) == b.replace(tzinfo=None, fold=0)
        return naive and a.fold == b.fold and _same_zone(a.tzinfo, b.tzinfo)
    if isinstance(a, PurePath) and kind in LEAVES:
        return str(a) == str(b)
    return bool(a == b)


def _same_zone(a: tzinfo | None, b: tzinfo | None) -> bool:
    if type(a) is timezone and type(b) is timezone:
        return a.__getinitargs__() == b.__getinitargs__()  # type: ignore[attr-defined, no-any-return]
    if type(a) is ZoneInfo and type(b) is ZoneInfo:
        return a.key == b.key
    return a is b
