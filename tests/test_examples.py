"""Every example is a program that runs, alone, in an empty folder that holds `examples/data`."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
EXAMPLES = sorted(
    p for p in (ROOT / "examples").glob("*.py") if not p.name.startswith(("test_", "_", "conftest"))
)


def test_there_are_examples() -> None:
    assert EXAMPLES


@pytest.mark.parametrize("program", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs(program: Path, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "examples" / "data", tmp_path / "examples" / "data")
    done = subprocess.run(
        [sys.executable, str(program)], cwd=tmp_path, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{program.name} failed\n{done.stdout}{done.stderr}"
    assert done.stdout.strip(), f"{program.name} says nothing; an example shows what happened"
