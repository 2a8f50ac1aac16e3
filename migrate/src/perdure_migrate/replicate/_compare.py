"""Reading two histories side by side: every row of every commit, every payload piece, every read counter."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from perdure import (
    Branch,
    Change,
    ChangeBatch,
    Chunk,
    Commit,
    Context,
    CorruptStore,
    Counter,
    HistoryEvent,
    Key,
    Point,
)
from perdure.kit import row_hash

from perdure_migrate.replicate._ends import Source

__all__ = ["Comparison", "compare", "first", "is_readable"]

#: So many findings are told one by one.
_TOLD = 100

#: So many payload pieces, counters or rows are asked for at a time.
_PAGE = 64


@dataclass
class Comparison:
    """What a comparison found.

    Attributes:
        commits: Commits that are on both sides, and equal in every field.
        rows: Row versions that are on both sides, with equal hashes.
        pieces: Payload pieces that the target has whole.
        mismatches: What is not equal, up to a hundred.
        mismatched: How many there are.
        missing: Row versions that the source has and the target lacks.
        lacking: The rows that those are of.
        gone: The rows of which the target has versions that were purged in the source.
        older: Row versions that compaction dropped on one of the two sides.
        behind: Read counters of the source that are ahead of those of the target.
    """

    commits: int = 0
    rows: int = 0
    pieces: int = 0
    mismatches: list[str] = field(default_factory=list)
    mismatched: int = 0
    missing: int = 0
    lacking: set[tuple[str, Key]] = field(default_factory=set)
    gone: set[tuple[str, Key]] = field(default_factory=set)
    older: int = 0
    behind: list[Counter] = field(default_factory=list)

    def differs(self, what: str) -> None:
        """Note something that is not equal."""
        self.mismatched += 1
        if len(self.mismatches) < _TOLD:
            self.mismatches.append(what)


def compare(
    source: Source,
    hook: Any,
    ctx: Context,
    *,
    done: Callable[[int], None] = lambda commits: None,
) -> Comparison:
    """Compare what a target holds with the same stretch of the source's history; neither is changed.

    Rows that only one side has are told apart: purged, or dropped by compaction, which may drop only what no
    readable point needs.
    """
    return _Compare(source, hook, ctx, done).run()


class _Side:
    """The own commits of one branch of the target, one commit at a time."""

    def __init__(self, hook: Any, ctx: Context, branch: Branch) -> None:
        self.branch = branch
        self._batches: Iterator[ChangeBatch] = hook.changes(
            ctx=ctx, branch=branch.id, after=branch.fork_seq, upto=branch.head.seq, compacted=True
        )
        self._batch = next(self._batches, None)

    @property
    def commit(self) -> Commit | None:
        return None if self._batch is None else self._batch.commit

    def changes(self) -> Iterator[Change]:
        """The changes of this commit; then the next commit is there."""
        while (batch := self._batch) is not None:
            yield from batch.changes
            self._batch = next(self._batches, None)
            if batch.final:
                return


class _Compare:
    def __init__(self, source: Source, hook: Any, ctx: Context, done: Callable[[int], None]) -> None:
        self._source, self._hook, self._ctx, self._done = source, hook, ctx, done
        self._found = Comparison()
        self._branches: dict[str, Branch] = {b.id: b for b in hook.list_branches(ctx=ctx)}
        self._theirs: dict[str, Branch] = {}
        self._sides: dict[str, _Side] = {}
        self._open: Iterator[Change] | None = None
        self._mine: Change | None = None
        self._pieces: list[str] = []
        self._counters: list[Counter] = []
        self._unsure: list[tuple[Branch, str, Key]] = []

    def run(self) -> Comparison:
        for event in self._source.events({}):
            self._event(event)
        for side in self._sides.values():
            self._skip(side, None)
        self._check_pieces()
        self._check_counters()
        self._judge()
        return self._found

    def _event(self, event: HistoryEvent) -> None:
        if isinstance(event, ChangeBatch):
            self._batch(event)
        elif isinstance(event, Branch):
            self._theirs[event.id] = event
            if event.id in self._branches:
                self._sides[event.id] = _Side(self._hook, self._ctx, self._branches[event.id])
        elif isinstance(event, Chunk):
            self._pieces.append(event.digest)
            if len(self._pieces) >= _PAGE:
                self._check_pieces()
        elif isinstance(event, Counter):
            self._counters.append(event)
            if len(self._counters) >= _PAGE:
                self._check_counters()

    # ------------------------------------------------------------------------------------- commits

    def _batch(self, batch: ChangeBatch) -> None:
        commit = batch.commit
        side = self._sides.get(commit.branch)
        if side is None or commit.seq > side.branch.head.seq:
            return  # newer than the copy
        if self._open is None:
            self._skip(side, commit.seq)
            here = side.commit
            if here is None or here.seq != commit.seq:
                self._absent(side.branch, batch)
                return
            if not _same(commit, here):
                self._found.differs(f"commit {commit.id} of branch {side.branch.name!r} is another here")
            self._open = side.changes()
            self._mine = next(self._open, None)
        for change in batch.changes:
            self._change(side.branch, commit, change)
        if batch.final:
            while self._mine is not None:
                self._only_here(side.branch, commit.seq, self._mine)
                self._mine = next(self._open, None)
            self._open = None
            self._found.commits += 1
            self._done(self._found.commits)

    def _change(self, branch: Branch, commit: Commit, change: Change) -> None:
        assert self._open is not None
        place = (change.table, change.key)
        while self._mine is not None and (self._mine.table, self._mine.key) < place:
            self._only_here(branch, commit.seq, self._mine)
            self._mine = next(self._open, None)
        if self._mine is None or (self._mine.table, self._mine.key) != place:
            self._only_there(branch, commit.seq, change)
            return
        if row_hash(self._mine.row) == row_hash(change.row):
            self._found.rows += 1
        else:
            where = f"commit {commit.id} of branch {branch.name!r}"
            self._found.differs(f"{change.table} {change.key!r} in {where} is another row here")
        self._mine = next(self._open, None)

    def _absent(self, branch: Branch, batch: ChangeBatch) -> None:
        """A commit that the target lacks."""
        commit = batch.commit
        if commit.seq > branch.floor:
            if batch.final:
                self._found.differs(f"commit {commit.id} of branch {branch.name!r} is missing")
        else:
            for change in batch.changes:
                self._only_there(branch, commit.seq, change)

    def _skip(self, side: _Side, seq: int | None) -> None:
        """Go over commits that the source lacks, up to one of its own."""
        while (commit := side.commit) is not None and (seq is None or commit.seq < seq):
            known = commit.seq <= self._theirs[side.branch.id].floor
            if not known:
                self._found.differs(f"commit {commit.id} of branch {side.branch.name!r} is not in the source")
            for change in side.changes():
                if known:
                    self._only_here(side.branch, commit.seq, change)

    # ------------------------------------------------------------------------ rows of one side only

    def _only_here(self, branch: Branch, seq: int, change: Change) -> None:
        if seq > self._theirs[branch.id].floor:
            self._found.gone.add((change.table, change.key))
        else:
            self._doubt(branch, change)

    def _only_there(self, branch: Branch, seq: int, change: Change) -> None:
        if seq > branch.floor:
            self._found.missing += 1
            self._found.lacking.add((change.table, change.key))
        else:
            self._doubt(branch, change)

    def _doubt(self, branch: Branch, change: Change) -> None:
        """Compaction may have dropped it: then no point that is readable on both sides shows a difference."""
        self._found.older += 1
        self._unsure.append((branch, change.table, change.key))
        if len(self._unsure) >= 1_000:
            self._judge()

    def _judge(self) -> None:
        unsure, self._unsure = self._unsure, []
        theirs = self._source.hook
        if theirs is None:
            return
        rows: dict[tuple[str, str], dict[Key, None]] = {}
        for branch, table, key in unsure:
            rows.setdefault((branch.id, table), {})[key] = None
        for (branch_id, table), keys in rows.items():
            for seq in _shared_points(self._branches[branch_id], self._theirs[branch_id]):
                asked = {"ctx": self._ctx, "table": table, "keys": list(keys), "at": Point(branch_id, seq)}
                pairs = zip(keys, theirs.fetch(**asked), self._hook.fetch(**asked), strict=True)
                for key, there, here in pairs:
                    if there is None and here is not None:
                        self._found.gone.add((table, key))
                    elif there is not None and here is None:
                        self._found.missing += 1
                        self._found.lacking.add((table, key))

    # ------------------------------------------------------------------------- pieces and counters

    def _check_pieces(self) -> None:
        digests, self._pieces = self._pieces, []
        for digest in digests:
            try:
                for _ in self._hook.read_chunks(ctx=self._ctx, digests=[digest]):
                    self._found.pieces += 1
            except CorruptStore:
                if not any(table == "states" for table, _ in self._found.lacking):
                    self._found.differs(f"payload piece {digest} is missing, or is another here")

    def _check_counters(self) -> None:
        counters, self._counters = self._counters, []
        by_table: dict[str, list[Counter]] = {}
        for counter in counters:
            by_table.setdefault(counter.table, []).append(counter)
        for table, theirs in by_table.items():
            keys = [counter.key for counter in theirs]
            mine = self._hook.counters(ctx=self._ctx, table=table, keys=keys)
            for there, here in zip(theirs, mine, strict=True):
                if _ahead(there, here):
                    self._found.behind.append(there)


def _shared_points(here: Branch, there: Branch) -> list[int]:
    """The points at which compaction of either side began to drop, as far as both can be read there."""
    found = {here.floor, *here.pins, there.floor, *there.pins}
    return sorted(seq for seq in found if all(is_readable(branch, seq) for branch in (here, there)))


def is_readable(branch: Branch, seq: int) -> bool:
    """Whether compaction left an own point of a branch readable."""
    return seq <= branch.head.seq and (seq >= branch.floor or seq in branch.pins)


def _ahead(there: Counter, here: Counter) -> bool:
    late = there.accessed_at is not None and (
        here.accessed_at is None or there.accessed_at > here.accessed_at
    )
    return late or there.access_count > here.access_count


def _same(there: Commit, here: Commit) -> bool:
    """Whether two commits are equal, but for rows in their record of a selective merge that one side purged."""
    return there == here or (
        _but_picks(there) == _but_picks(here)
        and [(p.source, p.table) for p in there.picks] == [(p.source, p.table) for p in here.picks]
        and all(
            (a.keys is None) == (b.keys is None)
            and (set(a.keys or ()) <= set(b.keys or ()) or set(b.keys or ()) <= set(a.keys or ()))
            for a, b in zip(there.picks, here.picks, strict=True)
        )
    )


def _but_picks(commit: Commit) -> tuple[Any, ...]:
    return tuple(getattr(commit, name) for name in commit.__struct_fields__ if name != "picks")


def first(rows: set[tuple[str, Key]], count: int = 20) -> list[tuple[str, Key]]:
    """Some rows, in order, to name in a message."""
    return list(islice(sorted(rows), count))
