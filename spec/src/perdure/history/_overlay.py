"""`without`: a point in history as if one commit had not been."""

from __future__ import annotations

from typing import TypeAlias

from perdure._schema import Row
from perdure._types import At, Context, Key, Point
from perdure.history._dag import Dag, Hooks
from perdure.history._revert import ancestor, undo_plan

__all__ = ["Overlay", "without"]

#: Table name → key → the row instead of the stored one; None: no row.
Overlay: TypeAlias = dict[str, dict[Key, Row | None]]


def without(hook: Hooks, ctx: Context, at: At, commit_id: str) -> Overlay:
    """The rows that would differ at a point had a commit not been; nothing is written.

    As a revert at that point would leave them, except that nothing conflicts: later increments and tags
    stay, without those of the commit, and any other field that was changed later stays as it is. A merge
    is taken away against the branch that it was merged into.

    Raises:
        NotFound: The point does not descend from such a commit.
        HistoryExpired: The commit, or the state before it, was dropped by compaction.
    """
    dag = Dag(hook, ctx)
    point = dag.resolve(at)
    commit = ancestor(dag, point, commit_id, "the point")
    before = Point(commit.branch, commit.seq - 1)
    overlay: Overlay = {}
    for change in undo_plan(dag, commit, before, point, "later").changes:
        overlay.setdefault(change.table, {})[change.key] = change.row
    return overlay
