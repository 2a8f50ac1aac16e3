"""The dict form of filters, as MongoDB and agent frameworks write them; also the JSON form of a filter."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from perdure._errors import InvalidFilter
from perdure._show import shown
from perdure.filters._fields import member_of
from perdure.filters._path import format_path, parse_path
from perdure.filters._tree import (
    MAX_DEPTH,
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

__all__ = ["coerce", "from_dict", "to_dict"]

_COMPARISONS: dict[str, Op] = {
    "$eq": "eq",
    "$ne": "ne",
    "$lt": "lt",
    "$lte": "le",
    "$gt": "gt",
    "$gte": "ge",
}
_OPERATORS: dict[str, str] = {op: name for name, op in _COMPARISONS.items()}
_FIELD_OPERATORS = (*_COMPARISONS, "$in", "$nin", "$exists", "$contains", "$startsWith", "$not")
_TREE_OPERATORS = ("$and", "$or", "$nor", "$not")
_INFINITIES = {"Infinity": math.inf, "-Infinity": -math.inf}


def coerce(where: Filter | Mapping[str, Any] | None) -> Filter | None:
    """The filter of either form; None, which matches everything, stays None.

    Raises:
        InvalidFilter: It is neither form, or its dict form is malformed.
    """
    if where is None or isinstance(where, Filter):
        return where
    if isinstance(where, Mapping):
        return from_dict(where)
    hint = "; a str is read by perdure.filters.parse" if isinstance(where, str) else ""
    raise InvalidFilter(f"a filter is built with F or given as a dict, not as {type(where).__name__}{hint}")


def from_dict(doc: Mapping[str, Any]) -> Filter:
    """The filter of a dict such as `{"kind": "x", "importance": {"$gt": 0.5, "$lte": 1}}`.

    Args:
        doc: Fields (paths such as `content.error.code`) with a literal or operators, and `$and`, `$or`,
            `$nor`, `$not`. Several entries must all match. Times are aware datetimes or `{"$date": "ISO"}`.

    Raises:
        InvalidFilter: An operator is unknown, or something is malformed, or too deep, or too large.
    """
    return _document(doc, 1)


def _document(doc: object, depth: int) -> Filter:
    if depth > MAX_DEPTH:
        raise InvalidFilter(f"a filter nests at most {MAX_DEPTH} deep; flatten its $and, $or and $not")
    if not isinstance(doc, Mapping):
        raise InvalidFilter(f"a filter in dict form is a dict, not {type(doc).__name__}")
    items: list[Filter] = []
    for name, test in doc.items():
        if not isinstance(name, str):
            raise InvalidFilter(
                f"the keys of a filter are field names or operators, not {type(name).__name__}"
            )
        if name.startswith("$"):
            items.append(_tree(name, test, depth))
        else:
            items += _tests(parse_path(name, lenient=True), test, depth)
    return items[0] if len(items) == 1 else And(tuple(items))


def _tree(name: str, test: object, depth: int) -> Filter:
    if name not in _TREE_OPERATORS:
        raise _unknown(name, _TREE_OPERATORS, " outside a field")
    if name == "$not":
        return Not(_document(test, depth + 1))
    if not isinstance(test, list | tuple):
        raise InvalidFilter(f"{name} takes a list of filters, not {type(test).__name__}")
    items = tuple(_document(item, depth + 1) for item in test)
    return And(items) if name == "$and" else Or(items) if name == "$or" else Not(Or(items))


def _tests(path: Path, test: object, depth: int) -> list[Filter]:
    """The tests of one field: a literal to equal, or operators."""
    if not isinstance(test, Mapping) or _extended(test):
        return [_compare(path, "eq", test)]
    if depth > MAX_DEPTH:
        raise InvalidFilter(f"a filter nests at most {MAX_DEPTH} deep; flatten its $not")
    where = format_path(path)
    if not test:
        raise InvalidFilter(
            f"the operators of {where!r} are missing: give a literal or one of {_FIELD_OPERATORS}"
        )
    if not all(isinstance(name, str) and name.startswith("$") for name in test):
        raise InvalidFilter(
            f"{where!r} is not compared with a dict; name a place in it, such as '{where}.key'"
        )
    return [_test(path, name, literal, depth) for name, literal in test.items()]


def _test(path: Path, name: str, literal: Any, depth: int) -> Filter:
    if name in _COMPARISONS:
        return _compare(path, _COMPARISONS[name], literal)
    if name in ("$in", "$nin"):
        if not isinstance(literal, list | tuple | set | frozenset):
            raise InvalidFilter(f"{name} takes a list of values, not {type(literal).__name__}")
        found = member_of(path, [_literal(item) for item in literal])
        return found if name == "$in" else Not(found)
    if name == "$exists":
        if not isinstance(literal, bool):
            raise InvalidFilter(f"$exists takes true or false, not {type(literal).__name__}")
        return Not(IsNull(path)) if literal else IsNull(path)
    if name == "$contains":
        return Contains(path, _literal(literal))
    if name == "$startsWith":
        return StartsWith(path, literal)
    if name == "$not":
        items = _tests(path, literal, depth + 1)
        return Not(items[0] if len(items) == 1 else And(tuple(items)))
    raise _unknown(name, _FIELD_OPERATORS, f" on {format_path(path)!r}")


def _compare(path: Path, op: Op, value: object) -> Filter:
    if value is None and op in ("eq", "ne"):
        return IsNull(path) if op == "eq" else Not(IsNull(path))
    if isinstance(value, list | tuple | set | frozenset):
        raise InvalidFilter(
            f"{format_path(path)!r} is not compared with a list; use $in for one of several or $contains"
        )
    return Compare(path, op, _literal(value))


def _extended(doc: Mapping[Any, Any]) -> bool:
    return len(doc) == 1 and ("$date" in doc or "$numberDouble" in doc)


def _literal(value: Any) -> Any:
    """The literal, with the dicts that stand for what JSON lacks resolved; the nodes check the rest."""
    if not isinstance(value, Mapping) or not _extended(value):
        return value
    (name, text), *_ = value.items()
    if name == "$numberDouble":
        if not isinstance(text, str) or text not in _INFINITIES:
            raise InvalidFilter('$numberDouble takes "Infinity" or "-Infinity"; write other numbers plainly')
        return _INFINITIES[text]
    try:
        return datetime.fromisoformat(text)
    except (TypeError, ValueError):
        raise InvalidFilter(
            f'$date takes an ISO 8601 text such as "2026-11-20T12:00Z", not {shown(text)}'
        ) from None


def _unknown(name: str, known: tuple[str, ...], place: str) -> InvalidFilter:
    return InvalidFilter(
        f"unknown operator {name!r}{place}; those known are {', '.join(known)}", operator=name
    )


def to_dict(where: Filter) -> dict[str, Any]:
    """The filter in dict form, of JSON types only; `from_dict` gives back an equal filter.

    Raises:
        InvalidFilter: It is not a filter.
    """
    if isinstance(where, And):
        return {"$and": [to_dict(item) for item in where.items]}
    if isinstance(where, Or):
        return {"$or": [to_dict(item) for item in where.items]}
    if isinstance(where, Not):
        return {"$not": to_dict(where.item)}
    if isinstance(where, IsNull):
        return {format_path(where.field): None}
    if isinstance(where, Compare):
        literal = _plain(where.value)
        return {format_path(where.field): literal if where.op == "eq" else {_OPERATORS[where.op]: literal}}
    if isinstance(where, In):
        return {format_path(where.field): {"$in": [_plain(value) for value in where.values]}}
    if isinstance(where, Contains):
        return {format_path(where.field): {"$contains": _plain(where.value)}}
    if isinstance(where, StartsWith):
        return {format_path(where.field): {"$startsWith": where.prefix}}
    raise InvalidFilter(f"a filter is built with F, from_dict or parse; this is a {type(where).__name__}")


def _plain(value: Scalar) -> Any:
    if isinstance(value, datetime):
        return {"$date": value.astimezone(UTC).isoformat().removesuffix("+00:00") + "Z"}
    if isinstance(value, float) and math.isinf(value):
        return {"$numberDouble": "Infinity" if value > 0 else "-Infinity"}
    return value
