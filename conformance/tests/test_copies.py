"""What the suite carries of the specification is what the specification says."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

_CURRENT = runpy.run_path(str(Path(__file__).parents[1] / "tools/copy_clauses.py"))["current"]()


@pytest.mark.parametrize("path", _CURRENT, ids=lambda path: path.name)
def test_a_copy_is_current(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == _CURRENT[path], "run conformance/tools/copy_clauses.py"
