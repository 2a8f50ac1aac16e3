"""Several handles in one process: what one of them commits, and another one sees."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from perdure import Memory, Store, Unavailable

from perdure_conformance._case import Case
from perdure_conformance._checks import check
from perdure_conformance._target import Place
from perdure_conformance.clauses import _seeing as seeing
from perdure_conformance.concurrency import Recorder, Team, explained, trials
from perdure_conformance.expect import equal

#: How many rows are written until somebody closes the handle, at most.
MANY = 200


@check("CO-002")
def another_handle_sees_every_commit(case: Case) -> None:
    """A handle that has read sees what another handle commits, in every read."""
    seeing.see_commits(case, seeing.in_thread, seeing.ROWS)


@check("VE-036", level="vectors")
def another_handle_finds_every_vector(case: Case) -> None:
    """A handle that has searched finds what another handle commits."""
    seeing.see_commits(case, seeing.in_thread, seeing.SEARCHES)


@check("BR-010", "VE-004", level="vectors")
def another_handle_sees_what_has_a_name_anew(case: Case) -> None:
    """A handle that has read sees that another one made a new branch, and a new space, of an old name."""
    seeing.renew(case, seeing.in_thread)


@check("CO-011", "DM-064", "DM-050", level="branches")
def another_handle_is_superseded(case: Case) -> None:
    """What a handle computed on an older state is refused once another handle has committed."""
    seeing.refuse_superseded(case, seeing.in_thread)


# ---------------------------------------------------------------------------------- opening and closing


@check("DM-004", kind="race", weight=0.1)
def threads_create_a_namespace_once(case: Case) -> None:
    """Threads that open a new namespace at once get one and the same."""
    trials(case, opened_at_once)


def opened_at_once(case: Case) -> None:
    """Open a new namespace in several threads at once, and write."""
    namespace, start = case.unique(), threading.Barrier(4)
    with ThreadPoolExecutor(4) as threads:
        ids = list(threads.map(partial(open_and_put, case.place, namespace, start), "abcd"))
    with case.store(namespace) as store:
        equal(ids, [store.branches.get("main").id] * 4, "the branch main of each thread")
        equal([memory.id for memory in store.memories.scan()], list("abcd"), "the rows of all threads")


def open_and_put(place: Place, namespace: str, start: threading.Barrier, name: str) -> str:
    """Open a namespace, and write one row; the id of the branch main."""
    start.wait()
    with place.open(namespace) as store:
        store.memories.put(Memory(id=name))
        return store.branches.get("main").id


@check("HK-003", "HK-007", "ER-001", kind="race", weight=0.1)
def a_handle_may_be_closed_under_its_users(case: Case) -> None:
    """Calls in threads while another one closes their handle are done, or are told that it is closed."""
    trials(case, closed_meanwhile, Team(case, "threads"))


def closed_meanwhile(case: Case, team: Team) -> None:
    """Close a handle that others read and write through; what they were promised is there."""
    namespace = case.unique()
    calls = team.run(
        namespace, (put_until_closed, "a"), (put_until_closed, "b"), (scan_until_closed,), (close,)
    )
    with explained(calls), case.store(namespace) as store:
        rows = {memory.id for memory in store.memories.scan()}
        lost = [
            c.arguments[0]
            for c in calls
            if c.name == "put" and c.outcome == "done" and c.arguments[0] not in rows
        ]
        equal(lost, [], "acknowledged rows that are missing")
        equal([str(p) for p in store.verify().problems], [], "what verify finds afterwards")


def put_until_closed(record: Recorder, store: Store, name: str) -> None:
    """Write rows until the handle is closed."""
    for number in range(MANY):
        if record("put", f"{name}{number}", run=partial(put, store, f"{name}{number}")) == "closed":
            return


def put(store: Store, id_: str) -> str:
    """Write one row; what came of it."""
    try:
        store.memories.put(Memory(id=id_))
    except Unavailable:
        return "closed"
    return "done"


def scan_until_closed(record: Recorder, store: Store) -> None:
    """Read all rows until the handle is closed."""
    for _ in range(MANY):
        if record("scan", run=partial(scan, store)) == "closed":
            return


def scan(store: Store) -> str:
    """Read all rows; what came of it."""
    try:
        for _ in store.memories.scan():
            pass
        store.memories.count()
    except Unavailable:
        return "closed"
    return "done"


def close(record: Recorder, store: Store) -> None:
    """Close the handle as soon as others have begun."""
    while not store.memories.count():
        pass
    record("close", run=store.close)
