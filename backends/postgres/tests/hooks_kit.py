"""Every hook by its name, called through a store's public methods; and a store that has something for each."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import perdure
from perdure import Memory, State

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


def fill(store: Any) -> None:
    """Something of every kind: rows, a payload, vectors, a branch, a checkpoint, a counter, a second commit."""
    store.spaces.create("near", 2, metric="l2", model="m", table="memories")
    store.memories.put([Memory(id="a", text="first"), Memory(id="b")])
    store.memories.put(Memory(id="v"), vector=[0.0, 1.0], model="m")
    store.states.put(State(kind="net", id="x", payload=b"w" * 70_000))
    store.memories.touch(["a"], NOW)
    store.checkpoints.create("v1")
    store.branch("lab").memories.put(Memory(id="c"))
    store.memories.update("a", text="second")


def export(store: Any) -> list[Any]:
    return list(store.export())


#: Hook → a call that reads; none returns anything empty from a store that `fill` filled.
READS: dict[str, Callable[[Any], Any]] = {
    "resolve": lambda store: store.head(),
    "fetch": lambda store: store.memories.get_many(["a"]),
    "versions": lambda store: store.memories.version("a"),
    "counters": lambda store: store.memories.counters("a").access_count,
    "select": lambda store: list(store.memories.find(perdure.F.text == "second")),
    "scan": lambda store: store.memories.to_arrow().num_rows,
    "count": lambda store: store.memories.count(),
    "search": lambda store: store.memories.search([0.0, 1.0], k=1, space="near", model="m"),
    "read_chunks": lambda store: b"".join(store.states.open_payload(("net", "x"))),
    "list_spaces": lambda store: store.spaces.list(),
    "list_branches": lambda store: store.branches.list(),
    "list_checkpoints": lambda store: store.checkpoints.list(),
    "log": lambda store: list(store.log()),
    "get_commits": lambda store: store.at("main", without=store.head().commit).memories.count(),
    "changes": lambda store: list(store.changes()),
    "touched": lambda store: store.merge("lab", dry_run=True),
    "stats": lambda store: store.stats().rows["memories"],
    "verify": lambda store: store.verify().ok,
    "list_namespaces": lambda store: store.namespaces.list(),
}

#: Hook → a call that writes.
WRITES: dict[str, Callable[[Any], Any]] = {
    "commit": lambda store: store.memories.put(Memory(id="new")),
    "touch": lambda store: store.memories.touch(["a"], NOW),
    "create_space": lambda store: store.spaces.create("other", 2, metric="l2", model="m"),
    "create_branch": lambda store: store.branches.create("other", "main"),
    "create_checkpoint": lambda store: store.checkpoints.create("v2"),
    "ingest": lambda store: store.ingest(export(store)),
    "delete_checkpoint": lambda store: store.checkpoints.delete("v1"),
    "delete_branch": lambda store: store.branches.delete("lab", cascade=True),
    "drop_space": lambda store: store.spaces.drop("near"),
    "purge": lambda store: store.purge("memories", "a"),
    "compact": lambda store: store.compact(keep=1, lease=timedelta(0)),
    "drop_namespace": lambda store: store.namespaces.drop("other"),
}

#: All hooks but the one that ends a store.
HOOKS = {name for name in vars(perdure.PersistenceBackend) if not name.startswith("_")} - {"close"}
