"""How far a target is, and whether it can be continued: looked at before anything is written."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NoReturn

from perdure import MAIN, Branch, Checkpoint, Conflict, Context, HistoryExpired, Space

from perdure_migrate.replicate._compare import is_readable
from perdure_migrate.replicate._ends import Facts, Source

__all__ = ["Standing", "look"]


@dataclass
class Standing:
    """Where a target is.

    Attributes:
        since: Branch id → the number up to which the target has it.
        branches: Names of branches that only the target has, children first.
        checkpoints: Names of checkpoints that only the target has, or at another point.
        spaces: Names of spaces that only the target has.
    """

    since: dict[str, int] = field(default_factory=dict)
    branches: list[str] = field(default_factory=list)
    checkpoints: list[str] = field(default_factory=list)
    spaces: list[str] = field(default_factory=list)

    @property
    def extra(self) -> list[str]:
        """All of these, as they are told."""
        return [
            *(f"branch {name}" for name in self.branches),
            *(f"checkpoint {name}" for name in self.checkpoints),
            *(f"space {name}" for name in self.spaces),
        ]


def look(source: Source, facts: Facts, hook: Any, ctx: Context, *, prune: bool) -> Standing:
    """Find out what a target has of a source.

    Args:
        source: Where history comes from.
        facts: What it holds.
        hook: The target's hooks; None: it is not there yet.
        ctx: For calling them.
        prune: Whether what only the target has is to go, so that its names are free.

    Raises:
        Conflict: The target holds something else, or went another way.
        HistoryExpired: Compaction dropped what the target lacks.
    """
    if hook is None:
        return Standing()
    branches: list[Branch] = hook.list_branches(ctx=ctx)
    checkpoints: list[Checkpoint] = hook.list_checkpoints(ctx=ctx)
    spaces: list[Space] = hook.list_spaces(ctx=ctx)
    theirs = {branch.id: branch for branch in facts.branches}
    _check_spaces(facts.spaces, spaces)
    extra_spaces = sorted({space.name for space in spaces} - {space.name for space in facts.spaces})
    main = next(branch for branch in branches if branch.name == MAIN)
    if main.id not in theirs:
        if len(branches) > 1 or main.head.seq or checkpoints:
            raise Conflict(
                "the target holds something else, which did not come from this source; copy into an empty "
                "namespace: name one with --into"
            )
        return Standing(spaces=extra_spaces)
    shared = [branch for branch in branches if branch.id in theirs]
    for branch in shared:
        _check_branch(branch, theirs[branch.id])
    _check_commits(source, shared)
    standing = Standing(
        {branch.id: branch.head.seq for branch in shared},
        [branch.name for branch in branches if branch.id not in theirs],
        _other_checkpoints(facts.checkpoints, checkpoints),
        extra_spaces,
    )
    _check_pins(facts, {branch.id: branch for branch in shared}, {c.name for c in checkpoints})
    if not prune:
        _check_names(facts, standing, shared, {c.name for c in checkpoints})
    return standing


def _check_spaces(theirs: Iterable[Space], mine: Iterable[Space]) -> None:
    known = {space.name: _definition(space) for space in mine}
    for space in theirs:
        if known.get(space.name, _definition(space)) != _definition(space):
            raise Conflict(
                f"space {space.name!r} has another definition in the target; copy into an empty namespace",
                space=space.name,
            )


def _definition(space: Space) -> tuple[object, ...]:
    return space.dim, space.dtype, space.metric, space.model, space.table


def _check_branch(mine: Branch, theirs: Branch) -> None:
    if (mine.name, mine.parent, mine.fork_seq) != (theirs.name, theirs.parent, theirs.fork_seq):
        raise Conflict(f"branch {mine.name!r} of the target has another name or origin in the source")
    if mine.head.seq > theirs.head.seq:
        _diverged(mine)
    if mine.head.seq < theirs.floor:
        raise HistoryExpired(
            f"compaction of the source dropped commits of branch {mine.name!r} that the target does not have "
            "yet; copy into an empty namespace, and keep a longer window (compact --keep) than from one sync "
            "to the next",
            branch=mine.name,
            floor=theirs.floor,
        )


def _diverged(branch: Branch) -> NoReturn:
    raise Conflict(
        f"branch {branch.name!r} of the target has commits that the source does not have, so it went another "
        "way; copy into another namespace (--into), and bring the two together there; or write only to the source",
        branch=branch.name,
    )


def _check_commits(source: Source, shared: list[Branch]) -> None:
    """The newest own commit of each branch of the target must be the source's at that place."""
    heads = {branch.id: branch.head for branch in shared if branch.head.seq > branch.fork_seq}
    if not heads:
        return
    found = source.commits_at(heads)
    for branch in shared:
        if branch.id in heads and found.get(branch.id) != branch.head.commit:
            _diverged(branch)


def _other_checkpoints(theirs: Iterable[Checkpoint], mine: Iterable[Checkpoint]) -> list[str]:
    known = {checkpoint.name: _meaning(checkpoint) for checkpoint in theirs}
    return [checkpoint.name for checkpoint in mine if known.get(checkpoint.name) != _meaning(checkpoint)]


def _meaning(checkpoint: Checkpoint) -> tuple[object, ...]:
    return checkpoint.point, checkpoint.metrics, checkpoint.message, checkpoint.created_at


def _check_pins(facts: Facts, mine: dict[str, Branch], names: set[str]) -> None:
    """What is new must not stand on a point that compaction dropped from the target."""
    wanted = [(c.name, c.point.branch, c.point.seq) for c in facts.checkpoints if c.name not in names]
    wanted += [(b.name, b.parent, b.fork_seq) for b in facts.branches if b.parent and b.id not in mine]
    for name, branch_id, seq in wanted:
        owner = mine.get(branch_id)
        while owner is not None and owner.parent is not None and seq <= owner.fork_seq:
            owner = mine.get(owner.parent)
        if owner is not None and seq <= owner.head.seq and not is_readable(owner, seq):
            raise HistoryExpired(
                f"{name!r} stands on point {seq} of branch {owner.name!r}, which compaction dropped from the "
                "target; copy into an empty namespace",
                branch=owner.name,
                floor=owner.floor,
            )


def _check_names(facts: Facts, standing: Standing, shared: list[Branch], taken: set[str]) -> None:
    """What only the target has keeps its names, which must not be wanted for something else."""
    known = {branch.id for branch in shared}
    coming = {branch.name for branch in facts.branches if branch.id not in known}
    coming_marks = {checkpoint.name for checkpoint in facts.checkpoints}
    moved = [name for name in standing.checkpoints if name in coming_marks]
    clashes = [*moved, *(set(standing.branches) & (coming | coming_marks)), *(coming & taken)]
    if clashes:
        raise Conflict(
            f"{_listed(clashes)} in the target is something else in the source, where it was deleted and made "
            "again, or made there since; --prune deletes it from the target",
            names=sorted(set(clashes)),
        )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in sorted(set(names))[:5])
