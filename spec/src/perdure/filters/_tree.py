"""The filter tree: immutable, hashable nodes over typed literals, with limits held at construction.

A tree that exists is well formed and bounded, so that every walk over it may recurse. Whether its fields
exist, and whether its literals can match them, depends on the table: `validate` says.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, NoReturn, TypeAlias

import numpy as np

from perdure._errors import InvalidFilter

__all__ = [
    "FALSE",
    "INTEGER_BITS",
    "MAX_DEPTH",
    "MAX_NODES",
    "RESERVED",
    "TRUE",
    "And",
    "Compare",
    "Contains",
    "Filter",
    "In",
    "IsNull",
    "Not",
    "Op",
    "Or",
    "Path",
    "Scalar",
    "StartsWith",
    "columns_of",
    "scalar",
    "walk",
]

#: The deepest tree: a leaf has depth 1.
MAX_DEPTH = 100

#: The largest tree: every node counts 1, and every value of an `In` counts 1 more.
MAX_NODES = 10_000

#: The longest integer literal, in bits.
INTEGER_BITS = 10_000

#: Words of the command-line language, which no field can be called.
RESERVED = frozenset(
    ("all", "and", "any", "contains", "false", "in", "is", "not", "null", "or", "startswith", "true")
)

#: What a field may be compared with. Datetimes are aware, and held in UTC.
Scalar: TypeAlias = bool | int | float | str | datetime

Op: TypeAlias = Literal["eq", "ne", "lt", "le", "gt", "ge"]

_OPS = frozenset(("eq", "ne", "lt", "le", "gt", "ge"))
_COLUMN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_INDEX_LIMIT = 2**63


def scalar(value: object) -> Scalar:
    """The literal in its one form: a plain bool, int, float or str, or a UTC datetime.

    Raises:
        InvalidFilter: It is null, NaN, naive, too large, or of a type that filters do not compare.
    """
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | np.integer) and not isinstance(value, np.timedelta64):
        number = int(value)
        if number.bit_length() > INTEGER_BITS:
            raise InvalidFilter(f"an integer in a filter has at most {INTEGER_BITS:,} bits")
        return number
    if isinstance(value, float | np.float32 | np.float16):
        if np.isnan(value):
            raise InvalidFilter("NaN equals nothing, so a filter cannot compare with it")
        return float(value) + 0.0  # -0.0 becomes 0.0: they compare alike, so they are one literal
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, datetime):
        return _utc(value)
    if value is None:
        raise InvalidFilter(
            "null has no order and no members; test for it with is_null(), == None or `is null`"
        )
    raise InvalidFilter(
        f"a filter compares with a bool, int, float, str or aware datetime, not with a {type(value).__name__}"
    )


def _utc(value: datetime) -> datetime:
    if value.utcoffset() is None:
        raise InvalidFilter(f"the datetime {value.isoformat()} has no time zone; add one, such as tzinfo=UTC")
    try:
        moment = value.astimezone(UTC)
    except (OverflowError, ValueError):
        raise InvalidFilter(
            f"the datetime {value.isoformat()} is outside the years 1 to 9999 in UTC"
        ) from None
    return datetime.combine(moment.date(), moment.time(), UTC)


@dataclass(frozen=True, slots=True)
class Path:
    """A field: a column, and for a value column the steps into it.

    Attributes:
        column: The column's name, or `accessed_at` or `access_count`.
        steps: A `str` is a key of a dict, an `int` an index of a list or tuple (negative: from the end).
    """

    column: str
    steps: tuple[str | int, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.column, str) or not _COLUMN.fullmatch(self.column):
            raise InvalidFilter(f"{self.column!r} is not a field name; reach into a value as F.column['key']")
        if self.column.lower() in RESERVED:
            raise InvalidFilter(
                f"{self.column!r} is a word of the filter language, so no field has that name"
            )
        object.__setattr__(self, "steps", tuple(self.steps))
        if len(self.steps) > MAX_DEPTH:
            raise InvalidFilter(f"a path into a value has at most {MAX_DEPTH} steps, not {len(self.steps)}")
        for step in self.steps:
            if isinstance(step, bool) or not isinstance(step, str | int):
                raise InvalidFilter(f"a step into a value is a str or an int, not {type(step).__name__}")
            if isinstance(step, int) and not -_INDEX_LIMIT <= step < _INDEX_LIMIT:
                raise InvalidFilter("an index into a list fits 64 bits")


class Filter:
    """Base of all nodes. Combine them with `&`, `|` and `~`; they have no truth value of their own."""

    __slots__ = ()

    @property
    def size(self) -> int:
        """How many nodes and `In` values the tree has."""
        return 1

    @property
    def depth(self) -> int:
        """How many nodes the longest way down has."""
        return 1

    def __and__(self, other: Filter) -> Filter:
        return And((*_parts(self, And), *_parts(_operand(other), And)))

    def __or__(self, other: Filter) -> Filter:
        return Or((*_parts(self, Or), *_parts(_operand(other), Or)))

    def __rand__(self, other: object) -> NoReturn:
        raise _misused(other)

    __ror__ = __rand__

    def __invert__(self) -> Filter:
        return Not(self)

    def __bool__(self) -> NoReturn:
        raise InvalidFilter(
            "a filter has no truth value; combine with & | ~, not with and, or, not or a chained comparison"
        )


def _operand(other: object) -> Filter:
    if not isinstance(other, Filter):
        raise _misused(other)
    return other


def _misused(other: object) -> InvalidFilter:
    return InvalidFilter(
        f"& and | join filters, not {type(other).__name__}; "
        "put each comparison in parentheses: (F.a > 1) & (F.b == 2)"
    )


def _parts(item: Filter, kind: type[And] | type[Or]) -> tuple[Filter, ...]:
    return item.items if isinstance(item, kind) else (item,)


class _Leaf(Filter):
    """A node whose literals count with their type: `x == 1`, `x == 1.0` and `x == True` are three filters."""

    __slots__ = ()
    field: Path

    def _identity(self) -> tuple[object, ...]:
        raise NotImplementedError

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash((type(self).__name__, self._identity()))


def _check_field(node: Any) -> None:
    if not isinstance(node.field, Path):
        raise InvalidFilter(
            f"the field of a {type(node).__name__} is a Path, not {type(node.field).__name__}"
        )


@dataclass(frozen=True, slots=True, eq=False)
class Compare(_Leaf):
    """`field op value`. `ne` is the complement of `eq`; the order operators take no bool."""

    field: Path
    op: Op
    value: Scalar

    def __post_init__(self) -> None:
        _check_field(self)
        if self.op not in _OPS:
            raise InvalidFilter(
                f"{self.op!r} is not a comparison; the comparisons are {', '.join(sorted(_OPS))}"
            )
        object.__setattr__(self, "value", scalar(self.value))
        if isinstance(self.value, bool) and self.op not in ("eq", "ne"):
            raise InvalidFilter("true and false have no order; compare them with == or !=")

    def _identity(self) -> tuple[object, ...]:
        return self.field, self.op, type(self.value), self.value


@dataclass(frozen=True, slots=True, eq=False)
class In(_Leaf):
    """The field equals one of the values; none of them is null, and no values match nothing."""

    field: Path
    values: tuple[Scalar, ...]

    def __post_init__(self) -> None:
        _check_field(self)
        object.__setattr__(self, "values", tuple(scalar(value) for value in self.values))
        _check_limits(self)

    @property
    def size(self) -> int:
        """1, and 1 for each value."""
        return 1 + len(self.values)

    def _identity(self) -> tuple[object, ...]:
        return self.field, tuple(map(type, self.values)), self.values


@dataclass(frozen=True, slots=True, eq=False)
class Contains(_Leaf):
    """The tags have the tag; the text has the substring; the value has the member, substring or key."""

    field: Path
    value: Scalar

    def __post_init__(self) -> None:
        _check_field(self)
        object.__setattr__(self, "value", scalar(self.value))

    def _identity(self) -> tuple[object, ...]:
        return self.field, type(self.value), self.value


@dataclass(frozen=True, slots=True)
class StartsWith(Filter):
    """The text, or the str at the path, starts with the prefix."""

    field: Path
    prefix: str

    def __post_init__(self) -> None:
        _check_field(self)
        if not isinstance(self.prefix, str):
            raise InvalidFilter(f"a prefix is a str, not {type(self.prefix).__name__}")
        object.__setattr__(self, "prefix", str.__str__(self.prefix))


@dataclass(frozen=True, slots=True)
class IsNull(Filter):
    """The field is null, or the path leads nowhere."""

    field: Path

    def __post_init__(self) -> None:
        _check_field(self)


def _bounded(node: Any, items: tuple[Filter, ...]) -> None:
    """Computes size and depth from the children, which are bounded already."""
    object.__setattr__(node, "size", 1 + sum(item.size for item in items))
    object.__setattr__(node, "depth", 1 + max((item.depth for item in items), default=0))
    _check_limits(node)


def _check_limits(node: Filter) -> None:
    if node.size > MAX_NODES:
        raise InvalidFilter(
            f"a filter has at most {MAX_NODES:,} nodes and `in` values, not {node.size:,}; split it"
        )
    if node.depth > MAX_DEPTH:
        raise InvalidFilter(f"a filter nests at most {MAX_DEPTH} deep; flatten its and, or and not")


def _children(items: object) -> tuple[Filter, ...]:
    if isinstance(items, Filter) or not isinstance(items, tuple | list):
        raise InvalidFilter("And and Or take one tuple of filters; join two filters with & or |")
    return tuple(_operand(item) for item in items)


@dataclass(frozen=True, slots=True)
class And(Filter):
    """All items match; `And(())` is true."""

    items: tuple[Filter, ...]
    size: int = field(init=False, repr=False, compare=False)
    depth: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "items", _children(self.items))
        _bounded(self, self.items)


@dataclass(frozen=True, slots=True)
class Or(Filter):
    """Some item matches; `Or(())` is false."""

    items: tuple[Filter, ...]
    size: int = field(init=False, repr=False, compare=False)
    depth: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "items", _children(self.items))
        _bounded(self, self.items)


@dataclass(frozen=True, slots=True)
class Not(Filter):
    """The complement: it matches exactly the rows that the item does not."""

    item: Filter
    size: int = field(init=False, repr=False, compare=False)
    depth: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _bounded(self, (_operand(self.item),))

    def __invert__(self) -> Filter:
        return self.item


#: Matches every row.
TRUE: Filter = And(())

#: Matches no row.
FALSE: Filter = Or(())


def walk(where: Filter) -> Iterator[Filter]:
    """Every node of the tree, parents before their children, in order."""
    stack = [where]
    while stack:
        node = stack.pop()
        yield node
        if isinstance(node, And | Or):
            stack.extend(reversed(node.items))
        elif isinstance(node, Not):
            stack.append(node.item)


def columns_of(where: Filter) -> frozenset[str]:
    """The names of the columns that the filter reads, read counters among them."""
    leaves = (Compare, In, Contains, StartsWith, IsNull)
    return frozenset(node.field.column for node in walk(where) if isinstance(node, leaves))
