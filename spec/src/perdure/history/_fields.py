"""How one field that both sides changed is joined: the rules that `Column.merge` names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from perdure._schema import Column, Row

__all__ = ["CONFLICT", "NO_BASE", "agreed", "join_field", "join_tags"]


class _Mark:
    """A value that no cell can hold."""


#: The bases do not agree on the field, or none of them has the row.
NO_BASE: Final = _Mark()

#: The rule cannot join the two values.
CONFLICT: Final = _Mark()

_INT64 = range(-(2**63), 2**63)


def agreed(bases: Sequence[Row | None], place: int) -> Any:
    """The cell that all bases have at `place`, else `NO_BASE`."""
    first = bases[0] if bases else None
    if first is None:
        return NO_BASE
    for other in bases[1:]:
        if other is None or other[place] != first[place]:
            return NO_BASE
    return first[place]


def join_field(column: Column, base: Any, ours: Any, theirs: Any) -> Any:
    """Two different values of a field → the one that its rule makes of them, or `CONFLICT`.

    ``max`` takes the greater (null is less than every value), ``sum`` adds both deltas to the base,
    ``tags`` is `join_tags`; ``equal`` joins nothing. A sum needs a base, and a result within int64.
    """
    if column.merge == "max":
        return theirs if ours is None or (theirs is not None and theirs > ours) else ours
    if column.merge == "tags":
        return join_tags(() if base is NO_BASE else base, ours, theirs)
    if column.merge == "sum" and base is not NO_BASE and None not in (base, ours, theirs):
        total = ours + theirs - base
        return total if total in _INT64 else CONFLICT
    return CONFLICT


def join_tags(base: Sequence[str], ours: Sequence[str], theirs: Sequence[str]) -> tuple[str, ...]:
    """The target's order, less what the source removed, then what the source added, in its order."""
    was, mine, other = set(base), set(ours), set(theirs)
    kept = [tag for tag in ours if tag in other or tag not in was]
    return (*kept, *(tag for tag in theirs if tag not in was and tag not in mine))
