"""Values: arrays and scalars of NumPy, by content and bit for bit."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import numpy as np

from perdure_conformance._case import Case
from perdure_conformance._checks import check
from perdure_conformance.clauses._stored import cells, kept
from perdure_conformance.expect import equal


def text_of(dtype: str, shape: str, data: bytes, order: str = "C") -> str:
    """The form of an array by its bytes; dtype and shape are JSON."""
    coded = b64encode(data).decode()
    return f'{{"$array":{{"dtype":{dtype},"shape":{shape},"order":"{order}","data":"{coded}"}}}}'


@check("VA-050")
def arrays_are_their_elements_without_gaps(case: Case) -> None:
    """An array is its type, its shape and its elements; a view of it is what it shows."""
    numbers = np.arange(6, dtype="<i2")
    pairs = [
        (numbers, text_of('"<i2"', "[6]", bytes([0, 0, 1, 0, 2, 0, 3, 0, 4, 0, 5, 0]))),
        (numbers[::2], text_of('"<i2"', "[3]", bytes([0, 0, 2, 0, 4, 0]))),
        (numbers[4:1:-1], text_of('"<i2"', "[3]", bytes([4, 0, 3, 0, 2, 0]))),
        (np.array(7, ">u4"), text_of('">u4"', "[]", b"\0\0\0\7")),
        (np.empty((2, 0), "<f8"), text_of('"<f8"', "[2,0]", b"")),
    ]
    kept(case, pairs)


@check("VA-051")
def arrays_keep_their_order_in_memory(case: Case) -> None:
    """Only an array that is in Fortran's order alone is written in it."""
    square = np.array([[1, 2], [3, 4]], "|u1")
    pairs = [
        (square, text_of('"|u1"', "[2,2]", bytes([1, 2, 3, 4]))),
        (square.T, text_of('"|u1"', "[2,2]", bytes([1, 2, 3, 4]), "F")),
        (np.asfortranarray(square), text_of('"|u1"', "[2,2]", bytes([1, 3, 2, 4]), "F")),
        (np.asfortranarray(square[:1]), text_of('"|u1"', "[1,2]", bytes([1, 2]))),
        (
            np.asfortranarray(np.arange(8, dtype="|u1").reshape(2, 2, 2))[::2],
            text_of('"|u1"', "[1,2,2]", bytes(range(4))),
        ),
    ]
    kept(case, pairs)


@check("VA-052")
def arrays_keep_their_type(case: Case) -> None:
    """Byte order, units, widths, fields, titles and blocks come back as they were."""
    simple = (
        "|b1 |i1 |u1 <i2 >i2 <u8 <f2 >f4 <f8 <c8 >c16 |S5 <U3 >U2 |V4 <M8[ns] >M8[D] <M8[25s] <m8[us] <m8"
    )
    pairs = [
        (np.zeros(2, name), text_of(f'"{name}"', "[2]", bytes(2 * np.dtype(name).itemsize)))
        for name in simple.split()
    ]
    pair = np.zeros(1, [("b", ">i2"), ("a", "<f4")])
    titled = np.zeros(1, [(("title", "a"), "|u1")])
    block = np.zeros(1, [("é", "<i2", (2,))])
    spread = np.zeros(1, {"names": ["a"], "formats": ["|u1"], "offsets": [3], "itemsize": 5})
    fields = '{"fields":[%s],"itemsize":%d,"align":false}'
    pairs += [
        (pair, text_of(fields % ('["b",">i2",0],["a","<f4",2]', 6), "[1]", bytes(6))),
        (titled, text_of(fields % ('["a","|u1",0,"title"]', 1), "[1]", bytes(1))),
        (block, text_of(fields % ('["é",{"base":"<i2","shape":[2]},0]', 4), "[1]", bytes(4))),
        (spread, text_of(fields % ('["a","|u1",3]', 5), "[1]", bytes(5))),
    ]
    kept(case, pairs)


@check("VA-053")
def long_doubles_name_their_format(case: Case) -> None:
    """The type of a long double says how its bits are laid out; where it is a plain double there is nothing to say."""
    dtype = np.dtype(np.longdouble)
    format_name = {63: "x87", 112: "quad", 105: "double-double"}.get(int(np.finfo(np.longdouble).nmant))
    (cell,) = cells(case, [np.zeros(1, dtype)])
    name = dtype.str if format_name is None else f"{dtype.str}:{format_name}"
    kept(case, [(np.zeros(1, dtype), text_of(f'"{name}"', "[1]", bytes(dtype.itemsize)))])
    equal(cell, text_of(f'"{name}"', "[1]", bytes(dtype.itemsize)), "a long double")
    third = np.longdouble(1) / np.longdouble(3)
    store = case.store()
    store.memories.put({"id": "third", "content": np.array([third])})
    equal(
        bool(store.memories["third"].content[0] == third), True, "whether a long double keeps all of its bits"
    )


@check("VA-054")
def padding_is_written_as_zeros(case: Case) -> None:
    """What memory held between the fields of an array does not show in the text."""
    dtype = np.dtype([("a", "|u1"), ("b", "<u4")], align=True)
    dirty = np.frombuffer(bytes([1, 9, 9, 9, 2, 0, 0, 0]), dtype)
    form = '{"fields":[["a","|u1",0],["b","<u4",4]],"itemsize":8,"align":true}'
    clean = text_of(form, "[1]", bytes([1, 0, 0, 0, 2, 0, 0, 0]))
    scalar = f'{{"$scalar":[{form},"{b64encode(bytes([1, 0, 0, 0, 2, 0, 0, 0])).decode()}"]}}'
    equal(
        cells(case, [dirty.copy(), dirty[0]]),
        [clean, scalar],
        "the texts of an array with dirt in its padding",
    )


@check("VA-055")
def arrays_of_objects_and_strings_have_items(case: Case) -> None:
    """Elements that are values, or text of any length, are written one by one, in C order."""
    objects: Any = np.empty((2, 2), dtype=object)
    objects[...] = [[None, "x"], [(1,), 2.5]]
    words = np.array(["a", "", "é\0"], np.dtypes.StringDType())
    holes = np.array(["a", None], np.dtypes.StringDType(na_object=None, coerce=False))
    head = '{"$array":{"dtype":'
    pairs = [
        (objects, head + '"|O","shape":[2,2],"order":"C","items":[null,"x",{"$tuple":[1]},2.5]}}'),
        (objects.T, head + '"|O","shape":[2,2],"order":"F","items":[null,{"$tuple":[1]},"x",2.5]}}'),
        (words, head + '{"string":true},"shape":[3],"order":"C","items":["a","","é\\u0000"]}}'),
        (holes, head + '{"string":false,"na":null},"shape":[2],"order":"C","items":["a",null]}}'),
    ]
    kept(case, pairs)


@check("VA-056")
def scalars_are_no_arrays_and_no_numbers(case: Case) -> None:
    """A NumPy scalar keeps its type, and is written little-endian."""
    record = np.array([(1,)], [("a", ">i2")])[0]
    pairs = [
        (np.int64(3), '{"$scalar":["<i8","AwAAAAAAAAA="]}'),
        (np.dtype(">i2").type(1), '{"$scalar":["<i2","AQA="]}'),
        (np.float32(1.5), '{"$scalar":["<f4","AADAPw=="]}'),
        (np.bool_(True), '{"$scalar":["|b1","AQ=="]}'),
        (np.datetime64(1, "D"), '{"$scalar":["<M8[D]","AQAAAAAAAAA="]}'),
        (np.str_("a\0"), '{"$scalar":["str","a\\u0000"]}'),
        (np.bytes_(b"a\0"), '{"$scalar":["bytes","YQA="]}'),
        (record, '{"$scalar":[{"fields":[["a",">i2",0]],"itemsize":2,"align":false},"AAE="]}'),
    ]
    kept(case, pairs)
