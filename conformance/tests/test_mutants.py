"""Every mutant is noticed by a check that names the clause that it breaks, and a healthy backend by none."""

from __future__ import annotations

import pytest
from perdure_conformance import Target
from perdure_conformance.clauses import CHECKS
from perdure_conformance.mutants import MUTANTS, Mutant, judge_mutants
from perdure_conformance.mutants._base import Requests

_HEALTHY = Target.of("memory")


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_mutant_is_killed_by_its_clause(mutant: Mutant) -> None:
    (verdict,) = judge_mutants([mutant], _HEALTHY, CHECKS)
    seen = [(result.check.id, str(result.status), result.reason) for result in verdict.results]
    assert verdict.killed, f"{mutant.name} ({mutant.summary}) survives {seen}"


def test_a_wrapper_that_breaks_nothing_survives_every_clause() -> None:
    controls = [Mutant(clause, Requests) for clause in sorted({mutant.clause for mutant in MUTANTS})]
    for verdict in judge_mutants(controls, _HEALTHY, CHECKS):
        found = [(result.check.id, result.what, result.got) for result in verdict.results if result.trace]
        assert not found
