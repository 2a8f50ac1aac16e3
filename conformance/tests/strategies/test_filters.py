from __future__ import annotations

from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from perdure._schema import TABLES, Row, Table, table
from perdure.filters import (
    COUNTERS,
    And,
    Compare,
    Contains,
    Filter,
    In,
    IsNull,
    Not,
    Or,
    StartsWith,
    columns_of,
    evaluate,
    format,
    from_dict,
    parse,
    parse_order,
    to_dict,
    uses_counters,
    validate,
    walk,
)
from perdure.values import encode
from perdure_conformance.strategies._filters import filters, orders

MEMORIES = table("memories")
FIELDS: dict[str, Any] = {
    "id": "zq-only-here",
    "kind": "zq-kind",
    "tier": 7_654_321,
    "content": encode({"deep": [{"er": "zq-leaf"}], "none": None}),
    "tags": ("zq-tag",),
    "importance": 0.123,
    "expires_at": 1_234_567,
    "metadata": encode(None),
    "created_at": 0,
    "updated_at": 0,
}
ROW: Row = tuple(FIELDS.get(name) for name in MEMORIES.names)


@pytest.mark.parametrize("each", TABLES.values(), ids=lambda each: each.name)
@settings(deadline=None)
@given(st.data())
def test_filters_are_valid_and_survive_both_forms(each: Table, data: st.DataObject) -> None:
    where = data.draw(filters(each))
    validate(where, each)
    assert from_dict(to_dict(where)) == parse(format(where)) == where


@pytest.mark.parametrize("each", TABLES.values(), ids=lambda each: each.name)
@given(st.data())
def test_orders_are_valid(each: Table, data: st.DataObject) -> None:
    parse_order(data.draw(orders(each)), each)


@pytest.fixture(scope="module")
def drawn() -> list[Filter]:
    """Every leaf and branch of a fixed sample of filters."""
    nodes: list[Filter] = []

    @settings(max_examples=500, derandomize=True, database=None, deadline=None, phases=[Phase.generate])
    @given(filters(MEMORIES, [ROW]))
    def draw(where: Filter) -> None:
        nodes.extend(walk(where))

    draw()
    return nodes


def test_every_kind_of_node_is_drawn(drawn: list[Filter]) -> None:
    assert set(map(type, drawn)) == {And, Or, Not, Compare, In, Contains, StartsWith, IsNull}


def test_every_field_is_drawn(drawn: list[Filter]) -> None:
    assert {name for node in drawn for name in columns_of(node)} == {*MEMORIES.names, *COUNTERS}


def test_given_rows_are_matched(drawn: list[Filter]) -> None:
    tests = [
        node
        for node in drawn
        if isinstance(node, Contains | In) or getattr(node, "op", "") in ("eq", "le", "ge")
    ]
    matched = {name for node in tests if evaluate(node, MEMORIES, ROW) for name in columns_of(node)}
    assert matched >= {"id", "kind", "tier", "content", "tags", "importance", "expires_at"}


@given(filters(MEMORIES, [ROW], counters=False))
def test_counters_can_be_left_out(where: Filter) -> None:
    assert not uses_counters(where)
