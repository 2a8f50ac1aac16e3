"""SQL over a place: one arm for each branch of the lineage, merged lazily, and continued by key.

An arm reads the versions of one branch, served by that branch's own part of an index; keys that a closer
branch has versions of are left out by a probe of the small override table. Every value is bound, so that
there is one text for each depth and shape of filter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from perdure import Table
from perdure.filters import OrderTerm

from perdure_sql._codec import columns, quote
from perdure_sql._places import Arm

__all__ = [
    "Phase",
    "after",
    "arm_params",
    "arms_sql",
    "from_the_start",
    "lateral_params",
    "lateral_sql",
    "order_sql",
    "whole_count",
]


class Phase(NamedTuple):
    """One of the conditions that rows are read by, one after the other, to have them in order.

    Attributes:
        sql: The condition; empty for all rows.
        params: Its parameters.
        sure: Whether the rows that satisfy it have the first order term, so that null sorts nowhere.
    """

    sql: str
    params: dict[str, Any]
    sure: bool


#: From this depth on, closer branches are looked up in the lineage, not spelled out.
_SPELLED = 12


def arms_sql(table: Table, wanted: str, arms: Sequence[Arm], conditions: str, first: int = 0) -> list[str]:
    """A SELECT for each arm; `first` is the depth of the first one.

    The plus keeps planners from the index on `from_seq`, which all of a branch's rows pass.
    """
    return [
        f"SELECT {wanted} FROM {table.name} v WHERE v.ns = :ns AND v.branch = :b{depth} "
        f"AND +v.from_seq <= :u{depth} AND v.to_seq > :u{depth} AND v.dead = 0{conditions}{_hidden(table, depth)}"
        for depth in range(first, first + len(arms))
    ]


def _hidden(table: Table, depth: int) -> str:
    if not depth:
        return ""
    key = " AND ".join(f"o.{quote(name)} = v.{quote(name)}" for name in table.key)
    if depth > _SPELLED:
        return (
            f" AND NOT EXISTS (SELECT 1 FROM {table.name}_overrides o JOIN lineage l ON l.ns = o.ns "
            f"AND l.branch = :b0 AND l.ancestor = o.branch WHERE o.ns = :ns AND {key} "
            f"AND l.depth < {depth} AND o.first_seq <= l.upto AND o.first_seq <= :u0)"
        )
    closer = " OR ".join(f"(o.branch = :b{d} AND o.first_seq <= :u{d})" for d in range(depth))
    return (
        f" AND NOT EXISTS (SELECT 1 FROM {table.name}_overrides o WHERE o.ns = :ns AND {key} AND ({closer}))"
    )


_ARMS = "unnest(CAST(:branches AS BIGINT[]), CAST(:uptos AS BIGINT[])) WITH ORDINALITY AS {0} (branch, upto, depth)"


def lateral_sql(table: Table, wanted: str, conditions: str, order: str) -> str:
    """The rows of a lineage in order, for an engine with lateral joins: one text, and one plan, for all depths.

    Each arm gives its first `:limit` rows from its own part of an index, and of those the first are taken.
    """
    key = " AND ".join(f"o.{quote(name)} = v.{quote(name)}" for name in table.key)
    return (
        f"SELECT {wanted} FROM {_ARMS.format('a')} CROSS JOIN LATERAL (SELECT {wanted} FROM {table.name} v "
        "WHERE v.ns = :ns AND v.branch = a.branch AND +v.from_seq <= a.upto AND v.to_seq > a.upto AND v.dead = 0"
        f"{conditions} AND NOT EXISTS (SELECT 1 FROM {table.name}_overrides o JOIN {_ARMS.format('c')} "
        "ON o.branch = c.branch AND o.first_seq <= c.upto AND c.depth < a.depth "
        f"WHERE o.ns = :ns AND {key}) ORDER BY {order} LIMIT :limit) v ORDER BY {order} LIMIT :limit"
    )


def lateral_params(arms: Sequence[Arm], bind_list: Callable[[list[int]], Any]) -> dict[str, Any]:
    """The parameters of `lateral_sql` beside those of `arm_params` for the first arm."""
    return {
        "branches": bind_list([arm.ancestor for arm in arms]),
        "uptos": bind_list([arm.upto for arm in arms]),
    }


def whole_count(table: Table, arms: Sequence[Arm], base: int) -> str:
    """SQL for what the other arms add to the rows of the arm `base`, and take from them.

    Each arm but `base` is read once, and only its keys are looked up in `base`: the cost is that of what the
    smaller arms wrote. Of an arm's versions of a key one is visible, if any, which may be a tombstone.
    """
    key = columns(table.key)
    seen = "v.from_seq <= :u{0} AND v.to_seq > :u{0}"
    others = " UNION ALL ".join(
        f"SELECT {key}, {2 * depth} + v.dead AS state FROM {table.name} v "
        f"WHERE v.ns = :ns AND v.branch = :b{depth} AND {seen.format(depth)}"
        for depth in range(len(arms))
        if depth != base
    )
    names = columns(table.key, "")
    on = " AND ".join(f"v.{quote(name)} = o.{quote(name)}" for name in table.key)
    return (
        f"SELECT coalesce(sum(CASE WHEN o.state < {2 * base} OR v.dead IS NULL THEN 1 - o.state % 2 "
        "ELSE 1 - v.dead END - CASE WHEN v.dead = 0 THEN 1 ELSE 0 END), 0) "
        f"FROM (SELECT {names}, min(state) AS state FROM ({others}) a GROUP BY {names}) o "
        f"LEFT JOIN {table.name} v ON v.ns = :ns AND v.branch = :b{base} AND {on} AND {seen.format(base)}"
    )


def arm_params(ns: int, arms: Sequence[Arm]) -> dict[str, Any]:
    """The parameters that `arms_sql` refers to."""
    params: dict[str, Any] = {"ns": ns}
    for depth, (ancestor, upto) in enumerate(arms):
        params[f"b{depth}"] = ancestor
        params[f"u{depth}"] = upto
    return params


def order_sql(table: Table, order: Sequence[OrderTerm], sure: bool = False) -> str:
    """The ORDER BY list: nulls last, ties by key; `sure` says that the first term is never null."""
    terms = []
    for i, term in enumerate(order):
        nulls = "" if table.by_name[term.column].required or (sure and not i) else " NULLS LAST"
        terms.append(f"{quote(term.column)} {'DESC' if term.descending else 'ASC'}{nulls}")
    return ", ".join([*terms, *(quote(name) for name in table.key)])


def from_the_start(table: Table, order: Sequence[OrderTerm]) -> list[Phase]:
    """All rows: first those that have the first order term, then the others.

    An index that has its nulls after all else serves a descending order with nulls last only so.
    """
    if not order or table.by_name[order[0].column].required:
        return [Phase("", {}, True)]
    name = f"v.{quote(order[0].column)}"
    return [Phase(f"{name} IS NOT NULL", {}, True), Phase(f"{name} IS NULL", {}, False)]


def after(table: Table, order: Sequence[OrderTerm], position: Sequence[Any]) -> list[Phase]:
    """The rows after a position.

    The first order term is a plain range, so that its index serves it; nulls, which come last, are a
    phase of their own.
    """
    params = {f"a{i}": value for i, value in enumerate(position)}
    if not order:
        return [Phase(_rest(table, order, position, 0), params, True)]
    first, value = order[0], position[0]
    name = f"v.{quote(first.column)}"
    if value is None:
        return [Phase(f"{name} IS NULL AND {_rest(table, order, position, 1)}", params, False)]
    sign = "<" if first.descending else ">"
    inside = f"({name} {sign} :a0 OR ({name} = :a0 AND {_rest(table, order, position, 1)}))"
    phases = [Phase(f"{name} {sign}= :a0 AND {inside}", params, True)]
    if not table.by_name[first.column].required:
        phases.append(Phase(f"{name} IS NULL", {}, False))
    return phases


def _rest(table: Table, order: Sequence[OrderTerm], position: Sequence[Any], place: int) -> str:
    if place == len(order):
        names = ", ".join(f"v.{quote(name)}" for name in table.key)
        marks = ", ".join(f":a{place + i}" for i in range(len(table.key)))
        return f"({names}) > ({marks})" if len(table.key) > 1 else f"{names} > {marks}"
    term, rest = order[place], _rest(table, order, position, place + 1)
    name = f"v.{quote(term.column)}"
    if position[place] is None:
        return f"({name} IS NULL AND {rest})"
    sign = "<" if term.descending else ">"
    return f"({name} {sign} :a{place} OR {name} IS NULL OR ({name} = :a{place} AND {rest}))"
