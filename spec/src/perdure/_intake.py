"""What callers put, turned into operations: one record, many, a stream, or Arrow.

Small input stays a list of rows. Long input is spooled to a temporary Arrow file before any lock is
taken, so that a slow producer holds up nobody and memory stays bounded.
"""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from perdure._arrow_intake import encode_batch
from perdure._errors import InvalidRecord, StorageError
from perdure._payload import PayloadWriter
from perdure._records import Record
from perdure._rows import RowCodec
from perdure._schema import Row
from perdure._session import Session
from perdure._types import Operation, Put, PutArrow
from perdure.kit import batch_of

__all__ = ["chunked", "intake"]

Mode = Literal["put", "insert"]

#: Longer input is spooled.
SPOOL_ROWS = 20_000

#: Rows per spooled record batch.
BATCH_ROWS = 5_000


def intake(
    session: Session, codec: RowCodec, records: Any, mode: Mode, payloads: PayloadWriter
) -> tuple[list[Operation], int]:
    """The operations that put `records`, in order (none where there are no records), and their number.

    Raises:
        InvalidRecord, NotFound: A record is refused; nothing was sent to the engine.
    """
    name = codec.table.name
    spaces = session.lookup()
    if isinstance(records, (Record, Mapping)):
        return [Put(name, (codec.encode(records, spaces, payloads),), mode)], 1
    batches = _arrow_batches(records)
    if batches is not None:
        return _arrow(session, codec, batches, mode)
    blocks = (codec.encode_many(block, spaces, payloads) for block in _blocks(records))
    head: list[Row] = []
    for rows in blocks:
        head += rows
        if len(head) >= SPOOL_ROWS:
            spool = _Spool(codec)
            spool.add_rows(head)
            for more in blocks:
                spool.add_rows(more)
            return [spool.finish(mode)], spool.rows
    return ([Put(name, head, mode)] if head else []), len(head)


def _iterable(records: Any) -> Iterator[Any]:
    """An iterator of records.

    Raises:
        InvalidRecord: There can be none.
    """
    if isinstance(records, (str, bytes)) or not isinstance(records, Iterable):
        raise InvalidRecord(
            f"put takes a record, an iterable of records, or Arrow data, not {type(records).__name__}"
        )
    return iter(records)


def _blocks(records: Any) -> Iterator[list[Any]]:
    """Records, some at a time; each must be an object of its own, for they are read together."""
    source = _iterable(records)
    while block := list(islice(source, BATCH_ROWS)):
        if not isinstance(records, (list, tuple)) and len(set(map(id, block))) != len(block):
            raise InvalidRecord(
                "the iterator gives one record object again and again; give a new one each time"
            )
        yield block


def _arrow_batches(records: Any) -> Iterator[pa.RecordBatch] | None:
    """Record batches of anything that is Arrow data; None for what is not.

    Raises:
        InvalidRecord: It is Arrow data, but no table.
    """
    batches: Iterable[pa.RecordBatch] | None = None
    if isinstance(records, pa.RecordBatch):
        batches = (records,)
    elif isinstance(records, pa.Table):
        batches = records.to_batches(max_chunksize=BATCH_ROWS)
    elif isinstance(records, pa.RecordBatchReader):
        batches = records
    elif hasattr(records, "__arrow_c_stream__"):
        try:
            batches = pa.RecordBatchReader.from_stream(records)
        except pa.ArrowInvalid as error:
            raise InvalidRecord(f"the Arrow stream is no table: {error}") from None
    return None if batches is None else iter(batches)


def chunked(records: Any, size: int) -> Iterator[Any]:
    """Blocks of at most `size` records."""
    batches = _arrow_batches(records)
    if batches is not None:
        yield from _tables_of(batches, size)
        return
    iterator = _iterable(records)
    while block := list(islice(iterator, size)):
        yield block if isinstance(records, (list, tuple)) else iter(block)


def _tables_of(batches: Iterable[pa.RecordBatch], size: int) -> Iterator[pa.Table]:
    """The same rows as tables of `size` rows, the last one shorter; nothing is copied."""
    rest: pa.Table | None = None
    for batch in batches:
        rest = pa.Table.from_batches([*(rest.to_batches() if rest is not None else ()), batch])
        while rest.num_rows >= size:
            yield rest.slice(0, size)
            rest = rest.slice(size)
    if rest is not None and rest.num_rows:
        yield rest


def _arrow(
    session: Session, codec: RowCodec, batches: Iterator[pa.RecordBatch], mode: Mode
) -> tuple[list[Operation], int]:
    spaces = session.lookup()
    encoded = (encode_batch(codec.table, batch, spaces) for batch in batches)
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
            return [spool.finish(mode)], spool.rows
    if not rows:
        return [], 0
    unique = _unique([_key_hashes(codec, batch) for batch in held])
    return [PutArrow(codec.table.name, held, unique=unique, mode=mode)], rows


def _key_hashes(codec: RowCodec, batch: pa.RecordBatch) -> NDArray[np.int64]:
    """A hash per key: a collision makes a batch seem not unique, which is slower but never wrong."""
    columns = [batch.column(name).to_pylist() for name in codec.table.key]
    return np.fromiter(map(hash, zip(*columns, strict=True)), np.int64, batch.num_rows)


def _unique(hashes: list[NDArray[np.int64]]) -> bool:
    ordered = np.sort(np.concatenate(hashes))
    return not (ordered[1:] == ordered[:-1]).any()


class _Spool:
    """Record batches in a temporary Arrow file; iterable as often as needed."""

    def __init__(self, codec: RowCodec) -> None:
        self._codec = codec
        self._schema = codec.table.arrow
        # Times may still be null here: the commit fills them.
        fields = [field.with_nullable(True) for field in self._schema]
        self._loose = pa.schema(fields)
        self._file = tempfile.TemporaryFile()  # noqa: SIM115
        weakref.finalize(self, self._file.close)
        self._writer = pa.ipc.new_stream(self._file, self._loose)
        self._hashes: list[NDArray[np.int64]] = []
        self.rows = 0

    def add_rows(self, rows: list[Row]) -> None:
        self.add(batch_of(self._loose, rows))

    def add(self, batch: pa.RecordBatch) -> None:
        try:
            self._writer.write_batch(pa.RecordBatch.from_arrays(batch.columns, schema=self._loose))
        except OSError as error:
            raise StorageError(f"the records do not fit the temporary folder: {error}") from error
        self.rows += batch.num_rows
        self._hashes.append(_key_hashes(self._codec, batch))

    def finish(self, mode: Mode) -> Operation:
        self._writer.close()
        unique = _unique(self._hashes)
        self._hashes = []
        return PutArrow(self._codec.table.name, self, unique=unique, mode=mode)

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        self._file.seek(0)
        yield from pa.ipc.open_stream(self._file)
