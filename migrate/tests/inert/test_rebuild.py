from __future__ import annotations

import decimal
import math
import pathlib
import pickle
import uuid
import zoneinfo
from collections import OrderedDict, deque
from datetime import UTC, date, datetime, time, timedelta, timezone
from fractions import Fraction

import pytest
from perdure_migrate.inert import loads

VALUES = {
    "none": None,
    "bools": [True, False],
    "ints": [
        0,
        1,
        -1,
        255,
        256,
        65535,
        65536,
        -(2**31),
        2**31,
        2**63,
        -(2**63) - 1,
        2**80,
        -(2**2000),
        10**3000,
    ],
    "floats": [0.0, -0.0, 1.5, math.inf, -math.inf, math.nan, 5e-324, 1e308, -1.25e-7],
    "texts": ["", "a", "\0", "line\nbreak\\ \x1a\r", "é", "𝄞", "\ud800", "\udcff tail", "x" * 70_000],
    "bytes": [b"", b"a", bytes(range(256)), b"x" * 70_000],
    "bytearrays": [bytearray(), bytearray(bytes(range(256)))],
    "lists": [[], [1], list(range(3000)), [[[[]]]]],
    "tuples": [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), ((),)],
    "dicts": [
        {},
        {"a": 1},
        {i: str(i) for i in range(3000)},
        {(1, (2, "x")): None, 1.5: 2, b"k": 3, None: 4},
    ],
    "sets": [set(), {1, 2, "x"}, set(range(2000)), {(1, frozenset({2}))}],
    "frozensets": [frozenset(), frozenset({1, "a", (2, 3)})],
    "complex": [1j, complex(-0.0, math.inf)],
    "ranges": [range(0), range(3), range(10, -5, -3), range(0, 2**100, 7)],
    "ordered": [OrderedDict(), OrderedDict([("b", 1), ("a", 2)])],
    "deques": [deque(), deque([1, 2, 3]), deque([1, 2, 3], 2), deque(maxlen=0)],
    "datetimes": [
        datetime(2020, 2, 29, 23, 59, 59, 999999),
        datetime.min,
        datetime.max,
        datetime(2020, 10, 25, 2, 30, fold=1),
        datetime(2020, 1, 1, tzinfo=UTC),
        datetime(2020, 1, 1, tzinfo=timezone(timedelta(hours=-3, seconds=17), "odd")),
        datetime(2021, 10, 31, 2, 30, tzinfo=zoneinfo.ZoneInfo("Europe/Paris"), fold=1),
    ],
    "dates": [date.min, date.max, date(2024, 2, 29)],
    "times": [time(), time(23, 59, 59, 1, fold=1), time(1, 2, tzinfo=UTC)],
    "deltas": [timedelta(), timedelta.max, timedelta.min, timedelta(-1, 5, 7)],
    "zones": [UTC, timezone(timedelta(minutes=90)), zoneinfo.ZoneInfo("America/New_York")],
    "decimals": [
        decimal.Decimal(x)
        for x in ("0", "-0.00", "1.50", "1E+400", "NaN", "-sNaN12", "Infinity", "-Infinity")
    ],
    "fractions": [Fraction(0), Fraction(-1, 3), Fraction(2**200, 3**100)],
    "uuids": [uuid.UUID(int=0), uuid.UUID(int=2**128 - 1), uuid.uuid4()],
    "paths": [
        pathlib.PurePosixPath("/a/b"),
        pathlib.PurePosixPath("."),
        pathlib.PureWindowsPath("C:\\x\\y"),
        pathlib.Path("rel/ative"),
    ],
}


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("name", VALUES)
def test_every_allowed_type_comes_back(same, name, protocol):
    data = pickle.dumps(VALUES[name], protocol)
    assert same(loads(data), pickle.loads(data))  # before protocol 4, `fold` is lost in the writing
    assert protocol < 4 or same(loads(data), VALUES[name])


@pytest.mark.parametrize("protocol", range(6))
def test_values_without_a_memo_come_back(same, protocol):
    import io

    buffer = io.BytesIO()
    pickler = pickle.Pickler(buffer, protocol)
    pickler.fast = True
    value = {"when": [datetime(2020, 1, 1), uuid.UUID(int=7)], "n": (1, 2.5, b"x", {3})}
    pickler.dump(value)
    assert same(loads(buffer.getvalue()), value)


def test_a_uuid_keeps_whether_it_was_made_safely():
    safe = uuid.UUID(int=5, is_safe=uuid.SafeUUID.safe)
    assert loads(pickle.dumps(safe, 4)).is_safe is uuid.SafeUUID.safe


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"S'abc\\n\\'\\x41\\101'\n.", "abc\n'AA"),
        (b'S"caf\\xe9"\n.', b"caf\xe9"),
        (b"U\x03abc.", "abc"),
        (b"U\x02\xff\x00.", b"\xff\x00"),
        (b"T\x03\x00\x00\x00abc.", "abc"),
        (b"Vcaf\xe9 \\u20ac\n.", "café €"),
        (b"L12345678901234567890L\n.", 12345678901234567890),
        (b"I-7\n.", -7),
        (b"I01\n.", True),
        (b"I00\n.", False),
        (b"F1e+20\n.", 1e20),
        (b"c__builtin__\nset\n((lp0\nI1\natR.", {1}),
        (b"ccollections\nOrderedDict\n((lp0\n(lp1\nS'a'\naI1\naatR.", OrderedDict(a=1)),
        (
            b"cdatetime\ndatetime\n(S'\\x07\\xe4\\x01\\x02\\x03\\x04\\x05\\x00\\x00\\x06'\ntR.",
            datetime(2020, 1, 2, 3, 4, 5, 6),
        ),
        (b"cdatetime\ndate\n(S'\\x07\\x64\\x01\\x02'\ntR.", date(1892, 1, 2)),
        (b"c__builtin__\nbytearray\n(Vab\xff\nS'latin-1'\ntR.", bytearray(b"ab\xff")),
    ],
)
def test_python_2_and_text_protocols(same, body, expected):
    assert same(loads(body), expected)


@pytest.mark.parametrize(
    ("module", "qualname", "args"),
    [
        ("builtins", "bytearray", (2**60,)),
        ("builtins", "bytes", (2**60,)),
        ("builtins", "set", ("abc",)),
        ("builtins", "range", (0, 1, 0)),
        ("builtins", "complex", ("1j",)),
        ("_codecs", "encode", ("a", "rot13")),
        ("_codecs", "encode", ("€", "latin1")),
        ("datetime", "datetime", (b"\x07\xe4\x63\x01\0\0\0\0\0\0",)),
        ("datetime", "datetime", (b"\x07\xe4\x01\x01\0\0\0\0\0\0", "zone")),
        ("datetime", "datetime", (2020, 1, 1)),
        ("datetime", "timedelta", (10**30, 0, 0)),
        ("datetime", "timezone", (timedelta(days=2),)),
        ("decimal", "Decimal", ("not a number",)),
        ("decimal", "Decimal", ((0, (1, 2), 0),)),
        ("decimal", "Decimal", ("1E+9999999999999999999",)),
        ("fractions", "Fraction", (1, 0)),
        ("fractions", "Fraction", (2**40_000, 3)),
        ("zoneinfo", "ZoneInfo._unpickle", ("../../etc/passwd", True)),
        ("zoneinfo", "ZoneInfo._unpickle", ("No/Such_Zone", True)),
        ("collections", "deque", ((), -1)),
        ("collections", "deque", ((), 2**62)),
        ("pathlib", "PurePosixPath", (1,)),
        ("uuid", "UUID", ("not hexadecimal",)),
    ],
)
def test_what_is_not_certain_stays_a_stand_in(same, module, qualname, args):
    made = loads(_call(module, qualname, args))
    assert (type(made).__name__, made.module, made.qualname) == ("Opaque", module, qualname)
    assert same(made.args, args)


@pytest.mark.parametrize(
    "state", [{"int": -1}, {"int": 2**128}, {"int": "1"}, {}, {"int": 1, "x": 2}, None, (1,)]
)
def test_a_uuid_with_a_state_it_never_has_stays_a_stand_in(same, state):
    made = loads(b"\x80\x04cuuid\nUUID\n)\x81" + pickle.dumps(state, 4)[2:-1] + b"b.")
    assert made.qualname == "UUID"
    assert same(made.state, state)


def _call(module: str, qualname: str, args: object) -> bytes:
    return b"\x80\x04c" + f"{module}\n{qualname}\n".encode() + pickle.dumps(args, 4)[2:-1] + b"R."
