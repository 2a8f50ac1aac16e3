"""Every bit survives: numbers, texts, bytes and tags of any kind and size, and their order is that of code points."""

import math
import struct

import perdure
import pytest
from perdure import F, Memory, State, Vector

VALUES = {
    "nan": math.nan,
    "minus zero": -0.0,
    "infinity": [math.inf, -math.inf],
    "smallest": 5e-324,
    "large": 2**80,
    "very large": -(10**400),
    "past 2**53": [2**53 + 1, -(2**63), 2**63 - 1, 2**64],
    "float": [0.1, 1e308, 1.0, 1e16],
    "nul": "a\0b",
    "surrogates": "\ud800 alone \udfff",
    "last": "\U0010ffff\uffff",
    "bytes": b"\0\xff\\x41",
    "keys": {1: "int", "1": "text", 1.5: "float", None: "none", (1, "a"): "tuple"},
    "nested": [{"a": ({1, 2}, frozenset({3}))}],
    "duplicates": '{"b": 1, "a": 2, "a": 3}',
    "escapes": "\\u0000 \\ ' \" %s :name $1 {} \r\n\t\x7f\x1b",
}


def bits(value: object) -> object:
    """Tells apart what == does not, and finds NaN equal to itself."""
    if isinstance(value, float):
        return struct.pack(">d", value)
    if isinstance(value, (list, tuple)):
        return type(value), [bits(each) for each in value]
    if isinstance(value, dict):
        return {(type(k), k): bits(v) for k, v in value.items()}
    return type(value), value


@pytest.fixture
def opened(url):
    with perdure.open(url) as store:
        yield store


def test_values(opened):
    opened.memories.put(
        Memory(id=name, content=value, metadata={"v": value}) for name, value in VALUES.items()
    )
    for name, value in VALUES.items():
        found = opened.memories[name]
        assert bits(found.content) == bits(value), name
        assert bits(found.metadata["v"]) == bits(value), name
    assert opened.verify().problems == ()


TEXTS = [
    "\x01",
    "\x7f",
    "é",
    "e\u0301",
    "\u2028",
    "\ue000",
    "\uffff",
    "\U00010000",
    "\U0010ffff",
    "Z",
    "a",
    "ß",
    "'",
    "\\",
]


def test_texts_of_typed_fields_and_their_order(opened):
    opened.memories.put(Memory(id=text, kind=text, text=text * 3, tags=[text]) for text in TEXTS)
    assert [row.id for row in opened.memories.scan()] == sorted(TEXTS)
    assert [row.id for row in opened.memories.scan(order_by="-kind")] == sorted(TEXTS, reverse=True)
    for text in TEXTS:
        row = opened.memories[text]
        assert (row.kind, row.text, list(row.tags)) == (text, text * 3, [text])
        assert [found.id for found in opened.memories.scan(F.kind == text)] == [text]
        assert [found.id for found in opened.memories.scan(F.tags.contains(text))] == [text]
        above = [found.id for found in opened.memories.scan(F.kind > text)]
        assert above == sorted(other for other in TEXTS if other > text)


@pytest.mark.parametrize("text", ["a\0b", "\ud800"])
def test_texts_that_no_typed_field_takes(opened, text):
    for field in ("id", "kind", "text"):
        with pytest.raises(perdure.InvalidRecord):
            opened.memories.put(Memory(**{"id": "m", field: text}))
    with pytest.raises(perdure.InvalidRecord):
        opened.memories.put(Memory(id="m", tags=[text]))
    assert opened.memories.count() == 0


@pytest.mark.parametrize("rows", [1, 30])  # 30 go by COPY
def test_large_cells(opened, rows):
    content, text = "\U0001f600" * 2_500_000, "t" * 1_000_000
    opened.memories.put(Memory(id=f"m{i}", text=text, content=i or content) for i in range(rows))
    opened.traces.put(perdure.Trace(id="t", intent="i" * 2**20))
    found = opened.memories["m0"]
    assert (found.content, found.text) == (content, text)
    assert opened.traces["t"].intent == "i" * 2**20
    assert [row.id for row in opened.traces.scan(F.intent == "i" * 2**20)] == ["t"]
    assert opened.verify().problems == ()


def test_large_payloads_and_many_tags(opened):
    payload = bytes(range(256)) * 40_000
    opened.states.put(State(kind="k", id="s", payload=payload))
    assert opened.states[("k", "s")].payload == payload
    tags = [f"tag-{i}-{'é' * 50}" for i in range(2_000)]
    opened.memories.put(Memory(id="a", tags=tags))
    assert sorted(opened.memories["a"].tags) == sorted(tags)
    assert opened.memories.count(F.tags.contains(tags[77])) == 1


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_vectors_keep_their_bits(opened, dtype):
    import numpy as np

    values = np.array([1.1, -0.0, 1e-7, 3.3333333333333335], dtype)
    opened.spaces.create("s", 4, dtype=dtype)
    opened.vectors.put(Vector(space="s", id="v", values=values))
    found = opened.vectors[("s", "v")].values
    assert found.dtype == values.dtype
    assert found.tobytes() == values.tobytes()
