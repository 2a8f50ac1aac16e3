"""LanceDB's tables at one base: items read by key, in ranges and by row, whatever table they lie in."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import Any

import lance
import pyarrow as pa
import pyarrow.compute as pc

from perdure_lancedb._columns import ITEMS, Items, Layout, Rows, kind_of, of_rows, values_type
from perdure_lancedb._entries import Fence, State, Stored
from perdure_lancedb._objects import Objects
from perdure_lancedb._sql import after, literal, pieces

__all__ = ["BYTES", "NUMBER", "Tables", "View", "layout_of"]

#: A stretch between two fences is cut where it has more items, or more bytes, than this.
NUMBER, BYTES = 2_000, 8_000_000

Item = tuple[bytes, bytes]
Place = tuple[str, dict[str, str] | None]


def layout_of(stored: Stored) -> Layout:
    """How a table's items lie in it."""
    if not stored.kind:
        return ITEMS
    return Rows(stored.kind, None if stored.values is None else values_type(*stored.values))


class View:
    """One table at one version. Safe from several threads."""

    def __init__(self, place: Place, stored: Stored) -> None:
        self.place = place
        self.stored = stored
        self.layout = layout_of(stored)
        self._fences = [fence.key for fence in stored.fences]

    @cached_property
    def dataset(self) -> Any:
        """LanceDB's table, pinned."""
        uri, options = self.place
        return lance.dataset(uri, version=self.stored.version, storage_options=options)

    @cached_property
    def branches(self) -> frozenset[int]:
        """The numbers of the branches of whose rows it has versions; of all namespaces that share it."""
        return frozenset(pc.unique(self.scan(["branch"])["branch"]).to_pylist())

    def scan(self, columns: Sequence[str], condition: str = "", **more: Any) -> pa.Table:
        """Some columns of what meets a condition in LanceDB's SQL."""
        return self.dataset.scanner(columns=[*columns], filter=condition or None, **more).to_table()

    def items(self, condition: str) -> list[Item]:
        """The items that meet a condition, in no order."""
        return self.layout.items(self.scan(self.layout.columns, condition))

    def keys(self, condition: str) -> list[bytes]:
        """The keys of what meets a condition, in no order."""
        return self.layout.keys(self.scan(self.layout.identity, condition))

    def just(self, keys: Sequence[bytes]) -> str:
        """A condition that of all that is there just these keys meet; shorter to find than `among`, if possible."""
        if isinstance(self.layout, Items):
            return self.layout.among(keys)
        near = self.layout.near(keys)
        return near if set(self.keys(near)) <= set(keys) else self.layout.among(keys)

    def get_many(self, keys: Iterable[bytes]) -> Iterator[Item]:
        """Those of the keys that are there, with their values."""
        for some in pieces(keys):
            yield from self.items(self.layout.among(some))

    def groups(self, prefixes: Iterable[bytes]) -> Iterator[Item]:
        """All versions of several rows, in no order."""
        for some in pieces(prefixes):
            yield from self.items(of_rows(some))

    def stretch(self, start: bytes, end: bytes, reverse: bool) -> tuple[bytes, bytes]:
        """What of a range is read at once: its beginning, or in reverse its end."""
        if reverse:
            at = bisect_left(self._fences, end) - 1
            return (max(start, self._fences[at]) if at >= 0 else start), end
        at = bisect_right(self._fences, start)
        return start, (min(end, self._fences[at]) if at < len(self._fences) else end)

    def reach(self, start: bytes, end: bytes, items: int, size: int | None) -> bytes:
        """Up to where a range has about so many items, and so many bytes; at least to the next fence."""
        at = bisect_right(self._fences, start)
        for fence in self.stored.fences[max(0, at - 1) :]:
            items -= fence.items
            size = None if size is None else size - fence.size
            if (items < 0 or (size is not None and size < 0)) and fence.key > start:
                return min(end, fence.key)
        return end

    def take(self, row_ids: Sequence[int], columns: Sequence[str]) -> pa.Table:
        """Some columns of rows by LanceDB's ids, of which there is at least one."""
        return self.dataset._take_rows([*row_ids], columns=[*columns])

    def range(self, start: bytes, end: bytes) -> list[Item]:
        """All items of a range, in no order."""
        order, low = self.layout.order, self.layout.low(start)
        found = self.items(f"{order} >= {literal(low)} AND {order} < {literal(end)}")
        return found if isinstance(self.layout, Items) else [item for item in found if start <= item[0] < end]

    def cut(self, start: bytes, end: bytes | None) -> list[Fence]:
        """Fences for a stretch of the table, from its first item on, each half as long as one may become."""
        order = self.layout.order
        upper = "" if end is None else f" AND {order} < {literal(end)}"
        found = self.scan([order, "size"], f"{order} >= {literal(start)}{upper}")
        fences: list[Fence] = []
        for place, size in sorted(zip(found[order].to_pylist(), found["size"].to_pylist(), strict=True)):
            last = fences[-1] if fences else None
            long = last is None or last.items >= NUMBER // 2 or last.size + size > BYTES // 2
            if last is None or (long and place != last.key):  # versions of one row stay together
                fences.append(Fence(place, 1, size))
            else:
                fences[-1] = Fence(last.key, last.items + 1, last.size + size)
        return fences


class Tables:
    """All tables at one base. Safe from several threads."""

    def __init__(
        self, objects: Objects, state: State, known: Mapping[str, View] = MappingProxyType({})
    ) -> None:
        """Begin with a state, and views of the tables at another one, of which those that stay the same are used."""
        self._state = state
        self.views: dict[str, View] = {}
        for name, stored in state.tables.items():
            view = known.get(name)
            same = view is not None and view.stored == stored
            self.views[name] = view if view is not None and same else View(objects.table(name), stored)
        self._items = [view for view in self.views.values() if not view.stored.kind]
        self._rows: dict[str, list[View]] = {}
        self._loose: dict[bytes, list[Item]] = {}
        for view in self.views.values():
            if view.stored.kind:
                self._rows.setdefault(view.stored.kind, []).append(view)

    def of_row(self, row_key: bytes) -> View | None:
        """The table in which committed versions of a row lie, if there is one."""
        return next(iter(self._rows_of(row_key)), None)

    def loose(self, prefix: bytes) -> Iterator[Item]:
        """Versions of rows whose attempts were not committed when the log was folded."""
        found = self._loose.get(prefix)
        if found is None:
            found = [item for view in self._items for item in view.range(prefix, _after(prefix))]
            if kind_of(prefix + b"\0") and len(prefix) == prefix.index(b"\0") + 3:
                self._loose[prefix] = found  # every query over a kind asks, and they stay as they are
        return iter(found)

    def _rows_of(self, key: bytes) -> list[View]:
        kind = kind_of(key)
        views = self._rows.get(kind, []) if kind else []
        return [view for view in views if key.startswith(view.stored.prefix)]

    def _holding(self, key: bytes) -> list[View]:
        """The tables in which a key may be."""
        views = self._rows_of(key)
        return [*views, *self._items] if self._state.pending or kind_of(key) is None else views

    def _by_view(self, keys: Iterable[bytes]) -> list[tuple[View, list[bytes]]]:
        shares: dict[int, tuple[View, list[bytes]]] = {}
        for key in keys:
            for view in self._holding(key):
                shares.setdefault(id(view), (view, []))[1].append(key)
        return list(shares.values())

    def get_many(self, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        """The values of those keys that are there."""
        return {key: value for view, some in self._by_view(keys) for key, value in view.get_many(some)}

    def groups(self, prefixes: Iterable[bytes]) -> Iterator[Item]:
        """All versions of several rows, in no order."""
        for view, some in self._by_view(prefixes):
            yield from view.groups(some)

    def page(self, start: bytes, end: bytes, reverse: bool) -> tuple[list[Item], bytes]:
        """The beginning of a range (in reverse: its end), in no order.

        Returns:
            The items, and up to where they are all: the key before which none is missing, in reverse the one
            from which on none is.
        """
        views = self._across(start, end)
        for view in views:
            start, end = view.stretch(start, end, reverse)
        return [item for view in views for item in view.range(start, end)], start if reverse else end

    def _across(self, start: bytes, end: bytes) -> list[View]:
        """The tables that may have something of a range."""
        views = self._kinds_across(start, end)
        return [view for view in views if start < _after(view.stored.prefix) and end > view.stored.prefix]

    def _kinds_across(self, start: bytes, end: bytes) -> list[View]:
        at = start.find(b"\0") + 2  # after the letter of the sort
        if at < 2 or len(start) < at or end > _after(start[:at]):
            return list(self.views.values())
        if start[at - 1 : at] != b"r":
            return self._items
        at += 1
        if len(start) < at or end > _after(start[:at]):
            return list(self.views.values())
        rows = self._rows.get(kind_of(start) or "", [])
        return [*rows, *self._items] if self._state.pending else rows


def _after(prefix: bytes) -> bytes:
    """The end of all keys that begin with a prefix, whose last byte is below 255; of an empty one: of all."""
    return after(prefix) if prefix else b"\xff" * 2_000
