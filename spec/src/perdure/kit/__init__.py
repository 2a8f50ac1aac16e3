"""Parts for people who write a backend: the meaning of a batch, hashes, scores, Arrow, and a base class."""

from perdure.kit._apply import Heads, Write, apply, owner_id, owner_key
from perdure.kit._arrow import batch_of, project, rows_of
from perdure.kit._backend import KitBackend
from perdure.kit._hash import CHUNK_SIZE, chunk_digest, row_hash
from perdure.kit._score import NUMPY_DTYPE, scores
from perdure.kit._storage import Storage

__all__ = [
    "CHUNK_SIZE",
    "NUMPY_DTYPE",
    "Heads",
    "KitBackend",
    "Storage",
    "Write",
    "apply",
    "batch_of",
    "chunk_digest",
    "owner_id",
    "owner_key",
    "project",
    "row_hash",
    "rows_of",
    "scores",
]
