"""Mutants that get history wrong: refs, forks, checkpoints, diffs, the feed, merges."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from perdure import (
    TABLES,
    At,
    Branch,
    ChangeBatch,
    Checkpoint,
    CommitRequest,
    Context,
    Delete,
    Key,
    Point,
    Query,
    Ref,
    Row,
    hookimpl,
)
from perdure.wrappers import Forward

from perdure_conformance.mutants._base import Mutant, Places, Requests, Rows, changed

__all__ = ["MUTANTS"]


class SeqOffByOne(Places):
    """Reads `branch@seq` one commit too early."""

    def place(self, ctx: Context, at: At) -> At:
        return changed(at, seq=at.seq - 1) if isinstance(at, Ref) and at.seq else at


class TimeExclusive(Places):
    """Reads `branch@time` without the commit of just that time."""

    def place(self, ctx: Context, at: At) -> At:
        return changed(at, time=at.time - 1) if isinstance(at, Ref) and at.time else at


class TimeInSeconds(Places):
    """Cuts the time of a ref to seconds."""

    def place(self, ctx: Context, at: At) -> At:
        if isinstance(at, Ref) and at.time:
            return changed(at, time=at.time // 1_000_000 * 1_000_000)
        return at


class CheckpointMoves(Places):
    """Takes a checkpoint for a name of its branch."""

    def place(self, ctx: Context, at: At) -> At:
        if isinstance(at, Ref) and at.name and at.seq is None and at.time is None:
            for checkpoint in self.inner.list_checkpoints(ctx=ctx):
                if checkpoint.name == at.name:
                    return _head(self.inner, ctx, checkpoint.point.branch)
        return at


class PastIsNow(Places):
    """Reads the head wherever it should read the past of a branch."""

    def place(self, ctx: Context, at: At) -> At:
        return _head(self.inner, ctx, at.branch) if isinstance(at, Point) else at


def _head(inner: Any, ctx: Context, branch: str) -> At:
    """The head of a branch by id."""
    for found in inner.list_branches(ctx=ctx):
        if found.id == branch:
            head: Point = found.head
            return head
    return Point(branch, 0)


class _SeesParent(Rows):
    """Shows rows of another place beside those of a branch, where the branch has none."""

    def beyond(self, ctx: Context, at: At) -> At | None:
        """Where else rows are taken from."""
        raise NotImplementedError

    def rows(self, ctx: Context, query: Query, at: At) -> Iterator[Row]:
        other = self.beyond(ctx, at)
        if other is None or query.columns is not None or query.after is not None:
            return super().rows(ctx, query, at)
        width = len(TABLES[query.table].key)
        rows = {row[:width]: row for row in super().rows(ctx, query, other)}
        rows |= {row[:width]: row for row in super().rows(ctx, query, at)}
        return iter([rows[key] for key in sorted(rows)][: query.limit])

    @hookimpl
    def fetch(self, ctx: Context, table: str, keys: Sequence[Key], at: At) -> list[Row | None]:
        rows: list[Row | None] = self.inner.fetch(ctx=ctx, table=table, keys=keys, at=at)
        other = self.beyond(ctx, at)
        if other is not None and None in rows:
            more = self.inner.fetch(ctx=ctx, table=table, keys=keys, at=other)
            rows = [theirs if mine is None else mine for mine, theirs in zip(rows, more, strict=True)]
        return rows

    def branch_at(self, ctx: Context, at: At) -> Branch | None:
        """The branch that a read is on."""
        branches: list[Branch] = self.inner.list_branches(ctx=ctx)
        for branch in branches:
            if at.branch == branch.id if isinstance(at, Point) else at.name == branch.name:
                return branch
        return None


class ForkSeesParent(_SeesParent):
    """Shows on a branch what its parent committed after the fork."""

    def beyond(self, ctx: Context, at: At) -> At | None:
        branch = self.branch_at(ctx, at)
        return None if branch is None or branch.parent is None else _head(self.inner, ctx, branch.parent)


class TombstoneIgnored(_SeesParent):
    """Shows on a branch the rows of the parent that the branch deleted."""

    def beyond(self, ctx: Context, at: At) -> At | None:
        branch = self.branch_at(ctx, at)
        if branch is None or branch.parent is None:
            return None
        return Point(branch.parent, branch.fork_seq)


class ForkAtHead(Forward):
    """Forks at the head of the branch, wherever a fork is asked for."""

    @hookimpl
    def create_branch(self, ctx: Context, name: str, at: At) -> Branch:
        if isinstance(at, Point):
            at = _head(self.inner, ctx, at.branch)
        elif at.name:
            at = Ref(at.name)
        return super().create_branch(ctx=ctx, name=name, at=at)


class CascadeAlways(Forward):
    """Deletes a branch with all that depends on it, unasked."""

    @hookimpl
    def delete_branch(self, ctx: Context, name: str, cascade: bool) -> int:
        return super().delete_branch(ctx=ctx, name=name, cascade=True)


class CheckpointReplaced(Forward):
    """Lets a second checkpoint of a name take the place of the first."""

    @hookimpl
    def create_checkpoint(self, ctx: Context, checkpoint: Checkpoint) -> Checkpoint:
        if any(c.name == checkpoint.name for c in self.inner.list_checkpoints(ctx=ctx)):
            self.inner.delete_checkpoint(ctx=ctx, name=checkpoint.name)
        return super().create_checkpoint(ctx=ctx, checkpoint=checkpoint)


class DiffWithoutDeletions(Forward):
    """Leaves deleted rows out of a comparison."""

    @hookimpl
    def touched(self, ctx: Context, branch: str, after: int, upto: int) -> Iterator[tuple[str, Key]]:
        for table, key in self.inner.touched(ctx=ctx, branch=branch, after=after, upto=upto):
            if self.inner.fetch(ctx=ctx, table=table, keys=[key], at=Point(branch, upto))[0] is not None:
                yield table, key


class FeedWithoutDeletions(Forward):
    """Leaves deletions out of the feed."""

    @hookimpl
    def changes(
        self, ctx: Context, branch: str, after: int, upto: int, compacted: bool
    ) -> Iterator[ChangeBatch]:
        for batch in self.inner.changes(ctx=ctx, branch=branch, after=after, upto=upto, compacted=compacted):
            yield changed(batch, changes=tuple(c for c in batch.changes if c.row is not None))


class FeedSkipsOne(Forward):
    """Leaves out the first commit after a cursor."""

    @hookimpl
    def changes(
        self, ctx: Context, branch: str, after: int, upto: int, compacted: bool
    ) -> Iterator[ChangeBatch]:
        found = self.inner.changes(ctx=ctx, branch=branch, after=after, upto=upto, compacted=compacted)
        first = None
        for batch in found:
            first = batch.commit.id if first is None else first
            if batch.commit.id != first:
                yield batch


class LogBackwards(Forward):
    """Gives the log in the other order."""

    @hookimpl
    def log(
        self, ctx: Context, branch: str, after: int, upto: int, merges: bool, newest_first: bool
    ) -> Iterator[Any]:
        return super().log(
            ctx=ctx, branch=branch, after=after, upto=upto, merges=merges, newest_first=not newest_first
        )


class LogUnbounded(Forward):
    """Gives the whole log of a branch, whatever its upper end."""

    @hookimpl
    def log(
        self, ctx: Context, branch: str, after: int, upto: int, merges: bool, newest_first: bool
    ) -> Iterator[Any]:
        return super().log(
            ctx=ctx, branch=branch, after=after, upto=2**62, merges=merges, newest_first=newest_first
        )


# --------------------------------------------------------------------------------------------- merges


class MergeLosesDeletion(Requests):
    """Does not carry deletions through a merge."""

    def alter(self, request: CommitRequest) -> CommitRequest:
        if not request.vector:
            return request
        return changed(request, operations=[o for o in request.operations if not isinstance(o, Delete)])


class MergeForgotten(Requests):
    """Does not record what a merge brought, so that a second merge brings it again."""

    def alter(self, request: CommitRequest) -> CommitRequest:
        return changed(request, vector={})


class MergeParentForgotten(Requests):
    """Does not record the source of a merge as a parent."""

    def alter(self, request: CommitRequest) -> CommitRequest:
        return changed(request, parents=())


class PickMovesBase(Requests):
    """Records a selective merge as a merge of everything."""

    def alter(self, request: CommitRequest) -> CommitRequest:
        if not request.picks:
            return request
        vector = {pick.source.branch: pick.source.seq for pick in request.picks}
        return changed(request, vector=vector, picks=())


class PickForgotten(Requests):
    """Does not record what a selective merge took."""

    def alter(self, request: CommitRequest) -> CommitRequest:
        return changed(request, picks=())


class RevertUnnamed(Requests):
    """Does not record what a revert undoes."""

    def alter(self, request: CommitRequest) -> CommitRequest:
        return changed(request, reverts=None)


class EmptyMergeForgotten(Requests):
    """Makes no commit of a merge that changes no row."""

    def alter(self, request: CommitRequest) -> CommitRequest:
        return changed(request, force=False)


MUTANTS = (
    Mutant("RE-001", SeqOffByOne),
    Mutant("RE-001", TimeExclusive),
    Mutant("RE-001", TimeInSeconds),
    Mutant("BR-012", CheckpointMoves),
    Mutant("RE-009", PastIsNow),
    Mutant("BR-005", ForkSeesParent),
    Mutant("BR-006", TombstoneIgnored),
    Mutant("BR-004", ForkAtHead),
    Mutant("BR-009", CascadeAlways),
    Mutant("BR-008", CheckpointReplaced),
    Mutant("CO-030", DiffWithoutDeletions),
    Mutant("CO-040", FeedWithoutDeletions),
    Mutant("CO-040", FeedSkipsOne),
    Mutant("CO-015", LogBackwards),
    Mutant("CO-015", LogUnbounded),
    Mutant("ME-022", MergeLosesDeletion),
    Mutant("ME-061", MergeForgotten),
    Mutant("ME-060", MergeParentForgotten),
    Mutant("ME-071", PickMovesBase),
    Mutant("ME-072", PickForgotten),
    Mutant("ME-080", RevertUnnamed),
    Mutant("ME-060", EmptyMergeForgotten),
)
