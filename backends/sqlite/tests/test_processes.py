"""Several processes on one file, and processes that die."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import perdure
import pytest
from perdure import CommitRequest, Context, Put, Ref
from perdure_sqlite import plugin

CTX = Context()
SKILLS = perdure.TABLES["skills"]


def skill(id_: str, count: int = 0) -> tuple[object, ...]:
    cells = {
        "id": id_,
        "body": "null",
        "metadata": "null",
        "tags": (),
        "success_count": count,
        "failure_count": 0,
    }
    return tuple(cells.get(name) for name in SKILLS.names)


def commit(backend, *operations, branch="main", id_=None):
    return backend.commit(ctx=CTX, request=CommitRequest(branch, id_ or perdure.uuid7(), list(operations)))


WORK = """
import sys
import perdure
from perdure import CommitRequest, Context, Increment, Put
from perdure_sqlite import plugin
path, worker, rounds = sys.argv[1:]
store = plugin.open(f"sqlite:///{path}?synchronous=normal", "test", "rw")
names = perdure.TABLES["skills"].names
cells = {"body": "null", "metadata": "null", "tags": (), "success_count": 0, "failure_count": 0}
for i in range(int(rounds)):
    row = tuple({**cells, "id": f"w{worker}-{i}"}.get(name) for name in names)
    for operation in (Put("skills", [row]), Increment("skills", ("shared",), {"success_count": 1})):
        store.commit(ctx=Context(), request=CommitRequest("main", perdure.uuid7(), [operation]))
store.close(ctx=None)
"""


def run_workers(path: Path, count: int, rounds: int) -> None:
    workers = [
        subprocess.Popen([sys.executable, "-c", WORK, str(path), str(worker), str(rounds)])
        for worker in range(count)
    ]
    assert [worker.wait() for worker in workers] == [0] * count


def test_eight_processes_lose_nothing(tmp_path):
    path = tmp_path / "agent.db"
    backend = plugin.open(f"sqlite:///{path}", "test", "rw")
    commit(backend, Put("skills", [skill("shared")]))
    run_workers(path, 8, 10)
    (shared,) = backend.fetch(ctx=CTX, table="skills", keys=[("shared",)], at=Ref("main"))
    assert shared[SKILLS.position["success_count"]] == 80
    assert backend.count(ctx=CTX, table="skills", where=None, at=Ref("main")) == 81
    assert backend.resolve(ctx=CTX, ref=Ref("main")).seq == 161
    assert backend.verify(ctx=CTX).ok
    backend.close(ctx=None)


def test_many_processes_open_a_new_path_at_once(tmp_path):
    path = tmp_path / "agent.db"
    run_workers(path, 6, 0)
    backend = plugin.open(f"sqlite:///{path}", "test", "r")
    assert [branch.name for branch in backend.list_branches(ctx=CTX)] == ["main"]
    assert backend.verify(ctx=CTX).ok
    backend.close(ctx=None)


STREAM = """
import itertools, sys
import perdure
from perdure import CommitRequest, Context, Put
from perdure_sqlite import plugin
store = plugin.open("sqlite:///" + sys.argv[1], "test", "rw")
names = perdure.TABLES["skills"].names
cells = {"body": "null", "metadata": "null", "tags": (), "success_count": 0, "failure_count": 0}
for i in itertools.count(int(sys.argv[2])):
    rows = [tuple({**cells, "id": f"{i}-{part}"}.get(name) for name in names) for part in range(20)]
    store.commit(ctx=Context(), request=CommitRequest("main", f"c{i}", [Put("skills", rows)]))
    print(i, flush=True)
"""


def test_killed_while_committing(tmp_path):
    path, start, rng = tmp_path / "agent.db", 0, random.Random(7)
    for _ in range(4):
        child = subprocess.Popen(
            [sys.executable, "-c", STREAM, str(path), str(start)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        first = child.stdout.readline()
        assert first
        time.sleep(rng.random() / 4)
        child.send_signal(signal.SIGKILL)
        acknowledged = [int(line) for line in [first, *child.stdout] if line.endswith("\n")]
        child.wait()
        backend = plugin.open(f"sqlite:///{path}", "test", "rw")
        start = acknowledged[-1] + 1
        head = backend.resolve(ctx=CTX, ref=Ref("main")).seq
        assert head in (start, start + 1)
        assert backend.count(ctx=CTX, table="skills", where=None, at=Ref("main")) == 20 * head
        assert backend.verify(ctx=CTX).problems == ()
        backend.close(ctx=None)
        start = head


HOLD = """
import sys, time
from perdure import CommitRequest, Context
from perdure_sqlite import plugin
def slow():
    print("holding", flush=True)
    sys.stdin.readline()
    yield from ()
store = plugin.open("sqlite:///" + sys.argv[1], "test", "rw")
store.commit(ctx=Context(), request=CommitRequest("main", "slow", [], force=True, chunks=slow()))
store.close(ctx=None)
"""


def test_busy_after_the_stated_wait_and_readers_never_wait(tmp_path):
    path = tmp_path / "agent.db"
    backend = plugin.open(f"sqlite:///{path}?timeout=0.2", "test", "rw")
    commit(backend, Put("skills", [skill("a")]))
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "holding\n"
    with pytest.raises(perdure.Busy, match="timeout"):
        commit(backend, Put("skills", [skill("b")]))
    with pytest.raises(perdure.Busy):
        soon = Context(deadline=time.monotonic() + 0.05)
        backend.commit(ctx=soon, request=CommitRequest("main", "soon", [Put("skills", [skill("b")])]))
    assert backend.count(ctx=CTX, table="skills", where=None, at=Ref("main")) == 1
    holder.communicate("go\n")
    assert holder.returncode == 0
    commit(backend, Put("skills", [skill("b")]))
    assert backend.count(ctx=CTX, table="skills", where=None, at=Ref("main")) == 2
    backend.close(ctx=None)


PASS_BY = """
import sys
import perdure
with perdure.open("sqlite:///" + sys.argv[1], namespace="test") as store:
    store.memories.put(perdure.Memory(id=sys.argv[2]))
"""


def test_a_second_handle_keeps_the_locks_of_the_first(tmp_path):
    path = tmp_path / "agent.db"
    with perdure.open(f"sqlite:///{path}", namespace="test") as store:
        store.memories.put(perdure.Memory(id="first"))
        perdure.open(f"sqlite:///{path}", namespace="test").close()
        for name in ("second", "third"):
            # The last connection removes the log: a process that sees no lock of ours takes its own for the last.
            subprocess.run([sys.executable, "-c", PASS_BY, str(path), name], check=True)
            assert path.with_name("agent.db-wal").exists()
            store.memories.put(perdure.Memory(id=f"after-{name}"))
        assert [memory.id for memory in store.memories.scan()] == [
            "after-second",
            "after-third",
            "first",
            "second",
            "third",
        ]
        assert store.verify().ok
