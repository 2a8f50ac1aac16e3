"""Parts of a `Storage`: ranges that are read page by page, and long keys over an engine with short ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from itertools import groupby

from perdure.kit._storage import Storage

__all__ = ["ShortKeys", "paged"]

_DIGEST = 32

Item = tuple[bytes, bytes]


def paged(
    read: Callable[[bytes, bytes, bool], Sequence[Item]], start: bytes, end: bytes, reverse: bool = False
) -> Iterator[Item]:
    """A range, from what reads its first items; between two pages nothing is held.

    Args:
        read: Takes start, end and reverse as `Storage.range` does, and returns a page: as many items as it
            likes from the range's beginning on (in reverse, from its end on), and none if there are none.
        start: The least key.
        end: What all keys are less than; a later page may ask for one byte more than the longest key has.
        reverse: Whether the greatest key comes first.
    """
    while page := read(start, end, reverse):
        yield from page
        if reverse:
            end = page[-1][0]
        else:
            start = page[-1][0] + b"\0"


class ShortKeys(Storage):
    """Keys of any length, in their order, over a storage whose keys have at most `limit` bytes.

    A key of up to `limit` - 32 bytes, the *head*, stays as it is. A longer one becomes its head and a digest, and
    stands in full before its value. That keeps the order of any two keys but of those that share a head,
    which a range reads together and sorts.
    """

    def __init__(self, storage: Storage, limit: int) -> None:
        self._storage = storage
        self._head = limit - _DIGEST

    def _stored(self, key: bytes) -> bytes:
        if len(key) <= self._head:
            return key
        return key[: self._head] + blake2b(key, digest_size=_DIGEST).digest()

    def _wrapped(self, key: bytes, value: bytes) -> bytes:
        return value if len(key) <= self._head else len(key).to_bytes(4, "big") + key + value

    def _item(self, stored: bytes, value: bytes) -> Item:
        if len(stored) <= self._head:
            return stored, value
        end = 4 + int.from_bytes(value[:4], "big")
        return value[4:end], value[end:]

    def get(self, key: bytes) -> bytes | None:
        """The value under a key, or None."""
        return self.get_many([key])[0]

    def get_again(self, key: bytes) -> bytes | None:
        """The value under a key, no older than what was read since."""
        value = self._storage.get_again(self._stored(key))
        return None if value is None else self._item(self._stored(key), value)[1]

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The values of several keys."""
        stored = [self._stored(key) for key in keys]
        values = self._storage.get_many(stored)
        return [
            None if value is None else self._item(at, value)[1]
            for at, value in zip(stored, values, strict=True)
        ]

    def range(self, start: bytes, end: bytes, reverse: bool = False) -> Iterator[Item]:
        """Items in key order, or in reverse; those that share a head are read together."""
        head = self._head
        most = end if len(end) <= head else end[:head] + b"\xff" * _DIGEST
        found = self._storage.range(start[:head], most, reverse)
        for _, group in groupby(found, lambda item: item[0][:head]):
            items = [self._item(*item) for item in group]
            yield from sorted((item for item in items if start <= item[0] < end), reverse=reverse)

    def put_if_absent(self, key: bytes, value: bytes) -> bool:
        """Store a value unless there is one."""
        return self._storage.put_if_absent(self._stored(key), self._wrapped(key, value))

    def put_many(self, items: Sequence[Item]) -> int:
        """Store several."""
        return self._storage.put_many(
            [(self._stored(key), self._wrapped(key, value)) for key, value in items]
        )

    def delete(self, key: bytes) -> None:
        """Remove a key."""
        self._storage.delete(self._stored(key))

    def delete_many(self, keys: Sequence[bytes]) -> None:
        """Remove several."""
        self._storage.delete_many([self._stored(key) for key in keys])

    def compare_and_swap(self, key: bytes, old: bytes | None, new: bytes) -> bool:
        """Store a value if the present one is `old`."""
        before = None if old is None else self._wrapped(key, old)
        return self._storage.compare_and_swap(self._stored(key), before, self._wrapped(key, new))

    def reclaim(self) -> None:
        """Give back space."""
        self._storage.reclaim()

    def close(self) -> None:
        """Close the storage below."""
        self._storage.close()
