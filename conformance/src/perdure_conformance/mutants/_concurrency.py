"""Mutants that are right while they are alone: they look first and act later, or keep what others have changed."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from perdure import (
    TABLES,
    AlreadyExists,
    At,
    Branch,
    Busy,
    ChangeBatch,
    Checkpoint,
    CommitRequest,
    Committed,
    Context,
    Delete,
    Hit,
    Increment,
    Key,
    Operation,
    Point,
    Put,
    Ref,
    Row,
    Search,
    Space,
    StaleHead,
    Update,
    VersionConflict,
    hookimpl,
    uuid7,
)
from perdure.wrappers import Forward

from perdure_conformance.mutants._base import Mutant, as_puts, changed

__all__ = ["MUTANTS"]

#: How long a writer waits for the lock that it keeps in the store, in seconds.
WAIT = 0.5

#: How many reads a remembered head serves.
SERVES = 4


class IncrementByReading(Forward):
    """Reads a counter, adds, and writes the sum."""

    @hookimpl
    def commit(self, ctx: Context, request: CommitRequest) -> Committed:
        operations = [self._plain(ctx, request.branch, o) for o in request.operations]
        return super().commit(ctx=ctx, request=changed(request, operations=operations))

    def _plain(self, ctx: Context, branch: str, operation: Operation) -> Operation:
        if not isinstance(operation, Increment):
            return operation
        (row,) = self.inner.fetch(ctx=ctx, table=operation.table, keys=[operation.key], at=Ref(branch))
        if row is None:
            return operation
        names = list(_names(operation.table))
        sums = {name: row[names.index(name)] + amount for name, amount in operation.amounts.items()}
        return Update(operation.table, operation.key, {**operation.fields, **sums})


class HeadCheckedEarly(Forward):
    """Compares the head with `expect_head` before it takes the lock."""

    @hookimpl
    def commit(self, ctx: Context, request: CommitRequest) -> Committed:
        if request.expect_head is msgspec.UNSET:
            return super().commit(ctx=ctx, request=request)
        head = self.inner.resolve(ctx=ctx, ref=Ref(request.branch)).commit
        if head != request.expect_head:
            raise StaleHead("the branch moved; read it again", head=head)
        return super().commit(ctx=ctx, request=changed(request, expect_head=msgspec.UNSET))


class VersionCheckedEarly(Forward):
    """Compares a row's version with `if_version` before it takes the lock."""

    @hookimpl
    def commit(self, ctx: Context, request: CommitRequest) -> Committed:
        free = [self._checked(ctx, request.branch, o) for o in as_puts(request.operations)]
        return super().commit(ctx=ctx, request=changed(request, operations=free))

    def _checked(self, ctx: Context, branch: str, operation: Operation) -> Operation:
        if not isinstance(operation, (Put, Update, Delete)) or operation.if_version is None:
            return operation
        keys = _keys(operation)
        found = self.inner.versions(ctx=ctx, table=operation.table, keys=keys, at=Ref(branch))
        if any((version or "") != operation.if_version for version in found):
            raise VersionConflict("the row is at another version; read it again")
        return changed(operation, if_version=None)


class InsertCheckedEarly(Forward):
    """Looks whether a key exists before it takes the lock."""

    @hookimpl
    def commit(self, ctx: Context, request: CommitRequest) -> Committed:
        puts = []
        for operation in as_puts(request.operations):
            if isinstance(operation, Put) and operation.mode == "insert":
                keys = _keys(operation)
                rows = self.inner.fetch(ctx=ctx, table=operation.table, keys=keys, at=Ref(request.branch))
                if any(row is not None for row in rows):
                    raise AlreadyExists("the key is taken; take another")
                operation = changed(operation, mode="put")  # noqa: PLW2901
            puts.append(operation)
        return super().commit(ctx=ctx, request=changed(request, operations=puts))


class CommitIdsOfOneHandle(Forward):
    """Knows again only the commit ids that this handle has submitted."""

    def __init__(self, inner: Any) -> None:
        super().__init__(inner)
        self._known: dict[str, Committed] = {}

    @hookimpl
    def commit(self, ctx: Context, request: CommitRequest) -> Committed:
        first = self._known.get(request.id)
        if first is not None:
            return changed(first, replayed=True, written=0, deleted=0)
        done: Committed = self.inner.commit(ctx=ctx, request=changed(request, id=uuid7()))
        self._known[request.id] = done
        return done


class TablesOneByOne(Forward):
    """Commits the tables of a batch one after the other."""

    @hookimpl
    def commit(self, ctx: Context, request: CommitRequest) -> Committed:
        tables = list(dict.fromkeys(operation.table for operation in request.operations))
        for table in tables[:-1]:
            part = [o for o in request.operations if o.table == table]
            self.inner.commit(ctx=ctx, request=changed(request, operations=part, id=uuid7()))
        rest = [o for o in request.operations if not tables or o.table == tables[-1]]
        return super().commit(ctx=ctx, request=changed(request, operations=rest))


class ReadsKept(Forward):
    """Keeps the rows that it has read until it commits itself."""

    def __init__(self, inner: Any) -> None:
        super().__init__(inner)
        self._kept: dict[Any, list[Row | None]] = {}

    @hookimpl
    def fetch(self, ctx: Context, table: str, keys: Sequence[Key], at: At) -> list[Row | None]:
        asked = (table, tuple(keys), at)
        if asked not in self._kept:
            self._kept[asked] = self.inner.fetch(ctx=ctx, table=table, keys=keys, at=at)
        return self._kept[asked]

    @hookimpl
    def commit(self, ctx: Context, request: CommitRequest) -> Committed:
        self._kept.clear()
        return super().commit(ctx=ctx, request=request)


class VectorsKept(Forward):
    """Keeps the results of a search until it commits itself."""

    def __init__(self, inner: Any) -> None:
        super().__init__(inner)
        self._kept: dict[bytes, list[Hit]] = {}

    @hookimpl
    def search(self, ctx: Context, search: Search, at: At) -> list[Hit]:
        asked = search.space.encode() + search.vector
        if asked not in self._kept:
            self._kept[asked] = self.inner.search(ctx=ctx, search=search, at=at)
        return self._kept[asked]

    @hookimpl
    def commit(self, ctx: Context, request: CommitRequest) -> Committed:
        self._kept.clear()
        return super().commit(ctx=ctx, request=request)


class HeadsKept(Forward):
    """Answers some reads of a head from memory."""

    def __init__(self, inner: Any) -> None:
        super().__init__(inner)
        self._kept: dict[Ref, tuple[int, Point]] = {}

    @hookimpl
    def resolve(self, ctx: Context, ref: Ref) -> Point:
        served, point = self._kept.get(ref, (SERVES, None))
        if served >= SERVES or point is None:
            served, point = 0, self.inner.resolve(ctx=ctx, ref=ref)
        self._kept[ref] = (served + 1, point)
        return point


class OneRequestAtATime(Forward):
    """Keeps the request that it works on in the handle, where another thread puts its own."""

    @hookimpl
    def commit(self, ctx: Context, request: CommitRequest) -> Committed:
        self._request = request
        self.inner.resolve(ctx=ctx, ref=Ref(request.branch))
        return super().commit(ctx=ctx, request=self._request)


class NamesCheckedEarly(Forward):
    """Looks whether a name is taken first, and takes what another made meanwhile for its own."""

    @hookimpl
    def create_branch(self, ctx: Context, name: str, at: At) -> Branch:
        if any(branch.name == name for branch in self.inner.list_branches(ctx=ctx)):
            raise AlreadyExists("the name is taken; take another")
        self.inner.resolve(ctx=ctx, ref=Ref("main"))
        try:
            return super().create_branch(ctx=ctx, name=name, at=at)
        except AlreadyExists:
            found: list[Branch] = [
                branch for branch in self.inner.list_branches(ctx=ctx) if branch.name == name
            ]
            if not found:
                raise
            return found[0]


class SpaceOfOnesOwn(Forward):
    """Returns the definition that was given where another had made the space."""

    @hookimpl
    def create_space(self, ctx: Context, space: Space) -> Space:
        self.inner.create_space(ctx=ctx, space=space)
        return space


class ChangesPastTheEnd(Forward):
    """Goes on with commits that came after the export, or the feed, had begun."""

    @hookimpl
    def changes(
        self, ctx: Context, branch: str, after: int, upto: int, compacted: bool
    ) -> Iterator[ChangeBatch]:
        return super().changes(ctx=ctx, branch=branch, after=after, upto=2**63 - 1, compacted=compacted)


class LockOutlivesItsOwner(Forward):
    """Keeps its lock in the store, where the death of its owner leaves it."""

    @hookimpl
    def commit(self, ctx: Context, request: CommitRequest) -> Committed:
        until = time.monotonic() + WAIT
        point = self.inner.resolve(ctx=ctx, ref=Ref("main"))
        while True:
            try:
                self.inner.create_checkpoint(ctx=ctx, checkpoint=Checkpoint("lock", point))
                break
            except AlreadyExists as error:
                if time.monotonic() > until:
                    raise Busy("another writer has the lock; try again") from error
        try:
            return super().commit(ctx=ctx, request=request)
        finally:
            self.inner.delete_checkpoint(ctx=ctx, name="lock")


def _names(table: str) -> tuple[str, ...]:
    return TABLES[table].names


def _keys(operation: Put | Update | Delete) -> list[Key]:
    """The keys of an operation."""
    if isinstance(operation, Update):
        return [operation.key]
    if isinstance(operation, Delete):
        return list(operation.keys)
    width = len(TABLES[operation.table].key)
    return [tuple(str(part) for part in row[:width]) for row in operation.rows]


#: With one thread, and one handle, these are as good as healthy.
MUTANTS = (
    Mutant("DM-062", IncrementByReading),
    Mutant("CO-011", HeadCheckedEarly),
    Mutant("DM-064", VersionCheckedEarly),
    Mutant("DM-050", InsertCheckedEarly),
    Mutant("CO-005", CommitIdsOfOneHandle),
    Mutant("CO-003", TablesOneByOne),
    Mutant("CO-002", ReadsKept),
    Mutant("VE-036", VectorsKept),
    Mutant("CO-002", HeadsKept),
    Mutant("HK-003", OneRequestAtATime),
    Mutant("BR-008", NamesCheckedEarly),
    Mutant("VE-003", SpaceOfOnesOwn),
    Mutant("CO-064", ChangesPastTheEnd),
    Mutant("HK-015", LockOutlivesItsOwner, ("concurrent", "persistent")),
)
