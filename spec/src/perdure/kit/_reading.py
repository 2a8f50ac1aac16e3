"""Refs, points, rows, queries and counters: what a reader asks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from operator import itemgetter
from typing import Any

import msgspec
import pyarrow as pa

from perdure._errors import CorruptStore, HistoryExpired, NotFound
from perdure._names import Ref
from perdure._schema import TABLES, Row, Table
from perdure._types import At, Counter, Key, Point, Query
from perdure.filters import Filter, OrderTerm, matcher, sort_key, sort_rows, uses_counters
from perdure.kit._arrow import batch_of, project
from perdure.kit._commits import Commits
from perdure.kit._hash import chunk_digest
from perdure.kit._head import HeadStore, State, head_point
from perdure.kit._keys import Keys, after
from perdure.kit._objects import BranchState
from perdure.kit._rows import Rows
from perdure.kit._storage import Storage

__all__ = ["Reader"]

#: Rows in a record batch of `scan`.
BATCH = 5_000

_counter = msgspec.msgpack.Decoder(tuple[int | None, int]).decode


class Reader:
    """Answers reads of one namespace."""

    def __init__(self, storage: Storage, keys: Keys, heads: HeadStore, commits: Commits, rows: Rows) -> None:
        self._storage = storage
        self._keys = keys
        self._heads = heads
        self._commits = commits
        self._rows = rows

    # ---------------------------------------------------------------------------------- places

    def place(self, at: At, state: State | None = None) -> tuple[State, Point]:
        """The head as it is, and the point that `at` means there.

        Raises:
            NotFound: A name, a branch or a commit is unknown.
            HistoryExpired: Compaction dropped the point.
        """
        if state is None:
            return self._heads.steady(lambda now: self.place(at, now))
        point = at if isinstance(at, Point) else self.resolve(state, at)
        state.lineage(point)
        return state, point

    def resolve(self, state: State, ref: Ref) -> Point:
        """The point that a ref means in a state; raises like `place`."""
        if ref.commit is not None:
            found = self._commits.find(state, ref.commit)
            if found is None:
                raise NotFound(f"there is no commit {ref.commit!r} in this namespace", commit=ref.commit)
            branch, _, record = found
            state.check_readable(branch, record.commit.seq)
            return Point(branch.id, record.commit.seq, record.commit.id, record.commit.time)
        named = state.by_name.get(ref.name)
        if named is None:
            checkpoint = state.head.checkpoints.get(ref.name)
            if checkpoint is None or ref.seq is not None or ref.time is not None:
                raise NotFound(
                    f"there is no branch {'' if checkpoint else 'or checkpoint '}{ref.name!r}; "
                    "list them with store.branches.list() and store.checkpoints.list()",
                    name=ref.name,
                )
            return checkpoint.point
        if ref.seq is not None:
            return self._at_seq(state, named, ref.seq)
        return head_point(named) if ref.time is None else self._at_time(state, named, ref.time)

    def _at_seq(self, state: State, branch: BranchState, seq: int) -> Point:
        branch = state.owner(branch.id, seq)
        seq = min(seq, branch.seq)
        state.check_readable(branch, seq)
        return self._commits.point(state, branch, seq)

    def canonical(self, state: State, point: Point) -> Point:
        """A point in its one form: with its commit and time, on a branch that it is not older than."""
        state.lineage(point)
        branch = state.identified(point.branch)
        if point.seq < branch.fork_seq:
            branch = state.owner(branch.id, point.seq)
        return self._commits.point(state, branch, point.seq)

    def _at_time(self, state: State, branch: BranchState, time: int) -> Point:
        upto = branch.seq
        while True:
            found = self._commits.last_before(state, branch, time, upto)
            if found is not None:
                commit = found[1].commit
                if commit.seq < branch.floor and commit.seq != upto:  # a later one may have been dropped
                    self._expired(branch, time)
                return Point(branch.id, commit.seq, commit.id, commit.time)
            open_end = (
                upto > branch.fork_seq
            )  # else nothing of this branch comes before the fork that led here
            if open_end and branch.floor > branch.fork_seq and branch.fork_time <= time < branch.floor_time:
                self._expired(branch, time)
            if branch.parent is None:
                if open_end:
                    state.check_readable(branch, branch.fork_seq)
                return Point(branch.id, branch.fork_seq, branch.fork_commit, branch.fork_time)
            upto, branch = branch.fork_seq, state.owner(branch.parent, branch.fork_seq)

    def _expired(self, branch: BranchState, time: int) -> None:
        raise HistoryExpired(
            f"what {branch.name!r} held then was dropped by compaction; the oldest readable point is "
            f"{branch.name}@{branch.floor}",
            branch=branch.id,
            time=time,
            floor=branch.floor,
        )

    # ------------------------------------------------------------------------------------ rows

    def fetch(self, table: str, keys: Sequence[Key], at: At) -> list[Row | None]:
        """Rows by key."""

        def read(state: State) -> list[Row | None]:
            return list(self._rows.fetch(state, self.place(at, state)[1], table, keys))

        return self._heads.steady(read)

    def versions(self, table: str, keys: Sequence[Key], at: At) -> list[str | None]:
        """Versions by key."""

        def read(state: State) -> list[str | None]:
            lineage = state.lineage(self.place(at, state)[1])
            return [self._rows.version(state, lineage, table, key) for key in keys]

        return self._heads.steady(read)

    def select(self, query: Query, at: At) -> Iterator[Row]:
        """The rows of a query; the point is resolved and the query checked before the first row."""
        table = TABLES[query.table]
        state, point = self.place(at)
        rows = self._matching(state, point, table, query)
        if query.columns is None:
            return rows
        places = [table.position[name] for name in query.columns]
        if len(places) == 1:
            return ((row[places[0]],) for row in rows)
        return map(itemgetter(*places), rows) if places else (() for _ in rows)

    def _matching(self, state: State, point: Point, table: Table, query: Query) -> Iterator[Row]:
        test = self.test(table, query.where)
        if not query.order:
            start = None
            if query.after is not None:
                group = self._keys.group(table.name, tuple(query.after))
                start = None if group is None else group + b"\xff"
            found = filter(test, self._rows.decoded(state, point, table.name, start))
            return found if query.limit is None else islice(found, query.limit)
        found = filter(test, self._rows.decoded(state, point, table.name))
        if query.after is not None:
            found = filter(_beyond(table, query.order, query.after), found)
        return iter(sort_rows(found, table, query.order, query.limit))

    def test(self, table: Table, where: Filter | None) -> Callable[[Row], bool]:
        """A filter as a function of a row; it looks read counters up where the filter uses them."""
        if where is None:
            return lambda row: True
        match = matcher(table, where)
        if not uses_counters(where):
            return match
        return lambda row: match(row, self._read_counter(table.name, table.key_of(row)))

    def scan(self, query: Query, at: At) -> Iterator[pa.RecordBatch]:
        """The rows of a query as record batches."""
        rows = self.select(query, at)
        schema = project(TABLES[query.table], query.columns)
        return self._batches(schema, rows)

    def _batches(self, schema: pa.Schema, rows: Iterator[Row]) -> Iterator[pa.RecordBatch]:
        while chunk := list(islice(rows, BATCH)):
            yield batch_of(schema, chunk)

    def count(self, table: str, where: Filter | None, at: At) -> int:
        """How many rows match."""
        definition = TABLES[table]
        state, point = self.place(at)
        if where is None:
            prefix = self._keys.rows(table)
            return sum(1 for _ in self._rows.scan(state, point, prefix, after(prefix)))
        return sum(map(self.test(definition, where), self._rows.decoded(state, point, table)))

    # -------------------------------------------------------------------------------- counters

    def counters(self, table: str, keys: Sequence[Key]) -> list[Counter]:
        """Read counters by key."""
        self._heads.load()
        return [Counter(table, key, *self._read_counter(table, key)) for key in keys]

    def _read_counter(self, table: str, key: Key) -> tuple[int | None, int]:
        group = self._keys.group(table, key)
        data = None if group is None else self._storage.get(self._keys.counter(group))
        return (None, 0) if data is None else _counter(data)

    def live_anywhere(self, state: State, group: bytes) -> bool:
        """Whether a row is live at the head of some branch."""
        return any(
            self._rows.find(state, state.lineage(head_point(branch)), group) is not None
            for branch in state.branches.values()
        )

    # ---------------------------------------------------------------------------------- chunks

    def read_chunks(self, digests: Sequence[str]) -> Iterator[bytes]:
        """Payload pieces in the order asked."""
        self._heads.load()
        return map(self.chunk, digests)

    def chunk(self, digest: str) -> bytes:
        """One payload piece: the first copy that is intact.

        Raises:
            CorruptStore: There is no such copy.
        """
        try:
            prefix = self._keys.chunk(digest)
        except ValueError:
            raise CorruptStore(f"{digest[:80]!r} is no digest of a payload piece", digest=digest) from None
        for _, data in self._storage.range(prefix, prefix + b"\xff" * 13):
            if chunk_digest(data) == digest:
                return data
        raise CorruptStore(
            f"payload piece {digest} is missing or damaged; restore it from a backup", digest=digest
        )


def _beyond(table: Table, order: tuple[OrderTerm, ...], cursor: tuple[Any, ...]) -> Callable[[Row], bool]:
    """Whether a row sorts after a position."""
    pseudo: list[Any] = [None] * len(table.columns)
    for term, value in zip(order, cursor, strict=False):
        pseudo[table.position[term.column]] = value
    pseudo[: len(table.key)] = cursor[len(order) :]
    key = sort_key(table, order)
    limit = key(tuple(pseudo))
    return lambda row: key(row) > limit
