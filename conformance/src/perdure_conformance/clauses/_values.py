"""Values: every column of every table keeps them, on branches, after reopening, and whatever they are."""

from __future__ import annotations

from collections import deque
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st
from perdure import RECORDS, TABLES, Link, Memory, State, Store
from perdure.values import encode

from perdure_conformance._case import Case
from perdure_conformance._checks import check
from perdure_conformance.expect import equal, same_value
from perdure_conformance.strategies import plain_values, values

SHARED: list[Any] = [1]

#: Values that a store might flatten, tie to another type, or lose.
VALUES: tuple[Any, ...] = (
    {"b": 1, "a": [1.0, True, None, "é\0"]},
    (1, (2.0, b"\xff")),
    {1: "int", "1": "text", None: float("nan")},
    [SHARED, SHARED],
    deque([{1, 2}, frozenset()], 5),
    2**200,
    Decimal("-0.00"),
    -0.0,
    None,
    "null",
)


def value_columns() -> list[tuple[str, str]]:
    """All columns that hold values, with their tables."""
    return [
        (table.name, column.name)
        for table in TABLES.values()
        for column in table.columns
        if column.kind == "value"
    ]


def a_record(store: Store, table: str, **fields: Any) -> Any:
    """Put one record with these fields, and what else its table demands; its key."""
    demanded: dict[str, Any] = {"links": {"source": "a", "target": "b"}, "states": {"kind": "k"}}.get(
        table, {}
    )
    if table == "vectors":
        store.spaces.create("free", 2)
        demanded = {"space": "free", "values": [1.0, 0.0]}
    record = RECORDS[table](**{"id": "x", **demanded, **fields})
    store.table(table).put(record)
    return record.key


def texts_of(store: Any, keys: list[str]) -> list[str]:
    """The stored texts of contents of memories, by key."""
    batch = store.memories.to_arrow(columns=["id", "content"]).to_pydict()
    found = dict(zip(batch["id"], batch["content"], strict=True))
    return [found[key] for key in keys]


@check("VA-001", "VA-010", "VA-011")
def each_column_of_values_keeps_each_value(case: Case) -> None:
    """All value columns of all tables keep type, bits, order and sharing."""
    for table, column in value_columns():
        with case.new_store() as store:
            for value in VALUES:
                key = a_record(store, table, **{column: value})
                got = getattr(store.table(table)[key], column)
                same_value(got, value, f"{table}.{column}")
                cell = store.table(table).to_arrow(columns=[column]).to_pydict()[column]
                equal(cell, [encode(value)], f"the stored text of {table}.{column}")


@check("VA-001", "VA-011")
def an_update_keeps_the_values_that_it_leaves(case: Case) -> None:
    """An update sets one value exactly, and leaves the others as they were."""
    store = case.store()
    for before in VALUES:
        for after in VALUES:
            store.memories.put(Memory(id="m", content=before, metadata=before))
            store.memories.update("m", content=after)
            memory = store.memories["m"]
            same_value(memory.content, after, "the value that was set")
            same_value(memory.metadata, before, "the value that was left")


@check("VA-010", "VA-011")
def values_that_are_equal_in_python_stay_apart(case: Case) -> None:
    """A put of a value that only Python takes for the same is a change, and is kept."""
    store = case.store()
    alike: list[Any] = [
        1,
        1.0,
        True,
        1 + 0j,
        Decimal(1),
        Decimal("1.0"),
        0.0,
        -0.0,
        False,
        0,
        (),
        frozenset(),
        set(),
    ]
    alike += [{"a": 1, "b": 2}, {"b": 2, "a": 1}, [[], []], [SHARED[:0]] * 2, "é", "e\u0301"]
    for value in alike:
        store.memories.put(Memory(id="m", content=value))
        same_value(store.memories["m"].content, value, "a value that was put over one that is like it")


@check("VA-060")
def sharing_ends_at_the_value(case: Case) -> None:
    """Two columns and two rows that were given one list do not share it when they are read."""
    store = case.store()
    shared = [1]
    store.memories.put([Memory(id=key, content=[shared, shared], metadata=shared) for key in ("a", "b")])
    one, other = store.memories["a"], store.memories["b"]
    one.content[0].append(2)
    equal(one.content, [[1, 2], [1, 2]], "a shared list within one value")
    equal((one.metadata, other.content, other.metadata), ([1], [[1], [1]], [1]), "the values beside it")


@check("VA-011", "VA-060", needs=("persistent",))
def values_survive_reopening(case: Case) -> None:
    """What was put is the same in a store that is opened again."""
    with case.store() as store:
        for place, value in enumerate(VALUES):
            store.states.put(State(kind="k", id=str(place), data=value, metrics=[value]))
    with case.store(mode="r") as store:
        for place, value in enumerate(VALUES):
            state = store.states[("k", str(place))]
            same_value(state.data, value, "the data of a state")
            same_value(state.metrics, [value], "the metrics of a state")


@check("VA-011", "VA-060", level="branches")
def values_are_the_same_on_branches_and_in_the_past(case: Case) -> None:
    """A branch shows its parent's values, its own where it wrote some, and a point keeps what it showed."""
    store = case.store()
    keys = [str(place) for place in range(len(VALUES))]
    store.links.put(
        [Link(id=key, source="a", target="b", context=value) for key, value in zip(keys, VALUES, strict=True)]
    )
    point = store.head()
    lab = store.branch("lab")
    lab.links.put(
        [
            Link(id=key, source="a", target="b", context=(value,))
            for key, value in zip(keys, VALUES, strict=True)
        ]
    )
    past, other = store.at(point), lab.branch("other")
    for key, value in zip(keys, VALUES, strict=True):
        for name, view in (("the parent", store), ("the past", past)):
            same_value(view.links[key].context, value, f"a value in {name}")
        for name, view in (("a branch", lab), ("a branch of a branch", other)):
            same_value(view.links[key].context, (value,), f"a value on {name}")


def come_back(case: Case, drawn: list[Any]) -> None:
    """Values are put, read by another handle, and stored as their texts."""
    keys = [f"v{place}" for place in range(len(drawn))]
    with case.new_store() as store, case.store(store.namespace) as other:
        store.memories.put([Memory(id=key, content=value) for key, value in zip(keys, drawn, strict=True)])
        for key, value in zip(keys, drawn, strict=True):
            same_value(other.memories[key].content, value, "the value that was put")
        equal(texts_of(other, keys), [encode(value) for value in drawn], "the stored texts")


@check("VA-001", "VA-010", "VA-011", "VA-060", kind="property", weight=1.0)
def any_value_comes_back(case: Case) -> None:
    """Values of all types, with sharing and cycles, come back the same, and are stored as their texts."""
    case.given(come_back, st.lists(values(), min_size=1, max_size=3))


def stay_on_branches(case: Case, before: Any, after: Any) -> None:
    """A value is put, changed on a branch, and read on all sides by a handle that was opened afterwards."""
    with case.new_store() as store:
        store.states.put(State(kind="k", id="s", data=before, metrics=after))
        lab = store.branch("lab")
        lab.states.update(("k", "s"), data=after)
        point = lab.head()
        lab.states.delete(("k", "s"))
        with case.store(store.namespace) as other:
            same_value(other.states["k", "s"].data, before, "the value on main")
            same_value(other.at(point).states["k", "s"].data, after, "the value that a branch had")
            same_value(other.at(point).states["k", "s"].metrics, after, "the value beside it")


@check("VA-001", "VA-011", "VA-060", level="branches", kind="property", weight=1.0)
def any_value_stays_on_branches_and_in_the_past(case: Case) -> None:
    """Values of all types are the same on branches and at points of the past."""
    case.given(stay_on_branches, values() | plain_values(), values())
