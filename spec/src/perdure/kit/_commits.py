"""Which attempts were committed, and the commits themselves.

Each branch's commits form a chain: the head names the slot of the newest, and each commit the slot of
the one before. A slot counts if it is on the chain, and only then: what crashed or lost a race never is.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator

from perdure._errors import CorruptStore
from perdure._types import Key, Point
from perdure.kit._head import State
from perdure.kit._keys import SLOT, Keys, Slot, after
from perdure.kit._objects import BranchState, CommitRecord, pack, previous_of, unpack
from perdure.kit._storage import Storage

__all__ = ["Commits", "Found"]

#: Writes kept in the commit object itself, and in each further part.
PART = 1_000

Found = tuple[BranchState, bytes, CommitRecord]


class _Chain:
    """The part of a branch's chain that was walked: all slots from `top` down to, not including, `below`."""

    def __init__(self) -> None:
        self.known: set[bytes] = set()
        self.top = b""
        self.below = b""


class _Cache:
    """The chains of one era, by branch number."""

    def __init__(self, era: tuple[int, bytes] | None) -> None:
        self.era = era
        self.chains: dict[int, _Chain] = {}


class Commits:
    """Reads and writes the commits of one namespace; remembers which slots are committed."""

    def __init__(self, storage: Storage, keys: Keys) -> None:
        self._storage = storage
        self._keys = keys
        self._lock = threading.Lock()
        self._cache = _Cache(None)
        self._ids: dict[bytes, str] = {}

    # -------------------------------------------------------------------------------- the chain

    def known(self, state: State, branch: BranchState) -> set[bytes]:
        """The slots of the branch that are known to be committed; grows as `committed` is asked."""
        return self._chain(state, branch).known

    def committed(self, state: State, branch: BranchState, slot: bytes) -> bool:
        """Whether a slot of the branch was committed."""
        chain = self._chain(state, branch)
        if slot in chain.known:
            return True
        if not branch.slot or slot[4:12] > branch.slot[4:12]:
            return False
        if branch.slot not in chain.known or (chain.below and slot[4:12] <= chain.below[4:12]):
            with self._lock:
                self._extend(chain, branch, slot)
        return slot in chain.known

    def note(self, state: State, branch: BranchState, slot: bytes) -> None:
        """Remember a commit that was just made on top of `branch`."""
        chain = self._chain(state, branch)
        with self._lock:
            if chain.top == branch.slot:
                chain.known.add(slot)
                chain.top = slot

    def _chain(self, state: State, branch: BranchState) -> _Chain:
        cache = self._cache
        if cache.era != state.era:  # other threads may go on with the one before, which stays of its era
            cache = self._cache = _Cache(state.era)
        chain = cache.chains.get(branch.number)
        if chain is None:
            chain = cache.chains.setdefault(branch.number, _Chain())
        return chain

    def _extend(self, chain: _Chain, branch: BranchState, slot: bytes) -> None:
        known = chain.known
        if branch.slot not in known:
            if chain.top and branch.slot[4:12] < chain.top[4:12]:
                return  # an older state than the chain's, which holds all its slots or will by walking down
            fresh: set[bytes] = set()
            below = self._walk(
                branch, branch.slot, lambda at: at in known or (not known and at[4:12] < slot[4:12]), fresh
            )
            if not known:
                chain.below = below
            known |= fresh
            chain.top = branch.slot
        if chain.below and slot[4:12] <= chain.below[4:12]:
            chain.below = self._walk(branch, chain.below, lambda at: at[4:12] < slot[4:12], known)

    def _walk(self, branch: BranchState, start: bytes, stop: object, into: set[bytes]) -> bytes:
        expected = start
        wanted: set[int] = set(branch.generations)
        items = self._storage.range(
            self._keys.commit(branch.number, 0),
            self._keys.commit(branch.number, Slot.parse(start).seq + 1),
            reverse=True,
        )
        for key, value in items:
            slot, generation = self._keys.commit_slot(key)
            if slot == expected and generation in wanted:
                into.add(slot)
                expected = previous_of(value)
                if not expected or stop(expected):  # type: ignore[operator]
                    return expected
            elif slot[4:12] < expected[4:12]:
                break
        raise CorruptStore(
            f"branch {branch.name!r} misses a commit near sequence number {Slot.parse(expected).seq}; restore a backup",
            branch=branch.id,
        )

    # ------------------------------------------------------------------------------ the commits

    def record(self, branch: BranchState, slot: bytes) -> tuple[int, CommitRecord]:
        """The commit in a committed slot, and its generation.

        Raises:
            CorruptStore: It is not there, or damaged.
        """
        start = self._keys.commit_at(slot, 0)
        for key, value in self._storage.range(start, start[:-4] + b"\xff\xff\xff\xff", reverse=True):
            generation = self._keys.commit_slot(key)[1]
            if generation in branch.generations:
                return generation, unpack(value, CommitRecord, f"a commit of branch {branch.name!r}")
        raise CorruptStore(
            f"a commit of branch {branch.name!r} is missing; restore a backup", branch=branch.id
        )

    def commit_id(self, state: State, slot: bytes) -> str:
        """The commit id of a committed slot."""
        found = self._ids.get(slot)
        if found is None:
            branch = state.by_number[Slot.parse(slot).number]
            if len(self._ids) > 100_000:
                self._ids = {}
            found = self._ids[slot] = self.record(branch, slot)[1].commit.id
        return found

    def last(self, state: State, branch: BranchState, seq: int) -> tuple[bytes, CommitRecord] | None:
        """The newest own commit at or before a sequence number."""
        return next(self.walk(state, branch, -1, seq, newest_first=True), None)

    def last_before(
        self, state: State, branch: BranchState, time: int, upto: int
    ) -> tuple[bytes, CommitRecord] | None:
        """The newest own commit up to a sequence number whose time is at or before `time`.

        Times never decrease along a branch, so that halving finds it.
        """
        low, high = branch.fork_seq, min(upto, branch.seq)
        best = None
        while low < high:
            middle = (low + high + 1) // 2
            found = self.last(state, branch, middle)
            if found is None or found[1].commit.seq <= low:
                low = middle  # no commit between: look above
            elif found[1].commit.time <= time:
                best, low = found, middle
            else:
                high = found[1].commit.seq - 1
        return best

    def walk(
        self, state: State, branch: BranchState, after_seq: int, upto: int, newest_first: bool = False
    ) -> Iterator[tuple[bytes, CommitRecord]]:
        """Own commits with `after_seq < seq <= upto`."""
        upto = min(upto, branch.seq)
        if upto <= after_seq:
            return
        start, end = (
            self._keys.commit(branch.number, max(after_seq + 1, 0)),
            self._keys.commit(branch.number, upto + 1),
        )
        best: tuple[bytes, bytes] | None = None
        for key, value in self._storage.range(start, end, newest_first):
            slot, generation = self._keys.commit_slot(key)
            if generation not in branch.generations or not self.committed(state, branch, slot):
                continue
            if best is not None and best[0] == slot:
                if not newest_first:
                    best = (slot, value)  # a later generation of the same commit
                continue
            if best is not None:
                yield best[0], unpack(best[1], CommitRecord, f"a commit of branch {branch.name!r}")
            best = (slot, value)
        if best is not None:
            yield best[0], unpack(best[1], CommitRecord, f"a commit of branch {branch.name!r}")

    def find(self, state: State, commit_id: str) -> Found | None:
        """A commit by id."""
        prefix = self._keys.by_id(commit_id)
        for key, _ in self._storage.range(prefix, after(prefix)):
            slot = key[-SLOT:]
            branch = state.by_number.get(Slot.parse(slot).number)
            if branch is not None and len(key) == len(prefix) + SLOT and self.committed(state, branch, slot):
                return branch, slot, self.record(branch, slot)[1]
        return None

    def writes(self, slot: bytes, generation: int, record: CommitRecord) -> Iterator[tuple[str, Key]]:
        """All (table, key) pairs that a commit wrote."""
        yield from record.writes
        for number in range(record.parts):
            data = self._storage.get(self._keys.part(slot, generation, number))
            if data is None:
                raise CorruptStore(
                    f"commit {record.commit.id} misses part {number} of its writes; restore a backup"
                )
            yield from unpack(data, tuple[tuple[str, Key], ...], f"a part of commit {record.commit.id}")

    def items(
        self, slot: bytes, generation: int, record: CommitRecord, writes: list[tuple[str, Key]]
    ) -> Iterator[tuple[bytes, bytes]]:
        """The objects of a commit with its writes: parts first, the commit itself last."""
        rest = [tuple(writes[at : at + PART]) for at in range(PART, len(writes), PART)]
        for number, part in enumerate(rest):
            yield self._keys.part(slot, generation, number), pack(part)
        whole = CommitRecord(record.previous, record.commit, record.wall, tuple(writes[:PART]), len(rest))
        yield self._keys.commit_at(slot, generation), pack(whole)

    # -------------------------------------------------------------------------------- places

    def point(self, state: State, branch: BranchState, seq: int) -> Point:
        """The point of a branch's own history at a sequence number, or the nearest before it."""
        if seq >= branch.seq:
            return Point(branch.id, branch.seq, branch.commit, branch.time)
        found = self.last(state, branch, seq)
        if found is None:
            return Point(branch.id, branch.fork_seq, branch.fork_commit, branch.fork_time)
        commit = found[1].commit
        return Point(branch.id, commit.seq, commit.id, commit.time)
