"""Values in the store: the cells that an engine keeps, and what comes back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from perdure import TABLES, CommitRequest, Memory, Put, Ref, uuid7

from perdure_conformance._case import Case
from perdure_conformance.clauses._scene import memory_row
from perdure_conformance.expect import equal, same_value

__all__ = ["cells", "kept", "put_texts"]

CONTENT = TABLES["memories"].position["content"]


def names(count: int) -> list[str]:
    """Ids of memories, in order."""
    return [f"v{number:05}" for number in range(count)]


def cells(case: Case, values: Sequence[Any]) -> list[Any]:
    """Put each value into a memory of its own; the cells that the engine then has of them."""
    keys = names(len(values))
    case.store().memories.put(
        [Memory(id=key, content=value) for key, value in zip(keys, values, strict=True)]
    )
    rows = case.hooks().fetch(ctx=case.ctx, table="memories", keys=[(key,) for key in keys], at=Ref("main"))
    return [row[CONTENT] for row in rows]


def kept(case: Case, pairs: Sequence[tuple[Any, str]]) -> None:
    """Each value is stored as exactly its text, and comes back the same."""
    found = cells(case, [value for value, _ in pairs])
    back = case.store().memories.get_many(names(len(pairs)))
    for (value, text), cell, memory in zip(pairs, found, back, strict=True):
        equal(cell, text, f"the stored text of {value!r:.200}")
        same_value(None if memory is None else memory.content, value, f"what is read of {text:.200}")


def put_texts(case: Case, texts: Sequence[str]) -> list[Any]:
    """Put texts as they are, as another program would have written them; the values that are read."""
    keys = names(len(texts))
    rows = [memory_row(key, content=text) for key, text in zip(keys, texts, strict=True)]
    request = CommitRequest("main", uuid7(), (Put("memories", rows),))
    case.hooks().commit(ctx=case.ctx, request=request)
    memories = case.store().memories
    return [memories[key].content for key in keys]
