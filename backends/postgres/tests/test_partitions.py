"""The namespace leads every key and index, so that tables can be partitioned by it; and no query looks at others."""

import runpy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import perdure
import pytest
from perdure_postgres import partition, partitioned
from perdure_postgres._roles import tables

HERE = Path(__file__).parent
servers = SimpleNamespace(**runpy.run_path(str(HERE / "servers.py")))
hooks = SimpleNamespace(**runpy.run_path(str(HERE / "hooks_kit.py")))
whole = SimpleNamespace(**runpy.run_path(str(HERE.parents[2] / "tests" / "test_program.py")))

NAMED = [name for name, has_number in tables().items() if has_number]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, cluster: Path) -> Iterator[Any]:
    with servers.server(tmp_path_factory.mktemp("partitions"), cluster) as started:
        yield started


def divided(server: Any, database: str, parts: int) -> str:
    """The URL of a store whose tables are partitioned."""
    url = server.database(database)
    run(server, database, partitioned("perdure", parts))
    return url


def run(server: Any, database: str, statements: list[str]) -> None:
    with server.connect(database) as connection, connection.transaction():
        for statement in statements:
            connection.execute(statement)


def test_the_namespace_leads_every_index(server):
    url = server.database("plain")
    with perdure.open(url) as store:
        hooks.fill(store)
    found = server.run(
        "SELECT c.relname, x.relname, a.attname FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid "
        "JOIN pg_class x ON x.oid = i.indexrelid "
        "LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = i.indkey[0] "
        "WHERE c.relnamespace = 'perdure'::regnamespace AND NOT starts_with(x.relname, 'perdure_hnsw_')",
        database="plain",
    )
    assert {table for table, _, _ in found} == set(tables())
    leads = {(table, column) for table, _, column in found if table not in ("alembic_version", "namespaces")}
    assert leads == {(table, "ns") for table in NAMED}
    assert {column for table, _, column in found if table == "namespaces"} == {"no", "name"}


@pytest.mark.parametrize("parts", [0, 4])
def test_a_partitioned_store_is_used_like_any_other(server, tmp_path, parts):
    database = f"parts{parts}"
    url = divided(server, database, parts)
    if not parts:
        run(server, database, partition("perdure", 1))
    assert not whole.public_methods() - whole.program(url, whole.close_and_open(url), tmp_path)
    sizes = server.run(
        "SELECT c.relname, pg_relation_size(c.oid) FROM pg_class c WHERE c.relispartition AND c.relkind = 'r'",
        database=database,
    )
    assert len(sizes) == len(NAMED) * (parts or 2)
    assert any(size for name, size in sizes if name.startswith("memories_"))


@contextmanager
def locked(server: Any, database: str, suffix: str) -> Iterator[None]:
    """Nobody may as much as look at the partitions of a namespace."""
    with server.connect(database) as connection, connection.transaction():
        for name in NAMED:
            connection.execute(f"LOCK TABLE perdure.{name}_{suffix} IN ACCESS EXCLUSIVE MODE")
        yield


def test_no_query_crosses_namespaces(server):
    """Each would wait for the locks of the other one's partitions.

    All calls are made but those that ask for the size of the whole store. A plan that is made once for all
    namespaces would lock all partitions, so none is kept.
    """
    url = f"{divided(server, 'locks', 0)}?timeout=2&index=0"
    server.run("ALTER DATABASE locks SET plan_cache_mode = force_custom_plan")
    for number in (1, 2):
        run(server, "locks", partition("perdure", number))
    for name in ("mine", "theirs"):
        perdure.open(url, namespace=name).close()
    with perdure.open(url, namespace="theirs") as store:
        hooks.fill(store)
    numbers = dict(server.run("SELECT name, no FROM perdure.namespaces", database="locks"))
    assert numbers == {"mine": 1, "theirs": 2}
    with locked(server, "locks", "ns2"), locked(server, "locks", "rest"):
        with perdure.open(url, namespace="theirs", mode="r") as store, pytest.raises(perdure.Busy):
            store.memories.count()  # the locks are felt
        with perdure.open(url, namespace="mine") as store:
            hooks.fill(store)
            for name, call in (*hooks.READS.items(), *hooks.WRITES.items()):
                if name not in ("stats", "compact", "drop_namespace"):
                    call(store)
            lab = store.branch("bulk")
            lab.memories.put([perdure.Memory(id=f"m{i}", text="bulk") for i in range(100)])
            assert lab.memories.count(perdure.F.text == "bulk") == 100
            assert len(list(lab.memories.scan(order_by="-created_at"))) == lab.memories.count()
            assert store.merge("bulk").written == 100
        with perdure.open(url, namespace="theirs", mode="r") as other, pytest.raises(perdure.Busy):
            other.verify()
