"""Failures that are known: a file that says which checks fail, why, and until when that may be so."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from perdure import InvalidInput, NotFound

from perdure_conformance._checks import Check
from perdure_conformance._results import Result, Status

__all__ = ["Known", "KnownFailure"]


@dataclass(frozen=True)
class KnownFailure:
    """One entry of the file.

    Attributes:
        clause: The id of the clause whose checks may fail, or None.
        check: The id of the check that fails, or None.
        reason: Why.
        expires: The last day on which the entry holds.
    """

    clause: str | None
    check: str | None
    reason: str
    expires: date

    @property
    def name(self) -> str:
        """What it names."""
        return self.clause or self.check or ""

    def about(self, check: Check) -> bool:
        """Whether it names the check."""
        return check.id == self.check or self.clause in check.clauses


class Known:
    """The entries of a file of known failures; it is strict.

    Args:
        entries: What is known.
        suite: All checks that bind the backend.
        today: The day.

    Raises:
        InvalidInput: An entry has expired, or names no check.
    """

    def __init__(
        self, entries: Iterable[KnownFailure], suite: Sequence[Check], today: date | None = None
    ) -> None:
        self.entries = tuple(entries)
        self._suite = suite
        day = today or datetime.now(UTC).date()
        for entry in self.entries:
            if entry.expires < day:
                raise InvalidInput(f"the known failure {entry.name!r} expired on {entry.expires}")
            if not any(entry.about(check) for check in suite):
                raise InvalidInput(f"the known failure {entry.name!r} names no check")

    @classmethod
    def load(cls, path: str | Path, suite: Sequence[Check], today: date | None = None) -> Known:
        """Read a file with a table ``[[known]]`` for each entry: `clause` or `check`, `reason`, `expires`.

        Raises:
            NotFound: There is no such file.
            InvalidInput: It is malformed, or an entry has expired or names no check.
        """
        try:
            document = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise NotFound(f"there is no file {str(path)!r}") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise InvalidInput(f"{str(path)!r} is no TOML: {error}") from error
        return cls(_entries(document), suite, today)

    def told(self, result: Result) -> Result:
        """The result, as an expected failure where that is what the file says."""
        entry = self._entry(result.check)
        if entry is not None and result.status is Status.FAILED:
            result.status, result.reason = Status.EXPECTED, f"{entry.reason} (until {entry.expires})"
        return result

    def settle(self, results: Sequence[Result]) -> None:
        """At the end: mark what passed though an entry says that it fails."""
        unexpected = self.unexpected({result.check.id: result.status for result in results})
        for result in results:
            if result.check.id in unexpected:
                result.status, result.reason = Status.UNEXPECTED, unexpected[result.check.id]

    def unexpected(self, statuses: Mapping[str, Status]) -> dict[str, str]:
        """The checks that passed though an entry says that they fail, with what to say of them.

        A clause that several checks try fails as long as one of them does; so an entry for a clause is
        judged only where all of its checks were run.

        Args:
            statuses: How each check ended that was run, by its id.
        """
        found: dict[str, str] = {}
        for entry in self.entries:
            ids = [check.id for check in self._suite if entry.about(check)]
            mine = {statuses.get(name, Status.NOT_RUN) for name in ids}
            if mine.isdisjoint({Status.NOT_RUN, Status.EXPECTED}):
                passed = [name for name in ids if statuses[name] is Status.PASSED]
                found |= dict.fromkeys(passed, f"known failure: {entry.reason}")
        return found

    def _entry(self, check: Check) -> KnownFailure | None:
        return next((entry for entry in self.entries if entry.about(check)), None)


def _entries(document: dict[str, Any]) -> Iterator[KnownFailure]:
    tables = document.pop("known", [])
    if document or not isinstance(tables, list):
        raise InvalidInput("a file of known failures has [[known]] tables, and nothing else")
    for table in tables:
        what = {"clause", "check"} & table.keys()
        if len(what) != 1 or table.keys() - what != {"reason", "expires"}:
            raise InvalidInput(
                f"a known failure has a clause or a check, a reason and expires, not {table!r:.200}"
            )
        expires = table["expires"]
        if isinstance(expires, datetime) or not isinstance(expires, date):
            raise InvalidInput(f"expires is a date such as 2027-01-31, not {expires!r:.40}")
        texts = [table["reason"], *(table[name] for name in what)]
        if not all(isinstance(text, str) and text.strip() for text in texts):
            raise InvalidInput(f"what is known to fail, and why, are texts in {table!r:.200}")
        yield KnownFailure(table.get("clause"), table.get("check"), table["reason"], expires)
