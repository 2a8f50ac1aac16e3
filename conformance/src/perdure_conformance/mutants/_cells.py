"""Mutants that do not keep what they are given: quiet losses in fields and values."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from perdure import At, Column, CommitRequest, Context, Delete, Key, Row, Update, hookimpl, now_us
from perdure.values import decode, encode
from perdure.wrappers import Forward

from perdure_conformance.mutants._base import Cells, Mutant, changed

__all__ = ["MUTANTS"]


class Float32Fields(Cells):
    """Rounds the float64 of a typed field to float32."""

    def change(self, column: Column, cell: Any) -> Any:
        if column.kind != "float":
            return cell
        return float(np.float32(cell)) if abs(cell) < 3e38 else cell


class Milliseconds(Cells):
    """Cuts the microseconds of times to milliseconds."""

    def change(self, column: Column, cell: Any) -> Any:
        return cell // 1_000 * 1_000 if column.kind == "time" else cell


class IntsThroughFloat(Cells):
    """Passes integers through a float64, which rounds them beyond 2**53."""

    def change(self, column: Column, cell: Any) -> Any:
        return min(int(float(cell)), 2**63 - 1) if column.kind == "int" else cell


class SortedTags(Cells):
    """Keeps tags in sorted order."""

    def change(self, column: Column, cell: Any) -> Any:
        return tuple(sorted(cell)) if column.kind == "tags" else cell


class NormalisedText(Cells):
    """Brings texts into Unicode normal form C."""

    def change(self, column: Column, cell: Any) -> Any:
        return unicodedata.normalize("NFC", cell) if column.kind == "text" and column.limit != 512 else cell


class StrippedText(Cells):
    """Strips blanks at the ends of texts."""

    def change(self, column: Column, cell: Any) -> Any:
        return cell.strip() or cell if column.kind == "text" and column.limit != 512 else cell


class EmptyTextIsNull(Cells):
    """Keeps an empty text as null, as one old database does."""

    def change(self, column: Column, cell: Any) -> Any:
        return None if cell == "" and column.nullable else cell


class NegativeZeroLost(Cells):
    """Keeps -0.0 inside a value as 0.0."""

    def change(self, column: Column, cell: Any) -> Any:
        return _leaves(cell, lambda text: text.replace("-0.0", "0.0")) if column.kind == "value" else cell


class DictOrderLost(Cells):
    """Sorts the keys of dicts in values."""

    def change(self, column: Column, cell: Any) -> Any:
        if column.kind != "value" or '{"$' in cell:
            return cell
        return encode(json.loads(json.dumps(decode(cell), sort_keys=True)))


class TupleToList(Cells):
    """Keeps a tuple as a list."""

    def change(self, column: Column, cell: Any) -> Any:
        return _rebuilt(cell, _no_tuples) if column.kind == "value" else cell


class SharedListSplit(Cells):
    """Keeps a list that stands in two places as two lists."""

    def change(self, column: Column, cell: Any) -> Any:
        return _rebuilt(cell, _apart) if column.kind == "value" and '"$graph"' in cell else cell


class BigIntsThroughFloat(Cells):
    """Keeps an integer beyond int64 in a value as a float."""

    def change(self, column: Column, cell: Any) -> Any:
        return _rebuilt(cell, _small) if column.kind == "value" and '"$int"' in cell else cell


class NanIsNull(Cells):
    """Keeps NaN in a value as null, as SQLite does with a column."""

    def change(self, column: Column, cell: Any) -> Any:
        return cell.replace('{"$float":"nan"}', "null") if column.kind == "value" else cell


class CutAtNul(Cells):
    """Cuts texts in values at NUL."""

    def change(self, column: Column, cell: Any) -> Any:
        return _rebuilt(cell, _cut) if column.kind == "value" and r"\u0000" in cell else cell


class SurrogatesReplaced(Cells):
    """Replaces lone surrogates in values by question marks."""

    def change(self, column: Column, cell: Any) -> Any:
        return _rebuilt(cell, _replaced) if column.kind == "value" and '"$str"' in cell else cell


class Float64VectorsRounded(Cells):
    """Keeps the numbers of a float64 space in float32."""

    def change(self, column: Column, cell: Any) -> Any:
        if column.kind != "vector" or len(cell) % 8:
            return cell
        numbers = np.frombuffer(cell, "<f8")
        if not np.all(np.isfinite(numbers)) or np.any(np.abs(numbers) > 1e30):
            return cell
        # A float32 vector of even length that is read as float64 hardly ever has ordinary numbers.
        plain = np.all((numbers == 0) | (np.abs(numbers) > 1e-6)) and np.all(np.abs(numbers) < 1e6)
        return numbers.astype("<f4").astype("<f8").tobytes() if plain else cell


class CreatedAtReset(Cells):
    """Takes the time of a replacement for the time of creation."""

    def _row(self, columns: Sequence[Column], row: Row) -> Row:
        return tuple(
            now_us() if cell is None and column.name == "created_at" else cell
            for column, cell in zip(columns, row, strict=True)
        )


class CaseFoldedIds(Forward):
    """Takes ids that differ in case for one."""

    @hookimpl
    def commit(self, ctx: Context, request: CommitRequest) -> Any:
        return super().commit(ctx=ctx, request=_Folded(None).alter(request))

    @hookimpl
    def fetch(self, ctx: Context, table: str, keys: Sequence[Key], at: At) -> list[Row | None]:
        return super().fetch(ctx=ctx, table=table, keys=[_fold(key) for key in keys], at=at)


class _Folded(Cells):
    def change(self, column: Column, cell: Any) -> Any:
        return cell.lower() if column.name == "id" else cell

    def alter(self, request: CommitRequest) -> CommitRequest:
        request = super().alter(request)
        operations = [
            changed(o, key=_fold(o.key))
            if isinstance(o, Update)
            else changed(o, keys=[_fold(key) for key in o.keys])
            if isinstance(o, Delete)
            else o
            for o in request.operations
        ]
        return changed(request, operations=operations)


def _fold(key: Key) -> Key:
    return (*key[:-1], key[-1].lower())


class PiecesSwapped(Forward):
    """Gives the pieces of a payload in the wrong order."""

    @hookimpl
    def read_chunks(self, ctx: Context, digests: Sequence[str]) -> Iterator[bytes]:
        return iter(list(self.inner.read_chunks(ctx=ctx, digests=digests))[::-1])


# ------------------------------------------------------------------------------- rebuilding of values


def _leaves(text: str, change: Callable[[str], str]) -> str:
    """A plain value's text with its numbers changed, not what stands in strings."""
    if '"' in text:
        return text
    return change(text)


def _rebuilt(text: str, change: Callable[[Any], Any]) -> str:
    """The text of a value with a change made to each of its parts, where it is a plain tree."""
    try:
        return encode(_walk(decode(text), change))
    except RecursionError:
        return text  # a cycle; the mutant lets it be


def _walk(value: Any, change: Callable[[Any], Any]) -> Any:
    if type(value) is list:
        return change([_walk(item, change) for item in value])
    if type(value) is tuple:
        return change(tuple(_walk(item, change) for item in value))
    if type(value) is dict:
        return change({key: _walk(item, change) for key, item in value.items()})
    return change(value)


def _no_tuples(value: Any) -> Any:
    return list(value) if type(value) is tuple else value


def _apart(value: Any) -> Any:
    return list(value) if type(value) is list else value


def _small(value: Any) -> Any:
    return (
        float(value) if type(value) is int and abs(value) >= 2**63 and value.bit_length() < 1_000 else value
    )


def _cut(value: Any) -> Any:
    return value.partition("\0")[0] if type(value) is str else value


def _replaced(value: Any) -> Any:
    return value.encode("utf-8", "replace").decode() if type(value) is str else value


MUTANTS = (
    Mutant("DM-035", Float32Fields),
    Mutant("DM-035", Milliseconds),
    Mutant("DM-035", IntsThroughFloat),
    Mutant("DM-030", SortedTags),
    Mutant("DM-023", NormalisedText),
    Mutant("DM-035", StrippedText),
    Mutant("DM-035", EmptyTextIsNull),
    Mutant("DM-055", CreatedAtReset),
    Mutant("DM-023", CaseFoldedIds),
    Mutant("DM-081", PiecesSwapped),
    Mutant("VA-003", NegativeZeroLost),
    Mutant("VA-005", DictOrderLost),
    Mutant("VA-040", TupleToList),
    Mutant("VA-060", SharedListSplit),
    Mutant("VA-020", BigIntsThroughFloat),
    Mutant("VA-021", NanIsNull),
    Mutant("VA-002", CutAtNul),
    Mutant("VA-022", SurrogatesReplaced),
    Mutant("VE-005", Float64VectorsRounded),
)
