"""What mutants are made of: wrappers that alter what goes in, or what comes out, in one place."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import pyarrow as pa
from perdure import (
    TABLES,
    At,
    Column,
    CommitRequest,
    Committed,
    Context,
    Filter,
    Hit,
    Key,
    Operation,
    Point,
    Put,
    PutArrow,
    Query,
    Ref,
    Row,
    Search,
    Update,
    hookimpl,
)
from perdure.kit import batch_of, project, rows_of
from perdure.wrappers import Forward

__all__ = ["Cells", "Filters", "Mutant", "Places", "Requests", "Rows", "as_puts", "changed"]

#: The same struct with other fields.
changed = msgspec.structs.replace


@dataclass(frozen=True)
class Mutant:
    """A broken backend: a healthy one inside a wrapper that breaks one thing.

    Attributes:
        clause: The clause that it breaks; a check that names it must fail.
        wrap: What to put around any healthy backend, as for `perdure.open`.
        needs: Capabilities without which the healthy backend never comes to the broken place.
    """

    clause: str
    wrap: Callable[[Any], Any]
    needs: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The name of the wrapper: what the mutant does."""
        name: str = self.wrap.__name__
        return name

    @property
    def summary(self) -> str:
        """What is broken, in a line."""
        return (self.wrap.__doc__ or "").strip().partition("\n")[0]


class Requests(Forward):
    """Alters commits."""

    def alter(self, request: CommitRequest) -> CommitRequest:
        """What is submitted in place of the request."""
        return request

    @hookimpl
    def commit(self, ctx: Context, request: CommitRequest) -> Committed:
        return super().commit(ctx=ctx, request=self.alter(request))


class Cells(Requests):
    """Alters cells on their way in."""

    def change(self, column: Column, cell: Any) -> Any:
        """What is stored in place of an encoded cell that is not null."""
        return cell

    def alter(self, request: CommitRequest) -> CommitRequest:
        return changed(request, operations=[self._operation(o) for o in as_puts(request.operations)])

    def _operation(self, operation: Operation) -> Operation:
        if isinstance(operation, Put):
            columns = TABLES[operation.table].columns
            return changed(operation, rows=[self._row(columns, row) for row in operation.rows])
        if isinstance(operation, Update):
            columns = tuple(c for c in TABLES[operation.table].columns if c.name in operation.fields)
            cells = self._row(columns, tuple(operation.fields[c.name] for c in columns))
            return changed(operation, fields={c.name: cell for c, cell in zip(columns, cells, strict=True)})
        return operation

    def _row(self, columns: Sequence[Column], row: Row) -> Row:
        return tuple(
            cell if cell is None else self.change(column, cell)
            for column, cell in zip(columns, row, strict=True)
        )


def as_puts(operations: Sequence[Operation]) -> list[Operation]:
    """Operations with rows in place of record batches."""
    return [
        Put(o.table, [row for batch in o.batches for row in rows_of(batch)], o.mode)
        if isinstance(o, PutArrow)
        else o
        for o in operations
    ]


class Rows(Forward):
    """Alters the rows that queries return."""

    def rows(self, ctx: Context, query: Query, at: At) -> Iterator[Row]:
        """The rows of a query, with the columns that it asks for."""
        rows: Iterator[Row] = self.inner.select(ctx=ctx, query=query, at=at)
        return rows

    @hookimpl
    def select(self, ctx: Context, query: Query, at: At) -> Iterator[Row]:
        return iter(list(self.rows(ctx, query, at)))

    @hookimpl
    def scan(self, ctx: Context, query: Query, at: At) -> Iterator[pa.RecordBatch]:
        rows = list(self.rows(ctx, query, at))
        return iter([batch_of(project(TABLES[query.table], query.columns), rows)])


class Filters(Forward):
    """Alters filters."""

    def loosen(self, where: Filter) -> Filter:
        """What is asked in place of a filter."""
        return where

    def _loosened(self, where: Filter | None) -> Filter | None:
        return None if where is None else self.loosen(where)

    @hookimpl
    def select(self, ctx: Context, query: Query, at: At) -> Iterator[Row]:
        return super().select(ctx=ctx, query=changed(query, where=self._loosened(query.where)), at=at)

    @hookimpl
    def scan(self, ctx: Context, query: Query, at: At) -> Iterator[pa.RecordBatch]:
        return super().scan(ctx=ctx, query=changed(query, where=self._loosened(query.where)), at=at)

    @hookimpl
    def count(self, ctx: Context, table: str, where: Filter | None, at: At) -> int:
        return super().count(ctx=ctx, table=table, where=self._loosened(where), at=at)

    @hookimpl
    def search(self, ctx: Context, search: Search, at: At) -> list[Hit]:
        return super().search(ctx=ctx, search=changed(search, where=self._loosened(search.where)), at=at)


class Places(Forward):
    """Alters where reads look."""

    def place(self, ctx: Context, at: At) -> At:
        """Where a read looks in place of where it should."""
        return at

    @hookimpl
    def resolve(self, ctx: Context, ref: Ref) -> Point:
        at = self.place(ctx, ref)
        return at if isinstance(at, Point) else super().resolve(ctx=ctx, ref=at)

    @hookimpl
    def fetch(self, ctx: Context, table: str, keys: Sequence[Key], at: At) -> list[Row | None]:
        return super().fetch(ctx=ctx, table=table, keys=keys, at=self.place(ctx, at))

    @hookimpl
    def select(self, ctx: Context, query: Query, at: At) -> Iterator[Row]:
        return super().select(ctx=ctx, query=query, at=self.place(ctx, at))

    @hookimpl
    def scan(self, ctx: Context, query: Query, at: At) -> Iterator[pa.RecordBatch]:
        return super().scan(ctx=ctx, query=query, at=self.place(ctx, at))

    @hookimpl
    def count(self, ctx: Context, table: str, where: Filter | None, at: At) -> int:
        return super().count(ctx=ctx, table=table, where=where, at=self.place(ctx, at))

    @hookimpl
    def search(self, ctx: Context, search: Search, at: At) -> list[Hit]:
        return super().search(ctx=ctx, search=search, at=self.place(ctx, at))
