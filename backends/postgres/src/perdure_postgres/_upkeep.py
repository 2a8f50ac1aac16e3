"""Upkeep of a database: whether its structures are whole, its size, and giving space back."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress

import sqlalchemy as sa
from perdure import Busy, Problem
from perdure_sql import metadata
from psycopg import errors, sql

from perdure_postgres._hnsw import PREFIX
from perdure_postgres._pool import Connection, run
from perdure_postgres._schema import LAYOUT

__all__ = ["integrity", "reclaim", "store_bytes"]

#: The schema that the connection works in; a cast to regnamespace would take its name for quoted text.
_HERE = "(SELECT n.oid FROM pg_namespace n WHERE n.nspname = current_schema())"

_TABLES = (
    f"SELECT c.relname FROM pg_class c WHERE c.relnamespace = {_HERE} "
    "AND c.relkind IN ('r', 'p') AND pg_has_role(c.relowner, 'USAGE') ORDER BY c.relname"
)

_COLUMNS = (
    "SELECT c.relname, a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid "
    f"WHERE c.relnamespace = {_HERE} AND c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped"
)

_INDEXES = (
    "SELECT t.relname, i.relname, x.indisvalid AND x.indisready, "
    "CASE WHEN x.indisunique AND x.indpred IS NULL THEN ARRAY(SELECT a.attname::text "
    "FROM unnest(x.indkey::int2[]) WITH ORDINALITY k (number, place) "
    "JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = k.number ORDER BY k.place) END "
    "FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class t ON t.oid = x.indrelid "
    f"WHERE t.relnamespace = {_HERE} ORDER BY t.relname, i.relname"
)

#: Each transaction of the database: those that have begun hold a lock on their own number, the prepared have a name.
_RUNNING = (
    "SELECT l.virtualtransaction FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid "
    "WHERE l.locktype = 'virtualxid' AND l.pid <> pg_backend_pid() AND a.datname = current_database() "
    "UNION ALL SELECT gid FROM pg_prepared_xacts WHERE database = current_database()"
)

_MEND = "perdure schema diff prints what brings it back, a backup has its rows"


def store_bytes(connection: Connection) -> int:
    """The size of all tables with their indexes."""
    found = connection.execute(
        "SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint FROM pg_class c "
        f"WHERE c.relnamespace = {_HERE} AND c.relkind = 'r'"
    ).fetchone()
    assert found is not None
    return int(found[0])


def integrity(connection: Connection, schema: str) -> list[Problem]:
    """Tables, columns, indexes and constraints that are missing, and indexes that Postgres does not trust.

    What else a definition says is for `perdure schema diff` to compare.
    """

    def problem(code: str, name: str, text: str) -> Problem:
        return Problem("error", code, f"{schema}:{name}", text)

    columns = set(connection.execute(_COLUMNS).fetchall())
    indexes = connection.execute(_INDEXES).fetchall()
    named = {(table, name) for table, name, _, _ in indexes}
    unique = {(table, tuple(key)) for table, _, _, key in indexes if key}
    tables, problems = {table for table, _ in columns}, []
    for table in metadata(LAYOUT).sorted_tables:
        if table.name not in tables:
            problems.append(problem("schema", table.name, f"the table is missing; {_MEND}"))
            continue
        problems += [
            problem("schema", f"{table.name}.{column.name}", f"the column is missing; {_MEND}")
            for column in table.c
            if (table.name, column.name) not in columns
        ]
        problems += [
            problem("schema", str(index.name), f"the index is missing; {_MEND}")
            for index in sorted(table.indexes, key=lambda index: str(index.name))
            if (table.name, index.name) not in named
        ]
        problems += [
            problem("schema", f"{table.name} ({', '.join(key)})", f"the columns are not kept unique; {_MEND}")
            for key in sorted(_keys(table))
            if (table.name, key) not in unique
        ]
    return problems + [
        problem("index", name, "the index is not valid; build it anew with REINDEX")
        for _, name, valid, _ in indexes
        if not valid and not name.startswith(PREFIX)  # being built, or to be: searches do without it
    ]


def _keys(table: sa.Table) -> set[tuple[str, ...]]:
    """Which columns are unique together: the primary key, and others."""
    return {
        tuple(column.name for column in constraint.columns)
        for constraint in table.constraints
        if isinstance(constraint, sa.PrimaryKeyConstraint | sa.UniqueConstraint) and constraint.columns
    }


def reclaim(connection: Connection, until: float) -> int:
    """Give space back; where rows were purged since the last time, see that their bytes are nowhere any more.

    What was purged stays in free parts of pages, which Postgres does not overwrite. So the tables are
    rewritten then, for which readers of each have to wait. Roles that do not own the tables leave
    it to one that does.

    Args:
        connection: Outside of any transaction.
        until: The moment of `time.monotonic` to wait until.

    Raises:
        Busy: A transaction that may still see what was purged has not ended by then; nothing is forgotten.
    """
    before = store_bytes(connection)
    tables = [row[0] for row in connection.execute(_TABLES)]
    erased = [row[0] for row in connection.execute("SELECT mark FROM erased")]
    if not tables:
        return 0
    if not erased:
        _each(connection, "VACUUM (SKIP_LOCKED) {}", tables)
    else:
        _outlive(connection, until)
        _each(connection, "VACUUM (FULL, ANALYZE) {}", tables)
        _forget(connection)
        connection.execute("DELETE FROM erased WHERE mark = ANY(%s)", (erased,))
    return max(0, before - store_bytes(connection))


def _outlive(connection: Connection, until: float) -> None:
    """Wait for all transactions of this database that run now: a rewritten table keeps what any of them may see."""
    older = {row[0] for row in connection.execute(_RUNNING)}
    while older.intersection(row[0] for row in connection.execute(_RUNNING)):
        if time.monotonic() >= until:
            raise Busy(
                "a transaction that began before still sees what was purged, so that it cannot be erased yet; "
                "compact again when it has ended"
            )
        time.sleep(0.01)


def _each(connection: Connection, text: str, tables: Sequence[str]) -> None:
    for name in tables:
        run(connection, [sql.SQL(text).format(sql.Identifier(name))])


def _forget(connection: Connection) -> None:
    """The planner's figures quote rows, and so does the log that a checkpoint makes superfluous."""
    for text in ("VACUUM FULL pg_catalog.pg_statistic", "SELECT pg_switch_wal()", "CHECKPOINT"):
        with suppress(errors.InsufficientPrivilege, errors.ObjectInUse):
            run(connection, [text])
