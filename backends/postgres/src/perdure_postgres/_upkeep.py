"""Upkeep of a database: whether its structures are whole, its size, and giving space back."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from perdure import Problem
from psycopg import errors, sql

from perdure_postgres._pool import Connection, run

__all__ = ["integrity", "reclaim", "store_bytes"]

_TABLES = (
    "SELECT c.relname FROM pg_class c WHERE c.relnamespace = current_schema()::regnamespace "
    "AND c.relkind IN ('r', 'p') AND pg_has_role(c.relowner, 'USAGE') ORDER BY c.relname"
)


def store_bytes(connection: Connection) -> int:
    """The size of all tables with their indexes."""
    found = connection.execute(
        "SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint FROM pg_class c "
        "WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r'"
    ).fetchone()
    assert found is not None
    return int(found[0])


def integrity(connection: Connection, schema: str) -> list[Problem]:
    """Indexes that Postgres does not trust."""
    rows = connection.execute(
        "SELECT i.indexrelid::regclass::text FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid "
        "WHERE c.relnamespace = current_schema()::regnamespace AND NOT (i.indisvalid AND i.indisready)"
    )
    return [
        Problem("error", "index", f"{schema}:{name}", "the index is not valid; build it anew with REINDEX")
        for (name,) in rows
    ]


def reclaim(connection: Connection) -> int:
    """Give space back; where rows were purged since the last time, see that their bytes are nowhere any more.

    What was purged stays in free parts of pages, which Postgres does not overwrite. So the tables are
    rewritten then, for which readers of each have to wait. Roles that do not own the tables leave
    it to one that does.
    """
    before = store_bytes(connection)
    tables = [row[0] for row in connection.execute(_TABLES)]
    erased = [row[0] for row in connection.execute("SELECT ns FROM erased")]
    if not tables:
        return 0
    if not erased:
        _each(connection, "VACUUM (SKIP_LOCKED) {}", tables)
    else:
        _each(connection, "VACUUM (FULL, ANALYZE) {}", tables)
        _forget(connection)
        connection.execute("DELETE FROM erased WHERE ns = ANY(%s)", (erased,))
    return max(0, before - store_bytes(connection))


def _each(connection: Connection, text: str, tables: Sequence[str]) -> None:
    for name in tables:
        run(connection, [sql.SQL(text).format(sql.Identifier(name))])


def _forget(connection: Connection) -> None:
    """The planner's figures quote rows, and so does the log that a checkpoint makes superfluous."""
    for text in ("VACUUM FULL pg_catalog.pg_statistic", "SELECT pg_switch_wal()", "CHECKPOINT"):
        with suppress(errors.InsufficientPrivilege, errors.ObjectInUse):
            run(connection, [text])
