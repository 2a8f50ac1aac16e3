"""Revisions of the schema, run by alembic from inside the package; imported only when one is due."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory

__all__ = ["upgrade"]


def upgrade(name: str, connect: Callable[[], Any]) -> None:
    """Bring a store to the newest revision, inside the transaction that the caller has begun.

    Args:
        name: SQLAlchemy's name of the dialect.
        connect: Gives the DBAPI connection; SQLAlchemy neither commits nor closes it.
    """
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "_revisions").replace("%", "%%"))
    script = ScriptDirectory.from_config(config)

    def steps(revision: Any, _context: Any) -> Sequence[Any]:
        return script._upgrade_revs("head", revision)

    engine = sa.create_engine(f"{name}://", creator=connect, poolclass=sa.StaticPool)
    with engine.connect() as connection, EnvironmentContext(config, script, fn=steps) as environment:
        environment.configure(connection=connection, transactional_ddl=True)
        environment.run_migrations()
