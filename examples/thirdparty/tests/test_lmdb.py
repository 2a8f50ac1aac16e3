import os
import subprocess
import sys
from pathlib import Path

import lmdb
import perdure
import pytest
from perdure import F, IncompatibleStore, InvalidURL, Memory, NotFound, StorageError, Unsupported
from perdure.kit import ShortKeys
from perdure_lmdb import _environment, _storage, plugin
from perdure_lmdb._environment import acquire
from perdure_lmdb._storage import KEY, LmdbStorage

WRITER = """
import sys, perdure
with perdure.open(sys.argv[1]) as store:
    for number in range(20):
        store.memories.put(perdure.Memory(id=f"{sys.argv[2]}{number}", kind=sys.argv[2]))
"""


def test_two_processes_write_while_a_third_has_it_open(tmp_path: Path) -> None:
    url = f"lmdb:///{tmp_path}/store"
    with perdure.open(url) as store:
        writers = [subprocess.Popen([sys.executable, "-c", WRITER, url, name]) for name in "ab"]
        assert [writer.wait(60) for writer in writers] == [0, 0]
        assert [store.memories.count(F.kind == name) for name in "ab"] == [20, 20]


def test_what_is_closed_is_there_when_it_is_opened_again(tmp_path: Path) -> None:
    url = f"lmdb:///{tmp_path}/a/b/store"
    with perdure.open(url) as store, perdure.open(url, namespace="other") as other:
        store.memories.put(Memory(id="m1", text="x"))
        other.close()
        store.branch("lab").memories.update("m1", text="y")
    with perdure.open(url, mode="r") as store:
        assert [memory.text for memory in store.memories.find()] == ["x"]
    with perdure.open(url, branch="lab") as lab:
        assert [memory.text for memory in lab.memories.find()] == ["y"]


def test_reading_creates_nothing(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        perdure.open(f"lmdb:///{tmp_path}/store", mode="r")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", [b"", b"notes", b"\0" * 8192], ids=["empty", "short", "zeros"])
def test_what_is_no_lmdb_file_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    data = tmp_path / "data.mdb"
    data.write_bytes(content)
    for mode in ("rw", "r"):
        with pytest.raises(IncompatibleStore):
            perdure.open(f"lmdb:///{tmp_path}", mode=mode)
    assert [path.name for path in tmp_path.iterdir()] == ["data.mdb"]
    assert data.read_bytes() == content


def test_an_lmdb_file_of_another_program_is_refused(tmp_path: Path) -> None:
    with lmdb.open(str(tmp_path)) as env, env.begin(write=True) as transaction:
        transaction.put(b"key", b"value")
    with pytest.raises(IncompatibleStore):
        perdure.open(f"lmdb:///{tmp_path}")
    with lmdb.open(str(tmp_path)) as env, env.begin() as transaction:
        assert list(transaction.cursor()) == [(b"key", b"value")]


def test_a_file_that_was_cut_short_is_refused(tmp_path: Path) -> None:
    url = f"lmdb:///{tmp_path}/store"
    with perdure.open(url) as store:
        for number in range(50):
            store.memories.put(Memory(id=f"m{number}"))
    data = tmp_path / "store" / "data.mdb"
    os.truncate(data, data.stat().st_size // 2)
    with pytest.raises(perdure.CorruptStore):
        perdure.open(url)


def test_a_full_map_is_a_storage_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_environment, "MAP_SIZE", 1 << 18)
    with perdure.open(f"lmdb:///{tmp_path}/store") as store:
        store.memories.put(Memory(id="m1"))
        with pytest.raises(StorageError, match="large"):
            store.memories.put(Memory(id="m2", text="x" * (1 << 20)))
        assert [memory.id for memory in store.memories.find()] == ["m1"]


@pytest.mark.parametrize("batch", [1, 4, 512])
def test_keys_that_share_a_long_prefix_keep_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    monkeypatch.setattr(_storage, "PAGE", batch)
    storage = ShortKeys(LmdbStorage(acquire(tmp_path, create=True)), KEY)
    heads = [b"a", b"a" * 478, b"a" * 479, b"a" * 480, b"a" * 600, b"a" * 1100, b"b" * 479 + b"\0"]
    keys = sorted({head + tail for head in heads for tail in (b"", b"\0", b"\xff", b"xy", bytes(range(80)))})
    assert storage.put_many([(key, b"value of " + key) for key in keys]) == len(keys)
    assert storage.put_many([(key, b"") for key in keys]) == 0
    assert storage.get_many([*keys, b"no"])[-1] is None
    for low in range(0, len(keys), 3):
        for high in range(low, len(keys), 4):
            expected = keys[low:high]
            assert [key for key, _ in storage.range(keys[low], keys[high])] == expected
            assert [key for key, _ in storage.range(keys[low], keys[high], reverse=True)] == expected[::-1]
    assert [value for _, value in storage.range(b"", b"c")] == storage.get_many(keys)
    long, value = keys[-1], storage.get(keys[-1])
    assert not storage.compare_and_swap(long, None, b"1")
    assert storage.compare_and_swap(long, value, b"2")
    storage.delete(long)
    assert storage.compare_and_swap(long, None, b"3")
    assert storage.get(long) == b"3"
    storage.close()
    storage.close()


def test_purge_is_refused(tmp_path: Path) -> None:
    with perdure.open(f"lmdb:///{tmp_path}/store") as store, pytest.raises(Unsupported):
        store.purge("memories", ["m1"])


@pytest.mark.parametrize("url", ["lmdb://host/dir", "lmdb:///", "lmdb:///dir?sync=0", "lmdb:///dir#part"])
def test_urls_that_cannot_be_read(url: str) -> None:
    with pytest.raises(InvalidURL):
        plugin.open(url, "default", "rw")
