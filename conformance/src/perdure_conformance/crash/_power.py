"""A stream of commits whose system calls are followed, and the disks that a loss of power would leave of it."""

from __future__ import annotations

import copy
import os
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from perdure_conformance._target import Place
from perdure_conformance.crash._acts import moved
from perdure_conformance.crash._engine import kill_all
from perdure_conformance.crash._image import Disk
from perdure_conformance.crash._stream import Writer
from perdure_conformance.crash._tasks import births_of
from perdure_conformance.crash._trace import Call, Strace
from perdure_conformance.crash._tree import Directory, Owners, owners_of, read_tree
from perdure_conformance.crash._verdict import Finding
from perdure_conformance.expect import Skipped

__all__ = ["Recording", "recorded"]

UNSEEN = "needs a URL with {tmp}: the files of an engine elsewhere cannot be seen"


@dataclass
class Recording:
    """What the processes of an engine did to its files, and when it acknowledged what.

    Attributes:
        place: Where it ran.
        directory: The place's.
        namespace: That it wrote to.
        calls: The system calls.
        acknowledgements: After which of the calls it acknowledged its first commit, its second, and so on.
        before: What the directory held when the calls began, all of it durable.
        earlier: The commits that were acknowledged by then.
        owners: Whose the files were in the end.
    """

    place: Place
    directory: Path
    namespace: str
    calls: list[Call]
    acknowledgements: list[int]
    before: Directory
    earlier: int
    owners: Owners
    _disk: Disk | None = field(default=None, init=False, repr=False)
    _ran: int = field(default=0, init=False, repr=False)

    def acknowledged(self, moment: int) -> int:
        """How many commits were acknowledged in the first so many calls, and before."""
        return self.earlier + sum(1 for at in self.acknowledgements if at < moment)

    def moments(self, rng: random.Random, count: int) -> Iterator[int]:
        """Numbers of calls at which something was written or synced, in order."""
        root = os.path.realpath(self.directory)
        busy = [
            i + 1
            for i, call in enumerate(self.calls)
            if any(path.startswith(root) for path in (*call.paths, call.opened))
        ]
        yield from sorted(rng.sample(busy, min(count, len(busy))))

    def disk(self, moment: int | None = None) -> Disk:
        """The disk after the first so many calls; None: after all. Good until the next one is asked for."""
        end = len(self.calls) if moment is None else moment
        if self._disk is None or self._ran > end:
            self._disk = Disk(self.directory, copy.deepcopy(self.before), births_of(self.calls))
            self._ran = 0
        self._disk.run(self.calls[self._ran : end])
        self._ran = end
        return self._disk

    def lost_at(
        self, moment: int, directory: Path, rng: random.Random | None
    ) -> tuple[list[str], list[Finding]]:
        """What a loss of power after so many calls would cost.

        Args:
            moment: The number of calls.
            directory: Where to put the files that it leaves; nothing is there.
            rng: Chance: of what was not synced, any part is there. None: nothing of it is.

        Returns:
            The files that were not synced then, and what a new process finds wrong.
        """
        disk = self.disk(moment)
        disk.restore(directory, rng, self.owners)
        reader = Writer(moved(self.place, directory), self.namespace, "w")
        reader.acknowledged = self.acknowledged(moment)
        return disk.unsynced(), reader.judged()


def recorded(
    place: Place, namespace: str, commits: int, log: Path, marker: Path, *, fresh: bool = True
) -> Recording:
    """Let a new process commit to a store, and follow all processes of the engine.

    Args:
        place: Where; its directory is empty.
        namespace: In which namespace.
        commits: How many.
        log, marker: Files to make.
        fresh: Whether the making of the store is followed, too. Else it is made before, with one commit.

    Raises:
        Skipped: The engine cannot be followed, or its files cannot be seen.
    """
    if place.directory is None:
        raise Skipped(UNSEEN)
    writer = Writer(place, namespace, "w")
    if not fresh:
        writer.start(last=1)
        writer.finish()
        kill_all(
            place.directory
        )  # also one that outlives its last store is to be followed from its beginning
    before, earlier = read_tree(place.directory), writer.acknowledged
    child = writer.start(marker=str(marker), hold=True)
    try:
        with Strace(child.pid, place.directory, log, contents=True) as trace:
            writer.go(earlier + commits)
            writer.finish()
            kill_all(place.directory)
    finally:
        child.close()
    calls = trace.calls()
    acknowledgements = [
        i for i, call in enumerate(calls) if call.name == "write" and call.paths[:1] == [str(marker)]
    ]
    recording = Recording(
        place,
        place.directory,
        namespace,
        calls,
        acknowledgements,
        before,
        earlier,
        owners_of(place.directory),
    )
    disk = recording.disk()
    if not disk.written:
        raise Skipped("the engine writes in a process that it did not start, and that works elsewhere")
    if differs := disk.differs():
        raise Skipped(f"the engine writes in ways that a trace of calls does not show: {differs[:3]}")
    return recording
