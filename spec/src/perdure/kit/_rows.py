"""Which version of a row is visible at a point, one row at a time and in key order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial

from perdure._schema import Row
from perdure._types import Key, Point
from perdure.kit._commits import Commits
from perdure.kit._head import HeadStore, Lineage, State
from perdure.kit._keys import SLOT, Keys, after, position
from perdure.kit._objects import decode_row, is_tombstone
from perdure.kit._storage import Storage

__all__ = ["Rows"]

#: Rows read between two looks at whether the point still exists.
PAGE = 1_000

Version = tuple[bytes, bytes, bytes]


class Rows:
    """Reads row versions of one namespace."""

    def __init__(self, storage: Storage, keys: Keys, heads: HeadStore, commits: Commits) -> None:
        self._storage = storage
        self._keys = keys
        self._heads = heads
        self._commits = commits

    def find(self, state: State, lineage: Lineage, group: bytes) -> tuple[bytes, bytes] | None:
        """The slot and the stored bytes of the live version of a row: one reverse step for each ancestor."""
        if state.hidden and state.is_hidden(group):
            return None
        by_number = state.by_number
        for number, upto in lineage:
            prefix = number.to_bytes(4, "big")
            for key, value in self._storage.range(group + prefix, group + position(number, upto + 1), True):
                slot = key[-SLOT:]
                if self._commits.committed(state, by_number[number], slot):
                    return None if is_tombstone(value) else (slot, value)
        return None

    def find_many(self, state: State, lineage: Lineage, groups: Sequence[bytes]) -> dict[bytes, bytes]:
        """The stored bytes of the live versions of rows, by group."""
        asked = [group for group in groups if not state.is_hidden(group)]
        found = self._storage.groups(asked) if len(asked) > 1 or len(lineage) > 1 else None
        if found is None:
            single = ((group, self.find(state, lineage, group)) for group in asked)
            return {group: version[1] for group, version in single if version is not None}
        live: dict[bytes, bytes] = {}
        for group, items in zip(asked, found, strict=True):
            value = self._nearest(state, lineage, items)
            if value is not None and not is_tombstone(value):
                live[group] = value
        return live

    def _nearest(self, state: State, lineage: Lineage, items: Sequence[tuple[bytes, bytes]]) -> bytes | None:
        """Of the versions of one row, in order, the one that a lineage shows."""
        for number, upto in lineage:
            prefix, most = number.to_bytes(4, "big"), upto.to_bytes(8, "big")
            for key, value in reversed(items):
                slot = key[-SLOT:]
                if slot[:4] != prefix or slot[4:12] > most:
                    continue
                if self._commits.committed(state, state.by_number[number], slot):
                    return value
        return None

    def fetch(self, state: State, point: Point, table: str, keys: Sequence[Key]) -> Iterator[Row | None]:
        """Rows by key, in the order asked."""
        groups = [self._keys.group(table, key) for key in keys]
        found = self.find_many(state, state.lineage(point), [group for group in groups if group is not None])
        for group in groups:
            value = found.get(group) if group is not None else None
            yield None if value is None else decode_row(table, value)

    def version(self, state: State, lineage: Lineage, table: str, key: Key) -> str | None:
        """The commit id that last wrote a live row."""
        group = self._keys.group(table, key)
        found = None if group is None else self.find(state, lineage, group)
        return None if found is None else self._commits.commit_id(state, found[0])

    def scan(self, state: State, point: Point, start: bytes, end: bytes) -> Iterator[Version]:
        """The (group, slot, stored bytes) of each live row in a range of groups, in key order.

        A page is handed out only if the point still existed after it was read.
        """
        state.lineage(point)
        at: bytes | None = start
        while at is not None:
            page, at = self._heads.steady(partial(self._page, point, at, end))
            yield from page

    def decoded(self, state: State, point: Point, table: str, start: bytes | None = None) -> Iterator[Row]:
        """The live rows of a table in key order, from a position on."""
        prefix = self._keys.rows(table)
        for _, _, value in self.scan(state, point, start or prefix, after(prefix)):
            yield decode_row(table, value)  # type: ignore[misc]

    def _page(
        self, point: Point, start: bytes, end: bytes, state: State
    ) -> tuple[list[Version], bytes | None]:
        steps = {
            number.to_bytes(4, "big"): (
                depth,
                upto.to_bytes(8, "big"),
                branch := state.by_number[number],
                self._commits.known(state, branch),
            )
            for depth, (number, upto) in enumerate(state.lineage(point))
        }
        committed = self._commits.committed
        page: list[Version] = []
        group, best, best_slot, nearest = b"", b"", b"", len(steps)
        for key, value in self._storage.range(start, end):
            if key[:-SLOT] != group:
                if best and not is_tombstone(best):
                    page.append((group, best_slot, best))
                    if len(page) >= PAGE:
                        return self._shown(state, page), key
                group, best, nearest = key[:-SLOT], b"", len(steps)
            slot = key[-SLOT:]
            step = steps.get(slot[:4])
            if step is None or step[0] > nearest or slot[4:12] > step[1]:
                continue
            if slot in step[3] or committed(state, step[2], slot):
                nearest, best, best_slot = step[0], value, slot
        if best and not is_tombstone(best):
            page.append((group, best_slot, best))
        return self._shown(state, page), None

    def _shown(self, state: State, page: list[Version]) -> list[Version]:
        return [item for item in page if not state.is_hidden(item[0])] if state.hidden else page

    def versions(self, groups: Iterable[bytes]) -> Iterator[tuple[bytes, bytes, bytes]]:
        """Every version of the given rows, committed or not."""
        for group in groups:
            for key, value in self._storage.range(group, after(group)):
                if len(key) == len(group) + SLOT:
                    yield group, key[-SLOT:], value
