"""Portable files: the names and the columns of their members."""

from __future__ import annotations

import pyarrow as pa
from perdure import TABLES

__all__ = ["COMMENT", "FORMAT", "KINDS", "MANIFEST", "MEMBER_LIMIT", "SCHEMAS", "VERSION", "member"]

FORMAT = "perdure-portable"
VERSION = 1
MANIFEST = "manifest.json"

#: The comment of the archive, which seals the manifest.
COMMENT = FORMAT + " {version} {digest}"

#: The largest member, in bytes; a writer begins another segment long before that.
MEMBER_LIMIT = 1 << 30

_POINT = pa.struct(
    [("branch", pa.string()), ("seq", pa.int64()), ("commit", pa.string()), ("time", pa.int64())]
)
_PICK = pa.struct([("source", _POINT), ("table", pa.string()), ("keys", pa.list_(pa.list_(pa.string())))])
_VECTOR = pa.list_(pa.struct([("branch", pa.string()), ("seq", pa.int64())]))

#: What stands before the columns of each table: the place of the commit, and whether it deleted the row.
_CHANGE = [pa.field("place", pa.int64()), pa.field("deleted", pa.bool_())]

#: Kind of member → its columns, in the order in which the members of a segment are read.
SCHEMAS: dict[str, pa.Schema] = {
    "spaces": pa.schema(
        {
            "name": pa.string(), "dim": pa.int64(), "dtype": pa.string(), "metric": pa.string(),
            "model": pa.string(), "table": pa.string(), "created_at": pa.int64(),
        }
    ),
    "chunks": pa.schema({"digest": pa.string(), "data": pa.binary()}),
    "branches": pa.schema(
        {
            "place": pa.int64(), "id": pa.string(), "name": pa.string(), "parent": pa.string(),
            "fork_seq": pa.int64(), "head": _POINT, "floor": pa.int64(), "created_at": pa.int64(),
            "pins": pa.list_(pa.int64()),
        }
    ),
    "commits": pa.schema(
        {
            "place": pa.int64(), "id": pa.string(), "branch": pa.string(), "seq": pa.int64(), "time": pa.int64(),
            "author": pa.string(), "message": pa.string(), "parents": pa.list_(pa.string()), "vector": _VECTOR,
            "picks": pa.list_(_PICK), "reverts": pa.string(), "final": pa.bool_(), "changes": pa.int64(),
        }
    ),
    **{
        name: pa.schema([*_CHANGE, *(field.with_nullable(True) for field in table.arrow)])
        for name, table in sorted(TABLES.items())
    },
    "checkpoints": pa.schema(
        {
            "name": pa.string(), "point": _POINT, "metrics": pa.string(), "message": pa.string(),
            "created_at": pa.int64(),
        }
    ),
    "counters": pa.schema(
        {
            "table": pa.string(), "key": pa.list_(pa.string()), "accessed_at": pa.int64(),
            "access_count": pa.int64(),
        }
    ),
}  # fmt: skip

KINDS = tuple(SCHEMAS)


def member(namespace: int, segment: int, kind: str) -> str:
    """The name of a member."""
    return f"{namespace:04}/{segment:06}/{kind}.arrow"
