"""Backups while others write, and histories that are the same on every engine."""

import threading
from pathlib import Path

import perdure
import pytest
from perdure import Memory, Skill, Store
from perdure_conformance.dump import dump, same_dump

BRANCHES = ("main", "lab", "other")


@pytest.fixture
def busy(url):
    """A store that three threads write to, each on a branch of its own, in commits of two rows and a counter."""
    with perdure.open(url) as store:
        store.skills.put(Skill(id="count"))
        stop, begun = threading.Event(), threading.Barrier(len(BRANCHES) + 1)

        def write(place: Store) -> None:
            number = 0
            while not stop.is_set():
                number += 1
                with place.batch(commit_id=f"{place.branch_name}-{number}") as batch:
                    batch.memories.put([Memory(id=f"{half}-{number}") for half in ("first", "second")])
                    batch.skills.increment("count", success_count=1)
                if number == 3:
                    begun.wait()

        threads = [threading.Thread(target=write, args=(store.branch(name),)) for name in BRANCHES]
        for thread in threads:
            thread.start()
        begun.wait()
        yield store
        stop.set()
        for thread in threads:
            thread.join()
        assert store.verify().problems == ()


def whole(copy: Store, source: Store) -> None:
    """Each branch of the copy is at a point that the source had, with all of its commits and no half of one."""
    assert {branch.name for branch in copy.branches.list()} == set(BRANCHES)
    for name in BRANCHES:
        place = copy.branch(name)
        count = place.skills["count"].success_count
        wanted = {f"{half}-{number}" for half in ("first", "second") for number in range(1, count + 1)}
        assert count >= 3
        assert {row.id for row in place.memories.scan()} == wanted
        assert place.head().commit == f"{name}-{count}"
        then = source.at(f"@{name}-{count}")
        assert list(then.memories.scan()) == list(place.memories.scan())


def test_backups_under_load(busy, server, tmp_path):
    archives = [busy.backup(tmp_path / f"backup-{number}") for number in range(3)]
    targets = [f"memory://{tmp_path.name}", f"sqlite:///{tmp_path}/agent.db", server.url()]
    dumps = []
    for target in targets:
        for number, archive in enumerate(archives):
            perdure.restore(archive, target, namespace=f"restored-{number}")
            with perdure.open(target, namespace=f"restored-{number}") as copy:
                whole(copy, busy)
                assert copy.verify().problems == ()
                dumps.append((number, target, dump(copy)))
    for number, target, found in dumps[3:]:
        same_dump(dumps[number][2], found, f"{targets[0]} and {target}")


def test_a_backup_of_a_restored_store_is_the_same(busy, server, tmp_path):
    archive = busy.backup(tmp_path / "backup")
    copy = server.url()
    perdure.restore(archive, copy)
    with perdure.open(copy) as store:
        first = dump(store)
        again = store.backup(tmp_path / "again")
    perdure.restore(again, f"memory://{tmp_path.name}-again")
    with perdure.open(f"memory://{tmp_path.name}-again") as other:
        same_dump(first, dump(other), "the copy and its copy")
    assert Path(again).stat().st_size
