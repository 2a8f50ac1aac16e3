"""Where each object of a namespace lives in a `Storage`.

======================================== ==========================================================
key, after ``<namespace> NUL``           value
======================================== ==========================================================
``h``                                    the head: the only object that ever changes in meaning
``r`` table, key parts each + NUL, slot  a row version
``c`` slot, generation                   a commit
``w`` slot, generation, part             more keys that a large commit wrote
``i`` commit id + NUL, slot              nothing: the index of commits by id
``b`` digest, token                      a payload piece
``k`` table, key parts each + NUL        read counters
``p`` keyed hash of a key                when the row was purged (8 bytes)
``a``                                    the last beat of a maintenance: its token and a number
======================================== ==========================================================

A *slot* is 24 bytes: branch number (4), sequence number (8) and the token of the attempt that wrote it (12:
microseconds (7), random (5)), all big-endian. Attempts never share a slot, so that what a crash or a lost
race leaves behind is never taken for what was committed.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from perdure._schema import TABLES
from perdure._types import Key

__all__ = [
    "CODES",
    "SLOT",
    "Keys",
    "Slot",
    "after",
    "attempt_time",
    "group_of",
    "is_cell",
    "is_head",
    "new_token",
    "token_time",
]

#: Bytes of a slot.
SLOT = 24

#: Table → its letter in keys. Part of the stored format: never change one.
CODES = {"links": b"l", "memories": b"m", "skills": b"k", "states": b"s", "traces": b"t", "vectors": b"v"}

_NAMES = {code: name for name, code in CODES.items()}


class Slot(NamedTuple):
    """A slot, taken apart."""

    number: int
    seq: int
    token: bytes

    def pack(self) -> bytes:
        """Its 24 bytes."""
        return self.number.to_bytes(4, "big") + self.seq.to_bytes(8, "big") + self.token

    @classmethod
    def parse(cls, data: bytes) -> Slot:
        """The slot of 24 bytes."""
        return cls(int.from_bytes(data[:4], "big"), int.from_bytes(data[4:12], "big"), data[12:24])


def new_token(now: int) -> bytes:
    """A token that no other attempt has; `now` in microseconds since the epoch."""
    return now.to_bytes(7, "big") + os.urandom(5)


def token_time(token: bytes) -> int:
    """When the attempt began, in microseconds since the epoch."""
    return int.from_bytes(token[:7], "big")


#: Where the token ends in the keys of each sort, from the key's end.
_TOKEN_END = {b"r": 0, b"i": 0, b"b": 0, b"c": 4, b"w": 8}


def attempt_time(key: bytes) -> int:
    """When the attempt began that wrote the object under a key, in microseconds since the epoch.

    No other attempt writes that key, so that who knows all keys up to a time need not look for a later one.
    0 for keys whose objects are replaced, and for markers of purges.
    """
    at = key.index(b"\0") + 1
    behind = _TOKEN_END.get(key[at : at + 1])
    return 0 if behind is None else token_time(key[len(key) - behind - 12 :])


def group_of(key: bytes) -> bytes | None:
    """The prefix that all versions of a row share, of the key of one; None for the key of anything else."""
    at = key.index(b"\0") + 1
    return key[:-SLOT] if key[at : at + 1] == b"r" else None


def is_cell(key: bytes) -> bool:
    """Whether the object under a key is one of the two of a namespace that are small and often replaced."""
    return key.endswith((b"\0h", b"\0a")) and key.index(b"\0") == len(key) - 2


def after(prefix: bytes) -> bytes:
    """The end of the range of all keys that begin with `prefix` (whose last byte is below 255)."""
    return prefix[:-1] + bytes((prefix[-1] + 1,))


def position(number: int, seq: int) -> bytes:
    """The part of a slot that orders versions: branch number, then sequence number."""
    return number.to_bytes(4, "big") + seq.to_bytes(8, "big")


def is_head(key: bytes) -> bool:
    """Whether the object under a key is the head of a namespace."""
    return key.endswith(b"\0h") and key.index(b"\0") == len(key) - 2


class Keys:
    """Builds and takes apart the keys of one namespace."""

    def __init__(self, namespace: str) -> None:
        self.root = namespace.encode() + b"\0"
        self.end = namespace.encode() + b"\1"
        self.head = self.root + b"h"
        self.pulse = self.root + b"a"
        self._rows = {name: self.root + b"r" + code for name, code in CODES.items()}
        self._commits = self.root + b"c"

    def rows(self, table: str) -> bytes:
        """The prefix of all versions of all rows of a table."""
        return self._rows[table]

    def group(self, table: str, key: Key) -> bytes | None:
        """The prefix of all versions of one row; None where no row can have that key."""
        try:
            data = "\0".join(key).encode()
        except (UnicodeEncodeError, TypeError):
            return None
        width = len(TABLES[table].key)
        if len(key) != width or data.count(0) != width - 1:
            return None
        return self._rows[table] + data + b"\0"

    def row(self, group: bytes) -> tuple[str, Key]:
        """The table and key of a group."""
        at = len(self.root) + 2
        return _NAMES[group[at - 1 : at]], tuple(group[at:-1].decode().split("\0"))

    def commit(self, number: int, seq: int) -> bytes:
        """Where the commits of a branch with at least that sequence number begin."""
        return self._commits + position(number, seq)

    def commit_slot(self, key: bytes) -> tuple[bytes, int]:
        """The slot and the generation of a commit's key."""
        at = len(self._commits)
        return key[at : at + SLOT], int.from_bytes(key[at + SLOT :], "big")

    def commit_at(self, slot: bytes, generation: int) -> bytes:
        """The key of a commit."""
        return self._commits + slot + generation.to_bytes(4, "big")

    def part(self, slot: bytes, generation: int, number: int) -> bytes:
        """The key of a part of a commit's list of writes."""
        return self.root + b"w" + slot + generation.to_bytes(4, "big") + number.to_bytes(4, "big")

    def by_id(self, commit: str) -> bytes:
        """The prefix of the index entries of a commit id."""
        return self.root + b"i" + commit.encode("utf-8", "surrogatepass") + b"\0"

    def chunk(self, digest: str) -> bytes:
        """The prefix of the copies of a payload piece."""
        return self.root + b"b" + bytes.fromhex(digest)

    def counter(self, group: bytes) -> bytes:
        """The key of the read counters of a row."""
        at = len(self.root)
        return self.root + b"k" + group[at + 1 :]

    def marker(self, digest: bytes) -> bytes:
        """The key of a purge marker."""
        return self.root + b"p" + digest

    def section(self, letter: bytes) -> tuple[bytes, bytes]:
        """The range of all keys of one sort."""
        return self.root + letter, after(self.root + letter)
