"""Typed fields: what is kept, and what every engine refuses."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest
from perdure import Column, InvalidRecord, Link, Memory, PerdureError, Skill, State, Store, Vector
from perdure._cells import encoder, us_time, vector_bytes


@pytest.mark.parametrize(
    ("fields", "hint"),
    [
        ({"text": "a\0b"}, "NUL"),
        ({"text": "\ud800"}, "surrogate"),
        ({"text": 5}, "must be text"),
        ({"text": b"x"}, "must be text"),
        ({"kind": "x" * 1025}, "1024"),
        ({"kind": "ü" * 513}, "1026"),
        ({"id": ""}, "empty"),
        ({"id": None}, "means nothing"),
        ({"id": "x" * 513}, "513"),
        ({"tier": 2**63}, "int64"),
        ({"tier": True}, "an int"),
        ({"tier": 1.0}, "an int"),
        ({"importance": float("nan")}, "finite"),
        ({"importance": float("inf")}, "finite"),
        ({"importance": True}, "a number"),
        ({"importance": "1"}, "a number"),
        ({"importance": 2**53 + 1}, "float64"),
        ({"importance": 10**400}, "finite"),
        ({"tags": "ab"}, "list of texts"),
        ({"tags": ["a", "a"]}, "duplicate"),
        ({"tags": [""]}, "empty"),
        ({"tags": ["a", 1]}, "must be text"),
        ({"tags": {"a"}}, "list of texts"),
        ({"expires_at": datetime(2026, 1, 1)}, "time zone"),
        ({"expires_at": "2026-01-01"}, "aware datetime"),
        ({"expires_at": datetime.max.replace(tzinfo=timezone(-timedelta(hours=3)))}, "9999"),
        ({"created_at": 5}, "aware datetime"),
        ({"content": object()}, "object"),
    ],
)
def test_a_malformed_memory_is_refused_and_nothing_is_written(
    store: Store, fields: dict[str, Any], hint: str
) -> None:
    with pytest.raises(InvalidRecord, match=hint):
        store.memories.put(Memory(**fields))
    assert store.memories.count() == 0
    assert store.head().commit is None


@pytest.mark.parametrize(
    "record",
    [
        Link(source="", target="b"),
        Link(source="a", target=None),  # type: ignore[arg-type]
        Skill(trigger="("),
        Skill(trigger="(?=x)"),
        Skill(success_count=None),  # type: ignore[arg-type]
        State(kind="", id="a"),
        State(kind="k", payload="text"),  # type: ignore[arg-type]
        State(kind="k", payload=[b"a", "b"]),  # type: ignore[list-item]
        State(kind="k", payload=5),  # type: ignore[arg-type]
    ],
)
def test_other_malformed_records(store: Store, record: Any) -> None:
    table = store.table(record.TABLE.name)
    with pytest.raises(PerdureError) as caught:
        table.put(record)
    assert isinstance(caught.value, InvalidRecord)
    assert table.count() == 0


def test_a_float_field_takes_numbers_that_it_can_hold_exactly(store: Store) -> None:
    store.memories.put(
        [
            Memory(id="a", importance=3),
            Memory(id="b", importance=np.float32(0.5)),
            Memory(id="c", importance=-0.0),
        ]
    )
    assert [m.importance for m in store.memories.find()] == [3.0, 0.5, 0.0]
    assert str(store.memories["c"].importance) == "0.0"


@pytest.mark.parametrize("us", [-62_135_596_800_000_000, -1, 0, 1, 253_402_300_799_999_999])
def test_times_survive_to_the_microsecond(us: int) -> None:
    encode = encoder("memories", Column("expires_at", "time"))
    assert encode(us_time(us)) == us
    assert us_time(us).tzinfo is UTC


@pytest.mark.parametrize(
    ("cell", "dim", "hint"),
    [
        ([1, 2], 3, "shape"),
        ([[1, 2, 3]], 3, "shape"),
        ("abc", 3, "shape"),
        ([1, 2, float("nan")], 3, "finite"),
        ([1, 2, 1e101], 3, "beyond"),
        ([0, 0, 0], 3, "length zero"),
        ([True, False, True], 3, "shape"),
        ([1j, 2, 3], 3, "shape"),
        ([[1], [2, 3]], 2, "no array"),
    ],
)
def test_malformed_vectors(cell: Any, dim: int, hint: str) -> None:
    with pytest.raises(InvalidRecord, match=hint):
        vector_bytes(cell, dim, "float64", "cosine", "the vector")


def test_float32_overflow_in_a_narrow_space_is_refused() -> None:
    with pytest.raises(InvalidRecord, match="float16"):
        vector_bytes([70_000.0], 1, "float16", "dot", "the vector")


def test_a_vector_keeps_its_bits(store: Store) -> None:
    store.spaces.create("s", 3, dtype="float16", metric="dot")
    given = np.array([1.0, -0.0, 6.1e-5], dtype=np.float16)
    store.vectors.put(Vector(space="s", id="v", values=given))
    kept = store.vectors[("s", "v")].values
    assert kept.dtype == np.float16
    assert kept.tobytes() == given.tobytes()
