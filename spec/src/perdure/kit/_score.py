"""Similarity, computed the same way by every engine."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from perdure._types import Metric

__all__ = ["NUMPY_DTYPE", "scores"]

#: Space dtype → the little-endian numpy dtype of its stored bytes.
NUMPY_DTYPE = {"float16": "<f2", "float32": "<f4", "float64": "<f8"}

#: Lengths between which no square or product of two leaves the normal range of float64.
_SMALL, _LARGE = 1e-140, 1e140


def scores(metric: Metric, vectors: NDArray[Any], query: NDArray[np.float64]) -> NDArray[np.float64]:
    """The score of each vector against a query; higher is nearer.

    Sums are taken in float64, over each row by itself, so that a vector's score does not depend on
    which others are scored with it, nor on the engine.

    Args:
        metric: ``cosine``: a·b / (‖a‖‖b‖), in [-1, 1] (-1 for a zero vector, which no engine stores). ``dot``: a·b
            (-inf where its sum has no value: inf - inf). ``l2``: -‖a - b‖.
        vectors: Shape (n, dim), any float dtype.
        query: Shape (dim,).

    Returns:
        Shape (n,).
    """
    rows = np.ascontiguousarray(vectors, dtype=np.float64)
    with np.errstate(all="ignore"):
        if metric == "l2":
            gap = rows - query
            return 0.0 - np.sqrt(np.add.reduce(gap * gap, axis=1))  # type: ignore[no-any-return]
        dots = np.add.reduce(rows * query, axis=1)
        if metric == "dot":
            return np.where(np.isnan(dots), -np.inf, dots)
        lengths = np.sqrt(np.add.reduce(rows * rows, axis=1)), np.sqrt(np.add.reduce(query * query))
        found = dots / (lengths[0] * lengths[1])
        odd = ~((lengths[0] > _SMALL) & (lengths[0] < _LARGE) & (_SMALL < lengths[1] < _LARGE))
        if odd.any():
            found[odd] = _scaled_cosine(rows[odd], query)
    return np.clip(found, -1.0, 1.0)  # type: ignore[no-any-return]


def _scaled_cosine(rows: NDArray[np.float64], query: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cosines of vectors whose squares would leave the range of float64: scaled by powers of two, which is exact."""
    rows = np.ldexp(rows, -np.frexp(np.max(np.abs(rows), axis=1, keepdims=True))[1])
    query = np.ldexp(query, -np.frexp(np.max(np.abs(query)))[1])
    norms = np.sqrt(np.add.reduce(rows * rows, axis=1)) * np.sqrt(np.add.reduce(query * query))
    dots = np.add.reduce(rows * query, axis=1)
    return np.divide(dots, norms, out=np.full(len(rows), -1.0), where=norms > 0)  # type: ignore[no-any-return]
