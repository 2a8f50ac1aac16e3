"""What travels between `Store` and a backend: places in history, operations, queries and answers.

All of it is immutable and engine-neutral. Rows are encoded tuples (see `perdure._schema`); keys are
tuples of text; times are microseconds since the epoch in UTC.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import msgspec
import pyarrow as pa

from perdure._names import Ref
from perdure._schema import Row
from perdure.filters import Filter, OrderTerm

__all__ = [
    "ABSENT",
    "At",
    "Branch",
    "Change",
    "ChangeBatch",
    "Checkpoint",
    "Chunk",
    "Commit",
    "CommitRequest",
    "Committed",
    "CompactReport",
    "CompactRequest",
    "Context",
    "Counter",
    "Delete",
    "Dtype",
    "Hit",
    "Increment",
    "IngestReport",
    "Key",
    "Metric",
    "Operation",
    "Pick",
    "Point",
    "Problem",
    "PurgeReport",
    "Put",
    "PutArrow",
    "Query",
    "Search",
    "Space",
    "Stats",
    "Update",
    "VerifyReport",
]

Key = tuple[str, ...]
Metric = Literal["cosine", "l2", "dot"]
Dtype = Literal["float16", "float32", "float64"]

#: The `if_version` that demands that the row does not exist.
ABSENT = ""


class Context(msgspec.Struct, frozen=True):
    """Who asks, until when, and under which trace; every hook takes one.

    Attributes:
        principal: The user or agent in whose name the call is made; also the default commit author.
        deadline: Seconds of `time.monotonic` after which waiting for a lock stops, or None.
        trace_id: Correlates log lines and spans; opaque to engines.
    """

    principal: str = ""
    deadline: float | None = None
    trace_id: str = ""


class Point(msgspec.Struct, frozen=True):
    """A resolved place in history: what branch `branch` (its id) held after sequence number `seq`.

    `seq` 0 on a root branch is the empty store. `commit` is the id of the last commit at or before
    the point (None: there is none), `time` its time (0: there is none).
    """

    branch: str
    seq: int
    commit: str | None = None
    time: int = 0


#: Where to read: a ref that the engine resolves once, or a point that was resolved before.
At = Ref | Point


class Branch(msgspec.Struct, frozen=True):
    """A branch. `id` never changes and is never reused; a recreated name gets a new id.

    Attributes:
        parent: Id of the branch that it was forked from; None for a root.
        fork_seq: The parent's sequence number at the fork; own commits have greater ones.
        head: Its newest point (the fork itself while it has no commits).
        floor: The least sequence number that compaction left readable, but for `pins`.
        created_at: Microseconds since the epoch.
        pins: Its own sequence numbers below the floor that compaction left readable, in order.
    """

    id: str
    name: str
    parent: str | None
    fork_seq: int
    head: Point
    floor: int = 0
    created_at: int = 0
    pins: tuple[int, ...] = ()


class Pick(msgspec.Struct, frozen=True):
    """What a selective merge took: the rows `keys` of `table` (None: all) as they were at `source`."""

    source: Point
    table: str
    keys: tuple[Key, ...] | None


class Commit(msgspec.Struct, frozen=True):
    """One atomic batch, as history records it.

    Attributes:
        id: Client-generated; resubmitting it returns the first outcome.
        branch: Branch id.
        seq: Increases along the branch; gaps are allowed.
        time: Microseconds since the epoch; never decreases along a branch.
        parents: Commit ids: the previous one on the lineage (if any), then what a merge brought.
        vector: For a merge: branch id → greatest sequence number that the source had reached (its
            version vector), so that ancestry survives the deletion of the source branch.
        picks: For a selective merge, what it took.
        reverts: For a revert, the commit id that it undoes.
    """

    id: str
    branch: str
    seq: int
    time: int
    author: str = ""
    message: str = ""
    parents: tuple[str, ...] = ()
    vector: dict[str, int] = {}
    picks: tuple[Pick, ...] = ()
    reverts: str | None = None


class Checkpoint(msgspec.Struct, frozen=True):
    """An immutable name for a point, with metrics (value-codec JSON text). It pins history."""

    name: str
    point: Point
    metrics: str = "null"
    message: str = ""
    created_at: int = 0


class Space(msgspec.Struct, frozen=True):
    """An embedding space: unversioned, immutable.

    Attributes:
        dim: Numbers per vector, 1 to 65,536.
        dtype: How they are kept, bit for bit.
        metric: What `search` scores by; see SPEC.md, Vectors.
        model: Name of the embedding model; a vector from another model is refused.
        table: The table whose rows the space embeds (bound), or None (free).
    """

    name: str
    dim: int
    dtype: Dtype = "float32"
    metric: Metric = "cosine"
    model: str = ""
    table: str | None = None
    created_at: int = 0


# ------------------------------------------------------------------------------------------ operations


class Put(msgspec.Struct, frozen=True, tag=True):
    """Write whole rows. `created_at` and `updated_at` that are None are filled by the engine.

    Attributes:
        mode: "put" replaces; "insert" refuses an existing key with `AlreadyExists`.
        if_version: The commit id that must have last written the row (`ABSENT`: there must be no
            row); None asks for nothing. Only with a single row.
    """

    table: str
    rows: Sequence[Row]
    mode: Literal["put", "insert"] = "put"
    if_version: str | None = None


class PutArrow(msgspec.Struct, frozen=True, tag=True):
    """Write whole rows from record batches of `Table.arrow`, iterable more than once.

    `unique` says that no key occurs twice, so that an engine may stream.
    """

    table: str
    batches: Iterable[pa.RecordBatch]
    unique: bool = False
    mode: Literal["put", "insert"] = "put"


class Update(msgspec.Struct, frozen=True, tag=True):
    """Change the named columns (encoded) of one row; `NotFound` where it is absent."""

    table: str
    key: Key
    fields: Mapping[str, Any]
    if_version: str | None = None


class Delete(msgspec.Struct, frozen=True, tag=True):
    """Delete rows; an absent key is `NotFound` unless `missing_ok`."""

    table: str
    keys: Sequence[Key]
    missing_ok: bool = True
    if_version: str | None = None


class Increment(msgspec.Struct, frozen=True, tag=True):
    """Add to counter columns; `NotFound` where the row is absent, `InvalidRecord` on int64 overflow.

    `fields` are other columns (encoded) to set in the same step.
    """

    table: str
    key: Key
    amounts: Mapping[str, int]
    fields: Mapping[str, Any] = {}


Operation = Put | PutArrow | Update | Delete | Increment


class Chunk(msgspec.Struct, frozen=True):
    """A piece of a payload: `digest` is the lower-case hex BLAKE2b-256 of `data`, at most 64 KiB."""

    digest: str
    data: bytes


class CommitRequest(msgspec.Struct, frozen=True):
    """A batch of ordered operations to apply atomically on one branch.

    Attributes:
        branch: Branch name.
        id: The commit id.
        time: Microseconds: a lower bound of the commit's time; None: the clock.
        expect_head: The commit id that the branch must be at (None: no commit yet), else `StaleHead`;
            UNSET asks for nothing.
        vector, parents, picks, reverts: History facts of a merge or a revert; `parents` are the
            ids beyond the previous commit of the branch.
        force: Commit even where no row changes (a merge that brings nothing still records ancestry).
        check_references: Refuse rows that refer to absent rows.
        chunks: Payload pieces, iterable more than once, stored in the same transaction.
    """

    branch: str
    id: str
    operations: Sequence[Operation]
    author: str = ""
    message: str = ""
    time: int | None = None
    expect_head: str | msgspec.UnsetType | None = msgspec.UNSET
    parents: tuple[str, ...] = ()
    vector: dict[str, int] = {}
    picks: tuple[Pick, ...] = ()
    reverts: str | None = None
    force: bool = False
    check_references: bool = False
    chunks: Iterable[Chunk] = ()


class Committed(msgspec.Struct, frozen=True):
    """The outcome of a commit.

    Attributes:
        commit: What was recorded; None where nothing changed.
        point: The head after it.
        written: Rows put or changed. 0 where `replayed`.
        deleted: Rows deleted, cascaded vectors included. 0 where `replayed`.
        replayed: True where this id had been committed before and nothing was applied now.
    """

    commit: Commit | None
    point: Point
    written: int = 0
    deleted: int = 0
    replayed: bool = False


# --------------------------------------------------------------------------------------------- reading


class Query(msgspec.Struct, frozen=True):
    """Rows of one table.

    Attributes:
        order: Terms; ties, and no terms, mean by key ascending. Nulls last in either direction.
        limit: At most so many rows; None: all.
        after: Only rows that sort after this position: the order terms' encoded values, then the key.
        columns: The columns of each returned row, in this order; None: all.
    """

    table: str
    where: Filter | None = None
    order: tuple[OrderTerm, ...] = ()
    limit: int | None = None
    after: tuple[Any, ...] | None = None
    columns: tuple[str, ...] | None = None


class Search(msgspec.Struct, frozen=True):
    """The `k` nearest vectors of one space.

    Attributes:
        vector: `dim` float64 numbers, little-endian.
        where: On the owner's row in a bound space, on the vector's own row in a free one.
        exact: Demand exact results even where an approximate index exists.
    """

    space: str
    vector: bytes
    k: int
    where: Filter | None = None
    exact: bool = False


class Hit(msgspec.Struct, frozen=True):
    """One result of a search: higher scores are nearer; ties are ordered by id."""

    id: str
    score: float


class Counter(msgspec.Struct, frozen=True):
    """Read counters of one row: last access (microseconds; None: never) and the number of accesses."""

    table: str
    key: Key
    accessed_at: int | None
    access_count: int


# --------------------------------------------------------------------------------------------- history


class Change(msgspec.Struct, frozen=True):
    """What a commit left in one row; `row` None means deleted."""

    table: str
    key: Key
    row: Row | None


class ChangeBatch(msgspec.Struct, frozen=True):
    """Changes of one commit, in (table, key) order; a large commit comes as several, `final` on the last."""

    commit: Commit
    changes: tuple[Change, ...]
    final: bool = True


class CompactRequest(msgspec.Struct, frozen=True):
    """What compaction must keep readable.

    Attributes:
        keep_commits: The last so many commits of each branch, or None.
        keep_since: Points at or after this time (microseconds), or None.
        lease: Microseconds: whatever was a head within the last so many is kept too, so that open
            snapshots and scans stay readable without having to register.
    """

    keep_commits: int | None = None
    keep_since: int | None = None
    lease: int = 900_000_000


class CompactReport(msgspec.Struct, frozen=True):
    """What compaction did: row versions, commits and chunks dropped, branches flattened, bytes freed."""

    versions: int = 0
    commits: int = 0
    chunks: int = 0
    flattened: int = 0
    bytes_freed: int = 0


class PurgeReport(msgspec.Struct, frozen=True):
    """What a purge erased: keys found, their versions over all branches, vectors, chunks."""

    keys: int = 0
    versions: int = 0
    vectors: int = 0
    chunks: int = 0


class IngestReport(msgspec.Struct, frozen=True):
    """What an ingest wrote, and what it left out because it was there already or had been purged."""

    commits: int = 0
    rows: int = 0
    branches: int = 0
    checkpoints: int = 0
    spaces: int = 0
    known: int = 0
    purged: int = 0


class Problem(msgspec.Struct, frozen=True):
    """One finding of `verify`; severity "error" means damage, "warning" something to look at."""

    severity: Literal["error", "warning"]
    code: str
    where: str
    message: str


class VerifyReport(msgspec.Struct, frozen=True):
    """What `verify` looked at (counts by kind) and found."""

    checked: dict[str, int]
    problems: tuple[Problem, ...] = ()

    @property
    def ok(self) -> bool:
        """True where no problem is an error."""
        return not any(p.severity == "error" for p in self.problems)


class Stats(msgspec.Struct, frozen=True):
    """Figures of a namespace: live rows by table on `branch`, versions in all, and sizes in bytes."""

    branch: str
    rows: dict[str, int]
    versions: dict[str, int]
    commits: int
    branches: int
    checkpoints: int
    spaces: int
    payload_bytes: int
    store_bytes: int
