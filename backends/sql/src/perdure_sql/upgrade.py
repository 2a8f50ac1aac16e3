"""Revisions of the schema, from alembic, as SQL that an engine runs itself; imported only when one is due.

A revision is rendered, not run, by alembic: a dry run and an upgrade then have the same statements, and the
engine runs them in its own transaction, under its own lock. So a revision holds operations and SQL without
questions to the database, one statement for each `op.execute`.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Any

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from perdure import IncompatibleStore

from perdure_sql._care import Revision

__all__ = ["pending", "revisions"]

#: Alembic keeps what it works on in its modules: two threads would write into each other's revisions.
_ALONE = threading.Lock()


@cache
def _script() -> tuple[Config, ScriptDirectory]:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "_revisions").replace("%", "%%"))
    return config, ScriptDirectory.from_config(config)


def revisions() -> list[str]:
    """The ids of all revisions, oldest first."""
    return [each.revision for each in _script()[1].walk_revisions()][::-1]


def pending(dialect: str, found: str | None, *, to: str = "head") -> list[Revision]:
    """What a store lacks.

    Args:
        dialect: SQLAlchemy's name of the kind of database.
        found: The revision that it records; None where it has no tables at all.
        to: Where to stop; the newest revision.

    Raises:
        IncompatibleStore: This version does not know the revision that was found.
    """
    config, script = _script()
    known = revisions()
    if found is not None and found not in known:
        raise IncompatibleStore(
            f"the store has the schema of revision {found[:40]!r}, and this version knows up to {known[-1]!r}: "
            "install a newer perdure",
            revision=found[:40],
        )
    result: list[Revision] = []
    written = _Statements()

    def steps(revision: Any, _context: Any) -> Sequence[Any]:
        return script._upgrade_revs(to, revision)

    def ran(ctx: object, step: Any, heads: object, run_args: object) -> None:
        result.append(Revision(step.up_revision_id, step.up_revision.doc, written.take()))

    with _ALONE, EnvironmentContext(config, script, fn=steps, as_sql=True, starting_rev=found) as environment:
        try:
            environment.configure(
                dialect_name=dialect,
                dialect_opts={"paramstyle": "named"},  # else each % would be doubled
                literal_binds=True,
                transactional_ddl=True,
                output_buffer=written,
                on_version_apply=ran,
            )
            environment.run_migrations()
        except CommandError as error:
            raise IncompatibleStore(f"there is no way from revision {found!r} to {to!r}: {error}") from error
    return result


class _Statements(StringIO):
    """Where alembic writes: each call has one statement, or a comment on what is being run."""

    def __init__(self) -> None:
        super().__init__()
        self._statements: list[str] = []

    def write(self, text: str, /) -> int:
        statement = text.strip().removesuffix(";")
        if statement and not statement.startswith("-- Running "):
            self._statements.append(statement)
        return len(text)

    def take(self) -> tuple[str, ...]:
        """What was written since the last time."""
        taken, self._statements = tuple(self._statements), []
        return taken
