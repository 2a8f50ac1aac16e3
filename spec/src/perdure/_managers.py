"""Branches, checkpoints, spaces and namespaces of a store."""

from __future__ import annotations

from typing import Any, get_args

from perdure import values
from perdure._checks import check_choice, check_flag, check_text, check_whole
from perdure._errors import InvalidInput, InvalidRef, NotFound
from perdure._names import Ref, check_name, now_us, parse_ref
from perdure._schema import TABLES
from perdure._session import Session
from perdure._sinks import clean
from perdure._types import At, Branch, Checkpoint, Dtype, Metric, Point, PurgeReport, Space

__all__ = ["Branches", "Checkpoints", "Namespaces", "Spaces", "to_at"]

#: The greatest number of dimensions of a space.
MAX_DIM = 65_536


def to_at(ref: str | Ref | Point) -> At:
    """A ref as people write it → what hooks take."""
    if not isinstance(ref, Point):
        return parse_ref(ref)
    if (
        type(ref.branch) is not str
        or type(ref.commit) not in (str, type(None))
        or not all(type(n) is int and -(2**63) <= n < 2**63 for n in (ref.seq, ref.time))
        or ref.seq < 0
    ):
        raise InvalidRef(
            "a point is a branch id, a sequence number, a commit id and a time; use that of a read"
        )
    return ref


class Branches:
    """Lines of history. Creating one copies nothing."""

    def __init__(self, session: Session, current: str) -> None:
        self._session = session
        self._current = current

    def create(self, name: str, at: str | Ref | Point | None = None) -> Branch:
        """Fork a branch.

        Args:
            name: Its name.
            at: Where to fork; default: the head of the branch of this store.

        Raises:
            AlreadyExists: A branch or checkpoint has the name.
        """
        branch: Branch = self._session.hook.create_branch(
            ctx=self._session.ctx,
            name=check_name(name, "branch name"),
            at=to_at(self._current if at is None else at),
        )
        return branch

    def list(self) -> list[Branch]:
        """All branches, by name."""
        branches: list[Branch] = self._session.hook.list_branches(ctx=self._session.ctx)
        return branches

    def get(self, name: str) -> Branch:
        """A branch by name; `NotFound` where there is none."""
        branch: Branch = _named(self.list(), name, "branch")
        return branch

    def delete(self, name: str, *, cascade: bool = False) -> int:
        """Delete a branch; the number of branches deleted.

        Args:
            name: Its name.
            cascade: Delete its descendants, and the checkpoints on them, too.

        Raises:
            Conflict: It has children or checkpoints and `cascade` is not given, or it is main.
        """
        name = check_name(name, "branch name")
        check_flag(cascade, "cascade")
        count: int = self._session.hook.delete_branch(ctx=self._session.ctx, name=name, cascade=cascade)
        return count


class Checkpoints:
    """Immutable names for points in history."""

    def __init__(self, session: Session, current: str) -> None:
        self._session = session
        self._current = current

    def create(
        self, name: str, at: str | Ref | Point | None = None, *, metrics: Any = None, message: str = ""
    ) -> Checkpoint:
        """Name a point for ever; its history is kept until the checkpoint is deleted.

        Args:
            name: Its name.
            at: The point; default: the head of the branch of this store.
            metrics: Any value.
            message: For people.

        Raises:
            AlreadyExists: A branch or checkpoint has the name.
        """
        where = to_at(self._current if at is None else at)
        hook, ctx = self._session.hook, self._session.ctx
        point = where if isinstance(where, Point) else hook.resolve(ctx=ctx, ref=where)
        made = Checkpoint(
            check_name(name, "checkpoint name"), point, values.encode(metrics), clean(message), now_us()
        )
        checkpoint: Checkpoint = hook.create_checkpoint(ctx=ctx, checkpoint=made)
        return checkpoint

    def list(self) -> list[Checkpoint]:
        """All checkpoints, by name."""
        found: list[Checkpoint] = self._session.hook.list_checkpoints(ctx=self._session.ctx)
        return found

    def get(self, name: str) -> Checkpoint:
        """A checkpoint by name; `NotFound` where there is none."""
        checkpoint: Checkpoint = _named(self.list(), name, "checkpoint")
        return checkpoint

    def metrics(self, name: str) -> Any:
        """The metrics of a checkpoint."""
        return values.decode(self.get(name).metrics)

    def delete(self, name: str) -> None:
        """Drop the name and the pin; the history stays until compaction."""
        self._session.hook.delete_checkpoint(ctx=self._session.ctx, name=check_name(name, "checkpoint name"))


class Spaces:
    """Embedding spaces."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def create(
        self,
        name: str,
        dim: int,
        *,
        dtype: Dtype = "float32",
        metric: Metric = "cosine",
        model: str = "",
        table: str | None = None,
    ) -> Space:
        """Create a space; the same definition again is no error.

        Args:
            name: Its name.
            dim: Numbers per vector, 1 to 65,536.
            dtype: float16, float32 or float64: how vectors are kept, bit for bit.
            metric: cosine, l2 or dot.
            model: The embedding model that the vectors come from.
            table: The table whose rows they embed; a vector then shares its row's id.

        Raises:
            AlreadyExists: A space of that name has another definition.
        """
        name = check_name(name, "space name")
        dim = check_whole(dim, "the number of dimensions", 1)
        if dim > MAX_DIM:
            raise InvalidInput(f"a space has 1 to {MAX_DIM} dimensions, not {dim}")
        kept: Any = check_choice(dtype, "the dtype of a space", get_args(Dtype))
        scored: Any = check_choice(metric, "the metric of a space", get_args(Metric))
        if table is not None:
            bindable = [name for name in TABLES if name != "vectors"]
            table = check_choice(table, "the table that a space is bound to", bindable)
        space: Space = self._session.hook.create_space(
            ctx=self._session.ctx, space=Space(name, dim, kept, scored, clean(model), table, now_us())
        )
        return space

    def list(self) -> list[Space]:
        """All spaces, by name."""
        return self._session.spaces()

    def get(self, name: str) -> Space:
        """A space by name; `NotFound` where there is none."""
        space: Space = _named(self.list(), name, "space")
        return space

    def drop(self, name: str) -> PurgeReport:
        """Drop a space and erase its vectors from all history."""
        report: PurgeReport = self._session.hook.drop_space(
            ctx=self._session.ctx, name=check_name(name, "space name")
        )
        return report


class Namespaces:
    """The namespaces of the engine that the store lives in."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def list(self) -> list[str]:
        """Their names."""
        names: list[str] = self._session.hook.list_namespaces(ctx=self._session.ctx)
        return names

    def drop(self, name: str) -> None:
        """Drop a namespace and all it holds; not the one that is open here (`Conflict`)."""
        self._session.hook.drop_namespace(ctx=self._session.ctx, name=check_name(name, "namespace"))


def _named(items: list[Any], name: str, what: str) -> Any:
    check_text(name, f"the name of a {what}")
    for item in items:
        if item.name == name:
            return item
    known = ", ".join(item.name for item in items[:20]) or "none"
    raise NotFound(f"there is no {what} {name[:80]!r} (there are: {known})")
