"""The commands, as people and programs run them."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from perdure.cli import main
from perdure_conformance import PROFILES, Profile
from perdure_conformance.report import Report

Run = Callable[..., tuple[int, str, str]]

MAIN = "branches.main_is_there_and_stays"

#: A backend that cannot commit, as a module of somebody's.
BROKEN = """
from perdure import Unavailable, hookimpl
from perdure.wrappers import Forward
from perdure_memory import plugin as memory

class NoCommits(Forward):
    @hookimpl
    def commit(self, ctx, request):
        raise Unavailable("no commits today")

class Plugin:
    describe = staticmethod(memory.describe)

    def open(self, url, namespace, mode):
        return NoCommits(memory.open(url, namespace, mode))

def make():
    return Plugin()
"""


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the program in this process: exit code, stdout, stderr."""

    def program(*words: Any) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main([str(word) for word in words])
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return program


@pytest.fixture
def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "somebodys.py").write_text(BROKEN, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    return "somebodys:make"


def test_a_healthy_part_passes_and_says_its_seed(run: Run) -> None:
    code, out, _ = run("conformance", "memory", "--only", MAIN)
    assert code == 0
    assert "profile quick, seed " in out
    assert "granted: no level" in out
    assert "only a part was run" in out


def test_a_failure_is_told_and_can_be_seen_again(run: Run, broken: str) -> None:
    code, out, _ = run("conformance", broken, "--only", "a_fork_and_its_parent", "--seed", 4)
    assert code == 1
    told = ("BR-005: A commit on the parent", "expected: ", "got: Unavailable: no commits today")
    assert [text for text in told if text not in out] == []
    (again,) = [line.partition("replay: ")[2] for line in out.splitlines() if "replay: " in line]
    code, out, _ = run(*again.split()[1:])
    assert code == 1
    assert "seed 4" in out
    assert "no commits today" in out


def test_files_are_written_also_when_something_fails(run: Run, broken: str, tmp_path: Path) -> None:
    goals = {name: tmp_path / f"report.{name}" for name in ("json", "junit", "html")}
    options = [word for name, path in goals.items() for word in (f"--{name}", path)]
    code, _, _ = run("conformance", broken, "--only", "a_fork_and_its_parent", *options)
    assert code == 1
    report = Report.from_json(goals["json"].read_bytes())
    assert (report.counts.failed, report.plugin) == (1, "somebodys:make")
    assert ET.parse(goals["junit"]).find(".//failure") is not None
    assert "no commits today" in goals["html"].read_text(encoding="utf-8")
    code, _, _ = run("conformance-report", goals["json"], goals["json"], "--html", tmp_path / "both.html")
    assert code == 0
    assert (tmp_path / "both.html").stat().st_size > 1_000
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_programs_are_written_and_fail(run: Run, broken: str, tmp_path: Path) -> None:
    code, out, _ = run(
        "conformance", broken, "--only", "a_fork_and_its_parent", "--repro", tmp_path / "programs"
    )
    (program,) = (tmp_path / "programs").iterdir()
    assert (code, program.name, f"repro: {program}" in out) == (1, "repro_BR-004.py", True)
    surroundings = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, program], env=surroundings, capture_output=True, text=True, check=False
    )
    assert (done.returncode, "no commits today" in done.stdout) == (1, True)


def test_backends_run_against_each_other(run: Run, broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PROFILES, "quick", Profile("quick", 0.0))
    code, out, _ = run("conformance", "memory", "--against", "sqlite", "--seed", 5)
    assert (code, "no difference between memory, sqlite: 1 rounds" in out) == (0, True)
    code, out, _ = run("conformance", "memory", "--against", broken, "--seed", 5)
    assert code == 1
    told = ("no commits today", "The history:", f"again: perdure conformance memory --against {broken}")
    assert [text for text in told if text not in out] == []


def test_what_the_url_does_not_allow_is_told_first(run: Run, tmp_path: Path) -> None:
    notes = {
        f"sqlite:///{tmp_path}/one.db": "is one place: checks that need stores of their own are skipped",
        f"sqlite:///{tmp_path}/{{unique}}.db": "stay there",
        "sqlite": "",
    }
    for target, note in notes.items():
        _, _, err = run("conformance", target, "--only", MAIN)
        assert (note in err, "note:" in err) == (True, bool(note))


def test_an_empty_collection_fails(run: Run) -> None:
    code, out, _ = run("conformance", "memory", "--only", "no-such-check")
    assert (code, "no check was run" in out) == (1, True)


def test_the_checks_can_be_listed(run: Run) -> None:
    code, out, _ = run("conformance", "memory", "--list", "--only", "BR-001")
    rows = [line.split("\t") for line in out.splitlines()]
    assert code == 0
    assert rows[0] == ["check", "level", "clauses", "needs", "kind"]
    assert MAIN in [row[0] for row in rows[1:]]
    listed = [
        {row[1] for row in map(str.split, out.splitlines()[1:])}
        for out in (
            run("conformance", "memory", "--list")[1],
            run("conformance", "memory", "--list", "--level", "concurrent")[1],
        )
    ]
    assert "concurrent" in listed[1] - listed[0]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["nosuch"], 2),
        (["memory", "--level", "turbo"], 2),
        (["memory", "--profile", "slow"], 2),
        (["memory", "--seed", "-1"], 2),
        (["memory", "--against", "nosuch"], 2),
        (["memory", "--against", "memory", "--only", MAIN], 2),
        (["memory", "--replay", "branches.x:1"], 2),
        (["memory", "--replay", "branches.x:1:0"], 2),
        (["memory", "--replay", f"{MAIN}:1:0", "--seed", "3"], 2),
        (["memory", "--known", "none.toml"], 3),
        (["memory", "--json", "no/such/folder/r.json"], 3),
        (["no.such.module:make"], 7),
        ([], 2),
    ],
)
def test_wrong_words_are_told_before_anything_runs(run: Run, words: list[str], expected: int) -> None:
    code, out, err = run("conformance", *words)
    assert (code, out) == (expected, "")
    assert "error" in err


def test_a_report_that_is_none_is_told(run: Run, tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text("{}")
    assert run("conformance-report", tmp_path / "r.json", "--html", tmp_path / "x.html")[0] == 2
    assert run("conformance-report", tmp_path / "none.json", "--html", tmp_path / "x.html")[0] == 3


@pytest.mark.parametrize(
    ("words", "expected"), [("--level c", {"core", "crash", "concurrent"}), ("--profile n", {"nightly"})]
)
def test_the_shell_completes_levels_and_profiles(
    run: Run, monkeypatch: pytest.MonkeyPatch, words: str, expected: set[str]
) -> None:
    line = f"perdure conformance memory {words}"
    surroundings = {
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(line.split()) - 1),
        "_PERDURE_COMPLETE": "complete_bash",
    }
    for name, value in surroundings.items():
        monkeypatch.setenv(name, value)
    assert set(run()[1].split()) == expected


def on_terminal(words: list[str], **surroundings: str) -> tuple[int, str]:
    """Run the program with a terminal for its output: exit code and what was shown."""
    mine, theirs = pty.openpty()
    program = "from perdure.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", program, *words],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "80", "LINES": "40", **surroundings},
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            piece = os.read(mine, 65_536)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        shown += piece
    os.close(mine)
    return process.wait(), shown.decode("utf-8", "replace")


def test_a_terminal_shows_progress_and_colours_unless_told_not_to() -> None:
    words = ["conformance", "memory", "--only", "branches.main"]
    code, shown = on_terminal(words, NO_COLOR="")
    assert (code, "checks" in shown, "\x1b[1;32m" in shown) == (0, True, True)
    code, shown = on_terminal(words, NO_COLOR="1")
    assert (code, "\x1b[1;32m" in shown, "\x1b[31m" in shown) == (0, False, False)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_run_that_is_stopped_tells_what_there_is_and_grants_nothing(tmp_path: Path, name: str) -> None:
    """The program sends the signal to itself, from the first check on."""
    program = f"""
import os, signal
from perdure_conformance import Runner
from perdure.cli import main
one = Runner.run_one
def stop(self, check, **more):
    if check.id != {MAIN!r}:
        os.kill(os.getpid(), signal.{name})
    return one(self, check, **more)
Runner.run_one = stop
main(["conformance", "memory", "--only", "branches.", "--json", {str(tmp_path / "r.json")!r}])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    report = json.loads((tmp_path / "r.json").read_text())
    assert done.returncode == 130, done.stderr
    assert (report["interrupted"], report["counts"]["passed"]) == (True, 1)
    assert [level["level"] for level in report["levels"] if level["state"] == "granted"] == []
    assert "the run was stopped" in done.stdout
