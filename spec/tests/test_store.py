"""Batches, transactions, places in history, and upkeep, seen from the store."""

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import perdure
import pytest
from perdure import (
    AlreadyExists,
    Conflict,
    CorruptStore,
    InvalidInput,
    InvalidRef,
    Memory,
    MergeConflict,
    NotFound,
    PermissionDenied,
    Skill,
    StaleHead,
    Store,
    Transaction,
    Unavailable,
    Unsupported,
)


def test_a_batch_is_one_commit_or_nothing(store: Store) -> None:
    with store.batch(message="both", author="me") as batch:
        batch.memories.put(Memory(id="a"))
        batch.skills.put(Skill(id="s"))
        batch.memories.delete("a")
        batch.memories.put(Memory(id="a", text="again"))
    assert batch.result is not None
    assert batch.result.commit is not None
    assert (batch.result.written, batch.result.commit.message, batch.result.commit.author) == (
        2,
        "both",
        "me",
    )
    with pytest.raises(ZeroDivisionError):
        with store.batch() as batch:
            batch.memories.put(Memory(id="b"))
            raise ZeroDivisionError
    with pytest.raises(NotFound):
        with store.batch() as batch:
            batch.memories.put(Memory(id="c"))
            batch.memories.update("missing", text="x")
    assert store.memories.count() == 1
    assert len(list(store.log())) == 1


def test_a_batch_has_no_reads_and_ends(store: Store) -> None:
    with store.batch() as batch:
        with pytest.raises(Unsupported, match="transact"):
            batch.memories.get("a")
        with pytest.raises(InvalidInput, match="belong to store.batch"):
            batch.memories.put(Memory(), message="no")
    with pytest.raises(InvalidInput, match="ended"):
        batch.memories.put(Memory())


def test_transact_loses_no_update(store: Store) -> None:
    store.memories.put(Memory(id="n", content=0))

    def add(tx: Transaction) -> None:
        tx.memories.update("n", content=tx.memories["n"].content + 1)

    threads = [
        threading.Thread(target=lambda: [store.transact(add, attempts=1_000) for _ in range(10)])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.memories["n"].content == 40


def test_transact_gives_up_in_the_end(store: Store) -> None:
    def meddle(tx: Transaction) -> None:
        store.memories.put(Memory())
        tx.memories.put(Memory())

    with pytest.raises(StaleHead):
        store.transact(meddle, attempts=3)
    assert store.memories.count() == 3
    assert store.transact(lambda tx: tx.memories.count()) == 3, "a transaction without writes commits nothing"


def test_a_snapshot_does_not_move_and_cannot_be_changed(store: Store) -> None:
    store.memories.put(Memory(id="a"))
    then = store.snapshot()
    store.memories.delete("a")
    assert "a" in then.memories
    assert "a" not in store.memories
    with pytest.raises(PermissionDenied, match="snapshot"):
        then.memories.put(Memory())


def test_refs(store: Store) -> None:
    done = [store.memories.put(Memory(id=str(i))) for i in range(3)]
    commits = [d.commit for d in done if d is not None and d.commit is not None]
    store.checkpoints.create("v1", at="main@2", metrics={"loss": float("nan")})
    assert store.at("v1").memories.count() == store.at("main@2").memories.count()
    assert store.at(f"@{commits[0].id}").memories.count() == 1
    assert store.at(f"main@{perdure.format_time(commits[1].time)}").memories.count() >= 2
    assert store.at("main@1999-01-01T00:00Z").memories.count() == 0
    for ref in ("nosuch", "@nosuch", "nosuch@3"):
        with pytest.raises(NotFound):
            store.at(ref)
    with pytest.raises(InvalidRef):
        store.at("main@yesterday")
    with pytest.raises(AlreadyExists):
        store.branches.create("v1")
    assert store.checkpoints.metrics("v1")["loss"] != store.checkpoints.metrics("v1")["loss"]


def test_branches(store: Store) -> None:
    store.memories.put(Memory(id="a", text="main"))
    lab = store.branch("lab")
    lab.memories.update("a", text="lab")
    assert store.branch("lab").memories["a"].text == "lab"
    assert store.memories["a"].text == "main"
    inner = lab.branch("lab/inner")
    assert inner.memories["a"].text == "lab"
    with pytest.raises(Conflict):
        store.branches.delete("lab")
    with pytest.raises(Conflict):
        store.branches.delete("main")
    assert store.branches.delete("lab", cascade=True) == 2
    again = store.branch("lab")
    assert again.memories["a"].text == "main", "a recreated name inherits nothing"
    with pytest.raises(NotFound):
        perdure.open("memory://", branch="nosuch")


def test_merge_and_what_it_would_do(store: Store) -> None:
    store.memories.put(Memory(id="a", text="base", tags=["x"], importance=0.1))
    lab = store.branch("lab")
    lab.memories.update("a", text="lab", tags=["x", "l"])
    store.memories.update("a", text="main", tags=["m", "x"])
    with pytest.raises(MergeConflict) as caught:
        store.merge("lab")
    (conflict,) = caught.value.conflicts
    assert (conflict.table, conflict.key, conflict.kind) == ("memories", ("a",), "both_changed")
    assert "text" in conflict.fields
    assert store.memories["a"].text == "main"
    assert store.merge("lab", dry_run=True).conflicts
    store.merge("lab", strategy="theirs")
    assert store.memories["a"].text == "lab"
    assert store.merge("lab").already_merged
    store.memories.put(Memory(id="b"))
    lab.sync()
    assert "b" in lab.memories


def test_what_if_and_revert_agree(store: Store) -> None:
    store.memories.put([Memory(id="a", text="1"), Memory(id="b")])
    done = store.memories.put([Memory(id="a", text="2"), Memory(id="c")])
    assert done is not None
    assert done.commit is not None
    store.memories.update("b", text="later")
    what_if = store.at("main", without=done.commit.id)
    assert [(m.id, m.text) for m in what_if.memories.find()] == [("a", "1"), ("b", "later")]
    assert what_if.memories.count() == 2
    assert what_if.memories.get_many(["c", "a"])[0] is None
    assert what_if.memories.to_arrow().num_rows == 2
    assert [m.id for m in what_if.memories.find(order_by="-id", limit=1)] == ["b"]
    first = what_if.memories.find(limit=1)
    assert [m.id for m in what_if.memories.find(limit=1, after=first.cursor)] == ["b"]
    with pytest.raises(Unsupported):
        what_if.memories.version("a")
    store.revert(done.commit.id)
    assert [m.text for m in store.memories.find()] == [m.text for m in what_if.memories.find()]
    with pytest.raises(NotFound):
        store.at("main", without="nosuch")


def test_what_if_in_a_search(store: Store) -> None:
    store.spaces.create("s", 2, table="memories")
    store.memories.put(Memory(id="a", kind="k"), vector=[1, 0])
    done = store.memories.put(Memory(id="b", kind="k"), vector=[1, 0.1])
    changed = store.memories.update("a", kind="other")
    assert done is not None
    assert done.commit is not None
    assert changed is not None
    assert changed.commit is not None
    assert [h.record.id for h in store.at("main", without=done.commit.id).memories.search([1, 0])] == ["a"]
    before = store.at("main", without=changed.commit.id)
    assert [h.record.id for h in before.memories.search([1, 0], where={"kind": "k"})] == ["a", "b"]


def test_expire_deletes_what_is_due(store: Store) -> None:
    now = datetime(2026, 1, 2, tzinfo=UTC)
    store.memories.put(
        [
            Memory(id="old", expires_at=now),
            Memory(id="new", expires_at=now + timedelta(days=1)),
            Memory(id="kept"),
        ]
    )
    assert store.memories.count() == 3, "no read hides what is due"
    done = store.expire(now)
    assert done is not None
    assert done.deleted == 1
    assert store.expire(now) is None
    assert [m.id for m in store.memories.find()] == ["kept", "new"]


def test_the_feed_resumes_where_it_stopped(store: Store) -> None:
    store.memories.put(Memory(id="a"))
    store.branch("lab").memories.put(Memory(id="b"))
    items = list(store.changes())
    batches = [item.batch for item in items if item.batch is not None]
    assert [change.key for batch in batches for change in batch.changes] == [("a",), ("b",)]
    store.memories.delete("a")
    (item,) = store.changes(items[-1].cursor)
    assert item.batch is not None
    assert item.batch.changes[0].row is None
    assert list(store.changes(item.cursor)) == []


def test_backup_and_restore(store: Store, tmp_path: Path) -> None:
    store.memories.put([Memory(id=str(i), content={"n": (i,)}) for i in range(50)])
    store.branch("lab").memories.delete("7")
    file = store.backup(tmp_path / "all.perdure")
    with pytest.raises(AlreadyExists):
        store.backup(file)
    store.backup(file, overwrite=True)
    url = f"memory://{perdure.uuid7()}"
    report = perdure.restore(file, url)
    assert (report.commits, report.branches) == (2, 2)
    assert perdure.restore(file, url).known > 0, "restoring again changes nothing"
    with perdure.open(url, branch="lab") as copy:
        assert copy.memories.count() == 49
        assert copy.memories["8"] == store.memories["8"]
        assert [c.id for c in copy.log()] == [c.id for c in store.log("lab")]
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with pytest.raises(CorruptStore):
        perdure.restore(file, f"memory://{perdure.uuid7()}")


def test_restore_refuses_a_store_that_holds_something_else(store: Store, tmp_path: Path) -> None:
    store.memories.put(Memory(id="a"))
    file = store.backup(tmp_path / "a.perdure")
    url = f"memory://{perdure.uuid7()}"
    with perdure.open(url) as other:
        other.memories.put(Memory(id="z"))
    with pytest.raises(Conflict):
        perdure.restore(file, url)


def test_compact_and_purge(store: Store) -> None:
    for i in range(5):
        store.memories.put(Memory(id="a", text=f"version {i}"))
    report = store.compact(lease=timedelta(0))
    assert report.versions == 4
    assert store.memories["a"].text == "version 4"
    with pytest.raises(perdure.HistoryExpired):
        store.at("main@2").memories.get("a")
    store.purge("memories", "a")
    assert "a" not in store.memories
    for keep in (0, -1, True, "30d"):
        with pytest.raises(InvalidInput):
            store.compact(keep)  # type: ignore[arg-type]


def test_namespaces_share_nothing(tmp_path: Path) -> None:
    url = f"memory://{perdure.uuid7()}"
    with perdure.open(url, namespace="one") as one, perdure.open(url, namespace="two") as two:
        one.memories.put(Memory(id="a"))
        assert two.memories.count() == 0
        assert list(two.log()) == []
        assert one.namespaces.list() == ["one", "two"]
        with pytest.raises(Conflict):
            one.namespaces.drop("one")
        with pytest.raises(NotFound):
            one.namespaces.drop("three")
    with perdure.open(url, namespace="three") as three:
        three.namespaces.drop("one")
        assert three.namespaces.list() == ["three", "two"]


def test_a_closed_store_says_so(store: Store) -> None:
    store.close()
    store.close()
    with pytest.raises(Unavailable):
        store.memories.get("a")


@pytest.mark.parametrize(
    "arguments", [{"namespace": ""}, {"namespace": "a b"}, {"mode": "w"}, {"principal": "a\0"}]
)
def test_malformed_openings(arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        perdure.open("memory://", **arguments)


def test_a_missing_store_is_not_created_by_reading(store: Store) -> None:
    with pytest.raises(NotFound):
        perdure.open(f"memory://{perdure.uuid7()}", mode="r")
