"""A disk that fails: faults in the system calls of a process, or files that may not grow."""

from __future__ import annotations

import os
import random
import resource
import socket
import struct
import time
from collections import Counter
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any, Literal

import psutil  # type: ignore[import-untyped]
from perdure import HistoryEvent, PerdureError, Retryable, StorageError

from perdure_conformance._processes import PATIENCE, Child, spawn
from perdure_conformance._target import Place, Target
from perdure_conformance.crash._acting import Rehearsal, judged
from perdure_conformance.crash._acts import ACTS, Scene, ready
from perdure_conformance.crash._engine import files_limited, gone, processes_of
from perdure_conformance.crash._trace import FAULTY, Call, Strace, allow_tracing
from perdure_conformance.crash._verdict import Fault, Finding, compared
from perdure_conformance.dump import dump
from perdure_conformance.expect import Skipped, Violation

__all__ = ["DiskFault", "Outcome", "drawn_fault", "failed", "limited", "writes_of"]

#: Seconds between looks whether a call has failed, and for how long at most all of them do.
BETWEEN, LASTING = 0.02, 5.0

End = Literal["done", "refused", "unsure", "wrong", "killed"]


@dataclass(frozen=True)
class DiskFault:
    """Which calls fail, and how.

    Attributes:
        call: The name of the system call.
        number: Which of the calls of that name in a thread, from 1; in each thread of the engine.
        error: "ENOSPC" or "EIO"; "SIGKILL" kills the process that makes the call.
        lasting: Whether all later ones fail too.
    """

    call: str
    number: int
    error: Literal["ENOSPC", "EIO", "SIGKILL"]
    lasting: bool = False

    @property
    def option(self) -> str:
        """For strace."""
        what = "signal=SIGKILL" if self.error == "SIGKILL" else f"error={self.error}"
        return f"inject={self.call}:{what}:when={self.number}{'+' if self.lasting else ''}"

    def __str__(self) -> str:
        return f"{self.error} at {self.call} {self.number}{' and later' if self.lasting else ''}"


@dataclass(frozen=True)
class Outcome:
    """What a process made of an act on a disk that fails.

    Attributes:
        kind: "done"; "refused", with a StorageError; "unsure", with an error that leaves open whether it was
            done; "wrong", with another; "killed", so that nobody said.
        text: The error.
        dump: What the same handle then reads; None where it reads nothing any more.
    """

    kind: End
    text: str = ""
    dump: Any = None


#: A process that answers a failing disk with its end says nothing to its caller.
DEATH = Outcome("wrong", "the death of the process that did the act")


def act_with_faults(
    pipe: Any, place: Place, namespace: str, name: str, events: Sequence[HistoryEvent], limit: int | None
) -> Any:
    """A worker: do an act while the disk fails, say how it ended, and what the handle reads afterwards.

    It waits before the act until the faults are on, and after it until they are off.
    """
    scene, act = Scene(place, namespace, events), ACTS[name]
    ready(scene, act)
    Target(place.url, place.plugin).describe()  # loads the backend: what is tried is the act
    allow_tracing()
    pipe.send("ready")
    pipe.recv()
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    if limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, most))
    kind: End = "done"
    text = ""
    try:
        act.perform(scene)
    except StorageError as error:
        kind, text = "refused", f"{type(error).__name__}: {error}"
    except Retryable as error:
        kind, text = "unsure", f"{type(error).__name__}: {error}"
    except Exception as error:
        kind, text = "wrong", f"{type(error).__name__}: {error}"
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    _tell(pipe, kind)
    pipe.recv()
    found = None
    with suppress(PerdureError):
        found = dump(scene.open, history=act.whole)
    with suppress(PerdureError):
        scene.open.close()
    return Outcome(kind, text, found)


def _tell(pipe: Any, message: Any) -> None:
    """Send a message without a call that may be made to fail, as `write` may."""
    content = bytes(ForkingPickler.dumps(message))
    with socket.socket(fileno=socket.dup(pipe.fileno())) as line:
        line.sendall(struct.pack("!i", len(content)) + content)


def writes_of(place: Place, namespace: str, rehearsal: Rehearsal, log: Path) -> list[tuple[str, int]]:
    """The calls that an act makes on the files of the store: name, and number of its name in its thread."""
    child = _begun(place, namespace, rehearsal, None)
    try:
        with Strace(child.pid, place.directory, log) as trace:
            child.send("go")
            child.recv()
        child.send("go on")
        child.result()
    finally:
        child.close()
    numbers: Counter[tuple[int, str]] = Counter()
    found = []
    for call in trace.calls():
        numbers[call.thread, call.name] += 1
        if call.name in FAULTY and _about(call, place):
            found.append((call.name, numbers[call.thread, call.name]))
    if not found:
        raise Skipped("the engine writes in a process that it did not start, and that works elsewhere")
    return found


def _about(call: Call, place: Place) -> bool:
    """Whether a call is about a file of the store."""
    return any(path.startswith(os.path.realpath(str(place.directory))) for path in call.paths[:1])


def drawn_fault(writes: Sequence[tuple[str, int]], rng: random.Random) -> DiskFault:
    """A fault at one of the calls; each kind of call is as likely as another."""
    name = rng.choice(sorted({name for name, _ in writes}))
    number = rng.choice([number for called, number in writes if called == name])
    error: Literal["ENOSPC", "EIO", "SIGKILL"] = rng.choice(("EIO", "EIO", "SIGKILL"))
    if "sync" not in name:
        error = rng.choice(("ENOSPC", "ENOSPC", "EIO", "SIGKILL"))
    return DiskFault(name, number, error, rng.random() < 0.5 and error != "SIGKILL")


def failed(
    place: Place, namespace: str, rehearsal: Rehearsal, fault: DiskFault, log: Path
) -> tuple[str, list[Finding]]:
    """Do an act while calls fail; how it ended ("missed" where no call on the store did), and what is wrong."""
    killing = fault.error == "SIGKILL"
    child = _begun(place, namespace, rehearsal, None)
    try:
        others = _others(place, child)
        with Strace(child.pid, place.directory, log, "-e", fault.option) as trace:
            child.send("go")
            _mend(child, trace, fault)
            alive = _answered(child, fault)
        outcome = _ended(child, others) if alive else Outcome("killed") if killing else DEATH
    finally:
        child.close()
    hit = [
        call for call in trace.calls() if call.injected or (killing and call.last and call.name == fault.call)
    ]
    if (alive and not hit) or not all(_about(call, place) for call in hit):
        return "missed", []
    return outcome.kind, _wrong(place, namespace, rehearsal, outcome)


def _mend(child: Child, trace: Strace, fault: DiskFault) -> None:
    """Let the disk work again once a call has failed, or after a while, where the act has not ended by then.

    Each process that the engine starts anew would meet the fault, and an engine may try again for long.
    """
    until = time.monotonic() + LASTING
    while not child.poll(BETWEEN):
        if time.monotonic() >= until or (not fault.lasting and trace.injected()):
            trace.detach()
            return


def limited(place: Place, namespace: str, rehearsal: Rehearsal, limit: int) -> tuple[str, list[Finding]]:
    """Do an act where no file may grow beyond a size; how it ended, and what is wrong.

    It ends as "done again" where the engine lost a process meanwhile, and went on.
    """
    child = _begun(place, namespace, rehearsal, limit)
    try:
        others = _others(place, child)
        with files_limited(place.directory, limit, child.pid) as reached:
            if not reached:
                raise Skipped("the files that other processes of the engine write cannot be limited here")
            child.send("go")
            child.poll(LASTING if others else PATIENCE)  # an engine that starts anew may try again for long
        alive = _answered(child, f"files of at most {limit} bytes")
        again = gone(others)
        outcome = _ended(child, others) if alive else DEATH
    finally:
        child.close()
    end = "done again" if outcome.kind == "done" and again else outcome.kind
    return end, _wrong(place, namespace, rehearsal, outcome)


def _begun(place: Place, namespace: str, rehearsal: Rehearsal, limit: int | None) -> Child:
    child = spawn(act_with_faults, place, namespace, rehearsal.act, rehearsal.events, limit)
    try:
        message = child.recv()
        if message != "ready":
            raise RuntimeError(f"a child process failed:\n{message[1]}")
    except BaseException:
        child.close()
        raise
    return child


def _others(place: Place, child: Child) -> set[psutil.Process]:
    """The processes of the engine besides the one that has the store open."""
    return {process for process in processes_of(place.directory) if process.pid != child.pid}


def _answered(child: Child, fault: object) -> bool:
    """Wait for the end of the act; whether the process is still there."""
    try:
        child.recv()
    except EOFError:
        return False
    except TimeoutError as error:
        raise Violation(f"an act with {fault}", "it ends", "it hangs") from error
    return True


def _ended(child: Child, others: Collection[psutil.Process]) -> Outcome:
    """How the act ended. That it may have been done is an answer only where what the fault hit is no more.

    Args:
        child: The process that did the act.
        others: The other processes that the engine had before.
    """
    died = gone(others)
    child.send("go on")
    outcome: Outcome = child.result()
    return replace(outcome, kind="wrong") if outcome.kind == "unsure" and not died else outcome


def _wrong(place: Place, namespace: str, rehearsal: Rehearsal, outcome: Outcome) -> list[Finding]:
    """What is wrong with how an act ended, with what its handle reads, and with what a new process finds."""
    done, whole = outcome.kind == "done", ACTS[rehearsal.act].whole
    findings = []
    if outcome.kind == "wrong":
        findings.append(Finding(Fault.ERROR, f"StorageError was due, and it is {outcome.text}"))
    if outcome.dump is not None and whole:
        findings += compared(outcome.dump, rehearsal.before, rehearsal.after, acknowledged=done)
        if outcome.kind == "refused" and outcome.dump == rehearsal.after != rehearsal.before:
            findings.append(Finding(Fault.REFUSED, f"{outcome.text}; and yet it is there"))
    refused = outcome.kind == "refused"
    return findings or judged(place, namespace, rehearsal, acknowledged=done, refused=refused)
