"""What a batch of writes makes of a snapshot."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from perdure import TABLES, Space

from perdure_conformance._plain import Entry, Plain, entry_of, plain, plain_cell
from perdure_conformance.driver._steps import Delete, Increment, Put, Update
from perdure_conformance.model._graph import Refused, Snapshot
from perdure_conformance.model._join import owner_entry, vector_entries

__all__ = ["Batch"]

#: Stands for the time of the commit until it is known.
NOW: Any = object()


class Batch:
    """Rows while the writes of one commit are applied in order."""

    def __init__(self, before: Snapshot, spaces: Mapping[str, Space]) -> None:
        self._before = before
        self._rows: dict[Entry, Plain] = {entry: version.row for entry, version in before.items()}
        self._spaces = spaces
        self._bound = {s.name: s.table for s in spaces.values() if s.table is not None}
        self._written: set[Entry] = set()

    def check(self, write: Any) -> None:
        """What is refused before anything is applied: vectors of a space that does not exist."""
        if isinstance(write, (Put, Update)) and write.table == "vectors":
            names = [r["space"] for r in write.records] if isinstance(write, Put) else [write.key[0]]
            if any(name not in self._spaces for name in names):
                raise Refused("NotFound")

    def run(self, write: Any) -> None:
        """Apply one write."""
        if isinstance(write, Put):
            self._demand(write.condition, *(entry_of(write.table, fields) for fields in write.records))
            for fields in write.records:
                space = self._spaces.get(fields.get("space", ""))
                self._put(
                    write.table, plain(write.table, fields, space.dtype if space else None), write.insert
                )
        elif isinstance(write, Update):
            self._update(write)
        elif isinstance(write, Increment):
            self._increment(write)
        else:
            self._delete(write)

    def _demand(self, condition: str, *entries: Entry) -> None:
        for entry in entries:
            there = entry in self._before
            if condition == "other" or (condition == "absent" and there):
                raise Refused("VersionConflict")

    def _set(self, entry: Entry, row: Plain) -> None:
        self._rows[entry] = row
        self._written.add(entry)

    def _put(self, table: str, row: Plain, insert: bool) -> None:
        entry = entry_of(table, row)
        old = self._rows.get(entry)
        if old is not None and insert:
            raise Refused("AlreadyExists")
        if row["created_at"] is None:
            row["created_at"] = NOW if old is None else old["created_at"]
        if row["updated_at"] is None:
            row["updated_at"] = NOW
        if old is None or not _same(row, old):
            self._set(entry, row)

    def _existing(self, entry: Entry) -> Plain:
        if entry not in self._rows:
            raise Refused("NotFound")
        return self._rows[entry]

    def _update(self, write: Update) -> None:
        table = TABLES[write.table]
        entry = (write.table, write.key)
        old = self._existing(entry)
        self._demand(write.condition, entry)
        dtype = self._spaces[write.key[0]].dtype if write.table == "vectors" else None
        cells = {name: plain_cell(table.by_name[name], cell, dtype) for name, cell in write.fields.items()}
        row = old | {"updated_at": NOW} | cells
        if not _same(row, old):
            self._set(entry, row)

    def _increment(self, write: Increment) -> None:
        entry = ("skills", (write.id,))
        old = self._existing(entry)
        row = old | {"updated_at": NOW}
        for name, amount in write.amounts.items():
            row[name] += amount
            if not -(2**63) <= row[name] < 2**63:
                raise Refused("InvalidRecord")
        if not _same(row, old):
            self._set(entry, row)

    def _delete(self, write: Delete) -> None:
        for key in write.keys:
            entry = (write.table, key)
            if entry not in self._rows:
                if not write.missing_ok:
                    raise Refused("NotFound")
                continue
            for gone in (entry, *vector_entries(entry, self._bound)):
                self._rows.pop(gone, None)

    def finish(self, check_references: bool, time: int) -> dict[Entry, Plain | None]:
        """The rows that the batch changes by its net effect; None: deleted."""
        for entry in self._rows:
            owner = owner_entry(entry, self._bound)
            if owner is not None and owner not in self._rows:
                raise Refused("InvalidRecord")
        if check_references:
            self._check_references()
        changes: dict[Entry, Plain | None] = {}
        for entry in self._written | self._before.keys():
            old = self._before[entry].row if entry in self._before else None
            new = self._rows.get(entry)
            if new is None or old is None:
                if new is not old:
                    changes[entry] = None if new is None else _timed(new, time)
            elif not _same(new, old):
                changes[entry] = _timed(new, time)
        return changes

    def _check_references(self) -> None:
        for table, key in self._written:
            row = self._rows.get((table, key), {})
            for column in TABLES[table].columns:
                to = row.get(column.name) if column.references else None
                if to is not None and (column.references, (to,)) not in self._rows:
                    raise Refused("InvalidRecord")


def _same(new: Plain, old: Plain) -> bool:
    """Whether a write leaves a row as it was, but for an `updated_at` that nobody gave."""
    return new == (old | {"updated_at": NOW} if new["updated_at"] is NOW else old)


def _timed(row: Plain, time: int) -> Plain:
    return {name: time if cell is NOW else cell for name, cell in row.items()}
