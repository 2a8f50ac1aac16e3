"""Random lives of a source, with compactions and purges, and a copy that is synced now and then."""

import random
import re
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import perdure
import pytest
from perdure import Conflict, HistoryExpired, Memory, NotFound, PerdureError, State, Store
from perdure_conformance.dump import dump, same_dump
from perdure_migrate.replicate import Limits, copy, export_file, sync

Fresh = Callable[[str], str]

#: What may be done to a source, as often as it is named.
ACTS = (
    *("put",) * 6,
    *("state", "delete", "branch", "merge", "checkpoint", "compact", "drop branch", "drop checkpoint"),
    *("purge", "touch", "sync", "sync"),
)


def act(store: Store, what: str, step: int, rng: random.Random) -> None:
    """Do something to a random branch and row."""
    names = [branch.name for branch in store.branches.list()]
    here, key = store.branch(rng.choice(names)), f"k{rng.randrange(12)}"
    if what == "put":
        here.memories.put(Memory(id=key, text=str(step)))
    elif what == "state":
        here.states.put(State(kind="k", id=key, payload=rng.randbytes(rng.choice([0, 10, 70_000]))))
    elif what == "delete":
        here.memories.delete(key)
    elif what == "branch":
        here.branch(f"b{step}")
    elif what == "merge":
        here.merge(rng.choice(names), strategy="theirs")
    elif what == "checkpoint":
        here.checkpoints.create(f"c{step}")
    elif what == "compact":
        store.compact(rng.choice([1, 5, None]), lease=timedelta(0))
    elif what == "drop branch":
        store.branches.delete(rng.choice(names))
    elif what == "drop checkpoint":
        store.checkpoints.delete(rng.choice([c.name for c in store.checkpoints.list()] or ["none"]))
    elif what == "purge":
        here.memories.purge([key])
    else:
        here.memories.touch([key])


def same_rows(store: Store, url: str) -> None:
    """Assert that all branches and checkpoints read the same."""
    with perdure.open(url, mode="r") as other:
        refs, others = (
            [place.name for place in (*one.branches.list(), *one.checkpoints.list())]
            for one in (store, other)
        )
        assert refs == others
        for ref in refs:
            for table in perdure.TABLES:
                there, here = (list(one.at(ref).table(table).scan()) for one in (store, other))
                assert there == here, (ref, table)


@pytest.mark.parametrize("seed", range(12))
def test_a_copy_follows_its_source(seed: int, fresh: Fresh, tmp_path: Path) -> None:
    rng = random.Random(seed)
    limits = Limits(rng.choice([1, 3, 100]), rng.choice([2, 1_000]), 1_000)
    source, target = fresh(rng.choice(["memory", "sqlite"])), fresh(rng.choice(["memory", "sqlite"]))
    synced = 0
    with perdure.open(source) as store:
        for step in range(60):
            what = rng.choice(ACTS)
            if what == "sync":
                refused = ""
                try:
                    assert sync(source, target, prune=True, full=rng.random() < 0.3, limits=limits).ok
                except (Conflict, HistoryExpired) as error:
                    refused = error.message
                if refused:
                    assert re.search("copy anew|empty namespace", refused)
                    target = fresh("memory")
                    assert sync(source, target, limits=limits).ok
                synced += 1
                same_rows(store, target)
            else:
                with suppress(
                    Conflict, NotFound
                ):  # such as a branch that has children, or a row that is gone
                    act(store, what, step, rng)
        assert synced
        file, whole, again = str(tmp_path / "x.perdure"), fresh("sqlite"), fresh("memory")
        assert copy(source, whole, limits=limits).ok
        assert export_file(whole, file).ok
        assert copy(file, again, limits=limits).ok
        for url in (whole, again):
            with perdure.open(url) as other:
                same_dump(dump(store), dump(other), url)


def test_what_is_written_meanwhile_comes_with_the_next_run(
    filled: Callable[..., Store], fresh: Fresh
) -> None:
    source, target = fresh("sqlite"), fresh("sqlite")
    store = filled(source)
    told: list[int] = []

    def write(stage: str, done: int, total: int) -> None:
        told.append(store.memories.put(Memory(id=f"new{len(told)}")).written)

    assert copy(source, target, limits=Limits(commits=3), progress=write).ok
    assert len(told) > 3
    (found,) = sync(source, target).namespaces
    assert 0 < found.commits <= len(told)
    same_rows(store, target)


@pytest.mark.parametrize("engine", ["memory", "sqlite"])
def test_a_compaction_meanwhile_leaves_no_holes(
    engine: str, filled: Callable[..., Store], fresh: Fresh
) -> None:
    source, target = fresh(engine), fresh("sqlite")
    store = filled(source)
    for number in range(20):
        store.memories.put(Memory(id="often", tier=number))

    def compact(stage: str, done: int, total: int) -> None:
        store.compact(1, lease=timedelta(0))

    with pytest.raises(HistoryExpired):
        copy(source, target, limits=Limits(commits=3), progress=compact)
    with pytest.raises(PerdureError, match="empty namespace"):
        copy(source, target)
    target = fresh("sqlite")
    assert copy(source, target).ok
    same_rows(store, target)
