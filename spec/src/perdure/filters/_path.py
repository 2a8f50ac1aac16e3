"""Paths as text: `content.error.code`, `content.items[0].name`, `content["a.b"]`.

Both text forms of filters use it. The dict form also takes bare keys with spaces or signs, as Mongo does.
"""

from __future__ import annotations

import re

from perdure._errors import InvalidFilter
from perdure.filters._tree import Path

__all__ = ["format_path", "format_text", "parse_path", "scan_path", "unescape"]

_COLUMN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_STRICT = re.compile(r"(?:0|[1-9][0-9]*)(?![\w-])|[^\W\d][\w-]*")
_LENIENT = re.compile(r"[^.\[\]]+")
_INDEX = re.compile(r"0|-?[1-9][0-9]*")
_BRACKET = re.compile(r"""\[\s*(?:(-?[0-9]+)|("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'))\s*\]""", re.DOTALL)
_ESCAPE = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|(.))", re.DOTALL)
_SHORT = {'"': '"', "'": "'", "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_INDEX_DIGITS = 20


def unescape(quoted: str) -> str:
    r"""The text of a quoted string: ``\n \t \r \b \f \\ \/ \" \' \uXXXX \UXXXXXXXX``.

    Each ``\uXXXX`` is one code point: two surrogates stay two, since a value may hold just that.

    Raises:
        InvalidFilter: It has an escape that is none of these.
    """

    def replace(match: re.Match[str]) -> str:
        short = match[3]
        if short is None:
            code = int(match[1] or match[2], 16)
            if code <= 0x10FFFF:
                return chr(code)
        elif short in _SHORT:
            return _SHORT[short]
        raise InvalidFilter(f"unknown escape {match[0]} in a string; write a backslash as \\\\")

    return _ESCAPE.sub(replace, quoted[1:-1])


def format_text(text: str) -> str:
    """The text in double quotes, printable, so that `unescape` gives it back."""

    def escape(char: str) -> str:
        if char in '"\\':
            return "\\" + char
        if char.isprintable():
            return char
        return f"\\u{ord(char):04x}" if ord(char) <= 0xFFFF else f"\\U{ord(char):08x}"

    return f'"{"".join(map(escape, text))}"'


def format_path(path: Path) -> str:
    """The path in the form that `parse_path` reads back."""
    steps = (
        f"[{step}]" if isinstance(step, int) else f".{step}" if _bare(step) else f"[{format_text(step)}]"
        for step in path.steps
    )
    return path.column + "".join(steps)


def _bare(step: str) -> bool:
    return step.isprintable() and not step[:1].isdigit() and _STRICT.fullmatch(step) is not None


def parse_path(text: str, *, lenient: bool = False) -> Path:
    """The path that the text names.

    Args:
        text: A column, then `.key`, `.0`, `[0]` or `["any key"]`, any number of times.
        lenient: A bare key may hold any characters but dots and brackets.

    Raises:
        InvalidFilter: It is not a path.
    """
    path, end = scan_path(text, 0, lenient=lenient)
    if end != len(text):
        raise InvalidFilter(f'{text!r} is not a path: stuck at {text[end:]!r}; quote odd keys as ["key"]')
    return path


def scan_path(text: str, start: int, *, lenient: bool = False) -> tuple[Path, int]:
    """The longest path that starts there, and where it ends.

    Raises:
        InvalidFilter: No path starts there.
    """
    column = _COLUMN.match(text, start)
    if column is None:
        raise InvalidFilter(f"{text[start : start + 40]!r} does not start with a field name")
    end, steps = column.end(), list[str | int]()
    while end < len(text):
        if text[end] == "." and (key := (_LENIENT if lenient else _STRICT).match(text, end + 1)):
            steps.append(_index(key[0]) if _INDEX.fullmatch(key[0]) and key[0][0] != "-" else key[0])
            end = key.end()
        elif text[end] == "[" and (bracket := _BRACKET.match(text, end)):
            steps.append(_index(bracket[1]) if bracket[2] is None else unescape(bracket[2]))
            end = bracket.end()
        else:
            break
    return Path(column[0], tuple(steps)), end


def _index(digits: str) -> int:
    if len(digits) > _INDEX_DIGITS:
        raise InvalidFilter("an index into a list fits 64 bits")
    return int(digits)
