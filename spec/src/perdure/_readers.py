"""Where a collection's reads go: to the engine at a ref or a point, or through an overlay."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NoReturn, Protocol

import numpy as np
import pyarrow as pa

from perdure._errors import Unsupported
from perdure._names import Ref
from perdure._schema import TABLES, Row
from perdure._session import Session
from perdure._types import At, Hit, Key, Point, Query, Search
from perdure.filters import Filter, matcher, sort_key, uses_counters
from perdure.kit import NUMPY_DTYPE, batch_of, owner_id, owner_key, project, scores

__all__ = ["EngineReader", "NoReader", "OverlayReader", "Reader"]

#: Rows per record batch that an overlay yields.
BATCH = 4096


class Reader(Protocol):
    """The reads that collections make."""

    #: What the view leaves out: the id of a commit, or nothing. Page cursors are bound to it.
    view: str

    def point(self) -> Point: ...
    def pinned(self) -> Reader: ...
    def fetch(self, table: str, keys: Sequence[Key]) -> list[Row | None]: ...
    def versions(self, table: str, keys: Sequence[Key]) -> list[str | None]: ...
    def select(self, query: Query) -> Iterator[Row]: ...
    def scan(self, query: Query) -> Iterator[pa.RecordBatch]: ...
    def count(self, table: str, where: Filter | None) -> int: ...
    def search(self, search: Search) -> list[Hit]: ...


class EngineReader:
    """Reads from the backend; a ref is resolved anew by each read, a point never."""

    view = ""

    def __init__(self, session: Session, at: At) -> None:
        self._session = session
        self._hook = session.hook
        self._ctx = session.ctx
        self.at = at

    def point(self) -> Point:
        if isinstance(self.at, Ref):
            point: Point = self._hook.resolve(ctx=self._ctx, ref=self.at)
            return point
        return self.at

    def pinned(self) -> Reader:
        return EngineReader(self._session, self.point())

    def fetch(self, table: str, keys: Sequence[Key]) -> list[Row | None]:
        return self._hook.fetch(ctx=self._ctx, table=table, keys=keys, at=self.at)  # type: ignore[no-any-return]

    def versions(self, table: str, keys: Sequence[Key]) -> list[str | None]:
        return self._hook.versions(ctx=self._ctx, table=table, keys=keys, at=self.at)  # type: ignore[no-any-return]

    def select(self, query: Query) -> Iterator[Row]:
        return self._hook.select(ctx=self._ctx, query=query, at=self.at)  # type: ignore[no-any-return]

    def scan(self, query: Query) -> Iterator[pa.RecordBatch]:
        return self._hook.scan(ctx=self._ctx, query=query, at=self.at)  # type: ignore[no-any-return]

    def count(self, table: str, where: Filter | None) -> int:
        return self._hook.count(ctx=self._ctx, table=table, where=where, at=self.at)  # type: ignore[no-any-return]

    def search(self, search: Search) -> list[Hit]:
        return self._hook.search(ctx=self._ctx, search=search, at=self.at)  # type: ignore[no-any-return]


class OverlayReader:
    """Reads a point with some rows replaced: the store as it would be, had a commit not been.

    The overlay holds only rows that the commit touched, so each read asks the engine and mends the answer.
    """

    def __init__(
        self, session: Session, at: Point, view: str, overlay: Mapping[str, Mapping[Key, Row | None]]
    ) -> None:
        self.view = view
        self._session = session
        self._base = EngineReader(session, at)
        self._overlay = overlay

    def _rows(self, table: str) -> Mapping[Key, Row | None]:
        return self._overlay.get(table, {})

    def _test(self, table: str, where: Filter | None, keys: Iterable[Key]) -> Callable[[Row], bool]:
        """A filter as a function of rows with these keys; it knows their read counters where it asks."""
        if where is None:
            return lambda row: True
        definition = TABLES[table]
        accept = matcher(definition, where)
        if not uses_counters(where):
            return accept
        asked = list(keys)
        counters = self._session.hook.counters(ctx=self._session.ctx, table=table, keys=asked)
        known = {key: (c.accessed_at, c.access_count) for key, c in zip(asked, counters, strict=True)}
        return lambda row: accept(row, known[definition.key_of(row)])

    def point(self) -> Point:
        return self._base.point()

    def pinned(self) -> Reader:
        return self

    def fetch(self, table: str, keys: Sequence[Key]) -> list[Row | None]:
        over = self._rows(table)
        rows = self._base.fetch(table, keys)
        return [over.get(key, row) for key, row in zip(keys, rows, strict=True)]

    def versions(self, table: str, keys: Sequence[Key]) -> NoReturn:
        raise Unsupported("a what-if view has no row versions; read them from store.at(ref)")

    def select(self, query: Query) -> Iterator[Row]:
        table = TABLES[query.table]
        over = self._rows(query.table)
        order = sort_key(table, query.order)
        accept = self._test(query.table, query.where, over)
        mine = sorted((row for row in over.values() if row is not None and accept(row)), key=order)
        if query.after is not None:
            after = _after_key(query)
            mine = [row for row in mine if order(row) > after]
        width = len(table.key)
        wanted = None if query.limit is None else query.limit + len(over)
        whole = Query(query.table, query.where, query.order, wanted, query.after)
        theirs = (row for row in self._base.select(whole) if row[:width] not in over)
        merged = islice(heapq.merge(theirs, mine, key=order), query.limit)
        if query.columns is None:
            return merged
        places = [table.position[name] for name in query.columns]
        return (tuple(row[i] for i in places) for row in merged)

    def scan(self, query: Query) -> Iterator[pa.RecordBatch]:
        schema = project(TABLES[query.table], query.columns)
        rows = self.select(query)
        while block := list(islice(rows, BATCH)):
            yield batch_of(schema, block)

    def count(self, table: str, where: Filter | None) -> int:
        over = self._rows(table)
        accept = self._test(table, where, over)
        hidden = self._base.fetch(table, list(over))
        change = sum(row is not None and accept(row) for row in over.values())
        gone = sum(row is not None and accept(row) for row in hidden)
        return self._base.count(table, where) + change - gone

    def search(self, search: Search) -> list[Hit]:
        space = self._session.space(search.space)
        over = {key: row for key, row in self._rows("vectors").items() if key[0] == space.name}
        owners = self._rows(space.table) if space.table else over
        wide = Search(
            space.name, search.vector, search.k + len(over) + len(owners), search.where, search.exact
        )
        hits = [
            h
            for h in self._base.search(wide)
            if (space.name, h.id) not in over and not self._owner(space.table, h.id, owners)
        ]
        # Rows that the overlay changed, and vectors whose owner it changed, are judged here.
        again = dict(over)
        ids = [owner_id(key) for key in owners] if space.table else []
        keys = [(space.name, i) for i in ids if (space.name, i) not in over]
        again.update(zip(keys, self._base.fetch("vectors", keys), strict=True))
        rows = [row for row in again.values() if row is not None]
        rows = self._matching(space.table, rows, search.where)
        if rows:
            matrix = np.stack([np.frombuffer(row[2], NUMPY_DTYPE[space.dtype]) for row in rows])  # type: ignore[call-overload]
            found = scores(space.metric, matrix, np.frombuffer(search.vector, "<f8"))
            hits += [Hit(str(row[1]), float(score)) for row, score in zip(rows, found, strict=True)]
        return sorted(hits, key=lambda h: (-h.score, h.id))[: search.k]

    def _owner(self, table: str | None, vector_id: str, owners: Mapping[Key, object]) -> bool:
        return table is not None and owner_key(TABLES[table], vector_id) in owners

    def _matching(self, table: str | None, rows: list[Row], where: Filter | None) -> list[Row]:
        if table is None:
            accept = self._test("vectors", where, [TABLES["vectors"].key_of(row) for row in rows])
            return [row for row in rows if accept(row)]
        keys = [owner_key(TABLES[table], str(row[1])) for row in rows]
        accept = self._test(table, where, keys)
        owners = self.fetch(table, keys)
        return [row for row, owner in zip(rows, owners, strict=True) if owner is not None and accept(owner)]


def _after_key(query: Query) -> tuple[Any, ...]:
    """A query's `after` as a sort key."""
    table = TABLES[query.table]
    after = query.after or ()
    row: list[object] = [None] * len(table.columns)
    for term, value in zip(query.order, after, strict=False):
        row[table.position[term.column]] = value
    row[: len(table.key)] = after[len(query.order) :]
    return sort_key(table, query.order)(tuple(row))


class NoReader:
    """A batch has no reads."""

    view = ""

    def __getattr__(self, name: str) -> NoReturn:
        raise Unsupported("a batch has no reads; read before it, or use store.transact(fn)")
