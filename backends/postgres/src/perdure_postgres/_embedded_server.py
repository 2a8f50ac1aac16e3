"""The server process of one directory: whether it takes connections, starting it, stopping it, its log.

Its socket is always in the directory itself, so whatever answers there is the server of this directory: also
where a copied or restored `postmaster.pid` names a process that is something else by now.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from perdure import Busy
from psycopg.pq import Ping

from perdure_postgres._embedded_cluster import LOG, Home, failed, translated

if TYPE_CHECKING:
    import psutil  # type: ignore[import-untyped]

__all__ = ["PORT", "SOCKET", "Mark", "complaint", "mark", "panics", "ping", "quit_if_stuck", "start", "stop"]

PORT = 5432
SOCKET = f".s.PGSQL.{PORT}"

#: The log's file and its length at some moment.
Mark = tuple[int, int]

#: How long a server may take to write everything to its place before it ends.
_FAST_SECONDS = 20.0

_LOG_BYTES = 4 * 2**20
_TAIL_BYTES = 2**20

#: Only the server begins a line so: it indents what it quotes.
_SEVERE = re.compile(r"^\d{4}-\d\d-\d\d [\d:.]+ \S+ \[\d+\] (?P<line>(?:PANIC|FATAL):  .*)$", re.MULTILINE)

#: What each startup process says first.
_STARTUP = re.compile(
    r"^\d{4}-\d\d-\d\d [\d:.]+ \S+ \[(?P<pid>\d+)\] LOG:  database system was ", re.MULTILINE
)

#: A server that died a moment ago leaves these to its successor.
_PASSING = re.compile(r"is still in use|lock file .* already exists|lock file .* is empty")

#: What single connections are told, also when the server ends as it should.
_HARMLESS = re.compile(r"FATAL:  (the database system is|terminating |sorry, |.*postmaster exit)")

_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_directories": "..",
    "unix_socket_permissions": "0700",
    "port": str(PORT),
    "max_connections": "200",
    "jit": "off",
    # What was purged must be found nowhere: neither in used-up pieces of the log, nor in messages.
    "wal_recycle": "off",
    "log_error_verbosity": "terse",
    "log_min_error_statement": "panic",
    "log_destination": "stderr",
    "logging_collector": "off",
    "log_line_prefix": "%m [%p] ",
    "lc_messages": "C",
}


def ping(conninfo: str) -> Ping:
    """Whether the server takes connections (OK), is just starting or stopping (REJECT), or is not there."""
    return Ping(psycopg.pq.PGconn.ping(f"{conninfo} connect_timeout=2".encode()))


def start(home: Home, until: float) -> None:
    """Start the server, or wait a moment for what is in the way; the caller looks whether it runs now.

    Raises:
        StorageError, PermissionDenied, Busy: It does not start.
    """
    if (process := _postmaster(home)) is not None:
        if not (home.directory / SOCKET).exists() and _ready(home):
            _end(process, until)  # someone removed its socket: nobody will ever reach it again
        else:
            time.sleep(0.01)
        return
    if not _clear(home):
        time.sleep(0.01)
        return
    log = home.directory / LOG
    with translated(home.directory), suppress(FileNotFoundError):
        if log.stat().st_size > _LOG_BYTES:
            log.replace(log.with_name("log.1"))
    before = mark(home)
    options = shlex.join(f"--{name}={value}" for name, value in _SETTINGS.items())
    seconds = max(1, round(until - time.monotonic()))
    code, output = home.run(
        "pg_ctl",
        ("start", "-D", home.here, "-l", f"../{LOG}", "-o", options, "-w", "-t", str(seconds), "-s"),
        home.data,
        until + 2,
    )
    if code and _postmaster(home) is None:
        lines = _severe(home, before)
        if any(_PASSING.search(line) for line in lines):
            time.sleep(0.02)
            return
        raise failed(
            "the embedded Postgres does not start", "\n".join(reversed(lines)) or output, home.directory
        )


def quit_if_stuck(home: Home) -> None:
    """End a server that could not recover from a crash: Postgres 18 then neither goes on nor ends.

    Its newest startup process said what it died of.
    """
    text = _tail(home, (0, 0))
    started = max(_STARTUP.finditer(text), key=re.Match.start, default=None)
    process = _postmaster(home)
    if started is not None and process is not None:
        died = re.compile(rf"\[{started['pid']}\] (FATAL|PANIC):  ")
        if died.search(text, started.end()):
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGQUIT)


def stop(home: Home, until: float) -> None:
    """End the server as it should end, with all it knows on the disk."""
    process = _postmaster(home)
    if process is not None:
        _end(process, until)


def mark(home: Home) -> Mark:
    """Where the log ends now."""
    try:
        status = (home.directory / LOG).stat()
    except OSError:
        return (0, 0)
    return status.st_ino, status.st_size


def complaint(home: Home, since: Mark, running: bool) -> str | None:
    """The line of the log, newer than `since`, that tells what the server died of."""
    lines = _severe(home, since)
    panics = [line for line in lines if line.startswith("PANIC")]
    fatal = [line for line in lines if not running and not _HARMLESS.match(line)]
    return next(reversed(panics or fatal), None)


def panics(home: Home, since: Mark) -> list[str]:
    """The lines of the log, newer than `since`, that tell of a death of the whole server."""
    return [line for line in _severe(home, since) if line.startswith("PANIC")]


def _severe(home: Home, since: Mark) -> list[str]:
    return [found["line"] for found in _SEVERE.finditer(_tail(home, since))]


def _tail(home: Home, since: Mark) -> str:
    """What the log says since then, or the last of it where that is much."""
    try:
        with (home.directory / LOG).open("rb") as log:
            status = os.fstat(log.fileno())
            begin = since[1] if status.st_ino == since[0] and status.st_size >= since[1] else 0
            log.seek(max(begin, status.st_size - _TAIL_BYTES))
            return log.read(_TAIL_BYTES).decode(errors="replace")
    except OSError:
        return ""


def _postmaster(home: Home) -> psutil.Process | None:
    """The live process that `postmaster.pid` names, if it is a server of this directory."""
    return _of(home, _pid(home.data / "postmaster.pid"))


def _of(home: Home, pid: int) -> psutil.Process | None:
    """The process, if it is a Postgres that works in this directory: each of them does."""
    import psutil  # noqa: PLC0415 - comes with the wheel

    if pid <= 0:
        return None
    try:
        process = psutil.Process(pid)
        if process.name() != "postgres":
            return None
        if process.status() == psutil.STATUS_ZOMBIE:
            _reap(pid)
            return None
        if os.path.samefile(process.cwd(), home.data):
            return process
    except (psutil.Error, OSError):
        pass
    return None


def _reap(pid: int) -> None:
    """Bury a server that became our child, which happens to the first process of a container."""
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def _pid(path: Path) -> int:
    try:
        return int(path.read_bytes().split(b"\n", 1)[0])
    except (OSError, ValueError):
        return 0


def _ready(home: Home) -> bool:
    try:
        return (home.data / "postmaster.pid").read_bytes().split(b"\n")[7].strip() == b"ready"
    except (OSError, IndexError):
        return False


def _clear(home: Home) -> bool:
    """Remove what a dead server, or a copied one, left; False while processes of it still end.

    Postgres itself does so only where the number of the dead process is not in use again.
    """
    left = [
        path for path in (home.data / "postmaster.pid", home.directory / f"{SOCKET}.lock") if path.exists()
    ]
    if not left:
        return True
    if orphans := _orphans(home):
        for process in orphans:
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGQUIT)
        return False
    with translated(home.directory):
        for path in left:
            path.unlink(missing_ok=True)
    return True


def _orphans(home: Home) -> list[psutil.Process]:
    """Processes of a server that is no more; they end by themselves only once they have nothing to do."""
    import psutil  # noqa: PLC0415 - comes with the wheel

    return [process for pid in psutil.pids() if (process := _of(home, pid)) is not None]


def _end(process: psutil.Process, until: float) -> None:
    import psutil  # noqa: PLC0415 - comes with the wheel

    begin, immediately = time.monotonic(), False
    try:
        process.send_signal(signal.SIGINT)  # Postgres calls that a fast shutdown
        while process.is_running():
            if process.status() == psutil.STATUS_ZOMBIE:
                _reap(process.pid)
                return
            now = time.monotonic()
            if now >= until:
                raise Busy("the embedded Postgres has not ended within the whole wait; it ends by itself")
            if not immediately and now - begin > _FAST_SECONDS:
                process.send_signal(signal.SIGQUIT)  # an immediate one; all that was committed is in the WAL
                immediately = True
            time.sleep(0.005)
    except psutil.NoSuchProcess:
        return
