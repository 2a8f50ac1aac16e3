"""Rows as columns: whatever a row holds comes back bit for bit, and conditions meet the keys that they should."""

import tempfile
from typing import Any

import lance
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from perdure import TABLES
from perdure.kit import CODES, encode_row
from perdure_lancedb._columns import ITEMS, OPEN, Rows, key_of, kind_of, values_type
from perdure_lancedb._entries import Stored
from perdure_lancedb._tables import View

Item = tuple[bytes, bytes]

TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
WHOLE = st.integers(-(2**63), 2**63 - 1)
CELLS: dict[str, st.SearchStrategy[Any]] = {
    "text": TEXTS,
    "int": WHOLE,
    "float": st.floats(allow_nan=False, allow_infinity=False),
    "time": WHOLE,
    "tags": st.lists(TEXTS, unique=True, max_size=3).map(tuple),
    "value": st.sampled_from(["null", '"\\u0000"', "{}", '{"a":[1,"\U0001f600"]}']),
    "payload": st.sampled_from(["0:", "3:" + "ab" * 16]),
}
DTYPES = {"float16": np.float16, "float32": np.float32, "float64": np.float64}


def row_of(kind: str, vectors: st.SearchStrategy[bytes]) -> st.SearchStrategy[tuple[Any, ...]]:
    columns = TABLES[kind].columns
    return st.tuples(
        *(
            vectors
            if column.kind == "vector"
            else st.one_of(st.none(), CELLS[column.kind])
            if column.nullable
            else CELLS[column.kind]
            for column in columns
        )
    )


def items_of(kind: str, vectors: st.SearchStrategy[bytes]) -> st.SearchStrategy[list[Item]]:
    """Versions of rows, some of them deletions, with different keys."""
    slots = st.tuples(
        st.integers(0, 2**32 - 1), st.integers(0, 2**62 - 1), st.binary(min_size=12, max_size=12)
    )
    parts = st.binary(min_size=1, max_size=5).map(lambda part: part.replace(b"\0", b"\1") + b"\0")
    keys = st.builds(
        lambda row, slot: key_of(b"main\0r" + CODES[kind] + b"".join(row), *slot),
        st.lists(parts, min_size=len(TABLES[kind].key), max_size=len(TABLES[kind].key)),
        slots,
    )
    values = st.one_of(st.none(), row_of(kind, vectors)).map(lambda row: encode_row(kind, (), row))
    return st.dictionaries(keys, values, max_size=6).map(lambda found: sorted(found.items()))


def view_of(folder: str, layout: Any, items: list[Item]) -> View:
    """Items in one of LanceDB's tables."""
    lance.write_dataset(layout.table(items), f"{folder}/t.lance")
    kind = layout.kind if isinstance(layout, Rows) else ""
    view = View((f"{folder}/t.lance", None), Stored(kind, b"", None, 1, []))
    view.layout = layout
    return view


def there_and_back(layout: Any, items: list[Item]) -> None:
    """Through Arrow, in one chunk and in slices, and through LanceDB."""
    table = layout.table(items)
    table.validate(full=True)
    assert layout.items(table) == items
    assert layout.keys(table) == [key for key, _ in items]
    slices = [table.slice(at, 1) for at in range(len(items))]
    assert layout.items(pa.concat_tables([table.slice(0, 0), *slices])) == items
    assert layout.items(table.slice(1)) == items[1:]
    with tempfile.TemporaryDirectory() as folder:
        assert sorted(view_of(folder, layout, items).items("true")) == items


@pytest.mark.parametrize("kind", sorted({*TABLES} - {"vectors"}))
def test_rows_come_back_bit_for_bit(kind):
    @settings(max_examples=15)
    @given(items_of(kind, st.nothing()))
    def check(items: list[Item]) -> None:
        there_and_back(Rows(kind), items)

    check()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dim", [1, 3])
def test_vectors_come_back_bit_for_bit(dtype, dim):
    """Also minus zero, the least and the greatest numbers."""
    kind = DTYPES[dtype]
    info = np.finfo(kind)
    numbers = st.sampled_from(
        [0.0, -0.0, 1.5, float(info.tiny), float(info.max), float(info.smallest_subnormal)]
    )
    vectors = st.lists(numbers, min_size=dim, max_size=dim).map(lambda cell: np.array(cell, kind).tobytes())

    @settings(max_examples=15)
    @given(items_of("vectors", vectors))
    def check(items: list[Item]) -> None:
        there_and_back(Rows("vectors", values_type(dtype, dim)), items)

    check()


@given(st.dictionaries(st.binary(max_size=4).map(b"m\0k".__add__), st.binary(max_size=9), max_size=5))
@settings(max_examples=15)
def test_other_objects_come_back(items):
    there_and_back(ITEMS, sorted(items.items()))


def test_huge_cells_and_numbers_at_the_edges(tmp_path):
    """A text of five megabytes, 10,000 tags, characters beyond the basic plane, and empty ones."""
    layout = Rows("memories")
    tags, numbers = tuple(map(str, range(10_000))), (-0.0, 5e-324, -(2**63), "{}", 2**63 - 1, -(2**63))
    texts = ["x" * 5_000_000, "", "\U0010ffff\uffff", "'; --\\\n"]
    items = [
        (
            key_of(b"m\0rm%d\0" % i, 2**32 - 1, 2**62 - 1, bytes(12)),
            encode_row("memories", (), (str(i), "", None, text, 2**63 - 1, text, text, "{}", tags, *numbers)),
        )
        for i, text in enumerate(texts)
    ]
    there_and_back(layout, items)


@pytest.mark.parametrize("layout", [Rows("links"), Rows("vectors", values_type("float16", 3))])
def test_where_nothing_was_found_the_columns_are_those_of_rows_as_well(layout):
    (batch,) = layout.cell_batches(layout.schema.empty_table())
    assert batch.num_rows == 0
    assert batch.select(layout.cells.names).schema.types == layout.stored.types


def test_versions_are_open_and_deletions_are_marked():
    key = key_of(b"m\0rma\0", 7, 9, b"token.token.")
    live = encode_row("memories", (), ("a", *(None,) * 6, "{}", (), None, None, None, "{}", 1, 2))
    found = Rows("memories").table([(key, live), (key, encode_row("memories", (), None))])
    assert found["ended"].to_pylist() == [OPEN, OPEN]
    assert found["dead"].to_pylist() == [False, True]
    assert found["id"].to_pylist() == ["a", None]
    assert found["tags"].to_pylist() == [[], None]
    assert found.select(["branch", "seq", "size"]).to_pylist()[0] == {
        "branch": 7,
        "seq": 9,
        "size": len(live),
    }


# -------------------------------------------------------------------------------------------------- conditions

#: Rows whose keys, slots and namespaces begin with one another; quotes and bytes that are no text.
PARTS = [b"a", b"ab", b"a'", b"\xff", b"X'00'"]
SLOTS = [
    (branch, seq, token)
    for branch in (0, 256)
    for seq in (1, 255, 256)
    for token in (bytes(12), b"\xff" * 12)
]


def keys_of(kind: str) -> list[bytes]:
    two = len(TABLES[kind].key) == 2
    rows = [
        namespace + b"\0r" + CODES[kind] + part + b"\0" + (other + b"\0" if two else b"")
        for namespace in (b"m", b"m-", b"mm")
        for part in PARTS
        for other in (PARTS[:3] if two else PARTS[:1])
    ]
    return sorted(key_of(row, *slot) for row in rows for slot in SLOTS)


@pytest.mark.parametrize("kind", ["memories", "states"])
def test_conditions_meet_the_keys_that_they_should(kind, tmp_path):
    layout, keys = Rows(kind), keys_of(kind)
    items = [(key, encode_row(kind, (), None)) for key in keys]
    view = view_of(str(tmp_path), layout, items)
    cut = st.builds(lambda key, length: key[: 5 + length], st.sampled_from(keys), st.integers(0, 40))
    edges = st.one_of(
        st.sampled_from(keys), cut, cut.map(lambda key: key + b"\0"), cut.map(lambda key: key + b"\xff")
    )
    absent = [b"m\0r" + CODES[kind], keys[0] + b"\0", keys[0][:-1]]

    @settings(max_examples=25)
    @given(edges, edges, st.lists(st.sampled_from([*keys, *absent]), min_size=1, max_size=30))
    def check(start: bytes, end: bytes, some: list[bytes]) -> None:
        assert layout.low(start) <= start
        assert sorted(view.range(start, end)) == [item for item in items if start <= item[0] < end]
        wanted = sorted({*some} & {*keys})
        assert sorted(key for key, _ in view.items(layout.among(some))) == wanted
        assert sorted(view.keys(view.just(some))) == wanted
        assert {*view.keys(layout.near(some))} >= {*wanted}

    check()


def test_the_kind_of_a_key():
    for kind, code in CODES.items():
        assert kind_of(b"m\0r" + code) == kind_of(b"m\0r" + code + b"a\0" + bytes(24)) == kind
    for key in (b"m\0h", b"m\0a", b"m\0", b"m\0r", b"m\0rx", b"m\0cl", b"rl\0c"):
        assert kind_of(key) is None
