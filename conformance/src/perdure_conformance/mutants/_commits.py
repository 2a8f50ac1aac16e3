"""Mutants that write wrongly: what a commit demands, what it records, and what it leaves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from perdure import (
    CommitRequest,
    Committed,
    Context,
    Delete,
    Increment,
    Key,
    NotFound,
    Put,
    Update,
    hookimpl,
    now_us,
    uuid7,
)
from perdure.wrappers import Forward

from perdure_conformance.mutants._base import Mutant, Requests, as_puts, changed

__all__ = ["MUTANTS"]


class InsertReplaces(Requests):
    """Lets `insert` replace a row."""

    def alter(self, request: CommitRequest) -> CommitRequest:
        puts = [changed(o, mode="put") if isinstance(o, Put) else o for o in as_puts(request.operations)]
        return changed(request, operations=puts)


class MissingDeleteAccepted(Requests):
    """Deletes what is not there without a word, also where the caller asked to be told."""

    def alter(self, request: CommitRequest) -> CommitRequest:
        mild = [changed(o, missing_ok=True) if isinstance(o, Delete) else o for o in request.operations]
        return changed(request, operations=mild)


class VersionIgnored(Requests):
    """Ignores `if_version`."""

    def alter(self, request: CommitRequest) -> CommitRequest:
        free = [
            changed(o, if_version=None) if isinstance(o, (Put, Update, Delete)) else o
            for o in request.operations
        ]
        return changed(request, operations=free)


class StaleHeadAccepted(Requests):
    """Ignores `expect_head`."""

    def alter(self, request: CommitRequest) -> CommitRequest:
        return changed(request, expect_head=msgspec.UNSET)


class CommitIdForgotten(Forward):
    """Applies a commit again that is submitted again."""

    def __init__(self, inner: Any) -> None:
        super().__init__(inner)
        self._seen: set[str] = set()

    @hookimpl
    def commit(self, ctx: Context, request: CommitRequest) -> Committed:
        again = request.id in self._seen
        self._seen.add(request.id)
        return super().commit(ctx=ctx, request=changed(request, id=uuid7()) if again else request)


class BatchTornApart(Forward):
    """Commits each operation of a batch by itself, so that a refused batch leaves a part."""

    @hookimpl
    def commit(self, ctx: Context, request: CommitRequest) -> Committed:
        first, last = request.operations[:-1], request.operations[-1:]
        for number, operation in enumerate(first):
            part = changed(
                request,
                id=f"{request.id}-{number}",
                operations=[operation],
                expect_head=msgspec.UNSET,
                vector={},
                parents=(),
                picks=(),
                reverts=None,
            )
            self.inner.commit(ctx=ctx, request=part)
        head = msgspec.UNSET if first else request.expect_head
        return super().commit(ctx=ctx, request=changed(request, operations=last, expect_head=head))


class LastWriteFirst(Requests):
    """Applies the operations of a batch in the wrong order."""

    def alter(self, request: CommitRequest) -> CommitRequest:
        return changed(request, operations=list(request.operations)[::-1])


class EmptyCommits(Requests):
    """Makes a commit of a batch that changes nothing."""

    def alter(self, request: CommitRequest) -> CommitRequest:
        return changed(request, force=True)


class SameRowNewVersion(Requests):
    """Makes a new version of a row that is written as it was."""

    def alter(self, request: CommitRequest) -> CommitRequest:
        puts = [
            changed(o, rows=[(*row[:-1], now_us() if row[-1] is None else row[-1]) for row in o.rows])
            if isinstance(o, Put)
            else o
            for o in as_puts(request.operations)
        ]
        return changed(request, operations=puts)


class AuthorForgotten(Requests):
    """Does not keep the author of a commit."""

    def alter(self, request: CommitRequest) -> CommitRequest:
        return changed(request, author="")


class MessageCut(Requests):
    """Keeps the first line of a message only."""

    def alter(self, request: CommitRequest) -> CommitRequest:
        return changed(request, message=request.message.partition("\n")[0][:40])


class LowerBoundOfTimeIgnored(Requests):
    """Ignores the time that a commit must not be before."""

    def alter(self, request: CommitRequest) -> CommitRequest:
        return changed(request, time=None)


class ReferencesUnchecked(Requests):
    """Does not check references where the caller asks for it."""

    def alter(self, request: CommitRequest) -> CommitRequest:
        return changed(request, check_references=False)


class CounterClamped(Forward):
    """Stops a counter at the end of int64 where an increment should be refused."""

    @hookimpl
    def commit(self, ctx: Context, request: CommitRequest) -> Committed:
        small = [
            changed(o, amounts={name: max(-(2**62), min(2**62, n)) for name, n in o.amounts.items()})
            if isinstance(o, Increment)
            else o
            for o in request.operations
        ]
        return super().commit(ctx=ctx, request=changed(request, operations=small))


class IncrementCreates(Forward):
    """Drops an increment of a row that is not there without a word."""

    @hookimpl
    def commit(self, ctx: Context, request: CommitRequest) -> Committed:
        try:
            return super().commit(ctx=ctx, request=request)
        except NotFound:
            rest = [o for o in request.operations if not isinstance(o, Increment)]
            if len(rest) == len(request.operations):
                raise
            return super().commit(ctx=ctx, request=changed(request, operations=rest))


class TouchTwice(Forward):
    """Counts each read twice."""

    @hookimpl
    def touch(self, ctx: Context, table: str, keys: Sequence[Key], time: int) -> int:
        self.inner.touch(ctx=ctx, table=table, keys=keys, time=time)
        return super().touch(ctx=ctx, table=table, keys=keys, time=time)


class TouchReturnsNone(Forward):
    """Returns None from a hook."""

    @hookimpl
    def touch(self, ctx: Context, table: str, keys: Sequence[Key], time: int) -> Any:
        self.inner.touch(ctx=ctx, table=table, keys=keys, time=time)


class CloseIgnored(Forward):
    """Goes on answering after it was closed."""

    @hookimpl
    def close(self, ctx: Context) -> bool:
        return True


class DriverErrorLeaks(Forward):
    """Lets an error of the driver out where something is not there."""

    @hookimpl
    def delete_checkpoint(self, ctx: Context, name: str) -> bool:
        try:
            return super().delete_checkpoint(ctx=ctx, name=name)
        except NotFound as error:
            raise LookupError(name) from error


MUTANTS = (
    Mutant("DM-050", InsertReplaces),
    Mutant("DM-054", MissingDeleteAccepted),
    Mutant("DM-064", VersionIgnored),
    Mutant("CO-011", StaleHeadAccepted),
    Mutant("CO-005", CommitIdForgotten),
    Mutant("CO-013", BatchTornApart),
    Mutant("DM-058", LastWriteFirst),
    Mutant("CO-012", EmptyCommits),
    Mutant("DM-057", SameRowNewVersion),
    Mutant("CO-014", AuthorForgotten),
    Mutant("CO-014", MessageCut),
    Mutant("CO-009", LowerBoundOfTimeIgnored),
    Mutant("DM-065", ReferencesUnchecked),
    Mutant("DM-061", CounterClamped),
    Mutant("DM-061", IncrementCreates),
    Mutant("DM-070", TouchTwice),
    Mutant("HK-002", TouchReturnsNone),
    Mutant("HK-007", CloseIgnored),
    Mutant("ER-001", DriverErrorLeaks),
)
