"""Filters and orders: how rows are chosen and sorted, the same on every engine.

Three forms, one meaning: Python expressions on `F`, the dict form (`from_dict`, `to_dict`) and the
command-line language (`parse`, `format`). `matcher` is the meaning.
"""

from perdure.filters._evaluate import Counters, Matcher, evaluate, matcher
from perdure.filters._fields import F, Field
from perdure.filters._mongo import coerce, from_dict, to_dict
from perdure.filters._native import native, successor
from perdure.filters._order import OrderTerm, parse_order, sort_key, sort_rows
from perdure.filters._parse import format, parse
from perdure.filters._path import format_path, parse_path
from perdure.filters._tree import (
    FALSE,
    INTEGER_BITS,
    MAX_DEPTH,
    MAX_NODES,
    TRUE,
    And,
    Compare,
    Contains,
    Filter,
    In,
    IsNull,
    Not,
    Op,
    Or,
    Path,
    Scalar,
    StartsWith,
    columns_of,
    scalar,
    walk,
)
from perdure.filters._validate import COUNTERS, kind_of, uses_counters, validate

__all__ = [
    "COUNTERS",
    "FALSE",
    "INTEGER_BITS",
    "MAX_DEPTH",
    "MAX_NODES",
    "TRUE",
    "And",
    "Compare",
    "Contains",
    "Counters",
    "F",
    "Field",
    "Filter",
    "In",
    "IsNull",
    "Matcher",
    "Not",
    "Op",
    "Or",
    "OrderTerm",
    "Path",
    "Scalar",
    "StartsWith",
    "coerce",
    "columns_of",
    "evaluate",
    "format",
    "format_path",
    "from_dict",
    "kind_of",
    "matcher",
    "native",
    "parse",
    "parse_order",
    "parse_path",
    "scalar",
    "sort_key",
    "sort_rows",
    "successor",
    "to_dict",
    "uses_counters",
    "validate",
    "walk",
]
