"""`KitBackend`: the whole contract over a `Storage`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import wraps
from typing import Any, TypeVar

import pyarrow as pa

from perdure._capabilities import Support
from perdure._errors import InvalidInput, PermissionDenied, Unsupported
from perdure._hooks import HistoryEvent, hookimpl
from perdure._names import Ref, check_name
from perdure._schema import Row
from perdure._types import (
    At,
    Branch,
    ChangeBatch,
    Checkpoint,
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
from perdure.kit._arguments import checked
from perdure.kit._branching import Branching
from perdure.kit._commits import Commits
from perdure.kit._compact import compact
from perdure.kit._head import HeadStore, Tries
from perdure.kit._history import History
from perdure.kit._ingest import Ingest
from perdure.kit._keys import Keys
from perdure.kit._namespaces import drop_namespace, list_namespaces
from perdure.kit._reading import Reader
from perdure.kit._rows import Rows
from perdure.kit._search import Searcher
from perdure.kit._storage import Storage
from perdure.kit._upkeep import Purge, Upkeep
from perdure.kit._verify import verify
from perdure.kit._writing import Writer, locked

__all__ = ["KitBackend"]

_F = TypeVar("_F", bound=Callable[..., Any])


def _of(capability: str) -> Callable[[_F], _F]:
    """Refuse the hook on a backend that does not declare the capability in full."""

    def guard(hook: _F) -> _F:
        @wraps(hook)
        def guarded(self: KitBackend, *args: Any, **kwargs: Any) -> Any:
            self._check_declared(capability)
            return hook(self, *args, **kwargs)

        return guarded  # type: ignore[return-value]

    return guard


def _write(hook: _F) -> _F:
    """Refuse the hook on a backend that was opened read-only."""

    @wraps(hook)
    def guarded(self: KitBackend, *args: Any, **kwargs: Any) -> Any:
        if self.read_only:
            raise PermissionDenied(
                f"the store is open read-only, so {hook.__name__} is refused; open it with mode='rw'"
            )
        return hook(self, *args, **kwargs)

    return guarded  # type: ignore[return-value]


class KitBackend:
    """A complete backend: hand it a `Storage`, and it keeps the contract of `PersistenceBackend`.

    Args:
        storage: Where objects are kept. It is the backend's from now on: `close` closes it, and so does
            the constructor if it raises.
        namespace: What to open. With mode "rw" it is created, with its branch `main`, where it is missing.
        mode: "rw", or "r": every hook that writes raises `PermissionDenied`.
        capabilities: Those that the description declares; the hooks of one that is not full raise
            `Unsupported`. None: all are there.

    Raises:
        InvalidInput: The mode is unknown.
        InvalidRef: The name of the namespace is malformed.
        NotFound: It is missing, and the mode is "r".
        CorruptStore, IncompatibleStore: Its head cannot be read.
        Unsupported: The mode is "r", and "read_only" is not declared.
    """

    #: What an engine puts in place of the parts that its storage can serve better; constructed as the kit's are.
    rows_class: type[Rows] = Rows
    reader_class: type[Reader] = Reader
    searcher_class: type[Searcher] = Searcher
    writer_class: type[Writer] = Writer

    def __init__(
        self,
        storage: Storage,
        namespace: str,
        *,
        mode: str = "rw",
        capabilities: Mapping[str, Support] | None = None,
    ) -> None:
        self.read_only = mode == "r"
        self.capabilities = capabilities
        try:
            self._open(storage, namespace, mode)
        except BaseException:
            storage.close()
            raise

    def _open(self, storage: Storage, namespace: str, mode: str) -> None:
        if mode not in ("r", "rw"):
            raise InvalidInput(f"mode {mode!r:.40} is unknown; use 'rw' or 'r'")
        if self.read_only:
            self._check_declared("read_only")
        self.namespace = check_name(namespace, "namespace")
        self._storage = storage
        self._keys = keys = Keys(namespace)
        self._heads = heads = HeadStore(storage, keys, namespace)
        if not self.read_only:
            heads.create()
        heads.load()
        self._commits = commits = Commits(storage, keys)
        self._rows = rows = self.rows_class(storage, keys, heads, commits)
        self._reader = reader = self.reader_class(storage, keys, heads, commits, rows)
        self._upkeep = upkeep = Upkeep(storage, keys, heads, commits)
        self._writer = self.writer_class(storage, keys, heads, commits, rows, reader, upkeep.finish)
        self._searcher = self.searcher_class(keys, commits, rows, reader)
        self._branching = Branching(heads, reader)
        self._history = History(storage, keys, heads, commits, reader)

    def _check_declared(self, capability: str) -> None:
        if self.capabilities is not None and self.capabilities.get(capability) is not Support.FULL:
            raise Unsupported(f"this backend does not offer {capability!r}", capability=capability)

    @hookimpl
    def close(self, ctx: Context) -> bool:
        """Release the storage."""
        if not self._heads.closed:
            self._heads.closed = True
            self._storage.close()
        return True

    # ---------------------------------------------------------------------------------------- writing

    @hookimpl
    @_write
    @checked
    def commit(self, ctx: Context, request: CommitRequest) -> Committed:
        """Apply a batch atomically."""
        return self._writer.commit(ctx, request)

    @hookimpl
    @_write
    @checked
    def touch(self, ctx: Context, table: str, keys: Sequence[Key], time: int) -> int:
        """Count one read of each row."""
        return self._writer.touch(table, keys, time)

    # ---------------------------------------------------------------------------------------- reading

    @hookimpl
    @checked
    def resolve(self, ctx: Context, ref: Ref) -> Point:
        """The point that a ref means now."""
        return self._reader.place(ref)[1]

    @hookimpl
    @checked
    def fetch(self, ctx: Context, table: str, keys: Sequence[Key], at: At) -> list[Row | None]:
        """Rows by key."""
        return self._reader.fetch(table, keys, at)

    @hookimpl
    @checked
    def versions(self, ctx: Context, table: str, keys: Sequence[Key], at: At) -> list[str | None]:
        """Versions by key."""
        return self._reader.versions(table, keys, at)

    @hookimpl
    @checked
    def counters(self, ctx: Context, table: str, keys: Sequence[Key]) -> list[Counter]:
        """Read counters by key."""
        return self._reader.counters(table, keys)

    @hookimpl
    @checked
    def select(self, ctx: Context, query: Query, at: At) -> Iterator[Row]:
        """Rows of a query."""
        return self._reader.select(query, at)

    @hookimpl
    @checked
    def scan(self, ctx: Context, query: Query, at: At) -> Iterator[pa.RecordBatch]:
        """Rows of a query as record batches."""
        return self._reader.scan(query, at)

    @hookimpl
    @checked
    def count(self, ctx: Context, table: str, where: Filter | None, at: At) -> int:
        """How many rows match."""
        return self._reader.count(table, where, at)

    @hookimpl
    @checked
    def search(self, ctx: Context, search: Search, at: At) -> list[Hit]:
        """The nearest vectors."""
        return self._searcher.search(search, at)

    @hookimpl
    @checked
    def read_chunks(self, ctx: Context, digests: Sequence[str]) -> Iterator[bytes]:
        """Payload pieces."""
        return self._reader.read_chunks(digests)

    # ----------------------------------------------------------------------------------------- spaces

    @hookimpl
    @_write
    @checked
    def create_space(self, ctx: Context, space: Space) -> Space:
        """Create a space."""
        return self._branching.create_space(ctx, space)

    @hookimpl
    @_write
    @checked
    def drop_space(self, ctx: Context, name: str) -> PurgeReport:
        """Drop a space and purge its vectors."""
        return Purge(self._upkeep).space(ctx, name)

    @hookimpl
    def list_spaces(self, ctx: Context) -> list[Space]:
        """All spaces, by name."""
        return self._branching.list_spaces()

    # --------------------------------------------------------------------------- branches, checkpoints

    @hookimpl
    @_write
    @checked
    def create_branch(self, ctx: Context, name: str, at: At) -> Branch:
        """Fork a branch."""
        return self._branching.create_branch(ctx, name, at)

    @hookimpl
    @_write
    @checked
    def delete_branch(self, ctx: Context, name: str, cascade: bool) -> int:
        """Delete a branch."""
        return self._branching.delete_branch(ctx, name, cascade)

    @hookimpl
    def list_branches(self, ctx: Context) -> list[Branch]:
        """All branches, by name."""
        return self._branching.list_branches()

    @hookimpl
    @_write
    @checked
    def create_checkpoint(self, ctx: Context, checkpoint: Checkpoint) -> Checkpoint:
        """Name a point."""
        return self._branching.create_checkpoint(ctx, checkpoint)

    @hookimpl
    @_write
    @checked
    def delete_checkpoint(self, ctx: Context, name: str) -> bool:
        """Drop the name of a point."""
        return self._branching.delete_checkpoint(ctx, name)

    @hookimpl
    def list_checkpoints(self, ctx: Context) -> list[Checkpoint]:
        """All checkpoints, by name."""
        return self._branching.list_checkpoints()

    # ---------------------------------------------------------------------------------------- history

    @hookimpl
    @checked
    def log(
        self, ctx: Context, branch: str, after: int, upto: int, merges: bool, newest_first: bool
    ) -> Iterator[Commit]:
        """Own commits of a branch."""
        return self._history.log(branch, after, upto, merges, newest_first)

    @hookimpl
    @checked
    def get_commits(self, ctx: Context, ids: Sequence[str]) -> list[Commit | None]:
        """Commits by id."""
        return self._history.get_commits(ids)

    @hookimpl
    @checked
    def changes(
        self, ctx: Context, branch: str, after: int, upto: int, compacted: bool
    ) -> Iterator[ChangeBatch]:
        """Own commits of a branch with the rows they left."""
        return self._history.changes(branch, after, upto, compacted)

    @hookimpl
    @checked
    def touched(self, ctx: Context, branch: str, after: int, upto: int) -> Iterator[tuple[str, Key]]:
        """Rows whose state may differ between two points of a branch."""
        return self._history.touched(branch, after, upto)

    @hookimpl
    @_write
    @checked
    def ingest(self, ctx: Context, events: Iterable[HistoryEvent]) -> IngestReport:
        """Write history."""
        with locked(self._writer.lock, Tries(ctx)):
            self._upkeep.finish(ctx)
            return Ingest(self._storage, self._keys, self._heads).run(events)

    # ----------------------------------------------------------------------------------------- upkeep

    @hookimpl
    @checked
    def stats(self, ctx: Context, at: At) -> Stats:
        """Figures of the namespace."""
        return self._history.stats(at)

    @hookimpl
    def verify(self, ctx: Context) -> VerifyReport:
        """Read everything back."""
        return verify(self._storage, self._keys, self._heads, self._rows)

    @hookimpl
    @_of("compact")
    @_write
    @checked
    def compact(self, ctx: Context, request: CompactRequest) -> CompactReport:
        """Drop versions that nothing needs."""
        return compact(self._upkeep, ctx, request)

    @hookimpl
    @_of("purge")
    @_write
    @checked
    def purge(self, ctx: Context, table: str, keys: Sequence[Key]) -> PurgeReport:
        """Erase rows from all history."""
        return Purge(self._upkeep).rows(ctx, table, keys)

    @hookimpl
    @_of("namespaces")
    def list_namespaces(self, ctx: Context) -> list[str]:
        """The namespaces of the storage."""
        self._heads.load()
        return list_namespaces(self._storage)

    @hookimpl
    @_of("namespaces")
    @_write
    @checked
    def drop_namespace(self, ctx: Context, name: str) -> bool:
        """Drop another namespace."""
        self._heads.load()
        return drop_namespace(self._storage, name, self.namespace)
