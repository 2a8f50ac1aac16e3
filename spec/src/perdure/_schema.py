"""The six tables, each defined once: everything else derives from these definitions.

Records, Arrow schemas, SQL DDL, the documentation and the test strategies read `TABLES`; nothing else
lists columns. A *row* is a plain tuple in column order that holds the encoded form of each column:

======== ======================= =================================================================
kind     in a row                meaning
======== ======================= =================================================================
text     ``str`` or ``None``     Unicode without NUL and without lone surrogates
int      ``int`` or ``None``     int64
float    ``float`` or ``None``   finite float64; -0.0 is stored as 0.0
time     ``int`` or ``None``     microseconds since 1970-01-01T00:00Z
tags     ``tuple[str, ...]``     ordered texts without duplicates; never null
value    ``str``                 canonical JSON text of the value codec; never null
vector   ``bytes``               little-endian numbers of the space's dtype; never null
payload  ``str`` or ``None``     manifest ``size:digest,digest,…`` of content-addressed chunks
======== ======================= =================================================================
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import pyarrow as pa

__all__ = ["INDEXED_TEXT_LIMIT", "KEY_LIMIT", "TABLES", "Column", "Kind", "Row", "Table", "table"]

Kind = Literal["text", "int", "float", "time", "tags", "value", "vector", "payload"]

#: A row in column order, encoded as the module docstring says.
Row = tuple[object, ...]

#: The longest key part, in UTF-8 bytes.
KEY_LIMIT = 512

#: The longest text of an indexed column that is no key, in UTF-8 bytes.
INDEXED_TEXT_LIMIT = 1024

_ARROW: dict[Kind, pa.DataType] = {
    "text": pa.string(),
    "int": pa.int64(),
    "float": pa.float64(),
    "time": pa.timestamp("us", tz="UTC"),
    "tags": pa.list_(pa.field("item", pa.string(), nullable=False)),
    "value": pa.string(),
    "vector": pa.binary(),
    "payload": pa.string(),
}


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        name: The name, the same in records, Arrow, SQL and filters.
        kind: How it is encoded; see the module docstring.
        required: True where null is refused (keys, and what a row means nothing without).
        limit: The longest text in UTF-8 bytes, or None where only the value limits bind.
        counter: True for an int64 that `increment` may change.
        references: The table whose ids this column holds, or None.
        merge: How the `field` merge strategy joins two changes: "equal" (else it is a conflict),
            "max", "sum" (of the deltas) or "tags".
        since: The spec version that introduced the column.
    """

    name: str
    kind: Kind
    required: bool = False
    limit: int | None = None
    counter: bool = False
    references: str | None = None
    merge: Literal["equal", "max", "sum", "tags"] = "equal"
    since: str = "1.0"

    @property
    def nullable(self) -> bool:
        """Whether a row may hold None here."""
        return not self.required and self.kind not in ("tags", "value", "vector")


@dataclass(frozen=True)
class Table:
    """One of the six tables.

    Attributes:
        name: The plural name; also the attribute of `Store`.
        key: The names of the key columns, in key order.
        columns: All columns: the key first, then fields, then `created_at` and `updated_at`.
        indexes: Column groups that engines with indexes keep, so that a filter on the first and an
            order by the last is served.
    """

    name: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    indexes: tuple[tuple[str, ...], ...] = field(default=())

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Column names in row order."""
        return tuple(c.name for c in self.columns)

    @cached_property
    def position(self) -> dict[str, int]:
        """Column name → its place in a row."""
        return {c.name: i for i, c in enumerate(self.columns)}

    @cached_property
    def by_name(self) -> dict[str, Column]:
        """Column name → column."""
        return {c.name: c for c in self.columns}

    @cached_property
    def arrow(self) -> pa.Schema:
        """The Arrow schema of encoded rows (values as JSON text, vectors and manifests as stored)."""
        return pa.schema(
            [pa.field(c.name, _ARROW[c.kind], nullable=c.nullable) for c in self.columns],
            metadata={"perdure.table": self.name, "perdure.spec": "1.0"},
        )

    def key_of(self, row: Row) -> tuple[str, ...]:
        """The key of a row: its leading columns, which are never null."""
        return row[: len(self.key)]  # type: ignore[return-value]


def _text(
    name: str, *, limit: int | None = None, required: bool = False, references: str | None = None
) -> Column:
    return Column(name, "text", required=required, limit=limit, references=references)


def _key(name: str) -> Column:
    return _text(name, limit=KEY_LIMIT, required=True)


def _indexed(name: str, *, required: bool = False, references: str | None = None) -> Column:
    limit = KEY_LIMIT if references else INDEXED_TEXT_LIMIT
    return _text(name, limit=limit, required=required, references=references)


def _float(name: str) -> Column:
    return Column(name, "float")


def _value(name: str) -> Column:
    return Column(name, "value")


def _tags(name: str, references: str | None = None) -> Column:
    return Column(name, "tags", merge="tags", references=references)


def _counter(name: str) -> Column:
    return Column(name, "int", required=True, counter=True, merge="sum")


_TIMES = (
    Column("created_at", "time", required=True),
    Column("updated_at", "time", required=True, merge="max"),
)

TABLES: dict[str, Table] = {
    t.name: t
    for t in (
        Table(
            "memories",
            ("id",),
            (
                _key("id"),
                _indexed("kind"),
                _indexed("agent"),
                _indexed("scope"),
                Column("tier", "int"),
                _text("title"),
                _text("text"),
                _value("content"),
                _tags("tags"),
                _float("importance"),
                _float("confidence"),
                Column("expires_at", "time", merge="max"),
                _value("metadata"),
                *_TIMES,
            ),
            (
                ("kind", "importance"),
                ("tier", "importance"),
                ("scope",),
                ("agent",),
                ("expires_at",),
                ("created_at",),
            ),
        ),
        Table(
            "links",
            ("id",),
            (
                _key("id"),
                _indexed("source", required=True, references="memories"),
                _indexed("target", required=True, references="memories"),
                _indexed("relation"),
                _float("weight"),
                _value("context"),
                *_TIMES,
            ),
            (("source", "relation"), ("target", "relation"), ("relation",)),
        ),
        Table(
            "skills",
            ("id",),
            (
                _key("id"),
                _indexed("name"),
                _text("description"),
                _text("trigger"),
                _value("body"),
                _indexed("enforcement"),
                _tags("tags"),
                _float("confidence"),
                _counter("success_count"),
                _counter("failure_count"),
                Column("last_used_at", "time", merge="max"),
                _indexed("trace_id", references="traces"),
                _value("metadata"),
                *_TIMES,
            ),
            (("name",), ("confidence",)),
        ),
        Table(
            "traces",
            ("id",),
            (
                _key("id"),
                _indexed("agent"),
                _text("intent"),
                _indexed("session"),
                Column("step", "int"),
                _value("context"),
                _value("steps"),
                _value("result"),
                _indexed("outcome"),
                _float("confidence"),
                _float("verification_score"),
                _float("cost"),
                _tags("causes"),
                _tags("effects"),
                _value("counterfactuals"),
                _indexed("skill_id", references="skills"),
                _value("metrics"),
                *_TIMES,
            ),
            (("intent",), ("session", "step"), ("agent",), ("outcome", "created_at"), ("created_at",)),
        ),
        Table(
            "vectors",
            ("space", "id"),
            (
                _key("space"),
                _key("id"),
                Column("values", "vector", required=True),
                _text("text"),
                _value("metadata"),
                *_TIMES,
            ),
        ),
        Table(
            "states",
            ("kind", "id"),
            (
                _key("kind"),
                _key("id"),
                _value("data"),
                Column("payload", "payload"),
                _tags("parents"),
                _value("metrics"),
                *_TIMES,
            ),
            (("kind", "created_at"),),
        ),
    )
}


def table(name: str) -> Table:
    """The table of that name.

    Raises:
        KeyError: There is no such table; callers at the edge turn this into `NotFound`.
    """
    return TABLES[name]
