"""History from outside, checked before an engine sees it, so that every engine refuses the same."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from math import isfinite
from typing import Any

from perdure import values
from perdure._errors import InvalidRecord
from perdure._hooks import HistoryEvent
from perdure._names import check_name
from perdure._schema import TABLES, Column, Table
from perdure._types import Branch, Change, ChangeBatch, Checkpoint, Chunk, Counter, Space
from perdure.kit import CHUNK_SIZE, chunk_digest

__all__ = ["checked"]

_MANIFEST = re.compile(r"[0-9]{1,18}:(?:[0-9a-f]{64}(?:,[0-9a-f]{64})*)?")
_INT64 = range(-(2**63), 2**63)
_TIMES = range(-62_135_596_800_000_000, 253_402_300_800_000_000)


def checked(events: Iterable[HistoryEvent]) -> Iterator[HistoryEvent]:
    """The events, each one well formed.

    Whether they fit what is there already is the engine's to judge.

    Raises:
        InvalidRecord: An event is none, or has a table, key, row or piece that no engine could have written,
            or a commit is cut short, comes twice or comes out of order.
    """
    stream = _Stream()
    for event in events:
        check = _CHECKS.get(type(event))
        if check is None:
            raise InvalidRecord(f"{type(event).__name__} is no history event; pass on what export gave")
        if stream.open is not None and not isinstance(event, (ChangeBatch, Chunk)):
            raise InvalidRecord(f"commit {stream.open!r} has no final batch before the next event")
        check(stream, event)
        yield event
    if stream.open is not None:
        raise InvalidRecord(f"commit {stream.open!r} has no final batch; the history was cut short")


class _Stream:
    """What came before."""

    def __init__(self) -> None:
        self.open: str | None = None
        self.branches: set[str] = set()
        self.seqs: dict[str, int] = {}

    def batch(self, event: ChangeBatch) -> None:
        commit = event.commit
        if self.open is None:
            if commit.seq <= self.seqs.get(commit.branch, 0):
                raise InvalidRecord(f"commit {commit.id!r} comes twice, or after a later one of its branch")
            self.seqs[commit.branch] = commit.seq
        elif self.open != commit.id:
            raise InvalidRecord(f"commit {self.open!r} has no final batch before {commit.id!r}")
        self.open = None if event.final else commit.id
        for change in event.changes:
            _check_change(commit.id, change)

    def branch(self, event: Branch) -> None:
        if event.id in self.branches:
            raise InvalidRecord(f"branch {event.name!r} comes twice")
        self.branches.add(event.id)
        check_name(event.name, "branch name")
        if type(event.pins) is not tuple or any(type(seq) is not int for seq in event.pins):
            raise InvalidRecord(f"the pins of branch {event.name!r} are no sequence numbers")

    def chunk(self, event: Chunk) -> None:
        if len(event.data) > CHUNK_SIZE or chunk_digest(event.data) != event.digest:
            raise InvalidRecord(
                f"payload piece {str(event.digest)[:64]!r} does not hash to its name, or is too long"
            )

    def space(self, event: Space) -> None:
        check_name(event.name, "space name")

    def checkpoint(self, event: Checkpoint) -> None:
        check_name(event.name, "checkpoint name")
        values.decode(event.metrics)

    def counter(self, event: Counter) -> None:
        _check_key("a read counter", _table("a read counter", event.table), event.key)
        if event.access_count not in _INT64 or (
            event.accessed_at is not None and event.accessed_at not in _TIMES
        ):
            raise InvalidRecord(f"the read counter of {event.table} {event.key!r} is out of range")


_CHECKS: dict[type[Any], Callable[[_Stream, Any], None]] = {
    ChangeBatch: _Stream.batch,
    Branch: _Stream.branch,
    Chunk: _Stream.chunk,
    Space: _Stream.space,
    Checkpoint: _Stream.checkpoint,
    Counter: _Stream.counter,
}


def _check_change(commit: str, change: Change) -> None:
    what = f"commit {commit!r}"
    table = _table(what, change.table)
    _check_key(what, table, change.key)
    row = change.row
    if row is None:
        return
    if type(row) is not tuple or len(row) != len(table.columns) or table.key_of(row) != change.key:
        raise InvalidRecord(
            f"{what} has a row of {table.name} {change.key!r} that does not fit the table or its key"
        )
    for column, cell in zip(table.columns, row, strict=True):
        if not (column.nullable if cell is None else _fits(column, cell)):
            raise InvalidRecord(
                f"{what}: {table.name}.{column.name} of {change.key!r} is nothing that a row may hold"
            )


def _table(what: str, name: str) -> Table:
    table = TABLES.get(name)
    if table is None:
        raise InvalidRecord(f"{what} names {str(name)[:80]!r}, which is no table")
    return table


def _check_key(what: str, table: Table, key: Any) -> None:
    if type(key) is not tuple or len(key) != len(table.key):
        raise InvalidRecord(f"{what} names {str(key)[:80]!r}, which is no key of {table.name}")
    for name, part in zip(table.key, key, strict=True):
        if not _fits(table.by_name[name], part):
            raise InvalidRecord(f"{what} names {str(key)[:80]!r}, which is no key of {table.name}")


def _fits(column: Column, cell: Any) -> bool:
    """Whether an encoded cell is one that the checks of records would have let through."""
    kind = column.kind
    if kind == "text":
        return _is_text(cell, column.limit) and bool(cell or not column.required)
    if kind == "value":
        if type(cell) is str and cell != "null":
            values.decode(cell)
        return type(cell) is str
    if kind == "float":
        return type(cell) is float and isfinite(cell)
    if kind == "tags":
        return (
            type(cell) is tuple and len(set(cell)) == len(cell) and all(t and _is_text(t, None) for t in cell)
        )
    if kind == "vector":
        return type(cell) is bytes
    if kind == "payload":
        return type(cell) is str and _MANIFEST.fullmatch(cell) is not None
    return type(cell) is int and cell in (_TIMES if kind == "time" else _INT64)


def _is_text(cell: Any, limit: int | None) -> bool:
    if type(cell) is not str or "\0" in cell:
        return False
    if cell.isascii():
        return limit is None or len(cell) <= limit
    try:
        size = len(cell.encode())
    except UnicodeEncodeError:  # a lone surrogate
        return False
    return limit is None or size <= limit
