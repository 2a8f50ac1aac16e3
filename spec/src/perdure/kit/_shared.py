"""Handles on what a process may open only once: shared by all who open it there, closed by the last of them."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

from perdure._errors import Unavailable

__all__ = ["Lease", "Shared"]

_T = TypeVar("_T")


class _Handle(Generic[_T]):
    def __init__(self, identity: Hashable, it: _T) -> None:
        self.identity = identity
        self.it = it
        self.users = 0


class Lease(Generic[_T]):
    """A share in a handle."""

    def __init__(self, shared: Shared[_T], handle: _Handle[_T]) -> None:
        self._shared = shared
        self._handle = handle
        self._closed = False

    @contextmanager
    def use(self) -> Iterator[_T]:
        """The handle, which nobody closes while the block runs.

        Raises:
            Unavailable: This share was closed.
        """
        with self._shared._lock:
            if self._closed:
                raise Unavailable("the store was closed; open it again")
            self._handle.users += 1
        try:
            yield self._handle.it
        finally:
            self._shared._release(self._handle)

    def close(self) -> None:
        """Give the share back; closing twice is no error."""
        with self._shared._lock:
            closed, self._closed = self._closed, True
        if not closed:
            self._shared._release(self._handle)


class Shared(Generic[_T]):
    """The handles that this process has open; `close` closes one."""

    def __init__(self, close: Callable[[_T], None]) -> None:
        self._close = close
        self._lock = threading.Lock()
        self._handles: dict[Hashable, _Handle[_T]] = {}

    def lease(self, identity: Hashable, make: Callable[[], _T]) -> Lease[_T]:
        """A share in the handle on a thing, which is made if nobody has one; a forked process makes its own.

        Args:
            identity: Tells the thing from others: for a file, its device and inode.
            make: Opens it; called while no other handle is opened or closed.
        """
        place = (os.getpid(), identity)
        with self._lock:
            handle = self._handles.get(place)
            if handle is None:
                handle = self._handles[place] = _Handle(place, make())
            handle.users += 1
            return Lease(self, handle)

    def _release(self, handle: _Handle[_T]) -> None:
        with self._lock:
            handle.users -= 1
            if not handle.users:
                del self._handles[handle.identity]
                self._close(handle.it)
