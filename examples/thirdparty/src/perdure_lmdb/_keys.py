"""Keys of the kit, up to some 1.2 kB, as keys of LMDB, of at most 511 bytes.

A key of up to `HEAD` bytes stays as it is. A longer one becomes its first `HEAD` bytes and a digest, and stands in
full before the value. That keeps the order of any two keys but of those with the same first `HEAD` bytes, which
a range must read together and sort.
"""

from hashlib import blake2b

DIGEST = 32
HEAD = 511 - DIGEST


def to_stored(key: bytes) -> bytes:
    """The key in LMDB."""
    return key if len(key) <= HEAD else key[:HEAD] + blake2b(key, digest_size=DIGEST).digest()


def to_item(key: bytes, value: bytes) -> tuple[bytes, bytes]:
    """Key and value as LMDB is to hold them."""
    return to_stored(key), value if len(key) <= HEAD else len(key).to_bytes(4) + key + value


def from_item(stored: bytes, value: bytes) -> tuple[bytes, bytes]:
    """The inverse of `to_item`."""
    if len(stored) <= HEAD:
        return stored, value
    end = 4 + int.from_bytes(value[:4])
    return value[4:end], value[end:]


def after(head: bytes) -> bytes:
    """A bound above every stored key whose first `HEAD` bytes are these, and below all greater ones."""
    return head + (b"\0" if len(head) < HEAD else b"\xff" * DIGEST)
