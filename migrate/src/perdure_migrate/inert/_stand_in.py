"""The one place that knows how an `Opaque` is made and grown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Opaque:
    """An inert stand-in; `args` is None for a reference to a class or function."""

    __slots__ = ("args", "items", "kwargs", "module", "pairs", "qualname", "state")

    def __init__(
        self,
        module: str,
        qualname: str,
        args: tuple[Any, ...] | None = None,
        kwargs: dict[str, Any] | None = None,
    ) -> None:
        self.module = module
        self.qualname = qualname
        self.args = args
        self.kwargs = kwargs
        self.state: Any = None
        self.items: list[Any] = []
        self.pairs: list[tuple[Any, Any]] = []


def reference(module: str, qualname: str) -> Opaque:
    return Opaque(module, qualname)


def add_items(target: Opaque, items: list[Any]) -> None:
    target.items.extend(items)


def add_pairs(target: Opaque, pairs: list[tuple[Any, Any]]) -> None:
    target.pairs.extend(pairs)


def state_of(target: Opaque) -> Any:
    return target.state


def has_state(target: Opaque) -> bool:
    return target.state is not None


def set_state(target: Opaque, state: Any) -> None:
    target.state = state


def parts(target: Opaque) -> list[Any]:
    out = [*(target.args or ()), *(target.kwargs or {}).values(), target.state, *target.items]
    for pair in target.pairs:
        out.extend(pair)
    return out


def replace_parts(target: Opaque, swap: Callable[[Any], Any]) -> None:
    if target.args:
        target.args = tuple(map(swap, target.args))
    if target.kwargs:
        target.kwargs = {k: swap(v) for k, v in target.kwargs.items()}
    target.state = swap(target.state)
    target.items[:] = map(swap, target.items)
    target.pairs[:] = [(swap(a), swap(b)) for a, b in target.pairs]
