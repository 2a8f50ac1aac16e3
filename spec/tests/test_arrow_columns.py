"""Columns checked as a whole come out as cell by cell: values, tags and texts, from every Arrow layout."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from perdure import InvalidRecord
from perdure._arrow_intake import _canonical, encode_batch
from perdure._schema import TABLES
from perdure._types import Space

GOOD = '{"a":[1,2.5,"x"],"b":null}'
PLAIN = [
    "null",
    "1",
    "-0.0",
    "[]",
    GOOD,
    '"\\n"',
    '{"b":1,"a":1}',
    '["$a","$b"]',
    '{"$tuple":[1]}',
    "[" * 200 + "]" * 200,
]
RESPELLED = [
    "-0",
    "1.50",
    "1e5",
    " 1 ",
    "[1, 2]",
    "[1,\n2]",
    '"\\u0041\\/"',
    '{"a":1,"a":2}',
    "9223372036854775808",
]
REFUSED = [
    "",
    "\n",
    "1\n2",
    "1,2",
    "[1",
    "2]",
    "NaN",
    "\0",
    "\ufeff1",
    '{"$x":1}',
    '{"a":1,"$b":2}',
    "[" * 201 + "]" * 201,
]
LAYOUTS = [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())]

cells = st.none() | st.sampled_from(PLAIN) | st.sampled_from(RESPELLED)


def no_space(name: str) -> Space:
    raise AssertionError(name)


def taken(table: str = "memories", **columns: Any) -> pa.RecordBatch:
    return encode_batch(TABLES[table], pa.RecordBatch.from_pydict(columns), no_space)


def laid_out(texts: list[Any], layout: pa.DataType, before: int) -> pa.Array:
    """The cells as a slice of a longer array, so that offsets matter."""
    whole = pa.array([*["hostile \0"] * before, *texts, "more"], pa.string()).cast(layout)
    return whole.slice(before, len(texts))


def cell_by_cell(texts: list[str | None]) -> list[str] | None:
    try:
        return ["null" if text is None else _canonical("", text) for text in texts]
    except InvalidRecord:
        return None


@settings(deadline=None)
@given(
    st.lists(cells | st.sampled_from(REFUSED), max_size=6),
    st.integers(0, 130),
    st.sampled_from([GOOD, "null", None]),
    st.sampled_from(LAYOUTS),
    st.integers(0, 3),
)
def test_values(
    odd: list[str | None], filling: int, filler: str | None, layout: pa.DataType, before: int
) -> None:
    for texts in ([*[filler] * filling, *odd], [*odd, *[filler] * filling], [*odd, *[GOOD] * filling, *odd]):
        expected = cell_by_cell(texts)
        array = laid_out(texts, layout, before)
        if expected is None:
            with pytest.raises(InvalidRecord, match=r"memories\.content holds .*, which is no value text"):
                taken(content=array)
        else:
            assert taken(content=array)["content"] == pa.array(expected, pa.string())


@pytest.mark.parametrize("text", PLAIN + RESPELLED + [None])
def test_a_column_of_one_value(text: str | None) -> None:
    expected = pa.array(cell_by_cell([text] * 200), pa.string())
    assert taken(content=pa.array([text] * 200, pa.string()))["content"] == expected


def test_a_refused_value_is_named_whatever_is_around_it() -> None:
    for at in (0, 63, 64, 150):
        texts = [GOOD] * 151
        texts[at] = "[1,2"
        with pytest.raises(InvalidRecord, match=r"holds '\[1,2'"):
            taken(content=pa.array(texts))


def test_columns_without_rows_and_without_a_type() -> None:
    for layout in LAYOUTS:
        assert taken(content=pa.array([], layout), tags=pa.array([], pa.list_(layout))).num_rows == 0
    batch = taken(content=pa.nulls(3), tags=pa.nulls(3), text=pa.nulls(3))
    assert batch["content"].to_pylist() == ["null"] * 3
    assert batch["tags"].to_pylist() == [[]] * 3
    assert batch["text"].to_pylist() == [None] * 3


def test_text_that_is_no_utf8_is_refused() -> None:
    array = pa.array([b'"\xff"']).view(pa.string())
    for column in (array, array.dictionary_encode()):
        with pytest.raises(InvalidRecord, match="UTF"):
            taken(content=column)


tags = st.lists(st.sampled_from(["a", "b", "c", "é", "aa", "ab"]), max_size=5)


def tags_expected(lists: list[list[str | None] | None]) -> list[list[str]] | None:
    """Cell by cell; None where any is refused."""
    for cell in lists:
        if cell and (None in cell or "" in cell or len(set(cell)) != len(cell)):
            return None
    return [[text for text in cell or () if text] for cell in lists]


@settings(deadline=None)
@given(
    st.lists(st.none() | tags | st.lists(st.sampled_from(["a", "", None]), max_size=2), max_size=5),
    st.sampled_from([pa.list_, pa.large_list]),
    st.sampled_from(LAYOUTS[:3]),
    st.integers(0, 2),
)
@example([["a", "b"], ["a"], None, ["b", "a"]], pa.list_, pa.string(), 1)
@example([["a", "b", "c", "a"]], pa.list_, pa.string(), 1)
def test_tags(lists: list[Any], kind: Any, layout: pa.DataType, before: int) -> None:
    array = pa.array([*[["x", "x"]] * before, *lists, ["y", "y"]], kind(layout)).slice(before, len(lists))
    expected = tags_expected(lists)
    if expected is None:
        with pytest.raises(InvalidRecord, match=r"memories\.tags (holds a|is empty)"):
            taken(tags=array)
    else:
        assert taken(tags=array)["tags"] == pa.array(expected, TABLES["memories"].arrow.field("tags").type)


def test_what_lies_under_a_null_does_not_count() -> None:
    hidden = pa.array([False, True, False])
    lists = pa.ListArray.from_arrays([0, 1, 3, 4], pa.array(["a", "b", "b", "c"]), mask=hidden)
    assert taken(tags=lists)["tags"].to_pylist() == [["a"], [], ["c"]]
    validity = pa.py_buffer(np.packbits([1, 0, 1], bitorder="little").tobytes())
    offsets, data = pa.array([0, 1, 2, 3], pa.int32()).buffers()[1], pa.py_buffer(b"a\0c")
    texts = pa.Array.from_buffers(pa.string(), 3, [validity, offsets, data])
    assert taken(text=texts)["text"].to_pylist() == ["a", None, "c"]


@pytest.mark.parametrize(("start", "hint"), [(0, "NUL"), (2, "empty"), (3, "NUL"), (4, "NUL")])
def test_only_the_texts_of_a_slice_count(start: int, hint: str) -> None:
    around = pa.array(["x\0", "a", "", "é" * 256, "x\0"])
    assert taken(text=around.slice(1, 3))["text"].to_pylist() == ["a", "", "é" * 256]
    assert taken(id=around.slice(3, 1))["id"].to_pylist() == ["é" * 256]
    with pytest.raises(InvalidRecord, match=hint):
        taken(id=around.slice(start, 2))
    with pytest.raises(InvalidRecord, match="NUL"):
        taken(text=pa.array(["a", "b", "x\0"]).slice(2))
    with pytest.raises(InvalidRecord, match="512 are allowed"):
        taken(id=pa.array([None, "a", "é" * 257]).slice(1))
