"""Folds and compactions of a store: beside its readers and writers, one at a time in each process."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from perdure import Busy, CorruptStore, PerdureError, StorageError
from perdure.kit import Judge, Storage, attempt_time, is_cell

from perdure_lancedb._entries import BASE, FORMAT, LOG, Base, State, Stored, began, numbered, pack
from perdure_lancedb._errors import translated
from perdure_lancedb._options import Indexing

if TYPE_CHECKING:
    from perdure_lancedb._memtable import Memtable
    from perdure_lancedb._segments import Loaded
    from perdure_lancedb._store import Store

__all__ = ["Upkeep"]

#: Bytes of items since the base that are folded, whatever their number.
_HELD = 16_000_000

#: How often a fold begins anew because another process was faster.
_TRIES = 5

#: Old versions of a table go each time that its number passes a multiple of this: to remove some takes LanceDB
#: 20 requests and more, whatever they hold.
_PASSED = 8

_STATE, _FOLD, _SEGMENTS = "state", "fold", "seg"

_SEGMENT = re.compile(r"[0-9a-f]{24}-[0-9]+")


@dataclass(frozen=True)
class _Cut:
    """A memtable as it was when a fold began; what comes later stays in the log."""

    base: int
    tail: int
    state: State
    items: Mapping[bytes, bytes | None]
    segments: list[Loaded]
    expanded: list[frozenset[bytes]]
    marks: bytes
    void: int

    @classmethod
    def base_of(cls, now: Memtable) -> _Cut:
        """The base of a memtable alone."""
        return cls(now.base, now.upto, now.state, {}, [], [], b"", now.state.void)

    @classmethod
    def of(cls, now: Memtable, waiting: Mapping[bytes, bytes]) -> _Cut:
        """What was logged of a memtable."""
        items = {key: value for key, value in now.items.items() if key not in waiting}
        expanded = [loaded.expanded for loaded in now.segments]
        return cls(
            now.base, now.tail, now.state, items, [*now.segments], expanded, bytes(now.marks), now.void
        )


class Upkeep:
    """Moves what the log holds to the tables; readers and writers go on meanwhile."""

    def __init__(self, store: Store, fold: int, indexing: Indexing) -> None:
        self._store = store
        self._objects = store.objects
        self._fold = fold
        self._indexing = indexing
        self._lock = threading.RLock()
        self._unsettled = 0
        self._tidy: dict[str, tuple[int, set[str]]] = {}  # the tables that were left so: versions, and files
        self._failed = (0, 0)  # the base on which a fold failed, and the items to wait for before the next

    def fold_if_due(self, *, settle: bool = False) -> None:
        """Fold where much has come; the change that made it so is done, and fails of nothing here.

        Args:
            settle: A commit was made, of which a part may have been folded before, and is slow to read until then.
        """
        now, waiting = self._store.now, len(self._store.waiting)
        items = len(now.items) - waiting
        unsettled = now.state.pending - self._unsettled if settle else 0
        share = max((items + unsettled) / self._fold, now.size / _HELD)
        if share < 1 or (self._failed[0] == now.base and items < self._failed[1]):
            return
        try:
            mine = self._objects.create(numbered(_FOLD, now.base + 1), os.urandom(16))
            if mine or share > 2:  # whoever else began it may have died
                self.fold(now.base)
            if settle:
                self._unsettled = self._store.now.state.pending  # of attempts that others may be at
        except PerdureError:
            self._failed = (now.base, items + self._fold)

    def fold(self, only: int | None = None, *, forget: bool = True) -> None:
        """As `Store.fold` says.

        Args:
            only: Not if there is a base beyond this one by the time that it is this fold's turn.
            forget: Whether old versions of tables may go.
        """
        self._store.check()
        with self._lock:
            for _ in range(_TRIES):
                with self._store.lock:
                    self._store.catch_up()
                    cut = _Cut.of(self._store.now, self._store.waiting)
                if (only is not None and cut.base > only) or self._folded(cut, forget):
                    return
        raise Busy("other processes fold the log at the same time; try again")

    def _folded(self, cut: _Cut, forget: bool) -> bool:
        from perdure_lancedb._folding import fold  # noqa: PLC0415 - as the tables do
        from perdure_lancedb._steps import Interfered  # noqa: PLC0415

        cells = {key: value for key, value in cut.items.items() if is_cell(key) and value is not None}
        items = {key: value for key, value in cut.items.items() if not is_cell(key)}
        once = frozenset().union(*cut.expanded)
        puts = sorted((key, value) for key, value in items.items() if value is not None and key not in once)
        newest = cut.state.newest
        deletes = [
            key
            for key, value in items.items()
            if value is None or (attempt_time(key) <= newest and key not in once)
        ]
        tables, pending = cut.state.tables, cut.state.pending
        if cut.items or cut.segments:  # a head that went takes the rows of its namespace with it
            judge = Judge(cast(Storage, self._store))  # it only reads, by `get` and `range`
            try:
                with translated(self._objects.place):
                    tables, pending = fold(
                        self._objects,
                        cut.state,
                        cells,
                        puts,
                        deletes,
                        judge,
                        cut.segments,
                        self._indexing,
                        self._store.now.views,
                    )
            except Interfered:
                return False
            except (StorageError, CorruptStore):
                if self._store.is_last(cut.base):
                    raise
                return False  # files that it read went with the base before the newest
        begun = [*(attempt_time(key) for key, _ in puts), *(loaded.began for loaded in cut.segments)]
        new = State(max([newest, *begun]), cells, tables, pending, cut.void)
        if not self._publish(cut, new):
            return False
        if forget:
            with suppress(PerdureError):  # it is done; what is left goes with a later one
                self._forget(cut.state.tables, tables)
        return True

    def shrink(self) -> None:
        """As `Store.shrink` says."""
        from perdure_lancedb._folding import shrink  # noqa: PLC0415 - as the tables do
        from perdure_lancedb._steps import Interfered  # noqa: PLC0415

        self._store.check()
        with self._lock:
            for _ in range(_TRIES):
                self._void_segments()
                self.fold(forget=False)
                cut = _Cut.base_of(self._store.now)
                state = cut.state
                try:
                    with translated(self._objects.place):
                        tables = {
                            name: shrink(self._objects, name, stored) for name, stored in state.tables.items()
                        }
                    files = self._objects.files()
                    new = State(state.newest, state.cells, tables, state.pending, state.void)
                    if self._publish(cut, new):
                        # What is newer than the base may be of a fold under way; what is older counts no more.
                        self._scrap(new, files)
                        return
                except Interfered:
                    continue
                except (StorageError, CorruptStore):
                    if self._store.is_last(cut.base):
                        raise
        raise Busy("other processes fold the log at the same time; try again")

    def _void_segments(self) -> None:
        """Remove segments that no entry names: nobody will make a commit of them from now on."""
        store = self._store
        while True:
            with store.lock:
                store.catch_up()
                named = {loaded.segment.name for loaded in store.now.segments}
                found = filter(_SEGMENT.fullmatch, self._objects.names(_SEGMENTS))  # others are somebody's
                idle = {f"{_SEGMENTS}/{name}" for name in found} - named
                done = not idle or store.append([], [], void=max(map(began, idle)))
            if done:
                self._objects.remove(idle)
                return

    def _publish(self, cut: _Cut, state: State) -> bool:
        """Make a state the next base; False where another process made one first."""
        before, number = cut.state.tables, cut.base + 1
        for name, stored in state.tables.items():
            if name not in before or before[name].version != stored.version:
                self._objects.settle(name)
        name = f"{numbered(_STATE, number)}-{os.urandom(8).hex()}"
        self._objects.create(name, pack(state))
        base = Base(FORMAT, number, cut.tail, name, cut.marks)
        if not self._objects.create(numbered(BASE, number), pack(base)):
            self._objects.remove([name])
            return False
        with self._store.lock:
            if self._store.now.base < number:
                self._store.begin(number, cut.tail, state)
                self._store.catch_up()
        with suppress(PerdureError):  # it is done; what is left goes with the next one
            self._sweep(cut, number)
        return True

    def _sweep(self, cut: _Cut, number: int) -> None:
        """Remove the objects that a base made superfluous: entries, segments, leases, and other states."""
        last, this, lease = numbered(LOG, cut.tail), numbered(_STATE, number), numbered(_FOLD, number)
        gone = [f"{LOG}/{name}" for name in self._objects.names(LOG) if f"{LOG}/{name}" <= last]
        gone += [f"{_STATE}/{name}" for name in self._objects.names(_STATE) if f"{_STATE}/{name}" < this]
        gone += [f"{_FOLD}/{name}" for name in self._objects.names(_FOLD) if f"{_FOLD}/{name}" <= lease]
        self._objects.remove([*gone, *(loaded.segment.name for loaded in cut.segments)])

    def _forget(self, before: Mapping[str, Stored], now: Mapping[str, Stored]) -> None:
        """Remove the versions of tables before those of two bases, where they have become many."""
        from perdure_lancedb._steps import forget  # noqa: PLC0415 - as the tables do

        for name, stored in now.items():
            old = before[name].version if name in before else stored.version
            if old // _PASSED < stored.version // _PASSED:
                with translated(self._objects.place):
                    forget(self._objects.table(name), {old, stored.version})

    def _scrap(self, state: State, files: Mapping[str, Iterable[str]]) -> None:
        """Remove those of the files that no table needs, and all older versions."""
        from perdure_lancedb._steps import unused  # noqa: PLC0415 - as the tables do
        from perdure_lancedb._tables import Tables  # noqa: PLC0415

        views = Tables(self._objects, state, self._store.now.tables.views).views
        gone, tidy = list[str](), dict[str, tuple[int, set[str]]]()
        for name, some in files.items():
            view = views.get(name)
            if view is None:
                gone += some
                continue
            tidy[name] = view.stored.version, {*some}
            if tidy[name] != self._tidy.get(name):
                with translated(self._objects.place):
                    useless = unused(view.dataset, some)
                tidy[name][1].difference_update(useless)
                gone += useless
        self._objects.remove(gone)
        self._tidy = tidy
