"""The reader's own process: warm up, close every door, read files by descriptor, hand back columns.

Nothing of a file is looked at before the audit hook is in place, and the hook stays until the end.
"""

from __future__ import annotations

import gc
import hashlib
import json
import os
import resource
import socket
import struct
import sys
import warnings
from collections.abc import Sequence
from typing import Any, NoReturn

from perdure import InvalidRecord, PerdureError

from perdure_migrate.inert import _wire
from perdure_migrate.inert._containers import Parts, Tools, read_container, warm_up
from perdure_migrate.inert._limits import Limits
from perdure_migrate.inert._report import Report
from perdure_migrate.inert._zones import every_zone

__all__ = ["main"]

#: Events of the interpreter that only look at data that is there already.
_HARMLESS = frozenset({"builtins.id", "object.__getattr__"})

#: What is asked of the system between two files, never while one is read.
_BETWEEN = frozenset({"resource.setrlimit"})

#: The most that are open at once: the files of one source, the channel, and a few of the interpreter.
_DESCRIPTORS = 1024
_OUT_OF_MEMORY = (
    "The memory of the reader is too small; if you trust the file, raise Limits.max_memory (--max-memory)."
)


class _Judge:
    """The audit hook: what is not harmless ends the process, and its last word is what it was."""

    def __init__(self, out: int) -> None:
        self.out = out
        self.reading = True

    def __call__(self, event: str, args: tuple[Any, ...]) -> None:
        if event in _HARMLESS or (event in _BETWEEN and not self.reading):
            return
        message = f"reading asked the interpreter for {event!r}, which no data needs; leave the file out."
        _send(self.out, {"error": "record", "message": message, "detail": {"event": event}}, ())
        os._exit(1)


def main(descriptor: int) -> NoReturn:
    """Serve the socket of that descriptor until it is closed."""
    try:
        tools, base = _prepare()
    except Exception as error:
        _send(descriptor, {"message": f"{type(error).__name__}: {error}"}, ())
        os._exit(1)
    channel = socket.socket(fileno=descriptor)
    judge = _Judge(descriptor)
    sys.addaudithook(judge)
    judge.reading = False
    _send(descriptor, {"ready": True}, ())
    while True:
        request, files = _request(channel)
        limits = Limits(**request["limits"])
        _set_limits(limits, base)
        judge.reading = True
        header, columns = _read(request, files, limits, tools)
        judge.reading = False
        _send(descriptor, header, columns)
        del columns
        for one in files:
            os.close(one)
        gc.collect()


def _prepare() -> tuple[Tools, int]:
    """Import and open all that reading may ever need; how much address space that takes, in bytes."""
    warnings.simplefilter("ignore")  # a warning would open the source that it is about
    zones = every_zone()
    tools = Tools(zones.get)
    warm_up(tools)
    _wire.loads(_wire.dumps({"warm": [1, 2.5, b"up", (None,), 2**70, zones]}))
    for what in (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE):
        resource.setrlimit(what, (0, 0))
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    most = _DESCRIPTORS if most == resource.RLIM_INFINITY else min(most, _DESCRIPTORS)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    gc.collect()
    gc.freeze()
    gc.disable()  # what is read is kept as a whole; cycles of the last file are collected after it
    return tools, _address_space()


def _address_space() -> int:
    """How much of it is taken, in bytes; 0 where the system does not say, so that the limit counts from nothing."""
    try:
        descriptor = os.open("/proc/self/statm", os.O_RDONLY)
    except OSError:
        return 0
    pages = int(os.read(descriptor, 100).split()[0])
    os.close(descriptor)
    return pages * resource.getpagesize()


def _set_limits(limits: Limits, base: int) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    wanted = base + limits.max_memory
    resource.setrlimit(
        resource.RLIMIT_AS, (wanted if most == resource.RLIM_INFINITY else min(wanted, most), most)
    )
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, most = resource.getrlimit(resource.RLIMIT_CPU)
    wanted = int(used.ru_utime + used.ru_stime) + 1 + limits.max_cpu
    resource.setrlimit(
        resource.RLIMIT_CPU, (wanted if most == resource.RLIM_INFINITY else min(wanted, most), most)
    )


def _read(
    request: dict[str, Any], files: list[int], limits: Limits, tools: Tools
) -> tuple[dict[str, Any], Sequence[bytes]]:
    report = Report()
    try:
        data = [_content(one, limits) for one in files]
        parts = Parts(
            request["kind"], data[: request["parts"]], data[request["parts"] :], request["shared_memo"]
        )
        sha256 = hashlib.sha256(parts.files[0])
        for more in parts.files[1:]:
            sha256.update(more)
        digest, size = sha256.hexdigest(), sum(map(len, parts.files))
        kind, layers, value = read_container(parts, limits, report, tools)
        columns = _wire.dumps(value)
    except PerdureError as error:
        short = isinstance(error.__cause__, MemoryError)
        detail = {**error.detail, "limit": "max_memory"} if short else error.detail
        message = f"{error.message} {_OUT_OF_MEMORY}" if short else error.message
        return _refused("record", message, detail, retire=short), ()
    except MemoryError:
        return _refused("record", _OUT_OF_MEMORY, {"limit": "max_memory"}, retire=True), ()
    except OSError as error:
        return _refused("storage", f"the source cannot be read: {error}", {"cause": str(error)}), ()
    header = {
        "kind": kind,
        "layers": layers,
        "sha256": digest,
        "size": size,
        "report": {
            "protocol": report.protocol,
            "pickles": report.pickles,
            "size": report.size,
            **{
                name: [[*key, n] for key, n in getattr(report, name).items()]
                for name in ("_globals", "_calls", "_opaque")
            },
        },
        "columns": list(map(len, columns)),
    }
    return header, columns


def _refused(error: str, message: str, detail: dict[str, Any], *, retire: bool = False) -> dict[str, Any]:
    return {"error": error, "message": message, "detail": detail, "retire": retire}


def _content(descriptor: int, limits: Limits) -> bytes:
    """All bytes of a file; it may grow no further than the limit while it is read."""
    parts: list[bytes] = []
    done = 0
    expected = min(os.fstat(descriptor).st_size, limits.max_bytes)
    while part := os.pread(descriptor, max(expected - done, 0) + 1, done):
        parts.append(part)
        done += len(part)
        if done > limits.max_bytes:
            raise InvalidRecord(
                f"the file is longer than {limits.max_bytes} bytes. If you trust its size, raise Limits.max_bytes.",
                limit="max_bytes",
            )
    return parts[0] if len(parts) == 1 else b"".join(parts)


# -- the channel


def _request(channel: socket.socket) -> tuple[dict[str, Any], list[int]]:
    request = json.loads(_take(channel, int.from_bytes(_take(channel, 4), "little")))
    files = []
    for _ in range(request["files"]):
        _, ancillary, _, _ = channel.recvmsg(1, socket.CMSG_SPACE(4))
        if not ancillary:
            os._exit(0)
        files.append(struct.unpack("i", ancillary[0][2])[0])
    return request, files


def _take(channel: socket.socket, count: int) -> bytes:
    made = b""
    while len(made) < count:
        part = channel.recv(count - len(made))
        if not part:
            os._exit(0)  # the other side is gone
        made += part
    return made


def _send(out: int, header: dict[str, Any], columns: Sequence[bytes]) -> None:
    head = json.dumps(header, default=repr).encode()
    for part in (len(head).to_bytes(8, "little"), head, *columns):
        rest = memoryview(part)
        while rest:
            rest = rest[os.write(out, rest) :]
