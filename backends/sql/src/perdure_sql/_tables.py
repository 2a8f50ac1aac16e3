"""The physical schema of every SQL engine, as SQLAlchemy tables derived from `perdure.TABLES`.

Each of the six tables is one *version table*: a row per version of a row on the branch that wrote it,
valid for ``from_seq <= seq < to_seq``. `OPEN` as `to_seq` marks the newest version of a branch. A version
that is `dead` is a tombstone. `<table>_overrides` lists, for branches that have a parent, which keys they
have versions of their own for, so that a read of an ancestor can leave those out with one index probe.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import sqlalchemy as sa
from perdure import TABLES, Column, Table
from sqlalchemy.schema import CreateIndex, CreateTable

__all__ = [
    "HEAD",
    "OPEN",
    "RECORDS",
    "SCHEMA_REVISION",
    "SCHEMA_VERSION",
    "VERSION_COLUMNS",
    "Physical",
    "create_statements",
    "index_name",
    "metadata",
    "unbounded",
]

#: `to_seq` of a version that nothing replaced yet.
OPEN = 2**62

#: `upto` of a branch's own lineage record: its newest versions, and all that come, are visible.
HEAD = OPEN - 1

#: Written to the store; a store with a greater number is refused.
SCHEMA_VERSION = 1

#: The alembic revision that goes with `SCHEMA_VERSION`.
SCHEMA_REVISION = "0001"

#: What precedes the row's own columns in a version table.
VERSION_COLUMNS = ("ns", "branch", "from_seq", "to_seq", "dead", "commit_no", "hash")

#: The columns of the tables that are not versioned, in order; the last one, `hash`, covers the others.
RECORDS: dict[str, tuple[str, ...]] = {
    "namespaces": ("no", "name", "branch_count", "space_epoch", "purge_epoch", "key", "created_at", "hash"),
    "branches": (
        "ns", "no", "id", "name", "parent", "fork_seq", "head_seq", "head_commit", "head_time",
        "flat", "floor", "created_at", "hash",
    ),
    "commits": (
        "ns", "id", "branch", "seq", "time", "wall", "author", "message", "parents", "vector", "picks",
        "reverts", "hash",
    ),
    "checkpoints": ("ns", "name", "branch", "seq", "commit_id", "time", "metrics", "message", "created_at", "hash"),
    "pins": ("ns", "branch", "seq", "hash"),
    "spaces": ("ns", "name", "dim", "dtype", "metric", "model", "owner", "created_at", "hash"),
    "counters": ("ns", "tbl", "row_key", "accessed_at", "access_count", "hash"),
    "purged": ("ns", "marker", "time", "hash"),
}  # fmt: skip

_KINDS: dict[str, type[Any]] = {
    "text": sa.Text,
    "int": sa.BigInteger,
    "float": sa.Double,
    "time": sa.BigInteger,
    "tags": sa.Text,
    "value": sa.Text,
    "vector": sa.LargeBinary,
    "payload": sa.Text,
}


class Physical(NamedTuple):
    """Where engines differ in how they lay out the same tables.

    Attributes:
        text: The type of text columns; an engine whose default order is not that of code points gives one
            with such a collation.
        digest: What an index holds of a text column without a limit on its length, for an engine whose index
            entries have one.
        leading: Whether the namespace leads the primary key of every table, so that they can be
            partitioned by it. (In SQLite a number is only fast, and never given out twice, where it is the
            primary key alone.)
    """

    text: type[Any] | Any = sa.Text
    digest: Callable[[sa.Column[Any]], Any] | None = None
    leading: bool = False


def unbounded(column: Column) -> bool:
    """Whether a column is a text without a limit on its length."""
    return column.kind == "text" and column.limit is None


def metadata(physical: Physical | None = None) -> sa.MetaData:
    """All tables and indexes."""
    layout = physical or Physical()
    meta = sa.MetaData()
    _records(meta, layout)
    for table in TABLES.values():
        _versions(meta, table, layout)
    return meta


def create_statements(dialect: sa.Dialect, physical: Physical | None = None) -> list[str]:
    """The SQL that creates all tables and indexes, and records the revision."""
    statements = [
        "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL, "
        "CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num))"
    ]
    for table in metadata(physical).sorted_tables:
        statements.append(str(CreateTable(table).compile(dialect=dialect)).strip())
        indexes = sorted(table.indexes, key=lambda index: str(index.name))
        statements += [str(CreateIndex(index).compile(dialect=dialect)).strip() for index in indexes]
    statements.append(f"INSERT INTO alembic_version VALUES ('{SCHEMA_REVISION}')")
    return statements


def _number(name: str, *, null: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.BigInteger, nullable=null)


def _blob(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.LargeBinary, nullable=False)


def _given_out(layout: Physical, primary: bool) -> sa.Column[Any]:
    """A number that the engine gives out, to nobody else ever."""
    if layout.leading:
        return sa.Column("no", sa.BigInteger, sa.Identity(), primary_key=primary, nullable=False)
    kind = sa.BigInteger().with_variant(sa.Integer, "sqlite")  # only INTEGER aliases SQLite's rowid
    return sa.Column("no", kind, primary_key=True, autoincrement=True)


def _records(meta: sa.MetaData, layout: Physical) -> None:
    def words(name: str, *, null: bool = False) -> sa.Column[Any]:
        return sa.Column(name, layout.text, nullable=null)

    sa.Table(
        "namespaces",
        meta,
        _given_out(layout, True),
        words("name"),
        _number("branch_count"),
        _number("space_epoch"),
        _number("purge_epoch"),
        _blob("key"),
        _number("created_at"),
        _blob("hash"),
        sa.UniqueConstraint("name"),
        sqlite_autoincrement=True,  # the number of a dropped namespace is never given out again
    )
    sa.Table(
        "branches",
        meta,
        *(_number(name) for name in ("ns", "no")),
        *(words(name) for name in ("id", "name")),
        _number("parent", null=True),
        *(_number(name) for name in ("fork_seq", "head_seq")),
        words("head_commit", null=True),
        *(_number(name) for name in ("head_time", "flat", "floor", "created_at")),
        _blob("hash"),
        sa.PrimaryKeyConstraint("ns", "no"),
        sa.UniqueConstraint("ns", "name"),
        sa.UniqueConstraint("ns", "id"),
        sqlite_with_rowid=False,
    )
    sa.Table(
        "lineage",
        meta,
        *(_number(name) for name in ("ns", "branch", "depth", "ancestor", "upto")),
        sa.PrimaryKeyConstraint("ns", "branch", "depth"),
        sa.Index("lineage_ancestor", "ns", "ancestor"),
        sqlite_with_rowid=False,
    )
    sa.Table(
        "commits",
        meta,
        _given_out(layout, False),
        _number("ns"),
        words("id"),
        *(_number(name) for name in ("branch", "seq", "time", "wall")),
        *(words(name) for name in ("author", "message", "parents", "vector", "picks")),
        words("reverts", null=True),
        _blob("hash"),
        sa.UniqueConstraint("ns", "id"),
        sa.UniqueConstraint("ns", "branch", "seq"),
        *([sa.PrimaryKeyConstraint("ns", "no")] if layout.leading else []),
    )
    sa.Table(
        "checkpoints",
        meta,
        _number("ns"),
        words("name"),
        *(_number(name) for name in ("branch", "seq")),
        words("commit_id", null=True),
        _number("time"),
        *(words(name) for name in ("metrics", "message")),
        _number("created_at"),
        _blob("hash"),
        sa.PrimaryKeyConstraint("ns", "name"),
        sqlite_with_rowid=False,
    )
    sa.Table(
        "pins",
        meta,
        *(_number(name) for name in ("ns", "branch", "seq")),
        _blob("hash"),
        sa.PrimaryKeyConstraint("ns", "branch", "seq"),
        sqlite_with_rowid=False,
    )
    sa.Table(
        "spaces",
        meta,
        _number("ns"),
        words("name"),
        _number("dim"),
        *(words(name) for name in ("dtype", "metric", "model")),
        words("owner", null=True),
        _number("created_at"),
        _blob("hash"),
        sa.PrimaryKeyConstraint("ns", "name"),
        sqlite_with_rowid=False,
    )
    sa.Table(
        "counters",
        meta,
        _number("ns"),
        *(words(name) for name in ("tbl", "row_key")),
        _number("accessed_at", null=True),
        _number("access_count"),
        _blob("hash"),
        sa.PrimaryKeyConstraint("ns", "tbl", "row_key"),
        sqlite_with_rowid=False,
    )
    sa.Table(
        "chunks",
        meta,
        _number("ns"),
        words("digest"),
        _blob("data"),
        sa.UniqueConstraint("ns", "digest"),
    )
    sa.Table(
        "purged",
        meta,
        _number("ns"),
        _blob("marker"),
        _number("time"),
        _blob("hash"),
        sa.PrimaryKeyConstraint("ns", "marker"),
        sqlite_with_rowid=False,
    )


def _versions(meta: sa.MetaData, table: Table, layout: Physical) -> None:
    def column(name: str) -> sa.Column[Any]:
        spec = table.by_name[name]
        kind = layout.text if _KINDS[spec.kind] is sa.Text else _KINDS[spec.kind]
        return sa.Column(name, kind, nullable=name not in table.key)

    bookkeeping = [_number(name) for name in VERSION_COLUMNS[:-1]] + [_blob("hash")]
    made = sa.Table(
        table.name,
        meta,
        *bookkeeping,
        *(column(name) for name in table.names),
        sa.UniqueConstraint("ns", "branch", *table.key, "from_seq"),
        # Serves `changes` by range, and answers `count` at any point without reading a row.
        sa.Index(f"{table.name}_seq", "ns", "branch", "from_seq", "to_seq", "dead"),
    )
    for names in table.indexes:
        digest = layout.digest
        fields = [
            made.c[name] if digest is None or not unbounded(table.by_name[name]) else digest(made.c[name])
            for name in names
        ]
        sa.Index(index_name(table, names), made.c.ns, made.c.branch, *fields)
    sa.Table(
        f"{table.name}_overrides",
        meta,
        _number("ns"),
        *(sa.Column(name, layout.text, nullable=False) for name in table.key),
        _number("branch"),
        _number("first_seq"),
        sa.PrimaryKeyConstraint("ns", *table.key, "branch"),
        sqlite_with_rowid=False,
    )


def index_name(table: Table, names: tuple[str, ...]) -> str:
    """The name of a field index."""
    return f"{table.name}_by_{'_'.join(names)}"
