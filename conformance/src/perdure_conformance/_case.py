"""What a check is given: stores of the backend, randomness that can be had again, and a budget."""

from __future__ import annotations

import random
import time
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Literal

import hypothesis
from hypothesis import HealthCheck, Phase
from hypothesis import strategies as st
from hypothesis.errors import HypothesisWarning
from perdure import Context, Description, PerdureError, Store

from perdure_conformance._checks import Check
from perdure_conformance._processes import Child, spawn
from perdure_conformance._site import Site
from perdure_conformance._target import Place

__all__ = ["Case"]

#: Random examples in a round: the budget is looked at between rounds, and a round is replayed as a whole.
EXAMPLES = 20

_HEALTH = list(HealthCheck)
_PHASES = (Phase.generate, Phase.target)


class Case:
    """One check on one target.

    Attributes:
        description: What the backend declares.
        seed: From which all of the check's randomness comes.
        seconds: The check's share of the profile's time; 0 for one that is not timed.
        random: A generator made from the seed.
        namespace: The case's own.
        ctx: A context for calls of hooks.
        round: The round of random examples that runs now, from 0; it is all that a replay runs.
        body: The function that was given the random example that failed, once one did.
        example: The arguments of that example.
    """

    def __init__(
        self,
        site: Site,
        check: Check,
        *,
        seed: int = 0,
        seconds: float = 0.0,
        shrink: bool = True,
        only_round: int | None = None,
    ) -> None:
        self.site = site
        self.check = check
        self.description: Description = site.description
        self.seed = seed
        self.seconds = seconds
        self.random = random.Random(self._derived("random"))
        self.namespace = site.word()
        self.ctx = Context(principal="conformance")
        self.round = 0
        self.body: Callable[..., None] | None = None
        self.example: tuple[Any, ...] | None = None
        self.notes: list[str] = []
        self._shrink = shrink
        self._only_round = only_round
        self._place: Place | None = None
        self._open = ExitStack()

    # ----------------------------------------------------------------------------------- stores

    @property
    def place(self) -> Place:
        """The place of the case: the one that all cases share, unless `move` gave it one of its own."""
        if self._place is None:
            self._place = self.site.shared
        return self._place

    def move(self) -> Place:
        """Give the case a new place of its own, for what namespaces share, or what harms a store.

        A check that calls this needs "places".
        """
        self._place = self.site.place()
        return self._place

    def store(
        self,
        namespace: str | None = None,
        *,
        mode: Literal["r", "rw"] = "rw",
        branch: str = "main",
        principal: str = "conformance",
        observers: Iterable[object] = (),
    ) -> Store:
        """A new handle on the case's namespace, or on another; it is closed when the case ends."""
        name = self.namespace if namespace is None else namespace
        store = self.place.open(name, mode=mode, branch=branch, principal=principal, observers=observers)
        self._open.callback(store.close)
        return store

    def new_store(self) -> Store:
        """A handle on an empty namespace that nothing else uses. Use it in a ``with`` block where there are many."""
        return self.store(self.unique())

    def hooks(self, namespace: str | None = None, *, mode: Literal["r", "rw"] = "rw") -> Any:
        """The hooks of a new handle on the case's namespace, or on another; closed when the case ends."""
        name = self.namespace if namespace is None else namespace
        hooks = self.place.hooks(name, mode=mode)
        self._open.callback(hooks.close, ctx=self.ctx)
        return hooks

    def unique(self) -> str:
        """A word that is used once: for a namespace, or a name."""
        return self.site.word()

    def directory(self) -> Path:
        """A new, empty directory for files of the check's own; removed after the run."""
        return self.site.directory()

    def spawn(self, function: Callable[..., Any], *args: Any) -> Child:
        """Run ``function(pipe, *args)`` in another process, which is killed when the case ends.

        A check that calls this needs "processes". See `Child`.
        """
        child = spawn(function, *args)
        self._open.callback(child.close)
        return child

    def supports(self, capability: str) -> bool:
        """Whether the backend declares the capability in full."""
        return self.description.supports(capability)

    def note(self, text: str) -> None:
        """Something for the report, such as how many kills there were."""
        self.notes.append(text)

    def close(self) -> None:
        """Close what the case opened; one that cannot be closed any more, after a kill, is let go."""
        with suppress(PerdureError):
            self._open.close()

    # --------------------------------------------------------------------------------- randomness

    def rounds(self, least: int = 1) -> Iterator[int]:
        """Numbers from 0 until the time of the check is used up. `self.random` starts anew in each.

        Args:
            least: So many are made however long they take, as where one round tries a part of the check.
        """
        end = time.monotonic() + self.seconds
        number = 0 if self._only_round is None else self._only_round
        while True:
            self.round = number
            self.random.seed(self._derived(number))
            yield number
            number += 1
            if self._only_round is not None or (number >= least and time.monotonic() >= end):
                self.note(f"{number if self._only_round is None else 1} rounds")
                return

    def given(
        self, body: Callable[..., None], *strategies: st.SearchStrategy[Any], examples: int = EXAMPLES
    ) -> None:
        """Call ``body(case, *drawn)`` with random examples until the time of the check is used up.

        The smallest example that fails is left in `example`.

        Args:
            body: A function of the module, so that a report can show it.
            *strategies: For each argument after the case.
            examples: How many are drawn in a round.
        """
        for number in self.rounds():
            self._hypothesis(body, strategies, examples, number)

    def _hypothesis(
        self,
        body: Callable[..., None],
        strategies: tuple[st.SearchStrategy[Any], ...],
        examples: int,
        number: int,
    ) -> None:
        def attempt(drawn: tuple[Any, ...]) -> None:
            try:
                body(self, *drawn)
            except hypothesis.errors.UnsatisfiedAssumption:
                raise
            except Exception:
                self.body, self.example = body, drawn
                raise

        test = hypothesis.given(st.tuples(*strategies))(attempt)
        test = hypothesis.seed(self._derived(number))(self.settings(examples)(test))
        with warnings.catch_warnings():
            # Of strategies with long descriptions, which nobody is shown; a test run may take warnings for errors.
            warnings.filterwarnings("ignore", "Generating overly large repr", HypothesisWarning)
            test()

    def settings(self, examples: int = EXAMPLES, **more: Any) -> hypothesis.settings:
        """Settings of one round: nothing is kept between runs, and nothing is timed."""
        return hypothesis.settings(
            max_examples=examples,
            database=None,
            deadline=None,
            derandomize=False,
            report_multiple_bugs=False,
            suppress_health_check=_HEALTH,
            phases=(*_PHASES, Phase.shrink) if self._shrink else _PHASES,
            print_blob=False,
            verbosity=hypothesis.Verbosity.quiet,  # the report shows the example; here it would only be slow
            **more,
        )

    def _derived(self, *parts: Any) -> int:
        """A number that depends on the seed of the run, the check and what is given, and on nothing else."""
        return zlib.crc32(repr((self.seed, self.check.id, *parts)).encode())
