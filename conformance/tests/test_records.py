"""Any record of any table, with any value, comes back equal from both engines."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import perdure
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from perdure import TABLES, Space
from perdure_conformance._plain import plain
from perdure_conformance.strategies import records

SPACES = [
    Space(f"{metric}-{dtype}", dim, dtype, metric)  # type: ignore[arg-type]
    for metric in ("cosine", "l2", "dot")
    for dtype, dim in (("float16", 1), ("float32", 3), ("float64", 8))
]
BY_NAME = {space.name: space for space in SPACES}
SETTINGS = settings(
    max_examples=max(20, settings().max_examples // 6),
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
        HealthCheck.function_scoped_fixture,
    ],
)


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[perdure.Store]]:
    path: Path = tmp_path_factory.mktemp("records") / "records.db"
    with perdure.open("memory://") as memory, perdure.open(f"sqlite:///{path}?synchronous=normal") as sqlite:
        for store in (memory, sqlite):
            for space in SPACES:
                store.spaces.create(space.name, space.dim, dtype=space.dtype, metric=space.metric)
        yield [memory, sqlite]


def any_records(table: str) -> st.SearchStrategy[Any]:
    return st.one_of([records(table, space) for space in SPACES]) if table == "vectors" else records(table)


def stored(table: str, record: Any) -> dict[str, Any]:
    """What a store should hold of a record."""
    return plain(table, record, BY_NAME[record.space].dtype if table == "vectors" else None)


@pytest.mark.parametrize("table", TABLES)
def test_any_record_round_trips(stores: list[perdure.Store], table: str) -> None:
    @SETTINGS
    @given(record=any_records(table))
    def check(record: Any) -> None:
        given_times = record.created_at, record.updated_at
        for store in stores:
            record.created_at, record.updated_at = given_times
            done = store.table(table).put(record)
            assert done is not None
            assert done.commit is not None
            found = store.table(table)[record.key]
            record.created_at = record.created_at or _time(done.commit.time)
            record.updated_at = record.updated_at or _time(done.commit.time)
            assert found == record
            assert plain(table, found) == stored(table, record)
            assert [r.key for r in store.table(table).scan(perdure.F.id == record.id)] == [record.key]
            assert store.table(table).to_arrow(perdure.F.id == record.id).num_rows == 1
            store.table(table).delete([record])
            assert store.table(table).get(record.key) is None

    check()


@pytest.mark.parametrize("table", TABLES)
def test_a_bulk_put_keeps_every_record(stores: list[perdure.Store], table: str) -> None:
    @settings(SETTINGS, max_examples=10)
    @given(drawn=st.lists(any_records(table), max_size=4, unique_by=lambda record: str(record.key)))
    def check(drawn: list[Any]) -> None:
        for store in stores:
            collection = store.table(table)
            collection.put(drawn)
            for record, found in zip(drawn, collection.get_many([r.key for r in drawn]), strict=True):
                wanted, read = stored(table, record), plain(table, found)
                filled = {name for name in ("created_at", "updated_at") if wanted[name] is None}
                assert {n: c for n, c in read.items() if n not in filled} == {
                    n: c for n, c in wanted.items() if n not in filled
                }
            assert collection.to_arrow().num_rows == collection.count() == len(drawn)
            collection.delete(drawn)

    check()


def _time(us: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)
