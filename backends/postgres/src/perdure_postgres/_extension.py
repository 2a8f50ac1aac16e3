"""The extension `vector` of a database, and its values as psycopg sends them."""

from __future__ import annotations

from typing import Any

from psycopg import pq, sql
from psycopg.abc import Buffer
from psycopg.adapt import Dumper
from psycopg.types import TypeInfo

__all__ = ["Searchable", "attach", "search_path"]

_EXTENSION = (
    "SELECT n.nspname, t.oid, t.typarray FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace "
    "JOIN pg_type t ON t.typname = 'vector' AND t.typnamespace = n.oid WHERE e.extname = 'vector'"
)


class Searchable(bytes):
    """A vector in pgvector's binary format."""


def search_path(*schemas: str) -> sql.Composed:
    """The statement that lets names mean what these schemas have, and nothing else."""
    names = dict.fromkeys((*schemas, "pg_catalog"))
    return sql.SQL("SET search_path = {}").format(sql.SQL(", ").join(map(sql.Identifier, names)))


def attach(connection: Any, schema: str) -> bool:
    """See that a connection of the pool, with its tables in `schema`, knows the extension; whether there is one."""
    if not connection.vector:
        found = connection.execute(_EXTENSION).fetchone()
        if found is None:
            return False

        class VectorDumper(Dumper):
            """Sends what is in the binary format already."""

            format = pq.Format.BINARY
            oid = found[1]

            def dump(self, obj: Searchable) -> Buffer:
                return obj

        TypeInfo("vector", found[1], found[2]).register(connection)
        connection.adapters.register_dumper(Searchable, VectorDumper)
        connection.execute(search_path(schema, found[0]))
        connection.vector = True
    return True
