"""`checked`: what a hook is given, looked at once for every engine before the hook runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from perdure._errors import InvalidFilter, InvalidInput, InvalidRecord, InvalidRef
from perdure._schema import TABLES, Table
from perdure._show import shown
from perdure._types import Checkpoint, CompactRequest, Context, Point, Query, Search, Space
from perdure.filters import Filter, OrderTerm, parse_order, validate
from perdure.kit._batches import cell_types, check_cell, check_commit
from perdure.kit._checking import (
    TOP,
    check_flag,
    check_keys,
    check_kind,
    check_list,
    check_number,
    check_place,
    check_ref,
    check_text,
    check_word,
    known_table,
)

__all__ = ["check_checkpoint", "check_of", "check_space", "checked"]

_B = TypeVar("_B")
_P = ParamSpec("_P")
_T = TypeVar("_T")

_WIDEST = 65_536


def check_of(hook: str) -> Callable[..., None]:
    """The function that refuses malformed arguments of a hook; it takes them in the order of the hookspec."""
    return _CHECKS.get(hook, _nothing)


def checked(hook: Callable[Concatenate[_B, _P], _T]) -> Callable[Concatenate[_B, _P], _T]:
    """A hook, as a method, that refuses malformed arguments before it does anything.

    The method is named as the hook and takes its arguments in the order of the hookspec.
    """
    check = check_of(hook.__name__)

    @wraps(hook)
    def call(backend: _B, /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        check(*args, **kwargs)
        return hook(backend, *args, **kwargs)

    return call


def _nothing(ctx: Context) -> None:
    """What there is to check where the context is all that a hook takes."""


# ------------------------------------------------------------------------------------------ questions


def _query(ctx: Context, query: Any, at: Any) -> None:
    check_kind(query, Query, "a query")
    table = known_table(query.table)
    _where(table, query.where)
    if type(query.order) is not tuple or query.order:
        _order(table, query.order)
    if query.limit is not None:
        check_number(query.limit, "a limit")
    if query.after is not None:
        _after(table, query)
    if query.columns is not None:
        check_list(query.columns, "columns", InvalidFilter)
        for name in query.columns:
            if type(name) is not str or name not in table.by_name:
                raise InvalidFilter(
                    f"{table.name} has no column {shown(name)}; choose among {', '.join(table.names)}"
                )
    check_place(at)


def _where(table: Table, where: Any) -> None:
    if where is not None:
        validate(where, table)


def _order(table: Table, order: Any) -> None:
    check_list(order, "the terms of an order", InvalidFilter)
    for term in order:
        check_kind(term, OrderTerm, "a term of an order", InvalidFilter)
        check_flag(term.descending, "descending")
        if type(term.column) is not str or term.column.startswith("-"):
            raise InvalidFilter(f"{table.name} has no field {shown(term.column)} to order by")
    parse_order([str(term) for term in order], table)


def _after(table: Table, query: Query) -> None:
    after, width = query.after, len(query.order)
    if not isinstance(after, (tuple, list)) or len(after) != width + len(table.key):
        raise InvalidInput("a position has a value for each order term, then the key; take it from a row")
    for term, value in zip(query.order, after, strict=False):
        column = table.by_name[term.column]
        check_cell(table, column, type(value), cell_types(column))
        if type(value) is int:
            check_number(value, "a number of a position", -TOP)
        elif type(value) is str:
            check_text(value, "a text of a position")
    check_keys(table, (tuple(after[width:]),))


def _search(ctx: Context, search: Any, at: Any) -> None:
    check_kind(search, Search, "a search")
    check_word(search.space, "space name")
    if type(search.vector) is not bytes:
        raise InvalidRecord(f"the query vector is bytes, not {type(search.vector).__name__}")
    check_number(search.k, "k")
    if search.where is not None:
        check_kind(search.where, Filter, "a filter", InvalidFilter)  # the space says of which table
    check_flag(search.exact, "exact")
    check_place(at)


def check_space(space: Any) -> None:
    """Refuse a definition that no engine can keep.

    Raises:
        InvalidRef: The name is malformed.
        InvalidRecord: Another part is.
    """
    check_kind(space, Space, "a space", InvalidRecord)
    check_word(space.name, "space name")
    name = space.name
    if type(space.dim) is not int or not 1 <= space.dim <= _WIDEST:
        raise InvalidRecord(f"space {name!r} has {shown(space.dim)} dimensions; use 1 to {_WIDEST:,}")
    if type(space.dtype) is not str or space.dtype not in ("float16", "float32", "float64"):
        raise InvalidRecord(f"space {name!r} has dtype {shown(space.dtype)}; use float16, float32 or float64")
    if type(space.metric) is not str or space.metric not in ("cosine", "l2", "dot"):
        raise InvalidRecord(f"space {name!r} has metric {shown(space.metric)}; use cosine, l2 or dot")
    check_text(space.model, "the model of a space", InvalidRecord)
    bindable = [table for table in TABLES if table != "vectors"]
    if space.table is not None and (type(space.table) is not str or space.table not in bindable):
        raise InvalidRecord(
            f"space {name!r} is bound to {shown(space.table)}; bind it to one of {', '.join(bindable)}"
        )
    check_number(space.created_at, "the time of a space", -TOP, InvalidRecord)


def check_checkpoint(checkpoint: Any) -> None:
    """Refuse a checkpoint that no engine can keep; whether its point exists is another matter.

    Raises:
        InvalidRef: The name, or the point, is malformed.
        InvalidRecord, InvalidInput: Another part is.
    """
    check_kind(checkpoint, Checkpoint, "a checkpoint", InvalidRecord)
    check_word(checkpoint.name, "checkpoint name")
    check_kind(checkpoint.point, Point, "the point of a checkpoint", InvalidRef)
    check_place(checkpoint.point)
    check_text(checkpoint.metrics, "the metrics of a checkpoint", InvalidRecord)
    check_text(checkpoint.message, "the message of a checkpoint")
    check_number(checkpoint.created_at, "the time of a checkpoint", -TOP, InvalidRecord)


def _span(branch: Any, after: Any, upto: Any) -> None:
    check_text(branch, "the id of a branch", InvalidRef)
    check_number(after, "after")
    check_number(upto, "upto")


# ------------------------------------------------------------------------------------------ hook by hook


def _touch(ctx: Context, table: Any, keys: Any, time: Any) -> None:
    check_keys(known_table(table), keys)
    check_number(time, "the time of a read", -TOP)


def _fetch(ctx: Context, table: Any, keys: Any, at: Any) -> None:
    check_keys(known_table(table), keys)
    check_place(at)


def _table_keys(ctx: Context, table: Any, keys: Any) -> None:
    check_keys(known_table(table), keys)


def _count(ctx: Context, table: Any, where: Any, at: Any) -> None:
    _where(known_table(table), where)
    check_place(at)


def _read_chunks(ctx: Context, digests: Any) -> None:
    check_list(digests, "the names of payload pieces")
    for digest in digests:
        check_text(digest, "the name of a payload piece")


def _create_branch(ctx: Context, name: Any, at: Any) -> None:
    check_word(name, "branch name")
    check_place(at)


def _delete_branch(ctx: Context, name: Any, cascade: Any) -> None:
    check_word(name, "branch name")
    check_flag(cascade, "cascade")


def _log(ctx: Context, branch: Any, after: Any, upto: Any, merges: Any, newest_first: Any) -> None:
    _span(branch, after, upto)
    check_flag(merges, "merges")
    check_flag(newest_first, "newest_first")


def _changes(ctx: Context, branch: Any, after: Any, upto: Any, compacted: Any) -> None:
    _span(branch, after, upto)
    check_flag(compacted, "compacted")


def _get_commits(ctx: Context, ids: Any) -> None:
    check_list(ids, "ids of commits")
    for commit in ids:
        check_text(commit, "the id of a commit", InvalidRef)


def _ingest(ctx: Context, events: Any) -> None:
    if not isinstance(events, Iterable):
        raise InvalidRecord(f"events are an iterable of history events, not {type(events).__name__}")


def _compact(ctx: Context, request: Any) -> None:
    check_kind(request, CompactRequest, "a request")
    if request.keep_commits is not None:
        check_number(request.keep_commits, "keep_commits")
    if request.keep_since is not None:
        check_number(request.keep_since, "keep_since", -TOP)
    check_number(request.lease, "lease")


_CHECKS: dict[str, Callable[..., None]] = {
    "commit": check_commit,
    "touch": _touch,
    "resolve": lambda ctx, ref: check_ref(ref),
    "fetch": _fetch,
    "versions": _fetch,
    "counters": _table_keys,
    "select": _query,
    "scan": _query,
    "count": _count,
    "search": _search,
    "read_chunks": _read_chunks,
    "create_space": lambda ctx, space: check_space(space),
    "drop_space": lambda ctx, name: check_word(name, "space name"),
    "create_branch": _create_branch,
    "delete_branch": _delete_branch,
    "create_checkpoint": lambda ctx, checkpoint: check_checkpoint(checkpoint),
    "delete_checkpoint": lambda ctx, name: check_word(name, "checkpoint name"),
    "log": _log,
    "get_commits": _get_commits,
    "changes": _changes,
    "touched": lambda ctx, branch, after, upto: _span(branch, after, upto),
    "ingest": _ingest,
    "stats": lambda ctx, at: check_place(at),
    "compact": _compact,
    "purge": _table_keys,
    "drop_namespace": lambda ctx, name: check_word(name, "namespace"),
}
