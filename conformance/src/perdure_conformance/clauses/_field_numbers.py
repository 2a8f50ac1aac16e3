"""Typed fields: numbers, times and nulls, in every table and by every way of writing."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa
from perdure import TABLES, F, InvalidRecord, Memory, Skill

from perdure_conformance._case import Case
from perdure_conformance._checks import check
from perdure_conformance.clauses._field_texts import LEAST, accept, columns, filled, record, refuse
from perdure_conformance.expect import equal, holds, refused, unchanged

LEAST_INT, GREATEST_INT = -(2**63), 2**63 - 1
FIRST, LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)

NO_INTS: tuple[Any, ...] = (
    *(1.0, 1.5, math.nan, "1", b"1", [1], {}, Decimal(1), Fraction(1), 1j, FIRST, np.float64(1.0)),
)


@check("DM-024", "DM-033")
def ints_have_64_bits(case: Case) -> None:
    """Ints beyond 64 bits are refused in every int column; the least and the greatest are kept."""
    store = filled(case)
    with unchanged(store):
        for table, column in columns("int"):
            for number in (GREATEST_INT + 1, LEAST_INT - 1, 2**64, -(2**80), 10**400, np.uint64(2**63)):
                refuse(store, table, {column.name: number})
    for table, column in columns("int"):
        for number in (LEAST_INT, -1, 0, 2**53 + 1, GREATEST_INT):
            accept(store, table, **{column.name: number})


@check("DM-024", "DM-033")
def an_int_column_holds_ints_only(case: Case) -> None:
    """Floats, decimals, texts and other things are refused in an int column."""
    store = filled(case)
    with unchanged(store):
        for table, column in columns("int"):
            for cell in NO_INTS:
                refuse(store, table, {column.name: cell})


@check("DM-025", "DM-033")
def a_bool_is_no_number(case: Case) -> None:
    """True and False, numpy's too, are refused in every int and float column, and as an increment."""
    store = filled(case)
    with unchanged(store):
        for kind in ("int", "float"):
            for table, column in columns(kind):
                for cell in (True, False, np.True_, np.False_):
                    refuse(store, table, {column.name: cell})
        with refused(InvalidRecord, what="an increment by True"):
            store.skills.increment("a", success_count=True)


@check("DM-026", "DM-033")
def floats_are_finite(case: Case) -> None:
    """NaN and the infinities are refused in every float column; the edges of binary64 are kept."""
    store = filled(case)
    with unchanged(store):
        for table, column in columns("float"):
            for cell in (math.nan, math.inf, -math.inf, np.float32("nan"), np.float64("inf"), 10**400):
                refuse(store, table, {column.name: cell})
    for table, column in columns("float"):
        for number in (5e-324, -5e-324, 1.7976931348623157e308, 0.1, -2.2250738585072014e-308):
            accept(store, table, **{column.name: number})


@check("DM-026", "DM-033")
def a_float_column_holds_numbers_only(case: Case) -> None:
    """Texts, decimals, fractions and other things are refused in a float column."""
    store = filled(case)
    with unchanged(store):
        for table, column in columns("float"):
            bad: tuple[Any, ...] = (
                "1.0",
                b"1",
                [1.0],
                {},
                Decimal("0.5"),
                Fraction(1, 2),
                1j,
                datetime.now(UTC),
            )
            for cell in bad:
                refuse(store, table, {column.name: cell})


@check("DM-027")
def minus_zero_is_stored_as_zero(case: Case) -> None:
    """A float -0.0 is read back as 0.0, from records and from Arrow, written either way."""
    store = filled(case)
    for table, column in columns("float"):
        arrow = pa.table({**{n: [v] for n, v in LEAST[table].items()}, column.name: [-0.0]})
        for way, given in (("a record", record(table, **{column.name: -0.0})), ("Arrow data", arrow)):
            store.table(table).put(given)
            got = getattr(store.table(table)[record(table).key], column.name)
            equal((got, math.copysign(1.0, got)), (0.0, 1.0), f"{table}.{column.name} of -0.0 from {way}")
            (cell,) = store.table(table).to_arrow(columns=[column.name]).column(0).to_pylist()
            equal(math.copysign(1.0, cell), 1.0, f"the sign of {table}.{column.name} in Arrow")


@check("DM-028", "DM-033")
def an_int_in_a_float_column_is_exact(case: Case) -> None:
    """An int that no binary64 equals is refused in a float column; another becomes that float."""
    store = filled(case)
    with unchanged(store):
        for table, column in columns("float"):
            for number in (2**53 + 1, -(2**53) - 1, 2**63 - 1, 2**64 + 1, np.int64(2**53 + 1), 2**1024):
                refuse(store, table, {column.name: number})
    for table, column in columns("float"):
        for number in (0, 7, 2**53, -(2**60), 2**1000):
            accept(store, table, **{column.name: number})
            got = getattr(store.table(table)[record(table).key], column.name)
            equal(type(got), float, f"the type of {table}.{column.name}")


@check("DM-029", "DM-033")
def a_time_has_a_zone(case: Case) -> None:
    """A datetime without a zone, and what is no datetime, is refused in every time column."""
    store = filled(case)
    bad = (
        datetime(2026, 1, 1),
        date(2026, 1, 1),
        time(12),
        0,
        1.5,
        "2026-01-01T00:00Z",
        b"",
        timedelta(1),
        True,
    )
    with unchanged(store):
        for table, column in columns("time"):
            for cell in bad:
                refuse(store, table, {column.name: cell})
        for moment in bad:
            with refused(InvalidRecord, what=f"touch at {moment!r}"):
                store.memories.touch("a", moment)  # type: ignore[arg-type]
            with refused(InvalidRecord, what=f"expire at {moment!r}"):
                store.expire(moment)  # type: ignore[arg-type]


@check("DM-029", "DM-033")
def a_time_lies_in_the_years_1_to_9999(case: Case) -> None:
    """A time that leaves those years in UTC is refused; their first and last microsecond are kept."""
    store = filled(case)
    east, west = timezone(timedelta(hours=14)), timezone(timedelta(hours=-11))
    beyond = (datetime.min.replace(tzinfo=east), datetime.max.replace(tzinfo=west))
    kept = (
        FIRST,
        LAST,
        datetime(1969, 12, 31, 23, 59, 59, 999_999, UTC),
        datetime(2026, 3, 1, 12, tzinfo=east),
    )
    with unchanged(store):
        for table, column in columns("time"):
            for moment in beyond:
                refuse(store, table, {column.name: moment})
    for table, column in columns("time"):
        for moment in kept:
            accept(store, table, **{column.name: moment})


@check("DM-029")
def a_time_is_its_instant(case: Case) -> None:
    """Two datetimes of one instant in different zones are one time: equal rows, and equal in filters."""
    store = case.store()
    moment = datetime(2026, 11, 20, 12, tzinfo=timezone(timedelta(hours=5, minutes=45)))
    store.memories.put(Memory(id="a", expires_at=moment, updated_at=moment))
    again = store.memories.put(Memory(id="a", expires_at=moment.astimezone(UTC), updated_at=moment))
    holds(again is not None and again.commit is None, "the same instant in another zone is no change", again)
    equal(store.memories.count(F.expires_at == moment.astimezone(UTC)), 1, "the rows of that instant")


@check("DM-031", "DM-033")
def null_is_refused_where_a_column_allows_none(case: Case) -> None:
    """None in a key, or in a column without nulls, is refused, by update too."""
    store = filled(case)
    with unchanged(store):
        for table, definition in TABLES.items():
            for column in definition.columns:
                times = column.name in ("created_at", "updated_at")  # which the commit fills
                derived = (table, column.name) == ("links", "id")
                if column.required and not times and not derived:
                    refuse(store, table, {column.name: None})


@check("DM-031")
def what_is_absent_is_empty(case: Case) -> None:
    """An absent value is null, absent tags are no tags, an absent counter is 0, other fields are null."""
    store = case.store()
    store.spaces.create("free", 2)
    for table, definition in TABLES.items():
        for way, given in (
            ("a mapping", LEAST[table]),
            ("Arrow", pa.table({n: [v] for n, v in LEAST[table].items()})),
        ):
            store.table(table).put(given)
            got = store.table(table)[record(table).key]
            for column in definition.columns:
                if column.name not in LEAST[table] and column.name not in ("created_at", "updated_at"):
                    empty: Any = [] if column.kind == "tags" else 0 if column.counter else None
                    equal(getattr(got, column.name), empty, f"{table}.{column.name}, absent in {way}")
            holds(got.created_at and got.updated_at, f"the commit fills the times of {table}", got)


@check("DM-031")
def none_empties_what_may_be_empty(case: Case) -> None:
    """Updating a value, tags or a nullable column to None makes it null, or no tags."""
    store = case.store()
    store.memories.put(
        Memory(id="a", content=[1], tags=["x"], tier=1, title="t", expires_at=LAST, importance=0.5)
    )
    store.memories.update(
        "a", content=None, tags=None, tier=None, title=None, expires_at=None, importance=None
    )
    got = store.memories["a"]
    cells = (got.content, got.tags, got.tier, got.title, got.expires_at, got.importance)
    equal(cells, (None, [], None, None, None, None), "the fields after an update to None")


@check("DM-033", "DM-020", "DM-024", "DM-026", "DM-030", "DM-031")
def arrow_data_is_judged_like_records(case: Case) -> None:
    """Malformed cells in Arrow data are refused with `InvalidRecord` as in records; nothing is written."""
    store = filled(case)
    bad: dict[str, pa.Array] = {
        "id": pa.array(["ok", "x" * 513]),
        "title": pa.array(["ok", "a\0b"]),
        "kind": pa.array(["ok", "x" * 1025]),
        "tier": pa.array([1, 2**63], pa.uint64()),
        "importance": pa.array([1.0, math.nan]),
        "confidence": pa.array([1.0, math.inf], pa.float32()),
        "tags": pa.array([["a"], ["a", "a"]]),
        "expires_at": pa.array([0, 1], pa.timestamp("us")),
        "text": pa.array([1, 2]),
        "content": pa.array(['{"a":1}', '{"a": 1, }']),
    }
    ids = pa.array(["n1", "n2"])
    with unchanged(store):
        for name, cells in bad.items():
            with refused(InvalidRecord, what=f"Arrow data with a malformed {name}"):
                store.memories.put(pa.table({"id": ids, **{name: cells}}))
        for key in (None, ""):
            with refused(InvalidRecord, what=f"Arrow data with the id {key!r}"):
                store.memories.put(pa.table({"id": pa.array(["n1", key], pa.string())}))
        with refused(InvalidRecord, what="Arrow data without a column that a row needs"):
            store.links.put(pa.table({"source": ["s"]}))


@check("DM-033")
def what_is_no_record_is_refused(case: Case) -> None:
    """Things that are no record of the table, alone or among records, are refused."""
    store = filled(case)
    things: tuple[Any, ...] = (
        None,
        1,
        "a",
        b"a",
        [1],
        object(),
        Skill(id="a"),
        Memory,
        {"id": "a", 1: 2},
        [[]],
    )
    with unchanged(store):
        for thing in things:
            for what, given in (("put", thing), ("put among others", [Memory(id="n"), thing])):
                with refused(InvalidRecord, what=f"{what} of {thing!r:.60}"):
                    store.memories.put(given)
