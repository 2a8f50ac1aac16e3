"""Writes that add to counters, that depend on a row's version, or that have their references checked."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from perdure import (
    ABSENT,
    TABLES,
    InvalidRecord,
    Link,
    Memory,
    NotFound,
    Skill,
    State,
    Trace,
    VersionConflict,
)

from perdure_conformance._case import Case
from perdure_conformance._checks import check
from perdure_conformance.clauses._field_texts import filled, record
from perdure_conformance.expect import equal, refused, unchanged

THEN = datetime(2020, 1, 2, 3, 4, 5, 6, UTC)
LATER = datetime(2021, 1, 1, tzinfo=UTC)
LAST = 2**63 - 1


@check("DM-060")
def only_counters_are_incremented(case: Case) -> None:
    """`increment` of a column that is no counter is refused; counters are added to, downwards too."""
    store = filled(case)
    with unchanged(store):
        for table, definition in TABLES.items():
            for column in definition.columns:
                if not column.counter:
                    amounts: dict[str, Any] = {column.name: 1}
                    with refused(InvalidRecord, what=f"an increment of {table}.{column.name}"):
                        store.table(table).increment(record(table).key, **amounts)
        with refused(InvalidRecord, what="an increment of a counter and of another column"):
            store.skills.increment("a", success_count=1, confidence=1)
    store.skills.increment("a", success_count=3, failure_count=-2)
    store.skills.increment("a", success_count=4)
    got = store.skills["a"]
    equal((got.success_count, got.failure_count), (7, -2), "the counters")


@check("DM-061")
def an_increment_stays_in_int64(case: Case) -> None:
    """An increment of an absent row is `NotFound`; one that leaves 64 bits, or is no int, `InvalidRecord`."""
    store = case.store()
    store.skills.put(Skill(id="s", success_count=LAST, failure_count=-LAST - 1))
    with unchanged(store):
        with refused(NotFound, what="an increment of an absent row"):
            store.skills.increment("never", success_count=1)
        amounts: list[dict[str, Any]] = [{"success_count": 1}, {"failure_count": -1}, {"success_count": LAST}]
        amounts += [{"success_count": bad} for bad in (1.0, "1", None, True, 2**63, -(2**63) - 1, 2**80)]
        for amount in amounts:
            with refused(InvalidRecord, what=f"an increment by {amount}"):
                store.skills.increment("s", **amount)
        with (
            refused(InvalidRecord, what="two increments of which the second goes too far"),
            store.batch() as batch,
        ):
            batch.skills.increment("s", success_count=-1)
            batch.skills.increment("s", success_count=2)
    store.skills.increment("s", success_count=-LAST, failure_count=LAST)
    got = store.skills["s"]
    equal((got.success_count, got.failure_count), (0, -1), "the counters")


@check("DM-060", "DM-061")
def outcomes_are_counted(case: Case) -> None:
    """`record_outcome` adds one to the right counter and sets `last_used_at`; an absent skill is `NotFound`."""
    store = case.store()
    store.skills.put(Skill(id="s", name="n"))
    store.skills.record_outcome("s", success=True, at=THEN)
    store.skills.record_outcome("s", success=False, at=LATER)
    store.skills.record_outcome("s", success=True, at=LATER)
    got = store.skills["s"]
    cells = (got.success_count, got.failure_count, got.last_used_at, got.name)
    equal(cells, (2, 1, LATER, "n"), "the skill after three outcomes")
    with unchanged(store), refused(NotFound, what="an outcome of an absent skill"):
        store.skills.record_outcome("never", success=True)


@check("DM-063")
def the_version_is_the_last_commit(case: Case) -> None:
    """The version of a row is the id of the commit that last wrote it; that of no row is None."""
    store = case.store()
    store.memories.put([Memory(id="a"), Memory(id="b")], commit_id="first")
    store.memories.put(Memory(id="b", text="new"), commit_id="second")
    equal(
        [store.memories.version(key) for key in ("a", "b", "never")],
        ["first", "second", None],
        "the versions",
    )
    store.memories.put(Memory(id="b", text="new"), commit_id="nothing")
    store.memories.delete("a", commit_id="third")
    equal(
        [store.memories.version(key) for key in ("a", "b")], [None, "second"], "the versions after a delete"
    )
    equal(store.at("@first").memories.version("b"), "first", "the version in the past")


@check("DM-063", level="branches")
def a_fork_inherits_versions(case: Case) -> None:
    """A row has the version on a fork that it has at the fork, until the fork writes it."""
    store = case.store()
    store.memories.put(Memory(id="a"), commit_id="first")
    lab = store.branch("lab")
    store.memories.put(Memory(id="a", text="main"), commit_id="on-main")
    equal(lab.memories.version("a"), "first", "the version on the fork")
    lab.memories.update("a", if_version="first", text="lab")
    equal(store.memories.version("a"), "on-main", "the version on main")


@check("DM-064")
def a_write_with_if_version_asks_for_that_version(case: Case) -> None:
    """`if_version` other than the row's version is `VersionConflict`; with it the write is made."""
    store = case.store()
    store.memories.put(Memory(id="a", text="1"), commit_id="first")
    store.memories.put(Memory(id="a", text="2"), commit_id="second")
    writes: dict[str, Callable[[str, str], Any]] = {
        "put": lambda key, version: store.memories.put(Memory(id=key, text="put"), if_version=version),
        "update": lambda key, version: store.memories.update(key, text="update", if_version=version),
        "delete": lambda key, version: store.memories.delete(key, if_version=version),
    }
    with unchanged(store):
        for what, write in writes.items():
            for version in ("first", "never", ABSENT):
                with refused(VersionConflict, what=f"{what} if the version is {version!r}"):
                    write("a", version)
        with refused(VersionConflict, what="put of an absent row if it has a version"):
            writes["put"]("b", "second")
        with refused(VersionConflict, what="delete of an absent row if it has a version"):
            writes["delete"]("b", "second")
    for what, write in writes.items():
        write("a", store.memories.version("a") or "")
        left = store.memories.get("a")
        equal(left and left.text, None if what == "delete" else what, f"the row after {what}")


@check("DM-064")
def the_empty_version_stands_for_no_row(case: Case) -> None:
    """`if_absent`, and the empty `if_version`, ask for there being no row, a deleted one included."""
    store = case.store()
    store.memories.put(Memory(id="a", text="1"), if_absent=True)
    with unchanged(store):
        for words in ({"if_absent": True}, {"if_version": ABSENT}):
            with refused(VersionConflict, what=f"a put of a row that is there with {words}"):
                store.memories.put(Memory(id="a", text="2"), **words)
    store.memories.delete("a")
    store.memories.put(Memory(id="a", text="3"), if_version=ABSENT)
    equal(store.memories["a"].text, "3", "the row")


@check("DM-064")
def the_version_is_that_before_the_batch(case: Case) -> None:
    """In a batch, `if_version` is held against the branch head before the batch, not its own writes."""
    store = case.store()
    store.memories.put(Memory(id="a", text="1"), commit_id="first")
    with store.batch() as batch:
        batch.memories.put(Memory(id="a", text="2"))
        batch.memories.update("a", title="t", if_version="first")
        batch.memories.put(Memory(id="b"))
        batch.memories.put(Memory(id="b", text="b"), if_absent=True)
    got = store.memories["a"]
    equal((got.text, got.title, store.memories["b"].text), ("2", "t", "b"), "the rows after the batch")


@check("DM-065")
def references_to_absent_rows_are_allowed(case: Case) -> None:
    """Rows may refer to rows that are not there, or no longer."""
    store = case.store()
    store.links.put(Link(id="l", source="none", target="nowhere"))
    store.skills.put(Skill(id="s", trace_id="none"))
    store.traces.put(Trace(id="t", skill_id="none", causes=["none"], effects=["nowhere"]))
    store.states.put(State(kind="k", id="x", parents=["none"]))
    store.memories.put(Memory(id="a"))
    store.links.put(Link(id="m", source="a", target="a"))
    store.memories.delete("a")
    equal(store.links.count(), 2, "the links")


@check("DM-065")
def references_are_checked_where_asked(case: Case) -> None:
    """With `check_references`, a reference to an absent row is refused, judged at the end of the batch."""
    store = case.store()
    store.memories.put(Memory(id="a"))
    wrong: dict[str, list[Any]] = {
        "links": [Link(id="l", source="a", target="none"), Link(id="l", source="none", target="a")],
        "skills": [Skill(id="s", trace_id="none")],
        "traces": [Trace(id="t", skill_id="none")],
    }
    with unchanged(store):
        for table, records in wrong.items():
            for given in records:
                with refused(InvalidRecord, what=f"{given!r:.80} with check_references"):
                    store.table(table).put(given, check_references=True)
        gone = "a batch that deletes what it refers to"
        with refused(InvalidRecord, what=gone), store.batch(check_references=True) as batch:
            batch.links.put(Link(id="l", source="a", target="a"))
            batch.memories.delete("a")
    with store.batch(check_references=True) as batch:
        batch.links.put(Link(id="l", source="a", target="b"))
        batch.skills.put(Skill(id="s", trace_id="t"))
        batch.traces.put(Trace(id="t", skill_id="s"))
        batch.memories.put(Memory(id="b"))
    equal(
        (store.links.count(), store.skills.count(), store.traces.count()), (1, 1, 1), "the rows of the batch"
    )
