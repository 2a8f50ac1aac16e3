"""What separates a database's schema from the one that this version creates, by migra.

A fresh schema is made in a transaction that is always taken back, so that nobody else ever sees it and
nothing is left of it, whatever happens. migra reads both through `_Catalog`, and so through our own
connection: it never learns a URL. See docs/decisions/0013-migra.md.
"""

from __future__ import annotations

import re
import secrets
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import psycopg
from perdure import IncompatibleStore, NotFound, PerdureError, PermissionDenied, StorageError, Unsupported
from perdure_sql import SCHEMA_REVISION
from psycopg import errors, sql
from psycopg.rows import namedtuple_row

from perdure_postgres._options import Options
from perdure_postgres._pool import Connection, run
from perdure_postgres._schema import ddl, lock_schema, outdated, revision
from perdure_postgres._vectors import COLUMNS

__all__ = ["drift"]

#: Tables beside those of the schema: whose namespaces are whose, where there is row-level security.
_BESIDE = frozenset({"tenants"})

#: Names that indexes and policies start with which are made where they are wanted.
_HNSW, _POLICY = "perdure_hnsw_", "perdure_"

#: What there is with the extension `vector` only: columns, and an index.
_DERIVED = frozenset({*(("vectors", name) for name in COLUMNS), ("vectors_unindexed", None)})

_RECORDED = """
SELECT c.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relname = 'alembic_version'"""

_PARTITIONS = """
SELECT c.relname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relispartition"""

_INVALID = """
SELECT c.relname FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND NOT (i.indisvalid AND i.indisready) ORDER BY c.relname"""


def drift(connection: Connection, options: Options) -> list[str]:
    """The statements that would bring the store's schema to that of this version.

    Raises:
        NotFound: There is no store.
        IncompatibleStore: It is of another revision.
        Unsupported: migra is not installed.
        PermissionDenied: The role may not make a schema in this database.
        StorageError: migra cannot make sense of the schema.
    """
    inspector, migration = _migra()
    connection.execute("BEGIN READ WRITE")
    try:
        lock_schema(connection, options)
        _check(connection, options)
        fresh = _fresh(connection)
        run(connection, ["SET LOCAL search_path = pg_catalog"])  # so that all names are told in full
        with _understood(options):
            there = inspector(_Catalog(connection, options.schema, fresh))
            wanted = inspector(_Catalog(connection, fresh, fresh))
            statements = _compared(migration, there, wanted)
        schema = sql.Identifier(options.schema).as_string(None)
        known = {index.name for index in wanted.indexes.values()}
        invalid = [row[0] for row in connection.execute(_INVALID, (options.schema,)) if row[0] in known]
        # The fresh schema's name is random, and stands nowhere else.
        return [each.replace(f'"{fresh}"', schema).replace(fresh, schema) for each in statements] + [
            f"REINDEX INDEX {schema}.{sql.Identifier(name).as_string(None)}" for name in invalid
        ]
    finally:
        if not connection.closed:
            connection.execute("ROLLBACK")


def _migra() -> tuple[Any, Any]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what it needs of setuptools is deprecated
            from migra import Migration  # type: ignore[import-untyped] # noqa: PLC0415
            from schemainspect import get_inspector  # type: ignore[import-untyped] # noqa: PLC0415
    except ImportError as error:
        raise Unsupported(
            "comparing schemas needs migra, with a setuptools that still has pkg_resources; try: "
            "pip install 'perdure-postgres[schema]'",
            missing=error.name,
        ) from error
    return get_inspector, Migration


def _check(connection: Connection, options: Options) -> None:
    """Refuse what is no store of this revision; a store that lost tables is one."""
    if connection.execute(_RECORDED, (options.schema,)).fetchone() is not None:
        record = sql.SQL("SELECT version_num FROM {}").format(
            sql.Identifier(options.schema, "alembic_version")
        )
        found = ", ".join(row[0] for row in connection.execute(record)) or "none"
    else:
        found = revision(connection, options) or ""
    if not found:
        raise NotFound(
            f"{options.place} has no store in the schema {options.schema!r}; check the URL, or create it with "
            "perdure schema upgrade",
            schema=options.schema,
        )
    if found != SCHEMA_REVISION:
        raise IncompatibleStore(outdated(options, found), revision=found)


def _fresh(connection: Connection) -> str:
    """Make a schema as this version does, under a name that nobody has."""
    name = f"perdure_diff_{secrets.token_hex(16)}"
    try:
        run(
            connection,
            [
                sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(name)),
                sql.SQL("SET LOCAL search_path = {}, pg_catalog").format(sql.Identifier(name)),
                *ddl(),
            ],
        )
    except errors.InsufficientPrivilege as error:
        raise PermissionDenied(
            "the comparison makes a fresh schema in a transaction that it takes back, for which the role needs "
            "CREATE on the database; run it as the owner of the database, or: GRANT CREATE ON DATABASE ... TO ...",
            driver=" ".join(str(error).split()),
        ) from error
    return name


@contextmanager
def _understood(options: Options) -> Iterator[None]:
    """Errors of migra, which nobody maintains, as one of ours."""
    try:
        yield
    except (PerdureError, psycopg.Error):
        raise
    except Exception as error:
        raise StorageError(
            f"migra cannot compare the schema {options.schema!r} ({type(error).__name__}: {error}); see what is in "
            "it beside a store's tables, with psql or pg_dump --schema-only",
            schema=options.schema,
        ) from error


def _compared(migration: Any, there: Any, wanted: Any) -> list[str]:
    for name, table in wanted.tables.items():
        if name not in there.tables:
            for column in table.columns.values():
                # migra leaves the collation out of the tables that it creates.
                column.dbtypestr += column.collation_subclause
    found = migration(there, wanted)
    found.set_safety(False)  # what drops something is printed too: nothing is run here
    found.add_all_changes()
    # What goes with its constraint has a statement that does nothing, and a comment.
    return [each.strip().removesuffix(";") for each in found.statements if not each.startswith("select 1; ")]


class _Catalog:
    """Answers what schemainspect asks, of one schema only, under a name that needs no quotes anywhere.

    It takes this for a cursor. Rows are left out, or made alike, where two schemas may differ.
    """

    def __init__(self, connection: Connection, schema: str, shown: str) -> None:
        self.connection = SimpleNamespace(server_version=connection.info.server_version)
        self._cursor = psycopg.Cursor(connection, row_factory=namedtuple_row)
        self._schema, self._shown = schema, shown
        quoted = connection.execute("SELECT quote_ident(%s)", (schema,)).fetchone()
        assert quoted is not None
        self._on = re.compile(rf" ON (ONLY )?{re.escape(quoted[0])}\.")
        rows = connection.execute(_PARTITIONS, (schema,)).fetchall()
        self._left_out = _BESIDE | {row[0] for row in rows}

    def execute(self, query: str) -> list[Any]:
        """The rows of a query."""
        rows = self._cursor.execute(query).fetchall()
        return [self._told(row) for row in rows if self._ours(row)]

    def _ours(self, row: Any) -> bool:
        if {getattr(row, name, self._schema) for name in ("schema", "schema_dependent_on")} != {self._schema}:
            return False
        fields = row._fields
        if fields == ("name", "schema", "version", "oid"):
            return False  # an extension, which may be anywhere
        name, table = str(getattr(row, "name", "")), getattr(row, "table_name", None)
        if table in self._left_out or ("relationtype" in fields and name in self._left_out):
            return False
        if "withcheck" in fields:
            return not name.startswith(_POLICY)
        if "algorithm" in fields and name.startswith(_HNSW):
            return False
        return (name, getattr(row, "attname", None)) not in _DERIVED

    def _told(self, row: Any) -> Any:
        own = [name for name in row._fields if name.endswith("schema") or name == "schema_dependent_on"]
        row = row._replace(**{name: self._shown for name in own if getattr(row, name) == self._schema})
        if "relationtype" in row._fields:
            # Whether a table is in parts, and whether policies hold, is for the owner to choose.
            whole = {
                "parent_table": None,
                "partition_def": None,
                "rowsecurity": False,
                "forcerowsecurity": False,
            }
            return row._replace(relationtype=row.relationtype.replace("p", "r"), **whole)
        if "algorithm" in row._fields:
            definition = self._on.sub(f" ON {self._shown}.", row.definition, count=1)
            # schemainspect compares neither collations nor operator classes; the definition tells of both.
            return row._replace(algorithm=definition, definition=definition)
        if "full_definition" in row._fields and "proc_name" in row._fields:
            # migra puts a trigger's names between quotes as they are.
            names = {name: getattr(row, name).replace('"', '""') for name in ("name", "table_name")}
            return row._replace(**names)
        return row
