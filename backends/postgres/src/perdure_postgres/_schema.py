"""The schema of a database: telling ours from others, and creating it."""

from __future__ import annotations

from functools import cache

import sqlalchemy as sa
from perdure import IncompatibleStore, NotFound, PermissionDenied, Unsupported
from perdure_sql import SCHEMA_REVISION, Physical, create_statements, metadata, sql_dialect
from psycopg import sql

from perdure_postgres._options import Options
from perdure_postgres._pool import Connection, run
from perdure_postgres._vectors import enable

__all__ = ["DIALECT", "LAYOUT", "ddl", "lock_schema", "outdated", "prepare", "revision"]

#: SQLAlchemy's dialect; parameters have names, since one that is used often is then sent once.
DIALECT = sql_dialect("postgresql.psycopg", "pyformat")

#: Text compares by code point; an index entry has at most about 2,700 bytes, so long texts are indexed by hash.
LAYOUT = Physical(
    text=sa.Text(collation="C"), digest=lambda column: sa.func.hashtextextended(column, 0), leading=True
)

_LEAST_SERVER = 140_000

#: Which namespaces rows were purged from, until compaction has rewritten the tables. Each purge has a mark of its
#: own, so that a compaction forgets those only that it saw when it began.
_ERASED = "CREATE TABLE erased (ns BIGINT NOT NULL, mark BIGINT NOT NULL, PRIMARY KEY (ns, mark))"


@cache
def ddl() -> tuple[str, ...]:
    """The statements that create the newest schema's tables."""
    return (*create_statements(DIALECT, LAYOUT), *_unplanned(), _ERASED)


def _unplanned() -> list[str]:
    """Columns that no plan depends on: to sample them takes long, and would quote them in the planner's figures."""
    statements = []
    for table in metadata(LAYOUT).sorted_tables:
        indexed = {column.name for index in table.indexes for column in index.columns}
        keys = [
            each
            for each in table.constraints
            if isinstance(each, sa.PrimaryKeyConstraint | sa.UniqueConstraint)
        ]
        indexed |= {column.name for key in keys for column in key.columns}
        names = [
            column.name
            for column in table.columns
            if isinstance(column.type, sa.Text | sa.LargeBinary) and column.name not in indexed
        ]
        changes = ", ".join(f'ALTER COLUMN "{name}" SET STATISTICS 0' for name in names)
        if changes:
            statements.append(f"ALTER TABLE {table.name} {changes}")
    return statements


def prepare(connection: Connection, options: Options) -> None:
    """See that the schema is there and of this version; it is created where the store is open for writing.

    Raises:
        NotFound: It is not there, and the store is to be read only.
        IncompatibleStore: It is another program's, or of another revision: an older one is not upgraded here,
            since others may have it open.
        Unsupported: The server is too old.
    """
    if connection.info.server_version < _LEAST_SERVER:
        raise Unsupported(
            f"{options.place} is PostgreSQL {connection.info.server_version // 10_000}; it must be 14 or newer"
        )
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        raise Unsupported(
            f"{options.place} is encoded in {encoding}, which has not every text; make one with ENCODING 'UTF8'"
        )
    found = revision(connection, options)
    if found is None:
        if options.read_only:
            raise NotFound(
                f"{options.place} has no store in the schema {options.schema!r}; check the URL, or write to it "
                "(mode='rw') to create it",
                schema=options.schema,
            )
        _create(connection, options)
    elif found != SCHEMA_REVISION:
        raise IncompatibleStore(outdated(options, found), revision=found)


def outdated(options: Options, found: str) -> str:
    """What to do about a store of another revision."""
    if found.isdecimal() and found < SCHEMA_REVISION:
        return (
            f"{options.place} has the schema of the older revision {found!r}; when no older version has it open, "
            "bring it up to date with perdure schema upgrade"
        )
    return (
        f"{options.place} has the schema of revision {found!r}; this perdure-postgres knows up to "
        f"{SCHEMA_REVISION!r}: install a newer one"
    )


def revision(connection: Connection, options: Options) -> str | None:
    """The revision of the store in the schema; None where there is none, nor anything else.

    Raises:
        IncompatibleStore: The schema holds tables of another program.
        PermissionDenied: This role may not look into it.
    """
    tables = {
        row[0]
        for row in connection.execute(
            "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE n.nspname = %s AND c.relkind IN ('r', 'p', 'v', 'm', 'f')",
            (options.schema,),
        )
    }
    if not tables:
        return None
    if connection.execute("SELECT has_schema_privilege(%s, 'USAGE')", (options.schema,)).fetchone() != (
        True,
    ):
        raise PermissionDenied(
            f"{options.place} does not let this role into the schema {options.schema!r}; grant it one of the roles "
            "that perdure grants makes",
            schema=options.schema,
        )
    if not {"alembic_version", "namespaces", "commits"} <= tables:
        raise IncompatibleStore(
            f"the schema {options.schema!r} of {options.place} is another program's, and was left as it is; "
            "choose another with ?schema=",
            schema=options.schema,
        )
    versions = connection.execute("SELECT version_num FROM alembic_version").fetchall()
    return ", ".join(row[0] for row in versions) or "none"


def lock_schema(connection: Connection, options: Options, *, kept: bool = False) -> None:
    """Keep others from creating, changing or comparing the schema, until the transaction ends, or the connection."""
    kind = "pg_advisory_lock" if kept else "pg_advisory_xact_lock"
    connection.execute(f"SELECT {kind}(hashtextextended(%s, 0))", (f"perdure {options.schema}",))


def _create(connection: Connection, options: Options) -> None:
    """Create the schema unless somebody else was first."""
    with connection.transaction():
        lock_schema(connection, options)
        if revision(connection, options) is not None:
            return
        run(
            connection,
            [sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(options.schema)), *ddl()],
        )
        enable(connection, options)
