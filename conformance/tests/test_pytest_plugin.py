"""The two ways in through pytest: a class in the author's tests, and the suite by name."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from perdure_conformance import Report

#: Of the whole suite, a part that is over in a moment.
FEW = ("-k", "branches.main or branches.a_fork_and")


def run(folder: Path, *args: str) -> tuple[int, str]:
    """pytest in a process of its own: exit code and output."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *args]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    done = subprocess.run(command, cwd=folder, env=clean, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def write(folder: Path, text: str) -> None:
    (folder / "test_mine.py").write_text(text, encoding="utf-8")


def test_a_class_of_two_lines_is_enough(tmp_path: Path) -> None:
    write(
        tmp_path,
        "from perdure_conformance import Conformance\nclass TestMine(Conformance):\n    target = 'memory://'\n",
    )
    code, out = run(tmp_path, *FEW)
    assert code == 0, out
    assert "perdure conformance of memory" in out
    assert "2 passed" in out


def test_a_fixture_gives_the_target(tmp_path: Path) -> None:
    write(
        tmp_path,
        """
import perdure_memory
import pytest
from perdure_conformance import Conformance, Target

@pytest.fixture(scope="module")
def target():
    return Target("memory://{unique}", plugin=perdure_memory.plugin)

class TestMine(Conformance):
    pass
""",
    )
    code, out = run(tmp_path, *FEW)
    assert code == 0, out
    assert "2 passed" in out


def test_a_broken_backend_fails_with_the_clause_and_what_came(tmp_path: Path) -> None:
    write(
        tmp_path,
        """
from perdure_conformance import Conformance, Target
from perdure_conformance.mutants import MUTANTS

class TestMine(Conformance):
    target = Target("memory://{unique}", wrap=tuple(m.wrap for m in MUTANTS if m.name == "ForkSeesParent"))
""",
    )
    code, out = run(tmp_path, *FEW)
    assert code == 1, out
    assert "BR-005: A commit on the parent after the fork MUST NOT be visible on the branch" in out
    assert "expected: ['before', 'on-lab']" in out


def test_the_suite_runs_by_name_and_in_parallel(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    code, out = run(
        tmp_path, "-n", "2", "--pyargs", "perdure_conformance", "--perdure-backend=memory://",
        f"--perdure-json={report}", *FEW,
    )  # fmt: skip
    assert code == 0, out
    assert "2 passed" in out
    read = Report.from_json(report.read_text(encoding="utf-8"))
    assert read.backend.name == "memory"
    assert read.granted == ()  # a part of the suite grants nothing
    assert json.loads(report.read_text(encoding="utf-8"))["only"]


def test_the_suite_must_be_told_which_backend(tmp_path: Path) -> None:
    code, out = run(tmp_path, "--pyargs", "perdure_conformance")
    assert code != 0
    assert "--perdure-backend" in out


def test_nothing_collected_is_no_success(tmp_path: Path) -> None:
    code, out = run(
        tmp_path, "--pyargs", "perdure_conformance", "--perdure-backend=memory", "-k", "no_such_check"
    )
    assert code == 5, out


def test_skipped_checks_fail_the_run_of_a_backend_that_claims_their_level(tmp_path: Path) -> None:
    write(
        tmp_path,
        """
from perdure_conformance import Conformance, Target

class TestMine(Conformance):
    target = Target("memory://one-place-for-all")  # checks that need several are skipped

    @classmethod
    def checks(cls, config):
        return [c for c in super().checks(config) if "places" in c.needs]
""",
    )
    code, out = run(tmp_path)
    assert code == 1, out
    assert "failed" not in out.splitlines()[-1]
    assert "every check was skipped" in out


def test_a_known_failure_that_passes_fails_the_session(tmp_path: Path) -> None:
    write(
        tmp_path,
        "from perdure_conformance import Conformance\nclass TestMine(Conformance):\n    target = 'memory://'\n",
    )
    known = tmp_path / "known.toml"
    name = "branches.main_is_there_and_stays"
    known.write_text(
        f'[[known]]\ncheck = "{name}"\nreason = "gone"\nexpires = 2999-01-31\n', encoding="utf-8"
    )
    code, out = run(tmp_path, *FEW, "--perdure-known", str(known))
    assert code == 1, out
    assert "1 passed that are said to fail" in out
