"""Acts that are interrupted, and what a new process then finds: the workers that run in processes of their own."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from perdure import HistoryEvent, Memory, PerdureError

from perdure_conformance._processes import Child, spawn
from perdure_conformance._target import Place
from perdure_conformance.crash._acts import ACTS, Act, Scene, ready
from perdure_conformance.crash._death import Moments, counted, dies_at
from perdure_conformance.crash._verdict import Fault, Finding, compared, problems, rows_of
from perdure_conformance.dump import dump

__all__ = ["Rehearsal", "died", "judged", "killed", "rehearsed"]


@dataclass(frozen=True)
class Rehearsal:
    """What an act does where nothing interrupts it.

    Attributes:
        act: Its name.
        events: The history that it is about.
        before, after: Dumps.
        moments: The calls that it makes.
    """

    act: str
    events: Sequence[HistoryEvent]
    before: Any
    after: Any
    moments: Moments


def rehearse(pipe: Any, place: Place, namespace: str, name: str, events: Sequence[HistoryEvent]) -> Rehearsal:
    """A worker: do the act, and tell what there was before, after, and in between."""
    act = ACTS[name]
    before = _before(place, f"{namespace}-before", act, events)
    scene = Scene(place, namespace, events)
    ready(scene, act)
    with counted() as moments:
        act.perform(scene)
    after = dump(scene.open, history=act.whole)
    scene.open.close()
    return Rehearsal(name, events, before, after, moments)


def rehearsed(place: Place, namespace: str, name: str, events: Sequence[HistoryEvent]) -> Rehearsal:
    """`rehearse`, in a process of its own."""
    child = spawn(rehearse, place, namespace, name, events)
    try:
        rehearsal: Rehearsal = child.result()
        return rehearsal
    finally:
        child.close()


def _before(place: Place, namespace: str, act: Act, events: Sequence[HistoryEvent]) -> Any:
    """The dump of a namespace before the act; one that opens the namespace starts from an empty one."""
    scene = Scene(place, namespace, events)
    ready(scene, act)
    with scene.open as store:
        return dump(store, history=act.whole)


def act_and_die(
    pipe: Any, place: Place, namespace: str, name: str, events: Sequence[HistoryEvent], moment: int
) -> None:
    """A worker: do the act, and die at a moment of it, or after it was acknowledged."""
    scene, act = Scene(place, namespace, events), ACTS[name]
    ready(scene, act)
    pipe.send("ready")
    with dies_at(moment):
        act.perform(scene)
    pipe.send("acknowledged")
    os.kill(os.getpid(), signal.SIGKILL)


def died(child: Child) -> bool:
    """Wait until a child of `act_and_die` is dead; whether it acknowledged the act before.

    Raises:
        RuntimeError: It did not die, but failed.
    """
    said = []
    try:
        while True:
            said.append(child.recv())
    except EOFError:
        child.wait()
    for message in said:
        if message not in ("ready", "acknowledged"):
            raise message[1] if isinstance(message[1], PerdureError) else RuntimeError(message[1])
    return "acknowledged" in said


def inspect(
    pipe: Any, place: Place, namespace: str, rehearsal: Rehearsal, acknowledged: bool, refused: bool
) -> list[Finding]:
    """A worker: what is wrong with the store that an interrupted act left; where nothing is, how it goes on."""
    act = ACTS[rehearsal.act]
    scene = Scene(place, namespace, rehearsal.events)
    try:
        store = scene.open
        findings = problems(store)
        found = dump(store, history=act.whole)
    except PerdureError as error:
        return [Finding(Fault.UNREADABLE, f"{type(error).__name__}: {error}")]
    findings += _state(act, found, rehearsal, acknowledged)
    if refused and act.whole and found == rehearsal.after != rehearsal.before:
        findings.append(Finding(Fault.REFUSED, "an error was raised, and what was refused is there"))
    if findings:
        store.close()
        return findings
    try:
        findings = _goes_on(scene, act, rehearsal)
    except PerdureError as error:
        findings = [Finding(Fault.STUCK, f"{type(error).__name__}: {error}")]
    store.close()
    return findings


def _state(act: Act, found: Any, rehearsal: Rehearsal, acknowledged: bool) -> list[Finding]:
    if act.whole or acknowledged:
        return compared(found, rehearsal.before, rehearsal.after, acknowledged=acknowledged)
    here, old, new = rows_of(found), rows_of(rehearsal.before), rows_of(rehearsal.after)
    kept = {key: row for key, row in old.items() if new.get(key) == row and key[0] in found["branches"]}
    lost = [key for key, row in kept.items() if here.get(key) != row]
    strange = [key for key, row in here.items() if row not in (old.get(key), new.get(key))]
    findings = [Finding(Fault.LOST, f"rows that the act is not about changed: {sorted(lost)[:5]}")] * bool(
        lost
    )
    if strange:
        findings.append(Finding(Fault.HALF, f"rows as they never were: {sorted(strange)[:5]}"))
    return findings


def _goes_on(scene: Scene, act: Act, rehearsal: Rehearsal) -> list[Finding]:
    """The act is done again, twice: it is applied once. Then somebody writes something else."""
    store = scene.open
    for _ in range(2):
        act.perform(scene)
        found = dump(store, history=act.whole)
        if found != rehearsal.after:
            return [
                Finding(Fault.TWICE if finding.fault is Fault.HALF else finding.fault, finding.text)
                for finding in compared(found, rehearsal.before, rehearsal.after, acknowledged=True)
            ]
    store.memories.put(Memory(id="later", text="written after the failure"))
    if store.memories["later"].text != "written after the failure":
        return [Finding(Fault.STUCK, "what was written after the failure is not there")]
    return problems(store)


def judged(
    place: Place, namespace: str, rehearsal: Rehearsal, *, acknowledged: bool, refused: bool = False
) -> list[Finding]:
    """What a new process finds wrong with the store that an interrupted act left.

    It also does the act again, and goes on writing.

    Args:
        place, namespace: Of the store.
        rehearsal: Of the act.
        acknowledged: Whether the act was acknowledged.
        refused: Whether it was refused with an error.
    """
    child = spawn(inspect, place, namespace, rehearsal, acknowledged, refused)
    try:
        findings: list[Finding] = child.result()
        return findings
    finally:
        child.close()


def killed(place: Place, namespace: str, rehearsal: Rehearsal, moment: int) -> tuple[bool, list[Finding]]:
    """Kill a process at a moment of an act; whether it had acknowledged it, and what a new process finds wrong."""
    child = spawn(act_and_die, place, namespace, rehearsal.act, rehearsal.events, moment)
    try:
        acknowledged = died(child)
    finally:
        child.close()
    return acknowledged, judged(place, namespace, rehearsal, acknowledged=acknowledged)
