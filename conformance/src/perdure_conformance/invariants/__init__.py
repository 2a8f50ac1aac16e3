"""What must hold between stores: the same history gives the same dump, and so does a copy of it."""

from perdure_conformance.dump import dump, same_dump
from perdure_conformance.invariants._differential import (
    Difference,
    check_copy,
    differential,
    differential_run,
    has_lost_history,
)

__all__ = [
    "Difference",
    "check_copy",
    "differential",
    "differential_run",
    "dump",
    "has_lost_history",
    "same_dump",
]
