"""Values as source text."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from datetime import datetime
from typing import Any

import numpy as np
import perdure
from perdure import InvalidFilter, PerdureError, Record
from perdure.filters import And, Filter, Not, Or, parse
from perdure.filters import format as format_filter
from perdure.values import encode, equal

from perdure_conformance.repro._bundle import Bundle

__all__ = ["Unwritten", "literal"]


class Unwritten(Exception):
    """A value has no source text."""


def literal(value: Any, bundle: Bundle) -> str:
    """An expression that gives the value.

    Args:
        value: Plain data, numbers of numpy, filters, records and other structures of perdure and of the suite,
            and what the value codec takes.
        bundle: Gets what the expression needs.

    Raises:
        Unwritten: It is none of these.
    """
    if isinstance(value, Filter):
        return _filter(value, bundle)
    if isinstance(value, np.ndarray):
        if value.ndim == 1 and value.dtype.kind == "f" and np.isfinite(value).all():
            return f"{bundle.add(('numpy', ''), 'np')}.array({value.tolist()!r}, {value.dtype.str!r})"
        shape = "" if value.ndim == 1 else f".reshape({value.shape!r})"
        return (
            f"{bundle.add(('numpy', ''), 'np')}.frombuffer({value.tobytes()!r}, {value.dtype.str!r}){shape}"
        )
    if type(value) is datetime:
        return repr(value).replace("datetime.", f"{bundle.add(('datetime', ''), 'datetime')}.")
    if isinstance(value, Record):
        return _call(value, [column.name for column in type(value).TABLE.columns], bundle)
    if is_dataclass(value) or hasattr(type(value), "__struct_fields__"):
        names = (
            [f.name for f in fields(value) if f.init]
            if is_dataclass(value)
            else type(value).__struct_fields__
        )
        return _call(value, names, bundle)
    text = _as_it_reads(value)
    return _parts(value, bundle) if text is None else text


def _parts(value: Any, bundle: Bundle) -> str:
    """A value that Python does not read back from its representation: by the value codec, or part by part."""
    try:
        stored = encode(value)
        if '"$array"' in stored and '"$graph"' not in stored and type(value) in (list, tuple, dict):
            return _each(value, bundle)  # numbers can be read in a program, but not in the text of a value
        return f"{bundle.add(('perdure', 'values'), 'values')}.decode({stored!r})"
    except (PerdureError, RecursionError):
        return _each(value, bundle)


def _each(value: Any, bundle: Bundle) -> str:
    """A container, part by part."""
    if type(value) in (list, tuple):
        items = [f"{literal(item, bundle)}," for item in value]
        text = "\n".join(["", *items, ""]) if sum(map(len, items)) > 80 else " ".join(items)
        return f"[{text}]" if type(value) is list else f"({text})"
    if type(value) is dict:
        pairs = "".join(f"{literal(k, bundle)}: {literal(v, bundle)}, " for k, v in value.items())
        return f"{{{pairs}}}"
    raise Unwritten(f"a {type(value).__name__} cannot be written as source")


def _as_it_reads(value: Any) -> str | None:
    """Its representation, where Python reads that back as the same value."""
    try:
        text = repr(value)
        return text if equal(ast.literal_eval(text), value) else None
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError, PerdureError):
        return None


def _filter(value: Filter, bundle: Bundle) -> str:
    try:
        text = format_filter(value)
        same = parse(text) == value
    except InvalidFilter:
        same = False
    module = bundle.add(("perdure", "filters"), "filters")
    if same:
        return f"{module}.parse({text!r})"
    kind = type(value)
    if isinstance(value, (And, Or)):
        return f"{module}.{kind.__name__}(({''.join(f'{literal(item, bundle)}, ' for item in value.items)}))"
    if isinstance(value, Not):
        return f"{module}.Not({literal(value.item, bundle)})"
    raise Unwritten(f"the filter {value!r:.200} cannot be written as source")


def _call(value: Any, names: Iterable[str], bundle: Bundle) -> str:
    """A call of the class with the fields that are not empty."""
    kind = type(value)
    if getattr(perdure, kind.__name__, None) is kind:
        name = bundle.add(("perdure", kind.__name__), kind.__name__)
    elif kind.__module__.startswith("perdure_conformance."):
        name = bundle.add((kind.__module__, kind.__name__), kind.__name__)
    else:
        raise Unwritten(f"a {kind.__name__} cannot be written as source")
    given = [(field, getattr(value, field)) for field in names]
    said = [(field, cell) for field, cell in given if is_dataclass(value) or not _left_out(cell)]
    return f"{name}({', '.join(f'{field}={literal(cell, bundle)}' for field, cell in said)})"


def _left_out(cell: Any) -> bool:
    """Whether a field of a structure need not be given; records have lists where nothing was given."""
    empty = isinstance(cell, (list, tuple)) and not cell
    return cell is None or empty or type(cell).__name__ == "UnsetType"
