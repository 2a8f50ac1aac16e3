"""Filters on values: what equals what, paths into values, and membership."""

from __future__ import annotations

from collections import OrderedDict, deque
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
from perdure import Link, Memory, Skill, State, Vector
from perdure.filters import F
from perdure.values import Opaque

from perdure_conformance._case import Case
from perdure_conformance._checks import check
from perdure_conformance.clauses._chosen import chosen, finds
from perdure_conformance.expect import equal

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
EAST = timezone(timedelta(hours=5, minutes=45))
BIG = 2**53
NAN, INF = float("nan"), float("inf")

#: Values of all kinds, most of them like 1 in one way or another.
KINDS: dict[str, Any] = {
    "a": 1,
    "b": 1.0,
    "c": True,
    "d": "1",
    "e": Decimal("1.0"),
    "f": Fraction(1),
    "g": np.int64(1),
    "h": np.float32(1),
    "i": np.bool_(True),
    "j": None,
    "k": NAN,
    "l": Decimal("sNaN1"),
    "m": np.float64("nan"),
    "n": [1],
    "o": {1: 1},
    "p": b"1",
    "q": complex(1),
    "r": NOON,
    "s": NOON.astimezone(EAST),
    "t": NOON.replace(tzinfo=None),
    "u": date(2026, 11, 20),
    "v": BIG + 1,
    "w": float(BIG),
    "x": Decimal(BIG + 1),
    "y": np.datetime64("2026-11-20T12:00"),
    "z": Opaque("m", "N", (1,)),
}

#: More numbers: far ones, near ones, and such as only look alike.
NUMBERS: dict[str, Any] = {
    "a": 0.1,
    "b": Decimal("0.1"),
    "c": Fraction(1, 10),
    "d": 2**200,
    "e": -(2**200),
    "f": INF,
    "g": Decimal("-Infinity"),
    "h": Decimal("1E+500"),
    "i": np.uint64(2**64 - 1),
    "j": -0.0,
    "k": False,
    "l": Decimal("-0E-5"),
    "m": 5e-324,
    "n": np.float16(0.1),
    "o": 2.0**63,
    "p": 2**63 - 1,
}

#: Values for paths to lead into.
PLACES: dict[str, Any] = {
    "a": {"k": {"x": 1}},
    "b": {"k": [10, 20, 30]},
    "c": {"k": (10, 30)},
    "d": {"0": "zero", 0: "int zero"},
    "e": ["zero", "one"],
    "f": {"k": "text"},
    "g": {"k": None},
    "h": {},
    "i": "text",
    "j": None,
    "k": {"k": deque([10])},
    "l": {"0": "zero"},
    "m": OrderedDict(k={"x": 1}),
    "n": {"a.b": 1, "": 2, "a b": 3, "é": 4, "$x": 5, 'q"': 6, "K": 7, "-1": 8},
    "o": ({"k": {"x": 1}},),
    "p": {"k": np.array([10])},
    "q": {"k": {10, 20}},
}

#: Values for members to be in.
MEMBERS: dict[str, Any] = {
    "a": "a%b_c",
    "b": ["a", 1, None],
    "c": ("a%b",),
    "d": {1.0, "b"},
    "e": frozenset([True]),
    "f": deque([NOON, [1]]),
    "g": {"a": 1, 2: "a"},
    "h": b"a",
    "i": None,
    "j": [["a"], NAN],
    "k": "",
    "l": np.array([1]),
    "m": range(3),
    "n": "A\0\ud800",
    "o": [],
    "p": 1,
}


def put(case: Case, contents: dict[str, Any]) -> Any:
    """A store with a memory for each value, by letter."""
    store = case.store()
    store.memories.put([Memory(id=key, content=content) for key, content in contents.items()])
    return store.memories


def rest(contents: dict[str, Any], keys: str) -> str:
    """The letters that are not among these."""
    return "".join(key for key in contents if key not in keys)


@check("FI-061", "FI-062", "FI-063", "FI-065", "FI-068", "FI-069", "FI-005", "FI-086")
def only_values_of_one_kind_are_compared(case: Case) -> None:
    """Numbers meet numbers, bools bools, texts texts; all else compares false with each literal."""
    memories = put(case, KINDS)
    ones, small = "abefgh", "abefgh"
    tests: list[tuple[Any, str]] = [
        (F.content == 1, ones),
        (F.content == 1.0, ones),
        (F.content != 1, rest(KINDS, ones)),
        (~(F.content == 1), rest(KINDS, ones)),
        (F.content == True, "ci"),  # noqa: E712
        (F.content != True, rest(KINDS, "ci")),  # noqa: E712
        (F.content == False, ""),  # noqa: E712
        (F.content == "1", "d"),
        (F.content >= "", "d"),
        (F.content < "\U0010ffff", "d"),
        (F.content.is_in([1, "1"]), "abdefgh"),
        (F.content.is_in([True, 2, NOON]), "cirs"),
        (~F.content.is_in([1.0, True]), rest(KINDS, "abcefghi")),
        (F.content < 2, small),
        (F.content <= BIG, small + "w"),
        (F.content >= 1, small + "vwx"),
        (F.content > float(BIG), "vx"),
        (F.content == float(BIG), "w"),
        (F.content == BIG + 1, "vx"),
        (F.content < INF, small + "vwx"),
        (F.content > -INF, small + "vwx"),
        (~(F.content < 2), rest(KINDS, small)),
    ]
    finds(memories, tests)


@check("FI-042", "FI-043", "FI-064", "FI-006")
def nan_is_neither_null_nor_a_number(case: Case) -> None:
    """A NaN of any type is not null, equals nothing, and is not before or after anything."""
    memories = put(case, KINDS)
    finds(
        memories,
        [
            (F.content.is_null(), "j"),
            (~F.content.is_null(), rest(KINDS, "j")),
            ((F.content <= 1) | (F.content >= 1), "abefghvwx"),
            ((F.content != 1) & (F.content != 2), rest(KINDS, "abefgh")),
            ((F.id > "j") & (F.id < "n") & (F.content != 0), "klm"),
            ((F.id > "j") & (F.id < "n") & ~(F.content > -INF), "klm"),
            ((F.id > "j") & (F.id < "n") & ((F.content <= INF) | F.content.is_in([0, INF])), ""),
            ((F.id == "j") & (F.content != 0), "j"),
            ((F.id == "j") & ((F.content < 1) | (F.content >= 0)), ""),
        ],
    )


@check("FI-066", "FI-067", "FI-068")
def times_in_values_are_instants_if_they_have_a_zone(case: Case) -> None:
    """A datetime with a zone is compared by instant; one without, a date and a text of one are not."""
    memories = put(
        case, {**KINDS, "z1": NOON.isoformat(), "z2": time(12, tzinfo=UTC), "z3": NOON.timestamp()}
    )
    later = NOON + timedelta(microseconds=1)
    for where, keys in (
        (F.content == NOON, ["r", "s"]),
        (F.content <= NOON.astimezone(EAST), ["r", "s"]),
        (F.content < later, ["r", "s"]),
        (F.content > later, []),
        (F.content >= NOON, ["r", "s"]),
        (F.content.is_in([NOON, later]), ["r", "s"]),
        (F.content >= "2026", ["z1"]),
    ):
        chosen(memories, where, keys)


@check("FI-061", "FI-062", "FI-020", "FI-022", "FI-023")
def numbers_in_values_are_exact(case: Case) -> None:
    """Decimals, fractions, long integers and infinities are compared by exact value with literals of any size."""
    memories = put(case, NUMBERS)
    finds(
        memories,
        [
            (F.content == 0.1, "a"),
            (F.content > 0.1, "dfhiop"),
            (F.content < 0.1, "bcegjlmn"),
            (F.content == 2**200, "d"),
            (F.content == 2.0**200, "d"),
            (F.content > 2**200, "fh"),
            (F.content < -(2**200), "g"),
            (F.content == INF, "f"),
            (F.content == -INF, "g"),
            (F.content < INF, "abcdeghijlmnop"),
            (F.content > -INF, "abcdefhijlmnop"),
            (F.content > 10**400, "fh"),
            (F.content == 10**500, "h"),
            (F.content == 2**64 - 1, "i"),
            (F.content == 2.0**64, ""),
            (F.content == 0, "jl"),
            (F.content == -0.0, "jl"),
            (F.content >= 0, "abcdfhijlmnop"),
            (F.content > 0, "abcdfhimnop"),
            (F.content == 2**63, "o"),
            (F.content == 2**63 - 1, "p"),
            (F.content.is_in([0, 0.1, 2.0**63, 10**500]), "ahjlo"),
        ],
    )


@check("FI-100", "FI-101", "FI-102", "FI-103", "FI-005")
def paths_lead_to_items_or_to_null(case: Case) -> None:
    """A text step takes a key of a dict, an integer step an item of a list or tuple; all else is null."""
    memories = put(case, PLACES)
    k = F.content["k"]
    finds(
        memories,
        [
            (k["x"] == 1, "am"),
            (k.x != 1, rest(PLACES, "am")),
            (k[0] == 10, "bc"),
            (k[-1] == 30, "bc"),
            (k[1] == 20, "b"),
            (k[2] == 30, "b"),
            (k[-3] == 10, "b"),
            (k[-4].is_null(), "".join(PLACES)),
            (k[3].is_null(), "".join(PLACES)),
            (~k[0].is_null(), "bc"),
            (F.content[0] == "zero", "e"),
            (F.content["0"] == "zero", "dl"),
            (F.content[-1] == "one", "e"),
            (F.content["-1"] == 8, "n"),
            (F.content[0]["k"]["x"] == 1, "o"),
            (k.is_null(), "deghijlno"),
            (~k.is_null(), "abcfkmpq"),
            (k == "text", "f"),
            (k["x"]["y"].is_null(), "".join(PLACES)),
            (F.content["a.b"] == 1, "n"),
            (F.content["a"]["b"].is_null(), "".join(PLACES)),
            (F.content[""] == 2, "n"),
            (F.content["a b"] == 3, "n"),
            (F.content["é"] == 4, "n"),
            (F.content["$x"] == 5, "n"),
            (F.content['q"'] == 6, "n"),
            (F.content["K"] == 7, "n"),
            (F.content == "text", "i"),
            (F.content[2**62].is_null(), "".join(PLACES)),
            (F.content[-(2**63)].is_null(), "".join(PLACES)),
        ],
    )


@check("FI-045", "FI-104", "FI-105", "FI-106", "FI-107", "FI-108")
def membership_depends_on_what_is_there(case: Case) -> None:
    """A text contains a text, a collection a member, a dict a key; all else contains nothing."""
    memories = put(case, MEMBERS)
    finds(
        memories,
        [
            (F.content.contains("a"), "abg"),
            (~F.content.contains("a"), rest(MEMBERS, "abg")),
            (F.content.contains("%"), "a"),
            (F.content.contains("a%b"), "ac"),
            (F.content.contains("_"), "a"),
            (F.content.contains(""), "akn"),
            (F.content.contains("\0"), "n"),
            (F.content.contains("\ud800"), "n"),
            (F.content.contains(1), "bd"),
            (F.content.contains(1.0), "bd"),
            (F.content.contains(True), "e"),
            (F.content.contains(2), "g"),
            (F.content.contains(NOON), "f"),
            (F.content.contains("1"), ""),
            (F.content.starts_with("a"), "a"),
            (F.content.starts_with("a%"), "a"),
            (F.content.starts_with(""), "akn"),
            (F.content.starts_with("A\0"), "n"),
            (~F.content.starts_with(""), rest(MEMBERS, "akn")),
            (F.content[0].contains("a"), "bcj"),
            (F.content[0].starts_with("a"), "bc"),
            (F.content["a"].contains(1), ""),
            (F.content[2].contains("a"), ""),
        ],
    )


@check("FI-060", "FI-086", "FI-105")
def texts_in_values_are_compared_by_code_point(case: Case) -> None:
    """Any text is a literal on a value, with NUL and lone surrogates too; order is by code point."""
    texts = sorted(
        [
            "",
            "\0",
            "a",
            "a\0",
            "a\0b",
            "A",
            "é",
            "e\u0301",
            "😀",
            "\uffff",
            "\ud800",
            "\ud83d\ude00",
            '{"$int":1}',
            "%",
            "null",
        ]
    )
    memories = put(case, {f"t{place:02}": [text] for place, text in enumerate(texts)})
    for place, text in enumerate(texts):
        name = [f"t{number:02}" for number in range(len(texts))]
        chosen(memories, F.content[0] == text, [name[place]])
        chosen(memories, F.content[0] < text, name[:place])
        chosen(memories, F.content[0] >= text, name[place:])
        chosen(memories, F.content.contains(text), [name[place]])
        holding = [name[number] for number, other in enumerate(texts) if other.startswith(text)]
        chosen(memories, F.content[0].starts_with(text), holding)


@check("FI-001", "FI-006", "FI-100")
def every_column_of_values_is_filtered(case: Case) -> None:
    """Filters look into the values of each table, in plain and in tagged form."""
    store = case.store()
    store.spaces.create("free", 2)
    columns = ("context", "steps", "result", "counterfactuals", "metrics")
    for key, value in (("a", {"n": 1}), ("b", ({"n": 1},))):
        store.links.put(Link(id=key, source="a", target="b", context=value))
        store.skills.put(Skill(id=key, body=value, metadata=value))
        store.traces.put({"id": key, **dict.fromkeys(columns, value)})
        store.vectors.put(Vector(space="free", id=key, values=[1.0, 0.0], metadata=value))
        store.states.put(State(kind="k", id=key, data=value, metrics=value))
    places = [("links", "context"), ("skills", "body"), ("skills", "metadata"), ("vectors", "metadata")]
    places += [("traces", column) for column in columns] + [("states", "data"), ("states", "metrics")]
    for table, column in places:
        for path, key in ((F[column]["n"], "a"), (F[column][0]["n"], "b")):
            found = store.table(table).find(path == 1)
            equal([record.id for record in found], [key], f"rows of {table} by {path!r}")
            equal(
                store.table(table).count((path != 1) & (F.id == key)), 0, f"rows of {table} that are not so"
            )
