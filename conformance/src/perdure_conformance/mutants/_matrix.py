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
        results: Those of the checks that name its clause, on it, up to the first that noticed.
    """

    mutant: Mutant
    results: tuple[Result, ...]

    @property
    def killer(self) -> Check | None:
        """The check that noticed."""
        return next((result.check for result in self.results if result.status is Status.FAILED), None)

    @property
    def killed(self) -> bool:
        """Whether a check that names the clause noticed."""
        return self.killer is not None


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
            yield Verdict(mutant, tuple(_until_killed(runner, _named(mutant.clause, every))))


def _named(clause: str, checks: list[Check]) -> list[Check]:
    """The checks that name a clause; those that take no time of their own first."""
    return sorted((check for check in checks if clause in check.clauses), key=lambda check: check.weight)


def _until_killed(runner: Runner, checks: Iterable[Check]) -> Iterator[Result]:
    for result in runner.run(checks):
        yield result
        if result.status is Status.FAILED:
            return
