"""What commits change: net effects, batches that change nothing, and refusals that leave nothing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from perdure import (
    AlreadyExists,
    Batch,
    CommitRequest,
    InvalidRecord,
    Memory,
    NotFound,
    PerdureError,
    StaleHead,
    State,
    Store,
    VersionConflict,
)

from perdure_conformance._case import Case
from perdure_conformance._checks import check
from perdure_conformance.expect import equal, holds, refused, unchanged

DAY = datetime(2026, 1, 1, tzinfo=UTC)


def filled(store: Store) -> None:
    """Rows in every table, with a space bound to memories and a free one."""
    store.spaces.create("bound", 2, table="memories")
    store.spaces.create("free", 2)
    with store.batch(commit_id="first") as batch:
        batch.memories.put(Memory(id="a", title="old", created_at=DAY, updated_at=DAY), vector=None)
        batch.memories.put(Memory(id="b"))
        batch.vectors.put({"space": "bound", "id": "a", "values": [1.0, 0.0]})
        batch.vectors.put({"space": "free", "id": "v", "values": [0.0, 1.0]})
        batch.links.put({"id": "l", "source": "a", "target": "b"})
        batch.skills.put({"id": "k", "success_count": 2**63 - 1})
        batch.traces.put({"id": "t", "intent": "old"})
        batch.states.put(State(kind="s", id="x", payload=b"old"))


def changed_everywhere(batch: Batch) -> None:
    """New, changed and deleted rows in every table, with a payload and vectors."""
    batch.memories.put([Memory(id="new"), Memory(id="b", title="new")])
    batch.memories.delete("a")
    batch.links.delete("l")
    batch.skills.put({"id": "k2"})
    batch.traces.update("t", intent="new")
    batch.states.put([State(kind="s", id="x", payload=b"new" * 50_000), State(kind="s", id="y")])
    batch.vectors.put({"space": "bound", "id": "b", "values": [0.5, 0.5]})
    batch.vectors.delete(("free", "v"))


#: What makes a batch fail as its last write, and with which error.
FAILURES: dict[str, tuple[type[PerdureError], Callable[[Batch], Any]]] = {
    "an insert of a row that is there": (AlreadyExists, lambda batch: batch.memories.insert(Memory(id="b"))),
    "an insert of a row that the batch put": (
        AlreadyExists,
        lambda batch: batch.memories.insert(Memory(id="new")),
    ),
    "an update of an absent row": (NotFound, lambda batch: batch.traces.update("no", intent="x")),
    "an update of a row that the batch deleted": (
        NotFound,
        lambda batch: batch.memories.update("a", title="x"),
    ),
    "a delete of an absent row": (NotFound, lambda batch: batch.links.delete("no", missing_ok=False)),
    "an increment of an absent row": (NotFound, lambda batch: batch.skills.increment("no", success_count=1)),
    "an increment beyond int64": (
        InvalidRecord,
        lambda batch: batch.skills.increment("k", success_count=1),
    ),
    "another version": (
        VersionConflict,
        lambda batch: batch.states.put(State(kind="s", id="x"), if_version="other"),
    ),
    "a row that should be absent": (
        VersionConflict,
        lambda batch: batch.traces.put({"id": "t"}, if_absent=True),
    ),
    "a vector without its row": (
        InvalidRecord,
        lambda batch: batch.vectors.put({"space": "bound", "id": "no", "values": [1.0, 1.0]}),
    ),
}


@check("CO-001", "CO-013")
def a_refused_batch_leaves_nothing(case: Case) -> None:
    """A batch whose last write is refused changes no table, no history, no head and no payload."""
    store = case.store()
    filled(store)
    for what, (error, fail) in FAILURES.items():
        with (
            unchanged(store),
            refused(error, what=f"a batch that ends with {what}"),
            store.batch(commit_id="bad") as batch,
        ):
            changed_everywhere(batch)
            fail(batch)
        equal(store.head().commit, "first", f"the head after a batch that ended with {what}")
    equal(store.states[("s", "x")].payload, b"old", "the payload after all refused batches")
    with store.batch(commit_id="bad") as batch:
        changed_everywhere(batch)
    holds(
        batch.result and batch.result.commit, "the same batch without the last write is taken", batch.result
    )


@check("CO-013")
def what_fails_first_leaves_nothing_either(case: Case) -> None:
    """A batch whose first write is refused leaves nothing of the writes that follow."""
    store = case.store()
    filled(store)
    for what, (error, fail) in FAILURES.items():
        if "that the batch" in what:
            continue
        with (
            unchanged(store),
            refused(error, what=f"a batch that begins with {what}"),
            store.batch() as batch,
        ):
            fail(batch)
            batch.states.put(State(kind="s", id="later", payload=b"later"))
            batch.memories.put(Memory(id="later"))


@check("CO-013")
def a_refused_reference_leaves_nothing(case: Case) -> None:
    """A batch with a reference to an absent row leaves nothing where references are to be checked."""
    store = case.store()
    filled(store)
    with (
        unchanged(store),
        refused(InvalidRecord, what="a link to an absent memory"),
        store.batch(check_references=True) as batch,
    ):
        batch.memories.put(Memory(id="new"))
        batch.links.put({"id": "l2", "source": "new", "target": "nowhere"})


@check("CO-004", "CO-013")
def the_id_of_a_refused_commit_is_free(case: Case) -> None:
    """A commit that was refused is found nowhere, and its id can be used."""
    store, hooks = case.store(), case.hooks()
    store.memories.put(Memory(id="a"), commit_id="c0")
    with refused(AlreadyExists, what="an insert of a row that is there"):
        store.memories.insert(Memory(id="a"), commit_id="c1")
    with refused(StaleHead, what="a commit on another head"):
        store.memories.put(Memory(id="b"), commit_id="c1", expect_head="nothing")
    equal(hooks.get_commits(ctx=case.ctx, ids=["c1"]), [None], "the refused commit, asked for by id")
    with refused(NotFound, what="the refused commit as a ref"):
        store.at("@c1")
    equal([item.batch.commit.id for item in store.changes() if item.batch], ["c0"], "the commits in the feed")
    done = store.memories.put(Memory(id="b"), commit_id="c1")
    holds(done and done.commit and not done.replayed, "the id of a refused commit can be used", done)
    equal([memory.id for memory in store.memories.scan()], ["a", "b"], "the rows after it was used")


@check("CO-013", level="branches")
def a_commit_on_no_branch_leaves_nothing(case: Case) -> None:
    """A commit on a branch that is not there, or no longer, is refused and makes no branch."""
    store, hooks = case.store(), case.hooks()
    lab = store.branch("lab")
    lab.memories.put(Memory(id="a"))
    store.branches.delete("lab")
    with unchanged(store):
        with refused(NotFound, what="a write on a deleted branch"):
            lab.memories.put(Memory(id="b"))
        with refused(NotFound, what="a commit on a branch that never was"):
            hooks.commit(ctx=case.ctx, request=CommitRequest("never", "c", [], force=True))


@check("CO-012")
def what_changes_no_row_makes_no_commit(case: Case) -> None:
    """A call or a batch without a net effect makes no commit, and leaves the head as it is."""
    store = case.store()
    filled(store)
    same = Memory(id="a", title="old", created_at=DAY, updated_at=DAY)
    calls: dict[str, Callable[[Any], Any]] = {
        "nothing": lambda where: None,
        "no records": lambda where: where.memories.put([]),
        "the same row": lambda where: where.memories.put(same),
        "the same row without times": lambda where: where.memories.put(Memory(id="b")),
        "the same payload": lambda where: where.states.put(State(kind="s", id="x", payload=b"old")),
        "the same vector": lambda where: where.vectors.put(
            {"space": "free", "id": "v", "values": [0.0, 1.0]}
        ),
        "the same field": lambda where: where.traces.update("t", intent="old"),
        "a delete of an absent row": lambda where: where.links.delete(["no", "none"]),
        "an increment by 0": lambda where: where.skills.increment("k", success_count=0),
    }
    for what, call in calls.items():
        with unchanged(store), store.batch(commit_id="idle") as batch:
            call(batch)
        done = batch.result
        told = None if done is None else (done.commit, done.written, done.deleted, done.point, done.replayed)
        equal(told, (None, 0, 0, store.head(), False), f"the outcome of {what}")


def put_delete_put(batch: Batch) -> None:
    """A memory comes, goes and comes back with another title."""
    batch.memories.put(Memory(id="new", title="one"))
    batch.memories.delete("new")
    batch.memories.put(Memory(id="new", title="two"))


def there_and_back(batch: Batch) -> None:
    """A row changes, and changes back."""
    batch.traces.update("t", intent="new")
    batch.traces.update("t", intent="old")


def comes_and_goes(batch: Batch) -> None:
    """A row comes and goes."""
    batch.memories.put(Memory(id="new"))
    batch.memories.delete("new")


def changes_twice(batch: Batch) -> None:
    """A row changes, and goes."""
    batch.memories.update("a", title="new")
    batch.memories.delete("a")


@check("CO-001", "CO-012")
def only_the_net_effect_of_a_batch_counts(case: Case) -> None:
    """What a batch takes back is not written, and what is left is written once."""
    effects: list[tuple[Callable[[Batch], None], tuple[int, int], str | None]] = [
        (put_delete_put, (1, 0), "two"),
        (there_and_back, (0, 0), None),
        (comes_and_goes, (0, 0), None),
        (changes_twice, (0, 2), None),
    ]
    for work, (written, deleted), title in effects:
        with case.new_store() as store:
            filled(store)
            with store.batch(commit_id="net") as batch:
                work(batch)
            done = batch.result
            told = None if done is None else (done.written, done.deleted, done.commit is not None)
            equal(told, (written, deleted, written + deleted > 0), f"the outcome of {work.__doc__}")
            new = store.memories.get("new")
            equal(None if new is None else new.title, title, f"the new memory after {work.__doc__}")
            equal(len(list(store.log())), 1 + (written + deleted > 0), f"the commits after {work.__doc__}")


@check("CO-012")
def a_row_that_comes_back_as_it_was_is_no_change(case: Case) -> None:
    """A row that a batch deletes and writes again, its vector and its times included, makes no commit."""
    store = case.store()
    store.spaces.create("bound", 2, table="memories")
    row = {"id": "a", "title": "old", "created_at": DAY, "updated_at": DAY}
    vector = {
        "space": "bound",
        "id": "a",
        "values": [1.0, 0.0],
        "created_at": DAY,
        "updated_at": DAY,
    }
    with store.batch(commit_id="first") as batch:
        batch.memories.put(row)
        batch.vectors.put(vector)
    with unchanged(store), store.batch(commit_id="second") as batch:
        batch.memories.delete("a")
        batch.memories.put(row)
        batch.vectors.put(vector)
    equal(batch.result.commit if batch.result else "no result", None, "the commit")


@check("CO-012")
def a_commit_can_be_forced(case: Case) -> None:
    """Where the request forces it, a batch that changes no row makes a commit like any other."""
    store, hooks = case.store(), case.hooks()
    store.memories.put(Memory(id="a"), commit_id="c0")
    request = CommitRequest("main", "forced", [], author="me", message="nothing", force=True)
    done = hooks.commit(ctx=case.ctx, request=request)
    holds(done.commit, "a forced commit is made", done)
    equal(
        (done.commit.parents, done.commit.message, done.written), (("c0",), "nothing", 0), "the forced commit"
    )
    equal([commit.id for commit in store.log()], ["forced", "c0"], "the log after it")
    equal(store.head().commit, "forced", "the head after it")
    equal([memory.id for memory in store.memories.scan()], ["a"], "the rows after it")
