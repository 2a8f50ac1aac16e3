"""Keys in order, in memory."""

from __future__ import annotations

from bisect import bisect_left, insort

__all__ = ["SortedKeys"]

#: Keys in a piece before it is cut in two: insertion moves at most so many pointers.
PIECE = 2_048


class SortedKeys:
    """A sorted list of distinct keys, in pieces, so that insertion moves few of them. Not safe from several threads."""

    def __init__(self) -> None:
        self._pieces: list[list[bytes]] = []
        self._last: list[bytes] = []  # the greatest key of each piece

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
