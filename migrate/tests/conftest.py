"""Legacy stores, written by the real `pickle` with classes that are gone when they are read."""

import enum
import itertools
import pickle
import shutil
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent.parent
NUMBERS = itertools.count()


class _Thing:
    """An object with nothing but attributes."""

    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)


def _class(module: str, name: str, base: type = _Thing) -> type:
    made = type(name, (base,), {"__module__": module, "__qualname__": name})
    parts = module.split(".")
    for end in range(1, len(parts) + 1):
        sys.modules.setdefault(".".join(parts[:end]), types.ModuleType(".".join(parts[:end])))
    setattr(sys.modules[module], name, made)
    return made


class Legacy:
    """The vanished classes, for as long as a `with legacy():` block lasts."""

    def __init__(self) -> None:
        manager = "aura_intelligence.persistence.state_manager"
        self.GeometricNexus = _class("geometry_os.nexus", "GeometricNexus")
        self.Trace = _class("geometry_os.cognition", "Trace")
        self.StateSnapshot = _class(manager, "StateSnapshot")
        members = {t: t for t in ("component_state", "liquid_network", "memory_tier")}
        members |= {t: t for t in ("metabolic_budget", "system_config")}
        self.StateType = enum.Enum("StateType", members, module=manager)
        sys.modules[manager].StateType = self.StateType  # type: ignore[attr-defined]

    def nexus(self, graph: Any = None, vectors: Any = None, traces: Any = None, **more: Any) -> Any:
        """A store with so much in it."""
        parts = {"graph": graph or {}, "vectors": vectors or {}, "traces": traces or {}}
        return self.GeometricNexus(**parts, **more)

    def many(self, count: int, vectors: int = 100) -> Any:
        """A store of `count` nodes in a ring, each with a trace, and the first ones with a vector."""
        graph = {
            f"n{i}": {
                "type": "artifact", "content": f"text {i}",
                "edges": {f"n{(i + 1) % count}": {"strength": 0.5, "edge_type": "semantic"}},
            }
            for i in range(count)
        }  # fmt: skip
        arrays = {f"n{i}": np.full(8, i + 1, np.float32) for i in range(min(count, vectors))}
        traces = {f"do {i}": self.Trace(id=f"t{i}", intent=f"do {i}", confidence=0.5) for i in range(count)}
        return self.nexus(graph, arrays, traces)

    def snapshot(self, component: str, **data: Any) -> Any:
        """A snapshot of a component."""
        return self.StateSnapshot(
            state_id=f"component_state_{component}_1", state_type=self.StateType.component_state,
            component_id=component, timestamp=1767400000.5, data=data, checksum="c0ffee",
        )  # fmt: skip


@contextmanager
def _legacy() -> Iterator[Legacy]:
    before = set(sys.modules)
    try:
        yield Legacy()
    finally:
        for name in set(sys.modules) - before:
            if name.partition(".")[0] in ("geometry_os", "aura_intelligence"):
                del sys.modules[name]


@pytest.fixture
def legacy() -> Callable[[], Any]:
    return _legacy


@pytest.fixture
def write(tmp_path: Path) -> Callable[[Callable[[Legacy], Any]], Path]:
    """Pickle what a function makes of the legacy classes; the path of the file."""

    def to_file(make: Callable[[Legacy], Any], name: str = "store.pkl", protocol: int = 4) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with _legacy() as classes:
            path.write_bytes(pickle.dumps(make(classes), protocol))
        return path

    return to_file


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    """A folder with the samples of the repository."""
    shutil.copytree(ROOT / "examples" / "data", tmp_path / "samples")
    return tmp_path / "samples"


@pytest.fixture(params=["memory", "sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A target of each engine that is still there when it is opened again."""
    if request.param == "memory":
        return f"memory://migrate-{next(NUMBERS)}"
    return f"sqlite:///{tmp_path / 'target.db'}"
