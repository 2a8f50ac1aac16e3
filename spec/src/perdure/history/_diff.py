"""What differs between two points: keys that may differ, and rows that do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from heapq import merge as merge_sorted
from itertools import chain, groupby, islice
from operator import itemgetter
from typing import Literal, TypeAlias

import msgspec

from perdure._errors import HistoryExpired, NotFound
from perdure._schema import TABLES, Row, Table
from perdure._show import shown
from perdure._types import At, Context, Key, Point, Query
from perdure.history._dag import Dag, Hooks
from perdure.kit._arrow import rows_of

__all__ = ["PAGE", "Entry", "RowDiff", "batched_by_table", "check_tables", "diff", "differing_keys"]

#: A row's address: table name and key.
Entry: TypeAlias = tuple[str, Key]

#: Rows fetched at a time.
PAGE = 1_000


class RowDiff(msgspec.Struct, frozen=True):
    """One row that differs between `a` and `b`.

    Attributes:
        kind: "added": only in b; "removed": only in a; "changed": in both.
        fields: The names of the fields that differ, in column order; of a row in one place only, all
            but the key.
        before: The row at a, or None.
        after: The row at b, or None.
    """

    table: str
    key: Key
    kind: Literal["added", "removed", "changed"]
    fields: tuple[str, ...]
    before: Row | None
    after: Row | None


def diff(hook: Hooks, ctx: Context, a: At, b: At, tables: Iterable[str] | None = None) -> Iterator[RowDiff]:
    """The rows that differ between two places, streamed in (table, key) order.

    Costs what was written between the two where that history is readable, else a scan of both.

    Raises:
        NotFound, HistoryExpired: A place, or a table, does not exist, or no longer.
    """
    names = check_tables(tables)
    dag = Dag(hook, ctx)
    first, second = dag.resolve(a), dag.resolve(b)
    return _diff(dag, first, second, names)


def _diff(dag: Dag, a: Point, b: Point, names: Sequence[str]) -> Iterator[RowDiff]:
    keys = _touched(dag, a, b, names)
    if keys is None:
        for name in names:
            table = TABLES[name]
            for before, after in _join(table, dag, a, b):
                yield _row_diff(table, before, after)
        return
    for name, page in batched_by_table(keys, PAGE):
        old = dag.hook.fetch(ctx=dag.ctx, table=name, keys=page, at=a)
        new = dag.hook.fetch(ctx=dag.ctx, table=name, keys=page, at=b)
        for before, after in zip(old, new, strict=True):
            if before != after:
                yield _row_diff(TABLES[name], before, after)


def differing_keys(
    dag: Dag, a: Point | None, b: Point, wanted: Callable[[Entry], bool] | None = None
) -> Iterator[Entry]:
    """The addresses of all rows that differ between two points, and maybe others, each once, in order.

    `a` None is the empty store. Only addresses that `wanted` accepts.
    """
    names = sorted(TABLES)
    keys: Iterable[Entry] | None = None if a is None else _touched(dag, a, b, names)
    if keys is None:
        keys = _scanned(dag, a, b, names)
    return (entry for entry in keys if wanted is None or wanted(entry))


def batched_by_table(entries: Iterable[Entry], size: int) -> Iterator[tuple[str, list[Key]]]:
    """Pages of keys of one table each, in the order given."""
    for name, group in groupby(entries, key=itemgetter(0)):
        while page := [key for _, key in islice(group, size)]:
            yield name, page


def check_tables(tables: Iterable[str] | None) -> list[str]:
    """Table names in order; None means all.

    Raises:
        NotFound: One of them is no table.
    """
    names = sorted(set(TABLES if tables is None else tables))
    for name in names:
        if name not in TABLES:
            raise NotFound(f"there is no table {shown(name)}; the tables are {', '.join(TABLES)}", table=name)
    return names


def _scanned(dag: Dag, a: Point | None, b: Point, names: Iterable[str]) -> Iterator[Entry]:
    for name in names:
        table = TABLES[name]
        for before, after in _join(table, dag, a, b):
            yield name, table.key_of(after if before is None else before)  # type: ignore[arg-type]


def _touched(dag: Dag, a: Point, b: Point, names: Sequence[str]) -> Iterator[Entry] | None:
    """Addresses touched on the way from one point's lineage to the other's; None where it is unreadable."""
    left, right = dict(dag.lineage(a)), dict(dag.lineage(b))
    streams: list[Iterator[Entry]] = []
    try:
        for branch in sorted(left.keys() | right.keys()):
            start = dag.branches[branch].fork_seq
            low, high = sorted((left.get(branch, start), right.get(branch, start)))
            if low < high:
                stream = iter(dag.hook.touched(ctx=dag.ctx, branch=branch, after=low, upto=high))
                # The first step is where an engine looks whether the history is still there.
                streams.append(chain(list(islice(stream, 1)), stream))
    except (HistoryExpired, KeyError):
        return None
    wanted = frozenset(names)
    merged = streams[0] if len(streams) == 1 else merge_sorted(*streams)
    return (entry for entry, _ in groupby(merged) if entry[0] in wanted)


def _join(table: Table, dag: Dag, a: Point | None, b: Point) -> Iterator[tuple[Row | None, Row | None]]:
    """Merge-join two scans in key order: the pairs that differ."""
    left, right = _rows(table, dag, a), _rows(table, dag, b)
    old, new = next(left, None), next(right, None)
    while old is not None or new is not None:
        if new is None or (old is not None and table.key_of(old) < table.key_of(new)):
            yield old, None
            old = next(left, None)
        elif old is None or table.key_of(new) < table.key_of(old):
            yield None, new
            new = next(right, None)
        else:
            if old != new:
                yield old, new
            old, new = next(left, None), next(right, None)


def _rows(table: Table, dag: Dag, at: Point | None) -> Iterator[Row]:
    if at is None:
        return iter(())
    batches = dag.hook.scan(ctx=dag.ctx, query=Query(table.name), at=at)
    return chain.from_iterable(map(rows_of, batches))


def _row_diff(table: Table, before: Row | None, after: Row | None) -> RowDiff:
    width = len(table.key)
    if before is None or after is None:
        row = before if before is not None else after
        kind: Literal["added", "removed"] = "added" if before is None else "removed"
        return RowDiff(table.name, table.key_of(row), kind, table.names[width:], before, after)  # type: ignore[arg-type]
    fields = tuple(name for name, x, y in zip(table.names, before, after, strict=True) if x != y)
    return RowDiff(table.name, table.key_of(before), "changed", fields, before, after)
