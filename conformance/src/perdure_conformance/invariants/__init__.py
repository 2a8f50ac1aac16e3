"""What must hold between stores: the same history gives the same dump, and so does a copy of it."""

from perdure_conformance.dump import dump
from perdure_conformance.invariants._differential import check_copy, differential, has_lost_history, same_dump

__all__ = ["check_copy", "differential", "dump", "has_lost_history", "same_dump"]
