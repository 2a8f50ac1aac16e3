"""Selective merges: each row against a graph of commits of its own."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from perdure import Put, Space
from perdure._names import Ref
from perdure._schema import TABLES
from perdure.history import merge, three_way

KEYS = ("0", "1", "2")

steps = st.lists(
    st.tuples(
        st.sampled_from(["put", "put", "fork", "merge", "pick", "pick", "table"]),
        st.integers(0, 3),
        st.integers(0, 3),
        st.integers(0, 7),
    ),
    max_size=25,
)


class Graph:
    """For each key, the commits that each commit descends from; a pick adds to the keys that it took."""

    def __init__(self) -> None:
        self.of: dict[str, dict[str, frozenset[str]]] = {key: {} for key in KEYS}
        self.rows: dict[str, dict[Any, Any]] = {}

    def add(self, commit: str, rows: Any, key: str, *parents: str | None) -> None:
        known = [self.of[key][parent] for parent in parents if parent is not None]
        self.of[key][commit] = frozenset({commit}).union(*known)
        self.rows[commit] = rows

    def bases(self, key: str, a: str | None, b: str | None) -> list[Any]:
        """The row at each best common ancestor."""
        if a is None or b is None:
            return []
        of = self.of[key]
        common = of[a] & of[b]
        best = [c for c in common if not any(c != d and c in of[d] for d in common)]
        return [self.rows[c].get((key,)) for c in best]


@settings(max_examples=200)
@given(steps, st.booleans())
def test_each_row_agrees_with_its_own_graph(
    row: Any, ctx: Any, new_engine: Any, history: Any, by_touch: bool
) -> None:
    engine, names, graph = new_engine(), ["main"], Graph()
    engine.by_touch = by_touch
    for number, (what, a, b, bits) in enumerate(history):
        one, two = names[a % len(names)], names[b % len(names)]
        source, target = engine.head(one).commit, engine.head(two).commit
        if what == "fork" and len(names) < 4:
            engine.fork(f"n{len(names)}", one)
            names.append(f"n{len(names)}")
        elif what == "put":
            # Values repeat, so that rows come back to what they were.
            made = row("links", KEYS[b % 3], relation=str(bits % 2), weight=float(bits // 2))
            made_id = engine.do(one, Put("links", [made]), force=True).id
            for key in KEYS:
                graph.add(made_id, engine.state(one)["links"], key, source)
        elif what in ("merge", "pick", "table"):
            keys = [key for place, key in enumerate(KEYS) if what != "pick" or bits >> place & 1]
            ours, theirs = (engine.state(name).get("links", {}) for name in (two, one))
            want = dict(ours)
            for key in keys:
                bases = graph.bases(key, source, target)
                out = three_way(TABLES["links"], bases, ours.get((key,)), theirs.get((key,)), "theirs").row
                want[key,] = out
            options: dict[str, Any] = {"merge": {}, "table": {"tables": ["links"]}}.get(
                what, {"keys": {"links": [(key,) for key in keys]}}
            )
            if not keys:
                continue
            done = merge(engine, ctx, Ref(one), two, "theirs", commit_id=f"m{number}", **options)
            assert engine.state(two).get("links", {}) == {k: v for k, v in want.items() if v is not None}
            if done.commit is not None:
                for key in KEYS:
                    also = source if key in keys else None
                    graph.add(done.commit.id, engine.state(two).get("links", {}), key, target, also)


def test_picks_of_picks(engine: Any, row: Any, ctx: Any) -> None:
    """A row that came from c by way of b starts from what was taken from c."""
    engine.put("main", ("links", row("links", "l", relation="0")))
    for name in "bc":
        engine.fork(name)
    engine.put("c", ("links", row("links", "l", relation="1")))
    keys = {"links": [("l",)]}
    merge(engine, ctx, Ref("c"), "b", commit_id="p1", keys=keys)
    merge(engine, ctx, Ref("b"), "main", commit_id="p2", keys=keys)
    engine.put("c", ("links", row("links", "l", relation="2")))
    merge(engine, ctx, Ref("c"), "main", commit_id="m")
    assert engine.state("main")["links"]["l",][3] == "2"


def test_vectors_follow_the_picks_of_their_rows(engine: Any, row: Any, ctx: Any) -> None:
    engine.spaces.append(Space("s", 1, table="states"))
    engine.fork("lab")
    engine.put("lab", ("states", row("states", "k", "a/b")), ("vectors", row("vectors", "s", "k/a~1b")))
    merge(engine, ctx, Ref("lab"), "main", commit_id="p", keys={"states": [("k", "a/b")]})
    assert set(engine.state("main")["vectors"]) == {("s", "k/a~1b")}
    engine.put("lab", ("vectors", row("vectors", "s", "k/a~1b", values=b"\1\0\0\0")))
    merge(engine, ctx, Ref("lab"), "main", commit_id="m")
    assert engine.state("main")["vectors"]["s", "k/a~1b"][2] == b"\1\0\0\0"
