"""Selective merges: what they take, what they record, and what later merges make of it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from perdure import InvalidInput, InvalidRecord, Memory, MergeConflict, NotFound, State, Store, Trace

from perdure_conformance._case import Case
from perdure_conformance._checks import check
from perdure_conformance.expect import equal, holds, refused, unchanged


def ids(store: Any, table: str = "memories") -> list[str]:
    """The ids of a table."""
    return [record.id for record in store.table(table).scan()]


def diverged(store: Store) -> Store:
    """A branch lab that changed memory `a`, added `b` and deleted `c`, and has a trace and two states more."""
    store.memories.put([Memory(id="a", tier=0), Memory(id="c")])
    lab = store.branch("lab")
    with lab.batch() as batch:
        batch.memories.update("a", tier=1)
        batch.memories.put(Memory(id="b"))
        batch.memories.delete("c")
        batch.traces.put(Trace(id="t"))
        batch.states.put([State(kind="k", id="s"), State(kind="other", id="s")])
    return lab


@check("ME-070", level="branches")
def a_selective_merge_takes_what_is_named_only(case: Case) -> None:
    """Whole tables and single keys, in any form that keys are written; a deletion among them arrives."""
    rows = {"memories": ["a", "c"], "traces": [], "states": []}
    choices: list[tuple[dict[str, Any], dict[str, list[str]], int]] = [
        ({"tables": ["memories"]}, rows | {"memories": ["a", "b"]}, 1),
        ({"tables": ["traces", "states"]}, rows | {"traces": ["t"], "states": ["s", "s"]}, 0),
        ({"keys": {"memories": ["a"]}}, rows, 1),
        ({"keys": {"memories": ["b", "c"]}}, rows | {"memories": ["a", "b"]}, 0),
        ({"keys": {"states": [("k", "s")]}}, rows | {"states": ["s"]}, 0),
        (
            {"tables": ["traces"], "keys": {"memories": ["b"]}},
            rows | {"traces": ["t"], "memories": ["a", "b", "c"]},
            0,
        ),
        ({"tables": ["memories"], "keys": {"memories": ["b"]}}, rows | {"memories": ["a", "b"]}, 1),
    ]
    for choice, want, tier in choices:
        with case.new_store() as store:
            diverged(store)
            store.merge("lab", **choice)
            equal({table: ids(store, table) for table in rows}, want, f"the rows after a merge of {choice}")
            equal(store.memories["a"].tier, tier, f"the tier of a after a merge of {choice}")


@check("ME-070", "ME-037", level="branches")
def conflicts_outside_the_selection_do_not_matter(case: Case) -> None:
    """A selective merge sees the conflicts of the rows that it takes, and of no others."""
    store = case.store()
    diverged(store)
    store.memories.update("a", tier=2)
    store.merge("lab", keys={"memories": ["b"]})
    equal((ids(store), store.memories["a"].tier), (["a", "b", "c"], 2), "the rows of main")
    with refused(MergeConflict, what="a selective merge of the row in conflict"), unchanged(store):
        store.merge("lab", keys={"memories": ["a", "c"]})


@check("ME-071", level="branches")
def a_selective_merge_records_what_it_took_and_no_ancestry(case: Case) -> None:
    """Its commit has the tables and keys and the point, one parent and no vector; other handles read the same."""
    store = case.store()
    lab = diverged(store)
    before = store.head().commit
    result = store.merge("lab", tables=["traces"], keys={"memories": ["c", "a"], "states": [("k", "s")]})
    commit = result.commit
    holds(commit is not None, "it made a commit", result)
    if commit is None:
        return
    equal((commit.parents, dict(commit.vector)), ((before,), {}), "its parents and its vector")
    found = {pick.table: None if pick.keys is None else set(pick.keys) for pick in commit.picks}
    want = {"memories": {("a",), ("c",)}, "states": {("k", "s")}, "traces": None}
    equal(found, want, "what it took")
    equal({pick.source for pick in commit.picks}, {lab.head()}, "where it took it from")
    (logged,) = case.store().log(limit=1)
    equal(logged, commit, "the commit as another handle reads it")
    whole = store.merge("lab")
    holds(not whole.already_merged and whole.commit is not None, "the rest can still be merged", whole)
    equal(ids(store), ["a", "b"], "the rows after the whole merge")


@check("ME-072", level="branches")
def a_later_merge_starts_from_what_was_taken(case: Case) -> None:
    """A row that was picked and then changed on either side is compared with the state in which it was picked."""
    store = case.store()
    diverged(store)
    store.merge("lab", keys={"memories": ["a", "b"]})
    store.memories.update("a", tier=5)
    store.memories.delete("b")
    result = store.merge("lab")
    equal(result.conflicts, (), "the conflicts of the whole merge")
    found = (ids(store), store.memories["a"].tier)
    equal(found, (["a"], 5), "the rows, which only main changed since they were taken")


@check("ME-072", "ME-071", level="branches")
def a_selective_merge_does_not_move_the_base_of_other_rows(case: Case) -> None:
    """Rows that were not taken are compared with the old base, so that what both changed still conflicts."""
    store = case.store()
    lab = diverged(store)
    store.memories.update("a", tier=2)
    store.merge("lab", keys={"memories": ["b"]})
    result = store.merge("lab", dry_run=True)
    equal(
        [(c.key, c.kind, c.fields) for c in result.conflicts],
        [(("a",), "both_changed", ("tier",))],
        "conflicts",
    )
    store.merge("lab", strategy="ours")
    equal(ids(store), ["a", "b"], "the rows: the deletion of c, which was not taken, arrives")
    holds("c" not in lab.memories, "the source is as it was")


@check("ME-072", level="branches")
def a_change_back_after_a_pick_arrives(case: Case) -> None:
    """The source took back what was picked: though it is as at the fork again, that is a change since the pick."""
    store = case.store()
    lab = diverged(store)
    old = store.memories["a"]
    store.merge("lab", keys={"memories": ["a"]})
    lab.memories.put(old)
    equal(store.merge("lab").conflicts, (), "the conflicts")
    equal(store.memories["a"].tier, 0, "the tier, which lab set back")


@check("ME-072", level="branches")
def a_pick_is_a_base_in_the_other_direction_too(case: Case) -> None:
    """When the source merges the branch that picked, the picked state is the base of the row."""
    store = case.store()
    lab = diverged(store)
    store.merge("lab", keys={"memories": ["a"]})
    store.memories.update("a", tier=4)
    equal(lab.merge("main").conflicts, (), "the conflicts of the merge back")
    equal(lab.memories["a"].tier, 4, "the tier on lab")


@check("ME-072", level="branches")
def picks_of_picks_count(case: Case) -> None:
    """A row that came from one branch by way of another is compared with the state in which it set out."""
    store = case.store()
    store.memories.put(Memory(id="a", tier=0))
    middle, far = store.branch("middle"), store.branch("far")
    far.memories.update("a", tier=1)
    middle.merge("far", keys={"memories": ["a"]})
    store.merge("middle", keys={"memories": ["a"]})
    far.memories.update("a", tier=2)
    equal(store.merge("far").conflicts, (), "the conflicts")
    equal(store.memories["a"].tier, 2, "the tier, which only far changed")


@check("ME-072", level="branches")
def a_count_that_was_picked_is_not_added_twice(case: Case) -> None:
    """Under `field` a later merge adds what was counted since the pick, and no more."""
    store = case.store()
    store.skills.put({"id": "s", "success_count": 10})
    lab = store.branch("lab")
    lab.skills.increment("s", success_count=1)
    store.merge("lab", tables=["skills"], strategy="field")
    lab.skills.increment("s", success_count=2)
    store.skills.increment("s", success_count=4)
    store.merge("lab", strategy="field")
    equal(store.skills["s"].success_count, 17, "the count: 10, 1 picked, 2 more there and 4 more here")


@check("ME-074", level="branches")
def a_selection_that_changes_nothing_is_recorded(case: Case) -> None:
    """A selective merge that changes no row, or names a row that is nowhere, makes one commit, which says what it took."""
    for keys in (["a"], ["nowhere"]):
        with case.new_store() as store:
            lab = diverged(store)
            store.memories.put(lab.memories["a"])
            result = store.merge("lab", keys={"memories": keys})
            equal((result.changes, result.conflicts), ((), ()), f"the changes of a merge of {keys}")
            holds(result.commit is not None, f"a merge of {keys} made a commit", result)
            if result.commit is not None:
                found = [(pick.table, pick.keys) for pick in result.commit.picks]
                equal(found, [("memories", tuple((key,) for key in keys))], "what it took")
                equal(store.head().commit, result.commit.id, "the head of main")


@check("ME-074", level="branches")
def taking_the_same_twice_makes_no_second_commit(case: Case) -> None:
    """What was taken from that point or from a later one, or came with a whole merge, is not taken again."""
    store = case.store()
    lab = diverged(store)
    old = lab.head()
    store.merge("lab", keys={"memories": ["a", "b"]})
    for keys in (["a", "b"], ["b"]):
        for source in ("lab", old):
            with unchanged(store):
                result = store.merge(source, keys={"memories": keys})
            holds(result.already_merged and result.commit is None, f"{keys} were taken before", result)
    again = store.merge("lab", keys={"memories": ["b", "c"]})
    holds(again.commit is not None, "a selection with a key that was not taken is merged", again)
    lab.memories.put(Memory(id="more"))
    holds(store.merge("lab", keys={"memories": ["a"]}).commit is not None, "a later state is merged")
    holds(store.merge(old, keys={"memories": ["a"]}).already_merged, "an older state is not")
    store.merge("lab")
    with unchanged(store):
        holds(store.merge("lab", tables=["memories"]).already_merged, "a part of what was merged whole")


@check("ME-064", "ME-070", level="branches")
def a_dry_run_of_a_selective_merge_writes_nothing(case: Case) -> None:
    """It returns the changes of the selection, and takes nothing."""
    store = case.store()
    diverged(store)
    with unchanged(store):
        dry = store.merge("lab", keys={"memories": ["a", "c"]}, dry_run=True)
    equal([(c.key, c.row is None) for c in dry.changes], [(("a",), False), (("c",), True)], "the changes")
    equal(store.merge("lab", keys={"memories": ["a", "c"]}).changes, dry.changes, "the changes of the merge")


@check("ME-073", level="branches")
def an_empty_or_unknown_selection_is_refused(case: Case) -> None:
    """A selection names at least one row or table; tables exist, and keys fit them."""
    store = case.store()
    diverged(store)
    wrong: list[tuple[Any, dict[str, Any]]] = [
        (InvalidInput, {"tables": []}),
        (InvalidInput, {"keys": {}}),
        (InvalidInput, {"keys": {"memories": []}}),
        (InvalidInput, {"tables": [], "keys": {"memories": [], "traces": []}}),
        (NotFound, {"tables": ["nothing"]}),
        (NotFound, {"tables": ["memories", "nothing"]}),
        (NotFound, {"keys": {"nothing": ["a"]}}),
        (InvalidRecord, {"keys": {"states": ["s"]}}),
        (InvalidRecord, {"keys": {"memories": [("k", "s")]}}),
    ]
    for error, selection in wrong:
        for dry_run in (False, True):
            with refused(error, what=f"a merge of {selection}"), unchanged(store):
                store.merge("lab", dry_run=dry_run, **selection)


@check("ME-003", "ME-072", level="branches", needs=("compact",))
def what_was_taken_is_remembered_through_compaction(case: Case) -> None:
    """After a compaction that keeps heads only, a pick still counts."""
    store = case.store()
    diverged(store)
    store.merge("lab", keys={"memories": ["b"]})
    for number in range(3):
        store.memories.put(Memory(id="later", tier=number))
    store.compact(lease=timedelta(0))
    holds(store.merge("lab", keys={"memories": ["b"]}).already_merged, "b was taken before")
    store.memories.delete("b")
    store.merge("lab")
    equal(ids(store), ["a", "later"], "the rows: b, which main deleted since, does not come back")
