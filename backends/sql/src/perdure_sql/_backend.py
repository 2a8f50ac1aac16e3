"""The hooks over any SQL engine."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Concatenate, ParamSpec, TypeVar

import pyarrow as pa
from perdure import (
    TABLES,
    At,
    Branch,
    ChangeBatch,
    Checkpoint,
    Commit,
    CommitRequest,
    Committed,
    CompactReport,
    CompactRequest,
    Conflict,
    Context,
    CorruptStore,
    Counter,
    HistoryEvent,
    Hit,
    IngestReport,
    Key,
    NotFound,
    Point,
    PurgeReport,
    Query,
    Ref,
    Row,
    Search,
    Space,
    Stats,
    VerifyReport,
    hookimpl,
)
from perdure.filters import Filter
from perdure.kit import check_of, chunk_digest

from perdure_sql import _branches as branches
from perdure_sql._commit import Committer, load_spaces
from perdure_sql._compact import compact
from perdure_sql._counters import touch
from perdure_sql._database import Database, Session
from perdure_sql._dialect import Scope
from perdure_sql._history import History
from perdure_sql._ingest import Ingester
from perdure_sql._places import Place, head, place
from perdure_sql._purge import forget_picks, purge
from perdure_sql._query import Queries, read_counters
from perdure_sql._rows import RowReader
from perdure_sql._search import Searcher
from perdure_sql._stats import stats
from perdure_sql._verify import verify

__all__ = ["SqlBackend", "open_namespace"]

_P = ParamSpec("_P")
_T = TypeVar("_T")


def open_namespace(database: Database, name: str, *, create: bool) -> int:
    """The number of a namespace, made where `create`.

    Raises:
        NotFound: There is none; its `detail` has the names of those that there are, as `namespaces`.
    """
    # One state for both looks: another process may be creating the namespace right now.
    with database.snapshot() as session:
        number = branches.namespace_number(session, name)
        branches.check_namespaces(session, name, number)
        if number is None and not create:
            names = [row[0] for row in session.all("SELECT name FROM namespaces ORDER BY name")]
            known = ", ".join(names[:10]) + (", …" if len(names) > 10 else "") or "none"
            raise NotFound(
                f"there is no namespace {name!r} (there are: {known}); write to it (mode='rw') to create it",
                namespace=name,
                namespaces=names,
            )
    if number is None:

        def add(session: Session) -> int:
            known = branches.namespace_number(session, name)
            return branches.add_namespace(session, name) if known is None else known

        number = database.write(None, 0, Scope.STORE, add)
    return number


def _guarded(hook: Callable[Concatenate[Any, _P], _T]) -> Callable[Concatenate[Any, _P], _T]:
    """Malformed arguments never reach a hook; driver errors never leave it, nor an iterator that it returns."""
    lazy = str(hook.__annotations__["return"]).startswith("Iterator")
    check = check_of(hook.__name__)

    @functools.wraps(hook)
    def call(backend: Any, /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        try:
            check(*args, **kwargs)
            result = hook(backend, *args, **kwargs)
        except backend.driver_errors as error:
            raise backend.translate(error) from error
        return backend.guard(result) if lazy else result

    return call


class SqlBackend:
    """One namespace of a database, as a perdure backend. Safe from several threads."""

    def __init__(self, database: Database, namespace: str, ns: int, *, cache_bytes: int) -> None:
        self._database = database
        self._namespace = namespace
        self._ns = ns
        dialect = database.dialect
        self.driver_errors = (dialect.driver_error, UnicodeError, OverflowError)
        self.translate = dialect.translate
        self._readers = {name: RowReader(table, dialect) for name, table in TABLES.items()}
        self._committer = Committer(ns, dialect, self._readers)
        self._queries = Queries(database, ns)
        self._history = History(database, ns)
        self._searcher = Searcher(database, ns, self._queries, self._readers, cache_bytes)

    def guard(self, items: Iterator[_T]) -> Iterator[_T]:
        """The iterator, with driver errors translated."""
        try:
            yield from items
        except self.driver_errors as error:
            raise self.translate(error) from error

    # ------------------------------------------------------------------------------------ life cycle

    @hookimpl
    @_guarded
    def close(self, ctx: Context) -> bool:
        self._database.close()
        self._searcher.cache.clear()
        return True

    # ---------------------------------------------------------------------------------------- writing

    def _write(self, ctx: Context, scope: Scope, body: Callable[[Session], _T]) -> _T:
        return self._database.write(ctx, self._ns, scope, body)

    @hookimpl
    @_guarded
    def commit(self, ctx: Context, request: CommitRequest) -> Committed:
        return self._write(
            ctx, Scope.ROWS, lambda session: self._committer.commit(session, request, ctx.principal)
        )

    @hookimpl
    @_guarded
    def touch(self, ctx: Context, table: str, keys: Sequence[Key], time: int) -> int:
        return self._write(
            ctx, Scope.COUNTERS, lambda session: touch(session, self._ns, TABLES[table], keys, time)
        )

    # ---------------------------------------------------------------------------------------- reading

    @hookimpl
    @_guarded
    def resolve(self, ctx: Context, ref: Ref) -> Point:
        if ref.seq is None and ref.time is None and ref.commit is None:
            seen = self._queries.seen
            with self._database.reading() as session:
                newest = seen.head(session, self._ns, ref.name)
                if newest is not None:
                    return newest
                found = head(session, self._ns, ref.name)
            if found is not None:
                seen.note(found, ref.name)
                return found.point
        with self._database.snapshot() as session:
            return place(session, self._ns, ref).point

    @hookimpl
    @_guarded
    def fetch(self, ctx: Context, table: str, keys: Sequence[Key], at: At) -> list[Row | None]:
        reader = self._readers[table]
        if len(keys) == 1:
            session = self._database.take()
            try:
                found = reader.fetch_one(session, self._ns, keys[0], at, self._queries.seen)
            finally:
                self._database.give(session)
            if found is not None:
                return [found or None]
        seen = self._queries.seen.at(at)
        if seen is not None:
            with self._database.reading() as session:
                rows = reader.rows(session, self._ns, seen.branch, seen.point.seq, keys)
                if self._queries.seen.still(session, self._ns, seen):
                    return [rows.get(key) for key in keys]
        with self._database.snapshot() as session:  # else compaction could come after the place was read
            where = place(session, self._ns, at)
            rows = reader.rows(session, self._ns, where.branch, where.point.seq, keys)
        return [rows.get(key) for key in keys]

    @hookimpl
    @_guarded
    def versions(self, ctx: Context, table: str, keys: Sequence[Key], at: At) -> list[str | None]:
        reader = self._readers[table]
        with self._database.snapshot() as session:
            where = place(session, self._ns, at)
            found = reader.closest(session, self._ns, where.branch, where.point.seq, keys)
            ids = {}
            for number in {cells[3] for cells in found.values()}:
                commit = session.one(
                    "SELECT id FROM commits WHERE ns = :ns AND no = :no", ns=self._ns, no=number
                )
                if commit is None:
                    raise CorruptStore(f"the commit of a row of {table} is missing; run verify")
                ids[number] = commit[0]
        return [ids[found[key][3]] if key in found and not found[key][1] else None for key in keys]

    @hookimpl
    @_guarded
    def counters(self, ctx: Context, table: str, keys: Sequence[Key]) -> list[Counter]:
        with self._database.reading() as session:
            found = read_counters(session, self._ns, TABLES[table], keys)
        return [Counter(table, key, *found.get(key, (None, 0))) for key in keys]

    @hookimpl
    @_guarded
    def select(self, ctx: Context, query: Query, at: At) -> Iterator[Row]:
        return self._queries.select(query, at)

    @hookimpl
    @_guarded
    def scan(self, ctx: Context, query: Query, at: At) -> Iterator[pa.RecordBatch]:
        return self._queries.scan(query, at)

    @hookimpl
    @_guarded
    def count(self, ctx: Context, table: str, where: Filter | None, at: At) -> int:
        return self._queries.count(TABLES[table], where, at)

    @hookimpl
    @_guarded
    def search(self, ctx: Context, search: Search, at: At) -> list[Hit]:
        return self._searcher.search(search, at)

    @hookimpl
    @_guarded
    def read_chunks(self, ctx: Context, digests: Sequence[str]) -> Iterator[bytes]:
        return self._chunks(list(digests))

    def _chunks(self, digests: list[str]) -> Iterator[bytes]:
        for digest in digests:
            with self._database.reading() as session:
                found = session.one(
                    "SELECT data FROM chunks WHERE ns = :ns AND digest = :digest", ns=self._ns, digest=digest
                )
            if found is None:
                raise CorruptStore(
                    f"payload piece {digest[:80]!r} is missing; run verify, restore from a backup"
                )
            data = bytes(found[0])
            if chunk_digest(data) != digest:
                raise CorruptStore(f"payload piece {digest!r} is damaged; run verify, restore from a backup")
            yield data

    # ----------------------------------------------------------------------------------------- spaces

    @hookimpl
    @_guarded
    def create_space(self, ctx: Context, space: Space) -> Space:
        return self._write(
            ctx, Scope.NAMESPACE, lambda session: branches.create_space(session, self._ns, space)
        )

    @hookimpl
    @_guarded
    def drop_space(self, ctx: Context, name: str) -> PurgeReport:
        def drop(session: Session) -> PurgeReport:
            report = branches.drop_space(session, self._ns, name)
            forget_picks(session, self._ns, "vectors", lambda key: key[0] == name)
            return report

        return self._write(ctx, Scope.NAMESPACE, drop)

    @hookimpl
    @_guarded
    def list_spaces(self, ctx: Context) -> list[Space]:
        with self._database.reading() as session:
            return list(load_spaces(session, self._ns).values())

    # --------------------------------------------------------------------------- branches, checkpoints

    @hookimpl
    @_guarded
    def create_branch(self, ctx: Context, name: str, at: At) -> Branch:
        return self._write(
            ctx, Scope.NAMES, lambda session: branches.create_branch(session, self._ns, name, at)
        )

    @hookimpl
    @_guarded
    def delete_branch(self, ctx: Context, name: str, cascade: bool) -> int:
        return self._write(
            ctx, Scope.NAMESPACE, lambda session: branches.delete_branch(session, self._ns, name, cascade)
        )

    @hookimpl
    @_guarded
    def list_branches(self, ctx: Context) -> list[Branch]:
        with self._database.reading() as session:
            return branches.list_branches(session, self._ns)

    @hookimpl
    @_guarded
    def create_checkpoint(self, ctx: Context, checkpoint: Checkpoint) -> Checkpoint:
        return self._write(
            ctx, Scope.NAMES, lambda session: branches.create_checkpoint(session, self._ns, checkpoint)
        )

    @hookimpl
    @_guarded
    def delete_checkpoint(self, ctx: Context, name: str) -> bool:
        return self._write(
            ctx, Scope.NAMES, lambda session: branches.delete_checkpoint(session, self._ns, name)
        )

    @hookimpl
    @_guarded
    def list_checkpoints(self, ctx: Context) -> list[Checkpoint]:
        with self._database.reading() as session:
            return branches.list_checkpoints(session, self._ns)

    # ---------------------------------------------------------------------------------------- history

    @hookimpl
    @_guarded
    def log(
        self, ctx: Context, branch: str, after: int, upto: int, merges: bool, newest_first: bool
    ) -> Iterator[Commit]:
        return self._history.log(branch, after, upto, merges, newest_first)

    @hookimpl
    @_guarded
    def get_commits(self, ctx: Context, ids: Sequence[str]) -> list[Commit | None]:
        return self._history.get_commits(ids)

    @hookimpl
    @_guarded
    def changes(
        self, ctx: Context, branch: str, after: int, upto: int, compacted: bool
    ) -> Iterator[ChangeBatch]:
        return self._history.changes(branch, after, upto, compacted)

    @hookimpl
    @_guarded
    def touched(self, ctx: Context, branch: str, after: int, upto: int) -> Iterator[tuple[str, Key]]:
        return self._history.touched(branch, after, upto)

    @hookimpl
    @_guarded
    def ingest(self, ctx: Context, events: Iterable[HistoryEvent]) -> IngestReport:
        # Events are read once, so this is not run again; they may come from another namespace of this store.
        beside = self._database.dialect.beside()
        with beside, self._database.writing(ctx, self._ns, Scope.NAMESPACE) as session:
            return Ingester(session, self._ns, self._readers, self._committer.writers).run(events)

    # ------------------------------------------------------------------------------------------ upkeep

    @hookimpl
    @_guarded
    def stats(self, ctx: Context, at: At) -> Stats:
        with self._database.snapshot() as session:
            return stats(session, self._ns, self._place(session, at), self._queries)

    def _place(self, session: Any, at: At) -> Place:
        return place(session, self._ns, at)

    @hookimpl
    @_guarded
    def verify(self, ctx: Context) -> VerifyReport:
        with self._database.snapshot() as session:
            return verify(session, self._ns)

    @hookimpl
    @_guarded
    def compact(self, ctx: Context, request: CompactRequest) -> CompactReport:
        return compact(self._database, ctx, self._ns, request)

    @hookimpl
    @_guarded
    def purge(self, ctx: Context, table: str, keys: Sequence[Key]) -> PurgeReport:
        return self._write(
            ctx, Scope.NAMESPACE, lambda session: purge(session, self._ns, TABLES[table], keys)
        )

    # -------------------------------------------------------------------------------------- namespaces

    @hookimpl
    @_guarded
    def list_namespaces(self, ctx: Context) -> list[str]:
        with self._database.reading() as session:
            return [row[0] for row in session.all("SELECT name FROM namespaces ORDER BY name")]

    @hookimpl
    @_guarded
    def drop_namespace(self, ctx: Context, name: str) -> bool:
        if name == self._namespace:
            raise Conflict(
                f"namespace {name!r} is open here; open another namespace of this store to drop it"
            )
        with self._database.reading() as session:
            number = branches.namespace_number(session, name)
        locked = number or 0  # no namespace has 0
        return self._database.write(
            ctx, locked, Scope.NAMESPACE, lambda session: branches.drop_namespace(session, name, locked)
        )
