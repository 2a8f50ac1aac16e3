"""What writers race for; the checks of threads and of processes share it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from random import Random

from perdure import ABSENT, Memory, Options, Skill, Store, Transaction

from perdure_conformance._case import Case
from perdure_conformance.concurrency import Call, Line, Recorder, Stuck, Team, explained, linearize
from perdure_conformance.expect import Violation, equal, holds

__all__ = [
    "WRITERS",
    "add_up",
    "append_all",
    "apply_once",
    "claim_heads",
    "claim_names",
    "claim_versions",
    "count_touches",
    "create_spaces",
    "insert_once",
    "linearizable",
    "merge_meanwhile",
]

#: How many workers race.
WRITERS = 4

#: How often each of them tries.
TURNS = 6

#: Calls of a random history, by how often they are drawn.
CALLS = (
    "read",
    "read",
    "put",
    "insert",
    "update",
    "delete",
    "increment",
    "increment",
    "claim",
    "guard",
    "again",
)
KEYS = ("a", "b", "c")
BRANCHES = ("main", "lab")


# ------------------------------------------------------------------------------- any calls, in any order


def linearizable(case: Case, team: Team) -> None:
    """Random calls on two branches: the order of the sequence numbers explains every outcome."""
    namespace, focus = case.unique(), case.random.choice(CALLS)
    with case.store(namespace) as store:
        done = store.skills.put([Skill(id="a", name="first"), Skill(id="b", name="first")], commit_id="setup")
        holds(done is not None, "a put returns what came of it")
        store.branches.create("lab")
        rows = (("a", ("first", 0, "setup")), ("b", ("first", 0, "setup")))
        seq = done.point.seq if done is not None else 0
        begin = Line("setup", seq, rows, frozenset({("setup", seq)}))
        calls = team.run(namespace, *((perform, script(case.random, focus)) for _ in range(WRITERS)))
        last = Recorder("end")
        for branch in BRANCHES:
            here = store.branch(branch)
            last("read", run=partial(seen, here), where=branch)
            judge_order([c for c in (*calls, *last.calls) if c.where == branch], begin)
            begin = begin.forked()
            judge_log(here, branch, calls)


def script(random: Random, focus: str) -> list[tuple[str, str, str]]:
    """The calls of one worker: where, what and which key. Half of them are alike, so that they meet."""
    return [
        ("main", focus, "a")
        if random.random() < 0.5
        else (random.choice(BRANCHES), random.choice(CALLS), random.choice(KEYS))
        for _ in range(TURNS)
    ]


def perform(record: Recorder, store: Store, steps: list[tuple[str, str, str]]) -> None:
    """Make the calls of a script."""
    stores = {branch: store.branch(branch) for branch in BRANCHES}
    mine: dict[str, str] = {}
    for branch, drawn, key in steps:
        name = "read" if drawn == "again" and branch not in mine else drawn
        id_ = mine[branch] if name == "again" else record.new_id()
        arguments, run = planned(stores[branch], name, id_, key)
        outcome = record(name, *arguments, run=run, where=branch)
        if outcome[0] == "committed":
            mine[branch] = outcome[1]


def planned(store: Store, name: str, id_: str, key: str) -> tuple[tuple[object, ...], Callable[[], object]]:
    """The arguments of a call, for `Line`, and what makes it."""
    skills, options = store.skills, Options(commit_id=id_)
    put = partial(skills.put, Skill(id=key, name=id_), commit_id=id_)
    if name == "read":
        return (), partial(seen, store)
    if name == "again":
        return (id_, key), partial(skills.delete, key, commit_id=id_)
    if name == "delete":
        return (id_, key), partial(skills.delete, key, missing_ok=False, commit_id=id_)
    if name == "increment":
        return (id_, key, 1), partial(skills.increment, key, options, success_count=1)
    if name == "update":
        return (id_, key, id_), partial(skills.update, key, name=id_, options=options)
    if name == "insert":
        return (id_, key, id_), partial(skills.insert, Skill(id=key, name=id_), commit_id=id_)
    if name == "claim":
        head = store.head().commit
        return (id_, key, id_, head), partial(put, expect_head=head)
    if name == "guard":
        version = skills.version(key) or ABSENT
        return (id_, key, id_, version), partial(put, if_version=version)
    return (id_, key, id_), put


def seen(store: Store) -> tuple[object, ...]:
    """The head of a branch and its skills, at one point."""
    snapshot = store.snapshot()
    return (snapshot.point.commit, *((s.id, s.name, s.success_count) for s in snapshot.skills.find()))


def judge_order(calls: list[Call], begin: Line) -> None:
    """The calls on one branch can be put in an order that explains them, in which sequence numbers rise."""
    order = linearize(calls, begin, Line.step)
    if isinstance(order, Stuck):
        with explained(calls):
            left = "; ".join(
                f"{call.worker} {call.name}{call.arguments} → {call.outcome}" for call in order.left
            )
            raise Violation(
                "the order of the calls on one branch",
                "one order, that of the sequence numbers, explains all outcomes",
                f"after {len(order.order)} of {len(calls)} calls the branch is {order.state}, and none of these fits: {left}",
            )


def judge_log(store: Store, where: str, calls: list[Call]) -> None:
    """The log has the acknowledged commits and no others, each after the one before it."""
    with explained(calls):
        made = sorted((c.outcome[2], c.outcome[1]) for c in calls if c.committed and c.where == where)
        log = list(store.log())[::-1]
        equal([(c.seq, c.id) for c in log if c.id != "setup"], made, f"the log of {where}, by number")
        for before, after in pairwise(log):
            equal(after.parents[:1], (before.id,), f"the first parent of {after.id}")
            holds(before.time <= after.time, f"the time of {after.id} is not before that of {before.id}")


# -------------------------------------------------------------------------------------------- counting


def add_up(case: Case, team: Team) -> None:
    """No increment is lost, and none counts twice."""
    namespace = case.unique()
    with case.store(namespace) as store:
        store.skills.put(Skill(id="shared"))
        amounts = [[case.random.randrange(1, 9) for _ in range(TURNS)] for _ in range(WRITERS)]
        calls = team.run(namespace, *((increment, numbers) for numbers in amounts))
        with explained(calls):
            equal(store.skills["shared"].success_count, sum(map(sum, amounts)), "the sum of all increments")
            equal(sum(c.committed for c in calls), WRITERS * TURNS, "acknowledged increments")
            equal(len({c.outcome[2] for c in calls}), WRITERS * TURNS, "sequence numbers of the increments")


def increment(record: Recorder, store: Store, amounts: list[int]) -> None:
    """Add each amount."""
    for amount in amounts:
        options = Options(commit_id=record.new_id())
        record(
            "increment", amount, run=partial(store.skills.increment, "shared", options, success_count=amount)
        )


def append_all(case: Case, team: Team) -> None:
    """Transactions that read a list and write it with one more item lose no item."""
    namespace = case.unique()
    with case.store(namespace) as store:
        store.memories.put(Memory(id="list", content=[]))
        calls = team.run(namespace, *((append,) for _ in range(WRITERS)))
        with explained(calls):
            items = store.memories["list"].content
            equal(sorted(items), sorted(c.arguments[0] for c in calls), "the items that were appended")
            for worker in {c.worker for c in calls}:
                mine = [c.arguments[0] for c in calls if c.worker == worker]
                equal([i for i in items if i in mine], mine, f"the items of {worker}, in its order")


def append(record: Recorder, store: Store) -> None:
    """Append items to a list by reading and writing it."""
    for _ in range(TURNS):
        item = record.new_id()
        work = partial(append_one, item)
        record("append", item, run=partial(store.transact, work, attempts=10_000, commit_id=item))


def append_one(item: str, transaction: Transaction) -> None:
    """The list with one more item."""
    known = transaction.memories["list"].content
    transaction.memories.update("list", content=[*known, item])


def count_touches(case: Case, team: Team) -> None:
    """No touch is lost."""
    namespace = case.unique()
    with case.store(namespace) as store:
        store.memories.put([Memory(id="a"), Memory(id="b")])
        calls = team.run(namespace, *((touch,) for _ in range(WRITERS)))
        with explained(calls):
            for key in ("a", "b"):
                equal(store.memories.counters(key).access_count, WRITERS * TURNS, f"reads counted of {key}")


def touch(record: Recorder, store: Store) -> None:
    """Count reads of two rows."""
    for _ in range(TURNS):
        record("touch", run=partial(store.memories.touch, ["a", "b"]))


# --------------------------------------------------------------------------------------- one is first


def claim_heads(case: Case, team: Team) -> None:
    """Of the writers that expect one head, one commits; the others are refused, and write nothing."""
    namespace = case.unique()
    with case.store(namespace) as store:
        calls = team.run(namespace, *((claim,) for _ in range(WRITERS)))
        judge_chain(store, calls, None, "stale_head")


def claim(record: Recorder, store: Store) -> None:
    """Put a row of one's own at the head that one sees."""
    for _ in range(TURNS):
        id_, head = record.new_id(), store.head().commit
        record(
            "put",
            id_,
            head,
            run=partial(store.memories.put, Memory(id=id_), commit_id=id_, expect_head=head),
        )


def claim_versions(case: Case, team: Team) -> None:
    """Of the writers that expect one version of a row, one commits; the others are refused, and write nothing."""
    namespace = case.unique()
    with case.store(namespace) as store:
        calls = team.run(namespace, *((guard,) for _ in range(WRITERS)))
        store.memories.delete("shared")
        judge_chain(store, calls, ABSENT, "version_conflict")


def guard(record: Recorder, store: Store) -> None:
    """Write a shared row over the version that one sees, and a row of one's own."""
    for _ in range(TURNS):
        id_, version = record.new_id(), store.memories.version("shared") or ABSENT
        record("batch", id_, version, run=partial(guarded, store, id_, version))


def guarded(store: Store, id_: str, version: str) -> object:
    """One batch: the row of one's own first, so that a refusal has something to undo."""
    with store.batch(commit_id=id_) as batch:
        batch.memories.put(Memory(id=id_))
        batch.memories.put(Memory(id="shared", text=id_), if_version=version)
    return batch.result


def judge_chain(store: Store, calls: list[Call], first: str | None, refusal: str) -> None:
    """Each commit expected the one before it; all others were refused, and left no row."""
    with explained(calls):
        won = sorted((c for c in calls if c.committed), key=lambda c: c.outcome[2])
        equal(
            [c.arguments[1] for c in won],
            [first, *(c.arguments[0] for c in won[:-1])],
            "what winners expected",
        )
        equal({c.refused for c in calls if not c.committed} - {refusal}, set(), "what the others were told")
        rows = sorted(memory.id for memory in store.memories.scan())
        equal(rows, sorted(c.arguments[0] for c in won), "the rows, of the winners only")


def insert_once(case: Case, team: Team) -> None:
    """Of those who insert one key, one succeeds; the others are told that it exists."""
    namespace = case.unique()
    with case.store(namespace) as store:
        calls = team.run(namespace, *((insert,) for _ in range(WRITERS)))
        with explained(calls):
            for number in range(TURNS):
                key = f"key-{number}"
                tries = [c for c in calls if c.arguments[1] == key]
                won = [c.arguments[0] for c in tries if c.committed]
                refused = [c.refused for c in tries if not c.committed]
                equal((len(won), refused), (1, ["already_exists"] * (WRITERS - 1)), f"the outcomes for {key}")
                equal(store.memories[key].text, won[0], f"whose row {key} is")


def insert(record: Recorder, store: Store) -> None:
    """Insert the same keys as the others."""
    for number in range(TURNS):
        id_, key = record.new_id(), f"key-{number}"
        record(
            "insert", id_, key, run=partial(store.memories.insert, Memory(id=key, text=id_), commit_id=id_)
        )


def apply_once(case: Case, team: Team) -> None:
    """A commit id that several submit is applied once, and all get the first outcome."""
    namespace = case.unique()
    with case.store(namespace) as store:
        store.skills.put(Skill(id="shared"))
        calls = team.run(namespace, *((submit,) for _ in range(WRITERS)))
        with explained(calls):
            equal(store.skills["shared"].success_count, TURNS, "increments applied")
            rows = sorted(memory.id for memory in store.memories.scan())
            equal(rows, sorted(c.arguments[1] for c in calls if c.committed), "the rows, of the first only")
            for number in range(TURNS):
                told = {(*c.outcome[:3],) for c in calls if c.arguments[0] == f"same-{number}"}
                equal(len(told), 1, f"the answers to same-{number}")


def submit(record: Recorder, store: Store) -> None:
    """Commit under the same ids as the others, each a row of one's own and an increment."""
    for number in range(TURNS):
        row, id_ = record.new_id(), f"same-{number}"
        record("batch", id_, row, run=partial(counted, store, id_, row))


def counted(store: Store, id_: str, row: str) -> object:
    """One batch of a row and an increment."""
    with store.batch(commit_id=id_) as batch:
        batch.memories.put(Memory(id=row))
        batch.skills.increment("shared", success_count=1)
    return batch.result


def claim_names(case: Case, team: Team) -> None:
    """Of those who create branches and checkpoints of one name, one succeeds; the others are told that it exists."""
    namespace = case.unique()
    with case.store(namespace) as store:
        store.memories.put(Memory(id="a"))
        calls = team.run(namespace, *((create, number % 2 == 0) for number in range(WRITERS)))
        with explained(calls):
            for number in range(TURNS):
                tries = [c for c in calls if c.arguments[0] == f"name-{number}"]
                refused = [c.refused for c in tries if c.refused]
                equal(refused, ["already_exists"] * (WRITERS - 1), f"refusals of name-{number}")
            names = [b.name for b in store.branches.list() if b.name != "main"]
            names += [c.name for c in store.checkpoints.list()]
            equal(sorted(names), [f"name-{number}" for number in range(TURNS)], "branches and checkpoints")


def create(record: Recorder, store: Store, fork: bool) -> None:
    """Create branches, or checkpoints, of the same names as the others."""
    for number in range(TURNS):
        make = store.branches.create if fork else store.checkpoints.create
        record("fork" if fork else "checkpoint", f"name-{number}", run=partial(make, f"name-{number}"))


def create_spaces(case: Case, team: Team) -> None:
    """Those who create a space as the first did get that one; those who define it otherwise are refused."""
    namespace = case.unique()
    with case.store(namespace) as store:
        calls = team.run(namespace, *((define, 2 + number % 2) for number in range(WRITERS)))
        with explained(calls):
            for number in range(TURNS):
                space = store.spaces.get(f"space-{number}")
                for call in (c for c in calls if c.arguments[0] == space.name):
                    same = call.arguments[1] == space.dim
                    wanted = (space.dim, space.created_at) if same else ("refused", "already_exists")
                    equal(call.outcome, wanted, f"what {call.worker} got for {space.name}")


def define(record: Recorder, store: Store, dim: int) -> None:
    """Create spaces of the same names as the others."""
    for number in range(TURNS):
        record("create", f"space-{number}", dim, run=partial(defined, store, f"space-{number}", dim))


def defined(store: Store, name: str, dim: int) -> tuple[int, int]:
    """Create a space; what says which one it is."""
    space = store.spaces.create(name, dim)
    return space.dim, space.created_at


# ------------------------------------------------------------------------------------------- merging


def merge_meanwhile(case: Case, team: Team) -> None:
    """A merge loses nothing of what is committed on its target meanwhile, and brings all of its source."""
    namespace = case.unique()
    with case.store(namespace) as store:
        store.skills.put(Skill(id="shared"))
        store.branches.create("lab")
        calls = team.run(namespace, (merge,), *((increment, [1] * TURNS) for _ in range(2)))
        with explained(calls):
            merges = sum(c.name == "merge" and not c.refused for c in calls)
            equal(merges, TURNS, "merges that came through")
            equal(store.skills["shared"].success_count, 3 * TURNS, "increments on both branches together")
            rows = [memory.id for memory in store.memories.scan()]
            equal(rows, sorted(f"lab-{number}" for number in range(TURNS)), "the rows from the branch")
            log = list(store.log())[::-1]
            for before, after in pairwise(log):
                equal(after.parents[:1], (before.id,), f"the first parent of {after.id}")


def merge(record: Recorder, store: Store) -> None:
    """Commit on a branch and merge it, time and again."""
    lab = store.branch("lab")
    for number in range(TURNS):
        with lab.batch() as batch:
            batch.skills.increment("shared", success_count=1)
            batch.memories.put(Memory(id=f"lab-{number}"))
        while record("merge", number, run=partial(merged, store)) == ("refused", "stale_head"):
            pass


def merged(store: Store) -> str:
    """Merge the branch; the id of the merge commit."""
    result = store.merge("lab", strategy="field")
    return result.commit.id if result.commit is not None else "nothing"
