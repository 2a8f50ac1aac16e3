"""`revert`: undo one commit by another."""

from __future__ import annotations

import msgspec

from perdure._errors import InvalidInput, NotFound, StaleHead
from perdure._show import shown
from perdure._types import Commit, CommitRequest, Context, Point
from perdure.history._dag import Dag, Hooks
from perdure.history._diff import differing_keys
from perdure.history._merge import ATTEMPTS, MergeResult, finish, operations_of, replayed
from perdure.history._plan import Plan, bound_spaces, make_plan
from perdure.history._threeway import Policy, Strategy, check_strategy

__all__ = ["ancestor", "revert", "state_before", "undo_plan"]


def revert(
    hook: Hooks,
    ctx: Context,
    commit_id: str,
    branch: str,
    strategy: Strategy = "fail",
    *,
    revert_id: str,
    parent: str | int | None = None,
    author: str = "",
    message: str = "",
    dry_run: bool = False,
    expect_head: str | msgspec.UnsetType | None = msgspec.UNSET,
) -> MergeResult:
    """Undo a commit on a branch that descends from it, in one new commit, keeping what came later.

    A three-way merge whose base is the commit, and whose source is the state before it.

    Args:
        commit_id: The commit to undo.
        branch: Name of the branch to write to.
        strategy: As for `merge`; "ours" is the branch as it is, "theirs" the state before the commit.
        revert_id: Id of the new commit; repeating a call with it returns the first outcome.
        parent: For a merge commit: which of its parents to go back to, as a commit id or as an index.
        dry_run: Write nothing, and return conflicts instead of raising them.
        expect_head: The commit id that the branch must be at.

    Raises:
        MergeConflict: Later changes conflict, and the strategy does not settle it; nothing was applied.
        NotFound: The branch does not exist, or does not descend from such a commit.
        HistoryExpired: The commit, or the state before it, was dropped by compaction.
        InvalidInput: A merge commit without `parent`, or with one that it does not have.
        StaleHead: The branch is not at `expect_head`, or moved too often.
    """
    check_strategy(strategy)
    if (known := replayed(hook, ctx, revert_id)) is not None and not dry_run:
        return known
    for attempt in range(ATTEMPTS):
        dag = Dag(hook, ctx)
        head = dag.named(branch).head
        if expect_head is not msgspec.UNSET and head.commit != expect_head:
            raise StaleHead(
                f"branch {branch!r} is not at the expected head; read it again and decide again",
                head=head.commit,
            )
        undone = ancestor(dag, head, commit_id, f"branch {branch!r}")
        plan = undo_plan(dag, undone, state_before(dag, undone, parent), head, strategy)
        bases = (_point(undone),)
        if dry_run:
            return MergeResult(None, head, bases, plan.changes, plan.conflicts)
        request = CommitRequest(
            branch=branch,
            id=revert_id,
            operations=operations_of(plan.changes),
            author=author,
            message=message,
            expect_head=head.commit,
            reverts=commit_id,
        )
        try:
            return finish(dag, request, plan, bases, strategy)
        except StaleHead:
            if expect_head is not msgspec.UNSET or attempt == ATTEMPTS - 1:
                raise
    raise AssertionError("unreachable")


def ancestor(dag: Dag, point: Point, commit_id: str, what: str) -> Commit:
    """The commit of that id, if `point` descends from it.

    Raises:
        NotFound: It does not, or there is no such commit.
    """
    [commit] = dag.hook.get_commits(ctx=dag.ctx, ids=[commit_id])
    if commit is None:
        raise NotFound(f"there is no commit {shown(commit_id)}; see store.log()", commit=commit_id)
    if dag.vector(point).get(commit.branch, 0) < commit.seq:
        raise NotFound(
            f"{what} does not descend from commit {shown(commit_id)}; there is nothing to undo",
            commit=commit_id,
        )
    return commit  # type: ignore[no-any-return]


def state_before(dag: Dag, commit: Commit, parent: str | int | None) -> Point:
    """The parent state of a commit: the chosen one of a merge, else the one before it on its branch.

    Raises:
        InvalidInput: See `revert`.
    """
    before = Point(commit.branch, commit.seq - 1)
    if not commit.vector:
        if parent is not None and parent not in (0, *commit.parents):
            raise InvalidInput(
                f"commit {shown(commit.id)} has no parent {shown(parent)}; it is no merge; leave it out"
            )
        return before
    if isinstance(parent, int) and not isinstance(parent, bool) and 0 <= parent < len(commit.parents):
        parent = commit.parents[parent]
    if not isinstance(parent, str) or parent not in commit.parents:
        raise InvalidInput(
            f"commit {shown(commit.id)} is a merge: say which state to go back to with parent=, "
            f"one of {list(commit.parents)} or its index (0 is the branch merged into)"
        )
    # What a merge brought is its last parent; a merge into an empty branch has no other.
    if parent != commit.parents[-1]:
        return before
    [brought] = dag.hook.get_commits(ctx=dag.ctx, ids=[parent])
    if brought is None:
        raise NotFound(f"parent {shown(parent)} is gone, with its branch or by compaction", commit=parent)
    return _point(brought)


def undo_plan(dag: Dag, commit: Commit, before: Point, head: Point, policy: Policy) -> Plan:
    """What undoing a commit changes at `head`."""
    base = _point(commit)
    return make_plan(
        dag.hook,
        dag.ctx,
        ours=head,
        theirs=before,
        bases_of=lambda _: (base,),
        entries=differing_keys(dag, before, base),
        bound=bound_spaces(dag.hook.list_spaces(ctx=dag.ctx)),
        policy=policy,
    )


def _point(commit: Commit) -> Point:
    return Point(commit.branch, commit.seq, commit.id, commit.time)
