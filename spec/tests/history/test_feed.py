from __future__ import annotations

from threading import Event, Thread
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from perdure import Branch, HistoryExpired, InvalidInput, Point
from perdure.history import feed, heads
from perdure.history._feed import parents_first


def texts(items: Any) -> list[str]:
    return [change.row[6] for item in items if item.batch is not None for change in item.batch.changes]


def test_all_commits_of_all_branches_once(engine: Any, row: Any, ctx: Any) -> None:
    engine.put("main", ("memories", row("memories", "a", text="1")))
    engine.fork("lab")
    engine.put("lab", ("memories", row("memories", "a", text="2")))
    engine.put("main", ("memories", row("memories", "a", text="3")))
    items = list(feed(engine, ctx))
    assert texts(items) == ["1", "3", "2"]
    assert items[-1].cursor == heads(engine, ctx)
    assert list(feed(engine, ctx, items[-1].cursor)) == []


def test_branches_come_and_go_in_the_cursor(engine: Any, row: Any, ctx: Any) -> None:
    engine.put("main", ("memories", row("memories", "a", text="1")))
    here = heads(engine, ctx)
    lab = engine.fork("lab")
    [item] = feed(engine, ctx, here)
    assert (item.batch, item.cursor) == (None, {"b0": 2, lab.id: 2})
    engine.drop("lab")
    [item] = feed(engine, ctx, item.cursor)
    assert (item.batch, item.cursor) == (None, here)


def test_a_commit_in_several_batches_is_resumed_whole(engine: Any, row: Any, ctx: Any) -> None:
    engine.put("main", *(("memories", row("memories", key, text=key)) for key in "abcd"))
    first, *rest = (item for item in feed(engine, ctx) if item.batch is not None)
    assert first.batch is not None
    assert not first.batch.final
    assert texts(feed(engine, ctx, first.cursor)) == list("abcd")
    assert texts([first, *rest]) == list("abcd")


def test_an_expired_cursor(engine: Any, row: Any, ctx: Any) -> None:
    for text in "12":
        engine.put("main", ("memories", row("memories", "a", text=text)))
    engine.floors["b0"] = 4
    with pytest.raises(HistoryExpired):
        list(feed(engine, ctx))
    assert texts(feed(engine, ctx, {"b0": 4})) == []


@pytest.mark.parametrize(
    "cursor",
    [
        {"b0": 1},
        {"b0": 2**80},
        {"b0": -1},
        {"b0": True},
        {"b0": "1"},
        {"b0": float("nan")},
        {1: 1},
        [("b0", 1)],
        "b0",
    ],
)
def test_wrong_cursors(engine: Any, ctx: Any, cursor: Any) -> None:
    with pytest.raises(InvalidInput):
        list(feed(engine, ctx, cursor))


@pytest.mark.parametrize("poll", [0, -1, float("nan")])
def test_wrong_polls(engine: Any, ctx: Any, poll: float) -> None:
    with pytest.raises(InvalidInput):
        feed(engine, ctx, poll=poll)


def test_following_sees_what_is_committed_later(engine: Any, row: Any, ctx: Any) -> None:
    stop, seen = Event(), []

    def watch() -> None:
        for item in feed(engine, ctx, {"b0": 0}, follow=True, poll=0.005, stop=stop):
            seen.extend(texts([item]))
            if seen[-1:] == ["last"]:
                stop.set()

    thread = Thread(target=watch)
    thread.start()
    for text in ("1", "2", "last"):
        engine.put("main", ("memories", row("memories", "a", text=text)))
    thread.join(30)
    assert not thread.is_alive()
    assert seen == ["1", "2", "last"]


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 3), st.booleans()), max_size=10), st.data())
def test_resuming_anywhere_gives_each_commit_once(
    row: Any, ctx: Any, new_engine: Any, history: Any, data: Any
) -> None:
    engine, names, cursor, seen = new_engine(), ["main"], None, []
    for number, (which, size, fork) in enumerate(history):
        name = names[which % len(names)]
        engine.put(name, *(("memories", row("memories", str(i), text=f"{number}.{i}")) for i in range(size)))
        if fork and len(names) < 3:
            engine.fork(f"n{len(names)}", name)
            names.append(f"n{len(names)}")
        if data.draw(st.booleans()):
            parts: list[str] = []
            for item in feed(engine, ctx, cursor):
                parts.extend(texts([item]))
                if item.batch is None or item.batch.final:
                    seen.extend(parts)
                    parts, cursor = [], item.cursor
                    if data.draw(st.booleans()):
                        break
    seen.extend(texts(feed(engine, ctx, cursor)))
    assert sorted(seen) == sorted(f"{n}.{i}" for n, (_, size, _) in enumerate(history) for i in range(size))


def test_parents_come_first_even_in_a_circle() -> None:
    def branch(id_: str, parent: str | None) -> Branch:
        return Branch(id_, id_, parent, 0, Point(id_, 0))

    order = parents_first([branch("a", "c"), branch("b", None), branch("c", "b"), branch("d", "gone")])
    assert [b.id for b in order] == ["b", "d", "c", "a"]
    assert len(parents_first([branch("a", "b"), branch("b", "a")])) == 2
