"""Filters: literals and limits of the tree, the dict form and the language of the command line."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from functools import reduce
from typing import Any

from hypothesis import strategies as st
from perdure import TABLES, InvalidFilter, Memory
from perdure.filters import (
    FALSE,
    TRUE,
    And,
    Compare,
    F,
    Filter,
    In,
    IsNull,
    Not,
    Op,
    Or,
    Path,
    format,
    from_dict,
    parse,
    to_dict,
)

from perdure_conformance._case import Case
from perdure_conformance._checks import check
from perdure_conformance.clauses._chosen import chosen
from perdure_conformance.expect import equal, holds, refused
from perdure_conformance.strategies import filters

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
EAST = timezone(timedelta(hours=14))
INF = float("inf")
TIER, CONTENT = Path("tier"), Path("content")
EQUALITIES: tuple[Op, ...] = ("eq", "ne")
ORDERS: tuple[Op, ...] = ("lt", "le", "gt", "ge")


def letters(case: Case) -> Any:
    """Memories a, b and c with a number, a text, and a value; the last one is empty."""
    memories = case.store().memories
    memories.put(
        [
            Memory(id="a", tier=1, title="x", content={"n": 1, "0": "k"}),
            Memory(id="b", tier=2, title="y", content=[7]),
        ]
    )
    memories.put(Memory(id="c"))
    return memories


@check("FI-007", "FI-008", "FI-009")
def trees_are_bounded_and_work_at_their_bounds(case: Case) -> None:
    """A tree of 100 levels, of 10,000 nodes, or with a path of 100 steps works; one more is refused."""
    memories = letters(case)
    leaf: Filter = Compare(TIER, "eq", 1)
    value: Filter = F.content["n"] == 1
    for start in (leaf, value):
        chosen(memories, reduce(lambda inner, _: Not(inner), range(99), start), "bc")
        chosen(memories, reduce(lambda inner, n: (And, Or)[n % 2]((inner,)), range(99), start), "a")
        chosen(
            memories,
            reduce(
                lambda inner, n: And((inner, F.id < "c")) if n % 2 else Or((inner, F.id == "b")),
                range(99),
                start,
            ),
            "ab",
        )
        for last in (Not, lambda inner: And((inner,)), lambda inner: Or((TRUE, inner))):
            with refused(InvalidFilter, what="a tree of 101 levels"):
                last(reduce(lambda inner, _: Not(inner), range(99), start))
    numbers = tuple(range(1, 10_000))
    for where, count in (
        (In(TIER, numbers), 2),
        (In(Path("content", ("n",)), numbers), 1),
        (Or(tuple(Compare(TIER, "eq", n) for n in numbers)), 2),
        (And(tuple(Compare(TIER, "ne", n + 1) for n in numbers)), 2),
    ):
        equal(memories.count(where), count, f"the rows of a {type(where).__name__} of 10,000 nodes")
    with refused(InvalidFilter, what="a list of 10,000 literals"):
        memories.count(In(TIER, (0, *numbers)))
    with refused(InvalidFilter, what="10,001 nodes"):
        memories.count(Or(tuple(Compare(TIER, "eq", n) for n in (0, *numbers))))
    nested: Any = 5
    for step in range(100):
        nested = {"k": nested} if step % 2 else [nested]
    memories.put(Memory(id="d", content=nested))
    steps = tuple(0 if step % 2 else "k" for step in range(100))
    chosen(memories, Compare(Path("content", steps), "eq", 5), "d")
    with refused(InvalidFilter, what="a path of 101 steps"):
        Path("content", (*steps, "k"))


@check("FI-020", "FI-021", "FI-022", "FI-024", "FI-025", "FI-029")
def what_is_no_literal_is_refused(case: Case) -> None:
    """NaN, times without a zone or out of range, numbers that are too long, null and containers are no literals."""
    memories = letters(case)
    bad: list[Any] = [
        float("nan"),
        NOON.replace(tzinfo=None),
        1 << 10_000,
        -(1 << 10_000),
        None,
        [1],
        {"a": 1},
        (1,),
        b"a",
    ]
    bad += [1j, object(), Decimal(1), datetime.max.replace(tzinfo=timezone(timedelta(hours=-1)))]
    bad += [datetime.min.replace(tzinfo=EAST)]
    for literal in bad:
        for op in EQUALITIES + ORDERS:
            with refused(InvalidFilter, what=f"{op} with a {type(literal).__name__}"):
                memories.count(Compare(CONTENT, op, literal))
        for build in (lambda literal: In(CONTENT, (1, literal)), F.content.contains):
            with refused(InvalidFilter, what=f"a test with a {type(literal).__name__}"):
                memories.count(build(literal))
    for op in ORDERS:
        with refused(InvalidFilter, what=f"a bool under {op}"):
            memories.count(Compare(CONTENT, op, True))
    long = (1 << 10_000) - 1
    for where, keys in (
        (F.tier < long, "ab"),
        (F.tier > -long, "ab"),
        (F.content["n"] < long, "a"),
        (F.tier < INF, "ab"),
        (F.tier == long, ""),
    ):
        chosen(memories, where, keys)


@check("FI-026", "FI-027", "FI-028", "FI-023")
def null_is_a_test_and_literals_keep_their_type(case: Case) -> None:
    """Null under eq, ne and in becomes `IsNull`; nodes differ where the types of their literals do."""
    memories = letters(case)
    null = IsNull(TIER)
    for where, tree in (
        (F.tier == None, null),  # noqa: E711
        (F.tier != None, Not(null)),  # noqa: E711
        (from_dict({"tier": None}), null),
        (from_dict({"tier": {"$eq": None}}), null),
        (from_dict({"tier": {"$ne": None}}), Not(null)),
        (parse("tier = null"), null),
        (parse("tier != null"), Not(null)),
        (F.tier.is_in([1, None]), Or((In(TIER, (1,)), null))),
        (from_dict({"tier": {"$in": [None, 1]}}), Or((In(TIER, (1,)), null))),
        (from_dict({"tier": {"$nin": [None, 1]}}), Not(Or((In(TIER, (1,)), null)))),
        (parse("tier not in (1, null)"), Not(Or((In(TIER, (1,)), null)))),
    ):
        equal(where, tree, "a test with null")
    chosen(memories, {"tier": {"$in": [1, None]}}, "ac")
    chosen(memories, {"tier": {"$ne": None}}, "ab")
    same: list[Any] = [1, 1.0, True, "1"]
    for place, one in enumerate(same):
        for number, other in enumerate(same):
            alike = Compare(CONTENT, "eq", one) == Compare(CONTENT, "eq", other)
            equal(alike, place == number, f"whether the nodes for {one!r} and {other!r} are equal")
            equal(
                In(CONTENT, (one,)) == In(CONTENT, (other,)), place == number, "whether such lists are equal"
            )
    equal(F.content == -0.0, F.content == 0.0, "the node for -0.0")


@check("FI-088", "FI-081")
def text_that_no_field_holds_is_refused(case: Case) -> None:
    """A literal with NUL or a lone surrogate is refused on text and tags, and taken on values."""
    memories = letters(case)
    for literal in ("\0", "a\0", "\ud800", "😀\udfff"):
        for where in (
            F.title == literal,
            F.id != literal,
            F.title < literal,
            F.title.is_in(["x", literal]),
            F.title.contains(literal),
        ):
            with refused(InvalidFilter, what=f"{where} on text"):
                memories.find(where)
        for where in (F.title.starts_with(literal), F.tags.contains(literal), ~F.tags.contains(literal)):
            with refused(InvalidFilter, what=f"{where} on text"):
                memories.find(where)
        chosen(
            memories,
            (F.content == literal) | F.content.contains(literal) | F.content.starts_with(literal),
            "",
        )


@check("FI-140", "FI-026", "FI-001")
def the_dict_form_says_what_the_tree_says(case: Case) -> None:
    """Each operator means its node; several are joined in their order; a single one stands for itself."""
    memories = letters(case)
    forms: list[tuple[dict[str, Any], Filter, str]] = [
        ({}, TRUE, "abc"),
        ({"tier": 1}, F.tier == 1, "a"),
        ({"tier": {"$eq": 1}}, F.tier == 1, "a"),
        ({"tier": {"$ne": 1}}, F.tier != 1, "bc"),
        ({"tier": {"$lt": 2}}, F.tier < 2, "a"),
        ({"tier": {"$lte": 2}}, F.tier <= 2, "ab"),
        ({"tier": {"$gt": 1, "$lte": 2}}, And((F.tier > 1, F.tier <= 2)), "b"),
        ({"tier": {"$gte": 1}, "title": "y"}, And((F.tier >= 1, F.title == "y")), "b"),
        ({"title": "y", "tier": {"$gt": 0, "$lt": 9}}, And((F.title == "y", F.tier > 0, F.tier < 9)), "b"),
        ({"tier": {"$in": [1, 3]}}, In(TIER, (1, 3)), "a"),
        ({"tier": {"$nin": [1, 3]}}, Not(In(TIER, (1, 3))), "bc"),
        ({"tier": {"$exists": True}}, Not(IsNull(TIER)), "ab"),
        ({"tier": {"$exists": False}}, IsNull(TIER), "c"),
        ({"title": {"$contains": "x"}}, F.title.contains("x"), "a"),
        ({"title": {"$startsWith": "y"}}, F.title.starts_with("y"), "b"),
        ({"tier": {"$not": {"$gt": 1}}}, Not(F.tier > 1), "ac"),
        ({"tier": {"$not": {"$gt": 0, "$lt": 2}}}, Not(And((F.tier > 0, F.tier < 2))), "bc"),
        ({"$not": {"tier": 1, "title": "x"}}, Not(And((F.tier == 1, F.title == "x"))), "bc"),
        ({"$and": [{"tier": 1}, {}]}, And((F.tier == 1, TRUE)), "a"),
        ({"$or": [{"tier": 1}, {"title": "y"}]}, Or((F.tier == 1, F.title == "y")), "ab"),
        ({"$nor": [{"tier": 1}, {"title": "y"}]}, Not(Or((F.tier == 1, F.title == "y"))), "c"),
        ({"$or": []}, FALSE, ""),
        (
            {"created_at": {"$gt": {"$date": "2000-01-01T00:00Z"}}},
            F.created_at > datetime(2000, 1, 1, tzinfo=UTC),
            "abc",
        ),
        ({"tier": {"$lt": {"$numberDouble": "Infinity"}}}, F.tier < INF, "ab"),
        ({"tier": {"$lt": {"$numberDouble": "-Infinity"}}}, F.tier < -INF, ""),
    ]
    for form, tree, keys in forms:
        equal(from_dict(form), tree, f"the tree of {form}")
        chosen(memories, form, keys)


@check("FI-141", "FI-142", "FI-144", "FI-022", "FI-024")
def a_dict_that_is_no_filter_is_refused(case: Case) -> None:
    """Unknown operators, containers for literals and malformed times are refused; the message lists operators."""
    memories = letters(case)
    bad: list[Any] = [
        {"tier": [1]},
        {"tier": {"a": 1}},
        {"tier": {"$eq": [1]}},
        {"tier": {"$in": [[1]]}},
        {"tier": {"$in": 1}},
    ]
    bad += [
        {"tier": {}},
        {"tier": {"$gt": {"x": 1}}},
        {"$and": {}},
        {"$or": [1]},
        {"tier": {"$gt": None}},
        {"tier": {"$exists": 1}},
    ]
    bad += [
        {"created_at": {"$date": "noon"}},
        {"created_at": {"$date": "2026-11-20T12:00"}},
        {"created_at": {"$date": 5}},
    ]
    bad += [
        {"tier": {"$numberDouble": "NaN"}},
        {"tier": {"$eq": 1, "x": 2}},
        {1: 2},
        {"": 1},
        {"title": {"$startsWith": 1}},
    ]
    for form in bad:
        with refused(InvalidFilter, what=f"the dict {form}"):
            memories.find(form)
    for form, known in (
        ({"tier": {"$near": 1}}, "$gte"),
        ({"$xor": []}, "$nor"),
        ({"title": {"$regex": "x"}}, "$startsWith"),
    ):
        try:
            memories.count(form)
        except InvalidFilter as error:
            holds(known in error.message, "the message lists the operators that there are", error.message)
        else:
            holds(False, f"the dict {form} is refused")


@check("FI-145", "FI-146", "FI-147")
def paths_in_text_tell_keys_from_indexes(case: Case) -> None:
    """`.0` and `[0]` are an index, `["0"]`, `.01` and `.-1` in a dict are keys, and quoted keys hold anything."""
    memories = letters(case)
    for text, steps in (
        ("content.0", (0,)),
        ("content[0]", (0,)),
        ("content[-1]", (-1,)),
        ('content["0"]', ("0",)),
        ("content.10", (10,)),
        ("content.a.b", ("a", "b")),
        ('content["a.b"][2]', ("a.b", 2)),
        ("content._x-1", ("_x-1",)),
        ('content["\\u0000\\""]', ('\0"',)),
    ):
        path = Path("content", steps)
        equal(from_dict({text: 1}), Compare(path, "eq", 1), f"the path {text} in a dict")
        equal(parse(f"{text} = 1"), Compare(path, "eq", 1), f"the path {text} in a text")
    for text, step in (
        ("content.a b", "a b"),
        ("content.01", "01"),
        ("content.-1", "-1"),
        ("content.$x", "$x"),
        ("content.+1", "+1"),
    ):
        equal(from_dict({text: 1}), Compare(Path("content", (step,)), "eq", 1), f"the path {text} in a dict")
        with refused(InvalidFilter, what=f"the path {text} in a text"):
            parse(f"{text} = 1")
    chosen(memories, {"content.0": 7}, "b")
    chosen(memories, {'content["0"]': "k"}, "a")
    chosen(memories, parse('content["0"] = "k" or content.0 = 7'), "ab")


@check("FI-160", "FI-161", "FI-162", "FI-163", "FI-164", "FI-165")
def the_language_says_what_the_tree_says(case: Case) -> None:
    """Words in any case, precedence, parentheses, constants, strings, numbers and times."""
    a, b, c = F.tier == 1, F.tier == 2, F.title == "x"
    texts: list[tuple[str, Filter]] = [
        ("tier = 1 AND tier == 2 and title = 'x'", And((a, b, c))),
        ("tier = 1 or tier = 2 Or title = 'x'", Or((a, b, c))),
        ("tier = 1 or tier = 2 and title = 'x'", Or((a, And((b, c))))),
        ("(tier = 1 or tier = 2) and title = 'x'", And((Or((a, b)), c))),
        ("tier = 1 and (tier = 2 and title = 'x')", And((a, And((b, c))))),
        ("((tier = 1))", a),
        ("NOT tier = 1 and tier = 2", And((Not(a), b))),
        ("not not tier = 1", Not(Not(a))),
        ("True", TRUE),
        ("FALSE", FALSE),
        ("all()", TRUE),
        ("any()", FALSE),
        ("all(tier = 1)", And((a,))),
        ("ANY(tier = 1, tier = 2 and title = 'x')", Or((a, And((b, c))))),
        ("tier <> 1", F.tier != 1),
        ("tier != 1", F.tier != 1),
        ("tier <= 1", F.tier <= 1),
        ("tier >= 1", F.tier >= 1),
        ("tier IS NULL", IsNull(TIER)),
        ("tier is Not null", Not(IsNull(TIER))),
        ("tier In (1, 2)", In(TIER, (1, 2))),
        ("tier not in ()", Not(In(TIER, ()))),
        ("title Contains 'x'", F.title.contains("x")),
        ('title not startsWith "x"', Not(F.title.starts_with("x"))),
        ('title = "it\'s"', F.title == "it's"),
        ("title = 'say \"x\"'", F.title == 'say "x"'),
        (r"content = '\n\t\r\b\f\\\/\"\'\u0041\U0001F600'", F.content == "\n\t\r\b\f\\/\"'A😀"),
        (r"content = '\ud83d\ude00'", F.content == "\ud83d\ude00"),
        ("tier = -1", F.tier == -1),
        ("tier = 0x1F", F.tier == 31),
        ("tier = 1.0", F.tier == 1.0),
        ("tier = 1e2", F.tier == 100.0),
        ("tier < inf", F.tier < INF),
        ("tier > -inf", F.tier > -INF),
        ("content = true", F.content == True),  # noqa: E712
        ("created_at < 2026-11-20T12:00Z", F.created_at < NOON),
        ("created_at < 2026-11-20T13:00:00.000001+01:00", F.created_at < NOON + timedelta(microseconds=1)),
    ]
    for text, tree in texts:
        equal(parse(text), tree, f"the tree of {text}")
    memories = letters(case)
    for text, keys in (
        ("tier = 1 or title = 'y'", "ab"),
        ("not (tier >= 1 and title startswith 'x')", "bc"),
        ("tier is null", "c"),
        ("tier = 0x2", "b"),
    ):
        chosen(memories, parse(text), keys)


@check("FI-166", "FI-165")
def a_text_that_is_no_filter_shows_the_place(case: Case) -> None:
    """The message says line and column, and shows the line with a caret under the place."""
    places = [
        ("tier > and", 1, 8),
        ("kind = foo", 1, 8),
        ('kind = "x', 1, 8),
        ("(tier = 1", 1, 10),
        ("tier = 1)", 1, 9),
        ("tier", 1, 5),
        ("tier is 5", 1, 9),
        ("tier = 2026-11-20T12:00", 1, 8),
        ("tier = 1\nand tier ? 2", 2, 10),
        ("", 1, 1),
        ("tier = 1 tier = 2", 1, 10),
        ("tier in (1 2)", 1, 12),
    ]
    for text, line, column in places:
        try:
            parse(text)
        except InvalidFilter as error:
            shown, caret = error.message.splitlines()[-2:]
            holds(
                f"column {column}" in error.message,
                f"the message for {text!r} says the column {column}",
                error.message,
            )
            holds(
                line == 1 or f"line {line}" in error.message,
                f"the message for {text!r} says the line {line}",
                error.message,
            )
            equal(
                caret.index("^") - (len(shown) - len(shown.lstrip())) if shown.strip() else 0,
                column - 1,
                f"the caret for {text!r}",
            )
        else:
            holds(False, f"the text {text!r} is refused")
    for text in (
        "(" * 5_000,
        "not " * 5_000 + "tier = 1",
        "all(" * 5_000,
        "tier = 1 &",
        "tier = '\\q'",
        "tier = 1e999",
    ):
        with refused(InvalidFilter, what=f"the text {text[:40]!r}"):
            parse(text)


def forms_agree(case: Case, where: Filter) -> None:
    """A tree, written in each form and read again, is the same tree."""
    equal(from_dict(json.loads(json.dumps(to_dict(where)))), where, "the tree, through its dict")
    equal(parse(format(where)), where, "the tree, through its text")


@check("FI-143", "FI-167", "FI-028", kind="property", weight=0.3)
def any_tree_survives_each_form(case: Case) -> None:
    """Writing a tree as a dict or a text and reading it back gives an equal tree."""
    case.given(forms_agree, st.sampled_from(list(TABLES.values())).flatmap(filters))
