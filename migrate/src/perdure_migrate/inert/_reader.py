"""Reads files in a process of its own, which has limits, sees nothing but descriptors, and is watched.

The process is started once for many files. It imports what it needs, and only then gets the first file; from
there on its audit hook ends it at the first import, open, call of a program or anything else that reading data
does not need. What it read comes back as plain columns, never as a pickle.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from perdure import InvalidInput, InvalidRecord, NotFound, PermissionDenied, StorageError, Unsupported

from perdure_migrate.inert import _wire
from perdure_migrate.inert._limits import Limits
from perdure_migrate.inert._report import Report

__all__ = ["Reader", "Reading"]

_BOOT = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[2]); "
    "from perdure_migrate.inert._child import main; main(int(sys.argv[1]))"
)

#: What of the environment an interpreter may need to start at all, or to find its time zones.
_PASSED = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PYTHONTZPATH")

#: Libraries of numbers would start threads, whose stacks count as memory.
_SINGLE = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

_MOST_BUFFERS = 900

#: How long the process may take to start, in seconds: a limit against hanging, far above what it needs.
_STARTING = 600.0


@dataclass(frozen=True, slots=True)
class Reading:
    """What one file holds.

    Attributes:
        value: The one value of a pickle or an array; a list of those of a stream of several pickles; a dict by
            name for an archive of arrays, by key for a shelf.
        kind: "pickle", "pickles", "npy", "npz", "torch" or "shelf".
        layers: The compression that was taken off, the outermost first.
        report: The names and calls that its pickles hold.
        sha256: The hash of the file as it is, in hexadecimal.
        size: Its length in bytes.
    """

    value: Any
    kind: str
    layers: tuple[str, ...]
    report: Report = field(repr=False)
    sha256: str
    size: int


class Reader:
    """Reads pickles, and files that hold pickles, without running anything; see the module docstring.

    Use it as a context manager, or close it; one that is dropped ends its process too. Threads take turns.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self._lock = threading.Lock()
        self._process: _Process | None = None

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process; reading again starts another."""
        with self._lock:
            if self._process is not None:
                self._process.end()
                self._process = None

    def read(
        self,
        source: str | Path | int,
        *,
        buffers: Sequence[str | Path | int] = (),
        shared_memo: bool = False,
    ) -> Reading:
        """What a file holds.

        Args:
            source: A path, or a descriptor that can be read from its beginning; it stays open.
            buffers: Files or descriptors with the out-of-band buffers of a protocol 5 pickle, in order.
            shared_memo: As for `load_all`.

        Raises:
            InvalidRecord: It is damaged, of a kind that is not read, or passes a limit, which `detail` names.
            NotFound, PermissionDenied, StorageError: It cannot be opened or read.
            InvalidInput: There are too many buffers.
            Unsupported: This system has no limits for processes.
        """
        if len(buffers) > _MOST_BUFFERS:
            raise InvalidInput(
                f"at most {_MOST_BUFFERS} buffers are read at once; join them with their pickle"
            )
        opened: list[int] = []
        try:
            kind, paths = parts_of(source)
            files = [_open(one, opened) for one in (*paths, *buffers)]
            request = {"kind": kind, "parts": len(paths), "shared_memo": shared_memo}
            with self._lock:
                return self._ask(request, files)
        finally:
            for one in opened:
                os.close(one)

    def _ask(self, request: dict[str, Any], files: list[int]) -> Reading:
        if self._process is None:
            self._process = _Process(self.limits)
        try:
            header, columns = self._process.ask({**request, "limits": asdict(self.limits)}, files)
        except BaseException:
            self._process.end()
            self._process = None
            raise
        if header.get("retire"):  # it ran out of memory, and may have little left
            self._process.end()
            self._process = None
        if "error" in header:
            error = StorageError if header["error"] == "storage" else InvalidRecord
            raise error(header["message"], **header["detail"])
        try:
            value = _wire.loads(columns)
        except MemoryError as error:
            raise InvalidRecord(
                "what it holds does not fit into memory; read it where there is more"
            ) from error
        return Reading(
            value=value,
            kind=header["kind"],
            layers=tuple(header["layers"]),
            report=_report(header["report"]),
            sha256=header["sha256"],
            size=header["size"],
        )


def parts_of(source: str | Path | int) -> tuple[str | None, list[str | Path | int]]:
    """What kind a file must be by its name, if that is certain, and the files that belong to it.

    Raises:
        InvalidRecord: A database has a log beside it, without which it is not whole.
    """
    if isinstance(source, int):
        return None, [source]
    path = Path(source)
    for base in (path, path.with_suffix("") if path.suffix in (".dat", ".dir") else path):
        pair = [base.with_name(base.name + suffix) for suffix in (".dir", ".dat")]
        if (base != path or not path.exists()) and all(one.is_file() for one in pair):
            return "dumb", [*pair]
    log = path.with_name(path.name + "-wal")
    if log.is_file() and log.stat().st_size:
        raise InvalidRecord(
            f"{path.name!r} has changes in {log.name!r} that are not yet in it; "
            "open and close it once with the program that wrote it",
            file=path.name,
        )
    return None, [path]


def _open(source: str | Path | int, opened: list[int]) -> int:
    if isinstance(source, int):
        return source
    name = Path(source).name
    try:
        made = os.open(source, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    except (FileNotFoundError, ValueError) as error:  # ValueError: the path holds a NUL
        raise NotFound(f"the source {name!r} does not exist; check the path") from error
    except PermissionError as error:
        raise PermissionDenied(f"the source {name!r} may not be read; give yourself access") from error
    except OSError as error:
        raise StorageError(f"the source {name!r} cannot be read: {error}", cause=str(error)) from error
    opened.append(made)
    return made


def _report(given: dict[str, Any]) -> Report:
    made = Report(given["protocol"], given["pickles"], given["size"])
    for name in ("_globals", "_calls", "_opaque"):
        setattr(made, name, Counter({(module, qualname): n for module, qualname, n in given[name]}))
    return made


class _Process:
    """The other process: one request at a time, over a socket that carries descriptors."""

    def __init__(self, limits: Limits) -> None:
        if not hasattr(socket, "send_fds"):
            raise Unsupported("files are read in a process with limits, which this system does not have")
        self.limits = limits
        ours, theirs = socket.socketpair()
        path = [os.path.abspath(one) for one in sys.path if one]
        environment = {name: os.environ[name] for name in _PASSED if name in os.environ} | _SINGLE
        try:
            child = subprocess.Popen(
                [sys.executable, "-I", "-c", _BOOT, str(theirs.fileno()), json.dumps(path)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd=os.sep,
                env=environment,
                pass_fds=[theirs.fileno()],
            )
        except OSError as error:
            ours.close()
            raise StorageError(f"the reader's process does not start: {error}", cause=str(error)) from error
        finally:
            theirs.close()
        self.child, self.socket = child, ours
        self._finalizer = weakref.finalize(self, _end, child, ours)
        self._deadline = time.monotonic() + _STARTING
        try:
            ready, _ = self._answer()
        except BaseException:
            self.end()
            raise
        if "ready" not in ready:
            self.end()
            raise StorageError(
                f"the reader's process does not start: {ready.get('message')}; reinstall perdure-migrate"
            )

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self.child.pid

    def end(self) -> None:
        """Kill the process, and wait until it is gone."""
        self._finalizer()

    def ask(self, request: dict[str, Any], files: list[int]) -> tuple[dict[str, Any], list[bytes]]:
        """Hand over files, and get the answer."""
        self._deadline = time.monotonic() + self.limits.max_seconds
        body = json.dumps({**request, "files": len(files)}).encode()
        try:
            self.socket.settimeout(self.limits.max_seconds)
            self.socket.sendall(len(body).to_bytes(4, "little") + body)
            for one in files:
                socket.send_fds(self.socket, [b"f"], [one])
        except TimeoutError:
            self._late()
        except OSError:
            self._gone()
        return self._answer()

    def _answer(self) -> tuple[dict[str, Any], list[bytes]]:
        header = json.loads(self._take(int.from_bytes(self._take(8), "little")))
        return header, [self._take(size) for size in header.get("columns", ())]

    def _take(self, count: int) -> bytes:
        made = bytearray(count)
        rest = memoryview(made)
        while rest:
            left = self._deadline - time.monotonic()
            if left <= 0:
                self._late()
            self.socket.settimeout(left)
            try:
                got = self.socket.recv_into(rest)
            except TimeoutError:
                self._late()
            except OSError:
                got = 0
            if not got:
                self._gone()
            rest = rest[got:]
        return bytes(made)

    def _late(self) -> NoReturn:
        most = self.limits.max_seconds
        raise InvalidRecord(
            f"reading took more than {most} seconds. If you trust the file, raise Limits.max_seconds.",
            limit="max_seconds",
        )

    def _gone(self) -> NoReturn:
        """Say why the process ended before it answered."""
        self.socket.close()
        code = self.child.wait()
        limits = self.limits
        if code in (-signal.SIGXCPU, -signal.SIGPROF):
            raise InvalidRecord(
                f"reading took more than {limits.max_cpu} seconds of processor time. "
                "If you trust the file, raise Limits.max_cpu.",
                limit="max_cpu",
            )
        raise InvalidRecord(
            f"the reader's process ended while it read (exit code {code}). If memory was short, raise "
            "Limits.max_memory (--max-memory) or read it where there is more; else leave the file out.",
            exit_code=code,
        )


def _end(child: subprocess.Popen[bytes], ours: socket.socket) -> None:
    ours.close()
    child.kill()
    child.wait()
