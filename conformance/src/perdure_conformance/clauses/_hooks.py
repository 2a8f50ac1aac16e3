"""Hooks: all are there, none gives nothing, iterators hold no lock, and points stay while others write."""

from __future__ import annotations

import inspect
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import chain
from typing import Any

import pyarrow as pa
from perdure import (
    TABLES,
    Busy,
    CommitRequest,
    Context,
    Delete,
    InvalidURL,
    Memory,
    PersistenceBackend,
    Put,
    PutArrow,
    Query,
    Ref,
    Unavailable,
    hook_names,
    hookimpl,
    uuid7,
)

from perdure_conformance._case import Case
from perdure_conformance._checks import check
from perdure_conformance.clauses._scene import CALLS, OPTIONAL, Scene, memory_row, request, scene
from perdure_conformance.expect import Violation, equal, holds, refused

#: More rows than engines read at a time.
MANY = 2_500

#: Seconds after which a call that waits for a lock gives up, so that a lock that stays is seen as `Busy`.
PATIENCE = 20.0


def other_namespace(case: Case) -> str:
    """A namespace that nobody has open."""
    name = case.unique()
    case.store(name).close()
    return name


def patient() -> Context:
    """A context that waits for locks for a while, and not for ever."""
    return Context(principal="conformance", deadline=time.monotonic() + PATIENCE)


def fill(hooks: Any, ctx: Context, keys: list[str], text: str) -> None:
    """Put many memories in one commit."""
    rows = [memory_row(key, text=text) for key in keys]
    hooks.commit(ctx=ctx, request=CommitRequest("main", uuid7(), (Put("memories", rows),)))


def numbered(count: int) -> list[str]:
    """Keys in order."""
    return [f"m{number:05}" for number in range(count)]


@check("HK-001", "HK-008")
def every_hook_is_implemented_once_with_every_argument(case: Case) -> None:
    """Each hook has one implementation, which takes the arguments of the hookspec."""
    hooks = case.hooks()
    for name in hook_names():
        found = getattr(hooks, name).get_hookimpls()
        equal(len(found), 1, f"the implementations of {name}")
        named = set(inspect.signature(getattr(PersistenceBackend, name)).parameters) - {"self"}
        equal(named - set(found[0].argnames), set(), f"the arguments that {name} does not take")


@check("HK-001", "HK-002")
def no_hook_gives_none(case: Case) -> None:
    """Each hook, called once, gives what its hookspec says, and never None."""
    equal({call.hook for call in CALLS}, set(hook_names()), "the hooks that this check calls")
    found = scene(case.store(), other_namespace(case))
    hooks = case.hooks()
    for call in CALLS:
        if call.hook in OPTIONAL and not case.supports(OPTIONAL[call.hook]):
            continue
        result = call.run(hooks, case.ctx, found)
        holds(isinstance(result, call.gives), f"{call.hook} gives {call.gives.__name__}", result)
        if call.gives is Iterator:
            holds(list(result), f"{call.hook} gives items, none of them None")
        elif call.gives is bool:
            equal(result, True, f"what {call.hook} gives")


@check("HK-007")
def a_closed_store_refuses_every_hook(case: Case) -> None:
    """After close, each hook is refused as unavailable; closing again is no error."""
    found = scene(case.store(), other_namespace(case))
    hooks = case.hooks()
    for _ in range(2):
        equal(hooks.close(ctx=case.ctx), True, "what close gives")
    for call in CALLS:
        if call.hook == "close" or (call.hook in OPTIONAL and not case.supports(OPTIONAL[call.hook])):
            continue
        with refused(Unavailable, what=f"{call.hook} after close"):
            result = call.run(hooks, case.ctx, found)
            if call.gives is Iterator:
                list(result)
    equal([memory.id for memory in case.store().memories.scan()], ["a", "b", "c"], "the rows after that")


def iterators(hooks: Any, found: Scene) -> dict[str, Iterator[Any]]:
    """An iterator of each hook that gives one."""
    ctx = Context()
    named = {call.hook: call.run(hooks, ctx, found) for call in CALLS if call.gives is Iterator}
    named["log, oldest first"] = hooks.log(
        ctx=ctx, branch=found.branch, after=0, upto=found.head.seq, merges=False, newest_first=False
    )
    return named


@check("HK-004")
def an_iterator_holds_no_lock(case: Case) -> None:
    """While an iterator waits at an item, and after it was dropped there, anybody can write."""
    store = case.store()
    hooks, others = case.hooks(), case.hooks()
    fill(hooks, case.ctx, numbered(MANY), "before")
    found = scene(store, case.namespace)
    for name, iterator in iterators(hooks, found).items():
        next(iterator)
        for who, writer in (("the same handle", hooks), ("another handle", others)):
            try:
                writer.commit(ctx=patient(), request=request())
            except Busy as error:
                raise Violation(f"a commit of {who} during {name}", "done", repr(error)) from error
        del iterator
        others.commit(ctx=patient(), request=request())


@check("HK-005", "HK-006")
def a_scan_goes_on_with_the_state_that_it_began_with(case: Case) -> None:
    """Rows that are changed, deleted and put while a scan runs do not show in it."""
    hooks, others = case.hooks(), case.hooks()
    keys = numbered(MANY)
    fill(hooks, case.ctx, keys, "before")
    ordered = Query("memories", limit=MANY + 100)
    selections = [
        hooks.select(ctx=case.ctx, query=query, at=Ref("main")) for query in (Query("memories"), ordered)
    ]
    batches = hooks.scan(ctx=case.ctx, query=Query("memories"), at=Ref("main"))
    begun = [next(selection) for selection in selections]
    operations = (
        Delete("memories", [(key,) for key in keys[1::3]]),
        Put("memories", [memory_row(key, text="after") for key in (*keys[::3], "m00000a", "zzz")]),
    )
    others.commit(ctx=case.ctx, request=CommitRequest("main", uuid7(), operations))
    text = TABLES["memories"].position["text"]
    for first, rest in zip(begun, selections, strict=True):
        rows = [(row[0], row[text]) for row in chain([first], rest)]
        equal(rows, [(key, "before") for key in keys], "the rows of a selection during which others wrote")
    scanned = [row for batch in batches for row in batch.select(["id", "text"]).to_pylist()]
    equal(
        scanned,
        [{"id": key, "text": "before"} for key in keys],
        "the rows of a scan during which others wrote",
    )


@check("HK-006")
def a_ref_is_resolved_when_the_hook_is_called(case: Case) -> None:
    """What is committed after a hook was called is not in the iterator that it gave, begun or not."""
    found = scene(case.store(), case.namespace)
    hooks = case.hooks()
    selection = hooks.select(ctx=case.ctx, query=Query("memories"), at=Ref("main"))
    batches = hooks.scan(ctx=case.ctx, query=Query("memories"), at=Ref("main"))
    hooks.commit(ctx=case.ctx, request=request())
    equal([row[0] for row in selection], ["a", "b", "c"], "the rows of select")
    equal([row["id"] for batch in batches for row in batch.to_pylist()], ["a", "b", "c"], "the rows of scan")
    equal(hooks.count(ctx=case.ctx, table="memories", where=None, at=found.head), 3, "the rows at the point")


def put_some(hooks: Any, ctx: Context, prefix: str) -> list[int]:
    """Put five rows, one after the other; how many of them were there after each."""
    seen = []
    for number in range(5):
        row = memory_row(f"{prefix}{number}")
        hooks.commit(ctx=ctx, request=CommitRequest("main", uuid7(), (Put("memories", (row,)),)))
        keys = [(f"{prefix}{other}",) for other in range(5)]
        rows = hooks.fetch(ctx=ctx, table="memories", keys=keys, at=Ref("main"))
        seen.append(sum(row is not None for row in rows))
    return seen


@check("HK-003")
def several_threads_share_a_handle(case: Case) -> None:
    """Threads that write and read through one handle each see their own commits, and none is lost."""
    hooks = case.hooks()
    with ThreadPoolExecutor(4) as threads:
        results = list(threads.map(lambda prefix: put_some(hooks, case.ctx, prefix), "abcd"))
    equal(results, [[1, 2, 3, 4, 5]] * 4, "the rows that each thread saw of its own")
    rows = hooks.select(ctx=case.ctx, query=Query("memories"), at=Ref("main"))
    equal([row[0] for row in rows], sorted(f"{a}{n}" for a in "abcd" for n in range(5)), "all rows")


class Watcher:
    """A plain hook wrapper that writes down which hooks were called."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    @hookimpl(wrapper=True)
    def commit(self) -> Any:
        """Before and after a commit."""
        self.seen.append("commit")
        return (yield)

    @hookimpl(wrapper=True)
    def fetch(self, table: str) -> Any:
        """Before and after a read."""
        self.seen.append(f"fetch {table}")
        return (yield)

    @hookimpl(wrapper=True)
    def create_branch(self, name: str) -> Any:
        """Before and after a fork."""
        self.seen.append(f"create_branch {name}")
        return (yield)


@check("HK-008", "HK-009")
def an_observer_sees_the_calls_of_its_own_store(case: Case) -> None:
    """A plain hook wrapper sees each call of the store that it was given to, changes nothing, and sees no other."""
    watcher, other_watcher = Watcher(), Watcher()
    watched, other = case.store(observers=[watcher]), case.store(observers=[other_watcher])
    watched.memories.put(Memory(id="a", text="here"))
    equal(watched.memories["a"].text, "here", "what is read through an observer")
    watched.branches.create("lab")
    equal(watcher.seen, ["commit", "fetch memories", "create_branch lab"], "what the observer saw")
    equal(other.memories["a"].text, "here", "what another handle reads")
    equal(other_watcher.seen, ["fetch memories"], "what the observer of the other handle saw")


class Gate:
    """Record batches that come only when somebody lets them; a commit of them takes as long."""

    def __init__(self) -> None:
        self.reached, self.opened = threading.Event(), threading.Event()
        self.in_time = True

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        self.reached.set()
        self.in_time &= self.opened.wait(PATIENCE)
        table = TABLES["memories"]
        cells = dict(zip(table.names, memory_row("slow", created_at=1, updated_at=1), strict=True))
        yield pa.RecordBatch.from_pylist([cells], schema=table.arrow)


@check("HK-010")
def a_deadline_ends_the_wait_for_a_lock(case: Case) -> None:
    """While a slow commit may hold the lock, a commit with a deadline is made or is busy, and does not wait on."""
    slow, quick = case.hooks(), [case.hooks()]
    quick.append(slow)
    gate, made = Gate(), 0
    with ThreadPoolExecutor(1) as thread:
        operations = (PutArrow("memories", gate, unique=True),)
        first = thread.submit(slow.commit, ctx=case.ctx, request=CommitRequest("main", uuid7(), operations))
        gate.reached.wait(PATIENCE)
        for hooks in quick:
            soon = Context(principal="conformance", deadline=time.monotonic() + 0.1)
            try:
                hooks.commit(ctx=soon, request=request())
                made += 1
            except Busy:
                pass
        gate.opened.set()
        first.result()
    holds(gate.in_time, "a commit whose deadline has passed answers while the lock is still held")
    rows = case.store().memories.count()
    equal(rows, made + 1, "the rows: those of the slow commit, and of the others that were not busy")


@check("HK-024")
def an_unknown_option_is_refused(case: Case) -> None:
    """A URL with an option that the backend does not know is refused."""
    url = case.place.url
    for option in ("no_such_option=1", "NO_SUCH_OPTION=", "no_such_option"):
        place = replace(case.place, url=f"{url}{'&' if '?' in url else '?'}{option}")
        with refused(InvalidURL, what=f"opening with ?{option}"):
            place.open(case.namespace).close()
