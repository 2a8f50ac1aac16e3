"""System calls of a process, seen with strace: what it wrote where, and what it had synced when."""

from __future__ import annotations

import ctypes
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from perdure_conformance.expect import Skipped

__all__ = ["FAULTY", "Call", "Strace", "allow_tracing", "calls_of"]

#: What is looked at: every call that changes what a directory holds, or syncs it.
TRACED = [
    "open",
    "openat",
    "creat",
    "write",
    "pwrite64",
    "writev",
    "pwritev",
    "pwritev2",
    "fsync",
    "fdatasync",
    "sync",
    "syncfs",
    "msync",
    "ftruncate",
    "truncate",
    "fallocate",
    "rename",
    "renameat",
    "renameat2",
    "unlink",
    "unlinkat",
    "link",
    "linkat",
    "mkdir",
    "mkdirat",
    "rmdir",
    "lseek",
    "mmap",
    "copy_file_range",
    "sendfile",
    "io_uring_enter",
]

#: The calls that a failing disk answers with an error.
FAULTY = ("write", "pwrite64", "writev", "pwritev", "fsync", "fdatasync", "ftruncate", "fallocate")

#: Longest text of a call that is kept, in bytes.
LONGEST = 4_000_000

PATIENCE = 30.0

_PR_SET_PTRACER = 0x59616D61
_ANYBODY = ctypes.c_ulong(-1)

_LINE = re.compile(r"^(\d+)\s+(\w+)\((.*)\)\s+= (-?\d+|\?|0x[0-9a-f]+)(.*)$", re.DOTALL)
_UNFINISHED = re.compile(r"^(\d+)\s+(\w+)\((.*?),? ?<unfinished \.\.\.>$", re.DOTALL)
_RESUMED = re.compile(r"^(\d+)\s+<\.\.\. (\w+) resumed>,? ?(.*)$", re.DOTALL)
_HEX = re.compile(r"\\x([0-9a-f]{2})")


def allow_tracing() -> None:
    """Let another process trace this one, where the system would keep that to parents."""
    libc = ctypes.CDLL(None, use_errno=True)
    if hasattr(libc, "prctl"):
        libc.prctl(_PR_SET_PTRACER, _ANYBODY, 0, 0, 0)


@dataclass(frozen=True)
class Call:
    """One system call.

    Attributes:
        thread: Number of the thread.
        name: Such as ``pwrite64``.
        text: The arguments, as strace writes them: all strings in hexadecimal.
        result: What it returned; -1 for an error.
        opened: The path of the file that it opened.
        injected: Whether strace made it fail.
    """

    thread: int
    name: str
    text: str
    result: int
    opened: str
    injected: bool

    @property
    def paths(self) -> list[str]:
        """The paths of the file descriptors among the arguments."""
        return [text_of(found).removesuffix(" (deleted)") for found in re.findall(r"<([^<>]*)>", self.text)]

    @property
    def strings(self) -> list[bytes]:
        """The strings among the arguments."""
        return [bytes_of(found) for found in re.findall(r'"([^"]*)"', self.text)]

    @property
    def words(self) -> list[str]:
        """The arguments without strings and paths."""
        plain = re.sub(r"<[^<>]*>|\"[^\"]*\"(\.\.\.)?", "", self.text)
        return [word.strip() for word in plain.split(",")]


def bytes_of(text: str) -> bytes:
    """The bytes that strace wrote in hexadecimal."""
    return bytes.fromhex(text.replace("\\x", ""))


def text_of(text: str) -> str:
    """A path that strace wrote in hexadecimal, or, in other versions, as it is."""
    return _HEX.sub(lambda found: chr(int(found[1], 16)), text)


class Strace:
    """strace, attached to a process and its threads until `detach`.

    Args:
        pid: The process.
        log: A file to make.
        *options: More options, such as faults to inject.

    Raises:
        Skipped: strace cannot attach here.
    """

    def __init__(self, pid: int, log: Path, *options: str) -> None:
        program = shutil.which("strace")
        if program is None:
            raise Skipped("needs the program strace")
        self.log = log
        traced = ",".join(f"?{name}" for name in TRACED)
        self._process = subprocess.Popen(
            [
                *(program, "-f", "-y", "-xx", "-s", str(LONGEST), "-e", f"trace={traced}"),
                *("-e", "signal=none", *options, "-o", str(log), "-p", str(pid)),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._said: list[str] = []
        self._wait_until_attached()

    def _wait_until_attached(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._said.append(line.strip())
            if "attached" in line:
                return
        self.detach()
        raise Skipped(f"strace cannot attach here: {' '.join(self._said)[:300]}")

    def detach(self) -> None:
        """Let the process go on alone; the log is complete then."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stderr is not None:
            self._process.stderr.close()

    def calls(self) -> list[Call]:
        """The calls until now; complete after `detach`."""
        return list(calls_of(self.log))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.detach()


def calls_of(log: Path) -> Iterator[Call]:
    """The calls in a log, in the order in which they ended."""
    begun: dict[str, str] = {}
    with log.open(encoding="ascii", errors="replace") as lines:
        for raw in lines:
            line = raw.rstrip("\n")
            if found := _UNFINISHED.match(line):
                begun[found[1]] = found[3]
                continue
            if found := _RESUMED.match(line):
                separator = "" if found[3].startswith(")") else ", "
                line = f"{found[1]} {found[2]}({begun.pop(found[1], '')}{separator}{found[3]}"
            if (found := _LINE.match(line)) and found[4] != "?":
                end = found[5]
                opened = text_of(end[1 : end.index(">")]) if end.startswith("<") else ""
                yield Call(int(found[1]), found[2], found[3], int(found[4], 0), opened, "(INJECTED)" in end)
