"""Strategies of records: every field of every table, with the edges of its kind.

Each field of a record is drawn from ordinary values and from edges alike: the shortest and the longest
text that is allowed, characters beyond the basic plane, the ends of int64, subnormal floats, the first
and the last moment, payloads around the size of a piece.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
from hypothesis import strategies as st
from perdure import KEY_LIMIT, TABLES, Column, Link, Memory, Record, Skill, Space, State, Trace, Vector

from perdure_conformance.strategies._values import values

__all__ = ["keys", "links", "memories", "payloads", "records", "skills", "states", "traces", "vectors"]

_ODD_TEXTS = (
    "",
    " ",
    "a",
    "A",
    "é",
    "e\u0301",
    "\u200b",
    "\ufeff",
    "\uffff",
    "😀",
    "\U0010ffff",
    "\r\n\t",
    "\x01\x7f",
    "'; drop table memories; --",
    '"quoted" \\ % _ * ?',
    "null",
    "$int",
    "אבג مرحبا",
)
_LONG_TEXT = "long text, ein sehr langer Satz, 長い文 😀 " * 2_000
_INT64 = (-(2**63), -(2**63) + 1, -(2**53) - 1, -1, 0, 1, 2**31, 2**53 + 1, 2**63 - 1)
_FLOATS = (0.0, -0.0, 5e-324, -5e-324, 2.2250738585072014e-308, 0.1, -1.5, 1.7976931348623157e308, 2.0**63)
_MOMENTS = (
    datetime.min.replace(tzinfo=UTC),
    datetime.max.replace(tzinfo=UTC),
    datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    datetime(1970, 1, 1, tzinfo=UTC),
    datetime(1970, 1, 1, 0, 0, 0, 1, tzinfo=UTC),
    datetime(2026, 11, 20, 12, tzinfo=UTC),
    datetime(2026, 11, 20, 12, tzinfo=timezone(timedelta(hours=5, minutes=45))),
)
_TRIGGERS = ("", "a", "^Error: .*$", r"(?i)timeout|deadline", r"\p{Greek}+", "[[:alpha:]]{2,5}", "😀?")
_PIECE = 65_536
_SIZES = (0, 1, 100, _PIECE - 1, _PIECE, _PIECE + 1, 2 * _PIECE, 3 * _PIECE + 17)
_DTYPES = {"float16": "<f2", "float32": "<f4", "float64": "<f8"}
_GREATEST = {"float16": 65_504.0, "float32": 3.4028234663852886e38, "float64": 1e100}
_LEAST = {"float16": 6e-8, "float32": 1e-45, "float64": 5e-324}


def _texts(limit: int | None = None, least: int = 0) -> st.SearchStrategy[str]:
    """Texts without NUL and lone surrogates, of `least` to `limit` UTF-8 bytes."""
    letters = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
    longest = _LONG_TEXT if limit is None else "x" * limit
    astral = "😀" * (len(longest.encode()) // 4)
    short = st.text(letters, min_size=least, max_size=12)
    return short | st.sampled_from([text for text in (*_ODD_TEXTS, longest, astral) if len(text) >= least])


def keys() -> st.SearchStrategy[str]:
    """Ids, and other parts of keys: 1 to 512 UTF-8 bytes."""
    awkward = st.sampled_from(["/", "~", "~0/~1", "a/b", ".", "..", "@", "main@1", "\n", "\x7f"])
    return st.uuids(version=4).map(str) | _texts(KEY_LIMIT, 1) | awkward


def _times() -> st.SearchStrategy[datetime]:
    plain = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30))
    zones = st.sampled_from([UTC, timezone(timedelta(hours=-11)), timezone(timedelta(hours=14))])
    return st.builds(lambda moment, zone: moment.replace(tzinfo=zone), plain, zones) | st.sampled_from(
        _MOMENTS
    )


def _tags(limit: int | None = None) -> st.SearchStrategy[list[str]]:
    return st.lists(_texts(limit, 1), max_size=4, unique=True)


def payloads() -> st.SearchStrategy[bytes]:
    """Bytes of states: short ones, and sizes around the limits of the pieces that they are cut into."""

    def pattern(size: int, seed: int) -> bytes:
        block = bytes((seed + i * i) % 256 for i in range(251))
        return (block * (size // len(block) + 1))[:size]

    return st.binary(max_size=64) | st.builds(pattern, st.sampled_from(_SIZES), st.integers(0, 255))


def _field(table: str, column: Column, inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """The values of one field of a record, None where the column allows it."""
    wide = st.integers(-(2**63), 2**63 - 1) | st.sampled_from(_INT64)
    kinds: dict[str, Callable[[], st.SearchStrategy[Any]]] = {
        "text": lambda: _texts(column.limit, int(column.required)),
        "int": lambda: wide,
        "float": lambda: st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from(_FLOATS),
        "time": _times,
        "tags": lambda: _tags(KEY_LIMIT if column.references else column.limit),
        "value": lambda: inner,
        "payload": payloads,
    }
    if column.name in TABLES[table].key:
        return keys()
    if (table, column.name) == ("skills", "trigger"):
        return st.none() | st.sampled_from(_TRIGGERS)
    drawn = kinds[column.kind]()
    return st.none() | drawn if column.nullable or column.kind == "time" else drawn


def _records(
    table: str, record: type[Record], inner: st.SearchStrategy[Any] | None
) -> st.SearchStrategy[Any]:
    any_value = values(max_leaves=6) if inner is None else inner
    fields = {c.name: _field(table, c, any_value) for c in TABLES[table].columns}
    return st.fixed_dictionaries(fields).map(lambda drawn: record(**drawn))


def memories(content: st.SearchStrategy[Any] | None = None) -> st.SearchStrategy[Memory]:
    """Memories. `content`: what value fields hold; default: anything that the value codec keeps."""
    return _records("memories", Memory, content)


def links(context: st.SearchStrategy[Any] | None = None) -> st.SearchStrategy[Link]:
    """Links, with ids of their own or derived ones; their ends need not exist."""
    derived = st.builds(
        lambda link: Link(
            source=link.source, target=link.target, relation=link.relation, context=link.context
        ),
        _records("links", Link, context),
    )
    return _records("links", Link, context) | derived


def skills(body: st.SearchStrategy[Any] | None = None) -> st.SearchStrategy[Skill]:
    """Skills, with triggers in RE2 syntax and counters over all of int64."""
    return _records("skills", Skill, body)


def traces(context: st.SearchStrategy[Any] | None = None) -> st.SearchStrategy[Trace]:
    """Traces."""
    return _records("traces", Trace, context)


def states(data: st.SearchStrategy[Any] | None = None) -> st.SearchStrategy[State]:
    """States, with payloads of none to several pieces."""
    return _records("states", State, data)


def vectors(space: Space, metadata: st.SearchStrategy[Any] | None = None) -> st.SearchStrategy[Vector]:
    """Vectors that the space takes, its smallest and greatest numbers among them.

    Args:
        space: Gives dimension, dtype and metric; in a bound space the owner of a drawn id may be absent.
        metadata: What the value field holds; default: anything.
    """
    columns = {c.name: c for c in TABLES["vectors"].columns if c.name not in ("space", "values")}
    inner = values(max_leaves=6) if metadata is None else metadata
    fields = {name: _field("vectors", column, inner) for name, column in columns.items()}
    return st.builds(
        lambda drawn, numbers: Vector(space=space.name, values=numbers, **drawn),
        st.fixed_dictionaries(fields),
        _arrays(space),
    )


def _arrays(space: Space) -> st.SearchStrategy[np.ndarray[Any, Any]]:
    width: Any = int(space.dtype.removeprefix("float"))
    top, least = _GREATEST[space.dtype], _LEAST[space.dtype]
    numbers = st.floats(-top, top, width=width) if width < 64 else st.floats(-top, top)
    edges = st.sampled_from([0.0, -0.0, 1.0, -1.0, 0.5, top, -top, least])
    arrays = st.lists(numbers | edges, min_size=space.dim, max_size=space.dim).map(
        lambda drawn: np.array(drawn, _DTYPES[space.dtype])
    )
    return arrays.filter(_has_length) if space.metric == "cosine" else arrays


def _has_length(array: np.ndarray[Any, Any]) -> bool:
    return math.sqrt(math.fsum(float(x) * float(x) for x in array)) > 1e-99


_RECORDS: dict[str, Callable[..., st.SearchStrategy[Any]]] = {
    "memories": memories,
    "links": links,
    "skills": skills,
    "traces": traces,
    "states": states,
}


def records(
    table: str, space: Space | None = None, *, values: st.SearchStrategy[Any] | None = None
) -> st.SearchStrategy[Any]:
    """Records of a table.

    Args:
        table: Its name.
        space: The space of vectors, which cannot be drawn without one.
        values: What value fields hold; default: anything that the value codec keeps.
    """
    if table != "vectors":
        return _RECORDS[table](values)
    if space is None:
        raise ValueError("records of vectors are drawn for a space: records('vectors', space)")
    return vectors(space, values)
