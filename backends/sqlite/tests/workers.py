"""The jobs that tests run in processes of their own, and the server that forks them.

The server reads requests, one line of JSON each: ``{"job": name, "arguments": {…}}`` forks a process and
answers its id; ``{"wait": id}`` answers its exit code, negative for a signal.
"""

import json
import os
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from pathlib import Path
from typing import Any

import perdure
from perdure import F, Link, Memory, Skill, State, Store, Trace, Transaction

MOMENT = datetime(2026, 1, 1, tzinfo=UTC)
SLOTS = 6


# --------------------------------------------------------------------------------------- crash: a stream


def digest(place: Any) -> str:
    """A hash of all rows at a place, but for those that are there to be purged."""
    found = blake2b(digest_size=16)
    for name in perdure.TABLES:
        for row in place.table(name).to_arrow(~F.id.starts_with("secret-")).to_pylist():
            found.update(repr((name, sorted(row.items()))).encode())
    return found.hexdigest()


class Stream:
    """Commits without end; what is acknowledged is on the disk before the next step begins."""

    def __init__(self, path: str, log: str, seed: int, focus: str, flaw: str) -> None:
        self.store = perdure.open(f"sqlite:///{path}", namespace="crash")
        self.path, self.rng, self.focus, self.flaw = Path(path), random.Random(seed), focus, flaw
        self.log = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self.step = seed * 100_000

    def acknowledge(self, what: str, store: Store, **facts: Any) -> None:
        point = store.head()
        facts |= {"what": what, "branch": store.branch_name, "commit": point.commit, "seq": point.seq}
        facts.setdefault("digest", digest(store.at(point)))
        self.write(facts)

    def write(self, facts: dict[str, Any]) -> None:
        os.write(self.log, (json.dumps(facts) + "\n").encode())
        os.fsync(self.log)

    def run(self) -> None:
        steps = [self.put, self.put, self.put, self.delete, self.lab, self.merge]
        special = {"compact": self.compact, "purge": self.purge, "backup": self.backup, "merge": self.merge}
        while True:
            self.step += 1
            step = special.get(self.focus) if self.rng.random() < 0.4 else None
            (step or self.rng.choice(steps))()

    def group(self, batch: Any, slot: int) -> None:
        """Rows of all six tables that carry one mark: all of them are there, or none is."""
        mark = str(self.step)
        batch.memories.put(
            Memory(id=f"g{slot}", kind=mark, text="x" * self.rng.randrange(1_000)), vector=[slot, 1]
        )
        batch.links.put(Link(id=f"g{slot}", source=f"g{slot}", target=f"g{slot}", relation=mark))
        batch.skills.put(Skill(id=f"g{slot}", name=mark))
        batch.traces.put(Trace(id=f"g{slot}", session=mark))
        batch.states.put(State(kind="g", id=f"g{slot}", metrics=mark, payload=mark.encode() * 2_000))

    def put(self, store: Store | None = None) -> None:
        store = store or self.store
        id_, slot = f"c{self.step}", self.rng.randrange(SLOTS)
        if self.flaw == "early":
            self.write(
                {"what": "put", "branch": store.branch_name, "commit": id_, "seq": 2**40, "digest": ""}
            )
            time.sleep(0.02)
        if self.flaw == "torn":
            store.memories.put(Memory(id=f"g{slot}", kind=str(self.step)), commit_id=f"{id_}-half")
            time.sleep(0.02)
        with store.batch(commit_id=id_) as batch:
            self.group(batch, slot)
            batch.skills.increment("count", success_count=1)
        if self.flaw != "early":
            self.acknowledge("put", store)

    def delete(self) -> None:
        slot = self.rng.randrange(SLOTS)
        with self.store.batch(commit_id=f"c{self.step}") as batch:
            for name in ("memories", "links", "skills", "traces"):
                getattr(batch, name).delete(f"g{slot}")
            batch.states.delete(("g", f"g{slot}"))
        self.acknowledge("delete", self.store)

    def lab(self) -> None:
        lab = self.store.branch("lab")
        self.acknowledge("branch", lab)
        self.put(lab)

    def merge(self) -> None:
        if "lab" not in {branch.name for branch in self.store.branches.list()}:
            self.lab()
        self.store.merge("lab", strategy="theirs", commit_id=f"m{self.step}")
        self.acknowledge("merge", self.store)
        if self.rng.random() < 0.5:
            self.store.branches.delete("lab")
            self.write({"what": "drop", "branch": "lab"})

    def compact(self) -> None:
        before = digest(self.store)
        self.store.compact(keep=3, lease=timedelta(0))
        self.acknowledge("compact", self.store)
        assert digest(self.store) == before

    def purge(self) -> None:
        key = f"secret-{self.step}"
        self.store.memories.put(Memory(id=key, text=f"{key}-text"), commit_id=f"c{self.step}")
        self.acknowledge("put", self.store)
        self.write({"what": "purging"})  # from now on the rows of that commit may be gone
        self.store.purge("memories", [key])
        self.acknowledge("purge", self.store, key=key)

    def backup(self) -> None:
        target = self.path.with_name(f"backup-{self.step}")
        self.store.backup(target)
        self.write({"what": "backup", "file": str(target)})


def stream(path: str, log: str, seed: int, focus: str, flaw: str = "") -> None:
    """Commit until killed."""
    Stream(path, log, seed, focus, flaw).run()


# ---------------------------------------------------------------------------------------------- writers


def opened(path: str, start: float, **options: Any) -> Store:
    """A store, opened at the same moment by all."""
    time.sleep(max(0.0, start - time.time()))
    return perdure.open(f"sqlite:///{path}?synchronous=normal", **options)


def write(path: str, start: float, worker: int, rounds: int) -> None:
    """Own rows, shared counters, and a shared text that each appends to by read and write."""
    with opened(path, start) as store:
        for i in range(rounds):
            store.memories.put(Memory(id=f"w{worker}-{i}", kind=str(worker)))
            store.skills.increment("shared", success_count=2)
            store.skills.record_outcome("shared", success=False)

            def append(transaction: Transaction, mark: str = f"{worker}.{i}") -> None:
                known = transaction.memories["list"].content
                transaction.memories.update("list", content=[*known, mark])

            store.transact(append, attempts=1_000)


def manage(path: str, start: float, worker: int, rounds: int) -> None:
    """Branches, checkpoints, merges and compactions while others write."""
    with opened(path, start) as store:
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


def read(path: str, start: float, rounds: int) -> None:
    """Scans that must each see one state, whatever is written or compacted meanwhile."""
    with opened(path, start, mode="r") as store:
        for _ in range(rounds):
            snapshot = store.snapshot()
            rows = snapshot.memories.scan()
            first = next(rows)
            time.sleep(0.01)
            ids = [first.id, *(row.id for row in rows)]
            assert ids == sorted(set(ids))
            assert len(ids) == snapshot.memories.count()
            skill = snapshot.skills["shared"]
            assert skill.failure_count <= skill.success_count // 2 <= skill.failure_count + 8


def race(path: str, start: float, worker: int) -> None:
    """Create the same things as everybody else, at the same time."""
    with opened(path, start) as store:
        store.spaces.create("space", 2, table="memories")
        store.memories.put(Memory(id="same", text="by one id"), commit_id="same-id")
        with suppress(perdure.AlreadyExists):
            store.memories.insert(Memory(id="first", kind=str(worker)))
        with suppress(perdure.AlreadyExists):
            store.branches.create("lab")
            store.memories.put(Memory(id=f"winner-{worker}"))
        store.branch("lab").memories.put(Memory(id=f"lab-{worker}"), vector=[worker + 1, 1])


# -------------------------------------------------------------------------------------------- full disk


def full(path: str, report: str, limit: int) -> None:
    """Write until files may grow no more, then write again where there is room."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    done: dict[str, Any] = {"kept": [], "refused": []}
    with perdure.open(f"sqlite:///{path}", namespace="full") as store:
        store.memories.put(Memory(id="first"))
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        for i in range(40):
            before = digest(store)
            try:
                store.memories.put(Memory(id=f"m{j}", text="y" * 4_000) for j in range(i, i + 6))
                done["kept"].append(i)
            except perdure.StorageError as error:
                assert digest(store) == before
                assert store.verify().ok
                done["refused"].append(error.code)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        store.memories.put(Memory(id="last"))
        done["digest"] = digest(store)
    Path(report).write_text(json.dumps(done))


def denied(path: str, report: str) -> None:
    """Open and write where nothing may be written; as nobody, whom permissions bind."""
    if os.getuid() == 0:
        os.setuid(65_534)
    outcome = []
    for mode in ("r", "rw"):
        try:
            with perdure.open(f"sqlite:///{path}", namespace="full", mode=mode) as store:  # type: ignore[arg-type]
                outcome.append(f"read {store.memories.count()}")
                store.memories.put(Memory(id="no"), commit_id="no")
                outcome.append("written")
        except perdure.PerdureError as error:
            outcome.append(error.code)
    os.write(os.open(report, os.O_WRONLY), json.dumps(outcome).encode())


JOBS: dict[str, Callable[..., None]] = {
    job.__name__: job for job in (stream, write, manage, read, race, full, denied)
}


# ------------------------------------------------------------------------------------------- the server


def warm_up() -> None:
    """Import what is imported at first use, once and for all children, also for those who may not read it."""
    with tempfile.TemporaryDirectory() as folder:
        for mode in ("rw", "r"):
            with perdure.open(f"sqlite:///{folder}/warm.db", mode=mode) as store:  # type: ignore[arg-type]
                with suppress(perdure.PermissionDenied):
                    store.memories.put(Memory(id="a", text="b"))
                digest(store)
                store.verify()


def serve() -> None:
    """Answer requests until there are no more."""
    warm_up()
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            answer = os.waitstatus_to_exitcode(os.waitpid(request["wait"], 0)[1])
        elif not (answer := os.fork()):
            try:
                JOBS[request["job"]](**request["arguments"])
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        sys.stdout.write(f"{answer}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve()
