"""What goes over, and where it is cut."""

from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta

import perdure
import pytest
from perdure import ChangeBatch, Chunk, Counter, HistoryEvent, HistoryExpired, Memory, State, Store
from perdure_migrate.replicate import Limits
from perdure_migrate.replicate._ends import Source, open_source
from perdure_migrate.replicate._slices import slices

Fresh = Callable[[str], str]


@pytest.fixture
def url(fresh: Fresh) -> str:
    return fresh("memory")


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    with perdure.open(url) as opened:
        yield opened


@pytest.fixture
def source(store: Store, url: str) -> Iterator[Source]:
    with closing(open_source(url, "default")) as opened:
        yield opened


def cut(source: Source, limits: Limits, since: dict[str, int] | None = None) -> list[list[HistoryEvent]]:
    return [list(piece) for piece in slices(source, since or {}, limits=limits)]


def commits(piece: list[HistoryEvent]) -> int:
    return sum(isinstance(event, ChangeBatch) and event.final for event in piece)


def test_a_slice_ends_after_so_many_commits(store: Store, source: Source) -> None:
    for number in range(7):
        store.memories.put(Memory(id=str(number)))
    assert [commits(piece) for piece in cut(source, Limits(commits=3))] == [3, 3, 1]


def test_or_after_so_many_rows_or_bytes(store: Store, source: Source) -> None:
    store.memories.put([Memory(id=str(number)) for number in range(10)])
    store.states.put(State(kind="k", id="a", payload=b"x" * 100_000))
    store.memories.put(Memory(id="last"))
    assert [commits(piece) for piece in cut(source, Limits(rows=10))] == [1, 2]
    pieces = cut(source, Limits(size=100_000))
    assert [commits(piece) for piece in pieces] == [1, 2]
    assert [sum(isinstance(event, Chunk) for event in piece) for piece in pieces] == [2, 0]


def test_only_what_is_newer_goes_over(store: Store, source: Source) -> None:
    store.memories.put([Memory(id=str(number)) for number in range(100)])
    head = store.head()
    store.memories.put(Memory(id="new"))
    (piece,) = cut(source, Limits(), {head.branch: head.seq})
    batches = [event for event in piece if isinstance(event, ChangeBatch)]
    assert [[change.key for change in batch.changes] for batch in batches] == [[("new",)]]


def test_read_counters_are_in_the_slice_of_their_rows(store: Store, source: Source) -> None:
    store.memories.put(Memory(id="a"))
    store.memories.put(Memory(id="b"))
    store.memories.touch(["a", "b"], datetime(2026, 1, 1, tzinfo=UTC))
    pieces = cut(source, Limits(commits=1))
    found = [[event.key for event in piece if isinstance(event, Counter)] for piece in pieces]
    assert found[:2] == [[("a",)], [("b",)]]
    assert found[2:] in ([], [[]])


def test_no_branch_is_cut_below_its_floor(store: Store, source: Source) -> None:
    for number in range(6):
        store.memories.put([Memory(id="same", tier=number), Memory(id=f"own{number}")])
    store.compact(2, lease=timedelta(0))
    (main,) = store.branches.list()
    pieces = cut(source, Limits(commits=1))
    reached = [event.commit.seq for event in pieces[0] if isinstance(event, ChangeBatch)]
    assert main.floor > 1
    assert reached[-1] == main.floor
    assert [commits(piece) for piece in pieces[1:]][: main.head.seq - main.floor] == [1] * (
        main.head.seq - main.floor
    )


def test_a_slice_that_compaction_overtook_is_broken_off(store: Store, source: Source) -> None:
    for number in range(6):
        store.memories.put(Memory(id=str(number)))
    pieces = slices(source, {}, limits=Limits(commits=3))
    first = next(pieces)
    next(first)
    store.compact(1, lease=timedelta(0))
    with pytest.raises(HistoryExpired, match="run it again"):
        list(first)


def test_the_number_of_commits_is_told(store: Store, source: Source) -> None:
    for number in range(5):
        store.memories.put(Memory(id=str(number)))
    told: list[int] = []
    for piece in slices(source, {}, limits=Limits(commits=2), done=told.append):
        list(piece)
    assert sum(told) == 5
    assert told[0] == 2
