"""`Conformance`: the suite among a backend author's own tests."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from perdure import Description

from perdure_conformance._checks import Check
from perdure_conformance._judge import bound, chosen, weight
from perdure_conformance._known import Known
from perdure_conformance._results import Result, Status
from perdure_conformance._runner import Runner
from perdure_conformance._site import Site
from perdure_conformance._spec import Specification
from perdure_conformance._target import Target
from perdure_conformance.expect import shown
from perdure_conformance.pytest_plugin import PROPERTY
from perdure_conformance.report import Entry, Report

__all__ = ["Conformance", "known_of", "reports_of", "runner_of"]


class Conformance:
    """Subclass it in a test module; pytest then runs every check on the backend, each as a test.

    ::

        class TestMyBackend(Conformance):
            target = "mine:///{tmp}/{unique}.db"

    Attributes:
        target: What `Target.of` takes: a URL template, ``pkg.mod:name``, a plugin object or a `Target`.
            None: what the fixture of that name returns, which is for a class, a module or the session.
    """

    target: Any = None

    @classmethod
    def checks(cls, config: pytest.Config) -> list[Check]:
        """The checks to collect: of the levels that the backend claims, as far as that is known by now."""
        target = cls.judged(config)
        return chosen(None if target is None else target.describe(), config.getoption("--perdure-level"))

    @classmethod
    def judged(cls, config: pytest.Config) -> Target | None:
        """The target, unless it comes from a fixture."""
        return None if cls.target is None else Target.of(cls.target)

    def test_clause(
        self,
        perdure_runner: Runner,
        perdure_known: Known,
        perdure_check: Check,
        request: pytest.FixtureRequest,
    ) -> None:
        """One check."""
        site = perdure_runner.site
        if perdure_check not in chosen(site.description, request.config.getoption("--perdure-level")):
            pytest.skip(f"{site.description.name} does not claim the level {perdure_check.level}")
        result = perdure_known.told(perdure_runner.run_one(perdure_check))
        left = Left.of(request.node.parent.nodeid, site.target, result)
        request.node.user_properties.append((PROPERTY, msgspec.to_builtins(left)))
        if result.status in (Status.FAILED, Status.UNEXPECTED):
            pytest.fail(_failure(result), pytrace=False)
        if result.status is Status.EXPECTED:
            pytest.xfail(result.reason)
        if result.status is not Status.PASSED:
            pytest.skip(result.reason)


def runner_of(request: pytest.FixtureRequest) -> Iterator[Runner]:
    """What runs the checks of a class; its stores are removed in the end."""
    config = request.config
    target = request.cls.judged(config) or Target.of(request.getfixturevalue("target"))
    with Site(target) as site:
        profile, seed = config.getoption("--perdure-profile"), config.getoption("--perdure-seed")
        yield Runner(site, profile=profile, seed=seed, total=weight())


def known_of(config: pytest.Config, description: Description) -> Known:
    """The failures that are known."""
    suite = bound(description)
    path = config.getoption("--perdure-known")
    return Known((), suite) if path is None else Known.load(path, suite)


def _failure(result: Result) -> str:
    spec = Specification.load()
    clauses = "\n".join(f"{name}: {spec[name].text}" for name in result.check.clauses)
    said = (
        f"{result.what}\n  expected: {result.expected}\n  got: {result.got}" if result.what else result.reason
    )
    example = "" if result.example is None else f"\n  example: {', '.join(map(shown, result.example))}"
    again = f"again: -k {result.check.name} --perdure-seed {result.seed}"
    return f"{clauses}\n\n{said}{example}\n{again}\n\n{result.trace}"


@dataclass(frozen=True)
class Left:
    """What a test leaves for the process that sums up, which may be another one.

    Attributes:
        owner: The class of tests.
        template: The target's.
        plugin: The target's, where it is a name.
        installed: Whether the URL's scheme names the backend.
        description: What the backend declares.
        time: When the check ended, in seconds since the epoch.
        seconds: How long it took.
        entry: What came of it, as a report has it.
    """

    owner: str
    template: str
    plugin: str | None
    installed: bool
    description: Description
    time: float
    seconds: float
    entry: dict[str, Any]

    @classmethod
    def of(cls, owner: str, target: Target, result: Result) -> Left:
        """What the test of one check leaves."""
        plugin = target.plugin if isinstance(target.plugin, str) else None
        entry = Entry.of(result).document()
        installed = target.plugin is None
        declared = target.describe()
        return cls(owner, target.template, plugin, installed, declared, time.time(), result.seconds, entry)

    def target(self) -> Target:
        """What was judged: an object of the other process is stood in for by what it declares."""
        if self.plugin is None and self.installed:
            return Target(self.template)
        return Target(self.template, self.plugin or _Declared(self.description))


@dataclass(frozen=True)
class _Declared:
    """A plugin that can only say what it is."""

    description: Description

    def describe(self) -> Description:
        return self.description


def reports_of(left: Iterable[Any], config: pytest.Config) -> list[Report]:
    """A report for each class of tests, from what its tests left."""
    owners: dict[str, list[Left]] = {}
    for document in left:
        said = msgspec.convert(document, Left)
        owners.setdefault(said.owner, []).append(said)
    return [_report(tests, config) for tests in owners.values()]


def _report(tests: list[Left], config: pytest.Config) -> Report:
    target = tests[0].target()
    whole = len({test.entry["check"] for test in tests}) >= len(
        chosen(tests[0].description, config.getoption("--perdure-level"))
    )
    entries = [Entry.read(test.entry) for test in tests]
    known = known_of(config, tests[0].description)
    unexpected = known.unexpected({entry.check: entry.status for entry in entries})
    entries = [
        replace(entry, status=Status.UNEXPECTED, reason=unexpected[entry.check])
        if entry.check in unexpected
        else entry
        for entry in entries
    ]
    begun = min(test.time - test.seconds for test in tests)
    return Report.of(
        entries,
        target,
        suite=bound(tests[0].description),
        profile=config.getoption("--perdure-profile"),
        seed=config.getoption("--perdure-seed"),
        started=datetime.fromtimestamp(begun, UTC),
        seconds=max(test.time for test in tests) - begun,
        asked=config.getoption("--perdure-level"),
        only=() if whole else ("the tests that were chosen",),
    )
