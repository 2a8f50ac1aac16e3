"""Keys and columns as they are written on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from perdure import InvalidInput, Table
from perdure._rows import codec

__all__ = ["COLUMNS", "columns_of", "keys_of", "table_of"]

#: What a table of records shows where nothing else is asked for.
COLUMNS: dict[str, tuple[str, ...]] = {
    "memories": ("id", "kind", "title", "text", "importance", "tags"),
    "links": ("id", "source", "relation", "target", "weight"),
    "skills": ("id", "name", "trigger", "confidence", "success_count", "failure_count"),
    "traces": ("id", "agent", "intent", "outcome", "confidence", "created_at"),
    "vectors": ("space", "id", "text", "values"),
    "states": ("kind", "id", "parents", "created_at", "data"),
}


def table_of(name: str) -> Table:
    """A table by name, before any store is opened.

    Raises:
        NotFound: There is none.
    """
    return codec(name).table


def keys_of(table: Table, words: Sequence[str]) -> list[Any]:
    """Keys from words: one word is one id; where a key has two parts, two words are one key.

    Raises:
        InvalidInput: A part is missing.
    """
    width = len(table.key)
    if width == 1:
        return list(words)
    if len(words) % width:
        raise InvalidInput(
            f"a key of {table.name} is {width} words, {' and '.join(table.key)}; {words[-1]!r} is alone"
        )
    return [tuple(words[place : place + width]) for place in range(0, len(words), width)]


def columns_of(table: Table, wanted: str | None) -> tuple[str, ...]:
    """The fields named in a list with commas; None: the usual ones.

    Raises:
        InvalidInput: One of them is no field.
    """
    if wanted is None:
        return COLUMNS[table.name]
    names = tuple(name.strip() for name in wanted.split(",") if name.strip())
    for name in names:
        if name not in table.position:
            raise InvalidInput(f"{table.name} has no field {name!r}; its fields are {', '.join(table.names)}")
    if not names:
        raise InvalidInput("--columns names no field; write it like --columns id,kind")
    return names
