"""A store and the model, step by step."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from perdure import TABLES, Commit, Store, format_time

from perdure_conformance._plain import plain
from perdure_conformance.driver import (
    Changes,
    Compact,
    Copy,
    DropBranch,
    Elsewhere,
    Log,
    Outcome,
    Purge,
    Reopen,
    Scene,
    Search,
    Second,
    Step,
    perform,
)
from perdure_conformance.machines._certain import READS, needs, open_ended
from perdure_conformance.machines._feed import Feed
from perdure_conformance.model import Model, Snapshot

__all__ = ["Lockstep", "run_history"]

#: How far a score may be from the model's, relative to the greatest of them: both are rounded in float64.
_CLOSE = 1e-12


class Lockstep:
    """Runs steps on a store and on the model, and compares.

    Args:
        handles: Stores that are open on the same, empty namespace; the first is used unless a step says
            otherwise, and all must show the same.

    Attributes:
        lost: Whether some history may be gone, so that what is left of it is the engine's choice.
    """

    def __init__(self, handles: Sequence[Store]) -> None:
        self.handles = list(handles)
        self.model = Model()
        self.lost = False
        self._steps = 0
        self._feed = Feed()

    def run(self, step: Step, handle: int = 0) -> Outcome | None:
        """Run one step; None where its outcome is left open by the specification, so that it was not run.

        Raises:
            AssertionError: The store and the model do not agree.
        """
        lost = needs(self.model, step) & self.model.gone
        if open_ended(self.model, step) or (lost and not isinstance(step, READS)):
            return None
        self._steps += 1
        if isinstance(step, Changes):
            return Outcome(None, self._feed.follow(self.handles[handle], self.model))
        outcome = perform(self.handles[handle], step, self.model, f"c{self._steps}")
        if lost and outcome.error in ("NotFound", "HistoryExpired"):
            return outcome
        heads = {number: line.head for number, line in self.model.graph.lines.items()}
        error, result = self.model.run(step, outcome.commit)
        self._agree(step, outcome, error, result)
        self.lost |= error is None and isinstance(step, (Compact, DropBranch))
        if outcome.commit is not None:
            self._check_commit(outcome.commit, heads)
        return outcome

    # ---------------------------------------------------------------------------------- outcomes

    def _agree(self, step: Step, outcome: Outcome, error: str | None, result: Any) -> None:
        shown = f"{step}\n  store: {outcome.error or outcome.result} {outcome.message}\n  model: {error or result}"
        # Of two things that are missing, the store may name the one that compaction dropped.
        expired = error == "NotFound" and outcome.error == "HistoryExpired" and bool(self.model.gone)
        assert expired or outcome.error == error, (
            f"the store and the model disagree about an error in {shown}"
        )
        if isinstance(step, Search) and error is None:
            _check_hits(step, outcome.result, result)
        elif isinstance(step, Log) and error is None:
            there = set(outcome.result)
            expected = [commit for commit in result if commit in there or commit not in self.model.gone]
            assert outcome.result == expected, shown
        elif not (isinstance(step, Purge) and self.lost):
            assert outcome.result == result, f"the store and the model disagree in {shown}"

    def _check_commit(self, commit: Commit, heads: dict[int, str | None]) -> None:
        node = self.model.graph.nodes.get(commit.id)
        assert node is not None, f"the model did not make {commit}"
        assert commit.parents == node.parents, f"{commit} should have the parents {node.parents}"
        assert commit.reverts == node.reverts
        head = heads.get(node.line)
        if head is not None and head != commit.id:
            assert commit.time >= self.model.graph.nodes[head].time, f"time went back with {commit}"

    # ------------------------------------------------------------------------------------ states

    def check(self) -> None:
        """Everything that can be seen now: names, rows of all heads and checkpoints, and of one past commit."""
        store = self.handles[self._steps % len(self.handles)]
        model = self.model
        lines = {line.name: line for line in model.graph.lines.values()}
        assert [b.name for b in store.branches.list()] == sorted(lines)
        assert {b.name: b.head.commit for b in store.branches.list()} == {n: x.head for n, x in lines.items()}
        marks = {name: commit for name, (_, commit) in model.checkpoints.items()}
        assert {c.name: c.point.commit for c in store.checkpoints.list()} == marks
        for name, metrics in model.metrics.items():
            assert store.checkpoints.metrics(name) == metrics
        assert [s.name for s in store.spaces.list()] == sorted(model.spaces)
        for name, line in lines.items():
            self._check_rows(store, name, model.graph.rows(line.head))
        for name, commit in marks.items():
            self._check_rows(store, name, model.graph.rows(commit))
        past = sorted(
            commit
            for commit, node in model.graph.nodes.items()
            if node.line in model.graph.lines and commit not in model.gone
        )
        if past:
            commit = past[self._steps % len(past)]
            for ref in self._refs_to(commit):
                self._check_rows(store, ref, model.graph.rows(commit))
        self._check_details(store)

    def _refs_to(self, commit: str) -> list[str]:
        """The commit by its id, and by one of the other ways to name it."""
        node = self.model.graph.nodes[commit]
        line = self.model.graph.lines[node.line]
        if self._steps % 2:
            return [f"@{commit}", f"{line.name}@{node.seq}"]
        after = line.own[line.own.index(commit) + 1 :]
        if self.model.gone:  # what a time below the floor means may not be known any more
            return [f"@{commit}"]
        if after and self.model.graph.nodes[after[0]].time == node.time:  # that time means a later one
            return [f"@{commit}"]
        return [f"@{commit}", f"{line.name}@{format_time(node.time)}"]

    def _check_rows(self, store: Store, ref: str, expected: Snapshot) -> None:
        view = store.at(ref)
        for name in TABLES:
            found = {(name, _parts(record.key)): plain(name, record) for record in view.table(name).scan()}
            wanted = {entry: version.row for entry, version in expected.items() if entry[0] == name}
            assert found == wanted, f"{name} at {ref}: {_difference(found, wanted)}"

    def _check_details(self, store: Store) -> None:
        """Versions of the rows of one branch, and all read counters."""
        names = sorted(line.name for line in self.model.graph.lines.values())
        name = names[self._steps % len(names)]
        view = store.at(name)
        for (table, key), version in self.model.head_rows(name).items():
            found = view.table(table).version(_given(key))
            assert found == version.commit, f"{table} {key} on {name} is of {found}, not of {version.commit}"
        for (table, key), counts in self.model.counters.items():
            counter = store.table(table).counters(_given(key))
            assert (counter.accessed_at, counter.access_count) == counts, (
                f"counters of {table} {key}: {counter}"
            )


def run_history(store: Store, history: Sequence[Scene], *, check_each: bool = False) -> Lockstep:
    """Run a whole history on a store and the model; the store must agree after it, or after each step.

    On one store there is no second handle, so that its steps run on the first, and what is about other
    namespaces and about closing is left out; `World` runs all of it.
    """
    lockstep = Lockstep([store])
    for scene in history:
        step = scene.step if isinstance(scene, Second) else scene
        if isinstance(step, (Elsewhere, Reopen, Copy)):
            continue
        lockstep.run(step)
        if check_each:
            lockstep.check()
    lockstep.check()
    return lockstep


def _parts(key: Any) -> tuple[str, ...]:
    return key if isinstance(key, tuple) else (key,)


def _given(key: tuple[str, ...]) -> Any:
    return key[0] if len(key) == 1 else key


def _difference(found: dict[Any, Any], wanted: dict[Any, Any]) -> str:
    lines = []
    for entry in sorted(found.keys() | wanted.keys()):
        mine, right = found.get(entry), wanted.get(entry)
        if mine is None or right is None:
            lines.append(f"{entry} is {'missing' if mine is None else 'there, but should not be'}")
        elif mine != right:
            cells = {name: (mine[name], right[name]) for name in right if mine[name] != right[name]}
            lines.append(f"{entry} (store, model): {cells}")
    return "; ".join(lines)


def _check_hits(step: Search, found: list[Any], every: list[Any]) -> None:
    """The store's hits are the model's first, but where scores are too close to tell them apart."""
    scores = dict(every)
    margin = _CLOSE * max([1.0, *(abs(score) for score in scores.values())])
    assert len(found) == min(step.k, len(every)), f"{step}: {len(found)} hits of {len(every)}"
    for key, score in found:
        assert key in scores, f"{step}: {key} should not be found"
        assert abs(score - scores[key]) <= margin, f"{step}: {key} scores {scores[key]}, not {score}"
    for (key, score), (after, lower) in itertools.pairwise(found):
        assert score > lower or (score == lower and key < after), (
            f"{step}: {key} and {after} are out of order"
        )
    missed = [score for key, score in every if key not in dict(found)]
    if found and missed:
        assert max(missed) <= found[-1][1] + margin, f"{step}: a nearer vector was left out"
