"""Frames that pandas wrote, of several of its versions (see make_data.py)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from perdure.values import Opaque
from perdure_migrate.inert import frame_of, loads

from .make_data import DATA

FRAMES = sorted(DATA.glob("frame-pandas*.pkl"))


def test_versions() -> None:
    assert [path.stem.removeprefix("frame-pandas") for path in FRAMES] == ["1.0", "1.5", "2.2", "3.1"]


@pytest.mark.parametrize("path", FRAMES, ids=lambda path: path.stem)
def test_all_cells_types_and_labels(path: Path) -> None:
    frame = frame_of(loads(path.read_bytes()))
    assert frame is not None
    assert frame.columns == ["i", "t", "f", "c", "d", "z", "n", "o", "j"]
    assert (frame.index, frame.names) == (["r1", "r2"], (["row"], [None]))
    today = path.stem.endswith("3.1")
    unit, text = ("us", "str") if today else ("ns", "object")
    assert frame.dtypes == [
        "int64", text, "float64", "category", f"datetime64[{unit}]", f"datetime64[{unit}, Europe/Paris]",
        "Int64", "object", "int64",
    ]  # fmt: skip
    i, t, f, c, d, z, n, o, j = frame.cells
    assert [i.tolist(), list(t), c, n, o.tolist(), j.tolist()] == [
        [1, 2], ["a", None], ["x", None], [1, None], [{"k": 1}, [1]], [3, 4],
    ]  # fmt: skip
    assert f.tolist()[0] == 1.5
    assert np.isnan(f[1])
    assert d.reshape(-1).astype("M8[s]").tolist() == np.array(["2020-01-01", "2021-01-01"], "M8[s]").tolist()
    assert (
        np.asarray(z).reshape(-1).astype("M8[s]").tolist()
        == np.array(["2019-12-31T23:00", "2020-12-31T23:00"], "M8[s]").tolist()
    )


@pytest.mark.parametrize("path", sorted(DATA.glob("levels-pandas*.pkl")), ids=lambda path: path.stem)
def test_labels_of_several_levels(path: Path) -> None:
    frame = frame_of(loads(path.read_bytes()))
    assert frame is not None
    assert (frame.index, frame.names[0]) == ([("a", 1), ("a", 2), ("b", 1)], ["x", "y"])
    assert frame.columns == [("n", 0)]
    assert frame.cells[0].tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize("path", sorted(DATA.glob("range-pandas*.pkl")), ids=lambda path: path.stem)
def test_rows_that_are_counted(path: Path) -> None:
    data = path.read_bytes()
    frame = frame_of(loads(data))
    assert frame is not None
    assert (frame.index, frame.dtypes, frame.cells[0].tolist()) == ([0, 1], ["bool"], [True, False])
    value = loads(data)
    manager = value.state.get("_mgr", value.state.get("_data"))
    axes = manager.args[1] if manager.args else manager.state[3]["0.14.1"]["axes"]
    axes[1].args[1]["stop"] = 2**60
    assert frame_of(value) is None


def test_other_things_are_no_frames() -> None:
    for value in (None, {}, Opaque("pandas", "DataFrame"), Opaque("mine", "DataFrame", (), {"_mgr": 1})):
        assert frame_of(value) is None
    for state in (
        {"_mgr": None},
        {"_mgr": Opaque("p", "BlockManager", ((), ()))},
        {"_mgr": Opaque("p", "BlockManager")},
    ):
        assert frame_of(Opaque("pandas.core.frame", "DataFrame", (), state)) is None
