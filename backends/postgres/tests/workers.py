"""The jobs that tests run in processes of their own, and the server that forks them.

The server reads requests, one line of JSON each: ``{"job": name, "arguments": {…}}`` forks a process and
answers its id; ``{"wait": id}`` answers its exit code, negative for a signal.
"""

import json
import os
import resource
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import perdure
import pyarrow as pa
from perdure import Link, Memory, Retryable, Skill, State, Trace, Transaction
from perdure_postgres import embedded

# -------------------------------------------------------------------------------------------------- kills


def group(batch: Any, id_: str) -> None:
    """Rows of five tables under one id: all of them are there, or none is."""
    batch.memories.put(Memory(id=id_, kind=id_, text="x" * 300))
    batch.links.put(Link(id=id_, source=id_, target=id_, relation=id_))
    batch.skills.put(Skill(id=id_, name=id_))
    batch.traces.put(Trace(id=id_, session=id_))
    batch.states.put(State(kind="g", id=id_, metrics=id_, payload=id_.encode() * 500))


def persist(url: str, log: str, worker: int, branch: str, stop: str) -> None:
    """Commit until `stop` is there, each commit until it is acknowledged; the store is opened once."""
    acknowledged = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    with perdure.open(url, namespace="kills") as store:
        place, step = store if branch == "main" else store.branch(branch), 0
        while not Path(stop).exists():
            step += 1
            id_, errors = f"w{worker}-{step}", []
            while True:
                try:
                    with place.batch(commit_id=id_) as batch:
                        group(batch, id_)
                        batch.skills.increment(f"count-{branch}", success_count=1)
                    break
                except Retryable as error:
                    errors.append(type(error).__name__)
            os.write(acknowledged, (json.dumps({"id": id_, "errors": errors}) + "\n").encode())


# ------------------------------------------------------------------------------------------------ writers


def write(url: str, worker: int, rounds: int, branch: str = "main") -> None:
    """Own rows, shared counters, and a shared text that each appends to by read and write."""
    with perdure.open(url) as opened:
        store = opened if branch == "main" else opened.branch(branch)
        for i in range(rounds):
            store.memories.put(Memory(id=f"w{worker}-{i}", kind=str(worker)))
            store.skills.increment("shared", success_count=2)
            store.skills.record_outcome("shared", success=False)

            def append(transaction: Transaction, mark: str = f"{worker}.{i}") -> None:
                known = transaction.memories["list"].content
                transaction.memories.update("list", content=[*known, mark])

            store.transact(append, attempts=1_000)


def manage(url: str, worker: int, rounds: int) -> None:
    """Branches, checkpoints, merges and compactions while others write."""
    with perdure.open(url) as store:
        for i in range(rounds):
            lab = store.branch(f"lab-{worker}-{i}")
            lab.memories.put(Memory(id=f"lab-{worker}-{i}"))
            store.checkpoints.create(f"point-{worker}-{i}", at=lab.branch_name)
            for attempt in range(200):
                try:
                    store.merge(lab.branch_name)
                    break
                except perdure.StaleHead:
                    assert attempt < 199
            if i % 2:
                store.compact(keep=50)


def read(url: str, rounds: int) -> None:
    """Scans that must each see one state, whatever is written or compacted meanwhile."""
    with perdure.open(url, mode="r") as store:
        for _ in range(rounds):
            snapshot = store.snapshot()
            ids = [row.id for row in snapshot.memories.scan()]
            assert ids == sorted(set(ids))
            assert len(ids) == snapshot.memories.count()
            skill = snapshot.skills["shared"]
            assert skill.failure_count <= skill.success_count // 2 <= skill.failure_count + 8


def race(url: str, worker: int) -> None:
    """Create the same things as everybody else, at the same time."""
    with perdure.open(url) as store:
        store.spaces.create("space", 2, table="memories")
        store.memories.put(Memory(id="same", text="by one id"), commit_id="same-id")
        with suppress(perdure.AlreadyExists):
            store.memories.insert(Memory(id="first", kind=str(worker)))
        with suppress(perdure.AlreadyExists):
            store.branches.create("lab")
            store.memories.put(Memory(id=f"winner-{worker}"))
        store.branch("lab").memories.put(Memory(id=f"lab-{worker}"), vector=[worker + 1, 1])


# ---------------------------------------------------------------------------------------------- large work

#: Bytes of memory that a job may take beyond what it had when it began; its data is larger.
ALLOWANCE = 250 * 2**20


def bounded() -> None:
    """From now on this process may grow by the allowance, and no more."""
    status = Path("/proc/self/status").read_text()
    size = int(status.split("VmData:")[1].split()[0]) * 1_024
    resource.setrlimit(resource.RLIMIT_DATA, (size + ALLOWANCE, resource.RLIM_INFINITY))


def memories(rows: int, piece: int = 5_000) -> Iterator[pa.RecordBatch]:
    """Rows of two kilobytes of text that do not compress well, as Arrow batches."""
    rng = np.random.default_rng(3)
    for start in range(0, rows, piece):
        numbers = range(start, min(rows, start + piece))
        yield pa.RecordBatch.from_pylist(
            [{"id": f"m{i:07}", "kind": str(i % 7), "text": rng.bytes(1_000).hex()} for i in numbers]
        )


def load(url: str, rows: int) -> None:
    """One commit of a stream of Arrow batches."""
    with perdure.open(url) as store:
        store.memories.count()
        bounded()
        batches = memories(rows)
        first = next(batches)
        store.memories.put(pa.RecordBatchReader.from_batches(first.schema, chain([first], batches)))


def scan(url: str, rows: int) -> None:
    """Read all rows, as records and as Arrow batches."""
    with perdure.open(url) as store:
        store.memories.count()
        bounded()
        assert sum(1 for _ in store.memories.scan()) == rows
        assert sum(batch.num_rows for batch in store.memories.to_batches()) == rows


def hoard(url: str) -> None:
    """What a job would be killed for."""
    with perdure.open(url) as store:
        bounded()
        try:
            store.memories.to_arrow()
        except MemoryError:
            return
        raise AssertionError("all rows fit into the allowance, which so bounds nothing")


def check(url: str) -> None:
    """Verify all rows."""
    with perdure.open(url) as store:
        store.memories.count()
        bounded()
        assert store.verify().ok


# ------------------------------------------------------------------------------------------------ programs


def program(body: str, directory: str, hears: str, says: str) -> None:
    """A program that uses an embedded server, with two pipes for its input and its output."""
    for path, flags, number in ((hears, os.O_RDONLY, 0), (says, os.O_WRONLY, 1)):
        os.dup2(os.open(path, flags), number)
    sys.stdin, sys.stdout = os.fdopen(0), os.fdopen(1, "w")
    sys.argv = ["program", directory]
    exec(body, {"__name__": "__main__"})


JOBS: dict[str, Callable[..., None]] = {
    job.__name__: job for job in (persist, write, manage, read, race, load, scan, hoard, check, program)
}


# ------------------------------------------------------------------------------------------- the server


def serve() -> None:
    """Answer requests until there are no more."""
    with perdure.open("memory://") as store:  # import what is imported at first use, once for all children
        store.memories.put(Memory(id="a", text="b"))
        store.verify()
    embedded.describe()
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            answer = os.waitstatus_to_exitcode(os.waitpid(request["wait"], 0)[1])
        elif not (answer := os.fork()):
            code = 1
            try:
                JOBS[request["job"]](**request["arguments"])
                code = 0
            except BaseException:
                traceback.print_exc()
            os._exit(code)
        sys.stdout.write(f"{answer}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve()
