from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from perdure import (
    Branch,
    ChangeBatch,
    Checkpoint,
    Chunk,
    Commit,
    CorruptStore,
    Counter,
    HistoryExpired,
    InvalidInput,
    Point,
    Space,
)
from perdure._names import Ref
from perdure.history import export, heads, merge
from perdure.history._export import manifest_digests


def check_order(events: list[Any]) -> None:
    """What `ingest` demands."""
    kinds = [type(e) for e in events]
    rank: dict[type, int] = {Space: 0, Checkpoint: 2, Counter: 3}
    assert kinds == sorted(kinds, key=lambda kind: rank.get(kind, 1))
    branches: dict[str, Branch] = {}
    commits: dict[str, Commit] = {}
    pieces: set[str] = set()
    open_commit: str | None = None
    for event in events:
        if isinstance(event, Branch):
            assert event.id not in branches
            if event.parent is not None:
                assert event.parent in branches
                assert event.fork_seq <= max([0, *(c.seq for c in commits.values())])
            branches[event.id] = event
        elif isinstance(event, Chunk):
            assert event.digest not in pieces
            pieces.add(event.digest)
        elif isinstance(event, ChangeBatch):
            assert event.commit.branch in branches
            assert open_commit in (None, event.commit.id)
            if open_commit is None:
                assert event.commit.id not in commits
                assert all(parent in commits for parent in event.commit.parents)
            open_commit = None if event.final else event.commit.id
            commits[event.commit.id] = event.commit
            for change in event.changes:
                if change.table == "states" and change.row is not None and change.row[3] is not None:
                    assert set(manifest_digests(str(change.row[3]))) <= pieces


def test_everything_in_the_order_of_ingest(engine: Any, row: Any, ctx: Any, store_payload: Any) -> None:
    engine.spaces.append(Space("s", 1, table="memories"))
    payload, more = store_payload(engine, b"a", b"b"), store_payload(engine, b"b", b"c", b"c")
    engine.put(
        "main", ("memories", row("memories", "m")), ("states", row("states", "w", "1", payload=payload))
    )
    engine.fork("lab")
    engine.put(
        "lab",
        ("states", row("states", "w", "1", payload=more)),
        ("states", row("states", "w", "2", payload="0:")),
    )
    merge(engine, ctx, Ref("lab"), "main", commit_id="m")
    engine.checkpoints.append(Checkpoint("best", engine.head("main")))
    engine.reads["memories", ("m",)] = Counter("memories", ("m",), 7, 3)
    events = list(export(engine, ctx))
    check_order(events)
    assert [e.data for e in events if isinstance(e, Chunk)] == [b"a", b"b", b"c"]
    assert [e.access_count for e in events if isinstance(e, Counter)] == [3]
    assert [e.name for e in events if isinstance(e, Checkpoint)] == ["best"]


def test_since_gives_what_is_newer(engine: Any, row: Any, ctx: Any) -> None:
    engine.put("main", ("memories", row("memories", "a")))
    cursor = heads(engine, ctx)
    assert not any(isinstance(e, ChangeBatch) for e in export(engine, ctx, cursor))
    engine.fork("lab")
    for name in ("lab", "main"):
        engine.put(name, ("memories", row("memories", name)))
    found = [e.changes[0].key for e in export(engine, ctx, cursor) if isinstance(e, ChangeBatch)]
    assert sorted(found) == [("lab",), ("main",)]
    engine.floors["b0"] = 10
    with pytest.raises(HistoryExpired):
        list(export(engine, ctx, cursor))
    assert len(list(export(engine, ctx))) == 5
    with pytest.raises(InvalidInput):
        list(export(engine, ctx, {"b0": 10**9}))
    with pytest.raises(InvalidInput):
        export(engine, ctx, {"b0": None})  # type: ignore[dict-item]


def test_heads_are_pinned_when_it_begins(engine: Any, row: Any, ctx: Any) -> None:
    engine.put("main", ("memories", row("memories", "a")))
    events = export(engine, ctx)
    first = next(events)
    engine.fork("lab")
    engine.put("main", ("memories", row("memories", "b")))
    engine.checkpoints.append(Checkpoint("late", engine.head("lab")))
    rest = list(events)
    assert isinstance(first, Branch)
    assert first.head.seq == 2
    assert [type(e) for e in rest] == [ChangeBatch]


def test_a_circle_of_merges_is_damage(engine: Any, row: Any, ctx: Any) -> None:
    engine.put("main", ("memories", row("memories", "a")))
    lab = engine.fork("lab", Point("b0", 0))
    engine.put("lab", ("memories", row("memories", "a")), vector={"b0": 2})
    commit, changes, state = engine.own["b0"][0]
    engine.own["b0"][0] = (Commit(commit.id, "b0", 2, 1, vector={lab.id: 2}), changes, state)
    with pytest.raises(CorruptStore):
        list(export(engine, ctx))


def test_manifests() -> None:
    assert manifest_digests("0:") == []
    assert manifest_digests("5:a,b") == ["a", "b"]
    assert manifest_digests("") == []


steps = st.lists(
    st.tuples(st.sampled_from(["put", "fork", "merge", "pick"]), st.integers(0, 3), st.integers(0, 3)),
    max_size=20,
)


@given(steps)
def test_any_history_is_in_order(row: Any, ctx: Any, new_engine: Any, history: Any) -> None:
    engine, names = new_engine(), ["main"]
    for number, (what, a, b) in enumerate(history):
        one, two = names[a % len(names)], names[b % len(names)]
        if what == "fork" and len(names) < 4:
            engine.fork(f"n{len(names)}", one)
            names.append(f"n{len(names)}")
        elif what == "put":
            engine.put(
                one, *(("memories", row("memories", str(b + i), text=str(number))) for i in range(a + 1))
            )
        elif what in ("merge", "pick"):
            tables = ["memories"] if what == "pick" else None
            merge(engine, ctx, Ref(one), two, "theirs", commit_id=f"m{number}", tables=tables)
    events = list(export(engine, ctx))
    check_order(events)
    sent = {e.commit.id for e in events if isinstance(e, ChangeBatch)}
    assert sent == {c.id for own in engine.own.values() for c, _, _ in own}
