"""Search on branches, in the past, and after merges and compaction."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
from hypothesis import strategies as st
from perdure import F, Memory, Point, Store, Vector

from perdure_conformance._case import Case
from perdure_conformance._checks import check
from perdure_conformance.clauses._oracle import METRICS, Vectors, best, hits, same_hits, stored
from perdure_conformance.expect import equal

DEPTH = 12


def put(view: Store, vectors: dict[str, Any]) -> None:
    """Memories with a vector each in the space `s`, in one commit."""
    with view.batch() as batch:
        batch.memories.put([Memory(id=name) for name in vectors if name not in view.memories])
        batch.vectors.put([Vector(space="s", id=name, values=v) for name, v in vectors.items()])


def finds(view: Any, metric: str, known: dict[str, Any], queries: Any, what: str) -> None:
    """Searches of a view, exact ones, find what is best of the vectors that are known to be there."""
    vectors: Vectors = {name: stored(v, "float32") for name, v in known.items()}
    for query in queries:
        want = best(metric, vectors, query)
        for k in (1, 10, len(known) + 1):
            same_hits(hits(view.memories, query, k, space="s", exact=True), want, k, what)


@check("VE-025", "VE-033", "VE-036", level="vectors")
def a_search_at_a_past_point_finds_what_was_there(case: Case) -> None:
    """By number, commit, checkpoint and point: vectors as they were, without what was deleted before or came after."""
    store = case.store()
    store.spaces.create("s", 3, metric="l2", table="memories")
    noise, known = np.random.default_rng(2), dict[str, Any]()
    queries, past = noise.normal(size=(2, 3)), list[tuple[Any, dict[str, Any]]]()
    for step in range(8):
        put(store, {f"m{noise.integers(20):02}": noise.normal(size=3) for _ in range(6)} | known)
        for vector in store.vectors.scan():
            known[vector.id] = vector.values
        if step % 2:
            gone = sorted(known)[step % 5 :: 4]
            store.memories.delete(gone)
            known = {name: v for name, v in known.items() if name not in gone}
        point = store.head()
        store.checkpoints.create(f"mark-{step}")
        refs = (point, f"mark-{step}", f"main@{point.seq}", f"@{point.commit}")
        past.append((refs[step % 4], dict(known)))
    for ref, then in past:
        finds(store.at(ref), "l2", then, queries, f"a search at {ref}")
    finds(store, "l2", known, queries, "a search at the head")


@check("VE-033", "VE-036", "BR-004", "BR-006", level="vectors")
def a_search_on_a_deep_branch_finds_what_it_inherits(case: Case) -> None:
    """Twelve branches deep, each of which adds, changes and deletes vectors: every one finds its own state."""
    metrics: tuple[Any, ...] = ("cosine", "l2")
    for metric in metrics:
        with case.new_store() as store:
            store.spaces.create("s", 4, metric=metric, table="memories")
            noise = np.random.default_rng(3)
            known: dict[str, Any] = {f"m{i:03}": noise.normal(size=4) for i in range(60)}
            put(store, known)
            view, states = store, [(store, dict(known))]
            for depth in range(DEPTH):
                view = view.branch(f"b{depth}")
                fresh = {f"m{i:03}": noise.normal(size=4) for i in (depth, depth + 20, 60 + depth)}
                put(view, fresh)
                known |= fresh
                gone = f"m{depth + 40:03}"
                view.memories.delete(gone)
                del known[gone]
                states.append((view, dict(known)))
            put(store, {"late": noise.normal(size=4)})
            states[0][1]["late"] = store.vectors["s", "late"].values
            queries = noise.normal(size=(1, 4))
            for number, (there, state) in enumerate(states):
                finds(there, metric, state, queries, f"a search by {metric} at depth {number}")


@check("VE-033", "VE-036", "BR-006", level="vectors")
def a_search_goes_past_a_neighbourhood_that_the_branch_replaced(case: Case) -> None:
    """All that is near on main is moved away, or deleted, on the branch: it finds k others, and main finds the old."""
    for how in ("moved", "deleted", "rows deleted"):
        with case.new_store() as store:
            store.spaces.create("s", 3, metric="l2", table="memories")
            noise = np.random.default_rng(4)
            near = {f"near{i:02}": noise.normal(size=3) / 100 for i in range(60)}
            far = {f"far{i:02}": noise.normal(size=3) * 10 + 100 for i in range(60)}
            put(store, near | far)
            lab = store.branch("lab")
            if how == "moved":
                moved = {name: v + 1000 for name, v in near.items()}
                put(lab, moved)
            elif how == "deleted":
                lab.vectors.delete([("s", name) for name in near])
            else:
                lab.memories.delete(list(near))
            left = far | ({name: v + 1000 for name, v in near.items()} if how == "moved" else {})
            finds(
                lab.branch("deeper"), "l2", left, [np.zeros(3)], f"a search where all that is near was {how}"
            )
            finds(store, "l2", near | far, [np.zeros(3)], "a search on main")


@check("VE-035", "VE-036", level="vectors")
def a_filter_on_a_branch_sees_the_rows_of_the_branch(case: Case) -> None:
    """Rows that the branch changed are judged by their fields there, their inherited vectors found by them."""
    store = case.store()
    store.spaces.create("s", 2, metric="l2", table="memories")
    with store.batch() as batch:
        batch.memories.put([Memory(id=f"m{i:02}", tier=0) for i in range(30)])
        batch.vectors.put([Vector(space="s", id=f"m{i:02}", values=[i, 0]) for i in range(30)])
    lab = store.branch("lab")
    for i in range(0, 30, 10):
        lab.memories.update(f"m{i + 9:02}", tier=1)
    got = [name for name, _ in hits(lab.memories, [0, 0], 2, where=F.tier == 1, space="s", exact=True)]
    equal(got, ["m09", "m19"], "the hits on the branch")
    equal(hits(store.memories, [0, 0], 2, where=F.tier == 1, space="s", exact=True), [], "the hits on main")
    got = [name for name, _ in hits(lab.memories, [8, 0], 2, where=F.tier == 0, space="s", exact=True)]
    equal(got, ["m08", "m07"], "the hits of the rows that the branch left alone")


@check("VE-025", "VE-033", level="vectors")
def a_search_after_a_merge_or_a_revert_finds_what_is_there(case: Case) -> None:
    """What a merge brought is found, what it deleted is not, and a revert turns it round."""
    store = case.store()
    store.spaces.create("s", 2, metric="l2", table="memories")
    before: dict[str, Any] = {f"m{i}": [i, 0] for i in range(6)}
    put(store, before)
    lab = store.branch("lab")
    put(lab, {"m1": [9, 9], "new": [0, 0.5]})
    lab.memories.delete("m0")
    merge = store.merge("lab").commit
    after = {name: v for name, v in before.items() if name != "m0"} | {"m1": [9, 9], "new": [0, 0.5]}
    finds(store, "l2", after, [[0, 0], [9, 9]], "a search after the merge")
    store.revert(merge.id if merge else "", parent=0)
    finds(store, "l2", before, [[0, 0], [9, 9]], "a search after the revert")


@check("VE-033", "VE-036", "UP-001", "UP-006", level="vectors", needs=("compact",))
def a_search_after_compaction_finds_the_same(case: Case) -> None:
    """On main, on deep branches, which compaction may flatten, and at a checkpoint."""
    store = case.store()
    store.spaces.create("s", 3, metric="cosine", table="memories")
    noise = np.random.default_rng(5)
    known: dict[str, Any] = {f"m{i:02}": noise.normal(size=3) for i in range(40)}
    put(store, known)
    view, states = store, list[tuple[Any, dict[str, Any]]]()
    for depth in range(6):
        view = view.branch(f"b{depth}")
        fresh = {f"m{i:02}": noise.normal(size=3) for i in range(depth, 40, 9)}
        put(view, fresh)
        known = known | fresh
        view.memories.delete(f"m{39 - depth}")
        del known[f"m{39 - depth}"]
        states.append((view, known))
    view.checkpoints.create("mark")
    states.append((store.at("mark"), known))
    view.memories.delete(sorted(known)[:20])
    states[-2] = (view, {name: known[name] for name in sorted(known)[20:]})
    store.compact(lease=timedelta(0))
    for number, (there, state) in enumerate(states):
        finds(
            there, "cosine", state, noise.normal(size=(2, 3)), f"a search after compaction, in place {number}"
        )


@st.composite
def vector_histories(draw: st.DrawFn) -> tuple[Any, ...]:
    """A metric, a dtype, a table or none, writes on branches, and queries.

    There are few ids and numbers, so that much is overridden and there are ties.
    """
    number = st.integers(-3, 3)
    numbers = st.tuples(number, number, st.just(1))
    name = st.sampled_from("abcdefgh")
    line = st.integers(0, 5)
    step = st.one_of(
        st.tuples(st.just("put"), line, st.dictionaries(name, numbers, min_size=1, max_size=5)),
        st.tuples(st.just("delete"), line, st.sets(name, min_size=1, max_size=4)),
        st.tuples(st.just("fork"), line, st.none()),
    )
    query = st.tuples(numbers, st.integers(0, 9), st.none() | number, st.booleans())
    return (
        draw(st.sampled_from(METRICS)),
        draw(st.sampled_from(["float16", "float32", "float64"])),
        draw(st.sampled_from([None, "memories"])),
        draw(st.lists(step, min_size=1, max_size=14)),
        draw(st.lists(query, min_size=1, max_size=3)),
    )


def write(view: Store, bound: bool, content: dict[str, Any]) -> None:
    """Put vectors, with their rows where the space is bound; the first number of each stands in a field to filter on."""
    with view.batch() as batch:
        if bound:
            batch.memories.put([Memory(id=name, tier=v[0]) for name, v in content.items()])
        vectors = [Vector(space="s", id=name, values=v, metadata={"t": v[0]}) for name, v in content.items()]
        batch.vectors.put(vectors)


def written(store: Store, bound: bool, steps: list[Any]) -> list[tuple[str, Any, dict[str, Any]]]:
    """Write a history; every branch and every past point, with the vectors that it has."""
    lines: list[tuple[Store, dict[str, Any]]] = [(store, {})]
    past: list[tuple[Point, dict[str, Any]]] = []
    for what, line, content in steps:
        number = line % len(lines)
        view, state = lines[number]
        if what == "fork":
            lines.append((view.branch(f"b{len(lines)}"), dict(state)))
            continue
        if what == "put":
            write(view, bound, content)
            state = state | content
        else:
            gone = sorted(content)
            view.memories.delete(gone) if bound else view.vectors.delete([("s", name) for name in gone])
            state = {name: v for name, v in state.items() if name not in content}
        lines[number] = (view, state)
        past.append((view.head(), state))
    places: list[tuple[str, Any, dict[str, Any]]] = [(f"branch {n}", *line) for n, line in enumerate(lines)]
    return places + [(f"point {n}", store.at(point), state) for n, (point, state) in enumerate(past)]


def agrees_with_the_oracle(case: Case, history: tuple[Any, ...]) -> None:
    """Write a history of vectors, then search at every state that it went through."""
    metric, dtype, table, steps, queries = history
    with case.new_store() as store:
        store.spaces.create("s", 3, dtype=dtype, metric=metric, table=table)
        for where, place, state in written(store, table is not None, steps):
            for query, k, least, default in queries:
                exact = not default or case.supports("approximate")
                field = F.tier if table else F.metadata["t"]
                accept = None if least is None else field >= least
                known = {n: stored(v, dtype) for n, v in state.items() if least is None or v[0] >= least}
                rows = place.memories if table else place.vectors
                got = hits(rows, query, k, space="s", exact=exact, where=accept)
                want, what = best(metric, known, query), f"a search for {query} at {where}, least {least}"
                same_hits(got, want, k, what)
                if metric != "cosine":  # sums of whole numbers are not rounded, so that ties are ties
                    equal(got, want[:k], what)


@check(
    "VE-021",
    "VE-030",
    "VE-032",
    "VE-033",
    "VE-034",
    "VE-035",
    "VE-036",
    level="vectors",
    kind="property",
    weight=1.0,
)
def searches_of_random_histories_agree_with_the_oracle(case: Case) -> None:
    """Random puts, deletions and forks: at every branch and every past point a search finds the best of what is there."""
    case.given(agrees_with_the_oracle, vector_histories(), examples=8)
