"""Values: what is refused, on the way in and on the way out."""

from __future__ import annotations

import enum
import sys
import tracemalloc
from collections import OrderedDict, namedtuple
from collections.abc import Iterator
from datetime import datetime, timedelta, tzinfo
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from perdure import TABLES, Change, ChangeBatch, HistoryEvent, InvalidRecord, Memory, State
from perdure.values import Limits, Opaque, decode, encode

from perdure_conformance._case import Case
from perdure_conformance._checks import check
from perdure_conformance.clauses._stored import put_texts
from perdure_conformance.expect import equal, holds, refused, same_value, unchanged

#: Well-formed JSON that no writer writes: another spelling, or another order.
NOT_CANONICAL = """
[1, 2] | {"a" :1} | 1.50 | 1e0 | 1E16 | 1e+16 | 1.0e16 | 10000000000000000.0 | -0 | 01 | +1 | .5
"\\/" | "\\u0041" | "\\u000A" | "\\u001F" | "\\ud83d\\ude00" | {"a":1,"a":2}
9223372036854775808 | [-9223372036854775809] | {"$int":"0x1"} | {"$int":"0X8000000000000000"} | {"$float":"00"}
{"$float":"7ff8000000000000"} | {"$bytes":"YR=="} | {"$bytes":"YQ"} | {"$bytes":"-_8="} | {"$str":"YQ=="}
{"$decimal":"1e5"} | {"$decimal":"+1"} | {"$fraction":[2,4]} | {"$timedelta":[0,86400,0]}
{"$uuid":"AB000000-0000-0000-0000-000000000000"} | {"$uuid":"ab000000000000000000000000000000"}
{"$datetime":"2026-11-20T12:00:00"} | {"$datetime":["2026-11-20T12:00:00.000000",null,0]}
{"$path":["PurePosixPath","a//b"]} | {"$dict":[["a",1]]} | {"$dict":[]} | {"$deque":{"maxlen":null,"items":[]}}
{"$set":[3,2]} | {"$set":["b","a"]} | {"$frozenset":[{"$set":[2,1]}]} | {"$scalar":[">i2","AQA="]}
{"$opaque":{"module":"m","qualname":"N","args":[],"kwargs":[]}}
{"$opaque":{"module":"m","qualname":"N","args":[],"items":[1],"state":1}}
{"$graph":{"root":1,"nodes":[]}} | {"$graph":{"root":{"$ref":0},"nodes":[[1]]}}
{"$graph":{"root":[{"$ref":1},{"$ref":1},{"$ref":0},{"$ref":0}],"nodes":[[],[1]]}}
{"$array":{"dtype":"|u1","shape":[1],"order":"F","data":"AQ=="}}
{"$array":{"dtype":{"fields":[["a","|u1",0],["b","<u4",4]],"itemsize":8,"align":true},"shape":[1],"order":"C","data":"AQkJCQIAAAA="}}
"""

#: Tags that there are not, tags beside other keys, and payloads of another shape.
MISFITS = """
{"$x":1} | {"$":1} | {"$Tuple":[]} | {"$tuple":[1],"a":2} | {"a":1,"$b":2} | {"$int":"0x8000000000000000","$str":""}
{"$tuple":1} | {"$tuple":{}} | {"$int":5} | {"$int":"8000000000000000"} | {"$float":1.5} | {"$float":"infinity"}
{"$bytes":null} | {"$bytes":"\u00e9"} | {"$str":5} | {"$complex":[1.0]} | {"$complex":[1,2]} | {"$fraction":[1,0]}
{"$range":[1,2,0]} | {"$range":[1,2]} | {"$decimal":"x"} | {"$uuid":"x"} | {"$date":"2026-13-01"} | {"$time":5}
{"$datetime":"2020"} | {"$datetime":["2020-01-01T00:00:00.000000","../../etc/passwd",0]} | {"$timedelta":[1,2]}
{"$datetime":["2020-01-01T00:00:00.000000",[86400000000],0]} | {"$path":["os","x"]} | {"$path":"x"}
{"$set":[1,1]} | {"$set":[1,1.0]} | {"$set":[[1]]} | {"$frozenset":[{}]} | {"$dict":[[1,2],[1,3]]} | {"$dict":[[[],1]]}
{"$dict":[[1]]} | {"$ordereddict":[["a",1],["a",2]]} | {"$deque":{"items":[1],"maxlen":0}} | {"$deque":[]}
{"$bytearray":7} | {"$scalar":5} | {"$scalar":["str",5]} | {"$scalar":["|O",""]} | {"$scalar":["<i2","AA=="]}
{"$opaque":{}} | {"$opaque":{"module":1,"qualname":"N","args":[]}} | {"$opaque":{"module":"m","qualname":"N","args":1}}
{"$opaque":{"module":"m","qualname":"N","args":[],"more":1}} | {"$array":5} | {"$array":{}}
{"$array":{"dtype":"<q9","shape":[],"order":"C","data":""}} | {"$array":{"dtype":"|O","shape":[1],"order":"C","data":""}}
"""

#: Node tables that lead nowhere.
BAD_GRAPHS = """
{"$ref":0} | [{"$ref":0}] | {"$graph":[]} | {"$graph":{"root":{"$ref":0}}} | {"$graph":{"nodes":[],"root":1}}
{"$graph":{"root":{"$ref":3},"nodes":[]}} | {"$graph":{"root":[{"$ref":-1},{"$ref":-1}],"nodes":[[]]}}
{"$graph":{"root":[{"$ref":0.0},{"$ref":0.0}],"nodes":[[]]}} | {"$graph":{"root":[{"$ref":0},{"$ref":true}],"nodes":[[]]}}
{"$graph":{"root":[{"$ref":0},{"$ref":0}],"nodes":[{"$tuple":[]}]}}
{"$graph":{"root":[{"$ref":0},{"$ref":0}],"nodes":[{"$frozenset":[]}]}}
{"$graph":{"root":[{"$ref":0},{"$ref":0}],"nodes":[1]}} | {"$graph":{"root":[{"$ref":0},{"$ref":0}],"nodes":["a"]}}
{"$graph":{"root":[{"$ref":0},{"$ref":0}],"nodes":[{"$ref":0}]}}
[{"$graph":{"root":[{"$ref":0},{"$ref":0}],"nodes":[[]]}}]
{"$graph":{"root":{"$graph":{"root":1,"nodes":[]}},"nodes":[]}}
"""

#: What is no JSON text, or ends too soon, or nests without end.
MALFORMED = (
    "",
    " ",
    "[",
    "[1,",
    '{"a"',
    '{"a":}',
    "nul",
    "NaN",
    "Infinity",
    "1 2",
    "'a'",
    '"a',
    '"\\x"',
    '"\0"',
)
BROKEN = ('"\ud800"', "[" * 100_000, '{"$tuple":[' * 50_000, "9" * 5_000, '{"$int":"0x', "[1]]", "\ufeff1")


class Colour(enum.IntEnum):
    """An int with a name, which an int is not."""

    RED = 1


class Text(str):
    """A text of a program's own."""


class Zone(tzinfo):
    """A time zone of a program's own."""

    def utcoffset(self, moment: datetime | None) -> timedelta:
        return timedelta(hours=1)

    dst = utcoffset

    def tzname(self, moment: datetime | None) -> str:
        return "mine"


Pair = namedtuple("Pair", "x y")


def listed(texts: str) -> list[str]:
    """The texts of a table above."""
    return [text.strip() for line in texts.strip().splitlines() for text in line.split(" | ")]


def nested(depth: int) -> Any:
    """Lists in tuples in lists, that many in all."""
    value: Any = []
    for level in range(depth - 1):
        value = [value] if level % 2 else (value,)
    return value


def with_cell(events: list[HistoryEvent], text: str) -> Iterator[HistoryEvent]:
    """A history whose memories have another content."""
    place = TABLES["memories"].position["content"]
    for event in events:
        if not isinstance(event, ChangeBatch):
            yield event
        else:
            rows = [change.row or () for change in event.changes]
            changes = [
                Change(change.table, change.key, (*row[:place], text, *row[place + 1 :]))
                for change, row in zip(event.changes, rows, strict=True)
            ]
            yield msgspec.structs.replace(event, changes=tuple(changes))


@check("VA-014")
def a_type_that_would_be_lost_is_refused(case: Case) -> None:
    """Strangers, and subclasses of what values keep, are refused, wherever they stand; nothing is written."""
    store = case.store()
    strangers = [
        Colour.RED,
        Pair(1, 2),
        Text("a"),
        object(),
        len,
        type,
        Exception("x"),
        iter([]),
        memoryview(b""),
    ]
    strangers += [
        np.ma.array([1]),
        np.ones((1, 1)).view(np.matrix),
        datetime(2026, 1, 1, tzinfo=Zone()),
        NotImplemented,
    ]
    with unchanged(store):
        for stranger in strangers:
            name = type(stranger).__name__
            for value in (stranger, [stranger], {"a": (stranger,)}, Opaque("m", "N", (stranger,))):
                with refused(InvalidRecord, what=f"a value with a {name}"):
                    store.memories.put(Memory(id="m", content=value))
            with refused(InvalidRecord, what=f"a batch with a {name}"):
                store.states.put([State(kind="k", id="a"), State(kind="k", id="b", data=stranger)])
        for keyed in ({Colour.RED: 1}, {Text("a"): 1}, OrderedDict([(Pair(1, 2), 1)]), {Colour.RED}):
            with refused(InvalidRecord, what="a value with a key that would be lost"):
                store.memories.put(Memory(id="m", metadata=keyed))


@check("VA-006", "VA-003", "VA-004", "VA-005", "VA-023", "VA-041", "VA-051", "VA-054", "VA-061")
def text_in_another_form_is_refused(case: Case) -> None:
    """A reader refuses what no writer writes: another spelling, another order, a form that is not the shortest."""
    for text in listed(NOT_CANONICAL):
        with refused(InvalidRecord, what=f"reading {text}"):
            decode(text)


@check("VA-013", "VA-072")
def a_payload_that_does_not_fit_its_tag_is_refused(case: Case) -> None:
    """An unknown tag, a tag beside other keys and a payload of another shape are refused."""
    for text in listed(MISFITS):
        with refused(InvalidRecord, what=f"reading {text}"):
            decode(text)


@check("VA-062", "VA-072")
def a_node_table_that_leads_nowhere_is_refused(case: Case) -> None:
    """References to what is not there, nodes that are no containers, and tables inside are refused."""
    for text in listed(BAD_GRAPHS):
        with refused(InvalidRecord, what=f"reading {text}"):
            decode(text)


@check("VA-072")
def malformed_text_is_refused_with_one_error(case: Case) -> None:
    """What is no JSON is refused as an invalid record, however it is broken and however deep it is."""
    whole = encode({"a": [(1, 2.5), {"k": b"x"}, {1, 2}], "b": np.zeros(2)})
    cut = [whole[:place] for place in range(len(whole))]
    for text in (*MALFORMED, *BROKEN, *cut):
        with refused(InvalidRecord, what=f"reading {text[:80]!r}"):
            decode(text)


@check("VA-006", "VA-013", "VA-062", "VA-072")
def bad_text_enters_no_store(case: Case) -> None:
    """Ingest of a history and put of an Arrow table refuse a bad text, and write nothing."""
    with case.new_store() as source:
        source.memories.put(Memory(id="m", content=[1]))
        events, table = list(source.export()), source.memories.to_arrow()
    place = table.schema.get_field_index("content")
    store = case.store()
    for text in ("[1", '{"$x":1}', '{"$set":[3,2]}', '{"$ref":0}', '{"$int":"0x1"}'):
        with unchanged(store), refused(InvalidRecord, what=f"putting an Arrow table with {text}"):
            store.memories.put(table.set_column(place, table.schema.field(place), pa.array([text])))
        with unchanged(store), refused(InvalidRecord, what=f"ingest of a history with {text}"):
            store.ingest(with_cell(events, text))
    store.ingest(with_cell(events, '{"$set":[2,3]}'))
    same_value(store.memories["m"].content, {2, 3}, "the content of a good history")


@check("VA-015")
def what_a_text_names_is_left_alone(case: Case) -> None:
    """A stand-in and an array name modules and types; reading them imports nothing and calls nothing."""
    before = set(sys.modules)
    texts = [
        '{"$opaque":{"module":"antigravity","qualname":"fly","args":[]}}',
        '{"$opaque":{"module":"os","qualname":"abort","args":[]}}',
        '{"$opaque":{"module":"builtins","qualname":"exit","args":[1],"state":{"x":1}}}',
        '{"$opaque":{"module":"no.such.module","qualname":"","args":null}}',
    ]
    for text, value in zip(texts, put_texts(case, texts), strict=True):
        equal(type(value), Opaque, f"the type of what is read of {text}")
    equal(
        case.store().memories.count({"content.x": None}),
        len(texts),
        "the rows of a filter that looks into them",
    )
    equal(
        {name for name in set(sys.modules) - before if "antigravity" in name},
        set(),
        "modules that reading loaded",
    )


@check("VA-057")
def a_shape_is_checked_before_memory_is_taken(case: Case) -> None:
    """An array whose elements do not fill its shape is refused at once, however large it says that it is."""
    forms = [
        '{"$array":{"dtype":"<f8","shape":[%d],"order":"C","data":""}}',
        '{"$array":{"dtype":"<f8","shape":[2,%d],"order":"F","data":"AAAAAAAAAAA="}}',
        '{"$array":{"dtype":"|V0","shape":[%d],"order":"C","data":""}}',
        '{"$array":{"dtype":"|O","shape":[%d],"order":"C","items":[]}}',
        '{"$array":{"dtype":{"string":true},"shape":[%d],"order":"C","items":["a"]}}',
    ]
    for form in forms:
        for size in (5_000_000, 10**12, 2**61, 2**64):
            tracemalloc.start()
            with refused(InvalidRecord, what=f"reading {form % size}"):
                decode(form % size)
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            holds(peak < 4_000_000, f"reading {form % size} takes no memory for what is not there", peak)


@check("VA-070", "VA-071")
def nesting_is_bounded_exactly(case: Case) -> None:
    """A value of 200 containers in one another is kept, and one of 201 refused; each node counts anew."""
    store = case.store()
    with unchanged(store), refused(InvalidRecord, what="201 containers in one another"):
        store.memories.put(Memory(id="m", content=nested(201)))
    with refused(InvalidRecord, what="the text of 201 lists in one another"):
        decode("[" * 201 + "]" * 201)
    chain: dict[str, Any] = {}
    links = [chain]
    for _ in range(1_000):
        links.append({"next": links[-1]})
    deep: list[Any] = [nested(199)] * 2
    for what, value in (("200 containers", nested(200)), ("a chain of nodes", links), ("a deep node", deep)):
        store.memories.put(Memory(id=what, content=value))
        same_value(store.memories[what].content, value, what)


@check("VA-070")
def size_is_bounded(case: Case) -> None:
    """The limits on bytes and on JSON values hold for writers and readers, to the last one."""
    store = case.store()
    with unchanged(store):
        for what, value in (("64 MiB", "é" * (32 * 2**20)), ("5,000,000 JSON values", [0] * 5_000_000)):
            with refused(InvalidRecord, what=f"a value of more than {what}"):
                store.memories.put(Memory(id="m", content=value))
    text = encode([1, "é"])
    for limits, bound in (
        (Limits(max_bytes=len(text.encode())), "bytes"),
        (Limits(max_nodes=3), "JSON values"),
    ):
        equal(encode([1, "é"], limits=limits), text, f"a value of just as many {bound} as are allowed")
        same_value(decode(text, limits=limits), [1, "é"], f"a text of just as many {bound} as are allowed")
        with refused(InvalidRecord, what=f"a value of more {bound} than are allowed"):
            encode([1, "éx", 2], limits=limits)
        with refused(InvalidRecord, what=f"a text of more {bound} than are allowed"):
            decode('[1,"éx",2]', limits=limits)
