"""`export`: a namespace as the events that `ingest` reads, in its order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from perdure._errors import CorruptStore, HistoryExpired
from perdure._hooks import HistoryEvent
from perdure._schema import TABLES
from perdure._types import Branch, ChangeBatch, Chunk, Commit, Context, Counter, Key
from perdure.history._dag import Hooks
from perdure.history._feed import Cursor, check_cursor, check_not_ahead, parents_first

__all__ = ["export", "manifest_digests"]

#: Payload pieces read at a time: at most 4 MiB.
_PIECES = 64

#: Rows whose read counters are asked for at a time.
_ROWS = 1_000

_PAYLOAD = TABLES["states"].position["payload"]


def export(hook: Hooks, ctx: Context, since: Cursor | None = None) -> Iterator[HistoryEvent]:
    """All history up to now, or what is newer than a cursor, as events that `ingest` takes as they come.

    Spaces come first; then branches, payload pieces and commits, each after what it refers to (a branch after
    the commits it was forked from, a commit after its parents, a piece once, before the first row that has
    it); then checkpoints; then the read counters of the rows that occurred. Branches are pinned at their
    heads when the export begins, so that it is consistent while others write.

    Args:
        since: Where the receiver is: the `heads` of an earlier export.

    Raises:
        HistoryExpired: Compaction dropped some of the commits after `since`: export without it. Or it dropped
            some while they were sent, which is told at the end: export again.
        InvalidInput: The cursor is malformed, or of another store.
    """
    return _Export(hook, ctx, check_cursor(since)).events()


def manifest_digests(payload: str) -> list[str]:
    """The names of the pieces in a payload manifest ``size:digest,digest,…``."""
    return [digest for digest in payload.partition(":")[2].split(",") if digest]


class _Stream:
    """The own commits of one branch still to be sent, looked at one batch ahead."""

    def __init__(self, export: _Export, branch: Branch) -> None:
        after = export.since.get(branch.id)
        check_not_ahead(branch, after or 0)
        # A receiver that has some of a branch cannot tell which rows compaction dropped; one with none can.
        self._batches: Iterator[ChangeBatch] = iter(
            export.hook.changes(
                ctx=export.ctx,
                branch=branch.id,
                after=branch.fork_seq if after is None else after,
                upto=branch.head.seq,
                compacted=after is None,
            )
        )
        self.next: ChangeBatch | None = None
        self.advance()

    def advance(self) -> None:
        self.next = next(self._batches, None)


class _Export:
    def __init__(self, hook: Hooks, ctx: Context, since: dict[str, int]) -> None:
        self.hook, self.ctx, self.since = hook, ctx, since
        self._streams: dict[str, _Stream] = {}
        self._pieces: set[str] = set()
        self._rows: dict[tuple[str, Key], None] = {}
        self._counters: dict[tuple[str, Key], Counter] = {}

    def events(self) -> Iterator[HistoryEvent]:
        # What is read first may refer only to what is read later: spaces are last, as rows are in them.
        checkpoints = self.hook.list_checkpoints(ctx=self.ctx)
        branches = parents_first(self.hook.list_branches(ctx=self.ctx))
        yield from self.hook.list_spaces(ctx=self.ctx)
        try:
            yield from self._history(branches)
        except CorruptStore:
            self._check_floors(branches)  # else it is damaged indeed
            raise
        self._check_floors(branches)
        ids = {branch.id for branch in branches}
        yield from (checkpoint for checkpoint in checkpoints if checkpoint.point.branch in ids)
        self._ask_counters()
        yield from self._counters.values()

    def _check_floors(self, branches: Sequence[Branch]) -> None:
        """What compaction dropped in the meantime is missing from what was sent, which says that it is there."""
        floors = {branch.id: branch.floor for branch in self.hook.list_branches(ctx=self.ctx)}
        for branch in branches:
            if floors.get(branch.id, branch.floor) > branch.floor:
                raise HistoryExpired(
                    f"compaction dropped history of branch {branch.name!r} while it was exported; export again",
                    branch=branch.name,
                    floor=floors[branch.id],
                )

    def _history(self, branches: Sequence[Branch]) -> Iterator[HistoryEvent]:
        waiting = list(branches)
        heads = {branch.id: branch.head.seq for branch in branches}
        while waiting or self._streams:
            moved = False
            for branch in [b for b in waiting if self._sent(b.parent, b.fork_seq, heads)]:
                waiting.remove(branch)
                yield branch
                self._streams[branch.id] = _Stream(self, branch)
                moved = True
            for id_, stream in list(self._streams.items()):
                while stream.next is not None and self._ready(stream.next.commit, heads):
                    yield from self._commit(stream)
                    moved = True
                if stream.next is None:
                    del self._streams[id_]
                    heads[id_] = -1
                    moved = True
            if not moved:
                names = ", ".join(sorted(self._streams) or [b.id for b in waiting])
                raise CorruptStore(
                    f"the commits of branches {names} are their own ancestors; run store.verify()"
                )

    def _sent(self, branch: str | None, seq: int, heads: dict[str, int]) -> bool:
        """Whether all commits of a branch up to `seq` were sent, as far as they are to be."""
        if branch is None or heads.get(branch, -1) < 0:
            return True
        stream = self._streams.get(branch)
        if stream is None:
            return False
        return stream.next is None or stream.next.commit.seq > min(seq, heads[branch])

    def _ready(self, commit: Commit, heads: dict[str, int]) -> bool:
        needs = [*commit.vector.items(), *((p.source.branch, p.source.seq) for p in commit.picks)]
        return all(branch == commit.branch or self._sent(branch, seq, heads) for branch, seq in needs)

    def _commit(self, stream: _Stream) -> Iterator[HistoryEvent]:
        """All batches of the next commit, with the pieces they need."""
        while (batch := stream.next) is not None:
            yield from self._chunks(batch)
            yield batch
            self._rows.update(((change.table, change.key), None) for change in batch.changes)
            if len(self._rows) >= _ROWS:
                self._ask_counters()
            stream.advance()
            if batch.final:
                return

    def _chunks(self, batch: ChangeBatch) -> Iterator[Chunk]:
        wanted: dict[str, None] = {}
        for change in batch.changes:
            if change.table == "states" and change.row is not None and change.row[_PAYLOAD] is not None:
                digests = manifest_digests(change.row[_PAYLOAD])  # type: ignore[arg-type]
                wanted.update((digest, None) for digest in digests if digest not in self._pieces)
        self._pieces.update(wanted)
        digests_left = iter(wanted)
        while page := list(islice(digests_left, _PIECES)):
            for digest, data in zip(page, self.hook.read_chunks(ctx=self.ctx, digests=page), strict=True):
                yield Chunk(digest, data)

    def _ask_counters(self) -> None:
        """Keep the counters of the rows sent since the last time, if they were ever read."""
        by_table: dict[str, list[Key]] = {}
        for table, key in self._rows:
            by_table.setdefault(table, []).append(key)
        self._rows.clear()
        for table, keys in by_table.items():
            for counter in self.hook.counters(ctx=self.ctx, table=table, keys=keys):
                if counter.access_count or counter.accessed_at is not None:
                    self._counters[table, counter.key] = counter
