"""Hashes that the specification defines, so that any program can check a store."""

from __future__ import annotations

from hashlib import blake2b

import msgspec

from perdure._schema import Row

__all__ = ["CHUNK_SIZE", "chunk_digest", "row_hash"]

#: Payloads are cut into pieces of this many bytes.
CHUNK_SIZE = 65_536

_encode = msgspec.msgpack.Encoder().encode


def row_hash(row: Row | None) -> bytes:
    """BLAKE2b-128 of the MessagePack array of the row's encoded cells; of nil for a tombstone."""
    return blake2b(_encode(row), digest_size=16).digest()


def chunk_digest(data: bytes) -> str:
    """The name of a payload piece: lower-case hex of its BLAKE2b-256."""
    return blake2b(data, digest_size=32).hexdigest()
