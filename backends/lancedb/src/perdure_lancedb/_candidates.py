"""Vectors that a search may find: asking the index of a table, and looking at blocks of vectors in memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from perdure import Space
from perdure.kit import scores

from perdure_lancedb._entries import Nearest

__all__ = [
    "LONGEST",
    "NAME",
    "NEIGHBOURS",
    "SHORTEST",
    "Block",
    "Floats",
    "matrix_of",
    "nearest",
    "tail_of",
]

#: The index's in its table.
NAME = "nearest"

#: For how many neighbours an index is tried.
NEIGHBOURS = 32

#: Lengths of vectors that squares and sums in float32 neither overflow nor lose.
SHORTEST, LONGEST = 1e-12, 1e15

Floats = NDArray[Any]


def tail_of(dataset: Any) -> list[Any] | None:
    """The fragments that the index does not have; None: there is no index."""
    indices = (index for index in dataset.describe_indices() if index.name == NAME)
    there = [part for index in indices for part in index.segments]
    if not there:
        return None
    covered = {number for part in there for number in part.fragment_ids}
    return [fragment for fragment in dataset.get_fragments() if fragment.fragment_id not in covered]


def nearest(
    index: Nearest, kind: pa.DataType, query: Floats, wanted: int, reach: int = 0
) -> dict[str, Any] | None:
    """How to ask LanceDB for the `wanted` nearest rows; None where its floats cannot hold the query.

    More partitions are looked at by LanceDB itself where these hold too few rows that meet the filter. Those that do
    meet it are farther away than the nearest of all, for which `reach` says how many neighbours partitions are to hold.
    """
    dtype = kind.value_type.to_pandas_dtype()
    if index.metric != "l2":  # length changes no order
        query = query / np.max(np.abs(query)) if query.any() else query
        query = query / max(float(np.linalg.norm(query)), SHORTEST)
    with np.errstate(over="ignore"):
        cell = query.astype(dtype)
    if not np.isfinite(cell).all() or float(np.max(np.abs(query))) > LONGEST:
        return None
    count = wanted * index.breadth
    probes = index.probes * -(-max(wanted, reach) // NEIGHBOURS)
    asked = {"column": "values", "q": cell, "k": count, "minimum_nprobes": min(index.partitions, probes)}
    return asked | ({"ef": max(64, 2 * count)} if index.method == "hnsw" else {})


def matrix_of(vectors: pa.ChunkedArray | pa.FixedSizeListArray) -> Floats:
    """Vectors, none of them null, as a matrix of their own precision."""
    chunks = vectors.chunks if isinstance(vectors, pa.ChunkedArray) else [vectors]
    size, dtype = vectors.type.list_size, vectors.type.value_type.to_pandas_dtype()
    blocks = [chunk.flatten().to_numpy(zero_copy_only=False).reshape(-1, size) for chunk in chunks]
    return np.concatenate(blocks) if blocks else np.empty((0, size), dtype)


class Block:
    """Vectors in memory.

    Args:
        matrix: Their numbers, as stored.
    """

    def __init__(self, matrix: Floats) -> None:
        self.matrix = matrix
        with np.errstate(all="ignore"):
            wide = np.float64 if matrix.dtype.itemsize == 8 else np.float32
            self._wide: Floats = matrix.astype(wide, copy=False)
            self._squares = np.add.reduce(self._wide * self._wide, axis=1).astype(np.float64)

    def best(
        self, space: Space, query: Floats, rows: NDArray[np.int64], wanted: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The nearest of some rows, about, and their scores; all of these rows where they are not more than wanted."""
        if len(rows) > wanted:
            rows = self._near(space, query, rows, wanted)
        return rows, scores(space.metric, self.matrix[rows], query)

    def _near(self, space: Space, query: Floats, rows: NDArray[np.int64], wanted: int) -> NDArray[np.int64]:
        with np.errstate(all="ignore"):
            near = (self._wide @ query.astype(self._wide.dtype))[rows].astype(np.float64)
            if space.metric == "cosine":
                near /= np.sqrt(self._squares[rows])
            elif space.metric == "l2":
                near = 2 * near - self._squares[rows]
        if not np.isfinite(near).all():
            return rows
        return rows[np.argpartition(-near, wanted)[:wanted]]
