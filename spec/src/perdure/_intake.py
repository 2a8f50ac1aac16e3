"""What callers put, turned into operations: one record, many, a stream, or Arrow.

Small input stays a list of rows. Long input is spooled to a temporary Arrow file before any lock is
taken, so that a slow producer holds up nobody and memory stays bounded.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Literal

import pyarrow as pa

from perdure._arrow_intake import encode_batch
from perdure._errors import InvalidRecord
from perdure._payload import PayloadWriter
from perdure._records import Record
from perdure._rows import RowCodec
from perdure._schema import Row
from perdure._session import Session
from perdure._types import Operation, Put, PutArrow
from perdure.kit import batch_of

__all__ = ["intake"]

Mode = Literal["put", "insert"]

#: Longer input is spooled.
SPOOL_ROWS = 20_000

#: Rows per spooled record batch.
BATCH_ROWS = 5_000


def intake(
    session: Session, codec: RowCodec, records: Any, mode: Mode, payloads: PayloadWriter
) -> list[Operation]:
    """The operations that put `records`, in order; none where there are no records.

    Raises:
        InvalidRecord, NotFound: A record is refused; nothing was sent to the engine.
    """
    name = codec.table.name
    if isinstance(records, (Record, Mapping)):
        return [Put(name, (codec.encode(records, session.space, payloads),), mode)]
    batches = _arrow_batches(records)
    if batches is not None:
        return _arrow(session, codec, batches, mode)
    if isinstance(records, (str, bytes)) or not isinstance(records, Iterable):
        raise InvalidRecord(
            f"put takes a record, an iterable of records, or Arrow data, not {type(records).__name__}"
        )
    source = iter(records)
    head: list[Row] = []
    while len(head) < SPOOL_ROWS and (block := list(islice(source, BATCH_ROWS))):
        head += codec.encode_many(block, session.space, payloads)
    if not head:
        return []
    if len(head) < SPOOL_ROWS:
        return [Put(name, head, mode)]
    spool = _Spool(codec)
    spool.add_rows(head)
    while block := list(islice(source, BATCH_ROWS)):
        spool.add_rows(codec.encode_many(block, session.space, payloads))
    return [spool.finish(mode)]


def _arrow_batches(records: Any) -> Iterator[pa.RecordBatch] | None:
    batches: Iterable[pa.RecordBatch] | None = None
    if isinstance(records, pa.RecordBatch):
        batches = (records,)
    elif isinstance(records, pa.Table):
        batches = records.to_batches(max_chunksize=BATCH_ROWS)
    elif isinstance(records, pa.RecordBatchReader):
        batches = records
    elif hasattr(records, "__arrow_c_stream__"):
        batches = pa.RecordBatchReader.from_stream(records)
    return None if batches is None else iter(batches)


def _arrow(
    session: Session, codec: RowCodec, batches: Iterator[pa.RecordBatch], mode: Mode
) -> list[Operation]:
    encoded = (encode_batch(codec.table, batch, session.space) for batch in batches)
    held: list[pa.RecordBatch] = []
    rows = 0
    for batch in encoded:
        held.append(batch)
        rows += batch.num_rows
        if rows >= SPOOL_ROWS:
            spool = _Spool(codec)
            for part in held:
                spool.add(part)
            for part in encoded:
                spool.add(part)
            return [spool.finish(mode)]
    if not rows:
        return []
    return [PutArrow(codec.table.name, held, unique=_unique(codec, held), mode=mode)]


def _unique(codec: RowCodec, batches: list[pa.RecordBatch]) -> bool:
    seen: set[int] = set()
    count = 0
    for batch in batches:
        count += batch.num_rows
        seen.update(_key_hashes(codec, batch))
    return len(seen) == count


def _key_hashes(codec: RowCodec, batch: pa.RecordBatch) -> Iterator[int]:
    """A hash per key: a collision makes a batch seem not unique, which is slower but never wrong."""
    columns = [batch.column(name).to_pylist() for name in codec.table.key]
    return map(hash, zip(*columns, strict=True))


class _Spool:
    """Record batches in a temporary Arrow file; iterable as often as needed."""

    def __init__(self, codec: RowCodec) -> None:
        self._codec = codec
        self._schema = codec.table.arrow
        # Times may still be null here: the commit fills them.
        fields = [field.with_nullable(True) for field in self._schema]
        self._loose = pa.schema(fields)
        self._file = tempfile.TemporaryFile()  # noqa: SIM115
        self._writer = pa.ipc.new_stream(self._file, self._loose)
        self._hashes: set[int] = set()
        self._rows = 0

    def add_rows(self, rows: list[Row]) -> None:
        self.add(batch_of(self._loose, rows))

    def add(self, batch: pa.RecordBatch) -> None:
        self._writer.write_batch(pa.RecordBatch.from_arrays(batch.columns, schema=self._loose))
        self._rows += batch.num_rows
        self._hashes.update(_key_hashes(self._codec, batch))

    def finish(self, mode: Mode) -> Operation:
        self._writer.close()
        unique = len(self._hashes) == self._rows
        self._hashes = set()
        return PutArrow(self._codec.table.name, self, unique=unique, mode=mode)

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        self._file.seek(0)
        yield from pa.ipc.open_stream(self._file)
