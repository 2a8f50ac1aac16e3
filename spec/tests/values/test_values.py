"""The codec's promises: golden texts stay, hostile texts are refused, strangers are never flattened."""

from __future__ import annotations

import enum
import json
from collections import namedtuple
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
import pytest
from perdure import _errors
from perdure.values import Limits, Opaque, decode, encode, encode_many, equal, is_plain

_GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "values.json").read_text())


class Colour(enum.IntEnum):
    RED = 1


Point = namedtuple("Point", "x y")


def nested(depth: int, kind: type = list) -> Any:
    value = kind()
    for _ in range(depth - 1):
        value = kind([value])
    return value


@pytest.mark.parametrize("vector", _GOLDEN, ids=lambda v: v["name"])
def test_golden_text_reads_and_writes_back(vector: dict[str, str]) -> None:
    value = decode(vector["text"])
    assert encode(value) == vector["text"]
    assert equal(value, decode(vector["text"]))


@pytest.mark.parametrize("value", [Colour.RED, Point(1, 2), object(), np.ma.array([1]), {Colour.RED: 1}, len])
def test_a_type_that_would_be_lost_is_refused(value: object) -> None:
    with pytest.raises(_errors.InvalidRecord, match="cannot be stored"):
        encode(value)


_HOSTILE = """
{"$x":1} | {"$tuple":1} | {"$tuple":[1],"a":2} | {"a":1,"$b":2} | {"a":1,"a":2} | {"$ref":0} | 1.50 | [1, 2]
{"$graph":{"root":{"$ref":3},"nodes":[]}} | {"$graph":{"root":1,"nodes":[{"$tuple":[]}]}} | {"$graph":[]}
{"$int":"0x1"} | {"$int":5} | {"$float":"00"} | {"$bytes":"YR=="} | {"$bytes":null} | {"$str":"YQ=="} | NaN
{"$set":[1,1]} | {"$set":[[1]]} | {"$dict":[[1,2],[1,3]]} | {"$dict":[["a",1]]} | {"$dict":[[[],1]]} | 1 2
{"$array":{"dtype":"<f8","shape":[1000000000000],"order":"C","data":""}} | {"$array":5} | {"$array":{}}
{"$array":{"dtype":"|V0","shape":[1000000000000],"order":"C","data":""}} | {"$scalar":["|O",""]}
{"$array":{"dtype":"|O","shape":[1000000000],"order":"C","items":[]}} | {"$scalar":5} | {"$opaque":{}}
{"$datetime":["2020-01-01T00:00:00.000000","../../etc/passwd",0]} | {"$datetime":"2020"} | {"$uuid":"x"}
{"$decimal":"1e5"} | {"$range":[1,2,0]} | {"$fraction":[1,0]} | {"$path":["os","x"]} | {"$timedelta":[1,2]}
{"$deque":{"items":[1],"maxlen":0}} | {"$bytearray":7} | {"$scalar":["str",5]}
{"$set":[3,2]} | {"$frozenset":["b","a"]} | {"$scalar":[">i2","AQA="]} | {"$graph":{"root":1,"nodes":[]}}
{"$graph":{"root":{"$ref":0},"nodes":[[1]]}} | {"$graph":{"root":[{"$ref":0},{"$ref":0}],"nodes":[[1],[2]]}}
{"$graph":{"root":[{"$ref":1},{"$ref":1},{"$ref":0},{"$ref":0}],"nodes":[[],[1]]}}
{"$opaque":{"module":"m","qualname":"N","args":[],"kwargs":[]}}
{"$opaque":{"module":"m","qualname":"N","args":[],"items":[1],"state":1}}
{"$array":{"dtype":{"string":true},"shape":[1],"order":"C","items":[1]}}
"""


@pytest.mark.parametrize(
    "text", [t.strip() for line in _HOSTILE.strip().splitlines() for t in line.split(" | ")]
)
def test_hostile_text_and_text_in_another_form_are_refused(text: str) -> None:
    with pytest.raises(_errors.InvalidRecord):
        decode(text)


@pytest.mark.parametrize(
    "text",
    ["", "[" * 100_000, '{"$tuple":[' * 50_000, "[" * 201 + "]" * 201, '"\ud800"', '"\0"', "9" * 5_000],
    ids=["empty", "open", "tags", "deep", "surrogate", "nul", "digits"],
)
def test_pathological_text_is_refused(text: str) -> None:
    for trusted in (False, True):
        if trusted and text.startswith("[[") and text.endswith("]"):
            continue  # trusted text is not measured
        with pytest.raises(_errors.InvalidRecord):
            decode(text, trusted=trusted)


def test_a_path_of_another_platform_is_read_as_a_pure_one() -> None:
    windows = decode('{"$path":["WindowsPath","C:\\\\x"]}')
    posix = decode('{"$path":["PosixPath","/x"]}')
    assert isinstance(windows, PureWindowsPath)
    assert isinstance(posix, PurePosixPath)


@pytest.mark.parametrize("kind", [list, tuple])
def test_depth_is_bounded_exactly(kind: type) -> None:
    assert equal(decode(encode(nested(200, kind))), nested(200, kind))
    with pytest.raises(_errors.InvalidRecord, match="deeper"):
        encode(nested(201, kind))


def test_size_and_parts_are_bounded() -> None:
    with pytest.raises(_errors.InvalidRecord, match="bytes"):
        encode("é" * 5, limits=Limits(max_bytes=8))
    for call in (lambda limits: encode([1, 2], limits=limits), lambda limits: decode("[1,2]", limits=limits)):
        call(Limits(max_nodes=3))
        with pytest.raises(_errors.InvalidRecord, match="parts"):
            call(Limits(max_nodes=2))


def test_equality_is_strict() -> None:
    shared: list[int] = []
    for a, b in [
        (1, True),
        (1, 1.0),
        (0.0, -0.0),
        ({1: 0, 2: 0}, {2: 0, 1: 0}),
        ([shared, shared], [[], []]),
    ]:
        assert not equal(a, b)
        assert encode(a) != encode(b)


def test_stand_ins_compare_by_content_and_hash_by_identity() -> None:
    one, other = Opaque("m", "N", (1,)), Opaque("m", "N", (1,))
    assert one == other
    assert len({one, other}) == 2
    assert len(decode(encode({one, other}))) == 2  # type: ignore[arg-type]


def test_a_clique_of_stand_ins_that_hold_each_other_in_sets_survives() -> None:
    clique = [Opaque("m", "Node") for _ in range(4)]
    for node in clique:
        node.state = {"neighbours": {n for n in clique if n is not node}}
    text = encode(clique)
    assert encode(decode(text)) == text


def test_escapes_keep_plain_text_recognisable() -> None:
    assert is_plain(encode(['{"$int', "$x", {"a": "$"}]))
    assert not is_plain(encode({"a": 1, "$b": 2}))
    assert encode_many([1, (1,)]) == ["1", '{"$tuple":[1]}']
