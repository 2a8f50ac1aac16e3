"""The state machine: rules for every kind of step, two handles, and closing and opening again."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from perdure import Store

from perdure_conformance.driver import Step
from perdure_conformance.machines._lockstep import Lockstep
from perdure_conformance.strategies._histories import (
    SETUP,
    maintenance,
    merges,
    namings,
    reads,
    reverts,
    writes,
)

__all__ = ["machine_for"]

_HANDLES = st.sampled_from((0, 0, 0, 1))


def machine_for(
    open_store: Callable[[str], Store], *, persistent: bool = True, step_count: int = 30
) -> type[RuleBasedStateMachine]:
    """A Hypothesis state machine over the store that a function opens.

    Run it with `hypothesis.stateful.run_state_machine_as_test`, or take its `TestCase`.

    Args:
        open_store: Opens a store, for writing, on the namespace given; opened twice, both handles must
            show the same data. Each run uses a namespace of its own, and drops it at the end.
        persistent: Whether the data outlives its last handle, so that closing all may be a step.
        step_count: The most steps of a run.
    """
    runs = itertools.count()

    class StoreMachine(RuleBasedStateMachine):
        """One store, two handles, and the model."""

        def __init__(self) -> None:
            super().__init__()
            self.namespace = f"run{next(runs)}"
            self.keeper = open_store("keeper")
            self.lockstep = Lockstep([open_store(self.namespace), open_store(self.namespace)])

        @initialize()
        def begin(self) -> None:
            for step in SETUP:
                self.lockstep.run(step)

        @rule(step=writes(), handle=_HANDLES)
        def write(self, step: Step, handle: int) -> None:
            self.lockstep.run(step, handle)

        @rule(steps=st.lists(writes(), min_size=2, max_size=4))
        def write_more(self, steps: list[Step]) -> None:
            for step in steps:
                self.lockstep.run(step)

        @rule(step=namings(), handle=_HANDLES)
        def name(self, step: Step, handle: int) -> None:
            self.lockstep.run(step, handle)

        @rule(step=merges(), handle=_HANDLES)
        def merge(self, step: Step, handle: int) -> None:
            self.lockstep.run(step, handle)

        @rule(step=reverts(), handle=_HANDLES)
        def revert(self, step: Step, handle: int) -> None:
            self.lockstep.run(step, handle)

        @rule(step=maintenance(), handle=_HANDLES)
        def maintain(self, step: Step, handle: int) -> None:
            self.lockstep.run(step, handle)

        @rule(steps=st.lists(reads(), min_size=1, max_size=3), handle=_HANDLES)
        def read(self, steps: list[Step], handle: int) -> None:
            for step in steps:
                self.lockstep.run(step, handle)

        @rule(both=st.booleans())
        def reopen(self, both: bool) -> None:
            handles = self.lockstep.handles
            if both and not persistent:
                return
            for handle in handles if both else handles[:1]:
                handle.close()
            for index in range(len(handles) if both else 1):
                handles[index] = open_store(self.namespace)

        @invariant()
        def agree(self) -> None:
            self.lockstep.check()

        def teardown(self) -> None:
            for handle in self.lockstep.handles:
                handle.close()
            self.keeper.namespaces.drop(self.namespace)
            self.keeper.close()

    machine: Any = StoreMachine
    machine.TestCase.settings = settings(stateful_step_count=step_count)
    return StoreMachine
