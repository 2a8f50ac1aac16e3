"""Any filter and any order on any rows: an engine chooses what the evaluator of the specification chooses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st
from perdure import RECORDS, TABLES, Query, Ref, Row, Space, Store
from perdure.filters import Filter, matcher, parse_order, sort_rows

from perdure_conformance._case import Case
from perdure_conformance._checks import check
from perdure_conformance._plain import encoded, plain
from perdure_conformance.clauses._chosen import paged
from perdure_conformance.expect import equal
from perdure_conformance.strategies import filters, orders, plain_values, records, values
from perdure_conformance.strategies._histories import a_record

#: Questions in a round: each asks several filters in several ways.
EXAMPLES = 6

SPACE = Space("free", 2, "float16", "dot")


@dataclass(frozen=True)
class Question:
    """Rows, and what is asked of them.

    Attributes:
        table: The table.
        rows: Records; later ones replace earlier ones with the same key.
        touched: The places of records that are read once, if they are there.
        asked: Filters with orders.
        page: The size of pages.
    """

    table: str
    rows: tuple[Any, ...]
    touched: tuple[int, ...]
    asked: tuple[tuple[Filter | None, Any], ...]
    page: int


def short(record: Any) -> Any:
    """The record with its longest fields cut."""
    for name in record.__struct_fields__:
        cell = getattr(record, name)
        kind = record.TABLE.by_name[name].kind
        if kind in ("text", "payload") and cell is not None:
            setattr(record, name, cell[:20])
        elif kind == "tags":
            setattr(record, name, list(dict.fromkeys(tag[:20] for tag in cell)))
    return record


@st.composite
def questions(draw: st.DrawFn, counters: bool = True) -> Question:
    """Few rows with shared values, and odd ones; filters take some of their literals from them."""
    table = draw(st.sampled_from(list(TABLES)))
    value = plain_values(4) | values(4)
    like = st.tuples(a_record(table, value), st.integers(0, 9))
    alike = like.map(lambda pair: RECORDS[table](**with_key(table, pair[0], f"r{pair[1]}")))
    odd = records(table, SPACE, values=value).map(short)
    rows = draw(st.lists(alike | alike | alike | odd, max_size=8))
    cells = [encoded(plain(table, record, SPACE.dtype)) for record in rows]
    where = st.none() | filters(TABLES[table], cells, counters=counters)
    asked = draw(st.lists(st.tuples(where, orders(TABLES[table])), min_size=1, max_size=4))
    touched = draw(st.lists(st.integers(0, 7), max_size=3)) if counters else []
    return Question(table, tuple(rows), tuple(touched), tuple(asked), draw(st.integers(1, 4)))


def with_key(table: str, fields: dict[str, Any], key: str) -> dict[str, Any]:
    """The fields of a record with another id."""
    return {**fields, "id": key, **({"space": "free"} if table == "vectors" else {})}


def answers_agree(question: Question, view: Any, rows: list[Row], counts: dict[Any, Any]) -> None:
    """What a store or a snapshot gives is what the evaluator chooses of these rows."""
    table, collection = TABLES[question.table], view.table(question.table)
    for where, order in question.asked:
        accept = None if where is None else matcher(table, where)
        chosen = [row for row in rows if accept is None or accept(row, counts.get(table.key_of(row)))]
        wanted = [table.key_of(row) for row in sort_rows(chosen, table, parse_order(order, table))]
        asked = f"{table.name} where {where!r:.600} by {order!r}"
        equal([as_key(record.key) for record in collection.find(where, order_by=order)], wanted, asked)
        equal(collection.count(where), len(wanted), f"the count of {asked}")
        pages = paged(collection, where, order, question.page)
        equal([as_key(key) for key in pages], wanted, f"pages of {question.page} of {asked}")
        found = collection.to_arrow(where, order_by=order, columns=list(table.key)).to_pylist()
        equal([tuple(row.values()) for row in found], wanted, f"the table of {asked}")


def as_key(key: Any) -> tuple[str, ...]:
    """A key as hooks have it."""
    return key if isinstance(key, tuple) else (key,)


def all_rows(case: Case, store: Store, table: str, branch: str = "main") -> list[Row]:
    """All rows of a table, as the engine keeps them."""
    hooks = case.hooks(store.namespace)
    try:
        return list(hooks.select(ctx=case.ctx, query=Query(table), at=Ref(branch)))
    finally:
        hooks.close(ctx=case.ctx)


def head_answers(case: Case, question: Question) -> None:
    """The rows are put, some are touched, and each filter is asked in each way."""
    with case.new_store() as store:
        store.spaces.create("free", 2, dtype="float16", metric="dot")
        collection = store.table(question.table)
        collection.put(list(question.rows))
        for place in question.touched:
            if place < len(question.rows):
                collection.touch([question.rows[place].key])
        rows = all_rows(case, store, question.table)
        keys = [TABLES[question.table].key_of(row) for row in rows]
        counts = {key: counted(collection, key) for key in keys}
        answers_agree(question, store, rows, counts)


def counted(collection: Any, key: tuple[str, ...]) -> tuple[int | None, int]:
    """The read counters of a row."""
    counter = collection.counters(key)
    return counter.accessed_at, counter.access_count


@check(
    *("FI-001", "FI-002", "FI-003", "FI-004", "FI-005", "FI-006", "FI-040", "FI-041", "FI-061", "FI-092"),
    *("FI-103", "FI-123", "FI-124", "FI-125", "FI-127"),
    kind="property",
    weight=1.5,
)
def any_filter_chooses_what_the_evaluator_does(case: Case) -> None:
    """Any filters, orders and pages on any rows of any table give the rows that the evaluator gives."""
    case.given(head_answers, questions(), examples=EXAMPLES)


def branch_answers(case: Case, question: Question) -> None:
    """Half of the rows are put on main, the rest on a branch, and both are asked, main at its fork."""
    with case.new_store() as store:
        store.spaces.create("free", 2, dtype="float16", metric="dot")
        half = len(question.rows) // 2
        store.table(question.table).put(list(question.rows[:half]))
        point, lab = store.head(), store.branch("lab")
        before = all_rows(case, store, question.table)
        lab.table(question.table).put(list(question.rows[half:]))
        lab.table(question.table).delete([record.key for record in question.rows[: half // 2]])
        store.table(question.table).delete([TABLES[question.table].key_of(row) for row in before])
        answers_agree(question, store.at(point), before, {})
        answers_agree(question, lab, all_rows(case, store, question.table, "lab"), {})


@check(
    *("FI-001", "FI-002", "FI-003", "FI-004", "FI-123", "FI-124", "FI-125", "FI-127"),
    level="branches",
    kind="property",
    weight=1.0,
)
def any_filter_holds_on_branches_and_in_the_past(case: Case) -> None:
    """Any filters, orders and pages on a branch and at a point of the past give the rows of that place."""
    case.given(branch_answers, questions(counters=False), examples=EXAMPLES)
