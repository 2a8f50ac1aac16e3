"""Arrow data in: what `to_arrow` gives comes back equal; what does not fit is refused whole."""

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from perdure import InvalidRecord, Link, Memory, Store, Vector


def test_what_a_store_gives_it_takes_back(store: Store) -> None:
    store.spaces.create("s", 2)
    store.memories.put(
        [Memory(id=f"m{i}", tags=["a", "b"], content={1: (2,)}, importance=i) for i in range(5)]
    )
    store.vectors.put([Vector(space="s", id=f"v{i}", values=[1, i]) for i in range(5)])
    memories, vectors = store.memories.to_arrow(), store.vectors.to_arrow()
    before = store.head()
    store.memories.put(memories)
    store.vectors.put(vectors)
    assert store.head() == before, "equal rows make no version"
    other = store.branch("other")
    other.memories.delete([f"m{i}" for i in range(5)])
    other.memories.put(memories)
    assert other.memories.find() == store.memories.find()


def test_columns_may_be_few_and_in_any_order(store: Store) -> None:
    store.memories.put(
        pa.table(
            {"importance": [1, 2], "id": ["b", "a"], "tags": [["x"], None], "content": ['{"a": 1}', None]}
        )
    )
    assert [(m.id, m.importance, m.tags, m.content) for m in store.memories.find()] == [
        ("a", 2.0, [], None),
        ("b", 1.0, ["x"], {"a": 1}),
    ]


def test_ids_are_made_where_they_are_absent(store: Store) -> None:
    store.memories.put(pa.table({"text": ["a", "b"]}))
    store.links.put(pa.table({"source": ["a"], "target": ["b"]}))
    assert store.memories.count() == 2
    assert Link(source="a", target="b").id in store.links


def test_vectors_come_as_lists_of_numbers(store: Store) -> None:
    store.spaces.create("s", 3)
    values = np.arange(6, dtype=np.float32).reshape(2, 3) + 1
    fixed = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), 3)
    store.vectors.put(pa.table({"space": ["s", "s"], "id": ["a", "b"], "values": fixed}))
    store.vectors.put(pa.table({"space": ["s"], "id": ["c"], "values": [[1.0, 2.0, 3.0]]}))
    assert store.vectors[("s", "b")].values.tolist() == [4, 5, 6]
    assert store.vectors[("s", "c")].values.tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("columns", "hint"),
    [
        ({"id": ["a"], "nope": [1]}, "no field 'nope'"),
        ({"id": ["a\0"]}, "NUL"),
        ({"id": ["", "a"]}, "empty"),
        ({"id": [None]}, "null"),
        ({"id": ["x" * 513]}, "512"),
        ({"id": [1]}, "int64"),
        ({"importance": [float("nan")]}, "finite"),
        ({"importance": ["a"]}, "string"),
        ({"tier": [1.5]}, "double"),
        ({"tier": pa.array([2**63], pa.uint64())}, "int64"),
        ({"tags": [["a", "a"]]}, "duplicate"),
        ({"tags": [["a", None]]}, "null"),
        ({"tags": ["a"]}, "list"),
        ({"content": ["{"]}, "no value text"),
        ({"content": ['{"$nope": 1}']}, "no value text"),
        ({"created_at": [datetime(2026, 1, 1)]}, "zone"),
        ({"expires_at": pa.array([2**62], pa.timestamp("us", tz="UTC"))}, "9999"),
    ],
)
def test_what_is_refused(store: Store, columns: dict[str, Any], hint: str) -> None:
    with pytest.raises(InvalidRecord, match=hint):
        store.memories.put(pa.table(columns))
    assert store.memories.count() == 0


def test_a_stream_of_batches_is_one_commit(store: Store) -> None:
    def batches() -> Any:
        for start in range(0, 60_000, 6_000):
            ids = [f"{i:06}" for i in range(start, start + 6_000)]
            yield pa.record_batch(
                {"id": ids, "created_at": pa.array([datetime(2026, 1, 1, tzinfo=UTC)] * 6_000)}
            )

    schema = next(iter(batches())).schema
    done = store.memories.put(pa.RecordBatchReader.from_batches(schema, batches()))
    assert done is not None
    assert done.written == store.memories.count() == 60_000
    assert len(list(store.log())) == 1


def test_of_a_key_that_occurs_twice_in_a_stream_the_last_one_stays(store: Store) -> None:
    store.memories.put(Memory(id=f"{i % 15_000}", importance=i) for i in range(30_000))
    assert store.memories.count() == 15_000
    assert store.memories["7"].importance == 15_007
