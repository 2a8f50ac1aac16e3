"""Writes the files of `data` with the libraries that people wrote theirs with: `python make_data.py`.

It needs joblib and pandas (its files are of 1.0, 1.5, 2.2 and 3.1), which the tests do not; the values are told here for
both.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np

DATA = Path(__file__).parent / "data"


def joblib_value() -> dict[str, Any]:
    """Arrays of every kind, one of them twice, among other things."""
    shared = np.arange(12.0).reshape(3, 4)
    return {
        "plain": shared,
        "again": [shared, "text", 5],
        "fortran": np.asfortranarray(np.arange(6, dtype="i2").reshape(2, 3)),
        "objects": np.array(["a", None, [1, (2, shared)]], dtype=object),
        "empty": np.zeros((0, 3), "f4"),
        "zero-d": np.array(7, ">i8"),
        "records": np.array([(1, 2.5), (3, 4.5)], [("a", "<i4"), ("b", "<f8")]),
        "matrix": np.arange(4).reshape(2, 2).view(np.matrix),
        "scalar": np.float32(1.5),
    }


def _joblib() -> None:
    import joblib

    value = joblib_value()
    joblib.dump(value, DATA / "plain.joblib")
    for kind in ("zlib", "gzip", "bz2", "lzma", "xz"):
        joblib.dump(value, DATA / f"{kind}.joblib", compress=(kind, 3))
    joblib.dump(value, DATA / "protocol2.joblib", protocol=2)
    joblib.dump(value["plain"], DATA / "array.joblib")


def _pandas() -> None:
    import pandas as pd

    frame = pd.DataFrame(
        {
            "i": [1, 2],
            "t": ["a", None],
            "f": [1.5, float("nan")],
            "c": pd.Categorical(["x", None]),
            "d": pd.to_datetime(["2020-01-01", "2021-01-01"]),
            "z": pd.to_datetime(["2020-01-01", "2021-01-01"]).tz_localize("Europe/Paris"),
            "n": pd.array([1, None], dtype="Int64"),
            "o": [{"k": 1}, [1]],
            "j": [3, 4],
        },
        index=pd.Index(["r1", "r2"], name="row"),
    )
    version = ".".join(pd.__version__.split(".")[:2])
    (DATA / f"frame-pandas{version}.pkl").write_bytes(pickle.dumps(frame, 4))
    levels = pd.MultiIndex.from_tuples([("a", 1), ("a", 2), ("b", 1)], names=["x", "y"])
    plain = pd.DataFrame({("n", 0): [1.0, 2.0, 3.0]}, index=levels)
    (DATA / f"levels-pandas{version}.pkl").write_bytes(pickle.dumps(plain, 4))
    counted = pd.DataFrame({"n": [True, False]})
    (DATA / f"range-pandas{version}.pkl").write_bytes(pickle.dumps(counted, 4))


if __name__ == "__main__":
    DATA.mkdir(exist_ok=True)
    try:
        _joblib()
    except ImportError:
        print("joblib is not here; its files stay as they are")
    _pandas()
