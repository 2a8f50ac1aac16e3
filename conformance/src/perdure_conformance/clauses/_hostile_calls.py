"""Reads and names of a store with malformed arguments: refused, with nothing changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from math import inf, nan
from typing import Any

from perdure import (
    AlreadyExists,
    F,
    InvalidFilter,
    InvalidInput,
    InvalidRecord,
    InvalidRef,
    Link,
    Memory,
    NotFound,
    PerdureError,
    Point,
    Ref,
    Skill,
    State,
    Store,
    Vector,
)

from perdure_conformance._case import Case
from perdure_conformance._checks import check
from perdure_conformance.clauses._hostile_hooks import NO_NAME
from perdure_conformance.expect import refused, unchanged

#: What is no whole number from 0, no flag, and no text that a commit can carry.
NO_LIMIT: tuple[Any, ...] = (-1, -(2**80), 1.0, nan, True, "1", b"1", [1], object())
NO_FLAG: tuple[Any, ...] = (0, 1, None, "yes", [], object())
NO_TEXT: tuple[Any, ...] = ("a\0b", "\ud800", 1, b"a", ["a"], object())

#: Texts and things that are no refs.
NO_REF: tuple[Any, ...] = (
    *("", "@", "main@", "@@", "main@x", "main@-1", "main@1.5", "main@2026-01-01", "main@2026-01-01T00:00"),
    *("main@1@2", "a b", "a\0", "\ud800", "é", "x" * 201, "main@" + "9" * 30, "@a b", "main@ 1", "main@0x1"),
    *(1, 1.5, True, b"main", ["main"], ("main", 1), {}, object(), Ref("a b"), Ref("main", seq=-1)),
    *(
        Ref("main", seq=2**63),
        Ref("main", time=2**63),
        Ref("", commit="a b"),
        Point("b", -1),
        Point("b", 2**63),
    ),
    *(Point("b", 0, time=2**63), Point(1, 0)),  # type: ignore[arg-type]
)

#: Well-formed refs to what is not there.
NOWHERE: tuple[Any, ...] = (
    "never",
    "never@1",
    "never@2026-01-01T00:00Z",
    "@never",
    Point("never", 0),
    Ref("never"),
)


def filled(case: Case) -> Store:
    """A store with a few things of several sorts."""
    store = case.store()
    store.spaces.create("bound", 2, table="memories", model="m")
    store.spaces.create("free", 2)
    store.memories.put(Memory(id="a", title="t", tier=1), vector={"bound": [1.0, 0.0]})
    store.memories.put([Memory(id="b"), Memory(id="c")])
    store.links.put(Link(id="l", source="a", target="b"))
    store.skills.put(Skill(id="s"))
    store.states.put(State(kind="k", id="x", payload=b"p"))
    store.branches.create("lab")
    store.checkpoints.create("mark")
    return store


def whole(result: Any) -> None:
    """Take all that a call gives: one that streams may refuse when it is first asked for an item."""
    if isinstance(result, Iterator):
        for _ in result:
            pass


def refuse(errors: Any, what: str, call: Callable[[Any], Any], bad: Iterable[Any]) -> None:
    """The call refuses each of these arguments with this error."""
    kinds: tuple[type[PerdureError], ...] = errors if isinstance(errors, tuple) else (errors,)
    for value in bad:
        with refused(*kinds, what=f"{what} {value!r:.80}"):
            whole(call(value))


@check("RE-002", "RE-004", "ER-001")
def malformed_refs_are_refused(case: Case) -> None:
    """Every call that takes a ref refuses a malformed one with `InvalidRef`, and an unknown one with `NotFound`."""
    store = filled(case)
    calls: dict[str, Callable[[Any], Any]] = {
        "a read at": lambda ref: store.at(ref).memories.count(),
        "log": store.log,
        "diff from": store.diff,
        "diff to": lambda ref: store.diff("main", ref),
        "merge of": store.merge,
        "stats of": store.stats,
        "branch at": lambda ref: store.branches.create("new", ref),
        "checkpoint at": lambda ref: store.checkpoints.create("new", ref),
    }
    with unchanged(store):
        for what, call in calls.items():
            refuse(InvalidRef, what, call, NO_REF)
            refuse(NotFound, what, call, NOWHERE)


@check("RE-003", "BR-008", "ER-001")
def malformed_names_are_refused(case: Case) -> None:
    """Branches, checkpoints and spaces of malformed names are refused with `InvalidRef`, by every call."""
    store = filled(case)
    bad = [name for name in NO_NAME if name is not None]
    calls: dict[str, Callable[[Any], Any]] = {
        "store.branch": store.branch,
        "create branch": store.branches.create,
        "delete branch": store.branches.delete,
        "create checkpoint": store.checkpoints.create,
        "delete checkpoint": store.checkpoints.delete,
        "create space": lambda name: store.spaces.create(name, 2),
        "drop space": store.spaces.drop,
        "merge into": lambda name: store.merge("lab", into=name),
        "open the branch": lambda name: case.store(branch=name),
        "commit id": lambda name: store.memories.put(Memory(id="n"), commit_id=name),
        "revert of": store.revert,
    }
    with unchanged(store):
        for what, call in calls.items():
            refuse(InvalidRef, what, call, bad)
        refuse(AlreadyExists, "create branch", store.branches.create, ["main", "lab", "mark"])
        refuse(AlreadyExists, "create checkpoint", store.checkpoints.create, ["main", "lab", "mark"])
        refuse(AlreadyExists, "store.branch", store.branch, ["mark"])


@check("RE-004", "ER-001")
def names_that_are_not_there_are_not_found(case: Case) -> None:
    """Looking up, deleting or opening what there is not is refused with `NotFound`."""
    store = filled(case)
    calls: dict[str, Callable[[Any], Any]] = {
        "get branch": store.branches.get,
        "delete branch": store.branches.delete,
        "get checkpoint": store.checkpoints.get,
        "delete checkpoint": store.checkpoints.delete,
        "get space": store.spaces.get,
        "drop space": store.spaces.drop,
        "open the branch": lambda name: case.store(branch=name),
        "merge into": lambda name: store.merge("lab", into=name),
        "revert of": store.revert,
        "table": store.table,
        "search in": lambda name: store.memories.search([1.0, 0.0], space=name),
    }
    with unchanged(store):
        for what, call in calls.items():
            refuse(NotFound, what, call, ["never", "x" * 200])


@check("HK-013", "ER-001")
def malformed_questions_are_refused(case: Case) -> None:
    """Limits, depths, columns and cursors that are malformed are refused with `InvalidInput`."""
    store = filled(case)
    memories = store.memories
    cursor = memories.find(limit=1).cursor or ""
    other = memories.find(F.tier.is_null(), limit=1).cursor or ""
    cursors: list[Any] = ["", "x", cursor[:-1], cursor + "x", other, "\ud800", "é", 1, b"", ["x"], object()]
    columns: list[Any] = ["id", ["nope"], ["id", None], [], [1], 1, b"id", [["id"]], ["a\0"], ["\ud800"]]
    with unchanged(store):
        refuse(InvalidInput, "find with limit", lambda n: memories.find(limit=n), NO_LIMIT)
        refuse(InvalidInput, "to_batches with limit", lambda n: memories.to_batches(limit=n), NO_LIMIT)
        refuse(InvalidInput, "log with limit", lambda n: store.log(limit=n), NO_LIMIT)
        refuse(InvalidInput, "neighbors with limit", lambda n: store.links.neighbors("a", limit=n), NO_LIMIT)
        refuse(InvalidInput, "chain with max_depth", lambda n: store.links.chain("a", max_depth=n), NO_LIMIT)
        refuse(InvalidInput, "to_arrow with columns", lambda names: memories.to_arrow(columns=names), columns)
        refuse(InvalidInput, "find after", lambda text: memories.find(limit=1, after=text), cursors)
        refuse(InvalidInput, "find of states after", lambda text: store.states.find(after=text), [cursor])
        refuse(
            (NotFound, InvalidInput),
            "diff of tables",
            lambda t: store.diff("main", tables=t),
            ["memories", ["no"], 1],
        )


@check("FI-144", "ER-001")
def malformed_filters_and_orders_are_refused(case: Case) -> None:
    """Filters and orders that the table does not take are refused with `InvalidFilter` by every call."""
    store = filled(case)
    memories = store.memories
    bad: list[Any] = [
        "id = 'a'",
        1,
        True,
        b"",
        ["a"],
        object(),
        {"nope": 1},
        {"tier": "a"},
        {"tier": {"$nope": 1}},
    ]
    bad += [
        F.nope == 1,
        F.tags == "a",
        F.tier == "a",
        F.title > 1,
        {1: 1},
        {"tier": nan},
        {"expires_at": "x"},
    ]
    orders: list[Any] = [
        "nope",
        "",
        "-",
        "--tier",
        "content",
        "tags",
        ["tier", "-tier"],
        [None],
        1,
        b"tier",
        {"a": 1},
    ]
    calls: dict[str, Callable[[Any], Any]] = {
        "find": memories.find,
        "scan": memories.scan,
        "count": memories.count,
        "to_arrow": memories.to_arrow,
        "search": lambda where: memories.search([1.0, 0.0], where=where),
    }
    with unchanged(store):
        for what, call in calls.items():
            refuse(InvalidFilter, what, call, bad)
        refuse(InvalidFilter, "find by", lambda order: memories.find(order_by=order), orders)
        refuse(InvalidFilter, "scan by", lambda order: memories.scan(order_by=order), orders)


@check("VE-006", "VE-007", "VE-008", "VE-037", "ER-001", level="vectors")
def malformed_vectors_are_refused(case: Case) -> None:
    """Vectors of another size, with numbers that are not finite or too great, or of no length are refused."""
    store = filled(case)
    memories, vectors = store.memories, store.vectors
    bad: list[Any] = [
        [],
        [1.0],
        [1.0] * 3,
        [[1.0, 0.0]],
        [nan, 1.0],
        [inf, 0.0],
        [1e101, 0.0],
        [0.0, 0.0],
        ["a", "b"],
    ]
    bad += [[1e-101, 0.0], 1.0, "ab", b"ab", [True, False], [1j, 0j], [10**400, 1], object(), [None, 1.0]]
    with unchanged(store):
        refuse(InvalidRecord, "vector", lambda v: vectors.put(Vector(space="free", id="v", values=v)), bad)
        refuse(InvalidRecord, "vector=", lambda v: memories.put(Memory(id="a"), vector=v), bad)
        refuse(InvalidRecord, "search for", memories.search, bad)
        refuse(InvalidRecord, "update to", lambda v: vectors.update(("bound", "a"), values=v), bad)
        refuse(
            NotFound, "space", lambda s: vectors.put(Vector(space=s, id="v", values=[1.0, 0.0])), ["never"]
        )
        refuse(
            InvalidRecord,
            "owner",
            lambda i: vectors.put(Vector(space="bound", id=i, values=[1.0, 0.0])),
            ["never"],
        )
        refuse(
            InvalidRecord,
            "model",
            lambda m: memories.put(Memory(id="a"), vector=[1.0, 0.0], model=m),
            ["other"],
        )
        refuse(InvalidRecord, "search of model", lambda m: memories.search([1.0, 0.0], model=m), ["other"])
        refuse(InvalidInput, "search with k", lambda k: memories.search([1.0, 0.0], k=k), [*NO_LIMIT, None])
        refuse(InvalidInput, "search with exact", lambda f: memories.search([1.0, 0.0], exact=f), NO_FLAG)
        refuse(InvalidInput, "search of free in", lambda s: memories.search([1.0, 0.0], space=s), ["free"])


@check("VE-002", "ER-001", level="vectors")
def malformed_space_definitions_are_refused(case: Case) -> None:
    """Dimensions, dtypes, metrics, models and tables that no space has are refused with `InvalidInput`."""
    store = filled(case)
    dims: list[Any] = [0, -1, 65_537, 2**80, 1.0, True, "2", None, [2]]
    words: list[Any] = ["", "int8", "FLOAT32", "a\0", None, 1, b"cosine", ["l2"], object()]
    tables: list[Any] = ["vectors", "nope", "", 1, ["memories"], object()]
    create = store.spaces.create
    with unchanged(store):
        refuse(InvalidInput, "dim", lambda dim: create("new", dim), dims)
        refuse(InvalidInput, "dtype", lambda dtype: create("new", 2, dtype=dtype), words)
        refuse(InvalidInput, "metric", lambda metric: create("new", 2, metric=metric), words)
        refuse(InvalidInput, "table", lambda table: create("new", 2, table=table), tables)
        refuse(InvalidInput, "model", lambda model: create("new", 2, model=model), [*NO_TEXT, None])
        refuse(AlreadyExists, "another definition", lambda dim: create("free", dim), [1, 3])
