"""Fixtures: object storage on loopback, stores in both places, and processes to race and to kill."""

import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

HERE = Path(__file__).parent
#: What the environment may say of object storage.
VARIABLES = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_ENDPOINT_URL",
    "AWS_ALLOW_HTTP",
)


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture(scope="session")
def s3_kit() -> SimpleNamespace:
    """What `s3.py` defines."""
    return SimpleNamespace(**runpy.run_path(str(HERE / "s3.py")))


@pytest.fixture(scope="session")
def s3(s3_kit: SimpleNamespace) -> Iterator[Any]:
    """A real server that speaks S3, for all tests of the session."""
    server = s3_kit.Server()
    yield server
    server.close()


@pytest.fixture
def stub(s3_kit: SimpleNamespace) -> Iterator[Any]:
    """A server that fails as it is told."""
    server = s3_kit.Stub()
    yield server
    server.close()


@pytest.fixture(params=["directory", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a store that is not there yet, in each of the places."""
    if request.param == "directory":
        return f"lancedb:///{tmp_path}/store"
    return str(request.getfixturevalue("s3").url())


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a job of `jobs.py` in a new process, which says that it is ready and waits for a line."""
    started: list[subprocess.Popen[str]] = []

    def run(job: str, *arguments: Any) -> subprocess.Popen[str]:
        command = [sys.executable, str(HERE / "jobs.py"), job, *map(str, arguments)]
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        started.append(process)
        return process

    yield run
    for process in started:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # and what it has forked
        process.communicate()
