"""The processes of an engine: all that work in the directory of a place, whoever started them."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]

__all__ = ["files_limited", "gone", "kill_all", "processes_of"]

#: How long killed processes may take to let go of their files, in seconds.
PATIENCE = 30.0


def processes_of(directory: Path | None) -> set[psutil.Process]:
    """The processes, other than this one, that work in a directory, or have a file open below it."""
    if directory is None:
        return set()
    root = os.path.realpath(directory)
    return {
        process for process in psutil.process_iter() if process.pid != os.getpid() and _works(process, root)
    }


def _works(process: psutil.Process, root: str) -> bool:
    with suppress(psutil.Error, OSError):
        places = [process.cwd(), *(found.path for found in process.open_files())]
        return any(place == root or place.startswith(f"{root}/") for place in places)
    return False


def kill_all(directory: Path | None, *more: int) -> None:
    """Kill all processes of an engine at one moment, as the death of the machine would.

    Each is stopped before the first is killed, so that none sees the death of another.

    Args:
        directory: The engine's.
        *more: Numbers of other processes to kill with them.
    """
    stopped: set[psutil.Process] = set()
    for pid in more:
        with suppress(psutil.Error):
            stopped.add(psutil.Process(pid))
    new = stopped | processes_of(directory)
    while new:
        for process in new:
            with suppress(psutil.Error):
                process.suspend()
        stopped |= new
        new = processes_of(directory) - stopped
    until = time.monotonic() + PATIENCE
    left = stopped
    while left:
        for process in left:
            with suppress(psutil.Error):
                process.kill()
        left = processes_of(directory)
        if time.monotonic() >= until:
            raise RuntimeError(f"processes outlive SIGKILL: {sorted(process.pid for process in left)}")


def gone(processes: Iterable[psutil.Process]) -> bool:
    """Whether one of the processes has ended."""
    for process in processes:
        try:
            if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
    return False


@contextmanager
def files_limited(directory: Path | None, limit: int, but: int) -> Iterator[bool]:
    """While the block runs, files that the engine's processes write may not grow beyond a size.

    Processes that they start meanwhile inherit that. The value is whether the system can limit them.

    Args:
        directory: The engine's.
        limit: The size.
        but: The number of a process that limits itself.
    """
    limited = [_limit(process, str(limit)) for process in processes_of(directory) if process.pid != but]
    try:
        yield all(limited)
    finally:
        for process in processes_of(directory):
            _limit(process, _most(process))


def _limit(process: psutil.Process, limit: str) -> bool:
    """Limit the files of a process, of another user maybe; whether that was possible, or it has ended."""
    program = shutil.which("prlimit")
    if program is None:
        return False
    user: dict[str, Any] = {}
    try:
        if os.geteuid() == 0 and process.uids().real:
            # Even root may limit only its own processes where it has not all its rights, as in a container.
            user = {"user": process.uids().real, "group": process.gids().real, "extra_groups": ()}
    except psutil.NoSuchProcess:
        return True
    run = subprocess.run(
        [program, f"--pid={process.pid}", f"--fsize={limit}:"], capture_output=True, check=False, **user
    )
    return run.returncode == 0 or not process.is_running()


def _most(process: psutil.Process) -> str:
    """The limit that a process may have at most."""
    with suppress(OSError):
        for line in Path(f"/proc/{process.pid}/limits").read_text("ascii").splitlines():
            if line.startswith("Max file size"):
                return line.split()[-2]
    return "unlimited"
