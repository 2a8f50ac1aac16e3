"""The pytest plugin: each check is a test, and the levels stand at the end.

``pytest --pyargs perdure_conformance --perdure-backend=URL`` runs the suite on a backend; a subclass of
`perdure_conformance.Conformance` runs it among the author's own tests. The session fails where a level that
the backend claims is not granted, even if that is only because checks were skipped.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

__all__ = [
    "PROPERTY",
    "perdure_known",
    "perdure_runner",
    "pytest_addoption",
    "pytest_configure",
    "pytest_generate_tests",
]

# The suite itself is imported late: pytest loads this module in every project that has it installed.

#: Under this name a test leaves what its check came to, for the process that sums up.
PROPERTY = "perdure_conformance"


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options; they have the names of those of ``perdure conformance``."""
    option = parser.getgroup("perdure", "conformance of perdure backends").addoption
    option(
        "--perdure-backend", metavar="TARGET", help="a URL with {unique} or {tmp}, a scheme, or pkg.mod:name"
    )
    option("--perdure-url", metavar="TEMPLATE", help="the URL, where the backend is given as pkg.mod:name")
    option(
        "--perdure-profile", default="quick", choices=("quick", "ci", "nightly"), help="how long it may take"
    )
    option("--perdure-seed", type=int, default=0, help="of all randomness (default: 0)")
    option(
        "--perdure-level",
        action="append",
        default=[],
        metavar="LEVEL",
        help="also a level that is not claimed",
    )
    option("--perdure-known", metavar="FILE", help="failures that are known, as TOML")
    option("--perdure-json", metavar="FILE", help="write the report as JSON")


def pytest_configure(config: pytest.Config) -> None:
    """Listen to the tests."""
    config.addinivalue_line(
        "markers", "perdure_clause(id): the clause of the specification that a test tries"
    )
    if not hasattr(config, "workerinput"):  # with xdist, one process sums up for all
        config.pluginmanager.register(_Levels(config), "perdure-levels")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each check that applies to the backend of the class."""
    if "perdure_check" in metafunc.fixturenames and metafunc.cls is not None:
        checks = metafunc.cls.checks(metafunc.config)
        clause = pytest.mark.perdure_clause
        metafunc.parametrize(
            "perdure_check", [pytest.param(c, id=c.id, marks=[clause(x) for x in c.clauses]) for c in checks]
        )


@pytest.fixture(scope="class")
def perdure_runner(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Runs the checks of a class of `Conformance`."""
    from perdure_conformance._author import runner_of  # noqa: PLC0415

    yield from runner_of(request)


@pytest.fixture(scope="class")
def perdure_known(request: pytest.FixtureRequest, perdure_runner: Any) -> Any:
    """The failures that the option ``--perdure-known`` names."""
    from perdure_conformance._author import known_of  # noqa: PLC0415

    return known_of(request.config, perdure_runner.site.description)


class _Levels:
    """Collects what tests leave, and says which levels that makes."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._left: list[Any] = []
        self._reports: list[Any] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call":
            self._left += [what for name, what in report.user_properties if name == PROPERTY]

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        if not self._left:
            return
        from perdure_conformance._author import reports_of  # noqa: PLC0415

        self._reports = reports_of(self._left, self._config)
        path = self._config.getoption("--perdure-json")
        if path is not None and len(self._reports) == 1:
            Path(path).write_text(self._reports[0].to_json(), encoding="utf-8")
        if exitstatus == pytest.ExitCode.OK and not all(report.good for report in self._reports):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        for report in self._reports:
            terminalreporter.section(f"perdure conformance of {report.name}")
            for line in report.lines():
                terminalreporter.write_line(line)
