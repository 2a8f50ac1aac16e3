"""What a copy tells at its end."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["NamespaceReport", "ReplicaReport"]


@dataclass(slots=True)
class NamespaceReport:
    """What became of one namespace.

    Attributes:
        source: Its name in the source.
        target: Its name in the target.
        commits: Commits copied now; in a dry run, that would be.
        rows: Row versions copied now.
        branches: Branches copied now.
        checkpoints: Checkpoints copied now.
        spaces: Spaces copied now.
        left_out: Row versions that were not copied, since they were purged in the target.
        only_here: Branches, checkpoints and spaces that only the target has, and that were kept.
        pruned: What was deleted from the target, since the source does not have it.
        compared: Whether both histories were read side by side.
        equal_commits: Commits that are equal.
        equal_rows: Row versions that are equal.
        equal_pieces: Payload pieces that the target has whole.
        older: Row versions that compaction dropped on one side.
        missing: Row versions that the source has and the target lacks, beside those left out now.
        counters: Read counters that were carried on for rows that were copied before.
        mismatches: What is not equal, up to a hundred.
        mismatched: How many of those there are.
    """

    source: str
    target: str
    commits: int = 0
    rows: int = 0
    branches: int = 0
    checkpoints: int = 0
    spaces: int = 0
    left_out: int = 0
    only_here: list[str] = field(default_factory=list)
    pruned: list[str] = field(default_factory=list)
    compared: bool = False
    equal_commits: int = 0
    equal_rows: int = 0
    equal_pieces: int = 0
    older: int = 0
    missing: int = 0
    counters: int = 0
    mismatches: list[str] = field(default_factory=list)
    mismatched: int = 0

    @property
    def ok(self) -> bool:
        """Whether nothing is missing or different."""
        return not self.mismatched and not self.missing


@dataclass(slots=True)
class ReplicaReport:
    """Everything that a copy did, or would do.

    Attributes:
        source: The URL without its options, or the file.
        target: The same of the target.
        action: "migrate", "sync", "export", "verify" or "dry run".
        namespaces: What became of each.
    """

    source: str
    target: str
    action: str
    namespaces: list[NamespaceReport] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether everything is in the target, and equal as far as it was compared."""
        return all(namespace.ok for namespace in self.namespaces)

    def document(self) -> dict[str, Any]:
        """The report as plain data."""
        return {**asdict(self), "ok": self.ok}
