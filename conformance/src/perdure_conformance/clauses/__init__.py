"""The checks, by area. Each is a function of a `Case` that names the clauses it tries.

A new module is listed in `AREAS`; a check is in the suite as soon as it stands in a listed module.
"""

from __future__ import annotations

from types import ModuleType

from perdure_conformance._checks import Check
from perdure_conformance.clauses import (
    _branches,
    _commit_effects,
    _commits,
    _hooks,
)

__all__ = ["AREAS", "CHECKS"]

#: The modules with checks, in the order in which they run.
AREAS: tuple[ModuleType, ...] = (
    _branches,
    _hooks,
    _commits,
    _commit_effects,
)

#: All checks, in the order in which they run.
CHECKS: tuple[Check, ...] = tuple(
    member for area in AREAS for member in vars(area).values() if isinstance(member, Check)
)
