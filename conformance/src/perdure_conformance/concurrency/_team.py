"""Workers that run jobs at the same time: threads on one handle, threads on several, or processes."""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing.connection import Connection
from typing import Any, Literal

from perdure import PerdureError, Store

from perdure_conformance._case import Case
from perdure_conformance._processes import PATIENCE, spawn
from perdure_conformance._target import Place
from perdure_conformance.concurrency._history import Call, Recorder, told
from perdure_conformance.expect import Violation

__all__ = ["Crew", "Team"]

#: Threads that share a handle; threads with a handle each; processes.
Crew = Literal["threads", "handles", "processes"]

#: What a worker does: ``job(record, store, *args)``. A function of a module, for other processes.
Job = tuple[Any, ...]

#: Seconds between the looks of Python for another thread: the less, the more interleavings there are.
SWITCH = 1e-5


class Team:
    """Runs jobs at the same time, on handles that are open before the first of them begins.

    Args:
        case: Whose stores they work on. Processes stay for the next team at the same place, until the run ends.
        crew: What the workers are. "processes" needs that.
    """

    def __init__(self, case: Case, crew: Crew) -> None:
        self._case = case
        self._crew = crew

    def run(self, namespace: str, *jobs: Job) -> list[Call]:
        """The calls of all jobs, each a function and its arguments, after the recorder and the store.

        Raises:
            Violation: A job failed, or did not come to an end.
        """
        run = self._in_processes if self._crew == "processes" else self._in_threads
        calls, failures = run(namespace, jobs)
        if failures:
            raise Violation("the calls of the workers", "no error", "\n".join([*failures, told(calls)]))
        return calls

    # ------------------------------------------------------------------------------------- threads

    def _in_threads(self, namespace: str, jobs: Sequence[Job]) -> tuple[list[Call], list[str]]:
        shared = self._case.store(namespace)
        stores = [shared if self._crew == "threads" else self._case.store(namespace) for _ in jobs]
        start = threading.Barrier(len(jobs))
        works = [
            _Work(Recorder(f"w{number}"), store, job, start.wait)
            for number, (store, job) in enumerate(zip(stores, jobs, strict=True))
        ]
        threads = [threading.Thread(target=work.run, daemon=True) for work in works]
        interval = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH)
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(PATIENCE)
        finally:
            sys.setswitchinterval(interval)
        failures = [work.failure for work in works if work.failure]
        if any(thread.is_alive() for thread in threads):
            failures.append(f"a thread is still at work after {PATIENCE} s")
        for store in {*stores, shared}:
            store.close()
        return [call for work in works for call in work.record.calls], failures

    # ----------------------------------------------------------------------------------- processes

    def _in_processes(self, namespace: str, jobs: Sequence[Job]) -> tuple[list[Call], list[str]]:
        with self._case.store(namespace):
            workers = self._case.site.workers.setdefault(self._case.place, [])
            while len(workers) < len(jobs):
                workers.append(spawn(_serve, self._case.place, f"w{len(workers)}"))
            team = workers[: len(jobs)]
            calls: list[Call] = []
            failures: list[str] = []
            try:
                for child, job in zip(team, jobs, strict=True):
                    child.send((namespace, job))
                for child in team:
                    child.recv()
                for child in team:
                    child.send("go")
                for child in team:
                    made, failure = child.recv()
                    calls += made
                    failures += [failure] if failure else []
            except (EOFError, TimeoutError, OSError) as error:
                failures.append(f"a process died or hangs: {error!r}")
                while workers:  # there will be new ones
                    workers.pop().close()
            return calls, failures


class _Work:
    """One job of one worker."""

    def __init__(self, record: Recorder, store: Store, job: Job, start: Callable[[], Any]) -> None:
        self.record = record
        self.failure = ""
        self._store = store
        self._job = job
        self._start = start

    def run(self) -> None:
        """Do it; what it raised is left in `failure`."""
        self._start()
        function, *args = self._job
        try:
            function(self.record, self._store, *args)
        except PerdureError as error:
            self.failure = f"{self.record.worker}: {type(error).__name__}: {error}"
        except BaseException:  # a thread that ends in silence would look as if it had passed
            self.failure = f"{self.record.worker}: {traceback.format_exc()}"


def _serve(pipe: Connection, place: Place, name: str) -> None:
    """Do job after job in a process, until it is ended."""
    while True:
        namespace, job = pipe.recv()
        record = Recorder(name)
        failure = ""
        try:
            store = place.open(namespace, principal=name)
        except PerdureError as error:
            _in_step(pipe)
            failure = f"{name}: {type(error).__name__}: {error}"
        else:
            with store:
                work = _Work(record, store, job, partial(_in_step, pipe))
                work.run()
            failure = work.failure
        pipe.send((record.calls, failure))


def _in_step(pipe: Connection) -> None:
    """Wait until all are ready."""
    pipe.send("ready")
    pipe.recv()
