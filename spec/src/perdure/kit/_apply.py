"""What a batch of operations means: the one implementation, used by every engine.

An engine says how to read live rows at the head of the branch; `apply` answers with the row versions
to write. Nothing here knows how rows are stored.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple, Protocol

import pyarrow as pa

from perdure._errors import AlreadyExists, InvalidRecord, NotFound, VersionConflict
from perdure._schema import TABLES, Row, Table
from perdure._types import (
    ABSENT,
    CommitRequest,
    Delete,
    Increment,
    Key,
    Operation,
    Put,
    PutArrow,
    Space,
    Update,
)
from perdure.kit._arrow import rows_of
from perdure.kit._batches import check_batch, check_operation, check_rows

__all__ = ["Heads", "Write", "apply"]

#: Rows resolved, and handed to the engine, at a time.
CHUNK = 5_000

_INT64 = range(-(2**63), 2**63)


class Write(NamedTuple):
    """One row version to store: `row` None is a tombstone; `old` is the live row before (None: none)."""

    table: str
    key: Key
    row: Row | None
    old: Row | None


class Heads(Protocol):
    """How `apply` reads the branch that it writes to, inside the engine's lock."""

    def rows(self, table: Table, keys: Sequence[Key]) -> Mapping[Key, Row]:
        """The live rows among `keys`."""
        ...

    def version(self, table: Table, key: Key) -> str | None:
        """The commit id that last wrote a live row; None where there is none."""
        ...


def apply(
    request: CommitRequest, heads: Heads, spaces: Mapping[str, Space], time: int
) -> Iterator[list[Write]]:
    """Resolve a batch into row versions, in order, in lists of bounded length.

    A batch that is one `PutArrow` with unique keys streams: nothing of it is held. Any other batch is
    judged operation by operation against its own earlier effects, and yields each row once, by its
    net effect; a row that ends as it began yields nothing.

    Args:
        request: The batch.
        heads: Reads the branch before the batch.
        spaces: All spaces of the namespace, by name.
        time: The commit's time in microseconds.

    Raises:
        AlreadyExists, VersionConflict, NotFound, InvalidRecord: as the operations say, malformed ones
            included. The caller rolls back.
    """
    operations = request.operations
    if len(operations) == 1 and isinstance(operations[0], PutArrow) and operations[0].unique is True:
        put = operations[0]
        table = check_operation(put)
        for batch in put.batches:
            rows = _rows_of(table, batch)
            while chunk := list(islice(rows, CHUNK)):
                yield from _resolve(_Batch(heads, spaces, time), [Put(put.table, chunk, put.mode)], request)
        return
    yield from _resolve(_Batch(heads, spaces, time), operations, request)


def _resolve(batch: _Batch, operations: Sequence[Operation], request: CommitRequest) -> Iterator[list[Write]]:
    for operation in operations:
        batch.run(operation)
    batch.check_owners()
    if request.check_references:
        batch.check_references()
    writes = batch.writes()
    while chunk := list(islice(writes, CHUNK)):
        yield chunk


class _Batch:
    """The state of one batch: rows as they were, and as they are after the operations so far."""

    def __init__(self, heads: Heads, spaces: Mapping[str, Space], time: int) -> None:
        self._heads = heads
        self._spaces = spaces
        self._time = time
        self._before: dict[str, dict[Key, Row | None]] = {}
        self._after: dict[str, dict[Key, Row | None]] = {}
        self._bound: dict[str, list[str]] = {}
        for space in spaces.values():
            if space.table is not None:
                self._bound.setdefault(space.table, []).append(space.name)

    # ------------------------------------------------------------------------------- operations

    def run(self, operation: Operation) -> None:
        table = check_operation(operation)
        if isinstance(operation, Put):
            self._put(table, operation.rows, operation.mode, operation.if_version)
        elif isinstance(operation, PutArrow):
            for batch in operation.batches:
                self._put(table, list(_rows_of(table, batch)), operation.mode, None)
        elif isinstance(operation, Update):
            self._update(table, operation)
        elif isinstance(operation, Delete):
            self._delete(table, operation)
        else:
            self._increment(table, operation)

    def _load(self, table: Table, keys: Sequence[Key]) -> dict[Key, Row | None]:
        """The current rows of the table, with those of `keys` present."""
        before = self._before.setdefault(table.name, {})
        after = self._after.setdefault(table.name, {})
        missing = [key for key in keys if key not in before]
        if missing:
            found = self._heads.rows(table, missing)
            for key in missing:
                before[key] = after[key] = found.get(key)
        return after

    def _put(self, table: Table, rows: Sequence[Row], mode: str, if_version: str | None) -> None:
        check_rows(table, rows)
        width, time = len(table.key), self._time
        keys: list[Key] = [row[:width] for row in rows]  # type: ignore[misc]
        current = self._load(table, keys)
        if if_version is not None:
            self._check_version(table, keys, if_version)
        if table.name == "vectors":
            self._check_vectors(table, rows)
        insert = mode == "insert"
        for key, row in zip(keys, rows, strict=True):
            old = current[key]
            created, updated = row[-2], row[-1]
            if old is not None:
                if insert:
                    raise AlreadyExists(
                        f"{table.name} already has {_show(key)}; use put to replace it or update to change it",
                        table=table.name,
                        key=key,
                    )
                if created is None:
                    created = old[-2]
                if updated is None and row[:-2] == old[:-2] and created == old[-2]:
                    continue
            current[key] = (
                *row[:-2],
                time if created is None else created,
                time if updated is None else updated,
            )

    def _update(self, table: Table, operation: Update) -> None:
        old = self._existing(table, operation.key)
        if operation.if_version is not None:
            self._check_version(table, [operation.key], operation.if_version)
        new = self._with_fields(table, old, operation.fields)
        if new[:-1] != old[:-1] or "updated_at" in operation.fields:
            if table.name == "vectors":
                self._check_vectors(table, [new])
            self._after[table.name][operation.key] = new

    def _increment(self, table: Table, operation: Increment) -> None:
        old = self._existing(table, operation.key)
        row = list(self._with_fields(table, old, operation.fields))
        for name, amount in operation.amounts.items():
            column = table.by_name.get(name)
            if column is None or not column.counter:
                raise InvalidRecord(
                    f"{table.name}.{name} is no counter; counters are int columns declared so"
                )
            total = row[table.position[name]] + amount  # type: ignore[operator]
            if total not in _INT64:
                raise InvalidRecord(
                    f"{table.name}.{name} of {_show(operation.key)} would leave the range of int64"
                )
            row[table.position[name]] = total
        new = tuple(row)
        if new[:-1] != old[:-1]:
            self._after[table.name][operation.key] = new

    def _delete(self, table: Table, operation: Delete) -> None:
        keys = list(operation.keys)
        current = self._load(table, keys)
        if operation.if_version is not None:
            self._check_version(table, keys, operation.if_version)
        for key in keys:
            if current[key] is None:
                if not operation.missing_ok:
                    raise _missing(table, key)
                continue
            current[key] = None
            self._cascade(table, key)

    def _cascade(self, table: Table, key: Key) -> None:
        """A row that goes takes its vectors in every bound space with it."""
        names = self._bound.get(table.name)
        if names:
            vectors = TABLES["vectors"]
            owned = [(name, owner_id(key)) for name in names]
            current = self._load(vectors, owned)
            for vector in owned:
                current[vector] = None

    def _existing(self, table: Table, key: Key) -> Row:
        row = self._load(table, [key])[key]
        if row is None:
            raise _missing(table, key)
        return row

    def _with_fields(self, table: Table, row: Row, fields: Mapping[str, object]) -> Row:
        new = list(row)
        for name, value in fields.items():
            if name in table.key:
                raise InvalidRecord(
                    f"{table.name}.{name} is part of the key; put a new row and delete the old one"
                )
            new[table.position[name]] = value
        if fields.get("updated_at") is None:
            new[-1] = self._time
        if fields.get("created_at", row[-2]) is None:
            new[-2] = row[-2]
        return tuple(new)

    # ------------------------------------------------------------------------------------ checks

    def _check_version(self, table: Table, keys: Sequence[Key], expected: str) -> None:
        for key in keys:
            actual = self._heads.version(table, key)
            if (actual or ABSENT) != expected:
                raise VersionConflict(
                    f"{table.name} {_show(key)} is at version {actual or 'absent'}, not {expected or 'absent'}; "
                    "read it again and decide again",
                    table=table.name,
                    key=key,
                    version=actual,
                )

    def _check_vectors(self, table: Table, rows: Sequence[Row]) -> None:
        values = table.position["values"]
        for row in rows:
            space = self._spaces.get(row[0])  # type: ignore[call-overload]
            if space is None:
                raise NotFound(
                    f"there is no space {row[0]!r}; create it with store.spaces.create", space=row[0]
                )
            size = space.dim * _WIDTH[space.dtype]
            if len(row[values]) != size:  # type: ignore[arg-type]
                raise InvalidRecord(
                    f"vector {row[1]!r} has {len(row[values])} bytes; "  # type: ignore[arg-type]
                    f"space {space.name!r} needs {space.dim} numbers of {space.dtype} = {size} bytes"
                )

    def check_owners(self) -> None:
        """No commit leaves a bound vector without its row."""
        wanted: dict[str, list[Key]] = {}
        for key, row in self._after.get("vectors", {}).items():
            space = self._spaces.get(key[0])
            if row is not None and space is not None and space.table is not None:
                wanted.setdefault(space.table, []).append(owner_key(TABLES[space.table], key[1]))
        for name, keys in wanted.items():
            current = self._load(TABLES[name], keys)
            for key in keys:
                if current[key] is None:
                    raise InvalidRecord(
                        f"a vector was written for {name} {_show(key)}, which does not exist; "
                        "put the row in the same batch, or use a space that is bound to no table",
                        table=name,
                        key=key,
                    )

    def check_references(self) -> None:
        """On request, no written row refers to an absent one; rows that were only looked at do not count."""
        for name, rows in list(self._after.items()):
            table, before = TABLES[name], self._before[name]
            for column in table.columns:
                if column.references is None:
                    continue
                place = table.position[column.name]
                live = [
                    (key, row[place])
                    for key, row in rows.items()
                    if row is not None and row is not before[key] and row[place] is not None
                ]
                found = self._load(TABLES[column.references], [(to,) for _, to in live])  # type: ignore[misc]
                for key, to in live:
                    if found[(to,)] is None:  # type: ignore[index]
                        raise InvalidRecord(
                            f"{name} {_show(key)}: {column.name} refers to {column.references} {to!r}, "
                            "which does not exist; put it in the same batch, or do not ask for the check"
                        )

    # ------------------------------------------------------------------------------------ result

    def writes(self) -> Iterator[Write]:
        """Each row whose net effect is a change."""
        for name, after in self._after.items():
            before = self._before[name]
            for key, row in after.items():
                old = before[key]
                if row is old or row == old:
                    continue
                if row is not None and old is not None and row[-1] == self._time and row[:-1] == old[:-1]:
                    continue
                yield Write(name, key, row, old)


def _rows_of(table: Table, batch: pa.RecordBatch) -> Iterator[Row]:
    check_batch(table, batch)
    try:
        return rows_of(batch)
    except UnicodeDecodeError as error:
        raise InvalidRecord(f"a text of a batch of {table.name} is no UTF-8: {error}") from None


_WIDTH = {"float16": 2, "float32": 4, "float64": 8}


def owner_key(table: Table, vector_id: str) -> Key:
    """The key of the row that a bound vector belongs to.

    In a space bound to a table of two-part keys the vector's id is ``<part>/<part>`` of that key, each
    ``~`` written ``~0`` and each ``/`` written ``~1`` (RFC 6901 escapes), so that it can be split again.
    """
    if len(table.key) == 1:
        return (vector_id,)
    parts = vector_id.split("/")
    if len(parts) != len(table.key):
        raise InvalidRecord(
            f"vector id {vector_id!r} does not name a key {table.key} of {table.name}; use perdure.kit.owner_id"
        )
    return tuple(part.replace("~1", "/").replace("~0", "~") for part in parts)


def owner_id(key: Key) -> str:
    """The id of the vectors that belong to the row of that key; the inverse of `owner_key`."""
    if len(key) == 1:
        return key[0]
    return "/".join(part.replace("~", "~0").replace("/", "~1") for part in key)


def _missing(table: Table, key: Key) -> NotFound:
    return NotFound(f"{table.name} has no {_show(key)} on this branch", table=table.name, key=key)


def _show(key: Key) -> str:
    text = " / ".join(repr(part) for part in key)
    return text if len(text) <= 120 else text[:117] + "..."
