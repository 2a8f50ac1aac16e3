"""Runs checks on a target."""

from __future__ import annotations

import shutil
import time
import traceback
from collections.abc import Iterable, Iterator

from perdure import CAPABILITIES

from perdure_conformance._case import Case
from perdure_conformance._checks import Check
from perdure_conformance._profile import PROFILES, Profile
from perdure_conformance._results import Result, Status
from perdure_conformance._site import Site
from perdure_conformance._spec import Specification, newer
from perdure_conformance.expect import Inapplicable, Skipped, Violation

__all__ = ["Runner"]


class Runner:
    """Runs checks on the target of a site, one after the other.

    Args:
        site: Where the stores are.
        profile: The budget.
        seed: Of all randomness.
        total: The sum of the weights of all checks of the suite, so that each has the same share whatever
            else runs.
    """

    def __init__(self, site: Site, *, profile: Profile | str = "quick", seed: int = 0, total: float) -> None:
        self.site = site
        self.profile = PROFILES[profile] if isinstance(profile, str) else profile
        self.seed = seed
        self._unit = self.profile.seconds / total if total else 0.0
        self._spec = Specification.load()

    def run(self, checks: Iterable[Check]) -> Iterator[Result]:
        """The results, as they come."""
        for check in checks:
            yield self.run_one(check)

    def run_one(self, check: Check, *, only_round: int | None = None) -> Result:
        """Run one check.

        Args:
            check: Which.
            only_round: Run only this round of its random examples, to see a failure again.
        """
        missing = self._missing(check)
        if missing is not None:
            return missing
        case = Case(
            self.site,
            check,
            seed=self.seed,
            seconds=self._unit * check.weight,
            shrink=self.profile.shrink,
            only_round=only_round,
        )
        start = time.monotonic()
        try:
            result = _attempt(check, case)
        except BaseException:
            _closed(case)
            raise
        trouble = _closed(case)
        if trouble is not None and result.status is Status.PASSED:
            result = _failure(check, trouble, "closing the stores of the check")
        result.seconds = time.monotonic() - start
        result.seed, result.round, result.notes = self.seed, case.round, case.notes
        result.body, result.example = case.body, case.example
        return self._judged(result)

    def _missing(self, check: Check) -> Result | None:
        """The result of a check that cannot run on this target, or here."""
        lacks = [
            need
            for need in sorted(check.needs & CAPABILITIES.keys())
            if not self.site.description.supports(need)
        ]
        if lacks:
            return Result(check, Status.ABSENT, reason=f"the backend declares no {', no '.join(lacks)}")
        if "places" in check.needs and not self.site.target.many:
            return Result(check, Status.SKIPPED, reason="needs a URL with {unique}, for stores of its own")
        if "processes" in check.needs and not self.site.target.portable:
            why = "needs a backend that another process can open: give its entry point, or pkg.mod:name"
            return Result(check, Status.SKIPPED, reason=why)
        if "strace" in check.needs and shutil.which("strace") is None:
            return Result(check, Status.SKIPPED, reason="needs the program strace")
        return None

    def _judged(self, result: Result) -> Result:
        """A clause that is newer than what the backend declares is shown, and not counted."""
        declared = self.site.description.spec_version
        if any(newer(self._spec[clause].since, declared) for clause in result.check.clauses):
            result.reason, result.status = f"{result.status}, as a preview", Status.PREVIEW
        return result


def _attempt(check: Check, case: Case) -> Result:
    try:
        check(case)
    except Skipped as skipped:
        return Result(check, Status.SKIPPED, reason=str(skipped))
    except Inapplicable as other:
        return Result(check, Status.INAPPLICABLE, reason=str(other))
    except Violation as violation:
        return Result(
            check,
            Status.FAILED,
            what=violation.what,
            expected=violation.expected,
            got=violation.got,
            trace=traceback.format_exc(),
        )
    except KeyboardInterrupt:
        raise
    except AssertionError as error:
        return _failure(check, error, "a condition", "it holds")
    except BaseException as error:  # an engine's driver may raise what is no Exception, such as a Rust panic
        return _failure(check, error, "the calls of the check")
    return Result(check, Status.PASSED)


def _closed(case: Case) -> BaseException | None:
    """Close what a check opened; returns what spoke against it."""
    try:
        case.close()
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return error
    return None


def _failure(check: Check, error: BaseException, what: str, expected: str = "no error") -> Result:
    trace = "".join(traceback.format_exception(error))
    got = f"{type(error).__name__}: {error}"
    return Result(check, Status.FAILED, what=what, expected=expected, got=got, trace=trace)
