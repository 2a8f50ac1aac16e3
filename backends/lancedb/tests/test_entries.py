"""Objects of the log, of bases and of states: damage is named, and a later format is refused."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from perdure import CorruptStore, IncompatibleStore
from perdure_lancedb._entries import FORMAT, Base, Entry, Fence, State, Stored, pack, unpack

ENTRY = Entry(b"t" * 16, [(b"key", b"value"), (b"", b"")], [b"gone"])
BASE = Base(FORMAT, 3, 17, "state/3-1", b"marks---")
TABLES = {
    "items-1": Stored("", b"", None, 4, [Fence(b"", 1, 2), Fence(b"k", 3, 4)], deleted=False),
    "vectors-2": Stored("vectors", b"main\0rvs\0", ("float16", 3), 9, []),
}
STATE = State(5, {b"main\0h": b"head"}, TABLES, 7)


@given(st.binary(), st.lists(st.tuples(st.binary(), st.binary())), st.lists(st.binary()))
def test_entries_come_back(token, puts, deletes):
    entry = Entry(token, puts, deletes)
    assert unpack(pack(entry), Entry, "log/1") == entry


@pytest.mark.parametrize("item", [ENTRY, BASE, STATE, State()])
def test_what_is_packed_comes_back(item):
    assert unpack(pack(item), type(item), "it") == item


@pytest.mark.parametrize("item", [ENTRY, BASE, STATE])
def test_any_byte_that_is_wrong_is_noticed(item):
    data = pack(item)
    for at in range(len(data)):
        damaged = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        with pytest.raises(CorruptStore, match="log/0000000000000007 is damaged.*backup"):
            unpack(damaged, type(item), "log/0000000000000007")


@pytest.mark.parametrize("item", [ENTRY, BASE, STATE])
def test_any_object_that_was_cut_is_noticed(item):
    data = pack(item)
    for length in range(len(data)):
        with pytest.raises(CorruptStore, match="base/1"):
            unpack(data[:length], type(item), "base/1")


@pytest.mark.parametrize("other", [FORMAT - 1, FORMAT + 1])
def test_another_format_is_refused(other):
    base = msgspec.structs.replace(BASE, format=other)
    with pytest.raises(IncompatibleStore, match=f"format {other}.*reads {FORMAT}; open it with the version"):
        unpack(pack(base), Base, "base/1")


def test_an_object_of_another_shape_is_refused():
    with pytest.raises(IncompatibleStore, match="log/1 cannot be read by this version"):
        unpack(pack(BASE), Entry, "log/1")
