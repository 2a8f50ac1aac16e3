"""Checkpoints: names for points that never move."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from perdure import AlreadyExists, Memory, NotFound, PermissionDenied, Ref, State

from perdure_conformance._case import Case
from perdure_conformance._checks import check
from perdure_conformance.clauses._shown import ids
from perdure_conformance.expect import equal, refused, same_value, unchanged


@check("BR-012", level="branches")
def a_checkpoint_does_not_move(case: Case) -> None:
    """A checkpoint reads the same after later commits, merges and forks, on its branch and from every handle."""
    store = case.store()
    store.memories.put([Memory(id="a", title="old"), Memory(id="b")])
    store.states.put(State(kind="k", id="x", payload=b"old"))
    made = store.checkpoints.create("mark")
    with store.batch() as batch:
        batch.memories.put([Memory(id="a", title="new"), Memory(id="c")])
        batch.memories.delete("b")
        batch.states.put(State(kind="k", id="x", payload=b"new"))
    store.branch("lab").memories.put(Memory(id="l"))
    store.merge("lab")
    for handle in (store, case.store()):
        equal(handle.checkpoints.get("mark"), made, "the checkpoint later")
        view = handle.at("mark")
        found = (view.point, ids(view), view.memories["a"].title, view.states[("k", "x")].payload)
        equal(found, (made.point, ["a", "b"], "old", b"old"), "the point and the rows at the checkpoint")


@check("BR-012", level="branches")
def checkpoints_name_any_point(case: Case) -> None:
    """A checkpoint can be made of a head, a commit, a number, a time, a point, a checkpoint and the empty store."""
    store = case.store()
    points = []
    store.checkpoints.create("empty")
    for number in range(4):
        done = store.memories.put(Memory(id=f"m{number}"), commit_id=f"c{number}")
        points.append(done.point if done else None)
    store.branch("lab").memories.put(Memory(id="own"))
    last, expected = points[1], [f"m{number}" for number in range(2)]
    assert last is not None
    places: dict[str, Any] = {
        "commit": "@c1",
        "number": f"main@{last.seq}",
        "before-the-fork": f"lab@{last.seq}",
        "point": last,
        "checkpoint": "commit",
    }
    for name, at in places.items():
        equal(
            store.checkpoints.create(name, at).point.commit, "c1", f"the commit of a checkpoint of a {name}"
        )
    store.checkpoints.create("fork", "lab")
    store.checkpoints.create("time", Ref("main", time=points[3].time if points[3] else 0))
    store.branch("lab").memories.delete("m0")
    store.memories.delete(["m0", "m1"])
    shows = {name: ids(store.at(name)) for name in (*places, "fork", "time", "empty")}
    four = [f"m{number}" for number in range(4)]
    equal(
        shows,
        dict.fromkeys(places, expected) | {"fork": [*four, "own"], "time": four, "empty": []},
        "the rows",
    )


@check("BR-012", level="branches")
def checkpoints_keep_metrics_and_messages(case: Case) -> None:
    """The metrics of a checkpoint, of any value, and its message are kept as given."""
    store = case.store()
    metrics = {
        "none": None,
        "number": 0.1,
        "nested": {"b": [1, 1.0, (True, None)], "a": {"z": b"\0", "ü": {1, 2}}},
        "text": "😀\n'",
        "nan": float("nan"),
    }
    for name, value in metrics.items():
        store.checkpoints.create(name, metrics=value, message=f"of {name} é\n")
    for handle in (store, case.store()):
        equal([c.name for c in handle.checkpoints.list()], sorted(metrics), "the checkpoints, by name")
        for name, value in metrics.items():
            same_value(handle.checkpoints.metrics(name), value, f"the metrics of {name}")
            equal(handle.checkpoints.get(name).message, f"of {name} é\n", f"the message of {name}")


@check("BR-008", "BR-012", level="branches")
def a_checkpoint_is_not_made_twice(case: Case) -> None:
    """A checkpoint's name cannot be given anew, not even to the same point, and nobody can write to it."""
    store = case.store()
    store.memories.put(Memory(id="a"))
    store.checkpoints.create("mark", metrics=1)
    store.memories.put(Memory(id="b"))
    with unchanged(store):
        for at in ("main", "mark", "main@0"):
            with refused(AlreadyExists, what=f"a checkpoint of the same name at {at}"):
                store.checkpoints.create("mark", at, metrics=2)
        with refused(PermissionDenied, what="a write to a checkpoint"):
            store.at("mark").memories.put(Memory(id="c"))
        with refused(NotFound, what="a merge into a checkpoint"):
            store.merge("main", into="mark")
        with refused(NotFound, what="a commit on a checkpoint"):
            case.store(branch="mark")
    equal((store.checkpoints.metrics("mark"), ids(store.at("mark"))), (1, ["a"]), "the checkpoint after that")


@check("BR-012", level="branches")
def a_deleted_checkpoint_is_gone_alone(case: Case) -> None:
    """Deleting a checkpoint drops its name and nothing else; it cannot be deleted twice, and can be made anew."""
    store = case.store()
    store.memories.put(Memory(id="a"), commit_id="c0")
    store.checkpoints.create("mark")
    store.checkpoints.create("other")
    store.memories.put(Memory(id="b"))
    store.checkpoints.delete("mark")
    with refused(NotFound, what="a read at a deleted checkpoint"):
        store.at("mark")
    with unchanged(store):
        for name in ("mark", "main", "none"):
            with refused(NotFound, what=f"deleting a checkpoint {name}"):
                store.checkpoints.delete(name)
    equal((ids(store), ids(store.at("@c0")), ids(store.at("other"))), (["a", "b"], ["a"], ["a"]), "the rows")
    store.checkpoints.create("mark")
    equal(ids(store.at("mark")), ["a", "b"], "the rows at a new checkpoint of the old name")


@check("BR-012", level="branches", needs=("compact",))
def a_checkpoint_survives_compaction(case: Case) -> None:
    """What checkpoints name stays readable, and the same, through repeated compactions of everything else."""
    store = case.store()
    store.spaces.create("s", 1)
    lab = store.branch("lab")
    for number in range(8):
        for here in (store, lab):
            with here.batch() as batch:
                batch.memories.put([Memory(id="hot", tier=number), Memory(id=f"m{number}")])
                batch.memories.delete(f"m{number - 2}")
                batch.vectors.put({"space": "s", "id": "v", "values": [float(number + 1)]})
                batch.states.put(State(kind="k", id="x", payload=bytes([number]) * 70_000))
            if number in (0, 3, 4):
                store.checkpoints.create(f"{here.branch_name}{number}", here.branch_name)

    def read(view: Any) -> Any:
        rows = [(m.id, m.tier) for m in view.memories.scan()]
        hits = [
            (hit.record.id, list(hit.record.values))
            for hit in view.vectors.search([1.0], space="s", exact=True)
        ]
        return (
            rows,
            hits,
            view.states[("k", "x")].payload,
            view.memories.version("hot"),
            view.memories.count(),
        )

    names = [checkpoint.name for checkpoint in store.checkpoints.list()]
    before = {name: read(store.at(name)) for name in names}
    for _ in range(2):
        store.compact(lease=timedelta(0))
        for handle in (store, case.store()):
            for name in names:
                equal(read(handle.at(name)), before[name], f"reads at {name} after a compaction")
        store.memories.put(Memory(id="later"))
    store.branches.create("from-mark", "main3")
    equal(read(store.branch("from-mark")), before["main3"], "a fork of a checkpoint after the compactions")
