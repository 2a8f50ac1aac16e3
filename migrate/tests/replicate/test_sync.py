"""What is new is copied; what is gone stays, or goes; what went another way is refused."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import perdure
import pytest
from perdure import Conflict, HistoryExpired, Memory, State, Store
from perdure_conformance.dump import dump, same_dump
from perdure_migrate.replicate import copy, sync

Fresh = Callable[[str], str]
Pair = tuple[str, Store, str]


@pytest.fixture(params=["memory", "sqlite"])
def pair(request: pytest.FixtureRequest, filled: Callable[..., Store], fresh: Fresh) -> Pair:
    """The URL of a filled source, the source, and the URL of a copy of it."""
    source, target = fresh("sqlite"), fresh(request.param)
    store = filled(source)
    assert copy(source, target).ok
    return source, store, target


def same(store: Store, url: str) -> None:
    with perdure.open(url, mode="r") as other:
        same_dump(dump(store), dump(other), "the dumps")


def test_only_what_is_new_is_copied(pair: Pair) -> None:
    source, store, target = pair
    store.memories.put(Memory(id="new"))
    store.branch("lab").memories.put(Memory(id="n2"))
    store.branch("fresh").states.put(State(kind="k", id="p", payload=b"z" * 100_000))
    store.merge("fresh")
    store.checkpoints.create("later")
    store.spaces.create("more", 2)
    store.vectors.put({"space": "more", "id": "v", "values": [1.0, 2.0]})
    report = sync(source, target)
    (found,) = report.namespaces
    assert (found.commits, found.branches, found.checkpoints, found.spaces) == (5, 1, 1, 1)
    assert (report.ok, found.compared) == (True, False)
    same(store, target)
    (again,) = sync(source, target).namespaces
    assert (again.commits, again.rows, again.branches, again.checkpoints, again.spaces) == (0,) * 5


def test_read_counters_of_older_rows_come_with_full(pair: Pair) -> None:
    source, store, target = pair
    store.memories.touch(["m7"], datetime(2026, 5, 1, tzinfo=UTC))
    (found,) = sync(source, target, full=True).namespaces
    assert found.counters == 1
    with perdure.open(target) as other:
        assert other.memories.counters("m7").access_count == 1


def test_what_was_deleted_stays_unless_it_is_pruned(pair: Pair) -> None:
    source, store, target = pair
    store.branches.delete("late")
    store.checkpoints.delete("start")
    (kept,) = sync(source, target).namespaces
    assert kept.only_here == ["branch late", "checkpoint start"]
    with perdure.open(target) as other:
        assert "late" in {branch.name for branch in other.branches.list()}
    (pruned,) = sync(source, target, prune=True).namespaces
    assert pruned.pruned == ["branch late", "checkpoint start"]
    same(store, target)


def test_a_space_that_was_dropped_takes_its_vectors_along(pair: Pair) -> None:
    source, store, target = pair
    store.spaces.drop("float32")
    with pytest.raises(Conflict, match="--prune"):
        sync(source, target)
    assert sync(source, target, prune=True).ok
    same(store, target)


def test_a_name_that_means_something_else_now_needs_prune(pair: Pair) -> None:
    source, store, target = pair
    store.branches.delete("late")
    store.branch("late").memories.put(Memory(id="other late"))
    store.checkpoints.delete("end")
    store.checkpoints.create("end")
    with pytest.raises(Conflict, match="--prune"):
        sync(source, target)
    assert sync(source, target, prune=True).ok
    same(store, target)


def test_a_purge_of_the_source_is_refused_loudly_or_carried(pair: Pair) -> None:
    source, store, target = pair
    store.purge("memories", ["m0"])
    store.purge("states", [("k", "big")])
    store.memories.put(Memory(id="new"))
    with pytest.raises(Conflict, match="purged in the source") as refused:
        sync(source, target)
    assert ("memories", ("m0",)) in refused.value.detail["rows"]
    (found,) = sync(source, target, prune=True).namespaces
    assert found.pruned
    same(store, target)
    assert sync(source, target, full=True).ok


def test_a_row_that_was_purged_and_written_again_is_refused(pair: Pair) -> None:
    source, store, target = pair
    store.purge("memories", ["m1"])
    store.memories.put(Memory(id="m1", text="another life"))
    with pytest.raises(Conflict, match="copy anew"):
        sync(source, target, prune=True)


def test_what_was_purged_in_the_target_does_not_come_back(pair: Pair) -> None:
    source, store, target = pair
    with perdure.open(target) as other:
        other.purge("memories", ["m1"])
    store.memories.put(Memory(id="new"))
    report = sync(source, target)
    assert (report.ok, report.namespaces[0].missing) == (False, 1)
    with perdure.open(target) as other:
        assert other.memories.get("new")
        assert other.memories.find(perdure.F.id == "m1") == []


def test_a_target_that_went_another_way_is_refused_and_kept(pair: Pair) -> None:
    source, store, target = pair
    with perdure.open(target) as other:
        other.memories.put(Memory(id="mine"))
        before = dump(other)
    with pytest.raises(Conflict, match="another way"):
        sync(source, target)
    for number in range(3):
        store.memories.put(Memory(id=f"more{number}"))
    with pytest.raises(Conflict, match="another way"):
        sync(source, target, prune=True)
    with perdure.open(target) as other:
        same_dump(before, dump(other), "the target")


def test_a_source_that_was_compacted_past_the_target_says_so(pair: Pair) -> None:
    source, store, target = pair
    for number in range(5):
        store.memories.put(Memory(id="often", tier=number))
    store.compact(1, lease=timedelta(0))
    with pytest.raises(HistoryExpired, match="empty namespace"):
        sync(source, target)


def test_a_target_that_is_not_there_yet_gets_everything(pair: Pair, fresh: Fresh) -> None:
    source, store, _ = pair
    target = fresh("lancedb")
    assert sync(source, target).ok
    same(store, target)


def test_a_dry_run_says_what_would_go(pair: Pair) -> None:
    source, store, target = pair
    store.memories.put(Memory(id="new"))
    store.branches.delete("late")
    (found,) = sync(source, target, prune=True, dry_run=True).namespaces
    assert (found.commits, found.pruned) == (1, ["branch late"])
    with perdure.open(target) as other:
        assert "late" in {branch.name for branch in other.branches.list()}
