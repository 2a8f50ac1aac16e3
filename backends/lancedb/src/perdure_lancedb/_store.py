"""One store as a process sees it: the last base, and what the log says since.

The log is a row of objects with numbers. To create the next one is what makes a change: of two processes that try,
one succeeds, so that a change is whole and each is judged by all that came before it. Now and then somebody
writes what the log holds to LanceDB's table, and creates the next *base*, which names the table's version and the
entry up to which it has everything; then those entries can go. A number of the log is thus free again for who has
not heard of that base, which is why each entry that was created or found is looked at once more with an eye on the
next base.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar, cast

from perdure import Busy, CorruptStore, PerdureError, PermissionDenied, StorageError, Unavailable
from perdure.kit import SLOT, Judge, SortedKeys, Storage, attempt_time, is_cell

from perdure_lancedb._entries import FORMAT, MARK, Base, Entry, Segment, State, Stored, began, pack, unpack
from perdure_lancedb._errors import translated
from perdure_lancedb._objects import Objects

if TYPE_CHECKING:
    import pyarrow as pa

    from perdure_lancedb._segments import Loaded
    from perdure_lancedb._snapshot import Snapshot
    from perdure_lancedb._tables import Tables

__all__ = ["Store"]

#: Bytes that wait to be logged with the next change of a head, before they are logged by themselves.
_WAITING = 4_000_000

#: Bytes of items since the base that are folded, whatever their number.
_HELD = 16_000_000

#: How often a read begins anew because the table's files went, or a fold because another was faster.
_TRIES = 5

#: Entries that are read at once.
_AHEAD = 32

_LOG, _BASE, _STATE, _FOLD, _SEGMENTS = "log", "base", "state", "fold", "seg"

_T = TypeVar("_T")


def _numbered(folder: str, number: int) -> str:
    return f"{folder}/{number:016d}"


class Store:
    """What all backends of this process share that are open on one store. Safe from several threads."""

    def __init__(self, objects: Objects, fold: int, *, read_only: bool) -> None:
        self._objects = objects
        self._fold_items = fold
        self._read_only = read_only
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._waiting: dict[bytes, bytes] = {}
        self._waiting_bytes = 0
        with self._lock:
            self._start()

    # -------------------------------------------------------------------------------------- the state

    def _start(self) -> None:
        """Begin with the newest base; what waits to be logged goes on waiting."""
        while True:
            bases = self._objects.names(_BASE)
            if not bases:
                self._begin(0, 0, State())
                return
            name = f"{_BASE}/{bases[-1]}"
            base = unpack(self._present(name), Base, name)
            data = self._objects.read(base.state)
            if data is not None:
                self._begin(base.number, base.upto, unpack(data, State, base.state))
                return
            if self._objects.names(_BASE) == bases:  # else there is a newer one by now, and this one's went
                raise CorruptStore(f"{base.state} is missing; restore the store from a backup")

    def _present(self, name: str) -> bytes:
        data = self._objects.read(name)
        if data is None:
            raise CorruptStore(f"{name} is missing; restore the store from a backup")
        return data

    def _begin(self, number: int, upto: int, state: State) -> None:
        self._base = number
        self._tail = upto
        self._state = state
        self._held: dict[bytes, bytes | None] = {}
        self._order = SortedKeys()
        self._marks = bytearray()
        self._bytes = 0
        self._rest = 0  # items to wait for before another fold is tried
        self.__dict__.pop("_tables", None)
        self._segments: list[Loaded] = []
        self._void = state.void
        for key, value in (*state.cells.items(), *self._waiting.items()):
            self._set(key, value)

    @cached_property
    def _tables(self) -> Tables:
        from perdure_lancedb._tables import Tables  # noqa: PLC0415 - takes half a second and 100 MB

        return Tables(self._objects, self._state)

    def _set(self, key: bytes, value: bytes | None) -> None:
        if key in self._held:
            self._bytes -= len(self._held[key] or b"")
        else:
            self._order.add(key)
            self._bytes += len(key)
        self._bytes += len(value or b"")
        self._held[key] = value

    def _check(self) -> None:
        if os.getpid() != self._pid:
            raise Unavailable(
                "this process was forked from one that has the store open, which LanceDB does not survive; "
                "start processes by spawn, and open the store there"
            )

    # ---------------------------------------------------------------------------------------- the log

    def catch_up(self) -> None:
        """Apply all that any process has logged."""
        self._check()
        with self._lock:
            ahead = 1  # where there is one entry, there are often many
            while self._steps(ahead):
                ahead = min(2 * ahead, _AHEAD)

    def _steps(self, ahead: int) -> bool:
        """Apply the next entries, or go to the next base; whether there may be more."""
        names = [_numbered(_LOG, self._tail + 1 + i) for i in range(ahead)]
        found = [self._objects.read(names[0])] if ahead == 1 else self._objects.read_many(names)
        if not self._is_last():  # then the entries, or that there are none, mean nothing
            self._start()
            return True
        for name, data in zip(names, found, strict=True):
            if data is None:
                return False
            entry = unpack(data, Entry, name)
            self._apply(entry, [self._loaded(segment) for segment in entry.segments])
        return True

    def _loaded(self, segment: Segment) -> Loaded:
        from perdure_lancedb._segments import Loaded  # noqa: PLC0415 - as the tables do

        return Loaded(self._objects, segment)

    def _is_last(self) -> bool:
        """Whether no process has made another base since."""
        return self._objects.read(_numbered(_BASE, self._base + 1)) is None

    def _apply(self, entry: Entry, segments: Iterable[Loaded]) -> None:
        for key in entry.deletes:
            self._set(key, None)
        for key, value in entry.puts:
            self._set(key, value)
            self._logged(key)
        for loaded in segments:
            self._segments.append(loaded)
            self._bytes += loaded.segment.size
        self._void = max(self._void, entry.void)
        self._marks += entry.token[:MARK]
        self._tail += 1

    def _logged(self, key: bytes) -> None:
        """An item waits no longer. It may have been logged by an entry whose creation was told as failed."""
        value = self._waiting.pop(key, None)
        if value is not None:
            self._waiting_bytes -= len(key) + len(value)

    def _append(
        self,
        puts: list[tuple[bytes, bytes]],
        deletes: list[bytes],
        segments: Sequence[Loaded] = (),
        void: int = 0,
    ) -> bool:
        """Log a change on top of all that is known; False where another writer was first."""
        if self._read_only:
            raise PermissionDenied("the store is open read-only; open it with mode='rw' to write")
        named = [loaded.segment for loaded in segments]
        entry = Entry(os.urandom(16), [*self._waiting.items(), *puts], deletes, named, void)
        name = _numbered(_LOG, self._tail + 1)
        if not self._objects.create(name, pack(entry)):
            return False
        if not self._stands(entry.token):
            self._objects.remove([name])  # the number was free again: nobody takes it for an entry
            return False
        self._apply(entry, segments)
        return True

    def _stands(self, token: bytes) -> bool:
        """Whether what was just created after the last entry is the next one, even if it was folded since."""
        number, after = self._tail + 1, self._base + 1
        while (data := self._objects.read(_numbered(_BASE, after))) is not None:
            base = unpack(data, Base, _numbered(_BASE, after))
            if base.upto >= number:
                at = len(base.marks) - MARK * (base.upto - number + 1)
                return base.marks[at : at + MARK] == token[:MARK]
            after += 1
        return True

    # -------------------------------------------------------------------------------------- reading

    def get(self, key: bytes) -> bytes | None:
        """The value under a key."""
        return self.get_many([key])[0]

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The values under several keys."""

        def read() -> list[bytes | None]:
            with self._lock:
                for key in keys if self._segments else ():
                    self._expand(key, key + b"\0")
                held = self._held
                missing = [key for key in keys if key not in held]
                known = {key: held[key] for key in keys if key in held}
                tables = self._tables if missing and self._state.tables else None
            found = {} if tables is None else tables.get_many(missing)
            return [known[key] if key in known else found.get(key) for key in keys]

        return self._steady(read)

    def page(self, start: bytes, end: bytes, reverse: bool) -> tuple[list[tuple[bytes, bytes]], bytes]:
        """The beginning of a range (in reverse: its end), in the order asked, and where the rest begins or ends."""

        def read() -> tuple[list[tuple[bytes, bytes]], bytes]:
            with self._lock:
                tables = self._tables if self._state.tables else None
                base = self._base
            found, rest = (
                ([], start if reverse else end) if tables is None else tables.page(start, end, reverse)
            )
            low, high = (rest, end) if reverse else (start, rest)
            with self._lock:
                if self._base != base:
                    raise _Moved
                held = self._between(low, high)
            merged = {**dict(found), **held}
            page = [
                (key, value) for key in sorted(merged, reverse=reverse) if (value := merged[key]) is not None
            ]
            return page, rest

        return self._steady(read)

    def range(self, start: bytes, end: bytes, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        """Items in key order, or in reverse, read stretch by stretch."""
        while start < end:
            page, rest = self.page(start, end, reverse)
            yield from page
            if reverse:
                if rest <= start:
                    return
                end = rest
            else:
                start = rest

    def groups(self, prefixes: Sequence[bytes]) -> list[list[tuple[bytes, bytes]]]:
        """The items of each of several rows, in order."""

        def read() -> list[list[tuple[bytes, bytes]]]:
            with self._lock:
                tables = self._tables if self._state.tables else None
                base = self._base
            found: dict[bytes, dict[bytes, bytes | None]] = {prefix: {} for prefix in prefixes}
            for key, value in () if tables is None else tables.groups(found):
                found[key[:-SLOT]][key] = value
            with self._lock:
                if self._base != base:
                    raise _Moved
                for prefix, versions in found.items():
                    versions.update(self._between(prefix, prefix + b"\xff" * (SLOT + 1)))
            return [
                [(key, value) for key, value in sorted(found[prefix].items()) if value is not None]
                for prefix in prefixes
            ]

        return self._steady(read)

    def look(self, prefix: bytes, read: Callable[[Snapshot], _T]) -> _T:
        """What `read` makes of the rows under a prefix, at one moment; called again where files went meanwhile.

        Args:
            prefix: Of all rows of a kind, or of those of one space, in one namespace.
            read: It must have read all that it needs when it returns.
        """
        from perdure_lancedb._snapshot import Snapshot  # noqa: PLC0415 - as the tables do

        def once() -> _T:
            with self._lock:
                held = self._between(prefix, prefix[:-1] + bytes((prefix[-1] + 1,)))
                tables, pending = self._tables, self._state.pending > 0
            return read(Snapshot(prefix, held, tables, pending=pending))

        return self._steady(once)

    def _between(self, start: bytes, end: bytes) -> dict[bytes, bytes | None]:
        self._expand(start, end)
        return {key: self._held[key] for key in self._order.first(start, end, len(self._held))}

    def _expand(self, start: bytes, end: bytes) -> None:
        """See that what segments have of a range is held one by one."""
        for loaded in self._segments:
            prefix = loaded.segment.prefix
            if not loaded.expanded and start < prefix[:-1] + bytes((prefix[-1] + 1,)) and end > prefix:
                for key, value in loaded.items():
                    if key not in self._held:  # else it was deleted since
                        self._set(key, value)
                loaded.expanded = True

    def _steady(self, read: Callable[[], _T]) -> _T:
        """What `read` returns, read again where another process has folded and the table's old files are gone."""
        self._check()
        for attempt in range(_TRIES + 1):
            # Whom the folds of other threads overtook makes them wait, or it might never come to an end.
            with self._lock if attempt > 1 else nullcontext():
                before = self._base
                try:
                    with translated(self._objects.place):
                        return read()
                except _Moved:
                    continue
                except (StorageError, CorruptStore):
                    self.catch_up()
                    if attempt == _TRIES or self._base == before:
                        raise
        raise Unavailable("the store was folded again and again while it was read; try again")

    # -------------------------------------------------------------------------------------- writing

    def put(self, items: Iterable[tuple[bytes, bytes]]) -> int:
        """Put items unless their keys are there; they are logged with the next change, or when they are many."""
        self._check()
        with self._lock:
            fresh = {key: value for key, value in items if self._held.get(key) is None}
            old = [
                key for key in fresh if key not in self._held and not attempt_time(key) > self._state.newest
            ]
            if old and self._state.tables:
                for key in self._steady(lambda: self._tables.get_many(old)):
                    del fresh[key]
            for key, value in fresh.items():
                self._waiting[key] = value
                self._waiting_bytes += len(key) + len(value)
                self._set(key, value)
            if self._waiting_bytes > _WAITING:
                self._log([])
            return len(fresh)

    def delete(self, keys: Sequence[bytes]) -> None:
        """Delete items."""
        self._check()
        with self._lock:
            for key in keys:
                self._logged(key)
            self._log(list(keys))

    def _log(self, deletes: list[bytes]) -> None:
        while not self._append([], deletes):
            self.catch_up()
        self._fold_if_due()

    def swap(self, key: bytes, old: bytes | None, new: bytes, segments: Sequence[Loaded] = ()) -> bool:
        """Put a value if the present one is `old`, with all that waits, and with segments; whether it was put."""
        self._check()
        with self._lock:
            while True:
                self.catch_up()
                if self.get(key) != old or any(loaded.began <= self._void for loaded in segments):
                    return False
                if self._append([(key, new)], [], segments):
                    break
            self._fold_if_due()
            return True

    # ------------------------------------------------------------------------------------- segments

    def is_void(self, token: bytes) -> bool:
        """Whether segments of an attempt may be removed before it is done."""
        return int.from_bytes(token[:7], "big") <= self._void

    def save_segment(
        self, number: int, prefix: bytes, values: tuple[str, int] | None, kind: str, table: pa.Table
    ) -> Loaded:
        """Write versions of rows to an object, the `number`-th of its attempt, to be named by `swap`."""
        from perdure_lancedb._segments import save  # noqa: PLC0415

        self._check()
        if self._read_only:
            raise PermissionDenied("the store is open read-only; open it with mode='rw' to write")
        return save(self._objects, number, prefix, values, kind, table)

    def drop_segments(self, segments: Iterable[Loaded]) -> None:
        """Remove segments that no entry will name."""
        with suppress(PerdureError):  # the next compaction does it too
            self._objects.remove([loaded.segment.name for loaded in segments])

    def written(self, prefix: bytes, row_keys: pa.Array) -> pa.Array:
        """Of which rows under a prefix there are versions, of any branch, committed or not."""
        from perdure_lancedb._snapshot import written  # noqa: PLC0415

        def read() -> pa.Array:
            with self._lock:
                end = prefix[:-1] + bytes((prefix[-1] + 1,))
                held = {key[:-SLOT] for key in self._order.first(prefix, end, len(self._held))}
                segments = [loaded for loaded in self._segments if not loaded.expanded]
                tables, pending = self._tables, self._state.pending > 0
            segments = [loaded for loaded in segments if loaded.segment.prefix == prefix]
            return written(prefix, row_keys, held, segments, tables, pending=pending)

        return self._steady(read)

    # -------------------------------------------------------------------------------------- folding

    def _fold_if_due(self) -> None:
        """Fold where much has come; the change that made it so is done, and fails of nothing here."""
        items = len(self._held) - len(self._waiting)
        share = max(items / self._fold_items, self._bytes / _HELD)
        if share < 1 or items < self._rest:
            return
        try:
            mine = self._objects.create(_numbered(_FOLD, self._base + 1), os.urandom(16))
            if mine or share > 2:  # whoever else began it may have died
                self.fold()
                return
        except PerdureError:
            self._rest = items + self._fold_items

    def fold(self) -> None:
        """Write what the log holds to the table, and let the log go.

        Raises:
            StorageError: The medium failed; nothing is lost.
            Busy: Other processes did the same at the same time, again and again.
        """
        self._check()
        with self._lock:
            for _ in range(_TRIES):
                self.catch_up()
                if self._folded():
                    return
        raise Busy("other processes fold the log at the same time; try again")

    def _folded(self) -> bool:
        from perdure_lancedb._folding import fold  # noqa: PLC0415
        from perdure_lancedb._steps import Interfered  # noqa: PLC0415

        held = {key: value for key, value in self._held.items() if key not in self._waiting}
        cells = {key: value for key, value in held.items() if is_cell(key) and value is not None}
        items = {key: value for key, value in held.items() if not is_cell(key)}
        puts = sorted((key, value) for key, value in items.items() if value is not None)
        newest = self._state.newest
        deletes = [key for key, value in items.items() if value is None or attempt_time(key) <= newest]
        tables, pending = self._state.tables, self._state.pending
        once = {key for loaded in self._segments if loaded.expanded for key in loaded.written()}
        puts = [item for item in puts if item[0] not in once]
        if items or self._segments:
            judge = Judge(cast(Storage, self))  # it only reads, by `get` and `range`
            try:
                with translated(self._objects.place):
                    tables, pending = fold(self._objects, self._state, puts, deletes, judge, self._segments)
            except Interfered:
                return False
            except (StorageError, CorruptStore):
                if self._is_last():
                    raise
                return False  # files that it read went with the base before the newest
        newest = max(
            [newest, *(attempt_time(key) for key, _ in puts), *(loaded.began for loaded in self._segments)]
        )
        return self._publish(State(newest, cells, tables, pending, self._void))

    def shrink(self) -> None:
        """Leave nothing of what was deleted in any file.

        Raises:
            StorageError, Busy: As `fold` says.
        """
        from perdure_lancedb._folding import shrink  # noqa: PLC0415
        from perdure_lancedb._steps import Interfered  # noqa: PLC0415

        self._check()
        with self._lock:
            for _ in range(_TRIES):
                self._void_segments()
                self.fold()
                state = self._state
                files = {name: self._objects.files(name) for name in self._objects.tables()}
                try:
                    with translated(self._objects.place):
                        tables = {
                            name: shrink(self._objects, name, stored) for name, stored in state.tables.items()
                        }
                    if self._publish(State(state.newest, state.cells, tables, state.pending, self._void)):
                        # What is newer than the base may be of a fold under way; what is older counts no more.
                        self._sweep(tables)
                        self._scrap(files)
                        return
                except Interfered:
                    continue
                except (StorageError, CorruptStore):
                    if self._is_last():
                        raise
        raise Busy("other processes fold the log at the same time; try again")

    def _void_segments(self) -> None:
        """Remove segments that no entry names: nobody will make a commit of them from now on."""
        while True:
            self.catch_up()
            named = {loaded.segment.name for loaded in self._segments}
            idle = [f"{_SEGMENTS}/{name}" for name in self._objects.names(_SEGMENTS)]
            idle = [name for name in idle if name not in named]
            if not idle or self._append([], [], void=max(map(began, idle))):
                self._objects.remove(idle)
                return

    def _scrap(self, files: Mapping[str, list[str]]) -> None:
        """Remove those of the files that no table needs."""
        from perdure_lancedb._steps import unused  # noqa: PLC0415

        for name, some in files.items():
            stored = self._state.tables.get(name)
            with translated(self._objects.place):
                gone = some if stored is None else unused(self._objects.table(name), stored.version, some)
                self._objects.remove(gone)

    def _publish(self, state: State) -> bool:
        """Make a state the next base; False where another process made one first."""
        before, segments = self._state.tables, [loaded.segment.name for loaded in self._segments]
        for name, stored in state.tables.items():
            if name not in before or before[name].version != stored.version:
                self._objects.settle(name)
        number = self._base + 1
        name = f"{_numbered(_STATE, number)}-{os.urandom(8).hex()}"
        self._objects.create(name, pack(state))
        base = Base(FORMAT, number, self._tail, name, bytes(self._marks))
        if not self._objects.create(_numbered(_BASE, number), pack(base)):
            self._objects.remove([name])
            return False
        self._begin(number, self._tail, state)
        with suppress(PerdureError):  # it is done; what is left goes with the next one
            self._sweep(before)
            self._objects.remove(segments)
        return True

    def _sweep(self, before: Mapping[str, Stored]) -> None:
        """Remove what the base made superfluous: entries, other states, and versions of tables but those of two bases."""
        from perdure_lancedb._steps import forget  # noqa: PLC0415

        last = _numbered(_LOG, self._tail)
        gone = [f"{_LOG}/{name}" for name in self._objects.names(_LOG) if f"{_LOG}/{name}" <= last]
        this = _numbered(_STATE, self._base)
        gone += [f"{_STATE}/{name}" for name in self._objects.names(_STATE) if f"{_STATE}/{name}" < this]
        this = _numbered(_FOLD, self._base)
        gone += [f"{_FOLD}/{name}" for name in self._objects.names(_FOLD) if f"{_FOLD}/{name}" <= this]
        self._objects.remove(gone)
        for name, stored in self._state.tables.items():
            kept = {stored.version, before[name].version if name in before else stored.version}
            with translated(self._objects.place):
                forget(self._objects.table(name), kept)

    def close(self) -> None:
        """Release the place where the objects lie."""
        self._objects.close()


class _Moved(Exception):
    """The base changed between two looks."""
