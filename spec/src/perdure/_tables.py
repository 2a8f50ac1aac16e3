"""What the six tables offer beyond `Collection`: graph reads, triggers, lineage, payload streams."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from perdure._cells import compile_trigger, time_us
from perdure._checks import check_choice, check_flag, check_whole
from perdure._collection import Collection
from perdure._errors import InvalidRecord
from perdure._payload import manifest_size
from perdure._readers import Reader
from perdure._records import Link, Memory, Skill, State, Trace, Vector
from perdure._rows import codec, encode_key
from perdure._schema import Row
from perdure._session import Session
from perdure._sinks import Options, Sink
from perdure._types import Committed, Increment
from perdure.filters import F, Filter

__all__ = ["Links", "Memories", "Skills", "States", "Step", "Tables", "Traces", "Vectors"]

Direction = Literal["out", "in", "both"]

#: Ids per filter in graph walks.
FRONTIER = 500


class Memories(Collection[Memory]):
    """The memories."""


class Traces(Collection[Trace]):
    """The traces."""


class Step(msgspec.Struct, frozen=True):
    """One edge of a walk: `depth` is 1 for the edges at the start."""

    depth: int
    link: Link


class Links(Collection[Link]):
    """The edges between memories."""

    def neighbors(
        self,
        id: str,
        *,
        direction: Direction = "both",
        relation: str | None = None,
        limit: int | None = None,
    ) -> list[Link]:
        """The links of a memory, heaviest first.

        Args:
            id: The memory.
            direction: "out": links from it; "in": links to it.
            relation: Only links of this relation.
            limit: At most so many.
        """
        where = _touching([id], direction)
        if relation is not None:
            where &= F.relation == relation
        return self.find(where, order_by="-weight", limit=limit)

    def chain(
        self,
        id: str,
        *,
        direction: Literal["forward", "backward"] = "forward",
        relation: str | None = None,
        max_depth: int = 100,
    ) -> Iterator[Step]:
        """Follow links from a memory, breadth first, each link once; cycles end by themselves.

        Args:
            id: Where to begin.
            direction: "forward" along the links (effects), "backward" against them (causes).
            relation: Only links of this relation.
            max_depth: The longest path followed, in links.
        """
        check_choice(direction, "direction", ("forward", "backward"))
        (id,) = encode_key(Memory.TABLE, id)
        max_depth = check_whole(max_depth, "max_depth")
        forward = direction == "forward"
        pinned = Links(self._session, self._reader.pinned(), self._sink, "links")
        seen, frontier = {id}, [id]
        for depth in range(1, max_depth + 1):
            following: list[str] = []
            for start in range(0, len(frontier), FRONTIER):
                where = _touching(frontier[start : start + FRONTIER], "out" if forward else "in")
                if relation is not None:
                    where &= F.relation == relation
                for link in pinned.scan(where):
                    yield Step(depth, link)
                    end = link.target if forward else link.source
                    if end not in seen:
                        seen.add(end)
                        following.append(end)
            if not following:
                return
            frontier = following


def _touching(ids: list[str], direction: str) -> Filter:
    check_choice(direction, "direction", ("out", "in", "both"))
    source: Filter = F.source.is_in(ids) if len(ids) > 1 else F.source == ids[0]
    target: Filter = F.target.is_in(ids) if len(ids) > 1 else F.target == ids[0]
    return source if direction == "out" else target if direction == "in" else source | target


class Skills(Collection[Skill]):
    """The skills."""

    def matching(self, text: str, *, where: Any = None) -> list[Skill]:
        """The skills whose trigger occurs in a text (RE2 search, linear in the text), best first.

        Best is the higher confidence, then the key; a skill without a confidence comes last.
        """
        if not isinstance(text, str):
            raise InvalidRecord(f"a trigger is searched in text, not in {type(text).__name__}")
        searched = text.encode("utf-8", "replace").decode()
        accept = self._where(where)
        armed: Filter = ~F.trigger.is_null()
        found = []
        for skill in self.scan(armed if accept is None else armed & accept, order_by="-confidence"):
            if skill.trigger is not None and compile_trigger(skill.trigger).search(searched):
                found.append(skill)
        return found

    def record_outcome(
        self, id: str, *, success: bool, at: datetime | None = None, options: Options | None = None
    ) -> Committed | None:
        """Count one use of a skill, and when it was; applied by the engine, so that none is lost.

        Raises:
            NotFound: There is no such skill.
        """
        used = time_us(datetime.now(UTC) if at is None else at)
        name = "success_count" if check_flag(success, "success") else "failure_count"
        key = encode_key(self._table, id)
        return self._sink.submit([Increment("skills", key, {name: 1}, {"last_used_at": used})], (), options)


class Vectors(Collection[Vector]):
    """The embeddings themselves. `search` on them returns the vector records."""

    def _decoder(self) -> Callable[[Row], Vector]:
        decode, spaces = self._codec.decode, self._session.lookup()
        return lambda row: decode(row, spaces)


class States(Collection[State]):
    """Weights, architectures, agent states, settings."""

    def _decoder(self) -> Callable[[Row], State]:
        def decode(row: Row) -> State:
            state: State = self._codec.decode(row)
            if state.payload is not None:
                state.payload = b"".join(self._session.payload(state.payload))  # type: ignore[arg-type]
            return state

        return decode

    def open_payload(self, key: tuple[str, str]) -> Iterator[bytes] | None:
        """The payload of a state as a stream of pieces; None where there is no state or no payload."""
        manifest = self._manifest(key)
        return None if manifest is None else self._session.payload(manifest)

    def payload_size(self, key: tuple[str, str]) -> int | None:
        """The payload's size in bytes; None where there is no state or no payload."""
        manifest = self._manifest(key)
        return None if manifest is None else manifest_size(manifest)

    def _manifest(self, key: tuple[str, str]) -> str | None:
        (row,) = self._reader.fetch("states", (encode_key(self._table, key),))
        return None if row is None else row[self._table.position["payload"]]  # type: ignore[return-value]

    def ancestors(self, key: tuple[str, str], *, max_depth: int = 1_000) -> Iterator[State]:
        """The states that a state descends from, nearest first, each once."""
        kind, start = encode_key(self._table, key)
        max_depth = check_whole(max_depth, "max_depth")
        reader = States(self._session, self._reader.pinned(), self._sink, "states")
        seen, frontier = {start}, [start]
        for _ in range(max_depth + 1):
            following: list[str] = []
            for state in reader.get_many([(kind, i) for i in frontier]):
                if state is None:
                    continue
                if state.id != start:
                    yield state
                following += [p for p in dict.fromkeys(state.parents) if p not in seen]
                seen.update(following)
            if not following:
                return
            frontier = following

    def descendants(self, key: tuple[str, str], *, max_depth: int = 1_000) -> Iterator[State]:
        """The states that descend from a state, nearest first, each once."""
        kind, start = encode_key(self._table, key)
        max_depth = check_whole(max_depth, "max_depth")
        reader = States(self._session, self._reader.pinned(), self._sink, "states")
        children: dict[str, list[str]] = {}
        columns = reader.to_batches(F.kind == kind, columns=["id", "parents"])
        for batch in columns:
            for child, parents in zip(batch.column(0).to_pylist(), batch.column(1).to_pylist(), strict=True):
                for parent in parents:
                    children.setdefault(parent, []).append(child)
        seen, frontier = {start}, [start]
        for _ in range(max_depth):
            following = [c for p in frontier for c in children.get(p, ()) if c not in seen]
            following = list(dict.fromkeys(following))
            if not following:
                return
            seen.update(following)
            yield from _present(reader.get_many([(kind, i) for i in following]))
            frontier = following


def _present(states: Iterable[State | None]) -> Iterator[State]:
    return (state for state in states if state is not None)


class Tables:
    """The six tables at one place in history."""

    def __init__(self, session: Session, reader: Reader, sink: Sink) -> None:
        self._session = session
        self._reader = reader
        self.memories = Memories(session, reader, sink, "memories")
        self.links = Links(session, reader, sink, "links")
        self.skills = Skills(session, reader, sink, "skills")
        self.traces = Traces(session, reader, sink, "traces")
        self.vectors = Vectors(session, reader, sink, "vectors")
        self.states = States(session, reader, sink, "states")

    def table(self, name: str) -> Collection[Any]:
        """A table by name; `NotFound` where there is none."""
        codec(name)
        collection: Collection[Any] = getattr(self, name)
        return collection
