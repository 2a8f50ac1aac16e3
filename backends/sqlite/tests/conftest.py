"""Fixtures: a store in a new directory, the golden stores, and processes to race and to kill."""

import io
import json
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from perdure.cli import main
from perdure_sql import SqlBackend
from perdure_sqlite import plugin

HERE = Path(__file__).parent


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "agent.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqlBackend]:
    backend = plugin.open(f"sqlite:///{path}", "test", "rw")
    yield backend
    backend.close(ctx=None)


@pytest.fixture(scope="session")
def golden() -> dict[str, Any]:
    """What `data/make_golden.py` defines: `build`, `dump` and `counted`."""
    return runpy.run_path(str(HERE / "data" / "make_golden.py"))


@pytest.fixture(scope="session")
def jobs() -> dict[str, Any]:
    """What `workers.py` defines."""
    return runpy.run_path(str(HERE / "workers.py"))


def _perdure(*words: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    out, err = io.StringIO(), io.StringIO()
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        for name, value in environment.items():
            patch.setenv(name, value)
        stack.enter_context(redirect_stdout(out))
        stack.enter_context(redirect_stderr(err))
        ended = stack.enter_context(pytest.raises(SystemExit))
        main(list(words))
    return subprocess.CompletedProcess(words, int(ended.value.code or 0), out.getvalue(), err.getvalue())


@pytest.fixture(scope="session")
def command() -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Runs `perdure` in this process, with words and variables of the environment: how it ended, and what it said."""
    return _perdure


class Workers:
    """Processes forked, after all imports, from one server, so that each starts in a millisecond."""

    def __init__(self) -> None:
        command = [sys.executable, str(HERE / "workers.py")]
        self._server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def _ask(self, **request: Any) -> int:
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        return int(self._server.stdout.readline())

    def start(self, job: str, **arguments: Any) -> int:
        """Start a job of `workers.py`; its process id."""
        return self._ask(job=job, arguments=arguments)

    def wait(self, *pids: int) -> list[int]:
        """The exit codes of processes, once they have ended."""
        return [self._ask(wait=pid) for pid in pids]

    def kill(self, pid: int) -> None:
        """End a process at once, whatever it is doing."""
        os.kill(pid, signal.SIGKILL)
        assert self.wait(pid) == [-signal.SIGKILL]

    def close(self) -> None:
        """End the server."""
        self._server.communicate()


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    server = Workers()
    yield server
    server.close()
