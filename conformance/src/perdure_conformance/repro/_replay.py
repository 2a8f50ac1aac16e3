"""Plays a history again, as the state machine did that found it."""

from __future__ import annotations

from collections.abc import Sequence

from perdure_conformance._case import Case
from perdure_conformance.driver import Scene
from perdure_conformance.machines._world import World

__all__ = ["play"]


def play(case: Case, history: Sequence[Scene]) -> None:
    """Run the steps of a history on the store and beside it on the model; both are compared after each."""
    with case.store():  # a store in memory is there as long as somebody has it open
        world = World(case.store, case.unique(), persistent=case.supports("persistent"))
        for scene in history:
            world.run(scene)
            world.check()
        world.close()
