"""The primitives that a key-value store, an object store or plain files must offer to carry a backend."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

__all__ = ["Storage"]


class Storage(Protocol):
    """An ordered map from bytes to bytes. Subclass it, and pass an instance to `KitBackend`.

    Keys are at most some 1.2 kB (two key parts of 512 bytes each, and a fixed tail) and are ordered by their
    bytes. All methods may be called from several threads, and, where the backend declares `concurrent`, from
    several processes. A write is as durable as the backend declares when its method returns. Errors
    of the medium are raised as `StorageError`.
    """

    def get(self, key: bytes) -> bytes | None:
        """The value under `key`, or None; it sees every write that was acknowledged before."""
        ...

    def range(self, start: bytes, end: bytes, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        """Items with `start <= key < end` in key order, or in reverse.

        The iterator holds no lock between items and may be dropped at any item. Items that are written or
        deleted while it runs may or may not be seen; all others are seen exactly once.
        """
        ...

    def put_if_absent(self, key: bytes, value: bytes) -> bool:
        """Store `value` unless there is a value; whether it was stored."""
        ...

    def delete(self, key: bytes) -> None:
        """Remove the key; an absent one is no error."""
        ...

    def compare_and_swap(self, key: bytes, old: bytes | None, new: bytes) -> bool:
        """Store `new` if the value is `old` (None: there is none), atomically; whether it was stored.

        Called for one small head key per namespace, for read counters, and for one small key that tells that
        a compaction or purge is alive.
        """
        ...

    def close(self) -> None:
        """Release what the storage holds; closing twice is no error."""
        ...

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The values of several keys; override it where one round trip can serve them."""
        return [self.get(key) for key in keys]

    def get_again(self, key: bytes) -> bytes | None:
        """`get`, for who has read other keys since and asks whether this one changed before what was read did.

        Override it where `get` looks elsewhere for later writes, which need not be seen: only those that came before
        a write or deletion that an earlier call has shown.
        """
        return self.get(key)

    def groups(self, prefixes: Sequence[bytes]) -> Iterator[list[tuple[bytes, bytes]]] | None:
        """The items under each of many prefixes of rows, in their order; None: a range for each is as fast.

        Override it where one round trip can serve many. A prefix is what `group_of` makes of its keys.
        """
        return None

    def put_many(self, items: Sequence[tuple[bytes, bytes]]) -> int:
        """`put_if_absent` for several items, in any order and not atomically; how many were stored.

        The items are in memory: at most 5,000 row versions, or what one event of an ingest holds.
        """
        return sum(self.put_if_absent(key, value) for key, value in items)

    def delete_many(self, keys: Sequence[bytes]) -> None:
        """`delete` for several keys, at most 256, in any order and not atomically."""
        for key in keys:
            self.delete(key)

    def reclaim(self) -> None:
        """Give back, or overwrite, the space of what was deleted; called at the end of a compaction.

        An engine that leaves deleted bytes in its files must do that here to declare "purge". Others
        may read and write meanwhile, or wait; it may be called by several at once.
        """
        return  # else type checkers take the method for abstract
