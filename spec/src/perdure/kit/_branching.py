"""Branches, checkpoints and spaces: what lives in the head itself."""

from __future__ import annotations

import msgspec

from perdure._errors import AlreadyExists, Conflict, NotFound
from perdure._names import MAIN, now_us, uuid7
from perdure._types import At, Branch, Checkpoint, Context, Space
from perdure.kit._head import HeadStore, State, as_branch, replace, with_branch
from perdure.kit._objects import BranchState, Head
from perdure.kit._reading import Reader

__all__ = ["Branching"]


class Branching:
    """Creates, deletes and lists the named things of a namespace."""

    def __init__(self, heads: HeadStore, reader: Reader) -> None:
        self._heads = heads
        self._reader = reader

    # -------------------------------------------------------------------------------- branches

    def create_branch(self, ctx: Context, name: str, at: At) -> Branch:
        """Fork a branch: one small entry in the head."""
        branch_id, now = uuid7(), now_us()

        def change(state: State) -> Head:
            _check_free(state, name)
            _, point = self._reader.place(at, state)
            point = self._reader.canonical(state, point)
            new = BranchState(
                state.head.next_number,
                branch_id,
                name,
                point.branch,
                point.seq,
                point.commit,
                point.time,
                point.seq,
                b"",
                point.commit,
                point.time,
                now,
            )
            return with_branch(replace(state.head, next_number=state.head.next_number + 1), new)

        return as_branch(self._heads.update(ctx, change).identified(branch_id))

    def delete_branch(self, ctx: Context, name: str, cascade: bool) -> int:
        """Delete a branch, with `cascade` also its descendants and the checkpoints that pin them."""
        deleted = 0

        def change(state: State) -> Head:
            nonlocal deleted
            if name == MAIN:
                raise Conflict("the branch 'main' cannot be deleted; drop the namespace instead", name=name)
            doomed = {state.named(name).id}
            while more := {b.id for b in state.branches.values() if b.parent in doomed} - doomed:
                doomed |= more
            pins = sorted(c.name for c in state.head.checkpoints.values() if c.point.branch in doomed)
            if not cascade and (len(doomed) > 1 or pins):
                children = sorted(state.branches[i].name for i in doomed if state.branches[i].name != name)
                raise Conflict(
                    f"branch {name!r} is needed by {', '.join(children + pins)[:200]}; delete them first, or pass cascade=True",
                    branches=children,
                    checkpoints=pins,
                )
            deleted = len(doomed)
            return replace(
                state.head,
                branches={i: b for i, b in state.branches.items() if i not in doomed},
                checkpoints={n: c for n, c in state.head.checkpoints.items() if c.point.branch not in doomed},
            )

        self._heads.update(ctx, change)
        return deleted

    def list_branches(self) -> list[Branch]:
        """All branches, by name."""
        return [as_branch(branch) for _, branch in sorted(self._heads.load().by_name.items())]

    # ----------------------------------------------------------------------------- checkpoints

    def create_checkpoint(self, ctx: Context, checkpoint: Checkpoint) -> Checkpoint:
        """Name a point."""
        stored = (
            checkpoint if checkpoint.created_at else msgspec.structs.replace(checkpoint, created_at=now_us())
        )

        def change(state: State) -> Head:
            nonlocal stored
            _check_free(state, stored.name)
            stored = msgspec.structs.replace(stored, point=self._reader.canonical(state, stored.point))
            return replace(state.head, checkpoints={**state.head.checkpoints, stored.name: stored})

        self._heads.update(ctx, change)
        return stored

    def delete_checkpoint(self, ctx: Context, name: str) -> bool:
        """Drop the name."""

        def change(state: State) -> Head:
            if name not in state.head.checkpoints:
                raise NotFound(
                    f"there is no checkpoint {name!r}; list them with store.checkpoints.list()", name=name
                )
            return replace(
                state.head, checkpoints={n: c for n, c in state.head.checkpoints.items() if n != name}
            )

        self._heads.update(ctx, change)
        return True

    def list_checkpoints(self) -> list[Checkpoint]:
        """All checkpoints, by name."""
        return [item for _, item in sorted(self._heads.load().head.checkpoints.items())]

    # ---------------------------------------------------------------------------------- spaces

    def create_space(self, ctx: Context, space: Space) -> Space:
        """Create a space, or return it if it is there with the same definition."""
        new = space if space.created_at else msgspec.structs.replace(space, created_at=now_us())

        def change(state: State) -> Head:
            old = state.head.spaces.get(new.name)
            if old is None:
                return replace(state.head, spaces={**state.head.spaces, new.name: new})
            if not same_space(old, new):
                raise AlreadyExists(
                    f"space {new.name!r} exists with another definition; choose another name", space=new.name
                )
            return state.head

        return self._heads.update(ctx, change).head.spaces[new.name]

    def list_spaces(self) -> list[Space]:
        """All spaces, by name."""
        return [space for _, space in sorted(self._heads.load().head.spaces.items())]


def _check_free(state: State, name: str) -> None:
    for what, names in (("branch", state.by_name), ("checkpoint", state.head.checkpoints)):
        if name in names:
            raise AlreadyExists(f"there is already a {what} {name!r}; choose another name", name=name)


def same_space(a: Space, b: Space) -> bool:
    """Whether two definitions agree but for the time of their making."""
    return msgspec.structs.replace(a, created_at=b.created_at) == b
