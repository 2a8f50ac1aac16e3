"""Read counters, which are shared by all branches and have no history; and expiry."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from perdure import TABLES, F, Link, Memory, Store

from perdure_conformance._case import Case
from perdure_conformance._checks import check
from perdure_conformance.clauses._field_texts import filled, record
from perdure_conformance.expect import equal, holds, unchanged

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
NOON_US = 1_767_268_800_000_000


def counted(store: Store, key: str) -> tuple[int | None, int]:
    """When a memory was last touched, in microseconds, and how often it was."""
    counter = store.memories.counters(key)
    return counter.accessed_at, counter.access_count


@check("DM-070")
def touch_counts_reads(case: Case) -> None:
    """`touch` adds one to the count of each row and sets when it was, in every table."""
    store = filled(case)
    for table in TABLES:
        collection, key = store.table(table), record(table).key
        counter = collection.counters(key)
        equal((counter.accessed_at, counter.access_count), (None, 0), f"{table}, never touched")
        equal(collection.touch(key, NOON), 1, f"the rows of {table} that were counted")
        equal(collection.touch([key], NOON + HOUR), 1, f"the rows of {table} that were counted again")
        counter = collection.counters(key)
        wanted = (NOON_US + 3_600_000_000, 2)
        equal((counter.accessed_at, counter.access_count), wanted, f"{table}, touched twice")


@check("DM-070")
def touch_leaves_out_absent_rows(case: Case) -> None:
    """`touch` counts only rows that exist on some branch; a key that comes twice is counted once."""
    store = case.store()
    store.memories.put([Memory(id="a"), Memory(id="gone")])
    store.memories.delete("gone")
    equal(store.memories.touch(["a", "never", "gone", "a"], NOON), 1, "the rows that were counted")
    found = [counted(store, key) for key in ("a", "never", "gone")]
    equal(found, [(NOON_US, 1), (None, 0), (None, 0)], "the counters")


@check("DM-070")
def filters_see_read_counters(case: Case) -> None:
    """A filter on `access_count` and `accessed_at` sees what `touch` counted."""
    store = case.store()
    store.memories.put([Memory(id=key) for key in ("a", "b", "c")])
    store.memories.touch(["a", "b"], NOON)
    store.memories.touch("a", NOON + HOUR)
    equal([m.id for m in store.memories.find(F.access_count >= 2)], ["a"], "the rows read twice")
    equal([m.id for m in store.memories.find(F.access_count == 0)], ["c"], "the rows never read")
    equal([m.id for m in store.memories.find(F.accessed_at <= NOON)], ["b"], "the rows last read at noon")


@check("DM-070", "DM-071", level="branches")
def branches_share_read_counters(case: Case) -> None:
    """A read that is counted on one branch is counted on all; a row of any branch counts."""
    store = case.store()
    store.memories.put(Memory(id="a"))
    lab = store.branch("lab")
    lab.memories.put(Memory(id="only-lab"))
    store.memories.delete("a")
    equal(store.memories.touch(["a", "only-lab"], NOON), 2, "the rows that were counted from main")
    equal(lab.memories.touch("a", NOON), 1, "the rows that were counted from the branch")
    for handle in (store, lab):
        found = [counted(handle, key) for key in ("a", "only-lab")]
        equal(found, [(NOON_US, 2), (NOON_US, 1)], f"the counters on {handle.branch_name}")


@check("DM-071")
def touch_is_no_change(case: Case) -> None:
    """`touch` makes no commit and no version, and leaves the row as it was."""
    store = case.store()
    store.memories.put(Memory(id="a", text="t"))
    version = store.memories.version("a")
    with unchanged(store):
        store.memories.touch("a")
    equal(store.memories.version("a"), version, "the version of the row")
    done = store.memories.put(Memory(id="a", text="t"))
    holds(done is not None and done.commit is None, "putting the row again is no change", done)


@check("DM-071", level="branches")
def merges_and_reverts_leave_read_counters(case: Case) -> None:
    """Neither a merge nor a revert changes a read counter."""
    store = case.store()
    store.memories.put(Memory(id="a"))
    lab = store.branch("lab")
    done = lab.memories.put(Memory(id="a", text="lab"))
    store.memories.touch("a", NOON)
    lab.memories.touch("a", NOON + HOUR)
    before = counted(store, "a")
    store.merge("lab")
    holds(done is not None and done.commit is not None, "the put made a commit", done)
    lab.revert(done.commit.id)  # type: ignore[union-attr]
    equal(counted(store, "a"), before, "the counter after a merge and a revert")


@check("DM-072")
def counters_survive_a_deletion(case: Case) -> None:
    """Deleting a row leaves its counters; written again, it goes on from them."""
    store = case.store()
    store.memories.put(Memory(id="a"))
    store.memories.touch("a", NOON)
    store.memories.delete("a")
    equal(counted(store, "a"), (NOON_US, 1), "the counter of a deleted row")
    store.memories.put(Memory(id="a"))
    store.memories.touch("a", NOON + HOUR)
    equal(counted(store, "a"), (NOON_US + 3_600_000_000, 2), "the counter of the row that came back")


@check("DM-072", needs=("purge",))
def a_purge_erases_counters(case: Case) -> None:
    """Purging a row erases its counters and no others; written again, it starts anew."""
    store = case.store()
    store.memories.put([Memory(id="a"), Memory(id="b")])
    store.memories.touch(["a", "b"], NOON)
    store.memories.purge("a")
    equal([counted(store, key) for key in ("a", "b")], [(None, 0), (NOON_US, 1)], "the counters")
    store.memories.put(Memory(id="a"))
    equal(counted(store, "a"), (None, 0), "the counter of the row that was written again")


@check("DM-073")
def no_read_hides_what_has_expired(case: Case) -> None:
    """Rows whose `expires_at` is past are read, found, counted and scanned like all others."""
    store = case.store()
    store.memories.put([Memory(id="past", expires_at=NOON), Memory(id="never")])
    holds(store.memories.get("past"), "an expired row is read by its key")
    found = [m.id for m in store.memories.find()]
    equal((found, store.memories.count()), (["never", "past"], 2), "the rows that are found, and counted")


@check("DM-073")
def expire_deletes_in_one_commit(case: Case) -> None:
    """`expire(now)` deletes the memories that expire at or before `now`, in one commit, and nothing else."""
    store = case.store()
    moments = {"before": NOON - HOUR, "at": NOON, "after": NOON + timedelta(microseconds=1), "never": None}
    store.memories.put([Memory(id=key, expires_at=moment) for key, moment in moments.items()])
    store.links.put(Link(id="l", source="at", target="never"))
    commits = len(list(store.log()))
    done = store.expire(NOON)
    equal(done and done.deleted, 2, "the rows that were deleted")
    equal([m.id for m in store.memories.scan()], ["after", "never"], "the rows that are left")
    equal((len(list(store.log())) - commits, store.links.count()), (1, 1), "the commits made, and links left")
    with unchanged(store):
        holds(store.expire(NOON) is None, "nothing is left to expire")
