"""Where a collection's writes go: into a commit of their own, into a batch, or nowhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NoReturn, Protocol

import msgspec

from perdure._checks import check_flag, check_text
from perdure._errors import InvalidInput, PermissionDenied
from perdure._names import check_name, uuid7
from perdure._schema import Table
from perdure._session import Session
from perdure._types import Chunk, CommitRequest, Committed, Key, Operation, PurgeReport

__all__ = ["BatchSink", "CommitSink", "NoSink", "Options", "Sink", "clean", "commit", "said"]


def clean(text: str) -> str:
    """Text of a commit, refused where an engine could not keep it."""
    try:
        text = check_text(text, "the message or the author of a commit")
        text.encode()
    except UnicodeEncodeError:
        raise InvalidInput("the message or the author of a commit holds a lone surrogate") from None
    if "\0" in text:
        raise InvalidInput("the message or the author of a commit holds a NUL character")
    return text


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

    def __post_init__(self) -> None:
        plain = {"message": clean(self.message)}
        if self.author is not None:
            plain["author"] = clean(self.author)
        if self.commit_id is not None:
            plain["commit_id"] = check_name(self.commit_id, "commit id")
        if self.expect_head is not None and self.expect_head is not msgspec.UNSET:
            plain["expect_head"] = check_text(self.expect_head, "expect_head")
        for name, text in plain.items():
            msgspec.structs.force_setattr(self, name, text)
        check_flag(self.check_references, "check_references")


_PLAIN = Options()


def said(words: Mapping[str, Any]) -> Options | None:
    """Keyword arguments as options; None where nothing was said.

    Raises:
        InvalidInput: One of them is no option, or malformed.
    """
    if not words:
        return None
    unknown = [name for name in words if name not in Options.__struct_fields__]
    if unknown:
        raise InvalidInput(
            f"there is no option {unknown[0]!r}; the options are {', '.join(Options.__struct_fields__)}"
        )
    return Options(**words)


class Sink(Protocol):
    """Takes the operations of one call."""

    def submit(
        self, operations: Sequence[Operation], chunks: Iterable[Chunk], options: Options | None
    ) -> Committed | None: ...

    def purge(self, table: Table, keys: Sequence[Key]) -> PurgeReport: ...


def commit(
    session: Session,
    branch: str,
    operations: Sequence[Operation],
    chunks: Iterable[Chunk],
    options: Options | None = None,
) -> Committed:
    """Commit a batch on a branch."""
    if options is None:
        options = _PLAIN
    elif not isinstance(options, Options):
        raise InvalidInput(f"options are perdure.Options(...), not {type(options).__name__}")
    request = CommitRequest(
        branch=branch,
        id=uuid7() if options.commit_id is None else options.commit_id,
        operations=operations,
        author=session.ctx.principal if options.author is None else options.author,
        message=options.message,
        expect_head=options.expect_head,
        check_references=options.check_references,
        chunks=chunks,
    )
    result: Committed = session.hook.commit(ctx=session.ctx, request=request)
    return result


class CommitSink:
    """Each call is one commit."""

    def __init__(self, session: Session, branch: str) -> None:
        self._session = session
        self._branch = branch

    def submit(
        self, operations: Sequence[Operation], chunks: Iterable[Chunk], options: Options | None
    ) -> Committed | None:
        return commit(self._session, self._branch, operations, chunks, options)

    def purge(self, table: Table, keys: Sequence[Key]) -> PurgeReport:
        report: PurgeReport = self._session.hook.purge(ctx=self._session.ctx, table=table.name, keys=keys)
        return report


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

    def purge(self, table: Table, keys: Sequence[Key]) -> NoReturn:
        raise InvalidInput("a purge is at once and for good, so it is no part of a batch; purge on the store")

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

    def purge(self, table: Table, keys: Sequence[Key]) -> NoReturn:
        raise PermissionDenied("a snapshot cannot be changed; purge on the store")
