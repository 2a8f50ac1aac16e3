"""Search as it is by default: exact, or near enough where the backend declares that it may be approximate."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from perdure import F, Memory, Store, Vector

from perdure_conformance._case import Case
from perdure_conformance._checks import check
from perdure_conformance.clauses._oracle import nearest
from perdure_conformance.expect import equal, holds

#: How many vectors there are, of how many numbers, and how many searches the recall is the mean of.
COUNT, DIM, QUERIES = 2_000, 64, 20

#: How many are asked for, and the share of them that an approximate search has to find.
K, FLOOR = 10, 0.95


def low_rank(noise: np.random.Generator, n: int) -> NDArray[np.float32]:
    """Vectors that lie close to a space of 8 dimensions, as embeddings do."""
    basis = noise.normal(size=(8, DIM))
    return (noise.normal(size=(n, 8)) @ basis + 0.1 * noise.normal(size=(n, DIM))).astype(np.float32)


def clustered(noise: np.random.Generator, n: int) -> NDArray[np.float32]:
    """Vectors in 40 tight clusters of different sizes."""
    centres = 5 * noise.normal(size=(40, DIM))
    which = np.minimum(noise.geometric(0.06, size=n) - 1, 39)
    return (centres[which] + 0.3 * noise.normal(size=(n, DIM))).astype(np.float32)


def name_of(number: int) -> str:
    """The id of a row."""
    return f"m{number:05}"


def filled(store: Store, metric: Any, matrix: NDArray[np.float32]) -> None:
    """Memories with vectors in the space `s`; tiers from 0 to 99 in turn."""
    store.spaces.create("s", DIM, metric=metric, table="memories")
    with store.batch() as batch:
        batch.memories.put([Memory(id=name_of(i), tier=i % 100) for i in range(len(matrix))])
        batch.vectors.put(rows(matrix, range(len(matrix))))


def rows(matrix: NDArray[np.float32], which: Any) -> list[Vector]:
    """The vectors of some rows."""
    return [Vector(space="s", id=name_of(int(i)), values=matrix[i]) for i in which]


def recalls(
    case: Case,
    view: Any,
    metric: str,
    matrix: NDArray[np.float32],
    queries: NDArray[np.float32],
    what: str,
    *,
    live: NDArray[Any] | None = None,
    where: Any = None,
) -> None:
    """The searches of a view find the nearest of the rows of a matrix that are live: all, or at least `FLOOR`."""
    mask = np.ones(len(matrix), dtype=bool) if live is None else live
    found, wide = 0, matrix.astype(np.float64)
    for query in queries.astype(np.float64):
        want = {name_of(i) for i in nearest(metric, wide, query, mask, K)}
        got = [f.record.id for f in view.memories.search(query, k=K, where=where, space="s")]
        equal((len(got), len(set(got))), (len(want), len(want)), f"{what}: how many are found, and different")
        dead = [name for name in got if not mask[int(name[1:])]]
        equal(dead, [], f"{what}: ids that must not be found")
        found += len(want.intersection(got))
    share = found / (len(queries) * min(K, int(mask.sum())))
    floor = FLOOR if case.supports("approximate") else 1.0
    case.note(f"{what}: recall {share:.3f}")
    holds(share >= floor, f"{what}: the mean recall of the {K} nearest is at least {floor}", share)


@check("VE-038", "VE-039", level="vectors")
def a_search_by_default_finds_the_nearest(case: Case) -> None:
    """By each metric, in vectors of low rank or in clusters."""
    cases: tuple[tuple[Any, Any], ...] = (("cosine", low_rank), ("l2", clustered), ("dot", low_rank))
    for metric, shape in cases:
        with case.new_store() as store:
            noise = np.random.default_rng(6)
            matrix = shape(noise, COUNT + QUERIES)
            filled(store, metric, matrix[:COUNT])
            what = f"a search by {metric} in {shape.__name__} vectors"
            recalls(case, store, metric, matrix[:COUNT], matrix[COUNT:], what)


@check("VE-038", "VE-039", "VE-035", level="vectors")
def a_search_by_default_under_a_filter_finds_the_nearest_that_match(case: Case) -> None:
    """Filters that one row in a hundred matches, and that half of them match."""
    store = case.store()
    noise = np.random.default_rng(7)
    matrix = clustered(noise, COUNT + QUERIES)
    filled(store, "l2", matrix[:COUNT])
    tiers = np.arange(COUNT) % 100
    none = store.memories.search(matrix[-1], where=F.tier > 99, space="s")
    equal(none, [], "the hits of a filter that no row matches")
    for share, where, live in (("1 %", F.tier == 37, tiers == 37), ("half", F.tier < 50, tiers < 50)):
        what = f"a search of {share} of the vectors"
        recalls(case, store, "l2", matrix[:COUNT], matrix[COUNT:], what, live=live, where=where)


@check("VE-038", "VE-039", "VE-036", level="vectors")
def a_search_by_default_after_deletions_and_at_past_points_finds_the_nearest(case: Case) -> None:
    """Half of all rows are deleted, the nearest among them: now the others are found, and before it all are."""
    store = case.store()
    noise = np.random.default_rng(8)
    matrix = clustered(noise, COUNT + QUERIES)
    queries, matrix = matrix[COUNT:], matrix[:COUNT]
    filled(store, "cosine", matrix)
    then, live = store.head(), np.arange(COUNT) % 2 == 1
    for query in queries:
        live[list(nearest("cosine", matrix, query, np.ones(COUNT, dtype=bool), 2 * K))] = False
    store.memories.delete([name_of(int(i)) for i in np.flatnonzero(~live)])
    recalls(case, store, "cosine", matrix, queries, "a search after deletions", live=live)
    recalls(case, store.at(then), "cosine", matrix, queries, "a search at the point before them")
    back = np.flatnonzero(~live)[::3]
    with store.batch() as batch:
        batch.memories.put([Memory(id=name_of(int(i))) for i in back])
        batch.vectors.put(rows(matrix, back))
    again = live.copy()
    again[back] = True
    recalls(case, store, "cosine", matrix, queries, "a search after some came back", live=again)


@check("VE-038", "VE-039", "VE-036", level="vectors")
def a_search_by_default_on_a_deep_branch_finds_the_nearest(case: Case) -> None:
    """Twelve branches deep, each of which moved and deleted some of the vectors."""
    store = case.store()
    noise = np.random.default_rng(9)
    matrix = low_rank(noise, COUNT + QUERIES)
    queries, matrix = matrix[COUNT:], matrix[:COUNT].copy()
    filled(store, "l2", matrix)
    view, live, first = store, np.ones(COUNT, dtype=bool), matrix.copy()
    for depth in range(12):
        view = view.branch(f"b{depth}")
        moved, gone = np.split(noise.permutation(np.flatnonzero(live))[:60], [40])
        matrix[moved] = low_rank(noise, len(moved))
        live[gone] = False
        view.vectors.put(rows(matrix, moved))
        view.memories.delete([name_of(int(i)) for i in gone])
    recalls(case, view, "l2", matrix, queries, "a search on the deepest branch", live=live)
    recalls(case, store, "l2", first, queries, "a search on main")


@check("VE-038", "VE-039", "VE-036", level="vectors")
def a_search_by_default_goes_past_what_the_branch_replaced(case: Case) -> None:
    """The whole neighbourhood of a query, as main has it, is moved away or deleted on the branch."""
    store = case.store()
    noise = np.random.default_rng(10)
    matrix = clustered(noise, COUNT + QUERIES)
    queries, matrix = matrix[COUNT : COUNT + 5], matrix[:COUNT].copy()
    filled(store, "l2", matrix)
    lab, live, first = store.branch("lab"), np.ones(COUNT, dtype=bool), matrix.copy()
    near = set[int]()
    for query in queries:
        near |= nearest("l2", matrix, query, live, 150)
    moved, gone = sorted(near)[::2], sorted(near)[1::2]
    matrix[moved] += 100
    live[gone] = False
    lab.vectors.put(rows(matrix, moved))
    lab.memories.delete([name_of(i) for i in gone])
    recalls(case, lab, "l2", matrix, queries, "a search on the branch", live=live)
    recalls(case, store, "l2", first, queries, "a search on main")


@check("VE-038", "VE-032", "VE-034", level="vectors")
def a_search_by_default_is_ordered_and_scored_like_an_exact_one(case: Case) -> None:
    """What it finds has the score of the formula, best first, ties by id; few vectors are all found."""
    store = case.store()
    noise = np.random.default_rng(11)
    matrix = np.round(low_rank(noise, 300))
    matrix[100:200] = matrix[:100]
    filled(store, "dot", matrix)
    for query in np.round(low_rank(noise, 5)).astype(np.float64):
        scores = {name_of(i): float(score) for i, score in enumerate(matrix.astype(np.float64) @ query)}
        for k in (1, 10, 300, 400):
            got = [(f.record.id, f.score) for f in store.memories.search(query, k=k, space="s")]
            equal(len(got), min(k, 300), f"how many are found of 300, where {k} are asked for")
            equal([(name, scores[name]) for name, _ in got], got, "the scores")
            equal(got, sorted(got, key=lambda hit: (-hit[1], hit[0])), "the order")
