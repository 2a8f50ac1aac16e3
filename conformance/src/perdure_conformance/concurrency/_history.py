"""What several workers did, and when: the history that is judged, and that a report shows."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from perdure import Committed, Conflict, HistoryExpired, NotFound, PerdureError, Retryable

__all__ = ["Call", "Recorder", "told"]

#: How often a call is made again that was `Busy` or `Unavailable`; it names its commit, so it counts once.
TRIES = 50


@dataclass(frozen=True)
class Call:
    """One call.

    Attributes:
        worker: Who made it.
        name: What was called.
        arguments: With what.
        invoked: When, in nanoseconds of the machine's monotonic clock, which its processes share.
        returned: When it returned.
        outcome: ``("committed", id, seq, replayed)``; ``("refused", code)``; else what it returned.
        where: The object that it was made on, such as a branch; objects are judged apart.
    """

    worker: str
    name: str
    arguments: tuple[Any, ...]
    invoked: int
    returned: int
    outcome: Any
    where: str = "main"

    @property
    def refused(self) -> str | None:
        """The code of the error, where the call was refused."""
        return (
            self.outcome[1] if isinstance(self.outcome, tuple) and self.outcome[:1] == ("refused",) else None
        )

    @property
    def committed(self) -> bool:
        """Whether the call made a commit, and not for the second time."""
        return (
            isinstance(self.outcome, tuple)
            and self.outcome[:1] == ("committed",)
            and self.outcome[1] is not None
            and not self.outcome[3]
        )


class Recorder:
    """Makes the calls of one worker, and notes them. Belongs to one thread.

    Args:
        worker: Who it is.
    """

    def __init__(self, worker: str) -> None:
        self.worker = worker
        self.calls: list[Call] = []
        self._count = 0

    def new_id(self) -> str:
        """An id for a commit or a value that no other worker uses."""
        self._count += 1
        return f"{self.worker}-{self._count}"

    def __call__(self, name: str, *arguments: Any, run: Callable[[], Any], where: str = "main") -> Any:
        """Make a call, and note it; the outcome.

        Conflicts, what is missing and what compaction dropped are outcomes; other errors are raised, once
        they are noted.

        Args:
            name: For the history.
            *arguments: For the history.
            run: Makes the call.
            where: The object that it is made on.
        """
        invoked = time.monotonic_ns()
        unforeseen: PerdureError | None = None
        try:
            outcome = _plain(_patiently(run))
        except (Conflict, NotFound, HistoryExpired) as error:
            outcome = ("refused", error.code)
        except PerdureError as error:
            outcome, unforeseen = ("refused", error.code), error
        self.calls.append(
            Call(self.worker, name, arguments, invoked, time.monotonic_ns(), outcome, where=where)
        )
        if unforeseen is not None:
            raise unforeseen
        return outcome


def _patiently(run: Callable[[], Any]) -> Any:
    for _ in range(TRIES):
        try:
            return run()
        except Retryable:
            continue
    return run()


def _plain(outcome: Any) -> Any:
    if not isinstance(outcome, Committed):
        return outcome
    if outcome.commit is None:
        return ("committed", None, outcome.point.seq, False)
    return ("committed", outcome.commit.id, outcome.commit.seq, outcome.replayed)


def told(calls: Iterable[Call]) -> str:
    """A history as lines, in the order in which the calls began; times are milliseconds from the first."""
    ordered = sorted(calls, key=lambda call: call.invoked)
    start = ordered[0].invoked if ordered else 0
    return "\n".join(
        f"{(call.invoked - start) / 1e6:9.3f} – {(call.returned - start) / 1e6:9.3f}  {call.worker}  {call.where}: "
        f"{call.name}({', '.join(map(repr, call.arguments))}) → {call.outcome!r:.400}"
        for call in ordered
    )
