from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from perdure._errors import InvalidFilter
from perdure.filters import FALSE, TRUE, And, F, Not, Or, coerce, from_dict, to_dict

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("doc", "where"),
    [
        ({}, TRUE),
        ({"kind": "x"}, F.kind == "x"),
        ({"kind": None}, F.kind.is_null()),
        ({"kind": {"$eq": None}}, F.kind.is_null()),
        ({"kind": {"$ne": None}}, ~F.kind.is_null()),
        (
            {"kind": "x", "importance": {"$gt": 0.5, "$lte": 1}},
            (F.kind == "x") & (F.importance > 0.5) & (F.importance <= 1),
        ),
        ({"$and": [{"a": 1}]}, And((F.a == 1,))),
        ({"$and": []}, TRUE),
        ({"$or": []}, FALSE),
        ({"$or": [{"a": 1}, {"b": {"$gte": 2}}]}, (F.a == 1) | (F.b >= 2)),
        ({"$nor": [{"a": 1}, {"b": {"$lt": 2}}]}, Not(Or((F.a == 1, F.b < 2)))),
        ({"$not": {"a": True}}, ~(F.a == True)),  # noqa: E712
        ({"a": {"$not": {"$gt": 1, "$lt": 9}}}, ~((F.a > 1) & (F.a < 9))),
        ({"a": {"$not": {"$ne": 1}}}, ~(F.a != 1)),
        ({"a": {"$in": [1, "x"]}}, F.a.is_in([1, "x"])),
        ({"a": {"$in": [1, None]}}, F.a.is_in([1]) | F.a.is_null()),
        ({"a": {"$nin": [1]}}, ~F.a.is_in([1])),
        ({"a": {"$exists": False}}, F.a.is_null()),
        ({"a": {"$exists": True}}, ~F.a.is_null()),
        ({"tags": {"$contains": "db"}}, F.tags.contains("db")),
        ({"title": {"$startsWith": "a"}}, F.title.starts_with("a")),
        ({"content.error.code": 5}, F.content.error.code == 5),
        ({"content.items.0": 5}, F.content["items"][0] == 5),
        ({'content["0"]': 5}, F.content["0"] == 5),
        ({"created_at": {"$gt": NOON}}, F.created_at > NOON),
        ({"created_at": {"$gt": {"$date": "2026-11-20T13:00:00+01:00"}}}, F.created_at > NOON),
        ({"created_at": {"$date": "2026-11-20T12:00Z"}}, F.created_at == NOON),
        ({"a": {"$lt": {"$numberDouble": "Infinity"}}}, F.a < float("inf")),
    ],
)
def test_reads(doc: dict[str, Any], where: Any) -> None:
    assert from_dict(doc) == where
    assert from_dict(json.loads(json.dumps(to_dict(where)))) == where


@pytest.mark.parametrize(
    ("doc", "words"),
    [
        ({"a": {"$regex": "x"}}, "unknown operator '\\$regex' on 'a'.*\\$startsWith"),
        ({"$where": "x"}, "unknown operator '\\$where'.*\\$nor"),
        ({"a": {"$gt": 1, "b": 2}}, "dict"),
        ({"a": {"b": 1}}, "a.key"),
        ({"a": {}}, "missing"),
        ({"a": [1]}, "\\$in"),
        ({"a": {"$in": "x"}}, "list"),
        ({"a": {"$in": [[1]]}}, "list"),
        ({"a": {"$exists": 1}}, "true or false"),
        ({"a": {"$gt": None}}, "null"),
        ({"a": {"$not": 5, "$gt": {}}}, "dict"),
        ({"a": {"$startsWith": 5}}, "str"),
        ({"a": float("nan")}, "NaN"),
        ({"a": {"$date": "yesterday"}}, "ISO"),
        ({"a": {"$date": 5}}, "ISO"),
        ({"a": {"$date": "2026-11-20"}}, "time zone"),
        ({"a": {"$numberDouble": "NaN"}}, "Infinity"),
        ({"$and": {"a": 1}}, "list"),
        ({"$or": ["x"]}, "dict"),
        ({"$not": [1]}, "dict"),
        ({5: 1}, "field names"),
        ({"a..b": 1}, "path"),
        ([], "dict"),
    ],
)
def test_refuses(doc: Any, words: str) -> None:
    with pytest.raises(InvalidFilter, match=words):
        from_dict(doc)


def test_cycles_and_bombs_end_in_an_error() -> None:
    cyclic: dict[str, Any] = {}
    cyclic["$not"] = cyclic
    field: dict[str, Any] = {}
    field["$not"] = field
    bomb: dict[str, Any] = {"a": 1}
    for _ in range(90):
        bomb = {"$and": [bomb, bomb]}
    for doc in (cyclic, {"a": field}, bomb):
        with pytest.raises(InvalidFilter):
            from_dict(doc)


def test_coerce_takes_both_forms() -> None:
    where = F.kind == "x"
    assert coerce(where) is where
    assert coerce({"kind": "x"}) == where
    assert coerce(None) is None
    with pytest.raises(InvalidFilter, match="parse"):
        coerce("kind = 'x'")  # type: ignore[arg-type]


def test_only_filters_have_a_dict_form() -> None:
    with pytest.raises(InvalidFilter):
        to_dict("x")  # type: ignore[arg-type]
