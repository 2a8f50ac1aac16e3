"""Commits of many rows from Arrow: the rows that are new go to a segment, column by column."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b
from itertools import islice
from operator import eq
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
from perdure import CommitRequest, InvalidRecord, Key, PutArrow, Space, Table
from perdure.kit import (
    BranchRows,
    BranchState,
    CommitRecord,
    State,
    Writer,
    check_batch,
    check_columns,
    check_operation,
    rows_of,
)

from perdure_lancedb._columns import DIGEST, OPEN, Rows, values_type
from perdure_lancedb._storage import LanceStorage

if TYPE_CHECKING:
    from perdure_lancedb._segments import Loaded

__all__ = ["LanceWriter"]

#: Rows of a batch from which on columns are faster.
_MANY = 500

#: Rows, and bytes, of one segment.
_ROWS, _BYTES = 50_000, 16_000_000

#: Rows that are in memory as Python's objects at a time.
_CHUNK = 5_000

#: Bytes of segments of one commit that stay in memory until they are folded.
_KEPT = 64_000_000

_encode = msgspec.msgpack.Encoder().encode

Written = list[tuple[str, Key]]


class LanceWriter(Writer):
    """Writes batches of Arrow as columns where nothing was known of their rows; all else as the kit does."""

    _storage: LanceStorage
    _segments: list[Loaded]

    def _write_rows(
        self, state: State, request: CommitRequest, heads: BranchRows, slot: bytes, time: int
    ) -> tuple[Written, int] | None:
        self._segments = []
        put = request.operations[0] if len(request.operations) == 1 else None
        apart = request.check_references or state.hidden or self._storage.is_void(slot[12:])
        if not isinstance(put, PutArrow) or put.unique is not True or apart:
            return super()._write_rows(state, request, heads, slot, time)
        bulk = _Bulk(self._storage, state, check_operation(put), slot, time, self._keys.rows(put.table))
        writes: Written = []
        try:
            for batch in put.batches:
                for rest in bulk.take(batch, writes):
                    one = PutArrow(put.table, [rest], unique=True, mode=put.mode)
                    slow = msgspec.structs.replace(request, operations=(one,))
                    done = super()._write_rows(state, slow, heads, slot, time)
                    assert done is not None  # nothing is hidden
                    writes += done[0]
            _check_unique(writes)
        except BaseException:
            self._storage.drop_segments(bulk.segments)
            raise
        self._segments = bulk.segments
        return writes, 0

    def _publish(
        self, state: State, branch: BranchState, slot: bytes, record: CommitRecord, writes: Written
    ) -> bool:
        with self._storage.carrying(self._segments):
            done = super()._publish(state, branch, slot, record, writes)
        if not done:
            self._storage.drop_segments(self._segments)
        return done


class _Bulk:
    """The segments of one attempt."""

    def __init__(
        self, storage: LanceStorage, state: State, table: Table, slot: bytes, time: int, prefix: bytes
    ) -> None:
        self._storage = storage
        self._spaces = state.head.spaces
        self._table = table
        self._slot = slot
        self._time = pa.scalar(time, pa.int64())
        self._prefix = prefix
        self.segments: list[Loaded] = []

    def take(self, batch: Any, writes: Written) -> Iterator[pa.RecordBatch]:
        """Save the rows of a batch of which there was no version, and tell which they are; the others as batches.

        Raises:
            InvalidRecord: A row is none.
        """
        check_batch(self._table, batch)
        try:
            for piece in _pieces(batch):
                rest = self._take(piece, writes)
                if rest.num_rows:
                    yield rest
        except UnicodeDecodeError as error:
            raise InvalidRecord(f"a text of a batch of {self._table.name} is no UTF-8: {error}") from None

    def _take(self, batch: pa.RecordBatch, writes: Written) -> pa.RecordBatch:
        if batch.num_rows < _MANY or any(batch[name].null_count for name in self._table.key):
            return batch
        prefix, space = self._prefix, None
        if self._table.name == "vectors":
            space = self._space(batch)
            if space is None:
                return batch
            prefix += space.name.encode() + b"\0"
        row_keys = _row_keys(self._table, prefix, batch, given=space is not None)
        known = self._storage.written(prefix, row_keys)
        rest = batch.filter(known)
        if rest.num_rows:
            fresh = pc.invert(known)
            batch, row_keys = batch.filter(fresh), row_keys.filter(fresh)
        if batch.num_rows:
            self._save(prefix, space, self._timed(batch), row_keys, writes)
        return rest

    def _space(self, batch: pa.RecordBatch) -> Space | None:
        """The space of all vectors of a batch; None where they are for the kit to look at."""
        names = pc.unique(batch["space"]).to_pylist()
        space = self._spaces.get(names[0]) if len(names) == 1 else None
        if space is None or space.table is not None:
            return None
        sizes = pc.unique(pc.binary_length(batch["values"])).to_pylist()
        width = values_type(space.dtype, 1).value_type.bit_width // 8
        return space if sizes == [space.dim * width] else None

    def _timed(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        for name in ("created_at", "updated_at"):
            place = batch.schema.get_field_index(name)
            filled = batch[name].fill_null(self._time.cast(batch[name].type))
            batch = batch.set_column(place, batch.schema.field(place), filled)
        return batch

    def _save(
        self, prefix: bytes, space: Space | None, batch: pa.RecordBatch, row_keys: pa.Array, writes: Written
    ) -> None:
        name, count, width = self._table.name, batch.num_rows, len(self._table.key)
        sizes: list[int] = []
        digests: list[bytes] = []
        for at in range(0, count, _CHUNK):
            part = batch.slice(at, _CHUNK)
            check_columns(self._table, part)
            for row in rows_of(part):
                body = _encode(row)  # as `encode_row` does; nothing in columns has no stored form
                sizes.append(DIGEST + len(body))
                digests.append(blake2b(body, digest_size=DIGEST).digest())
                writes.append((name, row[:width]))  # type: ignore[arg-type]
        versions = [
            row_keys,
            pa.repeat(pa.scalar(int.from_bytes(self._slot[:4], "big"), pa.int64()), count),
            pa.repeat(pa.scalar(int.from_bytes(self._slot[4:12], "big"), pa.int64()), count),
            pa.repeat(pa.scalar(self._slot[12:], pa.binary(12)), count),
            pa.repeat(pa.scalar(OPEN, pa.int64()), count),
            pa.repeat(pa.scalar(False), count),
            pa.array(sizes, pa.int64()),
            pa.array(digests, pa.binary(DIGEST)),
        ]
        values = None if space is None else (space.dtype, space.dim)
        layout = Rows(name, None if values is None else values_type(*values))
        table = layout.typed(versions, batch)
        self.segments.append(self._storage.save_segment(len(self.segments), prefix, values, name, table))
        if sum(loaded.segment.size for loaded in self.segments) > _KEPT:
            self.segments[-1].drop()


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


def _pieces(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """A batch in pieces of the size of a segment."""
    most = min(_ROWS, max(1, batch.num_rows * _BYTES // max(1, batch.nbytes)))
    for at in range(0, batch.num_rows, most):
        yield batch.slice(at, most)


def _row_keys(table: Table, prefix: bytes, batch: pa.RecordBatch, *, given: bool) -> pa.Array:
    """The row key of each row; `given`: the prefix has the first part of the key."""
    parts: list[Any] = []
    for name in table.key[given:]:
        parts += [batch[name], "\0"]
    return pc.binary_join_element_wise(prefix.decode(), *parts, "").cast(pa.large_binary())
