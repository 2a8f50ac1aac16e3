"""What every engine needs that hands comparisons on to another language: literals of a column's own type."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any, Final

__all__ = ["native", "successor"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_INT64: Final = range(-(2**63), 2**63)


def native(kind: str, op: str, literal: Any) -> tuple[str, Any]:
    """The comparison with a literal of the column's own type, by exact value.

    Engines that cast a literal would round it, and find what is only near: an int of 2**53 + 1 in a column of
    floats, 2.5 in one of ints.

    Args:
        kind: Of the column: text, int, float or time.
        op: eq, ne, lt, le, gt or ge.
        literal: What the filter has, as `validate` lets it pass.

    Returns:
        The operator and the literal: a str, an int within 64 bits, a finite float, or microseconds since the
        epoch. ("true", None) and ("false", None) are comparisons whose outcome no stored number changes.
    """
    if kind == "text":
        return op, literal
    if kind == "time":
        return op, (literal - _EPOCH) // _MICROSECOND
    return _as_float(op, literal) if kind == "float" else _as_int(op, literal)


def _as_int(op: str, literal: int | float) -> tuple[str, int | None]:
    if isinstance(literal, float):
        if math.isinf(literal):
            return _beyond(op, literal > 0)
        if not literal.is_integer():
            if op in ("eq", "ne"):
                return ("false" if op == "eq" else "true"), None
            # x < 2.5 is x <= 2, and x >= 2.5 is x > 2
            op = {"lt": "le", "ge": "gt"}.get(op, op)
            literal = math.floor(literal)
        literal = int(literal)
    return (op, literal) if literal in _INT64 else _beyond(op, literal > 0)


def _as_float(op: str, literal: int | float) -> tuple[str, float | None]:
    if isinstance(literal, float):
        return (op, literal) if math.isfinite(literal) else _beyond(op, literal > 0)
    try:
        near = float(literal)
    except OverflowError:
        return _beyond(op, literal > 0)
    if near == literal:
        return op, near
    if op in ("eq", "ne"):
        return ("false" if op == "eq" else "true"), None
    if near > literal:  # no float lies between them
        return {"lt": "lt", "le": "lt", "gt": "ge", "ge": "ge"}[op], near
    return {"lt": "le", "le": "le", "gt": "gt", "ge": "gt"}[op], near


def _beyond(op: str, above: bool) -> tuple[str, None]:
    """The outcome where the literal is greater (or less) than every stored number."""
    holds = op == "ne" or (op in ("lt", "le") if above else op in ("gt", "ge"))
    return ("true" if holds else "false"), None


def successor(prefix: str) -> str | None:
    """The least text greater than every text with the prefix; None where there is none."""
    while prefix:
        code = ord(prefix[-1])
        if code < 0x10FFFF:
            return prefix[:-1] + chr(0xE000 if code == 0xD7FF else code + 1)
        prefix = prefix[:-1]
    return None
