"""How objects are written down: a checksum, then MessagePack."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any, TypeVar

import msgspec

from perdure._errors import CorruptStore, IncompatibleStore, InvalidRecord
from perdure._schema import TABLES, Row, Table
from perdure._types import Checkpoint, Commit, Key, Space
from perdure.kit._hash import row_hash

__all__ = [
    "FORMAT",
    "BranchState",
    "CommitRecord",
    "Head",
    "Maintenance",
    "decode_row",
    "encode_row",
    "is_tombstone",
    "pack",
    "previous_of",
    "row_intact",
    "unpack",
]

#: The version of the stored form; a store of a later one is refused.
FORMAT = 1

_DIGEST = 16

_MOST = 2**63 - 1


class BranchState(msgspec.Struct, frozen=True):
    """What the head says of a branch.

    Attributes:
        number: Stands for the branch in keys; never used again.
        fork_commit, fork_time: The last commit at the fork.
        seq, slot, commit, time: The newest own commit; those of the fork (and an empty slot) before it.
        pins: Sequence numbers below `floor` that are readable all the same.
        floor_time: Time of the newest commit at the floor.
        generations: Which rewritten forms of its commits count.
    """

    number: int
    id: str
    name: str
    parent: str | None
    fork_seq: int
    fork_commit: str | None
    fork_time: int
    seq: int
    slot: bytes
    commit: str | None
    time: int
    created_at: int
    floor: int = 0
    floor_time: int = 0
    pins: tuple[int, ...] = ()
    generations: tuple[int, ...] = (0,)


class Maintenance(msgspec.Struct, frozen=True):
    """A compaction or purge under way; `hidden` are row groups and space prefixes that are being purged."""

    token: bytes
    generation: int
    hidden: tuple[bytes, ...] = ()


class Head(msgspec.Struct, frozen=True):
    """The one object that decides what is in the namespace; replaced by compare-and-swap.

    Attributes:
        epoch: Grows with each compaction and purge, so that caches know.
        next_number, next_generation: The least that was never used.
        secret: Key of the purge markers.
        branches: By branch id.
        taken_over: The latest time of a maintenance that was taken over, in microseconds; it may still delete
            what it had found.
    """

    format: int
    epoch: int
    next_number: int
    next_generation: int
    secret: bytes
    branches: dict[str, BranchState]
    checkpoints: dict[str, Checkpoint] = {}
    spaces: dict[str, Space] = {}
    maintenance: Maintenance | None = None
    taken_over: int = 0


class CommitRecord(msgspec.Struct, frozen=True, array_like=True):
    """A commit as stored.

    Attributes:
        previous: Slot of the previous own commit of the branch that history still has; empty: none.
        wall: When it was written by the clock here, in microseconds.
        writes: The first (table, key) pairs that it wrote.
        parts: In how many more objects the others are.
    """

    previous: bytes
    commit: Commit
    wall: int
    writes: tuple[tuple[str, Key], ...]
    parts: int


_T = TypeVar("_T")
_encode = msgspec.msgpack.Encoder().encode


def pack(item: object) -> bytes:
    """An object → its stored bytes.

    Raises:
        InvalidRecord: It holds something that has no stored form.
    """
    try:
        body = _encode(item)
    except (UnicodeEncodeError, OverflowError, TypeError, ValueError) as error:
        raise InvalidRecord(f"the commit cannot be stored: {error}; check its texts and numbers") from None
    return blake2b(body, digest_size=_DIGEST).digest() + body


def unpack(data: bytes, kind: type[_T], what: str) -> _T:
    """Stored bytes → the object.

    Raises:
        CorruptStore: The checksum is wrong.
    """
    body = data[_DIGEST:]
    if blake2b(body, digest_size=_DIGEST).digest() != data[:_DIGEST]:
        raise CorruptStore(f"{what} is damaged: its checksum does not match; restore it from a backup")
    try:
        return msgspec.msgpack.decode(body, type=kind)
    except msgspec.DecodeError as error:
        raise IncompatibleStore(
            f"{what} cannot be read by this version of perdure", cause=str(error)
        ) from None


# msgspec looks at a type when it first decodes one, and two threads that do so at once crash it: so now.
for _kind in (Head, CommitRecord):
    msgspec.msgpack.Decoder(_kind)

_ROW_TYPES: dict[str, Any] = {
    "text": str | None,
    "int": int | None,
    "float": float | None,
    "time": int | None,
    "tags": tuple[str, ...],
    "value": str,
    "vector": bytes,
    "payload": str | None,
}


def _decoder(table: Table) -> Any:
    cells = tuple(_ROW_TYPES[column.kind] for column in table.columns)
    return msgspec.msgpack.Decoder(tuple[cells] | None).decode  # type: ignore[valid-type]


_INTS = {
    name: [i for i, column in enumerate(table.columns) if column.kind in ("int", "time")]
    for name, table in TABLES.items()
}
_DECODERS = {name: _decoder(table) for name, table in TABLES.items()}


def encode_row(table: str, key: Key, row: Row | None) -> bytes:
    """A row, or None for a tombstone → its stored bytes: its hash, then its cells."""
    try:
        body = _encode(row)
        if row is not None:
            for place in _INTS[table]:  # MessagePack would take twice as many
                if (number := row[place]) is not None and number > _MOST:  # type: ignore[operator]
                    raise OverflowError("an integer is beyond 64 bits")
    except (UnicodeEncodeError, OverflowError, TypeError, ValueError) as error:
        raise InvalidRecord(f"{table} {key!r} cannot be stored: {error}", table=table, key=key) from None
    return blake2b(body, digest_size=_DIGEST).digest() + body


def decode_row(table: str, data: bytes) -> Row | None:
    """Stored bytes → the row; None for a tombstone. `verify` is what checks the hash.

    Raises:
        CorruptStore: The bytes are no row of that table.
    """
    try:
        return _DECODERS[table](memoryview(data)[_DIGEST:])  # type: ignore[no-any-return]
    except msgspec.DecodeError as error:
        raise CorruptStore(f"a row of {table} is damaged; run verify", cause=str(error)) from None


def previous_of(data: bytes) -> bytes:
    """The `previous` of a stored commit, read in place: walks over long histories need nothing else."""
    width = data[_DIGEST + 2]  # after the array's header and the type byte of a short binary
    return data[_DIGEST + 3 : _DIGEST + 3 + width]


def is_tombstone(data: bytes) -> bool:
    """Whether a stored row is a deletion: a hash and MessagePack nil."""
    return len(data) == _DIGEST + 1


def row_intact(data: bytes, row: Row | None) -> bool:
    """Whether the stored hash is that of the row."""
    return row_hash(row) == data[:_DIGEST]
