"""Examples in another process, beside the checks that are timed: on two cores a run takes little more than half as long."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import fields
from multiprocessing.connection import Connection
from typing import Any

from perdure_conformance._checks import Check
from perdure_conformance._processes import spawn
from perdure_conformance._profile import Profile
from perdure_conformance._results import Result, Status
from perdure_conformance._runner import Runner
from perdure_conformance._site import Site
from perdure_conformance._target import Target

__all__ = ["Beside", "goes_beside"]

#: Fewer checks than this are over before another process is worth its start.
WORTH = 50

#: How long one check may take before its process counts as hung, in seconds.
PATIENCE = 600.0

#: How long it may take to finish a check and to remove its stores when it is told to stop, in seconds.
CLEANUP = 20.0

#: Of a result, what another process cannot send, and an example does not have.
_HERE = ("check", "body", "example")


def goes_beside(target: Target, checks: Sequence[Check]) -> list[Check]:
    """The checks that another process may run: examples that need no process themselves, on places of their own."""
    if not (target.many and target.portable) or target.wrap:
        return []
    found = [check for check in checks if check.kind == "example" and "processes" not in check.needs]
    return found if len(found) >= WORTH else []


class Beside:
    """Another process that runs checks, and the results that it sends.

    Args:
        target: What is judged; the other process has a site of its own.
        checks: Which, in their order.
        profile: The budget.
        seed: Of all randomness.
        total: As for `Runner`.
    """

    def __init__(
        self, target: Target, checks: Sequence[Check], *, profile: Profile, seed: int, total: float
    ) -> None:
        self._waiting = list(checks)
        names = [check.id for check in checks]
        self._child = spawn(_work, target, names, profile, seed, total, parent=True)

    def results(self, *, wait: bool) -> Iterator[Result]:
        """The results that have come; with `wait`, all that are still to come.

        Where the process dies, which only a backend can make it do, the check that it was at has failed, and
        the ones after it are left in `abandoned`.
        """
        while self._waiting and (wait or self._child.poll()):
            check = self._waiting.pop(0)
            try:
                said = self._child.recv(PATIENCE)
                if not isinstance(said, dict):
                    raise EOFError(str(said[1]))
            except (EOFError, OSError) as error:  # a TimeoutError is an OSError
                got = f"{type(error).__name__}: {error}"
                yield Result(
                    check, Status.FAILED, what="the process of the check", expected="it lives", got=got
                )
                return
            yield Result(check, **said)

    @property
    def abandoned(self) -> list[Check]:
        """The checks without a result."""
        return self._waiting

    def close(self) -> None:
        """Let it finish its check and clean up, then end it."""
        try:
            if self._waiting:
                self._child.send("stop")
            while self._child.poll(CLEANUP):
                self._child.recv()
        except (EOFError, OSError):
            pass  # it has ended
        self._child.wait(CLEANUP)
        self._child.close()


def _work(
    pipe: Connection, target: Target, names: list[str], profile: Profile, seed: int, total: float
) -> None:
    # Loaded here: the areas import what the package offers, and the package this module.
    from perdure_conformance.clauses import CHECKS  # noqa: PLC0415

    signal.signal(
        signal.SIGTERM, _leave
    )  # sent to a whole group of processes, it must not leave stores behind
    known = {check.id: check for check in CHECKS}
    with Site(target) as site:
        runner = Runner(site, profile=profile, seed=seed, total=total)
        for name in names:
            if pipe.poll():
                return
            pipe.send(_plain(runner.run_one(known[name])))


def _leave(number: int, frame: object) -> None:
    sys.exit(128 + number)


def _plain(result: Result) -> dict[str, Any]:
    return {field.name: getattr(result, field.name) for field in fields(result) if field.name not in _HERE}
