"""Random records of every table, and random rows, come back as they were, by every way of reading."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from perdure import TABLES, CommitRequest, Put, Query, Ref, Row, Space, Store, uuid7
from perdure.kit import rows_of

from perdure_conformance._case import Case
from perdure_conformance._checks import check
from perdure_conformance.expect import Violation, equal
from perdure_conformance.strategies import plain_values, records

#: Tables whose records need nothing else to be there.
PLAIN = tuple(name for name in TABLES if name != "vectors")

#: Examples of a round: records are slow to draw.
EXAMPLES = 8


def given_records(table: str, space: Space | None = None) -> st.SearchStrategy[Any]:
    """Some records of a table, of different keys; values of all types have checks of their own."""
    some = records(table, space, values=plain_values(4))
    return st.lists(some, min_size=1, max_size=3, unique_by=lambda record: record.key)


def plain_records() -> st.SearchStrategy[tuple[str, list[Any]]]:
    """A table, and some records of it."""
    return st.one_of([st.tuples(st.just(name), given_records(name)) for name in PLAIN])


def spaces() -> st.SearchStrategy[Space]:
    """Definitions of free spaces of every dtype and metric."""
    return st.builds(
        Space,
        name=st.just("space"),
        dim=st.integers(1, 5),
        dtype=st.sampled_from(["float16", "float32", "float64"]),
        metric=st.sampled_from(["cosine", "l2", "dot"]),
    )


def vector_records() -> st.SearchStrategy[tuple[Space, list[Any]]]:
    """A space, and some vectors of it."""
    return spaces().flatmap(lambda space: st.tuples(st.just(space), given_records("vectors", space)))


def same(got: Any, given: Any, what: str) -> None:
    """A record that was read is the one that was given; times that were not given are the commit's."""
    if got is not None:
        for name in ("created_at", "updated_at"):
            if getattr(given, name) is None and getattr(got, name) is not None:
                setattr(given, name, getattr(got, name))
    if got != given:
        raise Violation(what, given, got)


def all_same(store: Store, table: str, given: list[Any], what: str) -> None:
    """Each record comes back by its key, among others, and in a scan, which is in the order of keys."""
    collection = store.table(table)
    keys = [record.key for record in given]
    for record, one, among in zip(given, map(collection.get, keys), collection.get_many(keys), strict=True):
        same(one, record, f"{what}, by its key")
        same(among, record, f"{what}, among others")
    ordered = sorted(given, key=lambda record: record.key)
    scanned = list(collection.scan())
    equal([record.key for record in scanned], [record.key for record in ordered], f"the keys of {what}")
    for got, record in zip(scanned, ordered, strict=True):
        same(got, record, f"{what}, in a scan")


@check("DM-035", "DM-051", "CO-002", kind="property", weight=0.5)
def random_records_come_back(case: Case) -> None:
    """Records with any content that the fields take are read back as they were, one by one and together."""
    case.given(_records_come_back, plain_records(), examples=EXAMPLES)


def _records_come_back(case: Case, drawn: tuple[str, list[Any]]) -> None:
    table, given = drawn
    with case.new_store() as store:
        store.table(table).put(given)
        all_same(store, table, given, f"records of {table}")
        store.table(table).put(given[0])
        all_same(store, table, given, f"records of {table} after one was put again")


@check("DM-035", "DM-051", "VE-005", level="vectors", kind="property", weight=0.3)
def random_vectors_come_back(case: Case) -> None:
    """Vectors of every dtype, metric and size are read back bit for bit."""
    case.given(_vectors_come_back, vector_records(), examples=EXAMPLES)


def _vectors_come_back(case: Case, drawn: tuple[Space, list[Any]]) -> None:
    space, given = drawn
    with case.new_store() as store:
        store.spaces.create(space.name, space.dim, dtype=space.dtype, metric=space.metric)
        store.vectors.put(given)
        all_same(store, "vectors", given, f"vectors of {space.dim} numbers of {space.dtype}")


@check("DM-035", "HK-014", kind="property", weight=0.4)
def random_rows_come_back_from_every_hook(case: Case) -> None:
    """`fetch`, `select`, `scan` and `changes` give the same encoded rows, and another store takes them."""
    case.given(_rows_come_back, plain_records(), examples=EXAMPLES)


def _rows_come_back(case: Case, drawn: tuple[str, list[Any]]) -> None:
    table, given = drawn
    with case.new_store() as store, case.new_store() as other:
        store.table(table).put(given)
        rows = _read(case, store, table)
        request = CommitRequest("main", uuid7(), [Put(table, rows)])
        case.hooks(other.namespace).commit(ctx=case.ctx, request=request)
        equal(_read(case, other, table), rows, f"the rows of {table}, written as they were read")


def _read(case: Case, store: Store, table: str) -> list[Row]:
    """The rows of a table, read by each hook that gives rows."""
    hooks, ctx, at = case.hooks(store.namespace), case.ctx, Ref("main")
    rows: list[Row] = list(hooks.select(ctx=ctx, query=Query(table), at=at))
    scanned = [row for batch in hooks.scan(ctx=ctx, query=Query(table), at=at) for row in rows_of(batch)]
    equal(scanned, rows, f"the rows of {table} that a scan gives, and those of a select")
    keys = [TABLES[table].key_of(row) for row in rows]
    fetched = hooks.fetch(ctx=ctx, table=table, keys=keys, at=store.head())
    equal(fetched, rows, f"the rows of {table} by their keys")
    changes = [change for item in store.changes() if item.batch for change in item.batch.changes]
    left = {change.key: change.row for change in changes if change.table == table}
    equal([left[key] for key in keys], rows, f"the rows of {table} that the feed gives")
    hooks.close(ctx=ctx)
    return rows


@check("DM-035", "DM-033", kind="property", weight=0.4)
def random_records_come_back_through_arrow(case: Case) -> None:
    """What `to_arrow` gives of a table is taken by another store, and the records there are the same."""
    case.given(_records_come_back_through_arrow, plain_records(), examples=EXAMPLES)


def _records_come_back_through_arrow(case: Case, drawn: tuple[str, list[Any]]) -> None:
    table, given = drawn
    with case.new_store() as store, case.new_store() as other:
        if table == "states":  # payloads are no part of Arrow data
            for record in given:
                record.payload = None
        store.table(table).put(given)
        data = store.table(table).to_arrow()
        equal(data.schema, TABLES[table].arrow, f"the Arrow schema of {table}")
        other.table(table).put(data)
        all_same(store, table, given, f"records of {table}")
        all_same(other, table, given, f"records of {table} that came as Arrow data")


@check("DM-035", needs=("persistent",), kind="property", weight=0.4)
def random_records_come_back_after_reopening(case: Case) -> None:
    """Records are read back as they were after the store is closed and opened again, also through history."""
    case.given(_records_come_back_after_reopening, plain_records(), examples=EXAMPLES)


def _records_come_back_after_reopening(case: Case, drawn: tuple[str, list[Any]]) -> None:
    table, given = drawn
    with case.new_store() as store:
        store.table(table).put(given)
        first = store.head()
    with case.store(store.namespace) as store:
        all_same(store, table, given, f"records of {table}, opened again")
        store.table(table).delete([record.key for record in given])
    with case.store(store.namespace, mode="r" if case.supports("read_only") else "rw") as store:
        equal(store.table(table).count(), 0, "the rows that were deleted")
        for record in given:
            same(store.at(first).table(table).get(record.key), record, f"a record of {table} in the past")
