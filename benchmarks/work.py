"""The generated work: the same for every contestant, from a fixed seed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from perdure import Memory

KINDS = ("error_pattern", "procedure", "episode", "insight")
MOMENT = datetime(2026, 1, 1, tzinfo=UTC)


def memories(count: int, prefix: str = "m", seed: int = 7) -> list[Memory]:
    """Memories with about 300 bytes of JSON content each."""
    random = np.random.default_rng(seed)
    importance = random.random(count)
    return [
        Memory(
            id=f"{prefix}{i:08d}",
            kind=KINDS[i % 4],
            agent=f"agent-{i % 50:03d}",
            scope=f"/team/{i % 10}/task",
            tier=i % 3,
            title=f"How do I handle case {i}?",
            text=f"When case {i} comes up, consult memory first, then the logs of the service.",
            content=content(i),
            tags=["db", f"t{i % 100}"],
            importance=float(importance[i]),
            confidence=0.5,
            created_at=MOMENT,
            updated_at=MOMENT,
        )
        for i in range(count)
    ]


def content(i: int) -> dict[str, Any]:
    """A plain JSON value of about 300 bytes."""
    return {
        "error": f"ConnectionResetError: peer {i} closed the connection",
        "solution": "Be specific about what you tried, what you expected and what happened instead; then retry.",
        "code": i % 600,
        "score": i / 7,
        "retry": bool(i % 2),
        "hosts": [f"db-{i % 9}", f"cache-{i % 5}"],
        "context": {"region": "eu", "attempt": i % 4, "note": None},
    }


def vectors(count: int, dim: int, seed: int = 11) -> NDArray[np.float32]:
    """Random directions: the worst case for an approximate index, and no help for an exact one."""
    return np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float32)
