"""Processes that open a store at once, that wait for one another, and that die while others wait."""

from __future__ import annotations

import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Any

import pyarrow as pa
from perdure import TABLES, Busy, CommitRequest, Context, Memory, PutArrow, Skill, uuid7

from perdure_conformance._case import Case
from perdure_conformance._checks import check
from perdure_conformance._processes import Child
from perdure_conformance._target import Place
from perdure_conformance.clauses._processes_writing import PROCESSES
from perdure_conformance.concurrency import trials
from perdure_conformance.expect import equal, holds

#: Seconds that a writer waits for another one before it gives up, in calls that should not have to wait.
PATIENCE = 20.0

#: How many processes open a store at once.
OPENERS = 4


# -------------------------------------------------------------------------------------------- first open


@check("DM-004", "BR-001", level="concurrent", needs=(*PROCESSES, "places"), kind="race", weight=0.3)
def processes_create_a_place_once(case: Case) -> None:
    """Processes that open a new place at once get one and the same."""
    trials(case, opened_at_once, True)


@check("DM-004", "BR-001", level="concurrent", needs=PROCESSES, kind="race", weight=0.1)
def processes_create_a_namespace_once(case: Case) -> None:
    """Processes that open a new namespace at once get one and the same."""
    trials(case, opened_at_once, False)


def opened_at_once(case: Case, elsewhere: bool) -> None:
    """Open a new namespace, or a new place, in several processes at once, and write."""
    place, namespace = case.move() if elsewhere else case.place, case.unique()
    children = [case.spawn(open_and_put, place, namespace, f"w{number}") for number in range(OPENERS)]
    for child in children:
        child.recv()
    for child in children:
        child.send("go")
    ids = [outcome(child) for child in children]
    with case.store(namespace) as store:
        equal(ids, [store.branches.get("main").id] * OPENERS, "the branch main of each process")
        rows = [memory.id for memory in store.memories.scan()]
        equal(rows, [f"w{number}" for number in range(OPENERS)], "the rows of all processes")
        equal([str(p) for p in store.verify().problems], [], "what verify finds")


def outcome(child: Child) -> Any:
    """What a process returned, or how it failed."""
    try:
        return child.result()
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def open_and_put(pipe: Connection, place: Place, namespace: str, name: str) -> str:
    """Open a namespace when told, and write one row; the id of the branch main."""
    pipe.send("ready")
    pipe.recv()
    with place.open(namespace) as store:
        store.memories.put(Memory(id=name))
        return store.branches.get("main").id


# ------------------------------------------------------------------------------------- waiting and dying


def one_row(id_: str) -> pa.RecordBatch:
    """A memory, encoded."""
    cells = {"id": id_, "content": "null", "metadata": "null", "tags": [], "created_at": 1, "updated_at": 1}
    return pa.RecordBatch.from_pylist([cells], schema=TABLES["memories"].arrow)


class Gate:
    """A record batch that comes when the pipe says so; a commit of it takes as long."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._told = False
        self.in_time = True

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        if not self._told:
            self._told = True
            self._pipe.send("inside")
            self.in_time = self._pipe.poll(PATIENCE)
        yield one_row("slow")


def commit_slowly(pipe: Connection, place: Place, namespace: str) -> str:
    """Begin a commit, and end it when told; how that went."""
    hooks, gate = place.hooks(namespace), Gate(pipe)
    request = CommitRequest("main", uuid7(), (PutArrow("memories", gate, unique=True),))
    hooks.commit(ctx=Context(), request=request)
    return "done" if gate.in_time else "nobody told it to go on, so somebody waited for it"


def put_until(hooks: Any, id_: str, seconds: float) -> bool:
    """Commit one row, with a deadline; whether it was made, and not `Busy`."""
    ctx = Context(deadline=time.monotonic() + seconds)
    try:
        hooks.commit(ctx=ctx, request=CommitRequest("main", uuid7(), (PutArrow("memories", [one_row(id_)]),)))
    except Busy:
        return False
    return True


@check("HK-010", level="concurrent", needs=PROCESSES)
def a_deadline_ends_the_wait_for_another_process(case: Case) -> None:
    """While another process may hold the lock, a commit with a deadline is made or is busy, and reads go on."""
    store, hooks = case.store(), case.hooks()
    store.memories.put(Memory(id="before"))
    child = case.spawn(commit_slowly, case.place, case.namespace)
    equal(child.recv(), "inside", "the slow commit")
    made = put_until(hooks, "quick", 0.2)
    wanted = ["before", "quick"] if made else ["before"]
    equal([m.id for m in store.memories.scan()], wanted, "the rows while the other process is in its commit")
    child.send("go on")
    equal(child.result(), "done", "the slow commit")
    equal([m.id for m in store.memories.scan()], [*wanted, "slow"], "the rows after it")


@check("HK-015", "CO-013", "UP-081", level="concurrent", needs=PROCESSES)
def a_dead_writer_keeps_nobody_waiting(case: Case) -> None:
    """A process that is killed inside a commit leaves no lock and no row behind, for open handles and for new ones."""
    store, hooks = case.store(), case.hooks()
    store.memories.put(Memory(id="before"))
    for number in range(3):
        child = case.spawn(commit_slowly, case.place, case.namespace)
        equal(child.recv(), "inside", "the commit of the process to be killed")
        child.kill()
        for name, writer in (("open", hooks), ("new", case.hooks())):
            made = put_until(writer, f"{name}{number}", PATIENCE)
            holds(made, f"a handle that was {name} writes after another process died in a commit", "Busy")
    rows = ["before", *(f"new{n}" for n in range(3)), *(f"open{n}" for n in range(3))]
    equal([m.id for m in store.memories.scan()], rows, "the rows: none of those who died")
    equal([str(p) for p in store.verify().problems], [], "what verify finds")


@check("HK-015", "UP-081", level="concurrent", needs=PROCESSES, kind="race", weight=0.2)
def dead_writers_keep_nobody_waiting(case: Case) -> None:
    """Processes that are killed at any moment while they write leave no lock and no half batch behind."""
    trials(case, killed_meanwhile)


def killed_meanwhile(case: Case) -> None:
    """Kill a process that writes batches of two rows, while this one writes too."""
    namespace = case.unique()
    with case.store(namespace) as store:
        child = case.spawn(write_pairs, case.place, namespace)
        child.recv()
        for number in range(case.random.randrange(1, 20)):
            store.memories.put(Memory(id=f"mine{number}"))
        child.kill()
        hooks = case.hooks(namespace)
        holds(put_until(hooks, "after", PATIENCE), "a write after another process died", "Busy")
        hooks.close(ctx=case.ctx)
        pairs = {m.id[1:] for m in store.memories.scan() if m.id[0] == "p"}
        equal(pairs, {s.id[1:] for s in store.skills.scan()}, "batches of which both rows are there")
        equal([str(p) for p in store.verify().problems], [], "what verify finds")


def write_pairs(pipe: Connection, place: Place, namespace: str) -> None:
    """Write batches of two rows until killed."""
    with place.open(namespace) as store:
        pipe.send("ready")
        number = 0
        while True:
            number += 1
            with store.batch() as batch:
                batch.memories.put(Memory(id=f"p{number}"))
                batch.skills.put(Skill(id=f"p{number}"))
