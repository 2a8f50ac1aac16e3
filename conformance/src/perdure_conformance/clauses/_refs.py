"""Refs: what names a place in history, and what it names."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from perdure import (
    TABLES,
    Branch,
    Change,
    ChangeBatch,
    Commit,
    CommitRequest,
    HistoryEvent,
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
    now_us,
)

from perdure_conformance._case import Case
from perdure_conformance._checks import check
from perdure_conformance.clauses._shown import ids
from perdure_conformance.expect import equal, holds

SECOND = 1_000_000

#: A time in microseconds, in the year 2025; the made-up history lies around it.
T = 1_750_000_000_000_000

#: The made-up history: branch → its own commits as (sequence number, time), with gaps, and two at one time.
COMMITS = {
    "main": ((5, T + 100), (8, T + 200), (9, T + 200), (20, T + 300)),
    "lab": ((12, T + 250), (30, T + 400)),
    "deep": ((13, T + 260), (40, T + 500)),
}

#: Branch → its parent, and the parent's number where it was forked.
FORKS: dict[str, tuple[str | None, int]] = {"main": (None, 0), "lab": ("main", 9), "deep": ("lab", 12)}


def memory_row(id: str, time: int | None = None) -> tuple[Any, ...]:
    """The encoded row of a memory that has nothing but an id and times."""
    empty = {"value": "null", "tags": (), "time": time}
    cells = [id if c.name == "id" else empty.get(c.kind) for c in TABLES["memories"].columns]
    cells[TABLES["memories"].position["expires_at"]] = None
    return tuple(cells)


def made_up() -> Iterator[HistoryEvent]:
    """The history of `COMMITS` and `FORKS`: each commit adds one memory with the id of the commit."""
    before: dict[str, list[str]] = {}
    for branch, commits in COMMITS.items():
        parent, fork = FORKS[branch]
        head = Point(f"id-{branch}", commits[-1][0], f"{branch}-{commits[-1][0]}", commits[-1][1])
        yield Branch(f"id-{branch}", branch, None if parent is None else f"id-{parent}", fork, head)
        before[branch] = [] if parent is None else [f"{parent}-{fork}"]
        for seq, time in commits:
            id = f"{branch}-{seq}"
            commit = Commit(id, f"id-{branch}", seq, time, parents=tuple(before[branch]))
            yield ChangeBatch(commit, (Change("memories", (id,), memory_row(id, time)),))
            before[branch] = [id]


def lineage(branch: str) -> list[tuple[str, int, int]]:
    """The commits that a branch of the made-up history shows, oldest first: id, sequence number, time."""
    parent, fork = FORKS[branch]
    inherited = [] if parent is None else [commit for commit in lineage(parent) if commit[1] <= fork]
    return inherited + [(f"{branch}-{seq}", seq, time) for seq, time in COMMITS[branch]]


def check_place(store: Store, ref: str, expected: list[str]) -> None:
    """A ref resolves to the last of some commits, and shows the rows of all of them, and of no other."""
    view = store.at(ref)
    equal(view.point.commit, expected[-1] if expected else None, f"the commit that {ref} resolves to")
    equal(ids(view), sorted(expected), f"the memories at {ref}")
    equal(view.memories.count(), len(expected), f"the number of memories at {ref}")


@check("RE-001", "RE-005", "RE-006", level="branches")
def numbers_in_gaps_past_heads_and_before_forks(case: Case) -> None:
    """A number in a gap means the commit before it, one past the head the head, one before a fork the parent."""
    store = case.store()
    store.ingest(made_up())
    for branch in COMMITS:
        for seq in (*range(16), 19, 20, 21, 29, 30, 31, 39, 40, 41, 10**6, 10**18 - 1):
            expected = [id for id, number, _ in lineage(branch) if number <= seq]
            check_place(store, f"{branch}@{seq}", expected)


@check("RE-001", "RE-006", "RE-007", level="branches")
def times_between_at_and_before_commits(case: Case) -> None:
    """A time means the last commit at or before it on the branch's own line, to the microsecond."""
    store = case.store()
    store.ingest(made_up())
    edges = {time + step for branch in COMMITS for _, _, time in lineage(branch) for step in (-1, 0, 1)}
    for branch in COMMITS:
        for time in sorted({0, T, T + 10**9, *edges}):
            expected = [id for id, _, at in lineage(branch) if at <= time]
            check_place(store, f"{branch}@{format_time(time)}", expected)


@check("RE-001", level="branches")
def a_time_may_be_written_in_any_zone(case: Case) -> None:
    """A time counts as the moment that it is, in whatever zone and with however many digits it is written."""
    store = case.store()
    store.ingest(made_up())
    # T is 2025-06-15T15:06:40Z, and the first commit was 100 microseconds later.
    first = ["main-5"]
    for time, expected in {
        "2025-06-15T15:06:40.000100Z": first,
        "2025-06-15T17:06:40.000100+02:00": first,
        "2025-06-15T09:36:40.000100-05:30": first,
        "2025-06-15T15:06:40.000099Z": [],
        "2025-06-15T16:06:40.000100+02:00": [],
        "2025-06-15T15:06:40Z": [],
        "2025-06-15T15:06Z": [],
        "2025-06-15T15:06:40.000199+00:00": first,
    }.items():
        check_place(store, f"main@{time}", expected)


@check("RE-001", level="branches")
def a_commit_is_named_by_its_id(case: Case) -> None:
    """The id of a commit names the state after it, whichever branch it is on and whatever came later."""
    store = case.store()
    store.ingest(made_up())
    for branch in COMMITS:
        line = [id for id, _, _ in lineage(branch)]
        for place, id in enumerate(line):
            check_place(store, f"@{id}", line[: place + 1])


@check("RE-001", "RE-005", "RE-006", level="branches")
def places_of_commits_as_they_were_made(case: Case) -> None:
    """Each commit that a store makes is found by id, by number and by time from every branch that descends from it."""
    store, hooks = case.store(), case.hooks()
    time = now_us() + 3_600 * SECOND
    lines: dict[str, list[Commit]] = {"main": []}
    for step, (branch, parent) in enumerate(
        (
            ("main", ""),
            ("main", ""),
            ("lab", "main"),
            ("main", ""),
            ("deep", "lab"),
            ("lab", ""),
            ("deep", ""),
        )
    ):
        if parent:
            store.branches.create(branch, parent)
            lines[branch] = list(lines[parent])
        time += 10 * SECOND
        row = memory_row(f"m{step}", time)
        request = CommitRequest(branch, f"c{step}", [Put("memories", [row])], time=time)
        commit = hooks.commit(ctx=case.ctx, request=request).commit
        time = commit.time
        lines[branch].append(commit)
    for branch, line in lines.items():
        for place, commit in enumerate(line):
            expected = [f"m{c.id[1:]}" for c in line[: place + 1]]
            for moment in (commit.time, commit.time + SECOND):
                found = store.at(Ref(branch, time=moment))
                equal(
                    found.point.commit, commit.id, f"{branch} at {moment - commit.time} µs after {commit.id}"
                )
                equal(ids(found), expected, f"{branch} at {moment - commit.time} µs after {commit.id}")
            for ref in (f"@{commit.id}", f"{branch}@{commit.seq}"):
                equal(ids(store.at(ref)), expected, f"the memories at {ref}")


@check("RE-001", "RE-007")
def before_the_first_commit_there_is_nothing(case: Case) -> None:
    """A root branch at number 0, or at a time before its first commit, is the empty store."""
    store = case.store()
    store.spaces.create("s", 1)
    for filled in (False, True):
        if filled:
            with store.batch() as batch:
                batch.memories.put(Memory(id="a"))
                batch.states.put(State(kind="k", id="x", payload=b"bytes"))
                batch.vectors.put({"space": "s", "id": "v", "values": [1.0]})
        for ref in ("main@0", "main@1970-01-01T00:00Z", "main@0001-01-01T00:00:00Z"):
            view = store.at(ref)
            equal((view.point.seq, view.point.commit), (0, None), f"the place of {ref}")
            counts = {name: view.table(name).count() for name in TABLES}
            equal(counts, dict.fromkeys(TABLES, 0), f"the rows at {ref}")
            equal(view.vectors.search([1.0], space="s", exact=True), [], f"what a search finds at {ref}")
            equal(list(store.log(ref)), [], f"the log of {ref}")


@check("RE-001", "RE-009", level="branches")
def a_read_at_a_ref_is_a_read_at_its_point(case: Case) -> None:
    """Each way of reading gives the same at a ref as at the point that it resolves to."""
    store, hooks, ctx = case.store(), case.hooks(), case.ctx
    store.ingest(made_up())
    store.checkpoints.create("mark", "lab@12")
    refs = [Ref(n) for n in ("main", "lab", "deep", "mark")]
    refs += [Ref(n, seq=s) for n in COMMITS for s in (0, 8, 9, 11, 13, 99)]
    refs += [Ref(n, time=T + s) for n in COMMITS for s in (0, 100, 255, 300, 999)]
    refs += [Ref("", commit=c) for c in ("main-9", "main-20", "lab-12", "deep-13")]
    keys = [(id,) for branch in COMMITS for id, _, _ in lineage(branch)]
    for ref in refs:
        point = hooks.resolve(ctx=ctx, ref=ref)
        found = []
        for at in (ref, point):
            rows = list(hooks.select(ctx=ctx, query=Query("memories"), at=at))
            batches = hooks.scan(ctx=ctx, query=Query("memories"), at=at)
            scanned = [id for batch in batches for id in batch.column("id").to_pylist()]
            fetched = hooks.fetch(ctx=ctx, table="memories", keys=keys, at=at)
            versions = hooks.versions(ctx=ctx, table="memories", keys=keys, at=at)
            count = hooks.count(ctx=ctx, table="memories", where=None, at=at)
            stats = hooks.stats(ctx=ctx, at=at).rows["memories"]
            found.append((rows, scanned, fetched, versions, count, stats))
        equal(found[0], found[1], f"reads at {ref} and at its point")
        rows, scanned, fetched, versions, count, stats = found[0]
        here = [row[0] for row in rows]
        expected = [key[0] if key[0] in here else None for key in keys]
        equal((scanned, count, stats), (here, len(here), len(here)), f"a scan and counts at {ref}")
        equal([row and row[0] for row in fetched], expected, f"rows by key at {ref}")
        equal(versions, expected, f"the versions of rows at {ref}")


@check("RE-009", level="branches")
def a_point_reads_the_same_for_ever(case: Case) -> None:
    """What is changed, deleted, added, forked or merged later does not change what a point reads."""
    store = case.store()
    store.spaces.create("s", 1)
    with store.batch(commit_id="c1") as batch:
        batch.memories.put([Memory(id="a", title="old"), Memory(id="b", title="old"), Memory(id="c")])
        batch.vectors.put([{"space": "s", "id": id, "values": [1.0]} for id in "ab"])
        batch.states.put(State(kind="k", id="x", payload=b"old"))
    view = store.snapshot()
    refs = ("@c1", f"main@{view.point.seq}", Ref("main", time=view.point.time), view.point)

    def read(at: Any) -> Any:
        rows = [(m.id, m.title, at.memories.version(m.id)) for m in at.memories.scan()]
        hits = [hit.record.id for hit in at.vectors.search([1.0], space="s", exact=True)]
        return rows, at.memories.count(), hits, at.states[("k", "x")].payload

    first = read(view)

    def compare(after: str) -> None:
        for ref in refs:
            where = "the snapshot" if ref == view.point else ref
            equal(
                read(view if ref == view.point else store.at(ref)), first, f"reads at {where} after {after}"
            )

    time = view.point.time + SECOND  # later than the point, so that its time names it alone
    hooks = case.hooks()
    request = CommitRequest("main", "c2", [Put("memories", [memory_row("d")])], time=time)
    hooks.commit(ctx=case.ctx, request=request)
    compare("an addition")
    with store.batch() as batch:
        batch.memories.put(Memory(id="a", title="new"))
        batch.memories.delete("b")
        batch.vectors.delete(("s", "a"))
        batch.vectors.put({"space": "s", "id": "c", "values": [1.0]})
        batch.states.put(State(kind="k", id="x", payload=b"new"))
    compare("changes and deletions")
    store.branch("lab").memories.put(Memory(id="e"))
    store.memories.delete(["a", "c", "d"])
    store.merge("lab")
    compare("a fork and a merge")


@check("RE-008", "RE-009", level="branches", needs=("compact",))
def a_dropped_point_is_refused_and_never_wrong(case: Case) -> None:
    """After a compaction a past point reads as it did, or is refused as expired; heads and pins are there."""
    store = case.store()
    for number in range(8):
        with store.batch(commit_id=f"c{number}") as batch:
            batch.memories.put([Memory(id=f"m{number}"), Memory(id="hot", tier=number)])
            batch.memories.delete(f"m{number - 3}")
        if number == 4:
            store.branches.create("lab")
    store.checkpoints.create("mark", "@c2")
    seqs = {commit.id: commit.seq for commit in store.log()}
    store.compact(keep=2, lease=timedelta(0))
    (main,) = [branch for branch in store.branches.list() if branch.name == "main"]
    for number in range(8):
        expected = sorted([f"m{n}" for n in range(max(0, number - 2), number + 1)] + ["hot"])
        for ref in (f"@c{number}", f"main@{seqs[f'c{number}']}"):
            try:
                view = store.at(ref)
                found = (ids(view), view.memories["hot"].tier)
            except NotFound as error:
                known = isinstance(error, HistoryExpired) or ref.startswith("@")
                holds(known, f"a dropped number is refused as expired ({ref})", error)
                what = f"a point below the floor is expired, at or above it not ({ref}, floor {main.floor})"
                holds(seqs[f"c{number}"] < main.floor, what)
                holds(number not in (2, 4), f"a point that is pinned or forked from is kept ({ref})")
            else:
                equal(found, (expected, number), f"the memories at {ref} after the compaction")
    for ref, number in (("main", 7), ("mark", 2), ("lab", 4)):
        equal(store.at(ref).memories["hot"].tier, number, f"the row at {ref} after the compaction")
