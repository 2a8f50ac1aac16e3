"""Mutants: backends that are broken in one place each, and the clause whose check must notice.

They show that the suite sees what it should. Each is a wrapper around any healthy backend; what can be
broken only inside an engine is tried in that engine's own tests.
"""

from __future__ import annotations

from perdure_conformance.mutants import (
    _cells,
    _commits,
    _concurrency,
    _crash,
    _history,
    _queries,
    _search,
    _upkeep,
)
from perdure_conformance.mutants._base import Mutant
from perdure_conformance.mutants._matrix import Verdict, judge_mutants

__all__ = ["MUTANTS", "RACING", "Mutant", "Verdict", "judge_mutants"]

#: Mutants that show in one thread, by the first examples of a check.
MUTANTS: tuple[Mutant, ...] = (
    *_cells.MUTANTS,
    *_queries.MUTANTS,
    *_commits.MUTANTS,
    *_history.MUTANTS,
    *_search.MUTANTS,
    *_upkeep.MUTANTS,
)

#: Mutants that show when several threads or processes work at once, or when one of them dies.
RACING: tuple[Mutant, ...] = (*_concurrency.MUTANTS, *_crash.MUTANTS)
