from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from perdure import (
    Delete,
    HistoryExpired,
    Increment,
    InvalidInput,
    MergeConflict,
    NotFound,
    Put,
    Space,
    StaleHead,
    Update,
)
from perdure._names import Ref
from perdure._schema import TABLES
from perdure.history import merge, revert, without

COUNT = TABLES["skills"].position["success_count"]


@pytest.fixture
def store(engine: Any, row: Any) -> Any:
    engine.spaces.append(Space("s", 1, table="memories"))
    engine.put(
        "main",
        ("memories", row("memories", "m", text="old")),
        ("skills", row("skills", "k", success_count=5)),
        id="root",
    )
    return engine


def text(engine: Any, branch: str, key: str = "m") -> Any:
    found = engine.state(branch)["memories"].get((key,))
    return found and found[6]


def test_undoes_one_commit_and_keeps_what_came_later(store: Any, row: Any, ctx: Any) -> None:
    before = store.state("main")
    store.do(
        "main",
        Update("memories", ("m",), {"text": "new"}),
        Put("memories", [row("memories", "n")]),
        Delete("skills", [("k",)]),
        id="bad",
    )
    store.put("main", ("memories", row("memories", "later")))
    done = revert(store, ctx, "bad", "main", revert_id="r", author="me", message="undo")
    assert done.commit is not None
    assert (done.commit.reverts, done.commit.author, done.commit.message) == ("bad", "me", "undo")
    after = store.state("main")
    assert after["memories"].pop(("later",))
    assert after == before
    assert (done.written, done.deleted) == (2, 1)


def test_a_revert_can_be_reverted(store: Any, ctx: Any) -> None:
    store.do("main", Update("memories", ("m",), {"text": "new"}), id="bad")
    wanted = store.state("main")
    revert(store, ctx, "bad", "main", revert_id="r1")
    assert text(store, "main") == "old"
    revert(store, ctx, "r1", "main", revert_id="r2")
    assert store.state("main") == wanted


def test_twice_makes_no_second_commit(store: Any, ctx: Any) -> None:
    store.do("main", Update("memories", ("m",), {"text": "new"}), id="bad")
    revert(store, ctx, "bad", "main", revert_id="r1")
    again = revert(store, ctx, "bad", "main", revert_id="r2")
    assert again.commit is None
    assert again.changes == ()
    assert revert(store, ctx, "bad", "main", revert_id="r1").replayed


def test_later_changes_conflict(store: Any, ctx: Any) -> None:
    store.do(
        "main",
        Update("memories", ("m",), {"text": "new"}),
        Increment("skills", ("k",), {"success_count": 3}),
        id="bad",
    )
    store.do(
        "main",
        Update("memories", ("m",), {"text": "newer"}),
        Increment("skills", ("k",), {"success_count": 1}),
    )
    with pytest.raises(MergeConflict) as caught:
        revert(store, ctx, "bad", "main", revert_id="r")
    assert [(c.key, c.kind, c.fields) for c in caught.value.conflicts] == [
        (("m",), "both_changed", ("text",)),
        (("k",), "both_changed", ("success_count",)),
    ]
    assert len(revert(store, ctx, "bad", "main", revert_id="r", dry_run=True).conflicts) == 2
    with pytest.raises(MergeConflict) as caught:
        revert(store, ctx, "bad", "main", "field", revert_id="r")
    assert [c.key for c in caught.value.conflicts] == [("m",)]
    revert(store, ctx, "bad", "main", "theirs", revert_id="r")
    assert text(store, "main") == "old"


def test_counters_are_undone_by_their_delta(store: Any, ctx: Any) -> None:
    store.do("main", Increment("skills", ("k",), {"success_count": 3}), id="bad")
    store.do("main", Increment("skills", ("k",), {"success_count": 1}))
    revert(store, ctx, "bad", "main", "field", revert_id="r")
    assert store.state("main")["skills"]["k",][COUNT] == 6


def test_undoing_an_insert_against_a_later_vector(store: Any, row: Any, ctx: Any) -> None:
    store.put("main", ("memories", row("memories", "n")), id="bad")
    store.put("main", ("vectors", row("vectors", "s", "n")))
    with pytest.raises(MergeConflict) as caught:
        revert(store, ctx, "bad", "main", revert_id="r")
    assert [(c.key, c.kind) for c in caught.value.conflicts] == [(("s", "n"), "vector")]
    revert(store, ctx, "bad", "main", "theirs", revert_id="r")
    assert store.state("main")["vectors"] == {}


def test_undoing_a_deletion_brings_the_vectors_back(store: Any, row: Any, ctx: Any) -> None:
    store.put("main", ("vectors", row("vectors", "s", "m")))
    before = store.state("main")
    store.do("main", Delete("memories", [("m",)]), id="bad")
    assert store.state("main")["vectors"] == {}
    revert(store, ctx, "bad", "main", revert_id="r")
    assert store.state("main") == before


def test_a_merge_needs_its_parent(store: Any, row: Any, ctx: Any) -> None:
    store.fork("lab")
    theirs = store.put("lab", ("memories", row("memories", "l")))
    ours = store.put("main", ("memories", row("memories", "o")))
    merge(store, ctx, Ref("lab"), "main", commit_id="bad")
    for parent in (None, 2, -1, True, "root", ours.seq * 10**30):
        with pytest.raises(InvalidInput, match="parent="):
            revert(store, ctx, "bad", "main", revert_id="r", parent=parent)
    for parent in (0, ours.id):
        dry = revert(store, ctx, "bad", "main", revert_id="r", parent=parent, dry_run=True)
        assert [(c.key, c.row) for c in dry.changes] == [(("l",), None)]
    for parent in (1, theirs.id):
        dry = revert(store, ctx, "bad", "main", revert_id="r", parent=parent, dry_run=True)
        assert [(c.key, c.row) for c in dry.changes] == [(("o",), None)]


def test_a_merge_into_an_empty_branch(engine: Any, row: Any, ctx: Any) -> None:
    engine.fork("lab")
    engine.put("lab", ("memories", row("memories", "l")))
    merge(engine, ctx, Ref("lab"), "main", commit_id="bad")
    assert without(engine, ctx, Ref("main"), "bad") == {"memories": {("l",): None}}
    assert revert(engine, ctx, "bad", "main", revert_id="r", parent=0, dry_run=True).changes == ()


def test_a_parent_is_for_merges_only(store: Any, ctx: Any) -> None:
    assert revert(store, ctx, "root", "main", revert_id="r", parent=0, dry_run=True).deleted == 2
    with pytest.raises(InvalidInput, match="no merge"):
        revert(store, ctx, "root", "main", revert_id="r", parent=1)


def test_only_what_the_branch_descends_from(store: Any, row: Any, ctx: Any) -> None:
    store.fork("lab")
    made = store.put("lab", ("memories", row("memories", "l")))
    for bad in (made.id, "nope", "x" * 100_000, ""):
        with pytest.raises(NotFound):
            revert(store, ctx, bad, "main", revert_id="r")
        with pytest.raises(NotFound):
            without(store, ctx, Ref("main"), bad)
    revert(store, ctx, "root", "lab", revert_id="r")
    assert set(store.state("lab")["memories"]) == {("l",)}
    assert text(store, "main") == "old"


def test_heads_and_expired_history(store: Any, row: Any, ctx: Any) -> None:
    with pytest.raises(StaleHead):
        revert(store, ctx, "root", "main", revert_id="r", expect_head="other")
    store.before_commit = lambda: store.put("main", ("memories", row("memories", "x")))
    revert(store, ctx, "root", "main", revert_id="r")
    assert set(store.state("main")["memories"]) == {("x",)}
    store.floors["b0"] = 4
    with pytest.raises(HistoryExpired):
        revert(store, ctx, "root", "main", revert_id="r2")


# ------------------------------------------------------------------------------------------- without


def test_without_a_commit_the_later_change_wins(store: Any, row: Any, ctx: Any) -> None:
    store.do(
        "main",
        Update("memories", ("m",), {"text": "new", "title": "t"}),
        Increment("skills", ("k",), {"success_count": 3}),
        Put("memories", [row("memories", "n")]),
        id="bad",
    )
    store.do(
        "main",
        Update("memories", ("m",), {"text": "newer"}),
        Increment("skills", ("k",), {"success_count": 1}),
    )
    store.put("main", ("memories", row("memories", "later")))
    head = store.head("main")
    found = without(store, ctx, Ref("main"), "bad")
    assert set(found) == {"memories", "skills"}
    assert found["memories"]["n",] is None
    changed = found["memories"]["m",]
    assert changed is not None
    assert (changed[5], changed[6]) == (None, "newer")
    assert found["skills"]["k",][COUNT] == 6  # type: ignore[index]
    assert ("later",) not in found["memories"]
    assert store.head("main") == head


def test_without_keeps_a_row_whose_vector_came_later(store: Any, row: Any, ctx: Any) -> None:
    store.put("main", ("memories", row("memories", "n")), id="bad")
    store.put("main", ("vectors", row("vectors", "s", "n")))
    assert without(store, ctx, Ref("main"), "bad") == {}


def test_without_a_deletion(store: Any, row: Any, ctx: Any) -> None:
    store.put("main", ("vectors", row("vectors", "s", "m")))
    whole = store.state("main")
    store.do("main", Delete("memories", [("m",)]), id="bad")
    found = without(store, ctx, Ref("main"), "bad")
    assert found == {
        "memories": {("m",): whole["memories"]["m",]},
        "vectors": {("s", "m"): whole["vectors"]["s", "m"]},
    }


writes = st.lists(
    st.lists(st.tuples(st.integers(0, 3), st.none() | st.sampled_from("ab")), max_size=4),
    min_size=1,
    max_size=6,
)


@given(writes, st.integers(0, 5))
def test_without_agrees_with_replaying_the_others(
    row: Any, ctx: Any, new_engine: Any, commits: Any, which: int
) -> None:
    """Whole rows put or deleted: what a commit wrote last is gone, what was written later stays."""

    def run(skip: int | None) -> Any:
        engine = new_engine()
        for number, rows in enumerate(commits):
            made = []
            for key, kind in [] if number == skip else rows:
                key_ = (str(key),)
                made.append(
                    Delete("links", [key_])
                    if kind is None
                    else Put("links", [row("links", *key_, relation=f"{kind}{number}")])
                )
            engine.do("main", *made, id=f"c{number}", force=True)
        return engine

    which %= len(commits)
    engine, other = run(None), run(which)
    log = engine.own["b0"]
    # A later deletion of what was gone already left no trace, so it is not there to be replayed.
    later = {(str(key),) for rows in commits[which + 1 :] for key, _ in rows}
    base = log[which][2].get("links", {})
    before = log[which - 1][2].get("links", {}) if which else {}
    now, replayed = (e.state("main").get("links", {}) for e in (engine, other))
    got = {**now, **without(engine, ctx, Ref("main"), f"c{which}").get("links", {})}
    for key in got.keys() | replayed.keys():
        if key in later:
            assert got.get(key) == (before if now.get(key) == base.get(key) else now).get(key)
        else:
            assert got.get(key) == replayed.get(key)
