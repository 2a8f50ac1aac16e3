"""The order of rows: typed scalar fields, nulls last and ties by key ascending, in either direction."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from perdure._errors import InvalidFilter
from perdure._schema import Row, Table
from perdure.filters._validate import COUNTERS, kind_of

__all__ = ["OrderTerm", "parse_order", "sort_key", "sort_rows"]

_ORDERED = ("text", "int", "float", "time")


@dataclass(frozen=True, slots=True)
class OrderTerm:
    """One field to order by.

    Attributes:
        column: The column's name.
        descending: Greatest first; nulls are last all the same.
    """

    column: str
    descending: bool = False

    def __str__(self) -> str:
        return "-" + self.column if self.descending else self.column


def parse_order(order_by: str | Sequence[str] | None, table: Table) -> tuple[OrderTerm, ...]:
    """The terms of `"importance"`, `"-importance"`, or a list of such; None is order by key alone.

    Raises:
        InvalidFilter: A field is unknown, named twice, or not of kind text, int, float or time.
    """
    if order_by is None:
        return ()
    if not isinstance(order_by, str | list | tuple):
        raise InvalidFilter(f"order_by is a field name or a list of them, not {type(order_by).__name__}")
    texts = (order_by,) if isinstance(order_by, str) else order_by
    terms = tuple(_term(text, table) for text in texts)
    for place, term in enumerate(terms):
        if any(term.column == earlier.column for earlier in terms[:place]):
            raise InvalidFilter(f"order_by names {term.column!r} twice; the second has no effect, so drop it")
    return terms


def _term(text: object, table: Table) -> OrderTerm:
    if not isinstance(text, str):
        raise InvalidFilter(f"order_by takes field names such as '-importance', not {type(text).__name__}")
    name = text.removeprefix("-")
    kind = kind_of(table, name)
    if name in COUNTERS and name not in table.by_name:
        raise InvalidFilter(
            f"order_by takes no read counter, and {name!r} is one; filter on it instead", field=name
        )
    if kind not in _ORDERED:
        raise InvalidFilter(
            f"the {kind} field {name!r} has no order; order_by takes fields of kind {', '.join(_ORDERED)}",
            field=name,
            kind=kind,
        )
    return OrderTerm(name, text != name)


class _Descending:
    """A text that sorts the other way around."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    def __lt__(self, other: _Descending) -> bool:
        return other.text < self.text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Descending) and self.text == other.text

    __hash__ = None  # type: ignore[assignment]


_NULL = (1,)


def sort_key(table: Table, order: Sequence[OrderTerm] = ()) -> Callable[[Row], tuple[Any, ...]]:
    """A key for `sorted`, `heapq.merge` and the like: the order by terms, then by the table's key."""
    width = len(table.key)
    parts = [_part(table, term) for term in order]
    if not parts:
        return lambda row: row[:width]
    if len(parts) == 1:
        only = parts[0]
        return lambda row: (only(row), *row[:width])
    return lambda row: (*[part(row) for part in parts], *row[:width])


def _part(table: Table, term: OrderTerm) -> Callable[[tuple[Any, ...]], tuple[Any, ...]]:
    place = table.position[term.column]
    if not term.descending:
        return lambda row: _NULL if (item := row[place]) is None else (0, item)
    if table.by_name[term.column].kind == "text":
        return lambda row: _NULL if (item := row[place]) is None else (0, _Descending(item))
    return lambda row: _NULL if (item := row[place]) is None else (0, -item)


def sort_rows(
    rows: Iterable[Row], table: Table, order: Sequence[OrderTerm] = (), limit: int | None = None
) -> list[Row]:
    """The rows in order, or the first `limit` of them in memory proportional to `limit`.

    Raises:
        InvalidFilter: The limit is negative.
    """
    if limit is not None:
        if limit < 0:
            raise InvalidFilter(f"a limit is 0 or more, not {limit}")
        return heapq.nsmallest(limit, rows, key=sort_key(table, order))
    # One stable pass for each term, last term first, compares plain values only: several times faster
    # than building keys.
    ordered = sorted(rows, key=itemgetter(*range(len(table.key))))
    for term in reversed(order):
        column = itemgetter(table.position[term.column])
        nulls = [row for row in ordered if column(row) is None]
        if nulls:
            ordered = [row for row in ordered if column(row) is not None]
        ordered.sort(key=column, reverse=term.descending)
        ordered += nulls
    return ordered
