"""What a filter chooses, asked in every way there is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from perdure.filters import Filter

from perdure_conformance.expect import equal

__all__ = ["chosen", "finds", "paged"]


def paged(collection: Any, where: Filter | Mapping[str, Any] | None, order: Any, size: int) -> list[Any]:
    """The keys that all pages of a size show, in order; a page that repeats a key is the last one."""
    page = collection.find(where, order_by=order, limit=size)
    keys = [record.key for record in page]
    while page.cursor is not None and len(set(keys)) == len(keys):
        page = collection.find(where, order_by=order, limit=size, after=page.cursor)
        keys += [record.key for record in page]
    return keys


def chosen(
    collection: Any, where: Filter | Mapping[str, Any] | None, wanted: Iterable[Any], order: Any = None
) -> None:
    """The filter chooses these keys in this order, in a list, a stream, a count, a table and pages."""
    keys = list(wanted)
    equal(
        [record.key for record in collection.find(where, order_by=order)],
        keys,
        f"find({where!r:.500}, {order!r})",
    )
    equal(collection.count(where), len(keys), f"count({where!r:.500})")
    equal(
        [record.key for record in collection.scan(where, order_by=order)],
        keys,
        f"scan({where!r:.500}, {order!r})",
    )
    equal(paged(collection, where, order, 2), keys, f"pages of find({where!r:.500}, {order!r})")


def finds(collection: Any, tests: Sequence[tuple[Filter, str]]) -> None:
    """Each filter chooses the rows with these ids, each a letter."""
    for where, ids in tests:
        chosen(collection, where, ids)
