"""A store that can be read but not changed: ``perdure.open(url, wrap=["readonly"])``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from perdure._errors import InvalidInput, PermissionDenied
from perdure._hooks import HistoryEvent, hookimpl
from perdure._types import At, Checkpoint, CommitRequest, CompactRequest, Context, Key, Space
from perdure.wrappers._forward import Forward

__all__ = ["ReadOnly", "wrap"]


def wrap(inner: Any, config: dict[str, Any]) -> ReadOnly:
    """Wrap a backend so that it refuses every change.

    Args:
        inner: The backend.
        config: ``reason``: text that the refusal gives.
    """
    unknown = set(config) - {"reason"}
    if unknown:
        raise InvalidInput(
            f"the readonly wrapper has no option {sorted(unknown)[0]!r}; its option is 'reason'"
        )
    return ReadOnly(inner, str(config.get("reason", "")))


class ReadOnly(Forward):
    """Refuses, with `PermissionDenied`, each hook that changes something."""

    def __init__(self, inner: Any, reason: str) -> None:
        super().__init__(inner)
        self._reason = reason

    def _refuse(self, what: str) -> NoReturn:
        why = f": {self._reason}" if self._reason else ""
        raise PermissionDenied(f"{what} is refused, the store was opened through the readonly wrapper{why}")

    @hookimpl
    def commit(self, ctx: Context, request: CommitRequest) -> NoReturn:  # noqa: D102
        self._refuse("commit")

    @hookimpl
    def touch(self, ctx: Context, table: str, keys: Sequence[Key], time: int) -> NoReturn:  # noqa: D102
        self._refuse("touch")

    @hookimpl
    def create_space(self, ctx: Context, space: Space) -> NoReturn:  # noqa: D102
        self._refuse("create_space")

    @hookimpl
    def drop_space(self, ctx: Context, name: str) -> NoReturn:  # noqa: D102
        self._refuse("drop_space")

    @hookimpl
    def create_branch(self, ctx: Context, name: str, at: At) -> NoReturn:  # noqa: D102
        self._refuse("create_branch")

    @hookimpl
    def delete_branch(self, ctx: Context, name: str, cascade: bool) -> NoReturn:  # noqa: D102
        self._refuse("delete_branch")

    @hookimpl
    def create_checkpoint(self, ctx: Context, checkpoint: Checkpoint) -> NoReturn:  # noqa: D102
        self._refuse("create_checkpoint")

    @hookimpl
    def delete_checkpoint(self, ctx: Context, name: str) -> NoReturn:  # noqa: D102
        self._refuse("delete_checkpoint")

    @hookimpl
    def ingest(self, ctx: Context, events: Iterable[HistoryEvent]) -> NoReturn:  # noqa: D102
        self._refuse("ingest")

    @hookimpl
    def compact(self, ctx: Context, request: CompactRequest) -> NoReturn:  # noqa: D102
        self._refuse("compact")

    @hookimpl
    def purge(self, ctx: Context, table: str, keys: Sequence[Key]) -> NoReturn:  # noqa: D102
        self._refuse("purge")

    @hookimpl
    def drop_namespace(self, ctx: Context, name: str) -> NoReturn:  # noqa: D102
        self._refuse("drop_namespace")
