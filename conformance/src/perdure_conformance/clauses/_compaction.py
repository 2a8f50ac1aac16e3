"""Compaction: what must stay readable reads as before, and what was dropped is refused."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

from perdure import (
    CommitRequest,
    CompactRequest,
    CorruptStore,
    HistoryExpired,
    Memory,
    NotFound,
    Point,
    Put,
    Query,
    Ref,
    State,
    Store,
    format_time,
    uuid7,
)

from perdure_conformance._case import Case
from perdure_conformance._checks import check
from perdure_conformance.clauses._scene import memory_row
from perdure_conformance.expect import equal, holds, refused

NOW = timedelta(0)


def tiers(view: Any) -> dict[str, int]:
    """Memory id → tier."""
    return {memory.id: memory.tier for memory in view.memories.scan()}


def steps(store: Store, count: int, start: int = 0) -> list[Point]:
    """Commits that change one row, delete and put another; the point after each."""
    points = []
    for number in range(start, start + count):
        with store.batch() as batch:
            batch.memories.put(Memory(id="a", tier=number))
            if number % 2:
                batch.memories.delete("b")
            else:
                batch.memories.put(Memory(id="b", tier=number))
        points.append(store.head())
    return points


def everything(store: Store) -> dict[str, list[Any]]:
    """The memories of every branch and checkpoint, with their times and versions."""
    found = {}
    names = [*(b.name for b in store.branches.list()), *(c.name for c in store.checkpoints.list())]
    for name in names:
        view = store.at(name)
        found[name] = [
            (memory.id, memory.tier, memory.created_at, memory.updated_at, view.memories.version(memory.id))
            for memory in view.memories.scan()
        ]
    return found


def read(store: Store, point: Point) -> dict[str, int] | None:
    """What a point reads; None where it was dropped."""
    try:
        return tiers(store.at(point))
    except HistoryExpired:
        return None


def at_step(number: int) -> dict[str, int]:
    """What the step of that number left on main."""
    return {"a": number} if number % 2 else {"a": number, "b": number}


@check("UP-001", level="branches", needs=("compact",))
def heads_forks_and_checkpoints_read_as_before(case: Case) -> None:
    """What compaction must keep reads as before it: heads, points of forks, checkpoints."""
    store = case.store()
    points = steps(store, 12)
    store.branches.create("fork", points[3])
    store.checkpoints.create("mark", points[6])
    store.branches.create("moved", points[8])
    steps(case.store(branch="moved"), 3, 100)
    before = everything(store)
    for _ in range(2):
        store.compact(lease=NOW)
        equal(everything(store), before, "all heads and checkpoints")
        for number in (3, 6, 8, 11):
            equal(read(store, points[number]), at_step(number), f"what is read {11 - number} commits back")
        holds(store.verify().ok, "verify finds no damage", store.verify())


@check("UP-001", level="branches", needs=("compact",))
def a_checkpoint_holds_a_point_of_a_branch_until_it_goes(case: Case) -> None:
    """A point of a branch that only a checkpoint names stays; nothing else of its history need."""
    store = case.store()
    lab = store.branch("lab")
    points = steps(lab, 6)
    store.checkpoints.create("mark", points[2])
    store.compact(lease=NOW)
    equal(tiers(store.at("mark")), at_step(2), "the checkpoint")
    store.checkpoints.create("again", "mark")
    store.checkpoints.delete("mark")
    store.compact(lease=NOW)
    equal(tiers(store.at("again")), at_step(2), "a second checkpoint, after the first was deleted")


@check("UP-001", level="branches", needs=("compact",))
def the_point_of_a_fork_is_kept_after_a_sync(case: Case) -> None:
    """The point that a branch was forked from stays, also when the branch took in what came later."""
    store = case.store()
    points = steps(store, 4)
    lab = store.branch("lab")
    more = steps(store, 3, 10)
    lab.sync()
    steps(store, 2, 20)
    store.compact(lease=NOW)
    equal(read(store, points[3]), at_step(3), "the point of the fork")
    equal(tiers(lab), at_step(12), "the branch")
    holds(read(store, more[0]) in (None, at_step(10)), "a point that nothing needs is refused or right")


@check("UP-001", level="branches", needs=("compact",))
def the_base_of_a_later_merge_is_kept(case: Case) -> None:
    """A merge after compaction gives what it would have given before: its base is still there."""
    store = case.store()
    store.memories.put([Memory(id="a", tier=0, text="old"), Memory(id="gone")])
    lab = store.branch("lab")
    store.memories.update("a", tier=1)
    store.memories.put(Memory(id="b"))
    lab.sync()
    lab.memories.update("a", text="new")
    lab.memories.delete("gone")
    steps(case.store(branch="lab"), 2, 50)
    lab.memories.delete(["b"])
    store.memories.update("a", importance=0.5)
    plan = [
        (c.table, c.key, c.row is None) for c in store.merge("lab", strategy="theirs", dry_run=True).changes
    ]
    bases = [base.commit for base in store.merge("lab", strategy="theirs", dry_run=True).bases]
    store.compact(lease=NOW)
    merged = store.merge("lab", strategy="theirs")
    equal([(c.table, c.key, c.row is None) for c in merged.changes], plan, "what the merge changes")
    equal([base.commit for base in merged.bases], bases, "the bases of the merge")
    equal(sorted(tiers(store)), ["a"], "the rows after the merge")
    equal(store.memories["a"].importance, 0.5, "what only the target changed")


@check("UP-001", "UP-002", level="branches", needs=("compact",))
def a_window_of_commits_is_kept_on_each_branch(case: Case) -> None:
    """The last commits of each branch, as many as are asked for, read as before."""
    store = case.store()
    lab = store.branch("lab")
    mine, others = steps(store, 9), steps(lab, 9, 100)
    store.compact(3, lease=NOW)
    for number in (6, 7, 8):
        equal(read(store, mine[number]), at_step(number), f"main {8 - number} commits back")
        equal(read(store, others[number]), at_step(100 + number), f"the branch {8 - number} commits back")
    for point, number in zip((*mine[:6], *others[:6]), (*range(6), *range(100, 106)), strict=True):
        holds(
            read(store, point) in (None, at_step(number)),
            "an older point is refused or right",
            read(store, point),
        )


def timed_steps(case: Case, hooks: Any, count: int) -> list[Point]:
    """Commits that are minutes apart, by their times, the last of them now."""
    start = time.time_ns() // 1_000 + 60_000_000
    points = []
    for number in range(count):
        row = memory_row("a", tier=number)
        made = hooks.commit(
            ctx=case.ctx,
            request=CommitRequest(
                "main", uuid7(), (Put("memories", (row,)),), time=start + number * 60_000_000
            ),
        )
        points.append(made.point)
    return points


@check("UP-001", "UP-002", level="branches", needs=("compact",))
def a_window_of_time_is_kept(case: Case) -> None:
    """The points since a time read as before: that of the time itself too, which an earlier commit may have made."""
    store, hooks = case.store(), case.hooks()
    points = timed_steps(case, hooks, 9)
    since = points[5].time + 1
    hooks.compact(ctx=case.ctx, request=CompactRequest(keep_since=since, lease=0))
    for number in (5, 6, 7, 8):
        equal(read(store, points[number]), {"a": number}, f"what is read {8 - number} commits back")
    equal(
        tiers(store.at(f"main@{format_time(since)}")), {"a": 5}, "what is read at the beginning of the window"
    )


@check("UP-002", level="branches", needs=("compact",))
def both_windows_are_kept_where_both_are_asked_for(case: Case) -> None:
    """With a number and a time, whatever either of them asks for is kept."""
    for commits, since in ((5, 7), (2, 3)):
        name = case.unique()
        with case.store(name) as store:
            hooks = case.hooks(name)
            points = timed_steps(case, hooks, 9)
            request = CompactRequest(keep_commits=commits, keep_since=points[since].time, lease=0)
            hooks.compact(ctx=case.ctx, request=request)
            for number in range(min(9 - commits, since), 9):
                what = f"{8 - number} commits back, with {commits} commits and the time of {8 - since} back"
                equal(read(store, points[number]), {"a": number}, what)


@check("UP-003", level="branches", needs=("compact",))
def what_was_a_head_within_the_lease_is_kept(case: Case) -> None:
    """By default, all that was a head in the last 15 minutes stays: snapshots, cursors and scans go on."""
    store = case.store()
    empty = store.head()
    store.memories.put([Memory(id=f"m{number}", tier=number) for number in range(6)])
    snapshot = store.snapshot()
    page = store.memories.find(limit=2)
    scan = store.memories.scan()
    first = next(scan)
    points = steps(store, 4)
    store.memories.delete([f"m{number}" for number in range(6)])
    store.compact()
    equal(sorted(tiers(snapshot)), [f"m{number}" for number in range(6)], "an open snapshot")
    rest = store.memories.find(limit=10, after=page.cursor)
    equal([memory.id for memory in rest], ["m2", "m3", "m4", "m5"], "the page after the cursor")
    equal([first.id, *(memory.id for memory in scan)], [f"m{number}" for number in range(6)], "an open scan")
    for number, point in enumerate(points):
        equal(store.at(point).memories["a"].tier, number, f"the point {number} of the lease")
    equal(tiers(store.at(empty)), {}, "the empty store that was the head at first")


def refs_to(point: Point) -> dict[str, Any]:
    """The ways to name a point of main."""
    return {
        "a point": point,
        "a number": f"main@{point.seq}",
        "a commit": f"@{point.commit}",
        "a time": f"main@{format_time(point.time)}",
    }


#: Reads at a ref that must be refused where compaction dropped it.
READS: dict[str, Callable[[Store, Any], Any]] = {
    "get": lambda store, ref: store.at(ref).memories.get("a"),
    "find": lambda store, ref: store.at(ref).memories.find(),
    "scan": lambda store, ref: list(store.at(ref).memories.scan()),
    "count": lambda store, ref: store.at(ref).memories.count(),
    "version": lambda store, ref: store.at(ref).memories.version("a"),
    "arrow": lambda store, ref: store.at(ref).memories.to_arrow(),
    "search": lambda store, ref: store.at(ref).memories.search([1.0, 0.0]),
    "stats": lambda store, ref: store.stats(ref),
    "diff": lambda store, ref: list(store.diff(ref, "main")),
    "fork": lambda store, ref: store.branches.create("late", ref),
    "checkpoint": lambda store, ref: store.checkpoints.create("late", ref),
}


@check("UP-004", "RE-008", level="branches", needs=("compact",))
def a_dropped_point_is_refused_by_every_read(case: Case) -> None:
    """However a dropped point is named, every read of it is refused as expired, and none is answered wrongly."""
    store, hooks = case.store(), case.hooks()
    store.spaces.create("mem", 2, table="memories")
    points = timed_steps(case, hooks, 8)
    hooks.compact(ctx=case.ctx, request=CompactRequest(lease=0))
    dropped = points[2]
    for way, ref in refs_to(dropped).items():
        for name, reads in READS.items():
            with refused(
                NotFound if way == "a commit" else HistoryExpired, what=f"{name} at {way} that was dropped"
            ):
                reads(store, ref)
    equal([b.name for b in store.branches.list()], ["main"], "the branches after that")
    equal(store.checkpoints.list(), [], "the checkpoints after that")


@check("UP-004", level="branches", needs=("compact",))
def every_old_point_is_refused_or_right(case: Case) -> None:
    """After a compaction each old point, also of forks, reads as before or is refused."""
    store = case.store()
    points = steps(store, 10)
    store.branches.create("fork", points[4])
    lab = case.store(branch="fork")
    more = steps(lab, 5, 100)
    store.compact(lease=NOW)
    expected = [at_step(number) for number in (*range(10), *range(100, 105))]
    for point, before in zip((*points, *more), expected, strict=True):
        now = read(store, point)
        holds(now in (None, before), f"{point} reads as before or is refused", (before, now))


@check("UP-005", "CO-045", level="branches", needs=("compact",))
def changes_below_the_floor_are_refused(case: Case) -> None:
    """`changes` from before what is left is refused, unless what is left is asked for; so is the feed."""
    store, hooks = case.store(), case.hooks()
    steps(store, 8)
    store.compact(2, lease=NOW)
    (main,) = store.branches.list()
    holds(main.floor > 0, "the floor of the branch has risen", main.floor)
    asked: dict[str, Any] = {"ctx": case.ctx, "branch": main.id, "after": 0, "upto": main.head.seq}
    with refused(HistoryExpired, what="changes from below the floor"):
        list(hooks.changes(**asked, compacted=False))
    with refused(HistoryExpired, what="the feed from below the floor"):
        list(store.changes())
    left = list(hooks.changes(**asked, compacted=True))
    equal(left[-1].commit.id, main.head.commit, "the last commit of what is left")
    asked["after"] = main.floor
    newer = [batch.commit.seq for batch in hooks.changes(**asked, compacted=False)]
    holds(newer and min(newer) > main.floor, "the changes after the floor are all there", newer)


@check("UP-001", "UP-006", level="branches", needs=("compact",))
def deep_branches_read_the_same_after_compaction(case: Case) -> None:
    """Rows, row versions and merges of a deep line of branches do not change, flattened or not."""
    store = case.store()
    store.memories.put([Memory(id=f"m{number}", tier=-1) for number in range(12)])
    branch = store
    for number in range(10):
        branch = branch.branch(f"b{number}")
        branch.memories.put(Memory(id=f"m{number}", tier=number))
        if number % 3 == 0:
            branch.memories.delete(f"m{number + 1}")
    names = [b.name for b in store.branches.list()]
    before = {name: (tiers(store.at(name)), versions_of(store.at(name))) for name in names}
    parents = {b.name: (b.id, b.parent, b.fork_seq) for b in store.branches.list()}
    for _ in range(3):
        store.compact(lease=NOW)
        for name in names:
            view = store.at(name)
            equal((tiers(view), versions_of(view)), before[name], f"the rows and row versions of {name}")
        after = {b.name: (b.id, b.parent, b.fork_seq) for b in store.branches.list()}
        equal(after, parents, "the branches, their parents and forks")
    store.merge("b9", strategy="theirs")
    equal(tiers(store), before["b9"][0], "the rows after a merge of the deepest branch")


def versions_of(view: Any) -> list[str | None]:
    """The versions of all rows that may be there."""
    return [view.memories.version(f"m{number}") for number in range(12)]


@check("UP-007", needs=("compact",))
def payloads_that_nothing_refers_to_are_dropped(case: Case) -> None:
    """The pieces of payloads that only dropped versions had go; those that a row still has stay."""
    store, hooks = case.store(), case.hooks()
    shared, lost = b"s" * 70_000, b"l" * 70_000
    store.states.put([State(kind="k", id="x", payload=lost), State(kind="k", id="y", payload=shared)])
    store.states.put(State(kind="k", id="z", payload=shared))
    gone, kept = pieces(store, "x"), pieces(store, "y")
    store.states.put(State(kind="k", id="x", payload=b"new"))
    store.states.delete([("k", "y")])
    before = store.stats().payload_bytes
    report = store.compact(lease=NOW)
    equal(report.chunks, len(gone), "the pieces that the report says were dropped")
    holds(
        store.stats().payload_bytes < before, "less payload is stored", (before, store.stats().payload_bytes)
    )
    with refused(CorruptStore, what="reading a piece that was dropped"):
        list(hooks.read_chunks(ctx=case.ctx, digests=gone))
    equal(b"".join(hooks.read_chunks(ctx=case.ctx, digests=kept)), shared, "the pieces that a row still has")
    equal(store.states[("k", "z")].payload, shared, "the payload of a row that stays")


def pieces(store: Store, key: str) -> list[str]:
    """The digests of the payload of a state."""
    (manifest,) = store.states.to_arrow({"id": key}, columns=["payload"])["payload"].to_pylist()
    digests: list[str] = str(manifest).partition(":")[2].split(",")
    return digests


def read_on(store: Store, done: Callable[[], bool]) -> int:
    """Read all rows again and again until something is done; how often."""
    count = 0
    while not done() or not count:
        equal(
            sorted(tiers(store)),
            ["a", *(f"m{number:03}" for number in range(300))],
            "the rows while it compacts",
        )
        count += 1
    return count


@check("UP-008", needs=("compact",))
def readers_read_on_while_it_compacts(case: Case) -> None:
    """Reads that run beside compactions are answered, rightly, and none is refused as busy."""
    store, other = case.store(), case.store()
    store.memories.put([Memory(id=f"m{number:03}") for number in range(300)])
    for number in range(10):
        store.memories.put(Memory(id="a", tier=number))
    hooks = case.hooks()
    selection = hooks.select(ctx=case.ctx, query=Query("memories"), at=Ref("main"))
    next(selection)
    with ThreadPoolExecutor(1) as thread:
        done = thread.submit(lambda: [store.compact() for _ in range(3)])
        read_on(other, done.done)
        done.result()
    equal(len(list(selection)), 300, "the rest of a selection that was open all the time")
