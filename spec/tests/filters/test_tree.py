from __future__ import annotations

import pickle
from datetime import UTC, datetime, timedelta, timezone
from enum import IntEnum, StrEnum
from functools import reduce
from operator import and_, or_

import numpy as np
import pytest
from perdure._errors import InvalidFilter
from perdure.filters import (
    FALSE,
    INTEGER_BITS,
    MAX_DEPTH,
    MAX_NODES,
    TRUE,
    And,
    Compare,
    Contains,
    F,
    In,
    IsNull,
    Not,
    Or,
    Path,
    StartsWith,
    columns_of,
    scalar,
    walk,
)

A = Path("kind")


class Word(StrEnum):
    X = "x"


class Count(IntEnum):
    ONE = 1


@pytest.mark.parametrize(
    ("given", "plain"),
    [
        (True, True),
        (np.bool_(False), False),
        (Count.ONE, 1),
        (np.int16(7), 7),
        (2**80, 2**80),
        (np.float32(0.5), 0.5),
        (float("inf"), float("inf")),
        (Word.X, "x"),
        ("\0\ud800", "\0\ud800"),
        (datetime(2026, 1, 1, 2, tzinfo=timezone(timedelta(hours=2))), datetime(2026, 1, 1, tzinfo=UTC)),
    ],
)
def test_literals_have_one_form(given: object, plain: object) -> None:
    assert scalar(given) == plain
    assert type(scalar(given)) is type(plain)


def test_negative_zero_is_zero() -> None:
    assert str(scalar(-0.0)) == "0.0"


@pytest.mark.parametrize(
    ("given", "word"),
    [
        (None, "is_null"),
        (float("nan"), "NaN"),
        (np.float32("nan"), "NaN"),
        (datetime(2026, 1, 1), "time zone"),
        (datetime.min.replace(tzinfo=timezone(timedelta(hours=14))), "outside"),
        (1 << INTEGER_BITS, "bits"),
        (b"x", "bytes"),
        (1j, "complex"),
        ([1], "list"),
        (np.timedelta64(1), "timedelta64"),
        (datetime(2026, 1, 1).date(), "date"),
        (F.kind, "Field"),
    ],
)
def test_what_is_no_literal(given: object, word: str) -> None:
    with pytest.raises(InvalidFilter, match=word):
        scalar(given)


def test_nodes_tell_types_of_literals_apart() -> None:
    filters = {
        Compare(A, "eq", 1),
        Compare(A, "eq", 1.0),
        Compare(A, "eq", True),
        In(A, (1,)),
        In(A, (True,)),
    }
    assert len(filters) == 5
    assert Contains(A, 1) != Contains(A, True)
    assert Compare(A, "eq", 1) == Compare(A, "eq", Count.ONE)
    assert Compare(A, "eq", 1) != Contains(A, 1)


def test_nodes_are_values() -> None:
    where = (
        ((F.kind == "x") | ~F.tags.contains("db")) & F.title.starts_with("a") & F.content.n.is_in([1, True])
    )
    assert pickle.loads(pickle.dumps(where)) == where
    assert hash(pickle.loads(pickle.dumps(where))) == hash(where)
    with pytest.raises(AttributeError):
        where.size = 3  # type: ignore[misc]


@pytest.mark.parametrize("name", ["", "1a", "a.b", "and", "NULL", "é", "a b", 5, None])
def test_names_that_no_field_has(name: object) -> None:
    with pytest.raises(InvalidFilter):
        Path(name)  # type: ignore[arg-type]


@pytest.mark.parametrize("step", [True, None, 1.0, b"x", 2**63, -(2**63) - 1])
def test_steps_that_lead_nowhere_ever(step: object) -> None:
    with pytest.raises(InvalidFilter):
        Path("content", (step,))  # type: ignore[arg-type]


def test_paths_are_bounded() -> None:
    Path("content", ("a",) * 100)
    with pytest.raises(InvalidFilter, match="100 steps"):
        Path("content", ("a",) * 101)


def test_joining_flattens() -> None:
    a, b, c = F.a == 1, F.b == 2, F.c == 3
    assert a & b & c == And((a, b, c))
    assert a | (b | c) == Or((a, b, c))
    assert ~~a == a
    assert (a & TRUE, a | FALSE) == (And((a,)), Or((a,)))


def test_limits_hold_at_construction() -> None:
    leaf = F.a == 1
    deep = leaf
    for _ in range(MAX_DEPTH - 1):
        deep = Not(deep)
    assert deep.depth == MAX_DEPTH
    with pytest.raises(InvalidFilter, match="100 deep"):
        Not(deep)
    In(A, tuple(range(MAX_NODES - 1)))
    with pytest.raises(InvalidFilter, match="10,000 nodes"):
        In(A, tuple(range(MAX_NODES)))
    with pytest.raises(InvalidFilter, match="10,000 nodes"):
        And((leaf,) * MAX_NODES)
    shared = leaf
    for _ in range(12):
        shared = And((shared, shared))
    with pytest.raises(InvalidFilter, match="10,000 nodes"):  # a small graph, yet a huge tree
        And((shared, shared))


def test_many_filters_join_flat() -> None:
    items = [F.a == n for n in range(1000)]
    assert reduce(or_, items).depth == reduce(and_, items).depth == 2


def test_misuse_is_named() -> None:
    a = F.a == 1
    for misuse in (
        lambda: bool(a),
        lambda: a and a,
        lambda: 0 < F.a < 5,
        lambda: a & True,  # type: ignore[operator]
        lambda: True & a,
        lambda: a & F.b,
        lambda: And(a),  # type: ignore[arg-type]
        lambda: And(("x",)),  # type: ignore[arg-type]
        lambda: Not("x"),  # type: ignore[arg-type]
        lambda: Compare("a", "eq", 1),  # type: ignore[arg-type]
        lambda: Compare(A, "like", 1),  # type: ignore[arg-type]
        lambda: Compare(A, "lt", True),
        lambda: Compare(A, "eq", None),  # type: ignore[arg-type]
        lambda: StartsWith(A, 5),  # type: ignore[arg-type]
    ):
        with pytest.raises(InvalidFilter):
            misuse()


def test_walking() -> None:
    where = ~((F.a == 1) & F.b.is_null()) | F.content.x.contains("y")
    assert [type(node).__name__ for node in walk(where)] == [
        "Or",
        "Not",
        "And",
        "Compare",
        "IsNull",
        "Contains",
    ]
    assert columns_of(where) == {"a", "b", "content"}
    assert columns_of(TRUE) == frozenset()
    assert isinstance(F.x.is_null(), IsNull)
