"""Similarity, computed the same way by every engine."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from perdure._types import Metric

__all__ = ["NUMPY_DTYPE", "scores"]

#: Space dtype → the little-endian numpy dtype of its stored bytes.
NUMPY_DTYPE = {"float16": "<f2", "float32": "<f4", "float64": "<f8"}


def scores(metric: Metric, vectors: NDArray[Any], query: NDArray[np.float64]) -> NDArray[np.float64]:
    """The score of each vector against a query; higher is nearer.

    Sums are taken in float64, over each row by itself, so that a vector's score does not depend on
    which others are scored with it, nor on the engine.

    Args:
        metric: ``cosine``: a·b / (‖a‖‖b‖), in [-1, 1]. ``dot``: a·b. ``l2``: -‖a - b‖.
        vectors: Shape (n, dim), any float dtype.
        query: Shape (dim,).

    Returns:
        Shape (n,).
    """
    rows = np.ascontiguousarray(vectors, dtype=np.float64)
    if metric == "l2":
        gap = rows - query
        return -np.sqrt(np.add.reduce(gap * gap, axis=1))  # type: ignore[no-any-return]
    dots = np.add.reduce(rows * query, axis=1)
    if metric == "dot":
        return dots  # type: ignore[no-any-return]
    norms = np.sqrt(np.add.reduce(rows * rows, axis=1)) * np.sqrt(np.add.reduce(query * query))
    return np.clip(dots / norms, -1.0, 1.0)  # type: ignore[no-any-return]
