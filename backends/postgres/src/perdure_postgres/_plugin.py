"""The entry points: `describe`, and `open`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Literal

import psycopg
from perdure import SPEC_VERSION, Description, PermissionDenied, Support, check_name
from perdure.kit import Lease, Shared
from perdure_sql import Database, Progress, Revision, SqlBackend, open_namespace

from perdure_postgres._dialect import Postgres
from perdure_postgres._errors import translate
from perdure_postgres._options import OPTIONS, Options, parse_url
from perdure_postgres._pool import Connection, Pool
from perdure_postgres._schema import prepare

__all__ = ["PostgresPlugin"]

#: The pools of this process, one for all stores with the same options.
_POOLS: Shared[Pool] = Shared(Pool.close)


class PostgresPlugin:
    """What `perdure.backends` finds under the names `postgresql` and `postgresql+embedded`.

    Args:
        embedded: Whether stores are on servers that perdure starts itself.
    """

    def __init__(self, *, embedded: bool) -> None:
        self._embedded = embedded

    def describe(self) -> Description:
        """What this backend is and can do, without any I/O."""
        full = ("persistent", "concurrent", "read_only", "compact", "purge", "namespaces", "approximate")
        scheme = "postgresql+embedded" if self._embedded else "postgresql"
        # What a server elsewhere has on its disks when the power goes cannot be seen from here.
        levels = (
            "core",
            "branches",
            "vectors",
            "crash",
            *(("power",) if self._embedded else ()),
            "concurrent",
        )
        return Description(
            name=scheme,
            version=version("perdure-postgres"),
            spec_version=SPEC_VERSION,
            durability="power",
            levels=levels,
            capabilities=dict.fromkeys(full, Support.FULL),
            limits={"cell_bytes": 1_000_000_000, "filter_leaves_pushed": 300},
            options=dict(OPTIONS),
            example=f"{scheme}:///agent-db" if self._embedded else f"{scheme}://user@localhost/agents",
            template=f"{scheme}:///{{tmp}}/{{unique}}" if self._embedded else "",
        )

    def open(self, url: str, namespace: str, mode: Literal["r", "rw"]) -> SqlBackend:
        """Open a store, creating schema and namespace where `mode` is "rw".

        Raises:
            InvalidURL, InvalidRef: The URL or the namespace's name is malformed.
            NotFound: With mode "r": there is no such store or namespace.
            IncompatibleStore, CorruptStore: The schema, or the directory, is not one that this version can use.
            Busy, Unavailable: No connection was to be had.
            PermissionDenied: The server turns the user away.
        """
        options = parse_url(url, mode, embedded=self._embedded)
        check_name(namespace, "namespace")
        lease = _POOLS.lease(options, lambda: Pool(options))
        try:
            return _open(options, namespace, lease)
        except (psycopg.Error, UnicodeError) as error:
            lease.close()
            raise translate(error, options.place) from error
        except BaseException:
            lease.close()
            raise

    def schema_diff(self, url: str) -> list[str]:
        """As `perdure_sql.SchemaCare` says; needs the extra ``schema``."""
        from perdure_postgres._drift import drift  # noqa: PLC0415 - seldom wanted

        with self._connected(url) as (connection, options):
            return drift(connection, options)

    def schema_upgrade(self, url: str, *, dry_run: bool, progress: Progress | None = None) -> list[Revision]:
        """As `perdure_sql.SchemaCare` says; a database without a store gets one, so that its owner can make it."""
        from perdure_postgres._upgrade import missing, upgrade  # noqa: PLC0415 - alembic is slow to import

        if not dry_run and parse_url(url, "rw", embedded=self._embedded).read_only:
            raise PermissionDenied("?mode=ro opens the store read-only; leave it out to upgrade")
        with self._connected(url) as (connection, options):
            return missing(connection, options) if dry_run else upgrade(connection, options, progress)

    @contextmanager
    def _connected(self, url: str) -> Iterator[tuple[Connection, Options]]:
        """A connection of its own; no server or directory is created for it."""
        options = parse_url(url, "r", embedded=self._embedded)
        try:
            pool = Pool(options)
            try:
                connection = pool.take()
                try:
                    yield connection, options
                finally:
                    pool.give(connection)
            finally:
                pool.close()
        except (psycopg.Error, UnicodeError) as error:
            raise translate(error, options.place) from error


def _open(options: Options, namespace: str, lease: Lease[Pool]) -> SqlBackend:
    dialect = Postgres(options, lease)
    database = Database(dialect)
    with database.reading() as session:
        prepare(session.raw, options)
        dialect.use_vectors(session.raw)
    number = open_namespace(database, namespace, create=not options.read_only)
    return SqlBackend(database, namespace, number, cache_bytes=options.cache)
