"""The filter language of the command line, and its inverse.

::

    or        = and { "or" and }
    and       = unary { "and" unary }
    unary     = "not" unary | "(" or ")" | "true" | "false"
              | ( "all" | "any" ) "(" [ or { "," or } ] ")" | test
    test      = path ( "=" | "!=" | "<" | "<=" | ">" | ">=" ) literal
              | path [ "not" ] "in" "(" [ literal { "," literal } ] ")"
              | path "is" [ "not" ] "null"
              | path [ "not" ] "contains" literal
              | path [ "not" ] "startswith" string
    path      = name { "." key | "[" integer "]" | "[" string "]" }
    literal   = string | number | time | "true" | "false" | "null"

Words are read in any case; `==` and `<>` are read as `=` and `!=`. A time is an ISO 8601 text with its
zone, unquoted: `2026-11-20T12:00Z`. Numbers are decimal, hexadecimal (`0x…`), `inf` or `-inf`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, NoReturn, TypeVar

from perdure._errors import InvalidFilter
from perdure.filters._fields import member_of
from perdure.filters._path import format_path, format_text, scan_path, unescape
from perdure.filters._tree import (
    MAX_DEPTH,
    RESERVED,
    And,
    Compare,
    Contains,
    Filter,
    In,
    IsNull,
    Not,
    Op,
    Or,
    Path,
    Scalar,
    StartsWith,
)

__all__ = ["format", "parse"]

_T = TypeVar("_T")

_TOKEN = re.compile(
    r"""
      (?P<space>\s+)
    | (?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    | (?P<time>[0-9]{4}-[0-9]{2}-[0-9]{2}
        (?:[Tt\ ][0-9]{2}:[0-9:.]*[0-9])?(?:[Zz]|[+-][0-9]{2}:?[0-9]{2})?(?![\w-]))
    | (?P<number>[+-]?
        (?:0[xX][0-9a-fA-F]+|(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|inf\b)(?![\w.]))
    | (?P<word>[A-Za-z_][A-Za-z0-9_]*)
    | (?P<op>==|!=|<>|<=|>=|[=<>(),])
    """,
    re.VERBOSE | re.DOTALL,
)
_COMPARISONS: dict[str, Op] = {
    "=": "eq",
    "==": "eq",
    "!=": "ne",
    "<>": "ne",
    "<": "lt",
    "<=": "le",
    ">": "gt",
    ">=": "ge",
}
_OPERATORS: dict[Op, str] = {"eq": "=", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
_TESTS = "one of = != < <= > >=, in, is null, contains, startswith"
_CONTEXT = 60
_DECIMAL_BITS = 4_000


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    start: int
    path: Path | None = None


def parse(text: str) -> Filter:
    """The filter that the text says, such as `kind = "x" and not content.error.code in (1, 2)`.

    Raises:
        InvalidFilter: It says none; the message shows the line with a caret under the place.
    """
    if not isinstance(text, str):
        raise InvalidFilter(f"a filter on the command line is a str, not {type(text).__name__}")
    parser = _Parser(text)
    where = parser.disjunction(1)
    if parser.token.kind != "end":
        parser.fail("expected `and`, `or` or the end")
    return where


def _broken(text: str, start: int, reason: str) -> InvalidFilter:
    line_start = text.rfind("\n", 0, start) + 1
    line_end = text.find("\n", start)
    line = text[line_start : len(text) if line_end < 0 else line_end]
    column = start - line_start
    first = max(0, column - _CONTEXT)
    shown = "".join(char if char.isprintable() else " " for char in line[first : column + _CONTEXT])
    number = text.count("\n", 0, start) + 1
    place = f"line {number}, column {column + 1}" if "\n" in text else f"column {column + 1}"
    return InvalidFilter(
        f"{reason} at {place}:\n  {shown}\n  {' ' * (column - first)}^", line=number, column=column + 1
    )


class _Parser:
    """Recursive descent with one token of look-ahead."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.end = 0
        self.token = self._scan()

    def fail(self, reason: str, start: int | None = None) -> NoReturn:
        found = "" if self.token.kind == "end" or start is not None else f", found {self.token.text[:40]!r}"
        raise _broken(self.text, self.token.start if start is None else start, reason + found)

    def _placed(self, start: int, make: Callable[[], _T]) -> _T:
        """Calls, and shows where the text is wrong if the call says that it is."""
        try:
            return make()
        except InvalidFilter as error:
            raise _broken(self.text, start, error.message) from None

    def _scan(self) -> _Token:
        while match := _TOKEN.match(self.text, self.end):
            kind, start = str(match.lastgroup), match.start()
            self.end = match.end()
            if kind == "word" and match[0].lower() not in RESERVED:
                path, self.end = self._placed(start, partial(scan_path, self.text, start))
                return _Token("path", self.text[start : self.end], start, path)
            if kind != "space":
                return _Token(kind, match[0], start)
        if self.end < len(self.text):
            char = self.text[self.end]
            reason = "this string has no end" if char in "\"'" else f"{char!r} is not understood here"
            if char in "&|~":
                reason += "; in text, filters are joined by `and`, `or` and `not`"
            raise _broken(self.text, self.end, reason)
        return _Token("end", "", self.end)

    def advance(self) -> _Token:
        token, self.token = self.token, self._scan()
        return token

    def accept(self, *texts: str) -> bool:
        """Takes the token if it is one of these words or signs."""
        if self.token.kind in ("word", "op") and self.token.text.lower() in texts:
            self.advance()
            return True
        return False

    def expect(self, text: str, reason: str) -> None:
        if not self.accept(text):
            self.fail(reason)

    def disjunction(self, depth: int) -> Filter:
        items = [self.conjunction(depth)]
        while self.accept("or"):
            items.append(self.conjunction(depth))
        return items[0] if len(items) == 1 else Or(tuple(items))

    def conjunction(self, depth: int) -> Filter:
        items = [self.unary(depth)]
        while self.accept("and"):
            items.append(self.unary(depth))
        return items[0] if len(items) == 1 else And(tuple(items))

    def unary(self, depth: int) -> Filter:
        if depth > MAX_DEPTH:  # parentheses make no node, yet may not exhaust the stack
            self.fail(f"a filter nests at most {MAX_DEPTH} deep")
        start = self.token.start
        if self.accept("not"):
            item = self.unary(depth + 1)
            return self._placed(start, lambda: Not(item))
        if self.accept("true"):
            return And(())
        if self.accept("false"):
            return Or(())
        if self.accept("("):
            inner = self.disjunction(depth + 1)
            self.expect(")", "expected `and`, `or` or `)`")
            return inner
        if self.token.kind == "word" and self.token.text.lower() in ("all", "any"):
            joined = And if self.advance().text.lower() == "all" else Or
            self.expect("(", "expected `(`")
            items = tuple(self.listed(lambda: self.disjunction(depth + 1)))
            return self._placed(start, lambda: joined(items))
        return self.test()

    def listed(self, item: Callable[[], _T]) -> list[_T]:
        """Items between commas, up to the closing parenthesis; there may be none."""
        items: list[_T] = []
        if self.accept(")"):
            return items
        while True:
            items.append(item())
            if self.accept(")"):
                return items
            self.expect(",", "expected `,` or `)`")

    def test(self) -> Filter:
        path = self.token.path
        if path is None:
            self.fail("expected a field, `not` or `(`")
        start = self.advance().start
        negated = self.accept("not")
        if self.accept("in"):
            self.expect("(", "expected `(` and a list of values")
            values = self.listed(self.literal)
            found = self._placed(start, lambda: member_of(path, values))
        elif self.accept("contains"):
            value = self.literal()
            found = self._placed(start, lambda: Contains(path, value))
        elif self.accept("startswith"):
            prefix = self.literal()
            found = self._placed(start, lambda: StartsWith(path, prefix))
        elif negated:
            self.fail("expected `in`, `contains` or `startswith` after `not`")
        else:
            return self.comparison(path)
        return Not(found) if negated else found

    def comparison(self, path: Path) -> Filter:
        if self.accept("is"):
            negated = self.accept("not")
            self.expect("null", "expected `null` or `not null`")
            return Not(IsNull(path)) if negated else IsNull(path)
        sign = self.token
        if sign.kind != "op" or sign.text not in _COMPARISONS:
            self.fail(f"expected {_TESTS}")
        self.advance()
        op, value = _COMPARISONS[sign.text], self.literal()
        if value is None and op in ("eq", "ne"):
            return IsNull(path) if op == "eq" else Not(IsNull(path))
        return self._placed(sign.start, lambda: Compare(path, op, value))

    def literal(self) -> Any:
        token = self.token
        if token.kind == "word" and token.text.lower() in ("true", "false", "null"):
            self.advance()
            return {"true": True, "false": False, "null": None}[token.text.lower()]
        if token.kind == "path":
            self.fail("expected a value; put text in quotes")
        if token.kind not in ("string", "number", "time"):
            self.fail("expected a value")
        self.advance()
        read: Callable[[str], Any] = {"string": unescape, "number": _number, "time": _time}[token.kind]
        return self._placed(token.start, lambda: read(token.text))


def _number(text: str) -> int | float:
    if "x" in text or "X" in text:
        return int(text, 16)
    if text.lstrip("+-") == "inf":
        return float(text)
    if not set(text) & set(".eE"):
        try:
            return int(text)
        except ValueError:  # Python's limit on decimal digits
            raise InvalidFilter("this integer is too long; write it in hexadecimal") from None
    number = float(text)
    if math.isinf(number):
        raise InvalidFilter("this number is too large for a float; write inf for infinity")
    return number


def _time(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidFilter(f"{text} is not a time; write it as 2026-11-20T12:00Z") from None
    if moment.tzinfo is None:
        raise InvalidFilter(f"{text} has no time zone; write it as 2026-11-20T12:00Z")
    return moment


def format(where: Filter) -> str:
    """The filter in the language of the command line; `parse` gives back an equal filter.

    Raises:
        InvalidFilter: It is not a filter.
    """
    if isinstance(where, And | Or):
        return _joined(where)
    if isinstance(where, Not):
        inner = format(where.item)
        return (
            f"not ({inner})"
            if isinstance(where.item, And | Or) and len(where.item.items) > 1
            else f"not {inner}"
        )
    if not isinstance(where, Compare | In | IsNull | Contains | StartsWith):
        raise InvalidFilter(f"a filter is built with F, from_dict or parse; this is a {type(where).__name__}")
    path = format_path(where.field)
    if isinstance(where, Compare):
        return f"{path} {_OPERATORS[where.op]} {_literal(where.value)}"
    if isinstance(where, In):
        return f"{path} in ({', '.join(map(_literal, where.values))})"
    if isinstance(where, IsNull):
        return f"{path} is null"
    if isinstance(where, Contains):
        return f"{path} contains {_literal(where.value)}"
    return f"{path} startswith {format_text(where.prefix)}"


def _joined(where: And | Or) -> str:
    """Items joined by the word; `all(…)` or `any(…)` keeps a single item apart from the item itself."""
    word, constant, call = ("and", "true", "all") if isinstance(where, And) else ("or", "false", "any")
    if not where.items:
        return constant
    if len(where.items) == 1:
        return f"{call}({format(where.items[0])})"
    return f" {word} ".join(
        f"({format(item)})" if isinstance(item, And | Or) and len(item.items) > 1 else format(item)
        for item in where.items
    )


def _literal(value: Scalar) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return format_text(value)
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().removesuffix("+00:00") + "Z"
    if isinstance(value, int) and value.bit_length() > _DECIMAL_BITS:
        return hex(value)
    return repr(value)
