"""`PersistenceBackend`: the interface that every engine implements, as pluggy hookspecs.

A backend is an object with a method for each hook, marked `hookimpl`; see `docs/` for how to write one.
Rules for all hooks:

- Every hook is required, takes keyword arguments, and never returns None.
- Only errors of the `PerdureError` tree leave a hook; a driver's error becomes `StorageError`,
  `CorruptStore`, `Busy` or `Unavailable` with the driver's text in `detail`.
- Malformed arguments are refused with a kind of `InvalidInput`, or with `NotFound`, before anything changes;
  `perdure.kit.checked` around a hook sees to that.
- Hooks may be called from several threads at once. Iterators that they return belong to one thread,
  hold no lock or transaction between items, and may be dropped at any item.
- A backend object serves one namespace, chosen when it was opened.
- `at` is a `Ref` (resolved once, inside the call) or a `Point`. An unknown name is `NotFound`; a point
  that compaction dropped is `HistoryExpired`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import pluggy
import pyarrow as pa

from perdure._names import Ref
from perdure._schema import Row
from perdure._types import (
    At,
    Branch,
    ChangeBatch,
    Checkpoint,
    Chunk,
    Commit,
    CommitRequest,
    Committed,
    CompactReport,
    CompactRequest,
    Context,
    Counter,
    Hit,
    IngestReport,
    Key,
    Point,
    PurgeReport,
    Query,
    Search,
    Space,
    Stats,
    VerifyReport,
)
from perdure.filters import Filter

__all__ = ["PROJECT", "HistoryEvent", "PersistenceBackend", "hookimpl", "hookspec"]

#: The pluggy project name.
PROJECT = "perdure"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)

#: What `ingest` reads, in this order: spaces; then branches, chunks and change batches, each after what
#: it refers to; then checkpoints; then counters.
HistoryEvent = Space | Branch | Chunk | ChangeBatch | Checkpoint | Counter


class PersistenceBackend:
    """The hooks. Return annotations are the result schemas; since spec 1.0 unless stated."""

    # ------------------------------------------------------------------------------------ life cycle

    @hookspec(firstresult=True)
    def close(self, ctx: Context) -> bool:
        """Release files, connections and memory; True. Closing twice is no error; later calls are `Unavailable`."""

    # ---------------------------------------------------------------------------------------- writing

    @hookspec(firstresult=True)
    def commit(self, ctx: Context, request: CommitRequest) -> Committed:
        """Apply a batch atomically on one branch, under that branch's lock.

        The meaning of the operations is that of `perdure.kit.apply`. Returns once the commit is as
        durable as the backend declares.

        Raises:
            StaleHead, VersionConflict, AlreadyExists, NotFound, InvalidRecord: nothing was written.
            Busy: The lock was not had in time; nothing was written.
        """

    @hookspec(firstresult=True)
    def touch(self, ctx: Context, table: str, keys: Sequence[Key], time: int) -> int:
        """Count one read of each row that exists on any branch; the number of rows counted."""

    # ---------------------------------------------------------------------------------------- reading

    @hookspec(firstresult=True)
    def resolve(self, ctx: Context, ref: Ref) -> Point:
        """The point that a ref means now. A `seq` past the head, or a time before the first commit of a
        root, resolves to the nearest point at or before it."""

    @hookspec(firstresult=True)
    def fetch(self, ctx: Context, table: str, keys: Sequence[Key], at: At) -> list[Row | None]:
        """Rows by key, in the order asked; None where there is none."""

    @hookspec(firstresult=True)
    def versions(self, ctx: Context, table: str, keys: Sequence[Key], at: At) -> list[str | None]:
        """The commit id that last wrote each row; None where there is none."""

    @hookspec(firstresult=True)
    def counters(self, ctx: Context, table: str, keys: Sequence[Key]) -> list[Counter]:
        """Read counters by key, in the order asked; (None, 0) where never touched."""

    @hookspec(firstresult=True)
    def select(self, ctx: Context, query: Query, at: At) -> Iterator[Row]:
        """Rows of a query, in order, light. For limits of up to some thousands."""

    @hookspec(firstresult=True)
    def scan(self, ctx: Context, query: Query, at: At) -> Iterator[pa.RecordBatch]:
        """The same rows as record batches of `Table.arrow` (its projection where `columns` is given)."""

    @hookspec(firstresult=True)
    def count(self, ctx: Context, table: str, where: Filter | None, at: At) -> int:
        """How many rows match."""

    @hookspec(firstresult=True)
    def search(self, ctx: Context, search: Search, at: At) -> list[Hit]:
        """The nearest vectors, best first: by score descending, then id ascending."""

    @hookspec(firstresult=True)
    def read_chunks(self, ctx: Context, digests: Sequence[str]) -> Iterator[bytes]:
        """Payload pieces in the order asked; `CorruptStore` where one is missing or does not hash to its name."""

    # ----------------------------------------------------------------------------------------- spaces

    @hookspec(firstresult=True)
    def create_space(self, ctx: Context, space: Space) -> Space:
        """Create a space; the same definition again returns the first, another is `AlreadyExists`."""

    @hookspec(firstresult=True)
    def drop_space(self, ctx: Context, name: str) -> PurgeReport:
        """Drop a space and purge its vectors from all history."""

    @hookspec(firstresult=True)
    def list_spaces(self, ctx: Context) -> list[Space]:
        """All spaces, by name."""

    # --------------------------------------------------------------------------- branches, checkpoints

    @hookspec(firstresult=True)
    def create_branch(self, ctx: Context, name: str, at: At) -> Branch:
        """Fork a branch at a point, at a cost that does not depend on the number of rows. `AlreadyExists`
        where a branch or checkpoint has the name."""

    @hookspec(firstresult=True)
    def delete_branch(self, ctx: Context, name: str, cascade: bool) -> int:
        """Delete a branch (with `cascade` its descendants too); the number deleted. `Conflict` where it has
        children or is pinned by a checkpoint and `cascade` is False, or where it is `main`."""

    @hookspec(firstresult=True)
    def list_branches(self, ctx: Context) -> list[Branch]:
        """All branches, by name."""

    @hookspec(firstresult=True)
    def create_checkpoint(self, ctx: Context, checkpoint: Checkpoint) -> Checkpoint:
        """Name a point for ever; `AlreadyExists` where a branch or checkpoint has the name."""

    @hookspec(firstresult=True)
    def delete_checkpoint(self, ctx: Context, name: str) -> bool:
        """Drop the name, and the pin; True. The history stays until compaction."""

    @hookspec(firstresult=True)
    def list_checkpoints(self, ctx: Context) -> list[Checkpoint]:
        """All checkpoints, by name."""

    # ---------------------------------------------------------------------------------------- history

    @hookspec(firstresult=True)
    def log(
        self, ctx: Context, branch: str, after: int, upto: int, merges: bool, newest_first: bool
    ) -> Iterator[Commit]:
        """Own commits of a branch (by id) with `after < seq <= upto`; only merges and selective merges
        where `merges`. What compaction dropped is left out."""

    @hookspec(firstresult=True)
    def get_commits(self, ctx: Context, ids: Sequence[str]) -> list[Commit | None]:
        """Commits by id, in the order asked."""

    @hookspec(firstresult=True)
    def changes(
        self, ctx: Context, branch: str, after: int, upto: int, compacted: bool
    ) -> Iterator[ChangeBatch]:
        """Own commits of a branch (by id) with `after < seq <= upto`, oldest first, with the rows they left.

        Where `after` is below the branch's floor this is `HistoryExpired`, unless `compacted`: then what
        is left is returned (for export and verification).
        """

    @hookspec(firstresult=True)
    def touched(self, ctx: Context, branch: str, after: int, upto: int) -> Iterator[tuple[str, Key]]:
        """(table, key) of each row whose state may differ between the branch's own points `after` and `upto`:
        never too few, seldom too many, each once, in (table, key) order. Both points must be readable."""

    @hookspec(firstresult=True)
    def ingest(self, ctx: Context, events: Iterable[HistoryEvent]) -> IngestReport:
        """Write history with its ids, times, authors and parents into a namespace that is empty or strictly
        older. What is there already is left out, what a purge marked is dropped, what contradicts is `Conflict`;
        atomic."""

    # ------------------------------------------------------------------------------------------ upkeep

    @hookspec(firstresult=True)
    def stats(self, ctx: Context, at: At) -> Stats:
        """Figures of this namespace."""

    @hookspec(firstresult=True)
    def verify(self, ctx: Context) -> VerifyReport:
        """Recompute hashes, lineage, references and indexes of this namespace; damage is reported, not raised."""

    @hookspec(firstresult=True)
    def compact(self, ctx: Context, request: CompactRequest) -> CompactReport:
        """Drop versions that nothing needs, flatten deep branches, give space back."""

    @hookspec(firstresult=True)
    def purge(self, ctx: Context, table: str, keys: Sequence[Key]) -> PurgeReport:
        """Erase rows from all history on all branches, with bound vectors, payloads, provenance and counters,
        and leave a keyed-hash marker for each."""

    @hookspec(firstresult=True)
    def list_namespaces(self, ctx: Context) -> list[str]:
        """The namespaces of this engine, by name."""

    @hookspec(firstresult=True)
    def drop_namespace(self, ctx: Context, name: str) -> bool:
        """Drop a namespace and all it holds; True. `NotFound` where there is none, `Conflict` where it is open here."""
