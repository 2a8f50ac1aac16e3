"""`perdure schema upgrade` on Postgres: databases of every past revision come up to date, once, or not at all."""

import json
import os
import pty
import subprocess
import sys
from functools import partial
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import perdure
import psycopg
import pytest
from perdure import Busy, CorruptStore, IncompatibleStore, Memory, NotFound, PermissionDenied
from perdure_postgres import embedded
from perdure_postgres._upgrade import DERIVED
from perdure_sql import SCHEMA_REVISION
from perdure_sql.upgrade import pending, revisions
from psycopg import sql

#: A cell of each type that a column may have.
CELLS = {"bigint": 7, "text": "7", "bytea": b"7", "double precision": 7.5}


def run(server: Any, script: Any) -> list[Any]:
    """Statements in one transaction; the rows of the last."""
    with psycopg.connect(server.conninfo) as connection:
        cursor = connection.execute(script)
        return cursor.fetchall() if cursor.description else []


def contents(server: Any, schema: str) -> list[Any]:
    """Every table, column, index and constraint of a schema, and of its tables every row."""
    with psycopg.connect(server.conninfo) as connection:
        place = {"schema": schema}
        found: list[Any] = connection.execute(
            "SELECT table_name, column_name, data_type, collation_name, is_nullable, is_identity "
            "FROM information_schema.columns WHERE table_schema = %(schema)s ORDER BY 1, 2",
            place,
        ).fetchall()
        found += connection.execute(
            "SELECT indexdef FROM pg_indexes WHERE schemaname = %(schema)s ORDER BY 1", place
        ).fetchall()
        for table in sorted({row[0] for row in found if len(row) > 1}):
            query = sql.SQL("SELECT t::text FROM {} t ORDER BY 1").format(sql.Identifier(schema, table))
            found.append((table, connection.execute(query).fetchall()))
        return found


def built(server: Any, schema: str, revision: str | None) -> dict[str, list[str]]:
    """Make a database of a past revision, with a row in each table that it has; the columns of each."""
    with psycopg.connect(server.conninfo) as connection:
        name = sql.Identifier(schema)
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(name))
        connection.execute(sql.SQL("SET LOCAL search_path = {}, pg_catalog").format(name))
        for each in pending("postgresql", None, to=revision) if revision else []:
            for statement in each.statements:
                connection.execute(statement)  # type: ignore[arg-type]
        tables: dict[str, dict[str, str]] = {}
        for table, column, kind in connection.execute(
            "SELECT table_name, column_name, data_type FROM information_schema.columns "
            "WHERE table_schema = %s AND table_name <> 'alembic_version' ORDER BY 2",
            (schema,),
        ):
            tables.setdefault(table, {})[column] = kind
        for table, columns in tables.items():
            insert = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
                sql.Identifier(table),
                sql.SQL(", ").join(map(sql.Identifier, columns)),
                sql.SQL(", ").join(sql.Literal(CELLS[kind]) for kind in columns.values()),
            )
            connection.execute(insert)
        return {table: list(columns) for table, columns in tables.items()}


@pytest.mark.parametrize("revision", [None, *revisions()])
def test_a_database_of_every_past_revision_becomes_like_a_fresh_one(server, revision):
    schema = server.schema()
    url = server.url(schema=schema)
    tables = built(server, schema, revision)
    before = {table: read(server, schema, table, columns) for table, columns in tables.items()}
    assert all(len(rows) == 1 for rows in before.values())
    if revision is not None and revision != SCHEMA_REVISION:
        with pytest.raises(IncompatibleStore, match="perdure schema upgrade"):
            perdure.open(url)
    steps = [each.id for each in embedded.schema_upgrade(url, dry_run=False) if each != DERIVED]
    assert steps == revisions()[revisions().index(revision) + 1 if revision else 0 :]
    assert embedded.schema_diff(url) == []
    assert {table: read(server, schema, table, columns) for table, columns in tables.items()} == before
    found = read(server, schema, "alembic_version", ["version_num"])
    assert found == [(SCHEMA_REVISION,)]
    fresh = server.schema()
    perdure.open(server.url(schema=fresh)).close()
    assert unplanned(server, schema) == unplanned(server, fresh) != []


def unplanned(server: Any, schema: str) -> list[Any]:
    """The columns that the planner keeps no figures of, which migra does not compare."""
    return server.run(
        "SELECT c.relname, a.attname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid "
        "WHERE c.relnamespace = %s::regnamespace AND a.attstattarget = 0 AND a.attname <> 'search' ORDER BY 1, 2",
        schema,
    )


def read(server: Any, schema: str, table: str, columns: list[str]) -> list[Any]:
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    return run(server, sql.SQL("SELECT {} FROM {}").format(names, sql.Identifier(schema, table)))


def test_an_upgraded_store_works(server):
    url = server.url()
    told: list[tuple[int, int]] = []
    steps = embedded.schema_upgrade(url, dry_run=False, progress=lambda *numbers: told.append(numbers))
    assert told == [(place + 1, len(steps)) for place in range(len(steps))]
    assert embedded.schema_upgrade(url, dry_run=False) == []
    columns = ["search", "search_key"]  # as where `open` creates a store
    assert read(server, url.rpartition("=")[2], "vectors", columns) == []
    with perdure.open(url) as store:
        store.memories.put(Memory(id="a"))
        assert store.verify().problems == ()


def test_a_dry_run_changes_nothing_and_prints_what_does_it(server):
    schema = server.schema()
    url = server.url(schema=schema)
    built(server, schema, None)
    before = contents(server, schema)
    steps = embedded.schema_upgrade(url, dry_run=True)
    assert contents(server, schema) == before
    run(server, ";".join(text for each in steps for text in each.statements))
    assert embedded.schema_diff(url) == []
    absent = server.schema()
    embedded.schema_upgrade(server.url(schema=absent), dry_run=True)
    assert not run(server, f"SELECT 1 FROM pg_namespace WHERE nspname = '{absent}'")


@pytest.mark.parametrize("name", ['we"ird; up', "ünï 100% {x} %s up"])
def test_any_schema_name(server, name):
    url = f"postgresql+embedded:///{server.directory}?schema={quote(name, safe='')}"
    assert [each.id for each in embedded.schema_upgrade(url, dry_run=True)][:1] == revisions()[:1]
    embedded.schema_upgrade(url, dry_run=False)
    assert embedded.schema_diff(url) == []


def test_an_upgrade_that_fails_half_way_changes_nothing(server):
    schema = server.schema()
    run(server, f"CREATE SCHEMA {schema}; CREATE SEQUENCE {schema}.vectors_overrides")  # the name is taken
    with pytest.raises(perdure.StorageError, match="vectors_overrides"):
        embedded.schema_upgrade(server.url(schema=schema), dry_run=False)
    assert run(server, f"SELECT relname FROM pg_class WHERE relnamespace = '{schema}'::regnamespace") == [
        ("vectors_overrides",)
    ]


RACER = """
import sys
from perdure_postgres import embedded
print("ready", flush=True)
sys.stdin.readline()
print(len(embedded.schema_upgrade({url!r}, dry_run=False)), flush=True)
"""


def test_of_processes_that_upgrade_at_once_one_does_it(workers, server, tmp_path):
    url = server.url()
    racers = [workers.program(RACER.format(url=url), tmp_path / "racer") for _ in range(3)]
    for racer in racers:
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        racer.stdin.write("\n")
        racer.stdin.flush()
    ran = sorted(int(racer.stdout.readline()) for racer in racers)
    for racer in racers:
        racer.communicate()
        assert racer.returncode == 0
    assert ran[-1] >= len(revisions())
    assert ran[:-1] == [0, 0]
    assert embedded.schema_diff(url) == []


def test_who_waits_too_long_for_another_upgrade_is_told(server, url):
    held = "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))"
    with psycopg.connect(server.conninfo) as other:
        other.execute(held, (f"perdure {url.rpartition('=')[2]}",))
        for call in (lambda url: embedded.schema_upgrade(url, dry_run=False), embedded.schema_diff):
            with pytest.raises(Busy, match="try again"):
                call(f"{url}&timeout=0.05")
    embedded.schema_upgrade(url, dry_run=False)


def test_what_cannot_be_upgraded(server, url, tmp_path):
    absent = f"postgresql+embedded:///{tmp_path / 'absent'}"
    for dry_run in (True, False):
        with pytest.raises(NotFound):
            embedded.schema_upgrade(absent, dry_run=dry_run)
    assert not (tmp_path / "absent").exists()
    with pytest.raises(PermissionDenied, match="mode=ro"):
        embedded.schema_upgrade(f"{url}&mode=ro", dry_run=False)
    schema = server.schema()
    run(server, f"CREATE SCHEMA {schema}; CREATE TABLE {schema}.mine ()")
    with pytest.raises(IncompatibleStore, match="another program's"):
        embedded.schema_upgrade(server.url(schema=schema), dry_run=False)
    perdure.open(url).close()
    schema = url.rpartition("=")[2]
    for change, error, told in (
        ("UPDATE {}.alembic_version SET version_num = '9999'", IncompatibleStore, "install a newer"),
        ("DELETE FROM {}.alembic_version", CorruptStore, "does not say which revision"),
    ):
        run(server, change.replace("{}", schema))
        for dry_run in (True, False):
            with pytest.raises(error, match=told):
                embedded.schema_upgrade(url, dry_run=dry_run)


def test_a_role_without_rights_is_told_so(command, servers: SimpleNamespace, cluster, tmp_path):
    command = partial(command, "schema")
    with servers.server(tmp_path, cluster, servers.PASSWORD) as plain:
        plain.run("CREATE ROLE writer LOGIN PASSWORD 'hun%ter2'")
        url = plain.url(user="writer", password="hun%ter2", application_name="care")
        refused = command("upgrade", url)
        assert (refused.returncode, refused.stdout) == (7, "")
        assert refused.stderr.startswith(
            "error[permission_denied]: database postgres on 127.0.0.1 forbids it"
        )
        wrong = command("diff", url.replace("hun", "fun"), "--json")
        assert (wrong.returncode, json.loads(wrong.stderr)["error"]) == (7, "permission_denied")
        gone = command("diff", url.replace(f":{plain.port}/", ":1/"))
        assert gone.returncode == 5
        malformed = command("diff", f"{url}&sslmode=never&hun=1")
        assert malformed.returncode == 2
        for done in (refused, wrong, gone, malformed):
            assert "ter2" not in done.stdout + done.stderr
        plain.run("GRANT CREATE ON DATABASE postgres TO writer")
        assert command("upgrade", url).returncode == 0
        assert command("diff", url).returncode == 0


def on_terminal(*words: str, **environment: str) -> tuple[int, str]:
    """Run the command with a terminal for its output: exit code and what was shown."""
    mine, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", "from perdure.cli import main; main()", "schema", *words],
        stdin=theirs, stdout=theirs, stderr=theirs,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100", **environment},
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    while True:
        try:
            shown += os.read(mine, 65_536)
        except OSError:  # the other end is closed
            break
    os.close(mine)
    return process.wait(), shown.decode().replace("\r\n", "\n")


def test_the_commands(command, server, url):
    command = partial(command, "schema")
    dry = command("upgrade", url, "--dry-run")
    assert (dry.returncode, dry.stderr) == (0, "")
    lines = dry.stdout.splitlines()
    assert (lines[0], lines[1][:8], lines[-1]) == ("BEGIN;", "-- 0001:", "COMMIT;")
    document = json.loads(command("upgrade", url, "--dry-run", "--json").stdout)
    assert document["dry_run"] is True
    assert document["revisions"][0]["revision"] == "0001"
    run(server, dry.stdout)
    embedded.schema_upgrade(url, dry_run=False)  # what pgvector searches, where there is the extension
    assert json.loads(command("upgrade", url, "--json").stdout) == {"dry_run": False, "revisions": []}
    assert command("diff", url).stderr == "no difference\n"
    schema = url.rpartition("=")[2]
    run(server, f'DROP INDEX {schema}.memories_seq; ALTER TABLE {schema}.pins ADD "a\x1b[31m" int')
    done = command("diff", url)
    assert done.returncode == 1
    assert done.stderr == "some of these statements drop something: read them before they are run\n"
    told = json.loads(command("diff", url, "--json").stdout)
    assert told["ok"] is False
    assert [f"{each};" for each in told["statements"]] == done.stdout.splitlines()
    code, shown = on_terminal("diff", url, NO_COLOR="1")
    assert (code, "\x1b" in shown, "\\x1b[31m" in shown) == (1, False, True)
    run(server, done.stdout)
    assert command("diff", url).returncode == 0


def test_a_terminal_shows_a_table(server):
    code, shown = on_terminal("upgrade", server.url(), NO_COLOR="1")
    assert code == 0
    assert "revision" in shown
    assert "The first schema" in shown
    assert "\x1b[3" not in shown  # no colour
