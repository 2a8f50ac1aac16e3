"""The commit graph, and questions that a plain search answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from perdure_conformance._plain import Entry, Plain

__all__ = ["EMPTY", "Graph", "Line", "Node", "Picked", "Refused", "Snapshot", "Version"]


class Refused(Exception):
    """The model refuses a step with the error of that name."""

    def __init__(self, error: str) -> None:
        super().__init__(error)
        self.error = error


class Version(NamedTuple):
    """A row, and the id of the commit that last wrote it."""

    row: Plain
    commit: str


Snapshot: TypeAlias = Mapping[Entry, Version]

EMPTY: Snapshot = {}


class Picked(NamedTuple):
    """What a selective merge took from a commit: the rows `keys` of a table (None: all)."""

    source: str | None
    table: str
    keys: frozenset[tuple[str, ...]] | None


@dataclass
class Node:
    """A commit with all rows as they were after it. `before` is the commit before it on its branch."""

    id: str
    line: int
    time: int
    before: str | None
    brought: str | None
    rows: Snapshot
    picks: tuple[Picked, ...] = ()
    reverts: str | None = None
    seq: int = 0

    @property
    def parents(self) -> tuple[str, ...]:
        """The commits that it descends from directly."""
        return tuple(parent for parent in (self.before, self.brought) if parent is not None)


@dataclass
class Line:
    """A branch: the commit that it was forked from, and its own commits."""

    name: str
    parent: int | None
    fork: str | None
    own: list[str] = field(default_factory=list)

    @property
    def head(self) -> str | None:
        """Its newest commit."""
        return self.own[-1] if self.own else self.fork


class Graph:
    """All commits ever made, and the branches that are there."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self.lines: dict[int, Line] = {0: Line("main", None, None)}
        self._made = 1

    def line(self, name: str) -> tuple[int, Line]:
        """A branch by name."""
        for number, line in self.lines.items():
            if line.name == name:
                return number, line
        raise Refused("NotFound")

    def add_line(self, name: str, parent: int, fork: str | None) -> None:
        """A new branch."""
        self.lines[self._made] = Line(name, parent, fork)
        self._made += 1

    def rows(self, commit: str | None) -> Snapshot:
        """All rows after a commit."""
        return EMPTY if commit is None else self.nodes[commit].rows

    def lineage(self, commit: str | None) -> list[str]:
        """A commit and those before it on its branch and on the branches that it was forked from."""
        found = []
        while commit is not None:
            found.append(commit)
            commit = self.nodes[commit].before
        return found

    def ancestors(self, commit: str | None) -> frozenset[str]:
        """A commit and all that it descends from."""
        seen: set[str] = set()
        waiting = [] if commit is None else [commit]
        while waiting:
            here = waiting.pop()
            if here not in seen:
                seen.add(here)
                waiting += self.nodes[here].parents
        return frozenset(seen)

    def bases(self, ours: frozenset[str], theirs: frozenset[str]) -> list[str]:
        """The best common ancestors on branches that are there: none is an ancestor of another."""
        common = [commit for commit in ours & theirs if self.nodes[commit].line in self.lines]
        return sorted(
            one
            for one in common
            if not any(other != one and one in self.ancestors(other) for other in common)
        )

    def picks(self, among: Iterable[str]) -> list[Picked]:
        """What the selective merges among some commits took."""
        return [pick for commit in among for pick in self.nodes[commit].picks]
