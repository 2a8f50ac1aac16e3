"""Ancestry: version vectors of points, and the true merge bases of two points.

The set of commits that a point descends from is written as a *version vector*: branch id → the greatest
sequence number reached there. It holds the point's own prefix, the prefixes of the branches that it was
forked from, and whatever the merges on those prefixes brought. A merge commit records the whole vector of
its source, so nothing has to be walked through a branch that was deleted since.

The *content* of a point comes from its lineage alone (own rows over the parent's at the fork): a merge
writes what it brings as rows of the branch merged into.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from perdure._errors import CorruptStore, HistoryExpired, NotFound
from perdure._names import Ref
from perdure._types import At, Branch, Commit, Context, Pick, Point

__all__ = ["Dag", "Hooks", "Vector", "bases_between", "includes", "join", "merge_bases", "version_vector"]

#: A pluggy hook relay, or any object with the hook methods. Pluggy's relay has no static methods to check.
Hooks: TypeAlias = Any

#: Branch id → greatest sequence number reached; empty prefixes are left out.
Vector: TypeAlias = dict[str, int]

_LAST = 2**63 - 1

#: A key that no test for readability has to find.
_PROBE = ("memories", [("\x7f",)])


class Dag:
    """The branches of a namespace as they were at one moment, with their merge commits, loaded once.

    Attributes:
        branches: Branch id → branch.
    """

    def __init__(self, hook: Hooks, ctx: Context) -> None:
        self.hook = hook
        self.ctx = ctx
        self.branches: dict[str, Branch] = {branch.id: branch for branch in hook.list_branches(ctx=ctx)}
        self._merges: dict[str, list[Commit]] = {}
        self._vectors: dict[tuple[str, int], Vector] = {}

    def named(self, name: str) -> Branch:
        """The branch of that name.

        Raises:
            NotFound: There is none; a checkpoint's name is none either.
        """
        for branch in self.branches.values():
            if branch.name == name:
                return branch
        raise NotFound(f"there is no branch {name!r}; store.branches.list() lists them", branch=name)

    def resolve(self, at: At) -> Point:
        """A ref's point now; a point itself, with its commit filled in.

        Raises:
            NotFound: The name, or the point's branch, does not exist.
            HistoryExpired: Compaction dropped it.
        """
        if isinstance(at, Ref):
            return self.hook.resolve(ctx=self.ctx, ref=at)  # type: ignore[no-any-return]
        if at.branch not in self.branches:
            raise NotFound(
                f"there is no branch with id {at.branch!r}; it may have been deleted", branch=at.branch
            )
        return at if at.commit is not None else self.complete(at)

    def complete(self, point: Point) -> Point:
        """The point with the id and time of its last commit, as far as the log still has it."""
        for branch, seq in self.lineage(point):
            log = self.hook.log(
                ctx=self.ctx, branch=branch, after=0, upto=seq, merges=False, newest_first=True
            )
            for commit in log:
                return Point(point.branch, point.seq, commit.id, commit.time)
        return point

    def merges(self, branch: str) -> list[Commit]:
        """Merges and selective merges on a branch, oldest first; none for a branch that is gone."""
        known = self._merges.get(branch)
        if known is None:
            known = []
            if branch in self.branches:
                log = self.hook.log(
                    ctx=self.ctx, branch=branch, after=0, upto=_LAST, merges=True, newest_first=False
                )
                known = list(log)
            self._merges[branch] = known
        return known

    def lineage(self, point: Point) -> list[tuple[str, int]]:
        """The prefixes that make up a point's content, nearest first, without empty ones."""
        out: list[tuple[str, int]] = []
        branch: str | None = point.branch
        seq, seen = point.seq, set[str]()
        while branch is not None:
            if branch in seen:
                raise CorruptStore(f"branch {branch!r} is its own ancestor; run store.verify()")
            seen.add(branch)
            known = self.branches.get(branch)
            start = 0 if known is None else known.fork_seq
            if seq > start:
                out.append((branch, seq))
            branch, seq = (None, 0) if known is None else (known.parent, min(seq, start))
        return out

    def vector(self, point: Point) -> Vector:
        """The version vector of a point: every commit that it descends from, itself included."""
        key = (point.branch, point.seq)
        known = self._vectors.get(key)
        if known is None:
            known = {}
            for branch, seq in self.lineage(point):
                join(known, {branch: seq})
                for commit in self.merges(branch):
                    if commit.seq > seq:
                        break
                    join(known, commit.vector)
            self._vectors[key] = known
        return dict(known)

    def picks(self) -> Iterator[tuple[Commit, Pick]]:
        """What the selective merges on all branches took."""
        for branch in sorted(self.branches):
            for commit in self.merges(branch):
                for pick in commit.picks:
                    yield commit, pick

    def readable(self, point: Point) -> Point | None:
        """A point with the same content that can be read now: itself, or a fork taken there; else None."""
        same = [
            Point(child.id, child.fork_seq)
            for child in self.branches.values()
            if child.parent == point.branch and child.fork_seq == point.seq
        ]
        table, keys = _PROBE
        for candidate in (point, *same):
            try:
                self.hook.fetch(ctx=self.ctx, table=table, keys=keys, at=candidate)
            except NotFound:  # HistoryExpired is one
                continue
            return candidate
        return None

    def older(self, point: Point) -> Point | None:
        """The nearest own point of the branch before that one which compaction may have kept: one that a fork was
        taken at, a checkpoint names or a merge brought; None where there is none."""
        branch, start = point.branch, self.branches[point.branch].fork_seq
        kept = {child.fork_seq for child in self.branches.values() if child.parent == branch}
        checkpoints = self.hook.list_checkpoints(ctx=self.ctx)
        kept.update(mark.point.seq for mark in checkpoints if mark.point.branch == branch)
        for name in self.branches:
            for commit in self.merges(name):
                kept.add(commit.vector.get(branch, 0))
                kept.update(pick.source.seq for pick in commit.picks if pick.source.branch == branch)
        before = max((seq for seq in kept if start < seq < point.seq), default=None)
        return None if before is None else Point(branch, before)


def join(vector: Vector, other: Mapping[str, int]) -> Vector:
    """Raise `vector`, in place, to the pointwise maximum."""
    for branch, seq in other.items():
        if seq > vector.get(branch, 0):
            vector[branch] = seq
    return vector


def includes(vector: Mapping[str, int], other: Mapping[str, int]) -> bool:
    """Whether every commit of `other` is in `vector`."""
    return all(vector.get(branch, 0) >= seq for branch, seq in other.items())


def version_vector(hook: Hooks, ctx: Context, at: At) -> Vector:
    """The version vector of a place in history: branch id → greatest sequence number that it descends from.

    Raises:
        NotFound, HistoryExpired: The place does not exist, or no longer.
    """
    dag = Dag(hook, ctx)
    return dag.vector(dag.resolve(at))


def merge_bases(dag: Dag, a: Point, b: Point) -> list[Point]:
    """The best common ancestors of two points: those that are no ancestor of another common one.

    Criss-cross histories have several; none means that the two share nothing, so that the base is the
    empty store. Points of deleted branches and points that compaction dropped cannot be read; the best
    of the others stand in for them.

    Raises:
        HistoryExpired: There are common ancestors on live branches, but none can be read.
    """
    return bases_between(dag, dag.vector(a), dag.vector(b))


def bases_between(
    dag: Dag, a: Mapping[str, int], b: Mapping[str, int], vector: Callable[[Point], Vector] | None = None
) -> list[Point]:
    """`merge_bases` of two version vectors, by branch id; `vector` may know of more ancestors than the `Dag`."""
    candidates = [
        Point(branch, min(seq, b[branch]))
        for branch, seq in sorted(a.items())
        if branch in b and branch in dag.branches
    ]
    expired = False
    while candidates:
        best = _maximal(candidates, vector or dag.vector)
        found = {point: dag.readable(point) for point in best}
        if all(found.values()):
            return [dag.complete(point) for point in found.values() if point is not None]
        others = (point if found.get(point, point) is not None else dag.older(point) for point in candidates)
        candidates = [point for point in others if point is not None]
        expired = True
    if expired:
        raise HistoryExpired(
            "the two histories meet only at points that compaction dropped, so there is no base to compare "
            "with; copy the rows over with put, or keep more history when compacting"
        )
    return []


def _maximal(points: Iterable[Point], vector: Callable[[Point], Vector]) -> list[Point]:
    vectors = {point: vector(point) for point in points}
    return [
        point
        for point in vectors
        if not any(v.get(point.branch, 0) >= point.seq for other, v in vectors.items() if other is not point)
    ]
