"""Filters and orders in LanceDB's terms: what is pushed, and that it is what the specification means."""

import itertools
import math
import subprocess
import sys
import threading
from datetime import UTC, datetime

import lance
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from perdure import TABLES
from perdure.filters import FALSE, TRUE, And, F, Not, Or, OrderTerm, matcher, parse_order, sort_rows
from perdure_conformance.strategies import filters, orders
from perdure_lancedb._filter import order_by, push

MEMORIES, SKILLS, STATES = TABLES["memories"], TABLES["skills"], TABLES["states"]
INDEXES = (None, "BTREE", "BITMAP")
BIG = 2**63
NUMBERS = (
    0,
    1,
    2.5,
    -2.5,
    BIG - 1,
    BIG,
    -BIG,
    -BIG - 1,
    2**53 + 1,
    10**400,
    -(10**400),
    math.inf,
    -math.inf,
    0.1,
)
TEXTS = (
    "",
    "a",
    'say "hi"',
    "it's",
    "é",
    "\U0010ffff",
    "\ud7ff",
    "\ue000",
    "a\\",
    "x,y",
    "100%_",
    "`a`",
    "--",
    "\n",
)
MOMENTS = (-62_135_596_800_000_000, -1, 0, 1, 253_402_300_799_999_999)
POOLS = {
    "text": TEXTS,
    "int": (-BIG, -1, 0, 1, 2, 2**53, 2**53 + 1, BIG - 1),
    "float": (-1.7976931348623157e308, -1.5, 0.0, 5e-324, 0.1, 1.0, 2.0**53, 2.0**63, 1e308),
    "time": MOMENTS,
    "value": ("null", "2.5", '"ab"', '{"a":[1,"b"]}'),
    "vector": (b"\0" * 4,),
    "payload": ("1:aa",),
}


def row(**cells):
    start = {"id": "m", "content": "null", "metadata": "null", "tags": (), "created_at": 0, "updated_at": 0}
    return tuple({**start, **cells}.get(name) for name in MEMORIES.names)


def widened(kind):
    """The type with 64-bit offsets, in which a table may keep its texts as well."""
    if pa.types.is_list(kind):
        return pa.list_(pa.field("item", pa.large_string(), nullable=False))
    return pa.large_string() if pa.types.is_string(kind) else kind


def arrow(table, rows, start, wide):
    """The rows as a table keeps them, and the number of each."""
    fields = [f.with_type(widened(f.type) if wide else f.type) for f in table.arrow]
    cells = [pa.array([r[i] for r in rows], f.type) for i, f in enumerate(fields)]
    numbers = pa.array(range(start, start + len(rows)), pa.int64())
    return pa.table([numbers, *cells], schema=pa.schema([pa.field("n", pa.int64()), *fields]))


def written(path, table, rows, index=None, wide=False, unindexed=0):
    """A real table of the rows; the last ones come after the indexes were made."""
    cut = len(rows) - unindexed
    dataset = lance.write_dataset(arrow(table, rows[:cut], 0, wide), str(path))
    for column in table.columns if index else ():
        if column.kind in ("text", "int", "float", "time", "tags"):
            dataset.create_scalar_index(column.name, "LABEL_LIST" if column.kind == "tags" else index)
    if unindexed:
        dataset = lance.write_dataset(arrow(table, rows[cut:], cut, wide), str(path), mode="append")
    return dataset


def selected(dataset, condition):
    found = dataset.scanner(columns=["n"], filter=condition or None).to_table()["n"].to_pylist()
    assert len(found) == len(set(found))
    return set(found)


def check(dataset, table, rows, where):
    """No row that matches is lost, and no other is found where the condition says that it is exact."""
    pushed, test = push(table, where), matcher(table, where)
    expected = {n for n, r in enumerate(rows) if test(r)}
    found = selected(dataset, pushed.condition)
    assert found >= expected, pushed
    if pushed.exact:
        assert found == expected, pushed
    return pushed.exact


# ------------------------------------------------------------------------------ what is pushed


@pytest.mark.parametrize(
    ("where", "condition"),
    [
        (F.kind == "it's", "`kind` = 'it''s'"),
        (F.kind != "a", "(`kind` <> 'a' OR `kind` IS NULL)"),
        (F.tier < 2.5, "`tier` <= 2"),
        (F.tier >= -BIG, "`tier` >= CAST('-9223372036854775808' AS BIGINT)"),
        (F.tier < BIG, "`tier` IS NOT NULL"),
        (F.tier == BIG, "false"),
        (F.importance > 2**53 + 1, "`importance` > 9007199254740992.0"),
        (F.importance == 2**53 + 1, "false"),
        (
            F.created_at >= datetime(1970, 1, 2, tzinfo=UTC),
            "`created_at` >= to_timestamp_micros(86400000000)",
        ),
        (F.tags.contains("a"), "array_has(`tags`, 'a')"),
        (~F.text.contains("a"), "(NOT contains(`text`, 'a') OR `text` IS NULL)"),
        (F.text.starts_with("ab"), "(`text` >= 'ab' AND `text` < 'ac')"),
        (F.tier.is_in([1, 1.0, 2.5, 3]), "`tier` IN (1, 3)"),
        (F.tier.is_in([]), "false"),
        (F.id.is_null(), "false"),  # a key never is
        (TRUE, ""),
        (FALSE, "false"),
        (None, ""),
        (~((F.tier < 1) | F.kind.is_null()), "((`tier` >= 1 OR `tier` IS NULL) AND `kind` IS NOT NULL)"),
    ],
)
def test_what_lance_understands_alike_is_pushed_exactly(where, condition):
    assert push(MEMORIES, where) == (condition, True)


@pytest.mark.parametrize(
    ("where", "condition"),
    [
        (F.content.a == 1, ""),
        (~(F.content.a == 1), ""),
        (F.access_count == 0, ""),
        ((F.content.a == 1) & (F.tier == 1), "`tier` = 1"),
        (~((F.content.a == 1) | (F.tier == 1)), "(`tier` <> 1 OR `tier` IS NULL)"),
        ((F.content.a == 1) | (F.tier == 1), ""),
        (~((F.content.a == 1) & (F.tier == 1)), ""),
        (((F.content.a == 1) & (F.tier == 1)) | (F.tier == 2), "(`tier` = 1 OR `tier` = 2)"),
    ],
)
def test_what_it_cannot_judge_counts_as_true(where, condition):
    assert push(MEMORIES, where) == (condition, False)


def test_an_arm_that_decides_makes_the_rest_needless():
    unknown = F.content.a == 1
    assert push(MEMORIES, And((unknown, F.tier == BIG))) == ("false", True)
    assert push(MEMORIES, Or((unknown, F.tier != BIG))) == ("", True)


@pytest.mark.parametrize("text", ["\0", "a\ud800"])
def test_texts_that_no_row_holds_are_left_to_the_specification(text):
    for where in (F.kind == text, F.kind.is_in([text]), F.text.contains(text), F.text.starts_with(text)):
        assert push(MEMORIES, where) == ("", False)


def test_pushing_does_not_load_lance():
    script = (
        "import sys; from perdure import TABLES; from perdure.filters import F; from perdure_lancedb._filter import push;"
        "push(TABLES['memories'], F.tier == 1); assert 'lance' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


# ------------------------------------------------------------------------------ at the edges

EDGES = [
    *(row(id=f"i{n}", tier=tier) for n, tier in enumerate([None, 3, -2, -3, *POOLS["int"]])),
    *(row(id=f"f{n}", importance=x) for n, x in enumerate([None, 2.5, *POOLS["float"]])),
    *(row(id=f"t{n}", text=text, title=text) for n, text in enumerate([None, *TEXTS])),
    *(row(id=f"g{n}", tags=(text,) if text else ()) for n, text in enumerate(TEXTS)),
    *(row(id=f"c{n}", expires_at=us, created_at=us or 0) for n, us in enumerate([None, *MOMENTS])),
    row(id="g", tags=("a", "x,y", 'q"')),
]
TIMES = [datetime.min.replace(tzinfo=UTC), datetime(1970, 1, 1, tzinfo=UTC), datetime.max.replace(tzinfo=UTC)]
OPERATORS = ("lt", "le", "gt", "ge", "eq", "ne")
FILTERS = [
    *(
        getattr(F[name], f"__{op}__")(x)
        for name in ("tier", "importance")
        for op in OPERATORS
        for x in NUMBERS
    ),
    *(
        getattr(F[name], f"__{op}__")(x)
        for name in ("expires_at", "created_at")
        for op in OPERATORS
        for x in TIMES
    ),
    *(getattr(F.text, f"__{op}__")(x) for op in OPERATORS for x in TEXTS),
    *(F[name].is_in(NUMBERS) for name in ("tier", "importance")),
    *(F.tags.contains(text) for text in [*TEXTS, '"', ",", "q", "y", 'q"']),
    *(F[name].contains(text) for text in TEXTS for name in ("text", "title")),
    *(F[name].starts_with(text) for text in TEXTS for name in ("text", "title")),
    *(F[name].is_null() for name in ("text", "tags", "created_at", "expires_at")),
    F.text.is_in(TEXTS),
    F.expires_at.is_in(TIMES),
    F.kind.is_in([]),
    F.tier.is_in([1, None, 2.0, 2.5, BIG]),
    F.id.is_in([f"t{n}" for n in range(5_000)]),
    F.importance.is_in([n / 2 for n in range(5_000)]),
]


@pytest.mark.parametrize("index", INDEXES)
@pytest.mark.parametrize("negated", [False, True])
def test_columns_are_judged_exactly(tmp_path, index, negated):
    dataset = written(tmp_path / "t", MEMORIES, EDGES, index, unindexed=10)
    for where in FILTERS:
        assert check(dataset, MEMORIES, EDGES, Not(where) if negated else where), where


def test_a_payload_is_tested_for_null(tmp_path):
    rows = [("k", str(n), "null", payload, (), "null", 0, 0) for n, payload in enumerate([None, "1:aa"])]
    dataset = written(tmp_path / "t", STATES, rows)
    assert selected(dataset, push(STATES, F.payload.is_null()).condition) == {0}
    assert selected(dataset, push(STATES, ~F.payload.is_null()).condition) == {1}


# ------------------------------------------------------------------------------ bounds


def wide_tree():
    return Or(tuple((F.tier == n) if n % 2 else F.text.starts_with("a" * n) for n in range(299)))


def deep_tree(levels):
    where = ~F.text.starts_with("x")
    for n in range(levels):
        where = (
            ((where & (F.tier != n)) | F.tier.is_in([n, n + 1]))
            if n % 2
            else ~(where & ~F.text.contains("q"))
        )
    return where


def long_list():
    return F.id.is_in([f"{n:0>64}" for n in range(9_990)])


@pytest.mark.parametrize(
    ("where", "exact"),
    [
        (wide_tree(), True),
        (deep_tree(10), True),
        (deep_tree(45), False),
        (long_list(), True),
        (~long_list(), True),
    ],
    ids=["wide", "deep", "deeper", "long", "long, negated"],
)
@pytest.mark.parametrize("index", [None, "BTREE"])
def test_what_is_pushed_fits_the_parser_and_a_small_stack(tmp_path, where, exact, index):
    dataset, outcomes = written(tmp_path / "t", MEMORIES, EDGES, index), []

    def ask():
        outcomes.append(check(dataset, MEMORIES, EDGES, (F.created_at >= TIMES[0]) & where))

    before = threading.stack_size(256 * 1024)
    try:
        thread = threading.Thread(target=ask)
        thread.start()
    finally:
        threading.stack_size(before)
    thread.join()
    assert outcomes == [exact]


def test_what_does_not_fit_is_left_out():
    huge = F.text.is_in(["x" * 1_000 + str(n) for n in range(9_000)])
    assert push(MEMORIES, huge & (F.tier == 1)) == ("`tier` = 1", False)
    assert push(MEMORIES, huge | (F.tier == 1)) == ("", False)
    pushed = push(MEMORIES, And(tuple(F.tier != n for n in range(2_000))))
    assert not pushed.exact
    assert pushed.condition.count("<>") == 300


# ------------------------------------------------------------------------------ order


def test_nulls_come_last_either_way_and_keys_break_ties():
    terms = order_by(SKILLS, [OrderTerm("confidence", descending=True), OrderTerm("name")])
    assert [(t.column_name, t.ascending, t.nulls_first) for t in terms] == [
        ("confidence", False, False),
        ("name", True, False),
        ("id", True, False),
    ]
    assert [t.column_name for t in order_by(STATES, [OrderTerm("id", descending=True)])] == ["id", "kind"]


@pytest.mark.parametrize("column", ["content", "tags"])
def test_values_and_tags_have_no_order(column):
    assert order_by(MEMORIES, [OrderTerm(column)]) is None


# ------------------------------------------------------------------------------ anything


def cells(table, column):
    """Cells from small pools with edges in them, so that rows and literals meet."""
    if column.kind == "tags":
        return st.lists(st.sampled_from(TEXTS[1:]), max_size=3, unique=True).map(tuple)
    pool = [cell for cell in POOLS[column.kind] if cell != "" or column.name not in table.key]
    return st.sampled_from([None, *pool] if column.nullable else pool)


def some_rows(table):
    return st.lists(
        st.tuples(*(cells(table, column) for column in table.columns)),
        min_size=1,
        max_size=8,
        unique_by=table.key_of,
    )


RUNS = itertools.count()


@pytest.mark.parametrize("table", TABLES.values(), ids=list(TABLES))
@settings(
    max_examples=max(12, settings().max_examples // 5),
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
        HealthCheck.function_scoped_fixture,
    ],
)
@given(data=st.data())
def test_any_filter_and_order_on_any_rows(tmp_path, table, data):
    rows = data.draw(some_rows(table))
    index, wide = data.draw(st.sampled_from(INDEXES)), data.draw(st.booleans())
    late = data.draw(st.integers(0, len(rows) - 1))
    dataset = written(tmp_path / str(next(RUNS)), table, rows, index, wide, late)
    for where in data.draw(st.lists(filters(table, rows), min_size=1, max_size=8)):
        check(dataset, table, rows, where)

    order, limit = parse_order(data.draw(orders(table)), table), data.draw(st.none() | st.integers(1, 9))
    terms = order_by(table, order)
    scan = dataset.scanner(columns=["n"], with_row_id=True, order_by=terms, limit=limit)
    assert [rows[n] for n in scan.to_table()["n"].to_pylist()] == sort_rows(rows, table, order, limit)
