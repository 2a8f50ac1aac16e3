"""Bytes in, values out: the functions that people call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, BinaryIO

from perdure import InvalidInput, InvalidRecord

from perdure_migrate.inert._compression import too_long, unwrap
from perdure_migrate.inert._limits import Limits
from perdure_migrate.inert._machine import Machine
from perdure_migrate.inert._report import Report
from perdure_migrate.inert._zones import system_zone

__all__ = ["load_all", "loads", "loads_with_report"]


def loads(data: bytes, *, limits: Limits | None = None, buffers: Sequence[bytes] | None = None) -> Any:
    """The value of the one pickle in `data`, read without importing, calling or looking up what it names.

    Objects of classes outside the allowlist are `perdure.values.Opaque`. A Python 2 `str` is text where it is
    ASCII, else bytes. Sharing and cycles are as they were. The only file that reading may open is that of a time
    zone, by a key that the system's time zone database has.

    Args:
        data: The pickle, of protocol 0 to 5, as it is or compressed with gzip, zlib, bz2, xz or lzma.
        limits: What it may cost; the defaults of `Limits` where None.
        buffers: What protocol 5 handed to a `buffer_callback`, in order; where None, a stand-in with its number
            takes the place of each buffer.

    Raises:
        InvalidRecord: It is no pickle, is cut off, passes a limit, or is followed by other bytes; `detail`
            has the offset and the opcode.
        InvalidInput: `data` is not bytes.
    """
    return loads_with_report(data, limits=limits, buffers=buffers)[0]


def loads_with_report(
    data: bytes, *, limits: Limits | None = None, buffers: Sequence[bytes] | None = None
) -> tuple[Any, Report]:
    """As `loads`, with a report of the names and calls that the pickle holds.

    Raises:
        InvalidRecord: As for `loads`.
        InvalidInput: `data` is not bytes.
    """
    machine = _machine(data, limits, buffers)
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


def _machine(data: Any, limits: Limits | None, buffers: Sequence[bytes] | None = None) -> Machine:
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise InvalidInput(f"a pickle is read from bytes, not from a {type(data).__name__}")
    limits = limits or Limits()
    data, _ = unwrap(bytes(data), limits)
    if len(data) > limits.max_bytes:
        raise too_long(limits.max_bytes, "max_bytes")
    return Machine(data, limits, Report(size=len(data)), system_zone(data), buffers)
