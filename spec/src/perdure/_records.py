"""The records of the six tables, as people hold them.

Field names and order are those of `perdure._schema` (a test compares them). Values (`content`, `data`,
…) may be anything that the value codec holds; times are aware datetimes; None in `created_at` and
`updated_at` lets the commit fill them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any, BinaryIO, ClassVar

import msgspec
import numpy as np
from numpy.typing import ArrayLike

from perdure import values
from perdure._names import link_id, uuid7
from perdure._schema import TABLES, Table

__all__ = ["RECORDS", "Link", "Memory", "Record", "Skill", "State", "Trace", "Vector"]

Tags = list[str]


class Record(msgspec.Struct, eq=False):
    """What the six record types share.

    Two records are equal where they are of one type and all fields are equal; value fields are
    compared as `perdure.values.equal` does: by type and bit, so that 1 is not 1.0 and NaN is NaN.
    """

    TABLE: ClassVar[Table]

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        for column in self.TABLE.columns:
            mine, theirs = getattr(self, column.name), getattr(other, column.name)
            if column.kind == "vector":
                same = values.equal(np.asarray(mine), np.asarray(theirs))
            elif column.kind == "value":
                same = values.equal(mine, theirs)
            else:
                same = mine == theirs
            if not same:
                return False
        return True

    def __ne__(self, other: object) -> bool:  # a struct brings its own, which compares identity
        equal = self.__eq__(other)
        return equal if equal is NotImplemented else not equal

    __hash__ = None  # type: ignore[assignment]

    @property
    def key(self) -> Any:
        """The key: the id, or a tuple where the key has two parts."""
        parts = tuple(getattr(self, name) for name in self.TABLE.key)
        return parts[0] if len(parts) == 1 else parts


def _new_tags() -> Tags:
    return []


class Memory(Record, eq=False):
    """Something an agent knows: an episode, a fact, an error pattern, a node of a graph."""

    TABLE: ClassVar[Table] = TABLES["memories"]

    id: str = msgspec.field(default_factory=uuid7)
    kind: str | None = None
    agent: str | None = None
    scope: str | None = None
    tier: int | None = None
    title: str | None = None
    text: str | None = None
    content: Any = None
    tags: Tags = msgspec.field(default_factory=_new_tags)
    importance: float | None = None
    confidence: float | None = None
    expires_at: datetime | None = None
    metadata: Any = None
    created_at: datetime | None = None
    updated_at: datetime | None = None


class Link(Record, eq=False):
    """A semantic or causal edge between two memories.

    An empty `id` is replaced by the one derived from (source, target, relation), so that adding an
    edge twice is one edge; give an id of your own for a parallel edge.
    """

    TABLE: ClassVar[Table] = TABLES["links"]

    id: str = ""
    source: str = ""
    target: str = ""
    relation: str | None = None
    weight: float | None = None
    context: Any = None
    created_at: datetime | None = None
    updated_at: datetime | None = None

    def __post_init__(self) -> None:
        if self.id is None or (isinstance(self.id, str) and not self.id):
            parts = (self.source, self.target, self.relation)
            if all(isinstance(part, str) for part in parts[:2]) and isinstance(parts[2], (str, type(None))):
                self.id = link_id(*parts)
            else:
                self.id = uuid7()  # a put is refused, and names the field that is wrong


class Skill(Record, eq=False):
    """Something an agent can do; `trigger` is a pattern in RE2 syntax."""

    TABLE: ClassVar[Table] = TABLES["skills"]

    id: str = msgspec.field(default_factory=uuid7)
    name: str | None = None
    description: str | None = None
    trigger: str | None = None
    body: Any = None
    enforcement: str | None = None
    tags: Tags = msgspec.field(default_factory=_new_tags)
    confidence: float | None = None
    success_count: int = 0
    failure_count: int = 0
    last_used_at: datetime | None = None
    trace_id: str | None = None
    metadata: Any = None
    created_at: datetime | None = None
    updated_at: datetime | None = None


class Trace(Record, eq=False):
    """Something an agent did, with why and what came of it."""

    TABLE: ClassVar[Table] = TABLES["traces"]

    id: str = msgspec.field(default_factory=uuid7)
    agent: str | None = None
    intent: str | None = None
    session: str | None = None
    step: int | None = None
    context: Any = None
    steps: Any = None
    result: Any = None
    outcome: str | None = None
    confidence: float | None = None
    verification_score: float | None = None
    cost: float | None = None
    causes: Tags = msgspec.field(default_factory=_new_tags)
    effects: Tags = msgspec.field(default_factory=_new_tags)
    counterfactuals: Any = None
    skill_id: str | None = None
    metrics: Any = None
    created_at: datetime | None = None
    updated_at: datetime | None = None


class Vector(Record, eq=False):
    """One embedding in one space; in a bound space `id` is the id of the row that it embeds."""

    TABLE: ClassVar[Table] = TABLES["vectors"]

    space: str = ""
    id: str = ""
    values: ArrayLike = ()
    text: str | None = None
    metadata: Any = None
    created_at: datetime | None = None
    updated_at: datetime | None = None


class State(Record, eq=False):
    """A state of something: weights, an architecture, an agent, a setting.

    `payload` is bytes when read; when written it may also be a binary file or an iterable of bytes,
    which is streamed. `parents` are ids of states of the same kind.
    """

    TABLE: ClassVar[Table] = TABLES["states"]

    kind: str = ""
    id: str = msgspec.field(default_factory=uuid7)
    data: Any = None
    payload: bytes | BinaryIO | Iterable[bytes] | None = None
    parents: Tags = msgspec.field(default_factory=_new_tags)
    metrics: Any = None
    created_at: datetime | None = None
    updated_at: datetime | None = None


#: Table name → record type.
RECORDS: Mapping[str, type[Record]] = MappingProxyType(
    {cls.TABLE.name: cls for cls in (Memory, Link, Skill, Trace, Vector, State)}
)
