"""Several processes on one file, and processes that die."""

import subprocess
import sys
import time

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
