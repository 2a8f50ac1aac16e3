"""What a migration will write: records, where each comes from, and what could not be as one would wish."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from perdure import TABLES, PerdureError, Record, State, values

from perdure_migrate._fit import Keys, show
from perdure_migrate._material import Material

__all__ = ["SOURCE_KIND", "UNMAPPED", "Note", "Plan", "Planned", "PlannedCheckpoint", "SpaceWanted", "place"]

#: The kind of states that hold what no rule maps.
UNMAPPED = "legacy.unmapped"

#: The kind of states whose payload is a source file, byte for byte.
SOURCE_KIND = "legacy.source"

#: Owners before their vectors.
ORDER = ("memories", "links", "skills", "traces", "states", "vectors")

NoteKind = Literal["kept", "key", "dangling", "duplicate", "unmapped", "refused", "left out"]


@dataclass(frozen=True, slots=True)
class Note:
    """Something that the report lists.

    Attributes:
        kind: "kept": it fits no typed field and is whole in a value; "key": its key was derived;
            "dangling": it leads to a row that is not there; "duplicate": another has its key;
            "unmapped": it is a state of kind `legacy.unmapped`; "refused": no value can hold it, so the
            source file is kept as a payload; "left out": it was not read at all.
        where: The place in the source.
        what: What is the matter.
    """

    kind: NoteKind
    where: str
    what: str


@dataclass(frozen=True, slots=True)
class Planned:
    """A record, and the place in the source that it comes from."""

    record: Record
    origin: str


@dataclass(frozen=True, slots=True)
class SpaceWanted:
    """An embedding space that the vectors need."""

    name: str
    dim: int
    dtype: Literal["float16", "float32", "float64"]
    metric: Literal["cosine", "l2", "dot"]
    table: str


@dataclass(frozen=True, slots=True)
class PlannedCheckpoint:
    """A checkpoint to make.

    Attributes:
        name: Its name.
        states: All states that it holds, by key.
        same: Whether these are the very states of the plan, so that it can name their commit.
        metrics: What else the source says of it.
        message: For people.
        origin: The place in the source.
    """

    name: str
    states: dict[Any, Planned]
    same: bool
    metrics: Any
    message: str
    origin: str

    @property
    def branch(self) -> str:
        """The branch that is made for it where its states are not those of the plan."""
        return f"checkpoint/{self.name}"


@dataclass(eq=False)
class Plan:
    """Everything that a migration writes.

    Attributes:
        source: The name of the source plugin.
        rules: The name and version of its mapping; part of every commit id.
        name: The file or directory.
        digest: The hash of its content.
        found: What the source holds, by its own words; each item becomes exactly one row.
        rows: Table name → key → what is written.
        spaces: Embedding spaces needed.
        checkpoints: Checkpoints to make.
        notes: What the report lists.
    """

    source: str
    rules: str
    name: str
    digest: str
    found: Counter[str] = field(default_factory=Counter)
    rows: dict[str, dict[Any, Planned]] = field(default_factory=lambda: {name: {} for name in ORDER})
    spaces: list[SpaceWanted] = field(default_factory=list)
    checkpoints: list[PlannedCheckpoint] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    _unmapped: Keys = field(default_factory=lambda: Keys("unmapped"), repr=False)
    _whole: set[str] = field(default_factory=set, repr=False)

    def add(self, record: Record, origin: str) -> None:
        """Plan a row. A key that is taken would lose one of two rows, so mappings hand out keys by `Keys`."""
        rows = self.rows[record.TABLE.name]
        assert record.key not in rows, f"two planned rows of {record.TABLE.name} have one key"
        rows[record.key] = Planned(record, origin)

    def note(self, kind: NoteKind, where: str, what: str) -> None:
        """Put something on the report."""
        self.notes.append(Note(kind, where, what))

    def unmapped(self, name: Any, value: Any, origin: str, why: str, payload: bytes | None = None) -> None:
        """Keep what no rule maps as a state, intact: a value, or the bytes of a file."""
        key = self._unmapped.assign(name)
        metrics = {"where": origin, "why": why}
        self.add(State(kind=UNMAPPED, id=key, data=value, payload=payload, metrics=metrics), origin)
        self.note("unmapped", origin, f"{why}; kept as state ({UNMAPPED}, {key})")

    def settle(self, material: Material) -> None:
        """See that each value can be stored; where one cannot, keep the whole source file instead of it."""
        batches = [*self.rows.values(), *(c.states for c in self.checkpoints if not c.same)]
        for planned in [p for rows in batches for p in rows.values()]:
            record = planned.record
            for column in record.TABLE.columns:
                if column.kind != "value" or getattr(record, column.name) is None:
                    continue
                try:
                    values.encode(getattr(record, column.name))
                except PerdureError as error:
                    setattr(record, column.name, None)
                    self._refused(material, planned.origin, column.name, error)
        for index, checkpoint in enumerate(self.checkpoints):
            try:
                values.encode(checkpoint.metrics)
            except PerdureError as error:
                self.checkpoints[index] = replace(checkpoint, metrics=None)
                self._refused(material, checkpoint.origin, "metrics", error)

    def _refused(self, material: Material, origin: str, field: str, error: PerdureError) -> None:
        self.note("refused", origin, f"{field}: {error.message}; the source file is kept as a payload")
        self._keep_source(material)

    def _keep_source(self, material: Material) -> None:
        for file in material.files:
            if not file.sha256 or file.sha256 in self._whole:
                continue
            self._whole.add(file.sha256)
            metrics = {"name": file.name, "size": file.size, "sha256": file.sha256}
            state = State(kind=SOURCE_KIND, id=file.sha256, payload=file.read(), metrics=metrics)
            self.add(state, file.name)
            self.found["source files kept whole"] += 1

    def __len__(self) -> int:
        return sum(map(len, self.rows.values()))

    def each(self) -> Iterator[tuple[str, Any, Planned]]:
        """All rows as (table, key, planned), owners before vectors, in a fixed order."""
        for table in ORDER:
            for key, planned in self.rows[table].items():
                yield table, key, planned

    def counts(self) -> dict[str, int]:
        """Planned rows by table, without empty tables."""
        return {table: len(self.rows[table]) for table in TABLES if self.rows[table]}


def place(*steps: Any) -> str:
    """A place in the source, such as ``graph['n1'].edges['n2']``: names are attributes, one-tuples are keys."""
    path = ""
    for step in steps:
        path += f"[{show(step[0])}]" if type(step) is tuple else f".{step}" if path else str(step)
    return path
