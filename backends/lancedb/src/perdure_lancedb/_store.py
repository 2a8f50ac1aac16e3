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
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING, TypeVar

from perdure import CorruptStore, PerdureError, PermissionDenied, StorageError, Unavailable
from perdure.kit import SLOT, attempt_time, is_cell, life_of

from perdure_lancedb._entries import BASE, LOG, MARK, Base, Entry, Segment, State, numbered, pack, unpack
from perdure_lancedb._errors import translated
from perdure_lancedb._memtable import Memtable
from perdure_lancedb._objects import Objects
from perdure_lancedb._options import INDEXING, Indexing
from perdure_lancedb._sql import after, stretches
from perdure_lancedb._upkeep import Upkeep

if TYPE_CHECKING:
    import pyarrow as pa

    from perdure_lancedb._segments import Loaded
    from perdure_lancedb._snapshot import Snapshot

__all__ = ["Store"]

#: Bytes that wait to be logged with the next change of a head, before they are logged by themselves.
_WAITING = 4_000_000

#: How often a read begins anew because files of the tables went.
_TRIES = 5

#: Entries that are read at once.
_AHEAD = 32

_T = TypeVar("_T")


class Store:
    """What all backends of this process share that are open on one store. Safe from several threads."""

    def __init__(
        self, objects: Objects, fold: int, *, read_only: bool, indexing: Indexing = INDEXING
    ) -> None:
        self.objects = objects
        self.read_only = read_only
        self._pid = os.getpid()
        self.lock = threading.RLock()
        self.waiting: dict[bytes, bytes] = {}
        self._waiting_bytes = 0
        self._upkeep = Upkeep(self, fold, indexing)
        with self.lock:
            self._start()

    # -------------------------------------------------------------------------------------- the state

    def _start(self) -> None:
        """Begin with the newest base; what waits to be logged goes on waiting."""
        while True:
            bases = self.objects.names(BASE)
            if not bases:
                self.begin(0, 0, State())
                return
            name = f"{BASE}/{bases[-1]}"
            base = unpack(self._present(name), Base, name)
            data = self.objects.read(base.state)
            if data is not None:
                self.begin(base.number, base.upto, unpack(data, State, base.state))
                return
            if self.objects.names(BASE) == bases:  # else there is a newer one by now, and this one's went
                raise CorruptStore(f"{base.state} is missing; restore the store from a backup")

    def _present(self, name: str) -> bytes:
        data = self.objects.read(name)
        if data is None:
            raise CorruptStore(f"{name} is missing; restore the store from a backup")
        return data

    def begin(self, base: int, upto: int, state: State) -> None:
        """Go on from a base; what waits to be logged goes on waiting."""
        self.now = Memtable(self.objects, base, upto, state, getattr(self, "now", None))
        for key, value in self.waiting.items():
            self.now.set(key, value)

    def check(self) -> None:
        """Refuse to go on in a process that was forked."""
        if os.getpid() != self._pid:
            raise Unavailable(
                "this process was forked from one that has the store open, which LanceDB does not survive; "
                "start processes by spawn, and open the store there"
            )

    # ---------------------------------------------------------------------------------------- the log

    def catch_up(self) -> None:
        """Apply all that any process has logged."""
        self.check()
        with self.lock:
            ahead = 1  # where there is one entry, there are often many
            while self._steps(ahead):
                ahead = min(2 * ahead, _AHEAD)

    def _steps(self, ahead: int) -> bool:
        """Apply the next entries, or go to the next base; whether there may be more."""
        names = [numbered(LOG, self.now.tail + 1 + i) for i in range(ahead)]
        found = [self.objects.read(names[0])] if ahead == 1 else self.objects.read_many(names)
        if not self.is_last(self.now.base):  # then the entries, or that there are none, mean nothing
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

        return Loaded(self.objects, segment)

    def is_last(self, base: int) -> bool:
        """Whether no process has made another base since that one."""
        return self.objects.read(numbered(BASE, base + 1)) is None

    def _apply(self, entry: Entry, segments: Iterable[Loaded]) -> None:
        self.now.apply(entry, segments)
        for key, _ in entry.puts:
            self._logged(key)

    def _logged(self, key: bytes) -> None:
        """An item waits no longer. It may have been logged by an entry whose creation was told as failed."""
        value = self.waiting.pop(key, None)
        if value is not None:
            self._waiting_bytes -= len(key) + len(value)

    def append(
        self,
        puts: list[tuple[bytes, bytes]],
        deletes: list[bytes],
        segments: Sequence[Loaded] = (),
        void: int = 0,
    ) -> bool:
        """Log a change on top of all that is known; False where another writer was first."""
        if self.read_only:
            raise PermissionDenied("the store is open read-only; open it with mode='rw' to write")
        named = [loaded.segment for loaded in segments]
        entry = Entry(os.urandom(16), [*self.waiting.items(), *puts], deletes, named, void)
        name = numbered(LOG, self.now.tail + 1)
        if not self.objects.create(name, pack(entry)):
            return False
        if not self._stands(entry.token):
            self.objects.remove([name])  # the number was free again: nobody takes it for an entry
            return False
        self._apply(entry, segments)
        return True

    def _stands(self, token: bytes) -> bool:
        """Whether what was just created after the last entry is the next one, even if it was folded since."""
        number, following = self.now.tail + 1, self.now.base + 1
        while (data := self.objects.read(numbered(BASE, following))) is not None:
            base = unpack(data, Base, numbered(BASE, following))
            if base.upto >= number:
                at = len(base.marks) - MARK * (base.upto - number + 1)
                return base.marks[at : at + MARK] == token[:MARK]
            following += 1
        return True

    # -------------------------------------------------------------------------------------- reading

    def get(self, key: bytes) -> bytes | None:
        """The value under a key."""
        return self.get_many([key])[0]

    def namespaces(self) -> list[str]:
        """The names of all that have a head: heads are cells, and so never in a table."""
        self.check()
        with self.lock:
            heads = (
                key for key, value in self.now.items.items() if value is not None and key.endswith(b"\0h")
            )
            return sorted(key[:-2].decode() for key in heads if is_cell(key))

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The values under several keys."""

        def read() -> list[bytes | None]:
            with self.lock:
                known = self.now.known(keys)
                tables = self.now.tables if len(known) < len(keys) and self.now.state.tables else None
            found = {} if tables is None else tables.get_many([key for key in keys if key not in known])
            return [known[key] if key in known else found.get(key) for key in keys]

        return self._steady(read)

    def page(self, start: bytes, end: bytes, reverse: bool) -> tuple[list[tuple[bytes, bytes]], bytes]:
        """The beginning of a range (in reverse: its end), in the order asked, and where the rest begins or ends."""

        def read() -> tuple[list[tuple[bytes, bytes]], bytes]:
            with self.lock:
                now, tables = self.now, self.now.tables if self.now.state.tables else None
            found, rest = (
                ([], start if reverse else end) if tables is None else tables.page(start, end, reverse)
            )
            low, high = (rest, end) if reverse else (start, rest)
            with self.lock:
                merged = {**dict(found), **now.between(low, high)}
            page = [
                (key, value) for key in sorted(merged, reverse=reverse) if (value := merged[key]) is not None
            ]
            return page, rest

        return self._steady(read)

    def range(self, start: bytes, end: bytes, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        """Items in key order, or in reverse, read stretch by stretch."""
        return stretches(self.page, start, end, reverse)

    def groups(self, prefixes: Sequence[bytes]) -> list[list[tuple[bytes, bytes]]]:
        """The items of each of several rows, in order."""

        def read() -> list[list[tuple[bytes, bytes]]]:
            with self.lock:
                now, tables = self.now, self.now.tables if self.now.state.tables else None
            found: dict[bytes, dict[bytes, bytes | None]] = {prefix: {} for prefix in prefixes}
            for key, value in () if tables is None else tables.groups(found):
                found[key[:-SLOT]][key] = value
            with self.lock:
                for prefix, versions in found.items():
                    versions.update(now.between(prefix, prefix + b"\xff" * (SLOT + 1)))
            return [
                [(key, value) for key, value in sorted(found[prefix].items()) if value is not None]
                for prefix in prefixes
            ]

        return self._steady(read)

    def is_indexed(self, prefix: bytes) -> bool:
        """Whether the vectors under a prefix have an index."""
        stored = self.now.state.tables.values()
        return any(table.index is not None and table.prefix == prefix for table in stored)

    def look(self, prefix: bytes, read: Callable[[Snapshot], _T]) -> _T:
        """What `read` makes of the rows under a prefix, at one moment; called again where files went meanwhile.

        Args:
            prefix: Of all rows of a kind, or of those of one space, in one namespace.
            read: It must have read all that it needs when it returns.
        """
        from perdure_lancedb._snapshot import Snapshot  # noqa: PLC0415 - as the tables do

        def once() -> _T:
            with self.lock:
                held, now = self.now.between(prefix, after(prefix)), self.now
                head = prefix[: prefix.index(b"\0")] + b"\0h"
                # Tables may have rows of a namespace of that name that was dropped.
                folded = life_of(now.state.cells.get(head)) == life_of(now.items.get(head))
            return read(Snapshot(prefix, held, now.tables, pending=now.state.pending > 0, folded=folded))

        return self._steady(once)

    def _steady(self, read: Callable[[], _T]) -> _T:
        """What `read` returns, read again where another process has folded and the table's old files are gone."""
        self.check()
        for attempt in range(_TRIES + 1):
            # Whom the folds of other threads overtook makes them wait, or it might never come to an end.
            with self.lock if attempt > 1 else nullcontext():
                before = self.now.base
                try:
                    with translated(self.objects.place):
                        return read()
                except (StorageError, CorruptStore):
                    self.catch_up()
                    if attempt == _TRIES or self.now.base == before:
                        raise
        raise Unavailable("the store was folded again and again while it was read; try again")

    # -------------------------------------------------------------------------------------- writing

    def put(self, items: Iterable[tuple[bytes, bytes]]) -> int:
        """Put items unless their keys are there; they are logged with the next change, or when they are many."""
        self.check()
        with self.lock:
            now = self.now
            fresh = {key: value for key, value in items if now.items.get(key) is None}
            old = [key for key in fresh if key not in now.items and not attempt_time(key) > now.state.newest]
            if old and now.state.tables:
                for key in self._steady(lambda: self.now.tables.get_many(old)):
                    del fresh[key]
            for key, value in fresh.items():
                self.waiting[key] = value
                self._waiting_bytes += len(key) + len(value)
                self.now.set(key, value)
            if self._waiting_bytes <= _WAITING:
                return len(fresh)
            self._log([])
        self._upkeep.fold_if_due()
        return len(fresh)

    def delete(self, keys: Sequence[bytes]) -> None:
        """Delete items."""
        self.check()
        with self.lock:
            for key in keys:
                self._logged(key)
            self._log(list(keys))
        self._upkeep.fold_if_due()

    def _log(self, deletes: list[bytes]) -> None:
        while not self.append([], deletes):
            self.catch_up()

    def swap(self, key: bytes, old: bytes | None, new: bytes, segments: Sequence[Loaded] = ()) -> bool:
        """Put a value if the present one is `old`, with all that waits, and with segments; whether it was put."""
        self.check()
        with self.lock:
            # Who asks has looked a moment ago: what was seen then is tried first, unless segments stand on a base.
            ready = not segments and self.get(key) == old
            while not (ready and self.append([(key, new)], [], segments)):
                self.catch_up()
                if self.get(key) != old or any(loaded.began <= self.now.void for loaded in segments):
                    return False
                ready = True
        self._upkeep.fold_if_due(settle=True)
        return True

    # ------------------------------------------------------------------------------------- segments

    def is_void(self, token: bytes) -> bool:
        """Whether segments of an attempt may be removed before it is done."""
        return int.from_bytes(token[:7], "big") <= self.now.void

    def save_segment(
        self, number: int, prefix: bytes, values: tuple[str, int] | None, kind: str, table: pa.Table
    ) -> Loaded:
        """Write versions of rows to an object, the `number`-th of its attempt, to be named by `swap`."""
        from perdure_lancedb._segments import save  # noqa: PLC0415

        self.check()
        if self.read_only:
            raise PermissionDenied("the store is open read-only; open it with mode='rw' to write")
        return save(self.objects, number, prefix, values, kind, table)

    def drop_segments(self, segments: Iterable[Loaded]) -> None:
        """Remove segments that no entry will name."""
        with suppress(PerdureError):  # the next compaction does it too
            self.objects.remove([loaded.segment.name for loaded in segments])

    def written(self, prefix: bytes, row_keys: pa.Array) -> pa.Array:
        """Of which rows under a prefix there are versions, of any branch, committed or not."""
        from perdure_lancedb._snapshot import written  # noqa: PLC0415

        def read() -> pa.Array:
            with self.lock:
                now = self.now
                held = {key[:-SLOT] for key in now.between(prefix, after(prefix), expand=False)}
                segments = [loaded for loaded in now.segments if not loaded.expanded]
            segments = [loaded for loaded in segments if loaded.segment.prefix == prefix]
            return written(prefix, row_keys, held, segments, now.tables, pending=now.state.pending > 0)

        return self._steady(read)

    # --------------------------------------------------------------------------------------- upkeep

    def fold(self) -> None:
        """Write what the log holds to the tables, and let the log go.

        Raises:
            StorageError: The medium failed; nothing is lost.
            Busy: Other processes did the same at the same time, again and again.
        """
        self._upkeep.fold()

    def shrink(self) -> None:
        """Leave nothing of what was deleted in any file.

        Raises:
            StorageError, Busy: As `fold` says.
        """
        self._upkeep.shrink()

    def close(self) -> None:
        """Release the place where the objects lie."""
        self.objects.close()
