"""Commits: ids, numbers, times, parents, authors, and what they wait for."""

from __future__ import annotations

from typing import Any

from perdure import (
    TABLES,
    Commit,
    CommitRequest,
    Memory,
    NotFound,
    Options,
    Put,
    StaleHead,
    State,
    now_us,
)

from perdure_conformance._case import Case
from perdure_conformance._checks import check
from perdure_conformance.clauses._shown import ids
from perdure_conformance.expect import equal, holds, refused, unchanged

SECOND = 1_000_000


def memory_row(id: str) -> tuple[Any, ...]:
    """The encoded row of a memory that has nothing but an id."""
    empty = {"value": "null", "tags": ()}
    return tuple(id if c.name == "id" else empty.get(c.kind) for c in TABLES["memories"].columns)


def committed(case: Case, hooks: Any, id: str, branch: str = "main", **request: Any) -> Commit:
    """Put a memory in a commit of the same id, through the hook, and return the commit."""
    operations = [Put("memories", [memory_row(id)])]
    done = hooks.commit(ctx=case.ctx, request=CommitRequest(branch, id, operations, **request))
    holds(done.commit is not None, f"putting {id} makes a commit", done)
    commit: Commit = done.commit
    return commit


@check("CO-001")
def a_commit_reaches_all_its_tables(case: Case) -> None:
    """A batch over all six tables is one commit, and each of its rows is of that commit."""
    store = case.store()
    store.spaces.create("s", 2)
    with store.batch(message="all", commit_id="all") as batch:
        batch.memories.put(Memory(id="m"))
        batch.links.put({"id": "l", "source": "m", "target": "m"})
        batch.skills.put({"id": "k"})
        batch.traces.put({"id": "t"})
        batch.states.put(State(kind="a", id="b", payload=b"bytes"))
        batch.vectors.put({"space": "s", "id": "v", "values": [1.0, 2.0]})
    keys = {
        "links": "l",
        "memories": "m",
        "skills": "k",
        "states": ("a", "b"),
        "traces": "t",
        "vectors": ("s", "v"),
    }
    found = {name: store.table(name).version(key) for name, key in keys.items()}
    equal(found, dict.fromkeys(keys, "all"), "the version of each row of the batch")
    equal([commit.id for commit in store.log()], ["all"], "the log after one batch")


@check("CO-002")
def a_commit_is_seen_at_once(case: Case) -> None:
    """Whatever is acknowledged is there for the next read, also through a handle that read before."""
    writer, reader = case.store(), case.store()
    for number in range(5):
        equal((len(ids(reader)), reader.memories.count()), (number, number), "the rows before the commit")
        done = writer.memories.put(Memory(id=f"m{number}"), commit_id=f"c{number}")
        for view, who in ((writer, "the writer"), (reader, "another handle")):
            equal(
                view.head(), done.point if done else None, f"the head that {who} sees after commit {number}"
            )
            holds(view.memories.get(f"m{number}"), f"{who} sees the row of commit {number}")
            equal(len(ids(view)), number + 1, f"the rows that {who} sees after commit {number}")
            equal(next(view.log()).id, f"c{number}", f"the newest commit in the log for {who}")


@check("CO-004", "CO-005")
def a_commit_id_counts_once(case: Case) -> None:
    """Submitting a commit id again, with any batch, returns the first outcome and applies nothing."""
    store = case.store()
    first: Any = store.memories.put(Memory(id="a", title="first"), commit_id="once", message="first")
    store.memories.put(Memory(id="b"))
    again: dict[str, Any] = {
        "the same batch": lambda: store.memories.put(Memory(id="a", title="first"), commit_id="once"),
        "another row": lambda: store.memories.put(Memory(id="z"), commit_id="once", message="again"),
        "another field": lambda: store.memories.put(Memory(id="a", title="x"), commit_id="once"),
        "a delete": lambda: store.memories.delete(["a", "b"], commit_id="once"),
        "an insert of what is there": lambda: store.memories.insert(Memory(id="a"), commit_id="once"),
        "an update of what is not": lambda: store.memories.update(
            "zz", title="t", options=Options(commit_id="once")
        ),
        "a head that was right then": lambda: store.memories.put(
            Memory(id="z"), commit_id="once", expect_head=None
        ),
        "nothing": lambda: store.memories.put([], commit_id="once"),
    }
    for what, submit in again.items():
        with unchanged(store):
            done = submit()
        outcome = (done.commit, done.point)
        equal(outcome, (first.commit, first.point), f"the outcome of an id resubmitted with {what}")
        told = (done.replayed, done.written, done.deleted)
        equal(told, (True, 0, 0), f"replayed, written and deleted when resubmitted with {what}")


@check("CO-004", "CO-005", level="branches")
def a_commit_id_counts_once_on_all_branches(case: Case) -> None:
    """A commit id of one branch is replayed on another branch, and by another handle, and applies nothing there."""
    store = case.store()
    lab = store.branch("lab")
    first = lab.memories.put(Memory(id="a"), commit_id="once")
    deep = lab.branch("deep")
    for where, here in (("main", store), ("a child", deep), ("another handle", case.store())):
        with unchanged(store):
            done = here.memories.put(Memory(id="b"), commit_id="once")
        equal(done.commit if done else None, first.commit if first else None, f"what {where} is told")
        holds(done and done.replayed and not done.written, f"on {where} it counts as replayed", done)


@check("CO-005", needs=("persistent",))
def a_commit_id_counts_once_after_reopening(case: Case) -> None:
    """A commit id is known again by a handle that was opened after all others were closed."""
    store = case.store()
    first = store.memories.put(Memory(id="a"), commit_id="once", author="x", message="y")
    store.close()
    store = case.store()
    with unchanged(store):
        done = store.memories.put(Memory(id="b"), commit_id="once")
    equal(done.commit if done else None, first.commit if first else None, "what is told after reopening")


@check("CO-006")
def numbers_of_commits_grow(case: Case) -> None:
    """Each commit has a greater number than the one before, also where refused and empty ones came between."""
    store = case.store()
    last = store.head().seq
    for number in range(6):
        store.memories.delete("absent")
        with refused(StaleHead, what="a commit on another head"):
            store.memories.put(Memory(id="x"), expect_head="another")
        done = store.memories.put(Memory(id=f"m{number}"))
        commit = done.commit if done else None
        holds(commit and commit.seq > last, f"the number of the next commit is above {last}", commit)
        equal(store.head().seq, commit.seq if commit else None, "the number of the head")
        last = store.head().seq


@check("CO-006", level="branches")
def numbers_on_a_fork_are_above_the_fork(case: Case) -> None:
    """The first commit of a fork is above the number of its fork, wherever that is, and later ones above it."""
    store = case.store()
    for number in range(4):
        store.memories.put(Memory(id=f"m{number}"))
    middle = list(store.log())[2]
    for name, at in (("new", "main"), ("old", f"@{middle.id}"), ("bare", "main@0"), ("deep", "old")):
        fork = store.branches.create(name, at)
        here, last = store.branch(name), max(fork.fork_seq, fork.head.seq)
        for number in range(3):
            done = here.memories.put(Memory(id=f"{name}{number}"))
            commit = done.commit if done else None
            holds(commit and commit.seq > last, f"the next commit of {name} is above {last}", commit)
            last = here.head().seq


@check("CO-009")
def times_never_go_back(case: Case) -> None:
    """No commit is earlier than the one before it, nor than the time that its request gives."""
    hooks = case.hooks()
    start = now_us()
    asked = (None, start + 3_600 * SECOND, None, 0, start, start + 7_200 * SECOND, start - SECOND, None)
    before = 0
    for number, time in enumerate(asked):
        commit = committed(case, hooks, f"c{number}", time=time)
        least = max(before, time or 0)
        holds(commit.time >= least, f"the time of commit {number} is at least {least}", commit.time)
        before = commit.time


@check("CO-009", level="branches")
def times_never_go_back_across_a_fork(case: Case) -> None:
    """The first commit of a fork is not earlier than the commit that it was forked from."""
    hooks = case.hooks()
    late = committed(case, hooks, "late", time=now_us() + 3_600 * SECOND)
    case.store().branches.create("lab", "main")
    case.store().branches.create("deep", "lab")
    for name in ("lab", "deep"):
        commit = committed(case, hooks, name, branch=name)
        holds(commit.time >= late.time, f"the first commit of {name} is at least at {late.time}", commit.time)


@check("CO-010")
def the_first_parent_is_the_commit_before(case: Case) -> None:
    """The first commit has no parent, and each other one the commit before it, whatever was refused between."""
    store = case.store()
    before: tuple[str, ...] = ()
    for number in range(4):
        done = store.memories.put(Memory(id=f"m{number}"), commit_id=f"c{number}")
        equal(done.commit.parents if done and done.commit else None, before, f"the parents of c{number}")
        before = (f"c{number}",)
        store.memories.put(Memory(id=f"m{number}"), commit_id=f"same{number}")
        with refused(NotFound, what="an update of an absent row"):
            store.memories.update("absent", title="x")
    equal([c.id for c in store.log()], ["c3", "c2", "c1", "c0"], "the log, newest first")


@check("CO-010", level="branches")
def parents_cross_forks_and_merges(case: Case) -> None:
    """The first parent on a fork is the commit that it was forked from; a merge has the source's commit last."""
    store = case.store()
    store.branches.create("early")
    for number in range(3):
        store.memories.put(Memory(id=f"m{number}"), commit_id=f"c{number}")
    store.branches.create("lab", "@c1")
    store.branches.create("deep", "lab")
    made = {
        "e": store.branch("early").memories.put(Memory(id="e"), commit_id="e"),
        "l": store.branch("lab").memories.put(Memory(id="l"), commit_id="l"),
        "d": store.branch("deep").memories.put(Memory(id="d"), commit_id="d"),
        "m": store.merge("lab", commit_id="m"),
        "d2": store.merge("main", into="deep", commit_id="d2"),
    }
    found = {id: done.commit.parents if done and done.commit else None for id, done in made.items()}
    expected = {"e": (), "l": ("c1",), "d": ("c1",), "m": ("c2", "l"), "d2": ("d", "m")}
    equal(found, expected, "the parents")


@check("CO-015", "CO-010", level="branches")
def the_log_follows_first_parents(case: Case) -> None:
    """The log of any place is the chain of first parents from there, newest first, and ends at its limit."""
    store = case.store()
    for number in range(3):
        store.memories.put(Memory(id=f"m{number}"), commit_id=f"m{number}")
    store.branches.create("lab", "@m1")
    for number in range(2):
        store.branch("lab").memories.put(Memory(id=f"l{number}"), commit_id=f"l{number}")
    store.memories.put(Memory(id="m3"), commit_id="m3")
    store.branches.create("deep", "@l0")
    store.branch("deep").memories.put(Memory(id="d0"), commit_id="d0")
    store.checkpoints.create("mark", "@l1")
    chains = {
        "main": ["m3", "m2", "m1", "m0"],
        "lab": ["l1", "l0", "m1", "m0"],
        "deep": ["d0", "l0", "m1", "m0"],
        "mark": ["l1", "l0", "m1", "m0"],
        "@l0": ["l0", "m1", "m0"],
        "@m0": ["m0"],
        "main@0": [],
    }
    for ref, chain in chains.items():
        for limit in (None, 0, 1, 2, 3, 9):
            found = [commit.id for commit in store.log(ref, limit=limit)]
            equal(found, chain[:limit], f"the log of {ref} with the limit {limit}")


@check("CO-011")
def a_commit_waits_for_the_head_that_it_expects(case: Case) -> None:
    """Only the id of the head's last commit is accepted; none at all stands for a branch without commits."""
    store = case.store()
    with unchanged(store), refused(StaleHead, what="a head where there is none"):
        store.memories.put(Memory(id="a"), expect_head="c0")
    store.memories.put(Memory(id="a"), expect_head=None, commit_id="c0")
    store.memories.put(Memory(id="b"), expect_head="c0", commit_id="c1")
    for stale in (None, "c0", "another", "C1"):
        with unchanged(store), refused(StaleHead, what=f"expecting {stale!r} where the head is 'c1'"):
            store.memories.put(Memory(id="c"), expect_head=stale)
        with (
            unchanged(store),
            refused(StaleHead, what=f"a batch expecting {stale!r}"),
            store.batch(expect_head=stale) as batch,
        ):
            batch.memories.delete("a")
            batch.states.put(State(kind="k", id="s", payload=b"x"))
    store.memories.delete("b", expect_head="c1", commit_id="c2")
    equal(store.head().commit, "c2", "the head at last")


@check("CO-011", level="branches")
def the_head_of_a_fresh_fork_is_its_fork(case: Case) -> None:
    """On a fork without commits the expected head is the commit that it was forked from, or none."""
    store = case.store()
    store.branches.create("bare")
    for number in range(3):
        store.memories.put(Memory(id=f"m{number}"), commit_id=f"c{number}")
    store.branches.create("lab", "@c1")
    store.branches.create("zero", "main@0")
    for name, right in (("bare", None), ("lab", "c1"), ("zero", None)):
        here = store.branch(name)
        for wrong in {None, "c0", "c1", "c2"} - {right}:
            with unchanged(store), refused(StaleHead, what=f"expecting {wrong!r} on {name}"):
                here.memories.put(Memory(id="x"), expect_head=wrong)
        done = here.memories.put(Memory(id="x"), expect_head=right)
        holds(done and done.commit, f"expecting {right!r} on {name} is right", done)


@check("CO-014")
def authors_and_messages_are_kept(case: Case) -> None:
    """A commit has the author and message that it was given; no author, or an empty one, is the principal."""
    store = case.store(principal="somebody")
    texts = ("plain", "", " spaces ", "two\nlines\r\n\ttab", "é e\u0301 😀 \uffff", "'%_\"\\", "x" * 10_000)
    for number, text in enumerate(texts):
        store.memories.put(Memory(id=f"m{number}"), author=text, message=text, commit_id=f"c{number}")
    store.memories.put(Memory(id="plain"), commit_id="plain")
    with store.batch(message="of a batch", commit_id="batch") as batch:
        batch.memories.put(Memory(id="batch"))
    said = {f"c{number}": (text or "somebody", text) for number, text in enumerate(texts)}
    said |= {"plain": ("somebody", ""), "batch": ("somebody", "of a batch")}
    for who, handle in (("the writer", store), ("another handle", case.store())):
        for commit in handle.log():
            what = f"the author and the message of {commit.id} in the log of {who}"
            equal((commit.author, commit.message), said[commit.id], what)


@check("CO-014")
def the_principal_of_the_call_is_the_author(case: Case) -> None:
    """A request that names no author is committed in the name of the call's principal."""
    hooks = case.hooks()
    commit = committed(case, hooks, "unsaid")
    equal((commit.author, commit.message), (case.ctx.principal, ""), "the author and the message")
    commit = committed(case, hooks, "said", author="me", message="because")
    equal((commit.author, commit.message), ("me", "because"), "the author and the message")


@check("CO-004", "CO-014")
def commits_are_found_by_id(case: Case) -> None:
    """Commits asked for by id come as they were made, in the order asked, and nothing for an unknown id."""
    store, hooks = case.store(), case.hooks()
    made = {}
    for number in range(3):
        done = store.memories.put(Memory(id=f"m{number}"), commit_id=f"c{number}", message=f"no {number}")
        made[f"c{number}"] = done.commit if done else None
    asked = ["c2", "missing", "c0", "c2", "C0", "c", "c1"]
    found = hooks.get_commits(ctx=case.ctx, ids=asked)
    equal(found, [made.get(id) for id in asked], f"the commits {asked}")
    equal(hooks.get_commits(ctx=case.ctx, ids=[]), [], "no commits")


@check("CO-015", "CO-006", "CO-010")
def own_commits_are_listed_between_numbers(case: Case) -> None:
    """The log hook gives a branch's own commits above one number and up to another, in the order asked."""
    hooks = case.hooks()
    made = [committed(case, hooks, f"c{number}") for number in range(4)]
    (main,) = hooks.list_branches(ctx=case.ctx)
    limits = [0, *(commit.seq for commit in made), made[-1].seq + 7]
    for after in limits:
        for upto in limits:
            expected = [commit for commit in made if after < commit.seq <= upto]
            for newest in (False, True):
                found = hooks.log(
                    ctx=case.ctx, branch=main.id, after=after, upto=upto, merges=False, newest_first=newest
                )
                what = f"own commits above {after} up to {upto}, newest first: {newest}"
                equal(list(found), expected[::-1] if newest else expected, what)
