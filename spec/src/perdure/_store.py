"""`open` and `Store`: what people use."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import chain, islice
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeVar, get_args

import msgspec

from perdure import history
from perdure._capabilities import Description
from perdure._cells import time_us
from perdure._checks import check_choice, check_flag, check_path, check_tables, check_whole
from perdure._errors import AlreadyExists, InvalidInput, InvalidRecord, NotFound, StaleHead
from perdure._hooks import HistoryEvent
from perdure._managers import Branches, Checkpoints, Namespaces, Spaces, to_at
from perdure._names import MAIN, Ref, check_name, now_us, uuid7
from perdure._plugins import Plugin, WrapperSpec, open_backend, split_url
from perdure._readers import EngineReader
from perdure._rows import codec, encode_keys
from perdure._session import Session
from perdure._show import shown
from perdure._sinks import CommitSink, Options, clean, commit, said
from perdure._tables import Tables
from perdure._types import (
    Branch,
    Commit,
    Committed,
    CompactReport,
    CompactRequest,
    Context,
    IngestReport,
    Point,
    PurgeReport,
    Stats,
    VerifyReport,
)
from perdure._views import Batch, Snapshot, Transaction
from perdure.filters import F
from perdure.kit import check_events

__all__ = ["Batch", "Snapshot", "Store", "Transaction", "open", "restore"]

T = TypeVar("T")

#: How often `transact` runs its function when others commit in between.
ATTEMPTS = 16

Strategy = Literal["fail", "ours", "theirs", "field"]


def open(
    url: str,
    *,
    namespace: str = "default",
    mode: Literal["r", "rw"] = "rw",
    branch: str = MAIN,
    wrap: Sequence[WrapperSpec] = (),
    observers: Iterable[object] = (),
    principal: str = "",
    plugin: Plugin | None = None,
) -> Store:
    """Open a store.

    Args:
        url: ``scheme://…``; the scheme names an installed backend, such as ``sqlite:///agent.db``.
        namespace: Whose memory: one tenant, one agent, one experiment. Created where it is missing.
        mode: "rw", or "r" to read only; then nothing is created.
        branch: The branch that the store reads and writes; it must exist, unless it is main.
        wrap: Wrappers, innermost first.
        observers: Plain pluggy hook wrappers, which watch calls.
        principal: In whose name; also the author of commits.
        plugin: The backend's plugin object, in place of the installed one that the scheme names.

    Raises:
        InvalidURL: The URL is malformed, or its backend is not installed.
        NotFound: Nothing is there (mode "r"), or the branch does not exist.
        IncompatibleStore, CorruptStore: What is there is no store that this version can read.
        PluginError: The backend does not keep to the hookspecs.
    """
    namespace = check_name(namespace, "namespace")
    branch = check_name(branch, "branch name")
    check_choice(mode, "mode", ("r", "rw"))
    ctx = Context(principal=clean(principal))
    backend, description = open_backend(url, namespace, mode, wrap, ctx, plugin)
    try:
        session = Session(
            backend, description, url=split_url(url)[1], namespace=namespace, ctx=ctx, observers=observers
        )
        if branch != MAIN:
            Branches(session, branch).get(branch)
    except BaseException:
        if hasattr(backend, "close"):  # what is no backend may lack it
            backend.close(ctx=ctx)
        raise
    return Store(session, branch)


def restore(archive: str | Path, url: str, *, namespace: str = "default") -> IngestReport:
    """Read a backup into a namespace that is empty or strictly older.

    Raises:
        CorruptStore: The archive is damaged; nothing was written.
        Conflict: The namespace holds something else; nothing was written.
    """
    events = history.read_archive(check_path(archive, "an archive"))
    start = list(islice(events, 1))  # what is no archive must not leave a new store behind
    with open(url, namespace=namespace) as store:
        return store.ingest(chain(start, events))


class Store(Tables):
    """One namespace, at the head of one branch. Safe from several threads.

    `store.branch(name)` gives the same store on another branch; they share one connection, and closing
    one closes all.
    """

    def __init__(self, session: Session, branch: str) -> None:
        super().__init__(session, EngineReader(session, Ref(branch)), CommitSink(session, branch))
        self.branch_name = branch
        self.branches = Branches(session, branch)
        self.checkpoints = Checkpoints(session, branch)
        self.spaces = Spaces(session)
        self.namespaces = Namespaces(session)

    def __repr__(self) -> str:
        return (
            f"<Store {self._session.url} namespace={self._session.namespace!r} branch={self.branch_name!r}>"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the backend; closing twice is no error."""
        self._session.hook.close(ctx=self._session.ctx)

    @property
    def description(self) -> Description:
        """What the backend declares of itself."""
        return self._session.description

    @property
    def namespace(self) -> str:
        """The namespace that is open."""
        return self._session.namespace

    # ------------------------------------------------------------------------------------- places

    def branch(self, name: str) -> Store:
        """This store on another branch, forked from the head here where there is none of that name."""
        name = check_name(name, "branch name")
        if not self._has_branch(name):
            try:
                self.branches.create(name)
            except AlreadyExists:
                if not self._has_branch(name):  # it was no branch that was there first
                    raise
        return Store(self._session, name)

    def _has_branch(self, name: str) -> bool:
        return any(branch.name == name for branch in self.branches.list())

    def at(self, ref: str | Ref | Point, *, without: str | None = None) -> Snapshot:
        """The store as it was: a read-only view that stays at one point.

        Args:
            ref: A branch, a checkpoint, ``branch@seq``, ``branch@time``, ``@commit`` or a point.
            without: A commit id: read as if that commit had not been.

        Raises:
            NotFound, HistoryExpired: The ref, or the commit, does not exist, or no longer.
        """
        where = to_at(ref)
        point = (
            where
            if isinstance(where, Point)
            else self._session.hook.resolve(ctx=self._session.ctx, ref=where)
        )
        return Snapshot(self._session, point, without)

    def snapshot(self) -> Snapshot:
        """The store as it is now, for several reads that must agree."""
        return self.at(self.branch_name)

    def head(self) -> Point:
        """The newest point of this branch."""
        return self._reader.point()

    # ------------------------------------------------------------------------------------ writing

    def batch(self, **options: Any) -> Batch:
        """Collect writes and commit them together when the block ends without an error.

        Args:
            **options: See `Options`: message, author, commit_id, expect_head, check_references.
        """
        return Batch(self._session, self.branch_name, said(options))

    def transact(self, work: Callable[[Transaction], T], *, attempts: int = ATTEMPTS, **options: Any) -> T:
        """Run a function that reads a snapshot and writes a batch; commit only if nothing came between.

        Where somebody else committed to the branch meanwhile, the function runs again on a new snapshot,
        so it should have no other effects.

        Args:
            work: Takes a `Transaction`; its result is returned.
            attempts: How often it may run.
            **options: As for `batch`, without expect_head.

        Raises:
            StaleHead: Others came between each time.
        """
        return self._transact(work, attempts, _told(options))[0]

    def _transact(
        self, work: Callable[[Transaction], T], attempts: int, words: Options
    ) -> tuple[T, Committed | None]:
        if words.expect_head is not msgspec.UNSET:
            raise InvalidInput("transact sets expect_head itself")
        if not callable(work):
            raise InvalidInput(f"transact runs a function, not {type(work).__name__}")
        left = check_whole(attempts, "attempts", 1)
        while True:
            left -= 1
            point = self._reader.point()
            transaction = Transaction(self._session, point)
            sink = transaction.sink
            try:
                result = work(transaction)
            finally:
                sink.open = False
            if not sink.operations:
                return result, None
            given = msgspec.structs.replace(words, expect_head=point.commit)
            try:
                return result, commit(self._session, self.branch_name, sink.operations, sink.pieces(), given)
            except StaleHead:
                if not left:
                    raise

    def expire(self, now: datetime | None = None) -> Committed | None:
        """Delete, in one commit, the memories whose `expires_at` is at or before `now`; None: there were none.

        Raises:
            StaleHead: Others committed in between each time.
        """
        moment = datetime.now(UTC) if now is None else now
        time_us(moment, "now")

        def work(transaction: Transaction) -> None:
            for batch in transaction.memories.to_batches(F.expires_at <= moment, columns=["id"]):
                transaction.memories.delete(batch.column(0).to_pylist())

        return self._transact(work, ATTEMPTS, Options(message="expire"))[1]

    def purge(self, table: str, keys: Any) -> PurgeReport:
        """Erase rows from all history on all branches, with vectors, payloads and counters. No way back."""
        return self.table(table).purge(keys)

    # ------------------------------------------------------------------------------------ history

    def log(self, ref: str | Ref | Point | None = None, *, limit: int | None = None) -> Iterator[Commit]:
        """The commits that lead to a place, newest first, across forks.

        Args:
            ref: Default: the head of this branch.
            limit: At most so many.
        """
        count = None if limit is None else check_whole(limit, "limit")
        return islice(self._log(to_at(self.branch_name if ref is None else ref)), count)

    def _log(self, at: Ref | Point) -> Iterator[Commit]:
        hook, ctx = self._session.hook, self._session.ctx
        point = at if isinstance(at, Point) else hook.resolve(ctx=ctx, ref=at)
        branches: dict[str, Branch] = {b.id: b for b in hook.list_branches(ctx=ctx)}
        branch, upto = branches.get(point.branch), point.seq
        if branch is None:
            raise NotFound(f"there is no branch with id {point.branch[:80]!r}; it may have been deleted")
        while branch is not None:
            yield from hook.log(
                ctx=ctx, branch=branch.id, after=branch.fork_seq, upto=upto, merges=False, newest_first=True
            )
            upto = min(upto, branch.fork_seq)
            branch = branches.get(branch.parent) if branch.parent is not None else None

    def diff(
        self, a: str | Ref | Point, b: str | Ref | Point | None = None, *, tables: Iterable[str] | None = None
    ) -> Iterator[history.RowDiff]:
        """The rows that differ between two places, streamed in (table, key) order.

        Args:
            a: The one place.
            b: The other; default: the head of this branch.
            tables: Only these.
        """
        there = to_at(self.branch_name if b is None else b)
        return history.diff(self._session.hook, self._session.ctx, to_at(a), there, check_tables(tables))

    def merge(
        self,
        source: str | Ref | Point,
        *,
        into: str | None = None,
        strategy: Strategy = "fail",
        dry_run: bool = False,
        tables: Iterable[str] | None = None,
        keys: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> history.MergeResult:
        """Bring what a source changed into a branch, in one commit.

        Args:
            source: What to merge.
            into: The branch to merge into; default: that of this store.
            strategy: What becomes of fields that both sides changed: "fail" applies nothing and raises
                every conflict, "ours" keeps the branch, "theirs" takes the source, "field" joins by the
                rule of each field, and fails where it has none.
            dry_run: Write nothing; conflicts are in the result.
            tables: Only these tables.
            keys: Only these rows: table name → keys.
            **options: message, author, commit_id, expect_head.

        Raises:
            MergeConflict: Nothing was applied; `conflicts` has all of them.
        """
        words = _told(options)
        if keys is not None and not isinstance(keys, Mapping):
            raise InvalidInput(f"keys map names of tables to keys, and are no {type(keys).__name__}")
        return history.merge(
            self._session.hook,
            self._session.ctx,
            to_at(source),
            check_name(self.branch_name if into is None else into, "branch name"),
            tables=check_tables(tables),
            keys=None
            if keys is None
            else {name: encode_keys(codec(name).table, keys[name]) for name in check_tables(keys) or ()},
            **self._words(strategy, dry_run, words),
            commit_id=words.commit_id or uuid7(),
        )

    def sync(
        self, *, strategy: Strategy = "fail", dry_run: bool = False, **options: Any
    ) -> history.MergeResult:
        """Merge the head of the parent branch into this one; see `merge`."""
        words = _told(options)
        return history.sync(
            self._session.hook,
            self._session.ctx,
            self.branch_name,
            **self._words(strategy, dry_run, words),
            commit_id=words.commit_id or uuid7(),
        )

    def revert(
        self,
        commit_id: str,
        /,
        *,
        parent: str | int | None = None,
        strategy: Strategy = "fail",
        dry_run: bool = False,
        **options: Any,
    ) -> history.MergeResult:
        """Undo one commit on this branch, keeping what came later, in a new commit.

        Args:
            commit_id: The commit to undo (by position: the option of that name is the new commit's).
            parent: For a merge commit, the parent to go back to: its id, or its place (0 or 1).
            strategy: As for `merge`, where later commits changed the same fields.
            dry_run: Write nothing; conflicts are in the result.
            **options: message, author, commit_id (of the new commit), expect_head.
        """
        words = _told(options)
        if isinstance(parent, str):
            parent = check_name(parent, "commit id")
        elif parent is not None:
            parent = check_whole(parent, "parent, where it is no commit id,")
        return history.revert(
            self._session.hook,
            self._session.ctx,
            check_name(commit_id, "commit id"),
            self.branch_name,
            parent=parent,
            **self._words(strategy, dry_run, words),
            revert_id=words.commit_id or uuid7(),
        )

    def _words(self, strategy: Strategy, dry_run: bool, words: Options) -> dict[str, Any]:
        return {
            "strategy": check_choice(strategy, "strategy", get_args(Strategy)),
            "dry_run": check_flag(dry_run, "dry_run"),
            "expect_head": words.expect_head,
            "author": self._session.ctx.principal if words.author is None else words.author,
            "message": words.message,
        }

    def changes(
        self, since: Mapping[str, int] | None = None, *, follow: bool = False, poll: float = 0.5
    ) -> Iterator[history.FeedItem]:
        """The feed of all commits on all branches with the rows they left, for caches, mirrors and sync.

        Args:
            since: The `cursor` of the last item that was handled; None: from the beginning.
            follow: Wait for more instead of ending.
            poll: Seconds between looks while following.

        Raises:
            HistoryExpired: Compaction dropped commits that the cursor has not seen.
        """
        check_flag(follow, "follow")
        if isinstance(poll, bool) or not isinstance(poll, (int, float)) or not 0 < poll <= 86_400:
            raise InvalidInput(f"poll is a number of seconds above 0, up to a day, not {shown(poll)}")
        return history.feed(self._session.hook, self._session.ctx, since, follow=follow, poll=poll)

    def export(self) -> Iterator[HistoryEvent]:
        """All history of the namespace, as events that `ingest` takes; consistent while others write."""
        return history.export(self._session.hook, self._session.ctx)

    def ingest(self, events: Iterable[HistoryEvent]) -> IngestReport:
        """Write exported history, keeping ids, times, authors and parents; atomic.

        Raises:
            Conflict: The namespace is neither empty nor strictly older.
            InvalidRecord: An event is malformed, or the history is cut short.
        """
        if isinstance(events, (str, bytes)) or not isinstance(events, Iterable):
            raise InvalidRecord(f"ingest takes an iterable of events, not {type(events).__name__}")
        report: IngestReport = self._session.hook.ingest(ctx=self._session.ctx, events=check_events(events))
        return report

    def backup(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write the whole namespace, history included, to one file that `restore` reads into any engine.

        Consistent while others write; the file appears under its name only when it is complete.

        Raises:
            AlreadyExists: The file exists and `overwrite` is not given.
        """
        target = check_path(path, "a backup")
        check_flag(overwrite, "overwrite")
        history.write_archive(target, self.export(), overwrite=overwrite)
        return target

    # ------------------------------------------------------------------------------------- upkeep

    def stats(self, ref: str | Ref | Point | None = None) -> Stats:
        """Figures of the namespace, with live rows at a place (default: here)."""
        stats: Stats = self._session.hook.stats(
            ctx=self._session.ctx, at=to_at(self.branch_name if ref is None else ref)
        )
        return stats

    def verify(self) -> VerifyReport:
        """Recompute hashes, lineage, references and indexes; damage is reported, not raised."""
        report: VerifyReport = self._session.hook.verify(ctx=self._session.ctx)
        return report

    def compact(
        self, keep: timedelta | int | None = None, *, lease: timedelta = timedelta(minutes=15)
    ) -> CompactReport:
        """Drop row versions that nothing needs, flatten deep branches, give space back.

        Args:
            keep: The window that stays readable on every branch: a time, or a number of commits;
                None: only the heads. Forks, checkpoints and merge bases are always kept.
            lease: Whatever was a head within this time stays readable too, for open snapshots and scans.
        """
        since = commits = None
        if isinstance(keep, timedelta):
            since = now_us() - _microseconds(keep, "keep")
        elif keep is not None:
            commits = check_whole(keep, "keep, where it is no timedelta,", 1)
        request = CompactRequest(commits, since, _microseconds(lease, "lease"))
        report: CompactReport = self._session.hook.compact(ctx=self._session.ctx, request=request)
        return report


def _told(options: dict[str, Any]) -> Options:
    return said(options) or Options()


def _microseconds(duration: timedelta, what: str) -> int:
    """A duration, cut to about 146,000 years."""
    if not isinstance(duration, timedelta):
        raise InvalidInput(f"{what} is a timedelta, not {type(duration).__name__}")
    return check_whole(duration // timedelta(microseconds=1), f"{what} in microseconds")
