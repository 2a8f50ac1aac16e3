"""What steps say symbolically, made concrete: places, commits, versions, heads."""

from __future__ import annotations

from perdure import ABSENT, format_time

from perdure_conformance.driver import Place
from perdure_conformance.model._graph import Graph, Refused, Snapshot

__all__ = ["Places"]


class Places:
    """The part of the model that answers for places.

    Attributes:
        graph: All commits with whole snapshots, and the branches.
        checkpoints: Name → the number of the branch that it pins, and a commit id (None: the empty store).
        gone: Commits that compaction may have made unreadable; None stands for the empty store.
    """

    def __init__(self) -> None:
        self.graph = Graph()
        self.checkpoints: dict[str, tuple[int, str | None]] = {}
        self.gone: set[str | None] = set()

    def point(self, place: Place) -> tuple[int, str | None]:
        """The branch and the commit at a place; None: the empty store."""
        if place.name in self.checkpoints:
            return self.checkpoints[place.name]
        number, line = self.graph.line(place.name)
        if place.back == 0 or line.head is None:
            return number, line.head
        lineage = self.graph.lineage(line.head)
        commit = lineage[min(place.back, len(lineage) - 1)]
        if place.way == "time":  # several may have the same time: the last of them counts
            time = self.graph.nodes[commit].time
            commit = next(one for one in lineage if self.graph.nodes[one].time <= time)
        return self.graph.nodes[commit].line, commit

    def node(self, place: Place) -> str | None:
        """The commit at a place; None: the empty store."""
        return self.point(place)[1]

    def ref(self, place: Place) -> str:
        """A ref that names the place."""
        if place.back == 0 or place.name in self.checkpoints:
            return place.name
        try:
            commit = self.node(place)
        except Refused:
            return place.name
        if commit is None:
            return place.name
        node = self.graph.nodes[commit]
        # What a time below the floor means may not be known any more.
        if place.way == "time" and self.gone:
            return f"@{commit}"
        # At the number of a fork, it is left open which of the two branches a point is of.
        if place.way == "commit" or any(line.fork == commit for line in self.graph.lines.values()):
            return f"@{commit}"
        return f"{place.name}@{node.seq if place.way == 'number' else format_time(node.time)}"

    def commit_id(self, place: Place) -> str:
        """The id of the last commit at a place."""
        try:
            return self.node(place) or "missing"
        except Refused:
            return "missing"

    def head(self, branch: str, expected: str) -> str | None:
        """The `expect_head` that an expectation means."""
        if expected == "stale":
            return "no such commit"
        try:
            return self.node(Place(branch))
        except Refused:
            return None

    def version(self, branch: str, table: str, key: tuple[str, ...], condition: str) -> str | None:
        """The `if_version` that a condition means."""
        if condition == "current":
            found = self.head_rows(branch).get((table, key))
            return ABSENT if found is None else found.commit
        return {"none": None, "absent": ABSENT, "other": "other"}[condition]

    def head_rows(self, branch: str) -> Snapshot:
        """All rows of a branch; none where there is no such branch."""
        try:
            return self.graph.rows(self.graph.line(branch)[1].head)
        except Refused:
            return {}
