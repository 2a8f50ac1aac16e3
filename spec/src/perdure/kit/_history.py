"""Commits and what they left: the log, the feed of changes, and what was touched."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from perdure._errors import CorruptStore, HistoryExpired
from perdure._types import At, Change, ChangeBatch, Commit, Key, Stats
from perdure.kit._commits import Commits
from perdure.kit._head import HeadStore, State
from perdure.kit._keys import CODES, SLOT, Keys, Slot
from perdure.kit._objects import BranchState, CommitRecord, decode_row
from perdure.kit._reading import Reader
from perdure.kit._storage import Storage

__all__ = ["History"]

#: Commits read between two looks at the head, and changes in a batch.
PAGE = 256
CHANGES = 1_000

_Walked = tuple[bytes, CommitRecord]


class History:
    """Answers what happened on the branches of one namespace."""

    def __init__(
        self, storage: Storage, keys: Keys, heads: HeadStore, commits: Commits, reader: Reader
    ) -> None:
        self._storage = storage
        self._keys = keys
        self._heads = heads
        self._commits = commits
        self._reader = reader

    def log(
        self, branch: str, after_seq: int, upto: int, merges: bool, newest_first: bool
    ) -> Iterator[Commit]:
        """Own commits of a branch."""
        self._heads.load().identified(branch)
        found = (record.commit for _, record in self._walk(branch, after_seq, upto, newest_first))
        return (commit for commit in found if commit.vector or commit.picks) if merges else found

    def _walk(
        self, branch_id: str, after_seq: int, upto: int, newest_first: bool = False
    ) -> Iterator[_Walked]:
        def page(state: State) -> list[_Walked]:
            branch = state.identified(branch_id)
            return list(islice(self._commits.walk(state, branch, after_seq, upto, newest_first), PAGE))

        while found := self._heads.steady(page):
            yield from found
            if len(found) < PAGE:
                return
            if newest_first:
                upto = found[-1][1].commit.seq - 1
            else:
                after_seq = found[-1][1].commit.seq

    def get_commits(self, ids: Sequence[str]) -> list[Commit | None]:
        """Commits by id."""

        def read(state: State) -> list[Commit | None]:
            found = [self._commits.find(state, commit_id) for commit_id in ids]
            return [None if item is None else item[2].commit for item in found]

        return self._heads.steady(read)

    # --------------------------------------------------------------------------------- changes

    def changes(self, branch_id: str, after_seq: int, upto: int, compacted: bool) -> Iterator[ChangeBatch]:
        """Own commits with the rows they left."""
        branch = self._heads.load().identified(branch_id)
        if not compacted:
            _check_floor(branch, after_seq)
        return self._changes(branch_id, after_seq, upto, compacted)

    def _changes(self, branch_id: str, after_seq: int, upto: int, compacted: bool) -> Iterator[ChangeBatch]:
        for slot, record in self._walk(branch_id, after_seq, upto):
            if not compacted:
                _check_floor(self._heads.load().identified(branch_id), after_seq)
            entries = self._entries(branch_id, slot)
            batch = list(islice(entries, CHANGES))
            while True:
                more = list(islice(entries, CHANGES))
                changes = tuple(self._left(branch_id, slot, record.commit, batch))
                yield ChangeBatch(record.commit, changes, final=not more)
                if not more:
                    break
                batch = more

    def _entries(self, branch_id: str, slot: bytes) -> Iterator[tuple[str, Key]]:
        """What a commit wrote; the list is read whole, so that no purge can come in between."""

        def read(state: State) -> list[tuple[str, Key]]:
            generation, record = self._commits.record(state.identified(branch_id), slot)
            return list(self._commits.writes(slot, generation, record))

        return iter(self._heads.steady(read))

    def _left(
        self, branch_id: str, slot: bytes, commit: Commit, entries: list[tuple[str, Key]]
    ) -> Iterator[Change]:
        groups = [self._keys.group(table, key) or b"" for table, key in entries]
        values = self._storage.get_many([group + slot for group in groups])
        state = self._heads.load()
        branch = state.identified(branch_id)
        lost: list[tuple[str, Key]] = []
        for entry, group, value in zip(entries, groups, values, strict=True):
            if value is not None and not (state.hidden and state.is_hidden(group)):
                yield Change(entry[0], entry[1], decode_row(entry[0], value))
            elif value is None and commit.seq > branch.floor:
                lost.append(entry)
        if lost and not set(lost).isdisjoint(
            self._entries(branch_id, slot)
        ):  # else a purge took them just now
            raise CorruptStore(
                f"commit {commit.id} misses rows that it wrote, such as {lost[0]}; restore a backup",
                commit=commit.id,
            )

    def touched(self, branch_id: str, after_seq: int, upto: int) -> Iterator[tuple[str, Key]]:
        """(table, key) of each row whose state may differ between two own points."""

        def check(state: State) -> None:
            branch = state.identified(branch_id)
            for seq in (after_seq, upto):
                owner = state.owner(branch.id, seq)
                state.check_readable(owner, min(seq, owner.seq))

        def read(state: State) -> list[tuple[str, Key]]:
            check(state)
            branch = state.identified(branch_id)
            found: set[tuple[str, Key]] = set()
            for slot, record in self._commits.walk(state, branch, after_seq, upto):
                generation = self._commits.record(branch, slot)[0] if record.parts else 0
                found.update(self._commits.writes(slot, generation, record))
            return sorted(found)

        return iter(self._heads.steady(read))

    # ----------------------------------------------------------------------------------- stats

    def stats(self, at: At) -> Stats:
        """Figures of the namespace; reads all of it once."""
        state, point = self._reader.place(at)
        versions = dict.fromkeys(CODES, 0)
        names = {code[0]: name for name, code in CODES.items()}
        root = len(self._keys.root)
        store = payload = 0
        for key, value in self._storage.range(self._keys.root, self._keys.end):
            store += len(key) + len(value)
            letter = key[root : root + 1]
            if letter == b"b":
                payload += len(value)
            elif letter == b"r":
                slot = key[-SLOT:]
                branch = state.by_number.get(Slot.parse(slot).number)
                if branch is not None and self._commits.committed(state, branch, slot):
                    versions[names[key[root + 1]]] += 1
        return Stats(
            branch=state.identified(point.branch).name,
            rows={table: self._reader.count(table, None, point) for table in versions},
            versions=versions,
            commits=sum(
                1 for b in state.branches.values() for _ in self._commits.walk(state, b, b.fork_seq, b.seq)
            ),
            branches=len(state.branches),
            checkpoints=len(state.head.checkpoints),
            spaces=len(state.head.spaces),
            payload_bytes=payload,
            store_bytes=store,
        )


def _check_floor(branch: BranchState, after_seq: int) -> None:
    if after_seq < branch.floor:
        raise HistoryExpired(
            f"commits of {branch.name!r} after {after_seq} were dropped by compaction; the oldest to start from is "
            f"{branch.floor}",
            branch=branch.id,
            floor=branch.floor,
        )
