"""A table as people use it: one class for reading and writing records.

Where reads come from and writes go to is given by a reader and a sink, so that the store, a branch, a
snapshot, a batch and a transaction all offer the same methods.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from itertools import islice
from typing import Any, Generic, TypeVar

import msgspec
import pyarrow as pa
from numpy.typing import ArrayLike

from perdure import _embedding as embedding
from perdure._cells import int64, time_us
from perdure._checks import check_choice, check_flag, check_text, check_whole
from perdure._cursor import decode_cursor, encode_cursor
from perdure._errors import InvalidInput, NotFound
from perdure._intake import chunked, intake
from perdure._names import now_us
from perdure._payload import PayloadWriter
from perdure._readers import EngineReader, Reader
from perdure._records import Record
from perdure._rows import codec, encode_key, encode_keys
from perdure._schema import Row
from perdure._session import Session
from perdure._sinks import Options, Sink, said
from perdure._types import (
    ABSENT,
    Committed,
    Counter,
    Delete,
    Increment,
    Operation,
    PurgeReport,
    Put,
    Query,
    Search,
    Update,
)
from perdure.filters import Filter, coerce, parse_order, validate
from perdure.kit import owner_key, project

__all__ = ["Collection", "Found", "Page", "Where"]

R = TypeVar("R", bound=Record)

#: A filter in any of its Python forms.
Where = Filter | Mapping[str, Any] | None

#: Keys per engine call.
KEYS_PER_CALL = 1_000


class Page(list[R], Generic[R]):
    """Records in order. `cursor` continues after the last one; None where there is no more."""

    cursor: str | None = None


class Found(msgspec.Struct, Generic[R], frozen=True):
    """One result of a search: the record, and its score (higher is nearer)."""

    record: R
    score: float


class Collection(Generic[R]):
    """The records of one table, at one place in history."""

    def __init__(self, session: Session, reader: Reader, sink: Sink, table: str) -> None:
        self._session = session
        self._reader = reader
        self._sink = sink
        self._codec = codec(table)
        self._table = self._codec.table

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._table.name}>"

    # ------------------------------------------------------------------------------------ reading

    def get(self, key: Any) -> R | None:
        """The record of that key, or None.

        Raises:
            InvalidRecord: It is no key of this table.
        """
        (row,) = self._reader.fetch(self._table.name, (encode_key(self._table, key),))
        return None if row is None else self._decoder()(row)

    def get_many(self, keys: Iterable[Any]) -> list[R | None]:
        """Records by key, in the order asked; None where there is none."""
        found: list[R | None] = []
        decode = self._decoder()
        wanted = iter(encode_keys(self._table, keys))
        while block := list(islice(wanted, KEYS_PER_CALL)):
            rows = self._reader.fetch(self._table.name, block)
            found.extend(None if row is None else decode(row) for row in rows)
        return found

    def __getitem__(self, key: Any) -> R:
        record = self.get(key)
        if record is None:
            raise NotFound(
                f"{self._table.name} has no {str(key)[:120]!r} here", table=self._table.name, key=key
            )
        return record

    def __contains__(self, key: Any) -> bool:
        (row,) = self._reader.fetch(self._table.name, (encode_key(self._table, key),))
        return row is not None

    def version(self, key: Any) -> str | None:
        """The commit id that last wrote the row (for `if_version`); None where there is no row."""
        return self._reader.versions(self._table.name, (encode_key(self._table, key),))[0]

    def find(
        self,
        where: Where = None,
        *,
        order_by: str | list[str] | None = None,
        limit: int | None = None,
        after: str | None = None,
    ) -> Page[R]:
        """Records that match, in order.

        Args:
            where: A filter; None: all records.
            order_by: Names of typed scalar fields, ``-`` before one to descend; ties, and nothing,
                mean by key. Nulls come last in either direction.
            limit: At most so many; None: all of them, in memory (`scan` streams).
            after: The `cursor` of the page before; the pages then show one state of the store.

        Raises:
            InvalidFilter: A field or literal does not fit the table.
            InvalidInput: The limit is negative, or the cursor belongs to another query.
        """
        accept = self._where(where)
        order = parse_order(order_by, self._table)
        limit = _limit(limit)
        reader, position = self._reader, None
        if after is not None:
            cursor = decode_cursor(after, self._table.name, accept, order, reader.view)
            reader, position = reader.pinned(), cursor.after
            if cursor.point != reader.point():
                if reader.view:
                    raise InvalidInput(
                        "this cursor is of a what-if view of another point; open that point again"
                    )
                reader = EngineReader(self._session, cursor.point)
        elif limit is not None:
            reader = reader.pinned()
        rows = list(reader.select(Query(self._table.name, accept, order, limit, position)))
        page: Page[R] = Page(map(self._decoder(), rows))
        if limit and len(rows) == limit:
            page.cursor = encode_cursor(
                self._table.name, accept, order, reader.view, reader.point(), rows[-1]
            )
        return page

    def scan(self, where: Where = None, *, order_by: str | list[str] | None = None) -> Iterator[R]:
        """Records that match, streamed at one state of the store, in bounded memory."""
        accept, order = self._where(where), parse_order(order_by, self._table)
        return map(self._decoder(), self._reader.pinned().select(Query(self._table.name, accept, order)))

    def count(self, where: Where = None) -> int:
        """How many records match."""
        return self._reader.count(self._table.name, self._where(where))

    def to_batches(
        self,
        where: Where = None,
        *,
        order_by: str | list[str] | None = None,
        limit: int | None = None,
        columns: list[str] | None = None,
    ) -> pa.RecordBatchReader:
        """Encoded rows as a stream of record batches, at one state of the store, in bounded memory."""
        names = None if columns is None else self._columns(columns)
        query = Query(
            self._table.name,
            self._where(where),
            parse_order(order_by, self._table),
            _limit(limit),
            None,
            names,
        )
        batches = self._reader.pinned().scan(query)
        return pa.RecordBatchReader.from_batches(project(self._table, names), batches)

    def to_arrow(
        self,
        where: Where = None,
        *,
        order_by: str | list[str] | None = None,
        limit: int | None = None,
        columns: list[str] | None = None,
    ) -> pa.Table:
        """Encoded rows as an Arrow table; values are the codec's JSON text, vectors their stored bytes."""
        return self.to_batches(where, order_by=order_by, limit=limit, columns=columns).read_all()

    def search(
        self,
        vector: ArrayLike,
        *,
        k: int = 10,
        where: Where = None,
        space: str | None = None,
        model: str | None = None,
        exact: bool = False,
    ) -> list[Found[R]]:
        """The records whose vectors are nearest, best first; ties by id.

        Args:
            vector: As many numbers as the space has dimensions.
            k: At most so many.
            where: Filters the records of this table.
            space: An embedding space bound to this table (for `vectors`: any); may be left out where
                there is just one.
            model: The embedding model of `vector`; refused where the space has another.
            exact: Demand exact results even where an approximate index exists.
        """
        chosen = embedding.choose_space(self._session, self._table, space, model)
        k = check_whole(k, "k")
        check_flag(exact, "exact")
        owner = chosen.table if chosen.table is not None and self._table.name == chosen.table else None
        if self._table.name == "vectors" and chosen.table is not None and where is not None:
            raise InvalidInput(
                f"space {chosen.name!r} is bound to {chosen.table}; filter with store.{chosen.table}.search"
            )
        query = Search(chosen.name, embedding.query_vector(vector, chosen), k, self._where(where), exact)
        reader = self._reader.pinned()
        hits = reader.search(query)
        keys = [(chosen.name, h.id) if owner is None else owner_key(self._table, h.id) for h in hits]
        rows = reader.fetch(self._table.name, keys) if keys else []
        decode = self._decoder()
        return [Found(decode(row), h.score) for h, row in zip(hits, rows, strict=True) if row is not None]

    def counters(self, key: Any) -> Counter:
        """The read counters of a row: when `touch` last counted a read, and how many there were."""
        encoded = encode_key(self._table, key)
        found: list[Counter] = self._session.hook.counters(
            ctx=self._session.ctx, table=self._table.name, keys=(encoded,)
        )
        return found[0]

    # ------------------------------------------------------------------------------------ writing

    def put(
        self,
        records: Any,
        *,
        vector: ArrayLike | Mapping[str, ArrayLike] | None = None,
        model: str | None = None,
        if_version: str | None = None,
        if_absent: bool = False,
        chunk: int | None = None,
        progress: Callable[[int], None] | None = None,
        **options: Any,
    ) -> Committed | None:
        """Write whole records, replacing those of the same key. One call is one commit.

        Args:
            records: A record, an iterable of them, or Arrow data (table, batch or stream).
            vector: With a single record: its embedding (or one by space name), in the same commit.
            model: The embedding model of `vector`, or of the vectors that are put.
            if_version: With a single record: the commit id that must have last written it.
            if_absent: With a single record: there must be none (`VersionConflict`).
            chunk: Commit after each so many records instead of all together.
            progress: Called with the number of records after each chunk.
            **options: See `Options`: message, author, commit_id, expect_head, check_references.

        Returns:
            The outcome; None inside a batch.
        """
        if check_flag(if_absent, "if_absent"):
            if if_version is not None:
                raise InvalidInput("if_absent= and if_version= exclude each other")
            if_version = ABSENT
        return self._write(records, "put", vector, model, if_version, chunk, progress, options)

    def insert(
        self,
        records: Any,
        *,
        vector: ArrayLike | Mapping[str, ArrayLike] | None = None,
        model: str | None = None,
        chunk: int | None = None,
        progress: Callable[[int], None] | None = None,
        **options: Any,
    ) -> Committed | None:
        """Like `put`, but refuses an existing key with `AlreadyExists`; then nothing is written."""
        return self._write(records, "insert", vector, model, None, chunk, progress, options)

    def update(
        self, key: Any, /, *, if_version: str | None = None, options: Options | None = None, **fields: Any
    ) -> Committed | None:
        """Change the named fields of one record; `NotFound` where it is absent."""
        payloads = PayloadWriter()
        encoded = encode_key(self._table, key)
        if_version = _version(if_version)
        space = self._session.space(encoded[0]) if self._table.name == "vectors" else None
        changed = self._codec.encode_fields(fields, payloads, space)
        return self._sink.submit([Update(self._table.name, encoded, changed, if_version)], payloads, options)

    def delete(
        self, keys: Any, *, missing_ok: bool = True, if_version: str | None = None, **options: Any
    ) -> Committed | None:
        """Delete records, with their vectors in bound spaces, in one commit.

        Args:
            keys: A key, a record, or an iterable of them.
            missing_ok: False: an absent key is `NotFound`, and nothing is deleted.
            if_version: The commit id that must have last written the rows.
            **options: See `Options`.
        """
        check_flag(missing_ok, "missing_ok")
        if_version = _version(if_version)
        operation = Delete(self._table.name, encode_keys(self._table, keys), missing_ok, if_version)
        return self._sink.submit([operation], (), said(options))

    def increment(self, key: Any, /, options: Options | None = None, **amounts: int) -> Committed | None:
        """Add to counter fields; applied by the engine, so that none is lost.

        Raises:
            NotFound: There is no such record.
            InvalidRecord: A field is no counter, or would leave int64.
        """
        added = {name: int64(f"the increment of {name}", amount) for name, amount in amounts.items()}
        operation = Increment(self._table.name, encode_key(self._table, key), added)
        return self._sink.submit([operation], (), options)

    def touch(self, keys: Any, at: datetime | None = None) -> int:
        """Count one read of each record; the number of records counted. No commit is made."""
        time = now_us() if at is None else time_us(at)
        encoded = encode_keys(self._table, keys)
        counted: int = self._session.hook.touch(
            ctx=self._session.ctx, table=self._table.name, keys=encoded, time=time
        )
        return counted

    def purge(self, keys: Any) -> PurgeReport:
        """Erase records from all history on all branches, with vectors, payloads and counters. No way back."""
        return self._sink.purge(self._table, encode_keys(self._table, keys))

    # ------------------------------------------------------------------------------------ helpers

    def _write(
        self,
        records: Any,
        mode: Any,
        vector: Any,
        model: str | None,
        if_version: str | None,
        chunk: int | None,
        progress: Callable[[int], None] | None,
        options: dict[str, Any],
    ) -> Committed | None:
        words = said(options)
        if_version = _version(if_version)
        if progress is not None and not callable(progress):
            raise InvalidInput(f"progress is a function, not {type(progress).__name__}")
        if chunk is not None:
            size = check_whole(chunk, "chunk", 1)
            if isinstance(records, (Record, Mapping)) or vector is not None or if_version is not None:
                raise InvalidInput("chunk= goes with an iterable, without vector= and if_version=")
            return self._write_chunks(records, mode, model, size, progress, words)
        payloads = PayloadWriter()
        operations, count = intake(self._session, self._codec, records, mode, payloads)
        if model is not None and vector is None:
            embedding.check_models(self._session, self._table, operations, model)
        if if_version is not None:
            operations = [_conditional(operations, if_version)]
        if vector is not None:
            operations += embedding.vector_puts(
                self._session, _single(operations), self._table, vector, model, mode
            )
        result = self._sink.submit(operations, payloads, words)
        if progress is not None:
            progress(count)
        return result

    def _write_chunks(
        self,
        records: Any,
        mode: Any,
        model: str | None,
        chunk: int,
        progress: Callable[[int], None] | None,
        words: Options | None,
    ) -> Committed | None:
        if words is not None and (words.commit_id is not None or words.expect_head is not msgspec.UNSET):
            raise InvalidInput("chunk= makes several commits; commit_id and expect_head name one")
        done, written, last = 0, 0, None
        for block in chunked(records, chunk):
            payloads = PayloadWriter()
            operations, count = intake(self._session, self._codec, block, mode, payloads)
            if model is not None:
                embedding.check_models(self._session, self._table, operations, model)
            last = self._sink.submit(operations, payloads, words)
            done += count
            written += 0 if last is None else last.written
            if progress is not None:
                progress(done)
        return None if last is None else msgspec.structs.replace(last, written=written)

    def _where(self, where: Where) -> Filter | None:
        accept = coerce(where)
        if accept is not None:
            validate(accept, self._table)
        return accept

    def _columns(self, columns: list[str]) -> tuple[str, ...]:
        if isinstance(columns, (str, bytes)) or not isinstance(columns, Iterable):
            raise InvalidInput(f"columns are names in a list, not {type(columns).__name__}")
        names = tuple(columns)
        for name in names:
            check_choice(name, f"a column of {self._table.name}", self._table.names)
        if not names:
            raise InvalidInput("columns= names at least one column; use count to count rows")
        return names

    def _decoder(self) -> Callable[[Row], R]:
        """The function that makes records of the rows of one operation."""
        return self._codec.decode


def _version(version: str | None) -> str | None:
    return None if version is None else check_text(version, "if_version")


def _conditional(operations: list[Operation], if_version: str) -> Operation:
    _single(operations)
    put = operations[0]
    assert isinstance(put, Put)
    return msgspec.structs.replace(put, if_version=if_version)


def _single(operations: list[Operation]) -> Row:
    if len(operations) != 1 or not isinstance(operations[0], Put) or len(operations[0].rows) != 1:
        raise InvalidInput("vector=, if_version= and if_absent= go with a single record")
    return operations[0].rows[0]


def _limit(limit: int | None) -> int | None:
    return None if limit is None else check_whole(limit, "limit")
