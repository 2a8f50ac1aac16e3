"""Fixtures: an embedded server for all tests, with a new schema for each, and processes to race and to kill."""

import io
import json
import os
import runpy
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode

import perdure
import psutil
import psycopg
import pytest
from perdure import CommitRequest, Context, Put
from perdure.cli import main
from perdure_postgres import embedded
from perdure_postgres._embedded import EmbeddedServer
from perdure_sql import SqlBackend

HERE = Path(__file__).parent


class Server:
    """A server, where each `url` is a store that nobody else has.

    Attributes:
        conninfo: How libpq reaches it as its owner.
        directory: Of an embedded server.
    """

    def __init__(self, conninfo: str, directory: Path) -> None:
        self.conninfo, self.directory = conninfo, directory
        self._numbers = count(1)

    def schema(self) -> str:
        """The name of a schema that is not there yet."""
        return f"test_{os.getpid()}_{next(self._numbers)}"

    def url(self, **options: Any) -> str:
        """The URL of a new store, or of the one in ``schema=``, with options."""
        options.setdefault("schema", self.schema())
        return f"postgresql+embedded:///{self.directory}?{urlencode(options)}"

    def run(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """The rows of a statement that the server's owner runs."""
        with psycopg.connect(self.conninfo, autocommit=True) as connection:
            cursor = connection.execute(statement, values)  # type: ignore[arg-type]
            return cursor.fetchall() if cursor.description else []


@pytest.fixture(scope="session")
def kit() -> SimpleNamespace:
    """What `embedded_kit.py` defines."""
    return SimpleNamespace(**runpy.run_path(str(HERE / "embedded_kit.py")))


@pytest.fixture(scope="session")
def servers() -> SimpleNamespace:
    """What `servers.py` defines."""
    return SimpleNamespace(**runpy.run_path(str(HERE / "servers.py")))


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory, kit: SimpleNamespace) -> Path:
    """The directory of an embedded server that was made and stopped, to be copied: initdb takes longer."""
    directory: Path = tmp_path_factory.mktemp("cluster") / "server"
    kit.begin(directory).close()
    return directory


@pytest.fixture
def directory(cluster: Path, tmp_path: Path) -> Path:
    """The directory of an embedded server that is stopped."""
    copy = tmp_path / "server"
    subprocess.run(["cp", "-a", cluster, copy], check=True)
    return copy


@pytest.fixture(scope="session")
def server(cluster: Path, tmp_path_factory: pytest.TempPathFactory, kit: SimpleNamespace) -> Iterator[Server]:
    """One embedded server for all tests that leave it running as it was."""
    directory = tmp_path_factory.mktemp("postgres") / "server"
    subprocess.run(["cp", "-a", cluster, directory], check=True)
    share: EmbeddedServer = kit.begin(directory)
    yield Server(share.conninfo, share.directory)
    share.close()


@pytest.fixture
def url(server: Server) -> str:
    """The URL of a new store."""
    return server.url()


@pytest.fixture
def store(url: str) -> Iterator[SqlBackend]:
    backend = embedded.open(url, "test", "rw")
    yield backend
    backend.close(ctx=None)


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


CTX = Context()
SKILLS = perdure.TABLES["skills"]


class Held:
    """A commit on a branch, stopped in the middle until it is let go."""

    def __init__(self, url: str, branch: str, id_: str) -> None:
        self._reached, self._go = threading.Event(), threading.Event()
        self.backend, self._branch, self._id = embedded.open(url, "default", "rw"), branch, id_
        self._thread = ThreadPoolExecutor(1)

    def _pause(self) -> Iterator[Any]:
        self._reached.set()
        assert self._go.wait(60)
        yield from ()

    def __enter__(self) -> "Held":
        cells = {"id": self._id, "body": "null", "metadata": "null", "tags": ()}
        cells |= {"success_count": 0, "failure_count": 0}
        row = tuple(cells.get(name) for name in SKILLS.names)
        request = CommitRequest(self._branch, self._id, [Put("skills", [row])], chunks=Pausing(self._pause))
        self._done = self._thread.submit(self.backend.commit, ctx=CTX, request=request)
        assert self._reached.wait(60)
        return self

    def let_go(self) -> Any:
        self._go.set()
        return self._done.result(60)

    def __exit__(self, *error: Any) -> None:
        self._go.set()
        self._thread.shutdown()
        self.backend.close(ctx=None)


class Pausing:
    """Payload pieces that are none, but that take their time."""

    def __init__(self, pause: Callable[[], Iterator[Any]]) -> None:
        self._pause = pause

    def __iter__(self) -> Iterator[Any]:
        return self._pause()


@pytest.fixture
def hold() -> type[Held]:
    """Holds a commit open: ``with hold(url, branch, id) as held: …``."""
    return Held


class Workers:
    """Processes forked, after all imports, from one server, so that each starts in a millisecond."""

    def __init__(self) -> None:
        command = [sys.executable, str(HERE / "workers.py")]
        self._server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._running: set[int] = set()
        self._numbers = count(1)

    def _ask(self, **request: Any) -> int:
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        return int(self._server.stdout.readline())

    def start(self, job: str, **arguments: Any) -> int:
        """Start a job of `workers.py`; its process id."""
        pid = self._ask(job=job, arguments=arguments)
        self._running.add(pid)
        return pid

    def program(self, body: str, directory: Path) -> "Program":
        """Start a program that uses an embedded server, as `program` of `embedded_kit.py` does."""
        pipes = [directory.with_name(f"{name}-{next(self._numbers)}") for name in ("hears", "says")]
        for pipe in pipes:
            os.mkfifo(pipe)
        pid = self.start(
            "program", body=body, directory=str(directory), hears=str(pipes[0]), says=str(pipes[1])
        )
        return Program(self, pid, *pipes)

    def wait(self, *pids: int) -> list[int]:
        """The exit codes of processes, once they have ended."""
        codes = [self._ask(wait=pid) for pid in pids]
        self._running.difference_update(pids)
        return codes

    def kill(self, pid: int) -> None:
        """End a process at once, whatever it is doing."""
        os.kill(pid, signal.SIGKILL)
        assert self.wait(pid) == [-signal.SIGKILL]

    def close(self) -> None:
        """End the server, and what a test that failed left running."""
        for pid in tuple(self._running):
            self.kill(pid)
        self._server.communicate()


class Program:
    """A forked program, which is spoken with like a `Popen`.

    Attributes:
        pid: Its process id.
        stdin: What it hears.
        stdout: What it says.
    """

    def __init__(self, workers: Workers, pid: int, hears: Path, says: Path) -> None:
        self.pid, self._workers = pid, workers
        self.stdin, self.stdout = hears.open("w"), says.open()
        for pipe in (hears, says):
            pipe.unlink()

    def poll(self) -> int | None:
        """None for as long as it runs."""
        return 0 if psutil.Process(self.pid).status() == psutil.STATUS_ZOMBIE else None

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    def communicate(self) -> None:
        """Wait for its end."""
        self.stdin.close()
        self.stdout.read()
        self.stdout.close()
        (self.returncode,) = self._workers.wait(self.pid)

    wait = communicate


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    server = Workers()
    yield server
    server.close()
