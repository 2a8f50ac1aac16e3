"""Maintenance of a namespace, one at a time; and purge, which erases rows from all history."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import chain, islice

import msgspec

from perdure._errors import Busy, CorruptStore, NotFound
from perdure._names import now_us
from perdure._schema import TABLES
from perdure._types import Context, Key, PurgeReport
from perdure.kit._alive import BUSY, Alive, Pulse, held_by, watch
from perdure.kit._apply import owner_id
from perdure.kit._commits import Commits
from perdure.kit._head import HeadStore, State, Tries, replace
from perdure.kit._ingest import marker_of
from perdure.kit._keys import SLOT, Keys, Slot, after, new_token, token_time
from perdure.kit._objects import BranchState, CommitRecord, Head, Maintenance, decode_row
from perdure.kit._storage import Storage

__all__ = ["Purge", "Upkeep", "manifest_digests"]

#: The token of a maintenance whose holder failed, and said so: the next one takes over at once.
CUT_SHORT = bytes(12)

#: Keys deleted between two looks whether the maintenance is still held.
BATCH = 256

_LOST = "the maintenance was silent so long that another one has taken over; run it again"

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
        self,
        ctx: Context,
        hidden: Iterable[bytes] = (),
        change: Callable[[Head], Head] | None = None,
        dead: bytes = CUT_SHORT,
    ) -> Iterator[Maintenance]:
        """Hold the namespace's maintenance; writers go on meanwhile.

        From the moment it begins, no reader sees the `hidden` rows, and every attempt at a commit that
        began before has lost. What a dead maintenance had hidden is taken over; `dead` is the token of one
        that is known to be.

        Raises:
            Busy: Another one is under way, or has taken over.
        """
        mine = self._begun(ctx, tuple(hidden), change, dead)
        try:
            with Pulse(self.storage, self.keys, self.heads, mine.token):
                yield mine
        except BaseException as error:
            lost = not held_by(self.heads, mine.token)
            self._end(mine, _set(mine, token=CUT_SHORT) if mine.hidden else None)
            if lost and isinstance(error, CorruptStore):  # the other one has deleted what was being read
                raise Busy(_LOST) from error
            raise
        self._end(mine, None)

    def _begun(
        self, ctx: Context, hidden: tuple[bytes, ...], change: Callable[[Head], Head] | None, dead: bytes
    ) -> Maintenance:
        tries = Tries(ctx)
        while True:
            state = self.heads.load()
            held = state.head.maintenance
            if held is not None and held.token not in (CUT_SHORT, dead):
                seen = watch(self.storage, self.keys, self.heads, held.token, tries)
                if seen is Alive.YES:
                    raise Busy(BUSY)
                if seen is Alive.NO:
                    dead = held.token
                continue
            # Later than any that was taken over, whose holder may wake up: see `_alive`.
            token = new_token(max(now_us(), state.since + 1))
            mine = Maintenance(token, state.head.next_generation, ((held.hidden if held else ()) + hidden))
            head = replace(
                state.head,
                maintenance=mine,
                taken_over=max(state.head.taken_over, token_time(held.token) if held else 0),
                next_generation=mine.generation + 1,
                epoch=state.head.epoch + 1,
            )
            if self.heads.swap(state, change(head) if change else head) is not None:
                return mine
            tries.lost()

    def _end(self, mine: Maintenance, then: Maintenance | None) -> None:
        """Let go, unless another one has taken over; the deadline does not count for that."""

        def ended(state: State) -> Head:
            held = state.head.maintenance
            if held is None or held.token != mine.token:
                return state.head
            return replace(state.head, maintenance=then)

        self.heads.update(Context(), ended)

    def advance(self, ctx: Context, mine: Maintenance, change: Callable[[State], Head]) -> State:
        """Move the head, and its epoch, as the holder of the maintenance.

        Raises:
            Busy: Another one has taken over.
        """

        def checked(state: State) -> Head:
            held = state.head.maintenance
            if held is None or held.token != mine.token:
                raise Busy(_LOST)
            return replace(change(state), epoch=state.head.epoch + 1)

        return self.heads.update(ctx, checked)

    def delete(self, mine: Maintenance, keys: Iterable[bytes]) -> int:
        """Delete objects while the maintenance is held; how many.

        Raises:
            Busy: Another one has taken over.
        """
        count = 0
        rest = iter(keys)
        while batch := list(islice(rest, BATCH)):
            if not held_by(self.heads, mine.token):  # after they were found: see `_alive`
                raise Busy(_LOST)
            self.storage.delete_many(batch)
            count += len(batch)
        return count

    def finish(self, ctx: Context) -> None:
        """End a purge whose holder is dead, so that nobody waits for it; leave one alone that is alive.

        Raises:
            Busy: The deadline passed first.
        """
        state = self.heads.load()
        held = state.head.maintenance
        if held is None or not held.hidden:
            return
        if held.token != CUT_SHORT:
            seen = watch(self.storage, self.keys, self.heads, held.token, Tries(ctx))
            if seen is not Alive.NO:
                return
        with suppress(Busy), self.maintenance(ctx, dead=held.token) as mine:  # Busy: somebody else ends it
            self.erase(ctx, mine)

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
        forms = (self._other_forms(slot, mine.generation if slot in rewritten else None) for slot in slots)
        self.delete(mine, chain.from_iterable(forms))
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
        self.storage.put_many([*self.commits.items(slot, generation, clean, writes)])
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
