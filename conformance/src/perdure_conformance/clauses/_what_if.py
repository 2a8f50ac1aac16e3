"""What-if reads: a point as if one commit had not been."""

from __future__ import annotations

from typing import Any

from perdure import Commit, F, Memory, NotFound, PermissionDenied, Skill

from perdure_conformance._case import Case
from perdure_conformance._checks import check
from perdure_conformance.expect import equal, refused, unchanged


def tiers(view: Any) -> dict[str, int | None]:
    """Id → tier of all memories that a store or a snapshot shows."""
    return {memory.id: memory.tier for memory in view.memories.scan()}


def commit_of(done: Any) -> Commit:
    """The commit that a write, a batch or a merge made."""
    commit = None if done is None else done.commit
    if not isinstance(commit, Commit):
        raise AssertionError("what changes a row made no commit")
    return commit


@check("ME-090", level="branches")
def without_a_commit_rows_are_as_its_revert_would_leave_them(case: Case) -> None:
    """What it added is not there, what it changed is as before, what it deleted is; the rest is as it is."""
    store = case.store()
    store.memories.put(
        [Memory(id="changed", tier=1), Memory(id="deleted", tier=2), Memory(id="kept", tier=3)]
    )
    with store.batch() as batch:
        batch.memories.update("changed", tier=9)
        batch.memories.delete("deleted")
        batch.memories.put(Memory(id="added", tier=4))
    store.memories.put(Memory(id="later", tier=5))
    undone = commit_of(batch.result)
    view = store.at("main", without=undone.id)
    want = {"changed": 1, "deleted": 2, "kept": 3, "later": 5}
    equal(tiers(view), want, "the tiers without the commit")
    store.branch("try").revert(undone.id)
    equal(tiers(store.at("try")), want, "the tiers after its revert on a branch")
    equal(tiers(store), {"added": 4, "changed": 9, "kept": 3, "later": 5}, "the tiers with it")


@check("ME-090", level="branches")
def every_way_of_reading_leaves_the_commit_out(case: Case) -> None:
    """Single and many reads, filters, orders, limits, pages, counts and Arrow agree on what is there."""
    store = case.store()
    store.memories.put([Memory(id=f"m{n}", tier=n) for n in range(6)])
    with store.batch() as batch:
        batch.memories.update("m1", tier=10)
        batch.memories.delete("m2")
        batch.memories.put(Memory(id="m6", tier=3))
    view = store.at("main", without=commit_of(batch.result).id)
    memories = view.memories
    equal([m and m.tier for m in memories.get_many(["m1", "m2", "m6"])], [1, 2, None], "rows by key")
    equal(["m2" in memories, "m6" in memories], [True, False], "whether keys are there")
    high = [m.id for m in memories.find(F.tier >= 2, order_by="-tier", limit=3)]
    equal(high, ["m5", "m4", "m3"], "the highest tiers")
    equal([m.id for m in memories.find(F.tier == 1)], ["m1"], "the rows of tier 1, which m1 is again")
    equal(
        [m.id for m in memories.find(F.tier == 10)], [], "the rows of tier 10, which m1 has with the commit"
    )
    equal((memories.count(), memories.count(F.tier < 3)), (6, 3), "how many there are")
    equal(
        memories.to_arrow(columns=["id"]).column(0).to_pylist(), [f"m{n}" for n in range(6)], "ids as Arrow"
    )
    first = memories.find(order_by="tier", limit=4)
    second = memories.find(order_by="tier", limit=4, after=first.cursor)
    equal([m.id for m in [*first, *second]], [f"m{n}" for n in range(6)], "two pages")


@check("ME-090", level="branches")
def sums_and_tags_lose_what_the_commit_gave(case: Case) -> None:
    """Later counts and tags stay, without those of the commit."""
    store = case.store()
    store.skills.put(Skill(id="s", success_count=1, failure_count=5, tags=["a", "b"]))
    bad = commit_of(store.skills.update("s", success_count=11, failure_count=4, tags=["b", "bad"]))
    store.skills.increment("s", success_count=2)
    store.skills.update("s", tags=["b", "bad", "later"])
    row = store.at("main", without=bad.id).skills["s"]
    found = (row.success_count, row.failure_count, row.tags)
    equal(found, (3, 5, ["b", "later", "a"]), "the counts and the tags without the commit")


@check("ME-090", level="branches")
def what_changed_later_stays(case: Case) -> None:
    """Of a conflict ours is taken: a field that was set again later, a row that was deleted or changed later."""
    store = case.store()
    store.memories.put([Memory(id="set again", tier=1, title="t"), Memory(id="deleted later", tier=1)])
    with store.batch() as batch:
        batch.memories.update("set again", tier=2, title="u")
        batch.memories.update("deleted later", tier=2)
        batch.memories.put(Memory(id="added", tier=2))
    store.memories.update("set again", tier=3)
    store.memories.delete("deleted later")
    store.memories.update("added", tier=3)
    view = store.at("main", without=commit_of(batch.result).id)
    equal(tiers(view), {"added": 3, "set again": 3}, "the tiers without the commit")
    equal(view.memories["set again"].title, "t", "the title, which only the commit changed")


@check("ME-090", level="branches")
def a_commit_is_left_out_at_any_point(case: Case) -> None:
    """At a past point, at a checkpoint and on a branch, only what came up to there counts."""
    store = case.store()
    store.memories.put(Memory(id="row", tier=1))
    bad = commit_of(store.memories.put([Memory(id="row", tier=2), Memory(id="bad", tier=2)]))
    then = store.head()
    store.checkpoints.create("mark")
    lab = store.branch("lab")
    store.memories.update("row", tier=3)
    lab.memories.put(Memory(id="own", tier=7))
    for ref, want in (
        (then, {"row": 1}),
        ("mark", {"row": 1}),
        ("main", {"row": 3}),
        ("lab", {"row": 1, "own": 7}),
    ):
        equal(tiers(store.at(ref, without=bad.id)), want, f"the tiers at {ref} without the commit")


@check("ME-091", level="branches")
def without_a_merge_rows_are_as_its_target_had_them(case: Case) -> None:
    """What a merge brought is away; what the target had, and what came later, is there."""
    store = case.store()
    store.memories.put([Memory(id="both", tier=0), Memory(id="gone", tier=0)])
    lab = store.branch("lab")
    store.memories.put(Memory(id="ours", tier=1))
    with lab.batch() as batch:
        batch.memories.put([Memory(id="theirs", tier=2), Memory(id="both", tier=2)])
        batch.memories.delete("gone")
    merge = commit_of(store.merge("lab"))
    store.memories.put(Memory(id="later", tier=3))
    want = {"both": 0, "gone": 0, "later": 3, "ours": 1}
    equal(tiers(store.at("main", without=merge.id)), want, "the tiers without the merge")


@check("ME-092", level="branches")
def reading_without_a_commit_writes_nothing(case: Case) -> None:
    """The store is as before, and the view takes no writes."""
    store = case.store()
    bad = commit_of(store.memories.put(Memory(id="bad", tier=1)))
    with unchanged(store):
        view = store.at("main", without=bad.id)
        equal(tiers(view), {}, "the tiers without the commit")
        with refused(PermissionDenied, what="a write to a view"):
            view.memories.put(Memory(id="no"))
    equal(tiers(case.store()), {"bad": 1}, "the tiers that another handle reads")


@check("ME-093", level="branches")
def a_point_without_what_it_does_not_descend_from_is_refused(case: Case) -> None:
    """A commit of another branch, one after the point, and one that is nowhere, are `NotFound`."""
    store = case.store()
    store.memories.put(Memory(id="first"))
    then, lab = store.head(), store.branch("lab")
    later = commit_of(store.memories.put(Memory(id="later")))
    other = commit_of(lab.memories.put(Memory(id="other")))
    for ref, name in ((then, later.id), ("lab", later.id), ("main", other.id), ("main", "nothing")):
        with refused(NotFound, what=f"{ref} without {name}"), unchanged(store):
            tiers(store.at(ref, without=name))
