"""The stores that come with the repository, whose classes are nowhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from perdure.values import Opaque, decode, encode, equal
from perdure_migrate.inert import loads, loads_with_report

DATA = Path(__file__).parents[3] / "examples" / "data"


def test_the_nexus_store():
    nexus, report = loads_with_report((DATA / "nexus.pkl").read_bytes())
    assert (nexus.module, nexus.qualname) == ("geometry_os.nexus", "GeometricNexus")
    graph, vectors, traces = (nexus.state[name] for name in ("graph", "vectors", "traces"))
    assert (len(graph), len(vectors), len(traces)) == (200, 200, 60)
    assert sum(len(node["edges"]) for node in graph.values()) == 597
    assert all(type(v) is np.ndarray and v.dtype == np.float32 and v.shape == (64,) for v in vectors.values())
    assert all(type(t) is Opaque and t.qualname == "Trace" for t in traces.values())
    assert [s.qualname for s in report.opaque] == ["Trace", "GeometricNexus", "dtype"]


@pytest.mark.parametrize("path", sorted((DATA / "aura_state").iterdir()), ids=lambda p: p.stem)
def test_the_aura_directory(path):
    made = loads(path.read_bytes())
    if path.suffix == ".checkpoint":
        assert type(made) is dict
    else:
        assert (type(made), made.qualname) == (Opaque, "StateSnapshot")
        assert made.state["state_type"].qualname == "StateType"


@pytest.mark.parametrize(
    "path", [DATA / "nexus.pkl", *sorted((DATA / "aura_state").iterdir())], ids=lambda p: p.stem
)
def test_what_is_read_is_a_value_of_the_codec(path):
    data = path.read_bytes()
    made = loads(data)
    assert equal(decode(encode(made)), made)
    assert encode(loads(data)) == encode(made)
