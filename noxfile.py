"""Every check of the repository: ``nox`` runs the default ones, ``nox -s bench`` the measurements.

All sessions share one environment, ``.nox/rooms``, with every room installed editable under the pins of
the root ``pyproject.toml``. It is made once, by uv where that is at hand and by pip elsewhere, and made
anew when a ``pyproject.toml`` changes; sources need no reinstall.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nox

ROOT = Path(__file__).parent
PROJECT = nox.project.load_toml(ROOT / "pyproject.toml")
ROOMS = PROJECT["tool"]["uv"]["workspace"]["members"]
PINS = PROJECT["tool"]["uv"]["constraint-dependencies"]
EXTRAS = {"spec": "[cli]", "backends/postgres": "[embedded,schema]"}
PAGES = ["tests/test_docs.py", "tests/test_readme.py"]
SUITE = "conformance/tests"

#: The engines that the gate judges, and how: a fixed seed, so that it never turns red by luck.
ENGINES = ["memory", "sqlite", "postgresql+embedded", "lancedb"]
GATE = ["--profile", "quick", "--seed", "1"]

#: Runs a command beside object storage on loopback; there, two processes judge an engine, by name in pytest.
BUCKETS = "backends/lancedb/tests/s3.py"
BY_NAME = ["pytest", "-n", "2", "--pyargs", "perdure_conformance", "--perdure-seed=1"]

#: A backend that is no part of the workspace.
STRANGER, STRANGER_URL = "examples/thirdparty", "lmdb://"

nox.needs_version = ">=2025.5.1"
nox.options.sessions = ["lint", "types", "tests", "conformance", "stranger", "docs"]
nox.options.default_venv_backend = "none"


@nox.session
def lint(session: nox.Session) -> None:
    """Style and format, by ruff."""
    run(session, "ruff", "check", ".")
    run(session, "ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Strict types, over the sources of every room."""
    run(session, "mypy", *(f"{room}/src" for room in ROOMS))


@nox.session
def tests(session: nox.Session) -> None:
    """The tests of every room, the examples, and what holds for the whole repository."""
    testpaths = PROJECT["tool"]["pytest"]["ini_options"]["testpaths"]
    paths = [path for path in testpaths if path != SUITE and (ROOT / path).exists()]
    chosen = session.posargs or [*paths, *(f"--ignore={page}" for page in PAGES)]
    run(session, "pytest", "-n", "4", *chosen)  # many wait for servers and for processes that they kill


@nox.session
def conformance(session: nox.Session) -> None:
    """The suite's own tests, and its verdict on every engine: as a command, and by name in pytest."""
    if session.posargs:
        run(session, "pytest", "-n", "2", *session.posargs, HYPOTHESIS_PROFILE="ci")
        return
    if shutil.which("strace") is None:
        session.error("strace is missing, by which the level power is shown; install it (apt install strace)")
    run(session, "pytest", "-n", "2", SUITE, HYPOTHESIS_PROFILE="ci")
    for engine in ENGINES:
        run(session, "perdure", "conformance", f"{engine}://", *GATE)
    run(session, *BY_NAME, "--perdure-backend=memory://")
    run(session, "python", BUCKETS, *BY_NAME, "--perdure-backend=lancedb+s3://{unique}/store")


@nox.session
def stranger(session: nox.Session) -> None:
    """A backend from outside of the workspace, as its author has it: installed, tested and judged."""
    home = ROOT / ".nox" / "stranger"
    scripts = home / ("Scripts" if os.name == "nt" else "bin")
    install = venv(session, home)
    parts = ["./spec[cli]", "./conformance", f"./{STRANGER}", "pytest", "pytest-xdist"]
    session.run(*install, *parts, external=True)
    path = {"PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}"}
    session.run(str(scripts / "pytest"), "-n", "2", STRANGER, env=path, external=True)
    session.run(str(scripts / "perdure"), "conformance", STRANGER_URL, *GATE, env=path, external=True)


@nox.session
def docs(session: nox.Session) -> None:
    """Links, code blocks and clause numbers of every page."""
    run(session, "pytest", "-n", "4", *(session.posargs or PAGES))


@nox.session
def bench(session: nox.Session) -> None:
    """perdure beside the raw driver, as ratios; not part of the default run."""
    run(session, "python", "-m", "benchmarks", *session.posargs)


@nox.session
def setup(session: nox.Session) -> None:
    """README's first command, literally, in a copy of the sources; not part of the default run."""
    copy = Path(session.create_tmp()) / "clone"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".*", "__pycache__", "agent.db*"))
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    block = page.split("<!-- try:begin -->")[1].split("<!-- try:end -->")[0]
    command = "\n".join(block.strip().splitlines()[1:-1])
    with session.chdir(copy):
        session.run("bash", "-euo", "pipefail", "-c", command, external=True)


def run(session: nox.Session, program: str, *args: str, **env: str) -> None:
    """Runs a program of the shared environment, which is made or renewed first where needed."""
    scripts = environment(session)
    path = f"{scripts}{os.pathsep}{os.environ['PATH']}"
    session.run(str(scripts / program), *args, env={"PATH": path, **env}, external=True)


def environment(session: nox.Session) -> Path:
    """The scripts folder of the environment that all sessions share."""
    home = ROOT / ".nox" / "rooms"
    scripts = home / ("Scripts" if os.name == "nt" else "bin")
    state = hashlib.sha256(sys.version.encode())
    for project in [ROOT, *(ROOT / room for room in ROOMS)]:
        state.update((project / "pyproject.toml").read_bytes())
    stamp = home / "installed"
    if stamp.exists() and stamp.read_text() == state.hexdigest():
        return scripts

    install = venv(session, home)
    build = nox.project.dependency_groups(PROJECT, "build")
    session.run(*install, *build, external=True)
    rooms = [part for room in ROOMS for part in ("-e", f"./{room}{EXTRAS.get(room, '')}")]
    dev = nox.project.dependency_groups(PROJECT, "dev")
    session.run(*install, "--no-build-isolation", *rooms, *dev, external=True)
    stamp.write_text(state.hexdigest())
    return scripts


def venv(session: nox.Session, home: Path) -> list[str]:
    """Makes an empty environment, by uv where that is at hand; returns the command that installs into it, under the pins."""
    python = str(home / ("Scripts" if os.name == "nt" else "bin") / "python")
    shutil.rmtree(home, ignore_errors=True)
    if shutil.which("uv") and not pip_has_its_own_sources():
        session.run("uv", "venv", "--quiet", "--python", sys.executable, str(home), external=True)
        install = ["uv", "pip", "install", "--quiet", "--python", python]
    else:
        session.run(sys.executable, "-m", "venv", str(home), external=True)
        install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    pins = home / "constraints.txt"
    pins.write_text("\n".join(PINS) + "\n", encoding="utf-8")
    return [*install, "-c", str(pins)]


def pip_has_its_own_sources() -> bool:
    """Whether this machine tells pip where packages come from: uv reads none of that, so pip must install."""
    listing = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
    ).stdout
    names = {line.split("=")[0].rpartition(".")[2] for line in listing.splitlines()}
    return not names.isdisjoint({"index-url", "extra-index-url", "find-links", "no-index", "proxy", "cert"})
