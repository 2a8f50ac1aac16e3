"""A naive engine for the tests of history: every commit keeps a snapshot of the whole branch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
import pytest
from perdure import _types as t
from perdure._errors import AlreadyExists, HistoryExpired, NotFound, StaleHead
from perdure._names import Ref
from perdure._schema import TABLES, Row
from perdure.kit import apply, batch_of, chunk_digest

CTX = t.Context()
State = dict[str, dict[t.Key, Row]]


class Naive:
    """The hooks that history needs, over snapshots."""

    def __init__(self) -> None:
        self.branches: dict[str, dict[str, Any]] = {}
        self.own: dict[str, list[tuple[t.Commit, tuple[t.Change, ...], State]]] = {}
        self.spaces: list[t.Space] = []
        self.checkpoints: list[t.Checkpoint] = []
        self.chunks: dict[str, bytes] = {}
        self.reads: dict[tuple[str, t.Key], t.Counter] = {}
        self.floors: dict[str, int] = {}
        self.by_touch = True
        self.before_commit: Callable[[], None] | None = None
        self.clock = 1_000
        self._add("b0", "main", None, 0)

    def _add(self, id_: str, name: str, parent: str | None, fork: int) -> None:
        self.branches[id_] = {"name": name, "parent": parent, "fork": fork}
        self.own[id_] = []

    # ------------------------------------------------------------------ what tests call

    def fork(self, name: str, at: str | t.Point = "main") -> t.Branch:
        point = at if isinstance(at, t.Point) else self.head(at)
        if any(b["name"] == name for b in self.branches.values()):
            raise AlreadyExists(name)
        id_ = f"b{len(self.own)}"
        self._add(id_, name, point.branch, point.seq)
        return self.branch(name)

    def drop(self, name: str) -> None:
        del self.branches[self.branch(name).id]

    def branch(self, name: str) -> t.Branch:
        return next(b for b in self.list_branches(CTX) if b.name == name)

    def head(self, name: str) -> t.Point:
        return self.branch(name).head

    def put(self, branch: str, *rows: tuple[str, Row], **kw: Any) -> t.Commit:
        return self.do(branch, *(t.Put(table, [row]) for table, row in rows), **kw)

    def do(self, branch: str, *operations: t.Operation, id: str | None = None, **kw: Any) -> t.Commit:
        number = sum(map(len, self.own.values()))
        request = t.CommitRequest(branch=branch, id=id or f"c{number}", operations=operations, **kw)
        commit = self.commit(CTX, request).commit
        assert commit is not None
        return commit

    def state(self, at: t.Point | str) -> State:
        """Live rows at a point, a copy."""
        point = self.head(at) if isinstance(at, str) else at
        return {name: dict(rows) for name, rows in self._state(point.branch, point.seq).items()}

    def _state(self, branch: str, seq: int) -> State:
        for commit, _, state in reversed(self.own[branch]):
            if commit.seq <= seq:
                return state
        known = self.branches[branch]
        if known["parent"] is None:
            return {}
        return self._state(known["parent"], min(seq, known["fork"]))

    def _last(self, branch: str, seq: int) -> t.Commit | None:
        for commit, _, _ in reversed(self.own[branch]):
            if commit.seq <= seq:
                return commit
        known = self.branches[branch]
        return None if known["parent"] is None else self._last(known["parent"], min(seq, known["fork"]))

    # ---------------------------------------------------------------------------- hooks

    def list_branches(self, ctx: t.Context) -> list[t.Branch]:
        out = []
        for id_, b in self.branches.items():
            seq = self.own[id_][-1][0].seq if self.own[id_] else b["fork"]
            last = self._last(id_, seq)
            head = t.Point(id_, seq, last.id if last else None, last.time if last else 0)
            out.append(t.Branch(id_, b["name"], b["parent"], b["fork"], head, self.floors.get(id_, 0)))
        return sorted(out, key=lambda b: b.name)

    def list_spaces(self, ctx: t.Context) -> list[t.Space]:
        return list(self.spaces)

    def list_checkpoints(self, ctx: t.Context) -> list[t.Checkpoint]:
        return list(self.checkpoints)

    def resolve(self, ctx: t.Context, ref: Ref) -> t.Point:
        if ref.commit is not None:
            [commit] = self.get_commits(ctx, [ref.commit])
            if commit is None:
                raise NotFound(str(ref))
            return t.Point(commit.branch, commit.seq, commit.id, commit.time)
        for b in self.list_branches(ctx):
            if b.name == ref.name:
                seq = b.head.seq if ref.seq is None else min(ref.seq, b.head.seq)
                last = self._last(b.id, seq)
                return t.Point(b.id, seq, last.id if last else None, last.time if last else 0)
        raise NotFound(str(ref))

    def log(
        self, ctx: t.Context, branch: str, after: int, upto: int, merges: bool, newest_first: bool
    ) -> Iterator[t.Commit]:
        found = [c for c, _, _ in self.own[branch] if after < c.seq <= upto]
        if merges:
            found = [c for c in found if c.vector or c.picks]
        return iter(found[::-1] if newest_first else found)

    def get_commits(self, ctx: t.Context, ids: Sequence[str]) -> list[t.Commit | None]:
        known = {c.id: c for id_ in self.branches for c, _, _ in self.own[id_]}
        return [known.get(i) for i in ids]

    def _check(self, branch: str, seq: int) -> None:
        if branch not in self.branches:
            raise NotFound(branch)
        if seq < self.floors.get(branch, 0):
            raise HistoryExpired(f"{branch}@{seq}")

    def touched(self, ctx: t.Context, branch: str, after: int, upto: int) -> Iterator[tuple[str, t.Key]]:
        self._check(branch, after)
        if not self.by_touch:
            raise HistoryExpired("as the test wants it")
        found = {(c.table, c.key) for m, cs, _ in self.own[branch] if after < m.seq <= upto for c in cs}
        return iter(sorted(found))

    def changes(
        self, ctx: t.Context, branch: str, after: int, upto: int, compacted: bool
    ) -> Iterator[t.ChangeBatch]:
        if not compacted:
            self._check(branch, after)
        for commit, changes, _ in list(self.own[branch]):
            if after < commit.seq <= upto:
                half = len(changes) // 2
                if half:
                    yield t.ChangeBatch(commit, changes[:half], final=False)
                yield t.ChangeBatch(commit, changes[half:])

    def _at(self, at: t.At) -> State:
        point = at if isinstance(at, t.Point) else self.resolve(CTX, at)
        self._check(point.branch, point.seq)
        return self._state(point.branch, point.seq)

    def fetch(self, ctx: t.Context, table: str, keys: Sequence[t.Key], at: t.At) -> list[Row | None]:
        rows = self._at(at).get(table, {})
        return [rows.get(key) for key in keys]

    def scan(self, ctx: t.Context, query: t.Query, at: t.At) -> Iterator[Any]:
        rows = self._at(at).get(query.table, {})
        ordered = [rows[key] for key in sorted(rows)]
        for start in range(0, len(ordered), 2):
            yield batch_of(TABLES[query.table].arrow, ordered[start : start + 2])

    def read_chunks(self, ctx: t.Context, digests: Sequence[str]) -> Iterator[bytes]:
        return (self.chunks[digest] for digest in digests)

    def counters(self, ctx: t.Context, table: str, keys: Sequence[t.Key]) -> list[t.Counter]:
        return [self.reads.get((table, key), t.Counter(table, key, None, 0)) for key in keys]

    def commit(self, ctx: t.Context, request: t.CommitRequest) -> t.Committed:
        if self.before_commit is not None:
            hurdle, self.before_commit = self.before_commit, None
            hurdle()
        branch = self.branch(request.branch)
        head = branch.head
        if request.expect_head is not msgspec.UNSET and request.expect_head != head.commit:
            raise StaleHead(request.branch)
        self.clock += 1
        state = self.state(head)
        writes = list(apply(request, _Heads(state), {s.name: s for s in self.spaces}, self.clock))
        changes = [t.Change(w.table, w.key, w.row) for page in writes for w in page]
        if not changes and not request.force:
            return t.Committed(None, head)
        for change in changes:
            rows = state.setdefault(change.table, {})
            if change.row is None:
                rows.pop(change.key, None)
            else:
                rows[change.key] = change.row
        parents = (() if head.commit is None else (head.commit,)) + request.parents
        seq = head.seq + 2  # gaps are allowed
        commit = t.Commit(
            request.id,
            branch.id,
            seq,
            self.clock,
            request.author,
            request.message,
            parents,
            request.vector,
            request.picks,
            request.reverts,
        )
        for chunk in request.chunks:
            self.chunks[chunk.digest] = chunk.data
        self.own[branch.id].append((commit, tuple(sorted(changes, key=lambda c: (c.table, c.key))), state))
        return t.Committed(commit, t.Point(branch.id, seq, commit.id, commit.time), len(changes))


class _Heads:
    def __init__(self, state: State) -> None:
        self._state = state

    def rows(self, table: Any, keys: Sequence[t.Key]) -> dict[t.Key, Row]:
        rows = self._state.get(table.name, {})
        return {key: rows[key] for key in keys if key in rows}

    def version(self, table: Any, key: t.Key) -> str | None:
        raise AssertionError("history asks for no version")


def make_row(table: str, *key: str, **fields: Any) -> Row:
    """A row with neutral cells but for the named ones."""
    neutral = {"tags": (), "value": "null", "vector": b"\0\0\0\0", "int": 0, "time": 5, "float": None}
    cells: list[Any] = []
    for place, column in enumerate(TABLES[table].columns):
        if place < len(key):
            cells.append(key[place])
        elif column.name in fields:
            cells.append(fields.pop(column.name))
        elif column.required or not column.nullable:
            cells.append(neutral.get(column.kind, "-"))
        else:
            cells.append(None)
    assert not fields, fields
    return tuple(cells)


@pytest.fixture
def engine() -> Naive:
    return Naive()


@pytest.fixture(scope="session")
def new_engine() -> Callable[[], Naive]:
    return Naive


@pytest.fixture(scope="session")
def row() -> Callable[..., Row]:
    return make_row


@pytest.fixture(scope="session")
def ctx() -> t.Context:
    return CTX


@pytest.fixture(scope="session")
def store_payload() -> Callable[[Naive, bytes, bytes], str]:
    """Keeps two pieces and returns their manifest."""

    def keep(engine: Naive, *pieces: bytes) -> str:
        names = [chunk_digest(piece) for piece in pieces]
        engine.chunks.update(zip(names, pieces, strict=True))
        return f"{sum(map(len, pieces))}:{','.join(names)}"

    return keep
