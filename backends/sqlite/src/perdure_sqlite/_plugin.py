"""The entry point: `describe`, and `open`."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib.metadata import version
from typing import Literal
from urllib.parse import quote

from perdure import (
    SPEC_VERSION,
    CorruptStore,
    Description,
    IncompatibleStore,
    PermissionDenied,
    Support,
    Unsupported,
    check_name,
)
from perdure_sql import SCHEMA_VERSION, Database, Progress, Revision, SqlBackend, open_namespace

from perdure_sqlite._dialect import SQLite
from perdure_sqlite._errors import translate
from perdure_sqlite._options import OPTIONS, Options, parse_url
from perdure_sqlite._schema import create, inspect, write_ahead

__all__ = ["SQLitePlugin"]

_LEAST_SQLITE = (3, 35, 0)


class SQLitePlugin:
    """What `perdure.backends` finds under the name `sqlite`."""

    def describe(self) -> Description:
        """What this backend is and can do, without any I/O."""
        full = ("persistent", "concurrent", "read_only", "compact", "purge", "namespaces")
        return Description(
            name="sqlite",
            version=version("perdure-sqlite"),
            spec_version=SPEC_VERSION,
            durability="power",
            levels=("core", "branches", "vectors", "crash", "power", "concurrent"),
            capabilities={**dict.fromkeys(full, Support.FULL), "approximate": Support.MISSING},
            limits={"cell_bytes": 1_000_000_000, "filter_leaves_pushed": 300},
            options=dict(OPTIONS),
            example="sqlite:///agent.db",
            template="sqlite:///{tmp}/{unique}.db",
        )

    def open(self, url: str, namespace: str, mode: Literal["r", "rw"]) -> SqlBackend:
        """Open a store, creating file and namespace where `mode` is "rw".

        Raises:
            InvalidURL, InvalidRef: The URL or the namespace's name is malformed.
            NotFound: With mode "r": there is no such file or namespace.
            IncompatibleStore, CorruptStore: The file is not one that this version can use.
            Busy: Another process held the file for the whole wait.
        """
        options = parse_url(url, mode)
        check_name(namespace, "namespace")
        if sqlite3.sqlite_version_info < _LEAST_SQLITE:
            raise Unsupported(
                f"SQLite {sqlite3.sqlite_version} is too old; Python must be built with 3.35 or newer"
            )
        try:
            return _open(options, namespace)
        except (sqlite3.Error, UnicodeError) as error:
            raise translate(error, options.path) from error

    def schema_diff(self, url: str) -> list[str]:
        """As `perdure_sql.SchemaCare` says."""
        from perdure_sqlite._drift import mending  # noqa: PLC0415 - seldom wanted

        with _existing(parse_url(url, "r")) as connection:
            stored = connection.execute("PRAGMA user_version").fetchone()[0]
            if stored < SCHEMA_VERSION:
                raise IncompatibleStore(
                    f"the store has schema version {stored}, and this version {SCHEMA_VERSION}; run perdure schema "
                    "upgrade first",
                    version=stored,
                )
            return mending(connection)

    def schema_upgrade(self, url: str, *, dry_run: bool, progress: Progress | None = None) -> list[Revision]:
        """As `perdure_sql.SchemaCare` says; a file is created by `open` only."""
        from perdure_sqlite._upgrade import missing, upgrade_file  # noqa: PLC0415 - alembic is slow to import

        options = parse_url(url, "r" if dry_run else "rw")
        if options.read_only and not dry_run:
            raise PermissionDenied("?mode=ro opens the store read-only; leave it out to upgrade")
        with _existing(options) as connection:
            if dry_run:
                return missing(connection)
            return upgrade_file(connection, time.monotonic() + options.timeout, progress)


@contextmanager
def _existing(options: Options) -> Iterator[sqlite3.Connection]:
    """A connection to a store that is there, whatever its tables are like."""
    inspect(options.path, read_only=True)
    try:
        with closing(_read_only(options) if options.read_only else _raw(options, "rw")) as connection:
            yield connection
    except (sqlite3.Error, UnicodeError) as error:
        raise translate(error, options.path) from error


def _open(options: Options, namespace: str) -> SqlBackend:
    exists = inspect(options.path, options.read_only)
    until = time.monotonic() + options.timeout
    database = Database(SQLite(options.path, options, lambda write: _connect(options, write)))
    try:
        if not options.read_only:
            _prepare(options, exists, until)
        else:
            with database.reading() as session:
                _check(session.raw, options)
        number = open_namespace(database, namespace, create=not options.read_only)
        return SqlBackend(database, namespace, number, cache_bytes=options.cache)
    except BaseException:
        database.close()
        raise


def _prepare(options: Options, exists: bool, until: float) -> None:
    """See that the file is there, whole, of this version's schema, and in WAL mode."""
    connection = _raw(options, "rw" if exists else "rwc")
    try:
        if not exists:
            create(connection, until)
        stored = _check(connection, options)
        if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            write_ahead(connection, until)
        if stored < SCHEMA_VERSION:
            from perdure_sqlite._upgrade import upgrade_file  # noqa: PLC0415 - alembic is slow to import

            upgrade_file(connection, until)
    finally:
        connection.close()


def _check(connection: sqlite3.Connection, options: Options) -> int:
    """The schema version of a store whose first pages can be read."""
    stored: int = connection.execute("PRAGMA user_version").fetchone()[0]
    try:
        connection.execute("SELECT count(*) FROM namespaces").fetchone()
    except sqlite3.OperationalError as error:
        if "no such table" not in str(error):
            raise
        raise CorruptStore(
            f"{options.path.name} has lost its tables; restore it from a backup", driver=str(error)
        ) from error
    return stored


def _raw(options: Options, mode: str, extra: str = "") -> sqlite3.Connection:
    name = quote(str(options.path), errors="surrogateescape")
    connection = sqlite3.connect(
        f"file:{name}?mode={mode}{extra}",
        uri=True,
        timeout=options.timeout,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=512,
    )
    connection.execute("PRAGMA trusted_schema = OFF")
    return connection


def _connect(options: Options, write: bool) -> sqlite3.Connection:
    if write:
        connection = _raw(options, "rw")
        connection.execute(f"PRAGMA synchronous = {options.synchronous}")
        if options.max_pages:
            connection.execute(f"PRAGMA max_page_count = {options.max_pages}")
        connection.execute("PRAGMA cache_size = -65536")
        connection.execute("PRAGMA busy_timeout = 0")  # `begin_immediate` waits, no longer than it may
    elif options.read_only:
        connection = _read_only(options)
    else:
        connection = _raw(options, "rw")
        connection.execute("PRAGMA query_only = ON")
    connection.execute("PRAGMA temp_store = MEMORY")
    return connection


def _read_only(options: Options) -> sqlite3.Connection:
    connection = _raw(options, "ro")
    try:
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    except sqlite3.OperationalError:
        connection.close()
        # A directory that cannot be written has no room for the log's index. Where there is no log, nobody
        # writes, and the file is all there is.
        log = options.path.with_name(options.path.name + "-wal")
        if log.exists() and log.stat().st_size:
            raise
        return _raw(options, "ro", "&immutable=1")
    return connection
