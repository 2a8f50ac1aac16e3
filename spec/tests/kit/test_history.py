"""Refs, the log, the feed of changes, ingest, purge, compaction and verification."""

from __future__ import annotations

from typing import Any

import pytest
from perdure._errors import (
    AlreadyExists,
    Conflict,
    CorruptStore,
    HistoryExpired,
    InvalidRecord,
    InvalidRef,
    NotFound,
)
from perdure._names import parse_ref
from perdure._types import (
    ChangeBatch,
    Checkpoint,
    Chunk,
    Commit,
    CompactRequest,
    Context,
    Counter,
    Delete,
    Point,
    Put,
    Query,
    Space,
)
from perdure.filters import F, OrderTerm
from perdure.kit import chunk_digest

CTX = Context()
END = 2**62


def put(store: Any, row: Any, *ids: str, branch: str = "main", **fields: Any) -> Any:
    time = fields.pop("time", None)
    return store.commit(
        Put("memories", [row("memories", i, **fields) for i in ids]), branch=branch, time=time
    ).commit


def test_refs(store: Any, row: Any) -> None:
    assert store.resolve("main") == Point(store.resolve("main").branch, 0, None, 0)
    first, second = put(store, row, "a", time=10), put(store, row, "b", time=30)
    store.branch("lab", "main@1")
    third = put(store, row, "c", branch="lab", time=20)
    for ref, commit in {
        "main": second,
        "main@1": first,
        "main@99": second,
        f"@{first.id}": first,
        "main@1970-01-01T00:00:00.000029Z": first,
        "main@1970-01-01T00:00:00.00003Z": second,
        "lab": third,
        "lab@1": first,
        "lab@1970-01-01T00:00:00.00001Z": first,
        "lab@1970-01-01T00:00:00.00005Z": third,
    }.items():
        assert store.resolve(ref) == Point(commit.branch, commit.seq, commit.id, commit.time), ref
    assert store.resolve("main@0").commit is None
    assert store.resolve("main@1970-01-01T00:00:00.000009Z").commit is None
    for ref in ("none", "none@1", "@none"):
        with pytest.raises(NotFound):
            store.resolve(ref)


def test_names_are_shared_by_branches_and_checkpoints(store: Any, row: Any) -> None:
    put(store, row, "a")
    point = store.resolve("main")
    made = store.hook.create_checkpoint(CTX, Checkpoint("v1", point, '{"x":1}'))
    assert store.hook.list_checkpoints(CTX) == [made]
    put(store, row, "b")
    assert store.ids(at="v1") == ["a"]
    for name in ("v1", "main"):
        with pytest.raises(AlreadyExists):
            store.branch(name)
        with pytest.raises(AlreadyExists):
            store.hook.create_checkpoint(CTX, Checkpoint(name, point))
    with pytest.raises(InvalidRef):
        store.branch("not a name")
    assert store.hook.delete_checkpoint(CTX, "v1")
    with pytest.raises(NotFound):
        store.hook.delete_checkpoint(CTX, "v1")


def test_a_branch_with_children_or_pins_stays_unless_cascaded(store: Any, row: Any) -> None:
    put(store, row, "a")
    store.branch("lab")
    put(store, row, "b", branch="lab")
    store.branch("lab/deep", "lab")
    store.hook.create_checkpoint(CTX, Checkpoint("v1", store.resolve("lab")))
    with pytest.raises(Conflict):
        store.hook.delete_branch(CTX, "lab", False)
    old = store.resolve("lab")
    assert store.hook.delete_branch(CTX, "lab", True) == 2
    assert [b.name for b in store.hook.list_branches(CTX)] == ["main"]
    assert store.hook.list_checkpoints(CTX) == []
    with pytest.raises(NotFound):
        store.ids(at=old)
    store.branch("lab", "main")
    assert store.ids(at="lab") == ["a"], "a recreated name inherits nothing"
    assert store.hook.get_commits(CTX, [old.commit]) == [None]


def test_log_changes_and_touched(store: Any, row: Any) -> None:
    first = put(store, row, "b", "a", text="1")
    second = store.commit(
        Delete("memories", [("a",)]), Put("links", [row("links", "l", source="b", target="c")])
    ).commit
    store.branch("lab")
    third = put(store, row, "z", branch="lab")
    main, lab = first.branch, third.branch
    assert list(store.hook.log(CTX, main, 0, END, False, False)) == [first, second]
    assert list(store.hook.log(CTX, main, 0, END, False, True)) == [second, first]
    assert list(store.hook.log(CTX, main, 1, 2, False, True)) == [second]
    assert list(store.hook.log(CTX, lab, 0, END, False, False)) == [third], "own commits only"
    assert list(store.hook.log(CTX, main, 0, END, True, False)) == []
    batches = list(store.hook.changes(CTX, main, 0, END, False))
    assert [(b.commit, b.final) for b in batches] == [(first, True), (second, True)]
    assert [(c.table, c.key, c.row is None) for c in batches[1].changes] == [
        ("links", ("l",), False),
        ("memories", ("a",), True),
    ]
    assert [c.key for c in batches[0].changes] == [("a",), ("b",)]
    assert list(store.hook.touched(CTX, main, 1, 2)) == [("links", ("l",)), ("memories", ("a",))]
    assert list(store.hook.touched(CTX, main, 0, 2))[1:] == [("memories", ("a",)), ("memories", ("b",))]
    with pytest.raises(NotFound):
        store.hook.log(CTX, "none", 0, END, False, False)


def test_a_large_commit_comes_in_several_batches(dict_store: Any, row: Any) -> None:
    ids = [f"m{i:05}" for i in range(2_500)]
    commit = put(dict_store, row, *ids)
    batches = list(dict_store.hook.changes(CTX, commit.branch, 0, END, False))
    assert [b.final for b in batches] == [False, False, True]
    assert [c.key[0] for b in batches for c in b.changes] == ids
    assert dict_store.ids() == ids


def test_queries(store: Any, row: Any) -> None:
    rows = [
        row("memories", f"m{i}", importance=[None, 0.5, 0.2][i % 3], tier=i, kind="ab"[i % 2])
        for i in range(9)
    ]
    store.commit(Put("memories", rows))
    order = (OrderTerm("importance", True),)
    assert store.ids(order=order) == ["m1", "m4", "m7", "m2", "m5", "m8", "m0", "m3", "m6"]
    assert store.ids(order=order, limit=3, after=(0.5, "m4")) == ["m7", "m2", "m5"]
    assert store.ids(order=order, after=(None, "m3")) == ["m6"]
    assert store.ids(after=("m6",), limit=1) == ["m7"]
    assert store.ids(where=F.kind == "a", order=(OrderTerm("tier", True),), limit=2) == ["m8", "m6"]
    query = Query("memories", F.tier > 6, columns=("tier", "id"))
    assert list(store.hook.select(CTX, query, parse_ref("main"))) == [(7, "m7"), (8, "m8")]
    assert next(store.hook.scan(CTX, query, parse_ref("main"))).column_names == ["tier", "id"]
    assert store.hook.count(CTX, "memories", None, parse_ref("main")) == 9
    store.hook.touch(CTX, "memories", [("m2",)], 5)
    assert store.ids(where=F.access_count > 0) == ["m2"]
    with pytest.raises(NotFound):
        store.hook.count(CTX, "nothing", None, parse_ref("main"))


# --------------------------------------------------------------------------------------- ingest


def events_of(store: Any) -> list[Any]:
    hook = store.hook
    events: list[Any] = [*hook.list_spaces(CTX)]
    branches = sorted(hook.list_branches(CTX), key=lambda b: (b.parent is not None, b.fork_seq))
    for branch in branches:
        events.append(branch)
        for batch in hook.changes(CTX, branch.id, branch.fork_seq, END, True):
            for change in batch.changes:
                if change.table == "states" and change.row and change.row[3]:
                    names = change.row[3].partition(":")[2].split(",")
                    events += [Chunk(n, d) for n, d in zip(names, hook.read_chunks(CTX, names), strict=True)]
            events.append(batch)
    return [*events, *hook.list_checkpoints(CTX), *hook.counters(CTX, "memories", [("a",)])]


def filled(store: Any, row: Any) -> None:
    store.hook.create_space(CTX, Space("s", 1, "float64"))
    put(store, row, "a", "b", text="old")
    put(store, row, "a", text="new")
    store.branch("lab", "main@1")
    put(store, row, "c", branch="lab")
    data = b"payload"
    name = chunk_digest(data)
    store.commit(
        Put("states", [row("states", ("k", "s"), payload=f"7:{name}")]),
        Put("vectors", [row("vectors", ("s", "v"), values=b"\0" * 7 + b"?")]),
        chunks=[Chunk(name, data)],
    )
    store.hook.create_checkpoint(CTX, Checkpoint("v1", store.resolve("main@1")))
    store.hook.touch(CTX, "memories", [("a",)], 9)


def test_ingest_copies_a_namespace(storage: Any, store: Any, driver: Any, row: Any) -> None:
    filled(store, row)
    events = events_of(store)
    copy = driver(storage, "copy")
    report = copy.hook.ingest(CTX, events)
    assert (report.commits, report.branches, report.checkpoints, report.spaces, report.rows) == (
        4,
        2,
        1,
        1,
        6,
    )
    assert events_of(copy) == events
    for ref in ("main", "main@1", "lab", "v1"):
        assert copy.contents(ref) == store.contents(ref)
    assert copy.hook.verify(CTX).ok
    again = copy.hook.ingest(CTX, events)
    assert (again.commits, again.rows, again.known) == (0, 0, 4 + 2 + 1 + 1)
    put(store, row, "d")
    assert copy.hook.ingest(CTX, events_of(store)).commits == 1
    assert copy.contents() == store.contents()
    assert store.hook.list_namespaces(CTX) == ["copy", "ns"]


def test_ingest_is_atomic_and_refuses_contradictions(storage: Any, store: Any, driver: Any, row: Any) -> None:
    filled(store, row)
    events = events_of(store)
    main = events[1]
    other = driver(storage, "other")

    def cut() -> Any:
        yield from events[:-1]
        raise RuntimeError("the source broke off")

    with pytest.raises(RuntimeError):
        other.hook.ingest(CTX, cut())
    assert (other.ids(), other.hook.list_spaces(CTX), len(other.hook.list_branches(CTX))) == ([], [], 1)
    commit = Commit("x", main.id, 1, 1)
    for bad, error in (
        ([ChangeBatch(commit, ())], Conflict),
        ([main, ChangeBatch(commit, (), final=False)], InvalidRecord),
        ([main, ChangeBatch(commit, ()), ChangeBatch(Commit("y", main.id, 1, 1), ())], InvalidRecord),
        ([Chunk("ab", b"x")], InvalidRecord),
        (["nonsense"], InvalidRecord),
    ):
        with pytest.raises(error):
            other.hook.ingest(CTX, bad)
    other.hook.ingest(CTX, events)
    put(other, row, "elsewhere")
    put(store, row, "here")
    with pytest.raises(Conflict):
        other.hook.ingest(CTX, events_of(store))
    assert other.hook.verify(CTX).ok


# ------------------------------------------------------------------------------ purge and compaction


def test_purge_erases_and_is_remembered(dict_store: Any, driver: Any, row: Any) -> None:
    store = dict_store
    store.hook.create_space(CTX, Space("s", 1, "float64", table="memories"))
    vector = row("vectors", ("s", "zebra-id"), values=b"\0" * 7 + b"?")
    store.commit(
        Put("memories", [row("memories", "zebra-id", text="zebra-text"), row("memories", "b")]),
        Put("vectors", [vector]),
    )
    store.branch("lab")
    put(store, row, "zebra-id", branch="lab", text="zebra-text-2")
    store.hook.touch(CTX, "memories", [("zebra-id",)], 1)
    events = events_of(store)
    report = store.hook.purge(CTX, "memories", [("zebra-id",), ("none",)])
    assert (report.keys, report.versions, report.vectors) == (1, 2, 1)
    for ref in ("main", "main@1", "lab"):
        assert store.ids(at=ref) == ["b"]
        assert store.ids("vectors", at=ref) == []
    held = b"".join(k + v for k, v in store.storage.data.items())
    assert b"zebra" not in held
    again = store.hook.ingest(CTX, events)
    assert again.rows == 0
    batches = [
        b
        for branch in store.hook.list_branches(CTX)
        for b in store.hook.changes(CTX, branch.id, branch.fork_seq, END, False)
    ]
    assert [len(b.changes) for b in batches] == [0, 1]
    assert store.hook.verify(CTX).ok
    put(store, row, "zebra-id")
    assert store.ids() == ["b", "zebra-id"], "the key may be written anew"


def test_a_purged_payload_goes_unless_it_is_shared(dict_store: Any, row: Any) -> None:
    names = [chunk_digest(data) for data in (b"own", b"shared")]
    chunks = [Chunk(n, d) for n, d in zip(names, (b"own", b"shared"), strict=True)]
    rows = [
        row("states", ("k", "a"), payload="9:" + ",".join(names)),
        row("states", ("k", "b"), payload=f"6:{names[1]}"),
    ]
    dict_store.commit(Put("states", rows), chunks=chunks)
    assert dict_store.hook.purge(CTX, "states", [("k", "a")]).chunks == 1
    assert list(dict_store.hook.read_chunks(CTX, [names[1]])) == [b"shared"]
    with pytest.raises(CorruptStore):
        list(dict_store.hook.read_chunks(CTX, [names[0]]))
    with pytest.raises(CorruptStore):
        list(dict_store.hook.read_chunks(CTX, ["no digest"]))


def test_compaction_keeps_what_is_named_and_expires_the_rest(store: Any, row: Any) -> None:
    commits = [put(store, row, "a", text=str(i), time=i + 1) for i in range(8)]
    store.branch("lab", "main@2")
    store.hook.create_checkpoint(CTX, Checkpoint("v1", store.resolve("main@4")))
    main = store.resolve("main").branch
    assert store.hook.compact(CTX, CompactRequest(keep_commits=2)).versions == 0, "the lease keeps all"
    scan = store.hook.select(CTX, Query("memories"), parse_ref("main@1"))
    report = store.hook.compact(CTX, CompactRequest(keep_commits=2, lease=0))
    assert (report.versions, report.commits) == (4, 4)
    assert report.bytes_freed > 0
    for ref, text in {"main": "7", "main@7": "6", "lab": "1", "v1": "3", "main@4": "3"}.items():
        assert [r[6] for r in store.contents(ref).values()] == [text]
    for ref in ("main@1", "main@3", "main@6", f"@{commits[4].id}", "main@1970-01-01T00:00:00.000005Z"):
        with pytest.raises(NotFound):
            store.resolve(ref)
    with pytest.raises(HistoryExpired):
        store.ids(at=Point(main, 3))
    with pytest.raises(HistoryExpired):
        list(scan)
    with pytest.raises(HistoryExpired):
        store.hook.changes(CTX, main, 0, END, False)
    assert [b.commit.seq for b in store.hook.changes(CTX, main, 0, END, True)] == [2, 4, 7, 8]
    assert [b.floor for b in store.hook.list_branches(CTX)] == [2, 7]
    assert store.hook.verify(CTX).ok
    put(store, row, "b")
    assert [c.seq for c in store.hook.log(CTX, main, 0, END, False, True)] == [9, 8, 7, 4, 2]


def test_a_compacted_history_can_be_copied(storage: Any, store: Any, driver: Any, row: Any) -> None:
    for i in range(8):
        put(store, row, "a", text=str(i))
    store.branch("lab", "main@2")
    put(store, row, "b", branch="lab")
    store.hook.create_checkpoint(CTX, Checkpoint("v1", store.resolve("main@4")))
    store.hook.compact(CTX, CompactRequest(lease=0))
    copy = driver(storage, "copy")
    copy.hook.ingest(CTX, events_of(store))
    for ref in ("main", "lab", "v1"):
        assert copy.contents(ref) == store.contents(ref)
    with pytest.raises(HistoryExpired):
        copy.resolve("main@5")
    assert copy.hook.verify(CTX).ok


# ---------------------------------------------------------------------------------------- verify


def test_every_flipped_byte_is_noticed(dict_store: Any, driver: Any, row: Any) -> None:
    filled(dict_store, row)
    storage = dict_store.storage
    assert driver(storage).hook.verify(CTX).ok
    unchecked = (b"k", b"i", b"p")  # read counters may be anything; the others hold nothing
    for key, value in list(storage.data.items()):
        if key[3:4] in unchecked:
            continue
        for at in {0, len(value) // 2, len(value) - 1}:
            storage.data[key] = value[:at] + bytes((value[at] ^ 1,)) + value[at + 1 :]
            if key[3:4] == b"h":
                with pytest.raises(CorruptStore):
                    driver(storage)
            else:
                assert not dict_store.hook.verify(CTX).ok, (key, at)
            storage.data[key] = value
        if key[3:4] != b"h":
            del storage.data[key]
            assert not dict_store.hook.verify(CTX).ok, key
            storage.data[key] = value
    assert dict_store.hook.verify(CTX).ok


def test_dangling_references_are_warnings(store: Any, row: Any) -> None:
    store.commit(Put("links", [row("links", "l", source="a", target="b")]))
    report = store.hook.verify(CTX)
    assert report.ok
    assert [p.severity for p in report.problems] == ["warning", "warning"]


def test_stats_and_namespaces(storage: Any, store: Any, driver: Any, row: Any) -> None:
    filled(store, row)
    stats = store.hook.stats(CTX, parse_ref("lab"))
    assert (stats.branch, stats.rows["memories"], stats.versions["memories"]) == ("lab", 3, 4)
    assert (stats.commits, stats.branches, stats.checkpoints, stats.spaces, stats.payload_bytes) == (
        4,
        2,
        1,
        1,
        7,
    )
    other = driver(storage, "other")
    assert other.ids() == []
    with pytest.raises(Conflict):
        other.hook.drop_namespace(CTX, "other")
    assert other.hook.drop_namespace(CTX, "ns")
    assert other.hook.list_namespaces(CTX) == ["other"]
    with pytest.raises(NotFound):
        other.hook.drop_namespace(CTX, "ns")
    with pytest.raises(NotFound):
        store.ids()
    new = driver(storage)
    put(new, row, "fresh")
    assert store.ids() == ["fresh"], "a handle on the old one does not mistake what it remembers for the new"
    assert isinstance(store.hook.counters(CTX, "memories", [("a",)])[0], Counter)
