"""What a report says of one check: a `Result` as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from perdure_conformance._checks import Check
from perdure_conformance._results import Result, Status
from perdure_conformance.expect import shown
from perdure_conformance.report._text import clean, impersonal

__all__ = ["BAD", "RAN", "Entry"]

#: How a check ends that was run and counts.
RAN = (Status.PASSED, Status.FAILED, Status.EXPECTED, Status.UNEXPECTED)

#: How a check ends that makes the whole run fail.
BAD = (Status.FAILED, Status.UNEXPECTED)


@dataclass(frozen=True)
class Entry:
    """One check of the suite, and what came of it.

    Attributes:
        check: The id of the check, such as ``branches.main_is_there_and_stays``.
        area: The part of the suite that it stands in.
        summary: What it shows, in a line.
        clauses: Ids of the clauses that it tries.
        level: The level that it is a condition of.
        kind: example, property, history, race or kill.
        needs: Capabilities and surroundings that it needs.
        status: How it ended.
        seconds: How long it took.
        reason: Why it was skipped, is absent, does not apply or is an expected failure.
        what: For a failure: what was looked at.
        expected: What the specification says.
        got: What the backend did.
        trace: The traceback.
        seed: The seed of the run.
        round: The round of random examples that failed.
        example: The random example that failed, as text.
        notes: What the check tells of itself.
        repro: A program of public calls that was run and shows the failure.
        repro_note: What is to be said of that program, such as why there is none.
    """

    check: str
    area: str
    summary: str
    clauses: tuple[str, ...]
    level: str
    kind: str
    needs: tuple[str, ...]
    status: Status
    seconds: float = 0.0
    reason: str = ""
    what: str = ""
    expected: str = ""
    got: str = ""
    trace: str = ""
    seed: int = 0
    round: int = 0
    example: str = ""
    notes: tuple[str, ...] = ()
    repro: str = ""
    repro_note: str = ""

    @classmethod
    def not_run(cls, check: Check) -> Entry:
        """A check of the suite that was not chosen, or not reached."""
        return cls.of(Result(check, Status.NOT_RUN))

    @classmethod
    def of(cls, result: Result) -> Entry:
        """What came of a check, without anything about the machine that it ran on."""
        check = result.check
        example = "" if result.example is None else ", ".join(shown(drawn) for drawn in result.example)
        return cls(
            check.id,
            check.area,
            clean(check.summary),
            check.clauses,
            check.level,
            check.kind,
            tuple(sorted(check.needs)),
            result.status,
            round(result.seconds, 3),
            impersonal(result.reason),
            impersonal(result.what),
            impersonal(result.expected),
            impersonal(result.got),
            impersonal(result.trace),
            result.seed,
            result.round,
            impersonal(example),
            tuple(impersonal(note) for note in result.notes),
            result.repro,
            impersonal(result.repro_note),
        )

    def document(self) -> dict[str, Any]:
        """The entry as JSON has it."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: list(cell) if isinstance(cell, tuple) else cell for name, cell in found.items()} | {
            "status": str(self.status)
        }

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Entry:
        """The entry that `document` made.

        Raises:
            KeyError, TypeError, ValueError: It made none.
        """
        found = {
            field.name: _typed(field.name, document[field.name], cls.__annotations__[field.name])
            for field in fields(cls)
        }
        return cls(**found)


def _typed(name: str, cell: Any, kind: str) -> Any:
    """A cell of JSON as the field has it."""
    if kind == "Status":
        return Status(cell)
    if kind == "tuple[str, ...]":
        if not isinstance(cell, list) or not all(isinstance(item, str) for item in cell):
            raise TypeError(f"{name} is no list of texts")
        return tuple(cell)
    wanted = {"str": (str,), "int": (int,), "float": (int, float)}[kind]
    if isinstance(cell, bool) or not isinstance(cell, wanted):
        raise TypeError(f"{name} is no {kind}")
    return cell
