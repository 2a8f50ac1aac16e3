"""Mutants that look after a store wrongly: compaction, purge, ingest, verification, namespaces."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from perdure import (
    At,
    Branch,
    ChangeBatch,
    Checkpoint,
    CommitRequest,
    CompactReport,
    CompactRequest,
    Context,
    Counter,
    Delete,
    HistoryEvent,
    IngestReport,
    Key,
    PurgeReport,
    Ref,
    Row,
    VerifyReport,
    hookimpl,
    uuid7,
)
from perdure.kit import owner_id
from perdure.wrappers import Forward

from perdure_conformance.mutants._base import Mutant, changed

__all__ = ["MUTANTS"]


class WindowIgnored(Forward):
    """Compacts to the heads, whatever window should stay readable."""

    @hookimpl
    def compact(self, ctx: Context, request: CompactRequest) -> CompactReport:
        return super().compact(ctx=ctx, request=changed(request, keep_commits=None, keep_since=None))


class LeaseIgnored(Forward):
    """Compacts what an open snapshot may still read."""

    @hookimpl
    def compact(self, ctx: Context, request: CompactRequest) -> CompactReport:
        return super().compact(ctx=ctx, request=changed(request, lease=0))


class PinnedVersionEaten(Forward):
    """Compacts away what a checkpoint pins; the checkpoint then names the head."""

    @hookimpl
    def compact(self, ctx: Context, request: CompactRequest) -> CompactReport:
        checkpoints: list[Checkpoint] = self.inner.list_checkpoints(ctx=ctx)
        for checkpoint in checkpoints:
            self.inner.delete_checkpoint(ctx=ctx, name=checkpoint.name)
        report: CompactReport = self.inner.compact(ctx=ctx, request=request)
        heads = {branch.id: branch.head for branch in self.inner.list_branches(ctx=ctx)}
        for checkpoint in checkpoints:
            self.inner.create_checkpoint(
                ctx=ctx, checkpoint=changed(checkpoint, point=heads[checkpoint.point.branch])
            )
        return report


class CompactDoesNothing(Forward):
    """Says that it compacted, and keeps everything."""

    @hookimpl
    def compact(self, ctx: Context, request: CompactRequest) -> CompactReport:
        return CompactReport()


class PurgeOnlyDeletes(Forward):
    """Deletes on every branch what should be purged; the past keeps it."""

    @hookimpl
    def purge(self, ctx: Context, table: str, keys: Sequence[Key]) -> PurgeReport:
        found = 0
        branches: list[Branch] = self.inner.list_branches(ctx=ctx)
        for branch in branches:
            request = CommitRequest(branch.name, uuid7(), [Delete(table, list(keys))])
            found += self.inner.commit(ctx=ctx, request=request).deleted
        return PurgeReport(keys=found)


class PurgeLeavesVectors(Forward):
    """Purges a row, and goes on showing the vectors that belong to it."""

    def __init__(self, inner: Any) -> None:
        super().__init__(inner)
        self._left: dict[Key, Row] = {}

    @hookimpl
    def purge(self, ctx: Context, table: str, keys: Sequence[Key]) -> PurgeReport:
        spaces = [space.name for space in self.inner.list_spaces(ctx=ctx) if space.table == table]
        vectors = [(space, owner_id(key)) for space in spaces for key in keys]
        for branch in self.inner.list_branches(ctx=ctx):
            rows = self.inner.fetch(ctx=ctx, table="vectors", keys=vectors, at=Ref(branch.name))
            self._left.update((key, row) for key, row in zip(vectors, rows, strict=True) if row is not None)
        return super().purge(ctx=ctx, table=table, keys=keys)

    @hookimpl
    def fetch(self, ctx: Context, table: str, keys: Sequence[Key], at: At) -> list[Row | None]:
        rows = super().fetch(ctx=ctx, table=table, keys=keys, at=at)
        if table != "vectors":
            return rows
        return [self._left.get(key) if row is None else row for key, row in zip(keys, rows, strict=True)]


class CountersOutlivePurge(Forward):
    """Keeps the read counters of purged rows."""

    def __init__(self, inner: Any) -> None:
        super().__init__(inner)
        self._kept: dict[tuple[str, Key], Counter] = {}

    @hookimpl
    def touch(self, ctx: Context, table: str, keys: Sequence[Key], time: int) -> int:
        touched = super().touch(ctx=ctx, table=table, keys=keys, time=time)
        for counter in super().counters(ctx=ctx, table=table, keys=keys):
            self._kept[table, counter.key] = counter
        return touched

    @hookimpl
    def counters(self, ctx: Context, table: str, keys: Sequence[Key]) -> list[Counter]:
        found = super().counters(ctx=ctx, table=table, keys=keys)
        return [self._kept.get((table, counter.key), counter) for counter in found]


class IngestRenames(Forward):
    """Takes in history without its authors."""

    @hookimpl
    def ingest(self, ctx: Context, events: Iterable[HistoryEvent]) -> IngestReport:
        return super().ingest(ctx=ctx, events=map(_anonymous, events))


def _anonymous(event: HistoryEvent) -> HistoryEvent:
    return (
        changed(event, commit=changed(event.commit, author="")) if isinstance(event, ChangeBatch) else event
    )


class IngestWithoutCheckpoints(Forward):
    """Takes in history without its checkpoints."""

    @hookimpl
    def ingest(self, ctx: Context, events: Iterable[HistoryEvent]) -> IngestReport:
        return super().ingest(ctx=ctx, events=(e for e in events if not isinstance(e, Checkpoint)))


class IngestInPieces(Forward):
    """Takes in history piece by piece, so that bad history leaves its beginning behind."""

    @hookimpl
    def ingest(self, ctx: Context, events: Iterable[HistoryEvent]) -> IngestReport:
        report = IngestReport()
        every: Iterator[HistoryEvent] = iter(events)
        while piece := _whole_commits(every):
            report = self.inner.ingest(ctx=ctx, events=piece)
        return report


def _whole_commits(events: Iterator[HistoryEvent]) -> list[HistoryEvent]:
    piece = list(islice(events, 4))
    while piece and isinstance(piece[-1], ChangeBatch) and not piece[-1].final:
        piece += islice(events, 1)
    return piece


class VerifySaysYes(Forward):
    """Finds nothing wrong, ever."""

    @hookimpl
    def verify(self, ctx: Context) -> VerifyReport:
        report: VerifyReport = self.inner.verify(ctx=ctx)
        return VerifyReport(report.checked)


class NamespaceNotDropped(Forward):
    """Says that it dropped a namespace, and keeps it."""

    @hookimpl
    def drop_namespace(self, ctx: Context, name: str) -> bool:
        return True


class NamespacesUnlisted(Forward):
    """Does not list namespaces that hold nothing."""

    @hookimpl
    def list_namespaces(self, ctx: Context) -> list[str]:
        return []


MUTANTS = (
    Mutant("UP-001", WindowIgnored, ("compact",)),
    Mutant("UP-003", LeaseIgnored, ("compact",)),
    Mutant("UP-001", PinnedVersionEaten, ("compact",)),
    Mutant("UP-004", CompactDoesNothing, ("compact",)),
    Mutant("UP-020", PurgeOnlyDeletes, ("purge",)),
    Mutant("UP-020", PurgeLeavesVectors, ("purge",)),
    Mutant("UP-020", CountersOutlivePurge, ("purge",)),
    Mutant("UP-040", IngestRenames),
    Mutant("UP-040", IngestWithoutCheckpoints),
    Mutant("UP-041", IngestInPieces),
    Mutant("UP-062", VerifySaysYes),
    Mutant("DM-006", NamespaceNotDropped, ("namespaces",)),
    Mutant("CA-001", NamespacesUnlisted, ("namespaces",)),
)
