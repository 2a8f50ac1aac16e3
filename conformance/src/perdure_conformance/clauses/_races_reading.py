"""What readers see while others write; the checks of threads and of processes share it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from functools import partial

from perdure import Batch, ChangeBatch, F, Link, Memory, Skill, Snapshot, State, Store, Trace, Vector

from perdure_conformance._case import Case
from perdure_conformance.concurrency import Call, Recorder, Team, explained
from perdure_conformance.expect import equal, holds

__all__ = [
    "compacted_meanwhile",
    "exported_meanwhile",
    "followed_meanwhile",
    "forked_meanwhile",
    "purged_meanwhile",
    "whole_batches",
]

#: How many batches a writer writes, and how often a reader looks.
BATCHES, LOOKS = 10, 8

#: How often there is a compaction, which may write the whole store anew.
COMPACTIONS = 3

#: How often the head is looked at, until it moves, before the next event of an export is read.
PATIENCE = 5

#: The memories that each batch writes.
KEYS = ("m0", "m1", "m2")

#: What a reader found, by how it looked: the tokens of the batches that it saw.
Tokens = Mapping[str, object]


# --------------------------------------------------------------------------- batches that carry one token


def prepare(store: Store) -> None:
    """Two spaces, and the batch with the token 0."""
    store.spaces.create("bound", 2, metric="dot", table="memories")
    store.spaces.create("free", 2, metric="dot")
    write_one(store, 0)


def write_one(store: Store, token: int) -> object:
    """One batch that writes its token to rows of all tables; the commit carries it too."""
    with store.batch(commit_id=f"c{token}") as batch:
        fill(batch, token)
    return batch.result


def fill(batch: Batch, token: int) -> None:
    """Rows of all tables that carry one token."""
    text = str(token)
    for key in KEYS:
        batch.memories.put(Memory(id=key, kind=text), vector={"bound": [token, 1]})
    batch.links.put(Link(id="l", source="m0", target="m1", relation=text))
    batch.skills.put(Skill(id="s", name=text))
    batch.traces.put(Trace(id="t", session=text))
    batch.vectors.put(Vector(space="free", id="v", values=[token, 1]))
    batch.states.put(State(kind="k", id="s", metrics=token, payload=b"%d " % token * 20_000))


def write(record: Recorder, store: Store, tokens: list[int]) -> None:
    """Write a batch for each token."""
    for token in tokens:
        record("write", token, run=partial(write_one, store, token))


def tokens_of(worker: int) -> list[int]:
    """The tokens of one writer."""
    return [worker * 1_000 + number for number in range(1, BATCHES + 1)]


def at_one_point(view: Snapshot, payload: bool = True) -> Tokens:
    """All ways to read, at one point: each finds one and the same token.

    A payload is read after its row, so only where the point is sure to last.
    """
    (hit,) = view.vectors.search([1, 0], space="free")
    found = {
        "head": (view.point.commit or "")[1:],
        "get": view.memories["m1"].kind,
        "scan": distinct(memory.kind for memory in view.memories.scan()),
        "arrow": distinct(view.memories.to_arrow(columns=["kind"]).column(0).to_pylist()),
        "versions": distinct((view.memories.version(key) or "")[1:] for key in KEYS),
        "links": view.links["l"].relation,
        "skills": view.skills["s"].name,
        "traces": view.traces["t"].session,
        "states": distinct(view.states.to_arrow(columns=["metrics"]).column(0).to_pylist()),
        "vectors": str(int(hit.score)),
        "search": distinct(
            t for h in view.memories.search([1, 0], space="bound") for t in (h.record.kind, str(int(h.score)))
        ),
    }
    if payload:
        found["payload"] = distinct(b"".join(view.states.open_payload(("k", "s")) or ()).decode().split()[:1])
    counted = view.memories.count(F.kind == found["get"])
    return {**found, "count": found["get"] if counted == len(KEYS) else f"{counted} rows"}


def distinct(tokens: Iterator[str | None] | list[str]) -> object:
    """One token, or all of them where they differ."""
    several = sorted({str(token) for token in tokens})
    return several[0] if len(several) == 1 else several


def look(record: Recorder, store: Store, payload: bool = True) -> None:
    """Look at snapshots."""
    for _ in range(LOOKS):
        record("snapshot", run=lambda: at_one_point(store.snapshot(), payload))


def call(record: Recorder, store: Store) -> None:
    """Read the head with single calls, each of which sees one state."""
    for _ in range(LOOKS):
        for name, read in SINGLE.items():
            record(name, run=partial(read, store))


def pages(store: Store) -> Tokens:
    """The memories in pages of one."""
    page = store.memories.find(limit=1)
    kinds = [memory.kind for memory in page]
    while page.cursor is not None:
        page = store.memories.find(limit=1, after=page.cursor)
        kinds += [memory.kind for memory in page]
    return {"pages": distinct(iter(kinds)), "rows": len(kinds)}


def found(store: Store) -> Tokens:
    """The memories in one query."""
    return {"find": distinct(memory.kind for memory in store.memories.find())}


def fetched(store: Store) -> Tokens:
    """The memories by key."""
    return {"get_many": distinct(m.kind if m else None for m in store.memories.get_many(KEYS))}


def searched(store: Store) -> Tokens:
    """The memories by their vectors, whose scores are their tokens."""
    hits = store.memories.search([1, 0], space="bound")
    return {"search": distinct(t for h in hits for t in (h.record.kind, str(int(h.score))))}


SINGLE: dict[str, Callable[[Store], Tokens]] = {
    "find": found,
    "get_many": fetched,
    "pages": pages,
    "search": searched,
}


def judge_reads(calls: list[Call]) -> None:
    """Each read saw one whole batch, and none older than what was acknowledged, or seen, before it began."""
    with explained(calls):
        number = {str(c.arguments[0]): c.outcome[2] for c in calls if c.name == "write"}
        reads = [(c, token_of(c)) for c in calls if c.name in ("snapshot", *SINGLE) and not c.refused]
        for read, token in reads:
            holds(token == "0" or token in number, f"what {read.name} saw was committed", read.outcome)
        known = [(c.returned, number[str(c.arguments[0])]) for c in calls if c.name == "write"]
        known += [(c.returned, number.get(token, 0)) for c, token in reads]
        for read, token in reads:
            least = max((n for returned, n in known if returned < read.invoked), default=0)
            holds(
                number.get(token, 0) >= least,
                "a read sees what was acknowledged, or read, before it began",
                f"{read.worker} {read.name} saw token {token}, older than sequence number {least}",
            )


def token_of(read: Call) -> str:
    """The one token that a read saw."""
    tokens = {repr(token) for how, token in read.outcome.items() if how != "rows"}
    equal(len(tokens), 1, f"how many batches {read.name} of {read.worker} saw parts of: {read.outcome}")
    equal(read.outcome.get("rows", len(KEYS)), len(KEYS), f"rows that {read.name} of {read.worker} saw")
    token: str = next(iter(read.outcome.values()))
    return token


def whole_batches(case: Case, team: Team) -> None:
    """Readers see whole batches only, and never go back."""
    namespace = case.unique()
    with case.store(namespace) as store:
        prepare(store)
        calls = team.run(namespace, (write, tokens_of(1)), (write, tokens_of(2)), (look,), (call,))
        judge_reads(calls)


# ---------------------------------------------------------------------------------------------- upkeep


def compacted_meanwhile(case: Case, team: Team) -> None:
    """Compaction changes nothing that the head, a checkpoint or a leased point reads, and damages nothing."""
    namespace = case.unique()
    leased = case.random.random() < 0.5
    with case.store(namespace) as store:
        prepare(store)
        store.checkpoints.create("pin")
        pinned = at_one_point(store.at("pin"))
        calls = team.run(namespace, (write, tokens_of(1)), (look, leased), (call,), (compact, leased))
        with explained(calls):
            for read in calls:
                # Where nothing is leased, a point may be gone before all of it was read; a single call has its own.
                if leased or read.name == "get_many" or read.where == "pin":
                    equal(read.refused, None, f"the refusal of {read.name} while there is compaction")
                if read.where == "pin":
                    equal(read.outcome, pinned, "what the checkpoint reads")
            equal(at_one_point(store.at("pin")), pinned, "what the checkpoint reads afterwards")
            equal([str(p) for p in store.verify().problems], [], "what verify finds afterwards")
        judge_reads(calls)


def compact(record: Recorder, store: Store, leased: bool) -> None:
    """Compact time and again, and read a checkpoint."""
    for _ in range(COMPACTIONS):
        lease = timedelta(minutes=15) if leased else timedelta(0)
        record("compact", leased, run=partial(compacted, store, lease))
        record("pin", run=lambda: at_one_point(store.at("pin")), where="pin")


def compacted(store: Store, lease: timedelta) -> str:
    """Compact, keeping the heads and what is leased; the report."""
    return str(store.compact(keep=1, lease=lease))


def purged_meanwhile(case: Case, team: Team) -> None:
    """What was purged is in no read that begins after that; all else is read as before."""
    namespace = case.unique()
    with case.store(namespace) as store:
        prepare(store)
        secrets = [f"x{number}" for number in range(LOOKS)]
        for key in secrets:
            store.memories.put(Memory(id=key, kind="secret"), vector={"bound": [-1, 1]}, commit_id=key)
        jobs = ((write, tokens_of(1)), (purge, secrets), (look_for, secrets), (fetch,))
        calls = team.run(namespace, *jobs)
        judge_reads(calls)
        with explained(calls):
            gone = {c.arguments[0]: c.returned for c in calls if c.name == "purge"}
            for read in (c for c in calls if c.name == "look for"):
                late = sorted(key for key in read.outcome if gone[key] < read.invoked)
                equal(late, [], "purged rows that were read afterwards")
            equal(shown_secrets(store, secrets), [], "purged rows in the end")
            equal([str(p) for p in store.verify().problems], [], "what verify finds afterwards")


def purge(record: Recorder, store: Store, secrets: list[str]) -> None:
    """Purge rows, one after the other."""
    for key in secrets:
        record("purge", key, run=partial(purged, store, key))


def purged(store: Store, key: str) -> str:
    """Purge one row; the report."""
    return str(store.memories.purge([key]))


def look_for(record: Recorder, store: Store, secrets: list[str]) -> None:
    """Look for rows in every way."""
    for _ in range(LOOKS):
        record("look for", run=partial(shown_secrets, store, secrets))


def shown_secrets(store: Store, secrets: list[str]) -> list[str]:
    """Those of the keys that some read shows."""
    shown = {memory.id for memory in store.memories.scan(F.kind == "secret")}
    shown |= {memory.id for memory in store.memories.get_many(secrets) if memory is not None}
    shown |= {hit.record.id for hit in store.memories.search([-1, 0], space="bound", k=20)}
    shown |= {vector.id for vector in store.vectors.scan(F.space == "bound")}
    return sorted(shown & set(secrets))


def fetch(record: Recorder, store: Store) -> None:
    """Read rows by key."""
    for _ in range(LOOKS):
        record("get_many", run=partial(fetched, store))


# ------------------------------------------------------------------------------- forks, feed and export


def forked_meanwhile(case: Case, team: Team) -> None:
    """A fork that is taken while commits are under way reads the same ever after, and so does its log."""
    namespace = case.unique()
    with case.store(namespace) as store:
        prepare(store)
        calls = team.run(namespace, (write, tokens_of(1)), (write, tokens_of(2)), (fork,))
        with explained(calls):
            for first in (c for c in calls if c.name == "fork"):
                equal(
                    len({repr(t) for t in first.outcome[0].values()}),
                    1,
                    "batches that the fork shows parts of",
                )
                equal(forked(store, first.arguments[0]), first.outcome, "the fork, read again")
            log = [commit.id for commit in store.log()][::-1]
            for first in (c for c in calls if c.name == "fork"):
                equal(log[: len(first.outcome[1])], first.outcome[1], "the log up to the fork, read again")


def fork(record: Recorder, store: Store) -> None:
    """Fork, and read the fork at once."""
    for number in range(LOOKS):
        name = f"lab-{number}"
        store.branches.create(name)
        record("fork", name, run=partial(forked, store, name))


def forked(store: Store, name: str) -> tuple[Tokens, list[str]]:
    """What a fork shows, and the commits that lead to it."""
    lab = store.branch(name)
    return at_one_point(lab.snapshot()), [commit.id for commit in lab.log()][::-1]


def followed_meanwhile(case: Case, team: Team) -> None:
    """A feed that is resumed time and again, while others write, has every commit once and in order."""
    namespace = case.unique()
    with case.store(namespace) as store:
        store.branches.create("lab")
        jobs = ((put, "main", 1), (put, "lab", 2), (put, "main", 3))
        calls = team.run(namespace, *jobs, (follow,))
        with explained(calls):
            items = [item for c in calls if c.name == "follow" for item in c.outcome[0]]
            cursor = next(c.outcome[1] for c in reversed(calls) if c.name == "follow")
            items += fed(store, cursor)[0]
            wrote = sorted(c.outcome[1] for c in calls if c.committed)
            equal(sorted(id_ for id_, _, _ in items), wrote, "the commits of the feed")
            for branch in {branch for _, branch, _ in items}:
                numbers = [seq for _, b, seq in items if b == branch]
                equal(numbers, sorted(numbers), "the sequence numbers along a branch")


def put(record: Recorder, store: Store, branch: str, worker: int) -> None:
    """Commit rows of one's own on a branch."""
    here = store.branch(branch)
    for token in tokens_of(worker):
        row = Memory(id=f"r{token}")
        record("put", token, run=partial(here.memories.put, row, commit_id=f"c{token}"), where=branch)


def follow(record: Recorder, store: Store) -> None:
    """Take what is new from the feed, time and again."""
    cursor: Mapping[str, int] | None = None
    for _ in range(LOOKS):
        _, cursor = record("follow", run=partial(fed, store, cursor))


def fed(
    store: Store, cursor: Mapping[str, int] | None
) -> tuple[list[tuple[str, str, int]], Mapping[str, int] | None]:
    """What the feed has after a cursor, each commit with its branch and number, and the cursor after it."""
    items: list[tuple[str, str, int]] = []
    for item in store.changes(cursor):
        cursor = item.cursor
        if item.batch is not None and item.batch.final:
            commit = item.batch.commit
            items.append((commit.id, commit.branch, commit.seq))
    return items, cursor


def exported_meanwhile(case: Case, team: Team) -> None:
    """An export while others write is what the namespace held at one moment."""
    namespace = case.unique()
    with case.store(namespace) as store:
        store.branches.create("lab")
        calls = team.run(namespace, (alternate,), (export,), (export,))
        with explained(calls):
            for made in (c for c in calls if c.name == "export"):
                main, lab = made.outcome
                equal(main, [f"main-{n}" for n in range(len(main))], "the commits of main in an export")
                equal(lab, [f"lab-{n}" for n in range(len(lab))], "the commits of lab in an export")
                ahead = len(main) - len(lab)
                holds(
                    ahead in (0, 1), "main is as far as lab in an export, or one commit further", made.outcome
                )


def alternate(record: Recorder, store: Store) -> None:
    """Commit on one branch and then on the other, time and again."""
    stores = (store, store.branch("lab"))
    for number in range(BATCHES):
        for here in stores:
            id_ = f"{here.branch_name}-{number}"
            record("put", id_, run=partial(here.memories.put, Memory(id=id_), commit_id=id_))


def export(record: Recorder, store: Store) -> None:
    """Export, time and again."""
    for _ in range(LOOKS):
        record("export", run=partial(exported, store))


def exported(store: Store) -> tuple[list[str], list[str]]:
    """The commits of main and of the other branch in an export, which is read while there are others."""
    ids = []
    for event in store.export():
        if isinstance(event, ChangeBatch) and event.final:
            ids.append(event.commit.id)
        head = store.head()
        for _ in range(PATIENCE):
            if store.head() != head:
                break
    return [i for i in ids if i.startswith("main")], [i for i in ids if i.startswith("lab")]
