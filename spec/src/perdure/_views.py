"""What a store opens: snapshots, batches and transactions."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

from perdure import history
from perdure._errors import InvalidInput
from perdure._names import check_name
from perdure._readers import EngineReader, NoReader, OverlayReader
from perdure._session import Session
from perdure._sinks import BatchSink, NoSink, Options, commit
from perdure._tables import Tables
from perdure._types import Committed, Point

__all__ = ["Batch", "Snapshot", "Transaction"]


class Snapshot(Tables):
    """A read-only view of one point in history."""

    def __init__(self, session: Session, point: Point, without: str | None = None) -> None:
        reader: Any = EngineReader(session, point)
        if without is not None:
            without = check_name(without, "commit id")
            overlay = history.without(session.hook, session.ctx, point, without)
            reader = OverlayReader(session, point, without, overlay)
        super().__init__(session, reader, NoSink())
        self.point = point

    def __repr__(self) -> str:
        return f"<Snapshot {self._session.url} {self.point}>"


class Batch(Tables):
    """Writes that become one commit when the block ends; belongs to one thread.

    Attributes:
        result: The outcome, once the block has ended.
    """

    def __init__(self, session: Session, branch: str, options: Options | None) -> None:
        self.sink = BatchSink()
        super().__init__(session, NoReader(), self.sink)
        self._branch = branch
        self._options = options
        self.result: Committed | None = None

    def __enter__(self) -> Self:
        if not self.sink.open:
            raise InvalidInput("this batch has ended; open another with store.batch()")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.sink.open = False
        if kind is None:
            self.result = commit(
                self._session, self._branch, self.sink.operations, self.sink.pieces(), self._options
            )


class Transaction(Tables):
    """Reads of one snapshot (they do not see the writes here), and writes that commit together."""

    def __init__(self, session: Session, point: Point) -> None:
        self.sink = BatchSink()
        super().__init__(session, EngineReader(session, point), self.sink)
        self.point = point
