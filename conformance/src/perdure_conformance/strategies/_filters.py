"""Strategies for filters and orders: every kind of node, on the real fields of a table.

Literals come from small pools, so that they sometimes match rows drawn from equally small pools, and
from given rows, so that they match those. Limits and odd texts are in the pools too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

from hypothesis import strategies as st
from perdure import InvalidFilter, Row, Table
from perdure.filters import (
    COUNTERS,
    And,
    Compare,
    Contains,
    Filter,
    In,
    IsNull,
    Not,
    Or,
    Path,
    Scalar,
    StartsWith,
    kind_of,
    scalar,
)
from perdure.values import decode

__all__ = ["filters", "orders"]

_Literals: TypeAlias = st.SearchStrategy[Any]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TEXTS = ("", "a", "ab", "b", "A", "db", "error_pattern", "é", "e\u0301", "\uffff", "😀", "a%b_c\\", "'", '"')
_ODD_TEXTS = ("\0", "\ud800", "a\0b")
_INTS = (-(2**80), -(2**63) - 1, -(2**63), -1, 0, 1, 2, 3, 2**53, 2**53 + 1, 2**63 - 1, 2**63, 2**80)
_FLOATS = (float("-inf"), -1.5, 0.0, 5e-324, 0.1, 0.5, 1.0, 2.0, 2.0**53, 2.0**63, 1e308, float("inf"))
_TIMES = tuple(
    _EPOCH + timedelta(microseconds=us)
    for us in (-1, 0, 1, 1_000_000, 1_763_640_000_000_000, 1_763_640_000_000_001)
)
_STEPS: tuple[str | int, ...] = ("a", "b", "error", "code", "", "a.b", "$ref", "0", "é", 0, 1, -1)
_EQUALITIES = ("eq", "ne")
_ORDERINGS = ("lt", "le", "gt", "ge")


def filters(table: Table, rows: Iterable[Row] = (), *, counters: bool = True) -> st.SearchStrategy[Filter]:
    """Filters that are valid on the table.

    Args:
        table: The table whose fields are tested.
        rows: Encoded rows from which about half of the literals and paths are taken, so that they match.
        counters: Whether the read counters are tested as well; only branch heads have them.
    """
    seen = _observed(table, rows)
    names = [*table.names, *(COUNTERS if counters else ())]
    leaves = st.one_of([_leaves(table, name, seen.get(name, [])) for name in names])

    def combined(items: st.SearchStrategy[Filter]) -> st.SearchStrategy[Filter]:
        several = st.lists(items, max_size=3).map(tuple)
        return st.one_of(several.map(And), several.map(Or), items.map(Not))

    return st.recursive(leaves, combined, max_leaves=8)


def orders(table: Table) -> st.SearchStrategy[str | list[str] | None]:
    """What `order_by` takes on the table: None, one term, or a list of terms on different fields."""
    names = [c.name for c in table.columns if c.kind in ("text", "int", "float", "time")]
    term = st.tuples(st.sampled_from(("", "-")), st.sampled_from(names))
    several = st.lists(term, max_size=3, unique_by=lambda pair: pair[1])
    return st.none() | term.map("".join) | several.map(lambda terms: ["".join(pair) for pair in terms])


def _leaves(table: Table, name: str, seen: Sequence[tuple[Path, Scalar]]) -> st.SearchStrategy[Filter]:
    """Tests of one field: of the places seen in rows, and of places and literals made up."""
    kind = kind_of(table, name)
    here = Path(name)
    if kind in ("vector", "payload"):
        return st.just(IsNull(here))
    if kind == "tags":
        tags = _either(_pool("text"), [literal for _, literal in seen])
        return st.just(IsNull(here)) | tags.map(lambda tag: Contains(here, tag))
    if kind == "value":
        paths = st.lists(st.sampled_from(_STEPS), max_size=3).map(lambda steps: Path(name, tuple(steps)))
        made = st.tuples(paths, _anything())
        return _either(made, seen).flatmap(lambda pair: _value_tests(*pair))
    literals = _either(_pool(kind), [literal for _, literal in seen])
    ops = st.sampled_from(_EQUALITIES + _ORDERINGS)
    tests: list[st.SearchStrategy[Filter]] = [
        st.just(IsNull(here)),
        st.tuples(ops, literals).map(lambda pair: Compare(here, *pair)),
        st.lists(literals, max_size=4).map(lambda values: In(here, tuple(values))),
    ]
    if kind == "text":
        tests += [_parts(literals).map(lambda part: Contains(here, part))]
        tests += [_prefixes(literals).map(lambda prefix: StartsWith(here, prefix))]
    return st.one_of(tests)


def _value_tests(path: Path, literal: Scalar) -> st.SearchStrategy[Filter]:
    """Tests of one place inside a value, around one literal."""
    ops = _EQUALITIES if isinstance(literal, bool) else _EQUALITIES + _ORDERINGS
    tests: list[st.SearchStrategy[Filter]] = [
        st.just(IsNull(path)),
        st.sampled_from(ops).map(lambda op: Compare(path, op, literal)),
        st.lists(_anything(), max_size=3).map(lambda rest: In(path, (literal, *rest))),
        st.just(Contains(path, literal)),
    ]
    if path.steps:  # the collection that holds the place, which may have the literal as a member
        tests.append(st.just(Contains(Path(path.column, path.steps[:-1]), literal)))
    if isinstance(literal, str):
        tests.append(_parts(st.just(literal)).map(lambda part: Contains(path, part)))
        tests.append(_prefixes(st.just(literal)).map(lambda prefix: StartsWith(path, prefix)))
    return st.one_of(tests)


def _either(made: _Literals, seen: Sequence[Any]) -> _Literals:
    return made | st.sampled_from(seen) if seen else made


def _pool(kind: str) -> _Literals:
    if kind == "text":
        return st.sampled_from(_TEXTS)
    if kind == "time":
        return st.sampled_from(_TIMES)
    return st.sampled_from(_INTS + _FLOATS)


def _anything() -> _Literals:
    return st.sampled_from((*_TEXTS, *_ODD_TEXTS, *_INTS, *_FLOATS, *_TIMES, True, False))


def _parts(texts: _Literals) -> _Literals:
    return st.tuples(texts, st.integers(0, 3), st.integers(0, 3)).map(
        lambda cut: cut[0][cut[1] : cut[1] + cut[2]]
    )


def _prefixes(texts: _Literals) -> _Literals:
    return st.tuples(texts, st.integers(0, 4)).map(lambda cut: cut[0][: cut[1]])


def _observed(table: Table, rows: Iterable[Row]) -> dict[str, list[tuple[Path, Scalar]]]:
    """The places and literals that the rows hold, by column."""
    seen: dict[str, list[tuple[Path, Scalar]]] = {}
    for row in rows:
        for column, item in zip(table.columns, row, strict=True):
            if item is not None and column.kind not in ("vector", "payload"):
                seen.setdefault(column.name, []).extend(_literals(column.kind, Path(column.name), item))
    return {name: found for name, found in seen.items() if found}


def _literals(kind: str, path: Path, item: Any) -> Iterator[tuple[Path, Scalar]]:
    if kind == "value":
        yield from _places(path, decode(item), 3)
    elif kind == "time":
        yield path, _EPOCH + timedelta(microseconds=item)
    else:
        for literal in item if kind == "tags" else (item,):
            yield path, literal


def _places(path: Path, item: Any, depth: int) -> Iterator[tuple[Path, Scalar]]:
    """The scalars within reach of a path of at most `depth` more steps."""
    try:
        yield path, scalar(item)
    except InvalidFilter:  # null, NaN, a naive time, or no scalar at all
        if depth and isinstance(item, dict):
            children: Iterable[tuple[Any, Any]] = [pair for pair in item.items() if isinstance(pair[0], str)]
        else:
            children = enumerate(item) if depth and isinstance(item, list | tuple) else ()
        for step, child in list(children)[:8]:
            yield from _places(Path(path.column, (*path.steps, step)), child, depth - 1)
