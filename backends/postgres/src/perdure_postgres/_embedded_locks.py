"""Locks between processes: `flock`, which the kernel takes back from a process that dies.

A lock belongs to an open file, so that every share of a process has its own. A forked child inherits the open
files, but none of the locks: it closes its copies at once, and whoever took a lock gives it up by name.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from perdure import Busy, Unsupported

try:
    import fcntl
except ImportError as error:  # Windows
    raise Unsupported(
        "postgresql+embedded:// needs Linux or macOS; run a Postgres server and use postgresql://"
    ) from error

__all__ = ["alone", "exclusive", "give_up", "share"]

#: The descriptors of this process that bear a lock.
_held: set[int] = set()


def share(path: Path, owner: tuple[int, int] | None) -> int:
    """A shared lock on the file, which is created (as `owner`'s) where it is missing; its descriptor.

    Nobody holds the file alone but inside `exclusive`, where this is called, too: it need not wait.
    """
    descriptor = _open(path, owner)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    return descriptor


def give_up(descriptor: int) -> None:
    """Release a lock, also where a child of this process that is just being born has a copy of it."""
    if descriptor in _held:
        _held.discard(descriptor)
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


def alone(path: Path) -> bool:
    """Whether nobody holds a lock on the file."""
    descriptor = _open(path, None)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        give_up(descriptor)
    return True


@contextmanager
def exclusive(path: Path, until: float, owner: tuple[int, int] | None) -> Iterator[int]:
    """Hold the file alone; the value is the descriptor, for a child that shall keep the lock if we die.

    Raises:
        Busy: Another process held it until `until` (of `time.monotonic`).
    """
    descriptor = _open(path, owner)
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= until:
                    raise Busy(
                        f"another process has been starting or stopping the server of {str(path.parent)!r} "
                        "for the whole wait; try again, or open with a longer ?timeout="
                    ) from None
            time.sleep(random.uniform(0.002, 0.01))
        yield descriptor
    finally:
        give_up(descriptor)


def _open(path: Path, owner: tuple[int, int] | None) -> int:
    # Root may be a guest in the directory of a person who could put a link there: it follows none.
    while True:
        with suppress(FileNotFoundError):
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            break
        with suppress(FileExistsError):
            descriptor = os.open(
                path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_CREAT | os.O_EXCL, 0o600
            )
            if owner is not None:
                os.fchown(descriptor, *owner)
            break
    _held.add(descriptor)
    return descriptor


def _forget() -> None:
    while _held:
        with suppress(OSError):
            os.close(_held.pop())


os.register_at_fork(after_in_child=_forget)
