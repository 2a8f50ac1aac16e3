"""Many rows at a time: COPY, arrays for what may be there already, and the planner's figures afterwards."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import chain, islice
from typing import Any

import psycopg
from perdure_sql import metadata
from psycopg import sql

from perdure_postgres._pool import Connection, run
from perdure_postgres._schema import DIALECT, LAYOUT

__all__ = ["Figures", "insert", "insert_missing", "named_types"]

#: From so many rows on, COPY is faster than INSERT.
_COPIED = 24

#: Rows of one array.
_ARRAY = 5_000

#: The planner's figures are renewed when a table grew by so many rows, and by this share of what it had.
_LEAST, _SHARE = 500, 0.5

#: Rows of one transaction from which it does not wait for its end with that.
_MUCH = 1_000


def insert(connection: Connection, table: str, names: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Insert rows; the transaction's record of what it wrote is kept."""
    rows = iter(rows)
    first = list(islice(rows, _COPIED))
    columns = ", ".join(names)
    text = f"INSERT INTO {table} ({columns}) VALUES ({', '.join(['%s'] * len(names))})"
    count = len(first)
    if count == _COPIED:
        connection.begin()  # COPY waits for each of its messages
    if count == 1:
        connection.execute(text, first[0])
    elif count < _COPIED:
        connection.cursor().executemany(text, first)
    elif _guarded(connection, table):
        count = 0
        rows = chain(first, rows)
        while piece := list(islice(rows, _ARRAY)):
            _insert_arrays(connection, table, names, piece, "")
            count += len(piece)
    else:
        with connection.cursor().copy(f"COPY {table} ({columns}) FROM STDIN (FORMAT BINARY)") as copy:
            copy.set_types(named_types(table, tuple(names)))
            write = copy.write_row
            for row in first:
                write(row)
            for row in rows:
                write(row)
                count += 1
    if count:
        connection.written[table] = connection.written.get(table, 0) + count


def insert_missing(
    connection: Connection, table: str, names: Sequence[str], rows: Sequence[Sequence[Any]]
) -> None:
    """Insert the rows whose key is not there."""
    for start in range(0, len(rows), _ARRAY):
        _insert_arrays(connection, table, names, rows[start : start + _ARRAY], " ON CONFLICT DO NOTHING")
    if rows:
        connection.written[table] = connection.written.get(table, 0) + len(rows)


def _insert_arrays(
    connection: Connection, table: str, names: Sequence[str], rows: Sequence[Sequence[Any]], conflict: str
) -> None:
    arrays = ", ".join(f"CAST(%s AS {kind}[])" for kind in named_types(table, tuple(names)))
    text = f"INSERT INTO {table} ({', '.join(names)}) SELECT * FROM unnest({arrays}){conflict}"
    connection.execute(text, [list(cells) for cells in zip(*rows, strict=True)])


def _guarded(connection: Connection, table: str) -> bool:
    """Whether row-level security keeps this role from some rows: Postgres refuses it COPY then."""
    found = connection.execute("SELECT row_security_active(%s::regclass)", (table,)).fetchone()
    return bool(found and found[0])


@cache
def named_types(table: str, names: tuple[str, ...]) -> tuple[str, ...]:
    """Postgres's names of the types of columns, which may be quoted."""
    columns = metadata(LAYOUT).tables[table].c
    kinds = {"BIGINT": "int8", "TEXT": "text", "DOUBLE PRECISION": "float8", "BYTEA": "bytea"}
    derived = {"search": "vector", "search_key": "int8"}
    return tuple(
        derived.get(name) or kinds[columns[name.strip('"')].type.compile(DIALECT).partition(" COLLATE")[0]]
        for name in names
    )


class Figures:
    """Renews the figures by which Postgres plans, without which it reads far too much after a bulk load.

    Its own daemon does so as well, but up to a minute later. Safe from several threads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._grown: dict[str, int] = {}
        self._limits: dict[str, float] = {}

    def during(self, connection: Connection, table: str) -> None:
        """Look-ups of the transaction under way, too, need figures of what it wrote, if that is much."""
        if connection.written.get(table, 0) >= _MUCH and self._due(
            connection, table, connection.written.pop(table)
        ):
            self._renew(connection, table)

    def wrote(self, connection: Connection) -> None:
        """What a connection wrote is committed now; raises nothing."""
        written, connection.written = connection.written, {}
        try:
            for table, rows in written.items():
                if self._due(connection, table, rows):
                    self._renew(connection, table)
        except psycopg.Error:  # the commit is done, and this is no part of it
            return

    def _renew(self, connection: Connection, table: str) -> None:
        # A role that does not own the table is told so in a notice, and nothing is done.
        run(connection, [sql.SQL("ANALYZE (SKIP_LOCKED) {}").format(sql.Identifier(table))])
        self._look(connection, table)

    def _due(self, connection: Connection, table: str, rows: int) -> bool:
        """Whether the table has grown so much."""
        if table not in self._limits:
            self._look(connection, table)
        with self._lock:
            grown = self._grown.get(table, 0) + rows
            due = grown >= self._limits[table]
            self._grown[table] = 0 if due else grown
        return due

    def _look(self, connection: Connection, table: str) -> None:
        """Derive from what Postgres thinks that the table has when the figures are due next."""
        found = connection.execute(
            "SELECT reltuples::float8 FROM pg_class WHERE oid = CAST(%s AS TEXT)::regclass", (table,)
        ).fetchone()
        with self._lock:
            self._limits[table] = max(_LEAST, _SHARE * (found[0] if found else 0.0))
