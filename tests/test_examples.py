"""Every example is a program that runs, alone, in an empty folder that holds `examples/data`, on any engine."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import perdure
import pytest

ROOT = Path(__file__).parent.parent
EXAMPLES = sorted(
    p for p in (ROOT / "examples").glob("*.py") if not p.name.startswith(("test_", "_", "conftest"))
)


def test_there_are_examples() -> None:
    assert EXAMPLES


def run(program: Path, folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, str(program), *arguments], cwd=folder, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, encoding="utf-8", env=os.environ | {"PYTHONUTF8": "1"}, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{program.name} failed\n{done.stdout}{done.stderr}"
    assert not done.stderr, f"{program.name} complains\n{done.stderr}"
    assert done.stdout.strip(), f"{program.name} says nothing; an example shows what happened"
    return done.stdout


@pytest.mark.parametrize("arguments", [(), ("memory://",)], ids=["default", "nameless"])
@pytest.mark.parametrize("program", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs_in_memory_and_leaves_nothing(
    program: Path, arguments: tuple[str, ...], tmp_path: Path
) -> None:
    shutil.copytree(ROOT / "examples" / "data", tmp_path / "examples" / "data")
    assert "memory://" in run(program, tmp_path, *arguments)
    assert [path.name for path in tmp_path.iterdir()] == ["examples"]


@pytest.mark.parametrize("program", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs_on_a_fresh_file_and_again_on_what_it_left(program: Path, tmp_path: Path) -> None:
    url = f"sqlite:///{program.stem}.db"
    for _ in range(2):
        assert url in run(program, tmp_path, url)
    with perdure.open(f"sqlite:///{tmp_path / program.stem}.db", namespace=program.stem, mode="r") as store:
        assert store.stats().commits
        assert store.verify().ok
