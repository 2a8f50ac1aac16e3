"""The same random history on the memory engine and on whole snapshots."""

from __future__ import annotations

import io
from typing import Any

import perdure
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from perdure import (
    Chunk,
    CommitRequest,
    CompactRequest,
    Delete,
    Increment,
    MergeConflict,
    PerdureError,
    Put,
    Query,
    Space,
)
from perdure._names import Ref
from perdure._schema import TABLES
from perdure.history import (
    diff,
    export,
    feed,
    heads,
    merge,
    read_archive,
    revert,
    version_vector,
    without,
    write_archive,
)
from perdure.kit import rows_of
from perdure_memory import plugin

SPACE = Space("s", 1, "float32", "l2", table="memories")


def open_memory() -> Any:
    return plugin.open("memory://", "history", "rw")


def state(backend: Any, ctx: Any, at: Any) -> dict[str, dict[Any, Any]]:
    """Live rows by table and key; tables without rows are left out."""
    out = {}
    for name, table in TABLES.items():
        batches = backend.scan(ctx=ctx, query=Query(name), at=at)
        rows = [row for batch in batches for row in rows_of(batch)]
        if rows:
            out[name] = {table.key_of(row): row for row in rows}
    return out


class Both:
    """Does everything twice, and compares."""

    def __init__(self, naive: Any, ctx: Any) -> None:
        self.naive, self.memory, self.ctx = naive, open_memory(), ctx
        self.names = ["main"]
        self.commits: list[str] = []
        naive.spaces.append(SPACE)
        self.memory.create_space(ctx=ctx, space=SPACE)

    def fork(self, at: str) -> None:
        name = f"n{len(self.names)}"
        self.naive.fork(name, at)
        self.memory.create_branch(ctx=self.ctx, name=name, at=Ref(at))
        self.names.append(name)

    def write(self, branch: str, commit_id: str, *operations: Any) -> None:
        request = CommitRequest(branch=branch, id=commit_id, operations=operations)
        done = [hook.commit(ctx=self.ctx, request=request) for hook in (self.naive, self.memory)]
        assert (done[0].commit is None) == (done[1].commit is None)
        self._made(commit_id, done[0].commit)

    def run(self, work: Any, commit_id: str) -> None:
        """A merge or a revert on both: the same changes, or the same conflicts."""
        outcomes: list[Any] = []
        for hook in (self.naive, self.memory):
            try:
                done = work(hook, commit_id)
                self._made(commit_id, done.commit)
                outcomes.append((done.changes, done.conflicts, done.already_merged, done.commit is None))
            except MergeConflict as error:
                outcomes.append(error.conflicts)
        assert outcomes[0] == outcomes[1]

    def _made(self, commit_id: str, commit: Any) -> None:
        if commit is not None and commit_id not in self.commits:
            self.commits.append(commit_id)

    def check(self, memory: Any = None) -> None:
        for name in self.names:
            want = {table: rows for table, rows in self.naive.state(name).items() if rows}
            assert state(memory or self.memory, self.ctx, Ref(name)) == want


ops = st.lists(
    st.tuples(
        st.sampled_from(
            ["put", "put", "delete", "count", "vector", "fork", "merge", "merge", "pick", "revert"]
        ),
        st.integers(0, 2),
        st.integers(0, 2),
        st.integers(0, 3),
        st.sampled_from(["fail", "ours", "theirs", "field"]),
    ),
    max_size=25,
)


def play(both: Both, row: Any, history: Any) -> None:
    ctx = both.ctx
    for number, (what, a, b, value, strategy) in enumerate(history):
        one, two = both.names[a % len(both.names)], both.names[b % len(both.names)]
        key, name, now = str(value % 3), f"c{number}", number + 1
        if what == "fork":
            if len(both.names) < 3:
                both.fork(one)
        elif what == "put":
            memory = row("memories", key, text=str(value), tags=("x", "y")[:b], created_at=1, updated_at=now)
            skill = row("skills", key, success_count=value, created_at=1, updated_at=now)
            both.write(one, name, Put("memories", [memory]), Put("skills", [skill]))
        elif what == "delete":
            both.write(one, name, Delete("memories", [(key,)]), Delete("skills", [(key,)]))
        elif what == "count":
            if ("0",) in both.naive.state(one).get("skills", {}):
                both.write(
                    one, name, Increment("skills", ("0",), {"success_count": value}, {"updated_at": now})
                )
        elif what == "vector":
            if (key,) in both.naive.state(one).get("memories", {}):
                vector = row("vectors", "s", key, values=bytes([b, 0, 0, 0]), created_at=1, updated_at=now)
                both.write(one, name, Put("vectors", [vector]))
        elif what == "merge":
            both.run(lambda h, i, s=one, t=two, y=strategy: merge(h, ctx, Ref(s), t, y, commit_id=i), name)
        elif what == "pick":
            keys = {"memories": [(key,)]}
            both.run(
                lambda h, i, s=one, t=two, y=strategy, k=keys: merge(
                    h, ctx, Ref(s), t, y, commit_id=i, keys=k
                ),
                name,
            )
        elif both.commits:
            undone = both.commits[value % len(both.commits)]
            hooks = (both.naive, both.memory)
            expected, found = [
                attempt(lambda h=h, c=undone, t=one: without(h, ctx, Ref(t), c)) for h in hooks
            ]
            assert found == expected
            if isinstance(found, dict):
                both.run(lambda h, i, c=undone, t=one, y=strategy: undo(h, ctx, c, t, y, i), name)


def undo(hook: Any, ctx: Any, commit_id: str, branch: str, strategy: Any, revert_id: str) -> Any:
    [commit] = hook.get_commits(ctx=ctx, ids=[commit_id])
    parent = 0 if commit.vector else None
    return revert(hook, ctx, commit_id, branch, strategy, revert_id=revert_id, parent=parent)


def attempt(work: Any) -> Any:
    """The result, or the kind of error."""
    try:
        return work()
    except PerdureError as error:
        return type(error)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(ops)
def test_the_same_history(row: Any, ctx: Any, new_engine: Any, history: Any) -> None:
    both = Both(new_engine(), ctx)
    play(both, row, history)
    both.check()
    for a in both.names:
        for b in both.names:
            found = [list(diff(h, ctx, Ref(a), Ref(b))) for h in (both.naive, both.memory)]
            assert found[0] == found[1]
    seen = [
        sorted(
            (i.batch.commit.id, c.table, c.key)
            for i in feed(h, ctx)
            if i.batch is not None
            for c in i.batch.changes
        )
        for h in (both.naive, both.memory)
    ]
    assert seen[0] == seen[1]

    file = io.BytesIO()
    write_archive(file, export(both.memory, ctx))
    file.seek(0)
    copy = open_memory()
    copy.ingest(ctx=ctx, events=read_archive(file))
    both.check(copy)
    for name in both.names:
        assert version_vector(copy, ctx, Ref(name)) == version_vector(both.memory, ctx, Ref(name))
    assert heads(copy, ctx) == heads(both.memory, ctx)
    assert list(export(copy, ctx)) == list(export(both.memory, ctx))


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(ops)
def test_after_compaction_merges_go_on(row: Any, ctx: Any, new_engine: Any, history: Any) -> None:
    """Whatever merge bases compaction leaves, heads stay equal and merges finish or say why not."""
    both = Both(new_engine(), ctx)
    play(both, row, history)
    vectors = {name: version_vector(both.memory, ctx, Ref(name)) for name in both.names}
    both.memory.compact(ctx=ctx, request=CompactRequest(keep_commits=1, lease=0))
    both.check()
    assert vectors == {name: version_vector(both.memory, ctx, Ref(name)) for name in both.names}
    for a in both.names:
        for b in both.names:
            outcome = attempt(
                lambda s=a, t=b: merge(both.memory, ctx, Ref(s), t, "theirs", commit_id=f"{s}{t}")
            )
            assert not isinstance(outcome, type) or issubclass(outcome, perdure.HistoryExpired)
    copy = open_memory()
    copy.ingest(ctx=ctx, events=export(both.memory, ctx))
    for name in both.names:
        assert state(copy, ctx, Ref(name)) == state(both.memory, ctx, Ref(name))


def test_payloads_and_counters_travel(row: Any, ctx: Any) -> None:
    from perdure.kit import chunk_digest

    memory, copy = open_memory(), open_memory()
    pieces = [b"x" * 65_536, b"y"]
    names = [chunk_digest(piece) for piece in pieces]
    made = row("states", "w", "1", payload=f"65537:{','.join(names)}")
    chunks = [Chunk(name, piece) for name, piece in zip(names, pieces, strict=True)]
    memory.commit(ctx=ctx, request=CommitRequest("main", "c", [Put("states", [made])], chunks=chunks))
    memory.touch(ctx=ctx, table="states", keys=[("w", "1")], time=77)
    copy.ingest(ctx=ctx, events=export(memory, ctx))
    assert list(copy.read_chunks(ctx=ctx, digests=names)) == pieces
    [counter] = copy.counters(ctx=ctx, table="states", keys=[("w", "1")])
    assert (counter.accessed_at, counter.access_count) == (77, 1)


def test_through_a_store() -> None:
    """The public way to all of it."""
    with perdure.open("memory://") as store:
        store.memories.put(perdure.Memory(id="m", text="old"))
        store.branches.create("lab")
        lab = store.branch("lab")
        lab.memories.update("m", text="new")
        assert [d.fields for d in store.diff("main", "lab")] == [("text", "updated_at")]
        done = store.merge("lab")
        assert done.commit is not None
        assert [m.text for m in store.memories.get_many(["m"]) if m is not None] == ["new"]
        with pytest.raises(perdure.InvalidInput):
            store.revert(done.commit.id)
        store.revert(done.commit.id, parent=0)
        assert [m.text for m in store.memories.get_many(["m"]) if m is not None] == ["old"]
