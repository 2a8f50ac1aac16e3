"""Values: the text that each type is stored as, and that it comes back with its type and its bits."""

from __future__ import annotations

import struct
from collections import OrderedDict, deque
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from perdure.values import Opaque, is_plain

from perdure_conformance._case import Case
from perdure_conformance._checks import check
from perdure_conformance.clauses._stored import cells, kept, put_texts
from perdure_conformance.expect import equal, same_value
from perdure_conformance.golden import value_texts

NOON = datetime(2026, 11, 20, 12)


def a_float(bits: int) -> float:
    """The float of 64 bits, whatever they are."""
    return float(struct.unpack(">d", bits.to_bytes(8, "big"))[0])


@check("VA-001", "VA-006", "VA-010", "VA-011")
def golden_texts_are_stored_as_they_are(case: Case) -> None:
    """Each golden text is read; its value is written as the same text, and is read again as the same."""
    golden = value_texts()
    read = put_texts(case, list(golden.values()))
    for (name, text), cell in zip(golden.items(), cells(case, read), strict=True):
        equal(cell, text, f"the text of the golden value {name!r}, written again")
    again = put_texts(case, list(golden.values()))
    for name, one, other in zip(golden, read, again, strict=True):
        same_value(other, one, f"the golden value {name!r}, read again")


@check("VA-001", "VA-010")
def plain_values_are_plain_json(case: Case) -> None:
    """Null, bools, numbers, text, lists and dicts with text keys are JSON without spaces."""
    pairs: list[tuple[Any, str]] = [
        (None, "null"),
        (True, "true"),
        (False, "false"),
        ("", '""'),
        ([], "[]"),
        ({}, "{}"),
        ([None, [True, [1, 1.0]], {}], "[null,[true,[1,1.0]],{}]"),
        ({"a": [1, {"b": None}], "": " x "}, '{"a":[1,{"b":null}],"":" x "}'),
        ({"a.b": 1, "0": [], "é😀": "$x"}, '{"a.b":1,"0":[],"é😀":"$x"}'),
    ]
    kept(case, pairs)


@check("VA-002")
def strings_escape_only_what_they_must(case: Case) -> None:
    """Quotes, backslashes and control characters are escaped in one way, and nothing else is."""
    short = {8: "\\b", 9: "\\t", 10: "\\n", 12: "\\f", 13: "\\r"}
    pairs = [(chr(code), '"' + short.get(code, f"\\u{code:04x}") + '"') for code in range(32)]
    pairs += [('"', '"\\""'), ("\\", '"\\\\"')]
    pairs += [(char, f'"{char}"') for char in "/\x7f\x80<>&'\u2028\u2029\ufeff\ufffe\uffff😀\U0010ffff"]
    pairs += [("a\0b\n", '"a\\u0000b\\n"'), ("e\u0301", '"e\u0301"')]
    kept(case, pairs)
    kept(case, [({value: value}, f"{{{text}:{text}}}") for value, text in pairs])


@check("VA-003")
def floats_have_one_shortest_spelling(case: Case) -> None:
    """A finite float is the shortest decimal that reads back, with an exponent only where it is far."""
    texts = """
        0.0 -0.0 1.0 -1.5 0.1 0.30000000000000004 0.3333333333333333 100.0 123456.789
        9007199254740992.0 1000000000000000.0 1234567890123456.0 9999999999999998.0 1e16 1.2345678901234568e17
        1e22 1e23 1e100 1.7976931348623157e308
        0.001 0.0001 0.00001 0.000012345 1e-6 1.5e-6 2.2250738585072014e-308 5e-324 -5e-324 1.1754943508222875e-38
    """
    pairs = [(float(text), text) for text in texts.split()]
    pairs += [(9223372036854775807.0, "9.223372036854776e18"), (2.0**53 + 2, "9007199254740994.0")]
    kept(case, pairs)


@check("VA-004", "VA-020")
def integers_are_exact_whatever_their_size(case: Case) -> None:
    """An integer of 64 bits is a JSON number, and a longer one hexadecimal text."""
    bare = [0, -1, 1, 2**31, 2**53, 2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63), 10**18]
    kept(case, [(number, str(number)) for number in bare])
    long = [
        (2**63, '{"$int":"0x8000000000000000"}'),
        (-(2**63) - 1, '{"$int":"-0x8000000000000001"}'),
        (2**64 + 10, '{"$int":"0x1000000000000000a"}'),
        ([1 << 10_000], f'[{{"$int":"0x1{"0" * 2_500}"}}]'),
    ]
    kept(case, long)


@check("VA-005")
def objects_keep_the_order_of_their_keys(case: Case) -> None:
    """The keys of a dict come back in the order in which they were put, however they sort."""
    keys = ["b", "a", "B", "10", "9", "é", "😀", "\uffff", "", "aa"]
    for some in (keys, keys[::-1], sorted(keys)):
        text = "{" + ",".join(f'"{key}":{place}' for place, key in enumerate(some)) + "}"
        kept(case, [({key: place for place, key in enumerate(some)}, text)])


@check("VA-011", "VA-012")
def a_text_with_tagged_forms_shows_it(case: Case) -> None:
    """A text has a brace, a quote and a dollar in a row exactly if it has tagged forms."""
    plain: list[Any] = ['{"$int":1}', ["$int", 1], {"a": "$ref"}, "$", ['{"$', "$x"], {"a$": 1}, [{"": "$"}]]
    tagged: list[Any] = [(), {1: 2}, {"$a": 1}, {"a": 1, "$b": 2}, [b""], float("inf"), {"a": [set()]}]
    for value, cell in zip(plain + tagged, cells(case, plain + tagged), strict=True):
        equal('{"$' in cell, any(value is one for one in tagged), f"whether {cell} has tagged forms")
        equal(is_plain(cell), '{"$' not in cell, f"whether {cell} is plain")
    kept(
        case, [(value, cell) for value, cell in zip(plain + tagged, cells(case, plain + tagged), strict=True)]
    )


@check("VA-021")
def floats_that_are_no_numbers_keep_their_bits(case: Case) -> None:
    """Infinities and each NaN have a form of their own, by bits."""
    pairs = [
        (float("inf"), '{"$float":"inf"}'),
        (float("-inf"), '{"$float":"-inf"}'),
        (a_float(0x7FF8000000000000), '{"$float":"nan"}'),
        (a_float(0xFFF8000000000000), '{"$float":"fff8000000000000"}'),
        (a_float(0x7FF8000000000001), '{"$float":"7ff8000000000001"}'),
        ([a_float(0x7FFFFFFFFFFFFFFF)], '[{"$float":"7fffffffffffffff"}]'),
    ]
    kept(case, pairs)


@check("VA-001", "VA-022", "VA-023", "VA-024")
def bytes_and_broken_text_are_base64(case: Case) -> None:
    """Bytes, and text with lone surrogates, are padded base64 of the standard alphabet."""
    pairs = [
        (b"", '{"$bytes":""}'),
        (b"\0", '{"$bytes":"AA=="}'),
        (b"\xfb\xff", '{"$bytes":"+/8="}'),
        (b"\xfb\xff\xfe", '{"$bytes":"+//+"}'),
        ("\ud800", '{"$str":"7aCA"}'),
        ("a\udfff\0", '{"$str":"Ye2/vwA="}'),
        ("\ud83d\ude00", '{"$str":"7aC97biA"}'),  # two surrogates, not the character that they would make
        ({"\ud800": 1}, '{"$dict":[[{"$str":"7aCA"},1]]}'),
        (bytearray(b"x"), '{"$bytearray":"eA=="}'),
    ]
    kept(case, pairs)


@check("VA-025", "VA-026", "VA-027")
def rarer_numbers_keep_their_parts(case: Case) -> None:
    """Complex numbers, fractions, ranges, decimals and UUIDs keep signs, exponents and payloads."""
    pairs = [
        (complex(1, -0.0), '{"$complex":[1.0,-0.0]}'),
        (complex("nan+infj"), '{"$complex":[{"$float":"nan"},{"$float":"inf"}]}'),
        (Fraction(-4, 6), '{"$fraction":[-2,3]}'),
        (Fraction(2**64, 3), '{"$fraction":[{"$int":"0x10000000000000000"},3]}'),
        (range(0), '{"$range":[0,0,1]}'),
        (range(5, -5, -2), '{"$range":[5,-5,-2]}'),
        (UUID(int=0xAB << 120), '{"$uuid":"ab000000-0000-0000-0000-000000000000"}'),
    ]
    decimals = (
        "0 -0 0.00 1.50 -1E+5 1E-7 0.000001 0E-10 12345678901234567890.1 Infinity -Infinity NaN -NaN123 sNaN"
    )
    pairs += [(Decimal(text), f'{{"$decimal":"{text}"}}') for text in decimals.split()]
    kept(case, pairs)


@check("VA-028", "VA-029")
def dates_and_naive_times_are_iso_texts(case: Case) -> None:
    """Dates, times without a zone and time spans have six decimals, and keep a fold."""
    pairs = [
        (date(1, 1, 1), '{"$date":"0001-01-01"}'),
        (timedelta(microseconds=-1), '{"$timedelta":[-1,86399,999999]}'),
        (timedelta(days=2, hours=1), '{"$timedelta":[2,3600,0]}'),
        (NOON, '{"$datetime":"2026-11-20T12:00:00.000000"}'),
        (datetime.max, '{"$datetime":"9999-12-31T23:59:59.999999"}'),
        (NOON.replace(fold=1), '{"$datetime":["2026-11-20T12:00:00.000000",null,1]}'),
        (time(1, 2, 3, 4), '{"$time":"01:02:03.000004"}'),
        (time(0, fold=1), '{"$time":["00:00:00.000000",null,1]}'),
    ]
    kept(case, pairs)


@check("VA-029", "VA-030")
def times_keep_the_zone_that_they_were_given_in(case: Case) -> None:
    """A zone stays a name, an offset, or an offset with a name; it is never turned into UTC."""
    east = timedelta(hours=5, minutes=45)
    pairs = [
        (NOON.replace(tzinfo=UTC), '{"$datetime":["2026-11-20T12:00:00.000000",[0],0]}'),
        (NOON.replace(tzinfo=ZoneInfo("UTC")), '{"$datetime":["2026-11-20T12:00:00.000000","UTC",0]}'),
        (NOON.replace(tzinfo=timezone(east)), '{"$datetime":["2026-11-20T12:00:00.000000",[20700000000],0]}'),
        (
            datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=1),
            '{"$datetime":["2026-10-25T02:30:00.000000","Europe/Berlin",1]}',
        ),
        (
            NOON.replace(tzinfo=timezone(timedelta(microseconds=-1), "\ud800")),
            '{"$datetime":["2026-11-20T12:00:00.000000",[-1,{"$str":"7aCA"}],0]}',
        ),
        (time(1, tzinfo=timezone(-east, "W")), '{"$time":["01:00:00.000000",[-20700000000,"W"],0]}'),
    ]
    kept(case, pairs)


@check("VA-031")
def paths_keep_their_class(case: Case) -> None:
    """A path is its class and its text; one of another platform is read as a pure path."""
    here, away = (
        ("WindowsPath", "PosixPath") if isinstance(Path(), PureWindowsPath) else ("PosixPath", "WindowsPath")
    )
    pairs = [
        (PurePosixPath("a/b c"), '{"$path":["PurePosixPath","a/b c"]}'),
        (PureWindowsPath("C:/x"), '{"$path":["PureWindowsPath","C:\\\\x"]}'),
        (Path("a"), f'{{"$path":["{here}","a"]}}'),
        (PurePosixPath("\udc80"), '{"$path":["PurePosixPath",{"$str":"7bKA"}]}'),
    ]
    kept(case, pairs)
    (read,) = put_texts(case, [f'{{"$path":["{away}","a"]}}'])
    pure = PurePosixPath("a") if away == "PosixPath" else PureWindowsPath("a")
    same_value(read, pure, f"a {away}, read elsewhere")


@check("VA-040", "VA-043", "VA-044")
def containers_keep_their_type(case: Case) -> None:
    """Tuples, sets, dicts with any keys, ordered dicts, deques and bytearrays each have their own form."""
    pairs = [
        ((), '{"$tuple":[]}'),
        ((1, (2,), [3]), '{"$tuple":[1,{"$tuple":[2]},[3]]}'),
        ({1}, '{"$set":[1]}'),
        (frozenset(), '{"$frozenset":[]}'),
        ({1: "a", "1": "b", None: 0}, '{"$dict":[[1,"a"],["1","b"],[null,0]]}'),
        ({"$a": 1}, '{"$dict":[["$a",1]]}'),
        ({(1, "x"): {}}, '{"$dict":[[{"$tuple":[1,"x"]},{}]]}'),
        (OrderedDict(b=1, a=2), '{"$ordereddict":[["b",1],["a",2]]}'),
        (deque([1, "x"]), '{"$deque":{"items":[1,"x"],"maxlen":null}}'),
        (deque(maxlen=0), '{"$deque":{"items":[],"maxlen":0}}'),
        (bytearray(), '{"$bytearray":""}'),
    ]
    kept(case, pairs)


@check("VA-041")
def sets_are_in_the_order_of_their_texts(case: Case) -> None:
    """The elements of a set stand in the code-point order of their texts, whatever order they came in."""
    pairs = [
        ({2, 10, 3, -1}, '{"$set":[-1,10,2,3]}'),
        ({"b", "a", "B", ""}, '{"$set":["","B","a","b"]}'),
        ({"😀", "\uffff", "é", "z"}, '{"$set":["z","é","\uffff","😀"]}'),
        (
            frozenset([1.0, "1", None, (1,), b""]),
            '{"$frozenset":["1",1.0,null,{"$bytes":""},{"$tuple":[1]}]}',
        ),
        ({frozenset([2, 1]), frozenset()}, '{"$set":[{"$frozenset":[1,2]},{"$frozenset":[]}]}'),
    ]
    kept(case, pairs)


@check("VA-042")
def stand_ins_in_sets_have_one_order(case: Case) -> None:
    """Stand-ins in a set are ordered by their texts, those within them by name, and ties by creation."""
    names = [Opaque("m", "N", (number,)) for number in (3, 1, 2)]
    head = '{"$opaque":{"module":"m","qualname":"N","args":'
    inner = [Opaque("m", "N", (Opaque("x", "In", (n,)),), order=4 - n) for n in (1, 2, 3)]
    nested = [f'{head}[{{"$opaque":{{"module":"x","qualname":"In","args":[{n}]}}}}]}}}}' for n in (3, 2, 1)]
    twice = Opaque("m", "N", order=9)
    first = f'{{"$ref":0}},{head}[]}}}}'
    pairs = [
        (set(names), f'{{"$set":[{",".join(f"{head}[{number}]}}}}" for number in (1, 2, 3))}]}}'),
        (set(inner), f'{{"$set":[{",".join(nested)}]}}'),
        (
            [{Opaque("m", "N", order=1), twice}, twice],
            f'{{"$graph":{{"root":[{{"$set":[{first}]}},{{"$ref":0}}],"nodes":[{head}[]}}}}]}}}}',
        ),
    ]
    for (value, text), cell in zip(pairs, cells(case, [value for value, _ in pairs]), strict=True):
        equal(cell, text, f"the stored text of {value!r}")
    equal(
        cells(case, put_texts(case, [text for _, text in pairs])),
        [text for _, text in pairs],
        "texts, written again",
    )


@check("VA-045")
def stand_ins_leave_out_what_is_empty(case: Case) -> None:
    """A stand-in has its module, its name and its arguments, and of the rest what is not empty."""
    head = '{"$opaque":{"module":"m","qualname":"N.I","args":'
    pairs = [
        (Opaque("m", "N.I", None), head + "null}}"),
        (Opaque("m", "N.I"), head + "[]}}"),
        (Opaque("m", "N.I", (1,), {"k": 2}), head + '[1],"state":{"k":2}}}'),
        (
            Opaque("m", "N.I", (), 0, kwargs={"a": 1}, items=[2], pairs=[(3, (4,))]),
            head + '[],"kwargs":[["a",1]],"state":0,"items":[2],"pairs":[[3,{"$tuple":[4]}]]}}',
        ),
    ]
    kept(case, pairs)


@check("VA-060", "VA-061")
def what_is_shared_stays_shared(case: Case) -> None:
    """A container that is reached twice is written once, by number, and read as one container."""
    one: list[Any] = [1]
    cycle: list[Any] = []
    cycle.append((cycle,))
    first: dict[str, Any] = {}
    second: Any = deque([first])
    first["a"] = second
    pairs = [
        ([one, one], '{"$graph":{"root":[{"$ref":0},{"$ref":0}],"nodes":[[1]]}}'),
        (cycle, '{"$graph":{"root":{"$ref":0},"nodes":[[{"$tuple":[{"$ref":0}]}]]}}'),
        (
            {"x": second, "y": first},
            '{"$graph":{"root":{"x":{"$ref":0},"y":{"$ref":1}},"nodes":'
            '[{"$deque":{"items":[{"$ref":1}],"maxlen":null}},{"a":{"$ref":0}}]}}',
        ),
        ([(1,), (1,), "a", "a"], '[{"$tuple":[1]},{"$tuple":[1]},"a","a"]'),
        ([[], []], "[[],[]]"),
    ]
    for shared, text in (
        (set(), '{"$set":[]}'),
        (bytearray(b"x"), '{"$bytearray":"eA=="}'),
        (OrderedDict(), '{"$ordereddict":[]}'),
        (Opaque("m", "N"), '{"$opaque":{"module":"m","qualname":"N","args":[]}}'),
    ):
        pairs.append(
            (
                [shared, (shared,)],
                f'{{"$graph":{{"root":[{{"$ref":0}},{{"$tuple":[{{"$ref":0}}]}}],"nodes":[{text}]}}}}',
            )
        )
    kept(case, pairs)
