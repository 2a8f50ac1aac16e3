"""The indexes of spaces: when they are built and dropped, that searches read them, and doing without."""

import runpy
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import perdure
import pytest
from perdure import F, Memory, Store, Vector
from perdure_postgres._options import parse_url
from perdure_postgres._plugin import PostgresPlugin
from perdure_postgres._vectors import enable

servers = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "servers.py")))

#: What refuses to create extensions, as the owner of a database may have decided.
REFUSE = """
CREATE FUNCTION public.refuse() RETURNS event_trigger LANGUAGE plpgsql
AS $$ BEGIN RAISE EXCEPTION 'no extensions here' USING ERRCODE = 'insufficient_privilege'; END $$;
CREATE EVENT TRIGGER refuse ON ddl_command_start WHEN TAG IN ('CREATE EXTENSION') EXECUTE FUNCTION public.refuse()
"""

NOISE = np.random.default_rng(0)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, cluster: Path) -> Iterator[Any]:
    """A server on which each test has a database of its own."""
    with servers.server(tmp_path_factory.mktemp("vectors"), cluster) as started:
        yield started


class Base:
    """A database with a store in it.

    Attributes:
        url: Of the store.
        name: Of the database.
    """

    def __init__(self, server: Any) -> None:
        self.server = server
        self.url = server.database()
        self.name = self.url.rpartition("/")[2]

    def run(self, statement: str) -> list[Any]:
        rows: list[Any] = self.server.run(statement, database=self.name)
        return rows

    def open(self, namespace: str = "default", user: str = "postgres", **options: Any) -> Store:
        return perdure.open(
            self.server.url(self.name, user, **{"index": 100, **options}), namespace=namespace
        )

    def indexes(self) -> list[str]:
        """The names of our indexes."""
        found = self.run("SELECT relname FROM pg_class WHERE relname LIKE 'perdure_hnsw_%' ORDER BY 1")
        return [row[0] for row in found]

    def reads(self, call: Callable[[Store], Any]) -> bool:
        """Whether a call with a store, which is the only one open, reads one of our indexes."""
        before = self._scans()
        with self.open(pool=1) as store:
            call(store)
        return self._scans() > before

    def _scans(self) -> int:
        """How often our indexes were read, once all sessions have ended: then they have told it."""
        others = (
            "SELECT 1 FROM pg_stat_activity WHERE backend_type = 'client backend' "
            "AND datname = current_database() AND pid <> pg_backend_pid()"
        )
        while self.run(others):  # the server ends them a moment later
            pass
        scans = "SELECT sum(idx_scan)::int FROM pg_stat_all_indexes WHERE indexrelname LIKE 'perdure_hnsw_%'"
        return int(self.run(scans)[0][0])


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit waits for an index that is soon built, however long that takes on a busy machine.

    After its two seconds it would go on without, and a store that is closed then breaks the build off.
    """
    monkeypatch.setattr("perdure_postgres._hnsw._WAIT", 600.0)


@pytest.fixture
def base(plain: Any) -> Base:
    return Base(plain)


def fill(store: Store, space: str, count: int, dim: int = 8, **definition: Any) -> Any:
    matrix = NOISE.normal(size=(count, dim)).astype(np.float32)
    store.spaces.create(space, dim, **definition)
    store.vectors.put([Vector(space=space, id=f"v{i}", values=row) for i, row in enumerate(matrix)])
    return matrix


def nearest(store: Store, query: Any, space: str = "s") -> list[str]:
    return [found.record.id for found in store.vectors.search(query, k=3, space=space)]


def test_a_space_gets_an_index_at_the_size_that_the_url_says(base: Base) -> None:
    with base.open() as store:
        fill(store, "s", 99)
        assert not base.indexes()
        store.vectors.put(Vector(space="s", id="last", values=np.ones(8)))
        assert len(base.indexes()) == 1
        assert nearest(store, np.ones(8))[0] == "last"


def test_zero_means_never(base: Base) -> None:
    with base.open(index=0) as store:
        fill(store, "s", 200)
        assert not base.indexes()
        assert len(nearest(store, np.ones(8))) == 3


@pytest.mark.parametrize("metric", ["cosine", "l2", "dot"])
@pytest.mark.parametrize(("dim", "dtype"), [(128, "float32"), (128, "float16"), (2_500, "float32")])
def test_a_search_reads_the_index(base: Base, metric: Any, dim: int, dtype: Any) -> None:
    with base.open() as store:
        matrix = fill(store, "s", 400 if dim > 128 else 3_000, dim, metric=metric, dtype=dtype)
        fill(store, "other", 200, dim)
        store.branch("lab")
        then = store.head()
    assert base.reads(lambda store: nearest(store, matrix[0]))
    assert base.reads(lambda store: nearest(store.at("lab"), matrix[0]))
    assert base.reads(lambda store: nearest(store.at(then), matrix[0]))
    assert not base.reads(lambda store: store.vectors.search(matrix[0], k=3, space="s", exact=True))


def test_a_filter_that_many_match_is_judged_inside_the_index_scan(base: Base) -> None:
    with base.open() as store:
        matrix = NOISE.normal(size=(3_000, 8))
        store.spaces.create("s", 8, table="memories")
        with store.batch() as batch:
            batch.memories.put([Memory(id=f"m{i}", tier=i % 100) for i in range(3_000)])
            batch.vectors.put([Vector(space="s", id=f"m{i}", values=row) for i, row in enumerate(matrix)])
    for tier, many in ((50, True), (3, False)):
        where = F.tier < tier
        assert (
            base.reads(lambda store, where=where: store.memories.search(matrix[0], where=where, space="s"))
            is many
        )


def test_an_index_goes_with_its_space_and_its_namespace(base: Base) -> None:
    with base.open() as store, base.open("other") as other:
        for space in ("s", "t"):
            fill(store, space, 150)
            fill(other, space, 150)
        names = set(base.indexes())
        assert len(names) == 4
        store.spaces.drop("s")
        left = set(base.indexes())
        assert len(left) == 3
        matrix = fill(store, "s", 150, 5, metric="l2")  # of the same name, with more than another dimension
        assert len(base.indexes()) == 4
        assert nearest(store, matrix[7])[0] == "v7"
    with base.open() as store:
        store.namespaces.drop("other")
        assert len(base.indexes()) == 2
        assert nearest(store, matrix[7])[0] == "v7"
        assert store.verify().ok


def test_without_the_extension_searches_are_exact_and_it_can_come_later(base: Base) -> None:
    base.run(REFUSE)
    with base.open() as store:
        matrix = fill(store, "s", 300)
        assert not base.indexes()
        assert nearest(store, matrix[3])[0] == "v3"
    base.run("DROP EVENT TRIGGER refuse")
    with base.open() as store:
        assert nearest(store, matrix[3])[0] == "v3"
        assert not base.run("SELECT 1 FROM pg_extension WHERE extname = 'vector'")

    options = parse_url(base.url, "rw", embedded=False)
    with PostgresPlugin(embedded=False)._connected(base.url) as (connection, _):
        connection.execute("SET default_transaction_read_only = off")
        assert enable(connection, options)
        assert enable(connection, options)
    assert base.run("SELECT count(*) FROM perdure.vectors WHERE search IS NOT NULL") == [(300,)]
    with base.open() as store:
        store.vectors.put(Vector(space="s", id="new", values=matrix[3]))
        assert len(base.indexes()) == 1
        assert nearest(store, matrix[3])[:2] == ["new", "v3"]


def test_a_role_that_may_not_build_indexes_searches_without(base: Base) -> None:
    base.open().close()
    base.server.run(f"DROP ROLE IF EXISTS clerk_{base.name}")
    base.server.run(f"CREATE ROLE clerk_{base.name} LOGIN")
    base.run(f"GRANT USAGE ON SCHEMA perdure TO clerk_{base.name}")
    base.run(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA perdure TO clerk_{base.name}")
    with base.open(user=f"clerk_{base.name}") as store:
        matrix = fill(store, "s", 200)
        assert not base.indexes()
        assert nearest(store, matrix[9])[0] == "v9"
        with base.open() as owner:  # whose next vector makes up for it
            owner.vectors.put(Vector(space="s", id="more", values=np.ones(8)))
        assert len(base.indexes()) == 1
        store.spaces.drop("s")
        matrix = fill(store, "s", 200, 5)  # while the index of the old one is still there
        assert nearest(store, matrix[9])[0] == "v9"


def test_what_a_build_that_was_broken_off_left_is_made_good(base: Base) -> None:
    with base.open() as store:
        matrix = fill(store, "s", 150)
    (name,) = base.indexes()
    base.run(f"UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'perdure.{name}'::regclass")
    with base.open() as store:
        assert nearest(store, matrix[4])[0] == "v4"
        store.vectors.put(Vector(space="s", id="more", values=np.ones(8)))
        valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'perdure.{}'::regclass"
        assert base.run(valid.format(name)) == [(True,)]
        assert store.verify().ok


def test_what_an_index_finds_is_tried_when_it_is_built(base: Base) -> None:
    with base.open() as store:
        fill(store, "s", 2_000)
    (name,) = base.indexes()
    assert base.reads(lambda store: nearest(store, np.ones(8)))
    assert base.run(f"SELECT obj_description('perdure.{name}'::regclass)") == [("perdure ef=40 rows=2000",)]
    # An index that cannot do it is not used: ef=0 says so.
    base.run(f"COMMENT ON INDEX perdure.{name} IS 'perdure ef=0 rows=2000'")
    assert not base.reads(lambda store: nearest(store, np.ones(8)))
