"""One run of the suite on a backend, from its choice of checks to its verdict."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from perdure import Description, InvalidInput

from perdure_conformance._beside import Beside, goes_beside
from perdure_conformance._checks import LEVELS, Check
from perdure_conformance._known import Known
from perdure_conformance._profile import PROFILES
from perdure_conformance._results import Result, Status
from perdure_conformance._runner import Runner
from perdure_conformance._site import Site
from perdure_conformance._spec import Specification, newer
from perdure_conformance._target import Target
from perdure_conformance.report import Report
from perdure_conformance.repro import attach

__all__ = ["ALWAYS", "bound", "by_id", "chosen", "judge", "narrowed", "weight"]

#: The levels that are run whatever a backend claims.
ALWAYS = ("core", "branches", "vectors")

#: For how many failures of a run programs are made: each is run, which takes about a second.
PROGRAMS = 20

#: Said of the check that ran when a run was stopped: it may be the one that hangs.
STOPPED = "the run was stopped while it ran"


def judge(
    target: Any,
    *,
    levels: Collection[str] | None = None,
    profile: str = "quick",
    seed: int | None = None,
    only: Collection[str] = (),
    only_round: int | None = None,
    known: str | Path | None = None,
    repro: bool = False,
    on_result: Callable[[Result], None] | None = None,
) -> Report:
    """Run the suite on a backend.

    A `KeyboardInterrupt` ends the run; the report then holds what there is so far, and grants nothing.

    Args:
        target: What `Target.of` takes.
        levels: Levels to try besides `ALWAYS` and those that the backend claims.
        profile: The name of a budget: "quick", "ci" or "nightly".
        seed: Of all randomness; None: one is drawn, and the report says which.
        only: Run only checks whose id has one of these parts, or that name one of these clauses.
        only_round: Of random examples, run only this round, to see a failure again.
        known: A file of known failures, in TOML.
        repro: Make programs that show the failures, of the first `PROGRAMS` that there are.
        on_result: Called with each result as it comes.

    Raises:
        InvalidInput: A level or profile is unknown; the file of known failures is malformed, has an entry
            that expired, or one that names no check.
        InvalidURL, PluginError: As for `Target.of`.
    """
    judged = Target.of(target)
    description = judged.describe()
    _check_names(levels or (), profile)
    suite = bound(description)
    expected = Known((), suite) if known is None else Known.load(known, suite)
    checks = narrowed(chosen(description, levels), only)
    seed = secrets.randbelow(2**32) if seed is None else seed
    started, clock = datetime.now(UTC), time.monotonic()
    results: list[Result] = []
    interrupted = False
    try:
        with Site(judged) as site:
            runner = Runner(site, profile=profile, seed=seed, total=weight())
            for result in _results(runner, checks, only_round):
                results.append(expected.told(result))
                if repro and results[-1].status is Status.FAILED:
                    _show(results[-1], judged, results)
                if on_result is not None:
                    on_result(results[-1])
    except _Stopped as stopped:
        results.append(Result(stopped.check, Status.NOT_RUN, reason=STOPPED))
        interrupted = True
    except KeyboardInterrupt:
        interrupted = True
    expected.settle(results)
    return Report.of(
        results,
        judged,
        suite=suite,
        profile=profile,
        seed=seed,
        started=started,
        seconds=time.monotonic() - clock,
        asked=levels or (),
        only=only,
        interrupted=interrupted,
    )


class _Stopped(Exception):
    """The run was stopped while a check ran."""

    def __init__(self, check: Check) -> None:
        super().__init__(check.id)
        self.check = check


def _results(runner: Runner, checks: Sequence[Check], only_round: int | None) -> Iterator[Result]:
    """The results as they come: of this process, and of one beside it that runs most examples."""
    target = runner.site.target
    there = goes_beside(target, checks) if only_round is None else []
    here = [check for check in checks if check not in set(there)]
    if not there:
        yield from _here(runner, here, only_round)
        return
    beside = Beside(target, there, profile=runner.profile, seed=runner.seed, total=weight())
    try:
        for check in here:
            yield from _here(runner, [check], only_round)
            yield from beside.results(wait=False)
        yield from beside.results(wait=True)
        yield from _here(runner, beside.abandoned, only_round)
    finally:
        beside.close()


def _here(runner: Runner, checks: Sequence[Check], only_round: int | None) -> Iterator[Result]:
    for check in checks:
        try:
            result = runner.run_one(check, only_round=only_round)
        except KeyboardInterrupt as stop:
            raise _Stopped(check) from stop
        yield result


def _show(result: Result, target: Target, results: Sequence[Result]) -> None:
    """Give a failure its program, unless there are many already."""
    if sum(bool(other.repro or other.repro_note) for other in results) < PROGRAMS:
        attach(result, target)
    else:
        result.repro_note = f"no program: only the first {PROGRAMS} failures have one; run this check alone"


def _check_names(levels: Collection[str], profile: str) -> None:
    for name, known in (*((level, LEVELS) for level in levels), (profile, tuple(PROFILES))):
        if name not in known:
            raise InvalidInput(f"{name!r:.80} is none of {', '.join(known)}")


def weight() -> float:
    """The weights of all checks of the suite together."""
    return sum(check.weight for check in _checks())


def by_id(name: str) -> Check:
    """The check of that id.

    Raises:
        InvalidInput: There is none.
    """
    for check in _checks():
        if check.id == name:
            return check
    raise InvalidInput(f"there is no check {name!r:.120}")


def bound(description: Description | None) -> list[Check]:
    """All checks with a clause that binds the backend: one of its version of the specification, or a later one."""
    if description is None:
        return list(_checks())
    spec, declared = Specification.load(), description.spec_version
    return [
        check
        for check in _checks()
        if any(
            (until := spec[clause].until) is None or not newer(declared, until) for clause in check.clauses
        )
    ]


def chosen(description: Description | None, levels: Collection[str] | None = None) -> list[Check]:
    """The checks to run: of the levels that are always run, are claimed, or are asked for.

    Args:
        description: What the backend declares; None, where that is not known yet: all checks.
        levels: Levels that are asked for besides.
    """
    if description is None:
        return bound(None)
    wanted = {*ALWAYS, *description.levels, *(levels or ())}
    return [check for check in bound(description) if check.level in wanted]


def narrowed(checks: Sequence[Check], only: Collection[str]) -> list[Check]:
    """Those whose id has one of the parts, or that name one of the clauses; all, where none are given."""
    return [
        check
        for check in checks
        if not only or any(part in check.id or part.upper() in check.clauses for part in only)
    ]


def _checks() -> tuple[Check, ...]:
    # Loaded late: the areas import what this package offers.
    from perdure_conformance.clauses import CHECKS  # noqa: PLC0415

    return CHECKS
