"""Parts for people who write a backend: the meaning of a batch, hashes, scores, Arrow, and a base class."""

from perdure.kit._apply import Heads, Write, apply, owner_id, owner_key
from perdure.kit._arguments import check_of, check_space, checked
from perdure.kit._arrow import batch_of, project, rows_of
from perdure.kit._backend import KitBackend
from perdure.kit._batches import check_batch, check_chunk, check_columns, check_operation, check_rows
from perdure.kit._checking import known_table
from perdure.kit._commits import Commits
from perdure.kit._events import check_events
from perdure.kit._hash import CHUNK_SIZE, chunk_digest, row_hash
from perdure.kit._head import State
from perdure.kit._ingest import check_ingested_vector
from perdure.kit._judge import Judge, life_of
from perdure.kit._keys import CODES, SLOT, Keys, attempt_time, group_of, is_cell, is_head
from perdure.kit._objects import BranchState, CommitRecord, decode_row, encode_row, is_tombstone
from perdure.kit._ranges import ShortKeys, paged
from perdure.kit._reading import Reader
from perdure.kit._rows import Rows
from perdure.kit._score import NUMPY_DTYPE, scores
from perdure.kit._search import Searcher
from perdure.kit._shared import Lease, Shared
from perdure.kit._sorted import SortedKeys
from perdure.kit._storage import Storage
from perdure.kit._writing import BranchRows, Writer

__all__ = [
    "CHUNK_SIZE",
    "CODES",
    "NUMPY_DTYPE",
    "SLOT",
    "BranchRows",
    "BranchState",
    "CommitRecord",
    "Commits",
    "Heads",
    "Judge",
    "Keys",
    "KitBackend",
    "Lease",
    "Reader",
    "Rows",
    "Searcher",
    "Shared",
    "ShortKeys",
    "SortedKeys",
    "State",
    "Storage",
    "Write",
    "Writer",
    "apply",
    "attempt_time",
    "batch_of",
    "check_batch",
    "check_chunk",
    "check_columns",
    "check_events",
    "check_ingested_vector",
    "check_of",
    "check_operation",
    "check_rows",
    "check_space",
    "checked",
    "chunk_digest",
    "decode_row",
    "encode_row",
    "group_of",
    "is_cell",
    "is_head",
    "is_tombstone",
    "known_table",
    "life_of",
    "owner_id",
    "owner_key",
    "paged",
    "project",
    "row_hash",
    "rows_of",
    "scores",
]
