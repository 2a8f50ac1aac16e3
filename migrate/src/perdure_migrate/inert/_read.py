"""Bytes in, values out: the functions that people call."""

from __future__ import annotations

import os
import zlib
import zoneinfo
from typing import Any, BinaryIO

from perdure import InvalidInput, InvalidRecord

from perdure_migrate.inert._limits import Limits
from perdure_migrate.inert._machine import Machine
from perdure_migrate.inert._report import Report

__all__ = ["load_all", "loads", "loads_with_report"]

_GZIP = b"\x1f\x8b"
_ALWAYS_ADMITTED = 1 << 20


def loads(data: bytes, *, limits: Limits | None = None) -> Any:
    """The value of the one pickle in `data`, read without importing, calling or looking up what it names.

    Objects of classes outside the allowlist are `perdure.values.Opaque`. A Python 2 `str` is text where it is
    ASCII, else bytes. Sharing and cycles are as they were. The only file that reading may open is that of a time
    zone, by a key that the system's time zone database has.

    Args:
        data: The pickle, of protocol 0 to 5, as it is or compressed with gzip.
        limits: What it may cost; the defaults of `Limits` where None.

    Raises:
        InvalidRecord: It is no pickle, is cut off, passes a limit, or is followed by other bytes; `detail`
            has the offset and the opcode.
        InvalidInput: `data` is not bytes.
    """
    return loads_with_report(data, limits=limits)[0]


def loads_with_report(data: bytes, *, limits: Limits | None = None) -> tuple[Any, Report]:
    """As `loads`, with a report of the names and calls that the pickle holds.

    Raises:
        InvalidRecord: As for `loads`.
        InvalidInput: `data` is not bytes.
    """
    machine = _machine(data, limits)
    value = machine.read()
    left = machine.size - machine.pos
    if left:
        raise InvalidRecord(
            f"pickle: {left} bytes follow its end at byte {machine.pos}. "
            "Use load_all if several pickles were written to one file; else cut them off.",
            offset=machine.pos,
            opcode="STOP",
        )
    return value, machine.report


def load_all(
    source: bytes | BinaryIO, *, limits: Limits | None = None, shared_memo: bool = False
) -> list[Any]:
    """The values of all pickles in one stream, in order; see `loads`.

    Args:
        source: The stream, or a binary file that is read from where it stands to its end.
        limits: What the whole stream (`max_bytes`) and each pickle may cost.
        shared_memo: True for what one `pickle.Pickler` wrote by several calls of `dump`, where later pickles
            refer to objects of earlier ones. Those of `pickle.dump` stand alone.

    Raises:
        InvalidRecord: As for `loads`; also where bytes that are no pickle follow one.
        InvalidInput: `source` is neither bytes nor a binary file.
    """
    limits = limits or Limits()
    if not isinstance(source, (bytes, bytearray, memoryview)):
        if not hasattr(source, "read"):
            raise InvalidInput(f"load_all wants bytes or a binary file, not a {type(source).__name__}")
        source = source.read(limits.max_bytes + 1)
    machine = _machine(source, limits)
    values: list[Any] = []
    while machine.pos < machine.size or not values:
        if not shared_memo:
            machine.forget()
        values.append(machine.read())
    return values


def _machine(data: Any, limits: Limits | None) -> Machine:
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise InvalidInput(f"a pickle is read from bytes, not from a {type(data).__name__}")
    limits = limits or Limits()
    data = bytes(data)
    if data[:2] == _GZIP:
        data = _gunzip(data, limits)
    if len(data) > limits.max_bytes:
        raise _too_long(limits.max_bytes, "max_bytes")
    return Machine(data, limits, Report(size=len(data)), _zones(data))


def _zones(data: bytes) -> frozenset[str]:
    """The keys of the time zones of the tzdata package, where the system has no database of its own.

    Listed before anything is read, since listing them imports and opens files.
    """
    if b"zoneinfo" not in data or any(map(os.path.isdir, zoneinfo.TZPATH)):
        return frozenset()
    return frozenset(zoneinfo.available_timezones())


def _gunzip(data: bytes, limits: Limits) -> bytes:
    """All members of a gzip stream; zero padding between and after them is what tape and tar leave."""
    by_ratio = max(_ALWAYS_ADMITTED, len(data) * limits.max_expansion)
    name, most = (
        ("max_bytes", limits.max_bytes) if limits.max_bytes <= by_ratio else ("max_expansion", by_ratio)
    )
    parts, size = [], 0
    while data:
        member = zlib.decompressobj(wbits=31)
        try:
            part = member.decompress(data, most - size + 1)
        except zlib.error as error:
            raise InvalidRecord(f"gzip: {error}. The file is damaged; copy it again.", offset=size) from error
        size += len(part)
        if size > most:
            raise _too_long(most, name)
        if not member.eof:
            raise InvalidRecord(
                "gzip: the stream is cut off. Copy the file again from its source.", offset=size
            )
        parts.append(part)
        data = member.unused_data.lstrip(b"\0")
    return b"".join(parts)


def _too_long(most: int, limit: str) -> InvalidRecord:
    message = f"pickle: the stream is longer than {most} bytes. If you trust its size, raise Limits.{limit}."
    return InvalidRecord(message, limit=limit)
