"""A fresh store for each test: the memory engine, the simplest that keeps the contract."""

from collections.abc import Iterator

import perdure
import pytest


@pytest.fixture
def store() -> Iterator[perdure.Store]:
    with perdure.open("memory://") as opened:
        yield opened
