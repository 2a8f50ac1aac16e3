"""Cutting an export into slices, each of which a target takes atomically, so that a copy can be resumed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from perdure import Branch, ChangeBatch, Chunk, Counter, HistoryEvent, Key

from perdure_migrate.replicate._ends import Source, StoreSource

__all__ = ["Limits", "slices"]

#: Rows whose read counters are asked for at a time.
_ROWS = 1_000


@dataclass(frozen=True, slots=True)
class Limits:
    """When a slice ends: at the first whole commit with which it has so much.

    Attributes:
        commits: Commits.
        rows: Row versions.
        size: Bytes of payload.
    """

    commits: int = 1_000
    rows: int = 20_000
    size: int = 32 << 20


def slices(
    source: Source,
    since: Mapping[str, int],
    *,
    limits: Limits | None = None,
    done: Callable[[int], None] = lambda commits: None,
) -> Iterator[Iterator[HistoryEvent]]:
    """What is newer than `since`, in slices that are each to be taken whole before the next is asked for.

    A slice ends after a whole commit, and where no branch is cut below its floor: a target that has a part of
    what compaction left cannot tell which rows are missing, so it gets that part at once. The read counters
    of its rows are at its end.

    Args:
        done: Told the number of commits of each slice that was taken.
    """
    cutter = _Cutter(source, since, limits or Limits())
    while cutter.next is not None:
        yield cutter.slice()
        done(cutter.commits)


@dataclass
class _Cutter:
    source: Source
    since: Mapping[str, int]
    limits: Limits
    commits: int = 0
    _rows: dict[str, dict[Key, None]] = field(default_factory=dict)
    _counters: dict[tuple[str, Key], Counter] = field(default_factory=dict)
    _floors: dict[str, int] = field(default_factory=dict)
    _reached: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._events = self.source.events(self.since)
        self.next = next(self._events, None)

    def slice(self) -> Iterator[HistoryEvent]:
        self.commits = rows = size = 0
        at_rest = True
        while (event := self.next) is not None:
            if isinstance(event, ChangeBatch):
                rows += len(event.changes)
                self._note(event)
                self.commits += event.final
                at_rest = event.final
            elif isinstance(event, Chunk):
                size += len(event.data)
            elif isinstance(event, Branch):
                self._floors[event.id] = event.floor
                self._reached[event.id] = self.since.get(event.id, event.fork_seq)
            if not (isinstance(event, Counter) and isinstance(self.source, StoreSource)):
                yield event
            self.next = next(self._events, None)
            full = self.commits >= self.limits.commits or rows >= self.limits.rows or size >= self.limits.size
            if full and at_rest and self._is_whole():
                break
        yield from self._end()

    def _note(self, batch: ChangeBatch) -> None:
        self._reached[batch.commit.branch] = batch.commit.seq
        if isinstance(self.source, StoreSource):
            for change in batch.changes:
                self._rows.setdefault(change.table, {})[change.key] = None
            if sum(map(len, self._rows.values())) >= _ROWS:
                self._ask(self.source)

    def _is_whole(self) -> bool:
        """Whether no branch would be cut below its floor."""
        return all(self._reached[branch] >= floor for branch, floor in self._floors.items())

    def _ask(self, source: StoreSource) -> None:
        rows = {table: list(keys) for table, keys in self._rows.items()}
        self._rows.clear()
        self._counters.update({(c.table, c.key): c for c in source.counters(rows)})

    def _end(self) -> Iterator[HistoryEvent]:
        if isinstance(self.source, StoreSource):
            self._ask(self.source)
            yield from self._counters.values()
            self._counters.clear()
            # What compaction dropped while the slice was read is missing from it, so it must not be taken.
            self.source.check_floors(self._floors)
