"""Embedding spaces: what they are, what dropping one does, and which vectors they take."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from perdure import (
    AlreadyExists,
    CommitRequest,
    InvalidInput,
    InvalidRecord,
    Memory,
    NotFound,
    Put,
    Ref,
    Space,
    Store,
    Vector,
)

from perdure_conformance._case import Case
from perdure_conformance._checks import check
from perdure_conformance.expect import equal, holds, refused, unchanged

NAN, INF = float("nan"), float("inf")

DTYPES: tuple[Any, ...] = ("float16", "float32", "float64")
METRICS: tuple[Any, ...] = ("cosine", "l2", "dot")


def ids(view: Any) -> list[tuple[str, str]]:
    """The keys of all vectors that a store or a snapshot shows."""
    return [(vector.space, vector.id) for vector in view.vectors.scan()]


def definition(space: Space) -> tuple[Any, ...]:
    """All of a space but when it was made."""
    return (space.name, space.dim, space.dtype, space.metric, space.model, space.table)


@check("VE-002", level="vectors")
def a_space_is_what_it_was_made_as(case: Case) -> None:
    """Each dtype and metric, the least and greatest dimension, a model and a table come back as given, by name."""
    store = case.store()
    want: list[tuple[Any, ...]] = [
        ("a", 1, "float16", "cosine", "", None),
        ("b", 65_536, "float32", "l2", "a model: ünïcode, 7b", None),
        ("c", 3, "float64", "dot", "m", "memories"),
        ("d/e-f_g.h", 2, "float32", "cosine", "m", "states"),
    ]
    for name, dim, dtype, metric, model, table in reversed(want):
        made = store.spaces.create(name, dim, dtype=dtype, metric=metric, model=model, table=table)
        holds(definition(made) in want, "what creating a space returns", made)
    for handle in (store, case.store()):
        equal([definition(space) for space in handle.spaces.list()], want, "the spaces")
    equal(definition(store.spaces.get("c")), want[2], "a space by its name")
    with refused(NotFound, what="a space that is not there"):
        store.spaces.get("nothing")


@check("VE-002", level="vectors")
def a_space_that_can_be_none_is_refused(case: Case) -> None:
    """Another dimension, dtype, metric or table than there are."""
    store = case.store()
    wrong: list[dict[str, Any]] = [
        {"dim": 0},
        {"dim": -1},
        {"dim": 65_537},
        {"dim": 2**70},
        {"dim": 2, "dtype": "float8"},
        {"dim": 2, "metric": "manhattan"},
        {"dim": 2, "table": "vectors"},
        {"dim": 2, "table": "nothing"},
    ]
    for options in wrong:
        with refused(InvalidInput, what=f"a space with {options}"):
            store.spaces.create("s", **options)
    equal(store.spaces.list(), [], "the spaces")


@check("VE-001", level="vectors")
def spaces_belong_to_the_namespace_and_not_to_history(case: Case) -> None:
    """A space is there on every branch and makes no commit, wherever it was created; branches come and go."""
    store = case.store()
    store.memories.put(Memory(id="m"))
    old, head = store.branch("old"), store.head()
    old.spaces.create("s", 2)
    equal(store.head(), head, "the head of main after a space was created")
    equal([space.name for space in store.spaces.list()], ["s"], "the spaces that main sees")
    for view in (store, old, store.branch("new")):
        view.vectors.put(Vector(space="s", id="v", values=[1, 0]))
        equal([f.record.id for f in view.vectors.search([1, 0], space="s")], ["v"], "what a search finds")
    equal(store.at(head).vectors.search([1, 0], space="s"), [], "what a search finds at a point before it")
    store.branches.delete("old")
    equal([space.name for space in store.spaces.list()], ["s"], "the spaces after the branch was deleted")


@check("VE-001", "VE-003", level="vectors")
def a_space_does_not_change(case: Case) -> None:
    """The same definition again gives the first space; any other is refused, and changes nothing."""
    store = case.store()
    first = store.spaces.create("s", 2, dtype="float32", metric="cosine", model="m", table="memories")
    store.memories.put(Memory(id="a"), vector=[1, 0])
    again = case.store().spaces.create("s", 2, dtype="float32", metric="cosine", model="m", table="memories")
    equal(again, first, "the space that was there")
    base: dict[str, Any] = {
        "dim": 2,
        "dtype": "float32",
        "metric": "cosine",
        "model": "m",
        "table": "memories",
    }
    others: dict[str, Any] = {"dim": 3, "dtype": "float64", "metric": "dot", "model": "n", "table": None}
    for name, other in others.items():
        with refused(AlreadyExists, what=f"a space with another {name}"), unchanged(store):
            store.spaces.create("s", **(base | {name: other}))
    equal(store.spaces.list(), [first], "the spaces")


@check("VE-004", level="vectors")
def dropping_a_space_erases_its_vectors_everywhere(case: Case) -> None:
    """From heads, branches, checkpoints and past points; rows and other spaces stay."""
    store = case.store()
    for name, table in (("gone", "memories"), ("stays", "memories"), ("free", None)):
        store.spaces.create(name, 2, table=table)
    store.memories.put(Memory(id="m"), vector={"gone": [1, 0], "stays": [0, 1]})
    store.vectors.put(Vector(space="free", id="f", values=[1, 1]))
    then = store.head()
    store.checkpoints.create("mark")
    lab = store.branch("lab")
    lab.memories.put(Memory(id="n"), vector={"gone": [1, 1]})
    store.vectors.delete(("gone", "m"))
    store.spaces.drop("gone")
    want = [("free", "f"), ("stays", "m")]
    for view in (store, lab, store.at(then), store.at("mark"), case.store()):
        equal(ids(view), want, f"the vectors of {view!r}")
    equal([m.id for m in lab.memories.scan()], ["m", "n"], "the memories on the branch")
    equal([space.name for space in store.spaces.list()], ["free", "stays"], "the spaces")
    with refused(NotFound, what="a search in a dropped space"):
        store.memories.search([1, 0], space="gone")
    with refused(NotFound, what="dropping a space twice"):
        store.spaces.drop("gone")


@check("VE-004", level="vectors")
def a_space_that_is_created_again_is_empty(case: Case) -> None:
    """A new space of a dropped one's name has no vectors, also where the old one had, and may be of another kind."""
    store = case.store()
    store.spaces.create("s", 2, metric="l2")
    store.vectors.put([Vector(space="s", id=f"v{n}", values=[n, n]) for n in range(5)])
    then, lab = store.head(), store.branch("lab")
    equal(len(store.vectors.search([0, 0], space="s")), 5, "the hits before")
    store.spaces.drop("s")
    store.spaces.create("s", 3, dtype="float64", metric="dot")
    for view in (store, lab, store.at(then)):
        equal((ids(view), view.vectors.search([1, 1, 1], space="s")), ([], []), f"the vectors of {view!r}")
    store.vectors.put(Vector(space="s", id="v0", values=[1, 2, 3]))
    equal([(f.record.id, f.score) for f in store.vectors.search([1, 1, 1], space="s")], [("v0", 6.0)], "hits")
    equal(ids(store.at(then)), [], "the vectors at the point of the old space")


#: For each dtype, numbers that are kept only if nothing rounds them.
EXACT: dict[Any, list[Any]] = {
    "float16": [0.0, -0.0, 6e-08, -6e-08, 65504.0, -65504.0, 0.333251953125, 6.1e-05],
    "float32": [0.0, -0.0, 1e-45, -1e-45, 3.4028234663852886e38, -1.1754944e-38, 0.1, 16777217.0],
    "float64": [0.0, -0.0, 5e-324, -5e-324, 1e100, -1e100, 0.1, 16777217.0],
}


@check("VE-005", level="vectors")
def vectors_are_kept_bit_for_bit(case: Case) -> None:
    """Subnormals, signed zeros, the largest and all other numbers of a dtype come back as they were."""
    store = case.store()
    for dtype, numbers in EXACT.items():
        for metric in METRICS:
            name, values = f"{dtype}-{metric}", np.array(numbers, dtype=dtype)
            store.spaces.create(name, len(numbers), dtype=dtype, metric=metric)
            store.vectors.put(Vector(space=name, id="v", values=values))
            store.vectors.put([Vector(space=name, id="w", values=values[::-1])])
    lab, then = store.branch("lab"), store.head()
    for view in (store, lab, store.at(then), case.store()):
        for vector in view.vectors.scan():
            dtype = vector.space.partition("-")[0]
            want = np.array(EXACT[dtype], dtype=dtype)[:: 1 if vector.id == "v" else -1]
            got = np.asarray(vector.values)
            equal((str(got.dtype), got.tobytes()), (dtype, want.tobytes()), f"{vector.space}, {vector.id}")
    table = store.vectors.to_arrow(columns=["space", "values"])
    for name, raw in zip(table["space"].to_pylist(), table["values"].to_pylist(), strict=True):
        dtype = name.partition("-")[0]
        wanted = np.array(EXACT[dtype], dtype=np.dtype(dtype).newbyteorder("<"))
        holds(raw in (wanted.tobytes(), wanted[::-1].tobytes()), f"the bytes of a vector of {name}", raw)


@check("VE-005", level="vectors")
def numbers_are_rounded_to_the_dtype_once(case: Case) -> None:
    """Wider numbers, ints and lists are kept as the nearest number of the dtype, ties to even."""
    store = case.store()
    numbers = [0.1, 1 / 3, 2049.0, 2051.0, 1e-8, 12345.678]
    for dtype in DTYPES:
        store.spaces.create(dtype, len(numbers), dtype=dtype, metric="l2")
        want = np.array(numbers, dtype=np.float64).astype(dtype)
        for name, given in (
            ("list", numbers),
            ("array", np.array(numbers)),
            ("big", np.array(numbers, dtype=">f8")),
        ):
            store.vectors.put(Vector(space=dtype, id=name, values=given))
            got = np.asarray(store.vectors[dtype, name].values)
            equal(got.tobytes(), want.tobytes(), f"a {name} in {dtype}")
        store.vectors.put(Vector(space=dtype, id="ints", values=np.arange(len(numbers), dtype=np.int8)))
        equal(
            np.asarray(store.vectors[dtype, "ints"].values).tolist(), [0, 1, 2, 3, 4, 5], f"ints in {dtype}"
        )


@check("VE-005", level="vectors")
def a_change_of_one_bit_is_a_change(case: Case) -> None:
    """A vector that differs in the sign of a zero or in its last bit makes a new version; an equal one makes none."""
    store = case.store()
    store.spaces.create("s", 2, dtype="float64", metric="l2")
    store.vectors.put(Vector(space="s", id="v", values=[0.0, 1.0]))
    for values in ([-0.0, 1.0], [-0.0, np.nextafter(1.0, 2.0)]):
        before, version = store.head(), store.vectors.version(("s", "v"))
        store.vectors.put(Vector(space="s", id="v", values=values))
        holds(store.head() != before, f"writing {values} made a commit")
        holds(store.vectors.version(("s", "v")) != version, f"writing {values} made a version")
        with unchanged(store):
            store.vectors.put(Vector(space="s", id="v", values=values))


def writes(store: Store, space: str, values: Any) -> list[Any]:
    """Every way to write a vector of a space bound to memories; `a` is there and has one."""
    vector = Vector(space=space, id="a", values=values)
    good = Vector(space="good", id="a", values=[1, 0])
    return [
        lambda: store.vectors.put(vector),
        lambda: store.vectors.put([good, vector]),
        lambda: store.vectors.update((space, "a"), values=values),
        lambda: store.memories.put(Memory(id="a", tier=5), vector={space: values}),
        lambda: store.memories.put(Memory(id="new"), vector={space: values, "good": [0, 1]}),
    ]


#: Vectors that no space of two dimensions takes.
MALFORMED: dict[str, Any] = {
    "too short": [1.0],
    "too long": [1.0, 0.0, 0.0],
    "empty": [],
    "a matrix": [[1.0, 0.0]],
    "a number": 1.0,
    "NaN": [NAN, 1.0],
    "infinite": [1.0, INF],
    "minus infinite": [-INF, 1.0],
    "beyond what is allowed": [1.0, 1.0000000000000002e100],
    "texts": ["1", "0"],
    "complex": [1j, 0],
    "bools": [True, False],
    "nothing": None,
}


@check("VE-007", level="vectors")
def malformed_vectors_are_refused_and_nothing_is_written(case: Case) -> None:
    """Another dimension or shape, no numbers, not finite ones, or too large ones: in every way to write a vector."""
    for dtype in DTYPES:
        store = case.new_store()
        for name in ("s", "good"):
            store.spaces.create(name, 2, dtype=dtype, metric="l2", table="memories")
        store.memories.put(Memory(id="a"), vector={"s": [1, 0], "good": [1, 0]})
        with unchanged(store):
            for what, values in MALFORMED.items():
                for number, write in enumerate(writes(store, "s", values)):
                    with refused(InvalidRecord, what=f"a vector that is {what}, written in way {number}"):
                        write()


@check("VE-007", level="vectors")
def malformed_vectors_in_arrow_data_are_refused(case: Case) -> None:
    """Lists of another length, nulls, numbers that are not finite and bytes of another length; good ones are taken."""
    store = case.store()
    store.spaces.create("s", 2, dtype="float64", metric="l2")
    lists, raw = pa.list_(pa.float64()), pa.binary()
    good: list[tuple[Any, pa.DataType]] = [
        ([1.0, 0.5], lists),
        (bytes(16), raw),
        ([1.0, 0.5], pa.list_(pa.float64(), 2)),
    ]
    wrong: list[tuple[Any, pa.DataType]] = [
        (values, lists) for values in ([1.0], [1.0] * 3, [NAN, 1.0], [1.0, INF])
    ]
    wrong += [
        ([1.0, 1.1e100], lists),
        ([1.0, None], lists),
        (None, lists),
        (bytes(15), raw),
        (bytes(17), raw),
    ]
    wrong += [
        (b"", raw),
        (np.array([NAN, 1.0]).tobytes(), raw),
        (np.array([1.0, -INF]).tobytes(), raw),
        ("x" * 16, pa.string()),
    ]
    with unchanged(store):
        for values, kind in wrong:
            with refused(InvalidRecord, what=f"Arrow {kind} {values!r}"):
                store.vectors.put(arrow_rows(values, kind))
    for values, kind in good:
        store.vectors.put(arrow_rows(values, kind))
        want = np.frombuffer(values) if isinstance(values, bytes) else np.array(values)
        equal(np.asarray(store.vectors["s", "v"].values).tobytes(), want.tobytes(), f"a vector from {kind}")


def arrow_rows(values: Any, kind: pa.DataType) -> pa.Table:
    """One vector as an Arrow table."""
    return pa.table({"space": ["s"], "id": ["v"], "values": pa.array([values], kind)})


@check("VE-007", level="vectors")
def numbers_beyond_the_dtype_are_refused(case: Case) -> None:
    """A number that a dtype would make infinite is refused; the greatest number of the dtype is taken."""
    store = case.store()
    limits: dict[Any, tuple[float, float]] = {
        "float16": (65504.0, 65520.0),
        "float32": (3.4028234e38, 3.5e38),
        "float64": (1e100, 1.1e100),
    }
    for dtype, (most, more) in limits.items():
        store.spaces.create(dtype, 1, dtype=dtype, metric="dot")
        for sign in (1, -1):
            store.vectors.put(Vector(space=dtype, id="v", values=[sign * most]))
            with refused(InvalidRecord, what=f"{sign * more} in {dtype}"), unchanged(store):
                store.vectors.put(Vector(space=dtype, id="v", values=[sign * more]))


@check("VE-007", level="vectors")
def a_vector_without_length_has_no_cosine(case: Case) -> None:
    """Under cosine a vector of length 0, or below 1e-100, is refused; the other metrics take it."""
    store = case.store()
    tiny = {"zero": [0.0, -0.0], "too short": [1e-101, 1e-101], "subnormal": [5e-324, 0.0]}
    for metric in METRICS:
        store.spaces.create(metric, 2, dtype="float64", metric=metric)
        for what, values in tiny.items():
            if metric == "cosine":
                with refused(InvalidRecord, what=f"a vector that is {what}"), unchanged(store):
                    store.vectors.put(Vector(space=metric, id="v", values=values))
            else:
                store.vectors.put(Vector(space=metric, id=what, values=values))
    store.vectors.put(Vector(space="cosine", id="v", values=[1e-99, 0.0]))
    equal(store.vectors.count(), 7, "the vectors that were taken")


@check("VE-006", level="vectors")
def a_vector_of_an_unknown_space_is_refused(case: Case) -> None:
    """Writing to, or searching in, a space that is not there is `NotFound`, and writes nothing of the batch."""
    store = case.store()
    store.spaces.create("good", 2, table="memories")
    store.memories.put(Memory(id="a"), vector={"good": [1, 0]})
    with unchanged(store):
        for number, write in enumerate(writes(store, "nothing", [1, 0])):
            with refused(NotFound, what=f"a vector of an unknown space, written in way {number}"):
                write()
        with refused(NotFound, what="a search in an unknown space"):
            store.vectors.search([1, 0], space="nothing")


@check("VE-006", level="vectors")
def a_space_that_was_dropped_meanwhile_takes_no_vector(case: Case) -> None:
    """A commit that was prepared before its space was dropped is refused by the backend, also on other branches."""
    store, hooks = case.store(), case.hooks()
    store.spaces.create("s", 2)
    store.vectors.put(Vector(space="s", id="v", values=[1, 0]))
    store.branch("lab")
    (row,) = hooks.fetch(ctx=case.ctx, table="vectors", keys=[("s", "v")], at=Ref("main"))
    store.spaces.drop("s")
    with unchanged(store):
        for branch in ("main", "lab"):
            for name, operation in (
                ("put", Put("vectors", (row,))),
                ("insert", Put("vectors", (row,), mode="insert")),
            ):
                request = CommitRequest(branch=branch, id=f"{name}-{branch}", operations=(operation,))
                with refused(NotFound, what=f"a {name} on {branch} of a vector of a dropped space"):
                    hooks.commit(ctx=case.ctx, request=request)


@check("VE-008", level="vectors")
def a_vector_of_another_model_is_refused(case: Case) -> None:
    """A vector, or a query, that is said to come from another model than the space's; from the same it is taken."""
    store = case.store()
    store.spaces.create("s", 2, model="one", table="memories")
    store.memories.put(Memory(id="a"), vector=[1, 0], model="one")
    vector = Vector(space="s", id="a", values=[0, 1])
    for model in ("two", "One", ""):
        with unchanged(store):
            with refused(InvalidRecord, what=f"a row with a vector of model {model!r}"):
                store.memories.put(Memory(id="b"), vector=[1, 0], model=model)
            with refused(InvalidRecord, what=f"a vector of model {model!r}"):
                store.vectors.put(vector, model=model)
            with refused(InvalidRecord, what=f"vectors of model {model!r}"):
                store.vectors.insert([vector], model=model)
            with refused(InvalidRecord, what=f"a query of model {model!r}"):
                store.memories.search([1, 0], model=model)
    store.vectors.put([vector], model="one")
    found = store.memories.search([0, 1], model="one")
    equal([(f.record.id, f.score) for f in found], [("a", 1.0)], "what a query of the model finds")
