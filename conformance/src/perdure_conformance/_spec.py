"""The clauses of the specification, as the suite ships them: ids, texts, and the versions that they hold in."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files

__all__ = ["Clause", "Specification", "clauses_of", "newer"]

_CLAUSE = re.compile(r"^- \*\*([A-Z]{2}-[0-9]{3})\*\* (.+)$", re.MULTILINE)
_SINCE = re.compile(r"\(since ([0-9]+\.[0-9]+)\)")
_UNTIL = re.compile(r"\(until ([0-9]+\.[0-9]+)\)")


@dataclass(frozen=True)
class Clause:
    """One sentence of the specification.

    Attributes:
        id: Such as ``BR-005``.
        text: What it says.
        since: The first version of the specification that has it.
        until: The last one that has it, or None.
    """

    id: str
    text: str
    since: str = "1.0"
    until: str | None = None

    @property
    def must(self) -> bool:
        """Whether it binds: MUST or MUST NOT."""
        return "MUST" in self.text


class Specification(Mapping[str, Clause]):
    """All clauses, by id."""

    def __init__(self, clauses: Mapping[str, Clause]) -> None:
        self._clauses = dict(clauses)

    @classmethod
    def load(cls) -> Specification:
        """The clauses that this version of the suite knows."""
        text = files("perdure_conformance").joinpath("clauses.json").read_text(encoding="utf-8")
        return cls({entry["id"]: Clause(**entry) for entry in json.loads(text)})

    def __getitem__(self, name: str) -> Clause:
        return self._clauses[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._clauses)

    def __len__(self) -> int:
        return len(self._clauses)


def clauses_of(chapter: str) -> list[Clause]:
    """The clauses in the text of a chapter: each is one list item, ``- **BR-005** …``."""
    return [
        Clause(name, text, _version(_SINCE, text) or "1.0", _version(_UNTIL, text))
        for name, text in _CLAUSE.findall(chapter)
    ]


def _version(pattern: re.Pattern[str], text: str) -> str | None:
    found = pattern.search(text)
    return found[1] if found else None


def newer(a: str, b: str) -> bool:
    """Whether version *a* of the specification came after *b*."""
    return _parts(a) > _parts(b)


def _parts(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
