"""From a Python value to its canonical JSON text."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable
from math import inf
from typing import Any

import msgspec
import numpy as np

from perdure._errors import InvalidRecord
from perdure.values._graph import MUTABLE, object_items, outer_opaques, shared_ids
from perdure.values._leaves import LEAVES, Json, base64, str_json
from perdure.values._limits import DEFAULT_LIMITS, Limits, check_nodes, on_fresh_stack, too_big, too_deep
from perdure.values._numpy import array_json, describe, memory_order, scalar_json
from perdure.values._opaque import Opaque

__all__ = ["Emitter", "encode", "encode_many", "sort_key"]

_to_json = msgspec.json.Encoder().encode


def encode(value: object, *, limits: Limits = DEFAULT_LIMITS) -> str:
    """The canonical JSON text of a value.

    Args:
        value: Any value of the codec's types, exactly those: subclasses are refused.
        limits: Size and depth that the value may have.

    Returns:
        Text without NUL and lone surrogates. Equal values (see `equal`) give equal text.

    Raises:
        InvalidRecord: The value, or a part of it, is of a type that the codec does not keep, or a limit
            is passed. The message names the type and says what to do.
    """
    try:
        text = _encode(value, limits)
    except RecursionError:
        text = on_fresh_stack(lambda: _encode(value, limits))
    size = len(text)
    if size > limits.max_nodes or 4 * size > limits.max_bytes:
        data = text.encode()
        if len(data) > limits.max_bytes:
            raise too_big(len(data), limits)
        check_nodes(data, limits)
    return text


def encode_many(values: Iterable[object], *, limits: Limits = DEFAULT_LIMITS) -> list[str]:
    """The texts of many values, as for a column.

    Raises:
        InvalidRecord: As `encode`; nothing is returned for the others.
    """
    return [encode(value, limits=limits) for value in values]


def _encode(value: object, limits: Limits) -> str:
    kind = type(value)
    if (
        _is_plain(value, {id(value)}, limits.max_depth - 1)
        if kind is dict or kind is list
        else kind is str or _is_plain((value,), set(), 0)
    ):
        try:
            text = _to_json(value).decode()
        except UnicodeEncodeError:
            pass  # a lone surrogate in some string
        else:
            # keys that start with `$` show in the text; strings in lists that do look alike
            if "$" not in text or ('{"$' not in text and ',"$' not in text):
                return text
    return _to_json(Emitter(limits, shared_ids(value, limits)).document(value)).decode()


def _is_plain(box: Any, seen: set[int], room: int) -> bool:
    """Whether plain JSON holds a container: exact types, text keys, no sharing, `room` for its depth.

    Keys that start with `$` and lone surrogates are left to the caller, who sees them in the text. The
    hottest loop of the codec: tests follow how common the types are. One comparison refuses integers
    out of int64, NaN and infinities; that it refuses large floats too only costs them the fast path.
    """
    if type(box) is dict:
        for key in box:
            if type(key) is not str:
                return False
        box = box.values()
    for item in box:
        kind = type(item)
        if kind is str:
            continue
        if kind is int or kind is float:
            if not -9223372036854775808 <= item <= 9223372036854775807:
                return False
        elif kind is dict or kind is list:
            if not room or id(item) in seen:
                return False
            seen.add(id(item))
            if not _is_plain(item, seen, room - 1):
                return False
        elif item is not None and kind is not bool:
            return False
    return True


class Emitter:
    """Builds the JSON tree of one value that is not a plain tree.

    Shared containers become nodes, numbered as they are met; a node's content is emitted after the
    content that first refers to it, so that depth never follows the links of a graph.
    """

    def __init__(self, limits: Limits, shared: set[int]) -> None:
        self.limits = limits
        self.shared = shared
        self.numbers: dict[int, int] = {}
        self.queue: list[object] = []
        self.sort_keys: dict[int, bytes] = {}
        self.count = 0

    def document(self, root: object) -> Json:
        """The JSON tree of the whole value."""
        tree = self.value(root, 0)
        if not self.numbers:
            return tree
        nodes = []
        for node in self.queue:  # grows while nodes are emitted
            nodes.append(self.container(node, 0))
        return {"$graph": {"root": tree, "nodes": nodes}}

    def value(self, value: object, depth: int) -> Json:
        """The JSON form of a value that `depth` containers hold."""
        kind = type(value)
        leaf = LEAVES.get(kind)
        if leaf is not None:
            return leaf(value)
        if kind in MUTABLE and id(value) in self.shared:
            return {"$ref": self.number(value)}
        return self.container(value, depth)

    def number(self, value: object) -> int:
        """The node number of a shared container, given at first sight."""
        number = self.numbers.get(id(value))
        if number is None:
            number = self.numbers[id(value)] = len(self.queue)
            self.queue.append(value)
        return number

    def container(self, value: Any, depth: int) -> Json:
        """The JSON form of a container's content."""
        depth += 1
        if depth > self.limits.max_depth:
            raise too_deep(self.limits)
        kind = type(value)
        if kind is list:
            return [self.value(item, depth) for item in value]
        if kind is dict:
            if all(type(key) is str and key[:1] != "$" and type(str_json(key)) is str for key in value):
                return {key: self.value(item, depth) for key, item in value.items()}
            return {"$dict": self.pairs(value.items(), depth)}
        if kind is tuple:
            return {"$tuple": [self.value(item, depth) for item in value]}
        if kind is set:
            return {"$set": self.elements(value, depth)}
        if kind is frozenset:
            return {"$frozenset": self.elements(value, depth)}
        if kind is bytearray:
            return {"$bytearray": base64(value)}
        if kind is OrderedDict:
            return {"$ordereddict": self.pairs(value.items(), depth)}
        if kind is deque:
            return {"$deque": {"items": [self.value(item, depth) for item in value], "maxlen": value.maxlen}}
        if kind is np.ndarray:
            return {"$array": self.array(value, depth)}
        if kind is Opaque:
            return {"$opaque": self.opaque(value, depth)}
        if isinstance(value, np.generic):
            return {"$scalar": scalar_json(value)}
        raise _refusal(value)

    def pairs(self, pairs: Iterable[tuple[object, object]], depth: int) -> Json:
        """Keys and values in order."""
        return [[self.value(key, depth), self.value(item, depth)] for key, item in pairs]

    def array(self, array: np.ndarray[Any, Any], depth: int) -> Json:
        """An array by its bytes, or elementwise where the elements are Python objects or strings."""
        kind = array.dtype.kind
        if kind not in "OT":
            return array_json(array)
        if array.dtype.metadata is not None:
            raise InvalidRecord("the metadata of an array's dtype cannot be stored: keep it beside the array")
        form = "|O" if kind == "O" else describe(array.dtype)
        items = [self.value(item, depth) for item in object_items(array)]
        return {"dtype": form, "shape": list(array.shape), "order": memory_order(array), "items": items}

    def opaque(self, stand_in: Opaque, depth: int) -> Json:
        """The parts of a stand-in; those that are empty are left out."""
        names = stand_in.module, stand_in.qualname, *stand_in.kwargs
        if any(type(name) is not str for name in names):
            raise InvalidRecord(f"{stand_in!r} needs text for its module, its name and its keywords")
        args = stand_in.args
        form = {
            "module": str_json(stand_in.module),
            "qualname": str_json(stand_in.qualname),
            "args": None if args is None else [self.value(item, depth) for item in args],
        }
        if stand_in.kwargs:
            form["kwargs"] = self.pairs(stand_in.kwargs.items(), depth)
        if stand_in.state is not None:
            form["state"] = self.value(stand_in.state, depth)
        if stand_in.items:
            form["items"] = [self.value(item, depth) for item in stand_in.items]
        if stand_in.pairs:
            form["pairs"] = self.pairs(stand_in.pairs, depth)
        return form

    def elements(self, elements: Iterable[object], depth: int) -> Json:
        """The elements of a set, ordered by their text; the order of a set itself means nothing."""
        ranked: list[tuple[Any, ...]] = []
        for place, element in enumerate(elements):
            opaques = outer_opaques(element)
            if opaques:
                rank = sorted(
                    (id(o) not in self.shared, self.numbers.get(id(o), inf), o.order) for o in opaques
                )
                ranked.append((self.sort_key(element), rank, place, element, None))
            else:
                tree = self.value(element, depth)
                ranked.append((_to_json(tree), [], place, element, tree))
        ranked.sort(key=lambda entry: entry[:3])
        return [self.value(element, depth) if rank else tree for _, rank, _, element, tree in ranked]

    def sort_key(self, element: object) -> bytes:
        """The sort text of a set's element; see `sort_key`."""
        known = self.sort_keys.get(id(element))
        if known is None:
            known = self.sort_keys[id(element)] = _to_json(_SortEmitter(self.limits).value(element, 0))
        return known


class _SortEmitter(Emitter):
    """Writes an element of a set alone: independent of node numbers, and linear whatever it is linked to.

    Stand-ins within a stand-in are written by name only, and a container met again as a reference.
    """

    def __init__(self, limits: Limits) -> None:
        super().__init__(limits, set())
        self.inside = False

    def value(self, value: object, depth: int) -> Json:
        if type(value) not in MUTABLE:
            return super().value(value, depth)
        if type(value) is Opaque and self.inside:
            return {"$opaque": [str_json(value.module), str_json(value.qualname)]}
        if id(value) in self.numbers:
            return {"$ref": self.numbers[id(value)]}
        self.number(value)
        outer, self.inside = self.inside, self.inside or type(value) is Opaque
        tree = self.container(value, depth)
        self.inside = outer
        return tree

    def elements(self, elements: Iterable[object], depth: int) -> Json:
        # each element starts from the same numbers, so that the order of iteration does not show
        before = dict(self.numbers)
        texts = []
        for element in elements:
            self.numbers = dict(before)
            texts.append(_to_json(self.value(element, depth)))
        return [msgspec.Raw(text) for text in sorted(texts)]


def sort_key(element: object, limits: Limits) -> bytes:
    """The text by which a set's element is ordered.

    For an element without stand-ins it is the element's own text. In an element with stand-ins, each
    outermost one is written whole, and those within it by their names only.
    """
    return _to_json(_SortEmitter(limits).value(element, 0))


def _refusal(value: object) -> InvalidRecord:
    kind = type(value)
    name = f"{kind.__module__}.{kind.__qualname__}"
    base = next((b for b in kind.__mro__[1:] if b in LEAVES or b in MUTABLE or b in (tuple, frozenset)), None)
    if base is not None:
        hint = (
            f"it is a subclass of {base.__name__}, which would lose its type: convert it to {base.__name__}"
        )
    else:
        hint = "convert it to a type that values keep"
    return InvalidRecord(
        f"a value of type {name} cannot be stored; {hint}, or wrap it as perdure.values.Opaque"
    )
