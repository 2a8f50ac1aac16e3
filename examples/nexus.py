"""Nexus: from thinking to learning. Good traces become skills, and a repeated intent replays one.

python examples/nexus.py [URL]      # default: memory://; also sqlite:///nexus.db
"""

import sys
import time
from pathlib import Path

import numpy as np
import perdure
from perdure import F, Link, Memory, Skill, Store
from perdure_migrate import migrate

DATA = Path(__file__).parent / "data" / "nexus.pkl"


def learn(store: Store) -> int:
    """Make a skill of each trace that is good enough: quality is 0.7 · confidence + 0.3 · verification."""
    good = [
        Skill(id=f"skill/{t.id}", name=t.intent[:80], body=t.steps, confidence=quality, trace_id=t.id)
        for t in store.traces.scan()
        if f"skill/{t.id}" not in store.skills  # what was learned before keeps its record
        and (quality := 0.7 * t.confidence + 0.3 * t.verification_score) >= 0.7
    ]
    store.skills.put(good, message="learn from good traces")
    return len(good)


def recall(store: Store, intent: str) -> tuple[str, object]:
    """The steps for an intent: replayed from a skill if there is one, else from a trace that was sure."""
    traces = store.traces.find(F.intent == intent, order_by="-confidence", limit=1)
    if traces and (skill := store.skills.get(f"skill/{traces[0].id}")):
        store.skills.record_outcome(skill.id, success=True)
        return "replayed", skill.body
    return ("related", traces[0].steps) if traces else ("unknown", None)


def ingest(store: Store, text: str, vector: np.ndarray) -> str:
    """A node, its embedding, and links to the most similar nodes: one commit."""
    near = store.memories.search(vector, k=3, space="nexus")
    node = Memory(kind="intent", text=text, content=text)
    with store.batch(message="ingest") as batch:
        batch.memories.put(node, vector={"nexus": vector})
        batch.links.put(
            [
                Link(source=node.id, target=hit.record.id, relation="semantic", weight=hit.score)
                for hit in near
            ]
        )
    return node.id


def main(url: str) -> None:
    # A plain memory:// is private to whoever opens it; one with a name outlives a restart, in this process.
    url = "memory://nexus" if url == "memory://" else url
    report = migrate(DATA, url, namespace="nexus")
    print(f"migrated {report.equal}, all equal: {report.ok}")
    with perdure.open(url, namespace="nexus") as store:
        print(f"learned {learn(store)} skills from {store.traces.count()} traces")
    with perdure.open(url, namespace="nexus") as store:  # after a restart
        best = store.skills.find(order_by="-confidence", limit=1)[0]
        intent = store.traces[best.trace_id].intent
        started = time.perf_counter()
        how, steps = recall(store, intent)
        print(f"{how} {intent!r} in {(time.perf_counter() - started) * 1e3:.1f} ms: {steps}")
        assert (how, store.skills[best.id].success_count) == ("replayed", best.success_count + 1)
        node = ingest(store, intent, np.random.default_rng(0).standard_normal(64).astype(np.float32))
        linked = store.links.find(F.source == node)
        print(f"ingested {node} with {len(linked)} links")
        assert len(linked) == 3


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "memory://")
