"""What the specification leaves open: the points that compaction may have dropped, and what needs them."""

from __future__ import annotations

from perdure_conformance.driver import (
    Diff,
    DropBranch,
    Find,
    Fork,
    Log,
    Mark,
    Merge,
    Place,
    Revert,
    Search,
    Step,
    Sync,
    Without,
)
from perdure_conformance.model import Model, Refused

__all__ = ["READS", "needs", "open_ended"]

READS = (Find, Search, Diff, Log, Without)


def needs(model: Model, step: Step) -> set[str | None]:
    """The commits (None: the empty store) whose states a step reads."""
    try:
        return _needs(model, step)
    except Refused:
        return set()


def _needs(model: Model, step: Step) -> set[str | None]:
    if isinstance(step, (Find, Search, Log, Fork, Mark)):
        return {model.node(step.at)}
    if isinstance(step, Diff):
        return {model.node(step.a), model.node(step.b)}
    if isinstance(step, Without):
        return {model.node(step.at), *_undone(model, step.commit)}
    if isinstance(step, Revert):
        return _undone(model, step.commit)
    if isinstance(step, Merge):
        return _merged(model, model.node(step.source), step.into)
    if isinstance(step, Sync):
        parent = model.graph.line(step.branch)[1].parent
        return set() if parent is None else _merged(model, model.graph.lines[parent].head, step.branch)
    return set()


def _undone(model: Model, place: Place) -> set[str | None]:
    target = model.node(place)
    if target is None:
        return set()
    node = model.graph.nodes[target]
    return {target, node.before, *node.parents}


def _merged(model: Model, source: str | None, into: str) -> set[str | None]:
    graph = model.graph
    head = graph.line(into)[1].head
    ours, theirs = graph.ancestors(head), graph.ancestors(source)
    bases_of = model.bases_of(ours, theirs)
    found: set[str | None] = {source, *graph.bases(ours, theirs)}
    for entry in graph.rows(head).keys() | graph.rows(source).keys():
        found.update(bases_of(entry))
    found.update(pick.source for pick in graph.picks(ours | theirs))
    return found


def open_ended(model: Model, step: Step) -> bool:
    """Whether a step deletes a branch that a selective merge took from, or was made on.

    What later merges then know of the rows that were taken is left to the engine.
    """
    if not isinstance(step, DropBranch):
        return False
    try:
        doomed = {model.graph.line(step.name)[0]}
    except Refused:
        return False
    for number, line in sorted(model.graph.lines.items()):
        if line.parent in doomed:
            doomed.add(number)
    nodes = model.graph.nodes
    for node in nodes.values():
        for pick in node.picks:
            if node.line in doomed or (pick.source is not None and nodes[pick.source].line in doomed):
                return True
    return False
