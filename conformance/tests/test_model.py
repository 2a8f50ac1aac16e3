"""The model by itself: small histories whose outcome is plain to see."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import perdure
import pytest
from perdure import Commit, Space
from perdure_conformance.driver import (
    Compact,
    CreateSpace,
    Delete,
    Diff,
    DropBranch,
    Expire,
    Find,
    Fork,
    Increment,
    Log,
    Mark,
    Merge,
    Place,
    Purge,
    Put,
    Revert,
    Search,
    Step,
    Touch,
    Update,
    Without,
    Write,
)
from perdure_conformance.machines import Lockstep
from perdure_conformance.model import Model
from perdure_conformance.model._reads import score

MAIN = Place("main")


class Story:
    """A model whose commits are named and timed by their order: c1 at 1, c2 at 2 …"""

    def __init__(self) -> None:
        self.model = Model()
        self.made = 0

    def __call__(self, step: Step) -> Any:
        self.made += 1
        error, result = self.model.run(step, Commit(f"c{self.made}", "", 0, self.made))
        return error or result

    def row(self, table: str, *key: str, branch: str = "main") -> Any:
        version = self.model.head_rows(branch).get((table, key))
        return None if version is None else version.row


@pytest.fixture
def story() -> Story:
    return Story()


def put(branch: str = "main", **fields: Any) -> Write:
    return Write(branch, (Put("memories", (fields,)),))


def test_times_are_filled_kept_and_never_move_for_nothing(story: Story) -> None:
    assert story(put(id="m", tier=1)) == (True, 1, 0, False)
    assert story(put(id="m", tier=1)) == (False, 0, 0, False)
    assert story(put(id="m", tier=2)) == (True, 1, 0, False)
    row = story.row("memories", "m")
    assert (row["created_at"], row["updated_at"]) == (1, 3)
    assert story.model.version("main", "memories", ("m",), "current") == "c3"


def test_a_batch_is_judged_by_its_net_effect(story: Story) -> None:
    story(put(id="m", tier=1))
    there_and_back = (Update("memories", ("m",), {"tier": 2}), Update("memories", ("m",), {"tier": 1}))
    assert story(Write("main", there_and_back)) == (False, 0, 0, False)
    anew = (Delete("memories", (("m",),)), Put("memories", ({"id": "m", "tier": 1},)))
    assert story(Write("main", anew)) == (True, 1, 0, False)
    assert story.row("memories", "m")["created_at"] == 3


@pytest.mark.parametrize(
    ("write", "error"),
    [
        (Put("memories", ({"id": "m"},), insert=True), "AlreadyExists"),
        (Put("memories", ({"id": "m"},), condition="absent"), "VersionConflict"),
        (Update("memories", ("x",), {"tier": 1}), "NotFound"),
        (Delete("memories", (("x",),), missing_ok=False), "NotFound"),
        (Increment("s", {"success_count": 2**63 - 1}), "InvalidRecord"),
        (Put("vectors", ({"space": "none", "id": "m", "values": (1.0,)},)), "NotFound"),
        (Put("vectors", ({"space": "mem", "id": "x", "values": (1.0, 0.0)},)), "InvalidRecord"),
    ],
)
def test_a_refused_batch_changes_nothing(story: Story, write: Any, error: str) -> None:
    story(CreateSpace("mem", 2, {"table": "memories"}))
    story(Write("main", (Put("memories", ({"id": "m"},)), Put("skills", ({"id": "s", "success_count": 1},)))))
    before = dict(story.model.head_rows("main"))
    assert story(Write("main", (Put("memories", ({"id": "new"},)), write))) == error
    assert story.model.head_rows("main") == before


@pytest.mark.parametrize("looked_at_first", [True, False])
def test_references_are_checked_of_written_rows_only(story: Story, looked_at_first: bool) -> None:
    dangling = Write("main", (Put("skills", ({"id": "s", "trace_id": "gone"},)),))
    trace, skill = Put("traces", ({"id": "t", "skill_id": "s"},)), Put("skills", ({"id": "other"},))
    batch = Write("main", (trace, skill) if looked_at_first else (skill, trace), check_references=True)
    story(dangling)
    assert story(batch) == (True, 2, 0, False)
    with perdure.open("memory://") as store:
        lockstep = Lockstep([store])
        for step in (dangling, batch):
            outcome = lockstep.run(step)
            assert outcome is not None
            assert outcome.error is None


def test_vectors_go_with_their_row_and_come_back_with_it(story: Story) -> None:
    story(CreateSpace("mem", 2, {"table": "memories"}))
    vector = Put("vectors", ({"space": "mem", "id": "m", "values": (1.0, 0.5)},))
    story(Write("main", (Put("memories", ({"id": "m"},)), vector)))
    gone = story(Write("main", (Delete("memories", (("m",),)),)))
    assert gone == (True, 0, 2, False)
    assert story.row("vectors", "mem", "m") is None
    assert story(Revert("main", MAIN))["committed"]
    assert story.row("vectors", "mem", "m") is not None


def test_a_fork_sees_its_past_and_not_the_future(story: Story) -> None:
    story(put(id="m", tier=1))
    story(Fork("a", MAIN))
    story(put(id="m", tier=2))
    assert story.row("memories", "m", branch="a")["tier"] == 1
    assert story(Log(MAIN)) == ["c3", "c1"]
    assert story(Diff(Place("a"), MAIN)) == [("memories", ("m",), "changed", ("tier", "updated_at"))]
    assert story(DropBranch("main")) == "Conflict"


def test_a_criss_cross_has_two_bases(story: Story) -> None:
    story(put(id="m", tier=1, importance=0.0))
    story(Fork("a", MAIN))
    story(put(id="m", tier=2, importance=0.0))
    story(put("a", id="m", tier=1, importance=1.0))
    story(Fork("b", Place("a")))
    story(Merge(MAIN, "a"))
    story(Merge(Place("b"), "main"))
    story(put(id="n"))
    result = story(Merge(MAIN, "a"))
    assert result["bases"] == ["c3", "c4"]
    row = story.row("memories", "m", branch="a")
    assert (row["tier"], row["importance"]) == (2, 1.0)
    assert story(Merge(MAIN, "a"))["already"]


@pytest.mark.parametrize(
    ("strategy", "count", "tags"),
    [("ours", 2, ("x", "o")), ("theirs", 3, ("x", "t")), ("field", 4, ("x", "o", "t"))],
)
def test_strategies_settle_conflicts(story: Story, strategy: Any, count: int, tags: tuple[str, ...]) -> None:
    story(Write("main", (Put("skills", ({"id": "s", "success_count": 1, "tags": ["x"]},)),)))
    story(Fork("a", MAIN))
    for branch, amount, tag in (("main", 1, "o"), ("a", 2, "t")):
        counted = Increment("s", {"success_count": amount})
        story(Write(branch, (counted, Update("skills", ("s",), {"tags": ["x", tag]}))))
    assert story(Merge(Place("a"), "main")) == "MergeConflict"
    assert story(Merge(Place("a"), "main", strategy))["committed"]
    row = story.row("skills", "s")
    assert (row["success_count"], row["tags"]) == (count, tags)


def test_a_selective_merge_is_the_base_of_what_it_took(story: Story) -> None:
    story(put(id="m", tier=1))
    story(Fork("a", MAIN))
    story(put("a", id="m", tier=2))
    assert story(Merge(Place("a"), "main", tables=("memories",)))["bases"] == ["c1"]
    assert story(Merge(Place("a"), "main", keys={"memories": (("m",),)}))["already"]
    story(put(id="m", tier=3))
    story(put("a", id="m", tier=2, title="later"))
    assert story(Merge(Place("a"), "main"))["conflicts"] == []
    assert (story.row("memories", "m")["tier"], story.row("memories", "m")["title"]) == (3, "later")


def test_without_takes_one_commit_away(story: Story) -> None:
    story(Write("main", (Put("skills", ({"id": "s"},)),)))
    story(Write("main", (Increment("s", {"success_count": 2}),)))
    story(Write("main", (Increment("s", {"success_count": 5}),)))
    rows = story(Without(MAIN, Place("main", 1)))
    assert rows["skills"][0]["success_count"] == 5


def test_expiry_read_counters_and_purge(story: Story) -> None:
    due = datetime(2026, 1, 1, tzinfo=UTC)
    story(put(id="m", expires_at=due))
    story(Fork("a", MAIN))
    assert story(Touch("memories", (("m",), ("x",)), due)) == 1
    assert story(Expire("main", due)) == (True, 0, 1, False)
    assert story(Touch("memories", (("m",),), due)) == 1
    assert [count for _, count in story.model.counters.values()] == [2]
    story(Purge("memories", (("m",),)))
    assert not story.model.counters
    assert not story.model.head_rows("a")


def test_compaction_keeps_heads_forks_checkpoints_and_bases(story: Story) -> None:
    for tier in range(5):
        story(put(id="m", tier=tier))
    story(Fork("a", Place("main", 3)))
    story(Mark("v1", Place("main", 1)))
    story(Compact())
    assert {"c1", "c3"} == story.model.gone - {None}


def test_finds_and_searches_are_exhaustive(story: Story) -> None:
    story(CreateSpace("free", 2, {"metric": "l2"}))
    records = tuple({"space": "free", "id": f"v{i}", "values": (float(i), 0.0)} for i in range(3))
    story(Write("main", (Put("vectors", records),)))
    assert story(Find(MAIN, "vectors", order_by=["-id"])) == ([("free", f"v{i}") for i in (2, 1, 0)], 3)
    hits = story(Search(MAIN, "free", (2.0, 0.0), 1))
    assert [(key[1], value) for key, value in hits] == [("v2", 0.0), ("v1", -1.0), ("v0", -2.0)]


@pytest.mark.parametrize(("metric", "value"), [("dot", 11.0), ("l2", -(8**0.5)), ("cosine", 11 / 125**0.5)])
def test_scores_follow_the_formula(metric: Any, value: float) -> None:
    space = Space("s", 2, "float64", metric)
    stored = b"\0\0\0\0\0\0\xf0?\0\0\0\0\0\0\0@"  # 1.0, 2.0
    assert score(space, stored, (3.0, 4.0)) == pytest.approx(value, rel=1e-15)
