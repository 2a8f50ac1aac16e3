from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from perdure import (
    Delete,
    Increment,
    InvalidInput,
    InvalidRecord,
    MergeConflict,
    NotFound,
    Point,
    Put,
    Space,
    StaleHead,
    Update,
)
from perdure._names import Ref
from perdure._schema import TABLES
from perdure.history import Dag, merge, merge_bases, sync, three_way

LAB = Ref("lab")


@pytest.fixture
def forked(engine: Any, row: Any) -> Any:
    """main and lab, which share one memory, one skill and a bound vector."""
    engine.spaces.append(Space("s", 1, table="memories"))
    engine.put(
        "main",
        ("memories", row("memories", "m", text="old", tags=("a", "b"))),
        ("skills", row("skills", "k", success_count=5)),
        ("vectors", row("vectors", "s", "m")),
    )
    engine.fork("lab")
    return engine


def texts(engine: Any, branch: str) -> dict[str, Any]:
    return {key[0]: row[6] for key, row in engine.state(branch).get("memories", {}).items()}


def test_one_commit_with_the_ancestry_of_its_source(forked: Any, row: Any, ctx: Any) -> None:
    last = forked.put("lab", ("memories", row("memories", "n", text="new")))
    forked.put("main", ("memories", row("memories", "o")))
    done = merge(forked, ctx, LAB, "main", commit_id="m", author="me", message="why")
    assert done.commit is not None
    assert (done.commit.id, done.commit.author, done.commit.message) == ("m", "me", "why")
    assert done.commit.parents[-1] == last.id
    assert done.commit.vector == Dag(forked, ctx).vector(forked.head("lab"))
    assert done.point == forked.head("main")
    assert [(c.table, c.key) for c in done.changes] == [("memories", ("n",))]
    assert (done.written, done.deleted, done.conflicts) == (1, 0, ())
    assert set(texts(forked, "main")) == {"m", "n", "o"}


def test_merging_twice_does_nothing(forked: Any, row: Any, ctx: Any) -> None:
    forked.put("lab", ("memories", row("memories", "n")))
    merge(forked, ctx, LAB, "main", commit_id="m")
    head = forked.head("main")
    again = merge(forked, ctx, LAB, "main", commit_id="m2")
    assert again.already_merged
    assert again.commit is None
    assert again.point == head == forked.head("main")
    assert merge(forked, ctx, Ref("main"), "main", commit_id="m3").already_merged


def test_the_same_commit_id_gives_the_first_outcome(forked: Any, row: Any, ctx: Any) -> None:
    forked.put("lab", ("memories", row("memories", "n")))
    first = merge(forked, ctx, LAB, "main", commit_id="m")
    forked.put("lab", ("memories", row("memories", "late")))
    again = merge(forked, ctx, LAB, "main", commit_id="m")
    assert again.replayed
    assert (again.commit, again.point) == (first.commit, first.point)
    assert "late" not in texts(forked, "main")


def test_a_merge_that_changes_no_row_still_records_ancestry(forked: Any, row: Any, ctx: Any) -> None:
    for branch in ("lab", "main"):
        forked.put(branch, ("memories", row("memories", "same")))
    done = merge(forked, ctx, LAB, "main", commit_id="m")
    assert done.commit is not None
    assert done.changes == ()


def test_conflicts_apply_nothing_and_are_all_reported(forked: Any, row: Any, ctx: Any) -> None:
    forked.do(
        "lab",
        Update("memories", ("m",), {"text": "theirs"}),
        Put("memories", [row("memories", "n", title="a")]),
        Delete("skills", [("k",)]),
    )
    forked.do(
        "main",
        Update("memories", ("m",), {"text": "ours"}),
        Put("memories", [row("memories", "n", title="b")]),
        Increment("skills", ("k",), {"success_count": 1}),
    )
    before = forked.state("main")
    with pytest.raises(MergeConflict) as caught:
        merge(forked, ctx, LAB, "main", commit_id="m")
    found = caught.value.conflicts
    assert [(c.table, c.key, c.kind) for c in found] == [
        ("memories", ("m",), "both_changed"),
        ("memories", ("n",), "both_added"),
        ("skills", ("k",), "delete_change"),
    ]
    assert found[0].fields == ("text",)
    assert found[0].base[6] == "old"
    assert found[1].base is None
    assert found[2].theirs is None
    assert forked.state("main") == before

    dry = merge(forked, ctx, LAB, "main", commit_id="m", dry_run=True)
    assert list(dry.conflicts) == found
    assert forked.state("main") == before


@pytest.mark.parametrize(("strategy", "text", "skill"), [("ours", "ours", True), ("theirs", "theirs", False)])
def test_a_side_wins(forked: Any, ctx: Any, strategy: Any, text: str, skill: bool) -> None:
    forked.do("lab", Update("memories", ("m",), {"text": "theirs"}), Delete("skills", [("k",)]))
    forked.do(
        "main",
        Update("memories", ("m",), {"text": "ours"}),
        Increment("skills", ("k",), {"success_count": 1}),
    )
    done = merge(forked, ctx, LAB, "main", strategy, commit_id="m")
    assert len(done.conflicts) == 2
    assert texts(forked, "main")["m"] == text
    assert (("k",) in forked.state("main").get("skills", {})) == skill


def test_field_joins_sums_tags_and_times(forked: Any, ctx: Any) -> None:
    forked.do(
        "lab",
        Update("memories", ("m",), {"tags": ("b", "x"), "expires_at": 9}),
        Increment("skills", ("k",), {"success_count": 2}),
    )
    forked.do(
        "main",
        Update("memories", ("m",), {"tags": ("b", "a", "y"), "expires_at": 4}),
        Increment("skills", ("k",), {"success_count": 3}),
    )
    merge(forked, ctx, LAB, "main", "field", commit_id="m")
    state, place = forked.state("main"), TABLES["memories"].position
    memory = state["memories"]["m",]
    assert memory[place["tags"]] == ("b", "y", "x")
    assert memory[place["expires_at"]] == 9
    assert state["skills"]["k",][TABLES["skills"].position["success_count"]] == 10


def test_later_merges_start_from_the_last(forked: Any, ctx: Any) -> None:
    """Counters are not counted twice, and a change back on the source arrives."""
    for turn in range(3):
        forked.do(
            "lab",
            Increment("skills", ("k",), {"success_count": 1}),
            Update("memories", ("m",), {"text": str(turn % 2)}),
        )
        forked.do("main", Increment("skills", ("k",), {"success_count": 10}))
        merge(forked, ctx, LAB, "main", "field", commit_id=f"m{turn}")
    assert forked.state("main")["skills"]["k",][TABLES["skills"].position["success_count"]] == 38
    assert texts(forked, "main")["m"] == "0"


def test_a_kept_ours_is_a_change_that_travels_back(forked: Any, ctx: Any) -> None:
    """main kept its text against lab's: lab, which merges main, gets main's, though main wrote nothing new."""
    forked.do("lab", Update("memories", ("m",), {"text": "theirs"}))
    forked.do("main", Update("memories", ("m",), {"text": "ours"}))
    merge(forked, ctx, LAB, "main", "ours", commit_id="m1")
    merge(forked, ctx, Ref("main"), "lab", commit_id="m2")
    assert texts(forked, "lab")["m"] == "ours"


def test_where_criss_cross_bases_differ_a_field_has_no_base(forked: Any, ctx: Any) -> None:
    forked.do("lab", Update("memories", ("m",), {"text": "theirs", "updated_at": 9}))
    forked.do("main", Update("memories", ("m",), {"text": "ours", "updated_at": 9}))
    mine, other = forked.head("main"), forked.head("lab")
    merge(forked, ctx, other, "main", "ours", commit_id="m1")
    merge(forked, ctx, mine, "lab", "ours", commit_id="m2")
    with pytest.raises(MergeConflict) as caught:
        merge(forked, ctx, LAB, "main", commit_id="m3")
    [conflict] = caught.value.conflicts
    assert (conflict.kind, conflict.fields, conflict.base) == ("both_changed", ("text",), None)


# ------------------------------------------------------------------------------------ bound vectors


def vectors(engine: Any, branch: str) -> set[Any]:
    return set(engine.state(branch).get("vectors", {}))


def move(engine: Any, row: Any, branch: str, space: str = "s", data: bytes = b"\1\0\0\0") -> None:
    engine.put(branch, ("vectors", row("vectors", space, "m", values=data)))


@pytest.mark.parametrize(("deleter", "changer"), [("lab", "main"), ("main", "lab")])
@pytest.mark.parametrize("space", ["s", "t"])
def test_a_deletion_against_a_change_of_a_vector_conflicts(
    forked: Any, row: Any, ctx: Any, deleter: str, changer: str, space: str
) -> None:
    forked.spaces.append(Space("t", 1, table="memories"))
    forked.do(deleter, Delete("memories", [("m",)]))
    move(forked, row, changer, space)
    for strategy in ("fail", "field"):
        with pytest.raises(MergeConflict) as caught:
            merge(forked, ctx, LAB, "main", strategy, commit_id="m")
        assert [(c.table, c.key, c.kind) for c in caught.value.conflicts] == [
            ("vectors", (space, "m"), "vector")
        ]
    winner = {"ours": "main", "theirs": "lab"}
    for strategy, side in winner.items():
        dry = merge(forked, ctx, LAB, "main", strategy, commit_id="m", dry_run=True)  # type: ignore[arg-type]
        result = set(vectors(forked, "main"))
        for change in dry.changes:
            if change.table == "vectors":
                (result.discard if change.row is None else result.add)(change.key)
        assert result == vectors(forked, side)
    merge(forked, ctx, LAB, "main", "theirs", commit_id="m")
    assert vectors(forked, "main") == vectors(forked, "lab")
    assert (("m",) in forked.state("main")["memories"]) == (changer == "lab")


def test_a_row_that_stays_keeps_its_vectors(forked: Any, ctx: Any) -> None:
    forked.do("lab", Delete("memories", [("m",)]))
    forked.do("main", Update("memories", ("m",), {"text": "ours"}))
    merge(forked, ctx, LAB, "main", "ours", commit_id="m")
    assert vectors(forked, "main") == {("s", "m")}


def test_a_row_that_comes_back_brings_its_vectors(forked: Any, ctx: Any) -> None:
    forked.do("main", Delete("memories", [("m",)]))
    forked.do("lab", Update("memories", ("m",), {"text": "theirs"}))
    merge(forked, ctx, LAB, "main", "theirs", commit_id="m")
    assert vectors(forked, "main") == {("s", "m")}


def test_a_clean_deletion_takes_its_vectors(forked: Any, ctx: Any) -> None:
    forked.do("lab", Delete("memories", [("m",)]))
    done = merge(forked, ctx, LAB, "main", commit_id="m")
    assert [c.table for c in done.changes] == ["memories", "vectors"]
    assert done.deleted == 2
    assert vectors(forked, "main") == set()


# --------------------------------------------------------------------------------------- selections


def test_a_selective_merge_takes_only_what_was_asked_for(forked: Any, row: Any, ctx: Any) -> None:
    forked.put(
        "lab",
        ("memories", row("memories", "x")),
        ("memories", row("memories", "y")),
        ("links", row("links", "l")),
    )
    done = merge(forked, ctx, LAB, "main", commit_id="m", keys={"memories": [("x",)]})
    assert set(texts(forked, "main")) == {"m", "x"}
    assert done.commit is not None
    assert (done.commit.vector, len(done.commit.parents)) == ({}, 1)
    [pick] = done.commit.picks
    assert (pick.source, pick.table, pick.keys) == (forked.head("lab"), "memories", (("x",),))
    assert merge(forked, ctx, LAB, "main", commit_id="m2", keys={"memories": [("x",)]}).already_merged
    merge(forked, ctx, LAB, "main", commit_id="m3", tables=["links"])
    assert set(forked.state("main")["links"]) == {("l",)}
    merge(forked, ctx, LAB, "main", commit_id="m4")
    assert set(texts(forked, "main")) == {"m", "x", "y"}


def test_what_was_picked_is_the_base_of_its_key(forked: Any, ctx: Any) -> None:
    forked.do(
        "lab", Update("memories", ("m",), {"text": "1"}), Increment("skills", ("k",), {"success_count": 1})
    )
    merge(forked, ctx, LAB, "main", commit_id="p", tables=["skills"], keys={"memories": [("m",)]})
    forked.do(
        "lab", Update("memories", ("m",), {"text": "2"}), Increment("skills", ("k",), {"success_count": 1})
    )
    forked.do("main", Increment("skills", ("k",), {"success_count": 10}))
    merge(forked, ctx, LAB, "main", "field", commit_id="m")
    assert texts(forked, "main")["m"] == "2"
    assert forked.state("main")["skills"]["k",][TABLES["skills"].position["success_count"]] == 17


def test_a_change_back_after_a_pick_arrives(forked: Any, row: Any, ctx: Any) -> None:
    """The row equals the merge base again, which is no longer the base of its key."""
    original = forked.state("lab")["memories"]["m",]
    forked.do("lab", Update("memories", ("m",), {"text": "1"}))
    merge(forked, ctx, LAB, "main", commit_id="p", keys={"memories": [("m",)]})
    forked.put("lab", ("memories", original))
    merge(forked, ctx, LAB, "main", commit_id="m")
    assert texts(forked, "main")["m"] == "old"


def test_picks_of_one_source_on_both_sides_are_a_base(forked: Any, ctx: Any) -> None:
    forked.fork("other")
    forked.do("lab", Update("memories", ("m",), {"text": "1"}))
    for into in ("main", "other"):
        merge(forked, ctx, LAB, into, commit_id=f"p{into}", keys={"memories": [("m",)]})
    forked.do("other", Update("memories", ("m",), {"text": "old"}))
    merge(forked, ctx, Ref("other"), "main", commit_id="m")
    assert texts(forked, "main")["m"] == "old"


def test_a_pick_from_a_branch_that_is_gone(forked: Any, ctx: Any) -> None:
    forked.do("lab", Update("memories", ("m",), {"text": "1"}))
    forked.fork("other")
    merge(forked, ctx, LAB, "main", commit_id="p", keys={"memories": [("m",)]})
    forked.drop("lab")
    forked.do("other", Update("skills", ("k",), {"name": "n"}))
    merge(forked, ctx, Ref("other"), "main", commit_id="m")
    assert forked.state("main")["skills"]["k",][1] == "n"


def test_selected_rows_bring_their_vectors(forked: Any, row: Any, ctx: Any) -> None:
    forked.put("lab", ("memories", row("memories", "x")), ("vectors", row("vectors", "s", "x")))
    merge(forked, ctx, LAB, "main", commit_id="m", keys={"memories": [("x",)]})
    assert vectors(forked, "main") == {("s", "m"), ("s", "x")}


def test_a_selected_vector_without_its_row_conflicts(forked: Any, row: Any, ctx: Any) -> None:
    forked.put("lab", ("memories", row("memories", "x")), ("vectors", row("vectors", "s", "x")))
    with pytest.raises(MergeConflict) as caught:
        merge(forked, ctx, LAB, "main", commit_id="m", tables=["vectors"])
    assert [c.kind for c in caught.value.conflicts] == ["vector"]


@pytest.mark.parametrize(
    ("error", "options"),
    [
        (InvalidInput, {"tables": []}),
        (InvalidInput, {"keys": {}}),
        (InvalidInput, {"keys": {"memories": []}}),
        (InvalidInput, {"tables": "memories"}),
        (InvalidInput, {"strategy": "best"}),
        (NotFound, {"tables": ["memory"]}),
        (NotFound, {"keys": {"\0": [("a",)]}}),
        (InvalidRecord, {"keys": {"memories": ["a"]}}),
        (InvalidRecord, {"keys": {"vectors": [("a",)]}}),
        (InvalidRecord, {"keys": {"memories": [(2**80,)]}}),
    ],
)
def test_malformed_calls(engine: Any, ctx: Any, error: Any, options: Any) -> None:
    with pytest.raises(error):
        merge(engine, ctx, Ref("main"), "main", commit_id="m", **options)


# ------------------------------------------------------------------------------------- concurrency


def test_a_merge_overtaken_by_a_writer_starts_again(forked: Any, row: Any, ctx: Any) -> None:
    forked.do("lab", Increment("skills", ("k",), {"success_count": 2}))
    forked.before_commit = lambda: forked.do("main", Increment("skills", ("k",), {"success_count": 1}))
    with pytest.raises(MergeConflict):
        merge(forked, ctx, LAB, "main", commit_id="m1")
    forked.before_commit = lambda: forked.do("main", Increment("skills", ("k",), {"success_count": 1}))
    merge(forked, ctx, LAB, "main", "field", commit_id="m2")
    assert forked.state("main")["skills"]["k",][TABLES["skills"].position["success_count"]] == 9


def test_expect_head(forked: Any, row: Any, ctx: Any) -> None:
    forked.put("lab", ("memories", row("memories", "n")))
    with pytest.raises(StaleHead):
        merge(forked, ctx, LAB, "main", commit_id="m", expect_head="elsewhere")
    head = forked.head("main").commit
    forked.before_commit = lambda: forked.put("main", ("memories", row("memories", "o")))
    with pytest.raises(StaleHead):
        merge(forked, ctx, LAB, "main", commit_id="m", expect_head=head)
    assert merge(forked, ctx, LAB, "main", commit_id="m", expect_head=forked.head("main").commit).commit


def test_a_branch_that_never_rests(forked: Any, row: Any, ctx: Any) -> None:
    forked.put("lab", ("memories", row("memories", "n")))

    commit = forked.commit

    def overtaken(ctx: Any, request: Any) -> Any:
        if request.id == "m":
            forked.put("main", ("memories", row("memories", f"x{forked.clock}")))
        return commit(ctx, request)

    forked.commit = overtaken
    with pytest.raises(StaleHead):
        merge(forked, ctx, LAB, "main", commit_id="m")


# --------------------------------------------------------------------------------------------- sync


def test_sync_brings_the_parent(forked: Any, row: Any, ctx: Any) -> None:
    forked.put("main", ("memories", row("memories", "n")))
    sync(forked, ctx, "lab", commit_id="s")
    assert "n" in texts(forked, "lab")
    assert sync(forked, ctx, "lab", commit_id="s2").already_merged
    with pytest.raises(InvalidInput, match="forked"):
        sync(forked, ctx, "main", commit_id="s3")


# -------------------------------------------------------------------------------- random histories

steps = st.lists(
    st.tuples(
        st.sampled_from(["write", "merge", "fork", "write"]),
        st.integers(0, 3),
        st.integers(0, 3),
        st.integers(0, 2),
    ),
    max_size=20,
)


@given(steps, st.sampled_from(["ours", "theirs", "field"]), st.booleans())
def test_merges_agree_with_whole_snapshots(
    row: Any, ctx: Any, new_engine: Any, history: Any, strategy: Any, by_touch: bool
) -> None:
    """Every merge against a join of every row of the store, which looks at no lineage of writes."""
    engine, names = new_engine(), ["main"]
    engine.by_touch = by_touch
    for number, (what, a, b, value) in enumerate(history):
        one, two = names[a % len(names)], names[b % len(names)]
        if what == "fork" and len(names) < 4:
            engine.fork(f"n{len(names)}", one)
            names.append(f"n{len(names)}")
        elif what == "write":
            engine.do(
                one,
                Put("skills", [row("skills", str(b), success_count=value, tags=("t", "u")[:value])]),
                force=True,
            )
        elif what == "merge":
            bases = [
                engine.state(p) for p in merge_bases(Dag(engine, ctx), engine.head(one), engine.head(two))
            ]
            ours, theirs = engine.state(two).get("skills", {}), engine.state(one).get("skills", {})
            want, clash = {}, False
            for key in ours.keys() | theirs.keys():
                out = three_way(
                    TABLES["skills"],
                    [base.get("skills", {}).get(key) for base in bases],
                    ours.get(key),
                    theirs.get(key),
                    strategy,
                )
                clash |= out.kind is not None
                if out.row is not None:
                    want[key] = out.row
            try:
                done = merge(engine, ctx, Ref(one), two, strategy, commit_id=f"merge{number}")
            except MergeConflict:
                assert clash
                assert strategy == "field"
                continue
            assert engine.state(two).get("skills", {}) == (ours if done.already_merged else want)
            assert merge(engine, ctx, Ref(one), two, strategy, commit_id="again").already_merged


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3), st.none() | st.integers(0, 3)), max_size=10))
def test_both_directions_give_the_same_rows(row: Any, ctx: Any, new_engine: Any, writes: Any) -> None:
    outcomes = []
    for source, into in (("lab", "main"), ("main", "lab")):
        engine = new_engine()
        engine.put("main", *(("skills", row("skills", str(i))) for i in range(3)))
        engine.fork("lab")
        for lab, key, value in writes:
            branch = "lab" if lab else "main"
            made = (
                Delete("skills", [(str(key),)])
                if value is None
                else Put("skills", [row("skills", str(key), success_count=value)])
            )
            engine.do(branch, made, force=True)
        try:
            merge(engine, ctx, Ref(source), into, "field", commit_id="m")
            outcomes.append(engine.state(into))
        except MergeConflict as error:
            outcomes.append([(c.table, c.key, c.kind, c.fields) for c in error.conflicts])
    assert outcomes[0] == outcomes[1]


def test_structs_travel(forked: Any, row: Any, ctx: Any) -> None:
    """Results are plain data: they survive MessagePack, as a wrapper over a network would need."""
    forked.put("lab", ("memories", row("memories", "n")))
    done = merge(forked, ctx, LAB, "main", commit_id="m")
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(done.point), type=Point) == done.point
