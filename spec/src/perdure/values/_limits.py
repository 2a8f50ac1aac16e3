"""Limits of the value codec, measured on the JSON text, and the fresh stack that keeps depth from mattering."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from perdure._errors import InvalidRecord

__all__ = [
    "DEFAULT_LIMITS",
    "DEPTH_CEILING",
    "Limits",
    "check_bounds",
    "check_nodes",
    "has_long_number",
    "on_fresh_stack",
    "too_deep",
]

T = TypeVar("T")

#: No `Limits` may allow deeper nesting: three JSON levels a container still fit one interpreter stack.
DEPTH_CEILING = 250

#: JSON levels that the tagged form of one container can take, and that the node table adds.
_LEVELS_PER_CONTAINER, _LEVELS_EXTRA = 3, 24

_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"')
_ONE_BRACKET = bytes.maketrans(b"{}", b"[]")
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))

#: Digits that an integer beyond int64 has at least, and what makes all digits alike: a plain search for a
#: run of one byte is many times faster than a regular expression, which starts anew at every digit.
_LONG = b"0" * 19
_ONE_DIGIT = bytes.maketrans(b"123456789", b"000000000")


@dataclass(frozen=True, slots=True)
class Limits:
    """What a value may be at most; checked by `encode` and by `decode`.

    Attributes:
        max_bytes: Size of the text in UTF-8 bytes, at least 1.
        max_depth: Containers nested in one another, from 1 to 250. Inside a node table the count
            starts again at each node, so that a linked list may be as long as the other limits let it.
        max_nodes: JSON values in the text (scalars, arrays and objects; keys are not counted), at least 1.

    Raises:
        ValueError: A limit is out of its range.
    """

    max_bytes: int = 64 * 1024 * 1024
    max_depth: int = 200
    max_nodes: int = 5_000_000

    def __post_init__(self) -> None:
        if self.max_bytes < 1 or self.max_nodes < 1 or not 1 <= self.max_depth <= DEPTH_CEILING:
            raise InvalidRecord(
                f"value limits must be at least 1, and max_depth at most {DEPTH_CEILING}; got {self!r}"
            )


#: What `encode` and `decode` use unless told otherwise: 64 MiB of text, 200 levels, 5 million values.
DEFAULT_LIMITS = Limits()


def check_bounds(text: str, limits: Limits, *, tagged: bool) -> None:
    """Refuse a text that is over a limit before it is parsed.

    Args:
        text: JSON text, not yet trusted.
        limits: The limits to hold.
        tagged: Whether the text has tagged forms, which take several JSON levels a container.

    Raises:
        InvalidRecord: A limit is passed, or the text holds lone surrogates.
    """
    size = len(text)
    levels = limits.max_depth * _LEVELS_PER_CONTAINER + _LEVELS_EXTRA if tagged else limits.max_depth
    if size <= 2 * levels and size <= limits.max_nodes and 4 * size <= limits.max_bytes:
        return  # every open bracket needs its closing one: so short a text cannot pass a limit
    try:
        data = text.encode()
    except UnicodeEncodeError as error:
        raise InvalidRecord("the value's text holds lone surrogates; it is not text of the codec") from error
    if len(data) > limits.max_bytes:
        raise too_big(len(data), limits)
    if size > limits.max_nodes:
        check_nodes(data, limits)
    if data.count(b"[") + data.count(b"{") > levels and _deeper_than(data, levels):
        raise too_deep(limits)


def check_nodes(data: bytes, limits: Limits) -> None:
    """Refuse a text with more JSON values than the limit.

    Raises:
        InvalidRecord: There are more.
    """
    bound = data.count(b",") + data.count(b"[") + data.count(b"{") + 1
    if bound <= limits.max_nodes:
        return
    bare = _STRING.sub(b"0", data)
    empty = bare.count(b"[]") + bare.count(b"{}")
    nodes = bare.count(b",") + bare.count(b"[") + bare.count(b"{") - empty + 1
    if nodes > limits.max_nodes:
        raise InvalidRecord(
            f"the value has {nodes:,} parts; the limit is {limits.max_nodes:,}: split it over several rows",
            nodes=nodes,
        )


def has_long_number(data: bytes) -> bool:
    """Whether a text has so many digits in a row that it may hold an integer beyond int64."""
    return _LONG in data.translate(_ONE_DIGIT)


def _deeper_than(data: bytes, levels: int) -> bool:
    """Whether brackets nest deeper; peels one level of innermost brackets off at a time."""
    brackets = _STRING.sub(b"", data).translate(_ONE_BRACKET, _NOT_BRACKETS)
    for _ in range(levels):
        if not brackets:
            return False
        peeled = brackets.replace(b"[]", b"")
        if len(peeled) == len(brackets):
            return len(brackets) > levels  # unbalanced: the parser will say so, unless it is hopeless
        brackets = peeled
    return bool(brackets)


def too_big(size: int, limits: Limits) -> InvalidRecord:
    """The error for a text over `max_bytes`."""
    return InvalidRecord(
        f"the value's text has {size:,} bytes; the limit is {limits.max_bytes:,}: keep it as a payload of `states`",
        size=size,
    )


def too_deep(limits: Limits) -> InvalidRecord:
    """The error for a value over `max_depth`."""
    return InvalidRecord(
        f"the value nests deeper than {limits.max_depth} containers: flatten it before storing it"
    )


def on_fresh_stack(work: Callable[[], T]) -> T:
    """Run `work` in a thread of its own, whose recursion allowance does not depend on how deep the caller is.

    Raises:
        InvalidRecord: Even a whole stack is too small, which only malformed text can bring about.
    """
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:  # handed to the caller below, whatever it is
            errors.append(error)

    thread = threading.Thread(target=run, name="perdure-values", daemon=True)
    thread.start()
    thread.join()
    if not errors:
        return results[0]
    if isinstance(errors[0], RecursionError):
        raise InvalidRecord(
            "the value nests too deeply to be read: flatten it before storing it"
        ) from errors[0]
    raise errors[0]
