"""Arrow data that fits, and that does not, wherever a collection takes it."""

from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from perdure import (
    InvalidInput,
    InvalidRecord,
    Memory,
    State,
    Store,
)


@pytest.mark.parametrize(
    "columns",
    [
        {
            "id": pa.array(["a"], pa.string_view()),
            "tags": pa.array([["t"]], pa.large_list(pa.large_string())),
        },
        {"id": pa.array(["a"]).dictionary_encode(), "tags": pa.array([["t"]], pa.list_(pa.string(), 1))},
        {"id": pa.chunked_array([[], ["a"]], pa.large_string()), "tags": [["t"]], "kind": pa.nulls(1)},
    ],
)
def test_arrow_types_that_hold_text(store: Store, columns: dict[str, Any]) -> None:
    store.memories.put(pa.table(columns))
    assert store.memories["a"].tags == ["t"]


@pytest.mark.parametrize(
    "columns",
    [
        {"id": pa.array([1]).dictionary_encode()},
        {"id": ["a"], "tags": [[1]]},
        {"id": ["a"], "tags": pa.array([["t"]], pa.list_view(pa.string()))},
        {"id": ["a"], "tags": [[["t"]]]},
        {"id": ["a"], "importance": [Decimal(1)]},
        {"id": ["a"], "tier": [True]},
    ],
)
def test_arrow_types_that_do_not_fit(store: Store, columns: dict[str, Any]) -> None:
    with pytest.raises(InvalidRecord):
        store.memories.put(pa.table(columns))
    assert store.memories.count() == 0


@pytest.mark.parametrize(
    "values",
    [
        [[1.0, None]],
        [["a", "b"]],
        [[True, False]],
        [[Decimal(1), Decimal(2)]],
        [[[1.0], [2.0]]],
        pa.array([[]], pa.list_(pa.null())),
        pa.FixedSizeListArray.from_arrays(pa.array([1.0, None]), 2),
        pa.array([b"12345678"], pa.large_binary()),
        [None],
    ],
)
def test_arrow_vectors_that_are_none(store: Store, values: Any) -> None:
    store.spaces.create("s", 2)
    with pytest.raises(InvalidRecord):
        store.vectors.put(pa.table({"space": ["s"], "id": ["a"], "values": values}))


@pytest.mark.parametrize("relation", [[1], [b"x"], [["x"]]])
def test_arrow_links_without_id(store: Store, relation: Any) -> None:
    with pytest.raises(InvalidRecord, match="relation"):
        store.links.put(pa.table({"source": ["a"], "target": ["b"], "relation": relation}))
    with pytest.raises(InvalidRecord, match="source"):
        store.links.put(pa.table({"source": pa.array([None], pa.string()), "target": ["b"]}))


def test_arrow_data_that_is_no_table(store: Store) -> None:
    with pytest.raises(InvalidRecord, match="no table"):
        store.memories.put(pa.chunked_array([["a"]]))
    store.memories.put(pa.table({"id": ["a", "b", "b"], "tags": [["x", "x"], None, ["y"]]}).slice(1))
    assert [m.id for m in store.memories.find()] == ["b"]
    assert store.memories.put(pa.table({})).commit is None  # type: ignore[union-attr]


def test_columns_may_come_from_a_generator(store: Store) -> None:
    store.memories.put(Memory(id="a"))
    assert store.memories.to_arrow(columns=(name for name in ("id", "kind"))).num_columns == 2  # type: ignore[arg-type]
    for wrong in ([], "id", ["nope"], 5):
        with pytest.raises(InvalidInput, match="column"):
            store.memories.to_arrow(columns=wrong)  # type: ignore[arg-type]


def test_a_payload_may_be_any_view_of_memory(store: Store) -> None:
    store.states.put(State(kind="k", id="a", payload=memoryview(b"abcd")[::2]))
    store.states.put(State(kind="k", id="b", payload=[memoryview(b"abcd")[::2], memoryview(b"e")]))
    assert [s.payload for s in store.states.find()] == [b"ac", b"ace"]
