"""Malformed histories are refused by every engine alike, and nothing of them is there."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import perdure
import pytest
from perdure import (
    Branch,
    Change,
    ChangeBatch,
    Checkpoint,
    Chunk,
    Conflict,
    Counter,
    HistoryEvent,
    InvalidRecord,
    Memory,
    PerdureError,
    Point,
    Space,
    State,
)

Events = list[HistoryEvent]


def history() -> Events:
    """A small history with every kind of event."""
    with perdure.open("memory://") as store:
        store.spaces.create("s", 2)
        store.memories.put([Memory(id="a", content={"n": 1}), Memory(id="b")])
        store.branch("lab").states.put(State(kind="k", id="c", payload=b"x" * 70_000))
        store.checkpoints.create("done")
        store.memories.touch("a")
        return list(store.export())


def replaced(**changes: Any) -> Callable[[Events], Events]:
    """Each change batch with other contents."""
    return lambda events: [
        msgspec.structs.replace(e, **changes) if isinstance(e, ChangeBatch) else e for e in events
    ]


def main_of(events: Events) -> str:
    return next(e.id for e in events if isinstance(e, Branch))


def one(change: Change) -> Callable[[Events], Events]:
    return replaced(changes=(change,))


def row_with(column: str, cell: Any) -> Callable[[Events], Events]:
    """Each memory with one cell that no write could have made."""

    def spoil(events: Events) -> Events:
        place = perdure.TABLES["memories"].position[column]
        out: Events = []
        for event in events:
            if isinstance(event, ChangeBatch):
                changes = tuple(
                    c
                    if c.table != "memories" or c.row is None
                    else Change(c.table, c.key, (*c.row[:place], cell, *c.row[place + 1 :]))
                    for c in event.changes
                )
                event = msgspec.structs.replace(event, changes=changes)
            out.append(event)
        return out

    return spoil


MALFORMED: dict[str, tuple[type[PerdureError], Callable[[Events], Any]]] = {
    "no event": (InvalidRecord, lambda events: [*events, 5]),
    "cut short": (InvalidRecord, replaced(final=False)),
    "twice": (InvalidRecord, lambda events: events + events),
    "unknown table": (InvalidRecord, one(Change("nope", ("a",), None))),
    "short row": (InvalidRecord, one(Change("memories", ("a",), ("a", 1)))),
    "other key": (InvalidRecord, row_with("id", "zzz")),
    "long key": (InvalidRecord, one(Change("memories", ("x" * 513,), None))),
    "two-part key": (InvalidRecord, one(Change("memories", ("a", "b"), None))),
    "value text": (InvalidRecord, row_with("content", '{"$nope":1}')),
    "float": (InvalidRecord, row_with("importance", float("nan"))),
    "int": (InvalidRecord, row_with("tier", 2**63)),
    "bool": (InvalidRecord, row_with("tier", True)),
    "NUL": (InvalidRecord, row_with("text", "a\0")),
    "surrogate": (InvalidRecord, row_with("text", "\ud800")),
    "tags": (InvalidRecord, row_with("tags", ("a", "a"))),
    "time": (InvalidRecord, row_with("created_at", None)),
    "piece": (InvalidRecord, lambda events: [Chunk("00" * 32, b"x"), *events]),
    "counter": (InvalidRecord, lambda events: [*events, Counter("nope", ("a",), None, 1)]),
    "no branch": (Conflict, lambda events: [e for e in events if not isinstance(e, Branch)]),
    "space": (Conflict, lambda events: [*events, Space("s", 3)]),
    "checkpoint nowhere": (Conflict, lambda events: [*events, Checkpoint("z", Point("nope", 3))]),
    "checkpoint ahead": (Conflict, lambda events: [*events, Checkpoint("z", Point(main_of(events), 99))]),
    "checkpoint moved": (Conflict, lambda events: [*events, Checkpoint("done", Point(main_of(events), 0))]),
    "backwards": (Conflict, lambda events: [e for e in reversed(events) if not isinstance(e, Chunk)]),
}


@pytest.mark.parametrize("engine", ["memory", "sqlite"])
@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_history_leaves_nothing(name: str, engine: str, tmp_path: Path) -> None:
    error, spoil = MALFORMED[name]
    url = "memory://" if engine == "memory" else f"sqlite:///{tmp_path / 'store.db'}"
    with perdure.open(url) as store:
        with pytest.raises(error):
            store.ingest(spoil(history()))
        assert [b.name for b in store.branches.list()] == ["main"]
        assert store.head().commit is None
        assert store.spaces.list() == []
        assert store.verify().ok
        assert store.ingest(history()).commits == 2, "the store still takes a good one"


@pytest.mark.parametrize("engine", ["memory", "sqlite"])
def test_a_purged_row_comes_back_only_by_a_later_commit(engine: str, tmp_path: Path) -> None:
    def url(name: str) -> str:
        return f"memory://{perdure.uuid7()}" if engine == "memory" else f"sqlite:///{tmp_path / name}"

    with (
        perdure.open(url("a.db")) as here,
        perdure.open(url("b.db")) as there,
        perdure.open(url("c.db")) as third,
    ):
        here.memories.put([Memory(id="k", text="secret"), Memory(id="other")])
        before = list(here.export())
        there.ingest(before)
        here.memories.purge("k")
        assert here.ingest(there.export()).rows == 0
        assert "k" not in here.memories
        there.memories.put(Memory(id="k", text="written anew"))
        report = here.ingest(there.export())
        assert (report.rows, report.purged) == (1, 0)
        assert here.memories["k"].text == "written anew"
        third.memories.purge("k")
        report = third.ingest(before)
        assert (report.rows, report.purged) == (1, 1)
        assert [m.id for m in third.memories.find()] == ["other"]
