"""What lies in objects: entries of the log, and the bases that say how far the log was folded into the table."""

from __future__ import annotations

from hashlib import blake2b
from typing import TypeVar

import msgspec
from perdure import CorruptStore, IncompatibleStore

__all__ = [
    "BASE",
    "FORMAT",
    "LOG",
    "MARK",
    "Base",
    "Entry",
    "Fence",
    "Nearest",
    "Segment",
    "State",
    "Stored",
    "began",
    "checksum",
    "numbered",
    "pack",
    "unpack",
]

#: The version of the stored form; a store of a later one is refused.
FORMAT = 2

#: So many bytes of an entry's token are kept when the entry has gone.
MARK = 8

#: The folders of entries and of bases.
LOG, BASE = "log", "base"

_DIGEST = 16


def numbered(folder: str, number: int) -> str:
    """The name of an object that has a number."""
    return f"{folder}/{number:016d}"


class Segment(msgspec.Struct, frozen=True, array_like=True):
    """Many versions of rows that one commit wrote, as columns in an object of their own.

    No version of these rows was in the store before.

    Attributes:
        name: The object's; it ends with the token of the attempt.
        kind: The contract's table.
        prefix: What all the rows' keys begin with.
        values: Of vectors: their precision, and their dimension.
        size: Bytes of the object.
        digest: Its checksum.
    """

    name: str
    kind: str
    prefix: bytes
    values: tuple[str, int] | None
    size: int
    digest: bytes


def began(name: str) -> int:
    """When the attempt began that wrote a segment of that name, in microseconds since the epoch."""
    return int(name.rpartition("/")[2].partition("-")[0], 16) >> 40


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """One step of the store, which is made by creating the next object of the log.

    Attributes:
        token: Unlike that of any other entry, so that a writer in doubt knows its own.
        puts: Keys and their values.
        deletes: Keys that go.
        segments: More rows of the commit that the entry makes.
        void: Segments of attempts that began up to then may be removed unless an entry names them already.
    """

    token: bytes
    puts: list[tuple[bytes, bytes]]
    deletes: list[bytes]
    segments: list[Segment] = []
    void: int = 0


class Fence(msgspec.Struct, frozen=True, array_like=True):
    """A stretch of the table: from this key to the next fence's.

    Attributes:
        items: At least so many items lie there.
        size: Bytes of their values.
    """

    key: bytes
    items: int
    size: int


class Base(msgspec.Struct, frozen=True):
    """That the log was folded up to an entry. Never removed: an old one tells who is behind.

    Attributes:
        number: Bases are counted from 1.
        upto: The last entry that was folded.
        state: The name of the object that has the rest.
        marks: The first bytes of the token of each entry since the base before, for writers in doubt.
    """

    format: int
    number: int
    upto: int
    state: str
    marks: bytes


class Nearest(msgspec.Struct, frozen=True, array_like=True):
    """The index over the vectors of a table.

    Attributes:
        method: As the URL names it.
        metric: The space's.
        rows: How many there were when it was made.
        partitions: In how many they lie.
        probes: Of how many partitions a search sees the nearest rows well enough; 0: it is of no use.
        breadth: How many candidates a search needs for each row that it wants.
    """

    method: str
    metric: str
    rows: int
    partitions: int
    probes: int
    breadth: int


class Stored(msgspec.Struct, frozen=True, array_like=True):
    """One of LanceDB's tables at a base.

    Attributes:
        kind: The contract's table whose rows lie there; empty: all other objects.
        prefix: What all their keys begin with; empty where several namespaces share the table.
        values: Of vectors: their precision, and their dimension.
        version: The table's.
        fences: Where to cut long ranges, in order of their keys.
        index: That of its vectors, if there is one.
        deleted: Whether its files may have something that was deleted.
    """

    kind: str
    prefix: bytes
    values: tuple[str, int] | None
    version: int
    fences: list[Fence]
    index: Nearest | None = None
    deleted: bool = True


class State(msgspec.Struct, frozen=True):
    """What the store holds at a base.

    Attributes:
        newest: The latest time of an attempt whose objects are in a table, in microseconds.
        cells: The few objects that every commit replaces: heads, and the beats of maintenances.
        tables: LanceDB's tables, by their names.
        pending: How many versions of rows lie among the other objects, since their attempts were not committed.
        void: As an entry's: the latest of all.
    """

    newest: int = 0
    cells: dict[bytes, bytes] = {}
    tables: dict[str, Stored] = {}
    pending: int = 0
    void: int = 0


_T = TypeVar("_T")

# msgspec looks at a type when it first decodes one, and two threads that do so at once crash it: so now.
for _kind in (Entry, Base, State):
    msgspec.msgpack.Decoder(_kind)


def checksum(data: bytes | memoryview) -> bytes:
    """The checksum of an object."""
    return blake2b(data, digest_size=_DIGEST).digest()


def pack(item: Entry | Base | State) -> bytes:
    """An object's bytes: a checksum, then MessagePack."""
    body = msgspec.msgpack.encode(item)
    return checksum(body) + body


def unpack(data: bytes, kind: type[_T], name: str) -> _T:
    """The object of some bytes.

    Raises:
        CorruptStore: The checksum is wrong.
        IncompatibleStore: A later version wrote it.
    """
    body = memoryview(data)[_DIGEST:]
    if checksum(body) != data[:_DIGEST]:
        raise CorruptStore(f"{name} is damaged: its checksum does not match; restore the store from a backup")
    try:
        found = msgspec.msgpack.decode(body, type=kind)
    except msgspec.DecodeError as error:
        raise IncompatibleStore(
            f"{name} cannot be read by this version of perdure", cause=str(error)
        ) from None
    if isinstance(found, Base) and found.format != FORMAT:
        raise IncompatibleStore(
            f"the store has format {found.format}, and this version of perdure reads {FORMAT}; open it with the "
            "version that wrote it, and export it from there"
        )
    return found
