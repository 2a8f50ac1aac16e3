"""Orders: terms, nulls, ties, keys of two parts, limits and pages."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from perdure import RECORDS, TABLES, Column, InvalidFilter, Memory, State, Store
from perdure.filters import COUNTERS, F

from perdure_conformance._case import Case
from perdure_conformance._checks import check
from perdure_conformance.clauses._chosen import chosen, paged
from perdure_conformance.expect import equal, refused

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)

#: Texts whose order differs by locale, by case, and between code points and UTF-16.
TEXTS = ["", " ", "-", "10", "9", "B", "_", "a", "a\uffff", "aa", "b", "z", "Å", "é", "e\u0301"]
TEXTS += ["\ufb01", "\uffff", "😀", "\U0010ffff"]

#: Some cells of each kind that has an order, least first.
SORTED: dict[str, Sequence[Any]] = {
    "text": ["A", "a", "\uffff", "😀"],
    "int": [-(2**63), -1, 0, 2**53, 2**53 + 1, 2**63 - 1],
    "float": [-1e308, -5e-324, 0.0, 5e-324, 0.1, 1e308],
    "time": [
        datetime.min.replace(tzinfo=UTC),
        NOON,
        NOON + timedelta(microseconds=1),
        datetime.max.replace(tzinfo=UTC),
    ],
}


def names(count: int) -> list[str]:
    """Ids in order."""
    return [f"r{number:04}" for number in range(count)]


def a_row(table: str, key: str, column: Column, cell: Any) -> Any:
    """A record with one cell, and what else its table demands."""
    demanded: dict[str, Any] = {"links": {"source": "a", "target": "b"}, "states": {"kind": "k"}}.get(
        table, {}
    )
    if table == "vectors":
        demanded = {"space": "free", "values": [1.0, 0.0]}
    return RECORDS[table](**{"id": key, **demanded, column.name: cell})


@check("FI-120", "FI-121", "FI-122")
def terms_that_have_no_order_are_refused(case: Case) -> None:
    """A term is a field of kind text, int, float or time, once; others are refused."""
    store = case.store()
    for name, table in TABLES.items():
        collection = store.table(name)
        for column in table.columns:
            if column.kind in SORTED:
                for term in (column.name, f"-{column.name}", [column.name]):
                    equal(list(collection.find(order_by=term)), [], f"{name} by {term}")
                twice = [[column.name, column.name], [column.name, f"-{column.name}"]]
            else:
                twice = [[column.name], [f"-{column.name}"]]
            for terms in twice:
                with refused(InvalidFilter, what=f"{name} by {terms}"):
                    collection.find(order_by=terms)
        for term in (*COUNTERS, "-access_count", "nothing", "", "-", f"--{table.key[0]}", f"+{table.key[0]}"):
            with refused(InvalidFilter, what=f"{name} by {term!r}"):
                collection.scan(order_by=term)


@check("FI-120", "FI-124", "FI-125", "FI-126")
def each_field_is_sorted_with_nulls_last(case: Case) -> None:
    """Every field of every table that has an order, both ways: nulls last, and ties by key, ascending."""
    for name, table in TABLES.items():
        with case.new_store() as store:
            store.spaces.create("free", 2)
            for column in table.columns:
                if column.kind in SORTED and column.name not in table.key:
                    sorted_by(case, store, name, column)


def sorted_by(case: Case, store: Store, table: str, column: Column) -> None:
    """Each cell of the kind twice, and two nulls, put in any order, come back in order."""
    cells = [*SORTED[column.kind]]
    drawn: list[Any] = [*[cell for cell in cells for _ in range(2)], *[None] * (2 if column.nullable else 0)]
    keys = [f"{column.name}{key}" for key in names(len(drawn))]
    rows = list(zip(keys, drawn, strict=True))
    collection = store.table(table)
    collection.put([a_row(table, key, column, cell) for key, cell in case.random.sample(rows, len(rows))])
    own = F.id.starts_with(f"{column.name}r")
    found = [record.id for record in collection.find(own, order_by=column.name)]
    equal(found, keys, f"{table} by {column.name}")
    down = [key for cell in cells[::-1] for key, other in rows if other == cell]
    found = [record.id for record in collection.find(own, order_by=f"-{column.name}")]
    equal(found, down + keys[2 * len(cells) :], f"{table} by -{column.name}")


@check("FI-060", "FI-126")
def texts_are_sorted_by_code_point(case: Case) -> None:
    """Neither locale nor case nor the halves of UTF-16 count, in a field and in a key."""
    store = case.store()
    texts = case.random.sample(TEXTS, len(TEXTS))
    store.memories.put([Memory(id=f"k{text}", title=text) for text in texts])
    wanted = [f"k{text}" for text in sorted(TEXTS)]
    chosen(store.memories, None, wanted)
    chosen(store.memories, None, wanted, "title")
    chosen(store.memories, None, wanted[::-1], "-title")
    chosen(store.memories, None, wanted[::-1], ["-id"])


@check("FI-123", "FI-124", "FI-125")
def later_terms_sort_among_equals(case: Case) -> None:
    """Each term has its own direction, nulls are last in each, and the key decides at the end."""
    store = case.store()
    kinds, tiers = ["a", "b", None], [1, 2, None]
    cells = [(kind, tier) for kind in kinds for tier in tiers for _ in range(2)]
    keys = names(len(cells))
    drawn = list(zip(keys, case.random.sample(cells, len(cells)), strict=True))
    store.memories.put([Memory(id=key, kind=kind, tier=tier) for key, (kind, tier) in drawn])
    for first, kinds_order in (("kind", ["a", "b", None]), ("-kind", ["b", "a", None])):
        for second, tiers_order in (("tier", [1, 2, None]), ("-tier", [2, 1, None])):
            wanted = sorted(
                drawn, key=lambda row: (kinds_order.index(row[1][0]), tiers_order.index(row[1][1]), row[0])
            )
            chosen(store.memories, None, [key for key, _ in wanted], [first, second])
            flipped = sorted(
                drawn, key=lambda row: (tiers_order.index(row[1][1]), kinds_order.index(row[1][0]), row[0])
            )
            chosen(store.memories, None, [key for key, _ in flipped], [second, first])


@check("FI-125")
def a_key_of_two_parts_is_compared_part_by_part(case: Case) -> None:
    """Ties are in the order of the first part of the key, then of the second, ascending also under `-`."""
    store = case.store()
    keys = sorted(
        (kind, key)
        for kind in ("a", "a\x01", "a!", "ab", "b", "😀", "\uffff")
        for key in ("", "!", "b", "z", "é")
    )
    keys = [(kind, f"{key}.") for kind, key in keys]
    store.states.put(
        [State(kind=kind, id=key, created_at=NOON) for kind, key in case.random.sample(keys, len(keys))]
    )
    chosen(store.states, None, sorted(keys))
    chosen(store.states, None, sorted(keys), "-created_at")
    chosen(store.states, None, sorted(keys, key=lambda key: key[1]), "id")
    down = sorted(sorted({kind for kind, _ in keys}), reverse=True)
    chosen(store.states, None, [key for kind in down for key in sorted(keys) if key[0] == kind], "-kind")


@check("FI-004", "FI-125", "FI-127")
def a_limit_keeps_the_first_rows_of_the_order(case: Case) -> None:
    """Limits cut the sorted rows that match, at ties and among nulls too; pages of any size go on there."""
    store = case.store()
    keys = names(60)
    tiers = [None if n % 5 == 0 else n % 3 for n in range(60)]
    rows = list(zip(keys, tiers, strict=True))
    store.memories.put(
        [Memory(id=key, tier=tier, content={"n": tier}) for key, tier in case.random.sample(rows, len(rows))]
    )
    up = [key for key, _ in sorted(rows, key=lambda row: (row[1] is None, row[1] or 0, row[0]))]
    down = [key for key, _ in sorted(rows, key=lambda row: (row[1] is None, -(row[1] or 0), row[0]))]
    for term, wanted in (("tier", up), ("-tier", down), (None, keys)):
        for limit in (0, 1, 7, 16, 47, 48, 49, 60, 61):
            found = [memory.id for memory in store.memories.find(order_by=term, limit=limit)]
            equal(found, wanted[:limit], f"the first {limit} by {term}")
        for size in (1, 4, 12, 60):
            equal(paged(store.memories, None, term, size), wanted, f"pages of {size} by {term}")
            some = [key for key in wanted if tiers[int(key[1:])] != 1]
            equal(
                paged(store.memories, F.content.n != 1, term, size),
                some,
                f"pages of {size} by {term}, filtered",
            )


@check("FI-125", "FI-127", level="branches")
def orders_and_limits_hold_on_branches(case: Case) -> None:
    """A branch sorts its own rows among those that it inherits."""
    store = case.store()
    store.memories.put([Memory(id=f"m{n:02}", tier=n) for n in range(0, 40, 2)])
    point = store.head()
    lab = store.branch("lab")
    lab.memories.put([Memory(id=f"m{n:02}", tier=n) for n in range(1, 40, 2)])
    lab.memories.put([Memory(id="m10"), Memory(id="m20", tier=-1)])
    lab.memories.delete(["m00", "m39"])
    wanted = [n for n in range(1, 39) if n not in (10, 20)]
    up = ["m20", *[f"m{n:02}" for n in wanted], "m10"]
    down = [*[f"m{n:02}" for n in wanted[::-1]], "m20", "m10"]
    for term, keys in (("tier", up), ("-tier", down), (None, sorted(up))):
        chosen(lab.memories, None, keys, term)
        equal(
            [memory.id for memory in lab.memories.find(order_by=term, limit=3)],
            keys[:3],
            f"the first by {term}",
        )
    chosen(store.at(point).memories, F.tier > 30, ["m38", "m36", "m34", "m32"], "-tier")
