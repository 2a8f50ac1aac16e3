"""Every mutant is noticed by a check that names the clause that it breaks, and a healthy backend by none."""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType

import pytest
from perdure_conformance import Profile, Runner, Site, Status, Target
from perdure_conformance.clauses import AREAS, CHECKS
from perdure_conformance.mutants import MUTANTS, Mutant, judge_mutants
from perdure_conformance.mutants._base import Requests

_HEALTHY = Target.of("memory")


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_mutant_is_killed_by_its_clause(mutant: Mutant) -> None:
    (verdict,) = judge_mutants([mutant], _HEALTHY, CHECKS)
    seen = [(result.check.id, str(result.status), result.reason) for result in verdict.results]
    assert verdict.killed, f"{mutant.name} ({mutant.summary}) survives {seen}"


@pytest.mark.parametrize("area", AREAS, ids=lambda area: area.__name__.rpartition("._")[2])
def test_a_wrapper_that_breaks_nothing_passes_every_clause(area: ModuleType) -> None:
    with Site(replace(_HEALTHY, wrap=(Requests,))) as site:
        runner = Runner(site, profile=Profile("control", 0.0, shrink=False), total=1.0)
        for result in runner.run(check for check in CHECKS if check.run.__module__ == area.__name__):
            assert result.status in (Status.PASSED, Status.ABSENT), (result.check.id, result.trace)
