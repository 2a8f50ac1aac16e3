"""Events that no engine gave, handed to the hook itself: refused as malformed, and nothing of them is there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import pytest
from perdure._errors import InvalidRecord, PerdureError
from perdure._types import (
    Branch,
    Change,
    ChangeBatch,
    Checkpoint,
    Chunk,
    Commit,
    Context,
    Counter,
    Pick,
    Point,
    Put,
    Space,
)
from perdure.kit import check_events, chunk_digest

CTX = Context()

#: What stands in for each field of each event in turn.
ODD: list[Any] = [
    *(None, True, -1, 2**63, 10**5000, 1.5, "", "a\0", "\ud800", b"a", object(), len),
    *([], [1], (1,), ([],), {}, {1: 2}, {"a": -1}, {"a"}, np.array([1, 2]), np.int64(3), iter([1])),
    *(Point("b", 2**80), (Change("memories", [1], None),), (Pick(None, "memories", None),)),  # type: ignore[arg-type, list-item]
]


def good(store: Any, row: Any) -> list[Any]:
    """An event of each kind that would go in."""
    main = store.hook.list_branches(CTX)[0]
    commit = Commit("c", main.id, 9, 2**60, parents=(main.head.commit,))
    return [
        Space("s", 2),
        Branch("b", "other", None, 0, Point("b", 0)),
        Chunk(chunk_digest(b"x"), b"x"),
        ChangeBatch(commit, (Change("memories", ("z",), row("memories", "z", created_at=1, updated_at=1)),)),
        Checkpoint("p", Point(main.id, 1)),
        Counter("memories", ("a",), 1, 1),
    ]


def spoiled(event: Any) -> Iterator[Any]:
    """The event with something odd in a field, and the same of what it holds."""
    for name in event.__struct_fields__:
        for odd in ODD:
            yield msgspec.structs.replace(event, **{name: odd})
    if isinstance(event, ChangeBatch):
        for commit in spoiled(event.commit):
            yield ChangeBatch(commit, ())
        for change in spoiled(event.changes[0]):
            yield ChangeBatch(event.commit, (change,))
        for pick in spoiled(Pick(Point("b", 1), "memories", (("a",),))):
            yield ChangeBatch(msgspec.structs.replace(event.commit, picks=(pick,)), ())
    if isinstance(event, Checkpoint):
        for point in spoiled(event.point):
            yield Checkpoint("p", point)


def test_what_no_engine_gave_is_refused(dict_store: Any, row: Any) -> None:
    store, storage = dict_store, dict_store.storage
    store.commit(Put("memories", [row("memories", "a")]))
    head = storage.get(b"ns\0h")
    for event in good(store, row):
        for odd in spoiled(event):
            try:
                store.hook.ingest(CTX, [odd])
            except PerdureError:
                assert storage.get(b"ns\0h") == head
                continue
            # What is left is what an engine may have given after all, and reads back.
            assert store.hook.verify(CTX).ok
            store.hook.list_branches(CTX)
            storage.data[b"ns\0h"] = head
    assert store.hook.ingest(CTX, good(store, row)).commits == 1


@pytest.mark.parametrize(
    "event",
    [
        ChangeBatch(None, ()),  # type: ignore[arg-type]
        ChangeBatch(Commit(5, "b", 1, 1), ()),  # type: ignore[arg-type]
        ChangeBatch(Commit("c", "b", 2**63, 1), ()),
        Branch(None, "n", None, 0, Point("b", 0)),  # type: ignore[arg-type]
        Branch("b", "n", None, 1, Point("b", 0)),
        Branch("b", "a b", None, 0, Point("b", 0)),
        Space("s", 0),
        Checkpoint("c", None),  # type: ignore[arg-type]
        Counter("nope", ("a",), None, 1),
    ],
)
def test_the_error_is_that_of_a_record(dict_store: Any, event: Any) -> None:
    with pytest.raises(InvalidRecord):
        dict_store.hook.ingest(CTX, [event])


def test_a_commit_goes_on_as_it_began() -> None:
    first = ChangeBatch(Commit("c", "b", 1, 1), (), final=False)
    with pytest.raises(InvalidRecord, match="no final batch"):
        list(check_events([first, ChangeBatch(Commit("c", "b", 2, 1), ())]))


def test_what_was_looked_at_is_not_looked_at_again() -> None:
    events = check_events([Space("s", 2)])
    assert check_events(events) is events
    assert list(events) == [Space("s", 2)]
