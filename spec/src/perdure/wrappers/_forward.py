"""The base of every wrapper: a backend that hands each call on to another one.

Override the hooks that your wrapper is about; what you do not override passes through unchanged. The
docstring of each hook is in `perdure.PersistenceBackend`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa

from perdure._hooks import HistoryEvent, hookimpl
from perdure._names import Ref
from perdure._schema import Row
from perdure._types import (
    At,
    Branch,
    ChangeBatch,
    Checkpoint,
    Commit,
    CommitRequest,
    Committed,
    CompactReport,
    CompactRequest,
    Context,
    Counter,
    Hit,
    IngestReport,
    Key,
    Point,
    PurgeReport,
    Query,
    Search,
    Space,
    Stats,
    VerifyReport,
)
from perdure.filters import Filter

__all__ = ["Forward"]


class Forward:
    """Hands every hook on to `inner`, which is a backend or another wrapper."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    @hookimpl
    def close(self, ctx: Context) -> bool:
        return self.inner.close(ctx=ctx)

    @hookimpl
    def commit(self, ctx: Context, request: CommitRequest) -> Committed:
        return self.inner.commit(ctx=ctx, request=request)

    @hookimpl
    def touch(self, ctx: Context, table: str, keys: Sequence[Key], time: int) -> int:
        return self.inner.touch(ctx=ctx, table=table, keys=keys, time=time)

    @hookimpl
    def resolve(self, ctx: Context, ref: Ref) -> Point:
        return self.inner.resolve(ctx=ctx, ref=ref)

    @hookimpl
    def fetch(self, ctx: Context, table: str, keys: Sequence[Key], at: At) -> list[Row | None]:
        return self.inner.fetch(ctx=ctx, table=table, keys=keys, at=at)

    @hookimpl
    def versions(self, ctx: Context, table: str, keys: Sequence[Key], at: At) -> list[str | None]:
        return self.inner.versions(ctx=ctx, table=table, keys=keys, at=at)

    @hookimpl
    def counters(self, ctx: Context, table: str, keys: Sequence[Key]) -> list[Counter]:
        return self.inner.counters(ctx=ctx, table=table, keys=keys)

    @hookimpl
    def select(self, ctx: Context, query: Query, at: At) -> Iterator[Row]:
        return self.inner.select(ctx=ctx, query=query, at=at)

    @hookimpl
    def scan(self, ctx: Context, query: Query, at: At) -> Iterator[pa.RecordBatch]:
        return self.inner.scan(ctx=ctx, query=query, at=at)

    @hookimpl
    def count(self, ctx: Context, table: str, where: Filter | None, at: At) -> int:
        return self.inner.count(ctx=ctx, table=table, where=where, at=at)

    @hookimpl
    def search(self, ctx: Context, search: Search, at: At) -> list[Hit]:
        return self.inner.search(ctx=ctx, search=search, at=at)

    @hookimpl
    def read_chunks(self, ctx: Context, digests: Sequence[str]) -> Iterator[bytes]:
        return self.inner.read_chunks(ctx=ctx, digests=digests)

    @hookimpl
    def create_space(self, ctx: Context, space: Space) -> Space:
        return self.inner.create_space(ctx=ctx, space=space)

    @hookimpl
    def drop_space(self, ctx: Context, name: str) -> PurgeReport:
        return self.inner.drop_space(ctx=ctx, name=name)

    @hookimpl
    def list_spaces(self, ctx: Context) -> list[Space]:
        return self.inner.list_spaces(ctx=ctx)

    @hookimpl
    def create_branch(self, ctx: Context, name: str, at: At) -> Branch:
        return self.inner.create_branch(ctx=ctx, name=name, at=at)

    @hookimpl
    def delete_branch(self, ctx: Context, name: str, cascade: bool) -> int:
        return self.inner.delete_branch(ctx=ctx, name=name, cascade=cascade)

    @hookimpl
    def list_branches(self, ctx: Context) -> list[Branch]:
        return self.inner.list_branches(ctx=ctx)

    @hookimpl
    def create_checkpoint(self, ctx: Context, checkpoint: Checkpoint) -> Checkpoint:
        return self.inner.create_checkpoint(ctx=ctx, checkpoint=checkpoint)

    @hookimpl
    def delete_checkpoint(self, ctx: Context, name: str) -> bool:
        return self.inner.delete_checkpoint(ctx=ctx, name=name)

    @hookimpl
    def list_checkpoints(self, ctx: Context) -> list[Checkpoint]:
        return self.inner.list_checkpoints(ctx=ctx)

    @hookimpl
    def log(
        self, ctx: Context, branch: str, after: int, upto: int, merges: bool, newest_first: bool
    ) -> Iterator[Commit]:
        return self.inner.log(
            ctx=ctx, branch=branch, after=after, upto=upto, merges=merges, newest_first=newest_first
        )

    @hookimpl
    def get_commits(self, ctx: Context, ids: Sequence[str]) -> list[Commit | None]:
        return self.inner.get_commits(ctx=ctx, ids=ids)

    @hookimpl
    def changes(
        self, ctx: Context, branch: str, after: int, upto: int, compacted: bool
    ) -> Iterator[ChangeBatch]:
        return self.inner.changes(ctx=ctx, branch=branch, after=after, upto=upto, compacted=compacted)

    @hookimpl
    def touched(self, ctx: Context, branch: str, after: int, upto: int) -> Iterator[tuple[str, Key]]:
        return self.inner.touched(ctx=ctx, branch=branch, after=after, upto=upto)

    @hookimpl
    def ingest(self, ctx: Context, events: Iterable[HistoryEvent]) -> IngestReport:
        return self.inner.ingest(ctx=ctx, events=events)

    @hookimpl
    def stats(self, ctx: Context, at: At) -> Stats:
        return self.inner.stats(ctx=ctx, at=at)

    @hookimpl
    def verify(self, ctx: Context) -> VerifyReport:
        return self.inner.verify(ctx=ctx)

    @hookimpl
    def compact(self, ctx: Context, request: CompactRequest) -> CompactReport:
        return self.inner.compact(ctx=ctx, request=request)

    @hookimpl
    def purge(self, ctx: Context, table: str, keys: Sequence[Key]) -> PurgeReport:
        return self.inner.purge(ctx=ctx, table=table, keys=keys)

    @hookimpl
    def list_namespaces(self, ctx: Context) -> list[str]:
        return self.inner.list_namespaces(ctx=ctx)

    @hookimpl
    def drop_namespace(self, ctx: Context, name: str) -> bool:
        return self.inner.drop_namespace(ctx=ctx, name=name)
