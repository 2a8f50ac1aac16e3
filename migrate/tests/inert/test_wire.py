"""What the machine makes survives the way between two processes."""

from __future__ import annotations

import pickle
from collections import deque
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from perdure import InvalidRecord
from perdure.values import Opaque
from perdure_migrate.inert import _wire

from .test_numpy import ARRAYS, SCALARS
from .test_rebuild import VALUES


def _there_and_back(value: Any) -> Any:
    return _wire.loads(_wire.dumps(value))


@pytest.mark.parametrize("name", VALUES)
def test_values(same: Any, name: str) -> None:
    assert same(_there_and_back(VALUES[name]), VALUES[name])


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays(same: Any, name: str) -> None:
    array = pickle.loads(pickle.dumps(ARRAYS[name], 5))
    assert same(_there_and_back(array), array)


def test_scalars(same: Any) -> None:
    padded = [one for one in SCALARS if one.dtype.char == "g"]  # its padding is no part of its value
    plain = [one for one in SCALARS if one.dtype.char != "g"]
    assert same(_there_and_back(plain), plain)
    assert [(type(one), one) for one in _there_and_back(padded)] == [(type(one), one) for one in padded]


def test_cycles_through_everything() -> None:
    loop: list[Any] = []
    grid = np.empty(1, object)
    around = deque([loop], 4)
    thing = Opaque("m", "q", (loop,), state={"me": loop}, kwargs={"k": around}, order=7)
    thing.items.append(thing)
    thing.pairs.append((thing, grid))
    grid[0] = (thing, (around,))
    loop.extend([thing, frozenset([thing]), {thing: (loop,)}, {thing}])
    made = _there_and_back(loop)
    new = made[0]
    assert (new.module, new.qualname, new.order) == ("m", "q", 7)
    assert new.args[0] is made
    assert new.state["me"] is made
    assert new.kwargs["k"][0] is made
    assert new.kwargs["k"].maxlen == 4
    assert new.items == [new]
    assert new.pairs[0][0] is new
    assert new.pairs[0][1][0][0] is new
    assert new.pairs[0][1][0][1][0] is new.kwargs["k"]
    assert made[1] == {new}
    assert made[2][new][0] is made
    assert made[3] == {new}


def test_depth_reaches_no_stack() -> None:
    value: Any = None
    for _ in range(100_000):
        value = (value,)
    made = _there_and_back(value)
    depth = 0
    while made is not None:
        (made,) = made
        depth += 1
    assert depth == 100_000


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats()
        | st.text()
        | st.binary()
        | st.complex_numbers(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
        max_leaves=20,
    )
)
def test_any_tree(value: Any) -> None:
    assert repr(_there_and_back(value)) == repr(value)


def test_the_bits_of_floats_stay() -> None:
    bits = [0x7FF8000000000001, 0xFFF8000000000000, 0x8000000000000000, 1]
    given_ = np.array(bits, np.uint64).view(np.float64).tolist()
    for value in (given_, [*given_, None]):
        made = _there_and_back(value)[:4]
        assert np.array(made).view(np.uint64).tolist() == bits


def test_columns_that_do_not_fit_are_refused() -> None:
    columns = _wire.dumps([1, "a", (2.5, b"x"), {"k": np.arange(3)}])
    for place, column in enumerate(columns):
        if column:
            with pytest.raises(InvalidRecord, match="damaged"):
                _wire.loads([*columns[:place], column[: len(column) // 2], *columns[place + 1 :]])
