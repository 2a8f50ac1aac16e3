"""Folding: what the log holds becomes part of LanceDB's tables."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from types import MappingProxyType
from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc
from msgspec.structs import replace
from perdure import CorruptStore, Space
from perdure.kit import SLOT, is_head, life_of

from perdure_lancedb._candidates import NAME
from perdure_lancedb._columns import OPEN, Rows, key_of, kind_of, of_rows
from perdure_lancedb._entries import Fence, Segment, State, Stored
from perdure_lancedb._objects import Objects
from perdure_lancedb._options import Indexing
from perdure_lancedb._segments import Loaded
from perdure_lancedb._sql import pieces, within
from perdure_lancedb._steps import Steps
from perdure_lancedb._tables import BYTES, NUMBER, Tables, View, layout_of
from perdure_lancedb._vector_index import renewed, tended

__all__ = ["Judge", "fold", "shrink"]

Item = tuple[bytes, bytes]

#: The two numbers of a version by which the next one on its branch is found, and its key.
_Version = tuple[int, bytes]


class Judge(Protocol):
    """Knows from the heads what was committed, and what spaces there are."""

    def committed(self, key: bytes) -> bool:
        """Whether the attempt was committed that wrote the version of a row under a key."""
        ...

    def lost(self, key: bytes) -> bool:
        """Whether it can never be committed any more."""
        ...

    def space(self, namespace: bytes, name: str) -> Space | None:
        """A space by name."""
        ...


@dataclass
class _Share:
    """What one table gets."""

    name: str
    stored: Stored
    puts: list[Item] = field(default_factory=list)
    deletes: list[bytes] = field(default_factory=list)
    segments: list[Loaded] = field(default_factory=list)


class _Shares:
    """The items of a fold by their tables; tables that are missing get a name that no other ever had."""

    def __init__(self, tables: Tables, judge: Judge) -> None:
        self._judge = judge
        self.by_name = {name: _Share(name, view.stored) for name, view in tables.views.items()}
        self._found: dict[bytes, _Share | None] = {}

    def items(self) -> _Share:
        """That of all that is no committed row."""
        there = (share for share in self.by_name.values() if not share.stored.kind)
        return next(there, None) or self._new("items", Stored("", b"", None, 0, [], deleted=False))

    def of(self, key: bytes) -> _Share:
        """That of the table in which an item belongs."""
        kind = kind_of(key)
        if kind is None or not self._judge.committed(key):
            return self.items()
        at = key.index(b"\0") + 3
        prefix = key[: key.index(b"\0", at) + 1] if kind == "vectors" else key[at - 1 : at]
        if prefix not in self._found:
            self._found[prefix] = self._rows(kind, prefix)
        return self._found[prefix] or self.items()

    def of_segment(self, segment: Segment) -> _Share:
        """That of the table in which the rows of a segment belong."""
        return self._table(segment.kind, segment.prefix, segment.values)

    def _rows(self, kind: str, prefix: bytes) -> _Share | None:
        if kind != "vectors":
            return self._table(kind, prefix, None)
        namespace, _, rest = prefix.partition(b"\0")
        space = self._judge.space(namespace, rest[2:-1].decode())
        return None if space is None else self._table(kind, prefix, (space.dtype, space.dim))

    def _table(self, kind: str, prefix: bytes, values: tuple[str, int] | None) -> _Share:
        wanted = (kind, prefix if values else b"", values)
        for share in self.by_name.values():
            if (share.stored.kind, share.stored.prefix, share.stored.values) == wanted:
                return share
        return self._new(kind, Stored(*wanted, 0, [], deleted=False))

    def _new(self, kind: str, stored: Stored) -> _Share:
        share = _Share(f"{kind}-{os.urandom(8).hex()}", stored)
        self.by_name[share.name] = share
        return share


def fold(
    objects: Objects,
    state: State,
    cells: Mapping[bytes, bytes],
    puts: Iterable[Item],
    deletes: Iterable[bytes],
    judge: Judge,
    segments: Iterable[Loaded],
    indexing: Indexing,
    known: Mapping[str, View] = MappingProxyType({}),
) -> tuple[dict[str, Stored], int]:
    """Write items, whose keys are in no table but where `deletes` has them, and delete others.

    Args:
        objects: Where the tables lie.
        state: What they are at.
        cells: What has come of the cells of that state.
        puts: Keys and values.
        deletes: Keys to delete first; some may not be there.
        segments: More versions of rows; those of one segment are of one attempt, which was committed.
        judge: Tells committed versions of rows from others, which lie among the other objects, or nowhere if they
            can never be committed any more.
        indexing: Which vectors get an index.
        known: Tables that are open already, at any state.

    Returns:
        The tables as they are then, without those in which nothing is left; and how many versions of rows lie
        among the other objects.

    Raises:
        Interfered: Another process did the same at the same time.
    """
    tables = Tables(objects, state, known)
    shares = _Shares(tables, judge)
    gone = {*deletes, *_dropped(tables, state, cells)}
    pending = state.pending
    if pending:
        heads = [key for key in {**cells, **state.cells} if is_head(key)]
        moved = [key[:-1] for key in heads if cells.get(key) != state.cells.get(key)]
        pending -= _settle(tables, shares, moved, gone, judge)
    for item in puts:
        if kind_of(item[0]) is not None and judge.lost(item[0]):
            continue
        share = shares.of(item[0])
        share.puts.append(item)
        pending += not share.stored.kind and kind_of(item[0]) is not None
    for loaded in segments:
        if not judge.lost(
            loaded.layout.keys(loaded.table.slice(0, 1))[0]
        ):  # its branch or its namespace may have gone since
            shares.of_segment(loaded.segment).segments.append(loaded)
    for key in gone:
        kind = kind_of(key)
        for share in shares.by_name.values():
            home = share.stored.kind == (kind or "") and key.startswith(share.stored.prefix)
            if home or (not share.stored.kind and state.pending):
                share.deletes.append(key)
    kept: dict[str, Stored] = {}
    for share in shares.by_name.values():
        stored: Stored | None = share.stored
        if share.puts or share.deletes or share.segments:
            stored = _folded(objects, share, tables.views.get(share.name), judge, indexing)
        if stored is not None:
            kept[share.name] = stored
    return kept, pending


def _ended(before: bytes, now: bytes | None) -> bool:
    """Whether the namespace of a head is gone; not where a head is damaged, so that nobody can tell."""
    try:
        return life_of(before) != life_of(now)
    except CorruptStore:
        return False


def _dropped(tables: Tables, state: State, cells: Mapping[bytes, bytes]) -> Iterator[bytes]:
    """The versions of rows of namespaces that were dropped since, even if others have their names by now."""
    for cell, head in state.cells.items():
        if is_head(cell) and _ended(head, cells.get(cell)):
            for view in tables.views.values():
                if view.stored.kind:
                    yield from view.keys(within("row_key", cell[:-1]))


def _settle(
    tables: Tables, shares: _Shares, moved: Iterable[bytes], gone: Collection[bytes], judge: Judge
) -> int:
    """Take versions of rows that are decided now from among the other objects; how many.

    Those that were committed go where they belong. Where no head has moved, nothing was decided.
    """
    taken = 0
    for name, view in tables.views.items():
        if view.stored.kind:
            continue
        for some in pieces(key for key in gone if kind_of(key) is not None):
            taken += len(view.keys(view.layout.among(some)))
        for root in moved:
            keys = [key for key in view.keys(within("row_key", root)) if key not in gone]
            settled = [key for key in keys if shares.of(key).stored.kind]
            for item in view.get_many(settled):
                shares.of(item[0]).puts.append(item)
            lost = [key for key in keys if judge.lost(key)]
            shares.by_name[name].deletes += [*settled, *lost]
            taken += len(settled) + len(lost)
    return taken


def _folded(
    objects: Objects, share: _Share, before: View | None, judge: Judge, indexing: Indexing
) -> Stored | None:
    """One table with its share; None: nothing is left in it."""
    stored, place = share.stored, objects.table(share.name)
    if not (stored.version or share.puts or share.segments):
        return None
    layout = layout_of(stored)
    steps = Steps(place, stored.version)
    puts = sorted(share.puts)
    added = layout.table(puts)
    if isinstance(layout, Rows) and puts:
        joined = _joined(puts, share)
        added = pa.concat_tables([added, *(rows for _, rows in joined)])
        keys = [*(key for key, _ in puts), *(key for some, _ in joined for key in some)]
        added, superseded = _closed(layout, before, added, keys, share)
        share.deletes += superseded
    if before is not None:
        for some in pieces(share.deletes):
            steps.delete(before.just(some))
    sizes = [(layout.place(key), len(value)) for key, value in puts]
    steps.append(_all(added, share, puts, sizes), layout.schema)
    if not steps.version or not steps.open().count_rows():
        return None
    steps.tidy(layout.indexed)
    index = stored.index
    if space := _space(stored, judge):
        index = tended(steps, index, space, indexing)
    deleted = stored.deleted or bool(share.deletes)
    now = replace(stored, version=steps.version, index=index, deleted=deleted)
    return replace(now, fences=_fenced(View(place, now), stored.fences, sizes))


def _joined(puts: Sequence[Item], share: _Share) -> list[tuple[list[bytes], pa.Table]]:
    """The versions in segments of rows that were written again since, and their keys."""
    again = _row_keys(puts)
    found = []
    for loaded in share.segments:
        rows = _without(loaded, share.deletes)
        rows = rows.filter(pc.is_in(rows["row_key"], again))
        if len(rows):
            slots = zip(
                *(rows[name].to_pylist() for name in ("row_key", "branch", "seq", "token")), strict=True
            )
            found.append(([key_of(*slot) for slot in slots], rows))
    return found


def _row_keys(items: Sequence[Item]) -> pa.Array:
    return pa.array({key[:-SLOT] for key, _ in items}, pa.large_binary())


def _without(loaded: Loaded, deletes: Iterable[bytes]) -> pa.Table:
    """The versions of a segment that were not deleted since."""
    token = loaded.table["token"][0].as_py()
    gone = [key[:-SLOT] for key in deletes if key[-12:] == token]
    if not gone:
        return loaded.table
    return loaded.table.filter(
        pc.invert(pc.is_in(loaded.table["row_key"], pa.array(gone, pa.large_binary())))
    )


def _all(
    added: pa.Table, share: _Share, puts: Sequence[Item], sizes: list[tuple[bytes, int]]
) -> Iterator[pa.RecordBatch]:
    """All that a fold appends, segment by segment; adds the places and sizes of what comes from segments."""
    yield from added.to_batches()
    again = _row_keys(puts)
    for loaded in share.segments:
        rows = _without(loaded, share.deletes)
        sizes += zip(rows["row_key"].to_pylist(), rows["size"].to_pylist(), strict=True)
        rows = rows.filter(pc.invert(pc.is_in(rows["row_key"], again)))
        yield from rows.to_batches()
        loaded.drop()


def _space(stored: Stored, judge: Judge) -> Space | None:
    """The space whose vectors a table has."""
    if stored.values is None:
        return None
    namespace, _, rest = stored.prefix.partition(b"\0")
    return judge.space(namespace, rest[2:-1].decode())


def _closed(
    layout: Rows, view: View | None, added: pa.Table, keys: Sequence[bytes], share: _Share
) -> tuple[pa.Table, list[bytes]]:
    """The new versions with `ended` as it is, and with those old ones that they end; and the keys of the latter."""
    lines: dict[tuple[bytes, int], list[_Version]] = {}
    slots = zip(*(added[name].to_pylist() for name in ("row_key", "branch", "seq")), strict=True)
    for (row_key, branch, seq), key in zip(slots, keys, strict=True):
        lines.setdefault((row_key, branch), []).append((seq, key))
    old = {} if view is None else _present(view, lines, set(share.deletes))
    ended: dict[bytes, int] = {}
    for versions in lines.values():
        versions.sort()
        for (_, key), (following, _) in pairwise([*versions, (OPEN, b"")]):
            if old.get(key, 0) != following:
                ended[key] = following
    ends = pa.array([ended[key] for key in keys], pa.int64())
    place = added.schema.get_field_index("ended")
    added = added.set_column(place, added.schema.field(place), ends)
    superseded = [key for key in old if key in ended]
    for some in pieces(superseded):
        assert view is not None
        rows = view.scan(layout.schema.names, view.just(some)).cast(layout.schema)
        slots = zip(*(rows[name].to_pylist() for name in ("row_key", "branch", "seq", "token")), strict=True)
        ends = pa.array([ended[key_of(*slot)] for slot in slots], pa.int64())
        rows = rows.set_column(place, rows.schema.field(place), ends)
        added = pa.concat_tables([added, rows])
    return added, superseded


def _present(
    view: View, lines: dict[tuple[bytes, int], list[_Version]], gone: set[bytes]
) -> dict[bytes, int]:
    """Add the versions that are there of the same rows and branches; what each of them has as `ended`, by key."""
    found: dict[bytes, int] = {}
    lowest = min(seq for line in lines.values() for seq, _ in line)  # what ended before is as it was
    for some in pieces(dict.fromkeys(row_key for row_key, _ in lines)):
        condition = f"{of_rows(some)} AND ended > {lowest}"
        versions = view.scan(["row_key", "branch", "seq", "token", "ended"], condition)
        for row_key, branch, seq, token, ended in zip(
            *(c.to_pylist() for c in versions.columns), strict=True
        ):
            line = lines.get((row_key, branch))
            key = key_of(row_key, branch, seq, token)
            if line is not None and key not in gone:
                line.append((seq, key))
                found[key] = ended
    return found


def shrink(objects: Objects, name: str, stored: Stored) -> Stored:
    """Rewrite a table so that its newest version has nothing of what was deleted.

    Raises:
        Interfered: Another process changed it at the same time.
    """
    if not stored.deleted:
        return stored
    place, layout = objects.table(name), layout_of(stored)
    steps = Steps(place, stored.version)
    if stored.index is not None:  # it has vectors of its own
        steps.drop_index(NAME)
    steps.compact(materialize_deletions=True, materialize_deletions_threshold=0.0)
    steps.index(layout.indexed, anew=True)  # the old one has keys of what was deleted
    index = stored.index and renewed(steps, stored.index)
    now = replace(stored, version=steps.version, index=index, deleted=False)
    view = View(place, now)
    starts = [fence.key for fence in stored.fences]
    fences: list[Fence] = []
    for start, end in zip(starts, [*starts[1:], None], strict=False):  # none where all was deleted
        fences += view.cut(start, end)
    return replace(now, fences=fences)


def _fenced(view: View, fences: Sequence[Fence], puts: Sequence[tuple[bytes, int]]) -> list[Fence]:
    """The fences once `puts` (places and sizes) have come, with new ones where a stretch has become too long."""
    old = [Fence(b"", 0, 0), *fences]  # what comes before the first fence is a stretch as well
    starts = [fence.key for fence in old]
    counts = [[fence.items, fence.size] for fence in old]
    for place, size in puts:
        count = counts[max(0, bisect_right(starts, place) - 1)]
        count[0] += 1
        count[1] += size
    new: list[Fence] = []
    for i, (start, (number, size)) in enumerate(zip(starts, counts, strict=True)):
        if number <= NUMBER and size <= BYTES:
            if number:
                new.append(Fence(start, number, size))
        else:
            new += view.cut(start, starts[i + 1] if i + 1 < len(starts) else None)
    return new
