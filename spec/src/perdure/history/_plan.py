"""What a three-way join changes on one side, rows and bound vectors together.

Shared by `merge`, `revert` and `without`: they differ only in which points are the bases, ours and theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeAlias

import msgspec

from perdure._schema import TABLES, Row
from perdure._types import Change, Context, Key, Point, Space
from perdure.history._dag import Hooks
from perdure.history._diff import PAGE, Entry, batched_by_table
from perdure.history._threeway import ConflictKind, Outcome, Policy, side_of, three_way
from perdure.kit._apply import owner_id, owner_key

__all__ = ["BasesOf", "MergeConflictRow", "Plan", "Sides", "bound_spaces", "make_plan", "owner_of"]

#: The points to compare a row with, by its address; none means the empty store.
BasesOf: TypeAlias = Callable[[Entry], Sequence[Point]]

_VECTORS = "vectors"


class MergeConflictRow(msgspec.Struct, frozen=True):
    """One row that both sides changed in ways that do not join.

    Attributes:
        table, key: The row's address.
        kind: "both_changed"; "both_added" (no base has the row); "delete_change": one side deleted what
            the other changed; "vector": one side deleted a row whose bound vector, at this address, the
            other changed or added.
        base: The row at the bases, where they agree; else None.
        ours: The row at the branch merged into, or None.
        theirs: The row at the source, or None.
        fields: The fields in conflict, in column order; where one side has no row, all but the key.
    """

    table: str
    key: Key
    kind: ConflictKind
    base: Row | None
    ours: Row | None
    theirs: Row | None
    fields: tuple[str, ...]


class Sides(msgspec.Struct, frozen=True):
    """A row's states, and what becomes of it."""

    bases: tuple[Row | None, ...]
    ours: Row | None
    theirs: Row | None
    outcome: Outcome


class Plan(msgspec.Struct, frozen=True):
    """Rows that end up other than `ours` (in (table, key) order), and all conflicts, settled or not."""

    changes: tuple[Change, ...]
    conflicts: tuple[MergeConflictRow, ...]


def bound_spaces(spaces: Iterable[Space]) -> dict[str, list[str]]:
    """Table name → the names of the spaces bound to it."""
    bound: dict[str, list[str]] = {}
    for space in spaces:
        if space.table is not None:
            bound.setdefault(space.table, []).append(space.name)
    return bound


def owner_of(entry: Entry, tables: dict[str, str]) -> Entry | None:
    """The row that a bound vector belongs to; None for anything else. `tables`: space name → its table."""
    table, key = entry
    if table != _VECTORS or key[0] not in tables:
        return None
    owner = TABLES[tables[key[0]]]
    return owner.name, owner_key(owner, key[1])


def make_plan(
    hook: Hooks,
    ctx: Context,
    *,
    ours: Point,
    theirs: Point,
    bases_of: BasesOf,
    entries: Iterable[Entry],
    bound: dict[str, list[str]],
    policy: Policy,
) -> Plan:
    """Join `theirs` into `ours` for the rows of `entries` (in order, each once)."""
    planner = _Planner(hook, ctx, ours=ours, theirs=theirs, bases_of=bases_of, bound=bound, policy=policy)
    planner.rows(entries)
    planner.units()
    return planner.plan()


class _Planner:
    """The state of one plan: every row seen that differs between the sides."""

    def __init__(
        self,
        hook: Hooks,
        ctx: Context,
        *,
        ours: Point,
        theirs: Point,
        bases_of: BasesOf,
        bound: dict[str, list[str]],
        policy: Policy,
    ) -> None:
        self._hook, self._ctx = hook, ctx
        self._ours, self._theirs = ours, theirs
        self._bases_of = bases_of
        self._bound = bound
        self._owner = {space: table for table, spaces in bound.items() for space in spaces}
        self._policy = policy
        self._decided: dict[Entry, Sides] = {}
        self._conflicts: dict[Entry, MergeConflictRow] = {}

    # ------------------------------------------------------------------------------------ row by row

    def rows(self, entries: Iterable[Entry]) -> None:
        """Decide every row by itself."""
        for table, keys in batched_by_table(entries, PAGE):
            for entry, sides in self._load(table, keys):
                self._decided[entry] = sides
                if sides.outcome.kind is not None:
                    self._report(entry, sides, sides.outcome.kind, sides.outcome.fields)

    def _load(self, name: str, keys: Sequence[Key]) -> Iterator[tuple[Entry, Sides]]:
        """The sides of those rows that differ between ours and theirs."""
        table = TABLES[name]
        pairs = zip(
            keys, self._fetch(name, keys, self._ours), self._fetch(name, keys, self._theirs), strict=True
        )
        differing = [(key, ours, theirs) for key, ours, theirs in pairs if ours != theirs]
        points = {key: tuple(self._bases_of((name, key))) for key, _, _ in differing}
        at_base: dict[tuple[Point, Key], Row | None] = {}
        for point in {point for chosen in points.values() for point in chosen}:
            wanted = [key for key, chosen in points.items() if point in chosen]
            for key, row in zip(wanted, self._fetch(name, wanted, point), strict=True):
                at_base[point, key] = row
        for key, ours, theirs in differing:
            bases = tuple(at_base[point, key] for point in points[key]) or (None,)
            yield (name, key), Sides(bases, ours, theirs, three_way(table, bases, ours, theirs, self._policy))

    def _fetch(self, table: str, keys: Sequence[Key], at: Point) -> list[Row | None]:
        if not keys:
            return []
        return self._hook.fetch(ctx=self._ctx, table=table, keys=keys, at=at)  # type: ignore[no-any-return]

    def _report(self, entry: Entry, sides: Sides, kind: ConflictKind, fields: tuple[str, ...]) -> None:
        base = sides.bases[0] if all(row == sides.bases[0] for row in sides.bases) else None
        self._conflicts[entry] = MergeConflictRow(*entry, kind, base, sides.ours, sides.theirs, fields)

    # -------------------------------------------------------------------------- rows and their vectors

    def units(self) -> None:
        """A row that one side deleted while the other changed it or its vectors is one unit with them.

        Where the policy names a winner, the whole unit is as that side has it, so that no vector is left
        without its row and none is lost with a row that stays.
        """
        troubled = {
            entry
            for entry, row in self._conflicts.items()
            if row.kind == "delete_change" and entry[0] in self._bound
        }
        troubled |= self._of_deleted_rows()
        troubled |= self._of_changed_vectors()
        if side_of(self._policy) is not None:
            for owner in sorted(troubled):
                self._settle(owner)

    def _of_deleted_rows(self) -> set[Entry]:
        """Rows that theirs deletes although ours has a vector of them that no base has."""
        gone: dict[str, list[Key]] = {}
        for (name, key), sides in self._decided.items():
            if name in self._bound and sides.ours is not None and sides.outcome.row is None:
                gone.setdefault(name, []).append(key)
        found: set[Entry] = set()
        for name, keys in gone.items():
            by_vector = {(space, owner_id(key)): (name, key) for key in keys for space in self._bound[name]}
            vectors = sorted(by_vector)
            for start in range(0, len(vectors), PAGE):
                for entry, sides in self._load(_VECTORS, vectors[start : start + PAGE]):
                    if sides.ours is not None and sides.ours not in sides.bases:
                        self._report_vector(entry, sides)
                        found.add(by_vector[entry[1]])  # type: ignore[index]
        return found

    def _of_changed_vectors(self) -> set[Entry]:
        """Rows that one side deleted while the other changed, or added, one of their vectors."""
        owned = {e: o for e in self._decided if (o := owner_of(e, self._owner)) is not None}
        owners = self._owners(set(owned.values()))
        found: set[Entry] = set()
        for entry, owner in owned.items():
            sides, row = self._decided[entry], owners[owner]
            clash = sides.outcome.kind == "delete_change" and (row.ours is None or row.theirs is None)
            if clash or (sides.outcome.row is not None and row.outcome.row is None):
                self._report_vector(entry, sides)
                found.add(owner)
        return found

    def _owners(self, wanted: set[Entry]) -> dict[Entry, Sides]:
        """The sides of rows; where both agree, the same row on both."""
        out = {entry: self._decided[entry] for entry in wanted if entry in self._decided}
        for name, keys in batched_by_table(sorted(wanted - out.keys()), PAGE):
            differing = dict(self._load(name, keys))
            for key, row in zip(keys, self._fetch(name, keys, self._ours), strict=True):
                # A row that was not decided on stays as ours has it.
                sides = differing.get((name, key), Sides((row,), row, row, Outcome(row)))
                out[name, key] = msgspec.structs.replace(sides, outcome=Outcome(row))
        return out

    def _report_vector(self, entry: Entry, sides: Sides) -> None:
        row = sides.ours if sides.ours is not None else sides.theirs
        fields = () if row is None else TABLES[_VECTORS].names[len(TABLES[_VECTORS].key) :]
        self._report(entry, sides, "vector", fields)

    def _settle(self, owner: Entry) -> None:
        name, key = owner
        vectors = [(space, owner_id(key)) for space in self._bound[name]]
        for table, keys in ((name, [key]), (_VECTORS, vectors)):
            for entry, sides in self._load(table, keys):
                row = sides.theirs if side_of(self._policy) == "theirs" else sides.ours
                self._decided[entry] = msgspec.structs.replace(sides, outcome=Outcome(row))

    # ---------------------------------------------------------------------------------------- result

    def plan(self) -> Plan:
        """What was decided."""
        changed = [e for e, sides in self._decided.items() if sides.outcome.row != sides.ours]
        return Plan(
            tuple(Change(*entry, self._decided[entry].outcome.row) for entry in sorted(changed)),
            tuple(self._conflicts[entry] for entry in sorted(self._conflicts)),
        )
