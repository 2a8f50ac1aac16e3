"""What the tests of the embedded server share: looking at its processes, and programs that use it."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import psycopg
from perdure_postgres._embedded import EmbeddedServer, start

PATIENCE = 60.0

PROLOGUE = """
import os, signal, sys, time
from pathlib import Path
import psycopg
from perdure_postgres._embedded import start
directory = Path(sys.argv[1])
def say(*words): print(*words, flush=True)
def run(share, statement):
    with psycopg.connect(share.conninfo, autocommit=True) as connection:
        return connection.execute(statement).fetchone()[0]
def begin(): return start(directory, time.monotonic() + 60, create=True)
"""


def soon(seconds: float = PATIENCE) -> float:
    return time.monotonic() + seconds


def begin(directory: Path) -> EmbeddedServer:
    return start(directory, soon(), create=True)


def run(share: EmbeddedServer, statement: str) -> Any:
    """The first cell that a statement returns."""
    with psycopg.connect(share.conninfo, autocommit=True) as connection:
        cursor = connection.execute(statement)
        row = cursor.fetchone() if cursor.description else None
    return row and row[0]


def until(condition: Callable[[], object]) -> None:
    """Wait for a condition, and fail where it never comes."""
    patience = soon()
    while not condition():
        assert time.monotonic() < patience, "what the test waits for has not come"
        time.sleep(0.002)


def processes(directory: Path) -> list[psutil.Process]:
    """Every live Postgres that works in the directory."""
    found = []
    for process in psutil.process_iter():
        try:
            dead = process.status() == psutil.STATUS_ZOMBIE
            if not dead and process.name() == "postgres" and Path(process.cwd()).is_relative_to(directory):
                found.append(process)
        except psutil.Error:
            continue
    return found


def postmaster(directory: Path) -> psutil.Process:
    return psutil.Process(int((directory / "data" / "postmaster.pid").read_text().split()[0]))


def program(body: str, directory: Path, workers: Any = None) -> Any:
    """A program of its own that uses the directory: its ``begin()`` is a share.

    It is a new interpreter, or forked by `workers`, which takes a hundredth of the time; how it ends is then
    not how Python ends.
    """
    if workers is not None:
        return workers.program(PROLOGUE + body, directory)
    return subprocess.Popen(
        [sys.executable, "-c", PROLOGUE + body, str(directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def heard(child: Any) -> str:
    """The next line that the program says."""
    assert child.stdout is not None
    line = child.stdout.readline()
    assert line, f"the program ended with {child.wait()}"
    return line.strip()


def tell(child: Any) -> None:
    """Let a program go on that waits for a line."""
    assert child.stdin is not None
    child.stdin.write("\n")
    child.stdin.flush()


def ended(child: Any) -> int:
    """The program's exit code, with its pipes closed."""
    child.communicate()
    return int(child.returncode)


def kill_all(child: Any) -> None:
    """SIGKILL a program and everything that it started and that has not gone its own way."""
    family = [psutil.Process(child.pid), *psutil.Process(child.pid).children(recursive=True)]
    for process in family:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    ended(child)
