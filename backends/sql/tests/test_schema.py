"""The revisions of the schema, rendered as SQL: they build what a fresh store has, on every kind of database."""

import re
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from perdure import IncompatibleStore
from perdure_sql import SCHEMA_REVISION, create_statements, sql_dialect
from perdure_sql.upgrade import pending, revisions


def test_the_newest_revision_is_the_one_that_fresh_stores_record():
    assert revisions()[-1] == SCHEMA_REVISION
    assert pending("sqlite", SCHEMA_REVISION) == []


def test_all_revisions_build_what_a_fresh_store_has():
    def described(statements: list[str]) -> dict[str, str]:
        with closing(sqlite3.connect(":memory:")) as connection:
            for statement in statements:
                connection.execute(statement).fetchall()
            assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [
                (SCHEMA_REVISION,)
            ]
            rows = connection.execute("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL")
            return {name: re.sub(r"\s*([(),])\s*", r"\1", " ".join(sql.split())) for name, sql in rows}

    run = [statement for each in pending("sqlite", None) for statement in each.statements]
    assert described(run) == described(create_statements(sql_dialect("sqlite", "qmark")))


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
def test_each_revision_says_what_it_does_in_single_statements(dialect):
    steps = pending(dialect, None)
    assert [each.id for each in steps] == revisions()
    for each in steps:
        assert each.title
        assert each.statements
        assert not [text for text in each.statements if text.endswith(";") or "%%" in text]


def test_the_way_starts_and_ends_at_any_revision():
    every = pending("sqlite", None)
    for place, revision in enumerate(revisions()):
        assert pending("sqlite", None, to=revision) + pending("sqlite", revision) == every
        assert len(pending("sqlite", revision)) == len(every) - place - 1


@pytest.mark.parametrize("found", ["9999", "none", "", "0001, 0002", "x" * 500])
def test_an_unknown_revision_is_refused(found):
    with pytest.raises(IncompatibleStore, match="install a newer") as caught:
        pending("postgresql", found)
    assert len(caught.value.message) < 300


def test_threads_do_not_write_into_each_others_revisions():
    expected = {name: pending(name, None) for name in ("sqlite", "postgresql")}
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda name: (name, pending(name, None)), ["sqlite", "postgresql"] * 8))
    assert all(steps == expected[name] for name, steps in found)
