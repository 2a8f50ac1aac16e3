"""One row in a merge: what becomes of it, by what each side did to it, whatever the strategy."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from perdure import RECORDS, TABLES, Memory, MergeConflict, MergeConflictRow, Record, Ref, Store

from perdure_conformance._case import Case
from perdure_conformance._checks import check
from perdure_conformance.expect import equal, holds, refused, same_value, unchanged

STRATEGIES: tuple[Any, ...] = ("fail", "ours", "theirs", "field")

T0 = datetime(2026, 1, 1, tzinfo=UTC)
T1, T2 = T0 + timedelta(seconds=1), T0 + timedelta(microseconds=1)

#: For each kind of column: what the base has, and two other states.
STATES: dict[str, tuple[Any, Any, Any]] = {
    "text": ("a", "b", "B"),
    "int": (1, 2, 0),
    "float": (0.5, 0.25, -1e300),
    "time": (T0, T1, T2),
    "tags": (["x"], ["x", "y"], []),
    "value": ({"a": 1}, {"a": 1.0}, None),
    "vector": ([1.0, 0.0], [0.5, 0.5], [0.0, 1.0]),
    "payload": (b"one", b"two", b""),
}

#: Texts that have to be what their column says.
LINKED = {"source": "m", "target": "n"}


def fields_of(table: str) -> list[str]:
    """The columns of a table that are no part of its key."""
    return list(TABLES[table].names[len(TABLES[table].key) :])


def state(table: str, column: str, number: int) -> Any:
    """One of the three states of a column: 0 is that of the base."""
    return STATES[TABLES[table].by_name[column].kind][number]


def keyed(table: str, name: str) -> dict[str, str]:
    """The key of a record, with that id."""
    return {part: name if part == "id" else "free" for part in TABLES[table].key}


def made(table: str, name: str, changes: Mapping[str, int]) -> Record:
    """A record whose columns are as at the base, but for those in `changes`, which gives their states."""
    cells = {column: state(table, column, changes.get(column, 0)) for column in fields_of(table)}
    return RECORDS[table](**keyed(table, name), **cells)


def write(store: Store, rows: Mapping[tuple[str, str], Mapping[str, int]]) -> None:
    """Put records, by table and id, in one commit."""
    with store.batch() as batch:
        for (table, name), changes in rows.items():
            batch.table(table).put(made(table, name, changes))


def started(case: Case) -> Store:
    """A new store with a space named free, for vectors."""
    store = case.new_store()
    store.spaces.create("free", 2, dtype="float64", metric="l2")
    return store


def read(store: Store, table: str, name: str, column: str) -> Any:
    """One cell, as a person reads it; vectors as a list."""
    part = keyed(table, name)
    found = getattr(store.table(table)[tuple(part.values()) if len(part) > 1 else name], column)
    return found.tolist() if column == "values" else found


def moved(store: Store, wanted: Mapping[str, Memory | None]) -> None:
    """Put memories by id, or delete them where there is None, in one commit."""
    with store.batch() as batch:
        for name, memory in wanted.items():
            batch.memories.delete(name) if memory is None else batch.memories.put(memory)


def memory(name: str, tier: int, **more: Any) -> Memory:
    """A memory with fixed times, so that equal ones are equal."""
    return Memory(id=name, tier=tier, created_at=T0, updated_at=T0, **more)


#: What happened to a row: its tier at the base, at ours and at theirs, and in the result; None: no row.
CLEAN: dict[str, tuple[int | None, int | None, int | None, int | None]] = {
    "only ours changed": (0, 1, 0, 1),
    "only theirs changed": (0, 0, 1, 1),
    "both changed alike": (0, 1, 1, 1),
    "only ours added": (None, 1, None, 1),
    "only theirs added": (None, None, 1, 1),
    "both added alike": (None, 1, 1, 1),
    "only ours deleted": (0, None, 0, None),
    "only theirs deleted": (0, 0, None, None),
    "both deleted": (0, None, None, None),
    "nobody changed": (0, 0, 0, 0),
}


@check("ME-020", "ME-021", "ME-022", level="branches")
def a_row_that_one_side_left_alone_is_as_the_other_has_it(case: Case) -> None:
    """One side's changes, additions and deletions arrive, and equal rows never conflict, whatever the strategy."""
    for strategy in STRATEGIES:
        with case.new_store() as store:
            tiers = [
                {n: None if r[i] is None else memory(n, r[i] or 0) for n, r in CLEAN.items()}
                for i in range(3)
            ]
            moved(store, tiers[0])
            lab = store.branch("lab")
            moved(store, tiers[1])
            moved(lab, tiers[2])
            result = store.merge("lab", strategy=strategy)
            equal(result.conflicts, (), f"the conflicts under {strategy}")
            found = {m.id: m.tier for m in store.memories.scan()}
            want = {name: row[3] for name, row in CLEAN.items() if row[3] is not None}
            equal(found, want, f"the tiers on main after a merge with strategy {strategy}")
            wrote = {change.key[0]: change.row is not None for change in result.changes}
            here = {name: row[3] is not None for name, row in CLEAN.items() if row[1] != row[3]}
            equal(wrote, here, f"the rows that the result names under {strategy}")


@check("ME-022", level="branches")
def a_merge_does_not_lose_a_deletion(case: Case) -> None:
    """A row that the source deleted is gone from the target, also in a later merge and on branches of it."""
    store = case.store()
    store.memories.put([memory("gone", 0), memory("stays", 0)])
    lab = store.branch("lab")
    lab.memories.delete("gone")
    store.memories.update("stays", tier=1)
    store.merge("lab")
    holds("gone" not in store.memories, "the source's deletion arrived on main")
    lab.merge("main")
    holds("gone" not in lab.memories, "the merge back did not bring the row back")
    equal([m.id for m in store.branch("later").memories.scan()], ["stays"], "the rows of a fork taken then")


@check("ME-024", "ME-027", level="branches")
def changes_of_different_fields_are_both_kept(case: Case) -> None:
    """Ours changed one field and theirs another: the row has both, for each column of each table."""
    pairs = {(t, c): fields_of(t)[i - 1] for t in TABLES for i, c in enumerate(fields_of(t))}
    for strategy in STRATEGIES:
        with started(case) as store:
            write(store, {entry: {} for entry in pairs})
            lab = store.branch("lab")
            write(store, {(table, column): {column: 1} for table, column in pairs})
            write(lab, {entry: {other: 2} for entry, other in pairs.items()})
            result = store.merge("lab", strategy=strategy)
            equal(result.conflicts, (), f"the conflicts under {strategy}")
            for (table, column), other in pairs.items():
                for name, number in ((column, 1), (other, 2)):
                    what = f"{table}.{name} under {strategy}, ours having changed {column}, theirs {other}"
                    same_value(read(store, table, column, name), state(table, name, number), what)


@check("ME-026", level="branches")
def a_field_that_both_sides_have_alike_stays(case: Case) -> None:
    """Both sides made the same change to a field, in rows that differ elsewhere: no strategy but `field` adds counts."""
    columns = [(t, c) for t in TABLES for c in fields_of(t) if TABLES[t].by_name[c].merge != "sum"]
    columns += [("skills", "success_count"), ("skills", "failure_count")]
    for strategy in STRATEGIES:
        with started(case) as store:
            chosen = columns if strategy != "field" else columns[:-2]
            write(store, {entry: {} for entry in chosen})
            lab = store.branch("lab")
            write(store, {(table, column): {column: 1} for table, column in chosen})
            others = {(t, c): fields_of(t)[fields_of(t).index(c) - 1] for t, c in chosen}
            write(lab, {(t, c): {c: 1, others[t, c]: 1} for t, c in chosen})
            equal(store.merge("lab", strategy=strategy).conflicts, (), f"the conflicts under {strategy}")
            for table, column in chosen:
                for name in (column, others[table, column]):
                    what = f"{table}.{name} of row {column} under {strategy}"
                    same_value(read(store, table, column, name), state(table, name, 1), what)


@check("ME-028", level="branches")
def times_of_a_row_are_the_first_and_the_last(case: Case) -> None:
    """`created_at` becomes the minimum and `updated_at` the maximum where both sides changed it, in any strategy."""
    later, sooner = {"created_at": 1, "updated_at": 1}, {"created_at": 2, "updated_at": 2}
    for strategy in STRATEGIES:
        with started(case) as store:
            write(store, {(table, name): {} for table in TABLES for name in ("ours later", "theirs later")})
            lab = store.branch("lab")
            for side, name, other in ((store, "ours", "theirs"), (lab, "theirs", "ours")):
                write(side, {(table, f"{name} later"): later for table in TABLES})
                write(side, {(table, f"{other} later"): sooner for table in TABLES})
            equal(store.merge("lab", strategy=strategy).conflicts, (), f"the conflicts under {strategy}")
            for table in TABLES:
                for name in ("ours later", "theirs later"):
                    times = [read(store, table, name, column) for column in ("created_at", "updated_at")]
                    equal(times, [T2, T1], f"the times of the row {name} in {table} under {strategy}")


def conflicts_of(store: Store, source: str) -> list[MergeConflictRow]:
    """The conflicts that a merge with the default strategy raises."""
    try:
        store.merge(source)
    except MergeConflict as error:
        return error.conflicts
    return []


@check("ME-029", "ME-030", "ME-037", level="branches")
def each_field_that_both_sides_changed_is_in_conflict(case: Case) -> None:
    """Different changes of one field conflict, for each column of each table; all conflicts are told, in order."""
    rows = [(t, c) for t in TABLES for c in fields_of(t) if c not in ("created_at", "updated_at")]
    store = case.store()
    store.spaces.create("free", 2, dtype="float64", metric="l2")
    write(store, {entry: {} for entry in rows})
    lab = store.branch("lab")
    write(store, {(table, column): {column: 1} for table, column in rows})
    write(lab, {(table, column): {column: 2} for table, column in rows})
    with refused(MergeConflict, what="a merge with conflicts"), unchanged(store):
        store.merge("lab")
    found = conflicts_of(store, "lab")
    want = sorted((t, tuple(keyed(t, c).values()), "both_changed", (c,)) for t, c in rows)
    equal([(c.table, c.key, c.kind, c.fields) for c in found], want, "the conflicts")
    hooks, base = case.hooks(), store.branches.get("lab").fork_seq
    for conflict in found:
        for name, ref in (("base", Ref("main", seq=base)), ("ours", Ref("main")), ("theirs", Ref("lab"))):
            (row,) = hooks.fetch(ctx=case.ctx, table=conflict.table, keys=[conflict.key], at=ref)
            what = f"the row at {name} that the conflict at {conflict.table} {conflict.key} carries"
            equal(getattr(conflict, name), row, what)


@check("ME-023", "ME-029", "ME-037", level="branches")
def kinds_of_conflicts(case: Case) -> None:
    """Added on both sides, changed on both sides, deleted on one and changed on the other: each is told as what it is."""
    rows: dict[str, tuple[int | None, int | None, int | None, str]] = {
        "added": (None, 1, 2, "both_added"),
        "changed": (0, 1, 2, "both_changed"),
        "gone from ours": (0, None, 2, "delete_change"),
        "gone from theirs": (0, 1, None, "delete_change"),
    }
    store = case.store()
    sides = [
        {n: None if r[i] is None else memory(n, int(r[i] or 0)) for n, r in rows.items()} for i in range(3)
    ]
    moved(store, sides[0])
    lab = store.branch("lab")
    moved(store, sides[1])
    moved(lab, sides[2])
    with refused(MergeConflict, what="a merge with conflicts"), unchanged(store):
        store.merge("lab")
    found = store.merge("lab", dry_run=True).conflicts
    tier = TABLES["memories"].position["tier"]
    equal(
        {
            c.key[0]: (*(None if r is None else r[tier] for r in (c.base, c.ours, c.theirs)), c.kind)
            for c in found
        },
        rows,
        "the tiers at the base, ours and theirs, and the kind, of each conflict",
    )
    equal([c.key[0] for c in found], sorted(rows), "the order of the conflicts")
    equal([c.fields for c in found if c.kind != "delete_change"], [("tier",)] * 2, "their fields")
