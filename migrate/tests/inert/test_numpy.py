from __future__ import annotations

import pickle

import numpy as np
import pytest
from perdure._errors import InvalidRecord
from perdure_migrate.inert import loads

RECORD = np.dtype([("a", "<i4"), ("b", ">f8"), ("c", "U3"), ("d", "f4", (2, 2))])

ARRAYS = {
    "plain": np.arange(6, dtype="f4"),
    "two": np.arange(6.0).reshape(2, 3),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "transposed": np.arange(24.0).reshape(2, 3, 4).transpose(1, 0, 2),
    "zero-d": np.array(1.5),
    "empty": np.empty((0, 4), "f8"),
    "bool": np.array([True, False]),
    "bytes": np.array([b"a", b"bcd"]),
    "text": np.array(["a", "é𝄞"]),
    "complex": np.array([1j, np.nan]),
    "half": np.array([1.5, -0.0], "f2"),
    "long double": np.array([1.5], np.longdouble),
    "times": np.array(["2020-01-01", "NaT"], "M8[s]"),
    "ticks": np.array([1, 2], "m8[25us]"),
    "generic ticks": np.array([1, 2], "m8"),
    "void": np.array([b"ab"], "V2"),
    "structured": np.zeros(3, RECORD),
    "aligned": np.zeros(2, np.dtype([("a", "i1"), ("b", "f8")], align=True)),
    "nested": np.zeros(2, [("x", [("y", "i2")]), ("z", "u1")]),
    "objects": np.array([1, "a", None, [1, 2]], dtype=object),
    "object grid": np.array([["a", 1], [None, 2.5]], dtype=object, order="F"),
    "big": np.random.default_rng(0).normal(size=(200, 64)).astype("f4"),
}
SCALARS = [
    np.float32(1.5),
    np.int8(-3),
    np.bool_(True),
    np.str_("é"),
    np.str_(""),
    np.bytes_(b"xy"),
    np.complex64(1j),
]
SCALARS += [np.datetime64("2020-01-01T00:00:00"), np.timedelta64(5, "D"), np.float16(2), np.longdouble(3)]


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_come_back(same, name, protocol):
    array = ARRAYS[name]
    assert same(
        loads(pickle.dumps(array, protocol)),
        array if array.flags.forc else pickle.loads(pickle.dumps(array, protocol)),
    )


@pytest.mark.parametrize("protocol", range(6))
def test_scalars_come_back(same, protocol):
    assert same(loads(pickle.dumps(SCALARS, protocol)), SCALARS)


@pytest.mark.parametrize("protocol", range(6))
def test_the_byte_order_is_that_of_the_file(protocol):
    array = np.arange(5, dtype=">f8")
    made = loads(pickle.dumps(array, protocol))
    assert made.dtype == array.dtype
    assert made.tobytes() == array.tobytes()


def test_arrays_are_shared_writable_and_own_their_bytes():
    array = np.arange(3)
    first, second = loads(pickle.dumps([array, array], 5))
    assert first is second
    first[0] = 9
    assert second[0] == 9


@pytest.mark.parametrize("protocol", range(6))
def test_an_object_array_that_holds_itself(protocol):
    array = np.empty(2, dtype=object)
    array[0], array[1] = array, [array, (array,)]
    made = loads(pickle.dumps(array, protocol))
    assert made[0] is made
    assert made[1][0] is made
    assert made[1][1][0] is made


@pytest.mark.parametrize("protocol", range(6))
def test_a_dtype_by_itself_is_a_stand_in(protocol):
    made = loads(pickle.dumps(np.dtype("f8"), protocol))
    assert (made.module, made.qualname) == ("numpy", "dtype")


def test_modules_of_numpy_1_are_known(same):
    data = pickle.dumps(np.arange(3.0), 4).replace(
        b"\x8c\x16numpy._core.multiarray", b"\x8c\x15numpy.core.multiarray"
    )
    data = data[:3] + (int.from_bytes(data[3:11], "little") - 1).to_bytes(8, "little") + data[11:]
    assert same(loads(data), np.arange(3.0))


def _edit(array: np.ndarray, old: bytes, new: bytes, protocol: int = 2) -> bytes:
    data = pickle.dumps(array, protocol)
    assert old in data
    return data.replace(old, new)


@pytest.mark.parametrize(
    "shape", [b"K\x04\x85", b"J\xff\xff\xff\x7f\x85", b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x0f\x85"]
)
def test_a_shape_that_the_bytes_do_not_fill_is_refused(shape):
    with pytest.raises(InvalidRecord, match="comes with"):
        loads(_edit(np.arange(3, dtype="i8"), b"K\x03\x85", shape))


def test_a_negative_shape_stays_a_stand_in():
    made = loads(_edit(np.arange(3, dtype="i8"), b"K\x03\x85", b"J\xff\xff\xff\xff\x85"))
    assert made.qualname == "_reconstruct"
    assert made.state[1] == (-1,)


def test_an_empty_item_type_cannot_stand_for_endless_items():
    body = b"\x80\x02cnumpy\ndtype\n(X\x02\0\0\0S0K\0K\x01tR"
    data = (
        b"\x80\x02cnumpy._core.numeric\n_frombuffer\n(C\0"
        + body[2:]
        + b"\x8a\x07\0\0\0\0\0\0\x10\x85X\x01\0\0\0CtR."
    )
    with pytest.raises(InvalidRecord, match="bomb"):
        loads(data)


@pytest.mark.parametrize(
    "code", ["f9", "evil", "f8,f8", "O", "(3,)f8", "V99999999999", "S-1", "numpy.float64"]
)
def test_an_unknown_dtype_makes_no_array(code):
    data = _edit(np.arange(3.0), b"X\x02\0\0\0f8", b"X" + len(code).to_bytes(4, "little") + code.encode())
    assert loads(data).qualname == "_reconstruct"


def test_text_that_is_no_code_point_makes_no_array():
    data = _edit(np.array(["a"]), b"a\0\0\0", b"\0\0\x12\0", 4)
    assert loads(data).qualname == "_reconstruct"


def test_subclasses_of_arrays_stay_stand_ins():
    made = loads(pickle.dumps(np.ma.array([1, 2], mask=[0, 1]), 4))
    assert type(made).__name__ == "Opaque"
    assert made.state is not None
