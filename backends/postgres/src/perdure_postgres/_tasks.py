"""Work that a store does beside its callers, one thing after the other, on a connection of its own."""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from contextlib import suppress

import psycopg
from perdure import PerdureError

from perdure_postgres._pool import Connection

__all__ = ["Tasks"]

#: Seconds before what failed is tried again, and that a closing store waits for what it broke off.
_PAUSE, _PATIENCE = 30.0, 10.0

#: How long one thing waits for a lock; it is in the way of others while it does.
_LOCK = "SET lock_timeout = '10s'"

_Task = Callable[[Connection], None]


class Tasks:
    """A thread that runs while there is something to do.

    What fails is left undone: nothing hangs on it but speed, and it is asked for again.

    Args:
        connect: Makes the connection.
    """

    def __init__(self, connect: Callable[[], Connection]) -> None:
        self._connect = connect
        self._lock = threading.Lock()
        self._waiting: OrderedDict[Hashable, tuple[_Task, threading.Event]] = OrderedDict()
        self._failed: dict[Hashable, float] = {}
        self._thread: threading.Thread | None = None
        self._connection: Connection | None = None
        self._process = os.getpid()
        self._closed = False

    def do(self, key: Hashable, task: _Task) -> threading.Event | None:
        """Do something soon, once for all who ask meanwhile; what is set when it is done, or has failed."""
        with self._lock:
            if self._closed or self._failed.get(key, 0.0) > time.monotonic() or self._process != os.getpid():
                return None
            done = self._waiting.setdefault(key, (task, threading.Event()))[1]
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="perdure-postgres", daemon=True)
                self._thread.start()
            return done

    def _run(self) -> None:
        try:
            while (found := self._next()) is not None:
                key, task, done = found
                try:
                    if self._connection is None:
                        self._connection = self._connect()
                        self._connection.execute(_LOCK)
                    task(self._connection)
                except (psycopg.Error, PerdureError, OSError):
                    self._failed[key] = time.monotonic() + _PAUSE
                    self._hang_up()
                finally:
                    done.set()
        finally:
            self._hang_up()

    def _next(self) -> tuple[Hashable, _Task, threading.Event] | None:
        with self._lock:
            if not self._waiting or self._closed:
                self._thread = None
                for _, done in self._waiting.values():
                    done.set()
                self._waiting.clear()
                return None
            key, (task, done) = self._waiting.popitem(last=False)
            return key, task, done

    def _hang_up(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(psycopg.Error):
                connection.close()

    def close(self) -> None:
        """Break off what is under way."""
        with self._lock:
            self._closed = True
            thread, connection = self._thread, self._connection
        if self._process != os.getpid() or thread is None:
            return  # a forked child has no such thread
        if connection is not None:
            with suppress(psycopg.Error):
                connection.cancel_safe(timeout=_PATIENCE)
        thread.join(_PATIENCE)
