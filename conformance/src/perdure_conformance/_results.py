"""What came of a check."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from perdure_conformance._checks import Check

__all__ = ["Result", "Status"]


class Status(StrEnum):
    """How a check ended."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"  #: it could not run here; its level is not granted
    ABSENT = "absent"  #: the backend declares that it lacks the capability, which another check holds it to
    INAPPLICABLE = "inapplicable"  #: there is nothing on this backend that it could try; it does not count
    EXPECTED = "expected"  #: it failed, as the file of known failures says; its level is not granted
    UNEXPECTED = "unexpected"  #: it passed, though the file of known failures says that it fails
    PREVIEW = "preview"  #: a clause newer than the backend's version of the specification; it does not count
    NOT_RUN = "not run"  #: it is in the suite, but was not chosen or not reached; its level is not granted


@dataclass
class Result:
    """One check on one target.

    Attributes:
        check: What ran.
        status: How it ended.
        seconds: How long it took.
        reason: Why it was skipped, is absent, does not apply, or is an expected failure; for a preview, how it
            ended; for one that was running when the run was stopped, that.
        what: For a failure: what was looked at.
        expected: What the specification says.
        got: What the backend did.
        trace: The traceback, for a person.
        seed: The seed of the run.
        round: The round of random examples that failed.
        example: The arguments of the random example that failed.
        notes: What the check tells of itself, such as how many kills there were.
        body: The function that was given the random example that failed.
        repro: The standalone program that shows the failure, once it was made and run.
        repro_note: What is to be said of that program, such as why there is none.
    """

    check: Check
    status: Status
    seconds: float = 0.0
    reason: str = ""
    what: str = ""
    expected: str = ""
    got: str = ""
    trace: str = ""
    seed: int = 0
    round: int = 0
    example: tuple[Any, ...] | None = None
    notes: list[str] = field(default_factory=list)
    body: Callable[..., None] | None = None
    repro: str = ""
    repro_note: str = ""
