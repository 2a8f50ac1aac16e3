"""Death at a chosen point: a process that kills itself at one of the calls that an operation makes."""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

__all__ = ["AFTER", "Moments", "counted", "dies_at", "drawn"]

#: The moments of a place in the code: the numbers of the calls that came from there.
Moments = list[list[int]]

#: A moment after all: the operation was done and acknowledged.
AFTER = -1

#: Moments that are kept of each place in the code; a loop over rows has many that are alike.
KEPT = 8

_EVENTS = frozenset({"call", "c_call", "c_return"})


@contextmanager
def _watched(see: Any) -> Iterator[None]:
    """Call ``see(frame)`` at each call that this thread makes, or that threads make which start meanwhile."""

    def profile(frame: FrameType, event: str, _: Any) -> None:
        if event in _EVENTS:
            see(frame)

    threading.setprofile(profile)
    sys.setprofile(profile)
    try:
        yield
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


@contextmanager
def counted() -> Iterator[Moments]:
    """The calls of the block, by the place in the code that they came from; filled when the block ends."""
    places: dict[tuple[str, int], list[int]] = {}
    moments: Moments = []
    number = 0

    def see(frame: FrameType) -> None:
        nonlocal number
        number += 1
        seen = places.setdefault((frame.f_code.co_filename, frame.f_lineno), [])
        if len(seen) < KEPT:
            seen.append(number)

    with _watched(see):
        yield moments
    moments.extend(places.values())


@contextmanager
def dies_at(moment: int) -> Iterator[None]:
    """The process is killed (SIGKILL) at that call of the block; a moment past the last one never comes."""
    number = 0

    def see(_: FrameType) -> None:
        nonlocal number
        number += 1
        if number == moment:
            os.kill(os.getpid(), signal.SIGKILL)

    with _watched(see):
        yield


def drawn(moments: Sequence[Sequence[int]], rng: random.Random) -> int:
    """A moment: each place in the code is as likely as another, so that loops over rows do not take them all.

    Each tenth is `AFTER`.
    """
    return AFTER if rng.random() < 0.1 or not moments else rng.choice(rng.choice(moments))
