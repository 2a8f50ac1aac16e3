from __future__ import annotations

import gzip
import io
import pickle
import zlib

import pytest
from perdure._errors import InvalidInput, InvalidRecord, PerdureError
from perdure_migrate.inert import Limits, load_all, loads


def test_streams_of_several_pickles():
    data = b"".join(pickle.dumps(v, p) for p, v in enumerate([1, "a", [2], {"k": 1}, (3,), b"x"]))
    expected = [1, "a", [2], {"k": 1}, (3,), b"x"]
    assert load_all(data) == expected
    assert load_all(io.BytesIO(data)) == expected
    assert load_all(gzip.compress(data)) == expected
    with pytest.raises(InvalidRecord, match="load_all"):
        loads(data)


def test_one_pickler_may_write_several_pickles_that_share_a_memo():
    buffer = io.BytesIO()
    pickler = pickle.Pickler(buffer, 4)
    shared = ["shared"]
    pickler.dump(shared)
    pickler.dump({"again": shared})
    first, second = load_all(buffer.getvalue(), shared_memo=True)
    assert second["again"] is first


def test_junk_after_a_pickle_is_refused():
    for junk in (b"x", b"\0", b"more text"):
        with pytest.raises(InvalidRecord):
            loads(pickle.dumps(1) + junk)
        with pytest.raises(InvalidRecord):
            load_all(pickle.dumps(1) + junk)


@pytest.mark.parametrize("data", [b"", b"\x1f\x8b", b"hello", b"\x89PNG\r\n"])
def test_what_is_no_pickle_is_refused(data):
    with pytest.raises(InvalidRecord):
        loads(data)
    with pytest.raises(InvalidRecord):
        load_all(data)


@pytest.mark.parametrize("source", ["text", None, 5, object()])
def test_what_is_no_bytes_is_refused(source):
    with pytest.raises(InvalidInput):
        loads(source)
    with pytest.raises(InvalidInput):
        load_all(source)


def test_gzip_of_several_members_with_padding():
    data = pickle.dumps(list(range(1000)))
    assert loads(gzip.compress(data[:100]) + b"\0\0" + gzip.compress(data[100:]) + b"\0" * 10) == list(
        range(1000)
    )


def test_gzip_cut_off_or_damaged_anywhere_is_refused():
    data = gzip.compress(pickle.dumps(list(range(300))), mtime=0)
    for end in range(len(data)):
        with pytest.raises(PerdureError):
            loads(data[:end])
    for place in range(len(data) - 8, len(data)):
        with pytest.raises(PerdureError):
            loads(data[:place] + bytes((data[place] ^ 1,)) + data[place + 1 :])


def test_a_gzip_bomb_stops_at_its_limit():
    bomb = zlib.compressobj(9, wbits=31)
    data = b"".join(bomb.compress(b"\0" * 2**20) for _ in range(64)) + bomb.flush()
    with pytest.raises(InvalidRecord, match="max_expansion"):
        loads(data)
    with pytest.raises(InvalidRecord, match="max_bytes"):
        loads(data, limits=Limits(max_bytes=1000))
    with pytest.raises(InvalidRecord, match="max_bytes"):
        load_all(io.BytesIO(b"N" * 2000), limits=Limits(max_bytes=1000))
