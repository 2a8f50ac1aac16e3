"""The head of a namespace: read, cached, and replaced by compare-and-swap."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from functools import cached_property
from typing import TypeVar

import msgspec

from perdure._errors import Busy, CorruptStore, HistoryExpired, IncompatibleStore, NotFound, Unavailable
from perdure._names import MAIN, now_us, uuid7
from perdure._types import Branch, Context, Point
from perdure.kit._keys import Keys, token_time
from perdure.kit._objects import FORMAT, BranchState, Head, pack, unpack
from perdure.kit._storage import Storage

__all__ = ["HeadStore", "State", "as_branch", "head_point"]

#: How long a writer tries when its context has no deadline, in seconds.
PATIENCE = 30.0

_T = TypeVar("_T")

Lineage = tuple[tuple[int, int], ...]


def head_point(branch: BranchState) -> Point:
    """The newest point of a branch: the fork, while it has no commits."""
    return Point(branch.id, branch.seq, branch.commit, branch.time)


def as_branch(branch: BranchState) -> Branch:
    """The public form."""
    return Branch(
        branch.id,
        branch.name,
        branch.parent,
        branch.fork_seq,
        head_point(branch),
        max(branch.floor, branch.fork_seq),
        branch.created_at,
        branch.pins,
    )


class State:
    """One value of the head, and what follows from it."""

    def __init__(self, raw: bytes, head: Head) -> None:
        self.raw = raw
        self.head = head
        self.branches = head.branches
        self.era = (head.epoch, head.secret)  # what caches of immutable objects are valid for
        self._lineages: dict[tuple[str, int], Lineage] = {}

    @cached_property
    def by_name(self) -> dict[str, BranchState]:
        """Branch name → branch."""
        return {branch.name: branch for branch in self.branches.values()}

    @cached_property
    def by_number(self) -> dict[int, BranchState]:
        """Branch number → branch."""
        return {branch.number: branch for branch in self.branches.values()}

    @cached_property
    def hidden(self) -> frozenset[bytes]:
        """Groups and space prefixes that are being purged."""
        return frozenset(self.head.maintenance.hidden if self.head.maintenance else ())

    @cached_property
    def since(self) -> int:
        """A time that attempts begin after; copies of pieces from before it may be about to go."""
        held = self.head.maintenance
        return max(self.head.taken_over, token_time(held.token) if held else 0)

    def is_hidden(self, group: bytes) -> bool:
        """Whether the row is being purged."""
        if not self.hidden:
            return False
        return group in self.hidden or group[: group.index(b"\0", group.index(b"\0") + 1) + 1] in self.hidden

    def named(self, name: str) -> BranchState:
        """The branch of that name.

        Raises:
            NotFound: There is none.
        """
        branch = self.by_name.get(name)
        if branch is None:
            raise NotFound(f"there is no branch {name!r}; list them with store.branches.list()", name=name)
        return branch

    def identified(self, branch_id: str) -> BranchState:
        """The branch of that id.

        Raises:
            NotFound: There is none.
        """
        branch = self.branches.get(branch_id)
        if branch is None:
            raise NotFound(
                f"there is no branch with id {branch_id!r}; it may have been deleted", branch=branch_id
            )
        return branch

    def owner(self, branch_id: str, seq: int) -> BranchState:
        """The branch on whose own history a point lies."""
        branch = self.identified(branch_id)
        while seq <= branch.fork_seq and branch.parent is not None:
            branch = self.identified(branch.parent)
        return branch

    def check_readable(self, branch: BranchState, seq: int) -> None:
        """Refuse a point of the branch's own history that compaction dropped."""
        if seq < branch.floor and seq not in branch.pins:
            raise HistoryExpired(
                f"{branch.name}@{seq} was dropped by compaction; the oldest readable point is {branch.name}@{branch.floor}",
                branch=branch.id,
                seq=seq,
                floor=branch.floor,
            )

    def lineage(self, point: Point) -> Lineage:
        """(branch number, greatest sequence number) of each branch that a point shows, nearest first.

        Raises:
            NotFound: The branch is gone.
            HistoryExpired: Compaction dropped the point.
        """
        found = self._lineages.get((point.branch, point.seq))
        if found is None:
            branch = self.owner(point.branch, point.seq)
            self.check_readable(branch, point.seq)
            steps, seq = [], min(point.seq, branch.seq)
            while True:
                steps.append((branch.number, seq))
                if branch.parent is None:
                    break
                seq = branch.fork_seq
                branch = self.owner(branch.parent, seq)
            found = self._lineages[point.branch, point.seq] = tuple(steps)
        return found


class HeadStore:
    """Reads and replaces the head of one namespace."""

    def __init__(self, storage: Storage, keys: Keys, namespace: str) -> None:
        self._storage = storage
        self._keys = keys
        self._namespace = namespace
        self._state: State | None = None
        self.closed = False

    def create(self) -> None:
        """Create the namespace with an empty `main`, unless it is there."""
        if self._storage.get(self._keys.head) is not None:
            self.load()
            return
        now = now_us()
        main = BranchState(0, uuid7(), MAIN, None, 0, None, 0, 0, b"", None, 0, now)
        head = Head(FORMAT, 0, 1, 1, os.urandom(32), {main.id: main})
        self._storage.compare_and_swap(self._keys.head, None, pack(head))

    def load(self) -> State:
        """The head as it is now.

        Raises:
            Unavailable: The store was closed.
            NotFound: The namespace was dropped, or never created.
            CorruptStore: The head is damaged.
            IncompatibleStore: A later version wrote it.
        """
        return self._loaded(self._storage.get)

    def _loaded(self, get: Callable[[bytes], bytes | None]) -> State:
        if self.closed:
            raise Unavailable("the store is closed; open it again")
        raw = get(self._keys.head)
        state = self._state
        if state is not None and raw == state.raw:
            return state
        if raw is None:
            raise NotFound(f"there is no namespace {self._namespace!r}; open it for writing to create it")
        head = unpack(raw, Head, f"the head of namespace {self._namespace!r}")
        if head.format > FORMAT:
            raise IncompatibleStore(
                f"the store has format {head.format}; this version of perdure reads up to {FORMAT}"
            )
        if not head.branches:
            raise CorruptStore(
                f"the head of namespace {self._namespace!r} has no branches; restore it from a backup"
            )
        state = self._state = State(raw, head)
        return state

    def steady(self, read: Callable[[State], _T]) -> _T:
        """What `read` makes of the head, read again where a compaction or purge came in between.

        Both move the head before they delete, so that nothing was missing if it did not move.
        """
        while True:
            state = self.load()
            try:
                found = read(state)
            except CorruptStore:
                if self.load().era == state.era:
                    raise
                continue
            if self._loaded(self._storage.get_again).era == state.era:
                return found

    def swap(self, old: State, new: Head) -> State | None:
        """Replace the head; None where another writer was first."""
        raw = pack(new)
        if raw == old.raw:
            return old
        if not self._storage.compare_and_swap(self._keys.head, old.raw, raw):
            return None
        state = self._state = State(raw, new)
        return state

    def update(self, ctx: Context, change: Callable[[State], Head]) -> State:
        """Replace the head by what `change` makes of it, as often as other writers are first.

        Raises:
            Busy: Others were first until the deadline.
        """
        tries = Tries(ctx)
        while True:
            state = self.load()
            done = self.swap(state, change(state))
            if done is not None:
                return done
            tries.lost()


class Tries:
    """Bounds the attempts of one writer, and spreads them."""

    def __init__(self, ctx: Context) -> None:
        self._deadline = time.monotonic() + PATIENCE if ctx.deadline is None else ctx.deadline
        self._lost = 0

    def left(self) -> float:
        """Seconds until the deadline; at least 0."""
        return max(0.0, self._deadline - time.monotonic())

    def lost(self) -> None:
        """Another writer was first: wait a little.

        Raises:
            Busy: The deadline has passed.
        """
        self._lost += 1
        pause = random.uniform(0.0, min(0.1, 0.001 * 2 ** min(self._lost, 10)))
        if self.left() <= pause:
            raise Busy(
                f"other writers were first {self._lost} times; nothing was written; try again",
                tries=self._lost,
            )
        time.sleep(pause)


def replace(head: Head, **fields: object) -> Head:
    """A head with other fields."""
    return msgspec.structs.replace(head, **fields)


def with_branch(head: Head, branch: BranchState) -> Head:
    """A head with one branch added or replaced."""
    return replace(head, branches={**head.branches, branch.id: branch})
