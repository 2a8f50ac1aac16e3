"""The row hash (DM-083), from MessagePack written out by hand."""

import struct
from hashlib import blake2b

from perdure.kit import row_hash


def digest(data: bytes) -> bytes:
    return blake2b(data, digest_size=16).digest()


def test_the_hash_of_a_row() -> None:
    row = ("id", None, 7, -1, 300, -(2**63), 2**63 - 1, 0.5, ("a", "é"), b"\x01\x02", "x" * 40)
    cells = [
        b"\xa2id",
        b"\xc0",
        b"\x07",
        b"\xff",
        b"\xcd\x01\x2c",
        b"\xd3" + struct.pack(">q", -(2**63)),
        b"\xcf" + struct.pack(">Q", 2**63 - 1),
        b"\xcb" + struct.pack(">d", 0.5),
        b"\x92\xa1a\xa2\xc3\xa9",
        b"\xc4\x02\x01\x02",
        b"\xd9\x28" + b"x" * 40,
    ]
    assert row_hash(row) == digest(bytes((0x90 + len(cells),)) + b"".join(cells))


def test_the_hash_of_a_tombstone() -> None:
    assert row_hash(None) == digest(b"\xc0")
