"""`verify` notices what a schema has lost, without migra."""

import perdure
import pytest
from perdure import Memory
from psycopg import sql

LOST = {
    "DROP TABLE {s}.counters": "counters",
    "ALTER TABLE {s}.skills DROP COLUMN trigger": "skills.trigger",
    "DROP INDEX {s}.memories_seq": "memories_seq",
    "DROP INDEX {s}.traces_by_intent": "traces_by_intent",
    "ALTER TABLE {s}.pins DROP CONSTRAINT pins_pkey": "pins (ns, branch, seq)",
    "ALTER TABLE {s}.branches DROP CONSTRAINT branches_ns_name_key": "branches (ns, name)",
    "UPDATE pg_index SET indisvalid = false WHERE indexrelid = '{s}.memories_seq'::regclass": "memories_seq",
}


@pytest.mark.parametrize("change", LOST)
def test_what_is_lost_is_told(server, change):
    schema = server.schema()
    with perdure.open(server.url(schema=schema)) as store:
        store.memories.put(Memory(id="a"))
        assert store.verify().problems == ()
        server.run(change.replace("{s}", schema))
        report = store.verify()
    assert not report.ok
    assert f"{schema}:{LOST[change]}" in {problem.where for problem in report.problems}


def test_what_owners_add_is_no_problem(server):
    schema = server.schema()
    with perdure.open(server.url(schema=schema)) as store:
        store.memories.put(Memory(id="a"))
        for change in (
            "CREATE TABLE {s}.mine (x int PRIMARY KEY)",
            "CREATE INDEX mine_too ON {s}.memories (title)",
            "ALTER TABLE {s}.memories ADD COLUMN extra int",
        ):
            server.run(change.replace("{s}", schema))
        assert store.verify().problems == ()


def test_a_schema_whose_name_needs_quotes(server):
    name = 'We "ird'
    with perdure.open(server.url(schema=name)) as store:
        store.memories.put(Memory(id="a"))
        assert store.verify().problems == ()
        assert store.stats().store_bytes > 0
        store.compact()
        server.run(sql.SQL("DROP INDEX {}.links_seq").format(sql.Identifier(name)).as_string(None))
        (problem,) = store.verify().problems
    assert problem.where == f"{name}:links_seq"
    assert "perdure schema diff" in problem.message
