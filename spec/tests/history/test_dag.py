from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from perdure import Branch, CorruptStore, HistoryExpired, NotFound, Point
from perdure._names import Ref
from perdure.history import Dag, merge, merge_bases, version_vector


def add(engine: Any, row: Any, branch: str, key: str = "k") -> Point:
    number = sum(map(len, engine.own.values()))
    commit = engine.put(branch, ("memories", row("memories", key, text=f"{branch}{number}")))
    return Point(commit.branch, commit.seq, commit.id, commit.time)


def join(engine: Any, ctx: Any, source: str, into: str, **options: Any) -> Any:
    number = sum(map(len, engine.own.values()))
    return merge(engine, ctx, Ref(source), into, "theirs", commit_id=f"m{number}", **options)


def test_a_vector_is_the_own_prefix_and_the_forks(engine: Any, row: Any, ctx: Any) -> None:
    assert version_vector(engine, ctx, Ref("main")) == {}
    first = add(engine, row, "main")
    lab = engine.fork("lab")
    add(engine, row, "main")
    assert version_vector(engine, ctx, Ref("lab")) == {"b0": first.seq}
    second = add(engine, row, "lab")
    deep = engine.fork("deep", "lab")
    assert version_vector(engine, ctx, Ref("deep")) == {"b0": first.seq, lab.id: second.seq}
    assert Dag(engine, ctx).lineage(Point(deep.id, 1)) == [("b0", 1)]


def test_a_vector_remembers_what_merges_brought(engine: Any, row: Any, ctx: Any) -> None:
    add(engine, row, "main")
    lab = engine.fork("lab")
    end = add(engine, row, "lab")
    join(engine, ctx, "lab", "main")
    engine.drop("lab")
    assert version_vector(engine, ctx, Ref("main"))[lab.id] == end.seq


def test_the_base_of_a_fork_is_where_it_was_taken(engine: Any, row: Any, ctx: Any) -> None:
    at = add(engine, row, "main")
    engine.fork("lab")
    add(engine, row, "main")
    add(engine, row, "lab")
    dag = Dag(engine, ctx)
    [base] = merge_bases(dag, engine.head("main"), engine.head("lab"))
    assert (base.branch, base.seq, base.commit) == (at.branch, at.seq, at.commit)
    assert merge_bases(dag, engine.head("main"), Point("b0", 0)) == []


def test_the_base_after_a_merge_is_what_was_merged(engine: Any, row: Any, ctx: Any) -> None:
    add(engine, row, "main")
    engine.fork("lab")
    taken = add(engine, row, "lab", "x")
    join(engine, ctx, "lab", "main")
    add(engine, row, "lab", "x")
    assert merge_bases(Dag(engine, ctx), engine.head("main"), engine.head("lab")) == [taken]


def test_criss_cross_has_two_bases(engine: Any, row: Any, ctx: Any) -> None:
    add(engine, row, "main")
    engine.fork("lab")
    mine, other = add(engine, row, "main", "a"), add(engine, row, "lab", "b")
    merge(engine, ctx, other, "main", commit_id="m1")
    merge(engine, ctx, mine, "lab", commit_id="m2")
    assert merge_bases(Dag(engine, ctx), engine.head("main"), engine.head("lab")) == [mine, other]


def test_a_deleted_branch_is_no_base(engine: Any, row: Any, ctx: Any) -> None:
    root = add(engine, row, "main")
    for name in ("lab", "other"):
        engine.fork(name)
    add(engine, row, "lab", "x")
    for into in ("main", "other"):
        join(engine, ctx, "lab", into)
    engine.drop("lab")
    assert merge_bases(Dag(engine, ctx), engine.head("main"), engine.head("other")) == [root]


def test_an_unreadable_base_gives_way_to_an_older_one(engine: Any, row: Any, ctx: Any) -> None:
    root = add(engine, row, "main")
    engine.fork("lab")
    add(engine, row, "lab", "x")
    join(engine, ctx, "lab", "main")
    add(engine, row, "lab", "y")
    lab = engine.branch("lab")
    engine.floors[lab.id] = lab.head.seq
    assert merge_bases(Dag(engine, ctx), engine.head("main"), engine.head("lab")) == [root]


def test_an_unreadable_base_gives_way_to_a_kept_one_of_its_branch(engine: Any, row: Any, ctx: Any) -> None:
    root = add(engine, row, "main")
    engine.fork("lab")
    add(engine, row, "main", "x")
    join(engine, ctx, "main", "lab")
    add(engine, row, "main", "y")
    engine.floors["b0"] = engine.head("main").seq
    [base] = merge_bases(Dag(engine, ctx), engine.head("main"), engine.head("lab"))
    assert (base.seq, base.commit) == (root.seq, root.commit)


def test_a_base_below_the_floor_is_read_through_its_fork(engine: Any, row: Any, ctx: Any) -> None:
    root = add(engine, row, "main")
    lab = engine.fork("lab")
    add(engine, row, "lab", "x")
    add(engine, row, "main", "y")
    engine.floors["b0"] = engine.head("main").seq
    [base] = merge_bases(Dag(engine, ctx), engine.head("main"), engine.head("lab"))
    assert (base.branch, base.seq, base.commit) == (lab.id, root.seq, root.commit)


def test_no_readable_base_is_an_error(engine: Any, row: Any, ctx: Any) -> None:
    add(engine, row, "main")
    lab = engine.fork("lab")
    for branch in ("lab", "main"):
        add(engine, row, branch)
    for id_ in ("b0", lab.id):
        engine.floors[id_] = 10**6
    with pytest.raises(HistoryExpired, match="compaction"):
        merge_bases(Dag(engine, ctx), engine.head("main"), engine.head("lab"))


def test_a_branch_that_is_its_own_ancestor_is_damage(engine: Any, ctx: Any) -> None:
    dag = Dag(engine, ctx)
    dag.branches["b0"] = Branch("b0", "main", "b0", 4, Point("b0", 4))
    with pytest.raises(CorruptStore):
        dag.lineage(Point("b0", 2))


def test_unknown_places(engine: Any, ctx: Any) -> None:
    dag = Dag(engine, ctx)
    for bad in (Ref("nope"), Point("gone", 3)):
        with pytest.raises(NotFound):
            dag.resolve(bad)
    with pytest.raises(NotFound):
        dag.named("nope")


steps = st.lists(
    st.tuples(st.sampled_from(["put", "fork", "merge"]), st.integers(0, 3), st.integers(0, 3)), max_size=25
)


@given(steps)
def test_random_histories_agree_with_a_graph_of_commits(
    row: Any, ctx: Any, new_engine: Any, history: list[tuple[str, int, int]]
) -> None:
    """Vectors against explicit ancestor sets; bases against their definition."""
    engine, names = new_engine(), ["main"]
    ancestors: dict[str, set[str]] = {}

    def known(name: str) -> set[str]:
        commit = engine.head(name).commit
        return set() if commit is None else ancestors[commit]

    for what, a, b in history:
        one, two = names[a % len(names)], names[b % len(names)]
        if what == "fork" and len(names) < 4:
            engine.fork(f"n{len(names)}", one)
            names.append(f"n{len(names)}")
        elif what == "put":
            before = known(one)
            point = add(engine, row, one, f"k{b}")
            ancestors[str(point.commit)] = before | {str(point.commit)}
        elif what == "merge":
            source, target = known(one), known(two)
            done = join(engine, ctx, one, two)
            assert done.already_merged == (source <= target)
            if done.commit is not None:
                ancestors[done.commit.id] = source | target | {done.commit.id}
    dag = Dag(engine, ctx)
    commits = {c.id: c for own in engine.own.values() for c, _, _ in own}
    for name in names:
        vector = dag.vector(engine.head(name))
        assert {c.id for c in commits.values() if vector.get(c.branch, 0) >= c.seq} == known(name)
        common = known(name) & known("main")
        best = {c for c in common if not any(c != d and c in ancestors[d] for d in common)}
        assert {p.commit for p in merge_bases(dag, engine.head(name), engine.head("main"))} == best
