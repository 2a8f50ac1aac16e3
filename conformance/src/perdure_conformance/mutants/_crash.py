"""Backends that say too early that something is written, or write it in parts."""

from __future__ import annotations

import threading
from typing import Any

from perdure import (
    Commit,
    CommitRequest,
    Committed,
    Context,
    Point,
    Ref,
    Space,
    StorageError,
    hookimpl,
    now_us,
)
from perdure.wrappers import Forward

from perdure_conformance.mutants._base import Mutant, changed

__all__ = ["MUTANTS", "AnswersEarly", "FullDiskHidden", "FullDiskRaw", "TornBatch"]

#: What a request has in place of an expected head where it expects none.
UNSET = CommitRequest("", "", ()).expect_head

#: How many commits wait to be written together.
WAITING = 8


class AnswersEarly(Forward):
    """Answers a commit at once, and writes it when some have come together, or somebody reads."""

    def __init__(self, inner: Any) -> None:
        self._lock = threading.RLock()
        self._waiting: list[tuple[Context, CommitRequest]] = []
        super().__init__(inner)

    @property
    def inner(self) -> Any:
        """The backend, with everything written that waits."""
        with self._lock:
            waiting, self._waiting = self._waiting, []
            for ctx, request in waiting:
                self._backend.commit(ctx=ctx, request=request)
        return self._backend

    @inner.setter
    def inner(self, backend: Any) -> None:
        self._backend = backend

    @hookimpl
    def commit(self, ctx: Context, request: CommitRequest) -> Committed:
        with self._lock:
            if len(self._waiting) >= WAITING or request.expect_head is not UNSET:
                return super().commit(ctx=ctx, request=request)
            self._waiting.append((ctx, request))
            head: Point = self._backend.resolve(ctx=ctx, ref=Ref(request.branch))
            made = Commit(request.id, head.branch, head.seq + len(self._waiting), now_us())
            return Committed(made, Point(made.branch, made.seq, made.id, made.time), written=1)

    @hookimpl
    def list_spaces(self, ctx: Context) -> list[Space]:
        spaces: list[Space] = self._backend.list_spaces(ctx=ctx)  # which no commit changes
        return spaces


class TornBatch(Forward):
    """Applies a batch of several operations in two commits."""

    @hookimpl
    def commit(self, ctx: Context, request: CommitRequest) -> Committed:
        half = len(request.operations) // 2
        if half and self.inner.get_commits(ctx=ctx, ids=[request.id]) == [None]:
            first, second = request.operations[:half], request.operations[half:]
            plain: dict[str, Any] = {
                "parents": (),
                "vector": {},
                "picks": (),
                "reverts": None,
                "force": False,
            }
            self.inner.commit(
                ctx=ctx, request=changed(request, id=f"{request.id}-half", operations=first, **plain)
            )
            request = changed(request, operations=second, expect_head=UNSET)
        return super().commit(ctx=ctx, request=request)


class FullDiskHidden(Forward):
    """Answers a commit that the disk refused as if it were there."""

    @hookimpl
    def commit(self, ctx: Context, request: CommitRequest) -> Committed:
        try:
            return super().commit(ctx=ctx, request=request)
        except StorageError:
            return Committed(None, super().resolve(ctx=ctx, ref=Ref(request.branch)))


class FullDiskRaw(Forward):
    """Lets the error of a full disk out as that of the language."""

    @hookimpl
    def commit(self, ctx: Context, request: CommitRequest) -> Committed:
        try:
            return super().commit(ctx=ctx, request=request)
        except StorageError as error:
            raise OSError(str(error)) from error


MUTANTS = (
    Mutant("UP-081", AnswersEarly, ("persistent",)),
    Mutant("UP-081", TornBatch, ("persistent",)),
    Mutant("UP-082", FullDiskHidden, ("persistent",)),
    Mutant("UP-082", FullDiskRaw, ("persistent",)),
)
