"""Filters to SQL: a superset of the matching rows, and whether it is exact.

Negations are pushed to the leaves first. What is left is monotone, so that SQL's unknown counts as false
everywhere, as the two-valued meaning wants, and a leaf that SQL cannot judge may be replaced by "true".
Values are never judged by SQL.
"""

from __future__ import annotations

from json.encoder import encode_basestring
from typing import Any, NamedTuple

from perdure import Column, Table
from perdure.filters import And, Compare, Contains, Filter, In, IsNull, Not, Or, StartsWith, native, successor

from perdure_sql._codec import quote
from perdure_sql._dialect import Dialect
from perdure_sql._tables import unbounded

__all__ = ["Pushed", "push"]

#: Leaves that one statement may hold: engines limit the depth of expressions.
_BUDGET = 300

#: Levels of `AND` and `OR` in one another that one statement may hold: parsers have small stacks.
_LEVELS = 12

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
        op, value = native(column.kind, op, literal)
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
            op, value = native(kind, "eq", literal)
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
        low, after = self._bind(prefix), successor(prefix)
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
