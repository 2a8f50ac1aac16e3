"""Bringing an older file to this version's schema; imported only when one is met."""

from __future__ import annotations

import sqlite3

from perdure_sql import SCHEMA_VERSION
from perdure_sql.upgrade import upgrade

from perdure_sqlite._schema import begin_immediate

__all__ = ["upgrade_file"]


class _Borrowed:
    """A connection whose transaction is the caller's: SQLAlchemy may neither end it nor close it."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __getattr__(self, name: str) -> object:
        return getattr(self._connection, name)

    def commit(self) -> None:
        """The caller does."""

    rollback = close = commit


def upgrade_file(connection: sqlite3.Connection, until: float) -> None:
    """Run the revisions that the file lacks, all or none of them."""
    begin_immediate(connection, until)
    try:
        stored = connection.execute("PRAGMA user_version").fetchone()[0]
        if stored < SCHEMA_VERSION:  # else another process was first
            upgrade("sqlite", lambda: _Borrowed(connection))
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
