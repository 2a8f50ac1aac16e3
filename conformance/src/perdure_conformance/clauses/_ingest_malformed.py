"""Histories that no store could have written: each is refused, and nothing of it is there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
from perdure import (
    TABLES,
    Branch,
    Change,
    ChangeBatch,
    Checkpoint,
    Chunk,
    Conflict,
    Counter,
    InvalidRecord,
    Memory,
    Point,
    Row,
    Space,
)

from perdure_conformance._case import Case
from perdure_conformance._checks import check
from perdure_conformance.clauses._ingest import Events, commits, history, of
from perdure_conformance.expect import equal, holds, refused, unchanged


def main_of(events: Events) -> str:
    """The id of the branch main."""
    return next(event.id for event in events if isinstance(event, Branch) and event.name == "main")


def without(kind: type[Any], **having: Any) -> Callable[[Events], Events]:
    """The events but for those of a kind, or those of them that have something."""
    return lambda events: [
        e for e in events if not (isinstance(e, kind) and all(getattr(e, k) == v for k, v in having.items()))
    ]


#: Histories that refer to what neither is there nor came before → how to make them of a good one.
DANGLING: dict[str, Callable[[Events], Events]] = {
    "a commit without its branch": without(Branch),
    "a branch without its parent": without(Branch, name="main"),
    "a branch before the commits that it was forked from": lambda events: [
        *of(events, Space),
        *of(events, Branch),
        *(e for e in events if not isinstance(e, (Space, Branch))),
    ],
    "a payload without its pieces": without(Chunk),
    "a checkpoint on no branch": lambda events: [*events, Checkpoint("z", Point("nope", 3))],
    "a checkpoint ahead of its branch": lambda events: [
        *events,
        Checkpoint("z", Point(main_of(events), 10**6)),
    ],
    "a checkpoint before the commits": lambda events: [*of(events, Checkpoint), *without(Checkpoint)(events)],
    "the events in reverse": lambda events: [e for e in reversed(events) if not isinstance(e, Chunk)],
}


@check("UP-041", "UP-044", level="branches")
def an_event_that_hangs_in_the_air_is_refused(case: Case) -> None:
    """Events that refer to what neither is there nor came before are refused, and nothing of them is there."""
    events = history(case)
    for what, spoil in DANGLING.items():
        with case.new_store() as store:
            with unchanged(store), refused(Conflict, what=f"ingest of {what}"):
                store.ingest(spoil(events))
            equal(store.spaces.list(), [], f"the spaces after {what}")


def with_cell(table: str, column: str, cell: Any) -> Callable[[Events], Events]:
    """Each row of a table with another cell in a column."""
    place = TABLES[table].position[column]

    def spoiled(change: Change) -> Change:
        if change.table != table or change.row is None:
            return change
        return Change(change.table, change.key, (*change.row[:place], cell, *change.row[place + 1 :]))

    return lambda events: [
        msgspec.structs.replace(e, changes=tuple(map(spoiled, e.changes)))
        if isinstance(e, ChangeBatch)
        else e
        for e in events
    ]


def other_vectors(numbers: list[float]) -> Callable[[Events], Events]:
    """Each vector with other numbers."""
    return with_cell("vectors", "values", np.array(numbers, "<f4").tobytes())


@check("UP-044", "UP-045")
def a_vector_that_does_not_fit_its_space_is_refused(case: Case) -> None:
    """A vector whose space is not there, and numbers that no write into its space could have made, are refused."""
    with case.new_store() as source:
        source.spaces.create("mem", 2, table="memories")
        source.memories.put(Memory(id="a"), vector=[1.0, 2.0])
        events = list(source.export())
    with case.new_store() as store:
        with unchanged(store), refused(Conflict, what="ingest of a vector whose space is missing"):
            store.ingest(without(Space)(events))
        for numbers in ([1.0], [1.0, 2.0, 3.0], [1.0, float("nan")], [float("inf"), 1.0]):
            with unchanged(store), refused(InvalidRecord, what=f"ingest of {numbers} into a space of two"):
                store.ingest(other_vectors(numbers)(events))
        equal(store.ingest(events).rows, 2, "the rows of the good history")


def replaced(**changes: Any) -> Callable[[Events], Events]:
    """Each change batch with something else in it."""
    return lambda events: [
        msgspec.structs.replace(e, **changes) if isinstance(e, ChangeBatch) else e for e in events
    ]


def one(table: str, key: tuple[Any, ...], row: Row | None = None) -> Callable[[Events], Events]:
    """Each change batch with this one change."""
    return replaced(changes=(Change(table, key, row),))


def swapped(events: Events) -> Events:
    """The first two commits of main in the wrong order."""
    first, second = [e for e in of(events, ChangeBatch) if e.commit.branch == main_of(events)][:2]
    return [second if e is first else first if e is second else e for e in events]


#: Malformed histories → how to make them of a good one.
MALFORMED: dict[str, Callable[[Events], list[Any]]] = {
    "no event": lambda events: [*events, 5],
    "None": lambda events: [*events, None],
    "a commit whose last part is missing": replaced(final=False),
    "a commit that breaks off at the end": lambda events: [
        *without(Checkpoint)(without(Counter)(events))[:-1],
        msgspec.structs.replace(of(events, ChangeBatch)[-1], final=False),
    ],
    "a commit twice": lambda events: [
        *(e for e in events if not isinstance(e, (Checkpoint, Counter))),
        of(events, ChangeBatch)[-1],
    ],
    "all of it twice": lambda events: events + events,
    "commits in the wrong order": swapped,
    "an unknown table": one("nope", ("a",)),
    "a row with too few cells": one("memories", ("a",), ("a", 1)),
    "a row of another key": with_cell("memories", "id", "zzz"),
    "a key that is too long": one("memories", ("x" * 513,)),
    "a key of two parts": one("memories", ("a", "b")),
    "an empty key": one("memories", ("",)),
    "a key that is no text": one("memories", (5,)),
    "a value that is no value": with_cell("memories", "content", '{"$nope":1}'),
    "a value that is no JSON": with_cell("memories", "content", "{"),
    "a number that is none": with_cell("memories", "importance", float("nan")),
    "an integer beyond 64 bits": with_cell("memories", "tier", 2**63),
    "a truth value for an integer": with_cell("memories", "tier", True),
    "a text for an integer": with_cell("memories", "tier", "1"),
    "a text with NUL": with_cell("memories", "text", "a\0"),
    "a text with half a character": with_cell("memories", "text", "\ud800"),
    "a tag twice": with_cell("memories", "tags", ("a", "a")),
    "no time": with_cell("memories", "created_at", None),
    "a time that is no date": with_cell("memories", "created_at", 2**62),
    "a piece that does not hash to its name": lambda events: [Chunk("00" * 32, b"x"), *events],
    "a piece with other bytes": lambda events: [
        Chunk(e.digest, e.data[:-1] + b"?") if isinstance(e, Chunk) else e for e in events
    ],
    "a counter of no table": lambda events: [*events, Counter("nope", ("a",), None, 1)],
    "a counter beyond 64 bits": lambda events: [*events, Counter("memories", ("a",), None, 2**63)],
    "a branch twice": lambda events: [
        *(e for e in events if not isinstance(e, (Checkpoint, Counter))),
        of(events, Branch)[-1],
    ],
}


@check("UP-041", "UP-045")
def a_malformed_event_is_refused(case: Case) -> None:
    """What no write could have made is refused as malformed, nothing of it is there, and a good history goes in."""
    events = history(case)
    with case.new_store() as store:
        for what, spoil in MALFORMED.items():
            with unchanged(store), refused(InvalidRecord, what=f"ingest of {what}"):
                store.ingest(spoil(events))
            equal(store.spaces.list(), [], f"the spaces after {what}")
        holds(store.verify().ok, "verify finds no damage", store.verify())
        equal(store.ingest(events).commits, len(commits(events)), "the commits of a good history")


@check("UP-045")
def what_is_no_iterable_of_events_is_refused(case: Case) -> None:
    """Text, bytes, numbers and mappings are no history."""
    store = case.store()
    for what in ("events", b"events", 5, None, {"a": 1}):
        with unchanged(store), refused(InvalidRecord, what=f"ingest of {what!r}"):
            store.ingest(what)  # type: ignore[arg-type]
