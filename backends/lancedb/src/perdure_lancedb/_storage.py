"""The ordered map that the kit asks for, over a store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

from perdure.kit import Lease, Storage, is_cell

from perdure_lancedb._store import Store

if TYPE_CHECKING:
    from perdure_lancedb._snapshot import Snapshot

__all__ = ["LanceStorage"]

_T = TypeVar("_T")


class LanceStorage(Storage):
    """A share in a store that this process has open. What other processes did is looked for with each look at a head."""

    def __init__(self, lease: Lease[Store]) -> None:
        self._lease = lease

    def get(self, key: bytes) -> bytes | None:
        """The value under a key; of a head, the newest of all processes."""
        with self._lease.use() as store:
            if is_cell(key):
                store.catch_up()
            return store.get(key)

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The values of several keys."""
        with self._lease.use() as store:
            return store.get_many(keys)

    def range(self, start: bytes, end: bytes, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        """Items in key order, or in reverse, read stretch by stretch."""
        while start < end:
            with self._lease.use() as store:
                page, rest = store.page(start, end, reverse)
            yield from page
            if reverse:
                if rest <= start:
                    return
                end = rest
            else:
                start = rest

    def look(self, prefix: bytes, read: Callable[[Snapshot], _T]) -> _T:
        """What `read` makes of the rows under a prefix, as `Store.look` says."""
        with self._lease.use() as store:
            return store.look(prefix, read)

    def groups(self, prefixes: Sequence[bytes]) -> Iterator[list[tuple[bytes, bytes]]]:
        """The versions of many rows, by one look at the table."""
        with self._lease.use() as store:
            return iter(store.groups(prefixes))

    def put_if_absent(self, key: bytes, value: bytes) -> bool:
        """Put a value unless there is one; it is logged with the next change of a head."""
        return self.put_many([(key, value)]) == 1

    def put_many(self, items: Sequence[tuple[bytes, bytes]]) -> int:
        """Put several."""
        with self._lease.use() as store:
            return store.put(items)

    def delete(self, key: bytes) -> None:
        """Remove a key."""
        self.delete_many([key])

    def delete_many(self, keys: Sequence[bytes]) -> None:
        """Remove several, in one entry of the log."""
        with self._lease.use() as store:
            store.delete(keys)

    def compare_and_swap(self, key: bytes, old: bytes | None, new: bytes) -> bool:
        """Put a value if the present one is `old`, together with all that was put before."""
        with self._lease.use() as store:
            return store.swap(key, old, new)

    def reclaim(self) -> None:
        """Rewrite the table without what was deleted."""
        with self._lease.use() as store:
            store.shrink()

    def close(self) -> None:
        """Give up the share."""
        self._lease.close()
