"""What the contract's objects look like in JSON: plain, lossless, and the same in every command."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

import msgspec
import numpy as np

from perdure import Branch, Checkpoint, Commit, Point, Record, Row, Space, format_time, values
from perdure._names import to_us
from perdure._rows import codec
from perdure.history import MergeConflictRow, RowDiff

__all__ = [
    "branch_document",
    "branch_names",
    "checkpoint_document",
    "commit_document",
    "conflict_document",
    "diff_document",
    "point_document",
    "printable",
    "record_document",
    "row_document",
    "space_document",
    "struct_document",
    "to_json",
]

Document = dict[str, Any]


def to_json(document: Any) -> str:
    """One line of JSON; what JSON does not have becomes its closest text."""
    return _ENCODER.encode(document).decode()


def _other(thing: Any) -> Any:
    """Times, arrays and structs of the contract; texts for anything that only a person will read."""
    if isinstance(thing, datetime):
        return _time(thing)
    if isinstance(thing, msgspec.Struct):
        return struct_document(thing)
    if isinstance(thing, np.generic | np.ndarray):
        return thing.tolist()
    return printable(str(thing), lines=True)


_ENCODER = msgspec.json.Encoder(enc_hook=_other)


def printable(text: str, *, lines: bool = False) -> str:
    """The text with control characters and lone surrogates escaped, so that no terminal obeys stored text.

    Args:
        text: Any text.
        lines: Keep line ends.
    """
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() or (lines and char == "\n") else ascii(char)[1:-1] for char in text
    )


# --------------------------------------------------------------------------------------------- records


def record_document(record: Record) -> Document:
    """A record, field by field: values as their JSON text (tagged where JSON has no such thing), times in
    ISO 8601, vectors as lists of numbers, payloads in base64. `put` takes it back without loss."""
    document: Document = {}
    for column in record.TABLE.columns:
        cell = getattr(record, column.name)
        form = _CELLS.get(column.kind)
        document[column.name] = (
            cell if form is None or (cell is None and column.kind != "value") else form(cell)
        )
    return document


def _value(cell: Any) -> msgspec.Raw:
    return msgspec.Raw(values.encode(cell).encode())


def _time(cell: datetime) -> str:
    return format_time(to_us(cell))


def _vector(cell: Any) -> Any:
    return b64encode(cell).decode() if isinstance(cell, bytes) else np.asarray(cell).tolist()


def _payload(cell: Any) -> Any:
    return b64encode(cell).decode() if isinstance(cell, bytes) else {"manifest": str(cell)}


_CELLS: Mapping[str, Callable[[Any], Any]] = {
    "value": _value,
    "time": _time,
    "vector": _vector,
    "payload": _payload,
}


def row_document(table: str, row: Row | None, spaces: Callable[[str], Space] | None) -> Document | None:
    """An encoded row as `record_document` has it, but a payload by its manifest (size and digests).

    Args:
        table: The table's name.
        row: The row; None where there is none.
        spaces: Finds the space of a vector; None: the numbers stay base64.
    """
    if row is None:
        return None
    return record_document(codec(table).decode(row, spaces if table == "vectors" else None))


# --------------------------------------------------------------------------------------------- history


def struct_document(thing: msgspec.Struct) -> Document:
    """A report of the contract, field by field."""
    return msgspec.structs.asdict(thing)


def point_document(point: Point, names: Mapping[str, str]) -> Document:
    """A place in history; `names` maps branch ids to names."""
    return {
        "branch": names.get(point.branch, point.branch),
        "seq": point.seq,
        "commit": point.commit,
        "time": format_time(point.time) if point.time else None,
    }


def commit_document(commit: Commit, names: Mapping[str, str]) -> Document:
    """A commit; `names` maps branch ids to names."""
    return {
        "id": commit.id,
        "branch": names.get(commit.branch, commit.branch),
        "seq": commit.seq,
        "time": format_time(commit.time),
        "author": commit.author,
        "message": commit.message,
        "parents": commit.parents,
        "reverts": commit.reverts,
    }


def branch_document(branch: Branch, names: Mapping[str, str]) -> Document:
    """A branch."""
    return {
        "name": branch.name,
        "id": branch.id,
        "parent": None if branch.parent is None else names.get(branch.parent, branch.parent),
        "fork_seq": branch.fork_seq,
        "head": point_document(branch.head, names),
        "floor": branch.floor,
        "created_at": format_time(branch.created_at),
    }


def checkpoint_document(checkpoint: Checkpoint, names: Mapping[str, str]) -> Document:
    """A checkpoint."""
    return {
        "name": checkpoint.name,
        "point": point_document(checkpoint.point, names),
        "metrics": msgspec.Raw(checkpoint.metrics.encode()),
        "message": checkpoint.message,
        "created_at": format_time(checkpoint.created_at),
    }


def space_document(space: Space) -> Document:
    """An embedding space."""
    return {**struct_document(space), "created_at": format_time(space.created_at)}


def conflict_document(conflict: MergeConflictRow, spaces: Callable[[str], Space] | None = None) -> Document:
    """A merge conflict, with the three rows."""
    document: Document = {
        "table": conflict.table, "key": conflict.key, "kind": conflict.kind, "fields": conflict.fields,
    }  # fmt: skip
    for side in ("base", "ours", "theirs"):
        document[side] = row_document(conflict.table, getattr(conflict, side), spaces)
    return document


def diff_document(item: RowDiff, spaces: Callable[[str], Space] | None = None) -> Document:
    """A row that differs, with both states."""
    return {
        "table": item.table,
        "key": item.key,
        "kind": item.kind,
        "fields": item.fields,
        "before": row_document(item.table, item.before, spaces),
        "after": row_document(item.table, item.after, spaces),
    }


def branch_names(branches: Iterable[Branch]) -> dict[str, str]:
    """Branch id → name."""
    return {branch.id: branch.name for branch in branches}
