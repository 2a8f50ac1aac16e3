"""What every SQL engine of perdure shares: tables, history, branches, filters, search, upkeep.

An engine supplies a `Dialect`, opens a `Database` over it, and hands out `SqlBackend` objects.
"""

from perdure_sql._backend import SqlBackend, open_namespace
from perdure_sql._care import Progress, Revision, SchemaCare
from perdure_sql._database import Database, Session
from perdure_sql._dialect import Dialect, Scope, Statement, sql_dialect
from perdure_sql._nearest import Indexed, VectorIndex
from perdure_sql._tables import OPEN, SCHEMA_REVISION, SCHEMA_VERSION, Physical, create_statements, metadata

__all__ = [
    "OPEN",
    "SCHEMA_REVISION",
    "SCHEMA_VERSION",
    "Database",
    "Dialect",
    "Indexed",
    "Physical",
    "Progress",
    "Revision",
    "SchemaCare",
    "Scope",
    "Session",
    "SqlBackend",
    "Statement",
    "VectorIndex",
    "create_statements",
    "metadata",
    "open_namespace",
    "sql_dialect",
]
