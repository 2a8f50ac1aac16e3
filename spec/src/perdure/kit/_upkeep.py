"""Maintenance of a namespace, one at a time; and purge, which erases rows from all history."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice

import msgspec

from perdure._errors import Busy, NotFound
from perdure._names import now_us
from perdure._schema import TABLES
from perdure._types import Context, Key, PurgeReport
from perdure.kit._apply import owner_id
from perdure.kit._commits import Commits
from perdure.kit._head import HeadStore, State, replace
from perdure.kit._ingest import marker_of
from perdure.kit._keys import SLOT, Keys, Slot, after, new_token, token_time
from perdure.kit._objects import BranchState, CommitRecord, Head, Maintenance, decode_row
from perdure.kit._storage import Storage

__all__ = ["Purge", "Upkeep", "manifest_digests"]

#: After this time, in microseconds, a maintenance that did not end is taken to be dead.
GIVEN_UP = 600_000_000

#: Keys purged at a time, so that the head stays small.
KEYS = 500

_PAYLOAD = TABLES["states"].position["payload"]
_set = msgspec.structs.replace


def manifest_digests(data: bytes) -> list[str]:
    """The payload pieces that a stored row of `states` refers to."""
    row = decode_row("states", data)
    manifest = None if row is None else row[_PAYLOAD]
    return (
        manifest.partition(":")[2].split(",")
        if isinstance(manifest, str) and manifest.partition(":")[2]
        else []
    )


class Upkeep:
    """Lets one compaction or purge at a time at a namespace."""

    def __init__(self, storage: Storage, keys: Keys, heads: HeadStore, commits: Commits) -> None:
        self.storage = storage
        self.keys = keys
        self.heads = heads
        self.commits = commits

    @contextmanager
    def maintenance(
        self, ctx: Context, hidden: Iterable[bytes] = (), change: Callable[[Head], Head] | None = None
    ) -> Iterator[Maintenance]:
        """Hold the namespace's maintenance; writers go on meanwhile.

        From the moment it begins, no reader sees the `hidden` rows, and every attempt at a commit that
        began before has lost. What a dead maintenance had hidden is taken over.

        Raises:
            Busy: Another one is under way.
        """
        token = new_token(now_us())
        mine = Maintenance(token, 0)

        def begin(state: State) -> Head:
            nonlocal mine
            old = state.head.maintenance
            if old is not None and token_time(token) - token_time(old.token) < GIVEN_UP:
                raise Busy("another compaction or purge is under way; try again when it has ended")
            left = old.hidden if old else ()
            mine = Maintenance(token, state.head.next_generation, (*left, *hidden))
            head = replace(
                state.head,
                maintenance=mine,
                next_generation=mine.generation + 1,
                epoch=state.head.epoch + 1,
            )
            return change(head) if change else head

        self.heads.update(ctx, begin)
        try:
            yield mine
        except BaseException:
            # The next one may take over at once.
            self.heads.update(ctx, lambda state: self._ended(state, mine, _set(mine, token=bytes(12))))
            raise
        self.heads.update(ctx, lambda state: self._ended(state, mine, None))

    def _ended(self, state: State, mine: Maintenance, then: Maintenance | None) -> Head:
        if not self._holds(state, mine):
            return state.head
        if then is not None and not then.hidden:
            then = None
        return replace(state.head, maintenance=then)

    def _holds(self, state: State, mine: Maintenance) -> bool:
        held = state.head.maintenance
        return held is not None and held.token == mine.token

    def advance(self, ctx: Context, mine: Maintenance, change: Callable[[State], Head]) -> State:
        """Move the head, and its epoch, as the holder of the maintenance.

        Raises:
            Busy: It took so long that another one has taken over.
        """

        def checked(state: State) -> Head:
            if not self._holds(state, mine):
                raise Busy("the maintenance took so long that another one has taken over")
            return replace(change(state), epoch=state.head.epoch + 1)

        return self.heads.update(ctx, checked)

    def delete(self, mine: Maintenance, keys: Iterable[bytes]) -> int:
        """Delete objects while the maintenance is surely still held; how many.

        Raises:
            Busy: It took so long that another one may have taken over.
        """
        count = 0
        for key in keys:
            if count % 256 == 0 and now_us() - token_time(mine.token) > GIVEN_UP // 2:
                raise Busy("the maintenance takes too long; run it again to go on where it stopped")
            self.storage.delete(key)
            count += 1
        return count

    # ------------------------------------------------------------------------------------ erasing

    def erase(self, ctx: Context, mine: Maintenance) -> tuple[dict[bytes, int], int]:
        """Erase all versions of the hidden rows and every mention of their keys.

        Returns:
            Group → how many committed versions it had; and how many payload pieces went.
        """
        state = self.heads.load()
        found: dict[bytes, int] = {}
        rows: list[bytes] = []
        slots: dict[bytes, None] = {}
        digests: set[str] = set()
        for prefix in dict.fromkeys(mine.hidden):
            for key, value in self.storage.range(prefix, after(prefix)):
                group, slot = key[:-SLOT], key[-SLOT:]
                rows.append(key)
                slots[slot] = None
                found[group] = found.get(group, 0) + (self._branch_of(state, slot) is not None)
                if prefix.startswith(self.keys.rows("states")):
                    digests.update(manifest_digests(value))
        rewritten = {slot for slot in slots if self._rewrite(state, slot, mine.generation, set(found))}
        numbers = {Slot.parse(slot).number for slot in rewritten}

        def accept(now: State) -> Head:
            return replace(
                now.head,
                branches={
                    i: _set(b, generations=(*b.generations, mine.generation)) if b.number in numbers else b
                    for i, b in now.branches.items()
                },
            )

        if numbers:
            self.advance(ctx, mine, accept)
        self.delete(mine, rows)
        for slot in slots:
            self.delete(mine, self._other_forms(slot, mine.generation if slot in rewritten else None))
        self.delete(mine, (self.keys.counter(group) for group in found))
        return found, self._drop_chunks(mine, digests)

    def _branch_of(self, state: State, slot: bytes) -> BranchState | None:
        branch = state.by_number.get(Slot.parse(slot).number)
        return branch if branch is not None and self.commits.committed(state, branch, slot) else None

    def _rewrite(self, state: State, slot: bytes, generation: int, groups: set[bytes]) -> bool:
        """Write a committed commit's new form, which does not mention the rows."""
        branch = self._branch_of(state, slot)
        if branch is None:
            return False
        current, record = self.commits.record(branch, slot)

        def kept(entry: tuple[str, Key]) -> bool:
            return self.keys.group(*entry) not in groups

        writes = [entry for entry in self.commits.writes(slot, current, record) if kept(entry)]
        picks = tuple(
            p if p.keys is None else _set(p, keys=tuple(key for key in p.keys if kept((p.table, key))))
            for p in record.commit.picks
        )
        clean = CommitRecord(record.previous, _set(record.commit, picks=picks), record.wall, (), 0)
        self.storage.put_many(self.commits.items(slot, generation, clean, writes))
        return True

    def _other_forms(self, slot: bytes, generation: int | None) -> list[bytes]:
        """The objects of a commit in all generations but one."""
        keep = None if generation is None else generation.to_bytes(4, "big")
        found = []
        for start, width in ((self.keys.commit_at(slot, 0)[:-4], 4), (self.keys.part(slot, 0, 0)[:-8], 8)):
            for key, _ in self.storage.range(start, start + b"\xff" * 9):
                if len(key) == len(start) + width and key[len(start) : len(start) + 4] != keep:
                    found.append(key)
        return found

    def _drop_chunks(self, mine: Maintenance, digests: set[str]) -> int:
        """Drop pieces that no row refers to any more."""
        if not digests:
            return 0
        prefix = self.keys.rows("states")
        for _, value in self.storage.range(prefix, after(prefix)):
            digests.difference_update(manifest_digests(value))
        return sum(bool(self.delete(mine, self.old_copies(mine, digest))) for digest in sorted(digests))

    def old_copies(self, mine: Maintenance, digest: str) -> list[bytes]:
        """The copies of a piece that are older than the maintenance: no writer counts on them since."""
        prefix = self.keys.chunk(digest)
        copies = self.storage.range(prefix, prefix + b"\xff" * 13)
        return [key for key, _ in copies if token_time(key[-12:]) < token_time(mine.token)]


class Purge:
    """Erases rows from all history on all branches."""

    def __init__(self, upkeep: Upkeep) -> None:
        self._upkeep = upkeep
        self._keys = upkeep.keys

    def rows(self, ctx: Context, table: str, keys: Sequence[Key]) -> PurgeReport:
        """Purge rows of a table, with the vectors that embed them, and leave markers."""
        total = PurgeReport()
        wanted = iter(dict.fromkeys(keys))
        while some := list(islice(wanted, KEYS)):
            part = self._some(ctx, table, some)
            total = PurgeReport(
                total.keys + part.keys,
                total.versions + part.versions,
                total.vectors + part.vectors,
                total.chunks + part.chunks,
            )
        return total

    def _some(self, ctx: Context, table: str, keys: Sequence[Key]) -> PurgeReport:
        head = self._upkeep.heads.load().head
        spaces = [space.name for space in head.spaces.values() if space.table == table]
        own = {group for key in keys if (group := self._keys.group(table, key)) is not None}
        bound = {
            group
            for key in keys
            for name in spaces
            if (group := self._keys.group("vectors", (name, owner_id(key)))) is not None
        }
        self._mark(head, own | bound)
        with self._upkeep.maintenance(ctx, own | bound) as mine:
            erased, chunks = self._upkeep.erase(ctx, mine)
        found = {group: count for group, count in erased.items() if count}
        return PurgeReport(
            keys=len(own & found.keys()),
            versions=sum(count for group, count in found.items() if group in own),
            vectors=len(bound & found.keys()),
            chunks=chunks,
        )

    def _mark(self, head: Head, groups: set[bytes]) -> None:
        """Leave a marker for each row, no earlier than any commit; the newest time counts."""
        newest = max(now_us(), *(branch.time for branch in head.branches.values()))
        stamp = newest.to_bytes(8, "big", signed=True)
        for group in groups:
            key = marker_of(self._keys, head.secret, group)
            while (old := self._upkeep.storage.get(key)) is None or old < stamp:
                if self._upkeep.storage.compare_and_swap(key, old, stamp):
                    break

    def space(self, ctx: Context, name: str) -> PurgeReport:
        """Drop a space, and purge its vectors."""

        def drop(head: Head) -> Head:
            if name not in head.spaces:
                raise NotFound(f"there is no space {name!r}; list them with store.spaces", space=name)
            return replace(head, spaces={n: s for n, s in head.spaces.items() if n != name})

        drop(self._upkeep.heads.load().head)
        prefix = self._keys.rows("vectors") + name.encode() + b"\0"
        with self._upkeep.maintenance(ctx, [prefix], drop) as mine:
            erased, _ = self._upkeep.erase(ctx, mine)
        found = [count for group, count in erased.items() if count and group.startswith(prefix)]
        return PurgeReport(keys=len(found), versions=sum(found), vectors=len(found))
