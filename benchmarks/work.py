"""The generated work: the same for every contestant, from a fixed seed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from perdure import Memory

KINDS = ("error_pattern", "procedure", "episode", "insight")
MOMENT = datetime(2026, 1, 1, tzinfo=UTC)


def memories(count: int, prefix: str = "m", seed: int = 7, start: int = 0) -> list[Memory]:
    """Memories with about 300 bytes of JSON content each, numbered from `start`."""
    importance = np.random.default_rng(seed).random(start + count)
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
        for i in range(start, start + count)
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


def low_rank(count: int, dim: int, seed: int = 11) -> NDArray[np.float32]:
    """Directions near a space of 16 dimensions, with some noise: more like what embedding models give."""
    random = np.random.default_rng(seed)
    basis = np.random.default_rng(5).standard_normal((16, dim))
    found = random.standard_normal((count, 16)) @ basis + 0.3 * random.standard_normal((count, dim))
    return found.astype(np.float32)
