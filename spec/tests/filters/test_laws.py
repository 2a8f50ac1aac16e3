"""Laws that hold for every filter and every row, by Hypothesis."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from perdure._schema import Row, table
from perdure.filters import (
    And,
    Compare,
    Contains,
    Filter,
    In,
    IsNull,
    Not,
    Or,
    Path,
    StartsWith,
    evaluate,
    format,
    from_dict,
    matcher,
    parse,
    to_dict,
)
from perdure.values import encode

LINKS = table("links")
TEXTS = st.text("ab\0\ud800😀\"'\\\n", max_size=3)
NUMBERS = (
    st.integers(-3, 3) | st.integers() | st.floats(allow_nan=False) | st.sampled_from([2**53 + 1, 2**80])
)
TIMES = st.datetimes(min_value=datetime(1, 1, 2), timezones=st.just(UTC))
LITERALS = st.booleans() | NUMBERS | TEXTS | TIMES
PATHS = st.lists(TEXTS | st.sampled_from(["a", "b"]) | st.integers(-2, 2), max_size=2).map(
    lambda steps: Path("context", tuple(steps))
)


def comparisons(paths: st.SearchStrategy[Path]) -> st.SearchStrategy[Filter]:
    ordered = st.builds(Compare, paths, st.sampled_from(["lt", "le", "gt", "ge"]), NUMBERS | TEXTS | TIMES)
    return st.builds(Compare, paths, st.sampled_from(["eq", "ne"]), LITERALS) | ordered


LEAVES = st.one_of(
    comparisons(PATHS),
    st.builds(In, PATHS, st.lists(LITERALS, max_size=3).map(tuple)),
    st.builds(Contains, PATHS, LITERALS),
    st.builds(StartsWith, PATHS, TEXTS),
    st.builds(IsNull, PATHS),
    st.builds(Compare, st.just(Path("weight")), st.sampled_from(["eq", "ne", "lt", "ge"]), NUMBERS),
    st.builds(StartsWith, st.just(Path("relation")), st.text("ab", max_size=2)),
    st.builds(Compare, st.just(Path("access_count")), st.just("gt"), NUMBERS),
)
FILTERS = st.recursive(
    LEAVES,
    lambda items: st.one_of(
        st.lists(items, max_size=3).map(lambda each: And(tuple(each))),
        st.lists(items, max_size=3).map(lambda each: Or(tuple(each))),
        items.map(Not),
    ),
    max_leaves=8,
)
SCALARS = (
    st.none()
    | LITERALS
    | st.sampled_from(
        [float("nan"), Decimal("sNaN"), Decimal(1), Fraction(1, 3), b"a", 1j, datetime(2026, 1, 1)]
    )
)
VALUES = st.recursive(
    SCALARS,
    lambda items: (
        st.lists(items, max_size=3)
        | st.lists(items, max_size=3).map(tuple)
        | st.dictionaries(st.sampled_from(["a", "b", "😀", 0, 1]), items, max_size=3)
    ),
    max_leaves=6,
)
ROWS = st.builds(
    lambda relation, weight, context: ("l", "s", "t", relation, weight, encode(context), 0, 0),
    st.none() | st.text("ab", max_size=2),
    st.none() | st.floats(allow_nan=False, allow_infinity=False),
    VALUES,
)


def holds(where: Filter, row: Row) -> bool:
    return evaluate(where, LINKS, row)


@given(FILTERS, ROWS)
def test_every_filter_is_total_and_its_complement_is_true(where: Filter, row: Row) -> None:
    result = holds(where, row)
    assert type(result) is bool
    assert holds(Not(where), row) is not result
    assert holds(~where, row) is not result


@given(st.lists(FILTERS, max_size=4), ROWS)
def test_and_or_are_all_and_any(items: list[Filter], row: Row) -> None:
    each = [holds(item, row) for item in items]
    assert holds(And(tuple(items)), row) is all(each)
    assert holds(Or(tuple(items)), row) is any(each)


@given(FILTERS, FILTERS, ROWS)
def test_de_morgan(a: Filter, b: Filter, row: Row) -> None:
    assert holds(~(a & b), row) is holds(~a | ~b, row)
    assert holds(~(a | b), row) is holds(~a & ~b, row)


@given(PATHS, LITERALS, ROWS)
def test_equality_has_a_complement(path: Path, literal: Any, row: Row) -> None:
    equal = holds(Compare(path, "eq", literal), row)
    assert holds(Compare(path, "ne", literal), row) is not equal
    assert holds(In(path, (literal,)), row) is equal


@given(PATHS, NUMBERS | TEXTS | TIMES, ROWS)
def test_at_most_one_of_less_equal_greater(path: Path, literal: Any, row: Row) -> None:
    less, equal, greater = (holds(Compare(path, op, literal), row) for op in ("lt", "eq", "gt"))
    assert less + equal + greater <= 1
    assert holds(Compare(path, "le", literal), row) is (less or equal)
    assert holds(Compare(path, "ge", literal), row) is (greater or equal)


@given(FILTERS, st.lists(ROWS, max_size=4))
def test_a_matcher_remembers_nothing_that_matters(where: Filter, rows: list[Row]) -> None:
    match = matcher(LINKS, where)
    assert [match(row) for row in rows + rows] == [holds(where, row) for row in rows + rows]


@given(FILTERS)
def test_the_dict_form_gives_the_filter_back(where: Filter) -> None:
    doc = to_dict(where)
    assert from_dict(doc) == where
    assert json.loads(json.dumps(doc, allow_nan=False)) == doc


@given(FILTERS)
def test_the_text_form_gives_the_filter_back(where: Filter) -> None:
    text = format(where)
    assert parse(text) == where
    assert text.isprintable()
