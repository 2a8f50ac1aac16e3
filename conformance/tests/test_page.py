"""The backend that docs/how-to/write-a-backend.md builds keeps the specification."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from perdure_conformance import Check, Profile, Runner, Site, Status, Target
from perdure_conformance.clauses import CHECKS

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "write-a-backend.md"
LEVELS = ("core", "branches", "vectors")


@pytest.fixture(scope="module")
def runner() -> Iterator[Runner]:
    scope: dict[str, object] = {"__name__": "page"}
    storage, plugin = re.findall(
        r"^```python(?: continue)?\n(.*?)^```$", PAGE.read_text("utf-8"), re.M | re.S
    )[:2]
    for block in (storage, plugin):
        exec(compile(block, str(PAGE), "exec"), scope)
    with Site(Target("dict://{unique}", plugin=scope["plugin"])) as site:
        yield Runner(
            site, profile=Profile("page", 4.0, shrink=False), seed=1, total=sum(c.weight for c in CHECKS)
        )


@pytest.mark.parametrize(
    "check", [check for check in CHECKS if check.level in LEVELS], ids=lambda check: check.id
)
def test_the_page_keeps_the_clause(runner: Runner, check: Check) -> None:
    result = runner.run_one(check)
    absent = ("the backend declares no persistent", "the backend was given by itself")
    assert result.status is Status.PASSED or result.reason.startswith(absent), (
        f"{result.reason}{result.trace}"
    )
