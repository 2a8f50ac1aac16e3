"""`merge` and `sync`: what a source changed since the merge bases, into a branch, in one commit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from heapq import merge as merge_sorted
from itertools import groupby

import msgspec

from perdure._errors import InvalidInput, InvalidRecord, MergeConflict, NotFound, StaleHead
from perdure._schema import TABLES
from perdure._show import shown
from perdure._types import (
    At,
    Change,
    Commit,
    CommitRequest,
    Committed,
    Context,
    Delete,
    Key,
    Operation,
    Pick,
    Point,
    Put,
)
from perdure.history._dag import Dag, Hooks, includes, merge_bases
from perdure.history._diff import PAGE, Entry, check_tables, differing_keys
from perdure.history._picks import Picks, Selection
from perdure.history._plan import MergeConflictRow, Plan, bound_spaces, make_plan
from perdure.history._threeway import Strategy, check_strategy, side_of

__all__ = ["ATTEMPTS", "MergeResult", "finish", "merge", "operations_of", "replayed", "sync"]

#: How often a merge is computed anew when the branch moves under it.
ATTEMPTS = 16


class MergeResult(msgspec.Struct, frozen=True):
    """The outcome of a merge, a sync or a revert.

    Attributes:
        commit: What was recorded; None for a dry run, and where there was nothing to record.
        point: The head of the branch after it.
        bases: What was compared with; empty: the empty store.
        changes: The rows that changed on the branch (None: deleted), in (table, key) order; empty where
            `replayed`.
        conflicts: All conflicts that were found; those of a call that returns were settled by the
            strategy, unless it was a dry run.
        already_merged: The branch descended from the source before.
        replayed: This commit id had been committed before; nothing was applied now.
    """

    commit: Commit | None
    point: Point
    bases: tuple[Point, ...] = ()
    changes: tuple[Change, ...] = ()
    conflicts: tuple[MergeConflictRow, ...] = ()
    already_merged: bool = False
    replayed: bool = False

    @property
    def written(self) -> int:
        """How many rows were put."""
        return sum(change.row is not None for change in self.changes)

    @property
    def deleted(self) -> int:
        """How many rows were deleted."""
        return len(self.changes) - self.written


def merge(
    hook: Hooks,
    ctx: Context,
    source: At,
    into: str,
    strategy: Strategy = "fail",
    *,
    commit_id: str,
    author: str = "",
    message: str = "",
    dry_run: bool = False,
    tables: Iterable[str] | None = None,
    keys: Mapping[str, Iterable[Key]] | None = None,
    expect_head: str | msgspec.UnsetType | None = msgspec.UNSET,
) -> MergeResult:
    """Bring into a branch what its source changed since the merge bases, in one commit.

    The source is resolved once. The merge is computed at the head of the branch and committed only if
    that is still the head; else it is computed anew, at most `ATTEMPTS` times. Merging what the branch
    descends from already records nothing.

    Args:
        source: What to merge.
        into: Name of the branch to write to.
        strategy: What becomes of fields that both sides changed to different values. "fail": nothing is
            applied. "ours": the branch wins. "theirs": the source wins. "field": each column's rule (the
            maximum, the sum of both deltas, joined tags), else as "fail".
        commit_id: Id of the merge commit; repeating a call with it returns the first outcome.
        dry_run: Write nothing, and return conflicts instead of raising them.
        tables, keys: Merge only these tables, and of other tables only these keys: a selective merge. Bound
            vectors go with their rows.
        expect_head: The commit id that the branch must be at.

    Raises:
        MergeConflict: There were conflicts that the strategy does not settle; nothing was applied.
        StaleHead: The branch is not at `expect_head`, or moved too often.
        NotFound: The source, the branch or a table does not exist.
        HistoryExpired: No merge base can be read any more.
        InvalidInput: The strategy is none, or the selection is empty or malformed.
    """
    check_strategy(strategy)
    selection = _selection(tables, keys)
    if (known := replayed(hook, ctx, commit_id)) is not None and not dry_run:
        return known
    pinned = Dag(hook, ctx).resolve(source)
    for attempt in range(ATTEMPTS):
        job = _Merge(Dag(hook, ctx), pinned, into, selection)
        if expect_head is not msgspec.UNSET and job.head.commit != expect_head:
            raise _stale(into, job.head, expect_head)
        if job.already_merged():
            return MergeResult(None, job.head, already_merged=True)
        plan = job.plan(strategy)
        if dry_run:
            return MergeResult(None, job.head, job.bases, plan.changes, plan.conflicts)
        request = job.request(plan, commit_id, author, message)
        try:
            return finish(job.dag, request, plan, job.bases, strategy)
        except StaleHead:
            if expect_head is not msgspec.UNSET or attempt == ATTEMPTS - 1:
                raise
    raise AssertionError("unreachable")


def sync(
    hook: Hooks,
    ctx: Context,
    branch: str,
    strategy: Strategy = "fail",
    *,
    commit_id: str,
    author: str = "",
    message: str = "",
    dry_run: bool = False,
    expect_head: str | msgspec.UnsetType | None = msgspec.UNSET,
) -> MergeResult:
    """Merge the head of a branch's parent into it; see `merge`.

    Raises:
        InvalidInput: The branch is a root, so that there is nothing to sync from.
    """
    dag = Dag(hook, ctx)
    parent = dag.named(branch).parent
    if parent is None:
        raise InvalidInput(f"branch {branch!r} was forked from no other; merge a named source instead")
    if parent not in dag.branches:
        raise NotFound(f"the parent of branch {branch!r} was deleted; merge a named source instead")
    return merge(
        hook,
        ctx,
        dag.branches[parent].head,
        branch,
        strategy,
        commit_id=commit_id,
        author=author,
        message=message,
        dry_run=dry_run,
        expect_head=expect_head,
    )


class _Merge:
    """One merge against one head."""

    def __init__(self, dag: Dag, source: Point, into: str, selection: Selection | None) -> None:
        self.dag = dag
        self.source = source
        self.into = dag.named(into)
        self.head = self.into.head
        self.selection = selection
        self.bases: tuple[Point, ...] = ()
        self._bound = bound_spaces(dag.hook.list_spaces(ctx=dag.ctx))
        self._picks = Picks(dag, source, self.head, self._bound)
        self._theirs = dag.vector(source)

    def already_merged(self) -> bool:
        """Whether the branch has all that the merge would bring, by ancestry or by earlier picks."""
        if includes(self.dag.vector(self.head), self._theirs):
            return True
        return self.selection is not None and self._picks.have(self.selection, self._theirs)

    def plan(self, strategy: Strategy) -> Plan:
        """Compare with the bases, which are found first."""
        self.bases = tuple(merge_bases(self.dag, self.source, self.head))
        return make_plan(
            self.dag.hook,
            self.dag.ctx,
            ours=self.head,
            theirs=self.source,
            bases_of=lambda entry: self._picks.bases_of(entry, self.bases),
            entries=self._entries(),
            bound=self._bound,
            policy=strategy,
        )

    def request(self, plan: Plan, commit_id: str, author: str, message: str) -> CommitRequest:
        """The merge commit; it records ancestry (or what it took) even where no row changes."""
        whole = self.selection is None
        return CommitRequest(
            branch=self.into.name,
            id=commit_id,
            operations=operations_of(plan.changes),
            author=author,
            message=message,
            expect_head=self.head.commit,
            parents=(self.source.commit,) if whole and self.source.commit is not None else (),
            vector=self._theirs if whole else {},
            picks=() if self.selection is None else tuple(_picks_of(self.source, self.selection)),
            force=True,
        )

    def _entries(self) -> Iterator[Entry]:
        """Rows that the source may have changed since a base; never too few."""
        streams = [
            differing_keys(self.dag, base, self.source, self._selected) for base in self.bases or (None,)
        ]
        streams += [filter(self._selected, stream) for stream in self._picks.entries(self.bases)]
        return (entry for entry, _ in groupby(merge_sorted(*streams)))

    def _selected(self, entry: Entry) -> bool:
        return self.selection is None or self._picks.covers(self.selection, entry)


# ------------------------------------------------------------------------------- shared with revert


def replayed(hook: Hooks, ctx: Context, commit_id: str) -> MergeResult | None:
    """The outcome of a commit id that was committed before."""
    [commit] = hook.get_commits(ctx=ctx, ids=[commit_id])
    if commit is None:
        return None
    return MergeResult(commit, Point(commit.branch, commit.seq, commit.id, commit.time), replayed=True)


def operations_of(changes: Sequence[Change]) -> list[Operation]:
    """Changes as operations: deletions first, so that none cascades to a vector that is put."""
    gone: dict[str, list[Key]] = {}
    puts: dict[str, list[tuple[object, ...]]] = {}
    for change in changes:
        if change.row is None:
            gone.setdefault(change.table, []).append(change.key)
        else:
            puts.setdefault(change.table, []).append(change.row)
    operations: list[Operation] = [Delete(name, keys) for name, keys in gone.items()]
    for name, rows in puts.items():
        operations.extend(Put(name, rows[i : i + PAGE]) for i in range(0, len(rows), PAGE))
    return operations


def finish(
    dag: Dag, request: CommitRequest, plan: Plan, bases: tuple[Point, ...], strategy: Strategy
) -> MergeResult:
    """Commit a plan, unless it has conflicts that the strategy does not settle.

    Raises:
        MergeConflict: It has.
    """
    if plan.conflicts and side_of(strategy) is None:
        first, number = plan.conflicts[0], len(plan.conflicts)
        raise MergeConflict(
            f"{number} conflict{'s' * (number > 1)} on branch {request.branch!r}, the first in {first.table} "
            f"{' '.join(map(repr, first.key)):.120} ({first.kind}: {', '.join(first.fields)}); nothing was "
            "applied. Change one side, or choose strategy 'ours' or 'theirs' ('field' where rules settle it)",
            conflicts=list(plan.conflicts),
        )
    done: Committed = dag.hook.commit(ctx=dag.ctx, request=request)
    if done.replayed:
        return MergeResult(done.commit, done.point, replayed=True)
    return MergeResult(done.commit, done.point, bases, plan.changes, plan.conflicts)


# --------------------------------------------------------------------------------------- selections


def _selection(tables: Iterable[str] | None, keys: Mapping[str, Iterable[Key]] | None) -> Selection | None:
    if tables is None and keys is None:
        return None
    if isinstance(tables, str):
        raise InvalidInput("tables is a list of table names, not one name")
    chosen: dict[str, frozenset[Key] | None] = {}
    for name, some in (keys or {}).items():
        [table] = check_tables([name])
        chosen[table] = frozenset(_check_key(table, key) for key in some)
    chosen.update((name, None) for name in check_tables(tables or ()))
    if not any(some is None or some for some in chosen.values()):
        raise InvalidInput("the selection of tables and keys is empty; leave both out to merge everything")
    return {name: some for name, some in sorted(chosen.items()) if some is None or some}


def _check_key(table: str, key: Key) -> Key:
    width = len(TABLES[table].key)
    if not isinstance(key, tuple) or len(key) != width or not all(isinstance(part, str) for part in key):
        raise InvalidRecord(f"a key of {table} is a tuple of {width} text(s), not {shown(key)}", table=table)
    return key


def _picks_of(source: Point, selection: Selection) -> Iterator[Pick]:
    for name, keys in selection.items():
        yield Pick(source, name, None if keys is None else tuple(sorted(keys)))


def _stale(into: str, head: Point, expected: str | None) -> StaleHead:
    return StaleHead(
        f"branch {into!r} is at {head.commit or 'no commit'}, not at {expected or 'no commit'}; "
        "read it again and decide again",
        branch=into,
        head=head.commit,
    )
