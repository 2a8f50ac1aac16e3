"""What many checks look at: helpers, no checks."""

from __future__ import annotations

from perdure import Snapshot, Store

__all__ = ["ids"]


def ids(view: Store | Snapshot) -> list[str]:
    """The ids of all memories that a store or a snapshot shows."""
    return [memory.id for memory in view.memories.scan()]
