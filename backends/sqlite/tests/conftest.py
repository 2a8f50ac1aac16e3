"""Fixtures: a store in a new directory."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from perdure_sql import SqlBackend
from perdure_sqlite import plugin


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "agent.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqlBackend]:
    backend = plugin.open(f"sqlite:///{path}", "test", "rw")
    yield backend
    backend.close(ctx=None)
