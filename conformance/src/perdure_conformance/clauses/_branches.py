"""Branches: forks, what they see, names and deletion."""

from __future__ import annotations

from typing import Any

from perdure import (
    TABLES,
    AlreadyExists,
    CommitRequest,
    Conflict,
    Memory,
    NotFound,
    Put,
    Ref,
    State,
    Store,
    now_us,
)

from perdure_conformance._case import Case
from perdure_conformance._checks import check
from perdure_conformance.clauses._shown import ids
from perdure_conformance.expect import equal, holds, refused, unchanged

SECOND = 1_000_000


@check("BR-001", level="branches")
def main_is_there_and_stays(case: Case) -> None:
    """A new namespace has a branch main without a parent, which cannot be deleted."""
    store = case.store()
    (main,) = store.branches.list()
    equal((main.name, main.parent), ("main", None), "the branch of a new namespace")
    for cascade in (False, True):
        with refused(Conflict, what="deleting main"):
            store.branches.delete("main", cascade=cascade)
    equal([branch.id for branch in store.branches.list()], [main.id], "the branches after that")


@check("BR-004", "BR-005", level="branches")
def a_fork_and_its_parent_do_not_see_each_other(case: Case) -> None:
    """What is committed after a fork, on either side, is not seen on the other."""
    store = case.store()
    store.memories.put(Memory(id="before"))
    lab = store.branch("lab")
    store.memories.put(Memory(id="on-main"))
    lab.memories.put(Memory(id="on-lab"))
    equal(ids(store), ["before", "on-main"], "the rows of main")
    equal(ids(lab), ["before", "on-lab"], "the rows of the branch")


def everything(store: Store, name: str) -> None:
    """A row in each table, with a payload and a vector, all called by one name."""
    with store.batch() as batch:
        batch.memories.put(Memory(id=name))
        batch.links.put({"id": name, "source": name, "target": name})
        batch.skills.put({"id": name})
        batch.traces.put({"id": name})
        batch.states.put(State(kind=name, id=name, payload=name.encode()))
        batch.vectors.put({"space": "s", "id": name, "values": [1.0, 0.0]})


def shown(view: Any) -> dict[str, list[Any]]:
    """The keys of all rows by table, what a search finds, and all payloads."""
    found: dict[str, list[Any]] = {name: [row.key for row in view.table(name).scan()] for name in TABLES}
    found["found"] = [hit.record.id for hit in view.vectors.search([1.0, 0.0], k=99, space="s", exact=True)]
    found["payloads"] = [state.payload for state in view.states.scan()]
    return found


def expected_of(*names: str) -> dict[str, list[Any]]:
    """What `shown` shows of some names."""
    found: dict[str, list[Any]] = {name: sorted(names) for name in TABLES}
    found["states"] = sorted((name, name) for name in names)
    found["vectors"] = sorted(("s", name) for name in names)
    found["found"] = sorted(names)
    found["payloads"] = [name.encode() for name in sorted(names)]
    return found


@check("BR-004", "BR-005", level="branches")
def no_table_leaks_across_a_fork(case: Case) -> None:
    """In every table, in searches and in payloads a branch shows its parent up to the fork and itself, no more."""
    store = case.store()
    store.spaces.create("s", 2)
    everything(store, "before")
    lab = store.branch("lab")
    everything(store, "main1")
    everything(lab, "lab1")
    deep = lab.branch("deep")
    everything(lab, "lab2")
    everything(deep, "deep1")
    everything(store, "main2")
    equal(shown(store), expected_of("before", "main1", "main2"), "main")
    equal(shown(lab), expected_of("before", "lab1", "lab2"), "the branch")
    equal(shown(deep), expected_of("before", "lab1", "deep1"), "the branch of the branch")


@check("BR-004", "BR-005", level="branches")
def deep_branches_see_each_ancestor_up_to_its_fork(case: Case) -> None:
    """At the end of a long chain of forks, each ancestor's commits before its fork are seen, and none after it."""
    here, expected = case.store(), []
    for depth in range(25):
        here.memories.put([Memory(id=f"own{depth:02}"), Memory(id="shared", tier=depth)])
        expected.append(f"own{depth:02}")
        child = here.branch(f"b{depth:02}")
        here.memories.put([Memory(id=f"late{depth:02}"), Memory(id="shared", tier=-1)])
        found = (ids(child), child.memories["shared"].tier, child.memories.count())
        equal(found, ([*expected, "shared"], depth, depth + 2), f"the memories {depth + 1} forks deep")
        here = child
    equal(here.memories.get("late03"), None, "a row that an ancestor got after its fork")
    equal(here.memories.get_many(["own00", "own13", "late24"])[2], None, "a late row among others")


@check("BR-004", "BR-005", level="branches")
def a_fork_of_the_past_sees_the_past(case: Case) -> None:
    """A branch forked at a commit, a number, a time or a checkpoint shows what was there, and later its own."""
    store, hooks = case.store(), case.hooks()
    time, points = now_us() + 3_600 * SECOND, []
    empty = {"value": "null", "tags": ()}
    for number in range(5):
        row = tuple(f"m{number}" if c.name == "id" else empty.get(c.kind) for c in TABLES["memories"].columns)
        request = CommitRequest("main", f"c{number}", [Put("memories", [row])], time=time)
        points.append(hooks.commit(ctx=case.ctx, request=request).point)
        time = points[-1].time + 10 * SECOND
    store.checkpoints.create("mark", "@c2")
    for number in range(5):
        point, expected = points[number], [f"m{n}" for n in range(number + 1)]
        places = {
            "commit": f"@c{number}",
            "number": f"main@{point.seq}",
            "time": Ref("main", time=point.time),
            "later": Ref("main", time=point.time + SECOND),
            "point": point,
        }
        if number == 2:
            places["mark"] = "mark"
        for what, at in places.items():
            fork = store.branches.create(f"{what}{number}", at)
            equal(fork.head.commit, f"c{number}", f"the head of a fork at a {what}")
            here = store.branch(fork.name)
            equal(ids(here), expected, f"the memories of a fork at a {what}")
            here.memories.delete("m0")
            here.memories.put(Memory(id="own"))
            equal(ids(here), [*expected[1:], "own"], f"the memories of a fork at a {what} after two commits")
    equal(ids(store), [f"m{n}" for n in range(5)], "the memories of main after all forks")


@check("BR-004", "BR-005", level="branches")
def a_fork_of_an_old_place_of_a_fork(case: Case) -> None:
    """A branch forked at a place of a branch that lies on that branch's parent shows the parent at that place."""
    store = case.store()
    for number in range(3):
        store.memories.put(Memory(id=f"m{number}"), commit_id=f"m{number}")
    lab = store.branch("lab")
    lab.memories.put(Memory(id="l0"), commit_id="l0")
    lab.memories.put(Memory(id="l1"), commit_id="l1")
    deep = lab.branch("deep")
    deep.memories.put(Memory(id="d0"), commit_id="d0")
    numbers = {commit.id: commit.seq for commit in deep.log()}
    for branch in ("lab", "deep"):
        for place, id in enumerate(("m0", "m1", "m2", "l0", "l1")):
            fork = store.branches.create(f"{branch}-{id}", f"{branch}@{numbers[id]}")
            expected = sorted(["m0", "m1", "m2", "l0", "l1"][: place + 1])
            equal(fork.head.commit, id, f"the head of a fork of {branch} at {id}")
            equal(ids(store.branch(fork.name)), expected, f"the memories of a fork of {branch} at {id}")
    lab.memories.put(Memory(id="late"))
    store.memories.put(Memory(id="late"))
    for name in [branch.name for branch in store.branches.list()]:
        late = "late" in store.branch(name).memories
        equal(late, name in ("main", "lab"), f"whether {name} sees what came after its fork")


@check("BR-004", level="branches")
def a_row_of_a_branch_is_over_that_of_its_parent(case: Case) -> None:
    """A branch that changed a row shows its own version, in lists, filters and counts; its children inherit that."""
    store = case.store()
    store.memories.put([Memory(id="a", tier=1), Memory(id="b", tier=1)])
    lab = store.branch("lab")
    lab.memories.update("a", tier=2)
    deep = lab.branch("deep")
    deep.memories.update("b", tier=3)
    store.memories.put([Memory(id="a", tier=9), Memory(id="b", tier=9)])
    for view, tiers in ((store, [9, 9]), (lab, [2, 1]), (deep, [2, 3])):
        name = view.branch_name
        equal([memory.tier for memory in view.memories.scan()], tiers, f"the tiers on {name}")
        equal(view.memories.count({"tier": tiers[0]}), tiers.count(tiers[0]), f"a count on {name}")
        found = [memory.id for memory in view.memories.find({"tier": 1})]
        equal(found, [id for id, tier in zip("ab", tiers, strict=True) if tier == 1], f"a filter on {name}")


@check("BR-006", level="branches")
def a_deletion_on_a_branch_hides_the_row(case: Case) -> None:
    """A row that a branch deleted is not seen there nor on its children, and can come back; the parent keeps it."""
    store = case.store()
    store.spaces.create("s", 2)
    for name in ("a", "b"):
        everything(store, name)
    lab = store.branch("lab")
    with lab.batch() as batch:
        for name in TABLES:
            batch.table(name).delete({"states": ("a", "a"), "vectors": ("s", "a")}.get(name, "a"))
    deep = lab.branch("deep")
    for view in (lab, deep, store.at("lab"), store.at("deep")):
        equal(shown(view), expected_of("b"), f"{view!r} after the deletion")
        equal((view.memories.get("a"), view.memories.version("a")), (None, None), "the deleted row, by key")
        equal([view.table(name).count() for name in TABLES], [1] * len(TABLES), "the counts")
    equal(shown(store), expected_of("a", "b"), "the parent")
    everything(deep, "a")
    equal(shown(deep), expected_of("a", "b"), "a branch that wrote the rows again")
    equal(shown(lab), expected_of("b"), "its parent, where they are deleted")


@check("BR-006", level="branches")
def a_deletion_on_the_parent_is_not_seen(case: Case) -> None:
    """A row that the parent deleted after the fork stays on the branch; one that it deleted before is not there."""
    store = case.store()
    store.memories.put([Memory(id="a"), Memory(id="b")])
    store.memories.delete("a")
    lab = store.branch("lab")
    store.memories.delete("b")
    store.memories.put(Memory(id="a"))
    equal((ids(store), ids(lab)), (["a"], ["b"]), "the memories of main and of the branch")


@check("BR-002", "BR-010", level="branches")
def a_new_branch_of_an_old_name_inherits_nothing(case: Case) -> None:
    """A branch under the name of a deleted one has another id and none of its rows, commits or places."""
    store, seen = case.store(), []
    store.spaces.create("s", 2)
    everything(store, "base")
    for round in range(4):
        lab = store.branch("lab")
        seen.append(lab.branches.get("lab").id)
        equal(shown(lab), expected_of("base"), f"the branch when made for the {round + 1}. time")
        equal(shown(store.at("lab@999999")), expected_of("base"), "its greatest number")
        equal(len(list(lab.log())), 1, "the commits in its log")
        everything(lab, f"own{round}")
        lab.memories.delete("base")
        everything(lab, f"more{round}")
        store.branches.delete("lab")
    equal(len(set(seen)), 4, "how many different ids four branches of one name had")
    everything(store.branch("other"), "x")
    fresh = store.branches.create("lab", "other")
    holds(fresh.id not in seen, "a new branch has a new id", fresh)
    equal(shown(store.at("lab")), expected_of("base", "x"), "a new branch of the old name, forked elsewhere")


@check("BR-002", level="branches")
def the_id_of_a_branch_stays(case: Case) -> None:
    """The id of a branch is its own, and stays as it commits, merges, forks and is opened again."""
    store = case.store()
    store.memories.put(Memory(id="a"))
    for name in ("lab", "deep", "Lab"):
        store.branches.create(name)
    first = {branch.name: branch.id for branch in store.branches.list()}
    equal(len(set(first.values())), 4, "how many ids four branches have")
    store.branch("lab").memories.put(Memory(id="b"))
    store.merge("lab", into="deep")
    store.branch("lab").branch("child")
    store.branches.delete("Lab")
    for handle in (store, case.store()):
        now = {branch.name: branch.id for branch in handle.branches.list()}
        kept = {name: id for name, id in now.items() if name in first}
        equal(kept, {name: id for name, id in first.items() if name != "Lab"}, "the ids later")
        holds(now["child"] not in first.values(), "a new branch has an id of its own", now)


@check("BR-008", level="branches")
def a_name_is_taken_once(case: Case) -> None:
    """Neither a branch nor a checkpoint can take the name of another of either kind, until that is deleted."""
    store = case.store()
    store.memories.put(Memory(id="a"))
    store.branches.create("branch")
    store.checkpoints.create("mark")
    with unchanged(store):
        for name in ("main", "branch", "mark"):
            for at in ("main", "branch", "main@0"):
                with refused(AlreadyExists, what=f"a branch {name} at {at}"):
                    store.branches.create(name, at)
                with refused(AlreadyExists, what=f"a checkpoint {name} at {at}"):
                    store.checkpoints.create(name, at)
    with refused(AlreadyExists, what="a write on a branch of a checkpoint's name"):
        store.branch("mark")
    store.branches.delete("branch")
    store.checkpoints.delete("mark")
    store.checkpoints.create("branch")
    store.branches.create("mark")
    names = [b.name for b in store.branches.list()], [c.name for c in store.checkpoints.list()]
    equal(names, (["main", "mark"], ["branch"]), "the names after they were exchanged")


@check("BR-009", level="branches")
def what_others_rest_on_is_not_deleted(case: Case) -> None:
    """A branch with children or checkpoints is deleted only with them, where the caller asks for that."""
    store = case.store()
    store.memories.put(Memory(id="a"))
    lab = store.branch("lab")
    lab.memories.put(Memory(id="b"), commit_id="b")
    lab.branch("child").memories.put(Memory(id="c"))
    lab.branch("child").branch("grandchild").memories.put(Memory(id="d"))
    store.branch("pinned").memories.put(Memory(id="p"))
    store.checkpoints.create("pin", "pinned")
    store.checkpoints.create("deep-pin", "grandchild")
    store.checkpoints.create("kept")
    for name in ("lab", "child", "grandchild", "pinned"):
        with unchanged(store), refused(Conflict, what=f"deleting {name}"):
            store.branches.delete(name)
    with unchanged(store), refused(NotFound, what="deleting a branch that is not there"):
        store.branches.delete("none", cascade=True)
    equal(store.branches.delete("lab", cascade=True), 3, "how many branches were deleted with the first")
    equal(store.branches.delete("pinned", cascade=True), 1, "how many branches were deleted with the second")
    names = [b.name for b in store.branches.list()], [c.name for c in store.checkpoints.list()]
    equal(names, (["main"], ["kept"]), "the names that are left")
    for ref in ("lab", "child", "grandchild", "deep-pin", "pin", "grandchild@1"):
        with refused(NotFound, what=f"a read at {ref}"):
            store.at(ref)
    equal(ids(store), ["a"], "the rows of main")


@check("BR-009", level="branches")
def a_leaf_is_deleted_without_its_parent(case: Case) -> None:
    """A branch without children and pins is deleted, also after a merge; its parent keeps all that it had."""
    store = case.store()
    store.memories.put(Memory(id="a"))
    store.branch("lab").memories.put(Memory(id="b"))
    store.merge("lab")
    store.branch("child").memories.put(Memory(id="c"))
    equal(store.branches.delete("child"), 1, "how many branches were deleted")
    equal(store.branches.delete("lab", cascade=True), 1, "how many branches were deleted")
    equal(ids(store), ["a", "b"], "the rows of main")
    equal([commit.parents == () for commit in store.log()], [False, True], "the log of main")
    store.memories.put(Memory(id="d"))
    equal(ids(store), ["a", "b", "d"], "the rows of main after another commit")


@check("BR-011", level="branches")
def a_handle_does_not_move_another(case: Case) -> None:
    """Stores on several branches of one handle, in turn, each read and write their own branch."""
    store = case.store()
    stores = {name: store.branch(name) for name in ("main", "a", "b", "c")}
    stores["again"] = case.store(branch="b")
    for turn in range(3):
        for name, here in stores.items():
            here.memories.put(Memory(id=f"{name}{turn}"))
    found = {name: ids(here) for name, here in stores.items()}
    own = {name: [f"{name}{turn}" for turn in range(3)] for name in stores}
    own["b"] = own["again"] = sorted(own["b"] + own["again"])
    equal(found, own, "the memories of each branch")


@check("BR-003", "BR-004", level="branches")
def a_fork_holds_no_rows_of_its_own(case: Case) -> None:
    """Forks add no version of any row, however many there are, and what they show is there all the same."""
    store = case.store()
    store.memories.put([Memory(id=f"m{number:03}") for number in range(300)])
    before = store.stats().versions
    for number in range(10):
        store.branches.create(f"b{number}")
    after = store.stats("b9")
    equal(after.versions, before, "the versions of rows after ten forks")
    equal((after.rows["memories"], after.branches), (300, 11), "the live rows of a fork, and the branches")
