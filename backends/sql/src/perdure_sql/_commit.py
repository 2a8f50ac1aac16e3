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
    Delete,
    Increment,
    Key,
    NotFound,
    Operation,
    Point,
    Put,
    Row,
    Space,
    StaleHead,
    Table,
    Update,
    now_us,
)
from perdure.kit import Write, apply, check_chunk

from perdure_sql._codec import commit_of, space_of
from perdure_sql._database import Session
from perdure_sql._dialect import Dialect
from perdure_sql._places import COMMITS
from perdure_sql._rows import Found, RowReader
from perdure_sql._tables import HEAD
from perdure_sql._writer import Writer, move_and_record, moving_record

__all__ = ["Committer", "load_spaces", "store_chunks"]

_BRANCH = """
SELECT b.no, b.id, b.name, b.parent, b.fork_seq, b.head_seq, b.head_commit, b.head_time, b.flat, b.floor, b.created_at,
       n.space_epoch, c.no, s.head_seq{}
FROM branches b JOIN branches s ON s.ns = b.ns AND s.no = b.no JOIN namespaces n ON n.no = b.ns
LEFT JOIN commits c ON c.ns = b.ns AND c.id = :id {}
WHERE b.ns = :ns AND b.name = :name"""

#: So many cells of its answer are the branch's.
_WIDTH = 14


class _Heads:
    """The branch before the batch, as `perdure.kit.apply` reads it; remembers which versions are its own.

    `known` has what is known already: table and key, with the version that `RowReader.closest` finds.
    """

    def __init__(
        self,
        session: Session,
        ns: int,
        branch: int,
        readers: Mapping[str, RowReader],
        known: Mapping[tuple[str, Key], Found | None],
    ) -> None:
        self._session = session
        self._ns = ns
        self._branch = branch
        self._readers = readers
        self._known = known
        self.own: dict[str, dict[Key, int]] = {}

    def _closest(self, table: Table, keys: Sequence[Key]) -> Mapping[Key, Found]:
        if len(keys) == 1 and (table.name, keys[0]) in self._known:
            cells = self._known[table.name, keys[0]]
            return {} if cells is None else {keys[0]: cells}
        return self._readers[table.name].closest(self._session, self._ns, self._branch, HEAD, keys)

    def rows(self, table: Table, keys: Sequence[Key]) -> Mapping[Key, Row]:
        reader = self._readers[table.name]
        found = self._closest(table, keys)
        own = self.own.setdefault(table.name, {})
        live: dict[Key, Row] = {}
        for key, cells in found.items():
            if not cells[0]:
                own[key] = cells[2]
            if not cells[1]:
                live[key] = reader.decode(cells[4:])
        return live

    def version(self, table: Table, key: Key) -> str | None:
        found = self._closest(table, [key])
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
        branch, known = self._locked(session, request)
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
        heads = _Heads(session, ns, number, self._readers, known)
        spaces = self._load_spaces(session, branch[11])
        shadows = parent is not None and not flat  # else there are no ancestors to hide rows of
        written = deleted = 0
        commit_no: int | None = None
        along: Any = None
        for writes in apply(request, heads, spaces, time):
            deleted += sum(write.row is None for write in writes)
            written += sum(write.row is not None for write in writes)
            if along is None and commit_no is None and len(writes) == 1:
                along = self._write_along(session, branch, commit, writes[0], heads, shadows)
                if along is not None:
                    continue
            if commit_no is None:
                commit_no = (
                    move_and_record(session, ns, branch, commit) if along is None else along.fetchone()[0]
                )
            self._write(session, number, commit.seq, commit_no, writes, heads, shadows, spaces)
        if not written + deleted:
            if not request.force:
                return Committed(None, Point(branch_id, head_seq, head_commit, head_time))
            move_and_record(session, ns, branch, commit)
        store_chunks(session, ns, request.chunks)
        return Committed(commit, Point(branch_id, commit.seq, commit.id, time), written, deleted)

    def _locked(self, session: Session, request: CommitRequest) -> tuple[Any, dict[tuple[str, Key], Any]]:
        """The branch's record, which nobody else changes until the transaction ends, and the commit of that id.

        Where the request is about one row, and the engine can, that row is read as well.
        """
        values = {"ns": self._ns, "name": request.branch, "id": request.id}
        only = _only_key(request.operations) if session.dialect.lateral else None
        more = join = ""
        if only is not None:
            reader = self._readers[only[0]]
            more, join = reader.beside_branch
            values.update(reader.key_values(only[1]))
        text = _BRANCH.format(more, join) + session.dialect.lock_rows
        branch = session.one_with(text, values)
        if branch is not None and branch[5] != branch[13]:
            # It waited for another commit, which may be this very one: what is not locked was read before that.
            branch = session.one_with(text, values)
        if branch is None:
            raise NotFound(
                f"there is no branch {request.branch!r}; create it with store.branch", branch=request.branch
            )
        if only is None:
            return branch, {}
        return branch[:_WIDTH], {only: None if branch[_WIDTH] is None else branch[_WIDTH:]}

    def _write_along(
        self,
        session: Session,
        branch: Sequence[Any],
        commit: Commit,
        write: Write,
        heads: _Heads,
        overrides: bool,
    ) -> Any:
        """Write a commit's first row with the commit itself; a cursor that has its number, None where none can."""
        writer, own = self._writers[write.table], heads.own.get(write.table, {})
        if not writer.goes_along():
            return None
        record = moving_record(self._ns, branch, commit)
        where = (self._ns, branch[0])
        return writer.write_along(session, where, commit.seq, record, (write.key, write.row), own, overrides)

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
    ) -> None:
        for name, group in groupby(writes, key=lambda write: write.table):
            cells = [(write.key, write.row) for write in group]
            own = heads.own.get(name, {})
            self._writers[name].write(
                session, (self._ns, branch), seq, commit_no, cells, own, overrides, spaces
            )
            for key, _ in cells:  # each row comes once, so that a streamed batch is not held
                own.pop(key, None)

    def _load_spaces(self, session: Session, epoch: int) -> dict[str, Space]:
        if self._spaces[0] != epoch:
            self._spaces = (epoch, load_spaces(session, self._ns))
        return self._spaces[1]


def _only_key(operations: Sequence[Operation]) -> tuple[str, Key] | None:
    """The table and key of the one row that a batch is about; None where it is about more, or malformed."""
    if len(operations) != 1:
        return None
    operation = operations[0]
    keys: Any = ()
    if isinstance(operation, Put):
        keys = operation.rows  # their first cells
    elif isinstance(operation, Delete):
        keys = operation.keys
    elif isinstance(operation, Update | Increment):
        keys = (operation.key,)
    if not isinstance(keys, list | tuple) or len(keys) != 1 or type(keys[0]) is not tuple:
        return None
    table = TABLES.get(operation.table) if isinstance(operation.table, str) else None
    if table is None:
        return None
    key = keys[0][: len(table.key)]
    fits = len(key) == len(table.key) and all(type(part) is str and part.isprintable() for part in key)
    return (table.name, key) if fits else None


def _replayed(commit: Commit) -> Committed:
    return Committed(commit, Point(commit.branch, commit.seq, commit.id, commit.time), replayed=True)


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
