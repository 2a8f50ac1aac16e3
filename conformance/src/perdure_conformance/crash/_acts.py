"""What is interrupted: operations on a store whose outcome is known beforehand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from perdure import HistoryEvent, Link, Memory, Skill, State, Store, Trace

from perdure_conformance._target import Place

__all__ = ["ACTS", "Act", "Scene", "fill", "history", "moved", "ready"]

#: The id of the commit that an act makes, where it makes one.
COMMIT = "the-act"

#: Several pieces of a payload, each other than the others.
PAYLOAD = b"".join(bytes([piece]) * 60_000 for piece in range(4))


@dataclass
class Scene:
    """Where an act takes place.

    Attributes:
        place: Of the store.
        namespace: Which nothing else uses.
        events: The history that the namespace holds before the act, or that the act brings.
        store: The handle; None until the act opens it.
    """

    place: Place
    namespace: str
    events: Sequence[HistoryEvent]
    store: Store | None = None

    @property
    def open(self) -> Store:
        """The handle, opened now where it is not open yet."""
        if self.store is None:
            self.store = self.place.open(self.namespace)
        return self.store


@dataclass(frozen=True)
class Act:
    """One operation.

    Attributes:
        name: What a report calls it.
        perform: Does it; done again, it leaves what it left the first time.
        opens: Whether the namespace does not exist before, so that the act creates it.
        empty: Whether the namespace is there, and empty, before.
        whole: Whether it is one commit, or one step that the specification calls atomic: then a state in
            between is a fault. Else (compaction, purge) it may stop half-way, and what counts is that the
            rows that it is not about stay, and that doing it again ends it.
        needs: A capability.
    """

    name: str
    perform: Callable[[Scene], Any]
    opens: bool = False
    empty: bool = False
    whole: bool = True
    needs: str = "persistent"


def moved(place: Place, directory: Path) -> Place:
    """The place that the same URL would be with another directory for its `{tmp}`."""
    if place.directory is None:
        raise ValueError("a place without a directory cannot be moved")
    return replace(place, url=place.url.replace(str(place.directory), str(directory)), directory=directory)


def group(batch: Any, name: str, mark: str, payload: bytes) -> None:
    """Rows of all six tables that belong together."""
    batch.memories.put(
        Memory(id=name, kind=mark, text=f"text of {mark}", tags=[mark]), vector=[1.0, len(mark)]
    )
    batch.links.put(Link(id=name, source=name, target=name, relation=mark))
    batch.skills.put(Skill(id=name, name=mark, success_count=len(mark)))
    batch.traces.put(Trace(id=name, session=mark, steps=[mark, 1]))
    batch.states.put(State(kind="group", id=name, metrics=mark, payload=payload))


def fill(store: Store) -> None:
    """A small history with two branches that both went on, a checkpoint, vectors and payloads."""
    store.spaces.create("space", 2, table="memories")
    store.skills.put(Skill(id="count"), commit_id="first")
    for number in range(3):
        with store.batch(commit_id=f"fill-{number}") as batch:
            group(batch, f"g{number}", f"mark {number}", PAYLOAD[: 70_000 * number])
            batch.skills.increment("count", success_count=1)
    lab = store.branch("lab")
    for number in (1, 7):
        with lab.batch(commit_id=f"lab-{number}") as batch:
            group(batch, f"g{number}", f"lab {number}", PAYLOAD[100_000:])
            batch.skills.increment("count", success_count=10)
    store.checkpoints.create("mark", metrics={"loss": 0.5})
    store.memories.update("g2", text="changed on main")
    store.branches.create("spare")


def history(place: Place, namespace: str) -> list[HistoryEvent]:
    """What `fill` leaves, as events."""
    with place.open(namespace) as store:
        fill(store)
        return list(store.export())


def ready(scene: Scene, act: Act) -> None:
    """Bring the namespace into the state before the act."""
    if not act.opens:
        scene.open.memories.count()
    if not (act.opens or act.empty):
        scene.open.ingest(scene.events)


# ------------------------------------------------------------------------------------------- the acts


def batch(scene: Scene) -> None:
    """A batch over all tables, with a vector, new payload pieces, a deletion and a counter."""
    with scene.open.batch(commit_id=COMMIT, message="the act") as batch:
        group(batch, "g0", "changed", PAYLOAD[50_000:])
        group(batch, "g9", "new", PAYLOAD[::-1])
        batch.memories.delete("g1")
        batch.skills.increment("count", success_count=1)


def merge(scene: Scene) -> None:
    """A merge of a branch on which several tables changed."""
    scene.open.merge("lab", strategy="theirs", commit_id=COMMIT)


def revert(scene: Scene) -> None:
    """The undoing of a commit of several rows."""
    scene.open.revert("fill-1", strategy="theirs", commit_id=COMMIT)


def create_branch(scene: Scene) -> None:
    """A fork, where there is none yet of that name."""
    scene.open.branch("new")


def delete_branch(scene: Scene) -> None:
    """The deletion of a branch that nothing rests on."""
    if any(branch.name == "spare" for branch in scene.open.branches.list()):
        scene.open.branches.delete("spare")


def create_checkpoint(scene: Scene) -> None:
    """A name for the head."""
    if all(checkpoint.name != "new" for checkpoint in scene.open.checkpoints.list()):
        scene.open.checkpoints.create("new", metrics=[1, 2])


def compact(scene: Scene) -> None:
    """A compaction that drops all that it may."""
    scene.open.compact(keep=1, lease=timedelta(0))


def purge(scene: Scene) -> None:
    """The erasure of a row with a vector, and of one with payload pieces."""
    scene.open.memories.purge("g1")
    scene.open.states.purge(("group", "g1"))


def ingest(scene: Scene) -> None:
    """The copy of a whole history into a namespace."""
    scene.open.ingest(scene.events)


def create_namespace(scene: Scene) -> None:
    """The first opening of a namespace, and its first commit."""
    scene.open.memories.put(Memory(id="first"), commit_id=COMMIT)


ACTS: dict[str, Act] = {
    act.name: act
    for act in (
        Act("batch", batch),
        Act("merge", merge),
        Act("revert", revert),
        Act("create branch", create_branch),
        Act("delete branch", delete_branch),
        Act("create checkpoint", create_checkpoint),
        Act("compact", compact, whole=False, needs="compact"),
        Act("purge", purge, whole=False, needs="purge"),
        Act("ingest", ingest, empty=True),
        Act("first open", create_namespace, opens=True),
    )
}
