from __future__ import annotations

import decimal
from collections import OrderedDict, deque
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from perdure._schema import Row, table
from perdure.filters import FALSE, TRUE, And, F, Filter, Or, evaluate, matcher
from perdure.values import encode

MEMORIES = table("memories")
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
MICROS = 1_795_176_000_000_000
BASE: dict[str, Any] = {
    "id": "m1",
    "kind": "error_pattern",
    "tier": 2,
    "title": "a\uffffb",
    "content": encode({}),
    "tags": ("db", "net"),
    "importance": 0.5,
    "expires_at": MICROS,
    "metadata": encode(None),
    "created_at": 0,
    "updated_at": 0,
}


def row(**fields: Any) -> Row:
    return tuple((BASE | fields).get(name) for name in MEMORIES.names)


def holds(where: Filter, **fields: Any) -> bool:
    return evaluate(where, MEMORIES, row(**fields))


def of_value(where: Filter, value: object) -> bool:
    return holds(where, content=encode({"x": value}))


x = F.content.x


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (TRUE, True),
        (FALSE, False),
        (F.kind == "error_pattern", True),
        (F.kind != "error_pattern", False),
        (F.kind < "f", True),
        (F.agent == "x", False),
        (F.agent != "x", True),
        (F.agent < "x", False),
        (F.agent >= "", False),
        (~(F.agent < "x"), True),
        (F.agent.is_null(), True),
        (F.agent.is_in(["x", None]), True),
        (F.agent.contains(""), False),
        (F.agent.starts_with(""), False),
        (F.tier == 2.0, True),
        (F.tier < 2**80, True),
        (F.tier > float("-inf"), True),
        (F.tier.is_in([2.0, 5]), True),
        (F.tier.is_in([]), False),
        (F.importance == 0.5, True),
        (F.importance < 1, True),
        (F.confidence > 0, False),
        (F.expires_at == NOON, True),
        (F.expires_at.is_in([NOON]), True),
        (F.expires_at > NOON - timedelta(microseconds=1), True),
        (F.expires_at >= NOON.astimezone(timezone(timedelta(hours=-5))), True),
        (F.created_at < datetime(1970, 1, 1, tzinfo=UTC), False),
        (F.created_at > datetime.min.replace(tzinfo=UTC), True),
        (F.tags.contains("db"), True),
        (F.tags.contains("d"), False),
        (F.tags.is_null(), False),
        (F.title.contains("\uffffb"), True),
        (F.title.contains("A"), False),
        (F.title.contains("%"), False),
        (F.title.starts_with("a"), True),
        (F.title.starts_with("b"), False),
        (F.title < "a😀", True),  # code points: U+FFFF < U+1F600, whatever UTF-16 says
        (F.metadata.is_null(), True),
        (F.metadata == 5, False),
        (F.metadata != 5, True),
        (F.metadata.a.b.is_null(), True),
        (And((F.tier == 2, F.kind != "x", F.importance > 0)), True),
        (Or((F.tier == 3, F.kind == "x", F.importance > 1)), False),
        (And((F.tier == 2,)), True),
    ],
)
def test_typed_fields(where: Filter, expected: bool) -> None:
    assert holds(where) is expected
    assert holds(~where) is not expected


def test_large_integers_compare_exactly() -> None:
    assert holds(F.tier > 2.0**53, tier=2**53 + 1)
    assert not holds(F.tier == 2.0**53, tier=2**53 + 1)
    assert holds(F.importance < 2**53 + 1, importance=2.0**53)
    assert holds(F.tier < 2.0**63, tier=2**63 - 1)


NUMBERS = [
    5,
    5.0,
    Decimal("5.00"),
    Fraction(10, 2),
    np.int8(5),
    np.uint64(5),
    np.float16(5),
    np.longdouble(5),
]


@pytest.mark.parametrize("number", NUMBERS)
def test_numbers_of_every_type_compare_by_value(number: object) -> None:
    assert of_value(x == 5, number)
    assert of_value(x == 5.0, number)
    assert of_value((x < 5.5) & (x > -(2**80)) & (float("inf") > x) & x.is_in(["a", 5]), number)
    assert not of_value((x == True) | (x == "5") | (x == NOON) | (x != 5), number)  # noqa: E712
    assert of_value(F.content.l.contains(5.0), 0) is False
    assert holds(F.content.l.contains(5.0), content=encode({"l": [number]}))


@pytest.mark.parametrize("nan", [float("nan"), Decimal("NaN"), Decimal("sNaN"), np.float32("nan")])
def test_nan_compares_false(nan: object) -> None:
    for where in (x == 0, x < 0, x <= 0, x > 0, x >= 0, x.is_in([0, 0.5]), x.is_null(), float("-inf") < x):
        assert not of_value(where, nan)
    assert of_value(x != 0, nan)


def test_extreme_numbers_are_exact_and_quick() -> None:
    assert of_value(x > 10**300, Decimal("1e999999"))
    assert of_value((x > 0) & (x < 5e-324), Decimal("1e-999999"))
    assert of_value(x > 0.1, Fraction(1, 10)) is False
    assert of_value(x < 0.1, Fraction(1, 10))  # the float is slightly more than a tenth
    assert of_value(x < 0.1, Decimal("0.1"))
    assert of_value(x == float("inf"), Decimal("Infinity"))
    assert of_value(x > 1e308, 10**400)


def test_traps_of_the_callers_decimal_context_do_not_fire() -> None:
    with decimal.localcontext(decimal.Context(prec=1, traps=list(decimal.Context().traps))):
        assert of_value(x.is_in([0.5, 0.25, 0.125]), Decimal("0.125"))
        assert of_value((x < 0.5) & (x > 0.125) & (x != 0.25), Decimal("0.251"))


@pytest.mark.parametrize(
    "other",
    [None, True, "5", b"5", 5j, [5], (5,), {"x": 5}, {5}, np.bool_(True), np.array([5]), timedelta(5)],
)
def test_mixed_types_are_unequal_and_unordered(other: object) -> None:
    for where in (x == 5, x < 5, x <= 5, x > 5, x >= 5, x.is_in([5, 5.5])):
        assert not of_value(where, other)
        assert of_value(~where, other)
    assert of_value(x != 5, other)


def test_bool_is_no_number() -> None:
    assert of_value(x == True, True)  # noqa: E712
    assert of_value(x == True, np.bool_(True))  # noqa: E712
    assert not of_value((x == True) | (x == False), 1)  # noqa: E712
    assert not of_value((x == 1) | x.is_in([1, 0]) | (x < 2), True)
    assert holds(F.content.l.contains(True), content=encode({"l": [1, True]}))
    assert not holds(F.content.l.contains(True), content=encode({"l": [1]}))


def test_times_in_values() -> None:
    east = timezone(timedelta(hours=9))
    assert of_value((x == NOON) & x.is_in([NOON]) & (NOON + timedelta(days=1) > x), NOON.astimezone(east))
    for other in (NOON.replace(tzinfo=None), NOON.date(), MICROS, NOON.isoformat()):
        assert not of_value((x == NOON) | (x < NOON) | (x >= NOON), other)


def test_texts_in_values() -> None:
    assert of_value(
        (x == "\0\ud800") & (x > "\0\ud7ff") & x.starts_with("\0") & x.contains("\ud800"), "\0\ud800"
    )
    assert of_value(x < "😀", "\uffff")
    assert not of_value(x.starts_with("") | x.contains(""), 5)
    assert not of_value(x.contains(5), "5")


@pytest.mark.parametrize(
    "holder",
    [["k", 1, NOON], ("k", 1, NOON), {"k", 1, NOON}, frozenset(["k", 1, NOON]), deque(["k", 1, NOON])],
)
def test_collections_contain_members(holder: object) -> None:
    assert of_value(x.contains("k") & x.contains(1.0) & x.contains(NOON), holder)
    assert not of_value(x.contains("K") | x.contains(True) | x.contains(2) | x.contains(""), holder)


def test_dicts_contain_keys() -> None:
    assert of_value(x.contains("k") & x.contains(1), {"k": 5, 1: 6})
    assert of_value(x.contains("k"), OrderedDict(k=5))
    assert not of_value(x.contains(5) | x.contains(True), {"k": 5, 1: 6})


@pytest.mark.parametrize("other", [None, 5, b"k", range(5), np.array([1, 5]), bytearray(b"k")])
def test_nothing_else_has_members(other: object) -> None:
    assert not of_value(x.contains("k") | x.contains(1) | x.contains(5), other)


def test_paths() -> None:
    content = encode({"error": {"code": 5}, "l": [1, {"n": 2}], "t": (1, 2), "0": "zero", 0: "int", "a.b": 1})
    c = F.content
    found = [c.error.code == 5, c.l[1].n == 2, c.l[-1].n == 2, c.t[0] == 1, c["0"] == "zero", c["a.b"] == 1]
    assert holds(And(tuple(found)), content=content)
    missing = [
        c.error.nope,
        c.nope.a.b,
        c.l[2],
        c.l[-3],
        c.l["0"],
        c[0],
        c.error[0],
        c["0"][0],
        c.t.x,
        c.l[2**62],
    ]
    assert holds(And(tuple(path.is_null() for path in missing)), content=content)
    assert not holds(
        Or(tuple((path == 5) | (path < 5) | path.contains(5) for path in missing)), content=content
    )


def test_cycles_are_harmless() -> None:
    loop: list[Any] = [1]
    loop.append(loop)
    assert of_value(x[1][1][1][0] == 1, loop)
    assert of_value(x.contains(1) & ~x.contains(2) & ~x.is_null(), loop)


def test_counters() -> None:
    match = matcher(MEMORIES, (F.access_count >= 2) & (F.accessed_at == NOON) & (F.tier == 2))
    assert match(row(), (MICROS, 2))
    assert not match(row(), (MICROS, 1))
    assert not match(row(tier=3), (MICROS, 2))
    assert not match(row(), None)
    never = matcher(MEMORIES, (F.access_count == 0) & F.accessed_at.is_null() & ~(F.accessed_at < NOON))
    assert never(row())
    assert never(row(), (None, 0))


def test_one_matcher_serves_many_rows() -> None:
    match = matcher(MEMORIES, (x > 1) & (x < 4) & F.metadata.is_null())
    rows = [row(content=encode({"x": n})) for n in range(6)]
    assert [match(each) for each in rows + rows[::-1]] == [False, False, True, True, False, False] * 2


def test_every_other_table_has_a_matcher() -> None:
    vectors = table("vectors")
    stored = ("s", "v1", b"\0\0\0\0", None, encode({"n": 1}), 0, 0)
    assert evaluate((F.space == "s") & (F.metadata.n == 1) & ~F["values"].is_null(), vectors, stored)
