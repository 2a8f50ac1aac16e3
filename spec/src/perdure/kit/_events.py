"""`check_events`: history from outside, checked before an engine keeps it, so that every engine refuses the same."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from perdure import values
from perdure._errors import InvalidInput, InvalidRecord, NotFound
from perdure._hooks import HistoryEvent
from perdure._schema import Column, Table
from perdure._show import shown
from perdure._types import Branch, Change, ChangeBatch, Checkpoint, Chunk, Commit, Counter, Point, Space
from perdure.kit._arguments import check_checkpoint, check_space
from perdure.kit._batches import check_ancestry, check_chunk, is_kept
from perdure.kit._checking import (
    TOP,
    check_flag,
    check_kind,
    check_number,
    check_text,
    check_tuple,
    check_word,
    known_table,
)

__all__ = ["check_events"]

_MANIFEST = re.compile(r"[0-9]{1,18}:(?:[0-9a-f]{64}(?:,[0-9a-f]{64})*)?")
_INT64 = range(-(2**63), 2**63)
_TIMES = range(-62_135_596_800_000_000, 253_402_300_800_000_000)


class _Checked(Iterator[HistoryEvent]):
    """Events that were looked at, told by their type: a store looks, and an engine need not look again."""

    def __init__(self, events: Iterable[HistoryEvent]) -> None:
        self._events = _checked(events)

    def __next__(self) -> HistoryEvent:
        return next(self._events)


def check_events(events: Iterable[HistoryEvent]) -> Iterator[HistoryEvent]:
    """The events, each one well formed; what this function gave before comes back as it is.

    Whether they fit what is there already is the engine's to judge.

    Raises:
        InvalidRecord: An event is none, or has a part that no engine could have written, or a commit is cut
            short, comes twice or comes out of order.
    """
    return events if isinstance(events, _Checked) else _Checked(events)


def _checked(events: Iterable[HistoryEvent]) -> Iterator[HistoryEvent]:
    stream = _Stream()
    for event in events:
        check = _CHECKS.get(type(event))
        if check is None:
            raise InvalidRecord(f"{type(event).__name__} is no history event; pass on what export gave")
        if stream.open is not None and not isinstance(event, (ChangeBatch, Chunk)):
            raise InvalidRecord(f"commit {stream.open.id!r} has no final batch before the next event")
        try:
            check(stream, event)
        except InvalidRecord:
            raise
        except (InvalidInput, NotFound) as error:
            # A name, a place or a table, which here is part of a record.
            raise InvalidRecord(error.message) from None
        yield event
    if stream.open is not None:
        raise InvalidRecord(f"commit {stream.open.id!r} has no final batch; the history was cut short")


class _Stream:
    """What came before."""

    def __init__(self) -> None:
        self.open: Commit | None = None
        self.branches: set[str] = set()
        self.seqs: dict[str, int] = {}

    def batch(self, event: ChangeBatch) -> None:
        commit = event.commit
        check_kind(commit, Commit, "the commit of a batch")
        if self.open is None:
            _check_commit(commit)
            if commit.seq <= self.seqs.get(commit.branch, 0):
                raise InvalidRecord(f"commit {commit.id!r} comes twice, or after a later one of its branch")
            self.seqs[commit.branch] = commit.seq
        elif self.open != commit:
            raise InvalidRecord(f"commit {self.open.id!r} has no final batch before {shown(commit.id)}")
        check_flag(event.final, "final")
        self.open = None if event.final else commit
        check_tuple(event.changes, "the changes of a commit")
        for change in event.changes:
            check_kind(change, Change, "a change")
            _check_change(commit.id, change)

    def branch(self, event: Branch) -> None:
        _check_id(event.id, "the id of a branch")
        if event.id in self.branches:
            raise InvalidRecord(f"branch {shown(event.name)} comes twice")
        self.branches.add(event.id)
        check_word(event.name, "branch name")
        if event.parent is not None:
            _check_id(event.parent, "the parent of a branch")
        check_number(event.fork_seq, "the fork of a branch")
        if event.parent is None and event.fork_seq:
            raise InvalidRecord(f"branch {event.name!r} was forked from nothing, at {event.fork_seq}")
        check_kind(event.head, Point, "the head of a branch")
        check_number(event.floor, "the floor of a branch")
        check_number(event.created_at, "the time of a branch", -TOP)
        check_tuple(event.pins, "the pins of a branch")
        for seq in event.pins:
            check_number(seq, "a pin of a branch")

    def chunk(self, event: Chunk) -> None:
        check_chunk(event)

    def space(self, event: Space) -> None:
        check_space(event)

    def checkpoint(self, event: Checkpoint) -> None:
        check_checkpoint(event)
        values.decode(event.metrics)

    def counter(self, event: Counter) -> None:
        _check_key("a read counter", known_table(event.table), event.key)
        check_number(event.access_count, "the number of reads")
        if event.accessed_at is not None and not _is_int(event.accessed_at, _TIMES):
            raise InvalidRecord(f"the read counter of {event.table} {event.key!r} is out of range")


_CHECKS: dict[type[Any], Callable[[_Stream, Any], None]] = {
    ChangeBatch: _Stream.batch,
    Branch: _Stream.branch,
    Chunk: _Stream.chunk,
    Space: _Stream.space,
    Checkpoint: _Stream.checkpoint,
    Counter: _Stream.counter,
}


def _check_commit(commit: Commit) -> None:
    check_word(commit.id, "commit id")
    _check_id(commit.branch, "the branch of a commit")
    check_number(commit.seq, "the sequence number of a commit", 1)
    check_number(commit.time, "the time of a commit", -TOP)
    check_text(commit.author, "the author of a commit")
    check_text(commit.message, "the message of a commit")
    check_ancestry(commit)


def _check_id(found: Any, what: str) -> None:
    check_text(found, what)
    if not found:
        raise InvalidRecord(f"{what} is empty")


def _check_change(commit: str, change: Change) -> None:
    what = f"commit {commit!r}"
    table = known_table(change.table)
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


def _check_key(what: str, table: Table, key: Any) -> None:
    if type(key) is not tuple or len(key) != len(table.key):
        raise InvalidRecord(f"{what} names {shown(key)}, which is no key of {table.name}")
    for name, part in zip(table.key, key, strict=True):
        if not _fits(table.by_name[name], part):
            raise InvalidRecord(f"{what} names {shown(key)}, which is no key of {table.name}")


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
        return type(cell) is float and is_kept(cell)
    if kind == "tags":
        return (
            type(cell) is tuple and all(_is_text(t, None) and t for t in cell) and len(set(cell)) == len(cell)
        )
    if kind == "vector":
        return type(cell) is bytes
    if kind == "payload":
        return type(cell) is str and _MANIFEST.fullmatch(cell) is not None
    return _is_int(cell, _TIMES if kind == "time" else _INT64)


def _is_int(cell: Any, among: range) -> bool:
    return type(cell) is int and cell in among


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
