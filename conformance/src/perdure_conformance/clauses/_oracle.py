"""What a search has to find: every vector scored in float64 by the formula of the specification."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from perdure_conformance.expect import equal

__all__ = ["METRICS", "Hits", "Vectors", "best", "hits", "nearest", "same_hits", "stored"]

METRICS: tuple[Any, ...] = ("cosine", "l2", "dot")

#: Id → numbers, as they are stored, in float64.
Vectors: TypeAlias = Mapping[str, NDArray[np.float64]]

#: Ids with their scores, best first.
Hits: TypeAlias = list[tuple[str, float]]

#: How far a score may be from what another order of summation gives, in parts of the greatest score.
CLOSE = 1e-11


def stored(numbers: Any, dtype: str) -> NDArray[np.float64]:
    """Numbers as a space of that dtype keeps them."""
    rounded = np.asarray(numbers).astype(dtype)
    return rounded.astype(np.float64)


def score(metric: str, vector: NDArray[np.float64], query: NDArray[np.float64]) -> float:
    """The score of one vector, with sums that are rounded once."""
    if metric == "l2":
        return -math.sqrt(math.fsum((a - b) ** 2 for a, b in zip(vector, query, strict=True)))
    dot = math.fsum(a * b for a, b in zip(vector, query, strict=True))
    if metric == "dot":
        return dot
    lengths = math.sqrt(math.fsum(a * a for a in vector)) * math.sqrt(math.fsum(b * b for b in query))
    return max(-1.0, min(1.0, dot / lengths))


def best(metric: str, vectors: Vectors, query: Any, k: int | None = None) -> Hits:
    """The first `k` of all vectors (None: all), by score descending, then by id ascending."""
    wanted = np.asarray(query, dtype=np.float64)
    scored = [(name, score(metric, vector, wanted)) for name, vector in vectors.items()]
    return sorted(scored, key=lambda hit: (-hit[1], hit[0]))[:k]


def hits(table: Any, query: Any, k: int = 10, **options: Any) -> Hits:
    """What a search of a table gives: ids with scores."""
    return [(found.record.id, found.score) for found in table.search(query, k=k, **options)]


def same_hits(got: Hits, want: Hits, k: int, what: str) -> None:
    """A search found the first `k` of all hits, which are given in order.

    Scores may differ by what the order of a sum makes of them, and vectors that are so close may change places.
    """
    scores = dict(want)
    slack = CLOSE * max(1.0, *(abs(score) for score in scores.values()), 0.0)
    equal(len(got), min(k, len(want)), f"{what}: how many were found")
    equal(len({name for name, _ in got}), len(got), f"{what}: how many of them are different")
    equal([name for name, _ in got if name not in scores], [], f"{what}: ids that must not be found")
    wrong = [(name, s, scores[name]) for name, s in got if not abs(s - scores[name]) <= slack]
    equal(wrong, [], f"{what}: scores, and what the formula gives")
    equal(got, sorted(got, key=lambda hit: (-hit[1], hit[0])), f"{what}: the order")
    if got:
        missed = [hit for hit in want if hit[1] > got[-1][1] + 2 * slack and hit[0] not in dict(got)]
        equal(missed, [], f"{what}: nearer vectors that were not found")


def nearest(metric: str, matrix: NDArray[Any], query: NDArray[Any], which: NDArray[Any], k: int) -> set[int]:
    """The numbers of the `k` best rows of a large matrix among those that a mask chooses."""
    if metric == "l2":
        scores = -np.linalg.norm(matrix - query, axis=1)
    else:
        scores = matrix @ query
        if metric == "cosine":
            scores /= np.linalg.norm(matrix, axis=1)
    chosen = np.flatnonzero(which)
    order = np.argsort(-scores[chosen], kind="stable")
    return {int(chosen[place]) for place in order[:k]}
