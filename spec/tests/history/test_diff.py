from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from perdure import Delete, HistoryExpired, NotFound, Put
from perdure._names import Ref
from perdure.history import diff
from perdure.history._dag import Dag
from perdure.history._diff import batched_by_table, differing_keys


def test_kinds_fields_and_order(engine: Any, row: Any, ctx: Any) -> None:
    engine.put("main", ("memories", row("memories", "b")), ("memories", row("memories", "a", text="old")))
    engine.fork("lab")
    new = row("memories", "a", text="new", tags=("t",))
    engine.do("lab", Put("memories", [new]), Delete("memories", [("b",)]))
    engine.put("main", ("links", row("links", "l")))
    found = list(diff(engine, ctx, Ref("main"), Ref("lab")))
    assert [(d.table, d.key, d.kind) for d in found] == [
        ("links", ("l",), "removed"),
        ("memories", ("a",), "changed"),
        ("memories", ("b",), "removed"),
    ]
    assert found[1].fields == ("text", "tags")
    assert found[1].after == new
    assert found[2].after is None
    assert "id" not in found[2].fields
    assert [d.table for d in diff(engine, ctx, Ref("main"), Ref("lab"), ["links"])] == ["links"]


def test_a_row_that_came_back_does_not_differ(engine: Any, row: Any, ctx: Any) -> None:
    engine.put("main", ("memories", row("memories", "a")))
    engine.do("main", Delete("memories", [("a",)]))
    engine.put("main", ("memories", row("memories", "a")))
    assert list(diff(engine, ctx, Ref("main", seq=2), Ref("main"))) == []


def test_wrong_places_and_tables(engine: Any, ctx: Any) -> None:
    with pytest.raises(NotFound):
        diff(engine, ctx, Ref("main"), Ref("nope"))
    with pytest.raises(NotFound, match="memories"):
        diff(engine, ctx, Ref("main"), Ref("main"), ["memory"])


def test_a_place_that_expired(engine: Any, row: Any, ctx: Any) -> None:
    for text in "xy":
        engine.put("main", ("memories", row("memories", "a", text=text)))
    engine.floors["b0"] = 4
    with pytest.raises(HistoryExpired):
        list(diff(engine, ctx, Ref("main", seq=2), Ref("main")))


def test_pages_are_of_one_table() -> None:
    entries = [("links", ("1",)), *(("memories", (str(i),)) for i in range(3))]
    assert list(batched_by_table(entries, 2)) == [
        ("links", [("1",)]),
        ("memories", [("0",), ("1",)]),
        ("memories", [("2",)]),
    ]


@given(
    st.lists(
        st.tuples(
            st.integers(0, 2),
            st.lists(
                st.tuples(
                    st.sampled_from(["links", "memories"]), st.integers(0, 4), st.none() | st.integers(0, 2)
                ),
                max_size=4,
            ),
            st.booleans(),
        ),
        max_size=12,
    ),
    st.booleans(),
)
def test_agrees_with_snapshots(row: Any, ctx: Any, new_engine: Any, history: Any, by_touch: bool) -> None:
    """Any two points of any forks, by touched keys and by scans."""
    engine, names = new_engine(), ["main"]
    engine.by_touch = by_touch
    points = [engine.head("main")]
    for which, rows, fork in history:
        name = names[which % len(names)]
        for table, key, weight in rows:
            if weight is None:
                engine.commit(ctx, request(name, Delete(table, [(str(key),)])))
            else:
                engine.commit(ctx, request(name, Put(table, [row(table, str(key), created_at=weight)])))
        points.append(engine.head(name))
        if fork and len(names) < 4:
            engine.fork(f"n{len(names)}", name)
            names.append(f"n{len(names)}")
    dag = Dag(engine, ctx)
    for a in points:
        for b in points:
            old, new = engine.state(a), engine.state(b)
            want = [
                (table, key, old.get(table, {}).get(key), new.get(table, {}).get(key))
                for table in ("links", "memories")
                for key in sorted(old.get(table, {}).keys() | new.get(table, {}).keys())
                if old.get(table, {}).get(key) != new.get(table, {}).get(key)
            ]
            assert [(d.table, d.key, d.before, d.after) for d in diff(engine, ctx, a, b)] == want
            keys = list(differing_keys(dag, a, b))
            assert keys == sorted(set(keys))
            assert {(table, key) for table, key, _, _ in want} <= set(keys)


def request(branch: str, operation: Any) -> Any:
    from perdure import CommitRequest

    return CommitRequest(branch=branch, id=str(id(operation)), operations=[operation])
