"""What filters mean: this evaluator is the definition that every engine must agree with.

A filter is compiled once into nested closures over the encoded row, cheapest first: tests of typed
columns run before tests that decode a value. Every closure is total on valid rows.
"""

from __future__ import annotations

import operator
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any, Protocol, TypeAlias

import numpy as np

from perdure._schema import Row, Table
from perdure.filters._tree import And, Compare, Contains, Filter, In, IsNull, Not, Or, Scalar, StartsWith
from perdure.filters._validate import COUNTERS, kind_of, validate
from perdure.values import decode

__all__ = ["Counters", "Matcher", "evaluate", "matcher"]

#: The read counters of a row: `accessed_at` in microseconds since 1970 or None, and `access_count`.
Counters: TypeAlias = tuple[int | None, int]


class Matcher(Protocol):
    """A compiled filter."""

    def __call__(self, row: Row, counters: Counters | None = None, /) -> bool:
        """Whether the row matches; no counters mean that it was never read."""
        ...


_Test: TypeAlias = Callable[[Any], bool]
_Fetch: TypeAlias = Callable[[tuple[Any, ...]], Any]
_Costed: TypeAlias = tuple[int, Matcher]

_TYPED, _DECODED = 0, 1
_NEVER_READ: Counters = (None, 0)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_ORDERS: dict[str, Callable[[Any, Any], Any]] = {
    "eq": operator.eq,
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
}
_COLLECTIONS = (list, tuple, set, frozenset, deque, dict)


def matcher(table: Table, where: Filter) -> Matcher:
    """The filter as a function of an encoded row, and of its read counters where the filter uses them.

    Safe to call from several threads.

    Raises:
        InvalidFilter: The filter cannot be asked of the table (see `validate`). The result never raises.
    """
    validate(where, table)
    return _compile(where, table, {})[1]


def evaluate(where: Filter, table: Table, row: Row, counters: Counters | None = None) -> bool:
    """Whether one row matches; compile a `matcher` to ask of many.

    Raises:
        InvalidFilter: The filter cannot be asked of the table (see `validate`).
    """
    return matcher(table, where)(row, counters)


def _compile(where: Filter, table: Table, columns: dict[str, _Fetch]) -> _Costed:
    if isinstance(where, And | Or):
        items = sorted((_compile(item, table, columns) for item in where.items), key=operator.itemgetter(0))
        cost = items[-1][0] if items else _TYPED
        return cost, _join([test for _, test in items], isinstance(where, Or))
    if isinstance(where, Not):
        cost, test = _compile(where.item, table, columns)
        return cost, lambda row, counters=None: not test(row, counters)
    assert isinstance(where, Compare | In | Contains | StartsWith | IsNull)
    name, kind = where.field.column, kind_of(table, where.field.column)
    if name not in table.position:
        counter = _typed(where, list(COUNTERS).index(name))
        return _TYPED, lambda row, counters=None: counter(counters or _NEVER_READ)
    place = table.position[name]
    if kind != "value":
        return _TYPED, _typed(where, place)
    fetch = _stepper(columns.setdefault(name, _decoder(place)), where.field.steps)
    inner = _of_value(where)
    return _DECODED, lambda row, counters=None: inner(fetch(row))


def _join(tests: list[Matcher], decisive: bool) -> Matcher:
    """The first test that gives the decisive answer decides."""
    if len(tests) == 2:
        first, second = tests
        if decisive:
            return lambda row, counters=None: first(row, counters) or second(row, counters)
        return lambda row, counters=None: first(row, counters) and second(row, counters)

    def joined(row: Row, counters: Counters | None = None) -> bool:
        for test in tests:
            if test(row, counters) is decisive:
                return decisive
        return not decisive

    return joined


# ------------------------------------------------------------------------------ typed columns


def _native(literal: Scalar) -> Any:
    """The literal as an encoded row holds it: a time in microseconds, everything else as it is."""
    return (literal - _EPOCH) // _MICROSECOND if isinstance(literal, datetime) else literal


def _typed(where: Filter, place: int) -> Callable[..., bool]:
    """A test of a column whose kind `validate` has matched with the literal."""
    if isinstance(where, IsNull):
        return lambda row, counters=None: row[place] is None
    if isinstance(where, In):
        wanted = frozenset(map(_native, where.values))
        return lambda row, counters=None: row[place] in wanted
    if isinstance(where, StartsWith):
        prefix = where.prefix
        return lambda row, counters=None: row[place] is not None and row[place].startswith(prefix)
    if isinstance(where, Contains):
        part = where.value
        return lambda row, counters=None: row[place] is not None and part in row[place]
    assert isinstance(where, Compare)
    literal = _native(where.value)
    if where.op == "eq":
        return lambda row, counters=None: row[place] == literal
    if where.op == "ne":
        return lambda row, counters=None: row[place] != literal
    compare = _ORDERS[where.op]

    def ordered(row: tuple[Any, ...], counters: Counters | None = None) -> bool:
        item = row[place]
        return item is not None and compare(item, literal)

    return ordered


# ------------------------------------------------------------------------------ values


def _decoder(place: int) -> _Fetch:
    """Decodes a value column, once for each row however many tests read it.

    The last text and its value are replaced in one assignment, so threads may share the memory.
    """
    memory: list[tuple[str | None, Any]] = [(None, None)]

    def fetch(row: tuple[Any, ...]) -> Any:
        text = row[place]
        known, value = memory[0]
        if known is not text:
            value = decode(text, trusted=True)
            memory[0] = (text, value)
        return value

    return fetch


def _stepper(fetch: _Fetch, steps: tuple[str | int, ...]) -> _Fetch:
    if not steps:
        return fetch

    def reach(row: tuple[Any, ...]) -> Any:
        item = fetch(row)
        for step in steps:
            if isinstance(step, str):
                item = item.get(step) if isinstance(item, dict) else None
            elif isinstance(item, list | tuple) and -len(item) <= step < len(item):
                item = item[step]
            else:
                return None
        return item

    return reach


def _of_value(where: Filter) -> _Test:
    """A test of what a path into a value leads to, of any type at all."""
    if isinstance(where, IsNull):
        return lambda item: item is None
    if isinstance(where, StartsWith):
        prefix = where.prefix
        return lambda item: isinstance(item, str) and item.startswith(prefix)
    if isinstance(where, Contains):
        return _has(where.value)
    if isinstance(where, In):
        return _any_of(where.values)
    assert isinstance(where, Compare)
    if where.op == "ne":
        equal = _comparison("eq", where.value)
        return lambda item: not equal(item)
    return _comparison(where.op, where.value)


def _comparison(op: str, literal: Scalar) -> _Test:
    """Compares like with like; anything else, and NaN, is false."""
    compare = _ORDERS[op]
    if isinstance(literal, bool):
        return lambda item: isinstance(item, bool | np.bool_) and bool(item) is literal
    if isinstance(literal, str):
        return lambda item: isinstance(item, str) and bool(compare(str.__str__(item), literal))
    if isinstance(literal, datetime):
        moment = _native(literal)
        return lambda item: (
            isinstance(item, datetime) and item.utcoffset() is not None and compare(_native(item), moment)
        )

    def numeric(item: Any) -> bool:
        if type(item) is int or type(item) is float:
            return bool(compare(item, literal))
        if isinstance(item, Decimal):
            # Decimal to Decimal: exact, and no trap of the caller's decimal context can fire
            return not item.is_nan() and bool(compare(item, Decimal.from_float(literal)))
        number = _number(item)
        return number is not None and bool(compare(number, literal))

    return numeric


def _number(item: Any) -> int | float | Fraction | None:
    """The exact value of a number of a rarer type; None for what is no number."""
    if isinstance(item, bool | np.bool_ | np.timedelta64):
        return None
    if isinstance(item, int | float | Fraction):
        return item
    if isinstance(item, np.integer):
        return int(item)
    if isinstance(item, np.floating):
        wide = isinstance(item, np.longdouble) and bool(np.isfinite(item))
        return Fraction(*item.as_integer_ratio()) if wide else float(item)
    return None


def _any_of(values: tuple[Scalar, ...]) -> _Test:
    """Equality with one of the literals, by one look into a set of those of the item's kind.

    Python hashes equal numbers of all types alike, and compares them exactly.
    """
    texts = frozenset(value for value in values if isinstance(value, str))
    truths = frozenset(value for value in values if isinstance(value, bool))
    moments = frozenset(_native(value) for value in values if isinstance(value, datetime))
    numbers = frozenset(v for v in values if isinstance(v, int | float) and not isinstance(v, bool))

    def test(item: Any) -> bool:
        if isinstance(item, str):
            return str.__str__(item) in texts
        if isinstance(item, bool | np.bool_):
            return bool(item) in truths
        if isinstance(item, datetime):
            return item.utcoffset() is not None and _native(item) in moments
        if isinstance(item, Decimal):
            return not item.is_nan() and item in numbers
        number = _number(item)
        return number is not None and number in numbers

    return test


def _has(literal: Scalar) -> _Test:
    """Membership: a substring of a str, an element of a collection, a key of a dict."""
    equal = _comparison("eq", literal)

    def test(item: Any) -> bool:
        if isinstance(item, str):
            return isinstance(literal, str) and literal in item
        return isinstance(item, _COLLECTIONS) and any(map(equal, item))

    return test
