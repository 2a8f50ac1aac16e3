"""Races are repeated, and one that fails is repeated some more, to see how often it does."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from perdure_conformance._case import Case
from perdure_conformance.concurrency._history import Call, told
from perdure_conformance.expect import Violation

__all__ = ["explained", "trials"]

#: How many more rounds there are, and for how many seconds at least, to measure the rate of failures.
ROUNDS, SECONDS = 20, 1.0


def trials(case: Case, attempt: Callable[..., None], *args: Any) -> None:
    """Call ``attempt(case, *args)`` until the time of the check is used up.

    Raises:
        Violation: An attempt raised it. Further rounds are made then, and the share of those that failed is
            put in front of what the first one got; it is noted too, with the seed.
    """
    for made, _ in enumerate(case.rounds(), 1):
        try:
            attempt(case, *args)
        except Violation as violation:
            rate = _rate(case, attempt, args, made)
            violation.got = f"{rate}; in the first of them: {violation.got}"
            case.note(rate)
            raise


@contextmanager
def explained(calls: Iterable[Call]) -> Iterator[None]:
    """A violation in the block shows the history, whole."""
    try:
        yield
    except Violation as violation:
        violation.got = f"{violation.got}\n{told(calls)}"
        raise


def _rate(case: Case, attempt: Callable[..., None], args: tuple[Any, ...], made: int) -> str:
    failed, number, end = 1, case.round, time.monotonic() + max(SECONDS, case.seconds)
    for _ in range(ROUNDS):
        if time.monotonic() > end:
            break
        made += 1
        try:
            attempt(case, *args)
        except Violation:
            failed += 1
    case.round = number
    return f"{failed} of {made} rounds failed, with seed {case.seed}"
