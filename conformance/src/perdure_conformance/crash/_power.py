"""A stream of commits whose system calls are followed, and the disks that a loss of power would leave of it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from perdure_conformance._target import Place
from perdure_conformance.crash._acts import moved
from perdure_conformance.crash._image import Disk
from perdure_conformance.crash._stream import Writer
from perdure_conformance.crash._trace import Call, Strace
from perdure_conformance.crash._verdict import Finding
from perdure_conformance.expect import Skipped

__all__ = ["Recording", "recorded"]


@dataclass(frozen=True)
class Recording:
    """What a process did to the files of a store that it made, and when it acknowledged what.

    Attributes:
        place: Where it ran; the directory was empty when it began.
        namespace: That it wrote to.
        calls: Its system calls.
        acknowledgements: After which of the calls it acknowledged its first commit, its second, and so on.
    """

    place: Place
    namespace: str
    calls: list[Call]
    acknowledgements: list[int]

    def acknowledged(self, moment: int) -> int:
        """How many commits were acknowledged in the first so many calls."""
        return sum(1 for at in self.acknowledgements if at < moment)

    def moments(self, rng: random.Random, count: int) -> Iterator[int]:
        """Numbers of calls at which something was written or synced, in order."""
        begin = next((i for i, call in enumerate(self.calls) if self._ours(call)), 0)
        busy = [i + 1 for i, call in enumerate(self.calls) if i >= begin and self._ours(call)]
        yield from sorted(rng.sample(busy, min(count, len(busy))))

    def _ours(self, call: Call) -> bool:
        return any(path.startswith(str(self.place.directory)) for path in call.paths)

    def disk(self, moment: int | None = None) -> Disk:
        """The disk after the first so many calls; None: after all."""
        if self.place.directory is None:
            raise Skipped("needs a URL with {tmp}: the files of an engine elsewhere cannot be seen")
        disk = Disk(self.place.directory)
        disk.run(self.calls[:moment])
        return disk

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
        disk.restore(directory, rng)
        reader = Writer(moved(self.place, directory), self.namespace, "w")
        reader.acknowledged = self.acknowledged(moment)
        return disk.unsynced(), reader.judged()


def recorded(place: Place, namespace: str, commits: int, log: Path, marker: Path) -> Recording:
    """Let a new process make a store and commit to it, and follow it.

    Args:
        place: Where; its directory is empty.
        namespace: In which namespace.
        commits: How many.
        log, marker: Files to make.

    Raises:
        Skipped: It cannot be followed, or its files cannot be seen.
    """
    writer = Writer(place, namespace, "w")
    child = writer.start(marker=str(marker), hold=True)
    try:
        with Strace(child.pid, log) as trace:
            writer.go(commits)
            while writer.hear() is not None:
                pass
            child.wait()
        calls = trace.calls()
    finally:
        child.close()
    acknowledgements = [
        i for i, call in enumerate(calls) if call.name == "write" and call.paths[:1] == [str(marker)]
    ]
    recording = Recording(place, namespace, calls, acknowledgements)
    if not recording.disk().written:
        raise Skipped("the engine writes in another process, which cannot be followed")
    return recording
