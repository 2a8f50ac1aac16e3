"""Finds out what a file is, takes off what is around its pickles, and reads them."""

from __future__ import annotations

import bz2
import codecs
import io
import lzma
import sqlite3
import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from zipfile import ZipFile

import numpy as np
from perdure import InvalidRecord, PerdureError

from perdure_migrate.inert._compression import Budget, unwrap
from perdure_migrate.inert._context import Context
from perdure_migrate.inert._limits import Limits
from perdure_migrate.inert._npy import MAGIC, read_npy, read_npz
from perdure_migrate.inert._report import Report
from perdure_migrate.inert._shelf import SQLITE, Database, read_dumb, read_sqlite
from perdure_migrate.inert._torch import LEGACY, pickle_of, read_torch, read_torch_stream
from perdure_migrate.inert._zip import Archive
from perdure_migrate.inert._zones import ZoneOf

__all__ = ["Parts", "Tools", "read_container", "warm_up"]

_ZIP = (b"PK\x03\x04", b"PK\x05\x06")

#: Databases of C libraries, by their magic numbers in either byte order, and where those stand.
_DATABASES = {
    "GNU dbm": (0, (0x13579ACD, 0x13579ACE, 0x13579ACF)),
    "Berkeley DB": (0, (0x00061561,)),
    "Berkeley DB of today": (12, (0x00061561, 0x00053162)),
}


@dataclass(slots=True)
class Tools:
    """What is opened before anything is read."""

    zone: ZoneOf
    database: Database = field(default_factory=Database)


@dataclass(slots=True)
class Parts:
    """The bytes of one source.

    Attributes:
        kind: What it must be, where its names say so; None: what its bytes say.
        files: The files that it is made of.
        buffers: Out-of-band buffers.
        shared_memo: Whether the pickles of a stream refer to one another.
    """

    kind: str | None
    files: Sequence[bytes]
    buffers: Sequence[bytes] = ()
    shared_memo: bool = False


def read_container(parts: Parts, limits: Limits, report: Report, tools: Tools) -> tuple[str, list[str], Any]:
    """The kind of a source, the compression around it, and its value.

    Raises:
        InvalidRecord: It is damaged, of a kind that is not read, or passes a limit.
    """
    size = sum(map(len, parts.files))
    context = Context(
        limits, report, tools.zone, Budget(size, limits), parts.buffers or None, parts.shared_memo
    )
    if parts.kind == "dumb":
        report.size = size
        return "shelf", [], read_dumb(parts.files[0], parts.files[1], context)
    data, layers = unwrap(parts.files[0], limits)
    report.size = len(data)
    kind, value = _read(data, context, tools)
    return kind, layers, value


def _read(data: bytes, context: Context, tools: Tools) -> tuple[str, Any]:
    if data.startswith(MAGIC):
        return "npy", read_npy(data, context, "npy")
    if data.startswith(SQLITE):
        return "shelf", read_sqlite(data, tools.database, context)
    if data.startswith(_ZIP):
        return _read_zip(Archive(data, context.budget), context)
    if data.startswith(LEGACY):
        return "torch", read_torch_stream(data, context)
    _refuse_databases(data)
    values = _read_stream(data, context)
    return ("pickle", values[0]) if len(values) == 1 else ("pickles", values)


def _read_zip(archive: Archive, context: Context) -> tuple[str, Any]:
    if (name := pickle_of(archive)) is not None:
        return "torch", read_torch(archive, name, context)
    if archive.names and all(name.endswith(".npy") for name in archive.names):
        return "npz", read_npz(archive, context)
    raise InvalidRecord("it is a zip archive, neither of arrays nor of torch; unpack it.")


def _refuse_databases(data: bytes) -> None:
    for name, (place, numbers) in _DATABASES.items():
        if any(int.from_bytes(data[place : place + 4], order) in numbers for order in ("little", "big")):
            raise InvalidRecord(
                f"it is a database of {name}, which is not read; copy its keys and values, as bytes, into one of "
                "dbm.dumb or dbm.sqlite3, where the library is installed."
            )


def _read_stream(data: bytes, context: Context) -> list[Any]:
    machine = context.machine(data)
    values: list[Any] = []
    while machine.pos < machine.size or not values:
        if not context.shared_memo:
            machine.forget()
        values.append(machine.read())
    return values


# -- before anything is read


def warm_up(tools: Tools) -> None:
    """Read a sample of everything, whole and cut off, so that all that reading imports is there."""
    for name in ("ascii", "cp437", "latin-1", "raw_unicode_escape", "utf-8"):
        codecs.lookup(name)
    for sample in _samples():
        for data in (sample, sample[:-1], sample[: len(sample) // 2], sample[:3]):
            with suppress(PerdureError):
                read_container(Parts(None, [data]), Limits(), Report(), tools)
    with suppress(PerdureError):
        read_container(Parts("dumb", [b"'a', (0, 2)\n", b"N."]), Limits(), Report(), tools)


def _samples() -> list[bytes]:
    pickle = (
        b"\x80\x04\x95\x00\x00\x00\x00\x00\x00\x00\x00]\x94(cdecimal\nDecimal\n(X\x03\0\0\0NaNtR"
        b"cfractions\nFraction\n(X\x03\0\0\0001/3tRcbuiltins\ncomplex\n(G?\xf0\0\0\0\0\0\0G?\xf0\0\0\0\0\0\0tR"
        b"cuuid\nUUID\n)\x81}X\x03\0\0\0intK\x01sbcpathlib\nPurePosixPath\n(X\x01\0\0\0atR"
        b"cnumpy._core.multiarray\nscalar\n(cnumpy\ndtype\n(X\x02\0\0\0f8\x89\x88tRC\x08\0\0\0\0\0\0\0\0tRe."
    )
    archive = io.BytesIO()
    with ZipFile(archive, "w") as file:
        file.writestr("a/data.pkl", b"N.")
    arrays = io.BytesIO()
    np.savez_compressed(arrays, a=np.zeros(2, [("x", "f8"), ("y", "M8[s]"), ("z", "U1", (2,))]))
    plain = io.BytesIO()
    np.lib.format.write_array(plain, np.zeros((2, 3), order="F"), version=(3, 0))
    samples = [pickle, archive.getvalue(), arrays.getvalue(), plain.getvalue(), _empty_shelf(), LEGACY]
    deflated = zlib.compressobj(wbits=31)
    gzip = deflated.compress(pickle) + deflated.flush()
    return [*samples, gzip, zlib.compress(pickle), bz2.compress(pickle), lzma.compress(pickle), b"", b"\xff"]


def _empty_shelf() -> bytes:
    with sqlite3.connect(":memory:") as made:
        made.execute("CREATE TABLE Dict (key BLOB UNIQUE NOT NULL, value BLOB NOT NULL)")
        made.execute("INSERT INTO Dict VALUES (x'61', x'4e2e')")
        return bytes(made.serialize()) if hasattr(made, "serialize") else b""
