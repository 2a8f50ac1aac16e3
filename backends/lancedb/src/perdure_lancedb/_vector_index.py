"""An index over the vectors of a space: made within a fold, and tried with some of the vectors as queries.

It covers the table's rows of all branches and times. A search asks it only for those that its point shows.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
from perdure import Space

from perdure_lancedb._candidates import (
    LONGEST,
    NAME,
    NEIGHBOURS,
    SHORTEST,
    Floats,
    matrix_of,
    nearest,
    tail_of,
)
from perdure_lancedb._entries import Nearest
from perdure_lancedb._options import Indexing
from perdure_lancedb._steps import Interfered, Steps

__all__ = ["renewed", "tended"]

#: What LanceDB calls each method.
_TYPES = {"ivf_flat": "IVF_FLAT", "ivf_rq": "IVF_RQ", "hnsw": "IVF_HNSW_SQ"}

#: Rows of the table for each candidate of a search by methods whose distances are not exact.
_BREADTHS = {"ivf_flat": (1,), "ivf_rq": (4, 16, 64), "hnsw": (2, 8)}

#: Rows in a partition, and in one of an HNSW graph, at the least.
_PARTITION, _GRAPH = 400, 1_000_000

#: Vectors for each partition that the partitions are learnt from; of many, LanceDB's 256 find no better ones.
_SAMPLE, _MANY = (256, 64), 128

#: A share of the indexed rows: when so many have come, the index is made anew.
_GROWN = 0.2

#: How many vectors the index is tried with, the share of their neighbours that is enough, and the share below which
#: it is not used.
_QUERIES, _ENOUGH, _LEAST = 48, 0.99, 0.95

_BATCH = 8_192


def tended(steps: Steps, old: Nearest | None, space: Space, indexing: Indexing) -> Nearest | None:
    """See that a table has an index if it is large enough, which covers most of it; a failure leaves it as it is.

    Raises:
        Interfered: Another process changed the table.
    """
    dataset = steps.open()
    rows, tail = dataset.count_rows(), tail_of(dataset)
    if tail is None:
        old = None
    if not indexing.least or rows < indexing.least:
        return old
    if old is not None and tail is not None:
        came = sum(fragment.count_rows() for fragment in tail)
        if came <= max(indexing.least // 2, _GROWN * old.rows):
            return old
    for method in dict.fromkeys((indexing.method, "ivf_flat")):
        found = _made(steps, method, space.metric, rows)
        if found is not None:
            return found
    return old


def renewed(steps: Steps, old: Nearest) -> Nearest | None:
    """Make an index anew that was dropped since it has vectors that are gone."""
    rows = steps.open().count_rows()
    return _made(steps, old.method, old.metric, rows) if rows else None


def _made(steps: Steps, method: str, metric: str, rows: int) -> Nearest | None:
    parts = max(1, rows // _GRAPH if method == "hnsw" else min(rows // _PARTITION, int(8 * math.sqrt(rows))))
    try:
        steps.index_vectors(NAME, _TYPES[method], parts, metric, _SAMPLE[parts > _MANY])
        probes, breadth = _calibrated(steps.open(), method, metric, parts)
    except Interfered:
        raise
    except (OSError, ValueError, RuntimeError, pa.ArrowException):  # too few rows, no room, a type it lacks
        return None
    return Nearest(method, metric, rows, parts, probes, breadth)


# ---------------------------------------------------------------------------------------- trying it


def _calibrated(dataset: Any, method: str, metric: str, parts: int) -> tuple[int, int]:
    """Of how many partitions and candidates the nearest neighbours are found; no partitions: whatever, they are not."""
    kind = dataset.schema.field("values").type
    number = dataset.count_rows("NOT dead")
    some = dataset.take(_spread(dataset.count_rows()), columns=["values", "dead"])
    queries = matrix_of(some.filter(pa.compute.invert(some["dead"]))["values"]).astype(np.float64)
    wanted = min(NEIGHBOURS, number)
    truth, fit = _truth(dataset, metric, queries, wanted)
    if not fit or not len(queries):
        return 0, 1
    best = (0.0, 0, 1)
    for breadth in _BREADTHS[method]:
        probes = 1
        while True:
            index = Nearest(method, metric, number, parts, probes, breadth)
            share = _recall(dataset, index, kind, queries, truth)
            best = max(best, (share, probes, breadth), key=lambda found: found[0])
            if share >= _ENOUGH or probes >= parts:
                break
            probes = min(parts, 2 * probes)
        if best[0] >= _ENOUGH:
            break
    return (best[1], best[2]) if best[0] >= _LEAST else (0, 1)


def _spread(rows: int) -> list[int]:
    """Some rows from all over a table."""
    return sorted(set(np.linspace(0, rows - 1, min(rows, _QUERIES)).astype(int).tolist()))


def _recall(dataset: Any, index: Nearest, kind: pa.DataType, queries: Floats, truth: list[set[int]]) -> float:
    found = 0
    for query, best in zip(queries, truth, strict=True):
        asked = nearest(index, kind, query, max(map(len, truth)))
        if asked is not None:
            rows = dataset.scanner(columns=["_distance"], nearest=asked, with_row_id=True, fast_search=True)
            found += len(best.intersection(rows.to_table()["_rowid"].to_pylist()))
    return found / sum(map(len, truth))


def _truth(dataset: Any, metric: str, queries: Floats, wanted: int) -> tuple[list[set[int]], bool]:
    """The row ids of the nearest rows to each query, and whether all lengths suit LanceDB's arithmetic."""
    best_ids = np.empty((len(queries), 0), np.int64)
    best = np.empty((len(queries), 0))
    wide = dataset.schema.field("values").type.value_type == pa.float64()
    fit = True
    scan = dataset.scanner(columns=["values"], filter="NOT dead", with_row_id=True, batch_size=_BATCH)
    for batch in scan.to_batches():
        block: Floats = matrix_of(batch["values"]).astype(np.float64 if wide else np.float32)
        with np.errstate(all="ignore"):
            norms = np.sqrt(np.add.reduce(block * block, axis=1).astype(np.float64))
            fit = fit and bool(wide or ((norms < LONGEST) & ((norms > SHORTEST) | (norms == 0))).all())
            score = (queries.astype(block.dtype) @ block.T).astype(np.float64)
            if metric == "cosine":
                score /= norms
            elif metric == "l2":
                score = 2 * score - norms**2
        score[~np.isfinite(score)] = -np.inf
        best = np.concatenate([best, score], axis=1)
        ids = np.broadcast_to(batch["_rowid"].to_numpy().astype(np.int64), score.shape)
        best_ids = np.concatenate([best_ids, ids], axis=1)
        keep = np.argpartition(-best, min(wanted, best.shape[1]) - 1, axis=1)[:, :wanted]
        best, best_ids = np.take_along_axis(best, keep, 1), np.take_along_axis(best_ids, keep, 1)
    return [set(row.tolist()) for row in best_ids], fit
