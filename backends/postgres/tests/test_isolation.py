"""Row-level security: a tenant works in its own namespaces, and gets at no other, whatever SQL it sends."""

import runpy
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import perdure
import psycopg
import pytest
from perdure import Memory
from psycopg import errors

HERE = Path(__file__).parent
servers = SimpleNamespace(**runpy.run_path(str(HERE / "servers.py")))
hooks = SimpleNamespace(**runpy.run_path(str(HERE / "hooks_kit.py")))

SECRET = "s3cret-of-bolt"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, cluster: Path, command: Any) -> Iterator[Any]:
    """A server where `acme` has the namespaces acme and acme2, `bolt` has bolt, and `app` writes everywhere."""
    with servers.server(tmp_path_factory.mktemp("isolation"), cluster) as started:
        for login in ("acme", "bolt", "app"):
            started.run(f"CREATE ROLE {login} LOGIN")
        mine = ["acme=acme", "acme=acme2", "bolt=bolt"]
        options = ["--rls", "--apply", *(word for each in mine for word in ("--tenant", each))]
        assert command("grants", started.database("shared"), *options).returncode == 0
        started.run("GRANT perdure_writer TO app")
        for login in ("acme", "bolt"):
            with perdure.open(started.url("shared", login), namespace=login) as store:
                hooks.fill(store)
        with perdure.open(started.url("shared", "bolt"), namespace="bolt") as store:
            store.memories.put([Memory(id=f"bolt-{i}", text=SECRET, tags=[SECRET]) for i in range(300)])
        with perdure.open(started.url("shared", "app"), namespace="nobodys") as store:
            store.memories.put(Memory(id="there", text=SECRET))
        started.run("ANALYZE", database="shared")
        yield started


@pytest.fixture
def acme(server: Any) -> Iterator[Any]:
    """A connection of the tenant, as any program of its could have it; nothing it does stays."""
    with server.connect("shared", "acme") as connection:
        connection.execute("SET search_path = perdure")
        connection.execute("BEGIN")
        yield connection
        connection.execute("ROLLBACK")


@pytest.fixture
def numbers(server: Any) -> dict[str, int]:
    return dict(server.run("SELECT name, no FROM perdure.namespaces", database="shared"))


def every_table(server: Any) -> dict[str, bool]:
    """The tables of the schema, and whether each has a column `ns`."""
    return dict(
        server.run(
            "SELECT c.relname, EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'ns') "
            "FROM pg_class c WHERE c.relnamespace = 'perdure'::regnamespace AND c.relkind IN ('r', 'p')",
            database="shared",
        )
    )


# -------------------------------------------------------------------------------------- through perdure


def test_a_tenant_calls_every_hook_on_its_own(server):
    url = server.url("shared", "acme")
    perdure.open(url, namespace="acme2").close()
    with perdure.open(url, namespace="acme") as store:
        for name, call in (*hooks.READS.items(), *hooks.WRITES.items()):
            if name == "drop_namespace":
                store.namespaces.drop("acme2")
            else:
                call(store)
        store.memories.put([Memory(id=f"many-{i}", text="bulk") for i in range(6_000)])
        assert store.memories.count(perdure.F.text == "bulk") == 6_000
        assert store.namespaces.list() == ["acme"]
        assert store.verify().ok


@pytest.mark.parametrize("name", ["bolt", "nobodys", "no-such-namespace"])
def test_a_tenant_opens_no_other_namespace_and_is_not_told_whether_it_exists(server, name):
    url = server.url("shared", "acme")
    with pytest.raises(perdure.NotFound) as missing:
        perdure.open(url, namespace=name, mode="r")
    assert set(missing.value.detail["namespaces"]) <= {"acme", "acme2"}
    with pytest.raises(perdure.PermissionDenied) as denied:
        perdure.open(url, namespace=name)
    assert str(denied.value).replace(name, "?") == (
        "database shared on 127.0.0.1 forbids it (new row violates row-level security policy for table "
        '"namespaces"); check the role and what it was granted'
    )
    with perdure.open(url, namespace="acme") as store, pytest.raises(perdure.NotFound):
        store.namespaces.drop(name)


def test_one_tenants_work_leaves_the_other_as_it_was(server):
    with perdure.open(server.url("shared", "bolt"), namespace="bolt", mode="r") as store:
        before = [repr(event) for event in store.export()]
    with perdure.open(server.url("shared", "acme"), namespace="acme") as store:
        store.purge("memories", "bolt-1")
        store.compact()
    with perdure.open(server.url("shared", "bolt"), namespace="bolt", mode="r") as store:
        assert [repr(event) for event in store.export()] == before
        assert store.verify().ok


def test_every_table_is_guarded(server):
    guarded = server.run(
        "SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'perdure'::regnamespace AND c.relrowsecurity",
        database="shared",
    )
    assert {row[0] for row in guarded} == set(every_table(server)) - {"alembic_version"}
    roles = server.run(
        "SELECT rolname FROM pg_roles WHERE rolname IN ('acme', 'bolt') AND (rolsuper OR rolbypassrls)"
    )
    assert roles == []


# ---------------------------------------------------------------------------------------- in raw SQL


def test_reading_others(server, acme, numbers):
    other = numbers["bolt"]
    for table, has_number in every_table(server).items():
        if has_number:
            assert acme.execute(f"SELECT count(*) FROM {table} WHERE ns = {other}").fetchone() == (0,), table
            assert SECRET not in repr(acme.execute(f"TABLE {table}").fetchall()), table
            with acme.cursor().copy(f"COPY (TABLE {table}) TO STDOUT") as copy:
                assert SECRET not in b"".join(map(bytes, copy)).decode(), table
    assert acme.execute("SELECT name FROM namespaces").fetchall() == [("acme",)]
    assert acme.execute("SELECT DISTINCT role FROM tenants").fetchall() == [("acme",)]


def test_reading_others_by_detours(acme):
    acme.execute("CREATE TEMP VIEW mine AS SELECT * FROM perdure.memories")
    acme.execute("CREATE TEMP TABLE copied AS SELECT * FROM perdure.memories")
    acme.execute("PREPARE p AS SELECT * FROM perdure.memories")
    acme.execute(
        "CREATE FUNCTION pg_temp.mine() RETURNS SETOF perdure.memories LANGUAGE sql SECURITY DEFINER "
        "AS 'SELECT * FROM perdure.memories'"
    )
    for source in ("TABLE mine", "TABLE copied", "EXECUTE p", "SELECT * FROM pg_temp.mine()"):
        rows = acme.execute(source).fetchall()
        assert rows, source
        assert SECRET not in repr(rows), source


def test_a_cheap_function_in_a_condition_is_shown_nothing(acme):
    seen: list[str] = []
    acme.add_notice_handler(lambda notice: seen.append(str(notice.message_primary)))
    acme.execute(
        "CREATE FUNCTION pg_temp.spy(text) RETURNS bool COST 0.0000001 LANGUAGE plpgsql "
        "AS $$ BEGIN RAISE NOTICE 'spied %', $1; RETURN true; END $$"
    )
    acme.execute(
        "CREATE FUNCTION pg_temp.spied(a text, b text) RETURNS bool LANGUAGE sql AS 'SELECT pg_temp.spy(a)'"
    )
    acme.execute("CREATE OPERATOR pg_temp.### (FUNCTION = pg_temp.spied, LEFTARG = text, RIGHTARG = text)")
    acme.execute("SELECT * FROM memories WHERE pg_temp.spy(coalesce(text, id))")
    acme.execute("SELECT * FROM memories WHERE coalesce(text, id) OPERATOR(pg_temp.###) 'x'")
    assert any("spied" in text for text in seen)
    assert not any(SECRET in text for text in seen)
    with pytest.raises(errors.InsufficientPrivilege):  # such a function would be asked before the policy
        acme.execute("ALTER FUNCTION pg_temp.spy LEAKPROOF")


def test_an_error_tells_no_row(acme, numbers):
    """A division by zero that only another's row would cause."""
    rows = acme.execute("SELECT 1 / (CASE WHEN text = %s THEN 0 ELSE 1 END) FROM memories", (SECRET,))
    assert rows.fetchall()
    rows = acme.execute("SELECT * FROM memories WHERE 1 / (ns - %s) <> 2", (numbers["bolt"],))
    assert rows.fetchall()


DENIED = [
    "INSERT INTO memories_overrides (ns, id, branch, first_seq) VALUES ({bolt}, 'x', 1, 1)",
    "INSERT INTO pins VALUES ({bolt}, 1, 1, '') ON CONFLICT DO NOTHING",
    "INSERT INTO pins VALUES ({bolt}, 1, 1, '') ON CONFLICT (ns, branch, seq) DO UPDATE SET hash = 'x'",
    "INSERT INTO erased VALUES ({bolt}, 1)",
    "UPDATE memories SET ns = {bolt} WHERE ns = {acme}",
    "UPDATE branches SET ns = {bolt}",
    "UPDATE namespaces SET no = {bolt}",
    "UPDATE namespaces SET name = 'bolt'",
    "INSERT INTO namespaces (name, branch_count, space_epoch, purge_epoch, key, created_at, hash) "
    "VALUES ('bolt', 0, 0, 0, '', 0, '') ON CONFLICT DO NOTHING",
    "INSERT INTO namespaces (name, branch_count, space_epoch, purge_epoch, key, created_at, hash) "
    "VALUES ('never-there', 0, 0, 0, '', 0, '') ON CONFLICT DO NOTHING",
    "MERGE INTO pins p USING (SELECT {bolt} AS ns) s ON p.ns = s.ns "
    "WHEN NOT MATCHED THEN INSERT VALUES (s.ns, 1, 1, '')",
    "INSERT INTO tenants VALUES ('acme', 'bolt')",
    "UPDATE tenants SET namespace = 'bolt'",
    "DELETE FROM tenants",
    "TRUNCATE memories",
    "SET ROLE bolt",
    "SET ROLE perdure_owner",
    "SET SESSION AUTHORIZATION bolt",
    "GRANT perdure_writer TO acme",
    "ALTER ROLE acme BYPASSRLS",
    "ALTER TABLE memories DISABLE ROW LEVEL SECURITY",
    "ALTER TABLE memories NO FORCE ROW LEVEL SECURITY",
    "DROP POLICY perdure_tenant ON memories",
    "CREATE POLICY mine ON memories USING (true)",
    "CREATE RULE mine AS ON SELECT TO memories DO INSTEAD SELECT * FROM memories",
    "CREATE TABLE perdure.mine (n int)",
    "CREATE STATISTICS mine ON text, id FROM memories",
    "TABLE pg_statistic",
    "SELECT last_value FROM namespaces_no_seq",
    "SELECT setval('namespaces_no_seq', 1000)",
    "COPY memories TO PROGRAM 'cat'",
    "COPY memories TO '/tmp/memories'",
    "SELECT pg_read_file('PG_VERSION')",
]


@pytest.mark.parametrize("statement", DENIED)
def test_writing_to_others_and_lifting_the_guard(acme, numbers, statement):
    with pytest.raises((errors.InsufficientPrivilege, errors.WrongObjectType)) as denied:
        acme.execute(statement.format(**numbers))
    assert "bolt" not in str(denied.value.diag.message_detail)


def test_the_guard_turned_off_is_an_error_not_a_way(acme):
    acme.execute("SET row_security = off")
    with pytest.raises(errors.InsufficientPrivilege, match="row-level security"):
        acme.execute("TABLE memories")


@pytest.mark.parametrize(
    "change", ["DELETE FROM memories", "UPDATE memories SET to_seq = 0", "DELETE FROM namespaces"]
)
def test_changing_everything_changes_ones_own(server, acme, change):
    query = "SELECT count(*) FROM perdure.memories WHERE text = %s"
    before = server.run(query, SECRET, database="shared")
    assert acme.execute(change).rowcount > 0
    acme.execute("COMMIT")  # even so
    assert server.run(query, SECRET, database="shared") == before
    assert {"bolt", "nobodys"} <= dict(
        server.run("SELECT name, no FROM perdure.namespaces", database="shared")
    ).keys()
    perdure.open(server.url("shared", "app"), namespace="acme").close()
    with perdure.open(server.url("shared", "app"), namespace="rescue") as store:
        store.namespaces.drop("acme")
    with perdure.open(server.url("shared", "acme"), namespace="acme") as store:
        hooks.fill(store)


def test_copying_in(acme, numbers):
    with pytest.raises(psycopg.Error), acme.cursor().copy("COPY pins FROM STDIN") as copy:
        copy.write_row((numbers["bolt"], 1, 1, b""))


def test_what_the_catalogue_tells(server, acme, numbers):
    """No rows: the views of the planner's figures hide what a policy guards. Sizes are everybody's."""
    assert acme.execute("SELECT count(*) FROM pg_stats WHERE tablename = 'memories'").fetchone() == (0,)
    for view in ("pg_stats", "pg_stats_ext", "pg_stat_activity", "pg_policies", "pg_prepared_statements"):
        assert SECRET not in repr(acme.execute(f"SELECT * FROM {view}").fetchall()), view
        assert (
            "bolt'" not in repr(acme.execute(f"SELECT * FROM {view} t").fetchall())
            or view == "pg_stat_activity"
        )
    assert acme.execute("SELECT pg_total_relation_size('memories')").fetchone()[0] > 0


def test_explain_shows_ones_own(acme, numbers):
    plan = acme.execute(
        f"EXPLAIN (ANALYZE, VERBOSE) SELECT * FROM memories WHERE ns = {numbers['bolt']}"
    ).fetchall()
    assert "rows=0.00" in plan[0][0]
    assert SECRET not in repr(plan)


def test_locks_stop_others_but_show_nothing(server, acme, numbers):
    """What a tenant can do to another one: keep it waiting, for Postgres has no right not to lock."""
    keys: list[tuple[int]] = []

    def look() -> Iterator[Any]:
        """Called while bolt writes: its locks are to be seen by everybody."""
        found = acme.execute(
            "SELECT (classid::int8 << 32) | objid::int8 FROM pg_locks WHERE locktype = 'advisory' AND granted"
        )
        keys.extend(found.fetchall())
        yield from ()

    with perdure.open(server.url("shared", "bolt", timeout="0.2"), namespace="bolt") as store:
        store.ingest(look())
        assert keys
        for key in keys:
            acme.execute("SELECT pg_advisory_xact_lock(%s)", key)
        with pytest.raises(perdure.Busy):
            store.memories.put(Memory(id="late"))
        assert store.memories["bolt-1"].text == SECRET
        acme.execute("LOCK TABLE memories IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(perdure.Busy):
            store.memories.get("bolt-1")
        acme.execute("ROLLBACK")
        store.memories.put(Memory(id="late"))


def test_policies_are_asked_once_for_each_query_and_indexes_serve(server):
    with perdure.open(server.url("shared", "acme"), namespace="acme2") as store:
        store.memories.put([Memory(id=f"m{i}", agent=f"agent {i}") for i in range(5_000)])
    server.run("ANALYZE perdure.memories", database="shared")
    ((number,),) = server.run("SELECT no FROM perdure.namespaces WHERE name = 'acme2'", database="shared")
    with server.connect("shared", "acme") as connection:
        for condition in ("id = 'm7'", "agent = 'agent 7'", "from_seq > 90"):
            query = f"SELECT * FROM perdure.memories WHERE ns = {number} AND branch = 1 AND {condition}"
            plan = "\n".join(row[0] for row in connection.execute(f"EXPLAIN {query}"))
            served = next(line for line in plan.splitlines() if "Index Cond" in line)
            assert condition.partition(" ")[0] in served, plan
            assert "ANY ((InitPlan" in served, plan
            assert "SubPlan" not in plan, plan
