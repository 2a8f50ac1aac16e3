from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from perdure._errors import InvalidFilter
from perdure.filters import Path, format_path, parse_path
from perdure.filters._path import format_text, unescape

STEPS = st.text(max_size=5) | st.sampled_from(["$ref", "a.b", "0", "-1", "and", "é"]) | st.integers(-5, 5)
CHARS = st.characters(categories=None) | st.sampled_from("\0\ud83d\ude00\\\"'\n")


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("content", ()),
        ("content.error.code", ("error", "code")),
        ("content[0].a", (0, "a")),
        ("content.0.a", (0, "a")),
        ("content[-1]", (-1,)),
        ('content["a.b"]["0"]', ("a.b", "0")),
        ("content['it\\'s']", ("it's",)),
        ("content.naïve-key", ("naïve-key",)),
    ],
)
def test_both_forms_read_paths(text: str, steps: tuple[str | int, ...]) -> None:
    assert parse_path(text) == parse_path(text, lenient=True) == Path("content", steps)


@pytest.mark.parametrize(
    ("text", "steps"), [("content.a b", ("a b",)), ("content.$x", ("$x",)), ("content.007.-1", ("007", "-1"))]
)
def test_the_dict_form_takes_bare_keys(text: str, steps: tuple[str, ...]) -> None:
    assert parse_path(text, lenient=True) == Path("content", steps)
    with pytest.raises(InvalidFilter):
        parse_path(text)


@pytest.mark.parametrize(
    "text", ["", ".a", "a.", "a..b", "a[", "a[b]", 'a["x]', "a[1", "a b", "é", "a[" + "9" * 30 + "]"]
)
def test_what_is_no_path(text: str) -> None:
    with pytest.raises(InvalidFilter):
        parse_path(text, lenient=True)


@given(st.lists(STEPS, max_size=4))
def test_text_gives_the_path_back(steps: list[str | int]) -> None:
    path = Path("content", tuple(steps))
    assert parse_path(format_path(path)) == parse_path(format_path(path), lenient=True) == path


@given(st.text(CHARS))
def test_quoting_keeps_every_text(text: str) -> None:
    quoted = format_text(text)
    assert unescape(quoted) == text
    assert quoted.isprintable()


@pytest.mark.parametrize("quoted", ['"\\q"', '"\\u12"', '"\\U00110000"'])
def test_unknown_escapes_are_refused(quoted: str) -> None:
    with pytest.raises(InvalidFilter, match="unknown escape"):
        unescape(quoted)
