"""Backup files: a portable stream of history events in which any damage is noticed.

Layout, byte for byte::

    perdure-history 1 gzip\\n      the magic line: format version, and ``gzip`` or ``plain``
    record, record, …              the body, in one gzip stream or as it is
    digest                         32 bytes: BLAKE2b-256 of all bytes before

A record is its length (4 bytes, big-endian) and so many bytes of MessagePack: a map of the fields of the
event with its kind under ``type``. The last record, of type ``end``, counts the events by kind.
"""

from __future__ import annotations

import gzip
import io
import os
import tempfile
import zlib
from collections import Counter as Tally
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from os import PathLike
from pathlib import Path
from typing import IO, Any

import msgspec

from perdure._errors import (
    CorruptStore,
    IncompatibleStore,
    InvalidInput,
    NotFound,
)
from perdure._hooks import HistoryEvent
from perdure._schema import TABLES
from perdure._types import Branch, Change, ChangeBatch, Checkpoint, Chunk, Counter, Space
from perdure.history._files import new_file, os_errors

__all__ = ["ArchiveInfo", "read_archive", "write_archive"]

_MAGIC = b"perdure-history "
_VERSION = 1
_DIGEST = 32
_BLOCK = 1 << 20

#: The longest record, in bytes.
_RECORD_LIMIT = 1 << 30


class ArchiveInfo(msgspec.Struct, frozen=True):
    """What was written: events by kind, the size of the file in bytes, and its BLAKE2b-256 in hex."""

    events: dict[str, int]
    size: int
    digest: str


class _SpaceRecord(msgspec.Struct, tag="space"):
    event: Space


class _BranchRecord(msgspec.Struct, tag="branch"):
    event: Branch


class _ChunkRecord(msgspec.Struct, tag="chunk"):
    event: Chunk


class _ChangesRecord(msgspec.Struct, tag="changes"):
    event: ChangeBatch


class _CheckpointRecord(msgspec.Struct, tag="checkpoint"):
    event: Checkpoint


class _CounterRecord(msgspec.Struct, tag="counter"):
    event: Counter


class _EndRecord(msgspec.Struct, tag="end"):
    events: dict[str, int]


_Record = (
    _SpaceRecord
    | _BranchRecord
    | _ChunkRecord
    | _ChangesRecord
    | _CheckpointRecord
    | _CounterRecord
    | _EndRecord
)

_RECORDS: dict[type, tuple[str, type]] = {
    Space: ("space", _SpaceRecord),
    Branch: ("branch", _BranchRecord),
    Chunk: ("chunk", _ChunkRecord),
    ChangeBatch: ("changes", _ChangesRecord),
    Checkpoint: ("checkpoint", _CheckpointRecord),
    Counter: ("counter", _CounterRecord),
}

#: Where a row has tags, which come back from MessagePack as lists.
_TAGS = {name: [i for i, c in enumerate(table.columns) if c.kind == "tags"] for name, table in TABLES.items()}


def write_archive(
    target: str | PathLike[str] | IO[bytes],
    events: Iterable[HistoryEvent],
    *,
    overwrite: bool = False,
    compress: bool = True,
) -> ArchiveInfo:
    """Write events, such as `export` gives, to a backup file.

    A path gets the file only when it is complete and on disk: it is written under another name beside it,
    synced, then renamed.

    Args:
        target: A path, or a binary file to write to from where it stands (left open).
        overwrite: Replace a file at that path.
        compress: Compress the body with gzip.

    Raises:
        AlreadyExists: There is a file at that path, and `overwrite` is False.
        StorageError: It could not be written; nothing is left at the path.
        InvalidInput: A single batch of changes is over 1 GiB.
    """
    if not isinstance(target, str | PathLike):
        with os_errors("the archive"):
            return _write(target, events, compress)
    path = Path(target)
    with new_file(path, overwrite=overwrite) as file:
        return _write(file, events, compress)


def read_archive(source: str | PathLike[str] | IO[bytes]) -> Iterator[HistoryEvent]:
    """The events of a backup file, which is checked as a whole before the first one.

    Args:
        source: A path, or a binary file that stands at the beginning of an archive and ends with it.

    Raises:
        NotFound: There is no such file.
        IncompatibleStore: It is no archive, or of a newer format.
        CorruptStore: It is cut short, or not what was written.
        StorageError: It could not be read.
    """
    if isinstance(source, str | PathLike):
        path = Path(source)
        with os_errors(str(path)):
            if not path.is_file():
                raise NotFound(f"there is no file {str(path)!r}", path=str(path))
            return _stream(path.open("rb"), str(path), close=True)
    return _stream(source, "the archive", close=False)


# ------------------------------------------------------------------------------------------- writing


class _Hashed(io.RawIOBase):
    """Passes bytes on, hashes them and counts them."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.hash = blake2b(digest_size=_DIGEST)
        self.size = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._file.write(data)
        self.hash.update(data)
        self.size += len(data)
        return len(data)


def _write(file: IO[bytes], events: Iterable[HistoryEvent], compress: bool) -> ArchiveInfo:
    out = _Hashed(file)
    out.write(_MAGIC + f"{_VERSION} {'gzip' if compress else 'plain'}\n".encode())
    if compress:
        # No name and no time in the header: the same events make the same bytes.
        with gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=out, mtime=0) as body:
            tally = _write_records(body, events)
    else:
        tally = _write_records(out, events)
    digest = out.hash.digest()
    file.write(digest)
    return ArchiveInfo(tally, out.size + _DIGEST, digest.hex())


def _write_records(body: Any, events: Iterable[HistoryEvent]) -> dict[str, int]:
    encode = msgspec.msgpack.Encoder().encode
    tally: Tally[str] = Tally()
    for event in events:
        known = _RECORDS.get(type(event))
        if known is None:
            raise InvalidInput(f"{type(event).__name__} is no event of history")
        kind, record = known
        tally[kind] += 1
        _write_record(body, encode(record(event)))
    counts = dict(sorted(tally.items()))
    _write_record(body, encode(_EndRecord(counts)))
    return counts


def _write_record(body: Any, data: bytes) -> None:
    if len(data) > _RECORD_LIMIT:
        raise InvalidInput(
            f"one batch of changes takes {len(data):,} bytes; an archive holds at most {_RECORD_LIMIT:,} each"
        )
    body.write(len(data).to_bytes(4, "big"))
    body.write(data)


# ------------------------------------------------------------------------------------------- reading


class _Body(io.RawIOBase):
    """The next `size` bytes of a file, hashed as they are read."""

    def __init__(self, file: IO[bytes], size: int, digest: Any) -> None:
        self._file, self._left, self._digest = file, size, digest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._file.read(min(len(buffer), self._left))
        self._left -= len(data)
        self._digest.update(data)
        buffer[: len(data)] = data
        return len(data)


def _stream(file: IO[bytes], name: str, close: bool) -> Iterator[HistoryEvent]:
    with os_errors(name):
        try:
            yield from _read(_seekable(file), name)
        finally:
            if close:
                file.close()


def _seekable(file: IO[bytes]) -> IO[bytes]:
    """The file itself, or a copy of what is left of one that can be read only once."""
    if file.seekable():
        return file
    copy = tempfile.TemporaryFile()  # noqa: SIM115  closed when the last reference goes
    while block := file.read(_BLOCK):
        copy.write(block)
    copy.seek(0)
    return copy


def _read(file: IO[bytes], name: str) -> Iterator[HistoryEvent]:
    start = file.tell()
    magic, compressed = _check_magic(file.readline(64), name)
    size = _check_digest(file, start, name)
    file.seek(start + len(magic))
    digest = blake2b(magic, digest_size=_DIGEST)
    body: Any = io.BufferedReader(_Body(file, size - len(magic), digest), _BLOCK)
    if compressed:
        body = gzip.GzipFile(fileobj=body, mode="rb")
    try:
        yield from _records(body, name)
        body.read()
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise _damaged(name, str(error)) from error
    # The file was sound when it was checked; it must not have changed while it was read.
    if file.read(_DIGEST) != digest.digest():
        raise _damaged(name, "it changed while it was read")


def _check_magic(line: bytes, name: str) -> tuple[bytes, bool]:
    words = line.split()
    if not line.startswith(_MAGIC) or len(words) != 3 or not line.endswith(b"\n"):
        raise IncompatibleStore(f"{name} is no perdure archive: it does not begin with {_MAGIC.decode()!r}")
    version, body = words[1], words[2]
    if version != str(_VERSION).encode():
        raise IncompatibleStore(
            f"{name} has archive format {version.decode(errors='replace')}, but this program reads only "
            f"{_VERSION}; upgrade perdure"
        )
    if body not in (b"gzip", b"plain"):
        raise IncompatibleStore(
            f"{name} has an unknown kind of body, {body!r}; upgrade perdure, or fetch the file again"
        )
    return line, body == b"gzip"


def _check_digest(file: IO[bytes], start: int, name: str) -> int:
    """Read all of it; the number of bytes before the digest."""
    size = file.seek(0, os.SEEK_END) - start - _DIGEST
    file.seek(start)
    digest = blake2b(digest_size=_DIGEST)
    left = size
    while left > 0 and (block := file.read(min(_BLOCK, left))):
        digest.update(block)
        left -= len(block)
    if left or file.read(_DIGEST) != digest.digest():
        raise _damaged(name, "its digest does not match")
    return size


def _records(body: Any, name: str) -> Iterator[HistoryEvent]:
    decoder = msgspec.msgpack.Decoder(_Record)
    tally: Tally[str] = Tally()
    while True:
        length = int.from_bytes(_exactly(body, 4, name), "big")
        if length > _RECORD_LIMIT:
            raise _damaged(name, f"a record claims {length:,} bytes")
        try:
            record = decoder.decode(_exactly(body, length, name))
        except msgspec.DecodeError as error:
            raise _damaged(name, str(error)) from error
        if isinstance(record, _EndRecord):
            break
        tally[_RECORDS[type(record.event)][0]] += 1
        yield _with_tuples(record.event) if isinstance(record, _ChangesRecord) else record.event
    if dict(tally) != record.events or body.read(1):
        raise _damaged(name, "its trailer does not match what came before")


def _exactly(body: Any, size: int, name: str) -> bytes:
    data: bytes = body.read(size)
    if len(data) != size:
        raise _damaged(name, "it ends within a record")
    return data


def _with_tuples(batch: ChangeBatch) -> ChangeBatch:
    """The batch with its rows' tags as tuples, as rows hold them."""
    return msgspec.structs.replace(batch, changes=tuple(map(_change, batch.changes)))


def _change(change: Change) -> Change:
    if change.row is None or not (places := _TAGS.get(change.table)):
        return change
    cells = [tuple(c) if i in places and isinstance(c, list) else c for i, c in enumerate(change.row)]
    return Change(change.table, change.key, tuple(cells))


def _damaged(name: str, why: str) -> CorruptStore:
    return CorruptStore(f"{name} is damaged: {why}. Nothing in it was trusted; use another copy", reason=why)
