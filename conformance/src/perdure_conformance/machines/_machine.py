"""The state machine: rules for every kind of step, on two handles and two namespaces."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from perdure import Store

from perdure_conformance.driver import Changes, Copy, Elsewhere, Reopen, Scene, Second, Step
from perdure_conformance.machines._world import World
from perdure_conformance.strategies._histories import (
    SETUP,
    maintenance,
    merges,
    namings,
    reads,
    reverts,
    steps,
    writes,
)

__all__ = ["machine_for"]


def _either(step: st.SearchStrategy[Step]) -> st.SearchStrategy[Scene]:
    """A step through the first handle, or at times the second."""
    return st.one_of(step, step, step, step.map(Second))


def machine_for(
    open_store: Callable[[str], Store],
    *,
    persistent: bool = True,
    without: tuple[type, ...] = (),
    step_count: int = 30,
    names: Callable[[], str] | None = None,
    drop: bool = True,
    failed: Callable[[Sequence[Scene], BaseException], None] | None = None,
) -> type[RuleBasedStateMachine]:
    """A Hypothesis state machine over the stores that a function opens.

    Run it with `hypothesis.stateful.run_state_machine_as_test`, or take its `TestCase`.

    Args:
        open_store: Opens a store, for writing, on the namespace given; opened twice, both handles must
            show the same data. Each run uses namespaces of its own.
        persistent: Whether the data outlives its last handle, so that closing all may be a step.
        without: Kinds of steps that the engine does not offer.
        step_count: The most steps of a run.
        names: Gives a new namespace for each run; default: run0, run1, and so on.
        drop: Whether the namespaces are dropped at the end of a run.
        failed: Told of the history of each run that fails, and of the error; the last one is the smallest.
    """
    runs = itertools.count()
    new_name = names if names is not None else lambda: f"run{next(runs)}"

    class StoreMachine(RuleBasedStateMachine):
        """Two namespaces, three handles, and the models."""

        def __init__(self) -> None:
            super().__init__()
            name = new_name()
            self.keeper = open_store(f"{name}-keeper")
            self.world = World(open_store, name, persistent=persistent, without=without)

        def play(self, *scenes: Scene) -> None:
            """Run steps."""
            try:
                for scene in scenes:
                    self.world.run(scene)
            except Exception as error:
                self.tell(error)
                raise

        def tell(self, error: BaseException) -> None:
            """Hand on the history of a run that fails."""
            if failed is not None:
                failed(tuple(self.world.history), error)

        @initialize()
        def begin(self) -> None:
            self.play(*SETUP)

        @rule(step=_either(writes()))
        def write(self, step: Scene) -> None:
            self.play(step)

        @rule(steps=st.lists(writes(), min_size=2, max_size=4))
        def write_more(self, steps: list[Step]) -> None:
            self.play(*steps)

        @rule(step=_either(namings()))
        def name(self, step: Scene) -> None:
            self.play(step)

        @rule(step=_either(merges()))
        def merge(self, step: Scene) -> None:
            self.play(step)

        @rule(step=_either(reverts()))
        def revert(self, step: Scene) -> None:
            self.play(step)

        @rule(step=_either(maintenance()))
        def maintain(self, step: Scene) -> None:
            self.play(step)

        @rule(steps=st.lists(_either(reads()), min_size=1, max_size=3))
        def read(self, steps: list[Scene]) -> None:
            self.play(*steps)

        @rule(step=_either(st.just(Changes())))
        def follow(self, step: Scene) -> None:
            self.play(step)

        @rule(steps=st.lists(steps().map(Elsewhere), min_size=1, max_size=3))
        def act_elsewhere(self, steps: list[Scene]) -> None:
            self.play(*steps)

        @rule(every=st.booleans())
        def reopen(self, every: bool) -> None:
            self.play(Reopen(every))

        @rule()
        def copy(self) -> None:
            self.play(Copy())

        @invariant()
        def agree(self) -> None:
            try:
                self.world.check()
            except Exception as error:
                self.tell(error)
                raise

        def teardown(self) -> None:
            self.world.close()
            if drop:
                for name in self.world.namespaces:
                    self.keeper.namespaces.drop(name)
            self.keeper.close()

    machine: Any = StoreMachine
    machine.TestCase.settings = settings(stateful_step_count=step_count)
    return StoreMachine
