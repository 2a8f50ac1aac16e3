"""Payloads: bytes of any length, cut into content-addressed pieces.

A row holds only the manifest ``size:digest,digest,…``; equal pieces are stored once, on whatever branch.
Pieces have a fixed size, so that weights that change in place share what did not change.
"""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

from perdure._errors import CorruptStore, InvalidRecord, StorageError
from perdure._types import Chunk
from perdure.kit._hash import CHUNK_SIZE, chunk_digest

__all__ = ["PayloadWriter", "manifest_digests", "manifest_size"]

#: Pieces are held in memory up to this many bytes, then in a temporary file.
SPOOL_BYTES = 16 * 1024 * 1024


class PayloadWriter:
    """Collects the pieces of the payloads of one batch; iterable as often as needed."""

    def __init__(self) -> None:
        self._file: Any = None
        self._pieces: dict[str, tuple[int, int]] = {}

    def write(self, payload: Any) -> str:
        """Take a payload in; return its manifest.

        Args:
            payload: Bytes-like, a binary file, or an iterable of bytes.

        Raises:
            InvalidRecord: It is none of these.
        """
        if isinstance(payload, str) or not (
            isinstance(payload, (bytes, bytearray, memoryview))
            or _is_file(payload)
            or isinstance(payload, Iterable)
        ):
            raise InvalidRecord(
                f"a payload is bytes, a binary file or an iterable of bytes, not {type(payload).__name__}"
            )
        size, digests = 0, []
        for piece in _pieces(payload):
            size += len(piece)
            digests.append(self._add(piece))
        return f"{size}:{','.join(digests)}"

    def _add(self, piece: bytes) -> str:
        digest = chunk_digest(piece)
        if digest not in self._pieces:
            if self._file is None:
                self._file = tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES)  # noqa: SIM115
                weakref.finalize(self, self._file.close)
            start = self._file.seek(0, 2)
            try:
                self._file.write(piece)
            except OSError as error:
                raise StorageError(f"the payload does not fit the temporary folder: {error}") from error
            self._pieces[digest] = (start, len(piece))
        return digest

    def __bool__(self) -> bool:
        return bool(self._pieces)

    def __iter__(self) -> Iterator[Chunk]:
        for digest, (start, length) in self._pieces.items():
            self._file.seek(start)
            yield Chunk(digest, self._file.read(length))


def _pieces(payload: bytes | BinaryIO | Iterable[bytes]) -> Iterator[bytes]:
    held = bytearray()
    for block in _blocks(payload):
        if not isinstance(block, (bytes, bytearray, memoryview)):
            raise InvalidRecord(
                f"a payload yields bytes, not {type(block).__name__}; open the file in binary mode"
            )
        held += _flat(block)
        whole = len(held) - len(held) % CHUNK_SIZE
        for start in range(0, whole, CHUNK_SIZE):
            yield bytes(held[start : start + CHUNK_SIZE])
        del held[:whole]
    if held:
        yield bytes(held)


def _blocks(payload: Any) -> Iterator[Any]:
    if isinstance(payload, (bytes, bytearray, memoryview)):
        view = memoryview(_flat(payload))
        for start in range(0, len(view), CHUNK_SIZE):
            yield view[start : start + CHUNK_SIZE]
    elif _is_file(payload):
        while block := payload.read(CHUNK_SIZE):
            yield block
    else:
        yield from payload


def _is_file(payload: object) -> bool:
    return callable(getattr(payload, "read", None))


def _flat(block: bytes | bytearray | memoryview) -> bytes | bytearray:
    """A view may have gaps, or items of several bytes."""
    return block.tobytes() if isinstance(block, memoryview) and not _plain(block) else block  # type: ignore[return-value]


def _plain(view: memoryview) -> bool:
    return view.c_contiguous and view.format == "B" and view.ndim == 1


def manifest_digests(manifest: str) -> list[str]:
    """The piece digests of a manifest, in order.

    Raises:
        CorruptStore: It is no manifest.
    """
    size, colon, rest = manifest.partition(":")
    if not colon or not size.isdecimal():
        raise CorruptStore(
            f"payload manifest {manifest[:60]!r} is malformed; run verify and restore from a backup"
        )
    return rest.split(",") if rest else []


def manifest_size(manifest: str) -> int:
    """The payload's size in bytes."""
    manifest_digests(manifest)
    return int(manifest.partition(":")[0])
