"""Rows by key: the version that a point shows, without a look at the others that a row has."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import pyarrow as pa
from perdure import TABLES, Key, Point, Row
from perdure.kit import SLOT, Rows, State, decode_row, encode_row, is_tombstone, rows_of

from perdure_lancedb._columns import DIGEST, key_of, kind_of, of_rows
from perdure_lancedb._columns import Rows as Layout
from perdure_lancedb._sql import pieces

if TYPE_CHECKING:
    from perdure_lancedb._snapshot import Snapshot
    from perdure_lancedb._storage import LanceStorage
    from perdure_lancedb._tables import View

__all__ = ["ANCESTORS", "LanceRows", "Lineage", "Live", "folded", "shown", "start_of"]

Lineage = tuple[tuple[int, int], ...]

#: Branches that one condition names; what goes deeper is left to the kit.
ANCESTORS = 60

#: A row that has fewer versions is judged by all of them: to read one more column takes longer than a few rows.
_FEW = 8

#: A row's versions that came since the log was folded, by their keys; None where one was deleted.
_Held = Mapping[bytes, bytes | None]


class Live(NamedTuple):
    """The version of a row that a point shows: as it was written, or as LanceDB has it."""

    slot: bytes
    stored: bytes | None
    digest: bytes
    row: Row | None

    def decoded(self, kind: str) -> Row:
        """The row."""
        return cast(Row, self.row if self.stored is None else decode_row(kind, self.stored))

    def encoded(self, kind: str) -> bytes:
        """The row as it was written."""
        return self.digest + encode_row(kind, (), self.row)[DIGEST:] if self.stored is None else self.stored


class _Seen(NamedTuple):
    """A version as it is compared with others of its row: the least of them is what a point shows."""

    depth: int
    newest: int  # the sequence number, negated
    live: Live | None  # None: a deletion


def shown(lineage: Lineage) -> str:
    """A condition that the versions meet that some ancestor shows, though closer ones may have others."""
    arms = [f"(branch = {number} AND seq <= {upto} AND ended > {upto})" for number, upto in lineage]
    return arms[0] if len(arms) == 1 else f"({' OR '.join(arms)})"


def folded(lineage: Lineage, view: View) -> Lineage:
    """Those steps of a lineage of whose branches a table has something."""
    return lineage if len(lineage) == 1 else tuple(step for step in lineage if step[0] in view.branches)


def start_of(kind: str, group: bytes) -> bytes:
    """What the keys of all rows begin with that lie where a row does."""
    at = group.index(b"\0") + 3  # after the letters of rows and of the kind
    return group[: group.index(b"\0", at) + 1] if kind == "vectors" else group[:at]


class _Expected(threading.local):
    """Rows that the thread's last search read: who searched asks for them next."""

    of: object = None
    rows: Mapping[bytes, Row] = {}

    def take(self, of: object) -> Mapping[bytes, Row]:
        """They are given out once, so that nothing is kept that nobody asks for twice."""
        found = self.rows if self.of == of else {}
        self.of, self.rows = None, {}
        return found


class LanceRows(Rows):
    """Reads row versions of one namespace."""

    _storage: LanceStorage

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._expected = _Expected()

    def expect(self, state: State, lineage: Lineage, rows: Mapping[bytes, Row]) -> None:
        """Keep the live rows that a search found for the next `fetch` of this thread."""
        self._expected.of, self._expected.rows = (state.era, lineage), rows

    def find(self, state: State, lineage: Lineage, group: bytes) -> tuple[bytes, bytes] | None:
        """The slot and the stored bytes of the live version of a row."""
        live = self.live_many(state, lineage, [group]).get(group)
        return None if live is None else (live.slot, live.encoded(cast(str, kind_of(group))))

    def find_many(self, state: State, lineage: Lineage, groups: Sequence[bytes]) -> dict[bytes, bytes]:
        """The stored bytes of the live versions of rows, by group."""
        live = self.live_many(state, lineage, groups)
        return {group: found.encoded(cast(str, kind_of(group))) for group, found in live.items()}

    def fetch(self, state: State, point: Point, table: str, keys: Sequence[Key]) -> Iterator[Row | None]:
        """Rows by key, in the order asked."""
        groups = [self._keys.group(table, key) for key in keys]
        lineage = state.lineage(point)
        # What a point shows stays as it is, until a maintenance begins a new era, or hides rows before.
        known = {} if state.hidden else self._expected.take((state.era, lineage))
        asked = [group for group in groups if group is not None and group not in known]
        live = self.live_many(state, lineage, asked) if asked else {}
        for group in groups:
            if group is None or group in known:
                yield None if group is None else known[group]
            else:
                yield live[group].decoded(table) if group in live else None

    def live_many(self, state: State, lineage: Lineage, groups: Iterable[bytes]) -> dict[bytes, Live]:
        """The live versions of rows, by group."""
        by_start: dict[bytes, list[bytes]] = {}
        for group in dict.fromkeys(groups):
            if not state.is_hidden(group):
                by_start.setdefault(start_of(cast(str, kind_of(group)), group), []).append(group)
        live: dict[bytes, Live] = {}
        for start, some in by_start.items():
            only = some[0] if len(some) == 1 else start
            live |= self._storage.look(only, partial(self.judge, state, lineage, some))
        return live

    def recent(self, state: State, lineage: Lineage, snapshot: Snapshot) -> set[bytes]:
        """The rows of which something that came since the log was folded counts at a point."""
        return {
            group
            for group, versions in snapshot.recent().items()
            if None in versions.values() or self._newest(state, lineage, versions) is not None
        }

    def judge(
        self, state: State, lineage: Lineage, groups: Sequence[bytes], snapshot: Snapshot
    ) -> dict[bytes, Live]:
        """The live versions of rows of one snapshot; it has all that it needs when it returns."""
        best: dict[bytes, _Seen] = {}
        odd, asked = [], []
        recent = snapshot.recent() if snapshot.held else {}
        for group in groups:
            versions = recent.get(group)
            if versions is None:
                asked.append(group)
            elif None in versions.values():
                odd.append(group)  # what was deleted may have ended one before
            else:
                seen = self._newest(state, lineage, versions)
                if seen is not None:
                    best[group] = seen
                # Of the same branch, the table has only older ones.
                if seen is None or (seen.depth and self._closer(snapshot, lineage[: seen.depth])):
                    asked.append(group)
        for group, seen in self._folded(snapshot, lineage, asked):
            if group not in best or seen[:2] < best[group][:2]:
                best[group] = seen
        for group, every in self._every(snapshot, odd).items():
            if (found := self._newest(state, lineage, {**every, **recent[group]})) is not None:
                best[group] = found
        return {group: seen.live for group, seen in best.items() if seen.live is not None}

    def _closer(self, snapshot: Snapshot, lineage: Lineage) -> bool:
        """Whether the table may have something of these branches."""
        return snapshot.view is not None and any(number in snapshot.view.branches for number, _ in lineage)

    def _newest(self, state: State, lineage: Lineage, versions: _Held) -> _Seen | None:
        """What a lineage shows of versions of one row, of which some may not be committed."""
        keys = sorted(versions, reverse=True)
        for depth, (number, upto) in enumerate(lineage):
            prefix, most = number.to_bytes(4, "big"), upto.to_bytes(8, "big")
            for key in keys:
                slot, value = key[-SLOT:], versions[key]
                if value is None or slot[:4] != prefix or slot[4:12] > most:
                    continue
                if self._commits.committed(state, state.by_number[number], slot):
                    live = None if is_tombstone(value) else Live(slot, value, b"", None)
                    return _Seen(depth, -int.from_bytes(slot[4:12], "big"), live)
        return None

    def _every(self, snapshot: Snapshot, groups: Sequence[bytes]) -> dict[bytes, dict[bytes, bytes]]:
        """All versions of some rows that were folded."""
        found: dict[bytes, dict[bytes, bytes]] = {group: {} for group in groups}
        if groups and snapshot.view is not None:
            for key, value in snapshot.view.groups(groups):
                found[key[:-SLOT]][key] = value
        return found

    def _folded(
        self, snapshot: Snapshot, lineage: Lineage, groups: Sequence[bytes]
    ) -> Iterator[tuple[bytes, _Seen]]:
        """What LanceDB's table has of rows, of each ancestor that has something."""
        view = snapshot.view
        if view is None or not groups:
            return
        layout = cast(Layout, view.layout)
        depths = {number: depth for depth, (number, _) in enumerate(lineage)}
        if len(groups) == 1:
            found = view.scan(layout.columns, of_rows(groups), limit=_FEW)
            if found.num_rows < _FEW:
                yield from _judged(layout, found, depths, lineage)
                return
        for some in pieces(groups):
            if len(lineage) <= ANCESTORS:
                steps = folded(lineage, view)
                if not steps:
                    return
                found = view.scan(layout.columns, f"{of_rows(some)} AND {shown(steps)}")
            else:
                found = view.scan(layout.columns, of_rows(some))
            yield from _judged(layout, found, depths, lineage)


def _judged(
    layout: Layout, found: pa.Table, depths: Mapping[int, int], lineage: Lineage
) -> Iterator[tuple[bytes, _Seen]]:
    """Those of the versions that are not after the point on their branches."""
    for batch in layout.cell_batches(found):
        rows = rows_of(batch.select([*TABLES[layout.kind].names]))
        head = (batch[name].to_pylist() for name in ("row_key", "branch", "seq", "token", "dead", "digest"))
        for row_key, branch, seq, token, dead, digest, row in zip(*head, rows, strict=True):
            depth = depths.get(branch)
            if depth is not None and seq <= lineage[depth][1]:
                slot = key_of(b"", branch, seq, token)
                yield row_key, _Seen(depth, -seq, None if dead else Live(slot, None, digest, row))
