"""What a mapping may be told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Settings"]


@dataclass(frozen=True, slots=True)
class Settings:
    """Choices that change what is written; part of every commit id.

    Attributes:
        metric: By what measure the embedding spaces search: "cosine", "l2" or "dot".
    """

    metric: Literal["cosine", "l2", "dot"] = "cosine"
