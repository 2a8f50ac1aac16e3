"""Three roles: an owner that may change the schema, a writer, and a reader; and the command that makes them."""

import json
import runpy
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import perdure
import pytest
from perdure_postgres._roles import Roles, statements, tables
from psycopg import errors

HERE = Path(__file__).parent
servers = SimpleNamespace(**runpy.run_path(str(HERE / "servers.py")))
hooks = SimpleNamespace(**runpy.run_path(str(HERE / "hooks_kit.py")))

LOGINS = {"boss": "owner", "app": "writer", "report": "reader", "nobody": None}


@pytest.fixture(scope="session")
def grants(command: Any) -> Callable[..., str]:
    """Runs `perdure grants`: what it says on stdout, or where it fails on stderr."""

    def run(url: str, *options: str, code: int = 0) -> str:
        done = command("grants", url, *options)
        assert done.returncode == code, done.stderr
        return str(done.stderr if code else done.stdout)

    return run


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, cluster: Path, grants: Any) -> Iterator[Any]:
    """A server with a login for each role, and the database `team` in which they have them."""
    with servers.server(tmp_path_factory.mktemp("roles"), cluster) as started:
        for login in LOGINS:
            started.run(f"CREATE ROLE {login} LOGIN")
        grants(started.database("team"), "--apply")
        for login, role in LOGINS.items():
            if role is not None:
                started.run(f"GRANT perdure_{role} TO {login}")
        with perdure.open(started.url("team", "app")) as store:
            hooks.fill(store)
        perdure.open(started.url("team", "app"), namespace="other").close()
        yield started


def test_every_hook_is_called_here():
    assert hooks.READS.keys() | hooks.WRITES.keys() == hooks.HOOKS


@pytest.mark.parametrize("mode", ["r", "rw"])
@pytest.mark.parametrize("name", hooks.READS)
def test_a_reader_reads(server, name, mode):
    with perdure.open(server.url("team", "report"), mode=mode) as store:
        assert hooks.READS[name](store)


@pytest.mark.parametrize("mode", ["r", "rw"])
@pytest.mark.parametrize("name", hooks.WRITES)
def test_a_reader_writes_nothing(server, name, mode):
    with perdure.open(server.url("team", "report"), mode=mode) as store:
        before = hooks.export(store)
        with pytest.raises(perdure.PermissionDenied):
            hooks.WRITES[name](store)
        assert hooks.export(store) == before


def test_a_reader_makes_no_namespace(server):
    with pytest.raises(perdure.PermissionDenied):
        perdure.open(server.url("team", "report"), namespace="mine")
    with pytest.raises(perdure.NotFound):
        perdure.open(server.url("team", "report"), namespace="mine", mode="r")


@pytest.mark.parametrize("login", ["app", "boss"])
def test_writers_and_owners_call_every_hook(server, login):
    """The writer opens a store without the right to create anything but rows."""
    url = server.url("team", login)
    perdure.open(url, namespace="other").close()
    with perdure.open(url, namespace=f"of-{login}") as store:
        hooks.fill(store)
        for call in (*hooks.READS.values(), *hooks.WRITES.values()):
            call(store)
        assert store.verify().ok
    assert server.run("SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'perdure%'", database="team") == [
        (1,)
    ]


@pytest.mark.parametrize("login", ["app", "report", "nobody"])
@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE perdure.mine (n int)",
        "CREATE INDEX ON perdure.memories (text)",
        "ALTER TABLE perdure.memories ADD COLUMN mine int",
        "DROP TABLE perdure.memories",
        "TRUNCATE perdure.memories",
        "DELETE FROM perdure.alembic_version",
        "INSERT INTO perdure.namespaces (no, name, branch_count, space_epoch, purge_epoch, key, created_at, hash) "
        "VALUES (1000, 'chosen', 0, 0, 0, '', 0, '')",
        "UPDATE perdure.namespaces SET no = 1000",
        "UPDATE perdure.namespaces SET name = 'mine'",
        "DELETE FROM perdure.erased",
        "CREATE TRIGGER mine BEFORE INSERT ON perdure.memories EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        "SET ROLE perdure_owner",
        "CREATE ROLE mine",
        "CREATE SCHEMA mine",
    ],
)
def test_only_the_owner_changes_the_schema(server, login, statement):
    with server.connect("team", login) as connection, pytest.raises(errors.InsufficientPrivilege):
        connection.execute(statement)


def test_without_a_role_nothing_is_to_be_seen(server):
    for mode in ("r", "rw"):
        with pytest.raises(perdure.PermissionDenied, match="role"):
            perdure.open(server.url("team", "nobody"), mode=mode)


def test_what_a_writer_purged_is_overwritten_by_the_owner(server):
    with perdure.open(server.url("team", "app"), namespace="purges") as store:
        store.memories.put(perdure.Memory(id="secret", text="c0nfidential"))
        store.purge("memories", "secret")
        assert store.compact().bytes_freed == 0
    assert server.run("SELECT count(*) > 0 FROM perdure.erased", database="team") == [(True,)]
    with perdure.open(server.url("team", "boss"), namespace="purges") as store:
        store.compact()
    assert server.run("SELECT count(*) FROM perdure.erased", database="team") == [(0,)]


def test_each_table_has_grants_and_an_owner(server):
    found = server.run(
        "SELECT c.relname, pg_get_userbyid(c.relowner), has_table_privilege('report', c.oid, 'SELECT'), "
        "has_table_privilege('report', c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER'), "
        "has_table_privilege('app', c.oid, 'TRUNCATE, REFERENCES, TRIGGER'), "
        "has_table_privilege('nobody', c.oid, 'SELECT') "
        "FROM pg_class c WHERE c.relnamespace = 'perdure'::regnamespace AND c.relkind IN ('r', 'p')",
        database="team",
    )
    assert {row[0] for row in found} == set(tables())
    assert {row[1:] for row in found} == {("perdure_owner", True, False, False, False)}


def test_the_command_prints_what_it_would_do(grants, server):
    url = server.database("printed")
    printed = grants(url, "--prefix", "odd 'role\"", "--rls")
    assert server.run("SELECT count(*) FROM pg_roles WHERE rolname LIKE 'odd%'") == [(0,)]
    perdure.open(url).close()
    for _ in range(2):
        server.run(printed, database="printed")
        assert server.run("SELECT rolname FROM pg_roles WHERE rolname LIKE 'odd%' ORDER BY 1") == [
            (f"odd 'role\"_{kind}",) for kind in ("owner", "reader", "tenant", "writer")
        ]


def test_the_command_applies_it_again_and_again(grants, server):
    url = server.database("applied")
    privileges = (
        "SELECT relname, relacl::text FROM pg_class WHERE relnamespace = 'perdure'::regnamespace ORDER BY 1"
    )
    first = json.loads(grants(url, "--apply", "--json"))
    before = server.run(privileges, database="applied")
    assert json.loads(grants(url, "--apply", "--json")) == first
    assert server.run(privileges, database="applied") == before
    assert first["applied"]
    assert first["roles"] == {
        "owner": "perdure_owner",
        "writer": "perdure_writer",
        "reader": "perdure_reader",
    }
    assert first["statements"] == statements("perdure", Roles.of("perdure"), rls=False)


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (["--prefix", "x" * 57], 2, "63 bytes"),
        (["--prefix", "pg_mine"], 2, "pg_"),
        (["--prefix", ""], 2, "63 bytes"),
        (["--tenant", "acme=acme"], 2, "--rls"),
        (["--rls", "--tenant", "acme"], 2, "LOGIN=NAMESPACE"),
        (["--rls", "--tenant", "acme=no name\n"], 2, "namespace"),
        (["--rls", "--tenant", "missing=acme", "--apply"], 3, "create each login"),
    ],
)
def test_what_the_command_refuses(grants, server, options, code, says):
    assert says in grants(server.url("team"), *options, code=code)


def test_who_may_not_grant_is_told_so_and_nothing_is_changed(grants, server):
    assert "permission_denied" in grants(server.url("team", "app"), "--apply", "--prefix", "mine", code=7)
    assert server.run("SELECT count(*) FROM pg_roles WHERE rolname LIKE 'mine%'") == [(0,)]
    assert "only Postgres" in grants("sqlite:///agent.db", code=2)


def test_a_writer_alone_finds_no_store_to_create(server):
    url = server.database("empty")
    with pytest.raises(perdure.PermissionDenied):
        perdure.open(url.replace("postgres@", "app@"))
    assert server.run("SELECT count(*) FROM pg_namespace WHERE nspname = 'perdure'", database="empty") == [
        (0,)
    ]
