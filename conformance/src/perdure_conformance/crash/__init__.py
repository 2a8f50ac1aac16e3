"""Failures, and what they leave: processes that are killed, disks that fail, power that goes.

A worker runs in a process of its own (see `perdure_conformance._processes`) and is killed at a moment
that the operating system, or the harness, chooses. A new process then opens the store, and says what is
wrong with it as a list of `Finding`: none is what a backend wants.
"""

from perdure_conformance.crash._acting import Rehearsal, judged, killed, rehearsed
from perdure_conformance.crash._acts import ACTS, Act, Scene, history, moved
from perdure_conformance.crash._death import drawn
from perdure_conformance.crash._engine import kill_all
from perdure_conformance.crash._faults import DiskFault, drawn_fault, failed, limited, writes_of
from perdure_conformance.crash._power import Recording, recorded
from perdure_conformance.crash._stream import Writer
from perdure_conformance.crash._verdict import Fault, Finding, said

__all__ = [
    "ACTS",
    "Act",
    "DiskFault",
    "Fault",
    "Finding",
    "Recording",
    "Rehearsal",
    "Scene",
    "Writer",
    "drawn",
    "drawn_fault",
    "failed",
    "history",
    "judged",
    "kill_all",
    "killed",
    "limited",
    "moved",
    "recorded",
    "rehearsed",
    "said",
    "writes_of",
]
