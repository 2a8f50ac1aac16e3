from __future__ import annotations

import heapq
import random
from functools import cmp_to_key
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from perdure._errors import InvalidFilter
from perdure._schema import Row, Table, table
from perdure.filters import OrderTerm, parse_order, sort_key, sort_rows

STATES = table("states")
LINKS = table("links")


def link(id: str, relation: str | None = None, weight: float | None = None) -> Row:
    return (id, "s", "t", relation, weight, "null", 0, 0)


def naive(rows: list[Row], order: tuple[OrderTerm, ...], table: Table = LINKS) -> list[Row]:
    """The definition, word by word: compare term by term, nulls last, then by key."""

    def compare(a: tuple[Any, ...], b: tuple[Any, ...]) -> int:
        for term in order:
            x, y = a[table.position[term.column]], b[table.position[term.column]]
            if x == y:
                continue
            if x is None or y is None:
                return 1 if x is None else -1
            return (1 if x > y else -1) * (-1 if term.descending else 1)
        left, right = table.key_of(a), table.key_of(b)
        return (left > right) - (left < right)

    return sorted(rows, key=cmp_to_key(compare))


def test_reads_terms() -> None:
    assert parse_order(None, LINKS) == parse_order([], LINKS) == ()
    assert parse_order("weight", LINKS) == (OrderTerm("weight"),)
    assert parse_order(["-weight", "relation"], LINKS) == (OrderTerm("weight", True), OrderTerm("relation"))
    assert [str(term) for term in parse_order(("-weight", "id"), LINKS)] == ["-weight", "id"]


@pytest.mark.parametrize(
    ("order", "words"),
    [
        ("wieght", "did you mean 'weight'"),
        ("", "no field ''"),
        ("--weight", "no field '-weight'"),
        ("+weight", "no field"),
        ("context", "value field 'context' has no order"),
        ("access_count", "read counter"),
        (["weight", "-weight"], "twice"),
        ([5], "int"),
        (5, "int"),
        ({"weight": -1}, "list"),
    ],
)
def test_refuses(order: Any, words: str) -> None:
    with pytest.raises(InvalidFilter, match=words):
        parse_order(order, LINKS)


@pytest.mark.parametrize("name", ["data", "payload", "parents", "metrics"])
def test_only_scalars_have_an_order(name: str) -> None:
    with pytest.raises(InvalidFilter, match="no order"):
        parse_order("-" + name, STATES)


def test_nulls_are_last_and_ties_by_key_in_both_directions() -> None:
    rows = [link("d"), link("c", weight=1.0), link("a"), link("e", weight=2.0), link("b", weight=1.0)]
    up = [row[0] for row in sort_rows(rows, LINKS, parse_order("weight", LINKS))]
    down = [row[0] for row in sort_rows(rows, LINKS, parse_order("-weight", LINKS))]
    assert up == ["b", "c", "e", "a", "d"]
    assert down == ["e", "b", "c", "a", "d"]


def test_texts_sort_by_code_point() -> None:
    rows = [link(str(n), relation) for n, relation in enumerate(["a", "😀", "\uffff", "Z", "", "é", "ab"])]
    up = [row[3] for row in sort_rows(rows, LINKS, parse_order("relation", LINKS))]
    assert up == ["", "Z", "a", "ab", "é", "\uffff", "😀"]
    assert [row[3] for row in sort_rows(rows, LINKS, parse_order("-relation", LINKS))] == up[::-1]


def test_keys_of_two_parts() -> None:
    rows = [(kind, id, "null", None, (), "null", 0, 0) for kind in "ba" for id in "zy"]
    assert [row[:2] for row in sort_rows(rows, STATES)] == [("a", "y"), ("a", "z"), ("b", "y"), ("b", "z")]
    assert [row[:2] for row in sort_rows(rows, STATES, parse_order("-kind", STATES))] == [
        ("b", "y"),
        ("b", "z"),
        ("a", "y"),
        ("a", "z"),
    ]


def test_limits() -> None:
    rows = [link(str(n), weight=float(n)) for n in range(9)]
    order = parse_order("-weight", LINKS)
    assert [row[0] for row in sort_rows(iter(rows), LINKS, order, limit=3)] == ["8", "7", "6"]
    assert sort_rows(rows, LINKS, order, limit=0) == []
    assert len(sort_rows(rows, LINKS, order, limit=100)) == 9
    with pytest.raises(InvalidFilter, match="-1"):
        sort_rows(rows, LINKS, order, limit=-1)


ROWS = st.lists(
    st.builds(
        link,
        st.text("abé", max_size=3),
        st.none() | st.text("a\uffff😀", max_size=2),
        st.none() | st.sampled_from([-1.5, 0.0, 1.0, 1e308]),
    ),
    max_size=12,
    unique_by=lambda row: row[0],
)
ORDERS = st.lists(
    st.tuples(st.sampled_from(["", "-"]), st.sampled_from(["id", "relation", "weight", "created_at"])).map(
        "".join
    ),
    max_size=3,
    unique_by=lambda term: term.strip("-"),
)


@given(ROWS, ORDERS, st.integers(0, 12), st.randoms(use_true_random=False))
def test_every_way_to_sort_agrees_with_the_definition(
    rows: list[Row], order_by: list[str], limit: int, chance: random.Random
) -> None:
    order = parse_order(order_by, LINKS)
    expected = naive(rows, order)
    chance.shuffle(rows)
    key = sort_key(LINKS, order)
    assert sort_rows(rows, LINKS, order) == sorted(rows, key=key) == expected
    assert sort_rows(rows, LINKS, order, limit) == expected[:limit]
    halves = [sorted(rows[::2], key=key), sorted(rows[1::2], key=key)]
    assert list(heapq.merge(*halves, key=key)) == expected
