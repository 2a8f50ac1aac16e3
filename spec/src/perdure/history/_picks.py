"""What selective merges took: for the rows that they took, their source counts as merged."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from perdure._errors import HistoryExpired
from perdure._types import Key, Point
from perdure.history._dag import Dag, Vector, bases_between, includes, join
from perdure.history._diff import Entry, differing_keys
from perdure.history._plan import owner_of
from perdure.kit._apply import owner_id

__all__ = ["Picks", "Selection"]

#: Table name → keys (None: all).
Selection: TypeAlias = Mapping[str, frozenset[Key] | None]


class _Taken(NamedTuple):
    """One pick, and the commit that recorded it: `table`'s `keys` (None: all) as they were at `source`."""

    branch: str
    seq: int
    source: Point
    table: str
    keys: frozenset[Key] | None


class Picks:
    """The merge bases of single rows, for a merge of `source` into `head`."""

    def __init__(self, dag: Dag, source: Point, head: Point, bound: Mapping[str, Sequence[str]]) -> None:
        self._dag, self._source, self._head = dag, source, head
        self._bound = bound
        self._owner = {space: table for table, spaces in bound.items() for space in spaces}
        self._all = [
            _Taken(
                commit.branch,
                commit.seq,
                pick.source,
                pick.table,
                None if pick.keys is None else frozenset(pick.keys),
            )
            for commit, pick in dag.picks()
        ]
        self._tables: dict[str, list[int]] = {}
        self._keys: dict[Entry, list[int]] = {}
        self._known: dict[tuple[int, ...], tuple[Point, ...]] = {}
        if self._all:
            self._index()

    def _index(self) -> None:
        """By table and by key, those picks that either side may know of."""
        everything = range(len(self._all))
        reach = join(self._vector(self._source, everything), self._vector(self._head, everything))
        for index, taken in enumerate(self._all):
            if reach.get(taken.branch, 0) < taken.seq:
                continue
            if taken.keys is None:
                self._tables.setdefault(taken.table, []).append(index)
            for key in taken.keys or ():
                self._keys.setdefault((taken.table, key), []).append(index)

    def _vector(self, point: Point, which: Iterable[int]) -> Vector:
        """The version vector of a point, as if the sources of those picks that it has had been merged."""
        vector = self._dag.vector(point)
        waiting = [self._all[index] for index in which]
        while here := [taken for taken in waiting if vector.get(taken.branch, 0) >= taken.seq]:
            for taken in here:
                join(vector, self._dag.vector(taken.source))
            waiting = [taken for taken in waiting if taken not in here]
        return vector

    def covers(self, selection: Selection, entry: Entry) -> bool:
        """Whether a selection names a row, or the owner of a bound vector."""
        if _within(selection, entry):
            return True
        owner = owner_of(entry, self._owner)
        return owner is not None and _within(selection, owner)

    def have(self, selection: Selection, vector: Vector) -> bool:
        """Whether the head has picked all of a selection from a point with that vector, or from a later one."""
        ours = self._dag.vector(self._head)
        mine = [
            taken
            for taken in self._all
            if ours.get(taken.branch, 0) >= taken.seq and includes(self._dag.vector(taken.source), vector)
        ]
        return all(
            any(taken.table == name and _contains(taken.keys, keys) for taken in mine)
            for name, keys in selection.items()
        )

    def bases_of(self, entry: Entry, others: tuple[Point, ...]) -> tuple[Point, ...]:
        """The bases of one row; `others` where no pick is about it."""
        which = [*self._tables.get(entry[0], ()), *self._keys.get(entry, ())]
        owner = owner_of(entry, self._owner) if self._all else None
        if owner is not None:
            which += [*self._tables.get(owner[0], ()), *self._keys.get(owner, ())]
        return self._bases(tuple(sorted(set(which))), others)

    def _bases(self, which: tuple[int, ...], others: tuple[Point, ...]) -> tuple[Point, ...]:
        if not which:
            return others
        known = self._known.get(which)
        if known is None:
            theirs, ours = self._vector(self._source, which), self._vector(self._head, which)
            try:
                known = tuple(
                    bases_between(self._dag, theirs, ours, lambda point: self._vector(point, which))
                )
            except HistoryExpired:
                known = others
            self._known[which] = known
        return known

    def entries(self, others: tuple[Point, ...]) -> Iterator[Iterator[Entry]]:
        """Streams, each in order, of all rows with bases of their own that may differ from the source."""
        keyed = set(self._keys)
        for table, key in self._keys:
            keyed.update(("vectors", (space, owner_id(key))) for space in self._bound.get(table, ()))
        yield iter(sorted(keyed))
        for table, which in self._tables.items():
            chosen: Selection = {table: None}
            for base in self._bases(tuple(which), others):
                if base not in others:
                    yield differing_keys(self._dag, base, self._source, lambda e, s=chosen: self.covers(s, e))  # type: ignore[misc]


def _within(selection: Selection, entry: Entry) -> bool:
    table, key = entry
    if table not in selection:
        return False
    keys = selection[table]
    return keys is None or key in keys


def _contains(keys: frozenset[Key] | None, wanted: frozenset[Key] | None) -> bool:
    return keys is None or (wanted is not None and wanted <= keys)
