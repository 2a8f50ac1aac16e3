"""Which source takes what."""

import pickle
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from perdure import InvalidInput, PluginError
from perdure_migrate import Material, Plan, Settings, _sources, detect, gather, migrate, sources


class Other:
    """A source of somebody else, equally sure of everything that Nexus is sure of."""

    name = "other"

    def detect(self, material: Material) -> tuple[float, str]:
        return 1.0, "why not"

    def plan(self, material: Material, settings: Settings) -> Plan:
        return Plan(self.name, "other/1", material.name, material.digest)


def declare(monkeypatch: pytest.MonkeyPatch, name: str, value: Any) -> None:
    point = EntryPoint(name=name, value="nowhere:nothing", group=_sources.SOURCES)

    class Declared:
        dist = None

        def __init__(self) -> None:
            self.name = point.name

        def load(self) -> Any:
            if isinstance(value, Exception):
                raise value
            return value

    monkeypatch.setattr(_sources, "entry_points", lambda group: [Declared()])


def test_the_built_in_ones() -> None:
    assert set(sources()) >= {"nexus", "aura"}


def test_the_samples_are_recognised(samples: Path) -> None:
    assert [d.source for d in detect(gather(samples / "nexus.pkl"))] == ["nexus"]
    assert [d.source for d in detect(gather(samples / "aura_state"))] == ["aura"]


def test_an_equally_sure_one_must_be_chosen_by_name(samples: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    declare(monkeypatch, "other", Other)
    with pytest.raises(InvalidInput, match="nexus or other"):
        migrate(samples / "nexus.pkl", "memory://")
    assert migrate(samples / "nexus.pkl", "memory://", kind="other").planned == {}
    assert migrate(samples / "nexus.pkl", "memory://", kind="nexus").planned["memories"] == 200


def test_a_name_that_nobody_has(samples: Path) -> None:
    with pytest.raises(InvalidInput, match="there are aura, nexus"):
        migrate(samples / "nexus.pkl", "memory://", kind="omega")


def test_a_source_that_clashes_or_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    declare(monkeypatch, "nexus", Other)
    with pytest.raises(PluginError, match="perdure-migrate and"):
        sources()
    declare(monkeypatch, "broken", ImportError("no such module"))
    with pytest.raises(PluginError, match="fails to load"):
        sources()


def test_a_source_chosen_by_name_takes_anything(tmp_path: Path) -> None:
    (tmp_path / "list.pkl").write_bytes(pickle.dumps([1, 2]))
    for kind in ("nexus", "aura"):
        report = migrate(tmp_path / "list.pkl", "memory://", kind=kind)
        assert report.ok
        assert report.planned == {"states": 1}
