"""An ordered map in memory: a dict, and the sorted keys in pieces of bounded length."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator

from perdure.kit import SortedKeys, Storage

__all__ = ["MemoryStorage"]

#: Items that `range` copies under the lock at first and at most; it grows fourfold from page to page.
FIRST_PAGE, LAST_PAGE = 4, 1_024


class MemoryStorage(Storage):
    """The primitives of `perdure.kit.Storage` in memory; safe from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._data: dict[bytes, bytes] = {}
        self._keys = SortedKeys()

    def get(self, key: bytes) -> bytes | None:
        """The value under a key, or None."""
        return self._data.get(key)

    def range(self, start: bytes, end: bytes, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        """Items in key order, or in reverse, copied page by page."""
        size = FIRST_PAGE
        while True:
            with self._lock:
                keys = (self._keys.final if reverse else self._keys.first)(start, end, size)
                data = self._data
                page = [(key, data[key]) for key in keys]
            yield from page
            if len(page) < size:
                return
            if reverse:
                end = keys[-1]
            else:
                start = keys[-1] + b"\0"
            size = min(4 * size, LAST_PAGE)

    def put_if_absent(self, key: bytes, value: bytes) -> bool:
        """Store a value unless there is one."""
        with self._lock:
            return self._put(key, value)

    def put_many(self, items: Iterable[tuple[bytes, bytes]]) -> int:
        """Store several under one lock."""
        with self._lock:
            return sum(self._put(key, value) for key, value in items)

    def _put(self, key: bytes, value: bytes) -> bool:
        if key in self._data:
            return False
        self._data[key] = value
        self._keys.add(key)
        return True

    def delete(self, key: bytes) -> None:
        """Remove a key."""
        with self._lock:
            if self._data.pop(key, None) is not None:
                self._keys.discard(key)

    def compare_and_swap(self, key: bytes, old: bytes | None, new: bytes) -> bool:
        """Store a value if the present one is `old`."""
        with self._lock:
            if self._data.get(key) != old:
                return False
            if old is None:
                self._keys.add(key)
            self._data[key] = new
            return True

    def close(self) -> None:
        """Nothing to release: the store lives as long as somebody refers to it."""
