"""Nexus, "from thinking to learning": an agent that reasons once and remembers how.

python examples/nexus.py [URL]     (default: memory://nexus; try sqlite:///nexus.db, twice)
"""

import sys
import zlib
from time import perf_counter
from typing import Any

import numpy as np
import perdure
from perdure import F, Link, Memory, Skill, Store, Trace

DIM = 256
SIMILAR_NODE = 0.35  # cosine from which two nodes are linked
SIMILAR_INTENT = 0.6  # cosine from which a trace answers another intent
TRUSTED_SKILL = 0.9
TRUSTED_TRACE = 0.8

ARTIFACTS = {
    "auth-module": "auth module checks passwords and issues session tokens",
    "auth-tests": "tests of the auth module for passwords and session tokens",
    "token-store": "store of session tokens with expiry",
    "billing": "billing sends invoices at the end of each month",
}
LEGACY: dict[str, list[dict[str, Any]]] = {
    "nodes": [
        {"id": "old-1", "type": "code", "content": "legacy login form", "meta": {("w", 1): {3, 1}}},
        {"id": "old-2", "type": "doc", "content": "how the login form was built"},
    ],
    "edges": [{"source": "old-2", "target": "old-1", "strength": 0.75, "edge_type": "documents"}],
}


def embed(text: str) -> np.ndarray:
    """Hashed words and trigrams: stands in for an embedding model, and is the same on every machine."""
    vector = np.zeros(DIM, np.float32)
    for word in text.lower().split():
        for piece in [word, *(word[i : i + 3] for i in range(len(word) - 2))]:
            vector[zlib.crc32(piece.encode()) % DIM] += 1
    return vector


def open_nexus(url: str) -> Store:
    store = perdure.open(url, namespace="nexus", principal="oracle")
    store.spaces.create("nodes", DIM, model="hashed-trigrams", table="memories")
    store.spaces.create("intents", DIM, model="hashed-trigrams", table="traces")
    return store


def ingest(store: Store, node: str, text: str) -> list[str]:
    """Keep a node, its embedding and its links to similar nodes, in one commit."""
    vector = embed(text)
    near = [
        hit
        for hit in store.memories.search(vector, k=4, space="nodes", where=F.id != node)
        if hit.score >= SIMILAR_NODE
    ]
    with store.batch(message=f"ingest {node}") as batch:
        batch.memories.put(Memory(id=node, kind="code", text=text), vector={"nodes": vector})
        batch.links.put(
            Link(source=node, target=hit.record.id, relation="semantic", weight=hit.score) for hit in near
        )
    return [hit.record.id for hit in near]


def import_legacy(store: Store, legacy: dict[str, list[dict[str, Any]]]) -> None:
    """Nodes become memories and edges links; what has no field of its own goes, whole, into metadata."""
    with store.batch(message="import legacy nexus") as batch:
        for node in legacy["nodes"]:
            memory = Memory(id=node["id"], kind=node["type"], text=node["content"], metadata=node.get("meta"))
            batch.memories.put(memory, vector={"nodes": embed(node["content"])})
        batch.links.put(
            Link(source=e["source"], target=e["target"], relation=e["edge_type"], weight=e["strength"])
            for e in legacy["edges"]
        )


def skill_key(intent: str) -> str:
    return "intent:" + " ".join(intent.lower().split())


def reason(intent: str) -> Trace:
    """What costs money: here a sum over primes, elsewhere a language model."""
    primes = [n for n in range(2, 4000) if all(n % d for d in range(2, int(n**0.5) + 1))]
    steps = [f"understand: {intent}", f"weigh {len(primes)} alternatives", "choose", "verify"]
    return Trace(
        agent="oracle",
        intent=intent,
        steps=steps,
        result={"plan": intent.upper()},
        outcome="success",
        confidence=0.95,
        verification_score=0.9,
    )


def learn(store: Store, trace: Trace) -> None:
    """A good trace becomes a skill; trace, embedding and skill are there together or not at all."""
    quality = 0.7 * (trace.confidence or 0) + 0.3 * (trace.verification_score or 0)
    key = skill_key(str(trace.intent))
    if quality >= TRUSTED_TRACE:
        trace.skill_id = key
    with store.batch(message=f"learned: {trace.intent}") as batch:
        batch.traces.put(trace, vector={"intents": embed(str(trace.intent))})
        if trace.skill_id:
            batch.skills.put(
                Skill(id=key, name=trace.intent, body=trace.steps, confidence=quality, trace_id=trace.id)
            )


def recall(store: Store, intent: str) -> tuple[str, Trace] | None:
    """Exact key first, then traces of similar intents that are trusted enough."""
    skill = store.skills.get(skill_key(intent))
    if skill and skill.trace_id and (skill.confidence or 0) > TRUSTED_SKILL:
        return "skill", store.traces[skill.trace_id]
    trusted = (F.outcome == "success") & (F.confidence > TRUSTED_TRACE)
    for hit in store.traces.search(embed(intent), k=1, space="intents", where=trusted):
        if hit.score >= SIMILAR_INTENT:
            return "similar", hit.record
    return None


def execute(store: Store, intent: str) -> tuple[str, Trace]:
    """Replay what is known, reason about what is not."""
    started = perf_counter()
    how, trace = recall(store, intent) or ("reasoned", reason(intent))
    spent = (perf_counter() - started) * 1000
    if how == "reasoned":
        learn(store, trace)
    elif trace.skill_id:
        store.skills.record_outcome(trace.skill_id, success=True)
    print(f"  {intent!r}: {how} in {spent:.2f} ms")
    return how, trace


def main(url: str) -> None:
    if url == "memory://":
        url += "nexus"  # without a name it would be forgotten at the reopening below
    store = open_nexus(url)
    known = skill_key("Refactor auth") in store.skills  # from an earlier run on the same store
    print(f"Nexus on {url}, {store.skills.count()} skills known")

    print("Ingest: node, embedding and links in one commit")
    for node, text in ARTIFACTS.items():
        print(f"  {node} ~ {', '.join(ingest(store, node, text)) or '(nothing similar)'}")
    assert "auth-module" in [link.target for link in store.links.neighbors("auth-tests", direction="out")]
    assert store.links.neighbors("billing", direction="out") == []

    print("Think once, then remember")
    first, trace = execute(store, "Refactor auth")
    again, replayed = execute(store, "refactor  AUTH")
    assert (first, again) == ("skill" if known else "reasoned", "skill")
    assert replayed == store.traces[trace.id], "a replay is the stored trace itself"

    store.close()
    store = open_nexus(url)
    print("Reopened")
    before = store.skills[skill_key("Refactor auth")].success_count
    assert execute(store, "Refactor auth")[0] == "skill"
    how, related = execute(store, "Refactor the auth module")
    assert how == "similar", "a similar intent finds the related trace"
    assert related.id == trace.id
    assert execute(store, "Compress January logs")[0] == ("skill" if known else "reasoned")
    assert store.skills[skill_key("Refactor auth")].success_count == before + 2

    print("Import of a legacy dict")
    import_legacy(store, LEGACY)
    head = store.head()
    import_legacy(store, LEGACY)
    assert store.head() == head, "what is there already makes no commit"
    assert store.memories["old-1"].metadata == {("w", 1): {3, 1}}, "tuples as keys and sets come back"
    assert [link.weight for link in store.links.neighbors("old-1", relation="documents")] == [0.75]
    rows = store.stats().rows
    print(
        f"  {rows['memories']} nodes, {rows['links']} links, {rows['traces']} traces, {rows['skills']} skills"
    )
    assert store.verify().ok
    store.close()


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "memory://nexus")
