"""Mutants that answer queries wrongly: filters, orders, limits, counts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from perdure import TABLES, At, Context, Filter, Query, Ref, Row, hookimpl
from perdure.filters import (
    TRUE,
    And,
    Compare,
    Contains,
    In,
    IsNull,
    Not,
    Or,
    Path,
    StartsWith,
    matcher,
    uses_counters,
)
from perdure.wrappers import Forward

from perdure_conformance.mutants._base import Filters, Mutant, Rows, changed

__all__ = ["MUTANTS"]

_LEAVES = (Compare, Contains, In, IsNull, StartsWith)


class Rewritten(Filters):
    """Rewrites each leaf of a filter."""

    def leaf(self, where: Filter) -> Filter:
        """What stands in place of a leaf."""
        return where

    def loosen(self, where: Filter) -> Filter:
        if isinstance(where, (And, Or)):
            return type(where)(tuple(self.loosen(item) for item in where.items))
        if isinstance(where, Not):
            return self.negated(where)
        return self.leaf(where)

    def negated(self, where: Not) -> Filter:
        """What stands in place of a negation."""
        return Not(self.loosen(where.item))


class WildcardPercent(Rewritten):
    """Reads `%` in a prefix or a substring as anything, as LIKE does."""

    def leaf(self, where: Filter) -> Filter:
        if isinstance(where, StartsWith) and "%" in where.prefix:
            return StartsWith(where.field, where.prefix.partition("%")[0])
        if isinstance(where, Contains) and isinstance(where.value, str) and "%" in where.value:
            parts = [part for part in where.value.split("%") if part]
            return And(tuple(Contains(where.field, part) for part in parts))
        return where


class WildcardUnderscore(Rewritten):
    """Reads `_` in a prefix or a substring as any character, as LIKE does."""

    def leaf(self, where: Filter) -> Filter:
        if isinstance(where, StartsWith) and "_" in where.prefix:
            return StartsWith(where.field, where.prefix.partition("_")[0])
        if isinstance(where, Contains) and isinstance(where.value, str) and "_" in where.value:
            return And(tuple(Contains(where.field, part) for part in where.value.split("_") if part))
        return where


class CaseIgnored(Rewritten):
    """Compares texts without regard to case."""

    def leaf(self, where: Filter) -> Filter:
        if isinstance(where, Compare) and where.op == "eq" and isinstance(where.value, str):
            forms = {where.value, where.value.lower(), where.value.upper(), where.value.title()}
            return In(where.field, tuple(sorted(forms)))
        if isinstance(where, Contains) and isinstance(where.value, str) and not where.field.steps:
            forms = {where.value, where.value.lower(), where.value.upper()}
            return Or(tuple(Contains(where.field, form) for form in sorted(forms)))
        return where


class ValueFilterDropped(Rewritten):
    """Drops the part of a filter that looks into a value."""

    def leaf(self, where: Filter) -> Filter:
        looks_inside = isinstance(where, _LEAVES) and where.field.steps
        return TRUE if looks_inside else where


class UnequalSkipsNull(Rewritten):
    """Takes a comparison with null for unknown, so that `!=` misses rows."""

    def leaf(self, where: Filter) -> Filter:
        if isinstance(where, Compare) and where.op == "ne":
            return And((where, Not(IsNull(where.field))))
        return where


class NotSkipsNull(Rewritten):
    """Takes the negation of unknown for unknown, so that `not` is no complement."""

    def negated(self, where: Not) -> Filter:
        inner = where.item
        if isinstance(inner, (Compare, Contains, In, StartsWith)):
            return And((Not(inner), Not(IsNull(inner.field))))
        return Not(self.loosen(inner))


class NumbersThroughFloat(Rewritten):
    """Compares integers as floats, which are equal beyond 2**53."""

    def leaf(self, where: Filter) -> Filter:
        if isinstance(where, Compare) and type(where.value) is int and abs(where.value) > 2**53:
            if where.op == "eq":
                near = float(where.value)
                return And((Compare(where.field, "ge", near - 2.0), Compare(where.field, "le", near + 2.0)))
            return Compare(where.field, where.op, float(where.value))
        return where


class BoolIsNumber(Rewritten):
    """Takes true for 1 and false for 0."""

    def leaf(self, where: Filter) -> Filter:
        if isinstance(where, Compare) and type(where.value) is bool and where.op == "eq":
            return In(where.field, (where.value, int(where.value)))
        if isinstance(where, Compare) and where.value in (0, 1) and where.op == "eq":
            return In(where.field, (where.value, bool(where.value)))
        return where


class EmptyInIsAll(Rewritten):
    """Leaves out an `in` without literals."""

    def leaf(self, where: Filter) -> Filter:
        return TRUE if isinstance(where, In) and not where.values else where


class LimitBeforeFilter(Rows):
    """Applies the limit, then the filter."""

    def rows(self, ctx: Context, query: Query, at: At) -> Iterator[Row]:
        if query.where is None or query.limit is None or uses_counters(query.where):
            yield from super().rows(ctx, query, at)
            return
        table = TABLES[query.table]
        matches = matcher(table, query.where)
        names = [column.name for column in table.columns]
        whole = changed(query, where=None, columns=None)
        for row in super().rows(ctx, whole, at):
            if matches(row):
                yield row if query.columns is None else tuple(row[names.index(n)] for n in query.columns)


class LimitIgnored(Rows):
    """Returns one row more than the limit."""

    def rows(self, ctx: Context, query: Query, at: At) -> Iterator[Row]:
        return super().rows(ctx, changed(query, limit=query.limit and query.limit + 1), at)


class _Sorted(Rows):
    """Sorts all rows anew, wrongly."""

    def arranged(self, rows: list[Row], terms: Sequence[tuple[int, bool]], key: int) -> list[Row]:
        """The rows in another order; terms are (column, descending), the key has so many columns."""
        raise NotImplementedError

    def rows(self, ctx: Context, query: Query, at: At) -> Iterator[Row]:
        if not query.order or query.after is not None:
            yield from super().rows(ctx, query, at)
            return
        table = TABLES[query.table]
        names = [column.name for column in table.columns]
        rows = list(super().rows(ctx, changed(query, limit=None, columns=None), at))
        terms = [(names.index(term.column), term.descending) for term in query.order]
        for row in self.arranged(rows, terms, len(table.key))[: query.limit]:
            yield row if query.columns is None else tuple(row[names.index(n)] for n in query.columns)


class NullsFirstDescending(_Sorted):
    """Puts nulls first where the order is descending, as PostgreSQL does by default."""

    def arranged(self, rows: list[Row], terms: Sequence[tuple[int, bool]], key: int) -> list[Row]:
        column, descending = terms[0]
        return sorted(rows, key=lambda row: row[column] is not None) if descending else rows


class NullsFirstAscending(_Sorted):
    """Puts nulls first where the order is ascending, as SQLite does by default."""

    def arranged(self, rows: list[Row], terms: Sequence[tuple[int, bool]], key: int) -> list[Row]:
        column, descending = terms[0]
        return rows if descending else sorted(rows, key=lambda row: row[column] is not None)


class TiesReversed(_Sorted):
    """Sorts ties by key in the direction of the order."""

    def arranged(self, rows: list[Row], terms: Sequence[tuple[int, bool]], key: int) -> list[Row]:
        if not terms[-1][1]:
            return rows
        groups: dict[Any, list[Row]] = {}
        for row in rows:
            groups.setdefault(tuple(row[column] for column, _ in terms), []).append(row)
        return [row for group in groups.values() for row in group[::-1]]


class SortedByUtf16(_Sorted):
    """Sorts texts by UTF-16 code units, as JavaScript and Java do."""

    def arranged(self, rows: list[Row], terms: Sequence[tuple[int, bool]], key: int) -> list[Row]:
        column, descending = terms[0]
        if not rows or not all(isinstance(row[column], str) for row in rows):
            return rows
        return sorted(rows, key=lambda row: str(row[column]).encode("utf-16-be"), reverse=descending)


class SortedWithoutCase(_Sorted):
    """Sorts texts without regard to case, as many locales do."""

    def arranged(self, rows: list[Row], terms: Sequence[tuple[int, bool]], key: int) -> list[Row]:
        column, descending = terms[0]
        if not rows or not all(isinstance(row[column], str) for row in rows):
            return rows
        return sorted(rows, key=lambda row: str(row[column]).casefold(), reverse=descending)


class SecondTermDropped(Forward):
    """Sorts by the first term alone."""

    @hookimpl
    def select(self, ctx: Context, query: Query, at: At) -> Iterator[Row]:
        return super().select(ctx=ctx, query=changed(query, order=query.order[:1]), at=at)

    @hookimpl
    def scan(self, ctx: Context, query: Query, at: At) -> Iterator[Any]:
        return super().scan(ctx=ctx, query=changed(query, order=query.order[:1]), at=at)


class PageRepeatsRow(Rows):
    """Begins a page with the last row of the page before."""

    def rows(self, ctx: Context, query: Query, at: At) -> Iterator[Row]:
        if query.after is None or query.order:
            yield from super().rows(ctx, query, at)
            return
        everything = changed(query, after=None, limit=None)
        rows = list(super().rows(ctx, everything, at))
        later = sum(1 for _ in super().rows(ctx, changed(query, limit=None), at))
        yield from rows[max(0, len(rows) - later - 1) :][: query.limit]


class CountOfMain(Forward):
    """Counts on main, whatever the branch."""

    @hookimpl
    def count(self, ctx: Context, table: str, where: Filter | None, at: At) -> int:
        return super().count(ctx=ctx, table=table, where=where, at=Ref("main"))


class CountUnfiltered(Forward):
    """Counts all rows, whatever the filter."""

    @hookimpl
    def count(self, ctx: Context, table: str, where: Filter | None, at: At) -> int:
        return super().count(ctx=ctx, table=table, where=None, at=at)


class ExpiredHidden(Rows):
    """Hides memories that have expired."""

    def rows(self, ctx: Context, query: Query, at: At) -> Iterator[Row]:
        if query.table == "memories":
            alive = IsNull(Path("expires_at")) | Compare(Path("expires_at"), "gt", datetime.now(UTC))
            query = changed(query, where=alive if query.where is None else And((query.where, alive)))
        return super().rows(ctx, query, at)


MUTANTS = (
    Mutant("FI-104", WildcardPercent),
    Mutant("FI-090", WildcardUnderscore),
    Mutant("FI-060", CaseIgnored),
    Mutant("FI-002", ValueFilterDropped),
    Mutant("FI-043", UnequalSkipsNull),
    Mutant("FI-041", NotSkipsNull),
    Mutant("FI-061", NumbersThroughFloat),
    Mutant("FI-063", BoolIsNumber),
    Mutant("FI-044", EmptyInIsAll),
    Mutant("FI-127", LimitBeforeFilter),
    Mutant("FI-127", LimitIgnored),
    Mutant("FI-124", NullsFirstDescending),
    Mutant("FI-124", NullsFirstAscending),
    Mutant("FI-125", TiesReversed),
    Mutant("FI-126", SortedByUtf16),
    Mutant("FI-126", SortedWithoutCase),
    Mutant("FI-123", SecondTermDropped),
    Mutant("FI-125", PageRepeatsRow),
    Mutant("BR-004", CountOfMain),
    Mutant("FI-001", CountUnfiltered),
    Mutant("DM-073", ExpiredHidden),
)
