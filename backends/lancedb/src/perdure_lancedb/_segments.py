"""Segments: the rows of a large commit, as columns in objects of their own that its entry of the log names."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
from perdure import CorruptStore

from perdure_lancedb._columns import Rows, values_type
from perdure_lancedb._entries import Segment, began, checksum
from perdure_lancedb._objects import Objects

__all__ = ["Loaded", "save"]


class Loaded:
    """A segment that a store holds, read when somebody needs it."""

    def __init__(self, objects: Objects, segment: Segment, table: pa.Table | None = None) -> None:
        self._objects = objects
        self.segment = segment
        self._table = table
        self.layout = layout_of(segment)
        #: When its attempt began, in microseconds since the epoch.
        self.began = began(segment.name)
        #: The keys of its versions, once they are held one by one as well.
        self.expanded: frozenset[bytes] = frozenset()

    @property
    def table(self) -> pa.Table:
        """Its versions, all of them open.

        Raises:
            CorruptStore: It is damaged, or not there: others may have folded it since.
        """
        table = self._table  # another thread may drop it meanwhile
        if table is None:
            name = self.segment.name
            data = self._objects.read(name)
            if data is None:
                raise CorruptStore(f"{name} is missing; restore the store from a backup")
            if checksum(data) != self.segment.digest:
                raise CorruptStore(
                    f"{name} is damaged: its checksum does not match; restore it from a backup"
                )
            table = self._table = _read(data)
        return table

    def drop(self) -> None:
        """Keep the columns in memory no longer."""
        self._table = None

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Its versions one by one."""
        return iter(self.layout.items(self.table))


def layout_of(segment: Segment) -> Rows:
    """How its versions lie in it."""
    return Rows(segment.kind, None if segment.values is None else values_type(*segment.values))


def save(
    objects: Objects, number: int, prefix: bytes, values: tuple[str, int] | None, kind: str, table: pa.Table
) -> Loaded:
    """Write versions of one attempt to an object, the `number`-th of that attempt."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    data = sink.getvalue().to_pybytes()
    name = f"seg/{table['token'][0].as_py().hex()}-{number}"
    objects.create(name, data)
    # Not `table`, whose memory is the caller's, who may change it or have much more of it.
    return Loaded(objects, Segment(name, kind, prefix, values, len(data), checksum(data)), _read(data))


def _read(data: bytes) -> pa.Table:
    with pa.ipc.open_stream(data) as reader:
        return reader.read_all()
