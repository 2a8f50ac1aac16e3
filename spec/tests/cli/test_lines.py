"""JSON lines become records, and what is no record is refused with its reason."""

import io
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from perdure import TABLES, InvalidRecord, Memory, Opaque, values
from perdure.cli._forms import record_document, to_json
from perdure.cli._lines import JsonLines


def read(text: str | bytes, table: str = "memories") -> list[dict[str, Any]]:
    data = text if isinstance(text, bytes) else text.encode()
    return list(JsonLines(io.BytesIO(data), TABLES[table]))


def test_fields_have_the_types_that_records_have() -> None:
    (memory,) = read(
        '{"id": "m", "expires_at": "2026-11-20T12:00:00.000001+01:00", "tags": ["a"], "tier": null}'
    )
    assert memory["expires_at"] == datetime(2026, 11, 20, 11, 0, 0, 1, UTC)
    assert (memory["tags"], memory["tier"]) == (["a"], None)
    (vector,) = read('{"values": [1, 2.5]}', "vectors")
    assert np.array_equal(vector["values"], [1, 2.5])


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": [1, "x"]}', {"a": [1, "x"]}),
        (str(2**100), 2**100),
        ('"\\ud800"', "\ud800"),
        ('{"$tuple": [1, {"$set": [2]}]}', (1, {2})),
        ('[{"$float": "inf"}, 1e16]', [float("inf"), 1e16]),
        ('{"$dict": [["$ref", 1]]}', {"$ref": 1}),
        ('"$no tag"', "$no tag"),
        ("0.1", 0.1),
        (f'[{{"$tuple": []}}, {2**80}]', [(), 2**80]),
    ],
)
def test_values_are_plain_json_or_tagged(text: str, value: object) -> None:
    (memory,) = read(f'{{"content": {text}}}')
    assert values.equal(memory["content"], value)


@pytest.mark.parametrize(
    "text",
    [
        b"x", b"[]", b"5", b"null", b'"m"', b"{", b'{"id": "a", "id": "b"}', b"\xff", b'{"a": "\xff"}',
        b'{"content": NaN}', b'{"content": -Infinity}', b'{"content": 1e400}', b'{"importance": 1e400}',
        b'{"content": {"$nope": 1}}', b'{"content": {"$tuple": 1}}', b'{"content": {"$tuple": [1], "b": 2}}',
        b'{"content": [{"$tuple": []}, "\\ud800"]}',
        b'{"content": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"content": ' + b"9" * 10_000 + b"}",
        b'{"created_at": "2026-11-20"}', b'{"created_at": "2026-11-20T12:00"}', b'{"created_at": 5}',
        b'{"created_at": "9999-12-31T23:59:59-12:00"}', b'{"created_at": "\\u0000"}', b'{"created_at": []}',
    ],
)  # fmt: skip
def test_what_is_no_record_is_refused(text: bytes) -> None:
    with pytest.raises(InvalidRecord):
        read(text)


@pytest.mark.parametrize("text", ['"AAAA"', "[true]", '["1"]', "[[1]]", "{}", "5"])
def test_vectors_are_lists_of_numbers(text: str) -> None:
    with pytest.raises(InvalidRecord, match="list of numbers"):
        read(f'{{"values": {text}}}', "vectors")


@pytest.mark.parametrize("text", ['"%"', "[1]", "5", '"é"'])
def test_payloads_are_base64(text: str) -> None:
    with pytest.raises(InvalidRecord, match="base64"):
        read(f'{{"payload": {text}}}', "states")


def test_lines_and_records_are_counted() -> None:
    lines = JsonLines(io.BytesIO(b"{}\n\n  \n{}\n"), TABLES["memories"])
    assert not lines.ended
    assert len(list(lines)) == 2
    assert (lines.line, lines.count, lines.ended) == (4, 2, True)


def test_progress_is_told_now_and_then() -> None:
    told: list[int] = []
    list(JsonLines(io.BytesIO(b"{}\n" * 1_000), TABLES["memories"], told.append))
    assert told == [256, 512, 768]


def test_a_record_survives_the_way_out_and_back() -> None:
    content = {"t": (1, b"\0"), "o": Opaque("mod", "Cls", (), {"a": 1}), "n": float("nan")}
    memory = Memory(id="m", content=content, tags=["x"], expires_at=datetime(2026, 1, 1, tzinfo=UTC))
    (fields,) = read(to_json(record_document(memory)))
    assert Memory(**fields) == memory
