"""Omega, "a typed store for a cognitive architecture": tiers, skills, causes, lineage, backup.

python examples/omega.py [URL]     (default: memory://omega; try sqlite:///omega.db, twice)
"""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import perdure
from perdure import F, InvalidRecord, Link, Memory, Skill, State, Store, Trace

TIERS = range(1, 13)
SEMANTIC = 4


def remember_in_bulk(store: Store, count: int = 3_000) -> None:
    """Many memories over twelve tiers, in one commit; unchanged ones make no new version."""
    rng = np.random.default_rng(3)
    importances = rng.uniform(size=count)
    before = store.head()
    store.memories.put(
        (
            Memory(id=f"mem-{i:05}", tier=TIERS[i % 12], text=f"observation {i}", importance=float(x))
            for i, x in enumerate(importances)
        ),
        message=f"{count} observations",
    )
    commits = store.head().seq - before.seq
    print(f"  {count} memories in {commits} commit{'s' * (commits != 1)}")
    assert commits == (0 if before.commit else 1)


def by_tier(store: Store, tier: int, limit: int) -> list[Memory]:
    return store.memories.find(F.tier == tier, order_by="-importance", limit=limit)


def practise(store: Store, skill: str, threads: int = 4, times: int = 10) -> None:
    """Several threads count their successes at once; the engine adds them up, so none is lost."""
    before = store.skills[skill].success_count
    with ThreadPoolExecutor(threads) as pool:
        for done in [
            pool.submit(store.skills.record_outcome, skill, success=True) for _ in range(threads * times)
        ]:
            done.result()
    after = store.skills[skill]
    print(f"  {skill}: {before} -> {after.success_count} successes, last used {after.last_used_at:%H:%M}")
    assert after.success_count == before + threads * times


def evolve(store: Store) -> None:
    """Architectures with their parents; the fitness is in the metrics, where filters reach it."""
    family: dict[str, list[str]] = {
        "transformer": [],
        "state-space": [],
        "transformer-2": ["transformer"],
        "hybrid": ["transformer-2", "state-space"],
        "hybrid-2": ["hybrid"],
    }
    with store.batch(message="evolution") as batch:
        for generation, (name, parents) in enumerate(family.items()):
            paradigm = "hybrid" if len(parents) > 1 or "hybrid" in parents else "neural"
            batch.states.put(
                State(
                    kind="architecture",
                    id=name,
                    data={"paradigm": paradigm, "substrate": "numpy"},
                    parents=parents,
                    metrics={"fitness": 0.6 + generation * 0.05},
                )
            )
        batch.states.put(
            State(
                kind="intelligence",
                id="alpha",
                data={
                    "architecture": "hybrid",
                    "maturity": 0.75,
                    "capabilities": {"reasoning", "planning"},
                    "memories": ("mem-00003", "mem-00015"),
                },
            )
        )


def learn_cause(store: Store) -> None:
    """A causal edge between two memories, and the episode that showed it, in one commit."""
    with store.batch(message="learned a cause", check_references=True) as batch:
        batch.memories.put(Memory(id="cause", tier=SEMANTIC, text="added a cache", importance=0.8))
        batch.memories.put(Memory(id="effect", tier=SEMANTIC, text="answers 10x faster", importance=0.9))
        batch.links.put(Link(source="cause", target="effect", relation="improvement", weight=0.95))
        batch.traces.put(
            Trace(
                id="episode-1",
                intent="slow answers",
                context={"p95_ms": 1200},
                steps=["measure", "add a cache"],
                result={"p95_ms": 120},
                outcome="success",
            )
        )


def statistics(store: Store) -> dict[str, int]:
    """How many there are of each entity that Omega knows."""
    rows = store.stats().rows
    kinds = {f"{k}s": store.states.count(F.kind == k) for k in ("architecture", "intelligence")}
    return {"memories": rows["memories"], "skills": rows["skills"], "episodes": rows["traces"]} | kinds


def back_up_and_restore(store: Store, copy_url: str) -> None:
    """A backup is one file with all history; any engine restores it."""
    with TemporaryDirectory() as folder:
        archive = store.backup(Path(folder) / "omega.perdure")
        report = perdure.restore(archive, copy_url, namespace="omega")
    with perdure.open(copy_url, namespace="omega", mode="r") as copy:
        print(f"  {report.commits} commits restored into {copy_url}")
        for table in ("memories", "links", "skills", "traces", "states"):
            assert copy.table(table).to_arrow().equals(store.table(table).to_arrow()), table
        assert [c.id for c in copy.log()] == [c.id for c in store.log()]
        assert copy.verify().ok


def main(url: str) -> None:
    store = perdure.open(url, namespace="omega", principal="omega")
    print(f"Omega on {url}")

    print("Bulk insert, tiers by importance, streamed results")
    remember_in_bulk(store)
    top = by_tier(store, SEMANTIC, 3)
    print("  semantic: " + ", ".join(f"{m.text} ({m.importance:.3f})" for m in top))
    importances = [m.importance or 0 for m in top]
    assert importances == sorted(importances, reverse=True)
    assert importances[0] == max(m.importance or 0 for m in store.memories.scan(F.tier == SEMANTIC))
    streamed = sum(1 for _ in store.memories.scan(F.importance > 0.5))  # in bounded memory
    assert streamed == store.memories.count(F.importance > 0.5) > 1_000

    print("Skills: triggers, and successes counted atomically")
    for name, trigger in {"code-review": r"review.*code|code.*review", "profiling": r"\bslow\b"}.items():
        if name not in store.skills:
            store.skills.put(Skill(id=name, name=name, trigger=trigger, confidence=0.8))
    practise(store, "code-review")
    assert [s.id for s in store.skills.matching("please review this code")] == ["code-review"]
    assert store.skills.matching("make tea") == []
    assert [s.id for s in store.skills.find(F.name.contains("code"))] == ["code-review"]

    print("Causes, from and to")
    learn_cause(store)
    (edge,) = store.links.neighbors("cause", direction="out")
    assert store.links.neighbors("effect", direction="in") == [edge]
    print(f"  {edge.source} -> {edge.target}: {edge.relation} ({edge.weight})")
    try:
        store.links.put(Link(source="cause", target="nowhere"), check_references=True)
        raise AssertionError("an edge to nowhere was taken")
    except InvalidRecord as error:
        print(f"  refused: {str(error)[:60]}…")

    print("Lineage of architectures")
    evolve(store)
    ancestors = [s.id for s in store.states.ancestors(("architecture", "hybrid-2"))]
    descendants = [s.id for s in store.states.descendants(("architecture", "transformer"))]
    print(f"  hybrid-2 <- {', '.join(ancestors)}; transformer -> {', '.join(descendants)}")
    assert ancestors == ["hybrid", "transformer-2", "state-space", "transformer"]
    assert descendants == ["transformer-2", "hybrid", "hybrid-2"]
    hybrids = store.states.find((F.kind == "architecture") & (F.data["paradigm"] == "hybrid"))
    assert [s.id for s in hybrids] == ["hybrid", "hybrid-2"]
    (alpha,) = store.states.find((F.kind == "intelligence") & (F.data["architecture"] == "hybrid"))
    assert alpha.data["capabilities"] == {"planning", "reasoning"}

    print("Statistics, backup and restore")
    print("  " + ", ".join(f"{n} {what}" for what, n in statistics(store).items()))
    assert statistics(store)["architectures"] == 5
    back_up_and_restore(store, "memory://omega-restored")
    store.close()


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "memory://omega")
