"""Where a collection's writes go: into a commit of their own, into a batch, or nowhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NoReturn, Protocol

import msgspec

from perdure._errors import InvalidInput, PermissionDenied
from perdure._names import check_name, uuid7
from perdure._session import Session
from perdure._types import Chunk, CommitRequest, Committed, Operation

__all__ = ["BatchSink", "CommitSink", "NoSink", "Options", "Sink", "commit"]


class Options(msgspec.Struct, frozen=True):
    """What may be said of a commit.

    Attributes:
        message: For the log.
        author: Default: the principal of the store.
        commit_id: Give one to make a retry safe: resubmitting it returns the first outcome.
        expect_head: The commit id that the branch must be at (None: no commit yet), else `StaleHead`.
        check_references: Refuse rows that refer to absent rows.
    """

    message: str = ""
    author: str | None = None
    commit_id: str | None = None
    expect_head: str | msgspec.UnsetType | None = msgspec.UNSET
    check_references: bool = False


class Sink(Protocol):
    """Takes the operations of one call."""

    def submit(
        self, operations: Sequence[Operation], chunks: Iterable[Chunk], options: Options | None
    ) -> Committed | None: ...


def commit(
    session: Session, branch: str, operations: Sequence[Operation], chunks: Iterable[Chunk], options: Options
) -> Committed:
    """Commit a batch on a branch."""
    if not isinstance(options.message, str) or not isinstance(options.author, (str, type(None))):
        raise InvalidInput("the message and the author of a commit are text")
    request = CommitRequest(
        branch=branch,
        id=uuid7() if options.commit_id is None else check_name(options.commit_id, "commit id"),
        operations=operations,
        author=session.ctx.principal if options.author is None else clean(options.author),
        message=clean(options.message),
        expect_head=options.expect_head,
        check_references=options.check_references,
        chunks=chunks,
    )
    result: Committed = session.hook.commit(ctx=session.ctx, request=request)
    return result


def clean(text: str) -> str:
    """Text of a commit, refused where an engine could not keep it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidInput("the message or the author of a commit holds a lone surrogate") from None
    if "\0" in text:
        raise InvalidInput("the message or the author of a commit holds a NUL character")
    return text


class CommitSink:
    """Each call is one commit."""

    def __init__(self, session: Session, branch: str) -> None:
        self._session = session
        self._branch = branch

    def submit(
        self, operations: Sequence[Operation], chunks: Iterable[Chunk], options: Options | None
    ) -> Committed | None:
        return commit(self._session, self._branch, operations, chunks, options or Options())


class BatchSink:
    """Calls collect until the batch commits them together. Belongs to one thread."""

    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self.chunks: list[Iterable[Chunk]] = []
        self.open = True

    def submit(
        self, operations: Sequence[Operation], chunks: Iterable[Chunk], options: Options | None
    ) -> Committed | None:
        if not self.open:
            raise InvalidInput("this batch has ended; open another with store.batch()")
        if options is not None:
            raise InvalidInput(
                "message, author, commit_id, expect_head and check_references belong to store.batch(...)"
            )
        self.operations.extend(operations)
        self.chunks.append(chunks)
        return None

    def pieces(self) -> Iterable[Chunk]:
        """All payload pieces of the batch."""
        return _Joined(self.chunks)


class _Joined:
    """Several re-iterables as one."""

    def __init__(self, parts: Sequence[Iterable[Chunk]]) -> None:
        self._parts = parts

    def __iter__(self) -> Iterator[Chunk]:
        for part in self._parts:
            yield from part


class NoSink:
    """A view of the past cannot be written to."""

    def submit(
        self, operations: Sequence[Operation], chunks: Iterable[Chunk], options: Options | None
    ) -> NoReturn:
        raise PermissionDenied("a snapshot cannot be changed; write to the store or to a branch")
