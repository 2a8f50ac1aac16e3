"""Eight processes on one file: nothing is lost, nobody sees a lock below the stated wait, readers never wait."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import perdure
import pytest
from perdure import Memory, Skill, Store

PROCESSES = 8


@pytest.fixture
def shared(path: Path) -> Iterator[Store]:
    with perdure.open(f"sqlite:///{path}") as store:
        store.skills.put(Skill(id="shared"))
        store.memories.put(Memory(id="list", content=[]))
        yield store


def soon() -> float:
    """When all begin at once; processes that are forked later begin right away."""
    return time.time() + 0.3


def start(workers: Any, job: str, path: Path, numbers: range, **more: Any) -> list[int]:
    begin = soon()
    return [workers.start(job, path=str(path), start=begin, worker=number, **more) for number in numbers]


def test_eight_writers_lose_nothing(workers, path, shared):
    rounds = 6
    assert workers.wait(*start(workers, "write", path, range(PROCESSES), rounds=rounds)) == [0] * PROCESSES
    skill = shared.skills["shared"]
    assert (skill.success_count, skill.failure_count) == (2 * PROCESSES * rounds, PROCESSES * rounds)
    marks = {f"{worker}.{i}" for worker in range(PROCESSES) for i in range(rounds)}
    appended = shared.memories["list"].content
    assert len(appended) == len(marks)
    assert set(appended) == marks
    assert shared.memories.count() == 1 + PROCESSES * rounds
    seqs = [commit.seq for commit in shared.log()]
    assert seqs == list(range(len(seqs), 0, -1))
    assert len(seqs) == 2 + 4 * PROCESSES * rounds
    assert shared.verify().problems == ()


def test_writers_managers_and_readers_together(workers, path, shared):
    shared.memories.put([Memory(id=f"many-{i:04}", text="z" * 200) for i in range(1_000)])
    running = start(workers, "write", path, range(4), rounds=4)
    running += start(workers, "manage", path, range(4, 6), rounds=4)
    running += [workers.start("read", path=str(path), start=soon(), rounds=8) for _ in range(2)]
    assert workers.wait(*running) == [0] * len(running)
    names = {f"lab-{worker}-{i}" for worker in (4, 5) for i in range(4)}
    assert {branch.name for branch in shared.branches.list()} == {"main", *names}
    assert {point.name for point in shared.checkpoints.list()} == {f"point{n[3:]}" for n in names}
    assert all(name in shared.memories for name in names)
    assert (shared.skills["shared"].success_count, len(shared.memories["list"].content)) == (32, 16)
    assert shared.verify().problems == ()


@pytest.mark.parametrize("attempt", range(3))
def test_a_new_path_opened_by_all_at_once(workers, path, attempt):
    assert workers.wait(*start(workers, "race", path, range(PROCESSES))) == [0] * PROCESSES
    with perdure.open(f"sqlite:///{path}", mode="r") as store:
        assert store.namespaces.list() == ["default"]
        assert [branch.name for branch in store.branches.list()] == ["lab", "main"]
        assert [space.name for space in store.spaces.list()] == ["space"]
        assert store.at("lab").memories.count(perdure.F.id.starts_with("lab-")) == PROCESSES
        assert store.at("lab").vectors.count() == PROCESSES
        assert store.memories.count(perdure.F.id == "first") == 1
        assert store.memories.count(perdure.F.id.starts_with("winner-")) == 1
        assert sum(commit.id == "same-id" for commit in store.log()) == 1
        assert store.verify().problems == ()
