"""Whether a filter makes sense on a table: its fields exist, and its literals can match their kinds."""

from __future__ import annotations

import re
from datetime import datetime
from difflib import get_close_matches

from perdure._errors import InvalidFilter
from perdure._schema import Kind, Table
from perdure.filters._tree import (
    Compare,
    Contains,
    Filter,
    In,
    IsNull,
    Path,
    Scalar,
    StartsWith,
    columns_of,
    walk,
)

__all__ = ["COUNTERS", "kind_of", "uses_counters", "validate"]

#: The read counters, which every table has beside its columns: name → kind.
COUNTERS: dict[str, Kind] = {"accessed_at": "time", "access_count": "int"}

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")

_WANTED: dict[Kind, tuple[tuple[type, ...], str]] = {
    "text": ((str,), "a str"),
    "int": ((int, float), "an int or a float"),
    "float": ((int, float), "an int or a float"),
    "time": ((datetime,), "an aware datetime (in text: 2026-11-20T12:00Z, without quotes)"),
}


def uses_counters(where: Filter) -> bool:
    """Whether the filter reads `accessed_at` or `access_count`, which only branch heads have."""
    return not columns_of(where).isdisjoint(COUNTERS)


def kind_of(table: Table, name: str) -> Kind:
    """The kind of a column or a read counter.

    Raises:
        InvalidFilter: The table has neither of that name.
    """
    column = table.by_name.get(name)
    if column is not None:
        return column.kind
    if name in COUNTERS:
        return COUNTERS[name]
    known = [*table.names, *COUNTERS]
    close = get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise InvalidFilter(
        f"{table.name} has no field {name!r}; {hint}its fields are {', '.join(known)}",
        table=table.name,
        field=name,
    )


def validate(where: Filter, table: Table) -> None:
    """Checks that the filter can be asked of the table.

    Raises:
        InvalidFilter: It is no filter, or a field is unknown, or its kind does not take the test or the
            literal. The message names the field and its kind.
    """
    if not isinstance(where, Filter):
        raise InvalidFilter(f"a filter is built with F, from_dict or parse; this is a {type(where).__name__}")
    for node in walk(where):
        if isinstance(node, Compare | In | Contains | StartsWith | IsNull):
            _check_leaf(node, kind_of(table, node.field.column))


def _check_leaf(node: Compare | In | Contains | StartsWith | IsNull, kind: Kind) -> None:
    path = node.field
    if path.steps and kind != "value":
        raise _refused(path, kind, "has nothing to reach into; only value fields have")
    if kind == "value" or isinstance(node, IsNull):
        return
    if kind in ("vector", "payload"):
        raise _refused(path, kind, "can only be tested for null")
    if isinstance(node, Contains | StartsWith):
        if kind != "text" and (kind != "tags" or isinstance(node, StartsWith)):
            test = "contains" if isinstance(node, Contains) else "starts_with"
            takers = "text, tags and value" if isinstance(node, Contains) else "text and value"
            raise _refused(path, kind, f"has no {test} test; {takers} fields have")
        literals: tuple[Scalar, ...] = (node.value if isinstance(node, Contains) else node.prefix,)
    elif kind == "tags":
        raise _refused(path, kind, "is compared with contains: one test for each tag, joined with & or |")
    else:
        literals = node.values if isinstance(node, In) else (node.value,)
    for literal in literals:
        _check_literal(path, kind, literal)


def _check_literal(path: Path, kind: Kind, literal: Scalar) -> None:
    types, wanted = _WANTED["text" if kind == "tags" else kind]
    if isinstance(literal, bool) or not isinstance(literal, types):
        raise _refused(
            path, kind, f"is compared with {wanted}, never with the {type(literal).__name__} {literal!r}"
        )
    if kind in ("text", "tags") and isinstance(literal, str) and _UNSTORABLE.search(literal):
        raise _refused(path, kind, "never holds NUL or a lone surrogate, so it cannot match this str")


def _refused(path: Path, kind: Kind, reason: str) -> InvalidFilter:
    return InvalidFilter(f"the {kind} field {path.column!r} {reason}", field=path.column, kind=kind)
