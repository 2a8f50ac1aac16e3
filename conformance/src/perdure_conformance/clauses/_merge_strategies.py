"""How strategies settle conflicts: a side wins, or a field is joined by the rule of its column."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from perdure import RECORDS, Memory, MergeConflict, Skill, State, Store, Trace
from perdure.history import Strategy

from perdure_conformance._case import Case
from perdure_conformance._checks import check
from perdure_conformance.expect import equal, holds, refused, unchanged

#: A strategy, and what it makes of something.
Settled = tuple[tuple[Strategy, Any], ...]

T0 = datetime(2026, 1, 1, tzinfo=UTC)
T1, T2 = T0 + timedelta(microseconds=1), T0 + timedelta(days=1)
LEAST, MOST = -(2**63), 2**63 - 1

#: The row's field at the base, at ours and at theirs, then what `field` makes of it; "?": it stays in conflict.
Table = dict[str, tuple[Any, Any, Any, Any]]


#: By table and column.
Tables = dict[tuple[str, str], Table]


def put(store: Store, tables: Tables, place: int) -> None:
    """Records whose fields have one of the states of the tables, with fixed times, in one commit."""
    with store.batch() as batch:
        for (table, column), cases in tables.items():
            fixed: dict[str, Any] = {"created_at": T0, "updated_at": T0}
            if table == "states":
                fixed["kind"] = "k"
            batch.table(table).put(
                [
                    RECORDS[table](id=f"{column}: {name}", **fixed, **{column: states[place]})
                    for name, states in cases.items()
                ]
            )


def forked(store: Store, tables: Tables) -> Store:
    """Main and a branch lab, where the fields have the states of the tables."""
    put(store, tables, 0)
    lab = store.branch("lab")
    put(store, tables, 1)
    put(lab, tables, 2)
    return lab


def cells(store: Store, table: str, column: str) -> dict[str, Any]:
    """The field of all rows that are there for it, by the name of the case."""
    rows = [(record.id.partition(": "), getattr(record, column)) for record in store.table(table).scan()]
    return {name: cell for (of, _, name), cell in rows if of == column}


def told(conflicts: Any, table: str, column: str) -> set[str]:
    """The cases of a column that are among conflicts."""
    names = [c.key[-1].partition(": ") for c in conflicts if c.table == table and c.fields == (column,)]
    return {name for of, _, name in names if of == column}


def join_by_rule(case: Case, tables: Tables) -> None:
    """`field` joins as the tables say and leaves the rest in conflict; `ours` and `theirs` take a side."""
    sides: Settled = (("ours", 1), ("theirs", 2))
    for strategy, place in sides:
        with case.new_store() as store:
            forked(store, tables)
            settled = store.merge("lab", strategy=strategy).conflicts
            for (table, column), cases in tables.items():
                what = f"{table}.{column} under {strategy}"
                equal(told(settled, table, column), set(cases), f"the conflicts that were settled in {what}")
                equal(cells(store, table, column), {name: s[place] for name, s in cases.items()}, what)
    with case.new_store() as store:
        lab = forked(store, tables)
        conflicts = store.merge("lab", strategy="field", dry_run=True).conflicts
        if conflicts:
            with refused(MergeConflict, what="a merge with conflicts that no rule joins"), unchanged(store):
                store.merge("lab", strategy="field")
        for side in (store, lab):
            for conflict in conflicts:
                key = conflict.key
                side.table(conflict.table).delete(key[0] if len(key) == 1 else key)
        store.merge("lab", strategy="field")
        for (table, column), cases in tables.items():
            left = {name for name, states in cases.items() if states[3] == "?"}
            equal(
                told(conflicts, table, column),
                left,
                f"the conflicts in {table}.{column} that the rule leaves",
            )
            want = {name: states[3] for name, states in cases.items() if name not in left}
            equal(cells(store, table, column), want, f"{table}.{column} joined by its rule")


@check("ME-031", "ME-032", "ME-033", level="branches")
def a_column_without_a_rule_is_settled_by_sides_only(case: Case) -> None:
    """`ours` keeps the target's value, `theirs` takes the source's, `field` leaves the conflict: for each kind of field."""
    tables: Tables = {
        ("memories", "text"): {"text": ("a", "b", "c", "?"), "null": ("a", None, "", "?")},
        ("memories", "tier"): {"int": (0, 1, 2, "?"), "null": (0, None, 1, "?")},
        ("memories", "importance"): {"float": (0.0, 0.5, 0.25, "?"), "null": (0.0, 1.0, None, "?")},
        ("memories", "content"): {"value": ({"a": 1}, {"a": 2}, {"a": 1, "b": 2}, "?")},
        ("states", "payload"): {"payload": (b"a", b"b", b"ab", "?"), "null": (b"a", None, b"", "?")},
    }
    join_by_rule(case, tables)


@check("ME-033", "ME-034", level="branches")
def the_maximum_is_taken_and_null_is_the_least(case: Case) -> None:
    """`field` takes the later of two times, and any time over none."""
    times: Table = {
        "ours later": (T0, T2, T1, T2),
        "theirs later": (T0, T1, T2, T2),
        "both earlier than the base": (T2, T0, T1, T1),
        "ours null": (T1, None, T0, T0),
        "theirs null": (T1, T0, None, T0),
        "null at the base": (None, T1, T0, T1),
    }
    join_by_rule(case, {("memories", "expires_at"): times, ("skills", "last_used_at"): times})


@check("ME-033", "ME-035", level="branches")
def counts_of_both_sides_are_added(case: Case) -> None:
    """`field` adds both deltas to the base, and leaves the conflict where the sum would leave int64."""
    counts: Table = {
        "both up": (0, 1, 2, 3),
        "one down": (5, 3, 9, 7),
        "both down": (5, -3, 4, -4),
        "just the most": (0, MOST - 1, 1, MOST),
        "above the most": (0, MOST, 1, "?"),
        "just the least": (0, LEAST + 1, -1, LEAST),
        "below the least": (0, -1, LEAST, "?"),
        "through the most and back": (MOST, MOST - 3, MOST - 4, MOST - 7),
        "a wide base": (MOST, LEAST, 0, "?"),
    }
    join_by_rule(case, {("skills", "success_count"): counts, ("skills", "failure_count"): counts})


@check("ME-026", "ME-035", level="branches")
def equal_counts_of_rows_that_differ_are_two_counts(case: Case) -> None:
    """Both sides counted alike in a row that differs elsewhere: `field` adds, the other strategies keep the count."""
    kept = (1, MOST)
    cases: Settled = (("field", (2, MOST)), ("ours", kept), ("theirs", kept), ("fail", kept))
    for strategy, want in cases:
        with case.new_store() as store:
            names, most = ("one", "most"), (0, MOST)
            store.skills.put([Skill(id=name) for name in names])
            lab = store.branch("lab")
            for side, text in ((store, None), (lab, "theirs")):
                side.skills.put(
                    [
                        Skill(id=name, success_count=count or 1, description=text)
                        for name, count in zip(names, most, strict=True)
                    ]
                )
            store.merge("lab", strategy=strategy)
            found = tuple(store.skills[name].success_count for name in names)
            equal(found, want, f"the counts under {strategy}; a sum that leaves int64 does not join")
            equal(store.skills["one"].description, "theirs", f"the description under {strategy}")


@check("ME-021", level="branches")
def equal_rows_do_not_count_twice(case: Case) -> None:
    """Rows that are equal on both sides, counters included, are the result under `field` too."""
    store = case.store()
    row: dict[str, Any] = {"id": "s", "created_at": T0, "updated_at": T0}
    store.skills.put(Skill(**row))
    lab = store.branch("lab")
    for side in (store, lab):
        side.skills.put(Skill(success_count=1, tags=["a"], **row))
    equal(store.merge("lab", strategy="field").changes, (), "the changes on main")
    equal(store.skills["s"].success_count, 1, "the count")


@check("ME-035", level="branches")
def counts_without_a_base_do_not_join(case: Case) -> None:
    """Where both sides added the row, different counts conflict and equal ones stay, under `field` too."""
    store = case.store()
    lab = store.branch("lab")
    for side, count in ((store, 1), (lab, 2)):
        side.skills.put(Skill(id="row", success_count=count, failure_count=7))
    result = store.merge("lab", strategy="field", dry_run=True)
    found = [(conflict.kind, conflict.fields) for conflict in result.conflicts]
    equal(found, [("both_added", ("success_count",))], "the conflicts")
    lab.skills.update("row", success_count=1)
    store.merge("lab", strategy="field")
    row = store.skills["row"]
    equal((row.success_count, row.failure_count), (1, 7), "the counts, which both sides have alike")


TAGS: Table = {
    "both add": (["a"], ["a", "o"], ["a", "t"], ["a", "o", "t"]),
    "both add the same": (["a"], ["a", "x", "o"], ["a", "t", "x"], ["a", "x", "o", "t"]),
    "the source removes": (["a", "b"], ["a", "b", "o"], ["b"], ["b", "o"]),
    "the target removes": (["a", "b"], ["b"], ["a", "b", "t"], ["b", "t"]),
    "each removes another": (["a", "b", "c"], ["a", "c"], ["a", "b"], ["a"]),
    "all is removed": (["a", "b"], ["a"], ["b"], []),
    "the target's order": (["a", "b", "c"], ["c", "b", "a"], ["b", "a"], ["b", "a"]),
    "the source's order of what it adds": (["a"], ["o", "a"], ["z", "a", "y"], ["o", "a", "z", "y"]),
    "the target adds what the source has of old": (["a"], [], ["a", "b"], ["b"]),
    "by code point, not by case": (["a"], ["a", "É"], ["a", "é"], ["a", "É", "é"]),
}


@check("ME-033", "ME-036", level="branches")
def tags_of_both_sides_are_joined(case: Case) -> None:
    """`field` keeps the target's tags in order, less what the source removed, then what the source added."""
    columns = [("memories", "tags"), ("skills", "tags"), ("states", "parents")]
    columns += [("traces", "causes"), ("traces", "effects")]
    join_by_rule(case, dict.fromkeys(columns, TAGS))


@check("ME-036", level="branches")
def tags_of_rows_that_both_added_are_joined(case: Case) -> None:
    """A field without a base has no tags as its base: nothing counts as removed."""
    store = case.store()
    lab = store.branch("lab")
    store.memories.put(Memory(id="row", tags=["b", "a"]))
    lab.memories.put(Memory(id="row", tags=["c", "a", "d"]))
    store.merge("lab", strategy="field")
    equal(store.memories["row"].tags, ["b", "a", "c", "d"], "the tags")


@check("ME-033", "ME-034", "ME-035", "ME-036", level="branches")
def one_row_is_joined_by_several_rules(case: Case) -> None:
    """Each field of a row goes by its own rule, in one merge."""
    store = case.store()
    store.skills.put(Skill(id="s", name="n", tags=["a"], success_count=1, last_used_at=T0))
    lab = store.branch("lab")
    store.skills.update("s", tags=["a", "o"], success_count=4, last_used_at=T2, confidence=0.5)
    lab.skills.update("s", tags=["t"], success_count=2, last_used_at=T1, description="d")
    store.merge("lab", strategy="field")
    row = store.skills["s"]
    found = (row.name, row.tags, row.success_count, row.last_used_at, row.confidence, row.description)
    equal(found, ("n", ["o", "t"], 5, T2, 0.5, "d"), "the joined row")


@check("ME-031", "ME-032", level="branches")
def a_deletion_against_a_change_is_settled_by_a_side(case: Case) -> None:
    """`ours` and `theirs` take the row, or its absence, of their side; `field` has no rule for it."""
    cases: Settled = (("ours", ["changed by ours"]), ("theirs", ["changed by theirs"]))
    for strategy, want in cases:
        with case.new_store() as store:
            lab = deleted_and_changed(store)
            store.merge("lab", strategy=strategy)
            equal([trace.id for trace in store.traces.scan()], want, f"the rows under {strategy}")
            holds(lab.traces.count() == 1, "the source is as it was")
    store = case.store()
    deleted_and_changed(store)
    with refused(MergeConflict, what="a deletion against a change under field"), unchanged(store):
        store.merge("lab", strategy="field")


def deleted_and_changed(store: Store) -> Store:
    """Two rows, each changed on one side and deleted on the other; the branch lab."""
    store.traces.put([Trace(id="changed by ours"), Trace(id="changed by theirs")])
    lab = store.branch("lab")
    for side, name, other in ((store, "ours", "theirs"), (lab, "theirs", "ours")):
        side.traces.update(f"changed by {name}", cost=1.0)
        side.traces.delete(f"changed by {other}")
    return lab


@check("ME-031", "ME-032", level="branches")
def a_side_wins_fields_in_conflict_only(case: Case) -> None:
    """What only one side changed is kept also where the other side wins the conflicts of the row."""
    cases: Settled = (("ours", 1), ("theirs", 2))
    for strategy, want in cases:
        with case.new_store() as store:
            store.states.put(State(kind="k", id="s", data=0, metrics=0, parents=["p"]))
            lab = store.branch("lab")
            store.states.update(("k", "s"), data=1, parents=[])
            lab.states.update(("k", "s"), data=2, metrics=1)
            store.merge("lab", strategy=strategy)
            row = store.states["k", "s"]
            equal((row.data, row.parents, row.metrics), (want, [], 1), f"the row under {strategy}")


@check("ME-031", level="branches")
def what_ours_kept_is_a_change_that_travels_back(case: Case) -> None:
    """A conflict that was settled by the target is settled: the source takes it when it merges the target."""
    store = case.store()
    store.memories.put(Memory(id="row", tier=0))
    lab = store.branch("lab")
    store.memories.update("row", tier=1)
    lab.memories.update("row", tier=2)
    store.merge("lab", strategy="ours")
    equal(lab.merge("main").conflicts, (), "the conflicts of the merge back")
    equal(lab.memories["row"].tier, 1, "the tier on the branch after the merge back")
