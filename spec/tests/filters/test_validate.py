from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from perdure._errors import InvalidFilter
from perdure._schema import TABLES, table
from perdure.filters import TRUE, F, kind_of, matcher, uses_counters, validate

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("name", "where"),
    [
        ("memories", F.tier == 2**80),
        ("memories", F.tier < 0.5),
        ("memories", F.importance == 1),
        ("memories", F.importance < float("inf")),
        ("memories", F.kind.is_in([])),
        ("memories", F.tags.contains("x") & F.tags.is_null()),
        ("memories", (F.content == True) | (F.content.a[0] < NOON) | F.content.is_in(["\0", 1, NOON])),  # noqa: E712
        ("memories", (F.accessed_at < NOON) & (F.access_count > 3) & F.accessed_at.is_null()),
        ("vectors", F["values"].is_null() & (F.space == "s")),
        ("states", F.payload.is_null() & F.parents.contains("p")),
        ("memories", TRUE),
    ],
)
def test_accepts(name: str, where: Any) -> None:
    validate(where, table(name))


@pytest.mark.parametrize(
    ("name", "where", "words"),
    [
        ("memories", F.knd == "x", "no field 'knd'; did you mean 'kind'"),
        ("links", ~(F.a_field_of_nobody == "x"), "no field 'a_field_of_nobody'; its fields are id, source"),
        ("memories", F.tier == "1", "int field 'tier'.*str '1'"),
        ("memories", F.tier == True, "int field 'tier'.*bool"),  # noqa: E712
        ("memories", F.importance.is_in([0.5, "x"]), "float field 'importance'.*str"),
        ("memories", F.kind == 5, "text field 'kind'.*int 5"),
        ("memories", F.kind == NOON, "text field 'kind'"),
        ("memories", F.kind == "\0", "text field 'kind'.*NUL"),
        ("memories", F.tags.contains("\ud800"), "tags field 'tags'.*surrogate"),
        ("memories", F.created_at > 5, "time field 'created_at'.*aware datetime"),
        ("memories", F.created_at > "2026-11-20", "time field 'created_at'"),
        ("memories", F.tags == "db", "tags field 'tags'.*contains"),
        ("memories", F.tags.is_in(["db"]), "tags field 'tags'.*contains"),
        ("memories", F.tags.starts_with("d"), "tags field 'tags'.*starts_with"),
        ("memories", F.tags.contains(5), "'tags'.*int"),
        ("memories", F.tier.contains(5), "int field 'tier'.*contains"),
        ("memories", F.title[0] == "a", "text field 'title'.*reach into"),
        ("memories", F.access_count == "x", "int field 'access_count'"),
        ("vectors", F["values"] == "x", "vector field 'values'.*null"),
        ("states", F.payload.contains("x"), "payload field 'payload'.*null"),
        ("memories", "kind = 1", "str"),
        ("memories", {"kind": 1}, "dict"),
    ],
)
def test_refuses_and_names_the_field(name: str, where: Any, words: str) -> None:
    for check in (lambda: validate(where, table(name)), lambda: matcher(table(name), where)):
        with pytest.raises(InvalidFilter, match=words):
            check()


def test_a_wrong_part_anywhere_is_found() -> None:
    with pytest.raises(InvalidFilter, match="'nope'"):
        validate((F.kind == "x") | ~((F.tier == 1) & F.nope.is_null()), table("memories"))


def test_counters_are_on_every_table() -> None:
    for each in TABLES.values():
        assert (kind_of(each, "accessed_at"), kind_of(each, "access_count")) == ("time", "int")
    assert uses_counters(~((F.kind == "x") & (F.access_count > 1)))
    assert not uses_counters(F.success_count > 1)
