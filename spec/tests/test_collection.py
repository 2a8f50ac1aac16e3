"""Reading and writing records."""

from datetime import UTC, datetime
from typing import Any

import perdure
import pytest
from perdure import (
    AlreadyExists,
    F,
    InvalidFilter,
    InvalidInput,
    InvalidRecord,
    Link,
    Memory,
    NotFound,
    Skill,
    StaleHead,
    State,
    Store,
    Vector,
    VersionConflict,
)


def test_put_replaces_insert_refuses_update_changes(store: Store) -> None:
    store.memories.put(Memory(id="m", text="one", tags=["a"]))
    store.memories.put(Memory(id="m", text="two"))
    assert store.memories["m"].tags == [], "put replaces the whole row"
    with pytest.raises(AlreadyExists, match="'m'"):
        store.memories.insert([Memory(id="n"), Memory(id="m")])
    assert "n" not in store.memories, "nothing of a refused batch is there"
    store.memories.update("m", importance=0.5)
    assert (store.memories["m"].text, store.memories["m"].importance) == ("two", 0.5)
    with pytest.raises(NotFound, match="'x'"):
        store.memories.update("x", importance=0.5)
    with pytest.raises(InvalidRecord, match="part of the key"):
        store.memories.update("m", id="z")
    with pytest.raises(InvalidRecord, match="no field 'colour'"):
        store.memories.update("m", colour="red")


def test_times_are_the_callers_else_kept_else_the_commits(store: Store) -> None:
    moment = datetime(2020, 1, 1, tzinfo=UTC)
    first = store.memories.put(Memory(id="m", created_at=moment))
    assert first is not None
    assert first.commit is not None
    kept = store.memories["m"]
    assert kept.created_at == moment
    assert perdure.parse_time(kept.updated_at.isoformat()) == first.commit.time
    store.memories.put(Memory(id="m", text="new"))
    assert store.memories["m"].created_at == moment


def test_what_is_the_same_makes_no_version_and_no_commit(store: Store) -> None:
    store.memories.put(Memory(id="m", text="one"))
    head, version = store.head(), store.memories.version("m")
    again = store.memories.put(Memory(id="m", text="one"))
    assert again is not None
    assert again.commit is None
    assert (store.head(), store.memories.version("m")) == (head, version)
    assert store.memories.put([]).commit is None  # type: ignore[union-attr]
    assert store.memories.delete(["x", "y"]).commit is None  # type: ignore[union-attr]


def test_versions_guard_against_others(store: Store) -> None:
    store.memories.put(Memory(id="m"), if_absent=True)
    with pytest.raises(VersionConflict):
        store.memories.put(Memory(id="m", text="mine"), if_absent=True)
    seen = store.memories.version("m")
    store.memories.update("m", text="theirs")
    with pytest.raises(VersionConflict, match="read it again"):
        store.memories.update("m", if_version=seen, text="mine")
    with pytest.raises(VersionConflict):
        store.memories.delete("m", if_version=seen)
    store.memories.update("m", if_version=store.memories.version("m"), text="mine")
    assert store.memories["m"].text == "mine"


def test_a_resubmitted_commit_is_applied_once(store: Store) -> None:
    store.skills.put(Skill(id="s"))
    options = perdure.Options(commit_id="once")
    first = store.skills.increment("s", options, success_count=1)
    second = store.skills.increment("s", options, success_count=1)
    assert first is not None
    assert second is not None
    assert (first.replayed, second.replayed) == (False, True)
    assert second.commit == first.commit
    assert store.skills["s"].success_count == 1


def test_expect_head_is_compare_and_set(store: Store) -> None:
    store.memories.put(Memory(id="a"), expect_head=None)
    with pytest.raises(StaleHead):
        store.memories.put(Memory(id="b"), expect_head=None)
    store.memories.put(Memory(id="b"), expect_head=store.head().commit)
    assert store.memories.count() == 2


def test_counters_cannot_overflow_or_go_elsewhere(store: Store) -> None:
    store.skills.put(Skill(id="s", success_count=2**63 - 1))
    with pytest.raises(InvalidRecord, match="int64"):
        store.skills.increment("s", success_count=1)
    with pytest.raises(InvalidRecord, match="no counter"):
        store.skills.increment("s", confidence=1)
    with pytest.raises(InvalidRecord, match="int"):
        store.skills.increment("s", success_count=1.5)  # type: ignore[arg-type]
    with pytest.raises(NotFound):
        store.skills.increment("x", success_count=1)
    assert store.skills["s"].success_count == 2**63 - 1


def test_pages_show_one_state(store: Store) -> None:
    store.memories.put([Memory(id=f"{i:03}", importance=i % 7) for i in range(100)])
    seen: list[str] = []
    page = store.memories.find(order_by="-importance", limit=30)
    while True:
        seen += [m.id for m in page]
        store.memories.delete(seen[-1])  # does not disturb the pages to come
        if page.cursor is None:
            break
        page = store.memories.find(order_by="-importance", limit=30, after=page.cursor)
    assert seen == [f"{i:03}" for i in sorted(range(100), key=lambda i: (-(i % 7), i))]


def test_a_cursor_belongs_to_its_query(store: Store) -> None:
    store.memories.put([Memory(id=str(i)) for i in range(3)])
    cursor = store.memories.find(limit=2).cursor
    assert cursor is not None
    for call in (
        lambda: store.memories.find(F.kind == "x", limit=2, after=cursor),
        lambda: store.memories.find(order_by="tier", limit=2, after=cursor),
        lambda: store.skills.find(limit=2, after=cursor),
        lambda: store.memories.find(limit=2, after="garbage!"),
        lambda: store.memories.find(limit=2, after="AAAA"),
    ):
        with pytest.raises(InvalidInput, match="cursor"):
            call()


@pytest.mark.parametrize("limit", [-1, 1.5, True, "3"])
def test_malformed_limits(store: Store, limit: Any) -> None:
    with pytest.raises(InvalidInput, match="limit"):
        store.memories.find(limit=limit)


def test_a_filter_must_fit_the_table(store: Store) -> None:
    with pytest.raises(InvalidFilter, match="trigger"):
        store.memories.find(F.trigger == "x")
    with pytest.raises(InvalidFilter):
        store.memories.find({"importance": {"$near": 1}})
    assert store.memories.find({"importance": {"$gt": 0.5}}) == []


def test_keys_of_two_parts(store: Store) -> None:
    store.states.put([State(kind="k", id="a"), State(kind="k", id="b")])
    assert [s.id for s in store.states.get_many([("k", "b"), ("k", "a")]) if s is not None] == ["b", "a"]
    assert store.states.get(("k", "x")) is None
    for key in ("k", ("k",), ("k", "a", "b"), ("k", 1), ("", "a")):
        with pytest.raises(InvalidRecord):
            store.states.get(key)
    store.states.delete(store.states[("k", "a")])
    store.states.delete(("k", "b"))
    assert store.states.count() == 0


def test_chunks_are_commits_of_their_own(store: Store) -> None:
    told: list[int] = []
    store.memories.put((Memory() for _ in range(25)), chunk=10, progress=told.append)
    assert told == [10, 20, 25]
    assert len(list(store.log())) == 3
    assert store.memories.put(store.memories.to_arrow(), chunk=7).written == 0  # type: ignore[union-attr]
    for wrong in ({"chunk": 0}, {"chunk": 5, "commit_id": "x"}):
        with pytest.raises(InvalidInput):
            store.memories.put([Memory()], **wrong)  # type: ignore[arg-type]


def test_a_producer_that_fails_writes_nothing(store: Store) -> None:
    def produce() -> Any:
        yield from (Memory() for _ in range(30_000))
        raise RuntimeError("the source went away")

    with pytest.raises(RuntimeError):
        store.memories.put(produce())
    assert store.memories.count() == 0


def test_vectors_go_with_their_row(store: Store) -> None:
    store.spaces.create("s", 2, model="m1", table="memories")
    with pytest.raises(InvalidRecord, match="does not exist"):
        store.vectors.put(Vector(space="s", id="a", values=[1, 0]))
    with pytest.raises(InvalidRecord, match="model"):
        store.memories.put(Memory(id="a"), vector=[1, 0], model="m2")
    store.memories.put(Memory(id="a"), vector=[1, 0], model="m1")
    store.memories.put(Memory(id="b", kind="x"), vector={"s": [0, 1]})
    assert [(f.record.id, f.score) for f in store.memories.search([1, 0], k=5)] == [("a", 1.0), ("b", 0.0)]
    assert [f.record.id for f in store.memories.search([1, 0], where=F.kind == "x")] == ["b"]
    assert [f.record.id for f in store.vectors.search([1, 0], space="s", k=1)] == ["a"]
    store.memories.update("a", text="changed")
    assert ("s", "a") in store.vectors
    store.memories.delete("a")
    assert ("s", "a") not in store.vectors
    for query in ([1], [1, float("nan")], [0, 0]):
        with pytest.raises(InvalidRecord):
            store.memories.search(query)
    with pytest.raises(InvalidInput, match="k is a whole number"):
        store.memories.search([1, 0], k=-1)


def test_a_space_for_states_has_ids_of_two_parts(store: Store) -> None:
    store.spaces.create("s", 2, table="states")
    store.states.put(State(kind="a/b", id="c~d"), vector=[1, 0])
    (hit,) = store.states.search([1, 0])
    assert hit.record.key == ("a/b", "c~d")
    store.states.delete(("a/b", "c~d"))
    assert store.vectors.count() == 0


def test_references_are_checked_on_request(store: Store) -> None:
    store.links.put(Link(source="x", target="y"))
    assert [p.severity for p in store.verify().problems] == ["warning", "warning"]
    with pytest.raises(InvalidRecord, match="does not exist"):
        store.links.put(Link(source="a", target="b"), check_references=True)
    with store.batch(check_references=True) as batch:
        batch.links.put(Link(source="a", target="b"))
        batch.memories.put([Memory(id="a"), Memory(id="b")])
    assert store.links.count() == 2


def test_reads_are_counted_only_by_touch(store: Store) -> None:
    store.memories.put([Memory(id="a"), Memory(id="b")])
    store.memories.get("a")
    moment = datetime(2026, 5, 1, tzinfo=UTC)
    assert store.memories.touch(["a", "missing"], moment) == 1
    assert store.memories.counters("a").access_count == 1
    assert store.memories.counters("b").access_count == 0
    assert [m.id for m in store.memories.find(F.access_count > 0)] == ["a"]
    assert [m.id for m in store.memories.find(F.accessed_at.is_null())] == ["b"]


@pytest.mark.parametrize("records", [5, "text", b"bytes", None, [5], [None], {"nope": 1}, Skill()])
def test_what_is_no_record(store: Store, records: Any) -> None:
    with pytest.raises(InvalidRecord):
        store.memories.put(records)
    assert store.head().commit is None


def test_an_unknown_option_is_refused(store: Store) -> None:
    with pytest.raises(InvalidInput, match="options are message"):
        store.memories.put(Memory(), mesage="typo")
    for text in ("a\0", "\ud800", 5):
        with pytest.raises(InvalidInput):
            store.memories.put(Memory(), message=text)


def test_a_space_that_was_dropped_and_made_anew_elsewhere_is_noticed() -> None:
    url = f"memory://{perdure.uuid7()}"
    with perdure.open(url) as one, perdure.open(url) as two:
        one.spaces.create("s", 4, dtype="float16", metric="dot")
        two.vectors.put(Vector(space="s", id="a", values=[1, 2, 3, 4]))
        one.spaces.drop("s")
        one.spaces.create("s", 2, dtype="float32", metric="dot")
        with pytest.raises(InvalidRecord, match="2 numbers of float32"):
            two.vectors.put(Vector(space="s", id="b", values=[1, 2, 3, 4]))
        two.vectors.put(Vector(space="s", id="b", values=[1, 2]))
        assert two.vectors[("s", "b")].values.tolist() == [1.0, 2.0]
