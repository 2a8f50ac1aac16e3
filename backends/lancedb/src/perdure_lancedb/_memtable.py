"""The last base, and what the log says since: small items in memory, segments where they lie."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from perdure.kit import SortedKeys

from perdure_lancedb._entries import MARK, Entry, State
from perdure_lancedb._objects import Objects
from perdure_lancedb._sql import after

if TYPE_CHECKING:
    from perdure_lancedb._segments import Loaded
    from perdure_lancedb._tables import Tables, View

__all__ = ["Memtable"]


class Memtable:
    """What a store knows beyond its tables; who uses it holds the store's lock.

    Attributes:
        base: The number of the base.
        state: What the base says.
        upto: The last entry of the log that is in the base.
        tail: The last one that is here.
        items: What came since, by key; None where something was deleted. It counts, whatever the tables say.
        segments: More rows that came since.
        marks: The first bytes of the token of each entry since the base.
        size: Bytes of all that came since.
        void: Segments of attempts that began up to then, in microseconds, may be removed.
    """

    def __init__(
        self, objects: Objects, base: int, upto: int, state: State, before: Memtable | None = None
    ) -> None:
        """Begin with a base; tables that stay as they are at the base `before` need not be opened again."""
        self._objects = objects
        self._views = {} if before is None else before.views
        self.base = base
        self.upto = upto
        self.tail = upto
        self.state = state
        self.items: dict[bytes, bytes | None] = {}
        self.segments: list[Loaded] = []
        self.marks = bytearray()
        self.size = 0
        self.void = state.void
        self._order = SortedKeys()
        for key, value in state.cells.items():
            self.set(key, value)

    @cached_property
    def tables(self) -> Tables:
        """The tables of the base."""
        from perdure_lancedb._tables import Tables  # noqa: PLC0415 - takes half a second and 100 MB

        return Tables(self._objects, self.state, self._views)

    @property
    def views(self) -> Mapping[str, View]:
        """The tables as they may have been opened."""
        return self.tables.views if "tables" in vars(self) else self._views

    def set(self, key: bytes, value: bytes | None) -> None:
        """Put or delete an item."""
        if key in self.items:
            self.size -= len(self.items[key] or b"")
        else:
            self._order.add(key)
            self.size += len(key)
        self.size += len(value or b"")
        self.items[key] = value

    def apply(self, entry: Entry, segments: Iterable[Loaded]) -> None:
        """Take the next entry of the log, with the segments that it names."""
        for key in entry.deletes:
            self.set(key, None)
        for key, value in entry.puts:
            self.set(key, value)
        for loaded in segments:
            self.segments.append(loaded)
            self.size += loaded.segment.size
        self.void = max(self.void, entry.void)
        self.marks += entry.token[:MARK]
        self.tail += 1

    def known(self, keys: Sequence[bytes]) -> dict[bytes, bytes | None]:
        """Those of the keys of which the tables are not to be asked."""
        for key in keys if self.segments else ():
            self._expand(key, key + b"\0")
        return {key: self.items[key] for key in keys if key in self.items}

    def between(self, start: bytes, end: bytes, *, expand: bool = True) -> dict[bytes, bytes | None]:
        """The items of a range; without those that are in segments alone, if these are not to be expanded."""
        if expand:
            self._expand(start, end)
        return {key: self.items[key] for key in self._order.first(start, end, len(self.items))}

    def _expand(self, start: bytes, end: bytes) -> None:
        """See that what segments have of a range is held item by item."""
        for loaded in self.segments:
            prefix = loaded.segment.prefix
            if not loaded.expanded and start < after(prefix) and end > prefix:
                items = list(loaded.items())
                for key, value in items:
                    if key not in self.items:  # else it was deleted since
                        self.set(key, value)
                loaded.expanded = frozenset(key for key, _ in items)
