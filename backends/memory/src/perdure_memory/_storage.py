"""An ordered map in memory: a dict, and the sorted keys in pieces of bounded length."""

from __future__ import annotations

import threading
from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator

from perdure.kit import Storage

__all__ = ["MemoryStorage"]

#: Keys in a piece before it is cut in two: insertion moves at most so many pointers.
PIECE = 2_048

#: Items that `range` copies under the lock at first and at most; it grows fourfold from page to page.
FIRST_PAGE, LAST_PAGE = 4, 1_024


class _SortedKeys:
    """A sorted list of distinct keys, in pieces; `_last[i]` is the greatest key of piece i."""

    def __init__(self) -> None:
        self._pieces: list[list[bytes]] = []
        self._last: list[bytes] = []

    def add(self, key: bytes) -> None:
        """Insert a key that is not there."""
        if not self._pieces:
            self._pieces, self._last = [[key]], [key]
            return
        at = min(bisect_left(self._last, key), len(self._pieces) - 1)
        piece = self._pieces[at]
        insort(piece, key)
        if len(piece) > PIECE:
            self._pieces[at : at + 1] = piece[: PIECE // 2], piece[PIECE // 2 :]
            self._last[at : at + 1] = piece[PIECE // 2 - 1], piece[-1]
        else:
            self._last[at] = piece[-1]

    def discard(self, key: bytes) -> None:
        """Remove a key that is there."""
        at = bisect_left(self._last, key)
        piece = self._pieces[at]
        del piece[bisect_left(piece, key)]
        if piece:
            self._last[at] = piece[-1]
        else:
            del self._pieces[at], self._last[at]

    def first(self, start: bytes, end: bytes, size: int) -> list[bytes]:
        """The first `size` keys with `start <= key < end`, ascending."""
        found: list[bytes] = []
        at = bisect_left(self._last, start)
        while at < len(self._pieces) and len(found) < size:
            piece = self._pieces[at]
            low = 0 if found else bisect_left(piece, start)
            high = len(piece) if piece[-1] < end else bisect_left(piece, end)
            found += piece[low : min(high, low + size - len(found))]
            if high < len(piece):
                break
            at += 1
        return found

    def final(self, start: bytes, end: bytes, size: int) -> list[bytes]:
        """The last `size` keys with `start <= key < end`, descending."""
        found: list[bytes] = []
        at = min(bisect_left(self._last, end), len(self._pieces) - 1)
        while at >= 0 and len(found) < size:
            piece = self._pieces[at]
            high = len(piece) if piece[-1] < end else bisect_left(piece, end)
            low = 0 if piece[0] >= start else bisect_left(piece, start)
            found += piece[max(low, high - size + len(found)) : high][::-1]
            if low > 0:
                break
            at -= 1
        return found


class MemoryStorage(Storage):
    """The primitives of `perdure.kit.Storage` in memory; safe from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._data: dict[bytes, bytes] = {}
        self._keys = _SortedKeys()

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
