"""Whole merges: the one commit that they make, dry runs, expected heads, writers in between, and sync."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from perdure import (
    CommitRequest,
    Committed,
    Context,
    InvalidInput,
    Memory,
    MergeConflict,
    NotFound,
    Ref,
    StaleHead,
    Store,
    hookimpl,
)
from perdure.history import Strategy, merge
from perdure.wrappers import Forward

from perdure_conformance._case import Case
from perdure_conformance._checks import check
from perdure_conformance.clauses._shown import ids
from perdure_conformance.expect import equal, holds, refused, unchanged


def diverged(store: Store) -> Store:
    """A branch lab; main and lab share the memory `both`, and have one of their own each: `ours`, `theirs`."""
    store.memories.put(Memory(id="both", tier=0))
    lab = store.branch("lab")
    store.memories.put(Memory(id="ours"))
    lab.memories.put(Memory(id="theirs"))
    return lab


@check("ME-060", level="branches")
def a_merge_makes_one_commit_with_the_source_as_its_last_parent(case: Case) -> None:
    """The target has one commit more, whose parents are its last commit and the source's; the source has none more."""
    store = case.store()
    lab = diverged(store)
    before, theirs, log = store.head(), lab.head(), len(list(store.log()))
    result = store.merge("lab", message="together", author="me", commit_id="the-merge")
    commit = result.commit
    holds(commit is not None, "the merge made a commit", result)
    if commit is not None:
        found = (commit.id, commit.parents, commit.message, commit.author, commit.branch)
        want = ("the-merge", (before.commit, theirs.commit), "together", "me", before.branch)
        equal(found, want, "the merge commit")
        holds(commit.seq > before.seq, "its number is greater than that of the commit before", commit)
    equal(store.head(), result.point, "the head of main")
    equal(len(list(store.log())), log + 1, "the number of commits on main")
    equal(lab.head(), theirs, "the head of the source")
    equal((ids(store), ids(lab)), (["both", "ours", "theirs"], ["both", "theirs"]), "the rows")


@check("ME-060", level="branches")
def a_merge_that_changes_no_row_makes_a_commit(case: Case) -> None:
    """Ancestry is recorded also where both sides did the same, or ours wins everything."""
    cases: tuple[tuple[Strategy, int], ...] = (("fail", 1), ("ours", 2))
    for strategy, tier in cases:
        with case.new_store() as store:
            store.memories.put(Memory(id="row", tier=0))
            lab = store.branch("lab")
            lab.memories.put(Memory(id="row", tier=1))
            row = lab.memories["row"]
            row.tier = tier
            store.memories.put(row)
            result = store.merge("lab", strategy=strategy)
            equal(result.changes, (), f"the changes under {strategy}")
            holds(result.commit is not None, f"a merge under {strategy} without changes made a commit")
            equal(store.head().commit, result.commit and result.commit.id, "the head of main")
            holds(store.merge("lab").already_merged, "lab counts as merged")


@check("ME-060", level="branches")
def a_merge_into_a_branch_without_commits_is_no_move(case: Case) -> None:
    """A target that is an ancestor of the source gets a merge commit of its own; the branches stay two."""
    store = case.store()
    store.memories.put(Memory(id="first"))
    lab = store.branch("lab")
    lab.memories.put(Memory(id="second"))
    result = store.merge("lab")
    holds(result.commit is not None and result.commit.id != lab.head().commit, "a commit of its own", result)
    store.memories.put(Memory(id="third"))
    equal(ids(lab), ["first", "second"], "the rows of the source after a later commit on main")


@check("ME-061", level="branches")
def merging_twice_makes_no_second_commit(case: Case) -> None:
    """What the target descends from brings nothing: the source again, an older point of it, the target itself."""
    store = case.store()
    lab = diverged(store)
    old = lab.head()
    lab.memories.put(Memory(id="more"))
    store.merge("lab")
    for source in ("lab", old, f"@{old.commit}", "main", f"main@{store.branches.get('lab').fork_seq}"):
        with unchanged(store):
            result = store.merge(source)
        holds(result.already_merged and result.commit is None, f"merging {source} again is no merge", result)
        equal((result.changes, result.point), ((), store.head()), f"the result of merging {source} again")


@check("ME-061", level="branches")
def a_second_merge_does_not_redo_what_the_target_changed_since(case: Case) -> None:
    """Rows that the target changed or deleted after a merge stay so when the source, which did not, is merged on."""
    store = case.store()
    lab = diverged(store)
    lab.skills.put({"id": "s", "success_count": 2})
    store.merge("lab")
    store.memories.delete("theirs")
    store.memories.update("both", tier=5)
    lab.memories.put(Memory(id="more"))
    equal(store.merge("lab", strategy="field").conflicts, (), "the conflicts of the second merge")
    equal(ids(store), ["both", "more", "ours"], "the rows of main")
    found = (store.memories["both"].tier, store.skills["s"].success_count)
    equal(found, (5, 2), "what main changed, and a count that was merged twice")


@check("RE-001", "RE-004", "ME-060", level="branches")
def any_ref_can_be_merged(case: Case) -> None:
    """A source is a branch, a checkpoint, a number, a commit or a point; what came after it is not merged."""
    for kind in ("checkpoint", "number", "commit", "point"):
        with case.new_store() as store:
            lab = diverged(store)
            point = lab.head()
            store.checkpoints.create("mark", point)
            lab.memories.put(Memory(id="after"))
            source: Any = {
                "checkpoint": "mark",
                "number": f"lab@{point.seq}",
                "commit": f"@{point.commit}",
                "point": point,
            }[kind]
            store.merge(source)
            equal(ids(store), ["both", "ours", "theirs"], f"the rows of main after a merge of a {kind}")
    store = case.store()
    for source in ("nothing", "@nothing"):
        with refused(NotFound, what=f"a merge of {source}"), unchanged(store):
            store.merge(source)
    with refused(NotFound, what="a merge into a branch that is not there"), unchanged(store):
        store.merge("main", into="nothing")


@check("ME-064", level="branches")
def a_dry_run_writes_nothing_and_tells_what_the_merge_would_do(case: Case) -> None:
    """Its changes and conflicts are those of the merge that follows, whatever the strategy."""
    store = case.store()
    lab = diverged(store)
    store.memories.update("both", tier=1)
    lab.memories.update("both", tier=2)
    lab.memories.put(Memory(id="fine", tags=["x"]))
    for strategy in ("fail", "field", "ours", "theirs"):
        with unchanged(store):
            dry = store.merge("lab", strategy=strategy, dry_run=True)
        equal((dry.commit, dry.point), (None, store.head()), f"a dry run under {strategy}")
        equal([(c.key, c.fields) for c in dry.conflicts], [(("both",), ("tier",))], "its conflicts")
        if strategy in ("fail", "field"):
            with refused(MergeConflict, what=f"the merge under {strategy}"), unchanged(store):
                store.merge("lab", strategy=strategy)
        else:
            real = store.branch(f"try-{strategy}").merge("lab", strategy=strategy)
            equal((real.changes, real.conflicts), (dry.changes, dry.conflicts), f"the merge under {strategy}")


@check("ME-064", level="branches")
def a_dry_run_records_no_ancestry(case: Case) -> None:
    """A merge after its dry run still brings everything."""
    store = case.store()
    diverged(store)
    dry = store.merge("lab", dry_run=True)
    real = store.merge("lab")
    holds(real.commit is not None and not real.already_merged, "the merge after the dry run", real)
    equal(real.changes, dry.changes, "its changes")
    holds(store.merge("lab", dry_run=True).already_merged, "a dry run of what was merged says so")


@check("CO-005", "ME-060", level="branches")
def a_merge_under_a_known_commit_id_is_not_applied_again(case: Case) -> None:
    """Submitting a merge again gives the first outcome, though the source has moved on since."""
    store = case.store()
    lab = diverged(store)
    first = store.merge("lab", commit_id="once")
    lab.memories.put(Memory(id="after"))
    with unchanged(store):
        again = store.merge("lab", commit_id="once")
    equal((again.commit, again.replayed, again.changes), (first.commit, True, ()), "the second outcome")


@check("ME-062", level="branches")
def a_merge_with_a_stale_expected_head_is_refused(case: Case) -> None:
    """`expect_head` of a merge names the target's last commit; another one, or none, writes nothing."""
    store = case.store()
    lab = diverged(store)
    old, theirs = store.head().commit, lab.head().commit
    store.memories.put(Memory(id="later"))
    for expected in (old, theirs, None, "nothing"):
        with refused(StaleHead, what=f"a merge that expects {expected}"), unchanged(store):
            store.merge("lab", expect_head=expected)
        with refused(StaleHead, what=f"a sync that expects {expected}"), unchanged(store):
            lab.sync(expect_head=expected if expected != theirs else old)
    result = store.merge("lab", expect_head=store.head().commit)
    holds(result.commit is not None, "a merge at the expected head is made", result)


class Overtaken(Forward):
    """Lets something happen before the first so many commits that go through it."""

    def __init__(self, inner: Any, between: Callable[[int], object], times: int) -> None:
        super().__init__(inner)
        self.between = between
        self.times = times
        self.calls = 0

    @hookimpl
    def commit(self, ctx: Context, request: CommitRequest) -> Committed:
        """Commit, after what comes between."""
        self.calls += 1
        if self.calls <= self.times:
            self.between(self.calls)
        done: Committed = self.inner.commit(ctx=ctx, request=request)
        return done


@check("ME-062", level="branches")
def a_merge_is_computed_anew_when_the_target_moves(case: Case) -> None:
    """A commit between the comparison and the merge commit is not overwritten: the merge starts from it."""
    store = case.store()
    lab = diverged(store)
    lab.memories.update("both", tier=1)
    hooks = Overtaken(case.hooks(), lambda _: store.memories.update("both", title="meanwhile"), 1)
    result = merge(hooks, case.ctx, Ref("lab"), "main", commit_id="m")
    equal(hooks.calls, 2, "how often it was committed")
    row = store.memories["both"]
    equal((row.tier, row.title), (1, "meanwhile"), "a row that both changed, in fields that differ")
    equal(store.head(), result.point, "the head of main")
    store.memories.update("both", tier=3)
    lab.memories.put(Memory(id="more"))
    hooks = Overtaken(case.hooks(), lambda _: store.memories.put(Memory(id="more", tier=9)), 1)
    with refused(MergeConflict, what="a merge that conflicts with what was committed meanwhile"):
        merge(hooks, case.ctx, Ref("lab"), "main", commit_id="n")
    equal(store.memories["more"].tier, 9, "the row that was committed meanwhile")


@check("ME-062", level="branches")
def a_merge_that_is_overtaken_again_and_again_gives_up(case: Case) -> None:
    """After a bounded number of tries, or at once where the caller expects a head, it is `StaleHead`."""
    store = case.store()
    diverged(store)
    hooks = Overtaken(case.hooks(), lambda n: store.memories.put(Memory(id="busy", tier=n)), 10_000)
    with refused(StaleHead, what="a merge that never finds the branch at rest"):
        merge(hooks, case.ctx, Ref("lab"), "main", commit_id="m")
    hooks = Overtaken(case.hooks(), lambda _: store.memories.put(Memory(id="once")), 1)
    with refused(StaleHead, what="a merge at a head that it expects, which moves"):
        merge(hooks, case.ctx, Ref("lab"), "main", commit_id="m", expect_head=store.head().commit)
    equal(hooks.calls, 1, "the tries of a merge that expects a head")
    holds("theirs" not in store.memories, "nothing was merged")


@check("ME-063", level="branches")
def the_source_of_a_merge_does_not_move(case: Case) -> None:
    """What is committed to the source while the merge is computed anew is not merged."""
    store = case.store()
    lab = diverged(store)

    def between(_: int) -> None:
        lab.memories.put(Memory(id="too-late"))
        store.memories.put(Memory(id="meanwhile"))

    point = lab.head()
    result = merge(Overtaken(case.hooks(), between, 1), case.ctx, Ref("lab"), "main", commit_id="m")
    equal(ids(store), ["both", "meanwhile", "ours", "theirs"], "the rows of main")
    equal(result.commit and result.commit.parents[-1], point.commit, "the last parent of the merge")
    equal(store.merge("lab").written, 1, "the rows that a merge of the rest brings")


@check("ME-065", level="branches")
def sync_brings_what_the_parent_has_since(case: Case) -> None:
    """`sync` merges the parent's head; for main, which has no parent, it is refused."""
    store = case.store()
    lab = diverged(store)
    with unchanged(store):
        dry = lab.sync(dry_run=True)
    equal([change.key for change in dry.changes], [("ours",)], "what a dry run would bring")
    before, parent = lab.head(), store.head()
    result = lab.sync(message="up")
    equal(result.commit and result.commit.parents, (before.commit, parent.commit), "the parents of the sync")
    equal(
        (ids(lab), ids(store)), (["both", "ours", "theirs"], ["both", "ours"]), "the rows of lab, and of main"
    )
    holds(lab.sync().already_merged, "a second sync brings nothing")
    nested = lab.branch("nested")
    lab.memories.put(Memory(id="lab-only"))
    store.memories.put(Memory(id="main-only"))
    nested.sync()
    equal(
        ids(nested),
        ["both", "lab-only", "ours", "theirs"],
        "the rows after a sync from the parent, not the root",
    )
    with refused(InvalidInput, what="a sync of main"), unchanged(store):
        store.sync()


@check("ME-065", "ME-037", level="branches")
def sync_conflicts_like_a_merge(case: Case) -> None:
    """In a sync ours is the branch and theirs the parent."""
    store = case.store()
    lab = diverged(store)
    store.memories.update("both", tier=1)
    lab.memories.update("both", tier=2)
    with refused(MergeConflict, what="a sync with a conflict"), unchanged(store):
        lab.sync()
    lab.sync(strategy="theirs")
    equal(lab.memories["both"].tier, 1, "the tier on the branch, which takes the parent's")
