"""Whether the suite notices each mutant."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from perdure_conformance._checks import Check
from perdure_conformance._profile import Profile
from perdure_conformance._results import Result, Status
from perdure_conformance._runner import Runner
from perdure_conformance._site import Site
from perdure_conformance._target import Target
from perdure_conformance.mutants._base import Mutant

__all__ = ["Verdict", "judge_mutants"]

#: A mutant is noticed by a first example, or not at all: there is no time for more, and nothing is shrunk.
BRIEF = Profile("mutants", 0.0, shrink=False)


@dataclass(frozen=True)
class Verdict:
    """What became of a mutant.

    Attributes:
        mutant: The broken backend.
        results: Those of the checks that name its clause, on it.
    """

    mutant: Mutant
    results: tuple[Result, ...]

    @property
    def killers(self) -> tuple[Check, ...]:
        """The checks that noticed."""
        return tuple(result.check for result in self.results if result.status is Status.FAILED)

    @property
    def killed(self) -> bool:
        """Whether a check that names the clause noticed."""
        return bool(self.killers)


def judge_mutants(
    mutants: Iterable[Mutant], target: Target, checks: Iterable[Check], *, seed: int = 0
) -> Iterator[Verdict]:
    """Run, on each mutant of a healthy backend, the checks that name its clause.

    Args:
        mutants: Which.
        target: The healthy backend.
        checks: Those of the suite.
        seed: Of all randomness.
    """
    every = list(checks)
    for mutant in mutants:
        broken = replace(target, wrap=(*target.wrap, mutant.wrap))
        with Site(broken) as site:
            runner = Runner(site, profile=BRIEF, seed=seed, total=1.0)
            named = [check for check in every if mutant.clause in check.clauses]
            yield Verdict(mutant, tuple(runner.run(named)))
