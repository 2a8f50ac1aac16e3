"""Filters to SQL: a superset of the matching rows, and whether it is exact.

Negations are pushed to the leaves first. What is left is monotone, so that SQL's unknown counts as false
everywhere, as the two-valued meaning wants, and a leaf that SQL cannot judge may be replaced by "true".
Values are never judged by SQL.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from json.encoder import encode_basestring
from typing import Any, Final, NamedTuple

from perdure import Column, Table
from perdure.filters import And, Compare, Contains, Filter, In, IsNull, Not, Or, StartsWith

from perdure_sql._codec import quote
from perdure_sql._dialect import Dialect
from perdure_sql._tables import unbounded

__all__ = ["Pushed", "push"]

#: Leaves that one statement may hold: engines limit the depth of expressions.
_BUDGET = 300

#: Levels of `AND` and `OR` in one another that one statement may hold: parsers have small stacks.
_LEVELS = 12

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_INT64: Final = range(-(2**63), 2**63)
_SIGN = {"eq": "=", "ne": "<>", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
_OPPOSITE = {"eq": "ne", "ne": "eq", "lt": "ge", "le": "gt", "gt": "le", "ge": "lt"}

_Sql = str | bool


class Pushed(NamedTuple):
    """SQL that every matching row satisfies (True: nothing could be pushed) and its parameters.

    `exact` says that only matching rows satisfy it.
    """

    sql: _Sql
    params: dict[str, Any]
    exact: bool


def push(table: Table, where: Filter | None, dialect: Dialect) -> Pushed:
    """Compile a validated filter."""
    if where is None:
        return Pushed(True, {}, True)
    compiler = _Compiler(table, dialect)
    sql = compiler.compile(where, False)
    return Pushed(sql, compiler.params, compiler.exact)


class _Compiler:
    def __init__(self, table: Table, dialect: Dialect) -> None:
        self.table = table
        self.dialect = dialect
        self.params: dict[str, Any] = {}
        self.exact = True
        self._leaves = 0

    def compile(self, node: Filter, negated: bool, levels: int = 0) -> _Sql:
        if isinstance(node, Not):
            return self.compile(node.item, not negated, levels)
        if isinstance(node, And | Or):
            levels += len(node.items) > 1
            if levels > _LEVELS:
                self.exact = False
                return True
            conjunction = isinstance(node, And) is not negated
            return _join([self.compile(item, negated, levels) for item in node.items], conjunction)
        self._leaves += 1
        sql = self._leaf(node, negated) if self._leaves <= _BUDGET else None
        if sql is None:
            self.exact = False
            return True
        return sql

    def _leaf(self, node: Filter, negated: bool) -> _Sql | None:
        assert isinstance(node, Compare | In | Contains | StartsWith | IsNull)
        column = self.table.by_name.get(node.field.column)
        if column is None or column.kind == "value":
            return None
        name = f"v.{quote(column.name)}"
        if isinstance(node, IsNull):
            return f"{name} IS {'NOT ' if negated else ''}NULL"
        if isinstance(node, Contains):
            return self._contains(name, column.kind, str(node.value), negated)
        if isinstance(node, StartsWith):
            return self._starts(name, node.prefix, negated)
        if isinstance(node, In):
            return self._member(name, column.kind, node, negated)
        op = _OPPOSITE[node.op] if negated else node.op
        # A comparison with null is false, so its complement holds for null; only `eq`'s does already.
        nulls = (node.op == "ne") is not negated
        return self._compare(name, column, op, node.value, nulls)

    def _bind(self, value: Any) -> str:
        name = f"f{len(self.params)}"
        self.params[name] = value
        return f":{name}"

    def _compare(self, name: str, column: Column, op: str, literal: Any, nulls: bool) -> _Sql:
        op, value = _native(column.kind, op, literal)
        if value is None:  # the literal is outside what the column can hold: constant for what is not null
            if op == "true":
                return True if nulls else f"{name} IS NOT NULL"
            return f"{name} IS NULL" if nulls else False
        mark = self._bind(value)
        test = f"{name} {_SIGN[op]} {mark}"
        if op == "eq" and unbounded(column):
            test = self.dialect.equal_unbounded(name, mark)
        return f"({test} OR {name} IS NULL)" if nulls else test

    def _member(self, name: str, kind: str, node: In, negated: bool) -> _Sql | None:
        values = []
        for literal in node.values:
            op, value = _native(kind, "eq", literal)
            if op == "eq" and value is not None:
                values.append(value)
        if not values:
            return negated
        if kind == "float":
            if len(values) > 20:
                return None
            listed = ", ".join(self._bind(value) for value in values)
            test = f"{name} {'NOT IN' if negated else 'IN'} ({listed})"
        else:
            test = self.dialect.member(name, self._bind(self.dialect.bind_list(values)), negated)
        return f"({test} OR {name} IS NULL)" if negated else test

    def _contains(self, name: str, kind: str, part: str, negated: bool) -> _Sql:
        if kind == "tags":
            # Inside JSON text a quote of a tag is always escaped, so a comma and a quote start a tag, unless
            # the comma ends one: then another comma follows.
            if part.startswith(","):
                self.exact = False
                if negated:
                    return True
            test = self.dialect.instr(
                f"(',' || substr({name}, 2))", self._bind("," + encode_basestring(part))
            )
        else:
            test = self.dialect.instr(name, self._bind(part))
        return f"({name} IS NULL OR NOT {test})" if negated else f"({name} IS NOT NULL AND {test})"

    def _starts(self, name: str, prefix: str, negated: bool) -> _Sql:
        if not prefix:
            return f"{name} IS NULL" if negated else f"{name} IS NOT NULL"
        low, after = self._bind(prefix), _successor(prefix)
        if negated:
            high = "" if after is None else f" OR {name} >= {self._bind(after)}"
            return f"({name} IS NULL OR {name} < {low}{high})"
        return f"{name} >= {low}" if after is None else f"({name} >= {low} AND {name} < {self._bind(after)})"


def _join(items: list[_Sql], conjunction: bool) -> _Sql:
    decisive = not conjunction
    parts: list[str] = []
    for item in items:
        if item is decisive:
            return decisive
        if isinstance(item, str):
            parts.append(item)
    if not parts:
        return conjunction
    return parts[0] if len(parts) == 1 else "(" + (" AND " if conjunction else " OR ").join(parts) + ")"


def _native(kind: str, op: str, literal: Any) -> tuple[str, Any]:
    """The comparison with a literal of the column's own type, by exact value.

    ("true", None) and ("false", None) are comparisons whose outcome no stored number changes.
    """
    if kind == "time":
        literal = (literal - _EPOCH) // _MICROSECOND
    if kind == "text":
        return op, literal
    if kind == "float":
        return _as_float(op, literal)
    return _as_int(op, literal)


def _as_int(op: str, literal: int | float) -> tuple[str, Any]:
    if isinstance(literal, float):
        if math.isinf(literal):
            return _beyond(op, literal > 0)
        if not literal.is_integer():
            if op in ("eq", "ne"):
                return ("false" if op == "eq" else "true"), None
            # x < 2.5 is x <= 2, and x > 2.5 is x > 2
            op = {"lt": "le", "ge": "gt"}.get(op, op)
            literal = math.floor(literal)
        literal = int(literal)
    if literal not in _INT64:
        return _beyond(op, literal > 0)
    return op, literal


def _as_float(op: str, literal: int | float) -> tuple[str, Any]:
    if isinstance(literal, float):
        return op, literal
    try:
        near = float(literal)
    except OverflowError:
        return _beyond(op, literal > 0)
    if near == literal:
        return op, near
    if op in ("eq", "ne"):
        return ("false" if op == "eq" else "true"), None
    if near > literal:  # no float lies between them
        return {"lt": "lt", "le": "lt", "gt": "ge", "ge": "ge"}[op], near
    return {"lt": "le", "le": "le", "gt": "gt", "ge": "gt"}[op], near


def _beyond(op: str, above: bool) -> tuple[str, None]:
    """The outcome where the literal is greater (or less) than every stored number."""
    holds = op == "ne" or (op in ("lt", "le") if above else op in ("gt", "ge"))
    return ("true" if holds else "false"), None


def _successor(prefix: str) -> str | None:
    """The least text greater than every text with the prefix; None where there is none."""
    while prefix:
        code = ord(prefix[-1])
        if code < 0x10FFFF:
            return prefix[:-1] + chr(0xE000 if code == 0xD7FF else code + 1)
        prefix = prefix[:-1]
    return None
