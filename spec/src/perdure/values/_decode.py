"""From JSON text, trusted or hostile, to the Python value."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from pathlib import Path, WindowsPath
from typing import Any

import msgspec
import numpy as np

from perdure._errors import InvalidRecord
from perdure.values._encode import encode
from perdure.values._leaves import BAD, LEAF_TAGS, LEAVES, Json, unbase64
from perdure.values._limits import (
    DEFAULT_LIMITS,
    Limits,
    check_bounds,
    has_long_number,
    on_fresh_stack,
    too_deep,
)
from perdure.values._numpy import array_of, memory_order, parse_dtype, scalar_of, shape_of
from perdure.values._opaque import Opaque

__all__ = ["decode", "is_plain"]

_from_json = msgspec.json.Decoder().decode
_to_json = msgspec.json.Encoder().encode


#: How a path of another platform begins, which is read as a pure path and so is written otherwise here.
_FOREIGN = '{"$path":["%s",' % ("PosixPath" if isinstance(Path(), WindowsPath) else "WindowsPath")


def is_plain(text: str) -> bool:
    """Whether a text has no tagged form, so that any JSON reader sees the value itself.

    Holds for canonical text because a quote inside a JSON string is always escaped, and because a dict
    with a key that starts with ``$`` is always written in tagged form.
    """
    return '{"$' not in text


def decode(text: str, *, limits: Limits = DEFAULT_LIMITS, trusted: bool = False) -> object:
    """The value of a text that `encode` wrote.

    Nothing in the text is imported, looked up or run, whatever it says.

    Args:
        text: Canonical JSON text.
        limits: Size and depth to refuse beyond.
        trusted: True for text that this codec wrote and that storage kept: spares plain text the
            checks for limits, duplicate keys and canonical form.

    Raises:
        InvalidRecord: The text is not what the codec writes: malformed, not canonical, over a limit,
            with an unknown tag, or with a payload that does not fit its tag.
    """
    try:
        if "$" not in text:
            if not trusted:
                if len(text) > 2 * limits.max_depth or limits is not DEFAULT_LIMITS:
                    check_bounds(text, limits, tagged=False)
                tree = _from_json(text)
                data = text.encode()
                if _to_json(tree) != data or has_long_number(data):
                    return _decode(text, limits, trusted)
                return tree
            return _from_json(text)
        if trusted and '{"$' not in text:
            return _from_json(text)
        return _decode(text, limits, trusted)
    except RecursionError:
        return on_fresh_stack(lambda: _decode(text, limits, trusted))
    except (msgspec.DecodeError, UnicodeEncodeError, TypeError) as error:
        raise _malformed(text, error) from error


def _decode(text: str, limits: Limits, trusted: bool) -> object:
    if type(text) is not str:
        raise InvalidRecord(f"a value's text must be str, not {type(text).__name__}")
    tagged = '{"$' in text
    check_bounds(text, limits, tagged=tagged)
    try:
        tree = _from_json(text)
        data = text.encode()
        if _to_json(tree) != data:
            raise InvalidRecord(
                "the value's text is not canonical JSON (duplicate keys, spaces, or numbers and escapes in "
                "another spelling): read it with a JSON parser and store the result with `encode`"
            )
    except (msgspec.DecodeError, UnicodeEncodeError) as error:
        raise _malformed(text, error) from error
    if has_long_number(data):
        _check_integers(tree)
    # in text without tags, `$` keys can only follow a comma, where canonical text has strings of a list
    if not tagged and ',"$' not in text:
        return tree
    value = _Builder(limits).document(tree)
    if not trusted and _FOREIGN not in text and encode(value, limits=limits) != text:
        raise InvalidRecord(
            "the value's text is not canonical (elements, nodes or parts in another order, or padding that is "
            "not zero): write values with `encode`"
        )
    return value


def _check_integers(tree: Json) -> None:
    """Refuse a bare integer beyond int64: it is written as `$int`, which every JSON reader keeps."""
    waiting: list[Any] = [tree]
    while waiting:
        item = waiting.pop()
        if type(item) is int:
            if not -(2**63) <= item < 2**63:
                raise InvalidRecord(
                    "the value's text holds a bare integer beyond int64: write values with `encode`"
                )
        elif type(item) is list:
            waiting += item
        elif type(item) is dict:
            waiting += item.values()


def _malformed(text: object, error: Exception) -> InvalidRecord:
    if type(text) is not str:
        return InvalidRecord(f"a value's text must be str, not {type(text).__name__}")
    return InvalidRecord(f"the value's text is not valid JSON ({error}): write values with `encode`")


class _Builder:
    """Builds the value of one parsed tree that has tagged forms."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.nodes: list[Any] = []
        self.opaques = 0
        self.tags: dict[str, Callable[[Json, int], object]] = {
            "$tuple": lambda payload, depth: tuple(self.items(payload, depth)),
            "$frozenset": lambda payload, depth: self.elements(frozenset, payload, depth),
            "$ref": self.ref,
            "$scalar": lambda payload, _: scalar_of(payload),
            "$graph": _misplaced,
        }

    def document(self, tree: Json) -> object:
        """The value of the whole tree."""
        if not (type(tree) is dict and len(tree) == 1 and "$graph" in tree):
            return self.value(tree, 0)
        payload = tree["$graph"]
        if (
            type(payload) is not dict
            or list(payload) != ["root", "nodes"]
            or type(payload["nodes"]) is not list
        ):
            raise InvalidRecord("a value's node table must have `root` and a list `nodes`, and nothing else")
        # every node exists, empty, before the first is filled: links may lead anywhere
        self.nodes = [self.shell(node) for node in payload["nodes"]]
        root = self.value(payload["root"], 0)
        for shell, node in zip(self.nodes, payload["nodes"], strict=True):
            self.fill(shell, node, 1)
        return root

    def value(self, tree: Json, depth: int) -> object:
        """The value of a form that `depth` containers hold."""
        kind = type(tree)
        if kind is not list and kind is not dict:
            return tree
        tag, payload = _tag(tree)
        if tag in LEAF_TAGS:
            return _leaf(tag, payload)
        depth += 1
        if depth > self.limits.max_depth:
            raise too_deep(self.limits)
        try:
            if tag in self.tags:
                return self.tags[tag](payload, depth)
            shell = self.shell(tree)
            self.fill(shell, tree, depth)
        except InvalidRecord:
            raise
        except RecursionError:
            raise
        except BAD as error:
            raise _misfit(tag, error) from error
        return shell

    def ref(self, payload: Json, _: int) -> object:
        """The node of that number."""
        if type(payload) is not int or not 0 <= payload < len(self.nodes):
            raise InvalidRecord(
                f"a value refers to node {payload!r}, and its node table has {len(self.nodes)}"
            )
        return self.nodes[payload]

    def items(self, payload: Json, depth: int) -> list[Any]:
        """The values of a list of forms."""
        if type(payload) is not list:
            raise TypeError("list expected")
        return [self.value(item, depth) for item in payload]

    def pairs(self, payload: Json, depth: int) -> list[tuple[Any, Any]]:
        """The values of a list of pairs of forms."""
        if type(payload) is not list or any(type(p) is not list or len(p) != 2 for p in payload):
            raise TypeError("list of pairs expected")
        return [(self.value(key, depth), self.value(item, depth)) for key, item in payload]

    def elements(self, kind: Callable[[list[Any]], Any], payload: Json, depth: int) -> Any:
        """A set of either kind, all elements different."""
        elements = kind(self.items(payload, depth))
        if len(elements) != len(payload):
            raise ValueError("an element is repeated")
        return elements

    # --- mutable containers: an empty shell first, then what it holds

    def shell(self, tree: Json) -> Any:
        """The empty container of a form; arrays of numbers and bytearrays come whole."""
        if type(tree) is list:
            return []
        if type(tree) is not dict:
            raise InvalidRecord("a node of a value's node table must be a mutable container")
        tag, payload = _tag(tree)
        try:
            return self._shell(tag, payload)
        except InvalidRecord:
            raise
        except BAD as error:
            raise _misfit(tag, error) from error

    def _shell(self, tag: str, payload: Json) -> Any:
        if tag in ("", "$dict"):
            return {}
        if tag == "$set":
            return set()
        if tag == "$ordereddict":
            return OrderedDict()
        if tag == "$deque":
            maxlen = payload["maxlen"]
            if maxlen is not None and (type(maxlen) is not int or maxlen < len(payload["items"])):
                raise ValueError("a deque's maxlen must be null, or at least its length")
            return deque(maxlen=maxlen)
        if tag == "$bytearray":
            return bytearray(unbase64(payload))
        if tag == "$array":
            return _object_shell(payload) if "items" in payload else array_of(_exact(payload, _ARRAY_KEYS))
        if tag == "$opaque":
            self.opaques += 1
            return Opaque("", "", order=self.opaques)
        raise InvalidRecord(
            f"a value has the form {tag!r}, which is no container of this version of the codec: "
            "upgrade perdure, or check the text"
        )

    def fill(self, shell: Any, tree: Json, depth: int) -> None:
        """Put into a shell what its form holds."""
        tag, payload = _tag(tree)
        try:
            self._fill(shell, tag, payload, depth)
        except (InvalidRecord, RecursionError):
            raise
        except BAD as error:
            raise _misfit(tag, error) from error

    def _fill(self, shell: Any, tag: str, payload: Json, depth: int) -> None:
        if tag == "":
            if type(payload) is list:
                shell.extend(self.items(payload, depth))
            else:
                for key, item in payload.items():
                    shell[key] = self.value(item, depth)
        elif tag in ("$dict", "$ordereddict"):
            shell.update(self.pairs(payload, depth))
            if len(shell) != len(payload):
                raise ValueError("a key is repeated")
            if tag == "$dict" and all(type(key) is str and _plain_key(key) for key in shell):
                raise ValueError("a plain dict in tagged form is not canonical")
        elif tag == "$set":
            self.elements(lambda items: shell.update(items) or shell, payload, depth)
        elif tag == "$deque":
            shell.extend(self.items(_exact(payload, ("items", "maxlen"))["items"], depth))
        elif tag == "$opaque":
            self.opaque(shell, payload, depth)
        elif tag == "$array" and "items" in payload:
            items = self.items(payload["items"], depth)
            flat = np.empty(len(items), shell.dtype)
            for place, item in enumerate(items):
                flat[place] = item
            shell[...] = flat.reshape(shell.shape)

    def opaque(self, shell: Opaque, payload: Json, depth: int) -> None:
        """Fill a stand-in."""
        if list(payload)[:3] != ["module", "qualname", "args"] or not _OPAQUE_KEYS.issuperset(payload):
            raise ValueError(
                "a stand-in has module, qualname and args, and may have kwargs, state, items, pairs"
            )
        names = [self.value(payload[name], depth) for name in ("module", "qualname")]
        kwargs = self.pairs(payload.get("kwargs", []), depth)
        if any(type(name) is not str for name in (*names, *(key for key, _ in kwargs))):
            raise TypeError("names must be text")
        shell.module, shell.qualname = names  # type: ignore[assignment]
        shell.args = None if payload["args"] is None else tuple(self.items(payload["args"], depth))
        shell.kwargs = dict(kwargs)
        shell.state = self.value(payload.get("state"), depth)
        shell.items = self.items(payload.get("items", []), depth)
        shell.pairs = self.pairs(payload.get("pairs", []), depth)


_ARRAY_KEYS = ("dtype", "shape", "order", "data")
_OBJECT_ARRAY_KEYS = ("dtype", "shape", "order", "items")
_OPAQUE_KEYS = frozenset({"module", "qualname", "args", "kwargs", "state", "items", "pairs"})


def _plain_key(key: str) -> bool:
    return key[:1] != "$" and type(LEAVES[str](key)) is str


def _tag(tree: Json) -> tuple[str, Json]:
    """The tag and the payload of an object, or an empty tag and the tree itself."""
    if type(tree) is dict:
        for key in tree:
            if key[:1] == "$":
                if len(tree) != 1:
                    raise InvalidRecord(f"a value has the key {key!r} beside others: tags stand alone")
                return key, tree[key]
    return "", tree


def _leaf(tag: str, payload: Json) -> object:
    """The value of a tagged leaf, which must encode to the very payload that it came from."""
    try:
        value = LEAF_TAGS[tag](payload)
        if tag != "$path" and _to_json(LEAVES[type(value)](value)) != _to_json({tag: payload}):
            raise ValueError("not in its canonical form")
    except InvalidRecord:
        raise
    except BAD as error:
        raise _misfit(tag, error) from error
    return value


def _exact(payload: Json, keys: tuple[str, ...]) -> Json:
    if type(payload) is not dict or tuple(payload) != keys:
        raise ValueError(f"exactly {', '.join(keys)} expected")
    return payload


def _object_shell(payload: Json) -> np.ndarray[Any, Any]:
    """An array of Python objects or strings, not yet filled; never larger than its list of items."""
    _exact(payload, _OBJECT_ARRAY_KEYS)
    dtype = np.dtype(object) if payload["dtype"] == "|O" else parse_dtype(payload["dtype"])
    if dtype.kind not in "OT":
        raise ValueError("only objects and strings are stored as items")
    shape, order = shape_of(payload["shape"]), payload["order"]
    if type(payload["items"]) is not list or len(payload["items"]) != int(np.prod(shape, dtype=object)):
        raise ValueError("array items do not fill the shape")
    array: np.ndarray[Any, Any] = np.empty(shape, dtype, order=order)
    if memory_order(array) != order:
        raise ValueError("memory order is not canonical")
    return array


def _misplaced(payload: Json, _: int) -> object:
    raise InvalidRecord("a value has a node table inside: it stands at the top only")


def _misfit(tag: str, error: BaseException) -> InvalidRecord:
    return InvalidRecord(
        f"a value's {tag or 'plain'} form does not fit its tag ({error}): the text was not written by `encode`"
    )
