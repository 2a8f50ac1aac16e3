"""Revert: undoing one commit by another, keeping what came later."""

from __future__ import annotations

from typing import Any

from perdure import Commit, InvalidInput, Memory, MergeConflict, NotFound, Skill, StaleHead, Store, Trace

from perdure_conformance._case import Case
from perdure_conformance._checks import check
from perdure_conformance.clauses._shown import ids
from perdure_conformance.expect import equal, holds, refused, unchanged


def commit_of(done: Any) -> Commit:
    """The commit that a write, a batch or a merge made."""
    commit = None if done is None else done.commit
    if not isinstance(commit, Commit):
        raise AssertionError("what changes a row made no commit")
    return commit


@check("ME-080", level="branches")
def undoing_a_put_an_update_and_a_deletion(case: Case) -> None:
    """What a commit added goes, what it changed is as before, what it deleted comes back; later rows stay."""
    store = case.store()
    store.memories.put([Memory(id="changed", tier=1, title="t"), Memory(id="deleted", content={"a": 1})])
    before = {memory.id: memory for memory in store.memories.scan()}
    undone = [
        commit_of(store.memories.put(Memory(id="added"))),
        commit_of(store.memories.update("changed", tier=2)),
        commit_of(store.memories.delete("deleted")),
    ]
    store.memories.put(Memory(id="later"))
    for commit in undone:
        result = store.revert(commit.id)
        equal((len(result.changes), result.conflicts), (1, ()), "the changes and conflicts of a revert")
    equal(ids(store), ["changed", "deleted", "later"], "the rows after three reverts")
    equal(store.memories["deleted"], before["deleted"], "the row that had been deleted")
    equal(
        (store.memories["changed"].tier, store.memories["changed"].title),
        (1, "t"),
        "the row that had changed",
    )


@check("ME-080", level="branches")
def a_revert_is_one_ordinary_commit_that_names_what_it_undoes(case: Case) -> None:
    """It has one parent, no vector and no picks, and the id of the commit that it undoes."""
    store = case.store()
    bad = commit_of(store.memories.put(Memory(id="bad")))
    store.memories.put(Memory(id="later"))
    before, count = store.head(), len(list(store.log()))
    commit = commit_of(store.revert(bad.id, message="undo", author="me", commit_id="the-revert"))
    found = (commit.id, commit.reverts, commit.parents, dict(commit.vector), commit.picks)
    equal(found, ("the-revert", bad.id, (before.commit,), {}, ()), "the commit of the revert")
    equal((commit.message, commit.author), ("undo", "me"), "its message and its author")
    equal(len(list(store.log())), count + 1, "the number of commits")
    (logged,) = case.store().log(limit=1)
    equal(logged, commit, "the commit as another handle reads it")


@check("ME-080", level="branches")
def undoing_a_batch_undoes_all_of_it(case: Case) -> None:
    """All tables of a batch are as before it, in one commit."""
    store = case.store()
    store.memories.put([Memory(id="a", tier=1), Memory(id="b")])
    with store.batch() as batch:
        batch.memories.update("a", tier=2)
        batch.memories.delete("b")
        batch.traces.put(Trace(id="t"))
        batch.states.put({"kind": "k", "id": "s", "payload": b"bytes"})
    undone = commit_of(batch.result)
    result = store.revert(undone.id)
    addresses = [(change.table, change.key, change.row is None) for change in result.changes]
    want = [
        ("memories", ("a",), False),
        ("memories", ("b",), False),
        ("states", ("k", "s"), True),
        ("traces", ("t",), True),
    ]
    equal(addresses, want, "the changes of the revert, in order")
    equal((ids(store), store.memories["a"].tier), (["a", "b"], 1), "the memories")
    equal((store.traces.count(), store.states.count()), (0, 0), "the rows of other tables")


@check("ME-080", level="branches")
def a_revert_keeps_later_changes_of_other_fields(case: Case) -> None:
    """A field that changed after the commit, and that the commit did not change, stays."""
    store = case.store()
    store.memories.put(Memory(id="row", tier=1, title="old"))
    bad = commit_of(store.memories.update("row", tier=2))
    store.memories.update("row", title="new")
    equal(store.revert(bad.id).conflicts, (), "the conflicts")
    row = store.memories["row"]
    equal((row.tier, row.title), (1, "new"), "the row")


@check("ME-080", "ME-037", level="branches")
def a_revert_of_what_changed_since_conflicts(case: Case) -> None:
    """The base is the commit, ours the branch, theirs the state before; strategies settle it as in a merge."""
    want = {"fail": None, "field": None, "ours": ({"row": 3, "added": 9}), "theirs": {"row": 1}}
    for strategy, tiers in want.items():
        with case.new_store() as store:
            store.memories.put(Memory(id="row", tier=1))
            with store.batch() as batch:
                batch.memories.put([Memory(id="row", tier=2), Memory(id="added")])
            bad = commit_of(batch.result)
            store.memories.put([Memory(id="row", tier=3), Memory(id="added", tier=9)])
            options: Any = {"strategy": strategy}
            with unchanged(store):
                dry = store.revert(bad.id, dry_run=True, **options)
            kinds = {c.key[0]: (c.kind, c.fields if c.kind == "both_changed" else ()) for c in dry.conflicts}
            found = {"added": ("delete_change", ()), "row": ("both_changed", ("tier",))}
            equal(kinds, found, f"the conflicts of a dry run under {strategy}")
            if tiers is None:
                with refused(MergeConflict, what=f"a revert under {strategy}"), unchanged(store):
                    store.revert(bad.id, **options)
                continue
            store.revert(bad.id, **options)
            equal({m.id: m.tier for m in store.memories.scan()}, tiers, f"the tiers under {strategy}")


@check("ME-080", "ME-035", "ME-036", level="branches")
def counts_and_tags_are_undone_by_what_the_commit_did(case: Case) -> None:
    """Under `field` a revert takes away the commit's delta and tags, and keeps later ones."""
    store = case.store()
    store.skills.put(Skill(id="s", success_count=1, tags=["a", "b"]))
    bad = commit_of(store.skills.update("s", success_count=11, tags=["b", "bad"]))
    store.skills.update("s", success_count=13, tags=["b", "bad", "later"])
    store.revert(bad.id, strategy="field")
    row = store.skills["s"]
    equal((row.success_count, row.tags), (3, ["b", "later", "a"]), "the count and the tags")


@check("ME-080", "ME-083", level="branches")
def a_revert_can_be_reverted(case: Case) -> None:
    """Undoing the undoing brings the change back, and a second revert of the same commit changes nothing."""
    store = case.store()
    store.memories.put(Memory(id="row", tier=1))
    change = commit_of(store.memories.update("row", tier=2))
    first = commit_of(store.revert(change.id))
    equal(store.memories["row"].tier, 1, "the tier after the revert")
    with unchanged(store):
        result = store.revert(change.id)
    equal((result.commit, result.changes), (None, ()), "a second revert of the same commit")
    second = commit_of(store.revert(first.id))
    equal(store.memories["row"].tier, 2, "the tier after the revert of the revert")
    equal(second.reverts, first.id, "what the last commit undoes")
    store.revert(second.id)
    equal(store.memories["row"].tier, 1, "the tier after a third revert")


@check("ME-083", level="branches")
def a_revert_that_changes_no_row_makes_no_commit(case: Case) -> None:
    """What was undone by hand, or is won by ours, is left as it is."""
    store = case.store()
    bad = commit_of(store.memories.put(Memory(id="bad")))
    store.memories.delete("bad")
    change = commit_of(store.memories.put(Memory(id="row", tier=2)))
    store.memories.update("row", tier=3)
    for commit in (bad, change):
        with unchanged(store):
            result = store.revert(commit.id, strategy="ours")
        equal((result.commit, result.changes, result.point), (None, (), store.head()), "the result")


def merged(store: Store) -> Commit:
    """Main after a merge of lab: `ours` and `theirs` on either side, then `later`; the merge commit."""
    store.memories.put(Memory(id="both"))
    lab = store.branch("lab")
    store.memories.put(Memory(id="ours"))
    lab.memories.put(Memory(id="theirs"))
    commit = commit_of(store.merge("lab"))
    store.memories.put(Memory(id="later"))
    return commit


@check("ME-081", level="branches")
def a_revert_of_a_merge_goes_back_to_the_parent_that_is_named(case: Case) -> None:
    """To its first parent it takes away what the source brought, to its last what the target had; by id or index."""
    want = {0: ["both", "later", "ours"], 1: ["both", "later", "theirs"]}
    for index, rows in want.items():
        for by_id in (False, True):
            with case.new_store() as store:
                commit = merged(store)
                parent: Any = commit.parents[index] if by_id else index
                undone = commit_of(store.revert(commit.id, parent=parent))
                equal(ids(store), rows, f"the rows after going back to parent {index}, by id: {by_id}")
                equal(undone.reverts, commit.id, "what the revert undoes")


@check("ME-081", level="branches")
def a_revert_of_a_merge_without_a_parent_is_refused(case: Case) -> None:
    """No parent, and one that the merge does not have, are refused; so is one that an ordinary commit does not have."""
    store = case.store()
    commit = merged(store)
    for parent in (None, 2, 7, "nothing", commit.id):
        for dry_run in (False, True):
            with refused(InvalidInput, what=f"a revert to parent {parent!r}"), unchanged(store):
                store.revert(commit.id, parent=parent, dry_run=dry_run)
    plain = store.head().commit or ""
    with refused(InvalidInput, what="a revert of an ordinary commit to its second parent"), unchanged(store):
        store.revert(plain, parent=1)
    store.revert(plain, parent=0)
    equal(ids(store), ["both", "ours", "theirs"], "the rows after a revert to the only parent")


@check("ME-080", "ME-081", level="branches")
def a_reverted_merge_stays_merged(case: Case) -> None:
    """Ancestry stays as it is: the source brings nothing again, until the revert itself is reverted."""
    store = case.store()
    commit = merged(store)
    undone = commit_of(store.revert(commit.id, parent=0))
    holds(store.merge("lab").already_merged, "lab still counts as merged")
    equal(ids(store), ["both", "later", "ours"], "the rows of main")
    store.revert(undone.id)
    equal(ids(store), ["both", "later", "ours", "theirs"], "the rows after the revert of the revert")


@check("ME-080", level="branches")
def a_branch_reverts_what_it_inherited_or_merged(case: Case) -> None:
    """A commit from before the fork, or from a merged branch, is undone on the one branch only."""
    store = case.store()
    bad = commit_of(store.memories.put(Memory(id="bad")))
    lab, side = store.branch("lab"), store.branch("side")
    aside = commit_of(side.memories.put(Memory(id="aside")))
    lab.revert(bad.id)
    equal((ids(lab), ids(store)), ([], ["bad"]), "the rows of the branch, and of main")
    store.merge("side")
    store.revert(aside.id)
    equal((ids(store), ids(side)), (["bad"], ["aside", "bad"]), "the rows of main, and of the merged branch")


@check("ME-082", level="branches")
def a_revert_of_what_the_branch_does_not_descend_from_is_refused(case: Case) -> None:
    """A commit of another branch, one from after the fork, and one that is nowhere, are `NotFound`."""
    store = case.store()
    store.memories.put(Memory(id="first"))
    lab = store.branch("lab")
    later = commit_of(store.memories.put(Memory(id="later")))
    other = commit_of(lab.memories.put(Memory(id="other")))
    for view, name in ((lab, later.id), (store, other.id), (store, "nothing")):
        for dry_run in (False, True):
            with refused(NotFound, what=f"a revert of {name}"), unchanged(store):
                view.revert(name, dry_run=dry_run)


@check("ME-062", "ME-080", level="branches")
def a_revert_with_a_stale_expected_head_is_refused(case: Case) -> None:
    """`expect_head` of a revert names the branch's last commit."""
    store = case.store()
    bad = commit_of(store.memories.put(Memory(id="bad")))
    store.memories.put(Memory(id="later"))
    for expected in (bad.id, None, "nothing"):
        with refused(StaleHead, what=f"a revert that expects {expected}"), unchanged(store):
            store.revert(bad.id, expect_head=expected)
    store.revert(bad.id, expect_head=store.head().commit)
    equal(ids(store), ["later"], "the rows after a revert at the expected head")


@check("CO-005", "ME-080", level="branches")
def a_revert_under_a_known_commit_id_is_not_applied_again(case: Case) -> None:
    """Submitting a revert again gives the first outcome, though the row is back since."""
    store = case.store()
    bad = commit_of(store.memories.put(Memory(id="bad")))
    first = store.revert(bad.id, commit_id="once")
    store.memories.put(Memory(id="bad"))
    with unchanged(store):
        again = store.revert(bad.id, commit_id="once")
    equal((again.commit, again.replayed), (first.commit, True), "the second outcome")
