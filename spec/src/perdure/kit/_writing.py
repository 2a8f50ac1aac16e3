"""Commits: immutable objects first, then one swap of the head."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import msgspec

from perdure._errors import Busy, CorruptStore, InvalidRecord, StaleHead
from perdure._names import now_us
from perdure._schema import Row, Table
from perdure._types import Chunk, Commit, CommitRequest, Committed, Context, Key, Point
from perdure.kit._apply import Heads, Write, apply
from perdure.kit._batches import check_chunk
from perdure.kit._commits import Commits
from perdure.kit._head import HeadStore, State, Tries, head_point, with_branch
from perdure.kit._keys import Keys, Slot, new_token, token_time
from perdure.kit._objects import BranchState, CommitRecord, decode_row, encode_row
from perdure.kit._reading import Reader
from perdure.kit._rows import Rows
from perdure.kit._storage import Storage

__all__ = ["BranchRows", "Writer", "attempt_token", "locked", "store_chunks"]

_UNSET = msgspec.UNSET
_encode = msgspec.msgpack.encode


@contextmanager
def locked(lock: threading.Lock, tries: Tries) -> Iterator[None]:
    """Hold a lock of this process: its writers queue here instead of racing for the head.

    Raises:
        Busy: The deadline passed first.
    """
    if not lock.acquire(timeout=tries.left()):
        raise Busy("another writer of this process holds the namespace; nothing was written; try again")
    try:
        yield
    finally:
        lock.release()


def store_chunks(storage: Storage, keys: Keys, state: State, chunks: Iterable[Chunk], token: bytes) -> int:
    """Store payload pieces that are not there; how many were new.

    Copies that are as old as a compaction under way, or as one that died, may be about to go, and do not count.

    Raises:
        InvalidRecord: One does not hash to its name.
    """
    stored = 0
    for chunk in chunks:
        check_chunk(chunk)
        prefix = keys.chunk(chunk.digest)
        newest = next(storage.range(prefix, prefix + b"\xff" * 13, True), None)
        if newest is None or token_time(newest[0][-12:]) <= state.since:
            stored += storage.put_if_absent(prefix + token, chunk.data)
    return stored


class BranchRows:
    """How `apply` reads the branch that is written to."""

    def __init__(self, rows: Rows, keys: Keys, state: State, branch: BranchState) -> None:
        self._rows = rows
        self._keys = keys
        self._state = state
        self._lineage = state.lineage(head_point(branch))

    def rows(self, table: Table, keys: Sequence[Key]) -> Mapping[Key, Row]:
        """The live rows among `keys`."""
        groups: dict[bytes, Key] = {}
        for key in keys:
            group = self._keys.group(table.name, key)
            if group is None:
                raise InvalidRecord(
                    f"{key!r} cannot be a key of {table.name}; use text without NUL or surrogates", key=key
                )
            groups[group] = key
        live: dict[Key, Row] = {}
        for group, value in self._rows.find_many(self._state, self._lineage, list(groups)).items():
            row = decode_row(table.name, value)
            if row is not None:
                live[groups[group]] = row
        return live

    def version(self, table: Table, key: Key) -> str | None:
        """The commit id that last wrote a live row."""
        return self._rows.version(self._state, self._lineage, table.name, key)


def attempt_token(state: State, now: int) -> bytes:
    """The token of an attempt that begins now.

    It is later than that of a maintenance under way, or of one that may wake up again, whatever the clocks
    say, so that the maintenance never takes what the attempt writes for what was left behind before it.
    """
    return new_token(max(now, state.since + 1))


class Writer:
    """Applies batches, and counts reads; `finish` ends a purge whose process died."""

    def __init__(
        self,
        storage: Storage,
        keys: Keys,
        heads: HeadStore,
        commits: Commits,
        rows: Rows,
        reader: Reader,
        finish: Callable[[Context], None],
    ) -> None:
        self._storage = storage
        self._keys = keys
        self._heads = heads
        self._commits = commits
        self._rows = rows
        self._reader = reader
        self._finish = finish
        self.lock = threading.Lock()

    def commit(self, ctx: Context, request: CommitRequest) -> Committed:
        """Apply a batch atomically; judged again at the new head whenever another writer was first."""
        tries = Tries(ctx)
        with locked(self.lock, tries):
            while True:
                state = self._heads.load()
                try:
                    outcome = self._attempt(ctx, state, request)
                except CorruptStore:
                    if self._heads.load().era == state.era:
                        raise
                    outcome = None  # a compaction took away what the attempt was reading
                if outcome is not None:
                    return outcome
                tries.lost()

    def _attempt(self, ctx: Context, state: State, request: CommitRequest) -> Committed | None:
        branch = state.named(request.branch)
        known = self._commits.find(state, request.id)
        if known is not None:
            first = known[2].commit
            return Committed(first, Point(first.branch, first.seq, first.id, first.time), replayed=True)
        if request.expect_head is not _UNSET and request.expect_head != branch.commit:
            raise StaleHead(
                f"branch {branch.name!r} is at {branch.commit or 'no commit'}, not at "
                f"{request.expect_head or 'no commit'}; read it again and decide again",
                head=branch.commit,
            )
        now = now_us()
        time = max(now if request.time is None else request.time, branch.time)
        slot = Slot(branch.number, branch.seq + 1, attempt_token(state, now)).pack()
        store_chunks(self._storage, self._keys, state, request.chunks, slot[12:])
        heads = BranchRows(self._rows, self._keys, state, branch)
        done = self._write_rows(state, request, heads, slot, time)
        if done is None:
            self._finish(ctx)
            return None  # all that is there until then goes, so the row is written after it
        writes, deleted = done
        if not writes and not request.force:
            return Committed(None, head_point(branch))
        parents = ((branch.commit,) if branch.commit else ()) + request.parents
        commit = Commit(
            request.id,
            branch.id,
            branch.seq + 1,
            time,
            request.author or ctx.principal,
            request.message,
            parents,
            request.vector,
            request.picks,
            request.reverts,
        )
        writes.sort()
        if not self._publish(state, branch, slot, CommitRecord(branch.slot, commit, now, (), 0), writes):
            return None
        return Committed(
            commit, Point(branch.id, commit.seq, commit.id, time), len(writes) - deleted, deleted
        )

    def _write_rows(
        self, state: State, request: CommitRequest, heads: Heads, slot: bytes, time: int
    ) -> tuple[list[tuple[str, Key]], int] | None:
        """Store the row versions of a batch; what was written, and how many of them are deletions.

        None: one of the rows is being purged. An engine may store all of some batches otherwise.
        """
        writes: list[tuple[str, Key]] = []
        deleted = 0
        for chunk in apply(request, heads, state.head.spaces, time):
            if state.hidden and any(state.is_hidden(self._group(write)) for write in chunk):
                return None
            self._write_chunk(chunk, slot)
            deleted += sum(write.row is None for write in chunk)
            writes += [(write.table, write.key) for write in chunk]
        return writes, deleted

    def _write_chunk(self, chunk: Sequence[Write], slot: bytes) -> None:
        """Store some row versions of an attempt; an engine may store some of them otherwise than by `put_many`."""
        items = [
            (self._group(write) + slot, encode_row(write.table, write.key, write.row)) for write in chunk
        ]
        if self._storage.put_many(items) != len(items):
            raise InvalidRecord(
                "the batch holds a key twice though it says that its keys are unique; say unique=False"
            )

    def _group(self, write: Write) -> bytes:
        group = self._keys.group(write.table, write.key)
        assert group is not None  # it was read before it was written
        return group

    def _publish(
        self,
        state: State,
        branch: BranchState,
        slot: bytes,
        record: CommitRecord,
        writes: list[tuple[str, Key]],
    ) -> bool:
        commit = record.commit
        self._storage.put_many(
            [*self._commits.items(slot, 0, record, writes), (self._keys.by_id(commit.id) + slot, b"")]
        )
        newer = msgspec.structs.replace(branch, seq=commit.seq, slot=slot, commit=commit.id, time=commit.time)
        if self._heads.swap(state, with_branch(state.head, newer)) is None:
            return False
        self._commits.note(state, branch, slot)
        return True

    def touch(self, table: str, keys: Sequence[Key], time: int) -> int:
        """Count one read of each row that is live on some branch."""
        state = self._heads.load()
        counted = 0
        for key in dict.fromkeys(keys):
            group = self._keys.group(table, key)
            if group is None or not self._reader.live_anywhere(state, group):
                continue
            place = self._keys.counter(group)
            while True:
                old = self._storage.get(place)
                last, count = (
                    (None, 0) if old is None else msgspec.msgpack.decode(old, type=tuple[int | None, int])
                )
                new = _encode((time if last is None else max(last, time), count + 1))
                if self._storage.compare_and_swap(place, old, new):
                    break
            counted += 1
        return counted
