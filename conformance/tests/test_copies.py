"""What is copied from the specification and the sources is current."""

from __future__ import annotations

import sys
from pathlib import Path

from perdure_conformance.golden import value_texts


def test_the_copy_of_the_golden_values_is_current() -> None:
    sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
    from copy_clauses import GOLDEN, current_golden

    assert GOLDEN.read_text(encoding="utf-8") == current_golden(), "run conformance/tools/copy_clauses.py"
    assert value_texts()["negative_zero"] == "-0.0"


def test_the_page_of_mutants_is_current() -> None:
    sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
    from list_mutants import PAGE, current

    assert PAGE.read_text(encoding="utf-8") == current(), "run conformance/tools/list_mutants.py"
