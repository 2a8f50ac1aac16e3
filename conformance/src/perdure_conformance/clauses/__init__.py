"""The checks, by area. Each is a function of a `Case` that names the clauses it tries.

A new module is listed in `AREAS`; a check is in the suite as soon as it stands in a listed module.
"""

from __future__ import annotations

from types import ModuleType

from perdure_conformance._checks import Check
from perdure_conformance.clauses import (
    _ancestry,
    _branches,
    _capabilities,
    _commit_effects,
    _commits,
    _compaction,
    _hooks,
    _merge_rows,
    _merge_strategies,
    _merges,
    _picks,
    _processes_writing,
    _revert,
    _threads_writing,
    _what_if,
)

__all__ = ["AREAS", "CHECKS"]

#: The modules with checks, in the order in which they run.
AREAS: tuple[ModuleType, ...] = (
    _branches,
    _hooks,
    _commits,
    _commit_effects,
    _capabilities,
    _threads_writing,
    _processes_writing,
    _compaction,
    _ancestry,
    _merge_rows,
    _merge_strategies,
    _merges,
    _picks,
    _revert,
    _what_if,
)

#: All checks, in the order in which they run.
CHECKS: tuple[Check, ...] = tuple(
    member for area in AREAS for member in vars(area).values() if isinstance(member, Check)
)
