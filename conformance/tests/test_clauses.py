"""Every MUST of the specification is tried: by a check of the suite, or by a test that is named here."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from perdure_conformance import Specification
from perdure_conformance.clauses import AREAS, CHECKS
from perdure_conformance.mutants import MUTANTS, RACING

ROOT = Path(__file__).parents[2]

#: Clauses that bind this document, or the program around a backend: what tries them is no check of a backend.
ELSEWHERE: dict[str, str] = {
    "CA-005": "spec/tests/test_versions.py::test_older_backends_refuse_each_argument_that_was_added",
    "CO-090": "migrate/tests/replicate/test_portable.py::test_it_gives_the_events_that_an_export_gives",
    "CO-091": "migrate/tests/replicate/test_portable.py::test_any_changed_byte_is_noticed_before_the_first_event",
    "CO-092": "migrate/tests/replicate/test_portable.py::test_a_newer_version_and_what_is_no_such_file_are_refused",
    "CO-093": "migrate/tests/replicate/test_portable.py::test_a_file_that_is_there_is_kept",
    "DM-084": "backends/sqlite/tests/test_damage.py::test_a_changed_cell_is_noticed",
    "HK-022": "spec/tests/test_plugins.py::test_two_distributions_of_one_scheme_are_an_error_that_names_both",
    "HK-023": "spec/tests/test_plugins.py::test_a_scheme_that_nobody_declares_says_what_to_install",
    "SP-003": "spec/tests/test_versions.py::test_each_addition_names_its_version",
    "SP-004": "spec/tests/test_versions.py::test_versions_before_this_one_are_frozen",
}


def test_every_must_has_a_check_that_names_it() -> None:
    tried = {clause for check in CHECKS for clause in check.clauses} | ELSEWHERE.keys()
    missing = [
        clause.id for clause in Specification.load().values() if clause.must and clause.id not in tried
    ]
    assert not missing, f"no check names {', '.join(missing)}"


def test_checks_name_clauses_that_there_are() -> None:
    known = Specification.load()
    assert [(c.id, clause) for c in CHECKS for clause in c.clauses if clause not in known] == []


@pytest.mark.parametrize("clause", ELSEWHERE)
def test_what_is_tried_elsewhere_says_so(clause: str) -> None:
    path, _, name = ELSEWHERE[clause].partition("::")
    text = (ROOT / path).read_text(encoding="utf-8")
    assert f"def {name}(" in text
    assert clause in text, f"{path} does not name {clause}"


def test_checks_have_names_of_their_own_and_a_line_that_says_what_they_show() -> None:
    counts = Counter(check.id for check in CHECKS)
    assert [name for name, count in counts.items() if count > 1] == []
    assert [check.id for check in CHECKS if not check.summary.endswith(".")] == []
    assert all(area.__name__.rpartition(".")[2].startswith("_") for area in AREAS)


def test_mutants_break_clauses_that_there_are_and_say_how() -> None:
    every = (*MUTANTS, *RACING)
    assert {mutant.clause for mutant in every} <= Specification.load().keys()
    counts = Counter(mutant.name for mutant in every)
    assert [name for name, count in counts.items() if count > 1] == []
    assert [mutant.name for mutant in every if not mutant.summary.endswith(".")] == []
    assert len(MUTANTS) >= 40


def test_the_copy_of_the_clauses_is_current() -> None:
    sys.path.insert(0, str(ROOT / "conformance" / "tools"))
    from copy_clauses import COPY, current

    assert COPY.read_text(encoding="utf-8") == current(), "run conformance/tools/copy_clauses.py"


def test_the_suite_loads_no_backend() -> None:
    program = (
        "import sys, perdure_conformance.clauses; print(*{name.partition('.')[0] for name in sys.modules})"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    rooms = {name for name in loaded.split() if name.startswith("perdure")}
    assert rooms == {"perdure", "perdure_conformance"}
