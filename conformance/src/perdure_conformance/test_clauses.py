"""Collected by ``pytest --pyargs perdure_conformance --perdure-backend=TARGET``: the suite on one backend."""

from __future__ import annotations

import pytest

from perdure_conformance._author import Conformance
from perdure_conformance._target import Target

__all__ = ["TestBackend"]


class TestBackend(Conformance):
    """Every check on the backend that the options name."""

    @classmethod
    def judged(cls, config: pytest.Config) -> Target:
        """What the options name."""
        named = config.getoption("--perdure-backend")
        if named is None:
            raise pytest.UsageError("say which backend: --perdure-backend=URL, such as sqlite://")
        return Target.of(named, url=config.getoption("--perdure-url"))
