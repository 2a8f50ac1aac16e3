"""A small store with something of every kind, and one call of every hook on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from perdure import (
    TABLES,
    Branch,
    Checkpoint,
    Chunk,
    CommitRequest,
    Committed,
    CompactReport,
    CompactRequest,
    Context,
    IngestReport,
    Memory,
    Point,
    PurgeReport,
    Put,
    Query,
    Ref,
    Row,
    Search,
    Skill,
    Space,
    State,
    Stats,
    Store,
    VerifyReport,
    uuid7,
)

__all__ = ["CALLS", "OPTIONAL", "WRITING", "Call", "Scene", "memory_row", "scene"]

#: Hooks of a capability that a backend may lack.
OPTIONAL = {
    "compact": "compact",
    "purge": "purge",
    "list_namespaces": "namespaces",
    "drop_namespace": "namespaces",
}

PAYLOAD = b"payload " * 10_000


@dataclass(frozen=True)
class Scene:
    """What the calls are about.

    Attributes:
        branch: The id of main.
        head: The head of main.
        digests: The pieces of the payload.
        other: Another namespace of the engine, which nobody has open.
    """

    branch: str
    head: Point
    digests: list[str]
    other: str


@dataclass(frozen=True)
class Call:
    """One call of a hook, with a result that is not empty."""

    hook: str
    gives: type
    run: Callable[[Any, Context, Scene], Any]


def memory_row(key: str, **cells: Any) -> Row:
    """An encoded row of `memories`; what is not given is empty."""
    empty = {"tags": (), "value": "null"}
    return tuple(
        key if column.name == "id" else cells.get(column.name, empty.get(column.kind))
        for column in TABLES["memories"].columns
    )


def scene(store: Store, other: str) -> Scene:
    """Fill an empty store with something of every kind; `other` is a namespace that may be dropped."""
    store.spaces.create("mem", 2, table="memories")
    store.spaces.create("spare-space", 2)
    store.memories.put(Memory(id="a", text="first"), vector=[1.0, 0.0])
    store.memories.put([Memory(id="b", text="second"), Memory(id="c", text="third")])
    store.skills.put(Skill(id="s", success_count=1))
    store.states.put(State(kind="k", id="x", payload=PAYLOAD))
    store.memories.touch("a")
    store.branches.create("lab")
    store.branches.create("spare-branch")
    store.checkpoints.create("mark")
    store.checkpoints.create("spare-mark")
    chunks = [event.digest for event in store.export() if isinstance(event, Chunk)]
    head = store.head()
    return Scene(head.branch, head, chunks, other)


def request(branch: str = "main", **more: Any) -> CommitRequest:
    """A commit of one row."""
    return CommitRequest(
        branch=branch, id=uuid7(), operations=(Put("memories", (memory_row(uuid7()),)),), **more
    )


#: One call of every hook, in an order in which each can be made. `close` is the last.
CALLS: tuple[Call, ...] = (
    Call("commit", Committed, lambda h, ctx, s: h.commit(ctx=ctx, request=request())),
    Call("touch", int, lambda h, ctx, s: h.touch(ctx=ctx, table="memories", keys=[("a",)], time=1)),
    Call("resolve", Point, lambda h, ctx, s: h.resolve(ctx=ctx, ref=Ref("main"))),
    Call("fetch", list, lambda h, ctx, s: h.fetch(ctx=ctx, table="memories", keys=[("a",)], at=Ref("main"))),
    Call("versions", list, lambda h, ctx, s: h.versions(ctx=ctx, table="memories", keys=[("a",)], at=s.head)),
    Call("counters", list, lambda h, ctx, s: h.counters(ctx=ctx, table="memories", keys=[("a",)])),
    Call("select", Iterator, lambda h, ctx, s: h.select(ctx=ctx, query=Query("memories"), at=Ref("main"))),
    Call("scan", Iterator, lambda h, ctx, s: h.scan(ctx=ctx, query=Query("memories"), at=Ref("main"))),
    Call("count", int, lambda h, ctx, s: h.count(ctx=ctx, table="memories", where=None, at=Ref("main"))),
    Call(
        "search",
        list,
        lambda h, ctx, s: h.search(
            ctx=ctx, search=Search("mem", np.array([1.0, 0.0], "<f8").tobytes(), 1), at=Ref("main")
        ),
    ),
    Call("read_chunks", Iterator, lambda h, ctx, s: h.read_chunks(ctx=ctx, digests=s.digests)),
    Call("create_space", Space, lambda h, ctx, s: h.create_space(ctx=ctx, space=Space("new-space", 2))),
    Call("drop_space", PurgeReport, lambda h, ctx, s: h.drop_space(ctx=ctx, name="spare-space")),
    Call("list_spaces", list, lambda h, ctx, s: h.list_spaces(ctx=ctx)),
    Call(
        "create_branch", Branch, lambda h, ctx, s: h.create_branch(ctx=ctx, name="new-branch", at=Ref("main"))
    ),
    Call(
        "delete_branch", int, lambda h, ctx, s: h.delete_branch(ctx=ctx, name="spare-branch", cascade=False)
    ),
    Call("list_branches", list, lambda h, ctx, s: h.list_branches(ctx=ctx)),
    Call(
        "create_checkpoint",
        Checkpoint,
        lambda h, ctx, s: h.create_checkpoint(ctx=ctx, checkpoint=Checkpoint("new-mark", s.head)),
    ),
    Call("delete_checkpoint", bool, lambda h, ctx, s: h.delete_checkpoint(ctx=ctx, name="spare-mark")),
    Call("list_checkpoints", list, lambda h, ctx, s: h.list_checkpoints(ctx=ctx)),
    Call(
        "log",
        Iterator,
        lambda h, ctx, s: h.log(
            ctx=ctx, branch=s.branch, after=0, upto=s.head.seq, merges=False, newest_first=True
        ),
    ),
    Call("get_commits", list, lambda h, ctx, s: h.get_commits(ctx=ctx, ids=[s.head.commit])),
    Call(
        "changes",
        Iterator,
        lambda h, ctx, s: h.changes(ctx=ctx, branch=s.branch, after=0, upto=s.head.seq, compacted=True),
    ),
    Call(
        "touched",
        Iterator,
        lambda h, ctx, s: h.touched(ctx=ctx, branch=s.branch, after=s.head.seq - 1, upto=s.head.seq),
    ),
    Call("ingest", IngestReport, lambda h, ctx, s: h.ingest(ctx=ctx, events=iter([Space("brought", 3)]))),
    Call("stats", Stats, lambda h, ctx, s: h.stats(ctx=ctx, at=Ref("main"))),
    Call("verify", VerifyReport, lambda h, ctx, s: h.verify(ctx=ctx)),
    Call("compact", CompactReport, lambda h, ctx, s: h.compact(ctx=ctx, request=CompactRequest())),
    Call("purge", PurgeReport, lambda h, ctx, s: h.purge(ctx=ctx, table="memories", keys=[("c",)])),
    Call("list_namespaces", list, lambda h, ctx, s: h.list_namespaces(ctx=ctx)),
    Call("drop_namespace", bool, lambda h, ctx, s: h.drop_namespace(ctx=ctx, name=s.other)),
    Call("close", bool, lambda h, ctx, s: h.close(ctx=ctx)),
)

#: The hooks that write.
WRITING = frozenset(
    {
        "commit",
        "touch",
        "create_space",
        "drop_space",
        "create_branch",
        "delete_branch",
        "create_checkpoint",
        "delete_checkpoint",
        "ingest",
        "compact",
        "purge",
        "drop_namespace",
    }
)
