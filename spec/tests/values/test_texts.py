"""Texts looked at together are judged as each of them alone, however hostile their neighbours."""

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from perdure import InvalidRecord
from perdure.values import decode, encode, is_plain
from perdure.values._limits import has_long_number
from perdure.values._texts import are_plain

CANONICAL = [
    "null",
    "0",
    "1.0",
    "-0.0",
    "1e17",
    '""',
    '"\x7f\u2028😀"',
    '{"b":1,"a":[]}',
    '["a$","$b"]',
    "-1",
]
NESTED = ["[" * depth + "]" * depth for depth in (100, 199, 200, 201, 1000, 100_000)]
OBJECTS = ['{"":' * depth + "1" + "}" * depth for depth in (199, 200, 201)]
HOSTILE = [
    *(
        "",
        " ",
        "\n",
        "\n\n",
        "1,2",
        "1\n2",
        "1\n",
        "\n1",
        "[1",
        "2]",
        "[1\n2]",
        '"a',
        'b"',
        '"a\nb"',
        "{",
        "}",
    ),
    *(
        "[1,\n2]",
        "1 2",
        "1 ",
        " 1",
        "[1, 2]",
        "\r",
        "1\r",
        "\t1",
        "\ufeff1",
        "\0",
        "1\0",
        '"\0"',
        '"\\u0000"',
    ),
    *('{"a":1,"a":1}', '{"a":1,"a":2}', '{"a" : 1}', '{"$x":1}', '{"$tuple":[1]}', '{"$date":"2020-02-30"}'),
    *(
        '{"a":1,"$b":2}',
        '{"a":{"$tuple":[]}}',
        '["a","$b"]',
        '"{\\"$"',
        '{"$":1}',
        '{\n"$x":1}',
        '{"\\u0024x":1}',
    ),
    *("9223372036854775807", "9223372036854775808", "-9223372036854775808", "-9223372036854775809"),
    *("18446744073709551616", "1" * 5000, "0" * 19, "1234567890123456789.0", "0.1234567890123456789"),
    *("1.50", "1.", ".5", "01", "+1", "-0", "-", "1e5", "1E17", "1e+17", "1e16", "1e400", "1e-400", "5e-324"),
    *("NaN", "Infinity", "-Infinity", "nan", "True", "None", "nul", "nulll", "truefalse", "#", "'a'"),
    *(
        '"\\u0041"',
        '"\\/"',
        '"/"',
        '"\\u2028"',
        '"\\ud83d\\ude00"',
        '"\\ud83d"',
        '"\\u001F"',
        '"\\u001f"',
        '"\\n"',
    ),
    *('"\\u000a"', '"\\x41"', '"\\"', '"\\\\"', '"\t"', "\ud800", '"\udfff"'),
    *NESTED,
    *OBJECTS,
]

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
texts = (
    st.sampled_from(CANONICAL + HOSTILE)
    | json_values.map(encode)
    | st.text('[]{},:"$\\ne1.0- \n', max_size=6)
)


def taken(text: str) -> bool:
    """The judgement on one text alone."""
    try:
        decode(text)
    except InvalidRecord:
        return False
    return is_plain(text)


@pytest.mark.parametrize("text", CANONICAL + HOSTILE, ids=lambda text: ascii(text[:24]))
def test_one_text(text: str) -> None:
    undecided = has_long_number(text.encode(errors="replace")) or ',"$' in text
    assert are_plain([text]) == (taken(text) and not undecided)
    assert are_plain(["1", text, "[]"]) == are_plain([text])


@settings(deadline=None)
@given(st.lists(texts, min_size=1, max_size=8))
def test_together_as_alone(group: list[str]) -> None:
    assert not are_plain(group) or all(map(taken, group))


@settings(deadline=None)
@given(st.lists(json_values.map(encode) | st.sampled_from(CANONICAL), max_size=8))
def test_canonical_plain_texts_are_seen_together(group: list[str]) -> None:
    group = [
        text for text in group if is_plain(text) and ',"$' not in text and not has_long_number(text.encode())
    ]
    assert are_plain([*group, "null"])


@pytest.mark.parametrize(
    "group",
    [
        ["[1", "2]"],
        ["[1", "2]", "3", "3\n4"],
        ["1\n2", ""],
        ["", "1\n2"],
        ["1", "", "2\n3"],
        ['{"a":1', '"b":2}'],
        ['"a', 'b"'],
        ["[1,2", "3]\n4"],
    ],
)
def test_texts_that_are_whole_only_when_joined(group: list[str]) -> None:
    assert not are_plain(group)


def test_much_text_is_left_to_a_look_at_each() -> None:
    assert are_plain([encode("a" * 100_000)] * 9)
    assert not are_plain([encode("a" * 100_000)] * 11)


@given(st.text("0123456789-. ", max_size=60))
@example("123456789012345678")
@example("-1234567890123456789")
@example("0.1234567890123456789e1")
def test_a_long_number_is_a_run_of_19_digits(text: str) -> None:
    assert has_long_number(text.encode()) == (re.search("[0-9]{19}", text) is not None)
