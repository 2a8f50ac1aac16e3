"""Reads the literals of Python in which NumPy and dbm write their headers, without the compiler."""

from __future__ import annotations

import re
from typing import Any

from perdure import InvalidRecord

__all__ = ["parse_literal"]

_SPACE = re.compile(r"\s*")
_TOKEN = re.compile(
    r"""(?P<text>[bu]?'(?:[^'\\\n]|\\.)*'|[bu]?"(?:[^"\\\n]|\\.)*")"""
    r"|(?P<number>[+-]?[0-9]{1,20}L?)|(?P<name>True|False|None)|(?P<mark>[\[\](){},:])",
    re.ASCII,
)
_ESCAPE = re.compile(
    r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{1,3})|(.))", re.DOTALL
)
_SIMPLE = {"\\": "\\", "'": "'", '"': '"', "n": "\n", "r": "\r", "t": "\t"}
_SIMPLE |= {"a": "\a", "b": "\b", "f": "\f", "v": "\v"}
_NAMES = {"True": True, "False": False, "None": None}
_CLOSING = {"(": ")", "[": "]", "{": "}"}
_DEEPEST = 40


def parse_literal(text: str) -> Any:
    """The value of a literal of text, bytes, integers, True, False, None, tuples, lists and dicts by text.

    Raises:
        InvalidRecord: It is none.
    """
    parser = _Parser(text)
    try:
        value = parser.value(0)
    except (ValueError, KeyError, OverflowError, UnicodeError) as error:
        raise InvalidRecord(
            f"a header is malformed ({error}). The file is damaged; copy it again."
        ) from error
    if parser.peek()[1]:
        raise InvalidRecord("a header goes on after its end. The file is damaged; copy it again.")
    return value


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def peek(self) -> tuple[str, str]:
        """Kind and text of the next token; both empty at the end."""
        self.at = _SPACE.match(self.text, self.at).end()  # type: ignore[union-attr]  # matches nothing, too
        if self.at == len(self.text):
            return "", ""
        found = _TOKEN.match(self.text, self.at)
        if found is None:
            raise ValueError(f"character {self.at} is out of place")
        return str(found.lastgroup), found[0]

    def take(self) -> tuple[str, str]:
        """The next token, which is consumed."""
        kind, token = self.peek()
        self.at += len(token)
        return kind, token

    def value(self, depth: int) -> Any:
        """The next value."""
        kind, token = self.take()
        if kind == "text":
            return _text(token)
        if kind == "number":
            return int(token.rstrip("L"))
        if kind == "name":
            return _NAMES[token]
        if token not in _CLOSING or depth == _DEEPEST:
            raise ValueError(f"{token or 'the end'!r} where a value is needed")
        return self.members(token, depth + 1)

    def members(self, opening: str, depth: int) -> Any:
        """What stands between brackets."""
        closing, items, commas = _CLOSING[opening], [], 0
        pairs: dict[str, Any] = {}
        while self.peek()[1] != closing:
            item = self.value(depth)
            if opening == "{":
                if type(item) is not str or self.take()[1] != ":":
                    raise ValueError("a dict is malformed")
                pairs[item] = self.value(depth)
            items.append(item)
            if self.peek()[1] != closing:
                if self.take()[1] != ",":
                    raise ValueError("a comma is missing")
                commas += 1
        self.take()
        if opening == "{":
            return pairs
        if opening == "[":
            return items
        return items[0] if len(items) == 1 and not commas else tuple(items)


def _text(token: str) -> str | bytes:
    prefix = token[0] if token[0] in "bu" else ""
    text = _ESCAPE.sub(_unescape, token[len(prefix) + 1 : -1])
    return text.encode("latin-1") if prefix == "b" else text


def _unescape(match: re.Match[str]) -> str:
    *hexadecimal, octal, other = match.groups()
    for digits in hexadecimal:
        if digits is not None:
            return chr(int(digits, 16))
    return chr(int(octal, 8)) if octal is not None else _SIMPLE.get(other, match[0])
