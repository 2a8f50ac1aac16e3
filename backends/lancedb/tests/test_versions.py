"""Versions of rows after any order of changes: each is in one table and once, and ended by the one that follows."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import pairwise
from typing import Any

import lance
import perdure
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from perdure import Link, Memory
from perdure.kit import encode_row
from perdure_lancedb import _plugin
from perdure_lancedb._columns import OPEN, kind_of
from perdure_lancedb._store import Store

NOW = timedelta(0)


@contextmanager
def opened(folder: Any, fold: int = 3, **options: Any) -> Iterator[tuple[perdure.Store, Store]]:
    """A store, and the engine beneath it."""
    with perdure.open(f"lancedb:///{folder}/s?fold={fold}", **options) as store:
        yield store, next(iter(_plugin._STORES._handles.values())).it


def folded(engine: Store) -> dict[str, list[dict[str, Any]]]:
    """What LanceDB's tables have of versions, by kind; "" are those beside the other objects."""
    engine.fold()
    found: dict[str, list[dict[str, Any]]] = {}
    for name, stored in engine.now.state.tables.items():
        uri, _ = engine.objects.table(name)
        table = lance.dataset(uri, version=stored.version)
        columns = (
            ["row_key", "branch", "seq", "token", "ended", "dead"] if stored.kind else ["key", "row_key"]
        )
        rows = table.to_table(columns, filter="row_key IS NOT NULL").to_pylist()
        assert rows or not stored.kind
        found.setdefault(stored.kind, []).extend(rows)
    return found


def check(engine: Store, *, removed: bool) -> None:
    """See that the tables are as brute force over all versions says.

    Args:
        engine: The store.
        removed: Whether compactions may have removed versions between others.
    """
    found = folded(engine)
    loose = found.pop("", [])
    assert engine.now.state.pending == len(loose)
    lines: dict[tuple[bytes, int], list[tuple[int, int]]] = {}
    for kind, rows in found.items():
        for row in rows:
            assert kind_of(row["row_key"]) == kind
            lines.setdefault((row["row_key"], row["branch"]), []).append((row["seq"], row["ended"]))
    for line in lines.values():
        line.sort()
        assert len({seq for seq, _ in line}) == len(line)  # none is twice
        for (seq, ended), (following, _) in pairwise([*line, (OPEN, 0)]):
            assert seq < ended <= following
            assert removed or ended == following


IDS = st.sampled_from(["a", "ab", "b"])
ACTS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["put", "put", "delete", "link", "vector"]), IDS),
        st.tuples(st.sampled_from(["purge"]), IDS),
        st.tuples(
            st.sampled_from(["fold", "compact", "fork", "leave", "unbranch", "space", "pin"]), st.none()
        ),
    ),
    min_size=3,
    max_size=18,
)


class Both:
    """A store and one in memory, to which the same is done."""

    def __init__(self, store: perdure.Store, model: perdure.Store, engine: Store) -> None:
        self.roots, self.engine = (store, model), engine
        self.places, self.name, self.count = [store, model], "main", 0
        self.dim = 2
        self.removed = False
        for root in self.roots:
            root.spaces.create("s", self.dim)

    def act(self, act: str, what: Any) -> None:
        self.count += 1
        if act in ("fold", "compact", "fork", "leave", "unbranch", "space", "pin"):
            getattr(self, act)()
            return
        for place in self.places:
            if act == "put":
                place.memories.put(Memory(id=what, text=str(self.count)))
            elif act == "link":
                place.links.put(Link(id=what, source="a", target=str(self.count)))
            elif act == "vector":
                place.vectors.put(perdure.Vector(space="s", id=what, values=[float(self.count)] * self.dim))
            elif act == "delete":
                place.memories.delete(what)
        if act == "purge":
            for root in self.roots:
                root.purge("memories", [what])

    def fold(self) -> None:
        self.engine.fold()

    def compact(self) -> None:
        self.removed = True
        for root in self.roots:
            root.compact(keep=1, lease=NOW)

    def fork(self) -> None:
        self.name = f"b{self.count}"
        self.places = [place.branch(self.name) for place in self.places]

    def leave(self) -> None:
        self.places, self.name = list(self.roots), "main"

    def unbranch(self) -> None:
        if self.name != "main":
            gone, _ = self.name, self.leave()
            for root in self.roots:
                root.branches.delete(gone, cascade=True)

    def space(self) -> None:
        self.dim = 5 - self.dim
        for root in self.roots:
            root.spaces.drop("s")
            root.spaces.create("s", self.dim)

    def pin(self) -> None:
        for place in self.places:
            place.checkpoints.create(f"c{self.count}")

    def compare(self) -> None:
        store, model = self.roots
        for ref in [*(b.name for b in model.branches.list()), *(c.name for c in model.checkpoints.list())]:
            one, other = store.at(ref), model.at(ref)
            assert [(m.id, m.text) for m in one.memories.scan()] == [
                (m.id, m.text) for m in other.memories.scan()
            ]
            assert [(m.id, m.target) for m in one.links.scan()] == [
                (m.id, m.target) for m in other.links.scan()
            ]
            vectors = [[(v.id, list(v.values)) for v in place.vectors.scan()] for place in (one, other)]
            assert vectors[0] == vectors[1]
            for key in ("a", "ab", "b"):
                mine, its = one.memories.get(key), other.memories.get(key)
                assert (mine and mine.text) == (its and its.text)


@settings(max_examples=12)
@given(ACTS)
def test_every_version_is_in_one_table_and_once(acts):
    with tempfile.TemporaryDirectory() as folder, perdure.open("memory://") as model:
        with opened(folder) as (store, engine):
            both = Both(store, model, engine)
            for act, what in [*acts, ("compact", None)]:
                both.act(act, what)
                check(engine, removed=both.removed)
                both.compare()
            assert store.verify().ok
            copied = list(store.export())
        with opened(f"{folder}/copy") as (copy, engine):
            copy.ingest(copied)
            both.roots = (copy, model)
            both.removed = True
            for name in ["a", "b"]:
                for root in both.roots:
                    root.memories.put(Memory(id=name, text="after"))
                check(engine, removed=True)
                both.compare()
            assert copy.verify().ok


def test_versions_of_one_ingest_are_ended_one_by_one(tmp_path):
    """All of them have one token; to end the last, or to delete one, takes none of the others."""
    with opened(tmp_path / "from") as (store, _):
        for i in range(6):
            store.memories.put([Memory(id="a", text=f"{i}"), Memory(id="b", text=f"{i}")])
            store.checkpoints.create(f"c{i}")
        events = list(store.export())
    with opened(tmp_path / "to") as (store, engine):
        store.ingest(events)
        engine.fold()
        for i in (6, 7):
            store.memories.put(Memory(id="a", text=f"{i}"))
            check(engine, removed=False)
        store.checkpoints.delete("c2")
        store.compact(keep=1, lease=NOW)
        check(engine, removed=True)
        for i in (0, 1, 3, 4, 5):
            assert {row.id: row.text for row in store.at(f"c{i}").memories.scan()} == {
                "a": f"{i}",
                "b": f"{i}",
            }
        assert store.memories.get("a").text == "7"
        assert store.verify().ok


def version(seq: int, token: bytes) -> tuple[bytes, bytes]:
    row = ("loose", *(None,) * 6, "{}", (), None, None, None, "{}", 1, 2)
    return b"default\0rmloose\0" + bytes(4) + seq.to_bytes(8, "big") + token, encode_row("memories", (), row)


def test_versions_that_are_not_committed_wait_beside_the_other_objects(tmp_path):
    """Until nobody can commit them any more: the branch has come as far without them."""
    with opened(tmp_path, 1_000) as (store, engine):
        store.memories.put(Memory(id="a"))
        key, value = version(store.head().seq + 2, b"\0" * 12)
        engine.put([(key, value)])
        for number, left in enumerate((1, 0, 0)):
            store.memories.put(Memory(id="b", text=f"{number}"))
            found = folded(engine)
            assert [row["key"] for row in found.get("", [])] == [key] * left
            assert engine.now.state.pending == left
            assert {row["row_key"] for row in found["memories"]} == {b"default\0rma\0", b"default\0rmb\0"}
            assert {row.id for row in store.memories.scan()} == {"a", "b"}
        assert engine.get(key) is None
        engine.put([version(1, b"\1" * 12)])
        store.memories.put(Memory(id="c"))
        check(engine, removed=False)
        assert engine.now.state.pending == 0
        assert store.verify().ok


def test_a_commit_that_is_logged_in_parts_becomes_columns_at_once(tmp_path):
    """Folds find its first rows before it is committed."""
    with opened(tmp_path) as (store, engine):
        rows = [Memory(id=f"m{i:03d}", text=f"{i}" * 20_000) for i in range(300)]
        pending: list[int] = []
        seen = engine.put

        def put(items: Any) -> int:
            done = seen(items)
            engine.fold()
            pending.append(engine.now.state.pending)
            return done

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(engine, "put", put)
            store.memories.put(rows)
        assert max(pending) > 0
        check(engine, removed=False)
        assert engine.now.state.pending == 0
        assert [row.text for row in store.memories.scan()] == [row.text for row in rows]


def test_rows_of_a_namespace_that_was_dropped_by_half_are_not_its_successor_s(tmp_path):
    """The process was killed when the head was gone; branches and sequence numbers begin anew."""
    with opened(tmp_path, 1_000) as (_, engine):
        for round_ in range(3):
            with opened(tmp_path, 1_000, namespace="other") as (other, _):
                assert list(other.memories.scan()) == []
                assert other.memories.get("a") is None
                assert list(other.vectors.scan()) == []
                other.spaces.create("s", 2 + round_)
                for i in range(3 - round_):
                    other.memories.put([Memory(id="a", text=f"{round_} {i}"), Memory(id=f"b{round_}")])
                    other.vectors.put(perdure.Vector(space="s", id="v", values=[1.0] * (2 + round_)))
                    if round_ != 1:
                        check(engine, removed=False)
                assert {row.id: row.text for row in other.memories.scan()} == {
                    "a": f"{round_} {2 - round_}",
                    f"b{round_}": None,
                }
                assert [len(row.values) for row in other.vectors.scan()] == [2 + round_]
                assert other.verify().ok
            engine.delete([b"other\0h"])
        check(engine, removed=False)
        assert not any(kind for kind in folded(engine))


def test_what_is_emptied_leaves_no_table_and_after_a_compaction_no_file(tmp_path):
    with opened(tmp_path) as (store, engine):
        store.spaces.create("s", 2)
        store.memories.put(Memory(id="a"))
        store.vectors.put(perdure.Vector(space="s", id="a", values=[1, 2]))
        assert {stored.kind for stored in engine.now.state.tables.values()} >= {
            "memories",
            "vectors",
        } or folded(engine)
        gone = {name for name in engine.now.state.tables if not name.startswith("items-")}
        assert len(gone) == 2
        store.purge("memories", ["a"])
        store.spaces.drop("s")
        assert folded(engine).keys() <= {""}
        assert gone <= {*engine.objects.files()}
        store.compact(lease=NOW)
        assert [file for name in gone for file in engine.objects.files()[name]] == []
        store.memories.put(Memory(id="a"))
        check(engine, removed=True)
        assert store.verify().ok
