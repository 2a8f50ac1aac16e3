"""Graphs, triggers and lineage."""

from datetime import UTC, datetime

import pytest
from perdure import InvalidInput, InvalidRecord, Link, NotFound, Skill, State, Store


@pytest.fixture
def graph(store: Store) -> Store:
    edges = [("a", "b", 0.5), ("b", "c", 0.9), ("c", "a", 0.1), ("b", "d", None)]
    store.links.put([Link(source=s, target=t, relation="causes", weight=w) for s, t, w in edges])
    store.links.put(Link(source="a", target="z", relation="near", weight=1.0))
    return store


def test_an_edge_added_twice_is_one_edge(store: Store) -> None:
    store.links.put(Link(source="a", target="b", relation="r", weight=1))
    store.links.put(Link(source="a", target="b", relation="r", weight=2))
    store.links.put(Link(id="parallel", source="a", target="b", relation="r"))
    assert store.links.count() == 2


def test_neighbours_come_heaviest_first(graph: Store) -> None:
    assert [link.target for link in graph.links.neighbors("a", direction="out")] == ["z", "b"]
    assert [link.source for link in graph.links.neighbors("b", direction="in")] == ["a"]
    assert [link.weight for link in graph.links.neighbors("b")] == [0.9, 0.5, None]
    assert [link.target for link in graph.links.neighbors("a", direction="out", relation="causes")] == ["b"]
    assert len(graph.links.neighbors("b", limit=1)) == 1
    with pytest.raises(InvalidInput):
        graph.links.neighbors("a", direction="up")  # type: ignore[arg-type]


def test_chains_go_forward_and_backward_and_end_in_cycles(graph: Store) -> None:
    forward = [(s.depth, s.link.source, s.link.target) for s in graph.links.chain("a", relation="causes")]
    assert sorted(forward) == [(1, "a", "b"), (2, "b", "c"), (2, "b", "d"), (3, "c", "a")]
    backward = [(s.depth, s.link.source) for s in graph.links.chain("d", direction="backward")]
    assert backward == [(1, "b"), (2, "a"), (3, "c"), (4, "b")]
    assert [s.depth for s in graph.links.chain("a", max_depth=1)] == [1, 1]
    assert list(graph.links.chain("nowhere")) == []
    with pytest.raises(InvalidInput):
        list(graph.links.chain("a", direction="both"))  # type: ignore[arg-type]


def test_skills_match_by_re2_best_first(store: Store) -> None:
    store.skills.put(
        [
            Skill(id="1", trigger="(?i)connection (refused|reset)", confidence=0.2),
            Skill(id="2", trigger="reset$", confidence=0.8),
            Skill(id="3", trigger="timeout", confidence=0.9),
            Skill(id="4", confidence=1.0),
            Skill(id="5", trigger="é"),
        ]
    )
    assert [s.id for s in store.skills.matching("Connection reset")] == ["2", "1"]
    assert [s.id for s in store.skills.matching("Connection reset", where={"confidence": {"$lt": 0.5}})] == [
        "1"
    ]
    assert [s.id for s in store.skills.matching("caf\u00e9 \ud800 \0")] == ["5"]
    with pytest.raises(InvalidRecord):
        store.skills.matching(b"bytes")  # type: ignore[arg-type]


def test_a_slow_pattern_is_not_slow(store: Store) -> None:
    store.skills.put(Skill(id="1", trigger="(a+)+$"))
    assert store.skills.matching("a" * 50_000 + "b") == []


def test_outcomes_are_counted(store: Store) -> None:
    store.skills.put(Skill(id="s"))
    moment = datetime(2026, 3, 1, tzinfo=UTC)
    store.skills.record_outcome("s", success=True, at=moment)
    store.skills.record_outcome("s", success=False, at=moment)
    store.skills.record_outcome("s", success=True, at=moment)
    skill = store.skills["s"]
    assert (skill.success_count, skill.failure_count, skill.last_used_at) == (2, 1, moment)
    with pytest.raises(NotFound):
        store.skills.record_outcome("x", success=True)


def test_lineage_of_states(store: Store) -> None:
    parents = {"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"], "e": ["d", "gone"], "loop": ["loop"]}
    store.states.put([State(kind="arch", id=i, parents=p) for i, p in parents.items()])
    store.states.put(State(kind="other", id="x", parents=["a"]))
    assert [s.id for s in store.states.ancestors(("arch", "e"))] == ["d", "b", "c", "a"]
    assert [s.id for s in store.states.ancestors(("arch", "e"), max_depth=1)] == ["d"]
    assert [s.id for s in store.states.descendants(("arch", "a"))] == ["b", "c", "d", "e"]
    assert list(store.states.descendants(("arch", "loop"))) == []
    assert list(store.states.ancestors(("arch", "loop"))) == []
