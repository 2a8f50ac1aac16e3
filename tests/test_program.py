"""One program, unchanged on every engine: it calls every public method of a store, and opens it again midway."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import perdure
import pytest
from perdure import F, Link, Memory, Skill, State, Trace, Vector

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
#: The vectors come first, while there are none of other tables.
TABLES = ("vectors", "memories", "links", "skills", "traces", "states")


class Watched:
    """A stand-in for a part of a store that notes which of its public names are used."""

    def __init__(self, thing: Any, used: set[str]) -> None:
        self._thing, self._used = thing, used

    def __getattr__(self, name: str) -> Any:
        self._used.add(f"{type(self._thing).__name__}.{name}")
        found = getattr(self._thing, name)
        if inspect.ismethod(found):
            return lambda *args, **kwargs: watch(found(*args, **kwargs), self._used)
        return watch(found, self._used)

    def __enter__(self) -> Any:
        self._thing.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._thing.__exit__(*error)

    def __getitem__(self, key: Any) -> Any:
        return self._thing[key]

    def __contains__(self, key: Any) -> bool:
        return key in self._thing


def parts() -> list[type]:
    """The classes whose public methods the program goes over."""
    with perdure.open("memory://") as store:
        managers = [store.branches, store.checkpoints, store.spaces, store.namespaces]
        collections = [store.table(name) for name in TABLES]
        return [
            perdure.Store,
            perdure.Snapshot,
            perdure.Batch,
            perdure.Transaction,
            *map(type, managers + collections),
        ]


PARTS = tuple(parts())


def watch(thing: Any, used: set[str]) -> Any:
    return Watched(thing, used) if type(thing) in PARTS else thing


def public_methods() -> set[str]:
    found = set()
    for part in PARTS:
        for name in dir(part):
            static = inspect.getattr_static(part, name)
            if not name.startswith("_") and (inspect.isfunction(static) or isinstance(static, property)):
                found.add(f"{part.__name__}.{name}")
    return found


# ------------------------------------------------------------------------------------------ the program


def records(name: str) -> list[Any]:
    """Three records of a table; the first two have a bound vector each."""
    made: dict[str, Callable[[int], Any]] = {
        "memories": lambda i: Memory(
            id=f"m{i}", kind="fact", text=f"text {i}", content={"n": i, 2: (b"\0", 1 + 2j)}, importance=i / 4
        ),
        "links": lambda i: Link(
            id=f"l{i}", source=f"m{i}", target=f"m{i + 1}", relation="causes", weight=i / 2
        ),
        "skills": lambda i: Skill(
            id=f"s{i}", name=f"skill {i}", trigger=f"error {i}|timeout", confidence=i / 4
        ),
        "traces": lambda i: Trace(id=f"t{i}", intent="mend", step=i, steps=[i, {"deep": {i}}], causes=["m0"]),
        "vectors": lambda i: Vector(space="free", id=f"v{i}", values=np.array([i, 1], "<f4"), text="free"),
        "states": lambda i: State(
            kind="net",
            id=f"x{i}",
            data={"step": i},
            payload=b"w" * 70_000 * i,
            parents=[f"x{i - 1}"] if i else [],
        ),
    }
    return [made[name](i) for i in range(3)]


CHANGED: dict[str, dict[str, Any]] = {
    "memories": {"importance": 1.0},
    "links": {"weight": 9.0},
    "skills": {"confidence": 1.0},
    "traces": {"outcome": "done"},
    "vectors": {"text": "changed"},
    "states": {"metrics": {"loss": 0.5}},
}


def one_table(store: Any, name: str) -> None:
    """Every method that all tables have."""
    table = store.table(name)
    first, second, third = records(name)
    space = "free" if name == "vectors" else f"of-{name}"
    if name == "vectors":
        table.put(first, model="m")
        table.insert(second)
    else:
        store.spaces.create(space, 2, metric="l2", model="m", table=name)
        table.put(first, vector=[0.0, 1.0], model="m", message="with its vector")
        table.insert(second, vector={space: [1.0, 1.0]})
    assert table.put([third], author="ann").written == 1
    with pytest.raises(perdure.AlreadyExists):
        table.insert(first)
    assert third.key in table
    assert table[third.key].key == table.get(third.key).key == third.key
    assert [r and r.key for r in table.get_many([second.key, first.key])] == [second.key, first.key]
    page = table.find(limit=2)
    assert [r.key for r in page] == [first.key, second.key]
    assert [r.key for r in table.find(limit=2, after=page.cursor)] == [third.key]
    assert [r.key for r in table.scan(order_by="-id")] == [third.key, second.key, first.key]
    assert table.count() == 3
    assert table.count(F.id == first.id) == 1
    assert table.to_arrow(columns=["id"]).num_rows == table.to_batches().read_all().num_rows == 3
    version = table.version(third.key)
    done = table.update(third.key, if_version=version, **CHANGED[name])
    assert table.version(third.key) == done.commit.id
    with pytest.raises(perdure.VersionConflict):
        table.delete(third.key, if_version=version)
    found = table.search([1.0, 1.0], k=2, space=space, model="m", exact=True)
    assert [hit.record.key for hit in found] == [second.key, first.key]
    assert table.touch([first.key, "absent" if isinstance(first.key, str) else ("no", "such")], NOW) == 1
    assert table.counters(first.key).access_count == 1
    if name == "skills":
        table.increment(first.key, success_count=2)
        assert table[first.key].success_count == 2
    else:
        with pytest.raises(perdure.InvalidRecord, match="no counter"):
            table.increment(first.key, nothing=1)
    assert table.delete(second.key).deleted == (1 if name == "vectors" else 2)
    assert table.delete([third.key]).deleted == 1
    assert table.purge(third.key).keys == 1
    assert table.get(third.key) is None
    assert [r.key for r in table.scan()] == [first.key]


def own_methods(store: Any) -> None:
    """What single tables have of their own."""
    for name in ("memories", "links", "skills", "states"):
        store.table(name).put(records(name))
    assert [link.id for link in store.links.neighbors("m1")] == ["l1", "l0"]
    assert [(step.depth, step.link.id) for step in store.links.chain("m0")] == [
        (1, "l0"),
        (2, "l1"),
        (3, "l2"),
    ]
    assert [skill.id for skill in store.skills.matching("error 1")] == ["s1"]
    store.skills.record_outcome("s1", success=False, at=NOW)
    assert (store.skills["s1"].failure_count, store.skills["s1"].last_used_at) == (1, NOW)
    assert b"".join(store.states.open_payload(("net", "x2"))) == b"w" * 140_000
    assert store.states.payload_size(("net", "x1")) == 70_000
    assert [state.id for state in store.states.ancestors(("net", "x2"))] == ["x1", "x0"]
    assert [state.id for state in store.states.descendants(("net", "x0"))] == ["x1", "x2"]


def commits(store: Any, used: set[str]) -> None:
    """Batches, transactions, branches, time."""
    with store.batch(message="learned", author="ann", check_references=True) as batch:
        batch.table("memories").put(Memory(id="b1", tier=1, expires_at=NOW))
        batch.links.put(Link(id="lb", source="b1", target="m0"))
    learned = batch.result.commit
    assert (learned.message, learned.author) == ("learned", "ann")

    def raise_tier(transaction: Any) -> int:
        inside = watch(transaction, used)
        tier = inside.table("memories")["b1"].tier + 1
        inside.memories.update("b1", tier=tier)
        return tier

    assert store.transact(raise_tier) == 2
    before = store.head()
    store.checkpoints.create("v1", metrics={"loss": 0.5}, message="good")
    lab = store.branch("lab")
    lab.memories.update("b1", tags=["lab"])
    store.memories.update("b1", tags=["main"])
    with pytest.raises(perdure.MergeConflict):
        store.merge("lab")
    assert store.merge("lab", strategy="field", dry_run=True).commit is None
    merged = store.merge("lab", strategy="field")
    assert store.memories["b1"].tags == ["main", "lab"]
    assert store.merge("lab").already_merged
    assert lab.sync().written == 1
    assert store.revert(merged.commit.id, parent=0).written == 1
    assert store.memories["b1"].tags == ["main"]
    past = store.at(before)
    assert past.table("memories")["b1"].tags == []
    assert store.at("main", without=learned.id).links.get("lb") is None  # nothing later changed that
    assert store.snapshot().memories.count() == store.memories.count()
    assert [row.key for row in store.diff(before, tables=["memories"])] == [("b1",)]
    assert next(store.log()).reverts == merged.commit.id
    assert next(store.log("v1", limit=1)).id == before.commit
    items = list(store.changes())
    assert list(store.changes(items[-1].cursor)) == []
    assert store.expire(NOW - timedelta(seconds=1)) is None
    assert store.expire(NOW).deleted == 1


def named_things(store: Any) -> None:
    store.branches.create("other", "v1")
    assert [branch.name for branch in store.branches.list()] == ["lab", "main", "other"]
    assert store.branches.get("other").head.commit == store.checkpoints.get("v1").point.commit
    assert store.branches.delete("other") == 1
    assert [checkpoint.name for checkpoint in store.checkpoints.list()] == ["v1"]
    assert store.checkpoints.metrics("v1") == {"loss": 0.5}
    store.checkpoints.delete("v1")
    assert store.spaces.get("free").dim == 2
    assert store.spaces.drop("of-traces").vectors >= 0
    assert "of-traces" not in [space.name for space in store.spaces.list()]


def upkeep(store: Any, url: str, folder: Path, used: set[str]) -> None:
    assert store.verify().ok
    assert store.stats().rows["memories"] == store.memories.count() == 3
    assert store.purge("links", "l2").keys == 1
    archive = store.backup(folder / "backup.perdure")
    report = perdure.restore(archive, url, namespace="restored")
    assert report.branches >= 1
    with watch(perdure.open(url, namespace="copied"), used) as copied:
        copied.ingest(store.export())
        for name in TABLES:
            assert list(copied.table(name).scan()) == list(store.table(name).scan()), name
        assert copied.ingest(store.export()).commits == 0
    store.compact(keep=2, lease=timedelta(0))
    assert [memory.id for memory in store.memories.find()] == ["m0", "m1", "m2"]
    assert {"copied", "default", "restored"} <= set(store.namespaces.list())
    store.namespaces.drop("copied")
    assert "copied" not in store.namespaces.list()
    assert store.verify().ok


def program(url: str, reopen: Callable[[Any], Any], folder: Path) -> set[str]:
    """Goes over everything that a store offers; returns the public names that it used."""
    used: set[str] = set()
    store = watch(perdure.open(url), used)
    assert store.namespace == "default"
    assert store.description.spec_version == perdure.SPEC_VERSION
    store.spaces.create("free", 2, dtype="float32", metric="l2", model="m")
    for name in TABLES:
        one_table(store, name)
    own_methods(store)
    store = watch(reopen(store), used)
    assert store.states[("net", "x2")].payload == b"w" * 140_000
    assert store.memories["m1"].content == {"n": 1, 2: (b"\0", 1 + 2j)}
    commits(store, used)
    named_things(store)
    upkeep(store, url, folder, used)
    store.close()
    with pytest.raises(perdure.Unavailable):
        store.memories.count()
    return used


def close_and_open(url: str) -> Callable[[Any], Any]:
    def reopen(store: Any) -> Any:
        store.close()
        return perdure.open(url)

    return reopen


@pytest.mark.parametrize("engine", ["memory", "sqlite"])
def test_the_program_runs_unchanged_and_leaves_no_method_out(engine: str, tmp_path: Path) -> None:
    url = f"memory://program-{tmp_path.name}" if engine == "memory" else f"sqlite:///{tmp_path}/agent.db"
    used = program(url, close_and_open(url), tmp_path)
    missing = public_methods() - used
    assert not missing, f"the program does not call {sorted(missing)}"
