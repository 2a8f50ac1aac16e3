"""Files that joblib wrote (see make_data.py): arrays stand raw in the midst of the pickle."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from perdure import InvalidRecord, PerdureError
from perdure_migrate.inert import Reader, loads

from .make_data import DATA, joblib_value

FILES = [path for path in sorted(DATA.glob("*.joblib")) if path.stem != "array"]


@pytest.fixture(scope="module")
def reader() -> Iterator[Reader]:
    with Reader() as made:
        yield made


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_array_comes_back(reader: Reader, same: Any, path: Path) -> None:
    found, expected = reader.read(path), joblib_value()
    matrix = found.value.pop("matrix")
    assert same(found.value, {key: value for key, value in expected.items() if key != "matrix"})
    assert matrix.qualname == "NumpyArrayWrapper"
    assert matrix.state["subclass"].qualname == "matrix"
    assert same(matrix.items, [np.asarray(expected["matrix"])])


def test_an_array_by_itself(reader: Reader, same: Any) -> None:
    assert same(reader.read(DATA / "array.joblib").value, joblib_value()["plain"])


def test_cut_off_anywhere() -> None:
    data = (DATA / "plain.joblib").read_bytes()
    for end in range(len(data)):
        with pytest.raises(PerdureError):
            loads(data[:end])


def test_a_shape_that_lies() -> None:
    data = (DATA / "array.joblib").read_bytes()
    shape = b"K\x03K\x04\x86"
    assert shape in data
    for wrong in (
        b"K\x03K\x05\x86",
        b"J\xff\xff\xff\x7fJ\xff\xff\xff\x7f\x86",
        b"K\x03J\xff\xff\xff\xff\x86",
    ):
        with pytest.raises(InvalidRecord):
            loads(data.replace(shape, wrong))
