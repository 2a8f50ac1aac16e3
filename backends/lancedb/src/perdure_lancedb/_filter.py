"""Filters and orders to what a scan of a LanceDB table takes: as much of them as means the same there.

Negations are pushed to the leaves first. What is left is monotone, so that SQL's unknown counts as false
everywhere, as the two-valued meaning wants, and a leaf that SQL cannot judge may be replaced by "true".
Values are never judged by SQL.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from perdure import Column, Table
from perdure.filters import (
    And,
    Compare,
    Contains,
    Filter,
    In,
    IsNull,
    Not,
    Or,
    OrderTerm,
    StartsWith,
    native,
    successor,
)

if TYPE_CHECKING:
    from lance.dataset import ColumnOrdering

__all__ = ["Pushed", "order_by", "push"]

#: Leaves that one condition may hold: a plan is a tree, and engines walk it recursively.
_LEAVES = 300

#: Levels of `AND` and `OR` in one another that one condition may hold: the parser refuses 50.
_LEVELS = 16

#: Characters that one condition may hold: enough for 10,000 keys of usual length, planned in milliseconds.
_LENGTH = 1_000_000

_LEAST: Final = -(2**63)
_UNSTORABLE: Final = re.compile("[\0\ud800-\udfff]")
_ORDERED = ("text", "int", "float", "time")
_SIGN = {"eq": "=", "ne": "<>", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
_OPPOSITE = {"eq": "ne", "ne": "eq", "lt": "ge", "le": "gt", "gt": "le", "ge": "lt"}

_Leaf: TypeAlias = Compare | In | Contains | StartsWith | IsNull


class Pushed(NamedTuple):
    """A condition in DataFusion's SQL that every matching row satisfies.

    Rows that do not match may make it null, so join it to others with `AND` in parentheses, and never negate it.

    Attributes:
        condition: The SQL; empty where every row may match.
        exact: Only matching rows satisfy the condition.
    """

    condition: str
    exact: bool


_ALL: Final = Pushed("", True)
_NONE: Final = Pushed("false", True)
_UNKNOWN: Final = Pushed("", False)


def push(table: Table, where: Filter | None) -> Pushed:
    """Compile a validated filter over the columns of the table."""
    return _ALL if where is None else _Compiler(table).compile(where, False)


def order_by(table: Table, order: Sequence[OrderTerm]) -> list[ColumnOrdering] | None:
    """What a scan needs to give rows in the order of `sort_key`, or None where a scan cannot give it.

    Scan with row ids or with the ordered columns, else a scan without a filter is refused; and never with
    a limit of 0, which ends in a panic.
    """
    from lance.dataset import ColumnOrdering  # noqa: PLC0415 - takes half a second and 100 MB

    if any(table.by_name[term.column].kind not in _ORDERED for term in order):
        return None
    named = {term.column for term in order}
    ties = [OrderTerm(name) for name in table.key if name not in named]
    return [ColumnOrdering(term.column, not term.descending, nulls_first=False) for term in (*order, *ties)]


class _Compiler:
    def __init__(self, table: Table) -> None:
        self._table = table
        self._leaves = _LEAVES
        self._length = _LENGTH

    def compile(self, node: Filter, negated: bool, levels: int = 0) -> Pushed:
        if isinstance(node, Not):
            return self.compile(node.item, not negated, levels)
        if isinstance(node, And | Or):
            levels += len(node.items) > 1
            if levels > _LEVELS:
                return _UNKNOWN
            arms = [self.compile(item, negated, levels) for item in node.items]
            return _all(arms) if isinstance(node, And) is not negated else _any(arms)
        assert isinstance(node, _Leaf)
        return self._bounded(_leaf(self._table, node, negated))

    def _bounded(self, leaf: Pushed) -> Pushed:
        """The leaf if the condition has room for it; a short one may still have where a long one has not."""
        if not self._leaves or len(leaf.condition) > self._length:
            return _UNKNOWN
        self._leaves -= 1
        self._length -= len(leaf.condition)
        return leaf


def _all(arms: list[Pushed]) -> Pushed:
    if _NONE in arms:
        return _NONE
    return Pushed(_join(arms, " AND "), all(arm.exact for arm in arms))


def _any(arms: list[Pushed]) -> Pushed:
    if _ALL in arms:
        return _ALL
    if _UNKNOWN in arms:
        return _UNKNOWN
    arms = [arm for arm in arms if arm != _NONE]
    return Pushed(_join(arms, " OR "), all(arm.exact for arm in arms)) if arms else _NONE


def _join(arms: list[Pushed], word: str) -> str:
    parts = [arm.condition for arm in arms if arm.condition]
    return f"({word.join(parts)})" if len(parts) > 1 else "".join(parts)


# ------------------------------------------------------------------------------ leaves


def _leaf(table: Table, node: _Leaf, negated: bool) -> Pushed:
    column = table.by_name.get(node.field.column)
    if column is None or column.kind == "value":
        return _UNKNOWN
    if isinstance(node, IsNull):
        return _null(column, negated)
    if isinstance(node, Contains):
        return _contains(column, str(node.value), negated)
    if isinstance(node, StartsWith):
        return _starts(column, node.prefix, negated)
    if isinstance(node, In):
        return _member(column, node, negated)
    op = _OPPOSITE[node.op] if negated else node.op
    # A comparison with null is false, so its complement holds for null; only `eq`'s does already.
    return _compare(column, op, node.value, nulls=(node.op == "ne") is not negated)


def _null(column: Column, negated: bool) -> Pushed:
    if not column.nullable:
        return _ALL if negated else _NONE
    return Pushed(f"{_name(column)} IS {'NOT ' if negated else ''}NULL", True)


def _compare(column: Column, op: str, literal: Any, nulls: bool) -> Pushed:
    if isinstance(literal, str) and _UNSTORABLE.search(literal):
        return _UNKNOWN
    op, value = native(column.kind, op, literal)
    if value is None:  # no stored value changes the outcome, but null may
        if op == "true":
            return _ALL if nulls else _null(column, True)
        return _null(column, False) if nulls else _NONE
    return _or_null(column, f"{_name(column)} {_SIGN[op]} {_literal(column, value)}", nulls)


def _member(column: Column, node: In, negated: bool) -> Pushed:
    natives = (native(column.kind, "eq", literal) for literal in node.values)
    values = dict.fromkeys(value for op, value in natives if op == "eq" and value is not None)
    if any(isinstance(value, str) and _UNSTORABLE.search(value) for value in values):
        return _UNKNOWN
    if not values:
        return _ALL if negated else _NONE
    listed = ", ".join(_literal(column, value) for value in values)
    return _or_null(column, f"{_name(column)} {'NOT ' if negated else ''}IN ({listed})", negated)


def _contains(column: Column, part: str, negated: bool) -> Pushed:
    if _UNSTORABLE.search(part):
        return _UNKNOWN
    function = "array_has" if column.kind == "tags" else "contains"
    test = f"{function}({_name(column)}, {_text(part)})"
    return _or_null(column, f"NOT {test}" if negated else test, negated)


def _starts(column: Column, prefix: str, negated: bool) -> Pushed:
    if _UNSTORABLE.search(prefix):
        return _UNKNOWN
    if not prefix:
        return _null(column, not negated)
    # A range, since an index serves it, and a pattern would need escapes.
    name, low, after = _name(column), _text(prefix), successor(prefix)
    if negated:
        beyond = "" if after is None else f" OR {name} >= {_text(after)}"
        return Pushed(f"({name} < {low}{beyond}{f' OR {name} IS NULL' if column.nullable else ''})", True)
    within = "" if after is None else f" AND {name} < {_text(after)}"
    return Pushed(f"({name} >= {low}{within})", True)


def _or_null(column: Column, test: str, nulls: bool) -> Pushed:
    return Pushed(f"({test} OR {_name(column)} IS NULL)" if nulls and column.nullable else test, True)


# ------------------------------------------------------------------------------ literals


def _name(column: Column) -> str:
    return f"`{column.name}`"


def _text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _literal(column: Column, value: Any) -> str:
    """A literal of exactly the column's type, so that neither side is cast."""
    if column.kind == "text":
        return _text(value)
    if column.kind == "time":
        return f"to_timestamp_micros({value})"
    if value == _LEAST and column.kind == "int":  # parsed as the negative of a number beyond int64
        return f"CAST('{value}' AS BIGINT)"
    return repr(value)
