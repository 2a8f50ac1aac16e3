"""A store as a process sees it: what waits, what is logged, and what is damaged or gone."""

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterable
from pathlib import Path

import lance
import msgspec
import perdure
import pytest
from perdure import CorruptStore, IncompatibleStore, Memory, PermissionDenied, StorageError
from perdure_lancedb._entries import FORMAT, Base, Entry, pack, unpack
from perdure_lancedb._local import LocalObjects
from perdure_lancedb._store import Store
from perdure_lancedb._tables import Tables

CHILDREN = Path(__file__).with_name("children.py")
HEAD = b"main\0h"


def engine(path: Path, fold: int = 1_000_000, *, read_only: bool = False) -> Store:
    store = Store(LocalObjects(path, create=not read_only), fold, read_only=read_only)
    store.catch_up()
    return store


def key(name: str) -> bytes:
    return b"main\0k" + name.encode()


def names(path: Path, folder: str) -> list[str]:
    return LocalObjects(path, create=False).names(folder)


# ------------------------------------------------------------------------------------------------- writing


def test_what_is_put_waits_for_the_next_change_and_goes_with_it(tmp_path):
    store, other = engine(tmp_path), engine(tmp_path)
    assert store.put([(key("a"), b"1"), (key("b"), b"2")]) == 2
    assert store.get_many([key("b"), key("c"), key("a")]) == [b"2", None, b"1"]
    assert names(tmp_path, "log") == []
    assert store.swap(HEAD, None, b"head")
    assert names(tmp_path, "log") == ["0000000000000001"]
    other.catch_up()
    assert other.get_many([HEAD, key("a"), key("b")]) == [b"head", b"1", b"2"]
    assert store.swap(HEAD, b"head", b"next")
    second = LocalObjects(tmp_path, create=False).read("log/0000000000000002")
    assert unpack(second, Entry, "log").puts == [(HEAD, b"next")]  # what was logged waits no more


def test_a_key_that_is_there_is_not_put_again(tmp_path):
    store = engine(tmp_path)
    assert store.put([(key("a"), b"1")]) == 1
    assert store.put([(key("a"), b"2"), (key("b"), b"2")]) == 1
    store.delete([])
    store.fold()
    for each in (store, engine(tmp_path)):
        assert each.put([(key("a"), b"3"), (key("b"), b"3")]) == 0
        assert each.get_many([key("a"), key("b")]) == [b"1", b"2"]


def test_a_key_that_was_deleted_may_be_put_again(tmp_path):
    store = engine(tmp_path)
    for value in (b"1", b"2", b"3"):
        assert store.put([(key("a"), value)]) == 1
        store.delete([])
        store.fold()
        assert engine(tmp_path).get(key("a")) == value
        store.delete([key("a")])
        assert store.get(key("a")) is None
    store.fold()
    assert engine(tmp_path).get(key("a")) is None


def test_a_value_that_is_replaced_is_in_the_table_once(tmp_path):
    """LanceDB would have both."""
    store, old = engine(tmp_path), None
    for value in (b"3", b"1", b"2"):
        assert store.swap(key("count"), old, value)
        store.fold()
        old = value
        assert engine(tmp_path).page(b"main", b"main\1", False)[0] == [(key("count"), value)]
        (name,) = store.now.state.tables
        assert lance.dataset(f"{tmp_path}/tables/{name}.lance").count_rows() == 1


def test_what_waits_and_is_deleted_is_never_logged(tmp_path):
    store = engine(tmp_path)
    store.put([(key("secret"), b"secret"), (key("b"), b"2")])
    store.delete([key("secret")])
    entry = LocalObjects(tmp_path, create=False).read("log/0000000000000001")
    assert b"secret" not in dict(unpack(entry, Entry, "log").puts).values()
    assert engine(tmp_path).get_many([key("secret"), key("b")]) == [None, b"2"]


def test_many_bytes_do_not_wait(tmp_path):
    store = engine(tmp_path)
    for i in range(5):
        store.put([(key(str(i)), bytes(1_000_000))])
    assert names(tmp_path, "log") == ["0000000000000001"]
    assert engine(tmp_path).get(key("3")) == bytes(1_000_000)


def test_a_swap_is_done_for_one_of_two(tmp_path):
    one, two = engine(tmp_path), engine(tmp_path)
    assert one.swap(HEAD, None, b"one")
    assert not two.swap(HEAD, None, b"two")
    assert two.swap(HEAD, b"one", b"two")
    assert not one.swap(HEAD, b"one", b"three")
    one.fold()
    assert not two.swap(HEAD, b"one", b"four")
    assert two.get(HEAD) == one.get(HEAD) == engine(tmp_path).get(HEAD) == b"two"


def test_a_fold_keeps_what_waits_and_what_cells_hold(tmp_path):
    store = engine(tmp_path)
    store.swap(HEAD, None, b"head")
    store.put([(key("a"), b"1")])
    store.fold()
    store.fold()
    assert (store.get(HEAD), store.get(key("a"))) == (b"head", b"1")
    assert (engine(tmp_path).get(HEAD), engine(tmp_path).get(key("a"))) == (b"head", None)
    store.swap(HEAD, b"head", b"next")
    assert (engine(tmp_path).get(HEAD), engine(tmp_path).get(key("a"))) == (b"next", b"1")


def test_many_items_are_folded_by_the_change_that_makes_them_many(tmp_path):
    store = engine(tmp_path, 10)
    for i in range(35):
        store.put([(key(f"{i:02d}"), b"")])
        store.delete([])
    assert names(tmp_path, "base") == [f"{i:016d}" for i in (1, 2, 3)]
    assert names(tmp_path, "log") == [f"{i:016d}" for i in range(31, 36)]
    assert len(names(tmp_path, "state")) == 1
    assert names(tmp_path, "fold") == []


def test_a_thread_reads_while_another_folds(tmp_path, monkeypatch):
    """The files of the table that it has looked up are gone before it reads them, and the base has moved."""
    store = engine(tmp_path)
    keys = [key(f"{i:03d}") for i in range(200)]
    store.put([(k, k) for k in keys])
    store.delete([])
    store.fold()
    read, waits = Tables.get_many, True

    def fold() -> None:
        for _ in range(2):
            store.delete([keys[7]])
            store.shrink()

    def late(tables: Tables, wanted: Iterable[bytes]) -> dict[bytes, bytes]:
        nonlocal waits
        if waits:
            waits = False
            thread = threading.Thread(target=fold)
            thread.start()
            thread.join()
        return read(tables, wanted)

    monkeypatch.setattr(Tables, "get_many", late)
    assert store.get_many(keys) == [None if k == keys[7] else k for k in keys]
    assert not waits


def test_compaction_of_what_was_emptied(tmp_path):
    store = engine(tmp_path)
    store.shrink()
    store.put([(key("a"), b"1")])
    store.delete([])
    store.shrink()
    store.delete([key("a")])
    for _ in range(3):
        store.shrink()
    assert store.page(b"", b"\xff", False)[0] == []
    store.put([(key("a"), b"2")])
    store.delete([])
    store.shrink()
    assert engine(tmp_path).get(key("a")) == b"2"


def test_a_read_only_store_follows_and_does_not_write(tmp_path):
    writer = engine(tmp_path, 3)
    writer.swap(HEAD, None, b"0")
    reader = engine(tmp_path, 3, read_only=True)
    for i in range(10):
        writer.put([(key(str(i)), b"")])
        writer.swap(HEAD, b"%d" % i, b"%d" % (i + 1))
        reader.catch_up()
        assert (reader.get(HEAD), reader.get(key(str(i)))) == (b"%d" % (i + 1), b"")
    with pytest.raises(PermissionDenied, match="mode='rw'"):
        reader.swap(HEAD, b"10", b"11")
    with pytest.raises(PermissionDenied):
        reader.delete([key("1")])


def test_a_forked_process_is_told_what_to_do(tmp_path):
    """At once, even where another thread was in the middle of something when the process was forked."""
    command = [sys.executable, str(CHILDREN), "fork", f"lancedb:///{tmp_path}/s?fold=5"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=120, check=True)
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(told) == 4
    assert all(kind == "Unavailable" and "spawn" in text for kind, text in told)


# -------------------------------------------------------------------------------------------------- damage


@pytest.fixture
def written(tmp_path) -> Path:
    """A store with a base, its state, a table, and two entries of the log."""
    with perdure.open(f"lancedb:///{tmp_path}/s?fold=30") as store:
        for i in range(14):
            store.memories.put(Memory(id=f"m{i}", text="text"))
    path = tmp_path / "s"
    assert names(path, "base")
    assert len(names(path, "log")) > 1
    return path


@pytest.mark.parametrize("folder", ["log", "base", "state"])
@pytest.mark.parametrize("part", [0.0, 0.3, 0.6, 0.99])
def test_a_flipped_byte_is_named(written, folder, part):
    name = f"{folder}/{names(written, folder)[-1]}"
    data = bytearray((written / name).read_bytes())
    data[int(len(data) * part)] ^= 0x10
    (written / name).write_bytes(data)
    with pytest.raises(CorruptStore, match=f"{name} is damaged.*backup"):
        perdure.open(f"lancedb:///{written}")
    assert (written / name).read_bytes() == bytes(data)


def test_a_flipped_byte_is_noticed_by_who_has_the_store_open(written):
    with (
        perdure.open(f"lancedb:///{written}?fold=999") as other,
        perdure.open(f"lancedb:///{written}") as store,
    ):
        assert len(list(store.memories.scan())) == 14
        other.memories.put(Memory(id="more"))
        last = written / "log" / names(written, "log")[-1]
        data = bytearray(last.read_bytes())
        data[-1] ^= 1
        last.write_bytes(data)
        with pytest.raises(CorruptStore, match=f"log/{last.name} is damaged"):
            store.memories.get("more")
        with pytest.raises(CorruptStore):
            store.memories.put(Memory(id="again"))


def test_a_state_that_is_missing_is_named(written):
    (state,) = names(written, "state")
    (written / "state" / state).unlink()
    with pytest.raises(CorruptStore, match=f"state/{state} is missing.*backup"):
        perdure.open(f"lancedb:///{written}")


def test_a_table_that_is_missing_is_told(written):
    shutil.rmtree(written / "tables")
    with perdure.open(f"lancedb:///{written}") as store, pytest.raises((CorruptStore, StorageError)):
        list(store.memories.scan())


def test_a_base_of_a_later_format_is_refused(written):
    name = f"base/{names(written, 'base')[-1]}"
    base = unpack((written / name).read_bytes(), Base, name)
    (written / name).write_bytes(pack(msgspec.structs.replace(base, format=FORMAT + 1)))
    for mode in ("r", "rw"):
        with pytest.raises(IncompatibleStore, match=f"format {FORMAT + 1}"):
            perdure.open(f"lancedb:///{written}", mode=mode)


def test_a_directory_that_vanished_takes_no_commit(written):
    with perdure.open(f"lancedb:///{written}") as store:
        store.memories.put(Memory(id="more"))
        shutil.rmtree(written)
        with pytest.raises(StorageError, match="was removed"):
            store.memories.put(Memory(id="lost"))
        assert not written.exists()
    with perdure.open(f"lancedb:///{written}") as store:
        assert list(store.memories.scan()) == []
