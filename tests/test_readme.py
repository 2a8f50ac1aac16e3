"""Every code block of every page runs: the README, the pages under docs/, and the page of each room.

A page runs from top to bottom in one empty folder that holds `examples/data`, as its reader would:

- `python` blocks run in a fresh namespace each; `python continue` goes on in the one before it;
- in `bash`, `sh` and `console` blocks the commands of the installed `perdure` run, and must succeed.

Everything else in a shell block is passed over by design, above all the lines of the two setup blocks of
the README that make an environment and fill it (venv, pip, nox): these tests run inside what they make.
`nox -s setup` runs the first of the two literally, `.ci/run` the second.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
ROOMS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["uv"]["workspace"][
    "members"
]
PAGES = [
    README,
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted(p for r in ROOMS for p in (ROOT / r).glob("*.md")),
]
PATIENCE = 120  # seconds, after which a command is taken to hang


@dataclass(frozen=True)
class Block:
    """A fenced block: where it stands, the words after the fence, and its text."""

    page: Path
    line: int
    words: tuple[str, ...]
    text: str


def blocks(page: Path) -> list[Block]:
    found: list[Block] = []
    fence, start = "", 0
    words: tuple[str, ...] = ()
    body: list[str] = []
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        match = re.match(r"(`{3,}|~{3,})\s*(.*)$", line.strip())
        if not fence and match:
            fence, start, words, body = match[1], number + 1, tuple(match[2].split()), []
        elif fence and line.strip().startswith(fence) and not line.strip().strip(fence[0]):
            found.append(Block(page, start, words, "\n".join(body)))
            fence = ""
        elif fence:
            body.append(line)
    assert not fence, f"{page.relative_to(ROOT).as_posix()}:{start - 1}: the block is not closed"
    return found


def commands(block: Block) -> list[tuple[int, str]]:
    """Line and text of each `perdure` command, with continued lines joined and prompts taken off."""
    found, pending, first = [], "", 0
    for offset, line in enumerate(block.text.splitlines()):
        if block.words[0] == "console" and not pending:
            if not line.startswith("$ "):
                continue
            line = line[2:]
        first = first if pending else block.line + offset
        pending += line.removesuffix("\\")
        if not line.endswith("\\"):
            if re.match(r"(\S*/)?perdure\s", pending):
                found.append((first, pending))
            pending = ""
    return found


def run_command(page: Path, line: int, command: str, folder: Path) -> None:
    scripts = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}", "NO_COLOR": "1"}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", re.sub(r"^\S*/perdure\b", "perdure", command)],
        cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=PATIENCE, check=False,
    )  # fmt: skip
    if done.returncode:
        pytest.fail(f"{page.name}:{line}: {command}\nexit code {done.returncode}\n{done.stdout}{done.stderr}")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_a_page_runs_from_top_to_bottom(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(ROOT / "examples" / "data", tmp_path / "examples" / "data")
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {}
    for block in blocks(page):
        language = block.words[0] if block.words else ""
        if language == "python":
            if "continue" not in block.words:
                namespace = {"__name__": "__main__"}
            # Leading empty lines make a traceback show the line of the page.
            source = "\n" * (block.line - 1) + block.text
            exec(compile(source, str(page), "exec"), namespace)
        elif language in ("bash", "sh", "console"):
            for line, command in commands(block):
                run_command(page, line, command, tmp_path)


def block_between(name: str) -> str:
    """The one block of the README between the markers of that name."""
    text = README.read_text(encoding="utf-8")
    assert text.count(f"<!-- {name}:begin -->") == text.count(f"<!-- {name}:end -->") == 1
    inside = text.split(f"<!-- {name}:begin -->")[1].split(f"<!-- {name}:end -->")[0]
    (block,) = [b for b in blocks(README) if b.text in inside and b.words == ("bash",)]
    return block.text


def test_the_first_command_installs_every_room_that_it_needs() -> None:
    (line,) = [line for line in block_between("try").splitlines() if line.startswith("pip install")]
    paths = [re.sub(r"\[.*\]$", "", word).removeprefix("./") for word in shlex.split(line)[2:]]
    projects = [
        tomllib.loads((ROOT / path / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        for path in paths
    ]
    needed = {need for project in projects for need in project["dependencies"] if need.startswith("perdure")}
    assert needed <= {project["name"] for project in projects}
    assert "perdure-migrate" in {project["name"] for project in projects}


def test_the_second_command_runs_nox_and_is_the_one_that_ci_runs() -> None:
    assert block_between("check").splitlines()[-1] == "nox"
    ci = ROOT / ".ci" / "run"
    assert os.access(ci, os.X_OK)
    assert "check:begin" in ci.read_text(encoding="utf-8")
