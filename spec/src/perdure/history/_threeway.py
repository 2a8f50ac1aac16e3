"""The three-way comparison of one row: what a merge, a revert or a `without` makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from perdure._errors import InvalidInput
from perdure._schema import Row, Table
from perdure._show import shown
from perdure.history._fields import CONFLICT, NO_BASE, agreed, join_field

__all__ = ["ConflictKind", "Outcome", "Policy", "Strategy", "check_strategy", "side_of", "three_way"]

#: What a caller may ask for; see `merge`.
Strategy = Literal["fail", "ours", "theirs", "field"]

#: Strategies, and "later": sums and tags are joined, and for the rest the later change, which is ours, wins.
Policy = Literal["fail", "ours", "theirs", "field", "later"]

ConflictKind = Literal["both_changed", "both_added", "delete_change", "vector"]

_STRATEGIES = ("fail", "ours", "theirs", "field")


class Outcome(NamedTuple):
    """What becomes of a row.

    Attributes:
        row: The result; None: no row. Meaningless where the conflict is not settled by the policy.
        kind: What kind of conflict there was, or None.
        fields: The fields that were in conflict, in column order.
    """

    row: Row | None
    kind: ConflictKind | None = None
    fields: tuple[str, ...] = ()


def check_strategy(strategy: str) -> None:
    """Refuse anything but a strategy.

    Raises:
        InvalidInput: It is none.
    """
    if strategy not in _STRATEGIES:
        raise InvalidInput(
            f"there is no merge strategy {shown(strategy)}; use one of {', '.join(_STRATEGIES)}"
        )


def side_of(policy: Policy) -> Literal["ours", "theirs"] | None:
    """The side that wins conflicts under a policy; None where they stay unsettled."""
    if policy == "theirs":
        return "theirs"
    return "ours" if policy in ("ours", "later") else None


def three_way(
    table: Table, bases: Sequence[Row | None], ours: Row | None, theirs: Row | None, policy: Policy
) -> Outcome:
    """Join two states of a row that descend from the same bases.

    A side that equals any base is unchanged, and the other side is the result. Where both changed, or
    each equals another base, rows are joined field by field: a field that one side left as all bases have
    it is the other's; fields that both have alike stay, except that sums, where the policy joins them, add
    both deltas; for the rest the policy decides. `updated_at` is then the maximum and `created_at`
    the minimum, under every policy.

    Args:
        table: The row's table.
        bases: Its state at each base; an empty sequence means one base without the row.
        ours: Its state where the result goes.
        theirs: Its state at the source.
        policy: Who wins.
    """
    if ours == theirs:
        return Outcome(ours)
    bases = bases or (None,)
    ours_same, theirs_same = ours in bases, theirs in bases
    if ours_same != theirs_same:
        return Outcome(theirs if ours_same else ours)
    if ours is None or theirs is None:
        return Outcome(
            theirs if side_of(policy) == "theirs" else ours, "delete_change", _differing(table, ours, theirs)
        )
    return _join(table, bases, ours, theirs, policy)


def _join(table: Table, bases: Sequence[Row | None], ours: Row, theirs: Row, policy: Policy) -> Outcome:
    cells: list[Any] = list(ours)
    fields: list[str] = []
    for place, column in enumerate(table.columns):
        mine: Any = ours[place]
        other: Any = theirs[place]
        base = agreed(bases, place)
        joins = policy == "field" or (policy == "later" and column.merge in ("sum", "tags"))
        if mine == other:
            # Two sides that each counted one more have counted two, not one.
            if (
                joins
                and column.merge == "sum"
                and (total := join_field(column, base, mine, other)) is not CONFLICT
            ):
                cells[place] = total
        elif base is not NO_BASE and base in (mine, other):
            cells[place] = other if mine == base else mine
        elif column.name == "updated_at":
            cells[place] = max(mine, other)
        elif column.name == "created_at":
            cells[place] = min(mine, other)
        else:
            joined = join_field(column, base, mine, other) if joins else CONFLICT
            if joined is CONFLICT:
                fields.append(column.name)
                joined = other if policy == "theirs" else mine
            cells[place] = joined
    if not fields:
        return Outcome(tuple(cells))
    added = all(base is None for base in bases)
    return Outcome(tuple(cells), "both_added" if added else "both_changed", tuple(fields))


def _differing(table: Table, ours: Row | None, theirs: Row | None) -> tuple[str, ...]:
    """The names of the fields of a row that exists on one side only."""
    row = ours if ours is not None else theirs
    return () if row is None else table.names[len(table.key) :]
