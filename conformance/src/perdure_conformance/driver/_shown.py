"""A history as text that a person can read, and that is Python: it can be pasted and run again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import MISSING, fields, is_dataclass
from typing import Any

__all__ = ["shown"]


def shown(history: Iterable[Any]) -> str:
    """One line for each step; what is as by default is left out."""
    return "\n".join(_text(step) for step in history)


def _text(thing: Any) -> str:
    if is_dataclass(thing) and not isinstance(thing, type):
        parts = []
        plain = True
        for field in fields(thing):
            value = getattr(thing, field.name)
            if field.default is not MISSING and value == field.default and type(value) is type(field.default):
                plain = False
                continue
            if field.default_factory is not MISSING and value == field.default_factory():
                plain = False
                continue
            parts.append(_text(value) if plain else f"{field.name}={_text(value)}")
        return f"{type(thing).__name__}({', '.join(parts)})"
    if isinstance(thing, dict):
        return "{" + ", ".join(f"{_text(key)}: {_text(value)}" for key, value in thing.items()) + "}"
    if type(thing) in (list, tuple):
        inner = ", ".join(map(_text, thing))
        return f"[{inner}]" if isinstance(thing, list) else f"({inner}{',' if len(thing) == 1 else ''})"
    return repr(thing)
