from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from perdure._errors import InvalidFilter
from perdure.filters import FALSE, TRUE, And, F, Not, format, parse

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "where"),
    [
        (
            'kind = "error_pattern" and importance > 0.5 and tags contains "db" '
            'and not content.error.code in (1,2) and expires_at is null and title startswith "a"',
            And(
                (
                    F.kind == "error_pattern",
                    F.importance > 0.5,
                    F.tags.contains("db"),
                    ~F.content.error.code.is_in([1, 2]),
                    F.expires_at.is_null(),
                    F.title.starts_with("a"),
                )
            ),
        ),
        ("a = 1 or b = 2 and c = 3", (F.a == 1) | ((F.b == 2) & (F.c == 3))),
        ("(a = 1 or b = 2) and c = 3", ((F.a == 1) | (F.b == 2)) & (F.c == 3)),
        ("not a = 1 and b = 2", ~(F.a == 1) & (F.b == 2)),
        ("not (a = 1 and b = 2)", ~((F.a == 1) & (F.b == 2))),
        ("NOT a IS NOT NULL", Not(~F.a.is_null())),
        ("a<>1", F.a != 1),
        ("a==1.0", F.a == 1.0),
        ("a >= -1e3", F.a >= -1000.0),
        ("a <= .5", F.a <= 0.5),
        ("a = 0xFF", F.a == 255),
        ("a < inf or a > -inf", (F.a < float("inf")) | (F.a > float("-inf"))),
        ("a = true or a != false", (F.a == True) | (F.a != False)),  # noqa: E712
        ("a = null or a != null", F.a.is_null() | ~F.a.is_null()),
        ("a in ()", F.a.is_in([])),
        ("a not in (1, null)", ~(F.a.is_in([1]) | F.a.is_null())),
        ("a not contains 'x' and a not startswith 'y'", ~F.a.contains("x") & ~F.a.starts_with("y")),
        ("created_at < 2026-11-20T12:00Z", F.created_at < NOON),
        ("created_at < 2026-11-20 13:00:00.000+01:00", F.created_at < NOON),
        ('content["a.b"][0].and = "\\u0000\\U0001f600\\n"', F.content["a.b"][0]["and"] == "\0😀\n"),
        ("a\n=\t'x'", F.a == "x"),
        ("true", TRUE),
        ("false", FALSE),
        ("all(a = 1)", And((F.a == 1,))),
        ("any(a = 1, b = 2)", (F.a == 1) | (F.b == 2)),
        ("all()", TRUE),
    ],
)
def test_reads(text: str, where: Any) -> None:
    assert parse(text) == where
    assert parse(format(where)) == where


@pytest.mark.parametrize(
    ("text", "column", "words"),
    [
        ("importance > and", 14, "expected a value"),
        ("kind = foo", 8, "quotes"),
        ('kind = "x', 8, "no end"),
        ("(a = 1", 7, "expected `and`, `or` or `\\)`"),
        ("a = 1)", 6, "the end"),
        ("a = 1 b = 2", 7, "the end"),
        ("a", 2, "expected one of"),
        ("a not = 1", 7, "after `not`"),
        ("a is 5", 6, "null"),
        ("a in 5", 6, "\\("),
        ("a in (1 2)", 9, "`,`"),
        ("a < true", 3, "no order"),
        ("a < null", 3, "null"),
        ("a startswith 5", 1, "str"),
        ("a = 2026-11-20", 5, "time zone"),
        ("a = 2026-13-20T00:00Z", 5, "not a time"),
        ("a = 1e999", 5, "inf"),
        ("a = 12abc", 5, "understood"),
        ("a = '\\q'", 5, "escape"),
        ("a..b = 1", 2, "understood"),
        ("a = 1 & b = 2", 7, "understood"),
        ("", 1, "expected a field"),
        ("or", 1, "expected a field"),
        ("a = " + "9" * 5000, 5, "hexadecimal"),
        ("a = 0x" + "f" * 5000, 3, "bits"),
    ],
)
def test_errors_point_at_the_place(text: str, column: int, words: str) -> None:
    with pytest.raises(InvalidFilter, match=words) as caught:
        parse(text)
    assert caught.value.detail == {"line": 1, "column": column}
    shown, caret = caught.value.message.splitlines()[-2:]
    if len(text) < 60:
        assert shown == "  " + text
        assert caret.index("^") == column + 1


def test_the_line_is_shown_alone() -> None:
    with pytest.raises(InvalidFilter, match="line 2, column 5") as caught:
        parse("a = 1\nand b\nor c = 2".replace("b", "?"))
    assert caught.value.message.splitlines()[1:] == ["  and ?", "      ^"]


@pytest.mark.parametrize(
    "text", ["(" * 5000, "not " * 5000 + "a = 1", "all(" * 5000, "(" * 60 + "not " * 60 + "a = 1"]
)
def test_deep_texts_end_in_an_error(text: str) -> None:
    with pytest.raises(InvalidFilter):
        parse(text)


def test_parentheses_make_no_nodes() -> None:
    assert parse("(" * 99 + "a = 1" + ")" * 99) == (F.a == 1)


def test_only_text_and_only_filters() -> None:
    with pytest.raises(InvalidFilter):
        parse(b"a = 1")  # type: ignore[arg-type]
    with pytest.raises(InvalidFilter):
        format("a = 1")  # type: ignore[arg-type]


def test_long_integers_survive() -> None:
    where = F.a == -(1 << 9_999)
    assert parse(format(where)) == where
