"""System calls of a process, seen with strace: what it wrote where, and what it had synced when."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from perdure_conformance.crash._engine import processes_of
from perdure_conformance.expect import Skipped

__all__ = ["FAULTY", "Call", "Strace", "allow_tracing", "calls_of"]

#: What is looked at: every call that changes what a directory holds, or syncs it, and those that tell what the
#: arguments of the others mean.
TRACED = [
    "clone",
    "clone3",
    "fork",
    "vfork",
    "chdir",
    "fchdir",
    "dup",
    "dup2",
    "dup3",
    "fcntl",
    "open",
    "openat",
    "openat2",
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
    "symlink",
    "symlinkat",
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

#: Longest string of a call that is kept, in bytes, where contents are, and where names are enough.
LONGEST, SHORTEST = 4_000_000, 4_096

PATIENCE = 30.0

#: Times that strace is attached anew, where an engine starts processes meanwhile.
_ATTEMPTS = 5

_INJECTED, _KILLED = b" (INJECTED)", b" = ?\n"

_PR_SET_PTRACER = 0x59616D61
_ANYBODY = ctypes.c_ulong(-1)

_LINE = re.compile(r"^(\d+)\s+(\w+)\((.*)\)\s+= (-?\d+|\?|0x[0-9a-f]+)(.*)$", re.DOTALL)
_UNFINISHED = re.compile(r"^(\d+)\s+(\w+)\((.*?),? ?<unfinished \.\.\.>$", re.DOTALL)
_RESUMED = re.compile(r"^(\d+)\s+<\.\.\. (\w+) resumed>,? ?(.*)$", re.DOTALL)
_HEX = re.compile(rb"\\x([0-9a-f]{2})")
_TRACER = re.compile(r"^TracerPid:\s+(\d+)", re.MULTILINE)


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
        text: The arguments, as strace writes them, all strings and paths in hexadecimal; of the strings only
            the quotes.
        strings: The strings among the arguments.
        result: What it returned; -1 for an error, or where it never returned.
        opened: The path of the file that it opened.
        injected: Whether strace made it fail.
        last: Whether it never returned: the process was killed in it.
    """

    thread: int
    name: str
    text: str
    strings: tuple[bytes, ...]
    result: int
    opened: str = ""
    injected: bool = False
    last: bool = False

    @property
    def paths(self) -> list[str]:
        """The paths of the file descriptors among the arguments."""
        return [text_of(found).removesuffix(" (deleted)") for found in re.findall(r"<([^<>]*)>", self.text)]

    @property
    def words(self) -> list[str]:
        """The arguments without strings and paths."""
        plain = re.sub(r"<[^<>]*>(\(deleted\))?|\"\"(\.\.\.)?", "", self.text)
        return [word.strip() for word in plain.split(",")]


def text_of(text: str) -> str:
    """A path that strace wrote in hexadecimal, or, in other versions, as it is."""
    return os.fsdecode(_HEX.sub(lambda found: bytes([int(found[1], 16)]), os.fsencode(text)))


class Strace:
    """strace, attached to the processes of an engine, and to those that they start, until `detach`.

    Args:
        pid: The process that has the store open, or will open it.
        directory: The engine's: whoever works there is followed, too.
        log: A file to make.
        *options: More options, such as faults to inject.
        contents: Whether what is written is told as well.

    Raises:
        Skipped: strace cannot attach here.
    """

    def __init__(
        self, pid: int, directory: Path | None, log: Path, *options: str, contents: bool = False
    ) -> None:
        program = shutil.which("strace")
        if program is None:
            raise Skipped("needs the program strace")
        self.log = log
        self._seen = 0
        traced = ",".join(f"?{name}" for name in TRACED)
        self._command = [
            *(program, "-f", "-y", "-xx", "-s", str(LONGEST if contents else SHORTEST)),
            *("-e", f"trace={traced}", "-e", "signal=none", *options, "-o", str(log)),
        ]
        self._said: list[str] = []
        wanted = {pid, *(process.pid for process in processes_of(directory))}
        for _ in range(_ATTEMPTS):
            self._attach(wanted)
            # A process may have come between the look and the attachment; from now on all births are seen.
            now = {pid, *(process.pid for process in processes_of(directory))}
            if all(_tracer(each) == self._process.pid for each in now):
                return
            self.detach()
            wanted = now
        raise Skipped(f"strace cannot attach here: {' '.join(self._said)[:300]}")

    def _attach(self, pids: set[int]) -> None:
        self._said = []
        self._process = subprocess.Popen(
            [*self._command, *(f"--attach={pid}" for pid in sorted(pids))],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stderr is not None
        left = set(pids)
        for line in self._process.stderr:
            self._said.append(line.strip())
            left -= {int(number) for number in re.findall(r"\d+", line)}
            if not left:
                break
        self._reader = threading.Thread(target=self._process.stderr.read, daemon=True)
        self._reader.start()  # strace names each process that it comes to follow, and must not wait for a reader

    def detach(self) -> None:
        """Let the processes go on alone; the log is complete then."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(PATIENCE)
        if self._process.stderr is not None:
            self._process.stderr.close()

    def injected(self) -> bool:
        """Whether a call was made to fail, or a process killed, since this was asked last."""
        with self.log.open("rb") as log:
            log.seek(self._seen)
            new = log.read()
        self._seen += max(0, len(new) - len(_INJECTED))  # one may be there in part
        return _INJECTED in new or _KILLED in new

    def calls(self) -> list[Call]:
        """The calls until now; complete after `detach`."""
        return list(calls_of(self.log))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.detach()


def _tracer(pid: int) -> int:
    """The process that traces another one; 0 where none does, or it has ended."""
    with suppress(OSError):
        status = Path(f"/proc/{pid}/status").read_text("ascii", "replace")
        if (found := _TRACER.search(status)) is not None:
            return int(found[1])
    return 0


def calls_of(log: Path) -> Iterator[Call]:
    """The calls in a log, in the order in which they ended."""
    begun: dict[str, tuple[str, list[str]]] = {}
    with log.open(encoding="ascii", errors="replace") as lines:
        for raw in lines:
            parts = raw.rstrip("\n").split('"')
            line, strings = '""'.join(parts[::2]), parts[1::2]
            if found := _UNFINISHED.match(line):
                begun[found[1]] = found[3], strings
                continue
            if found := _RESUMED.match(line):
                separator = "" if found[3].startswith(")") else ", "
                text, earlier = begun.pop(found[1], ("", []))
                line = f"{found[1]} {found[2]}({text}{separator}{found[3]}"
                strings = earlier + strings
            if found := _LINE.match(line):
                yield _call(found, strings)


def _call(found: re.Match[str], strings: list[str]) -> Call:
    end = found[5]
    return Call(
        int(found[1]),
        found[2],
        found[3],
        tuple(bytes.fromhex(string.replace("\\x", "")) for string in strings),
        -1 if found[4] == "?" else int(found[4], 0),
        opened=text_of(end[1 : end.index(">")]) if end.startswith("<") else "",
        injected="(INJECTED)" in end,
        last=found[4] == "?",
    )
