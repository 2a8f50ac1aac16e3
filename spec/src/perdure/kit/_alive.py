"""Whether the holder of a maintenance is alive, judged by nobody's clock but one's own.

While a maintenance lasts, its holder changes a key of the namespace every `BEAT` seconds: it *beats*. Who finds
a maintenance held watches that key: if it changes, the holder is alive; if it has not changed in `LOOKS` looks,
the holder counts as dead, and its maintenance is taken over. That may be wrong: the holder may only have slept.
What it does when it wakes up must then do no harm:

- It moves the head no more: `advance` looks whether the head still has its token, and swaps. What it wrote for
  that is of a generation that was never accepted, and goes with the next compaction.
- It deletes no more than one batch: keys are collected, then the head is looked at, and then the batch goes. A token
  that the head has lost never returns, so every key of the batch was found while the maintenance was
  held, and rightly, whatever it slept through after the look. It remains that nothing may come to need one of
  them later:

  - Row versions, commits, their parts and index entries have the token of their attempt in their keys.
    No attempt has another's token, so nothing is ever stored under such a key again. Those that were committed are
    below a floor or hidden by a purge, or have a newer form: floors never go down, and what was purged comes
    back only with other keys. Those that were not committed never will be, for the maintenance moved the head,
    so that every attempt from before it has lost; and every later attempt has a later token, by which
    it is told (`State.since`), though the clock of its writer may be behind.
  - A copy of a payload piece that nothing refers to could be found by a writer, and referred to. So
    writers trust no copy that is as old as the maintenance under way, nor as one that was ever taken over
    (`Head.taken_over`): they store another, with a later token.
  - The read counters of a row that was purged, and was written again while the holder slept, begin anew. That is
    the one thing that can be lost, and counters are no part of history.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from enum import Enum
from types import TracebackType

from perdure._errors import Busy
from perdure.kit._head import HeadStore, Tries
from perdure.kit._keys import Keys
from perdure.kit._storage import Storage

__all__ = ["BUSY", "Alive", "Pulse", "held_by", "watch"]

#: Seconds from beat to beat; a maintenance that is shorter never beats.
BEAT = 0.3

#: Seconds from look to look, and how many looks without a beat tell that the holder is dead: some 3 seconds. They
#: are counted, not timed, so that a pause of the watcher, or of the whole machine, is one look.
LOOK, LOOKS = 0.05, 60

BUSY = "another compaction or purge is under way; try again when it has ended"


class Alive(Enum):
    """What became of a maintenance that was watched."""

    ENDED = "ended"
    YES = "yes"
    NO = "no"


def held_by(heads: HeadStore, token: bytes) -> bool:
    """Whether the namespace's maintenance is held with that token."""
    held = heads.load().head.maintenance
    return held is not None and held.token == token


def watch(storage: Storage, keys: Keys, heads: HeadStore, token: bytes, tries: Tries) -> Alive:
    """Watch a maintenance until it beats, ends, or was silent too long.

    Raises:
        Busy: The deadline passed first.
    """
    first = storage.get(keys.pulse)
    for _ in range(LOOKS):
        if tries.left() <= LOOK:
            raise Busy(BUSY)
        time.sleep(LOOK)
        if not held_by(heads, token):
            return Alive.ENDED
        beat = storage.get(keys.pulse)
        if beat is not None and beat != first and beat.startswith(token):
            return Alive.YES
    return Alive.NO if held_by(heads, token) else Alive.ENDED


class Pulse:
    """Beats from a thread of its own while the block runs, and while the maintenance is held."""

    def __init__(self, storage: Storage, keys: Keys, heads: HeadStore, token: bytes) -> None:
        self._storage = storage
        self._key = keys.pulse
        self._heads = heads
        self._token = token
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="perdure-maintenance", daemon=True)

    def __enter__(self) -> Pulse:
        with suppress(
            RuntimeError
        ):  # no thread can begin while the interpreter ends: then others may take over
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()
        with suppress(Exception):  # what is left there means nothing
            if self._storage.get(self._key) is not None:
                self._storage.delete(self._key)

    def _run(self) -> None:
        count = 0
        while not self._stop.wait(BEAT):
            count += 1
            with suppress(Exception):  # a beat that fails is one that others miss, and no more
                if not held_by(self._heads, self._token):
                    return
                beat = self._token + count.to_bytes(8, "big")
                self._storage.compare_and_swap(self._key, self._storage.get(self._key), beat)
