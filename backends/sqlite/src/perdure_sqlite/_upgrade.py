"""Bringing an older file to this version's schema; imported only when one is met."""

from __future__ import annotations

import sqlite3

from perdure import CorruptStore
from perdure_sql import SCHEMA_VERSION, Progress, Revision
from perdure_sql.upgrade import pending

from perdure_sqlite._schema import begin_immediate

__all__ = ["missing", "upgrade_file"]


def missing(connection: sqlite3.Connection) -> list[Revision]:
    """The revisions that the file lacks, the mark of its schema version with the last one.

    Raises:
        CorruptStore: It does not say what revision it is of.
        IncompatibleStore: It is of a revision that this version does not know.
    """
    revisions = pending("sqlite", _revision(connection))
    if revisions:
        last = revisions[-1]
        mark = f"PRAGMA user_version = {SCHEMA_VERSION}"
        revisions[-1] = last._replace(statements=(*last.statements, mark))
    return revisions


def upgrade_file(
    connection: sqlite3.Connection, until: float, progress: Progress | None = None
) -> list[Revision]:
    """Run the revisions that the file lacks, all or none of them; what was run."""
    begin_immediate(connection, until)
    try:
        revisions = missing(connection)  # none, where another process was first
        for done, revision in enumerate(revisions, 1):
            for statement in revision.statements:
                connection.execute(statement).fetchall()
            if progress is not None:
                progress(done, len(revisions))
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return revisions


def _revision(connection: sqlite3.Connection) -> str | None:
    """What the file records; None where it has no tables."""
    tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    if not tables:
        return None
    rows = (
        connection.execute("SELECT version_num FROM alembic_version").fetchall()
        if "alembic_version" in tables
        else []
    )
    if len(rows) != 1:
        raise CorruptStore("the file does not say which revision its schema is of; restore it from a backup")
    return str(rows[0][0])
