"""Random and mutated input gives a value or a `PerdureError`, whatever it is."""

from __future__ import annotations

import collections
import contextlib
import datetime
import decimal
import pickle
import pickletools
import uuid

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from perdure._errors import PerdureError
from perdure_migrate.inert import Limits, load_all, loads

from .fuzz import corpus, inputs, one

CYCLE: list = [1]
CYCLE.append((CYCLE, {"c": CYCLE}))

VALUES = [
    {"a": [1, 2.5, (3, "x" * 300)], "s": {1, 2}, "f": frozenset([b"b"]), "n": -(2**70), "r": range(3)},
    [datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC), uuid.UUID(int=5), decimal.Decimal("1.5")],
    [collections.OrderedDict(a=1), collections.deque([1], 3), collections.defaultdict(list, a=[1])],
    [
        np.arange(3.0),
        np.float32(1),
        np.array([1, "x", None], object),
        np.zeros(2, [("a", "i4"), ("b", "U2")]),
    ],
    CYCLE,
]
PICKLES = [pickle.dumps(value, protocol) for value in VALUES for protocol in range(6)]
OPCODES = [op.code.encode("latin-1") for op in pickletools.opcodes]
LIMITS = Limits(max_nodes=10_000, max_stack=10_000, max_memo=10_000)


def _harmless(data: bytes) -> None:
    for read in (loads, load_all):
        with contextlib.suppress(PerdureError):
            read(data, limits=LIMITS)


@pytest.mark.parametrize("index", range(len(PICKLES)))
def test_cut_off_anywhere_only_perdure_errors_leave(index):
    data = PICKLES[index]
    for end in range(len(data)):
        with pytest.raises(PerdureError):
            loads(data[:end])


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_random_bytes(data):
    _harmless(data)


@settings(max_examples=500, deadline=None)
@given(st.lists(st.one_of(st.sampled_from(OPCODES), st.binary(max_size=3)), max_size=60))
def test_random_opcodes(parts):
    _harmless(b"".join(parts) + b".")


@settings(max_examples=500, deadline=None)
@given(st.data())
def test_mutated_pickles(data):
    mutated = bytearray(data.draw(st.sampled_from(PICKLES)))
    for _ in range(data.draw(st.integers(1, 6))):
        place = data.draw(st.integers(0, len(mutated)))
        edit = data.draw(st.one_of(st.sampled_from(OPCODES), st.binary(min_size=1, max_size=4)))
        width = data.draw(st.integers(0, 4))
        mutated[place : place + width] = edit
    _harmless(bytes(mutated))


def test_the_corpus():
    values = sum(map(one, corpus()))
    assert 50 < values < len(corpus())  # both answers are among it


@settings(max_examples=500, deadline=None)
@given(inputs())
def test_what_the_fuzzer_writes(data):
    one(data)


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
    max_leaves=20,
)


@settings(max_examples=200, deadline=None)
@given(PLAIN, st.integers(0, 5))
def test_plain_values_come_back(value, protocol):
    assert loads(pickle.dumps(value, protocol)) == value
