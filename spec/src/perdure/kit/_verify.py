"""`verify`: everything is read back, and what contradicts itself is reported."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from perdure._errors import PerdureError, StorageError
from perdure._schema import TABLES
from perdure._types import Problem, VerifyReport
from perdure.kit._apply import owner_key
from perdure.kit._commits import Commits
from perdure.kit._hash import chunk_digest
from perdure.kit._head import HeadStore, State, head_point
from perdure.kit._keys import CODES, SLOT, Keys, Slot, after
from perdure.kit._objects import BranchState, decode_row, row_intact
from perdure.kit._rows import Rows
from perdure.kit._storage import Storage
from perdure.kit._upkeep import manifest_digests

__all__ = ["verify"]

#: Findings listed; the counts go on.
MOST = 1_000

#: Rows looked up at once.
AT_ONCE = 1_000


def verify(storage: Storage, keys: Keys, heads: HeadStore, rows: Rows) -> VerifyReport:
    """Recompute every hash and follow every reference of a namespace."""
    return _Verification(storage, keys, heads, rows).run()


class _Verification:
    def __init__(self, storage: Storage, keys: Keys, heads: HeadStore, rows: Rows) -> None:
        self._storage = storage
        self._keys = keys
        self._heads = heads
        self._rows = rows
        self._commits = Commits(storage, keys)  # its own, so that nothing remembered hides damage
        self._checked = dict.fromkeys(("branches", "commits", "rows", "chunks", "references", "garbage"), 0)
        self._problems: list[Problem] = []

    def run(self) -> VerifyReport:
        """Look at everything."""
        try:
            state = self._heads.load()
        except StorageError as error:  # that the store is closed, or the namespace dropped, is no damage
            self._add("error", "head", "head", error.message)
            return VerifyReport(self._checked, tuple(self._problems))
        for branch in state.branches.values():
            self._branch(state, branch)
        for checkpoint in state.head.checkpoints.values():
            try:
                state.lineage(checkpoint.point)
            except PerdureError as error:
                self._add("error", "checkpoint", checkpoint.name, error.message)
        self._versions(state)
        self._chunks()
        for branch in state.branches.values():
            self._references(state, branch)
        return VerifyReport(self._checked, tuple(self._problems))

    def _add(self, severity: str, code: str, where: str, message: str) -> None:
        if len(self._problems) < MOST:
            self._problems.append(Problem(severity, code, where, message))  # type: ignore[arg-type]

    def _branch(self, state: State, branch: BranchState) -> None:
        """The lineage, the chain of commits, and that each commit's rows and index entry are there."""
        self._checked["branches"] += 1
        try:
            state.lineage(head_point(branch))
            if branch.parent is not None and state.identified(branch.parent).seq < branch.fork_seq:
                self._add("error", "lineage", branch.name, "the branch was forked beyond its parent's head")
            newer = None
            for slot, record in self._commits.walk(state, branch, branch.fork_seq, branch.seq, True):
                self._checked["commits"] += 1
                commit = record.commit
                if commit.branch != branch.id or commit.seq != Slot.parse(slot).seq:
                    self._add("error", "commit", commit.id, "the commit is not where it says that it is")
                if newer is not None and commit.time > newer:
                    self._add("error", "commit", commit.id, "the commit is later than the one after it")
                newer = commit.time
                if self._storage.get(self._keys.by_id(commit.id) + slot) is None:
                    self._add("error", "index", commit.id, "the commit is not in the index by id")
                self._writes(branch, slot, commit.seq)
        except PerdureError as error:
            self._add("error", "history", branch.name, error.message)

    def _writes(self, branch: BranchState, slot: bytes, seq: int) -> None:
        generation, record = self._commits.record(branch, slot)
        writes = self._commits.writes(slot, generation, record)
        while some := list(islice(writes, AT_ONCE)):
            groups = [self._keys.group(table, key) if table in CODES else None for table, key in some]
            keys = [group + slot for group in groups if group is not None and seq > branch.floor]
            found = dict(zip(keys, self._storage.get_many(keys), strict=True))
            for (table, key), group in zip(some, groups, strict=True):
                if group is None or found.get(group + slot, b"") is None:
                    self._add(
                        "error",
                        "row",
                        f"{table} {key!r}",
                        f"the version of commit {record.commit.id} is missing",
                    )

    def _versions(self, state: State) -> None:
        """Every stored version: its hash, and that its key is that of its row."""
        for key, value in self._storage.range(*self._keys.section(b"r")):
            try:
                table, row_key = self._keys.row(key[:-SLOT])
                branch = state.by_number.get(Slot.parse(key[-SLOT:]).number)
                if branch is None or not self._commits.committed(state, branch, key[-SLOT:]):
                    self._checked["garbage"] += 1
                    continue
                self._checked["rows"] += 1
                row = decode_row(table, value)
                if not row_intact(value, row):
                    self._add(
                        "error", "hash", f"{table} {row_key!r}", "the row is not what was written; restore it"
                    )
                elif row is not None and TABLES[table].key_of(row) != row_key:
                    self._add(
                        "error", "row", f"{table} {row_key!r}", "the row is stored under another row's key"
                    )
                if row is not None and table == "states":
                    self._manifest(row_key, value)
            except (PerdureError, ValueError, KeyError) as error:
                self._add("error", "row", repr(key[-80:]), f"the row version cannot be read: {error}")

    def _manifest(self, key: tuple[str, ...], value: bytes) -> None:
        for digest in manifest_digests(value):
            prefix = self._keys.chunk(digest)
            if next(self._storage.range(prefix, prefix + b"\xff" * 13), None) is None:
                self._add("error", "payload", f"states {key!r}", f"payload piece {digest} is missing")

    def _chunks(self) -> None:
        at = len(self._keys.root) + 1
        for key, data in self._storage.range(*self._keys.section(b"b")):
            self._checked["chunks"] += 1
            if chunk_digest(data) != key[at:-12].hex():
                self._add(
                    "error", "payload", key[at:-12].hex(), "the payload piece does not hash to its name"
                )

    # ------------------------------------------------------------------------------ references

    def _references(self, state: State, branch: BranchState) -> None:
        """Dangling references at a branch's head are allowed, so a warning; a vector without its row is damage."""
        referring = self._referring(state, branch)
        while some := list(islice(referring, AT_ONCE)):
            self._checked["references"] += len(some)
            groups = [self._keys.group(table, target) for table, _, _, target in some]
            wanted = list(dict.fromkeys(group for group in groups if group is not None))
            try:
                lineage = state.lineage(head_point(branch))
                live = self._rows.find_many(state, lineage, wanted)
            except PerdureError:
                return  # the history is damaged, which was reported
            for (table, column, where, target), group in zip(some, groups, strict=True):
                if group in live:
                    continue
                severity = "error" if column == "space" else "warning"
                self._add(
                    severity,
                    "reference",
                    f"{branch.name}: {where}",
                    f"{column} refers to {table} {target!r}, which is not there",
                )

    def _referring(
        self, state: State, branch: BranchState
    ) -> Iterator[tuple[str, str, str, tuple[str, ...]]]:
        """(table referred to, column, where, key) of each reference at a branch's head."""
        point = head_point(branch)
        for name, table in TABLES.items():
            columns = [
                (c.name, c.references, table.position[c.name], c.kind) for c in table.columns if c.references
            ]
            if not columns and name != "vectors":
                continue
            prefix = self._keys.rows(name)
            try:
                for _, _, value in self._rows.scan(state, point, prefix, after(prefix)):
                    row = decode_row(name, value)
                    assert row is not None  # a scan gives live rows
                    where = f"{name} {table.key_of(row)!r}"
                    for column, to, place, kind in columns:
                        cell: Any = row[place]
                        texts = cell if kind == "tags" else () if cell is None else (cell,)
                        yield from ((to, column, where, (text,)) for text in texts)
                    if name == "vectors":
                        space = state.head.spaces.get(row[0])  # type: ignore[call-overload]
                        if space is None:
                            self._add("error", "space", where, "the vector is in a space that does not exist")
                        elif space.table is not None:
                            yield space.table, "space", where, owner_key(TABLES[space.table], row[1])  # type: ignore[arg-type]
            except PerdureError as error:
                self._add("error", "row", f"{branch.name}: {name}", error.message)
