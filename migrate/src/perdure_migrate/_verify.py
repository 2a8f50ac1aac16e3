"""Comparing what a store holds with what the source says, value by value."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
from perdure import NotFound, Record, Snapshot, Store, values

from perdure_migrate._plan import ORDER, Plan, Planned, PlannedCheckpoint

__all__ = ["Mismatch", "Progress", "Verdict", "check_checkpoint", "compare", "differences", "verify_plan"]

#: Called with what is going on, how much of it is done, and how much there is.
Progress = Callable[[str, int, int], None]

_AT_ONCE = 1_000
_TIMES = ("created_at", "updated_at")


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A row, a checkpoint or a count that is not what the source says.

    Attributes:
        table: The table, or "checkpoints", or "counts".
        key: The key of the row, or the name.
        what: Which fields differ, or that it is missing.
        origin: The place in the source.
    """

    table: str
    key: Any
    what: str
    origin: str


@dataclass(slots=True)
class Verdict:
    """What a verification found.

    Attributes:
        equal: Rows that are equal, by table.
        checkpoints: Checkpoints that are equal.
        mismatches: Everything that is not.
    """

    equal: dict[str, int] = field(default_factory=dict)
    checkpoints: int = 0
    mismatches: list[Mismatch] = field(default_factory=list)


def differences(wanted: Record, found: Record) -> list[str]:
    """The names of the fields in which a stored record is not the planned one.

    Values are compared by type and bit, vectors by their bytes; times only where the source has them.
    """
    names = []
    for column in wanted.TABLE.columns:
        mine, theirs = getattr(wanted, column.name), getattr(found, column.name)
        if column.name in _TIMES and mine is None:
            continue
        if column.kind == "vector":
            same = _same_vector(np.asarray(mine), np.asarray(theirs))
        elif column.kind == "value":
            same = values.equal(mine, theirs)
        elif column.kind == "tags":
            same = list(mine) == list(theirs)
        else:
            same = type(mine) is type(theirs) and mine == theirs
        if not same:
            names.append(column.name)
    return names


def _same_vector(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> bool:
    little = a.dtype.newbyteorder("<")
    return bool(
        a.dtype == b.dtype and a.shape == b.shape and a.astype(little).tobytes() == b.astype(little).tobytes()
    )


def compare(
    view: Store | Snapshot, table: str, rows: dict[Any, Planned]
) -> Iterator[tuple[Any, Planned, list[str] | None]]:
    """For each planned row, the fields that differ in the store; None where the row is missing."""
    items = iter(rows.items())
    collection = getattr(view, table)
    while block := list(islice(items, _AT_ONCE)):
        try:
            stored = collection.get_many([key for key, _ in block])
        except NotFound:  # the space of a vector
            stored = [None] * len(block)
        for (key, planned), found in zip(block, stored, strict=True):
            yield key, planned, None if found is None else differences(planned.record, found)


def verify_plan(plan: Plan, store: Store, progress: Progress) -> Verdict:
    """Read every planned row back, at one point in time, and compare it.

    Raises:
        PerdureError: The store cannot be read; what differs is reported, not raised.
    """
    verdict, view, done = Verdict(), store.snapshot(), 0
    items = sum(count for what, count in plan.found.items() if what != "checkpoints")
    if items != len(plan):
        what = f"the source has {items} items and {len(plan)} rows are planned"
        verdict.mismatches.append(Mismatch("counts", plan.name, what, plan.name))
    for table in ORDER:
        equal = 0
        for key, planned, fields in compare(view, table, plan.rows[table]):
            done += 1
            if fields == []:
                equal += 1
            else:
                verdict.mismatches.append(Mismatch(table, key, _told(fields), planned.origin))
            if done % _AT_ONCE == 0:
                progress("verify", done, len(plan))
        if plan.rows[table]:
            verdict.equal[table] = equal
    for checkpoint in plan.checkpoints:
        found = check_checkpoint(plan, checkpoint, store)
        verdict.mismatches.extend(found)
        verdict.checkpoints += not found
    progress("verify", len(plan), len(plan))
    return verdict


def check_checkpoint(plan: Plan, checkpoint: PlannedCheckpoint, store: Store) -> list[Mismatch]:
    """What is not as it should be with one checkpoint; nothing, where all is well."""
    name, origin = checkpoint.name, checkpoint.origin
    try:
        metrics = store.checkpoints.metrics(name)
        view = store.at(name)
    except NotFound:
        return [Mismatch("checkpoints", name, "is missing", origin)]
    found = []
    if not values.equal(metrics, checkpoint.metrics):
        found.append(Mismatch("checkpoints", name, "metrics differ", origin))
    for key, planned, fields in compare(view, "states", checkpoint.states):
        if fields != []:
            what = f"its state {key} {_told(fields)}"
            found.append(Mismatch("checkpoints", name, what, planned.origin))
    extra = plan.rows["states"].keys() - checkpoint.states.keys()
    for key in [] if checkpoint.same else sorted(extra):
        if not key[0].startswith("legacy.") and view.states.get(key) is not None:
            found.append(Mismatch("checkpoints", name, f"has a state {key} that it should not have", origin))
    return found


def _told(fields: list[str] | None) -> str:
    return "is missing" if fields is None else f"differs in {', '.join(fields)}"
