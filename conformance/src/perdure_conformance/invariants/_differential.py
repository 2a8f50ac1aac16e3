"""One history on several engines, and one engine's history on another."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from perdure import Store

from perdure_conformance.driver import Compact, DropBranch, Step
from perdure_conformance.dump import dump
from perdure_conformance.machines import run_history

__all__ = ["check_copy", "differential", "has_lost_history", "same_dump"]


def has_lost_history(history: Sequence[Step]) -> bool:
    """Whether a history drops some of its own: what is then left of it is each engine's choice."""
    return any(isinstance(step, (Compact, DropBranch)) for step in history)


def differential(stores: Iterable[Store], history: Sequence[Step]) -> None:
    """Run a history on several empty stores, each in step with the model; their dumps must be equal.

    Raises:
        AssertionError: A store differs from the model, or from the first of them.
    """
    dumps = []
    for store in stores:
        run_history(store, history)
        dumps.append((store, dump(store, history=not has_lost_history(history))))
    for other, dumped in dumps[1:]:
        same_dump(dumps[0][1], dumped, f"{dumps[0][0]} and {other}")


def check_copy(source: Store, target: Store, *, history: bool = True) -> None:
    """Export a store into an empty one of any engine: the copy must dump alike, and take nothing twice.

    Raises:
        AssertionError: It does not.
    """
    target.ingest(source.export())
    same_dump(dump(source, history=history), dump(target, history=history), f"{source} and its copy {target}")
    again = target.ingest(source.export())
    assert (again.commits, again.branches, again.rows) == (0, 0, 0), f"a second ingest wrote {again}"


def same_dump(a: Any, b: Any, what: str, path: str = "") -> None:
    """Assert that two dumps are equal; the message names the first place where they are not."""
    if a == b:
        return
    if isinstance(a, dict) and isinstance(b, dict):
        assert a.keys() == b.keys(), f"{what} differ at {path}: {sorted(a.keys() ^ b.keys())} are in one only"
        for key in a:
            same_dump(a[key], b[key], what, f"{path}/{key}")
    elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        for index, (one, other) in enumerate(zip(a, b, strict=True)):
            same_dump(one, other, what, f"{path}/{index}")
    raise AssertionError(f"{what} differ at {path}: {a!r:.500} is not {b!r:.500}")
