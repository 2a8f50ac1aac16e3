"""Filters: which rows they choose, on typed fields of every table, with nulls, limits, counters and branches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from perdure import RECORDS, TABLES, InvalidFilter, Memory, Query, Ref, State, Store
from perdure.filters import (
    COUNTERS,
    FALSE,
    TRUE,
    And,
    Compare,
    Contains,
    F,
    Filter,
    In,
    IsNull,
    Not,
    Or,
    Path,
    StartsWith,
)

from perdure_conformance._case import Case
from perdure_conformance._checks import check
from perdure_conformance.clauses._chosen import chosen, finds
from perdure_conformance.expect import equal, holds, refused

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
US = timedelta(microseconds=1)

#: Literals, by the kind of the fields that they are for.
LITERALS: dict[str, tuple[Any, ...]] = {
    "text": ("a",),
    "number": (1, 1.5, 2**70),
    "bool": (True,),
    "time": (NOON,),
}

#: What a field of each kind takes: kinds of literals for comparisons, then for `Contains`, then for `StartsWith`.
TAKES: dict[str, tuple[str, str, bool]] = {
    "text": ("text", "text", True),
    "int": ("number", "", False),
    "float": ("number", "", False),
    "time": ("time", "", False),
    "tags": ("", "text", False),
    "value": ("text number bool time", "text number bool time", True),
    "vector": ("", "", False),
    "payload": ("", "", False),
}


def tests_of(field: str, kind: str) -> list[tuple[Filter, bool]]:
    """Every sort of test of a field, and whether its kind takes it."""
    compared, contained, prefixed = TAKES[kind]
    path = Path(field)
    tests: list[tuple[Filter, bool]] = [(IsNull(path), True), (StartsWith(path, "a"), prefixed)]
    for name, literals in LITERALS.items():
        for literal in literals:
            tests += [(Compare(path, "eq", literal), name in compared.split())]
            tests += [(In(path, (literal,)), name in compared.split())]
            tests += [(Contains(path, literal), name in contained.split())]
            if name != "bool":
                tests += [(Compare(path, "lt", literal), name in compared.split())]
    return tests


def one_of_each(case: Case, store: Store) -> None:
    """A record in every table, with most fields empty."""
    store.spaces.create("free", 2)
    demanded: dict[str, dict[str, Any]] = {
        "links": {"source": "a", "target": "b"},
        "states": {"kind": "k"},
        "vectors": {"space": "free", "values": [1.0, 0.0]},
    }
    for table in TABLES:
        store.table(table).put(RECORDS[table](id="x", **demanded.get(table, {})))


@check("FI-003", "FI-006", "FI-081", "FI-082", "FI-083", "FI-084", "FI-085", "FI-086", "FI-087", "FI-092")
def each_field_takes_the_tests_of_its_kind(case: Case) -> None:
    """Every field of every table answers the tests of its kind, and refuses others by its name and kind."""
    store = case.store()
    one_of_each(case, store)
    for name, table in TABLES.items():
        kinds = {**{column.name: column.kind for column in table.columns}, **COUNTERS}
        for field, kind in kinds.items():
            for test, taken in tests_of(field, kind):
                if taken:
                    equal(
                        store.table(name).count(test) + store.table(name).count(~test),
                        1,
                        f"{name}: {test}, and not",
                    )
                    continue
                with refused(InvalidFilter, what=f"{test} on {name}"):
                    store.table(name).find(test)
                message = message_of(store.table(name), test)
                holds(
                    field in message and kind in message, "the message names the field and its kind", message
                )


def message_of(collection: Any, where: Filter) -> str:
    """The message that a filter is refused with."""
    try:
        collection.count(where)
    except InvalidFilter as error:
        return error.message
    return ""


@check("FI-080", "FI-089")
def fields_and_paths_that_are_not_there_are_refused(case: Case) -> None:
    """A field that the table does not have, and steps into a field that holds no value, are refused."""
    store = case.store()
    for name, table in TABLES.items():
        collection = store.table(name)
        for field in ("nothing", "Id", *sorted({"importance", "weight", "data"} - set(table.names))):
            for where in (F[field].is_null(), F.id.is_null() & ~(F.id.is_null() | (F[field] == 1))):
                with refused(InvalidFilter, what=f"a filter on {field} of {name}"):
                    collection.find(where)
                holds(
                    field in message_of(collection, where),
                    "the message names the field",
                )
        for column in table.columns:
            if column.kind != "value":
                with refused(InvalidFilter, what=f"a path into {name}.{column.name}"):
                    collection.count(F[column.name]["a"].is_null())


@check("FI-001", "FI-040", "FI-041", "FI-042", "FI-043", "FI-044", "FI-045")
def truth_has_two_values(case: Case) -> None:
    """A null field matches no comparison, `ne` and `Not` are complements, and empty nodes have their truth."""
    store = case.store()
    store.memories.put(
        [
            Memory(id="a", kind="x", tier=1),
            Memory(id="b", kind="y"),
            Memory(id="c", tier=2),
            Memory(id="d", kind=""),
        ]
    )
    finds(
        store.memories,
        [
            (F.kind == "x", "a"),
            (F.kind != "x", "bcd"),
            (~(F.kind == "x"), "bcd"),
            (~(F.kind != "x"), "a"),
            (F.kind.is_null(), "c"),
            (~F.kind.is_null(), "abd"),
            (F.kind == "", "d"),
            (F.kind < "zz", "abd"),
            (~(F.kind < "zz"), "c"),
            (~(F.kind >= ""), "c"),
            (F.kind.contains(""), "abd"),
            (F.kind.starts_with(""), "abd"),
            (~F.kind.contains(""), "c"),
            (~F.kind.starts_with(""), "c"),
            (F.kind.is_in([]), ""),
            (~F.kind.is_in([]), "abcd"),
            (F.kind.is_in(["x", "", "q"]), "ad"),
            (~F.kind.is_in(["x", ""]), "bc"),
            (F.kind.is_in(["x", None]), "ac"),
            (~F.kind.is_in(["x", None]), "bd"),
            (TRUE, "abcd"),
            (FALSE, ""),
            (~TRUE, ""),
            (~FALSE, "abcd"),
            (And((F.kind == "x",)), "a"),
            (Or((F.kind == "x",)), "a"),
            (Not(And((TRUE, FALSE))), "abcd"),
            ((F.kind == "x") | (F.tier > 1), "ac"),
            ((F.kind == "y") & (F.tier > 1), ""),
            (~((F.kind == "y") & (F.tier > 1)), "abcd"),
            (~((F.kind == "y") | (F.tier > 1)), "ad"),
            ((F.tier < 5) & ~(F.kind == "x"), "c"),
            (~(~(F.tier < 5)), "ac"),
            (~(F.tier < 5) & ~(F.tier >= 5), "bd"),
        ],
    )


@check("FI-001", "FI-002")
def no_part_of_a_filter_is_dropped(case: Case) -> None:
    """Tests of indexed fields, other fields, tags and values count alike, wherever they stand in the tree."""
    store = case.store()
    records = [
        Memory(id=f"{k}{t}{g}{c}", kind=k, text=t, tags=[g], content={"c": c} if c == "1" else (c,))
        for k in "xy"
        for t in "pq"
        for g in "st"
        for c in "01"
    ]
    store.memories.put(records)
    parts: list[Filter] = [F.kind == "x", F.text.contains("p"), F.tags.contains("s"), F.content.c == "1"]
    truths: list[Callable[[str], bool]] = [
        lambda key: key[0] == "x",
        lambda key: key[1] == "p",
        lambda key: key[2] == "s",
        lambda key: key[3] == "1",
    ]
    keys = sorted(record.id for record in records)
    for one, other in ((a, b) for a in range(4) for b in range(4)):
        p, q, a, b = parts[one], parts[other], truths[one], truths[other]
        chosen(store.memories, p & q, [key for key in keys if a(key) and b(key)])
        chosen(store.memories, p | q, [key for key in keys if a(key) or b(key)])
        chosen(store.memories, ~(p & ~q), [key for key in keys if not a(key) or b(key)])
        chosen(store.memories, (p | q) & ~(p & q), [key for key in keys if a(key) != b(key)])
    chosen(store.memories, And(tuple(parts)), ["xps1"])
    chosen(store.memories, ~Or(tuple(parts)), ["yqt0"])


@check("FI-004", "FI-127")
def a_limit_counts_matching_rows_only(case: Case) -> None:
    """Rows that do not match take no place under a limit, however many come first; pages miss none."""
    store = case.store()
    size = 1_200
    store.memories.put(
        [
            Memory(
                id=f"m{n:05}",
                tier=n,
                content={"n": n} if n % 2 else (n,),
                title="hit" if n >= size - 5 else "miss",
            )
            for n in range(size)
        ]
    )
    hits = [f"m{n:05}" for n in range(size - 5, size)]
    for where in (
        F.title == "hit",
        F.content.n > size - 6,
        F.content[0] >= size - 5,
        (F.content.n >= size - 5) | (F.content[0] >= size - 5),
    ):
        wanted = [
            key for key in hits if (where == (F.title == "hit")) or store.memories.find(where & (F.id == key))
        ]
        equal(
            [memory.id for memory in store.memories.find(where, limit=2)],
            wanted[:2],
            f"the first rows of {where}",
        )
        down = store.memories.find(where, order_by="-tier", limit=2)
        equal([memory.id for memory in down], wanted[::-1][:2], f"the last rows of {where}")
        chosen(store.memories, where, wanted)
    equal(list(store.memories.find(limit=0)), [], "the rows under a limit of none")


@check("FI-001", "FI-002")
def hooks_filter_as_the_store_does(case: Case) -> None:
    """The hooks select, scan and count take a filter with an order, a limit and columns."""
    store, hooks, ctx = case.store(), case.hooks(), case.ctx
    store.states.put(
        [State(kind=kind, id=key, data={"n": n}) for kind in "ab" for n, key in enumerate("xyz")]
    )
    where = (F.data.n > 0) & (F.kind != "b")
    equal(hooks.count(ctx=ctx, table="states", where=where, at=Ref("main")), 2, "what count gives")
    query = Query("states", where, (), 1, None, ("id", "kind"))
    equal(list(hooks.select(ctx=ctx, query=query, at=Ref("main"))), [("y", "a")], "what select gives")
    batches = list(hooks.scan(ctx=ctx, query=query, at=Ref("main")))
    equal(
        [row for batch in batches for row in batch.to_pylist()], [{"id": "y", "kind": "a"}], "what scan gives"
    )


@check("FI-001", "FI-002", "FI-003", level="branches")
def filters_hold_on_branches_and_in_the_past(case: Case) -> None:
    """A filter on a branch or at a point sees the rows of that place: inherited, changed and deleted ones."""
    store = case.store()
    store.memories.put([Memory(id=key, tier=1, content={"n": 1}) for key in "abcd"])
    point = store.head()
    lab = store.branch("lab")
    lab.memories.put([Memory(id="b", tier=2, content={"n": 2}), Memory(id="e", tier=1, content={"n": 2})])
    lab.memories.delete("c")
    store.memories.put([Memory(id="a", tier=3, content=(3,)), Memory(id="d")])
    middle = lab.head()
    lab.memories.put(Memory(id="c", tier=9))
    places: list[tuple[Any, Sequence[tuple[Filter, str]]]] = [
        (
            store.memories,
            [(F.tier == 1, "bc"), (F.content.n == 1, "bc"), (F.content.is_null(), "d"), (F.tier != 1, "ad")],
        ),
        (
            lab.memories,
            [
                (F.tier == 1, "ade"),
                (F.content.n == 2, "be"),
                (F.content.n.is_null(), "c"),
                (F.tier > 1, "bc"),
            ],
        ),
        (
            store.at(point).memories,
            [(F.tier == 1, "abcd"), (F.content.n == 1, "abcd"), (F.content.is_null(), "")],
        ),
        (store.at(middle).memories, [(F.tier == 1, "ade"), (F.content.n != 1, "be"), (F.tier > 1, "b")]),
        (
            lab.branch("leaf").memories,
            [(F.tier == 1, "ade"), (F.tier >= 9, "c"), (~F.content.n.is_null(), "abde")],
        ),
    ]
    for collection, tests in places:
        finds(collection, tests)
