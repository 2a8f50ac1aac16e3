"""The feed of changes: every commit once, resumable anywhere."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from perdure import (
    FeedItem,
    HistoryExpired,
    InvalidInput,
    Memory,
    PerdureError,
    State,
    Store,
)

from perdure_conformance._case import Case
from perdure_conformance._checks import check
from perdure_conformance.expect import equal, holds, refused

#: How long a feed that follows may take to notice a commit, in seconds; nothing waits so long but a failure.
PATIENCE = 30.0

#: Rows of a commit that engines may hand on in several batches.
LARGE = 2_500


def commits_in(items: Sequence[FeedItem]) -> list[str]:
    """The ids of the commits that some items complete, in order."""
    return [item.batch.commit.id for item in items if item.batch is not None and item.batch.final]


def branched(store: Store, large: int = 3) -> dict[str, list[str]]:
    """A history on four branches, with a merge and one commit of many rows; branch → its own commits."""
    store.spaces.create("s", 1)
    with store.batch(commit_id="m0") as batch:
        batch.memories.put([Memory(id="b"), Memory(id="a")])
        batch.states.put(State(kind="k", id="x", payload=b"bytes"))
        batch.vectors.put({"space": "s", "id": "v", "values": [1.0]})
    lab = store.branch("lab")
    store.memories.delete("a", commit_id="m1")
    lab.memories.put(Memory(id="a", title="lab"), commit_id="l0")
    lab.memories.put([Memory(id=f"big{number:04}") for number in range(large)], commit_id="big")
    deep = lab.branch("deep")
    deep.memories.delete("b", commit_id="d0")
    store.merge("deep", commit_id="m2", strategy="theirs")
    lab.skills.put({"id": "k"}, commit_id="l2")
    store.branches.create("idle", "@m1")
    return {"main": ["m0", "m1", "m2"], "lab": ["l0", "big", "l2"], "deep": ["d0"], "idle": []}


@check("CO-040", "CO-041", level="branches")
def the_feed_has_every_commit_once(case: Case) -> None:
    """A feed from the beginning has each commit of each branch once, along a branch in the order of its numbers."""
    store = case.store()
    own = branched(store)
    items = list(store.changes())
    found = commits_in(items)
    equal(sorted(found), sorted(id for ids in own.values() for id in ids), "the commits in the feed")
    batches = [item.batch for item in items if item.batch is not None]
    for branch in store.branches.list():
        here = [batch.commit for batch in batches if batch.commit.branch == branch.id and batch.final]
        equal([c.id for c in here], own[branch.name], f"the commits of {branch.name} in the feed")
        numbers = [commit.seq for commit in here]
        equal(numbers, sorted(set(numbers)), f"the numbers of {branch.name} in the feed")
    logged = {commit.id: commit for name in own for commit in store.log(name)}
    for batch in batches:
        equal(batch.commit, logged[batch.commit.id], "a commit in the feed, as in the log")


@check("CO-040", level="branches")
def the_feed_has_what_each_commit_left(case: Case) -> None:
    """A commit in the feed has the rows that it left, deletions too, by table and key, each once and no others."""
    store = case.store()
    own = branched(store, LARGE)
    changes: dict[str, list[Any]] = {}
    for item in store.changes():
        if item.batch is not None:
            changes.setdefault(item.batch.commit.id, []).extend(item.batch.changes)
    parents = {commit.id: commit.parents for name in own for commit in store.log(name)}
    for id, rows in changes.items():
        before = f"@{parents[id][0]}" if parents[id] else "main@0"
        expected = [(d.table, d.key, d.after) for d in store.diff(before, f"@{id}")]
        equal([(c.table, c.key, c.row) for c in rows], expected, f"what {id} left, in order")
    found = {id: [(c.table, c.key, c.row is None) for c in rows] for id, rows in changes.items()}
    equal(found["m1"], [("memories", ("a",), True)], "what a deletion changed")
    equal(found["d0"], [("memories", ("b",), True)], "what a deletion on a deep branch changed")
    equal(len(found["big"]), LARGE, "how many rows a large commit changed")


@check("CO-042", "CO-043", level="branches")
def the_feed_goes_on_from_any_item(case: Case) -> None:
    """A feed that is resumed at an item goes on with the first commit that was not complete there."""
    store = case.store()
    branched(store, LARGE)
    items = list(store.changes())
    for place, item in enumerate(items):
        left = items[place + 1 :]
        if item.batch is not None and not item.batch.final:
            id = item.batch.commit.id
            left = [i for i in items if i.batch is not None and i.batch.commit.id == id] + [
                i for i in left if i.batch is None or i.batch.commit.id != id
            ]
        resumed = list(store.changes(item.cursor))
        expected = sorted(commits_in(left))
        equal(sorted(commits_in(resumed)), expected, f"the commits after item {place} of {len(items)}")
        rows = sum(len(i.batch.changes) for i in resumed if i.batch is not None)
        wanted = sum(len(i.batch.changes) for i in left if i.batch is not None)
        equal(rows, wanted, f"how many changes come after item {place} of {len(items)}")
    equal(list(store.changes(items[-1].cursor)), [], "what comes after the last item")


@check("CO-042", level="branches")
def a_cursor_without_a_branch_starts_at_its_fork(case: Case) -> None:
    """A branch that is not in the cursor is fed from its fork, a root from 0; what is in it, after its number."""
    store = case.store()
    own = branched(store)
    branches = {branch.name: branch for branch in store.branches.list()}
    heads = {branch.id: branch.head.seq for branch in branches.values()}
    equal(commits_in(list(store.changes(heads))), [], "what comes after all heads")
    for name, branch in branches.items():
        cursor = {id: seq for id, seq in heads.items() if id != branch.id}
        equal(commits_in(list(store.changes(cursor))), own[name], f"the feed without {name} in its cursor")
        after = heads | {branch.id: branch.fork_seq}
        equal(commits_in(list(store.changes(after))), own[name], f"the feed with {name} at its fork")
        numbers = {c.id: c.seq for c in store.log(name)}
        for place, id in enumerate(own[name]):
            found = commits_in(list(store.changes(heads | {branch.id: numbers[id]})))
            equal(found, own[name][place + 1 :], f"the feed with {name} at {id}")


@check("CO-044", level="branches")
def branches_come_and_go_in_the_cursor(case: Case) -> None:
    """A branch that came or went since the cursor is seen in the next one, in an item without changes."""
    store = case.store()
    store.memories.put(Memory(id="a"))
    cursor = list(store.changes())[-1].cursor
    main = store.branches.get("main").id
    equal(list(cursor), [main], "the branches in the cursor")
    lab = store.branches.create("lab")
    items = list(store.changes(cursor))
    equal([(item.batch, set(item.cursor)) for item in items], [(None, {main, lab.id})], "items after a fork")
    store.branch("lab").memories.put(Memory(id="b"), commit_id="l0")
    items = list(store.changes(items[-1].cursor))
    equal((commits_in(items), set(items[-1].cursor)), (["l0"], {main, lab.id}), "items after its commit")
    cursor = items[-1].cursor
    store.branches.delete("lab")
    items = list(store.changes(cursor))
    equal([(item.batch, set(item.cursor)) for item in items], [(None, {main})], "items after its deletion")
    again = store.branches.create("lab")
    items = list(store.changes(cursor))
    equal((commits_in(items), set(items[-1].cursor)), ([], {main, again.id}), "items after it was made anew")


@check("CO-040", "CO-044", level="branches")
def a_feed_without_commits_shows_the_branches(case: Case) -> None:
    """The feed of an empty namespace has one item, without changes, whose cursor has the branch main."""
    store = case.store()
    items = list(store.changes())
    (main,) = store.branches.list()
    equal([(item.batch, item.cursor) for item in items], [(None, {main.id: 0})], "the items")
    equal(list(store.changes(items[0].cursor)), [], "what comes after them")


@check("CO-046", level="branches")
def wrong_cursors_are_refused(case: Case) -> None:
    """A cursor ahead of a branch, or that is no map of branch ids to numbers, is refused."""
    store = case.store()
    store.memories.put(Memory(id="a"))
    lab = store.branches.create("lab")
    main = store.branches.get("main")
    wrong: list[Any] = [
        {main.id: main.head.seq + 1},
        {main.id: 2**62},
        {main.id: main.head.seq, lab.id: lab.head.seq + 1},
        {main.id: -1},
        {main.id: True},
        {main.id: 0.0},
        {main.id: "0"},
        {main.id: None},
        {1: 0},
        [main.id],
        main.id,
        7,
    ]
    for cursor in wrong:
        with refused(InvalidInput, what=f"a feed from the cursor {cursor}"):
            list(store.changes(cursor))
    found = commits_in(list(store.changes({"of a branch that is gone": 5, main.id: 0})))
    equal(found, [commit.id for commit in store.log()], "the feed from a cursor with a branch that is gone")


@check("CO-045", level="branches", needs=("compact",))
def a_cursor_below_the_floor_is_refused(case: Case) -> None:
    """After a compaction a feed from below a branch's floor is refused; from its floor on it has all commits."""
    store = case.store()
    for number in range(8):
        store.memories.put(Memory(id="hot", tier=number), commit_id=f"c{number}")
    numbers = {commit.id: commit.seq for commit in store.log()}
    store.compact(keep=3, lease=timedelta(0))
    (main,) = store.branches.list()
    holds(main.floor <= numbers["c5"], "the floor leaves the last three commits readable", main)
    for id, seq in ({"start": 0} | numbers).items():
        expected = [other for other, number in sorted(numbers.items()) if number > seq]
        if seq < main.floor:
            with refused(HistoryExpired, what=f"a feed from {id}, below the floor {main.floor}"):
                list(store.changes({main.id: seq}))
        else:
            found = commits_in(list(store.changes({main.id: seq})))
            equal(found, expected, f"the feed from {id}, with the floor {main.floor}")
    if main.floor > 0:
        with refused(HistoryExpired, what="a feed from the beginning"):
            list(store.changes())


@check("CO-040", "CO-041", level="branches")
def a_feed_that_follows_sees_what_comes(case: Case) -> None:
    """A thread that follows the feed is given each commit that another handle makes, new branches included."""
    store, other = case.store(), case.store()
    store.memories.put(Memory(id="a"), commit_id="c0")
    cursor = list(store.changes())[-1].cursor
    got: list[str] = []
    failures: list[PerdureError] = []

    def wait() -> None:
        try:
            for item in store.changes(cursor, follow=True, poll=0.001):
                got.extend(commits_in([item]))
                if len(got) == 8:
                    return
        except PerdureError as error:
            failures.append(error)

    waiting = threading.Thread(target=wait, daemon=True)
    waiting.start()
    for number in range(1, 5):
        other.memories.put(Memory(id=f"m{number}"), commit_id=f"c{number}")
        other.branch(f"b{number % 2}").memories.put(Memory(id=f"n{number}"), commit_id=f"d{number}")
    waiting.join(PATIENCE)
    equal(
        (sorted(got), failures),
        ([f"{x}{n}" for x in "cd" for n in range(1, 5)], []),
        "what the thread was given",
    )
    for ids in (["c1", "c2", "c3", "c4"], ["d1", "d3"], ["d2", "d4"]):
        equal([id for id in got if id in ids], ids, "the commits of one branch, as they were given")
