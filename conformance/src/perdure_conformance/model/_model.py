"""The model: what each step must come to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from perdure import Commit, Space

from perdure_conformance._plain import Entry, Plain
from perdure_conformance.driver import (
    Compact,
    CreateSpace,
    Delete,
    DropBranch,
    DropSpace,
    Expire,
    Fork,
    Mark,
    Merge,
    Place,
    Purge,
    Revert,
    Step,
    Sync,
    Touch,
    Unmark,
    Write,
)
from perdure_conformance.model import _reads
from perdure_conformance.model._batch import Batch
from perdure_conformance.model._graph import Node, Picked, Refused, Snapshot, Version
from perdure_conformance.model._join import Joined, join_all, owner_entry, vector_entries
from perdure_conformance.model._places import Places

__all__ = ["Model"]


class Model(Places):
    """A namespace as the specification says that it is.

    Attributes:
        graph: All commits with whole snapshots, and the branches.
        checkpoints: Name → the number of the branch that it pins, and a commit id (None: the empty store).
        metrics: Checkpoint name → its metrics.
        spaces: Name → embedding space.
        counters: Row → (last access in microseconds, number of accesses).
    """

    def __init__(self) -> None:
        super().__init__()
        self.metrics: dict[str, Any] = {}
        self.spaces: dict[str, Space] = {}
        self.counters: dict[Entry, tuple[int, int]] = {}

    # ------------------------------------------------------------------------------------ steps

    def run(self, step: Step, commit: Commit | None) -> tuple[str | None, Any]:
        """Apply a step; the name of the error or None, and the result.

        Args:
            step: What was done.
            commit: The commit that the store made of it; the model takes its id and time, and nothing else.
        """
        try:
            write = _WRITES.get(type(step))
            if write is None:
                return None, _reads.READS[type(step)](self, step)
            return None, write(self, step, commit)
        except Refused as refused:
            return refused.error, None

    def add(
        self,
        line: int,
        commit: Commit | None,
        changes: Mapping[Entry, Plain | None],
        *,
        brought: str | None = None,
        picks: tuple[Picked, ...] = (),
        reverts: str | None = None,
    ) -> None:
        """A new commit, with a whole new snapshot."""
        made = commit if commit is not None else Commit("not made by the store", "", 0, 0)
        branch = self.graph.lines[line]
        rows = dict(self.graph.rows(branch.head))
        bound = self.bound()
        for entry in [entry for entry, row in changes.items() if row is None]:
            for gone in (entry, *vector_entries(entry, bound)):
                rows.pop(gone, None)
        rows |= {entry: Version(row, made.id) for entry, row in changes.items() if row is not None}
        node = Node(made.id, line, made.time, branch.head, brought, rows, picks, reverts, made.seq)
        self.graph.nodes[made.id] = node
        branch.own.append(made.id)

    def bound(self) -> dict[str, str]:
        """Space → the table that it is bound to."""
        return {space.name: space.table for space in self.spaces.values() if space.table is not None}

    def write(self, step: Write, commit: Commit | None) -> tuple[Any, ...]:
        """One commit of several writes."""
        number, line = self.graph.line(step.branch)
        batch = Batch(self.graph.rows(line.head), self.spaces)
        for write in step.writes:
            batch.check(write)
        if step.expect == "stale":
            raise Refused("StaleHead")
        for write in step.writes:
            batch.run(write)
        changes = batch.finish(step.check_references, 0 if commit is None else commit.time)
        first: tuple[Any, ...] = (False, 0, 0, False)
        if changes:
            self.add(number, commit, changes)
            deleted = sum(row is None for row in changes.values())
            first = (True, len(changes) - deleted, deleted, False)
        if not step.again:
            return first
        return (*first, "again", *((True, 0, 0, True) if changes else first))

    def expire(self, step: Expire, commit: Commit | None) -> tuple[Any, ...]:
        """Delete the memories that have expired."""
        now = _reads.microseconds(step.now)
        rows = self.graph.rows(self.graph.line(step.branch)[1].head)
        due = tuple(
            key
            for (table, key), version in sorted(rows.items())
            if table == "memories"
            and version.row["expires_at"] is not None
            and version.row["expires_at"] <= now
        )
        return self.write(Write(step.branch, (Delete("memories", due),)), commit)

    # ------------------------------------------------------------------------------ merge, revert

    def merge(self, step: Merge, commit: Commit | None) -> dict[str, Any]:
        """Merge, whole or selective."""
        return self.merge_commit(self.node(step.source), step, commit)

    def sync(self, step: Sync, commit: Commit | None) -> dict[str, Any]:
        """Merge the parent's head."""
        parent = self.graph.line(step.branch)[1].parent
        if parent is None:
            raise Refused("InvalidInput")
        source = self.graph.lines[parent]
        return self.merge_commit(source.head, Merge(Place(source.name), step.branch, step.strategy), commit)

    def merge_commit(self, source: str | None, step: Merge, commit: Commit | None) -> dict[str, Any]:
        """Merge a commit."""
        number, line = self.graph.line(step.into)
        selection = selected(step)
        ours, theirs = self.graph.ancestors(line.head), self.graph.ancestors(source)
        if theirs <= ours or (selection is not None and self._taken(selection, ours, theirs)):
            return _result(committed=False, already=True)
        bases_of = self.bases_of(ours, theirs)
        bound = self.bound()
        joined = join_all(
            _only(self.graph.rows(line.head)),
            _only(self.graph.rows(source)),
            lambda entry: [_only(self.graph.rows(base)) for base in bases_of(entry)],
            lambda entry: selection is None or covers(selection, entry, bound),
            self.spaces.values(),
            step.strategy,
        )
        bases = self.graph.bases(ours, theirs)
        if step.dry_run:
            return _result(joined, bases, committed=False)
        if joined.conflicts and step.strategy in ("fail", "field"):
            raise Refused("MergeConflict")
        if selection is None:
            self.add(number, commit, joined.changes, brought=source)
        else:
            picks = tuple(Picked(source, table, keys) for table, keys in selection.items())
            self.add(number, commit, joined.changes, picks=picks)
        return _result(joined, bases, committed=True)

    def _taken(
        self,
        selection: Mapping[str, frozenset[tuple[str, ...]] | None],
        ours: frozenset[str],
        theirs: frozenset[str],
    ) -> bool:
        picks = self.graph.picks(ours)

        def has(table: str, keys: frozenset[tuple[str, ...]] | None) -> bool:
            return any(
                pick.table == table
                and (pick.keys is None or (keys is not None and keys <= pick.keys))
                and theirs <= self.graph.ancestors(pick.source)
                for pick in picks
            )

        return all(has(table, keys) for table, keys in selection.items())

    def bases_of(self, ours: frozenset[str], theirs: frozenset[str]) -> Callable[[Entry], list[str]]:
        """The bases of each row: what a selective merge took of it counts as merged."""
        bound = self.bound()
        by_ours, by_theirs = self.graph.picks(ours), self.graph.picks(theirs)

        def bases(entry: Entry) -> list[str]:
            wide = []
            for side, picks in ((ours, by_ours), (theirs, by_theirs)):
                taken = [p.source for p in picks if covers({p.table: p.keys}, entry, bound)]
                wide.append(side.union(*(self.graph.ancestors(source) for source in taken)))
            return self.graph.bases(*wide)

        return bases

    def revert(self, step: Revert, commit: Commit | None) -> dict[str, Any]:
        """Undo a commit."""
        number, line = self.graph.line(step.branch)
        target = self.commit_id(step.commit)
        before = self.before(target, line.head, step.parent)
        joined = self.undo(target, before, line.head, step.strategy)
        if step.dry_run:
            return _result(joined, [target], committed=False)
        if joined.conflicts and step.strategy in ("fail", "field"):
            raise Refused("MergeConflict")
        if joined.changes:
            self.add(number, commit, joined.changes, reverts=target)
        return _result(joined, [target], committed=bool(joined.changes))

    def before(self, target: str, head: str | None, parent: int | None) -> str | None:
        """The state that undoing a commit goes back to."""
        if target not in self.graph.ancestors(head):
            raise Refused("NotFound")
        node = self.graph.nodes[target]
        if node.brought is None:
            if parent not in (None, 0):
                raise Refused("InvalidInput")
            return node.before
        if parent is None or not 0 <= parent < len(node.parents):
            raise Refused("InvalidInput")
        chosen = node.parents[parent]
        if chosen != node.brought:
            return node.before
        if self.graph.nodes[chosen].line not in self.graph.lines:
            raise Refused("NotFound")
        return chosen

    def undo(self, target: str, before: str | None, head: str | None, policy: str) -> Joined:
        """The join that undoes a commit at a head."""
        base = _only(self.graph.rows(target))
        return join_all(
            _only(self.graph.rows(head)),
            _only(self.graph.rows(before)),
            lambda entry: [base],
            lambda entry: True,
            self.spaces.values(),
            policy,
        )

    # -------------------------------------------------------------------------------- named things

    def check_free(self, name: str) -> None:
        """Branches and checkpoints share one space of names."""
        if name in self.checkpoints or any(line.name == name for line in self.graph.lines.values()):
            raise Refused("AlreadyExists")

    def fork(self, step: Fork, commit: Commit | None) -> str:
        """A branch."""
        self.check_free(step.name)
        self.graph.add_line(step.name, *self.point(step.at))
        return step.name

    def drop_branch(self, step: DropBranch, commit: Commit | None) -> int:
        """Delete a branch, maybe with its descendants."""
        number, _ = self.graph.line(step.name)
        if number == 0:
            raise Refused("Conflict")
        doomed = {number}
        for other, child in sorted(self.graph.lines.items()):
            if child.parent in doomed:
                doomed.add(other)
        pinned = {name for name, (line, _) in self.checkpoints.items() if line in doomed}
        if not step.cascade and (len(doomed) > 1 or pinned):
            raise Refused("Conflict")
        for other in doomed:
            del self.graph.lines[other]
        for name in pinned:
            del self.checkpoints[name], self.metrics[name]
        return len(doomed)

    def mark(self, step: Mark, commit: Commit | None) -> str:
        """A checkpoint."""
        at = self.point(step.at)
        self.check_free(step.name)
        self.checkpoints[step.name] = at
        self.metrics[step.name] = step.metrics
        return step.name

    def unmark(self, step: Unmark, commit: Commit | None) -> None:
        """Delete a checkpoint."""
        if step.name not in self.checkpoints:
            raise Refused("NotFound")
        del self.checkpoints[step.name], self.metrics[step.name]

    def create_space(self, step: CreateSpace, commit: Commit | None) -> tuple[Any, ...]:
        """A space."""
        new = Space(step.name, step.dim, **step.options)
        if self.spaces.setdefault(step.name, new) != new:
            raise Refused("AlreadyExists")
        return (new.name, new.dim, new.dtype, new.metric, new.model, new.table)

    def drop_space(self, step: DropSpace, commit: Commit | None) -> None:
        """A space goes, with its vectors, from all history."""
        if step.name not in self.spaces:
            raise Refused("NotFound")
        del self.spaces[step.name]
        self._erase(lambda entry: entry[0] == "vectors" and entry[1][0] == step.name)

    # --------------------------------------------------------------------------------------- upkeep

    def touch(self, step: Touch, commit: Commit | None) -> int:
        """Count reads of rows that are on some branch."""
        heads = [self.graph.rows(line.head) for line in self.graph.lines.values()]
        entries = [(step.table, key) for key in dict.fromkeys(step.keys)]
        known = [entry for entry in entries if any(entry in rows for rows in heads)]
        time = _reads.microseconds(step.at)
        for entry in known:
            last, count = self.counters.get(entry, (time, 0))
            self.counters[entry] = (max(last, time), count + 1)
        return len(known)

    def purge(self, step: Purge, commit: Commit | None) -> tuple[int, int]:
        """Rows go from all history, with their vectors and counters; how many of both."""
        bound = self.bound()
        known = {entry for node in self.graph.nodes.values() for entry in node.rows}
        doomed = {(step.table, key) for key in step.keys}
        self._erase(lambda entry: entry in doomed or owner_entry(entry, bound) in doomed)
        for node in self.graph.nodes.values():
            node.picks = tuple(
                pick
                if pick.keys is None
                else pick._replace(keys=frozenset(k for k in pick.keys if (pick.table, k) not in doomed))
                for pick in node.picks
            )
        return len(known & doomed), sum(owner_entry(entry, bound) in doomed for entry in known)

    def _erase(self, doomed: Callable[[Entry], bool]) -> None:
        for node in self.graph.nodes.values():
            node.rows = {entry: version for entry, version in node.rows.items() if not doomed(entry)}
        self.counters = {entry: counts for entry, counts in self.counters.items() if not doomed(entry)}

    def compact(self, step: Compact, commit: Commit | None) -> None:
        """What is not sure to be kept may be gone."""
        if not step.lease:  # else all that there is was a head within the lease
            self.gone |= {*self.graph.nodes, None} - self.kept(step.keep)

    def kept(self, window: int | None) -> set[str | None]:
        """The commits that compaction keeps readable."""
        lines = self.graph.lines.values()
        kept: set[str | None] = {line.head for line in lines}
        kept |= {commit for _, commit in self.checkpoints.values()}
        kept |= {line.fork for line in lines if line.parent is not None}
        for line in lines:
            kept.update(line.own[-window:] if window else ())
        ancestors = [self.graph.ancestors(line.head) for line in lines]
        for ours in ancestors:
            for theirs in ancestors:
                kept.update(self.graph.bases(ours, theirs))
        return kept


def selected(step: Merge) -> dict[str, frozenset[tuple[str, ...]] | None] | None:
    """What a selective merge is about: table → keys (None: all); None for a whole merge."""
    if step.tables is None and step.keys is None:
        return None
    chosen: dict[str, frozenset[tuple[str, ...]] | None] = {
        t: frozenset(k) for t, k in (step.keys or {}).items()
    }
    return chosen | dict.fromkeys(step.tables or ())


def covers(
    selection: Mapping[str, frozenset[tuple[str, ...]] | None], entry: Entry, bound: Mapping[str, str]
) -> bool:
    """Whether a selection names a row, or the owner of a bound vector."""
    for table, key in filter(None, (entry, owner_entry(entry, bound))):
        if table in selection:
            keys = selection[table]
            if keys is None or key in keys:
                return True
    return False


def _only(rows: Snapshot) -> dict[Entry, Plain]:
    return {entry: version.row for entry, version in rows.items()}


def _result(
    joined: Joined | None = None, bases: list[str] | None = None, *, committed: bool, already: bool = False
) -> dict[str, Any]:
    changes = {} if joined is None else joined.changes
    conflicts = {} if joined is None else joined.conflicts
    return {
        "committed": committed,
        "already": already,
        "bases": bases or [],
        "changes": [(*entry, row is None) for entry, row in changes.items()],
        "conflicts": [(*entry, *conflict) for entry, conflict in conflicts.items()],
    }


_WRITES: dict[type, Callable[..., Any]] = {
    Write: Model.write,
    Expire: Model.expire,
    Merge: Model.merge,
    Sync: Model.sync,
    Revert: Model.revert,
    Fork: Model.fork,
    DropBranch: Model.drop_branch,
    Mark: Model.mark,
    Unmark: Model.unmark,
    CreateSpace: Model.create_space,
    DropSpace: Model.drop_space,
    Touch: Model.touch,
    Purge: Model.purge,
    Compact: Model.compact,
}
