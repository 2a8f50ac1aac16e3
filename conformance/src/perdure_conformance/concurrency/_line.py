"""What one branch answers to one call after another: a few rows, and the commits so far."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from perdure_conformance.concurrency._history import Call

__all__ = ["Line"]

#: A row: its name, its count, and the commit that last wrote it.
Row = tuple[str, int, str]


@dataclass(frozen=True)
class Line:
    """A branch whose skills have a name and a count.

    A commit also must have a greater sequence number than those before it. So an order that this model
    explains is the order of the sequence numbers: a stronger demand than that there be some order.

    Attributes:
        head: The id of the last commit.
        seq: A number that the next one must exceed.
        rows: The rows by key, in key order.
        commits: The ids of the branch's commits with their sequence numbers.
    """

    head: str | None = None
    seq: int = 0
    rows: tuple[tuple[str, Row], ...] = ()
    commits: frozenset[tuple[str, int]] = frozenset()

    def step(self, call: Call) -> Line | None:
        """The branch after a call; None where it would have answered otherwise.

        Calls are ``put(id, key, name)``, ``insert``, ``update``, ``delete(id, key)``, ``increment(id, key, n)``,
        ``claim(id, key, name, head)`` (a put at an expected head), ``guard(id, key, name, version)`` (a put at
        an expected version, "" for none) and ``read()``; a write whose id is known was submitted again.
        """
        if call.name == "read":
            return self if call.outcome == self.seen() else None
        known = dict(self.commits).get(call.arguments[0])
        if known is not None:
            return self if call.outcome == ("committed", call.arguments[0], known, True) else None
        wanted = self._refusal(call.name, *call.arguments[1:])
        if wanted is not None or not call.committed:
            return self if call.outcome == ("refused", wanted) else None
        _, id_, seq, _ = call.outcome
        if id_ != call.arguments[0] or seq <= self.seq:
            return None
        rows = dict(self.rows)
        self._write(rows, call.name, *call.arguments)
        return Line(id_, seq, tuple(sorted(rows.items())), self.commits | {(id_, seq)})

    def seen(self) -> tuple[Any, ...]:
        """What a read returns: the head, and the key, name and count of each row."""
        return (self.head, *((key, name, count) for key, (name, count, _) in self.rows))

    def version(self, key: str) -> str:
        """The commit that last wrote a row; "" where there is none."""
        found = dict(self.rows).get(key)
        return "" if found is None else found[2]

    def forked(self) -> Line:
        """What a branch that is forked here begins with: the rows, and no commits of its own."""
        return replace(self, commits=frozenset())

    def _refusal(self, name: str, key: str, *rest: Any) -> str | None:
        """The error that a write gets here."""
        present = key in dict(self.rows)
        if name == "insert" and present:
            return "already_exists"
        if name in ("update", "delete", "increment") and not present:
            return "not_found"
        if name == "claim" and rest[1] != self.head:
            return "stale_head"
        if name == "guard" and rest[1] != self.version(key):
            return "version_conflict"
        return None

    @staticmethod
    def _write(rows: dict[str, Row], name: str, id_: str, key: str, *rest: Any) -> None:
        if name == "delete":
            del rows[key]
        elif name == "increment":
            rows[key] = (rows[key][0], rows[key][1] + rest[0], id_)
        elif name == "update":
            rows[key] = (rest[0], rows[key][1], id_)
        else:
            rows[key] = (rest[0], 0, id_)
