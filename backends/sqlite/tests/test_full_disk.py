"""A disk that is full, or may not be written: the commit before is intact, and work goes on where there is room."""

import json
import os
import tempfile
from datetime import timedelta
from pathlib import Path

import perdure
import pytest
from perdure import Memory, State

EMPTY_PAGES = 66


def test_each_size_of_disk_keeps_whole_commits(path, jobs):
    """Whatever page is the last that fits, a commit is there whole or not at all."""
    digest, outcomes = jobs["digest"], []
    with perdure.open(f"sqlite:///{path}") as store:
        store.spaces.create("space", 8, table="memories")
        store.memories.put(Memory(id="first"), vector=range(1, 9))
    for step in range(24):
        limited = f"sqlite:///{path}?max_pages={EMPTY_PAGES + 3 * step}"
        with perdure.open(limited) as store:
            before = digest(store)
            works = [
                lambda s=store, i=step: s.memories.put(
                    Memory(id=f"m{i}", text="x" * 5_000), vector=[i + 1] * 8
                ),
                lambda s=store, i=step: s.states.put(State(kind="w", id=f"s{i}", payload=os.urandom(9_000))),
                lambda s=store, i=step: s.branches.create(f"b{i}"),
                lambda s=store: s.memories.put([Memory(id=f"many{j}", text="y" * 300) for j in range(60)]),
            ]
            for work in works:
                refused = None
                try:
                    work()
                except perdure.StorageError as error:
                    refused = error.message
                outcomes.append(refused is None)
                if refused is not None:
                    assert "full" in refused
                    assert digest(store) == before
                before = digest(store)
            assert store.verify().ok
            assert digest(store) == before
    assert True in outcomes
    assert False in outcomes
    with perdure.open(f"sqlite:///{path}") as store:  # where there is room, all goes on
        assert digest(store) == before
        store.memories.put([Memory(id=f"more{j}", text="z" * 3_000) for j in range(60)])
        store.compact(lease=timedelta(0))
        assert store.memories.count(perdure.F.id.starts_with("more")) == 60
        assert store.verify().ok


@pytest.mark.parametrize("limit", [270_000, 301_000, 333_333, 420_000, 600_000])
def test_files_that_may_not_grow(workers, jobs, path, tmp_path, limit):
    report = tmp_path / "report"
    assert workers.wait(workers.start("full", path=str(path), report=str(report), limit=limit)) == [0]
    done = json.loads(report.read_text())
    assert done["refused"]
    assert set(done["refused"]) == {"storage_error"}
    with perdure.open(f"sqlite:///{path}", namespace="full") as store:
        assert jobs["digest"](store) == done["digest"]
        assert {"first", "last"} <= {memory.id for memory in store.memories.scan()}
        assert store.verify().problems == ()


@pytest.mark.parametrize(
    ("directory", "file", "outcomes"),
    [
        (0o555, 0o444, ["read 1", "permission_denied", "permission_denied"]),
        (0o755, 0o444, ["read 1", "permission_denied", "permission_denied"]),
        (0o755, 0o000, ["storage_error", "storage_error"]),
    ],
)
def test_what_may_not_be_written_is_left_alone(workers, directory, file, outcomes):
    with tempfile.TemporaryDirectory() as name:  # which everybody can enter, unlike those of pytest
        folder, path = Path(name), Path(name) / "agent.db"
        folder.chmod(0o755)
        with perdure.open(f"sqlite:///{path}", namespace="full") as store:
            store.memories.put(Memory(id="first"))
        before = path.read_bytes()
        with tempfile.NamedTemporaryFile() as report:
            Path(report.name).chmod(0o666)
            path.chmod(file)
            folder.chmod(directory)
            child = workers.start("denied", path=str(path), report=report.name)
            assert workers.wait(child) == [0]
            folder.chmod(0o755)
            said = json.loads(report.read())
        assert said == outcomes
        assert path.read_bytes() == before
