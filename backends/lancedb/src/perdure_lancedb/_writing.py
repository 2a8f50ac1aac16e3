"""Commits of many rows: those that are new go to segments; from Arrow, column by column."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from operator import eq

import msgspec
from perdure import CommitRequest, InvalidRecord, Key, PutArrow
from perdure.kit import BranchState, CommitRecord, Heads, State, Write, Writer, check_operation

from perdure_lancedb._bulk import Arrow, Attempt, Looks
from perdure_lancedb._storage import LanceStorage

__all__ = ["LanceWriter"]

Written = list[tuple[str, Key]]


class LanceWriter(Writer):
    """Writes many rows of which nothing was known as columns; all else as the kit does."""

    _storage: LanceStorage
    _bulk: Attempt

    def _write_rows(
        self, state: State, request: CommitRequest, heads: Heads, slot: bytes, time: int
    ) -> tuple[Written, int] | None:
        bulk = self._bulk = Attempt(self._storage, state.head.spaces, slot)
        if self._storage.is_void(slot[12:]):
            return super()._write_rows(state, request, heads, slot, time)
        done, kept = None, False
        try:
            put = request.operations[0] if len(request.operations) == 1 else None
            apart = request.check_references or state.hidden
            if isinstance(put, PutArrow) and put.unique is True and not apart:
                done = self._by_columns(state, request, put, heads, slot, time)
            else:
                looks = Looks(self._storage, self._keys, heads, bulk.fresh)
                done = super()._write_rows(state, request, looks, slot, time)
            if done is not None and bulk.segments:
                _check_unique(done[0])
            kept = done is not None
        finally:
            bulk.fresh.clear()  # nobody asks again, and the next commit may be far away
            if not kept:
                bulk.drop()
        return done

    def _by_columns(
        self, state: State, request: CommitRequest, put: PutArrow, heads: Heads, slot: bytes, time: int
    ) -> tuple[Written, int]:
        table = check_operation(put)
        arrow = Arrow(self._bulk, table, self._keys.rows(put.table), time)
        writes: Written = []
        for batch in put.batches:
            for rest in arrow.take(batch, writes):
                one = PutArrow(put.table, [rest], unique=True, mode=put.mode)
                slow = msgspec.structs.replace(request, operations=(one,))
                done = super()._write_rows(state, slow, heads, slot, time)
                assert done is not None  # nothing is hidden
                writes += done[0]
        return writes, 0

    def _write_chunk(self, chunk: Sequence[Write], slot: bytes) -> None:
        rest = self._bulk.take(chunk)
        if rest:
            super()._write_chunk(rest, slot)

    def _publish(
        self, state: State, branch: BranchState, slot: bytes, record: CommitRecord, writes: Written
    ) -> bool:
        with self._storage.carrying(self._bulk.segments):
            done = super()._publish(state, branch, slot, record, writes)
        if not done:
            self._bulk.drop()
        return done


def _check_unique(writes: Written) -> None:
    """See that no row came twice, of those that went to segments or of any others.

    Raises:
        InvalidRecord: One did.
    """
    writes.sort()
    if any(map(eq, writes, islice(writes, 1, None))):
        raise InvalidRecord(
            "the batch holds a key twice though it says that its keys are unique; say unique=False"
        )
