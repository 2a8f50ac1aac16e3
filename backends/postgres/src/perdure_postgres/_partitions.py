"""The schema with every table that has a namespace's rows partitioned by namespace, as SQL.

The list of namespaces itself is one table. Postgres 17 or newer is needed, for identities in partitioned tables.
"""

from __future__ import annotations

from collections.abc import Iterable

from psycopg.sql import SQL, Composable, Identifier

from perdure_postgres._roles import tables
from perdure_postgres._schema import ddl

__all__ = ["partition", "partitioned"]


def partitioned(schema: str, parts: int) -> list[str]:
    """The statements that create an empty store.

    Args:
        schema: Where; it must not hold tables yet.
        parts: How many partitions by the hash of the namespace's number; 0: by list, with one for all
            namespaces that have none of their own (see `partition`).
    """
    by = "HASH" if parts else "LIST"
    made: list[str] = [
        SQL("CREATE SCHEMA IF NOT EXISTS {}").format(Identifier(schema)).as_string(None),
        SQL("SET LOCAL search_path = {}").format(Identifier(schema)).as_string(None),
    ]
    heads = tuple(f"CREATE TABLE {name} (" for name, has_number in tables().items() if has_number)
    made += [f"{each} PARTITION BY {by} (ns)" if each.startswith(heads) else each for each in ddl()]
    if not parts:
        return [*made, *_each(schema, "rest", SQL("DEFAULT"))]
    for i in range(parts):
        made += _each(schema, str(i), SQL(f"FOR VALUES WITH (MODULUS {parts:d}, REMAINDER {i:d})"))
    return made


def partition(schema: str, number: int) -> list[str]:
    """The statements that give a namespace partitions of its own, before it has rows.

    Args:
        schema: Where the tables are, partitioned by list.
        number: The namespace's, from the table ``namespaces``.
    """
    return _each(schema, f"ns{number:d}", SQL(f"FOR VALUES IN ({number:d})"))


def _each(schema: str, suffix: str, bound: Composable) -> list[str]:
    return [statement.as_string(None) for statement in _parts(schema, suffix, bound)]


def _parts(schema: str, suffix: str, bound: Composable) -> Iterable[Composable]:
    for name, has_number in tables().items():
        if has_number:
            yield SQL("CREATE TABLE {} PARTITION OF {} {}").format(
                Identifier(schema, f"{name}_{suffix}"), Identifier(schema, name), bound
            )
