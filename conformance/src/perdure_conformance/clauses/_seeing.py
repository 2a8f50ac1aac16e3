"""What another handle on the same namespace answers, in this process or in another; checks of both share it."""

from __future__ import annotations

from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from perdure import F, Link, Memory, PerdureError, Skill, State, Store, Vector

from perdure_conformance._case import Case
from perdure_conformance._target import Place
from perdure_conformance.expect import equal, holds, unchanged

__all__ = ["ROWS", "SEARCHES", "Ask", "in_process", "in_thread", "refuse_superseded", "renew", "see_commits"]

#: Asks the other handle for one of `READS` or `WRITES`, with arguments.
Ask = Callable[..., Any]


# -------------------------------------------------------------------------------------- the other handle


def in_thread(case: Case) -> Ask:
    """Another handle of this process."""
    store = case.store()
    return lambda name, *args: answered(store, name, *args)


def in_process(case: Case) -> Ask:
    """A handle of another process, which stays open from question to question."""
    child = case.spawn(answer, case.place, case.namespace)

    def ask(name: str, *args: Any) -> Any:
        child.send((name, *args))
        return child.recv()

    return ask


def answer(pipe: Connection, place: Place, namespace: str) -> None:
    """Answer questions until there are no more."""
    with place.open(namespace) as store:
        while True:
            pipe.send(answered(store, *pipe.recv()))


def answered(store: Store, name: str, *args: Any) -> Any:
    """One answer; the code of the error where it was refused."""
    try:
        return (READS.get(name) or WRITES[name])(store, *args)
    except PerdureError as error:
        return f"refused: {error.code}"


# ---------------------------------------------------------------------------------------- what it is asked


def scores(store: Store, space: str) -> list[tuple[str, float]]:
    """What a search of all vectors of a space finds."""
    return [(hit.record.id, hit.score) for hit in store.vectors.search([1, 0], space=space)]


READS: dict[str, Callable[..., Any]] = {
    "get": lambda store: store.memories["a"].text,
    "get_many": lambda store: [m and m.text for m in store.memories.get_many(["a", "b"])],
    "find": lambda store: [m.id for m in store.memories.find(F.kind == "shown")],
    "page": lambda store: [m.id for m in store.memories.find(order_by="-text", limit=3)],
    "scan": lambda store: [(m.id, m.text) for m in store.memories.scan()],
    "count": lambda store: store.memories.count(),
    "arrow": lambda store: store.memories.to_arrow(columns=["id", "text"]).to_pylist(),
    "version": lambda store: store.memories.version("a"),
    "head": lambda store: store.head().commit,
    "log": lambda store: [commit.id for commit in store.log()],
    "feed": lambda store: sum(item.batch is not None for item in store.changes()),
    "neighbors": lambda store: [link.target for link in store.links.neighbors("a")],
    "matching": lambda store: [skill.id for skill in store.skills.matching("fire!")],
    "payload": lambda store: [state.payload for state in store.states.scan()],
    "stats": lambda store: store.stats().rows["memories"],
    "lab": lambda store: [(m.id, m.text) for m in store.branch("lab").memories.scan()],
    "counters": lambda store: store.memories.counters("a").access_count,
    "free": lambda store: scores(store, "free"),
    "bound": lambda store: scores(store, "bound"),
    "owners": lambda store: [h.record.text for h in store.memories.search([1, 0], space="bound")],
    "filtered": lambda store: [
        h.record.id for h in store.memories.search([1, 0], space="bound", where=F.kind == "shown")
    ],
}

#: Reads of rows, and of vectors; each finds something else after `change`.
SEARCHES = ("free", "bound", "owners", "filtered")
ROWS = tuple(name for name in READS if name not in SEARCHES)

WRITES: dict[str, Callable[..., Any]] = {
    "expect_head": lambda store, head, _: store.memories.put(Memory(id="late"), expect_head=head),
    "if_version": lambda store, _, version: store.memories.put(Memory(id="a"), if_version=version),
    "update": lambda store, _, version: store.memories.update("a", text="late", if_version=version),
    "delete": lambda store, _, version: store.memories.delete("a", if_version=version),
    "if_absent": lambda store, *_: store.memories.put(Memory(id="new"), if_absent=True),
    "insert": lambda store, *_: store.memories.insert([Memory(id="late"), Memory(id="new")]),
    "merge": lambda store, head, _: store.merge("lab", expect_head=head),
    "revert": lambda store, head, _: store.revert(head, expect_head=head),
}


def prepare(store: Store) -> None:
    """Rows, vectors and a branch."""
    store.spaces.create("free", 2, metric="dot")
    store.spaces.create("bound", 2, metric="dot", table="memories")
    with store.batch() as batch:
        batch.memories.put(Memory(id="a", text="first"), vector={"bound": [1, 0]})
        batch.memories.put(Memory(id="b", text="first"), vector={"bound": [2, 0]})
        batch.vectors.put(Vector(space="free", id="v", values=[1, 0]))
    store.branch("lab").memories.put(Memory(id="on-lab", text="first"))


def change(store: Store) -> None:
    """Commits that every read shows."""
    with store.batch() as batch:
        batch.memories.put(Memory(id="a", text="second", kind="shown"), vector={"bound": [5, 0]})
        batch.memories.put(Memory(id="new", text="second"), vector={"bound": [3, 0]})
        batch.memories.delete("b")
        batch.vectors.put(Vector(space="free", id="w", values=[7, 0]))
        batch.links.put(Link(id="l", source="a", target="new"))
        batch.skills.put(Skill(id="s", trigger="fire"))
        batch.states.put(State(kind="k", id="s", payload=b"bytes"))
    store.memories.put(Memory(id="c", text="second"))
    store.memories.touch(["a"])
    store.branch("lab").memories.put(Memory(id="on-lab", text="second"))


# --------------------------------------------------------------------------------------------- the checks


def see_commits(case: Case, other: Callable[[Case], Ask], reads: tuple[str, ...]) -> None:
    """A handle that has read sees what another one commits."""
    store = case.store()
    prepare(store)
    ask = other(case)
    before = {name: [ask(name), ask(name)][1] for name in reads}
    change(store)
    for name in reads:
        now = READS[name](store)
        holds(now != before[name], f"{name} shows the commits to the handle that made them", now)
        equal(ask(name), now, f"{name} of a handle that had read before another one committed")


def renew(case: Case, other: Callable[[Case], Ask]) -> None:
    """A handle that has read sees that another one deleted a branch and a space, and made others of the names."""
    store = case.store()
    prepare(store)
    ask = other(case)
    equal((ask("lab")[-1], ask("free")), (("on-lab", "first"), [("v", 1.0)]), "what the handle read before")
    store.branches.delete("lab")
    store.spaces.drop("free")
    equal(ask("free"), "refused: not_found", "a search of a space that was dropped")
    store.spaces.create("free", 2, metric="l2")
    store.branch("lab")
    equal(ask("free"), [], "a search of a new space of the same name")
    store.vectors.put(Vector(space="free", id="n", values=[1, 2]))
    equal(ask("free"), [("n", -2.0)], "a search of the new space by its metric")
    equal(ask("lab"), [("a", "first"), ("b", "first")], "the rows of a new branch of the same name")


def refuse_superseded(case: Case, other: Callable[[Case], Ask]) -> None:
    """What a handle computed on an older state is refused, and writes nothing."""
    store = case.store()
    prepare(store)
    ask = other(case)
    head, version = ask("head"), ask("version")
    change(store)
    expected = dict.fromkeys(("expect_head", "merge", "revert"), "refused: stale_head")
    expected |= dict.fromkeys(("if_version", "update", "delete", "if_absent"), "refused: version_conflict")
    expected["insert"] = "refused: already_exists"
    for name, refusal in expected.items():
        with unchanged(store):
            equal(ask(name, head, version), refusal, f"{name} of a handle after another one committed")
