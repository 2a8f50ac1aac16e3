"""Exact search: scores, order, numbers of results, filters, and what must not be found."""

from __future__ import annotations

from typing import Any

import numpy as np
from perdure import F, InvalidFilter, InvalidInput, InvalidRecord, Memory, NotFound, Store, Vector

from perdure_conformance._case import Case
from perdure_conformance._checks import check
from perdure_conformance.clauses._oracle import METRICS, Vectors, best, hits, same_hits, stored
from perdure_conformance.expect import equal, holds, refused, unchanged

DTYPES: tuple[Any, ...] = ("float16", "float32", "float64")


def filled(store: Store, space: str, dtype: Any, metric: Any, vectors: dict[str, Any]) -> Vectors:
    """A free space with those vectors; what the oracle has to know of it."""
    dim = len(next(iter(vectors.values()), [0.0, 0.0]))
    store.spaces.create(space, dim, dtype=dtype, metric=metric)
    store.vectors.put([Vector(space=space, id=name, values=values) for name, values in vectors.items()])
    return {name: stored(values, dtype) for name, values in vectors.items()}


@check("VE-030", "VE-031", "VE-033", "VE-034", level="vectors")
def an_exact_search_gives_the_best_of_all(case: Case) -> None:
    """For each metric and dtype, and numbers of results about none, one and all, it is what the formula says."""
    store, n = case.store(), 80
    noise = np.random.default_rng(1)
    for dtype in DTYPES:
        for metric in METRICS:
            numbers = noise.normal(size=(n, 7)) * noise.choice([0.01, 1.0, 100.0], size=(n, 1))
            vectors = {f"v{i:03}": numbers[i] for i in noise.permutation(n)}
            space = f"{dtype}-{metric}"
            known = filled(store, space, dtype, metric, vectors)
            for query in noise.normal(size=(2, 7)):
                want = best(metric, known, query)
                for k in (0, 1, 2, 10, n - 1, n, n + 1, 1_000_000):
                    got = hits(store.vectors, query, k, space=space, exact=True)
                    same_hits(got, want, k, f"the {k} best in {space}")


@check("VE-030", "VE-032", level="vectors")
def scores_are_those_of_the_formula(case: Case) -> None:
    """Vectors whose scores are known without rounding: at angles, opposite, equal, far and near."""
    vectors = {"a": [3.0, 4.0], "b": [4.0, -3.0], "c": [-3.0, -4.0], "d": [6.0, 8.0], "e": [0.0, 5.0]}
    want = {
        "cosine": [("a", 1.0), ("d", 1.0), ("e", 0.8), ("b", 0.0), ("c", -1.0)],
        "l2": [("a", 0.0), ("e", -(10**0.5)), ("d", -5.0), ("b", -(50**0.5)), ("c", -10.0)],
        "dot": [("d", 50.0), ("a", 25.0), ("e", 20.0), ("b", 0.0), ("c", -25.0)],
    }
    store = case.store()
    for dtype in DTYPES:
        for metric in METRICS:
            filled(store, f"{dtype}-{metric}", dtype, metric, vectors)
            got = hits(store.vectors, [3, 4], space=f"{dtype}-{metric}", exact=True)
            equal(got, want[metric], f"the hits by {metric} in {dtype}")


@check("VE-031", level="vectors")
def scores_are_not_rounded_to_less_than_float64(case: Case) -> None:
    """Vectors that differ by less than a float32 can tell are told apart, and the query is not rounded either."""
    store = case.store()
    numbers = {f"v{i}": [1.0, (i * 7 % 10) * 1e-12] for i in range(10)}
    for metric in ("dot", "l2"):
        filled(store, metric, "float64", metric, numbers)
        query = [1.0, 1.0]
        order = [name for name, _ in hits(store.vectors, query, space=metric, exact=True)]
        equal(order, sorted(numbers, key=lambda name: -numbers[name][1]), f"the order by {metric}")
    filled(store, "narrow", "float32", "dot", {"a": [1.0, 0.0], "b": [0.0, 1.0]})
    got = hits(store.vectors, [1.0, 1.0 + 1e-12], space="narrow", exact=True)
    equal(got, [("b", 1.0 + 1e-12), ("a", 1.0)], "the hits of a query that float32 cannot hold")


@check("VE-030", "VE-031", level="vectors")
def scores_of_very_large_and_very_small_numbers(case: Case) -> None:
    """Sums of squares that float64 holds are computed; a cosine is the same at every length, and within -1 and 1."""
    store = case.store()
    vectors = {
        "large": [1e100, 1e100],
        "small": [1e-99, 1e-99],
        "across": [1e-50, -1e-50],
        "plain": [1.0, 1.0],
    }
    filled(store, "cosine", "float64", "cosine", vectors)
    for query in ([1e100, 1e100], [1e-99, 1e-99], [3.0, 3.0]):
        got = hits(store.vectors, query, space="cosine", exact=True)
        equal(sorted(name for name, _ in got), sorted(vectors), "all are found")
        for name, score in got:
            holds(-1.0 <= score <= 1.0, f"the cosine of {name} is within -1 and 1", score)
            want = 0.0 if name == "across" else 1.0
            holds(abs(score - want) < 1e-12, f"the cosine of {name} and {query} is {want}", score)
    filled(store, "l2", "float64", "l2", vectors)
    got = hits(store.vectors, [1e100, 1e100], space="l2", exact=True)
    equal(got[0], ("large", 0.0), "the nearest by l2")
    holds(
        all(abs(score / -(2**0.5 * 1e100) - 1) < 1e-12 for _, score in got[1:]),
        "the distances of others",
        got,
    )
    filled(store, "dot", "float64", "dot", vectors)
    (first, *_) = hits(store.vectors, [1e100, 1e100], space="dot", exact=True)
    holds(first[0] == "large" and abs(first[1] / 2e200 - 1) < 1e-12, "the greatest product", first)


#: Ids that are in this order by code point, and in no order by case, by number, by locale or by UTF-16.
ORDERED = ["!", "10", "9", "A", "B", "_", "a", "a ", "a0", "aa", "b", "é", "☃", "\uffee", "\U0001f600"]


@check("VE-032", level="vectors")
def equal_scores_are_ordered_by_id(case: Case) -> None:
    """Ties are in the order of code points, whichever was written first, and the first k of that order are taken."""
    store = case.store()
    shuffled = case.random.sample(ORDERED, len(ORDERED))
    for metric in METRICS:
        store.spaces.create(metric, 2, metric=metric)
        for name in shuffled:
            store.vectors.put(Vector(space=metric, id=name, values=[1, 2]))
        for k in range(len(ORDERED) + 2):
            got = [name for name, _ in hits(store.vectors, [1, 2], k, space=metric, exact=True)]
            equal(got, ORDERED[:k], f"the first {k} of equal scores by {metric}")
    store.vectors.put(Vector(space="l2", id="b", values=[1, 3]))
    got = [name for name, _ in hits(store.vectors, [1, 2], space="l2", k=20, exact=True)]
    equal(got, [name for name in ORDERED if name != "b"] + ["b"], "the order after one has moved away")


@check("VE-033", "VE-034", level="vectors")
def any_number_of_vectors_and_of_results(case: Case) -> None:
    """Spaces of 0, 1, k - 1, k and k + 1 vectors give the first k of what there is; k = 0 gives none."""
    store = case.store()
    for metric in METRICS:
        for n in (0, 1, 2, 9, 10, 11):
            space = f"{metric}-{n}"
            known = filled(store, space, "float32", metric, {f"v{i:02}": [i + 1, 1] for i in range(n)})
            for k in (0, 1, 2, 10, 11, 64):
                got = hits(store.vectors, [1, 2], k, space=space, exact=True)
                same_hits(got, best(metric, known, [1, 2]), k, f"{k} of {n} by {metric}")
    wrong: tuple[Any, ...] = (-1, 1.5, "3", None, True)
    for number in wrong:
        with refused(InvalidInput, what=f"a search of k = {number!r}"):
            store.vectors.search([1, 2], k=number, space="l2-9")


def peopled(store: Store, n: int) -> None:
    """Memories `m00`… with tiers, a vector each in space `s`, nearer to 0 for lower numbers; free vectors likewise."""
    store.spaces.create("s", 2, metric="l2", table="memories")
    store.spaces.create("free", 2, metric="l2")
    with store.batch() as batch:
        batch.memories.put([Memory(id=f"m{i:02}", tier=i, kind="k" if i % 2 else None) for i in range(n)])
        for space in ("s", "free"):
            batch.vectors.put(
                [
                    Vector(space=space, id=f"m{i:02}", values=[i, 0], text=str(i % 3), metadata={"i": i})
                    for i in range(n)
                ]
            )


@check("VE-035", level="vectors")
def the_filter_of_a_bound_space_is_on_rows_and_comes_before_k(case: Case) -> None:
    """However far the matching rows are, the first k of them are found; the vector's own fields do not matter."""
    store = case.store()
    peopled(store, 40)
    filters: list[tuple[Any, list[int]]] = [
        (F.tier >= 37, [37, 38, 39]),
        (F.tier == 39, [39]),
        ((F.kind == "k") & (F.tier > 30), [31, 33, 35, 37, 39]),
        (F.kind.is_null() & (F.tier > 33), [34, 36, 38]),
        (~(F.tier < 38), [38, 39]),
        (F.id.is_in(["m05", "m30"]), [5, 30]),
        ({"tier": {"$gte": 38}}, [38, 39]),
        (F.tier > 99, []),
    ]
    for where, numbers in filters:
        for k in (1, 2, 3, 50):
            got = hits(store.memories, [0, 0], k, where=where, space="s", exact=True)
            want = [(f"m{i:02}", -float(i)) for i in numbers[:k]]
            equal(got, want, f"the first {k} of the rows that match {where}")
    with refused(InvalidFilter, what="a filter on a field that memories do not have"):
        store.memories.search([0, 0], where=F.trigger == "x", space="s")


@check("VE-035", level="vectors")
def the_filter_of_a_free_space_is_on_the_vectors_rows(case: Case) -> None:
    """Text, metadata, id and times of the vectors are what it sees, before k."""
    store = case.store()
    peopled(store, 40)
    filters: list[tuple[Any, list[int]]] = [
        (F.text == "2", [*range(2, 40, 3)]),
        (F.metadata["i"] > 36, [37, 38, 39]),
        ((F.text == "0") & (F.metadata["i"] >= 30), [30, 33, 36, 39]),
        (F.id.starts_with("m3"), [*range(30, 40)]),
        (F.text.is_null(), []),
    ]
    for where, numbers in filters:
        for k in (1, 3, 50):
            got = hits(store.vectors, [0, 0], k, where=where, space="free", exact=True)
            want = [(f"m{i:02}", -float(i)) for i in numbers[:k]]
            equal(got, want, f"the first {k} of the vectors that match {where}")


@check("VE-035", level="vectors")
def a_filter_sees_the_row_as_it_is_now(case: Case) -> None:
    """A row that was changed after its vector was written is judged by its new fields."""
    store = case.store()
    peopled(store, 10)
    store.memories.update("m00", tier=100)
    store.memories.update("m09", tier=0)
    got = [name for name, _ in hits(store.memories, [0, 0], where=F.tier == 0, space="s", exact=True)]
    equal(got, ["m09"], "the rows of tier 0")
    store.vectors.update(("free", "m09"), text="new")
    got = [name for name, _ in hits(store.vectors, [0, 0], where=F.text == "new", space="free", exact=True)]
    equal(got, ["m09"], "the vectors with the new text")


@check("VE-036", level="vectors")
def what_was_committed_is_found_by_every_handle_at_once(case: Case) -> None:
    """A put, a change and a deletion on one handle are seen by the next search on another."""
    store, other = case.store(), case.store()
    filled(store, "s", "float32", "l2", {"a": [1, 0]})
    for _ in range(2):  # the second time with whatever a handle has kept
        equal(hits(other.vectors, [0, 0], space="s"), [("a", -1.0)], "the hits at the start")
        store.vectors.put(Vector(space="s", id="b", values=[0, 0]))
        equal(hits(other.vectors, [0, 0], space="s"), [("b", 0.0), ("a", -1.0)], "the hits after a put")
        store.vectors.put(Vector(space="s", id="b", values=[3, 4]))
        equal(hits(other.vectors, [0, 0], space="s"), [("a", -1.0), ("b", -5.0)], "the hits after a change")
        other.vectors.delete(("s", "b"))
        equal(hits(store.vectors, [0, 0], space="s"), [("a", -1.0)], "the hits after a deletion")


@check("VE-036", level="vectors")
def deleted_vectors_are_not_found(case: Case) -> None:
    """Neither those that were deleted themselves nor those of deleted rows, until they are written again."""
    store = case.store()
    peopled(store, 20)
    store.memories.delete([f"m{i:02}" for i in range(5)])
    store.vectors.delete([("s", f"m{i:02}") for i in range(5, 10)])
    store.vectors.delete([("free", f"m{i:02}") for i in range(10)])
    want = [(f"m{i:02}", -float(i)) for i in range(10, 20)]
    for exact in (True, False):
        equal(hits(store.memories, [0, 0], 20, space="s", exact=exact), want, "the hits in the bound space")
        equal(hits(store.vectors, [0, 0], 20, space="free", exact=exact), want, "the hits in the free space")
    store.vectors.put(Vector(space="s", id="m07", values=[0, 0]))
    equal(
        hits(store.memories, [0, 0], 1, space="s", exact=True),
        [("m07", 0.0)],
        "the hit after one was written again",
    )


@check("VE-036", level="vectors")
def what_is_not_committed_is_not_found(case: Case) -> None:
    """An open batch, a batch that fails and one that was refused leave no vector to find."""
    store, other = case.store(), case.store()
    filled(store, "s", "float32", "l2", {"a": [1, 0]})
    near = Vector(space="s", id="near", values=[0, 0])
    with store.batch() as batch:
        batch.vectors.put(near)
        equal(hits(other.vectors, [0, 0], space="s"), [("a", -1.0)], "the hits while the batch is open")
        equal(hits(store.vectors, [0, 0], space="s"), [("a", -1.0)], "the hits there on the same handle")
    store.vectors.delete(("s", "near"))
    with refused(NotFound, what="a batch with an update of no row"), store.batch() as batch:
        batch.vectors.put(near)
        batch.memories.update("nothing", tier=1)
    equal(hits(store.vectors, [0, 0], space="s"), [("a", -1.0)], "the hits after a refused batch")


@check("VE-036", "UP-020", level="vectors", needs=("purge",))
def purged_vectors_are_not_found(case: Case) -> None:
    """A purge of rows, or of vectors, takes them out of every search, at past points too."""
    store = case.store()
    peopled(store, 10)
    then, lab = store.head(), store.branch("lab")
    store.memories.purge([f"m{i:02}" for i in range(3)])
    store.vectors.purge([("s", "m03"), ("free", "m03")])
    for view in (store, lab, store.at(then)):
        got = [name for name, _ in hits(view.memories, [0, 0], 20, space="s")]
        equal(got, [f"m{i:02}" for i in range(4, 10)], f"the hits in the bound space of {view!r}")
        got = [name for name, _ in hits(view.vectors, [0, 0], 20, space="free")]
        want = [f"m{i:02}" for i in (0, 1, 2, *range(4, 10))]
        equal(got, want, f"the hits in the free space of {view!r}")


@check("VE-033", "DM-002", level="vectors")
def a_search_stays_in_its_space_and_namespace(case: Case) -> None:
    """Equal ids in other spaces, and in the same space of another namespace, do not get mixed up."""
    store, elsewhere = case.store(), case.new_store()
    filled(store, "s", "float32", "l2", {"a": [1, 0], "b": [2, 0]})
    filled(store, "t", "float32", "l2", {"a": [7, 0], "c": [0, 0]})
    filled(elsewhere, "s", "float32", "l2", {"a": [9, 0], "d": [0, 0]})
    equal(hits(store.vectors, [0, 0], space="s"), [("a", -1.0), ("b", -2.0)], "the hits in the one space")
    equal(hits(store.vectors, [0, 0], 1, space="s"), [("a", -1.0)], "the nearest in the one space")
    equal(hits(store.vectors, [0, 0], space="t"), [("c", 0.0), ("a", -7.0)], "the hits in the other")
    equal(hits(elsewhere.vectors, [0, 0], space="s"), [("d", 0.0), ("a", -9.0)], "the hits elsewhere")


@check("VE-037", level="vectors")
def malformed_queries_are_refused(case: Case) -> None:
    """Another dimension or shape, no numbers, not finite ones, or no length under cosine; also where nothing is there."""
    store = case.store()
    nan, inf = float("nan"), float("inf")
    wrong: list[Any] = [
        [1.0],
        [1, 0, 0],
        [],
        1.0,
        [[1, 0]],
        [nan, 1],
        [1, inf],
        [-inf, 0],
        ["1", "0"],
        [True, False],
        None,
    ]
    for metric in METRICS:
        for n in (0, 3):
            space = f"{metric}-{n}"
            filled(store, space, "float32", metric, {f"v{i}": [1, i] for i in range(n)})
    with unchanged(store):
        for space in (f"{metric}-{n}" for metric in METRICS for n in (0, 3)):
            queries = [*wrong, [0.0, -0.0]] if space.startswith("cosine") else wrong
            for query in queries:
                for k, exact in ((1, True), (1, False), (0, True)):
                    with refused(InvalidRecord, what=f"a search for {query} in {space} with k = {k}"):
                        store.vectors.search(query, k=k, space=space, exact=exact)
    equal(
        hits(store.vectors, [0, 0], space="dot-3"),
        [("v0", 0.0), ("v1", 0.0), ("v2", 0.0)],
        "a query of zeros",
    )
