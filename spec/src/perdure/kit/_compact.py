"""Compaction: which points stay readable, and what nothing needs any more."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations, groupby, islice
from typing import NamedTuple

import msgspec

from perdure._errors import Busy
from perdure._names import now_us
from perdure._types import CompactReport, CompactRequest, Context
from perdure.kit._commits import Commits
from perdure.kit._head import State, head_point, replace
from perdure.kit._keys import SLOT, Slot, token_time
from perdure.kit._objects import BranchState, CommitRecord, Head, Maintenance, is_tombstone
from perdure.kit._upkeep import Upkeep, manifest_digests

__all__ = ["compact"]

#: Clocks of writers may differ by so many microseconds.
SKEW = 60_000_000

_set = msgspec.structs.replace


class _Keep(NamedTuple):
    """What stays readable of a branch: every point from `floor` on, and `pins` below it."""

    floor: int
    floor_time: int
    pins: tuple[int, ...]


def compact(upkeep: Upkeep, ctx: Context, request: CompactRequest) -> CompactReport:
    """Drop versions, commits and payload pieces that no readable point needs, and what crashes left.

    Raises:
        Busy: Another maintenance is under way, or a branch or checkpoint was made meanwhile at a point
            that was about to go.
    """
    with upkeep.maintenance(ctx) as mine:
        if mine.hidden:
            upkeep.erase(ctx, mine)
        report = _Compaction(upkeep, ctx, mine, request).run()
    upkeep.storage.reclaim()
    return report


class _Compaction:
    """One run. Reads and plans first, then moves the head, then deletes."""

    def __init__(self, upkeep: Upkeep, ctx: Context, mine: Maintenance, request: CompactRequest) -> None:
        self._upkeep = upkeep
        self._ctx = ctx
        self._mine = mine
        self._request = request
        self._storage = upkeep.storage
        self._keys = upkeep.keys
        self._commits: Commits = upkeep.commits
        self._state = upkeep.heads.load()
        self._cutoff = token_time(mine.token) - min(request.lease, SKEW)
        self._doomed: list[bytes] = []
        self._freed = 0
        self._used: set[bytes] = set()
        self._dropped: set[bytes] = set()
        self._digests: set[str] = set()

    def run(self) -> CompactReport:
        """Do all of it."""
        plan = plan_of(self._state, self._commits, self._request)
        versions = self._rows(plan)
        rewritten = {
            branch.number for branch in self._state.branches.values() if self._relink(branch, plan[branch.id])
        }

        def accept(state: State) -> Head:
            self._check_needed(state, plan)
            return replace(
                state.head,
                branches={i: self._kept(b, plan.get(i), rewritten) for i, b in state.branches.items()},
            )

        state = self._upkeep.advance(self._ctx, self._mine, accept)
        self._history(state)
        chunks = self._chunks()
        self._upkeep.delete(self._mine, self._doomed)
        return CompactReport(versions, len(self._dropped), chunks, 0, self._freed)

    def _kept(self, branch: BranchState, keep: _Keep | None, rewritten: set[int]) -> BranchState:
        if keep is None:
            return branch
        more = (self._mine.generation,) if branch.number in rewritten else ()
        return _set(
            branch,
            floor=keep.floor,
            floor_time=keep.floor_time,
            pins=keep.pins,
            generations=(*branch.generations, *more),
        )

    def _check_needed(self, state: State, plan: Mapping[str, _Keep]) -> None:
        for branch_id, seq in _names_of(state):
            keep = plan.get(branch_id)
            if keep is not None and seq < keep.floor and seq not in keep.pins:
                raise Busy("a branch or checkpoint was made at a point that was about to go; compact again")

    def _doom(self, key: bytes, value: bytes) -> None:
        self._doomed.append(key)
        self._freed += len(key) + len(value)

    def _garbage(self, slot: bytes) -> bool:
        """Whether an attempt that was not committed can never be: it began before this maintenance."""
        return token_time(slot[12:]) < self._cutoff

    # ------------------------------------------------------------------------------------ rows

    def _rows(self, plan: Mapping[str, _Keep]) -> int:
        """Doom row versions; how many committed ones."""
        versions = 0
        states = self._keys.rows("states")
        items = self._storage.range(*self._keys.section(b"r"))
        for (group, number), found in groupby(
            items, lambda item: (item[0][:-SLOT], item[0][-SLOT : 4 - SLOT])
        ):
            branch = self._state.by_number.get(int.from_bytes(number, "big"))
            versions_here: list[tuple[bytes, bytes]] = []
            for key, value in found:
                slot = key[-SLOT:]
                if branch is not None and self._commits.committed(self._state, branch, slot):
                    versions_here.append((key, value))
                elif self._gone(slot) or self._garbage(slot):
                    self._doom(key, value)
                elif group.startswith(states):
                    self._digests.update(manifest_digests(value))
            if branch is None:
                continue
            keep = _survivors(versions_here, branch, plan[branch.id])
            for key, value in versions_here:
                if key in keep:
                    self._used.add(key[-SLOT:])
                    if group.startswith(states):
                        self._digests.update(manifest_digests(value))
                else:
                    self._doom(key, value)
                    versions += 1
        return versions

    def _gone(self, slot: bytes) -> bool:
        """Whether a slot is of a branch that was deleted."""
        number = Slot.parse(slot).number
        return number < self._state.head.next_number and number not in self._state.by_number

    # --------------------------------------------------------------------------------- commits

    def _relink(self, branch: BranchState, keep: _Keep) -> bool:
        """Choose the commits to drop, and write the new forms of those that pointed to them."""
        needed = sorted((*keep.pins, keep.floor), reverse=True)
        above: tuple[bytes, CommitRecord] | None = None
        gap = changed = False
        for slot, record in self._commits.walk(
            self._state, branch, branch.fork_seq, keep.floor, newest_first=True
        ):
            commit = record.commit
            is_needed = bool(needed) and commit.seq <= needed[0]
            while needed and commit.seq <= needed[0]:
                needed.pop(0)
            if is_needed or slot in self._used or commit.vector or commit.picks:
                changed |= self._link(branch, above, slot, gap)
                above, gap = (slot, record), False
            else:
                self._dropped.add(slot)
                gap = True
        return self._link(branch, above, b"", gap) or changed

    def _link(
        self, branch: BranchState, above: tuple[bytes, CommitRecord] | None, below: bytes, gap: bool
    ) -> bool:
        if above is None or not gap:
            return False
        slot, record = above
        generation = self._commits.record(branch, slot)[0]
        writes = list(self._commits.writes(slot, generation, record))
        linked = CommitRecord(below, record.commit, record.wall, (), 0)
        self._storage.put_many([*self._commits.items(slot, self._mine.generation, linked, writes)])
        return True

    def _history(self, state: State) -> None:
        """Doom commits that were dropped, their old forms, parts and index entries; and garbage."""
        at = len(self._keys.root) + 1
        current: dict[bytes, int] = {}
        for key, value in self._storage.range(*self._keys.section(b"c")):
            slot, generation = self._keys.commit_slot(key)
            if not self._alive(state, slot):
                if slot in self._dropped or self._gone(slot) or self._garbage(slot):
                    self._doom(key, value)
                continue
            if slot not in current:
                current[slot] = self._commits.record(state.by_number[Slot.parse(slot).number], slot)[0]
            if generation != current[slot]:
                self._doom(key, value)
        for key, value in self._storage.range(*self._keys.section(b"i")):
            slot = key[-SLOT:]
            if not self._alive(state, slot) and (
                slot in self._dropped or self._gone(slot) or self._garbage(slot)
            ):
                self._doom(key, value)
        for key, value in self._storage.range(*self._keys.section(b"w")):
            slot, generation = key[at : at + SLOT], int.from_bytes(key[at + SLOT : at + SLOT + 4], "big")
            known = current.get(slot)
            if known != generation and (
                known is not None or slot in self._dropped or self._gone(slot) or self._garbage(slot)
            ):
                self._doom(key, value)

    def _alive(self, state: State, slot: bytes) -> bool:
        branch = state.by_number.get(Slot.parse(slot).number)
        return branch is not None and self._commits.committed(state, branch, slot)

    def _chunks(self) -> int:
        """Doom payload pieces that nothing refers to; how many."""
        count = 0
        at = len(self._keys.root) + 1
        items = self._storage.range(*self._keys.section(b"b"))
        for digest, copies in groupby(items, lambda item: item[0][at:-12].hex()):
            if digest in self._digests:
                continue
            old = [
                (key, value) for key, value in copies if token_time(key[-12:]) < token_time(self._mine.token)
            ]
            count += bool(old)
            for key, value in old:
                self._doom(key, value)
        return count


def _survivors(versions: list[tuple[bytes, bytes]], branch: BranchState, keep: _Keep) -> set[bytes]:
    """The keys of a row's own versions on a branch, oldest first, that a readable point shows."""
    seqs = [int.from_bytes(key[4 - SLOT : 12 - SLOT], "big") for key, _ in versions]
    kept = {key for (key, _), seq in zip(versions, seqs, strict=True) if seq > keep.floor}
    for limit in (*keep.pins, keep.floor):
        below = bisect_right(seqs, limit)
        kept.update(key for key, _ in versions[max(below - 1, 0) : below])
    if branch.parent is None:  # nothing lies below a root, so that its oldest version hides nothing
        for (key, value), seq in zip(versions, seqs, strict=True):
            if key in kept:
                if seq > keep.floor or not is_tombstone(value):
                    break
                kept.discard(key)
    return kept


# ------------------------------------------------------------------------------------------------ plan


def plan_of(state: State, commits: Commits, request: CompactRequest) -> dict[str, _Keep]:
    """Branch id → what stays readable."""
    pins: dict[str, set[int]] = {branch_id: set() for branch_id in state.branches}
    for branch_id, seq in (*_names_of(state), *_merge_bases(state, commits)):
        pins[branch_id].add(seq)
    plan = {}
    for branch in state.branches.values():
        floor, time = _floor(state, commits, branch, request)
        below = tuple(sorted(seq for seq in pins[branch.id] if _readable(branch, seq) and seq < floor))
        plan[branch.id] = _Keep(floor, time, below)
    return plan


def _readable(branch: BranchState, seq: int) -> bool:
    return seq >= branch.floor or seq in branch.pins


def _floor(state: State, commits: Commits, branch: BranchState, request: CompactRequest) -> tuple[int, int]:
    """The new floor of a branch and the time of its commit: the lowest that the window or the lease asks for."""
    old = (branch.floor, branch.floor_time)
    if not branch.slot:
        return old
    wanted = [
        _leased(commits.walk(state, branch, branch.fork_seq, branch.seq, True), now_us() - request.lease)
    ]
    if request.keep_commits is not None:
        newest = commits.walk(state, branch, branch.fork_seq, branch.seq, True)
        wanted.append(next(islice(newest, max(request.keep_commits - 1, 0), None), None))
    if request.keep_since is not None:
        wanted.append(commits.last_before(state, branch, request.keep_since, branch.seq))
    places = [None if found is None else (found[1].commit.seq, found[1].commit.time) for found in wanted]
    if None in places:
        return old
    return max(old, min(place for place in places if place is not None))


def _leased(
    newest_first: Iterable[tuple[bytes, CommitRecord]], since: int
) -> tuple[bytes, CommitRecord] | None:
    """The commit that was the head when the lease began."""
    return next((found for found in newest_first if found[1].wall <= since), None)


def _names_of(state: State) -> Iterator[tuple[str, int]]:
    """(branch id, seq) of every fork and checkpoint."""
    for branch in state.branches.values():
        if branch.parent is not None:
            yield state.owner(branch.parent, branch.fork_seq).id, branch.fork_seq
    for checkpoint in state.head.checkpoints.values():
        point = checkpoint.point
        yield state.owner(point.branch, point.seq).id, point.seq


def _merge_bases(state: State, commits: Commits) -> Iterator[tuple[str, int]]:
    """(branch id, seq) of every point that a later merge of two heads may start from."""
    merges: dict[str, list[CommitRecord]] = {}
    for branch in state.branches.values():
        walked = commits.walk(state, branch, branch.fork_seq, branch.seq)
        merges[branch.id] = [record for _, record in walked if record.commit.vector or record.commit.picks]
    vectors = []
    for branch in state.branches.values():
        vector: dict[str, int] = {}
        for number, upto in state.lineage(head_point(branch)):
            owner = state.by_number[number]
            vector[owner.id] = max(upto, vector.get(owner.id, 0))
            for record in merges[owner.id]:
                if record.commit.seq <= upto:
                    for other, seq in record.commit.vector.items():
                        vector[other] = max(seq, vector.get(other, 0))
        vectors.append(vector)
    for a, b in combinations(vectors, 2):
        for branch_id in a.keys() & b.keys() & state.branches.keys():
            seq = min(a[branch_id], b[branch_id])
            yield state.owner(branch_id, seq).id, seq
    for records in merges.values():
        for record in records:
            for pick in record.commit.picks:
                if pick.source.branch in state.branches:
                    yield state.owner(pick.source.branch, pick.source.seq).id, pick.source.seq
