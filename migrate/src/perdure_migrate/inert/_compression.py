"""Takes compression off, within limits: gzip, zlib, bz2, xz, lzma, and the zlib files of old joblib."""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable
from typing import Any

from perdure import InvalidRecord

from perdure_migrate.inert._limits import Limits

__all__ = ["Budget", "too_long", "unwrap"]

_ALWAYS_ADMITTED = 1 << 20
_MOST_LAYERS = 4

#: What a decoder of xz may take for its dictionary; the strongest preset needs 65 MiB.
_XZ_MEMORY = 1 << 28

_BZ2 = b"BZh"
_BZ2_STARTS = (b"1AY&SY", b"\x17\x72\x45\x38\x50\x90")  # of a block, of the end of an empty stream
_LZ4 = b"\x04\x22\x4d\x18"

#: The mark of a file of joblib before 0.10, and the length of the size in hexadecimal that follows.
_ZFILE, _ZFILE_SIZE = b"ZF", 19


class Budget:
    """How many bytes one file may become in all, by `max_bytes` and `max_expansion`."""

    def __init__(self, size: int, limits: Limits) -> None:
        by_ratio = max(_ALWAYS_ADMITTED, size * limits.max_expansion)
        self.limit = "max_bytes" if limits.max_bytes <= by_ratio else "max_expansion"
        self.most = self.left = min(limits.max_bytes, by_ratio)

    def spend(self, count: int) -> None:
        """Charge bytes that were made.

        Raises:
            InvalidRecord: There are more than the file may become.
        """
        self.left -= count
        if self.left < 0:
            raise too_long(self.most, self.limit)


def too_long(most: int, limit: str) -> InvalidRecord:
    """The error for a stream over `max_bytes` or `max_expansion`."""
    option = " (--max-expansion)" if limit == "max_expansion" else ""
    message = f"pickle: the stream is longer than {most} bytes. If you trust its size, raise Limits.{limit}{option}."
    return InvalidRecord(message, limit=limit)


def unwrap(data: bytes, limits: Limits) -> tuple[bytes, list[str]]:
    """The bytes inside of all layers of compression, and the names of the layers, the outermost first.

    Raises:
        InvalidRecord: A stream is damaged or cut off, becomes too long, or is of a kind that is not read.
    """
    budget = Budget(len(data), limits)
    layers: list[str] = []
    while (kind := _kind(data)) is not None:
        if len(layers) == _MOST_LAYERS:
            raise InvalidRecord(f"it is compressed more than {_MOST_LAYERS} times over; leave it out.")
        layers.append(kind)
        if kind == "zfile":
            data, kind = data[len(_ZFILE) + _ZFILE_SIZE :].lstrip(b" "), "zlib"
        data = _expand(data, kind, budget)
    return data, layers


def _kind(data: bytes) -> str | None:
    """Which compression the first bytes show; none of them begins a pickle."""
    if data[:2] == b"\x1f\x8b":
        return "gzip"
    if data[:1] == b"\x78" and len(data) > 1 and int.from_bytes(data[:2], "big") % 31 == 0:
        return "zlib"
    if data[:3] == _BZ2 and data[4:10] in _BZ2_STARTS:
        return "bz2"
    if data[:6] == b"\xfd7zXZ\0":
        return "xz"
    if data[:3] == b"\x5d\0\0":
        return "lzma"
    if data[:4] == b"ZF0x":
        return "zfile"
    if data[:4] == _LZ4:
        raise InvalidRecord("it is compressed with lz4, which is not read; run `lz4 -d` on it first.")
    return None


_DECODERS: dict[str, Callable[[], Any]] = {
    "gzip": lambda: zlib.decompressobj(wbits=31),
    "zlib": zlib.decompressobj,
    "bz2": bz2.BZ2Decompressor,
    "xz": lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY),
    "lzma": lambda: lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=_XZ_MEMORY),
}


def _expand(data: bytes, kind: str, budget: Budget) -> bytes:
    """All members of a stream; zero padding between and after them is what tape and tar leave."""
    parts: list[bytes] = []
    while data or not parts:
        decoder = _DECODERS[kind]()
        try:
            part = decoder.decompress(data, budget.left + 1)
        except (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError) as error:
            done = sum(map(len, parts))
            raise InvalidRecord(
                f"{kind}: {error}. The file is damaged; copy it again.", offset=done
            ) from error
        budget.spend(len(part))
        if not decoder.eof:
            done = sum(map(len, parts)) + len(part)
            raise InvalidRecord(
                f"{kind}: the stream is cut off. Copy the file again from its source.", offset=done
            )
        parts.append(part)
        data = decoder.unused_data.lstrip(b"\0")
    return b"".join(parts)
