"""`perdure schema` on SQLite: drift is told and mended, and files of every past revision come up to date."""

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import perdure
import pytest
from perdure import CorruptStore, IncompatibleStore, InvalidURL, Memory, NotFound, PermissionDenied
from perdure_sql import SCHEMA_VERSION, SchemaCare
from perdure_sql.upgrade import pending, revisions
from perdure_sqlite import plugin
from perdure_sqlite._schema import APPLICATION_ID, schema_problems
from perdure_sqlite._upgrade import upgrade_file

DRIFT = {
    "index": "DROP INDEX memories_seq",
    "changed index": "DROP INDEX memories_by_agent; CREATE INDEX memories_by_agent ON memories (agent)",
    "table": "DROP TABLE pins",
    "table and its indexes": "DROP TABLE traces",
    "extra index": "CREATE INDEX mine ON memories (title)",
    "extra table": 'CREATE TABLE "a ""b""\n;--" (x PRIMARY KEY); CREATE INDEX i ON "a ""b""\n;--" (x)',
    "extra view": "CREATE VIEW mine AS SELECT * FROM memories",
    "extra trigger": "CREATE TRIGGER mine AFTER INSERT ON memories BEGIN DELETE FROM memories; END",
}


@pytest.fixture
def url(path: Path) -> str:
    """The URL of a store with one memory."""
    with perdure.open(f"sqlite:///{path}") as store:
        store.memories.put(Memory(id="kept", text="a memory"))
    return f"sqlite:///{path}"


def changed(path: Path, script: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(script)


def contents(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        marks = [
            f"{name} {connection.execute(f'PRAGMA {name}').fetchone()}"
            for name in ("user_version", "application_id")
        ]
        return [*marks, *connection.iterdump()]


def test_the_plugin_cares_for_its_schema():
    assert isinstance(plugin, SchemaCare)


def test_a_fresh_store_has_no_drift(url):
    assert plugin.schema_diff(url) == []


@pytest.mark.parametrize("kind", DRIFT)
def test_what_is_printed_mends_the_drift(url, path, kind):
    changed(path, DRIFT[kind])
    before = contents(path)
    statements = plugin.schema_diff(url)
    assert statements
    assert contents(path) == before
    changed(path, "BEGIN;" + ";".join(statements) + ";COMMIT")
    assert plugin.schema_diff(url) == []
    with perdure.open(url) as store:
        assert store.memories["kept"].text == "a memory"
        assert store.verify().ok


def test_a_changed_table_is_told_in_a_comment(url, path):
    changed(path, "ALTER TABLE memories ADD COLUMN extra")
    (statement,) = plugin.schema_diff(url)
    assert statement.startswith("-- table 'memories' is defined otherwise")
    assert "\n" not in statement
    with perdure.open(url) as store:
        (problem,) = store.verify().problems
    assert "perdure schema diff" in problem.message


@pytest.fixture(params=[None, *revisions()], ids=str)
def old(request, path) -> Any:
    """A file of a past revision, with a row in each table that it has."""
    with closing(sqlite3.connect(path)) as connection:
        steps = pending("sqlite", None, to=request.param) if request.param else []
        for each in steps:
            for statement in each.statements:
                connection.execute(statement).fetchall()
        rows = {}
        for (table,) in connection.execute(
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT IN ('alembic_version', 'sqlite_sequence')"
        ).fetchall():
            names = {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}
            columns = ", ".join(f'"{name}"' for name in sorted(names))
            values = ", ".join("7" for _ in names)
            connection.execute(f"INSERT INTO {table} ({columns}) VALUES ({values})")
            rows[table] = sorted(names)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {len(steps)}")
        connection.commit()
    return rows


def test_a_file_of_every_past_revision_becomes_like_a_fresh_one(old, path):
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        upgrade_file(connection, 0)
        assert schema_problems(connection, "") == []
        assert connection.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
        assert connection.execute("SELECT * FROM alembic_version").fetchall() == [(revisions()[-1],)]
        for table, names in old.items():
            columns = ", ".join(f'"{name}"' for name in names)
            (row,) = connection.execute(f"SELECT {columns} FROM {table}").fetchall()
            assert {float(cell) for cell in row} == {7.0}, table


def test_an_upgrade_that_fails_half_way_changes_nothing(path):
    changed(path, "CREATE VIEW vectors_overrides AS SELECT 1")  # the last table's name is taken
    before = contents(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        with pytest.raises(sqlite3.OperationalError, match="vectors_overrides"):
            upgrade_file(connection, 0)
        assert not connection.in_transaction
    assert contents(path) == before


def test_a_file_that_lost_the_record_of_its_revision_is_refused(url, path):
    changed(path, "DELETE FROM alembic_version")
    with pytest.raises(CorruptStore, match="does not say which revision"):
        plugin.schema_upgrade(url, dry_run=True)
    changed(path, "DROP TABLE alembic_version")
    with pytest.raises(CorruptStore, match="does not say which revision"):
        plugin.schema_upgrade(url, dry_run=False)


def test_a_dry_run_changes_nothing(path):
    changed(path, f"PRAGMA application_id = {APPLICATION_ID}; CREATE TABLE t (x); DROP TABLE t")
    before = contents(path)
    steps = plugin.schema_upgrade(f"sqlite:///{path}", dry_run=True)
    assert [each.id for each in steps] == revisions()
    assert contents(path) == before
    changed(path, "BEGIN;" + ";".join(text for each in steps for text in each.statements) + ";COMMIT")
    assert plugin.schema_diff(f"sqlite:///{path}") == []


def test_an_upgrade_tells_how_far_it_is_and_runs_once(path):
    changed(path, f"PRAGMA application_id = {APPLICATION_ID}; CREATE TABLE t (x); DROP TABLE t")
    told: list[tuple[int, int]] = []
    url = f"sqlite:///{path}"
    steps = plugin.schema_upgrade(url, dry_run=False, progress=lambda *numbers: told.append(numbers))
    assert told == [(place + 1, len(steps)) for place in range(len(revisions()))]
    assert plugin.schema_upgrade(url, dry_run=False) == []
    with perdure.open(url) as store:
        store.memories.put(Memory(id="a"))
        assert store.verify().ok


RACER = """
import sys
from perdure_sqlite import plugin
print("ready", flush=True)
sys.stdin.readline()
print(len(plugin.schema_upgrade(sys.argv[1], dry_run=False)), flush=True)
"""


def test_of_processes_that_upgrade_at_once_one_does_it(path):
    changed(path, f"PRAGMA application_id = {APPLICATION_ID}; CREATE TABLE t (x); DROP TABLE t")
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, f"sqlite:///{path}"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for _ in range(3)
    ]  # fmt: skip
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("\n")
        racer.stdin.flush()
    assert sorted(int(racer.communicate()[0]) for racer in racers) == [0, 0, len(revisions())]
    assert plugin.schema_diff(f"sqlite:///{path}") == []


def test_what_cannot_be_looked_after(tmp_path, url, path):
    for call in (plugin.schema_diff, lambda url: plugin.schema_upgrade(url, dry_run=True)):
        with pytest.raises(NotFound):
            call(f"sqlite:///{tmp_path / 'absent.db'}")
        with pytest.raises(InvalidURL):
            call("sqlite:///x.db?unknown=1")
    assert not (tmp_path / "absent.db").exists()
    with pytest.raises(PermissionDenied, match="mode=ro"):
        plugin.schema_upgrade(f"{url}?mode=ro", dry_run=False)
    changed(path, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(IncompatibleStore, match="'9999'"):
        plugin.schema_upgrade(url, dry_run=True)
    changed(path, "PRAGMA user_version = 99")
    with pytest.raises(IncompatibleStore, match="99"):
        plugin.schema_diff(url)
    changed(path, "PRAGMA user_version = 0")
    with pytest.raises(IncompatibleStore, match="schema upgrade"):
        plugin.schema_diff(url)


def test_the_commands(command, url, path):
    command = partial(command, "schema")
    done = command("diff", url)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "no difference\n")
    changed(path, "DROP INDEX memories_seq")
    done = command("diff", url, NO_COLOR="1")
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout == "CREATE INDEX memories_seq ON memories (ns, branch, from_seq, to_seq, dead);\n"
    told = command("diff", url, "--json")
    assert told.returncode == 1
    assert json.loads(told.stdout) == {"ok": False, "statements": [done.stdout[:-2]]}
    assert command("upgrade", url).stderr == "nothing to do: the schema is of the newest revision\n"
    assert json.loads(command("upgrade", url, "--json").stdout) == {"dry_run": False, "revisions": []}
    assert "memories_seq" in command("diff", PERDURE_URL=url).stdout
    refused = command("diff", "memory://", "--json")
    assert refused.returncode == 7
    assert json.loads(refused.stderr)["error"] == "unsupported"
    assert command("diff", "nothing").returncode == 2
    assert command("upgrade", f"{url}-absent").returncode == 3
