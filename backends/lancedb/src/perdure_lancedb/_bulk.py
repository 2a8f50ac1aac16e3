"""The segments of one attempt: which rows of a large commit go there, and how they are written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
from perdure import TABLES, InvalidRecord, Key, Row, Space, Table
from perdure.kit import Heads, Keys, Write, batch_of, check_batch, check_columns, encode_row, rows_of

from perdure_lancedb._columns import DIGEST, OPEN, Rows, values_type
from perdure_lancedb._storage import LanceStorage

if TYPE_CHECKING:
    from perdure_lancedb._segments import Loaded

__all__ = ["Arrow", "Attempt", "Looks"]

#: Rows from which on columns are faster.
_MANY = 500

#: Rows, and bytes, of one segment.
_ROWS, _BYTES = 50_000, 16_000_000

#: Rows of columns that are in memory as Python's objects at a time.
_CHUNK = 5_000

#: Bytes of segments of one commit that stay in memory until they are folded.
_KEPT = 64_000_000

_encode = msgspec.msgpack.Encoder().encode

Fresh = dict[tuple[str, Key], tuple[bytes, bytes]]


class Attempt:
    """What one attempt has written to segments.

    Attributes:
        fresh: Rows of which there is no version → what the keys of all rows of their place begin with, and
            their own row keys; nothing is said of others.
        segments: In the order of their numbers.
    """

    def __init__(self, storage: LanceStorage, spaces: Mapping[str, Space], slot: bytes) -> None:
        self.storage = storage
        self.spaces = spaces
        self.fresh: Fresh = {}
        self.segments: list[Loaded] = []
        self._slot = slot

    def drop(self) -> None:
        """Remove the segments: nobody will name them."""
        self.storage.drop_segments(self.segments)
        self.segments = []

    def take(self, chunk: Sequence[Write]) -> Sequence[Write]:
        """Save the fresh ones of some rows, where they are many; the others."""
        if not self.fresh or len(chunk) < _MANY:
            return chunk
        rest: list[Write] = []
        places: dict[tuple[str, bytes], list[tuple[bytes, Write]]] = {}
        for write in chunk:
            found = self.fresh.get((write.table, write.key))
            if found is None or write.row is None:
                rest.append(write)
            else:
                places.setdefault((write.table, found[0]), []).append((found[1], write))
        for (name, prefix), writes in places.items():
            if len(writes) < _MANY:
                rest += (write for _, write in writes)
            else:
                self._take(TABLES[name], prefix, writes)
        return rest

    def _take(self, table: Table, prefix: bytes, writes: Sequence[tuple[bytes, Write]]) -> None:
        """Save rows of one place, in segments of bounded size."""
        schema = pa.schema([field.with_nullable(True) for field in table.arrow])
        groups: list[bytes] = []
        rows: list[Row] = []
        sizes: list[int] = []
        digests: list[bytes] = []

        def save() -> None:
            space = self.spaces[str(rows[0][0])] if table.name == "vectors" else None
            keys = pa.array(groups, pa.large_binary())
            self.save(table, prefix, space, batch_of(schema, rows), keys, sizes, digests)
            for cells in (groups, rows, sizes, digests):
                cells.clear()

        size = 0
        for group, write in writes:
            assert write.row is not None
            stored = encode_row(table.name, write.key, write.row)
            groups.append(group)
            rows.append(write.row)
            sizes.append(len(stored))
            digests.append(stored[:DIGEST])
            size += len(stored)
            if size > _BYTES:
                save()
                size = 0
        if rows:
            save()

    def save(
        self,
        table: Table,
        prefix: bytes,
        space: Space | None,
        cells: pa.RecordBatch,
        row_keys: pa.Array,
        sizes: Sequence[int],
        digests: Sequence[bytes],
    ) -> None:
        """Write rows to the next segment.

        Args:
            prefix: What all their keys begin with.
            space: Of vectors, theirs.
            cells: The columns of the contract.
            sizes: Bytes of each as the kit writes it.
            digests: The hash of each.
        """
        count, slot = cells.num_rows, self._slot
        versions = [
            row_keys,
            pa.repeat(pa.scalar(int.from_bytes(slot[:4], "big"), pa.int64()), count),
            pa.repeat(pa.scalar(int.from_bytes(slot[4:12], "big"), pa.int64()), count),
            pa.repeat(pa.scalar(slot[12:], pa.binary(12)), count),
            pa.repeat(pa.scalar(OPEN, pa.int64()), count),
            pa.repeat(pa.scalar(False), count),
            pa.array(sizes, pa.int64()),
            pa.array(digests, pa.binary(DIGEST)),
        ]
        values = None if space is None else (space.dtype, space.dim)
        layout = Rows(table.name, None if values is None else values_type(*values))
        columns = layout.typed(versions, cells)
        number = len(self.segments)
        self.segments.append(self.storage.save_segment(number, prefix, values, table.name, columns))
        if sum(loaded.segment.size for loaded in self.segments) > _KEPT:
            self.segments[-1].drop()


class Looks:
    """The branch that is written to, of which rows are read only where there is some version of them.

    Args:
        heads: The branch.
        fresh: Gets the others of those that are asked for in large numbers.
    """

    def __init__(self, storage: LanceStorage, keys: Keys, heads: Heads, fresh: Fresh) -> None:
        self._storage = storage
        self._keys = keys
        self._heads = heads
        self._fresh = fresh

    def rows(self, table: Table, keys: Sequence[Key]) -> Mapping[Key, Row]:
        """The live rows among `keys`."""
        asked = self._known(table.name, keys) if len(keys) >= _MANY else keys
        return self._heads.rows(table, asked) if asked else {}

    def version(self, table: Table, key: Key) -> str | None:
        """The commit id that last wrote a live row."""
        return self._heads.version(table, key)

    def _known(self, table: str, keys: Sequence[Key]) -> Sequence[Key]:
        rows = self._keys.rows(table)
        places: dict[bytes, dict[bytes, Key]] = {}
        for key in keys:
            group = self._keys.group(table, key)
            if group is None:
                return keys  # none is written: the branch says what is wrong with it
            place = rows + key[0].encode() + b"\0" if table == "vectors" else rows
            places.setdefault(place, {})[group] = key
        known: list[Key] = []
        for prefix, groups in places.items():
            row_keys = pa.array(groups, pa.large_binary())
            written = self._storage.written(prefix, row_keys).to_pylist()
            for (group, key), there in zip(groups.items(), written, strict=True):
                if there:
                    known.append(key)
                else:
                    self._fresh[table, key] = (prefix, group)
        return known


class Arrow:
    """Rows of one table that come as record batches, no two of one key.

    Args:
        prefix: What all their keys begin with.
        time: That of the commit.
    """

    def __init__(self, attempt: Attempt, table: Table, prefix: bytes, time: int) -> None:
        self._attempt = attempt
        self._table = table
        self._prefix = prefix
        self._time = pa.scalar(time, pa.int64())

    def take(self, batch: Any, writes: list[tuple[str, Key]]) -> Iterator[pa.RecordBatch]:
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

    def _take(self, batch: pa.RecordBatch, writes: list[tuple[str, Key]]) -> pa.RecordBatch:
        if batch.num_rows < _MANY or any(batch[name].null_count for name in self._table.key):
            return batch
        prefix, space = self._prefix, None
        if self._table.name == "vectors":
            space = self._space(batch)
            if space is None:
                return batch
            prefix += space.name.encode() + b"\0"
        row_keys = _row_keys(self._table, prefix, batch, given=space is not None)
        known = self._attempt.storage.written(prefix, row_keys)
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
        space = self._attempt.spaces.get(names[0]) if len(names) == 1 else None
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
        self,
        prefix: bytes,
        space: Space | None,
        batch: pa.RecordBatch,
        row_keys: pa.Array,
        writes: list[tuple[str, Key]],
    ) -> None:
        name, width = self._table.name, len(self._table.key)
        sizes: list[int] = []
        digests: list[bytes] = []
        for at in range(0, batch.num_rows, _CHUNK):
            part = batch.slice(at, _CHUNK)
            check_columns(self._table, part)
            rows = list(rows_of(part))
            bodies = list(map(_encode, rows))  # as `encode_row` does; nothing in columns has no stored form
            sizes += [DIGEST + len(body) for body in bodies]
            digests += [blake2b(body, digest_size=DIGEST).digest() for body in bodies]
            writes += [(name, row[:width]) for row in rows]  # type: ignore[misc]
        self._attempt.save(self._table, prefix, space, batch, row_keys, sizes, digests)


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
