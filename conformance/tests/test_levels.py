"""Levels cannot inflate: what was skipped, left out, absent or expected to fail grants nothing."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import msgspec
import perdure
import pytest
from perdure import Description, InvalidInput, Support
from perdure_conformance import Case, Check, Result, Status, Target, judge
from perdure_conformance.expect import Skipped
from perdure_conformance.report import Report, Verdict

PASSED, FAILED, SKIPPED, ABSENT = Status.PASSED, Status.FAILED, Status.SKIPPED, Status.ABSENT


class Plugin:
    """The backend in memory, under another declaration."""

    def __init__(self, **changes: Any) -> None:
        self._description = msgspec.structs.replace(perdure.describe_backend("memory"), **changes)

    def describe(self) -> Description:
        return self._description

    def open(self, url: str, namespace: str, mode: str) -> Any:
        from perdure_memory import plugin

        return plugin.open(url, namespace, mode)


def passes(case: Case) -> None:
    """Nothing is tried."""


def check(name: str, level: Any = "core", needs: Iterable[str] = ()) -> Check:
    return Check("made_up", name, ("BR-001",), level, frozenset(needs), "example", 0.0, "", passes)


def report(
    found: dict[str, Status | None],
    levels: tuple[str, ...] = ("core",),
    durability: str = "none",
    **more: Any,
) -> Report:
    """A report of checks named ``level-number``; None: the check was not run."""
    checks = {
        name: check(name, name.partition("-")[0], ("purge",) if status is ABSENT else ())
        for name, status in found.items()
    }
    results = [Result(checks[name], status) for name, status in found.items() if status is not None]
    capabilities = {"purge": Support.UNSUPPORTED}
    target = Target.of(Plugin(levels=levels, durability=durability, capabilities=capabilities))
    began = datetime(2026, 11, 20, tzinfo=UTC)
    said: dict[str, Any] = {"profile": "quick", "seed": 0, "started": began, "seconds": 1.0, **more}
    return Report.of(results, target, suite=list(checks.values()), **said)


def verdict(made: Report, level: str) -> Verdict:
    return next(verdict for verdict in made.verdicts if verdict.level == level)


def test_a_level_is_granted_where_all_of_it_passed() -> None:
    made = report({"core-1": PASSED, "core-2": PASSED})
    assert (made.granted, made.good, made.exit_code) == (("core",), True, 0)


@pytest.mark.parametrize(
    "status", [FAILED, SKIPPED, Status.EXPECTED, Status.UNEXPECTED, Status.NOT_RUN, None]
)
def test_one_check_that_did_not_pass_denies_its_level(status: Status | None) -> None:
    made = report({"core-1": PASSED, "core-2": status, "branches-1": PASSED}, ("core", "branches"))
    assert (made.granted, made.exit_code) == ((), 1)
    assert verdict(made, "branches").why == ("core is not granted",)


def test_what_does_not_apply_counts_neither_way() -> None:
    other = Status.INAPPLICABLE
    made = report({"core-1": PASSED, "core-2": other, "branches-1": other}, ("core", "branches"))
    assert (made.granted, made.counts.inapplicable, made.counts.ran) == (("core",), 2, 1)
    assert verdict(made, "branches").why == ("nothing of it could be tried",)


def test_everything_skipped_gets_no_level() -> None:
    made = report({"core-1": SKIPPED, "core-2": SKIPPED})
    assert (made.granted, made.exit_code) == ((), 1)
    assert "every check was skipped" in made.problems


@pytest.mark.parametrize("levels", [(), ("core",)])
def test_nothing_run_fails_whatever_is_claimed(levels: tuple[str, ...]) -> None:
    for made in (
        report({}, levels),
        report({"core-1": None}, levels),
        report({"core-1": None}, levels, only=["x"]),
    ):
        assert (made.granted, made.exit_code) == ((), 1)
        assert "no check was run" in made.problems


def test_absent_checks_are_told_and_do_not_deny() -> None:
    made = report({"core-1": PASSED, "core-2": ABSENT})
    core = verdict(made, "core")
    assert (core.title, core.state, core.counts.absent) == ("core, without purge", "granted", 1)


@pytest.mark.parametrize("other", [ABSENT, Status.PREVIEW])
def test_a_level_of_which_nothing_was_tried_is_not_granted(other: Status) -> None:
    made = report({"core-1": PASSED, "concurrent-1": other}, ("core", "concurrent"))
    assert (made.granted, made.exit_code) == (("core",), 1)
    assert verdict(made, "concurrent").why == ("nothing of it could be tried",)


def test_a_level_without_checks_is_not_granted() -> None:
    made = report({"core-1": PASSED}, ("core", "vectors"))
    assert verdict(made, "vectors").why == ("the suite has no check of it",)


def test_a_claim_that_is_not_kept_fails_and_so_does_one_that_is_not_made() -> None:
    over = report({"core-1": PASSED, "branches-1": SKIPPED}, ("core", "branches"))
    assert over.problems == ("branches is claimed, but not granted: 1 skipped",)
    under = report({"core-1": PASSED, "branches-1": PASSED})
    assert under.problems == ("branches is reached, but not claimed",)
    assert (over.exit_code, under.exit_code) == (1, 1)
    odd = report({"core-1": PASSED}, ("core", "turbo"))
    assert odd.problems == ("'turbo' is claimed, but is no level",)


def test_what_was_asked_for_must_be_reached() -> None:
    made = report({"core-1": PASSED, "crash-1": SKIPPED}, asked=["crash"])
    assert made.problems[0].startswith("crash was asked for, but is not granted: 1 skipped")
    assert report({"core-1": PASSED, "crash-1": None}).good


@pytest.mark.parametrize(
    ("durability", "granted"),
    [("none", ("core",)), ("crash", ("core", "crash")), ("power", ("core", "crash", "power"))],
)
def test_crash_and_power_need_the_durability_that_is_declared(
    durability: str, granted: tuple[str, ...]
) -> None:
    found: dict[str, Status | None] = {"core-1": PASSED, "crash-1": PASSED, "power-1": PASSED}
    assert report(found, ("core", "crash", "power"), durability).granted == granted


def test_power_needs_crash() -> None:
    made = report(
        {"core-1": PASSED, "crash-1": FAILED, "power-1": PASSED}, ("core", "crash", "power"), "power"
    )
    assert made.granted == ("core",)


def test_a_check_that_was_run_twice_counts_by_its_worse_end() -> None:
    mine = check("core-1")
    twice = [Result(mine, FAILED), Result(mine, PASSED), Result(mine, Status.NOT_RUN)]
    target = Target.of(Plugin(levels=("core",)))
    began = datetime(2026, 11, 20, tzinfo=UTC)
    made = Report.of(twice, target, suite=[mine], profile="quick", seed=0, started=began, seconds=1.0)
    assert (made.counts.failed, made.counts.declared, made.granted) == (1, 1, ())


def test_a_narrowed_run_judges_no_claim_and_grants_only_what_it_ran_whole() -> None:
    found: dict[str, Status | None] = {"core-1": PASSED, "core-2": None, "branches-1": PASSED}
    made = report(found, ("core", "branches"), only=["x"])
    assert (made.granted, made.exit_code) == ((), 0)
    assert report({**found, "core-2": FAILED}, only=["x"]).exit_code == 1


def test_a_run_that_was_stopped_grants_nothing() -> None:
    made = report({"core-1": PASSED}, interrupted=True)
    assert (made.granted, made.good, made.exit_code) == ((), False, 130)


# ------------------------------------------------------------------------------------ whole runs


def test_checks_that_match_nothing_are_an_empty_run() -> None:
    made = judge("memory", only=["no-such-check"])
    assert (made.granted, made.exit_code) == ((), 1)
    assert made.problems == ("no check was run",)


class Skips(Plugin):
    """A backend that ends whatever check opens it as if that could not run here."""

    def open(self, url: str, namespace: str, mode: str) -> Any:
        raise Skipped("not here")


def test_a_backend_on_which_all_is_skipped_gets_no_level() -> None:
    made = judge(Skips(), only=["branches.", "refs."], seed=0)
    assert (made.counts.ran, made.counts.failed, made.granted, made.exit_code) == (0, 0, (), 1)
    assert made.counts.skipped > 1
    assert made.problems == ("every check was skipped",)


def test_ctrl_c_gives_the_report_so_far() -> None:
    def stop(result: Result) -> None:
        raise KeyboardInterrupt

    made = judge("memory", only=["branches."], on_result=stop)
    assert (made.counts.passed, made.exit_code) == (1, 130)


@pytest.mark.parametrize("wrong", [{"levels": ["corr"]}, {"profile": "slow"}])
def test_unknown_names_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match="is none of"):
        judge("memory", **wrong)
