"""Row versions of a commit, and the record of the commit itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

from perdure import Commit, InvalidRecord, Key, Row, Space, Table, now_us
from perdure.kit import row_hash

from perdure_sql._codec import commit_cells, encoder, quote, record_hash
from perdure_sql._database import Session
from perdure_sql._dialect import Dialect
from perdure_sql._tables import OPEN, RECORDS, VERSION_COLUMNS

__all__ = ["Writer", "insert_commit", "move_and_record", "moving_record", "update_head"]

_INSERT_COMMIT = (
    f"INSERT INTO commits ({', '.join(RECORDS['commits'])}) "
    f"VALUES ({', '.join(':' + name for name in RECORDS['commits'])}) RETURNING no"
)

_MOVE = (
    "UPDATE branches SET head_seq = :head_seq, head_commit = :head_id, head_time = :head_time, hash = :head_hash "
    "WHERE ns = :ns AND no = :head_no"
)


class Writer:
    """Stores row versions of one table, on one branch, as of one commit."""

    def __init__(self, table: Table, dialect: Dialect) -> None:
        self.table = table
        self._dialect = dialect
        self._names = [*VERSION_COLUMNS, *(quote(name) for name in table.names)]
        self._hiding = ["ns", *(quote(name) for name in table.key), "branch", "first_seq"]
        self._encode = encoder(table)
        self._blank = (None,) * (len(table.names) - len(table.key))

    def write(
        self,
        session: Session,
        where: tuple[int, int],
        seq: int,
        commit: int,
        writes: Sequence[tuple[Key, Row | None]],
        own: Mapping[Key, int],
        overrides: bool,
        spaces: Mapping[str, Space],
    ) -> None:
        """Close the branch's own current versions, whose `from_seq` `own` has, and insert the new ones."""
        self._end(session, where, seq, writes, own)
        rows: Iterable[Sequence[Any]] = self._versions(where, seq, commit, writes)
        extra = self._dialect.derived.get(self.table.name, ())
        if extra:
            rows = self._dialect.derive(session.raw, self.table, spaces, rows)
        self._dialect.insert_many(session.raw, self.table.name, [*self._names, *extra], rows, False)
        if overrides:
            self._hide(session, where, seq, writes, own)

    def goes_along(self) -> bool:
        """Whether a row can be written by the statement that records its commit."""
        return self._dialect.writes_nest and self.table.name not in self._dialect.derived

    def write_along(
        self,
        session: Session,
        where: tuple[int, int],
        seq: int,
        record: Mapping[str, Any],
        write: tuple[Key, Row | None],
        own: Mapping[Key, int],
        overrides: bool,
    ) -> Any:
        """Write one row with the record of its commit, which is a `moving_record`.

        Returns:
            A cursor, whose one cell is the commit's number.
        """
        self._end(session, where, seq, [write], own)
        (cells,) = self._versions(where, seq, None, [write])
        values = {f"cell{i}": cell for i, cell in enumerate(cells)}
        statement = self._dialect.statement(self._along)
        cursor = self._dialect.send(session.raw, statement, {**record, **values})
        self._dialect.wrote(session.raw, self.table.name, 1)
        if overrides:
            self._hide(session, where, seq, [write], own)
        return cursor

    @cached_property
    def _along(self) -> str:
        cells = ["c.no" if name == "commit_no" else f":cell{i}" for i, name in enumerate(self._names)]
        return (
            f"WITH moved AS ({_MOVE}), c AS ({_INSERT_COMMIT}) INSERT INTO {self.table.name} "
            f"({', '.join(self._names)}) SELECT {', '.join(cells)} FROM c RETURNING commit_no"
        )

    def _versions(
        self, where: tuple[int, int], seq: int, commit: int | None, writes: Sequence[tuple[Key, Row | None]]
    ) -> Iterable[tuple[Any, ...]]:
        encode, blank = self._encode, self._blank
        return (
            (*where, seq, OPEN, 0, commit, row_hash(row), *encode(row))
            if row is not None
            else (*where, seq, OPEN, 1, commit, row_hash(None), *key, *blank)
            for key, row in writes
        )

    def _end(
        self,
        session: Session,
        where: tuple[int, int],
        seq: int,
        writes: Sequence[tuple[Key, Row | None]],
        own: Mapping[Key, int],
    ) -> None:
        ended = [(key, own[key]) for key, _ in writes if key in own]
        if not ended:
            return
        if any(begin == seq for _, begin in ended):
            raise InvalidRecord(
                f"the batch holds a key of {self.table.name} twice though it says that its keys are unique; "
                "say unique=False"
            )
        self._dialect.end_versions(session.raw, self.table, where, seq, ended)

    def _hide(
        self,
        session: Session,
        where: tuple[int, int],
        seq: int,
        writes: Sequence[tuple[Key, Row | None]],
        own: Mapping[Key, int],
    ) -> None:
        ns, branch = where
        hiding = [(ns, *key, branch, seq) for key, _ in writes if key not in own]
        self._dialect.insert_many(session.raw, f"{self.table.name}_overrides", self._hiding, hiding, True)


def insert_commit(session: Session, ns: int, branch: int, commit: Commit) -> int:
    """Record a commit; its number."""
    cells = commit_cells(ns, branch, commit, now_us())
    return session.run_with(_INSERT_COMMIT, dict(zip(RECORDS["commits"], cells, strict=True))).fetchone()[0]  # type: ignore[no-any-return]


def update_head(session: Session, ns: int, branch: Sequence[Any], commit: Commit) -> None:
    """Move a branch, given by its record from ``no`` to ``created_at`` and what may follow, to a commit."""
    session.run_with(_MOVE, _moved(ns, branch, commit))


def _moved(ns: int, branch: Sequence[Any], commit: Commit) -> dict[str, Any]:
    no, id_, name, parent, fork, _, _, _, flat, floor, created = branch[:11]
    cells = (ns, no, id_, name, parent, fork, commit.seq, commit.id, commit.time, flat, floor, created)
    return {
        "head_seq": commit.seq,
        "head_id": commit.id,
        "head_time": commit.time,
        "head_hash": record_hash("branches", cells),
        "ns": ns,
        "head_no": no,
    }


def moving_record(ns: int, branch: Sequence[Any], commit: Commit) -> dict[str, Any]:
    """The parameters that record a commit and move its branch to it."""
    cells = commit_cells(ns, branch[0], commit, now_us())
    return {**dict(zip(RECORDS["commits"], cells, strict=True)), **_moved(ns, branch, commit)}


def move_and_record(session: Session, ns: int, branch: Sequence[Any], commit: Commit) -> int:
    """Record a commit and move its branch to it; the commit's number."""
    if not session.dialect.writes_nest:
        update_head(session, ns, branch, commit)
        return insert_commit(session, ns, branch[0], commit)
    text = f"WITH moved AS ({_MOVE}) {_INSERT_COMMIT}"
    return session.run_with(text, moving_record(ns, branch, commit)).fetchone()[0]  # type: ignore[no-any-return]
