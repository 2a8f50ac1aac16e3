"""The ordered map that the kit asks for, over a store."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from perdure.kit import Lease, Storage, is_cell

from perdure_lancedb._sql import stretches
from perdure_lancedb._store import Store

if TYPE_CHECKING:
    import pyarrow as pa

    from perdure_lancedb._segments import Loaded
    from perdure_lancedb._snapshot import Snapshot

__all__ = ["LanceStorage"]

_T = TypeVar("_T")


class LanceStorage(Storage):
    """A share in a store that this process has open. What other processes did is looked for with each look at a head."""

    def __init__(self, lease: Lease[Store]) -> None:
        self._lease = lease
        self._carried = threading.local()

    def get(self, key: bytes) -> bytes | None:
        """The value under a key; of a head, the newest of all processes."""
        with self._lease.use() as store:
            if is_cell(key):
                store.catch_up()
            return store.get(key)

    def get_again(self, key: bytes) -> bytes | None:
        """The value under a key as this process knows it: all that it reads is of the same state, or an older one."""
        with self._lease.use() as store:
            return store.get(key)

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The values of several keys."""
        with self._lease.use() as store:
            return store.get_many(keys)

    def range(self, start: bytes, end: bytes, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        """Items in key order, or in reverse, read stretch by stretch."""
        return stretches(self._page, start, end, reverse)

    def _page(self, start: bytes, end: bytes, reverse: bool) -> tuple[list[tuple[bytes, bytes]], bytes]:
        with self._lease.use() as store:
            return store.page(start, end, reverse)

    def look(self, prefix: bytes, read: Callable[[Snapshot], _T]) -> _T:
        """What `read` makes of the rows under a prefix, as `Store.look` says."""
        with self._lease.use() as store:
            return store.look(prefix, read)

    def is_indexed(self, prefix: bytes) -> bool:
        """As `Store.is_indexed` says."""
        with self._lease.use() as store:
            return store.is_indexed(prefix)

    def namespaces(self) -> list[str]:
        """The names of all that have a head."""
        with self._lease.use() as store:
            return store.namespaces()

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
        segments = getattr(self._carried, "segments", ()) if key.endswith(b"\0h") else ()
        with self._lease.use() as store:
            return store.swap(key, old, new, segments)

    @contextmanager
    def carrying(self, segments: Sequence[Loaded]) -> Iterator[None]:
        """See that the next head that this thread puts makes a commit of these segments too."""
        self._carried.segments = segments
        try:
            yield
        finally:
            self._carried.segments = ()

    def is_void(self, token: bytes) -> bool:
        """As `Store.is_void` says."""
        with self._lease.use() as store:
            return store.is_void(token)

    def written(self, prefix: bytes, row_keys: pa.Array) -> pa.Array:
        """As `Store.written` says."""
        with self._lease.use() as store:
            return store.written(prefix, row_keys)

    def save_segment(
        self, number: int, prefix: bytes, values: tuple[str, int] | None, kind: str, table: pa.Table
    ) -> Loaded:
        """As `Store.save_segment` says."""
        with self._lease.use() as store:
            return store.save_segment(number, prefix, values, kind, table)

    def drop_segments(self, segments: Sequence[Loaded]) -> None:
        """As `Store.drop_segments` says."""
        with self._lease.use() as store:
            store.drop_segments(segments)

    def reclaim(self) -> None:
        """Rewrite the table without what was deleted."""
        with self._lease.use() as store:
            store.shrink()

    def close(self) -> None:
        """Give up the share."""
        self._lease.close()
