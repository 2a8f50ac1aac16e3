"""Streams, compression, shelves, NumPy's formats and out-of-band buffers."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import pickle
import shelve
import sqlite3
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dbm import dumb
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from perdure import InvalidInput, InvalidRecord
from perdure_migrate.inert import Limits, Reader, load_all, loads

from .make_data import DATA
from .test_numpy import ARRAYS

Read = Callable[..., Any]
VALUE = {"a": [1, 2.5, (None, "x" * 500)], "b": b"y" * 500}

COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "zlib": zlib.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "lzma": lambda data: lzma.compress(data, lzma.FORMAT_ALONE),
}


@pytest.fixture(scope="module")
def reader() -> Iterator[Reader]:
    with Reader() as made:
        yield made


@pytest.fixture
def read(reader: Reader, tmp_path: Path) -> Read:
    def from_bytes(data: bytes, name: str = "file", **options: Any) -> Any:
        (tmp_path / name).write_bytes(data)
        return reader.read(tmp_path / name, **options)

    return from_bytes


# -- streams


def test_a_stream_of_several_pickles(read: Read) -> None:
    found = read(b"".join(pickle.dumps(value, 4) for value in (1, "a", [2])))
    assert (found.kind, found.value, found.report.pickles) == ("pickles", [1, "a", [2]], 3)


def test_one_pickler_for_several_dumps(read: Read) -> None:
    buffer = io.BytesIO()
    pickler, shared = pickle.Pickler(buffer, 4), ["shared"]
    pickler.dump(shared)
    pickler.dump({"again": shared})
    first, second = read(buffer.getvalue(), shared_memo=True).value
    assert second["again"] is first


def test_buffers_come_from_other_files(read: Read, same: Any, tmp_path: Path) -> None:
    buffers: list[pickle.PickleBuffer] = []
    value = [np.arange(5.0), bytearray(b"own"), np.arange(3, dtype="u1")]
    data = pickle.dumps(value, 5, buffer_callback=buffers.append)
    paths = [tmp_path / f"buffer{number}" for number in range(len(buffers))]
    for path, buffer in zip(paths, buffers, strict=True):
        path.write_bytes(buffer.raw())
    assert same(read(data, buffers=paths).value, value)
    assert same(loads(data, buffers=[bytes(one.raw()) for one in buffers]), value)
    with pytest.raises(InvalidRecord, match="buffer 2"):
        read(data, buffers=paths[:1])
    assert read(data).value[0].qualname == "_frombuffer"


def test_many_buffers(read: Read, tmp_path: Path) -> None:
    (tmp_path / "buffer").write_bytes(b"x")
    found = read(b"\x80\x05(" + b"\x97" * 300 + b"t.", buffers=[tmp_path / "buffer"] * 300)
    assert found.value == (bytearray(b"x"),) * 300
    with pytest.raises(InvalidInput, match="at most"):
        read(b"N.", buffers=[tmp_path / "buffer"] * 901)


# -- compression


@pytest.mark.parametrize("kind", COMPRESS)
def test_compression_is_taken_off(read: Read, kind: str) -> None:
    data = pickle.dumps(VALUE)
    found = read(COMPRESS[kind](data))
    assert (found.value, found.layers) == (VALUE, (kind,))
    assert read(COMPRESS[kind](COMPRESS["gzip"](data))).layers == (kind, "gzip")
    assert load_all(COMPRESS[kind](data * 2)) == [VALUE, VALUE]


@pytest.mark.parametrize("kind", ["gzip", "bz2", "xz"])
def test_streams_of_several_members(read: Read, kind: str) -> None:
    data = pickle.dumps(VALUE)
    assert read(COMPRESS[kind](data[:50]) + COMPRESS[kind](data[50:]) + b"\0" * 8).value == VALUE


@pytest.mark.parametrize("kind", COMPRESS)
def test_compression_that_is_damaged(read: Read, kind: str) -> None:
    data = COMPRESS[kind](pickle.dumps(list(range(2000))))
    for end in (len(data) - 1, len(data) // 2, 20):
        with pytest.raises(InvalidRecord):
            read(data[:end])
    wrong = bytearray(data)
    wrong[len(data) // 2] ^= 0xFF
    with pytest.raises(InvalidRecord):
        read(bytes(wrong))


@pytest.mark.parametrize("kind", COMPRESS)
def test_bombs_stop_at_their_limit(read: Read, kind: str) -> None:
    bomb = COMPRESS[kind](b"\0" * 2**27)
    with pytest.raises(InvalidRecord, match="--max-expansion") as caught:
        read(bomb)
    assert caught.value.detail["limit"] == "max_expansion"
    with pytest.raises(InvalidRecord, match="max_expansion"):
        read(COMPRESS[kind](bomb))


def test_layers_are_counted() -> None:
    data = pickle.dumps(1)
    for _ in range(5):
        data = zlib.compress(data)
    with pytest.raises(InvalidRecord, match="times over"):
        loads(data)


def test_lz4_says_what_to_do(read: Read) -> None:
    with pytest.raises(InvalidRecord, match="lz4 -d"):
        read(b"\x04\x22\x4d\x18" + b"x" * 20)


# -- shelves

KEYS = {"plain": VALUE, "é": [1], "quote'\"\n": np.arange(3)}


def _sqlite(path: Path, rows: dict[bytes, Any], *, wal: bool = True) -> None:
    """What `dbm.sqlite3` of Python 3.13 writes."""
    made = sqlite3.connect(path, isolation_level=None)
    if wal:
        made.execute("PRAGMA journal_mode = wal")
    made.execute(
        """
  CREATE TABLE IF NOT EXISTS Dict (
    key BLOB UNIQUE NOT NULL,
    value BLOB NOT NULL
  )
"""
    )
    made.executemany("REPLACE INTO Dict (key, value) VALUES (CAST(? AS BLOB), ?)", rows.items())
    made.close()


@pytest.mark.parametrize("wal", [True, False])
def test_a_shelf_in_sqlite(reader: Reader, tmp_path: Path, same: Any, wal: bool) -> None:
    _sqlite(tmp_path / "shelf", {key.encode(): pickle.dumps(value) for key, value in KEYS.items()}, wal=wal)
    before = (tmp_path / "shelf").read_bytes()
    found = reader.read(tmp_path / "shelf")
    assert found.kind == "shelf"
    assert same(found.value, KEYS)
    assert (tmp_path / "shelf").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["shelf"]


def test_a_shelf_whose_log_is_not_merged(reader: Reader, tmp_path: Path) -> None:
    _sqlite(tmp_path / "shelf", {b"a": b"N."})
    (tmp_path / "shelf-wal").write_bytes(b"changes")
    with pytest.raises(InvalidRecord, match="open and close it"):
        reader.read(tmp_path / "shelf")


def test_other_databases_are_no_shelves(reader: Reader, tmp_path: Path) -> None:
    tables = [
        "CREATE TABLE Other (key BLOB UNIQUE NOT NULL, value BLOB NOT NULL)",
        "CREATE TABLE Dict (key BLOB UNIQUE NOT NULL, value BLOB NOT NULL AS (zeroblob(1e9)))",
        "CREATE TABLE Dict (key BLOB UNIQUE NOT NULL, value BLOB NOT NULL); CREATE TABLE More (x)",
        "CREATE VIEW Dict (key, value) AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i FROM n) SELECT i, i FROM n",
    ]
    for number, sql in enumerate(tables):
        path = tmp_path / f"{number}.db"
        made = sqlite3.connect(path)
        made.executescript(sql)
        made.close()
        with pytest.raises(InvalidRecord, match="no shelf"):
            reader.read(path)


def test_a_damaged_shelf(reader: Reader, read: Read, tmp_path: Path) -> None:
    _sqlite(tmp_path / "shelf", {b"%d" % n: pickle.dumps("x" * 500) for n in range(50)}, wal=False)
    data = (tmp_path / "shelf").read_bytes()
    for wrong in (data[:100], data[: len(data) // 2], data[:4096] + b"\xff" * 4096 + data[8192:]):
        with pytest.raises(InvalidRecord):
            read(wrong)
    _sqlite(tmp_path / "bad", {b"good": b"N.", b"bad": b"hello"})
    with pytest.raises(InvalidRecord, match="key 'bad'"):
        reader.read(tmp_path / "bad")


def test_a_shelf_of_python_3_13(reader: Reader, same: Any) -> None:
    assert same(reader.read(DATA / "shelf-python3.13.db").value, {"a": [1, 2.5], "é": {"b": (None, b"x")}})


@pytest.mark.parametrize(
    "start", [b"\xce\x9a\x57\x13", b"\x13\x57\x9a\xcf", b"\0\x06\x15\x61", b"\0" * 12 + b"\x62\x31\5\0"]
)
def test_databases_of_other_libraries_say_what_to_do(read: Read, start: bytes) -> None:
    with pytest.raises(InvalidRecord, match=r"dbm\.dumb"):
        read(start + b"\0" * 100)


@pytest.mark.parametrize("suffix", ["", ".dir", ".dat"])
def test_a_shelf_of_two_files(reader: Reader, tmp_path: Path, same: Any, suffix: str) -> None:
    with shelve.Shelf(dumb.open(str(tmp_path / "shelf"), "n")) as made:
        made.update(KEYS)
        made["plain"] = "replaced, and longer than before" * 200
        made["plain"] = VALUE
    found = reader.read(tmp_path / f"shelf{suffix}")
    assert found.kind == "shelf"
    assert same(found.value, KEYS)


@pytest.mark.parametrize(
    "line",
    ["'a', (0, 99)", "'a', (-1, 2)", "'a', (0)", "'a'", "a, (0, 2)", "'\\u20ac', (0, 2)", "'a', (0, 2", "("],
)
def test_a_damaged_shelf_of_two_files(reader: Reader, tmp_path: Path, line: str) -> None:
    (tmp_path / "shelf.dat").write_bytes(b"N.")
    (tmp_path / "shelf.dir").write_text(f"'good', (0, 2)\n{line}\n", encoding="utf-8")
    with pytest.raises(InvalidRecord):
        reader.read(tmp_path / "shelf")


# -- NumPy's formats


def _npy(array: np.ndarray[Any, Any], version: tuple[int, int] | None = None) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, version)
    return buffer.getvalue()


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_of_numpy(read: Read, same: Any, name: str) -> None:
    data, array = _npy(ARRAYS[name]), ARRAYS[name]
    # numpy.load leaves padding unset, and an array that is not contiguous is stored in another order
    expected = array if array.flags.forc else np.load(io.BytesIO(data))
    assert same(read(data).value, expected)


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_versions_of_the_format(read: Read, same: Any, version: tuple[int, int]) -> None:
    for array in (np.arange(4.0), np.zeros(2, [("a", "i4"), ("b", "f8", (2,))])):
        assert same(read(_npy(array, version)).value, array)


def test_arrays_one_after_another(read: Read, same: Any) -> None:
    value = [np.arange(3), np.array([{"a": 1}], object), np.arange(2.0)]
    assert same(read(b"".join(map(_npy, value))).value, value)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_archives_of_arrays(read: Read, same: Any, save: Callable[..., None]) -> None:
    value = {"a": np.arange(300.0), "b": np.array(["x", None], object), "c": np.array("text")}
    buffer = io.BytesIO()
    save(buffer, **value)
    found = read(buffer.getvalue(), "file.npz")
    assert found.kind == "npz"
    assert same(found.value, value)


def test_objects_of_arrays_run_nothing(read: Read, tmp_path: Path) -> None:
    head = _npy(np.array([None], object))
    head = head[: head.index(b"\n") + 1]
    with pytest.raises(InvalidRecord, match="do not fit"):
        read(head + b"cos\nsystem\n(S'touch HARMED'\ntR.")
    assert not list(tmp_path.glob("HARMED"))


HEADERS = [
    "{'descr': '<f8', 'fortran_order': False, 'shape': (4,), }",
    "{'descr': '<f8', 'fortran_order': False, 'shape': (-3,), }",
    "{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999999999999,), }",
    "{'descr': '<f8', 'fortran_order': False, 'shape': 3, }",
    "{'descr': '<f8', 'shape': (3,), }",
    "{'descr': '<f8', 'fortran_order': False, 'shape': (3,), 'more': 1}",
    "{'descr': 'evil', 'fortran_order': False, 'shape': (3,), }",
    "{'descr': ('<f8', {'names': 1}), 'fortran_order': False, 'shape': (3,), }",
    "{'descr': [('a', '<f4'), ('a', '<f4')], 'fortran_order': False, 'shape': (3,), }",
    "{'descr': [('a', '|V999999999')], 'fortran_order': False, 'shape': (3,), }",
    "{'descr': '|S0', 'fortran_order': False, 'shape': (4611686018427387903,), }",
    "__import__('os').system('touch HARMED')",
    "[" * 5000,
    "{'descr': '<f8'",
    "",
]


@pytest.mark.parametrize("header", HEADERS)
def test_headers_that_lie(read: Read, header: str) -> None:
    data = b"\x93NUMPY\x01\0" + len(header).to_bytes(2, "little") + header.encode() + b"\0" * 24
    with pytest.raises(InvalidRecord):
        read(data)


def test_archives_that_lie(read: Read) -> None:
    def archive(*entries: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", method) as file:
            for name, data in entries:
                file.writestr(name, data)
        return buffer.getvalue()

    with pytest.raises(InvalidRecord, match="unpack it"):
        read(archive(("a.txt", b"hello")))
    with pytest.raises(InvalidRecord, match="unpack it"):
        read(archive())
    for method in (zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        with pytest.raises(InvalidRecord, match="max_expansion"):
            read(archive(("a.npy", b"\0" * 2**26), method=method))
    good = archive(("a.npy", _npy(np.arange(500.0))))
    for end in range(0, len(good), 97):
        with pytest.raises(InvalidRecord):
            read(good[:end])
    with pytest.warns(UserWarning, match="Duplicate"), pytest.raises(InvalidRecord, match="twice"):
        read(archive(("a.npy", _npy(np.arange(3))), ("a.npy", _npy(np.arange(4)))))


def test_a_small_budget_counts_what_is_inside(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", a=np.zeros(2**18))
    with Reader(Limits(max_bytes=2**20)) as small, pytest.raises(InvalidRecord, match="Limits.max_bytes"):
        small.read(tmp_path / "a.npz")
