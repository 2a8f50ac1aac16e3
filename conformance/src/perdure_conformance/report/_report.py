"""The report of one run on one backend."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from perdure import SPEC_VERSION, Description

from perdure_conformance._checks import LEVELS, Check
from perdure_conformance._results import Result, Status
from perdure_conformance._target import Target
from perdure_conformance.report._document import declared, read_report, report_document, to_text
from perdure_conformance.report._entry import BAD, RAN, Entry
from perdure_conformance.report._environment import environment, named, suite_version
from perdure_conformance.report._levels import Counts, Verdict, verdicts

__all__ = ["Report"]

#: What the program ends with: all is well; something is not; it was stopped.
_OK, _FINDINGS, _INTERRUPTED = 0, 1, 130

#: Of two results of one check, as after a test was run again, the one that stands further left counts.
_WORST = (
    Status.FAILED,
    Status.UNEXPECTED,
    Status.EXPECTED,
    Status.SKIPPED,
    Status.INAPPLICABLE,
    Status.ABSENT,
    Status.PREVIEW,
    Status.PASSED,
    Status.NOT_RUN,
)


@dataclass(frozen=True)
class Report:
    """What a run found, and what follows from it.

    Attributes:
        backend: What the backend declares.
        template: The store URL, without what is private.
        plugin: The name of the plugin, where the backend is not named by the URL.
        wrap: Names of the wrappers around it.
        profile: The budget.
        seed: Of all randomness.
        asked: Levels that were asked for besides those that the backend claims.
        only: The parts of the suite that the run was narrowed to; empty for all.
        interrupted: The run was stopped before its end.
        started: When it began, in UTC.
        seconds: How long it took.
        environment: Python, platform, processors and versions.
        spec: The version of the specification that the suite knows.
        suite: The version of the suite.
        entries: One for each check that binds the backend, in the order of the suite.
    """

    backend: Description
    template: str
    plugin: str | None
    wrap: tuple[str, ...]
    profile: str
    seed: int
    asked: tuple[str, ...]
    only: tuple[str, ...]
    interrupted: bool
    started: str
    seconds: float
    environment: Mapping[str, Any]
    spec: str
    suite: str
    entries: tuple[Entry, ...]

    @classmethod
    def of(
        cls,
        results: Iterable[Result | Entry],
        target: Target,
        *,
        suite: Sequence[Check],
        profile: str,
        seed: int,
        started: datetime,
        seconds: float,
        asked: Collection[str] = (),
        only: Collection[str] = (),
        interrupted: bool = False,
    ) -> Report:
        """The report of a run.

        Args:
            results: What ran; entries if that was in another process.
            target: What it ran on.
            suite: All checks that bind the backend, whether they were run or not.
            profile: The name of the budget.
            seed: Of all randomness.
            started: When the run began.
            seconds: How long it took.
            asked: Levels that were asked for besides those that the backend claims.
            only: The parts of the suite that the run was narrowed to.
            interrupted: The run was stopped before its end.
        """
        entries = {check.id: Entry.not_run(check) for check in suite}
        for result in results:
            entry = result if isinstance(result, Entry) else Entry.of(result)
            before = entries.get(entry.check, entry)
            entries[entry.check] = min(entry, before, key=lambda e: _WORST.index(e.status))
        judged = named(target)
        return cls(
            declared(target.describe()),
            judged["template"],
            judged["plugin"],
            tuple(judged["wrap"]),
            profile,
            seed,
            tuple(level for level in LEVELS if level in asked),
            tuple(only),
            interrupted,
            started.strftime("%Y-%m-%dT%H:%M:%SZ"),
            round(seconds, 1),
            environment(target),
            SPEC_VERSION,
            suite_version(),
            tuple(entries.values()),
        )

    @property
    def name(self) -> str:
        """The backend's, with its wrappers."""
        return "+".join((self.backend.name, *(wrapper.rpartition(":")[2] for wrapper in self.wrap)))

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """A verdict for each level; it follows from the entries."""
        return verdicts(self.entries, self.backend, self.asked, interrupted=self.interrupted)

    @property
    def granted(self) -> tuple[str, ...]:
        """The levels that the backend has shown to have."""
        return tuple(verdict.level for verdict in self.verdicts if verdict.granted)

    @property
    def failures(self) -> tuple[Entry, ...]:
        """The checks that failed, or passed against what was said."""
        return tuple(entry for entry in self.entries if entry.status in BAD)

    @property
    def counts(self) -> Counts:
        """Of all checks."""
        return Counts.of(self.entries)

    @property
    def areas(self) -> dict[str, Counts]:
        """Counts by part of the suite."""
        names = dict.fromkeys(entry.area for entry in self.entries)
        return {name: Counts.of(e for e in self.entries if e.area == name) for name in names}

    @property
    def problems(self) -> tuple[str, ...]:
        """Why the run counts as failed, in sentences; none if it does not."""
        found: list[str] = []
        counts = self.counts
        if self.interrupted:
            found.append("the run was stopped: no level is granted")
        if counts.not_run == counts.declared:
            found.append("no check was run")
        elif not any(entry.status in RAN for entry in self.entries):
            found.append("every check was skipped")
        if counts.failed:
            found.append(f"{counts.failed} failed")
        if counts.unexpected:
            found.append(f"{counts.unexpected} passed that are said to fail; take them off the list")
        return (*found, *self._claims())

    def _claims(self) -> list[str]:
        """What is wrong with the levels; in a run that was narrowed, they are not looked at."""
        found = [
            f"{level!r} is claimed, but is no level" for level in self.backend.levels if level not in LEVELS
        ]
        for verdict in self.verdicts:
            why = "; ".join(verdict.why)
            if verdict.granted and not verdict.claimed:
                found.append(f"{verdict.level} is reached, but not claimed")
            elif self.only or self.interrupted or verdict.granted:
                continue
            elif verdict.claimed:
                found.append(f"{verdict.level} is claimed, but not granted: {why}")
            elif verdict.asked:
                found.append(f"{verdict.level} was asked for, but is not granted: {why}")
        return found

    @property
    def good(self) -> bool:
        """Whether every claimed level was granted and nothing failed; of a narrowed run, only the latter."""
        return not self.problems

    @property
    def exit_code(self) -> int:
        """What the program ends with: 0 if it is good, 1 if not, 130 if it was stopped."""
        return _INTERRUPTED if self.interrupted else _OK if self.good else _FINDINGS

    def lines(self) -> list[str]:
        """The verdict for people, in plain lines."""
        return [f"{verdict.title}: {_told(verdict)}" for verdict in self.verdicts] + list(self.problems)

    def to_json(self) -> str:
        """The report as JSON; see docs/reference/conformance-report.md. One report always gives the same bytes."""
        return to_text(report_document(self))

    @classmethod
    def from_json(cls, text: str | bytes) -> Report:
        """The report that `to_json` wrote.

        Raises:
            InvalidInput: The text is no report, or what it concludes does not follow from its results.
        """
        return cls(**read_report(text))


def _told(verdict: Verdict) -> str:
    counts = verdict.counts
    tried = f"{counts.passed} of {counts.declared} checks passed"
    if counts.absent:
        tried += f", {counts.absent} absent"
    if counts.inapplicable:
        tried += f", {counts.inapplicable} inapplicable"
    why = f" ({'; '.join(verdict.why)})" if verdict.state == "denied" else ""
    return f"{verdict.state}{why}, {tried}"
