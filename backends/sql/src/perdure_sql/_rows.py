"""Rows by key: one statement for one key at a branch head, and bulk look-ups at a place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

from perdure import At, Key, Point, Row, Table

from perdure_sql._codec import columns, decoder, quote
from perdure_sql._database import Session
from perdure_sql._dialect import Dialect, Statement
from perdure_sql._places import Seen
from perdure_sql._tables import HEAD, OPEN

__all__ = ["Found", "RowReader"]

#: Keys looked up by one statement.
_CHUNK = 2_000

#: Depth in the lineage, whether it is a tombstone, from_seq, commit number, then the columns.
Found = tuple[Any, ...]
_LEAD = 4


class RowReader:
    """Look-ups by key in one table."""

    def __init__(self, table: Table, dialect: Dialect) -> None:
        self.table = table
        self.dialect = dialect
        self.decode: Callable[[Sequence[Any]], Row] = decoder(table)
        self._width = len(table.key)
        self._marks = [f"k{i}" for i in range(self._width)]
        self._on = " AND ".join(f"v.{quote(name)} = :k{i}" for i, name in enumerate(table.key))

    @cached_property
    def at_root(self) -> Statement:
        """``:ns, :no, :id, :name, :k0, …`` → a row, if that branch is there: dead, and null where there is none.

        For a branch without ancestors.
        """
        return self.dialect.statement(
            f"SELECT v.dead, {columns(self.table.names)} FROM branches b LEFT JOIN {self.table.name} v "
            f"ON v.ns = :ns AND v.branch = :no AND {self._on} AND v.to_seq = {OPEN} "
            "WHERE b.ns = :ns AND b.no = :no AND b.id = :id AND b.name = :name"
        )

    @cached_property
    def at_head(self) -> Statement:
        """``:ns, :name, :k0, …`` → at most one row: dead, then the columns. The same text at any depth."""
        return self.dialect.statement(
            f"SELECT v.dead, {columns(self.table.names)} FROM branches b "
            "JOIN lineage l ON l.ns = b.ns AND l.branch = b.no "
            f"JOIN {self.table.name} v ON v.ns = l.ns AND v.branch = l.ancestor AND {self._on} "
            "AND v.from_seq <= l.upto AND v.to_seq > l.upto "
            "WHERE b.ns = :ns AND b.name = :name ORDER BY l.depth, v.from_seq DESC LIMIT 1"
        )

    @cached_property
    def at_point(self) -> Statement:
        """The same for ``:id``, a branch id, at ``:seq``; after dead, the branch's floor and head."""
        upto = self._upto(0)
        return self.dialect.statement(
            f"SELECT v.dead, b.floor, b.head_seq, {columns(self.table.names)} FROM branches b "
            "JOIN lineage l ON l.ns = b.ns AND l.branch = b.no "
            f"JOIN {self.table.name} v ON v.ns = l.ns AND v.branch = l.ancestor AND {self._on} "
            f"AND v.from_seq <= {upto} AND v.to_seq > {upto} "
            "WHERE b.ns = :ns AND b.id = :id ORDER BY l.depth, v.from_seq DESC LIMIT 1"
        )

    def fetch_one(self, session: Session, ns: int, key: Key, at: At, seen: Seen) -> Row | None:
        """A row in one statement, at a branch's head or a point of its own.

        None says that this was not enough to tell; no row's columns are empty, so a tombstone is ``()``.
        """
        values = {**self.key_values(key), "ns": ns}
        if isinstance(at, Point):
            if at.seq >= HEAD:
                return None
            values["id"], values["seq"] = at.branch, at.seq
            statement = self.at_point
            lead = 3
        elif at.seq is None and at.time is None and at.commit is None:
            values["name"] = at.name
            statement = self.at_head
            lead = 1
            root = seen.rooted(session, ns, at.name)
            if root is not None:
                values["no"], values["id"] = root
                cells = self.dialect.first(session.raw, self.at_root, values)
                if cells is not None:
                    return self.decode(cells[1:]) if cells[0] == 0 else ()
        else:
            return None
        cells = self.dialect.first(session.raw, statement, values)
        if cells is None or (lead == 3 and not cells[1] <= at.seq <= cells[2]):
            return None
        return () if cells[0] else self.decode(cells[lead:])

    def rows(self, session: Session, ns: int, branch: int, seq: int, keys: Sequence[Key]) -> dict[Key, Row]:
        """The visible rows among `keys` on a branch (by number) at `seq`."""
        decode = self.decode
        found = self.closest(session, ns, branch, seq, keys)
        return {key: decode(cells[_LEAD:]) for key, cells in found.items() if not cells[1]}

    def closest(
        self, session: Session, ns: int, branch: int, seq: int, keys: Sequence[Key]
    ) -> dict[Key, Found]:
        """For each key, the version (tombstones too) that the closest branch of the lineage shows."""
        best: dict[Key, Found] = {}
        if len(keys) <= self.dialect.few:
            for key in keys:
                best.update(self._single(session, ns, branch, seq, key))
            return best
        width, text = self._width, self._many(seq)
        for start in range(0, len(keys), _CHUNK):
            bound = self.dialect.bind_keys(keys[start : start + _CHUNK])
            for cells in session.run_with(text, {**bound, "ns": ns, "branch": branch, "seq": seq}):
                key = cells[_LEAD : _LEAD + width]
                known = best.get(key)
                if known is None or cells[0] < known[0]:
                    best[key] = cells
        return best

    def _single(self, session: Session, ns: int, branch: int, seq: int, key: Key) -> dict[Key, Found]:
        values = self.key_values(key)
        text = self._closest_head if seq >= HEAD else self._closest_at
        cells = session.one_with(text, {"ns": ns, "branch": branch, "seq": seq, **values})
        return {} if cells is None else {key: cells}

    @cached_property
    def _closest_head(self) -> str:
        return self._closest(HEAD)

    @cached_property
    def _closest_at(self) -> str:
        return self._closest(0)

    def _closest(self, seq: int) -> str:
        return self._closest_to(":branch", self._upto(seq))

    def _closest_to(self, branch: str, upto: str) -> str:
        return (
            f"SELECT l.depth, v.dead, v.from_seq, v.commit_no, {columns(self.table.names)} FROM lineage l "
            f"JOIN {self.table.name} v ON v.ns = l.ns AND v.branch = l.ancestor AND {self._on} "
            f"AND v.from_seq <= {upto} AND v.to_seq > {upto} "
            f"WHERE l.ns = :ns AND l.branch = {branch} ORDER BY l.depth, v.from_seq DESC LIMIT 1"
        )

    @cached_property
    def beside_branch(self) -> tuple[str, str]:
        """Columns, and the join that gives them to a branch ``b``: what `closest` finds of one key at its head."""
        names = ", ".join(f"w.{name}" for name in ("depth", "dead", "from_seq", "commit_no"))
        found = self._closest_to("b.no", "l.upto")
        return f", {names}, {columns(self.table.names, 'w.')}", f"LEFT JOIN LATERAL ({found}) w ON TRUE"

    def key_values(self, key: Key) -> dict[str, Any]:
        """The parameters of `beside_branch`."""
        return dict(zip(self._marks, key, strict=True))

    def _many(self, seq: int) -> str:
        source, parts = self.dialect.key_source(self._width)
        on = " AND ".join(
            f"v.{quote(name)} = {part}" for name, part in zip(self.table.key, parts, strict=True)
        )
        upto = self._upto(seq)
        return (
            f"SELECT l.depth, v.dead, v.from_seq, v.commit_no, {columns(self.table.names)} "
            f"FROM {source} CROSS JOIN lineage l CROSS JOIN {self.table.name} v "  # in this order
            f"WHERE l.ns = :ns AND l.branch = :branch AND v.ns = l.ns AND v.branch = l.ancestor AND {on} "
            f"AND v.from_seq <= {upto} AND v.to_seq > {upto}"
        )

    def _upto(self, seq: int) -> str:
        return "l.upto" if seq >= HEAD else f"{self.dialect.least}(l.upto, :seq)"
