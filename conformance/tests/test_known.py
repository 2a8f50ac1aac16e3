"""Known failures: strict about what they name, about their time, and about what passes after all."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from perdure import Context, InvalidInput, NotFound, Unavailable, hookimpl
from perdure.wrappers import Forward
from perdure_conformance import Known, Result, Status, Target, judge
from perdure_conformance._judge import bound
from perdure_conformance._known import KnownFailure

WHOLE = "branches.main_is_there_and_stays"
PART = "branches.a_fork_and_its_parent_do_not_see_each_other"

Write = Callable[[str], Path]


class Forgetful(Forward):
    """Cannot fork."""

    @hookimpl
    def create_branch(self, ctx: Context, name: str, at: Any) -> Any:
        raise Unavailable("no forks today")


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str) -> Path:
        path = tmp_path / "known.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_a_known_failure_is_expected_and_denies_its_level(write: Write) -> None:
    known = write(f'[[known]]\ncheck = "{PART}"\nreason = "no forks yet"\nexpires = 2999-01-31\n')
    made = judge(Target.of("memory", wrap=(Forgetful,)), only=[PART], known=known)
    (entry,) = [entry for entry in made.entries if entry.check == PART]
    assert (entry.status, entry.reason) == (Status.EXPECTED, "no forks yet (until 2999-01-31)")
    assert (made.exit_code, made.counts.failed, made.granted) == (0, 0, ())
    assert "1 failed as expected" in made.verdicts[1].why


def test_an_unexpected_pass_fails(write: Write) -> None:
    known = write(f'[[known]]\ncheck = "{WHOLE}"\nreason = "gone"\nexpires = 2999-01-31\n')
    made = judge("memory", only=[WHOLE], known=known)
    assert (made.exit_code, made.counts.unexpected) == (1, 1)
    assert made.failures[0].reason == "known failure: gone"


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_a_clause_fails_as_long_as_one_of_its_checks_does(failing: int) -> None:
    suite = [check for check in bound(None) if "BR-004" in check.clauses][:2]
    known = Known([KnownFailure("BR-004", None, "later", date(2999, 1, 31))], suite)
    statuses = [Status.FAILED] * failing + [Status.PASSED] * (2 - failing)
    results = [known.told(Result(*pair)) for pair in zip(suite, statuses, strict=True)]
    known.settle(results)
    left = Status.PASSED if failing else Status.UNEXPECTED
    assert [result.status for result in results] == [Status.EXPECTED] * failing + [left] * (2 - failing)


def test_a_clause_is_not_judged_by_a_part_of_its_checks(write: Write) -> None:
    known = write('[[known]]\nclause = "BR-005"\nreason = "later"\nexpires = 2999-01-31\n')
    many = [check for check in bound(None) if "BR-005" in check.clauses]
    made = judge("memory", only=[many[0].id], known=known)
    assert made.counts.unexpected == (1 if len(many) == 1 else 0)


def test_an_entry_that_expired_is_an_error_from_the_day_after(write: Write) -> None:
    known = write(f'[[known]]\ncheck = "{WHOLE}"\nreason = "soon"\nexpires = 2026-11-20\n')
    assert Known.load(known, bound(None), today=date(2026, 11, 20)).entries
    with pytest.raises(InvalidInput, match="expired on 2026-11-20"):
        Known.load(known, bound(None), today=date(2026, 11, 21))


@pytest.mark.parametrize("name", ['clause = "XX-001"', 'check = "branches.no_such"', 'check = "branches"'])
def test_an_entry_that_names_no_check_is_an_error(write: Write, name: str) -> None:
    with pytest.raises(InvalidInput, match="names no check"):
        judge("memory", known=write(f'[[known]]\n{name}\nreason = "x"\nexpires = 2999-01-31\n'))


@pytest.mark.parametrize(
    "text",
    [
        "[[known",
        "known = 3",
        'other = 1\n[[known]]\ncheck = "a"\nreason = "x"\nexpires = 2999-01-31\n',
        '[[known]]\nreason = "x"\nexpires = 2999-01-31\n',
        '[[known]]\ncheck = "a"\nclause = "BR-001"\nreason = "x"\nexpires = 2999-01-31\n',
        '[[known]]\ncheck = "a"\nexpires = 2999-01-31\n',
        '[[known]]\ncheck = "a"\nreason = "x"\n',
        '[[known]]\ncheck = "a"\nreason = ""\nexpires = 2999-01-31\n',
        '[[known]]\ncheck = 3\nreason = "x"\nexpires = 2999-01-31\n',
        '[[known]]\ncheck = "a"\nreason = "x"\nexpires = "2999-01-31"\n',
        '[[known]]\ncheck = "a"\nreason = "x"\nexpires = 2999-01-31T00:00:00\n',
        '[[known]]\ncheck = "a"\nreason = "x"\nexpires = 2999-01-31\nmore = 1\n',
    ],
)
def test_a_malformed_file_is_refused(write: Write, text: str) -> None:
    with pytest.raises(InvalidInput):
        Known.load(write(text), bound(None))


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        judge("memory", known=tmp_path / "none.toml")
