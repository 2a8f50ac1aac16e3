"""Many writers at once: nothing is lost, no deadlock reaches them, and branches do not wait for each other."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import perdure
import pytest
from perdure import Memory, Skill, Store
from perdure_sql import _branches

WRITERS = 16
PROCESSES = 8


@pytest.fixture
def shared(url: str) -> Iterator[Store]:
    with perdure.open(url) as store:
        store.skills.put(Skill(id="shared"))
        store.memories.put(Memory(id="list", content=[]))
        yield store


def together(work: Any, count: int = WRITERS) -> list[Any]:
    """The results of calls in so many threads, which begin at once."""
    line = threading.Barrier(count)

    def begin(number: int) -> Any:
        line.wait()
        return work(number)

    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(begin, range(count)))


def whole(store: Store, commits: int) -> None:
    """So many commits since `shared` was made, numbered without a gap."""
    seqs = [commit.seq for commit in store.log()]
    assert seqs == list(range(2 + commits, 0, -1))


@pytest.mark.parametrize("pool", [16, 4])
@pytest.mark.parametrize("branches", [16, 1])
def test_sixteen_threads(server, pool, branches):
    rounds = 5
    with perdure.open(server.url(pool=pool)) as store:
        store.skills.put(Skill(id="shared"))
        store.memories.put(Memory(id="list", content=[]))
        places = [store.branch(f"lab-{i}") for i in range(WRITERS)] if branches > 1 else [store] * WRITERS

        def work(number: int) -> None:
            for i in range(rounds):
                with places[number].batch() as batch:
                    batch.memories.put(Memory(id=f"w{number}-{i}", kind=str(number)))
                    batch.skills.increment("shared", success_count=1)

        together(work)
        if branches > 1:
            for place in places:
                whole(place, rounds)
                assert place.skills["shared"].success_count == rounds
                assert place.memories.count() == 1 + rounds
            whole(store, 0)
        else:
            whole(store, WRITERS * rounds)
            assert store.skills["shared"].success_count == WRITERS * rounds
            assert store.memories.count() == 1 + WRITERS * rounds
        assert store.verify().problems == ()


def test_eight_processes_lose_nothing(workers, url, shared):
    rounds = 5
    running = [workers.start("write", url=url, worker=n, rounds=rounds) for n in range(PROCESSES)]
    assert workers.wait(*running) == [0] * PROCESSES
    skill = shared.skills["shared"]
    assert (skill.success_count, skill.failure_count) == (2 * PROCESSES * rounds, PROCESSES * rounds)
    marks = {f"{worker}.{i}" for worker in range(PROCESSES) for i in range(rounds)}
    appended = shared.memories["list"].content
    assert len(appended) == len(marks)
    assert set(appended) == marks
    assert shared.memories.count() == 1 + PROCESSES * rounds
    whole(shared, 4 * PROCESSES * rounds)
    assert shared.verify().problems == ()


def test_eight_processes_on_branches_of_their_own(workers, url, shared):
    running = [
        workers.start("write", url=url, worker=n, rounds=4, branch=f"lab-{n}") for n in range(PROCESSES)
    ]
    assert workers.wait(*running) == [0] * PROCESSES
    for worker in range(PROCESSES):
        place = shared.branch(f"lab-{worker}")
        whole(place, 16)
        assert place.memories["list"].content == [f"{worker}.{i}" for i in range(4)]
    assert shared.verify().problems == ()


def test_writers_managers_and_readers_together(workers, url, shared):
    shared.memories.put([Memory(id=f"many-{i:04}", text="z" * 200) for i in range(1_000)])
    running = [workers.start("write", url=url, worker=n, rounds=4) for n in range(4)]
    running += [workers.start("manage", url=url, worker=n, rounds=4) for n in (4, 5)]
    running += [workers.start("read", url=url, rounds=8) for _ in range(2)]
    assert workers.wait(*running) == [0] * len(running)
    names = {f"lab-{worker}-{i}" for worker in (4, 5) for i in range(4)}
    assert {branch.name for branch in shared.branches.list()} == {"main", *names}
    assert {point.name for point in shared.checkpoints.list()} == {f"point{n[3:]}" for n in names}
    assert all(name in shared.memories for name in names)
    assert (shared.skills["shared"].success_count, len(shared.memories["list"].content)) == (32, 16)
    assert shared.verify().problems == ()


@pytest.mark.parametrize("attempt", range(3))
def test_a_new_schema_opened_by_all_at_once(workers, url, attempt):
    running = [workers.start("race", url=url, worker=n) for n in range(PROCESSES)]
    assert workers.wait(*running) == [0] * PROCESSES
    with perdure.open(url, mode="r") as store:
        assert store.namespaces.list() == ["default"]
        assert [branch.name for branch in store.branches.list()] == ["lab", "main"]
        assert [space.name for space in store.spaces.list()] == ["space"]
        assert store.at("lab").memories.count(perdure.F.id.starts_with("lab-")) == PROCESSES
        assert store.at("lab").vectors.count() == PROCESSES
        assert store.memories.count(perdure.F.id == "first") == 1
        assert store.memories.count(perdure.F.id.starts_with("winner-")) == 1
        assert sum(commit.id == "same-id" for commit in store.log()) == 1
        assert store.verify().problems == ()


# --------------------------------------------------------------------------------------- a commit held open


def test_other_branches_do_not_wait_for_a_commit(hold, url, shared):
    lab = shared.branch("lab")
    with hold(url, "main", "late") as held:
        lab.memories.put(Memory(id="meanwhile"))
        shared.branch("made-meanwhile").memories.put(Memory(id="on a new branch"))
        shared.checkpoints.create("point-meanwhile")
        assert shared.memories.touch("list") == 1
        assert shared.memories.count() == 1
        assert held.let_go().point.seq == 3
    assert (lab.memories.count(), shared.skills.count()) == (2, 2)


def test_the_same_branch_waits_and_says_so_after_the_stated_wait(hold, server, url, shared):
    with perdure.open(server.url(schema=schema_of(url), timeout=0.2)) as hurried:
        with hold(url, "main", "late") as held:
            with pytest.raises(perdure.Busy, match="try again"):
                hurried.memories.put(Memory(id="in a hurry"))
            with pytest.raises(perdure.Busy):
                hurried.compact()
            held.let_go()
        hurried.memories.put(Memory(id="in a hurry"))
        whole(hurried, 2)


def test_a_fork_taken_during_a_commit_never_has_it(hold, url, shared):
    with hold(url, "main", "late") as held:
        fork = shared.branch("fork")
        before = [commit.id for commit in fork.log()]
        point = fork.head()
        held.let_go()
        assert "late" in shared.skills
        assert "late" not in fork.skills
        assert (fork.head(), [commit.id for commit in fork.log()]) == (point, before)
    shared.compact()
    assert "late" not in shared.at("fork").skills
    assert shared.verify().problems == ()


def test_stores_in_other_schemas_of_the_database_do_not_wait(hold, server, url, shared):
    with perdure.open(server.url(timeout=0.5)) as other, hold(url, "main", "late"):
        other.memories.put(Memory(id="a"))
        other.compact()
        assert other.memories.count() == 1


def test_a_namespace_made_anew_is_not_dropped_for_the_one_before(monkeypatch, url, shared):
    find = _branches.namespace_number
    perdure.open(url, namespace="x").close()

    def found(session: Any, name: str) -> int | None:
        number = find(session, name)
        monkeypatch.undo()
        shared.namespaces.drop("x")
        with perdure.open(url, namespace="x") as made:
            made.memories.put(Memory(id="a"))
        return number

    monkeypatch.setattr(_branches, "namespace_number", found)
    with pytest.raises(perdure.NotFound):
        shared.namespaces.drop("x")
    with perdure.open(url, mode="r", namespace="x") as made:
        assert made.memories.count() == 1


def schema_of(url: str) -> str:
    return url.partition("schema=")[2].partition("&")[0]
