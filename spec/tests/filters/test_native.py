"""Comparisons handed on to an engine mean what they mean here, whatever the types of the literal and of the column."""

from datetime import UTC, datetime
from operator import eq, ge, gt, le, lt, ne

import pytest
from hypothesis import given
from hypothesis import strategies as st
from perdure.filters import native, successor

OPS = {"eq": eq, "ne": ne, "lt": lt, "le": le, "gt": gt, "ge": ge}
INTS = st.integers(-(2**63), 2**63 - 1) | st.sampled_from([-(2**63), 2**63 - 1, 2**53, 2**53 + 1, 0])
FLOATS = st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from(
    [0.0, 2.5, 2.0**53, 2.0**63, -(2.0**63)]
)
LITERALS = st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | INTS | FLOATS | st.just(10**400)


def holds(stored, kind, op, literal):
    """What an engine does with the answer, whose literals are of the column's own type."""
    op, value = native(kind, op, literal)
    if value is None:
        return op == "true"
    assert type(value) is type(stored)
    return OPS[op](stored, value)


@given(INTS, st.sampled_from(sorted(OPS)), LITERALS)
def test_an_int_is_compared_by_exact_value(stored, op, literal):
    assert holds(stored, "int", op, literal) == OPS[op](stored, literal)


@given(FLOATS, st.sampled_from(sorted(OPS)), LITERALS)
def test_a_float_is_compared_by_exact_value(stored, op, literal):
    assert holds(stored, "float", op, literal) == OPS[op](stored, literal)


def test_a_time_becomes_microseconds_and_a_text_stays():
    assert native("time", "lt", datetime(1970, 1, 1, 0, 0, 1, 1, tzinfo=UTC)) == ("lt", 1_000_001)
    assert native("text", "eq", "é") == ("eq", "é")


@pytest.mark.parametrize(
    ("prefix", "after"),
    [("a", "b"), ("a\U0010ffff", "b"), ("\ud7ff", "\ue000"), ("\U0010ffff", None), ("", None)],
)
def test_the_successor_is_the_least_text_beyond_a_prefix(prefix, after):
    assert successor(prefix) == after
