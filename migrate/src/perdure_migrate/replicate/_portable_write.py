"""Writing portable files: segments of bounded size, each kind of event in a member of its own."""

from __future__ import annotations

import json
import zipfile
from collections import Counter as Tally
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pyarrow as pa
from perdure import (
    SPEC_VERSION,
    TABLES,
    Branch,
    ChangeBatch,
    Checkpoint,
    Chunk,
    Commit,
    Counter,
    HistoryEvent,
    Point,
    Space,
)
from perdure.history import new_file

from perdure_migrate.replicate._portable_schema import (
    COMMENT,
    FORMAT,
    MANIFEST,
    SCHEMAS,
    VERSION,
    member,
)

__all__ = ["write_portable"]

#: A segment ends at the first event with which it has so many rows, or so many bytes.
_ROWS, _BYTES = 10_000, 16 << 20

#: Members carry no time of their own, so that the same history makes the same bytes.
_EPOCH = (1980, 1, 1, 0, 0, 0)


def write_portable(
    path: Path, namespaces: Iterable[tuple[str, Iterable[HistoryEvent]]], *, overwrite: bool = False
) -> dict[str, dict[str, int]]:
    """Write the events of each namespace, such as `export` gives, to a portable file.

    The path gets the file only when it is complete and on disk.

    Returns:
        The number of events by kind, by namespace.

    Raises:
        AlreadyExists: There is a file at that path, and `overwrite` is False.
        StorageError: It could not be written; nothing is left at the path.
    """
    with (
        new_file(path, overwrite=overwrite) as file,
        zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive,
    ):
        writer = _Writer(archive)
        for number, (namespace, events) in enumerate(namespaces):
            writer.namespace(number, namespace, events)
        writer.seal()
    return {found["name"]: found["events"] for found in writer.namespaces}


@dataclass
class _Segment:
    """Events that are written together."""

    rows: dict[str, list[tuple[Any, ...]]] = field(default_factory=lambda: {kind: [] for kind in SCHEMAS})
    count: int = 0
    size: int = 0

    def add(self, kind: str, row: tuple[Any, ...]) -> None:
        self.rows[kind].append(row)
        self.count += 1
        self.size += sum(len(cell) for cell in row if isinstance(cell, str | bytes))


class _Writer:
    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self._members: list[dict[str, Any]] = []
        self.namespaces: list[dict[str, Any]] = []
        self._put(FORMAT, f"{VERSION}\n".encode())

    def namespace(self, number: int, name: str, events: Iterable[HistoryEvent]) -> None:
        segment, segments = _Segment(), 0
        tally: Tally[str] = Tally()
        for place, event in enumerate(events):
            tally[_add(segment, place, event)] += 1
            if segment.count >= _ROWS or segment.size >= _BYTES:
                self._flush(number, segments, segment)
                segment, segments = _Segment(), segments + 1
        if segment.count:
            self._flush(number, segments, segment)
            segments += 1
        self.namespaces.append({"name": name, "segments": segments, "events": dict(sorted(tally.items()))})

    def _flush(self, number: int, place: int, segment: _Segment) -> None:
        for kind, rows in segment.rows.items():
            if rows:
                name, data = member(number, place, kind), _packed(SCHEMAS[kind], rows)
                self._members.append(
                    {"name": name, "rows": len(rows), "bytes": len(data), "blake2b": _digest(data)}
                )
                self._put(name, data)

    def seal(self) -> None:
        """Write the manifest, and its digest into the comment of the archive."""
        manifest = {
            "format": FORMAT,
            "version": VERSION,
            "spec": SPEC_VERSION,
            "namespaces": self.namespaces,
            "members": self._members,
        }
        data = json.dumps(manifest, ensure_ascii=False, indent=1).encode()
        self._put(MANIFEST, data)
        self._archive.comment = COMMENT.format(version=VERSION, digest=_digest(data)).encode()

    def _put(self, name: str, data: bytes) -> None:
        info = zipfile.ZipInfo(name, _EPOCH)
        info.external_attr = 0o600 << 16
        self._archive.writestr(info, data)


def _digest(data: bytes) -> str:
    return blake2b(data, digest_size=32).hexdigest()


def _packed(schema: pa.Schema, rows: list[tuple[Any, ...]]) -> bytes:
    arrays = []
    for cells, column in zip(zip(*rows, strict=True), schema, strict=True):
        if pa.types.is_timestamp(column.type):
            arrays.append(pa.array(cells, pa.int64()).cast(column.type))
        else:
            arrays.append(pa.array(cells, column.type))
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_stream(sink, schema, options=options) as writer:
        writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema))
    data: bytes = sink.getvalue().to_pybytes()
    return data


# --------------------------------------------------------------------------------------- events as rows


def _add(segment: _Segment, place: int, event: HistoryEvent) -> str:
    """Add an event; its kind, as the manifest counts it."""
    if isinstance(event, ChangeBatch):
        return _add_changes(segment, place, event)
    if isinstance(event, Chunk):
        segment.add("chunks", (event.digest, event.data))
        return "chunks"
    row: tuple[Any, ...]
    if isinstance(event, Branch):
        row = (event.id, event.name, event.parent, event.fork_seq, _point(event.head))
        segment.add("branches", (place, *row, event.floor, event.created_at, list(event.pins)))
        return "branches"
    if isinstance(event, Space):
        row = (event.name, event.dim, event.dtype, event.metric, event.model)
        segment.add("spaces", (*row, event.table, event.created_at))
        return "spaces"
    if isinstance(event, Checkpoint):
        row = (event.name, _point(event.point), event.metrics, event.message, event.created_at)
        segment.add("checkpoints", row)
        return "checkpoints"
    assert isinstance(event, Counter)
    segment.add("counters", (event.table, list(event.key), event.accessed_at, event.access_count))
    return "counters"


def _add_changes(segment: _Segment, place: int, batch: ChangeBatch) -> str:
    segment.add("commits", (place, *_commit(batch.commit), batch.final, len(batch.changes)))
    for change in batch.changes:
        if change.row is None:
            absent = (None,) * (len(TABLES[change.table].columns) - len(change.key))
            segment.add(change.table, (place, True, *change.key, *absent))
        else:
            segment.add(change.table, (place, False, *change.row))
    return "changes"


def _commit(commit: Commit) -> tuple[Any, ...]:
    vector = [{"branch": branch, "seq": seq} for branch, seq in sorted(commit.vector.items())]
    picks = [
        {
            "source": _point(pick.source),
            "table": pick.table,
            "keys": None if pick.keys is None else [list(key) for key in pick.keys],
        }
        for pick in commit.picks
    ]
    head = (commit.id, commit.branch, commit.seq, commit.time, commit.author, commit.message)
    return (*head, list(commit.parents), vector, picks, commit.reverts)


def _point(point: Point) -> dict[str, Any]:
    return {"branch": point.branch, "seq": point.seq, "commit": point.commit, "time": point.time}
