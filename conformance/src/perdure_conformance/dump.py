"""A canonical dump of a whole store: two stores that hold the same have equal dumps.

What an engine may choose is taken out: ids of branches, sequence numbers, and times that came from the
clock. Commits are numbered in a topological order, and a time that is that of a commit is named by its
number.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from typing import Any

from perdure import TABLES, Commit, Store

from perdure_conformance._plain import plain

__all__ = ["dump", "same_dump"]


def dump(store: Store, *, history: bool = True) -> dict[str, Any]:
    """Everything that a store holds on all branches, in a form to compare.

    Args:
        store: Any handle on the namespace.
        history: Also the commits, and which of them last wrote each row; without them, as after a
            compaction, which may drop different commits on different engines, heads and names are left.
    """
    commits = _commits(store)
    numbers = _numbered(commits)
    times = {}
    for commit in sorted(commits.values(), key=lambda c: numbers[c.id], reverse=True):
        times[commit.time] = f"time of {numbers[commit.id]}" if history else "time of a commit"
    branches, checkpoints = store.branches.list(), store.checkpoints.list()
    names = {branch.id: branch.name for branch in branches}
    found: dict[str, Any] = {
        "spaces": [(s.name, s.dim, s.dtype, s.metric, s.model, s.table) for s in store.spaces.list()],
        "branches": {
            branch.name: {
                "parent": names.get(branch.parent or ""),
                "rows": _rows(store, branch.name, times, numbers if history else None),
            }
            for branch in branches
        },
        "checkpoints": {
            checkpoint.name: {
                "metrics": checkpoint.metrics,
                "message": checkpoint.message,
                "rows": _rows(store, checkpoint.name, times, numbers if history else None),
            }
            for checkpoint in checkpoints
        },
    }
    if history:
        found["heads"] = {branch.name: numbers.get(branch.head.commit or "") for branch in branches}
        found["commits"] = [
            _commit(commit, numbers, names)
            for commit in sorted(commits.values(), key=lambda c: numbers[c.id])
        ]
    return found


def _commits(store: Store) -> dict[str, Commit]:
    """All commits that the branches lead to."""
    return {commit.id: commit for branch in store.branches.list() for commit in store.log(branch.name)}


def _numbered(commits: Mapping[str, Commit]) -> dict[str, int]:
    """Commit id → its place in a topological order that depends on nothing that an engine chooses."""
    waiting = {c.id: {p for p in c.parents if p in commits} for c in commits.values()}
    numbers: dict[str, int] = {}

    def rank(commit: Commit) -> tuple[Any, ...]:
        parents = sorted(numbers.get(parent, -1) for parent in commit.parents)
        return (parents, commit.message, commit.author, commit.id)

    ready = [(rank(commits[i]), i) for i, needs in waiting.items() if not needs]
    heapq.heapify(ready)
    while ready:
        _, here = heapq.heappop(ready)
        numbers[here] = len(numbers)
        for other, needs in waiting.items():
            if here in needs:
                needs.remove(here)
                if not needs:
                    heapq.heappush(ready, (rank(commits[other]), other))
    return numbers


def _commit(commit: Commit, numbers: Mapping[str, int], names: Mapping[str, str]) -> dict[str, Any]:
    return {
        "number": numbers[commit.id],
        "branch": names.get(commit.branch),
        "parents": [numbers.get(parent, "gone") for parent in commit.parents],
        "author": commit.author,
        "message": commit.message,
        "merge": bool(commit.vector),
        "picks": sorted((pick.table, pick.keys or ("all",)) for pick in commit.picks),
        "reverts": None if commit.reverts is None else numbers.get(commit.reverts, "gone"),
    }


def _rows(
    store: Store, ref: str, times: Mapping[int, str], numbers: Mapping[str, int] | None
) -> dict[str, list[Any]]:
    """All rows at a ref, by table, in key order, with the number of the commit that last wrote each."""
    view = store.at(ref)
    found: dict[str, list[Any]] = {}
    for name in TABLES:
        table = view.table(name)
        rows = found[name] = []
        for record in table.scan():
            row = plain(name, record)
            for column in ("created_at", "updated_at"):
                row[column] = times.get(row[column], row[column])
            if numbers is not None:
                version = table.version(record.key)
                row["version"] = numbers.get(version or "", "gone")
            rows.append(row)
    return found


def same_dump(a: Any, b: Any, what: str, path: str = "") -> None:
    """Assert that two dumps are equal; the message names the first place where they are not."""
    if a == b:
        return
    if isinstance(a, dict) and isinstance(b, dict):
        assert a.keys() == b.keys(), f"{what} differ at {path}: {sorted(a.keys() ^ b.keys())} are in one only"
        for key in a:
            same_dump(a[key], b[key], what, f"{path}/{key}")
    elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        for index, (one, other) in enumerate(zip(a, b, strict=True)):
            same_dump(one, other, what, f"{path}/{index}")
    raise AssertionError(f"{what} differ at {path}: {a!r:.500} is not {b!r:.500}")
