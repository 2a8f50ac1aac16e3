"""What the machine does to an `Opaque`: the one place that knows how a stand-in is laid out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from perdure.values import Opaque

__all__ = ["Opaque", "has_state", "parts", "replace_parts"]


def has_state(target: Opaque) -> bool:
    """Whether a BUILD has given a state."""
    return target.state is not None


def parts(target: Opaque) -> list[Any]:
    """Everything that a stand-in holds directly."""
    held: list[Any] = [*(target.args or ()), *target.kwargs.values(), target.state, *target.items]
    for pair in target.pairs:
        held.extend(pair)
    return held


def replace_parts(target: Opaque, swap: Callable[[Any], Any]) -> None:
    """Put `swap(part)` in the place of every part."""
    if target.args is not None:
        target.args = tuple(map(swap, target.args))
    target.kwargs = {key: swap(value) for key, value in target.kwargs.items()}
    target.state = swap(target.state)
    target.items[:] = map(swap, target.items)
    target.pairs[:] = [(swap(key), swap(value)) for key, value in target.pairs]
