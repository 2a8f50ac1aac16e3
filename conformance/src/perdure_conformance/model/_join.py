"""Three-way joins by brute force: every row of every table is looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from perdure import TABLES, Column, Space

from perdure_conformance._plain import Entry, Plain

__all__ = ["Joined", "join_all", "owner_entry", "vector_entries"]

#: Rows by address, without their versions.
Rows = Mapping[Entry, Plain]


class _Sides(NamedTuple):
    """A row on both sides, and what becomes of it."""

    bases: tuple[Plain | None, ...]
    ours: Plain | None
    theirs: Plain | None
    row: Plain | None
    kind: str | None = None
    fields: tuple[str, ...] = ()


class Joined(NamedTuple):
    """The rows that change on our side (None: deleted), and the conflicts as (kind, fields)."""

    changes: dict[Entry, Plain | None]
    conflicts: dict[Entry, tuple[str, tuple[str, ...]]]


def join_all(
    ours: Rows,
    theirs: Rows,
    bases_of: Callable[[Entry], Sequence[Rows]],
    wanted: Callable[[Entry], bool],
    spaces: Iterable[Space],
    policy: str,
) -> Joined:
    """Join every wanted row of `theirs` into `ours`, then see to rows and their vectors together."""
    bound = {space.name: space.table for space in spaces if space.table is not None}

    def sides(entry: Entry) -> _Sides:
        bases = tuple(base.get(entry) for base in bases_of(entry)) or (None,)
        return _join_row(entry[0], bases, ours.get(entry), theirs.get(entry), policy)

    every = sorted(ours.keys() | theirs.keys())
    differing = [entry for entry in every if ours.get(entry) != theirs.get(entry)]
    decided = {entry: sides(entry) for entry in differing if wanted(entry)}
    conflicts = {e: (s.kind, s.fields) for e, s in decided.items() if s.kind is not None}
    troubled = {e for e, (kind, _) in conflicts.items() if kind == "delete_change" and e[0] in bound.values()}
    for entry in differing:
        owner = owner_entry(entry, bound)
        if owner is None:
            continue
        vector = decided.get(entry) or sides(entry)
        there = decided.get(owner)
        left = ours.get(owner) if there is None else there.row
        goes = there is not None and left is None and there.ours is not None
        lost = goes and vector.ours is not None and vector.ours not in vector.bases
        if entry in decided:
            gone = ours.get(owner) is None or theirs.get(owner) is None
            lost |= (vector.kind == "delete_change" and gone) or (vector.row is not None and left is None)
        if lost:
            names = TABLES["vectors"].names[2:]
            conflicts[entry] = ("vector", names)
            troubled.add(owner)
    winner = {"ours": ours, "later": ours, "theirs": theirs}.get(policy)
    if winner is not None:
        for owner in troubled:
            for entry in (owner, *vector_entries(owner, bound)):
                if ours.get(entry) != theirs.get(entry):
                    decided[entry] = sides(entry)._replace(row=winner.get(entry))
    changes = {entry: s.row for entry, s in sorted(decided.items()) if s.row != s.ours}
    return Joined(changes, dict(sorted(conflicts.items())))


def owner_entry(entry: Entry, bound: Mapping[str, str]) -> Entry | None:
    """The address of the row that a vector of a bound space belongs to."""
    table, key = entry
    if table != "vectors" or key[0] not in bound:
        return None
    owner = bound[key[0]]
    if len(TABLES[owner].key) == 1:
        return owner, (key[1],)
    return owner, tuple(part.replace("~1", "/").replace("~0", "~") for part in key[1].split("/"))


def vector_entries(owner: Entry, bound: Mapping[str, str]) -> list[Entry]:
    """The addresses of the vectors that a row may have."""
    table, key = owner
    if len(key) > 1:
        key = ("/".join(part.replace("~", "~0").replace("/", "~1") for part in key),)
    return [("vectors", (space, key[0])) for space, bound_to in bound.items() if bound_to == table]


def _join_row(
    table: str, bases: tuple[Plain | None, ...], ours: Plain | None, theirs: Plain | None, policy: str
) -> _Sides:
    def result(row: Plain | None, kind: str | None = None, fields: tuple[str, ...] = ()) -> _Sides:
        return _Sides(bases, ours, theirs, row, kind, fields)

    if ours == theirs:
        return result(ours)
    unchanged = (ours in bases, theirs in bases)
    if unchanged == (True, False):
        return result(theirs)
    if unchanged == (False, True):
        return result(ours)
    if ours is None or theirs is None:
        names = TABLES[table].names[len(TABLES[table].key) :]
        return result(theirs if policy == "theirs" else ours, "delete_change", names)
    row, fields = {}, []
    for column in TABLES[table].columns:
        row[column.name], clash = _join_cell(column, bases, ours, theirs, policy)
        if clash:
            fields.append(column.name)
    if not fields:
        return result(row)
    return result(row, "both_added" if all(base is None for base in bases) else "both_changed", tuple(fields))


def _join_cell(
    column: Column, bases: tuple[Plain | None, ...], ours: Plain, theirs: Plain, policy: str
) -> tuple[Any, bool]:
    """The cell, and whether it is in conflict."""
    mine, other = ours[column.name], theirs[column.name]
    cells = [None if base is None else base[column.name] for base in bases]
    has_base = None not in bases and all(cell == cells[0] for cell in cells)
    base = cells[0] if has_base else None
    joins = policy == "field" or (policy == "later" and column.merge in ("sum", "tags"))
    if mine == other:
        both = _by_rule("sum", has_base, base, mine, other) if joins and column.merge == "sum" else None
        return (mine if both is None else both), False
    if has_base and mine == base:
        return other, False
    if has_base and other == base:
        return mine, False
    if column.name == "updated_at":
        return max(mine, other), False
    if column.name == "created_at":
        return min(mine, other), False
    if joins:
        joined = _by_rule(column.merge, has_base, base, mine, other)
        if joined is not None:
            return joined, False
    return (other if policy == "theirs" else mine), True


def _by_rule(rule: str, has_base: bool, base: Any, mine: Any, other: Any) -> Any:
    """The cell by the rule of its column; None where there is none."""
    if rule == "max":
        return max(cell for cell in (mine, other) if cell is not None)
    if rule == "tags":
        was = base if has_base else ()
        kept = [tag for tag in mine if tag in other or tag not in was]
        return (*kept, *(tag for tag in other if tag not in was and tag not in mine))
    if rule == "sum" and has_base:
        total = base + (mine - base) + (other - base)
        return total if -(2**63) <= total < 2**63 else None
    return None
