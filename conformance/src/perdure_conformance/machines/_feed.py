"""The feed beside the model: what it must bring since the time before."""

from __future__ import annotations

from typing import Any

from perdure import FeedItem, HistoryExpired, Store

from perdure_conformance._plain import Entry, Plain, encoded
from perdure_conformance.model import Model

__all__ = ["Feed"]


class Feed:
    """Where a reader of the feed is, and what it has seen."""

    def __init__(self) -> None:
        self._cursor: dict[str, int] | None = None
        self._seen: set[str] = set()

    def follow(self, store: Store, model: Model) -> list[str]:
        """Take what is new; the ids of the commits.

        Raises:
            AssertionError: It is not what the model has.
        """
        branches = {branch.id: branch for branch in store.branches.list()}
        try:
            items = list(store.changes(self._cursor))
        except HistoryExpired:
            assert model.gone, "the feed is refused as expired, and nothing was compacted"
            self._cursor = {branch.id: branch.head.seq for branch in branches.values()}
            self._seen = set(model.graph.nodes)
            return []
        if items:
            self._cursor = items[-1].cursor
            assert self._cursor.keys() == branches.keys(), "the keys of the cursor are not the branches"
        names = {branch.id: branch.name for branch in branches.values()}
        found: dict[str, list[str]] = {name: [] for name in names.values()}
        for commit, changes in _by_commit(items).items():
            name = names[branches_of(items)[commit]]
            found[name].append(commit)
            _check_rows(commit, changes, changed(model, commit))
        lines = model.graph.lines.values()
        expected = {line.name: [c for c in line.own if c not in self._seen] for line in lines}
        assert found == expected, f"the feed has the commits {found}, and not {expected}"
        new = [commit for commits in found.values() for commit in commits]
        self._seen.update(new)
        return new


def branches_of(items: list[FeedItem]) -> dict[str, str]:
    """Commit → the id of its branch."""
    return {item.batch.commit.id: item.batch.commit.branch for item in items if item.batch is not None}


def _by_commit(items: list[FeedItem]) -> dict[str, dict[Entry, Any]]:
    """Commit → the rows that it left, None for one that it deleted."""
    found: dict[str, dict[Entry, Any]] = {}
    for item in items:
        if item.batch is not None:
            changes = found.setdefault(item.batch.commit.id, {})
            changes.update({(change.table, change.key): change.row for change in item.batch.changes})
    return found


def changed(model: Model, commit: str) -> dict[Entry, Plain | None]:
    """The rows that a commit of the model left, None for one that it deleted."""
    node = model.graph.nodes[commit]
    written: dict[Entry, Plain | None] = {e: v.row for e, v in node.rows.items() if v.commit == commit}
    before = model.graph.rows(node.before)
    return written | {entry: None for entry in before if entry not in node.rows}


def _check_rows(commit: str, found: dict[Entry, Any], expected: dict[Entry, Plain | None]) -> None:
    assert found.keys() == expected.keys(), (
        f"commit {commit} of the feed changes {sorted(found)}, and not {sorted(expected)}"
    )
    for entry, row in expected.items():
        cells = found[entry]
        if row is None or cells is None:
            assert row is cells, f"{entry} of commit {commit} in the feed is {cells}, not {row}"
            continue
        pairs = zip(row, cells, encoded(row), strict=True)
        wrong = [(name, cell, right) for name, cell, right in pairs if name != "payload" and cell != right]
        assert not wrong, f"{entry} of commit {commit} in the feed (column, store, model): {wrong}"
