"""A history with everything that a namespace can hold, and stores to copy it through."""

import itertools
import runpy
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import perdure
import pytest
from perdure import Link, Memory, Skill, State, Store, Trace

ROOT = Path(__file__).parent.parent.parent.parent
NUMBERS = itertools.count()
WHEN = datetime(2026, 1, 1, tzinfo=UTC)


def fill(store: Store, *, rows: int = 30) -> None:
    """Branches of branches, merges, a revert, checkpoints, vectors of each dtype, payloads, read counters."""
    for dtype in ("float16", "float32", "float64"):
        store.spaces.create(dtype, 3, dtype=dtype)  # type: ignore[arg-type]
    store.spaces.create("bound", 2, metric="dot", model="m", table="memories")
    odd = {"nan": float("nan"), "inf": -float("inf"), "nested": [{"n": np.float32("nan")}], "b": b"\0\xff"}
    with store.batch(message="first", author="me") as batch:
        batch.memories.put([Memory(id=f"m{i}", tier=i, tags=["a", "é"], content=odd) for i in range(rows)])
        batch.vectors.put({"space": "bound", "id": "m0", "values": [1.0, 2.0]})
        batch.links.put(Link(source="m0", target="m1", relation="r"))
        batch.skills.put(Skill(id="s", trigger="a+", success_count=3))
        batch.traces.put(Trace(id="t", steps=[1, 2], causes=["x"]))
        batch.states.put(State(kind="k", id="big", payload=np.random.default_rng(1).bytes(1_300_000)))
    for place, dtype in enumerate(("float16", "float32", "float64")):
        store.vectors.put({"space": dtype, "id": "v", "values": [0.1 + place, -2.0, 3.5]})
    store.checkpoints.create("start", metrics={"score": float("nan")}, message="so far")
    lab = store.branch("lab")
    lab.memories.delete("m2")
    deep = lab.branch("deep")
    deep.states.put(State(kind="k", id="big", payload=b"x" * 70_000))
    store.skills.increment("s", success_count=2)
    lab.skills.increment("s", success_count=5)
    wrong = lab.memories.put(Memory(id="m3", text="wrong"))
    lab.revert(wrong.commit.id)
    store.merge("deep", tables=["states"], keys={"states": [("k", "big")]}, strategy="theirs")
    store.merge("lab", strategy="field")
    store.branch("late").memories.put(Memory(id="m4", text="late"))
    store.checkpoints.create("end", "lab", message="lab as it was")
    store.memories.touch(["m0", "m2"], WHEN)
    store.memories.touch("m0", WHEN + timedelta(days=1))
    store.vectors.delete(("float16", "v"))
    store.memories.delete("m5")


@pytest.fixture
def filled() -> Callable[..., Store]:
    """Fill a store with such a history."""

    def make(url: str, **options: Any) -> Store:
        namespace = options.pop("namespace", "default")
        store = perdure.open(url, namespace=namespace)
        fill(store, **options)
        return store

    return make


@pytest.fixture
def fresh(tmp_path: Path) -> Callable[[str], str]:
    """The URL of a new store of an engine."""

    def url(engine: str) -> str:
        number = next(NUMBERS)
        if engine == "memory":
            return f"memory://replica-{number}"
        return f"{engine}:///{tmp_path / f'{engine}-{number}'}"

    return url


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[str]:
    """The URL of a store on an embedded server."""
    kit = runpy.run_path(str(ROOT / "backends" / "postgres" / "tests" / "embedded_kit.py"))
    share = kit["begin"](tmp_path / "server")
    yield f"postgresql+embedded:///{share.directory}?schema=replica"
    share.close()
