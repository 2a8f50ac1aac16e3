"""Backup files: whole, or refused."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from hashlib import blake2b
from io import BytesIO
from pathlib import Path

from perdure import (
    AlreadyExists,
    CorruptStore,
    HistoryEvent,
    IncompatibleStore,
    Memory,
    State,
    StorageError,
    Store,
)
from perdure.history import read_archive, write_archive

from perdure_conformance._case import Case
from perdure_conformance._checks import check
from perdure_conformance.expect import equal, holds, refused, unchanged
from perdure_conformance.invariants import dump

DIGEST = 32


def small(store: Store) -> None:
    """A small history with most kinds of events."""
    store.spaces.create("s", 1)
    with store.batch(message="first") as batch:
        batch.memories.put(Memory(id="a", content={"n": [1, 2.5, None]}, tags=["x", "é"]))
        batch.states.put(State(kind="k", id="x", payload=b"bytes"))
        batch.vectors.put({"space": "s", "id": "v", "values": [1.0]})
    store.branch("lab").memories.delete("a")
    store.checkpoints.create("mark", metrics=0.5)
    store.memories.touch("a")


def archive_of(store: Store, *, compress: bool = True) -> bytes:
    """A backup of a store, as bytes."""
    file = BytesIO()
    write_archive(file, store.export(), compress=compress)
    return file.getvalue()


def sealed(body: bytes) -> bytes:
    """Bytes with the digest that a backup file ends with."""
    return body + blake2b(body, digest_size=DIGEST).digest()


def first_of(data: bytes) -> HistoryEvent | None:
    """The first event that a reader hands on."""
    return next(read_archive(BytesIO(data)), None)


@check("CO-066", "CO-080", level="branches")
def a_backup_restores_everything(case: Case) -> None:
    """A backup, compressed or not, is read into an equal namespace, from a file and from a stream."""
    store = case.store()
    small(store)
    before = dump(store)
    path = store.backup(case.directory() / "all.perdure")
    sources: dict[str, Path | BytesIO] = {
        "a file": path,
        "a compressed stream": BytesIO(archive_of(store)),
        "a plain stream": BytesIO(archive_of(store, compress=False)),
    }
    for what, source in sources.items():
        with case.new_store() as copy:
            copy.ingest(read_archive(source))
            equal(dump(copy), before, f"a copy that was read from {what}")


@check("CO-080", level="branches")
def a_backup_ends_with_its_digest(case: Case) -> None:
    """A backup begins with its magic line and ends with the digest of all before; between are whole records."""
    store = case.store()
    small(store)
    events = len(list(store.export()))
    for compress in (True, False):
        data = archive_of(store, compress=compress)
        line = b"perdure-history 1 gzip\n" if compress else b"perdure-history 1 plain\n"
        equal(data[: len(line)], line, "the magic line")
        equal(data, sealed(data[:-DIGEST]), "the file, as its digest says")
        body = data[len(line) : -DIGEST]
        body = gzip.decompress(body) if compress else body
        records = 0
        while body:
            body = body[4 + int.from_bytes(body[:4], "big") :]
            records += 1
        equal(records, events + 1, "how many records there are")


@check("CO-080", level="branches")
def every_altered_byte_is_noticed(case: Case) -> None:
    """A backup with any one byte altered is refused before its first event."""
    store = case.store()
    small(store)
    for compress in (True, False):
        data = archive_of(store, compress=compress)
        magic = data.index(b"\n") + 1
        for place in range(len(data)):
            for flip in (0x01, 0x20, 0xFF):
                altered = bytearray(data)
                altered[place] ^= flip
                error = IncompatibleStore if place < magic else CorruptStore
                with refused(error, what=f"a backup with byte {place} of {len(data)} altered by {flip:#x}"):
                    first_of(bytes(altered))


@check("CO-080", level="branches")
def every_cut_and_every_addition_is_noticed(case: Case) -> None:
    """A backup that is cut anywhere, or goes on after its end, is refused before its first event."""
    store = case.store()
    small(store)
    for compress in (True, False):
        data = archive_of(store, compress=compress)
        for size in range(len(data)):
            with refused(CorruptStore, IncompatibleStore, what=f"a backup cut at {size} of {len(data)}"):
                first_of(data[:size])
        for more in (b"\0", b"x", data[-DIGEST:], data, b"\0" * 4_096):
            with refused(CorruptStore, what=f"a backup that goes on with {len(more)} bytes"):
                first_of(data + more)
        with refused(CorruptStore, what="a backup with a byte between its body and its digest"):
            list(read_archive(BytesIO(sealed(data[:-DIGEST] + b"x"))))


@check("CO-080", level="branches")
def a_damaged_backup_is_not_restored(case: Case) -> None:
    """Nothing of a damaged backup reaches a namespace."""
    source, target = case.store(), case.new_store()
    small(source)
    data = archive_of(source)
    path = case.directory() / "damaged"
    for damaged in (data[:-1], data[: len(data) // 2], data + b"x", data[:-1] + bytes([data[-1] ^ 1])):
        path.write_bytes(damaged)
        with unchanged(target), refused(CorruptStore, what="restoring a damaged backup"):
            target.ingest(read_archive(path))
    path.write_bytes(data)
    target.ingest(read_archive(path))
    equal(dump(target), dump(source), "the namespace after the sound backup")


@check("CO-081", level="branches")
def unknown_formats_are_refused(case: Case) -> None:
    """A backup of another format version or kind of body, with a right digest, is refused as incompatible."""
    store = case.store()
    small(store)
    rest = archive_of(store)[len(b"perdure-history 1 gzip\n") : -DIGEST]
    for line in (
        "2 gzip",
        "0 gzip",
        "10 plain",
        "1.0 gzip",
        "x gzip",
        "1 zstd",
        "1 GZIP",
        "1",
        "1 gzip more",
    ):
        data = sealed(b"perdure-history " + line.encode() + b"\n" + rest)
        with refused(IncompatibleStore, what=f"a backup of the format {line!r}"):
            first_of(data)
    for data in (
        b"",
        b"\n",
        b"SQLite format 3\0" + bytes(100),
        b"perdure-history 1 gzip",
        sealed(b"other 1 gzip\n"),
    ):
        with refused(IncompatibleStore, CorruptStore, what=f"a file that begins with {data[:20]!r}"):
            first_of(data)


def watched(events: Iterator[HistoryEvent], path: Path) -> Iterator[HistoryEvent]:
    """Events, during which there is no file of that name."""
    for event in events:
        holds(not path.exists(), "the file has no name before it is complete")
        yield event


def broken(events: Iterator[HistoryEvent], after: int) -> Iterator[HistoryEvent]:
    """Events that end in an error."""
    for number, event in enumerate(events):
        if number == after:
            raise StorageError("the source of the backup failed")
        yield event


@check("CO-082", level="branches")
def a_backup_has_its_name_when_it_is_complete(case: Case) -> None:
    """A backup appears under its name at the end, and not at all, or not in place of the old one, if it fails."""
    store = case.store()
    small(store)
    path, old = case.directory() / "new", case.directory() / "old"
    write_archive(path, watched(store.export(), path))
    holds(path.exists(), "the file has its name when it is complete")
    path.unlink()
    old.write_bytes(b"old")
    for after in range(len(list(store.export()))):
        with refused(StorageError, what="a backup whose source fails"):
            write_archive(path, broken(store.export(), after))
        with refused(StorageError, what="a backup over an old one whose source fails"):
            write_archive(old, broken(store.export(), after), overwrite=True)
        equal(
            (path.exists(), old.read_bytes()), (False, b"old"), f"the files after a failure at event {after}"
        )


def interrupted(events: Iterator[HistoryEvent], path: Path) -> Iterator[HistoryEvent]:
    """Events, while somebody else makes the file."""
    yield from events
    path.write_bytes(b"of another")


@check("CO-083", level="branches")
def a_backup_replaces_no_file(case: Case) -> None:
    """A file that is there is kept, unless the writer is told to replace it; so is one that appears meanwhile."""
    store = case.store()
    small(store)
    path = case.directory() / "backup"
    for content in (b"", b"something", archive_of(store)):
        path.write_bytes(content)
        with refused(AlreadyExists, what="a backup over a file"):
            store.backup(path)
        equal(path.read_bytes(), content, "the file that was there")
    store.backup(path, overwrite=True)
    with case.new_store() as copy:
        copy.ingest(read_archive(path))
        equal(dump(copy), dump(store), "what the backup that replaced it holds")
    path.unlink()
    with refused(AlreadyExists, what="a backup under a name that another program took meanwhile"):
        write_archive(path, interrupted(store.export(), path))
    equal(path.read_bytes(), b"of another", "the file of the other program")
