"""ALEN, "training that resumes": checkpoints every N steps, a crash, and the same weights to the last bit.

python examples/alen.py [URL]     (default: memory://alen; try sqlite:///alen.db, twice)
"""

import sys
from typing import Any

import numpy as np
import perdure
from perdure import F, Memory, State, Store, Trace, Vector, values

EVERY = 25  # steps between checkpoints
STEPS = 150  # steps that one run of this program trains
CRASH = 110  # after so many of them the power goes
INPUTS, OUTPUTS, BATCH, RATE = 64, 32, 16, 0.01
EPISODE_DIM = 128
TRUTH = np.random.default_rng(0).normal(size=(INPUTS, OUTPUTS))

Weights = dict[str, np.ndarray]


class PowerCut(Exception):
    """The process dies here; nothing is saved on the way out."""


def train_step(weights: Weights, step: int) -> float:
    """One step of gradient descent; the data depends on the step alone. Returns the loss before it."""
    x = np.random.default_rng([step, 1]).normal(size=(BATCH, INPUTS))
    error = x @ weights["core"] + weights["bias"] - x @ TRUTH
    weights["core"] = weights["core"] - RATE * x.T @ error / BATCH
    weights["bias"] = weights["bias"] - RATE * error.mean(axis=0)
    return float(np.square(error).mean())


def save(store: Store, weights: Weights, step: int, losses: dict[int, float]) -> None:
    """Weights and the history since the last checkpoint, in one commit, which then gets a name."""
    metrics = {"step": step, "loss": losses[step], "learning_rate": RATE}
    with store.batch(message=f"step {step}") as batch:
        batch.states.put(
            State(
                kind="weights",
                id=name,
                data={"dtype": array.dtype.str, "shape": array.shape},
                payload=array.tobytes(),
                metrics=metrics,
            )
            for name, array in weights.items()
        )
        batch.states.put(State(kind="metadata", id="trainer", data={"rate": RATE, "batch": BATCH}))
        batch.traces.put(
            Trace(id=f"step-{n:08}", agent="alen", intent="train", step=n, metrics={"loss": loss})
            for n, loss in losses.items()
        )
    assert batch.result is not None
    store.checkpoints.create(f"step-{step:08}", at=batch.result.point, metrics=metrics)


def resume(store: Store) -> tuple[Weights, int]:
    """Weights and step of the latest checkpoint, or a fresh start."""
    names = [c.name for c in store.checkpoints.list() if c.name.startswith("step-")]
    if not names:
        return {"core": np.zeros((INPUTS, OUTPUTS)), "bias": np.zeros(OUTPUTS)}, 0
    latest = max(names)
    weights = {}
    for state in store.at(latest).states.find(F.kind == "weights"):
        assert isinstance(state.payload, bytes)
        array = np.frombuffer(state.payload, state.data["dtype"]).reshape(state.data["shape"])
        weights[state.id] = array.copy()  # a view of bytes is read-only
    return weights, store.checkpoints.metrics(latest)["step"]


def train(store: Store, until: int, crash_at: int | None = None) -> Weights:
    """Train from the latest checkpoint on, and save every so many steps."""
    weights, start = resume(store)
    print(f"  from step {start} to {until}")
    losses: dict[int, float] = {}
    for step in range(start + 1, until + 1):
        losses[step] = train_step(weights, step)
        if step % EVERY == 0:
            save(store, weights, step, losses)
            losses = {}
        if step == crash_at:
            raise PowerCut(step)
    return weights


def remember_episodes(store: Store, count: int = 400) -> np.ndarray:
    """Many episodes with their 128 numbers, in one commit; the same ones each time."""
    rng = np.random.default_rng(5)
    vectors = rng.normal(size=(count, EPISODE_DIM)).astype(np.float32)
    confidences = rng.uniform(size=count)
    with store.batch(message=f"{count} episodes") as batch:
        batch.memories.put(
            Memory(id=f"episode-{i:04}", kind="episode", text=f"answer {i}", confidence=float(c))
            for i, c in enumerate(confidences)
        )
        batch.vectors.put(
            Vector(space="context", id=f"episode-{i:04}", values=v) for i, v in enumerate(vectors)
        )
    return vectors


def same(a: Weights, b: Weights) -> bool:
    """Whether two sets of weights are equal to the last bit."""
    return {n: w.tobytes() for n, w in a.items()} == {n: w.tobytes() for n, w in b.items()}


def check_history(store: Store, until: int) -> None:
    """The training history as an Arrow table: whole, in order, and going down."""
    history = store.traces.to_arrow(F.intent == "train", order_by="step", columns=["step", "metrics"])
    metrics: list[Any] = [values.decode(text) for text in history["metrics"].to_pylist()]
    losses = [step["loss"] for step in metrics]
    print(f"  {history.num_rows} steps, loss {losses[0]:.3f} at first, {losses[-1]:.2g} at last")
    assert history["step"].to_pylist() == list(range(1, until + 1)), "no step is missing, none is there twice"
    assert losses[-1] < losses[0]


def check_episodes(store: Store, vectors: np.ndarray) -> None:
    """The nearest confident episodes, over all of them, are those of a search by hand."""
    query = vectors[17] + 0.1
    hits = store.memories.search(query, k=5, where=F.confidence >= 0.7)
    print("  nearest: " + ", ".join(f"{h.record.text} ({h.score:.3f})" for h in hits))
    cosine = vectors @ query / np.linalg.norm(vectors, axis=1) / np.linalg.norm(query)
    sure = [m.id for m in store.memories.scan(F.confidence >= 0.7)]
    by_hand = sorted(sure, key=lambda id: -cosine[int(id[-4:])])[:5]
    assert [hit.record.id for hit in hits] == by_hand


def main(url: str) -> None:
    if url == "memory://":
        url += "alen"  # without a name it would be forgotten at the reopening below
    store = perdure.open(url, namespace="alen", principal="trainer")
    store.spaces.create("context", EPISODE_DIM, table="memories")
    before, start = resume(store)
    print(f"ALEN on {url}")

    print("Train, until the power goes")
    try:
        train(store, start + STEPS, crash_at=start + CRASH)
    except PowerCut as cut:
        print(f"  power cut after step {cut}")
    store.close()  # lets go of the file; saves nothing

    store = perdure.open(url, namespace="alen", principal="trainer")
    weights, step = resume(store)
    print(f"Reopened: the latest checkpoint is of step {step}")
    assert step == start + CRASH // EVERY * EVERY
    trained = train(store, start + STEPS)

    undisturbed = dict(before)
    for n in range(start + 1, start + STEPS + 1):
        train_step(undisturbed, n)
    assert same(trained, undisturbed), "the crash cannot be seen in the weights"
    assert same(resume(store)[0], trained), "and they are kept as float64, bit for bit"
    assert not same(weights, trained)
    print("  the weights equal those of a training without a crash, to the last bit")

    print("History as a table")
    check_history(store, start + STEPS)

    print("Top episodes by cosine, the confident ones only")
    check_episodes(store, remember_episodes(store))
    pruned = store.memories.delete(m.id for m in store.memories.find(F.confidence < 0.1))
    assert pruned is not None
    assert store.memories.count(F.confidence < 0.1) == 0
    print(f"  pruned {pruned.deleted} rows of episodes that were hardly sure, vectors included")
    assert store.verify().ok
    store.close()


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "memory://alen")
