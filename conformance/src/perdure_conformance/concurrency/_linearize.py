"""Linearizability: whether one order of all calls explains their outcomes."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from perdure_conformance.concurrency._history import Call

__all__ = ["Stuck", "linearize"]

State = TypeVar("State", bound=Hashable)


@dataclass(frozen=True)
class Stuck(Generic[State]):
    """Why a history is not linearizable: the longest order that was found, and what could not follow it.

    Attributes:
        order: Calls whose outcomes this order explains.
        state: What the object then is.
        left: The calls that may come next, none of which has an outcome that fits.
    """

    order: tuple[Call, ...]
    state: State
    left: tuple[Call, ...]


def linearize(
    calls: Iterable[Call], initial: State, step: Callable[[State, Call], State | None]
) -> tuple[Call, ...] | Stuck[State]:
    """The calls in an order that explains their outcomes; `Stuck` where there is none.

    A call takes effect at one moment between its beginning and its return, so one that returned before
    another began comes before it. The search is that of J. M. Wing and C. Gong, "Testing and verifying
    concurrent objects", Journal of Parallel and Distributed Computing 17 (1993): try each call that may come
    next, and go back where none fits. With G. Lowe, "Testing for linearizability", Concurrency and
    Computation: Practice and Experience 29 (2017), no configuration (which calls are placed, and the state of
    the object) is tried twice.

    Args:
        calls: The history of one object.
        initial: Its state before them.
        step: The state after a call; None where the object in that state would have answered otherwise.
    """
    history = sorted(calls, key=lambda call: call.returned)
    everything = (1 << len(history)) - 1
    stack: list[tuple[int, State, tuple[int, ...]]] = [(0, initial, ())]
    seen: set[tuple[int, State]] = set()
    longest = stack[0]
    while stack:
        placed, state, order = stack.pop()
        if len(order) > len(longest[2]):
            longest = (placed, state, order)
        if placed == everything:
            return tuple(history[i] for i in order)
        for i in reversed(_next(history, placed)):
            after = step(state, history[i])
            if after is not None and (placed | 1 << i, after) not in seen:
                seen.add((placed | 1 << i, after))
                stack.append((placed | 1 << i, after, (*order, i)))
    placed, state, order = longest
    return Stuck(tuple(history[i] for i in order), state, tuple(history[i] for i in _next(history, placed)))


def _next(history: list[Call], placed: int) -> list[int]:
    """The calls that may come next: those that began before any that is not placed returned."""
    waiting = [i for i in range(len(history)) if not placed >> i & 1]
    if not waiting:
        return []
    horizon = history[waiting[0]].returned
    return [i for i in waiting if history[i].invoked <= horizon]
