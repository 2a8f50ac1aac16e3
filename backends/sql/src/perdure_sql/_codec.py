"""Rows and records to and from SQL cells, and the hashes that `verify` recomputes."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import cache
from hashlib import blake2b
from json.encoder import encode_basestring
from typing import Any

from perdure import Branch, Checkpoint, Commit, CorruptStore, Key, Pick, Point, Row, Space, Table

__all__ = [
    "branch_of",
    "checkpoint_of",
    "columns",
    "commit_cells",
    "commit_of",
    "decoder",
    "encoder",
    "key_text",
    "quote",
    "record_hash",
    "space_of",
    "tags_text",
    "text_key",
]

_decode = json.JSONDecoder().raw_decode
_PLAIN = frozenset((str, int, bytes, type(None)))


def quote(name: str) -> str:
    """An identifier in SQL; some columns are called like keywords."""
    return f'"{name}"'


def columns(names: Sequence[str], prefix: str = "v.") -> str:
    """Identifiers as a select list."""
    return ", ".join(f"{prefix}{quote(name)}" for name in names)


def _loads(text: str) -> Any:
    """JSON as it is stored: without space around it, for which a decoder would look first."""
    try:
        found, end = _decode(text)
    except (ValueError, TypeError, RecursionError):
        found, end = None, -1
    if not isinstance(found, list | dict) or end != len(text):
        raise CorruptStore("what should be JSON in the store is none; run verify, restore from a backup")
    return found


def tags_text(tags: Sequence[str]) -> str:
    """Tags as JSON text in one canonical form, so that a search for a quoted tag is exact."""
    return "[" + ",".join(map(encode_basestring, tags)) + "]" if tags else "[]"


def _tags(text: str | None) -> tuple[str, ...] | None:
    return () if text == "[]" else None if text is None else tuple(_loads(text))


def encoder(table: Table) -> Callable[[Row], tuple[Any, ...]]:
    """A row → the cells of its own columns."""
    places = [i for i, column in enumerate(table.columns) if column.kind == "tags"]
    if not places:
        return lambda row: row

    def encode(row: Row) -> tuple[Any, ...]:
        cells = list(row)
        for place in places:
            cells[place] = tags_text(cells[place])  # type: ignore[arg-type]
        return tuple(cells)

    return encode


@cache
def decoder(table: Table, names: tuple[str, ...] | None = None) -> Callable[[Sequence[Any]], Row]:
    """The cells of the columns → a row (a projection of it where `names` is given)."""
    chosen = table.names if names is None else names
    places = [i for i, name in enumerate(chosen) if table.by_name[name].kind == "tags"]
    if not places:
        return tuple
    if len(places) == 1:
        only = places[0]

        def decode_one(cells: Sequence[Any]) -> Row:
            text = cells[only]
            return (*cells[:only], () if text == "[]" else tuple(_loads(text)), *cells[only + 1 :])

        return decode_one

    def decode(cells: Sequence[Any]) -> Row:
        row = list(cells)
        for place in places:
            row[place] = _tags(row[place])
        return tuple(row)

    return decode


def record_hash(kind: str, cells: Sequence[Any]) -> bytes:
    """BLAKE2b-128 over a record's cells, which are None, int, str and bytes, as Python writes them."""
    if not _PLAIN.issuperset(map(type, cells)):
        cells = [*map(_plain, cells)]
    return blake2b(repr((kind, *cells)).encode(), digest_size=16).digest()


def _plain(cell: Any) -> Any:
    """A cell as the store gives it back: a subclass may be written in another way."""
    if isinstance(cell, str):
        return str.__str__(cell)
    if isinstance(cell, int):
        return int.__int__(cell)
    return bytes(cell) if isinstance(cell, bytes | bytearray | memoryview) else cell


def key_text(key: Key) -> str:
    """A key as one text."""
    return key[0] if len(key) == 1 else tags_text(key)


def text_key(table: Table, text: str) -> Key:
    """The inverse of `key_text`."""
    return (text,) if len(table.key) == 1 else tuple(_loads(text))


# ------------------------------------------------------------------------------------------- records


def commit_cells(ns: int, branch: int, commit: Commit, wall: int) -> tuple[Any, ...]:
    """A commit as the cells of its table, hash last; `wall` is the clock when it was written here."""
    picks = [
        [p.source.branch, p.source.seq, p.source.commit, p.source.time, p.table, p.keys] for p in commit.picks
    ]
    cells = (
        ns,
        commit.id,
        branch,
        commit.seq,
        commit.time,
        wall,
        commit.author,
        commit.message,
        json.dumps(commit.parents) if commit.parents else "[]",
        json.dumps(commit.vector, sort_keys=True) if commit.vector else "{}",
        json.dumps(picks) if picks else "[]",
        commit.reverts,
    )
    return (*cells, record_hash("commits", cells))


def commit_of(branch_id: str, cells: Sequence[Any]) -> Commit:
    """The inverse of `commit_cells`, for the cells ``id, seq, time, …, reverts``."""
    id_, seq, time, author, message, parents, vector, picks, reverts = cells
    return Commit(
        id=id_,
        branch=branch_id,
        seq=seq,
        time=time,
        author=author,
        message=message,
        parents=() if parents == "[]" else tuple(_loads(parents)),
        vector={} if vector == "{}" else _loads(vector),
        picks=() if picks == "[]" else tuple(_pick(item) for item in _loads(picks)),
        reverts=reverts,
    )


def _pick(item: list[Any]) -> Pick:
    branch, seq, commit, time, table, keys = item
    return Pick(Point(branch, seq, commit, time), table, None if keys is None else tuple(map(tuple, keys)))


def space_of(cells: Sequence[Any]) -> Space:
    """A space from the cells ``name, dim, dtype, metric, model, owner, created_at``."""
    return Space(*cells)


def checkpoint_of(branch_id: str, cells: Sequence[Any]) -> Checkpoint:
    """A checkpoint from the cells ``name, seq, commit_id, time, metrics, message, created_at``."""
    name, seq, commit, time, metrics, message, created_at = cells
    return Checkpoint(name, Point(branch_id, seq, commit, time), metrics, message, created_at)


def branch_of(cells: Sequence[Any], pins: tuple[int, ...] = ()) -> Branch:
    """A branch from ``id, name, parent id, fork_seq, head_seq, head_commit, head_time, floor, created_at``."""
    id_, name, parent, fork, head, commit, time, floor, created_at = cells
    return Branch(id_, name, parent, fork, Point(id_, head, commit, time), floor, created_at, pins)
