"""Commits: the writing of a batch's row versions inside one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from perdure import (
    TABLES,
    Chunk,
    Commit,
    CommitRequest,
    Committed,
    InvalidRecord,
    Key,
    NotFound,
    Point,
    Row,
    Space,
    StaleHead,
    Table,
    now_us,
)
from perdure.kit import Write, apply, check_chunk, row_hash

from perdure_sql._codec import commit_cells, commit_of, encoder, quote, record_hash, space_of
from perdure_sql._database import Session
from perdure_sql._dialect import Dialect
from perdure_sql._places import COMMITS
from perdure_sql._rows import RowReader
from perdure_sql._tables import HEAD, OPEN, RECORDS, VERSION_COLUMNS

__all__ = ["Committer", "Writer", "insert_commit", "load_spaces", "store_chunks", "update_head"]

_BRANCH = """
SELECT b.no, b.id, b.name, b.parent, b.fork_seq, b.head_seq, b.head_commit, b.head_time, b.flat, b.floor, b.created_at,
       n.space_epoch, c.no, s.head_seq
FROM branches b JOIN branches s ON s.ns = b.ns AND s.no = b.no JOIN namespaces n ON n.no = b.ns
LEFT JOIN commits c ON c.ns = b.ns AND c.id = :id
WHERE b.ns = :ns AND b.name = :name"""

_INSERT_COMMIT = (
    f"INSERT INTO commits ({', '.join(RECORDS['commits'])}) "
    f"VALUES ({', '.join(':' + name for name in RECORDS['commits'])}) RETURNING no"
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
        ns, branch = where
        ended = [(key, own[key]) for key, _ in writes if key in own]
        if ended:
            if any(begin == seq for _, begin in ended):
                raise InvalidRecord(
                    f"the batch holds a key of {self.table.name} twice though it says that its keys are unique; "
                    "say unique=False"
                )
            self._dialect.end_versions(session.raw, self.table, where, seq, ended)
        encode, blank = self._encode, self._blank
        versions = (
            (ns, branch, seq, OPEN, 0, commit, row_hash(row), *encode(row))
            if row is not None
            else (ns, branch, seq, OPEN, 1, commit, row_hash(None), *key, *blank)
            for key, row in writes
        )
        rows: Iterable[Sequence[Any]] = versions
        extra = self._dialect.derived.get(self.table.name, ())
        if extra:
            rows = self._dialect.derive(session.raw, self.table, spaces, versions)
        self._dialect.insert_many(session.raw, self.table.name, [*self._names, *extra], rows, False)
        if overrides:
            hiding = [(ns, *key, branch, seq) for key, _ in writes if key not in own]
            self._dialect.insert_many(session.raw, f"{self.table.name}_overrides", self._hiding, hiding, True)


class _Heads:
    """The branch before the batch, as `perdure.kit.apply` reads it; remembers which versions are its own."""

    def __init__(self, session: Session, ns: int, branch: int, readers: Mapping[str, RowReader]) -> None:
        self._session = session
        self._ns = ns
        self._branch = branch
        self._readers = readers
        self.own: dict[str, dict[Key, int]] = {}

    def rows(self, table: Table, keys: Sequence[Key]) -> Mapping[Key, Row]:
        reader = self._readers[table.name]
        found = reader.closest(self._session, self._ns, self._branch, HEAD, keys)
        own = self.own.setdefault(table.name, {})
        live: dict[Key, Row] = {}
        for key, cells in found.items():
            if not cells[0]:
                own[key] = cells[2]
            if not cells[1]:
                live[key] = reader.decode(cells[4:])
        return live

    def version(self, table: Table, key: Key) -> str | None:
        found = self._readers[table.name].closest(self._session, self._ns, self._branch, HEAD, [key])
        if key not in found or found[key][1]:
            return None
        commit = self._session.one(
            "SELECT id FROM commits WHERE ns = :ns AND no = :no", ns=self._ns, no=found[key][3]
        )
        return None if commit is None else commit[0]


class Committer:
    """Applies commit requests to one namespace."""

    def __init__(self, ns: int, dialect: Dialect, readers: Mapping[str, RowReader]) -> None:
        self._ns = ns
        self._readers = readers
        self._writers = {name: Writer(table, dialect) for name, table in TABLES.items()}
        self._spaces: tuple[int, dict[str, Space]] = (-1, {})

    @property
    def writers(self) -> Mapping[str, Writer]:
        """A writer for each table."""
        return self._writers

    def commit(self, session: Session, request: CommitRequest, author: str) -> Committed:
        """Apply a request inside the caller's write transaction, which an error must roll back."""
        ns = self._ns
        branch = self._locked(session, request)
        number, branch_id, _, parent, _, head_seq, head_commit, head_time, flat = branch[:9]
        if branch[12] is not None:
            replay = session.one(f"{COMMITS} AND c.id = :id", ns=ns, id=request.id)
            return _replayed(commit_of(replay[0], replay[1:]))
        expected = request.expect_head
        if (expected is None or isinstance(expected, str)) and expected != head_commit:
            raise StaleHead(
                f"branch {request.branch!r} is at commit {head_commit}, not {expected}; read again and decide again",
                branch=request.branch,
                head=head_commit,
            )
        time = max(head_time, now_us() if request.time is None else request.time)
        commit = Commit(
            id=request.id,
            branch=branch_id,
            seq=head_seq + 1,
            time=time,
            author=request.author or author,
            message=request.message,
            parents=((head_commit,) if head_commit else ()) + request.parents,
            vector=request.vector,
            picks=request.picks,
            reverts=request.reverts,
        )
        heads = _Heads(session, ns, number, self._readers)
        spaces = self._load_spaces(session, branch[11])
        shadows = parent is not None and not flat  # else there are no ancestors to hide rows of
        written = deleted = 0
        commit_no: int | None = None
        for writes in apply(request, heads, spaces, time):
            if commit_no is None:
                commit_no = _record(session, ns, branch[:11], commit)
            put, dropped = self._write(session, number, commit.seq, commit_no, writes, heads, shadows, spaces)
            written += put
            deleted += dropped
        if commit_no is None:
            if not request.force:
                return Committed(None, Point(branch_id, head_seq, head_commit, head_time))
            _record(session, ns, branch[:11], commit)
        store_chunks(session, ns, request.chunks)
        return Committed(commit, Point(branch_id, commit.seq, commit.id, time), written, deleted)

    def _locked(self, session: Session, request: CommitRequest) -> Any:
        """The branch's record, which nobody else changes until the transaction ends, and the commit of that id."""
        text = _BRANCH + session.dialect.lock_rows
        values = {"ns": self._ns, "name": request.branch, "id": request.id}
        branch = session.one(text, **values)
        if branch is not None and branch[5] != branch[13]:
            # It waited for another commit, which may be this very one: what is not locked was read before that.
            branch = session.one(text, **values)
        if branch is None:
            raise NotFound(
                f"there is no branch {request.branch!r}; create it with store.branch", branch=request.branch
            )
        return branch

    def _write(
        self,
        session: Session,
        branch: int,
        seq: int,
        commit_no: int,
        writes: list[Write],
        heads: _Heads,
        overrides: bool,
        spaces: Mapping[str, Space],
    ) -> tuple[int, int]:
        for name, group in groupby(writes, key=lambda write: write.table):
            cells = [(write.key, write.row) for write in group]
            own = heads.own.get(name, {})
            self._writers[name].write(
                session, (self._ns, branch), seq, commit_no, cells, own, overrides, spaces
            )
            for key, _ in cells:  # each row comes once, so that a streamed batch is not held
                own.pop(key, None)
        deleted = sum(write.row is None for write in writes)
        return len(writes) - deleted, deleted

    def _load_spaces(self, session: Session, epoch: int) -> dict[str, Space]:
        if self._spaces[0] != epoch:
            self._spaces = (epoch, load_spaces(session, self._ns))
        return self._spaces[1]


def _replayed(commit: Commit) -> Committed:
    return Committed(commit, Point(commit.branch, commit.seq, commit.id, commit.time), replayed=True)


def insert_commit(session: Session, ns: int, branch: int, commit: Commit) -> int:
    """Record a commit; its number."""
    cells = commit_cells(ns, branch, commit, now_us())
    return session.run_with(_INSERT_COMMIT, dict(zip(RECORDS["commits"], cells, strict=True))).fetchone()[0]  # type: ignore[no-any-return]


_MOVE = (
    "UPDATE branches SET head_seq = :head_seq, head_commit = :head_id, head_time = :head_time, hash = :head_hash "
    "WHERE ns = :ns AND no = :head_no"
)


def update_head(session: Session, ns: int, branch: Sequence[Any], commit: Commit) -> None:
    """Move a branch, given as its record from ``no`` to ``created_at``, to a commit."""
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


def _record(session: Session, ns: int, branch: Sequence[Any], commit: Commit) -> int:
    """Record a commit and move its branch to it; its number."""
    if not session.dialect.writes_nest:
        update_head(session, ns, branch, commit)
        return insert_commit(session, ns, branch[0], commit)
    cells = dict(zip(RECORDS["commits"], commit_cells(ns, branch[0], commit, now_us()), strict=True))
    text = f"WITH moved AS ({_MOVE}) {_INSERT_COMMIT}"
    return session.run_with(text, {**cells, **_moved(ns, branch, commit)}).fetchone()[0]  # type: ignore[no-any-return]


def load_spaces(session: Session, ns: int) -> dict[str, Space]:
    """All spaces of a namespace, by name."""
    rows = session.all(
        "SELECT name, dim, dtype, metric, model, owner, created_at FROM spaces WHERE ns = :ns ORDER BY name",
        ns=ns,
    )
    return {row[0]: space_of(row) for row in rows}


def store_chunks(session: Session, ns: int, chunks: Iterable[Chunk]) -> int:
    """Store payload pieces that are not there yet; how many were given."""
    count = 0
    for chunk in chunks:
        check_chunk(chunk)
        session.run(
            "INSERT INTO chunks (ns, digest, data) VALUES (:ns, :digest, :data) ON CONFLICT DO NOTHING",
            ns=ns,
            digest=chunk.digest,
            data=chunk.data,
        )
        count += 1
    return count
