"""The entry points: `describe`, and `open`."""

from __future__ import annotations

from importlib.metadata import version
from typing import Literal

import psycopg
from perdure import SPEC_VERSION, Description, Support, check_name
from perdure.kit import Lease, Shared
from perdure_sql import Database, SqlBackend, open_namespace

from perdure_postgres._dialect import Postgres
from perdure_postgres._errors import translate
from perdure_postgres._options import OPTIONS, Options, parse_url
from perdure_postgres._pool import Pool
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
        full = ("persistent", "concurrent", "read_only", "compact", "purge", "namespaces")
        scheme = "postgresql+embedded" if self._embedded else "postgresql"
        return Description(
            name=scheme,
            version=version("perdure-postgres"),
            spec_version=SPEC_VERSION,
            durability="power",
            levels=("core", "branches", "vectors", "crash", "power", "concurrent"),
            capabilities={**dict.fromkeys(full, Support.FULL), "approximate": Support.MISSING},
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


def _open(options: Options, namespace: str, lease: Lease[Pool]) -> SqlBackend:
    database = Database(Postgres(options, lease))
    with database.reading() as session:
        prepare(session.raw, options)
    number = open_namespace(database, namespace, create=not options.read_only)
    return SqlBackend(database, namespace, number, cache_bytes=options.cache)
