"""`ingest`: history written with its own ids, times and authors; one swap of the head at the end."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

import msgspec
import numpy as np

from perdure._errors import Busy, Conflict, InvalidRecord
from perdure._hooks import HistoryEvent
from perdure._names import MAIN, now_us
from perdure._schema import TABLES, Row
from perdure._types import (
    Branch,
    ChangeBatch,
    Checkpoint,
    Chunk,
    Commit,
    Counter,
    IngestReport,
    Key,
    Point,
    Space,
)
from perdure.kit._branching import same_space
from perdure.kit._commits import Commits
from perdure.kit._events import check_events
from perdure.kit._head import HeadStore, State, replace
from perdure.kit._keys import Keys, Slot, token_time
from perdure.kit._objects import BranchState, CommitRecord, encode_row
from perdure.kit._score import NUMPY_DTYPE
from perdure.kit._storage import Storage
from perdure.kit._writing import attempt_token, store_chunks

__all__ = ["Ingest", "check_ingested_vector", "marker_of"]

_PAYLOAD = TABLES["states"].position["payload"]
_VALUES = TABLES["vectors"].position["values"]
_set = msgspec.structs.replace


def check_ingested_vector(space: Space | None, row: Row) -> None:
    """Refuse a row of `vectors` that no write into its space could have made.

    Raises:
        Conflict: The space is not there.
        InvalidRecord: The numbers are too many, too few, or not finite.
    """
    if space is None:
        raise Conflict(f"a vector came before its space {row[0]!r}", space=row[0])
    dtype = np.dtype(NUMPY_DTYPE[space.dtype])
    numbers = row[_VALUES]
    if (
        not isinstance(numbers, bytes)
        or len(numbers) != space.dim * dtype.itemsize
        or not np.isfinite(np.frombuffer(numbers, dtype)).all()
    ):
        raise InvalidRecord(
            f"vector {row[1]!r} is not {space.dim} finite numbers of {space.dtype}, as space {space.name!r} needs"
        )


def marker_of(keys: Keys, secret: bytes, group: bytes) -> bytes:
    """The key of a row's purge marker: it can be recognised, but not read back."""
    return keys.marker(blake2b(group[len(keys.root) + 1 :], key=secret, digest_size=32).digest())


class Ingest:
    """One run: events go in one by one, `publish` makes all of it visible at once, or nothing."""

    def __init__(self, storage: Storage, keys: Keys, heads: HeadStore) -> None:
        self._storage = storage
        self._keys = keys
        self._heads = heads
        self._start = heads.load()
        self._state = self._start
        self._commits = Commits(storage, keys)  # its own: what it learns is not committed yet
        self._token = attempt_token(self._start, now_us())
        self._open: tuple[Commit, bytes, list[tuple[str, Key]]] | None = None
        self._counters: list[Counter] = []
        self._pieces: set[str] = set()  # payload pieces that are there
        self._marked = next(storage.range(*keys.section(b"p")), None) is not None
        self._report = dict.fromkeys(IngestReport.__struct_fields__, 0)

    def run(self, events: Iterable[HistoryEvent]) -> IngestReport:
        """Take all events, then publish.

        Raises:
            Conflict: They contradict what is there, or themselves; nothing is visible.
            InvalidRecord: One is malformed.
            Busy: Another writer moved the head meanwhile.
        """
        for event in check_events(events):
            if isinstance(event, ChangeBatch):
                self._batch(event)
            elif isinstance(event, Chunk):
                self._chunk(event)
            elif isinstance(event, Branch):
                self._branch(event)
            elif isinstance(event, Space):
                self._space(event)
            elif isinstance(event, Checkpoint):
                self._checkpoint(event)
            else:
                self._counters.append(event)
        if self._state is not self._start and self._heads.swap(self._start, self._state.head) is None:
            raise Busy(
                "another writer changed the namespace during the ingest; nothing was written; run it again"
            )
        for counter in self._counters:
            self._count(counter)
        return IngestReport(**self._report)

    def _change(self, **fields: object) -> None:
        self._state = State(b"", replace(self._state.head, **fields))

    def _put_branch(self, branch: BranchState, **fields: object) -> None:
        self._change(branches={**self._state.branches, branch.id: branch}, **fields)

    # ------------------------------------------------------------------------- named things

    def _space(self, space: Space) -> None:
        old = self._state.head.spaces.get(space.name)
        if old is None:
            self._change(spaces={**self._state.head.spaces, space.name: space})
            self._report["spaces"] += 1
        elif same_space(old, space):
            self._report["known"] += 1
        else:
            raise Conflict(f"space {space.name!r} exists here with another definition", space=space.name)

    def _branch(self, branch: Branch) -> None:
        old = self._state.branches.get(branch.id)
        if old is not None:
            if (old.name, old.parent, old.fork_seq) != (branch.name, branch.parent, branch.fork_seq):
                raise Conflict(
                    f"branch {branch.id} is {old.name!r} here and {branch.name!r} there, or forked elsewhere"
                )
            self._report["known"] += 1
            return
        self._make_room(branch)
        point = Point("", 0)
        if branch.parent is not None:
            parent = self._state.branches.get(branch.parent)
            if parent is None or parent.seq < branch.fork_seq:
                raise Conflict(f"branch {branch.name!r} came before the history that it was forked from")
            owner = self._pin(branch.parent, branch.fork_seq)
            point = self._commits.point(self._state, owner, branch.fork_seq)
        number = self._state.head.next_number
        self._put_branch(
            BranchState(
                number,
                branch.id,
                branch.name,
                branch.parent,
                branch.fork_seq,
                point.commit,
                point.time,
                branch.fork_seq,
                b"",
                point.commit,
                point.time,
                branch.created_at,
                floor=branch.floor,
                pins=tuple(seq for seq in branch.pins if branch.fork_seq < seq < branch.floor),
            ),
            next_number=number + 1,
        )
        self._report["branches"] += 1

    def _make_room(self, branch: Branch) -> None:
        """The name must be free; a `main` in which nothing ever was gives way."""
        taken = self._state.by_name.get(branch.name)
        if branch.name in self._state.head.checkpoints:
            raise Conflict(f"{branch.name!r} is a checkpoint here and a branch there", name=branch.name)
        if taken is None:
            return
        used = (
            taken.slot
            or any(b.parent == taken.id for b in self._state.branches.values())
            or any(c.point.branch == taken.id for c in self._state.head.checkpoints.values())
        )
        if branch.name != MAIN or used:
            raise Conflict(
                f"there is another branch {branch.name!r} here; ingest into an empty namespace",
                name=branch.name,
            )
        self._change(branches={i: b for i, b in self._state.branches.items() if i != taken.id})

    def _pin(self, branch_id: str, seq: int) -> BranchState:
        """The branch that owns a point, with the point readable even below its floor."""
        owner = self._state.owner(branch_id, seq)
        if seq < owner.floor and seq not in owner.pins:
            owner = _set(owner, pins=tuple(sorted((*owner.pins, seq))))
            self._put_branch(owner)
        return owner

    def _checkpoint(self, checkpoint: Checkpoint) -> None:
        old = self._state.head.checkpoints.get(checkpoint.name)
        if old is not None:
            if _set(old, created_at=0) != _set(checkpoint, created_at=0):
                raise Conflict(
                    f"checkpoint {checkpoint.name!r} names another point here", name=checkpoint.name
                )
            self._report["known"] += 1
            return
        branch = self._state.branches.get(checkpoint.point.branch)
        if checkpoint.name in self._state.by_name or branch is None or branch.seq < checkpoint.point.seq:
            raise Conflict(
                f"checkpoint {checkpoint.name!r} is a branch here, or came before the history that it names"
            )
        self._pin(branch.id, checkpoint.point.seq)
        self._change(checkpoints={**self._state.head.checkpoints, checkpoint.name: checkpoint})
        self._report["checkpoints"] += 1

    # ----------------------------------------------------------------------------- commits

    def _chunk(self, chunk: Chunk) -> None:
        store_chunks(self._storage, self._keys, self._start, [chunk], self._token)
        self._pieces.add(chunk.digest)

    def _check_pieces(self, manifest: str) -> None:
        for digest in manifest.partition(":")[2].split(","):
            if not digest or digest in self._pieces:
                continue
            prefix = self._keys.chunk(digest)
            newest = next(self._storage.range(prefix, prefix + b"\xff" * 13, True), None)
            if newest is None:
                raise Conflict(f"a row came before its payload piece {digest!r}", digest=digest)
            if token_time(newest[0][-12:]) <= self._start.since:  # it may be about to go
                self._storage.put_if_absent(prefix + self._token, newest[1])
            self._pieces.add(digest)

    def _batch(self, batch: ChangeBatch) -> None:
        commit = batch.commit
        branch = self._state.branches.get(commit.branch)
        if branch is None:
            raise Conflict(f"commit {commit.id} is on branch {commit.branch}, which did not come before it")
        if self._open is None:
            before = self._start.branches.get(branch.id)
            if before is not None and commit.seq <= before.seq:
                self._check_known(before, commit)
                self._report["known"] += batch.final
                return
            self._begin(branch, before, commit)
        assert self._open is not None
        commit, slot, writes = self._open
        self._rows(batch, slot, writes)
        if batch.final:
            self._open = None
            self._finish(branch, commit, slot, writes)

    def _check_known(self, branch: BranchState, commit: Commit) -> None:
        known = self._commits.find(self._state, commit.id)
        if known is None and commit.seq <= branch.floor:
            return
        if known is None or (known[0].id, known[2].commit.seq) != (branch.id, commit.seq):
            raise Conflict(
                f"branch {branch.name!r} has another commit at {commit.seq}; ingest into an empty or older namespace",
                commit=commit.id,
            )

    def _begin(self, branch: BranchState, before: BranchState | None, commit: Commit) -> None:
        if commit.seq <= branch.seq or commit.time < branch.time:
            raise Conflict(
                f"commit {commit.id} does not come after the one before it on branch {branch.name!r}"
            )
        if (
            before is not None
            and before.seq == branch.seq
            and before.commit
            and commit.parents[:1] != (before.commit,)
        ):
            raise Conflict(
                f"branch {branch.name!r} went another way here; ingest into an empty or older namespace"
            )
        if self._commits.find(self._state, commit.id) is not None:
            raise Conflict(f"commit {commit.id} is there already, at another place", commit=commit.id)
        slot = Slot(branch.number, commit.seq, self._token).pack()
        self._open = (self._without_purged(commit), slot, [])

    def _rows(self, batch: ChangeBatch, slot: bytes, writes: list[tuple[str, Key]]) -> None:
        items = []
        for change in batch.changes:
            group = self._group(change.table, change.key)
            if self._purged(group, batch.commit.time):
                self._report["purged"] += 1
                continue
            if self._start.hidden and self._start.is_hidden(group):
                raise Busy("a purge of rows of this history has not ended; run the ingest again after it")
            if change.table == "vectors" and change.row is not None:
                check_ingested_vector(self._state.head.spaces.get(change.key[0]), change.row)
            if change.table == "states" and change.row is not None:
                self._check_pieces(str(change.row[_PAYLOAD] or ""))
            items.append((group + slot, encode_row(change.table, change.key, change.row)))
            writes.append((change.table, change.key))
        if self._storage.put_many(items) != len(items):
            raise InvalidRecord(f"commit {batch.commit.id} changes a row twice", commit=batch.commit.id)
        self._report["rows"] += len(items)

    def _finish(
        self, branch: BranchState, commit: Commit, slot: bytes, writes: list[tuple[str, Key]]
    ) -> None:
        writes.sort()
        record = CommitRecord(branch.slot, commit, now_us(), (), 0)
        items = [*self._commits.items(slot, 0, record, writes), (self._keys.by_id(commit.id) + slot, b"")]
        self._storage.put_many(items)
        floor_time = commit.time if commit.seq <= branch.floor else branch.floor_time
        self._put_branch(
            _set(branch, seq=commit.seq, slot=slot, commit=commit.id, time=commit.time, floor_time=floor_time)
        )
        self._report["commits"] += 1

    def _group(self, table: str, key: Key) -> bytes:
        group = self._keys.group(table, key)
        assert group is not None  # keys were checked
        return group

    def _without_purged(self, commit: Commit) -> Commit:
        """A commit whose record of what it took does not mention what was purged since."""

        def kept(table: str, key: Key) -> bool:
            return not self._purged(self._group(table, key), commit.time)

        if not (self._marked and commit.picks):
            return commit
        return _set(
            commit,
            picks=tuple(
                p if p.keys is None else _set(p, keys=tuple(key for key in p.keys if kept(p.table, key)))
                for p in commit.picks
            ),
        )

    def _purged(self, group: bytes, time: int) -> bool:
        """Whether the row was purged at that time or later."""
        if not self._marked:
            return False
        stamp = self._storage.get(marker_of(self._keys, self._start.head.secret, group))
        return stamp is not None and time <= int.from_bytes(stamp, "big", signed=True)

    # ---------------------------------------------------------------------------- counters

    def _count(self, counter: Counter) -> None:
        """Counters only grow: of two states of one, the greater is the newer."""
        group = self._group(counter.table, counter.key)
        if self._purged(group, -(2**63) if counter.accessed_at is None else counter.accessed_at):
            return
        place = self._keys.counter(group)
        while True:
            old = self._storage.get(place)
            new = (counter.accessed_at, counter.access_count)
            if old is not None:
                last, count = msgspec.msgpack.decode(old, type=tuple[int | None, int])
                times = [t for t in (last, counter.accessed_at) if t is not None]
                new = (max(times, default=None), max(count, counter.access_count))
            if self._storage.compare_and_swap(place, old, msgspec.msgpack.encode(new)):
                return
