"""Bringing a database to this version's schema; imported only when somebody asks for it.

Opening a store never does it: others may have it open in an older version, which would then read tables
that it does not know.
"""

from __future__ import annotations

from perdure import CorruptStore
from perdure_sql import Progress, Revision
from perdure_sql.upgrade import pending
from psycopg import sql

from perdure_postgres._extension import attach
from perdure_postgres._options import Options
from perdure_postgres._pool import Connection, run
from perdure_postgres._schema import lock_schema, revision
from perdure_postgres._vectors import enable, has_columns

__all__ = ["DERIVED", "missing", "upgrade"]

#: What is no revision, since only some databases have the extension; it is done in steps, after all else.
DERIVED = Revision("vectors", "What pgvector searches, derived from the vectors that are there", ())


def missing(connection: Connection, options: Options) -> list[Revision]:
    """The revisions that the database lacks; all of them where it has no store.

    Raises:
        IncompatibleStore: The schema is another program's, or of a revision that this version does not know.
        CorruptStore: It does not say what revision it is of.
    """
    found = revision(connection, options)
    if found == "none":
        raise CorruptStore(
            f"the schema {options.schema!r} of {options.place} does not say which revision it is of; restore it "
            "from a backup",
            schema=options.schema,
        )
    revisions = pending("postgresql", found)
    if revisions:
        first = revisions[0]
        begin = _begin(connection, options, create=found is None)
        revisions[0] = first._replace(statements=(*begin, *first.statements))
    if attach(connection, options.schema) and not has_columns(connection, options):
        revisions.append(DERIVED)
    return revisions


def upgrade(connection: Connection, options: Options, progress: Progress | None = None) -> list[Revision]:
    """Run the revisions that the database lacks, all or none of them; what was run.

    The connection is to be closed afterwards: it keeps the lock, so that what follows the revisions, in
    transactions of its own, is done by one process too.
    """

    def tell(done: int) -> None:
        if progress is not None:
            progress(done, len(revisions))

    lock_schema(connection, options, kept=True)
    connection.execute("BEGIN READ WRITE")
    try:
        created = revision(connection, options) is None
        revisions = missing(connection, options)  # none, where another process was first
        for done, each in enumerate(revisions, 1):
            if each.statements:
                run(connection, each.statements)
                tell(done)
        connection.execute("COMMIT")
    except BaseException:
        if not connection.closed:
            connection.execute("ROLLBACK")
        raise
    if created or DERIVED in revisions:
        connection.execute("SET default_transaction_read_only = off")
        enable(connection, options)
    if DERIVED in revisions:
        tell(len(revisions))
    return revisions


def _begin(connection: Connection, options: Options, *, create: bool) -> list[str]:
    """What makes the statements mean this schema, in a dry run's output too."""
    row = connection.execute("SELECT current_setting('search_path')").fetchone()
    assert row is not None
    name = sql.Identifier(options.schema).as_string(None)
    made = [f"CREATE SCHEMA IF NOT EXISTS {name}"] if create else []
    return [*made, f"SET LOCAL search_path = {row[0]}"]
