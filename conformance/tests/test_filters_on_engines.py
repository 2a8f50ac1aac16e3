"""Any filter, order and page size: both engines give the rows that the evaluator gives, in its order."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import perdure
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from perdure import TABLES, Space
from perdure_conformance._plain import Plain, encoded, plain
from perdure_conformance.driver import Find, Place
from perdure_conformance.model import Model
from perdure_conformance.model._reads import find
from perdure_conformance.strategies import filters, orders, plain_values, records
from perdure_conformance.strategies._histories import a_record

_SPACE = Space("free", 2, "float16", "dot")
_RUNS = itertools.count()


@pytest.fixture(scope="module")
def urls(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    path: Path = tmp_path_factory.mktemp("filters") / "filters.db"
    return "memory://filters-on-engines", f"sqlite:///{path}"


def some_records(table: str) -> st.SearchStrategy[list[Any]]:
    """Records with few, shared values, so that filters tell some from others; and odd ones, cut short."""
    shared = a_record(table, plain_values(4)).map(
        lambda f: f | {"space": "free"} if table == "vectors" else f
    )
    one = st.tuples(shared, st.integers(0, 9)).map(lambda pair: {**pair[0], "id": f"r{pair[1]}"})
    odd = records(table, _SPACE, values=plain_values(4)).map(short)
    return st.lists(one | one | one | odd, max_size=6)


def short(record: Any) -> Any:
    for name in record.__struct_fields__:
        value = getattr(record, name)
        if isinstance(value, (str, bytes)):
            setattr(record, name, value[:20])
        elif record.TABLE.by_name[name].kind == "tags":
            setattr(record, name, list(dict.fromkeys(tag[:20] for tag in value)))
    return record


@pytest.mark.parametrize("table", TABLES)
@settings(
    max_examples=max(15, settings().max_examples // 8),
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
        HealthCheck.function_scoped_fixture,
    ],
)
@given(data=st.data())
def test_any_filter_gives_the_same_rows_in_the_same_order(
    urls: tuple[str, str], table: str, data: st.DataObject
) -> None:
    drawn = data.draw(some_records(table))
    model = Model()
    namespace = f"{table}{next(_RUNS)}"
    rows: dict[tuple[str, ...], Plain] = {}
    with perdure.open(urls[0], namespace=namespace) as a, perdure.open(urls[1], namespace=namespace) as b:
        for store in (a, b):
            store.spaces.create("free", 2, dtype="float16", metric="dot")
            store.table(table).put(drawn)
            if store is a:  # both engines must hold the same times
                drawn = list(a.table(table).scan())
                rows = {_key(record.key): plain(table, record) for record in drawn}
        commit = a.head().commit
        if commit is not None:
            model.add(0, next(a.log()), {(table, key): row for key, row in rows.items()})
        for _ in range(data.draw(st.integers(1, 4))):
            where = data.draw(st.none() | filters(TABLES[table], [encoded(row) for row in rows.values()]))
            order = data.draw(orders(TABLES[table]))
            page = data.draw(st.sampled_from((None, 1, 3)))
            terms = [order] if isinstance(order, str) else order
            expected, number = find(model, Find(Place("main"), table, where, terms, page))
            for store in (a, b):
                collection = store.table(table)
                found = _paged(collection, where, order, page)
                assert [_key(record.key) for record in found] == expected, (store, where, order, page)
                assert collection.count(where) == number, (store, where)
                keys = collection.to_arrow(where, order_by=order, columns=list(TABLES[table].key)).to_pylist()
                assert [tuple(row.values()) for row in keys] == expected, (store, where, order)
        for store in (a, b):
            store.table(table).purge(list(rows))


def _key(key: Any) -> tuple[str, ...]:
    return key if isinstance(key, tuple) else (key,)


def _paged(collection: Any, where: Any, order: Any, page: int | None) -> list[Any]:
    first = collection.find(where, order_by=order, limit=page)
    found = list(first)
    while first.cursor is not None:
        first = collection.find(where, order_by=order, limit=page, after=first.cursor)
        found += first
    return found
