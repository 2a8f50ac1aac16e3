"""Reading back: whatever is not equal is named."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import perdure
import pytest
from perdure import Vector
from perdure_migrate import Mismatch, migrate, verify

Write = Callable[..., Path]

KEY = "5482909f-4204-1769-b705-fbf373a26890"


def _content(store: Any) -> None:
    store.memories.update(KEY, content="tampered")


def _kind(store: Any) -> None:
    store.memories.update(KEY, kind="intent")


def _deleted_vector(store: Any) -> None:
    store.vectors.delete([("nexus", KEY)])


def _vector(store: Any) -> None:
    values = store.vectors["nexus", KEY].values.copy()
    values[63] = values[63] * (1 + 2**-23)  # the least change that there is
    store.vectors.put(Vector(space="nexus", id=KEY, values=values))


@pytest.mark.parametrize(
    ("tamper", "table", "key", "what"),
    [
        (_content, "memories", KEY, "differs in content"),
        (_kind, "memories", KEY, "differs in kind"),
        (_vector, "vectors", ("nexus", KEY), "differs in values"),
        (_deleted_vector, "vectors", ("nexus", KEY), "is missing"),
    ],
)
def test_a_tampered_row_is_named(
    samples: Path, url: str, tamper: Any, table: str, key: Any, what: str
) -> None:
    migrate(samples / "nexus.pkl", url)
    assert verify(samples / "nexus.pkl", url).ok
    with perdure.open(url) as store:
        tamper(store)
    report = verify(samples / "nexus.pkl", url)
    assert not report.ok
    part = "vectors" if table == "vectors" else "graph"
    assert report.mismatches == [Mismatch(table, key, what, f"{part}[{KEY!r}]")]
    assert report.equal[table] == report.planned[table] - 1


def test_an_int_is_not_a_float(write: Write, url: str) -> None:
    source = write(lambda old: old.nexus({"a": {"content": [1, True]}}))
    migrate(source, url)
    for other in ([1.0, True], [1, 1], (1, True)):
        with perdure.open(url) as store:
            store.memories.update("a", content=other)
        assert [m.what for m in verify(source, url).mismatches] == ["differs in content"]


def test_checkpoints_are_compared(samples: Path, url: str) -> None:
    migrate(samples / "aura_state", url)
    name = "checkpoint_1767400000"
    with perdure.open(url) as store:
        metrics = store.checkpoints.metrics(name)
        store.checkpoints.delete(name)
    assert [m.what for m in verify(samples / "aura_state", url).mismatches] == ["is missing"]
    with perdure.open(url) as store:
        store.checkpoints.create(name, metrics={**metrics, "timestamp": 0})
    report = verify(samples / "aura_state", url)
    assert [(m.table, m.key, m.what) for m in report.mismatches] == [("checkpoints", name, "metrics differ")]
    with perdure.open(url) as store:
        store.checkpoints.delete(name)
        store.states.update(("component_state", "component_state_agent_000"), data=None)
        store.checkpoints.create(name, metrics=metrics)
    found = [(m.table, m.what) for m in verify(samples / "aura_state", url).mismatches]
    assert found == [
        ("states", "differs in data, updated_at"),
        (
            "checkpoints",
            "its state ('component_state', 'component_state_agent_000') differs in data, updated_at",
        ),
    ]
