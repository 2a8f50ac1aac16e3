"""Commits without end, each known from its number, so that a state tells which of them it holds."""

from __future__ import annotations

import itertools
import os
import re
from contextlib import suppress
from typing import Any

from perdure import Link, Memory, PerdureError, Skill, State, Store, Trace

from perdure_conformance._processes import Child, spawn
from perdure_conformance._target import Place, Target
from perdure_conformance.crash._engine import kill_all
from perdure_conformance.crash._trace import allow_tracing
from perdure_conformance.crash._verdict import Fault, Finding, problems

__all__ = ["Writer", "expected", "found", "prepare", "read_back", "submit", "write_on"]

#: Groups of rows that the commits of a writer write over, one after the other.
SLOTS = 4

#: A payload of two pieces, in the commits whose number can be divided by this.
LARGE = 5

#: Commits that a state is compared at, besides the newest.
LOOKED_BACK = 3


def commit_id(writer: str, number: int) -> str:
    """The id of a commit."""
    return f"{writer}-commit-{number}"


def payload(writer: str, number: int) -> bytes:
    """The payload of a commit."""
    return f"{writer} {number} ".encode() * (9_000 if number % LARGE == 0 else 20)


def prepare(store: Store, writer: str) -> None:
    """What the commits need: a space, and the counter of the writer."""
    store.spaces.create("space", 2, table="memories")
    if f"count-{writer}" not in store.skills:
        store.skills.put(Skill(id=f"count-{writer}"), commit_id=f"{writer}-start")


def submit(store: Store, writer: str, number: int) -> None:
    """Commit a number: rows of six tables that bear it, a deletion, and one more on a counter."""
    name, mark = f"{writer}-{number % SLOTS}", f"{number}"
    with store.batch(commit_id=commit_id(writer, number)) as batch:
        batch.memories.put(Memory(id=name, kind=mark), vector=[1.0, number])
        batch.memories.put(Memory(id=f"{writer}-own-{number}"))
        batch.memories.delete(f"{writer}-own-{number - 2}")
        batch.links.put(Link(id=name, source=name, target=name, relation=mark))
        batch.skills.put(Skill(id=name, name=mark))
        batch.traces.put(Trace(id=name, session=mark))
        batch.states.put(State(kind="stream", id=name, metrics=mark, payload=payload(writer, number)))
        batch.skills.increment(f"count-{writer}", success_count=1)


def expected(writer: str, number: int) -> dict[str, Any]:
    """What the rows of a writer say once that number is committed, and no later one."""
    marks: dict[str, Any] = {"count": number}
    for last in range(max(1, number - SLOTS + 1), number + 1):
        name, mark = f"{writer}-{last % SLOTS}", f"{last}"
        marks |= {f"{table} {name}": mark for table in ("memories", "links", "skills", "traces", "states")}
        marks |= {f"vectors {name}": last, f"payload {name}": payload(writer, last)}
    marks |= {f"memories {writer}-own-{n}": None for n in (number - 1, number) if n > 0}
    return marks


def found(view: Any, writer: str) -> dict[str, Any]:
    """What the rows of a writer say."""
    counter = view.skills.get(f"count-{writer}")
    marks: dict[str, Any] = {"count": None if counter is None else counter.success_count}
    mine = re.compile(rf"{re.escape(writer)}-").match
    marks |= {f"memories {row.id}": row.kind for row in view.memories.scan() if mine(row.id)}
    marks |= {f"vectors {row.id}": float(row.values[1]) for row in view.vectors.scan() if mine(row.id)}
    marks |= {f"links {row.id}": row.relation for row in view.links.scan() if mine(row.id)}
    marks |= {f"skills {row.id}": row.name for row in view.skills.scan() if mine(row.id)}
    marks |= {f"traces {row.id}": row.session for row in view.traces.scan() if mine(row.id)}
    for row in view.states.scan():
        if mine(row.id):
            marks |= {f"states {row.id}": row.metrics, f"payload {row.id}": row.payload}
    return marks


# --------------------------------------------------------------------------------------- processes


def write_on(
    pipe: Any, place: Place, namespace: str, writer: str, branch: str, start: int, marker: str | None
) -> None:
    """A worker: commit one number after the other, and acknowledge each, until it is killed or told to stop.

    Args:
        pipe: Takes the numbers; where it sends "stop", or a last number, the writer stops.
        place, namespace: Of the store.
        writer, branch: Its name, and where it writes.
        start: The first number.
        marker: A file to acknowledge to as well, for a trace of system calls.
    """
    Target(place.url, place.plugin).describe()  # loads the backend
    allow_tracing()
    pipe.send("ready")
    last = pipe.recv()
    mark = None if marker is None else os.open(marker, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    with place.open(namespace, branch=branch) as store:
        if start == 1:
            prepare(store, writer)
        for number in itertools.count(start):
            if pipe.poll() or (last is not None and number > last):
                return
            submit(store, writer, number)
            if mark is not None:
                os.write(mark, b"%d\n" % number)
            pipe.send(number)


class Writer:
    """A process that commits a stream of numbers, and the numbers that it acknowledged."""

    def __init__(self, place: Place, namespace: str, name: str, branch: str = "main") -> None:
        self.place, self.namespace, self.name, self.branch = place, namespace, name, branch
        self.acknowledged = 0
        self._child: Child | None = None

    def start(self, *, last: int | None = None, marker: str | None = None, hold: bool = False) -> Child:
        """Let a new process go on after what is there.

        Args:
            last: The number to stop after; None: it is killed.
            marker: See `write_on`.
            hold: Let it wait until `go`.
        """
        start = self.acknowledged + 1
        self._child = spawn(write_on, self.place, self.namespace, self.name, self.branch, start, marker)
        self._child.recv()
        if not hold:
            self.go(last)
        return self._child

    def go(self, last: int | None = None) -> None:
        """Let the process begin."""
        self.child.send(last)

    @property
    def child(self) -> Child:
        """The process."""
        if self._child is None:
            raise ValueError("the writer was not started")
        return self._child

    def hear(self, timeout: float | None = None) -> int | None:
        """The next number that is acknowledged; None where the process is dead, or said nothing in that time.

        Raises:
            RuntimeError: The process failed.
        """
        if timeout is not None and not self.child.poll(timeout):
            return None
        try:
            message = self.child.recv()
        except (EOFError, ConnectionError):
            return None
        if not isinstance(message, int):
            kind, content = message
            if kind == "result":
                return None
            raise content if isinstance(content, PerdureError) else RuntimeError(content)
        self.acknowledged = message
        return message

    def kill(self, *, engine: bool = False) -> None:
        """Kill the process, and read what it had acknowledged until then.

        Args:
            engine: Kill all other processes of the engine at the same moment.
        """
        if engine:
            kill_all(self.place.directory, self.child.pid)
        self.child.kill()
        while self.hear() is not None:
            pass
        self.child.close()

    def stop(self) -> None:
        """Ask the process to end, and wait."""
        with suppress(ConnectionError):
            self.child.send("stop")
        while self.hear() is not None:
            pass
        self.child.wait()
        self.child.close()

    def finish(self) -> None:
        """Wait until the process has acknowledged its last number, and ended."""
        while self.hear() is not None:
            pass
        self.child.wait()

    def judged(self, *, again: bool = True) -> list[Finding]:
        """What a new process finds wrong; the stream goes on after the last number that is there."""
        child = spawn(read_back, self.place, self.namespace, self.name, self.branch, self.acknowledged, again)
        try:
            last, findings = child.result()
        finally:
            child.close()
        self.acknowledged = max(self.acknowledged, last)
        return list(findings)


def read_back(
    pipe: Any, place: Place, namespace: str, writer: str, branch: str, acknowledged: int, again: bool
) -> tuple[int, list[Finding]]:
    """A worker: the last number that is there, and what is wrong with the store.

    Args:
        pipe: Is not used.
        place, namespace, writer, branch: Of the stream.
        acknowledged: The last number that was acknowledged.
        again: Also submit the last numbers again, and a new one.
    """
    try:
        with place.open(namespace, branch=branch) as store:
            if acknowledged == 0:  # it may have died before it had prepared anything
                prepare(store, writer)
            last, findings = _judged(store, writer, acknowledged)
            if again and not findings:
                last, findings = _goes_on(store, writer, last)
            return last, findings
    except PerdureError as error:
        return acknowledged, [Finding(Fault.UNREADABLE, f"{type(error).__name__}: {error}")]


def _judged(store: Store, writer: str, acknowledged: int) -> tuple[int, list[Finding]]:
    findings = problems(store)
    mine = [commit.id for commit in store.log() if commit.id.startswith(f"{writer}-commit-")][::-1]
    numbers = [int(name.rpartition("-")[2]) for name in mine if name.rpartition("-")[2].isdigit()]
    last = max(numbers, default=0)
    findings += [
        Finding(Fault.PHANTOM, f"{name} was not submitted")
        for name in mine
        if not re.fullmatch(r".*-commit-\d+", name)
    ]
    if last > acknowledged + 1:
        findings.append(
            Finding(Fault.PHANTOM, f"{last} is there, and {acknowledged + 1} was the last submitted")
        )
    for number in sorted(set(range(1, acknowledged + 1)) - set(numbers)):
        fault = Fault.HOLE if number < last else Fault.LOST
        findings.append(Finding(fault, f"{commit_id(writer, number)} was acknowledged; the last is {last}"))
    if numbers != sorted(set(numbers)):
        findings.append(Finding(Fault.TWICE, f"the log has {numbers[-10:]}"))
    findings += _rows(store, writer, last)
    for number in range(max(1, last - LOOKED_BACK), last):
        if number in numbers:
            findings += _rows(store.at(f"@{commit_id(writer, number)}"), writer, number)
    return last, findings


def _rows(view: Any, writer: str, number: int) -> list[Finding]:
    here, wanted = found(view, writer), expected(writer, number)
    if here == wanted:
        return []
    differ = sorted(key for key in here.keys() | wanted.keys() if here.get(key, "") != wanted.get(key, ""))
    return [
        Finding(Fault.HALF, f"after commit {number}, {key!r} is {here.get(key)!r:.40}") for key in differ[:4]
    ]


def _goes_on(store: Store, writer: str, last: int) -> tuple[int, list[Finding]]:
    """The last commit is submitted again, then the next one twice: each is applied once."""
    for number in (last, last + 1, last + 1):
        if number:
            submit(store, writer, number)
    findings = _rows(store, writer, last + 1)
    return last + 1, [Finding(Fault.TWICE, finding.text) for finding in findings]
