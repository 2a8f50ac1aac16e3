"""One row, three ways: checked against a brute-force oracle that knows nothing of the implementation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from perdure import InvalidInput
from perdure._schema import TABLES
from perdure.history import Outcome, three_way
from perdure.history._fields import CONFLICT, NO_BASE, join_field, join_tags
from perdure.history._threeway import check_strategy

SKILLS = TABLES["skills"]
COUNT = SKILLS.by_name["success_count"]
USED = SKILLS.by_name["last_used_at"]
NAMES = ("name", "tags", "success_count", "last_used_at", "created_at", "updated_at")
TOP = 2**63 - 1

Cells = tuple[Any, ...]

cells = st.tuples(
    st.sampled_from(["a", "b", "c", None]),
    st.lists(st.sampled_from("xyz"), unique=True, max_size=3).map(tuple),
    st.sampled_from([0, 1, 2, TOP, -TOP - 1]),
    st.sampled_from([None, 1, 2]),
    st.integers(1, 3),
    st.integers(1, 3),
)
maybe = st.none() | cells


def skill(row: Callable[..., Any], some: Cells | None) -> Any:
    return None if some is None else row("skills", "s", **dict(zip(NAMES, some, strict=True)))


def expected(bases: Sequence[Cells | None], ours: Cells | None, theirs: Cells | None, policy: str) -> Any:
    """(result, conflicting fields): the definition, case by case."""
    if ours == theirs:
        return ours, ()
    same_o = any(ours == b for b in bases)
    same_t = any(theirs == b for b in bases)
    if same_t and not same_o:
        return ours, ()
    if same_o and not same_t:
        return theirs, ()
    if ours is None or theirs is None:
        return (theirs if policy == "theirs" else ours), "row"
    out, bad = [], []
    for i, name in enumerate(NAMES):
        o, t = ours[i], theirs[i]
        have = [b[i] for b in bases if b is not None]
        has_base = len(have) == len(bases) and all(x == have[0] for x in have)
        if o == t and name == "success_count" and policy == "field":
            out.append((joined(name, have[0] if has_base else None, has_base, o, t) or (o,))[0])
        elif o == t or (has_base and t == have[0]):
            out.append(o)
        elif has_base and o == have[0]:
            out.append(t)
        elif name == "updated_at":
            out.append(max(o, t))
        elif name == "created_at":
            out.append(min(o, t))
        else:
            value = joined(name, have[0] if has_base else None, has_base, o, t) if policy == "field" else None
            if value is None:
                bad.append(name)
                value = (t if policy == "theirs" else o,)
            out.append(value[0])
    return tuple(out), tuple(bad)


def joined(name: str, base: Any, has_base: bool, o: Any, t: Any) -> tuple[Any] | None:
    if name == "last_used_at":
        return (max(x for x in (o, t) if x is not None),)
    if name == "tags":
        was = base if has_base else ()
        keep = [x for x in o if not (x in was and x not in t)]
        return ((*keep, *[x for x in t if x not in was and x not in o]),)
    if name == "success_count" and has_base:
        total = base + (o - base) + (t - base)
        return (total,) if -TOP - 1 <= total <= TOP else None
    return None


@given(
    st.lists(maybe, min_size=1, max_size=3),
    maybe,
    maybe,
    st.sampled_from(["fail", "ours", "theirs", "field"]),
)
def test_agrees_with_the_oracle(
    row: Any, bases: list[Cells | None], ours: Cells | None, theirs: Cells | None, policy: Any
) -> None:
    got = three_way(SKILLS, [skill(row, b) for b in bases], skill(row, ours), skill(row, theirs), policy)
    want, bad = expected(bases, ours, theirs, policy)
    if bad == "row":
        assert got.kind == "delete_change"
        assert got.fields == SKILLS.names[1:]
    else:
        assert set(got.fields) == set(bad)
        assert (got.kind is not None) == bool(bad)
    assert got.row == skill(row, want)


@given(st.lists(maybe, min_size=1, max_size=2), maybe, maybe)
def test_sides_are_symmetric(row: Any, bases: list[Cells | None], a: Cells | None, b: Cells | None) -> None:
    """Swapping the sides swaps the winners, and leaves conflicts and joined values (tags as sets)."""
    rows = [skill(row, x) for x in bases]
    here, there = skill(row, a), skill(row, b)
    left = three_way(SKILLS, rows, here, there, "field")
    right = three_way(SKILLS, rows, there, here, "field")
    assert (left.kind, left.fields) == (right.kind, right.fields)
    if left.kind is None:
        assert loosely(left) == loosely(right)
    mine, other = three_way(SKILLS, rows, here, there, "ours"), three_way(SKILLS, rows, there, here, "theirs")
    assert mine.row == other.row


def loosely(outcome: Outcome) -> Any:
    return outcome.row and [sorted(c) if isinstance(c, tuple) else c for c in outcome.row]


@given(st.lists(maybe, min_size=1, max_size=2), maybe, maybe)
def test_joining_the_result_again_changes_nothing(
    row: Any, bases: list[Cells | None], a: Cells | None, b: Cells | None
) -> None:
    ours, theirs = skill(row, a), skill(row, b)
    once = three_way(SKILLS, [skill(row, x) for x in bases], ours, theirs, "theirs")
    assert three_way(SKILLS, [theirs], once.row, theirs, "fail") == Outcome(once.row)


def test_no_bases_means_the_empty_store(row: Any) -> None:
    here, there = row("skills", "s", name="a"), row("skills", "s", name="b")
    assert three_way(SKILLS, [], None, there, "fail") == Outcome(there)
    assert three_way(SKILLS, [], here, there, "fail") == Outcome(here, "both_added", ("name",))


def test_only_fields_that_both_changed_conflict(row: Any) -> None:
    base = row("skills", "s", name="a", description="d")
    ours = row("skills", "s", name="b", description="d", updated_at=7)
    theirs = row("skills", "s", name="a", description="e", updated_at=6)
    assert three_way(SKILLS, [base], ours, theirs, "fail") == Outcome(
        row("skills", "s", name="b", description="e", updated_at=7)
    )


def test_equal_counts_of_rows_that_differ_are_two_counts(row: Any) -> None:
    base = row("skills", "s", success_count=5)
    ours, theirs = (row("skills", "s", success_count=6, updated_at=t) for t in (7, 8))
    assert three_way(SKILLS, [base], ours, theirs, "field").row == row(
        "skills", "s", success_count=7, updated_at=8
    )
    assert three_way(SKILLS, [base], ours, theirs, "fail").row == theirs
    assert three_way(SKILLS, [base], ours, ours, "field").row == ours


def test_later_joins_sums_and_tags_and_else_keeps_ours(row: Any) -> None:
    base = row("skills", "s", name="a", tags=("x", "y"), success_count=5)
    ours = row("skills", "s", name="b", tags=("x", "y", "z"), success_count=7)
    before = row("skills", "s", name="c", tags=("x",), success_count=2)
    assert three_way(SKILLS, [base], ours, before, "later") == Outcome(
        row("skills", "s", name="b", tags=("x", "z"), success_count=4), "both_changed", ("name",)
    )


@pytest.mark.parametrize(
    ("base", "ours", "theirs", "total"),
    [
        (5, 7, 4, 6),
        (0, TOP, 1, CONFLICT),
        (0, -TOP, -2, CONFLICT),
        (TOP, TOP - 1, TOP - 2, TOP - 3),
        (NO_BASE, 1, 2, CONFLICT),
    ],
)
def test_sums_add_both_deltas_within_int64(base: Any, ours: int, theirs: int, total: Any) -> None:
    assert join_field(COUNT, base, ours, theirs) == total


def test_maximum_takes_a_value_over_null() -> None:
    assert join_field(USED, NO_BASE, None, 3) == 3
    assert join_field(USED, NO_BASE, 3, None) == 3
    assert join_field(USED, 9, 2, 3) == 3


def test_tags_keep_the_targets_order() -> None:
    assert join_tags(("a", "b", "c"), ("c", "b", "new"), ("a", "c", "late", "new")) == ("c", "new", "late")
    assert join_tags((), (), ()) == ()


def test_a_wrong_strategy_is_refused() -> None:
    for bad in ("", "later", "FAIL", "x" * 10_000):
        with pytest.raises(InvalidInput):
            check_strategy(bad)
