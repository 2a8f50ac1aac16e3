"""Reads of the model: every row is looked at, every pair compared."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
from perdure import TABLES, Space
from perdure.filters import Filter, evaluate

from perdure_conformance._plain import DTYPES, Entry, Plain, encoded
from perdure_conformance.driver import Diff, Find, Log, Search, Without
from perdure_conformance.model._graph import Refused
from perdure_conformance.model._join import owner_entry

if TYPE_CHECKING:
    from perdure_conformance.model._model import Model

__all__ = ["READS", "by_table", "microseconds", "score"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def microseconds(moment: datetime) -> int:
    """Microseconds since 1970."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def _matches(model: Model, entry: Entry, row: Plain, where: Filter | None) -> bool:
    if where is None:
        return True
    return evaluate(where, TABLES[entry[0]], encoded(row), model.counters.get(entry, (None, 0)))


def find(model: Model, step: Find) -> tuple[list[tuple[str, ...]], int]:
    """Filter every row, then one stable sort for each term, the last first."""
    rows = model.graph.rows(model.node(step.at))
    found = [
        (entry[1], version.row)
        for entry, version in sorted(rows.items(), key=lambda item: item[0])
        if entry[0] == step.table and _matches(model, entry, version.row, step.where)
    ]
    for term in reversed(step.order_by or []):
        name = term.removeprefix("-")
        there = [item for item in found if item[1][name] is not None]
        there.sort(key=lambda item: item[1][name], reverse=term.startswith("-"))
        found = there + [item for item in found if item[1][name] is None]
    return [key for key, _ in found], len(found)


def search(model: Model, step: Search) -> list[tuple[tuple[str, ...], float]]:
    """The key and the score of every vector that may be found, best first, without the limit."""
    rows = model.graph.rows(model.node(step.at))
    if step.space not in model.spaces:
        raise Refused("NotFound")
    space, bound = model.spaces[step.space], model.bound()
    found = []
    for entry, version in rows.items():
        if entry[0] != "vectors" or entry[1][0] != space.name:
            continue
        subject = owner_entry(entry, bound) or entry
        if _matches(model, subject, rows[subject].row, step.where):
            found.append((subject[1], score(space, version.row["values"], step.vector), entry[1][1]))
    found.sort(key=lambda hit: (-hit[1], hit[2]))
    return [(key, value) for key, value, _ in found]


def score(space: Space, stored: bytes, query: Sequence[float]) -> float:
    """The score by the formula of the metric, in float64, on sums without rounding on the way."""
    a = [float(x) for x in np.frombuffer(stored, DTYPES[space.dtype])]
    b = [float(x) for x in query]
    dot = math.fsum(x * y for x, y in zip(a, b, strict=True))
    if space.metric == "dot":
        return dot
    if space.metric == "l2":
        return -math.sqrt(math.fsum((x - y) ** 2 for x, y in zip(a, b, strict=True)))
    length = math.sqrt(math.fsum(x * x for x in a)) * math.sqrt(math.fsum(x * x for x in b))
    return max(-1.0, min(1.0, dot / length))


def diff(model: Model, step: Diff) -> list[tuple[Any, ...]]:
    """Compare every row of either place."""
    a, b = model.graph.rows(model.node(step.a)), model.graph.rows(model.node(step.b))
    found: list[tuple[Any, ...]] = []
    for entry in sorted(a.keys() | b.keys()):
        table = TABLES[entry[0]]
        if entry not in a or entry not in b:
            kind = "added" if entry in b else "removed"
            found.append((*entry, kind, table.names[len(table.key) :]))
        elif a[entry].row != b[entry].row:
            old, new = a[entry].row, b[entry].row
            found.append((*entry, "changed", tuple(name for name in table.names if old[name] != new[name])))
    return found


def log(model: Model, step: Log) -> list[str]:
    """The commits on the lineage, newest first."""
    return model.graph.lineage(model.node(step.at))


def without(model: Model, step: Without) -> dict[str, list[Plain]]:
    """All rows as if a commit had not been."""
    at = model.node(step.at)
    target = model.commit_id(step.commit)
    if target not in model.graph.ancestors(at):
        raise Refused("NotFound")
    joined = model.undo(target, model.graph.nodes[target].before, at, "later")
    rows: dict[Entry, Plain | None] = {entry: v.row for entry, v in model.graph.rows(at).items()}
    return by_table({entry: row for entry, row in (rows | joined.changes).items() if row is not None})


def by_table(rows: dict[Entry, Plain]) -> dict[str, list[Plain]]:
    """Rows by table, in key order."""
    found: dict[str, list[Plain]] = {name: [] for name in TABLES}
    for (table, _), row in sorted(rows.items(), key=lambda item: item[0]):
        found[table].append(row)
    return found


READS: dict[type, Callable[..., Any]] = {Find: find, Search: search, Diff: diff, Log: log, Without: without}
