"""Random histories beside the model, which is the specification as code: what differs is shrunk to a few steps."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, TypeAlias

import hypothesis
from hypothesis.stateful import run_state_machine_as_test

from perdure_conformance._case import Case
from perdure_conformance._checks import check
from perdure_conformance.driver import Compact, Purge, Scene, Step, shown
from perdure_conformance.expect import Violation
from perdure_conformance.invariants import check_copy, has_lost_history
from perdure_conformance.machines import machine_for, run_history
from perdure_conformance.strategies import histories

#: Runs of the machine in a round, and the steps of a run.
RUNS, STEPS = 3, 20

#: A history, and what it ended with.
Failure: TypeAlias = tuple[Sequence[Scene], BaseException]

#: The steps that a backend may lack.
OPTIONAL: tuple[tuple[str, type], ...] = (("compact", Compact), ("purge", Purge))


def absent(case: Case) -> tuple[type, ...]:
    """The kinds of steps that the backend does not offer."""
    return tuple(kind for name, kind in OPTIONAL if not case.supports(name))


def remember(kept: list[Failure], history: Sequence[Scene], error: BaseException) -> None:
    """Keep the history of a run that failed."""
    kept.append((history, error))


def falsified(case: Case, history: Sequence[Scene], error: BaseException) -> Violation:
    """What a history shows that the store and the model see differently."""
    case.example = (tuple(history),)
    case.note(f"the history:\n{shown(history)}")
    return Violation("the store after a history, beside the model", "they agree", str(error))


@check(
    "CO-001",
    "CO-002",
    "CO-005",
    "CO-011",
    "CO-012",
    "CO-013",
    "CO-030",
    "CO-031",
    "CO-040",
    "CO-041",
    "CO-043",
    "CO-044",
    "CO-066",
    "RE-009",
    "BR-004",
    "BR-005",
    "BR-006",
    "BR-009",
    "BR-010",
    "BR-012",
    "DM-002",
    level="branches",
    kind="history",
    weight=2.5,
)
def random_histories_agree_with_the_model(case: Case) -> None:
    """Steps of every kind, on two handles and two namespaces, closed and opened again, agree with the model."""
    for number in case.rounds():
        failures: list[Failure] = []
        machine: Any = machine_for(
            case.store,
            persistent=case.supports("persistent"),
            without=absent(case),
            names=case.unique,
            drop=False,
            failed=partial(remember, failures),
        )
        settings = case.settings(RUNS, stateful_step_count=STEPS)
        try:
            run_state_machine_as_test(hypothesis.seed(case.seed * 1_000 + number)(machine), settings=settings)
        except Exception as error:
            if not failures:
                raise
            raise falsified(case, *failures[-1]) from error


def copied(case: Case, drawn: list[Step]) -> None:
    """Run a history on a new store, and bring what it exports into another."""
    history = [step for step in drawn if not isinstance(step, absent(case))]
    with case.new_store() as store, case.new_store() as copy:
        try:
            run_history(store, history)
            check_copy(store, copy, history=not has_lost_history(history))
        except AssertionError as error:
            text = f"{error}\nafter the history\n{shown(history)}"
            raise Violation("a copy of the store after a history", "it is as the store", text) from error


@check("CO-061", "CO-066", "UP-040", "UP-042", level="branches", kind="history", weight=1.0)
def a_copy_of_a_random_history_is_whole(case: Case) -> None:
    """Whatever the history, its export goes into an empty namespace, which then dumps alike, and takes nothing twice."""
    case.given(copied, histories(15), examples=5)
