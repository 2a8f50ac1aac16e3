"""A maintenance that is alive is waited for or refused; one whose process died is taken over."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from perdure import (
    Busy,
    Chunk,
    CompactRequest,
    Context,
    InvalidInput,
    NotFound,
    Put,
    Support,
    Unsupported,
    uuid7,
)
from perdure.kit import KitBackend, Storage, chunk_digest
from perdure.kit._alive import BEAT

CTX = Context()
LEASELESS = CompactRequest(lease=0)

HOLDER = """
import sys
from pathlib import Path

sys.path.insert(0, {folder!r})
from file_engine import FileStorage
from perdure import Context
from perdure.kit import KitBackend

backend = KitBackend(FileStorage(Path({store!r})), "ns")
hidden = [backend._keys.group("memories", (key,)) for key in {hidden!r}]
with backend._upkeep.maintenance(Context(), hidden):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def held_by_a_process(store: Path, *hidden: str) -> Iterator[Callable[[], None]]:
    """A process that holds the maintenance; yields what kills it."""
    script = HOLDER.format(folder=str(Path(__file__).parent), store=str(store), hidden=hidden)
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )

    def kill() -> None:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()

    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield kill
        finally:
            process.kill()


@pytest.fixture
def shared(tmp_path: Path, files: Any, driver: Any, row: Any) -> Any:
    store = driver(files.FileStorage(tmp_path / "store"))
    for text in "xy":
        store.commit(Put("memories", [row("memories", key, text=text) for key in "ab"]))
    return store


def test_a_live_process_is_not_disturbed_and_a_dead_one_taken_over(shared: Any, tmp_path: Path) -> None:
    with held_by_a_process(tmp_path / "store") as kill:
        with pytest.raises(Busy, match="under way"):
            shared.hook.compact(CTX, LEASELESS)
        kill()
        assert shared.hook.compact(CTX, LEASELESS).versions == 2
    assert shared.hook._heads.load().head.maintenance is None
    assert shared.storage.get(shared.hook._keys.pulse) is None
    assert shared.hook.verify(CTX).ok


def test_a_row_can_be_written_though_its_purge_died(shared: Any, tmp_path: Path, row: Any) -> None:
    with held_by_a_process(tmp_path / "store", "a") as kill:
        kill()
    assert shared.ids() == ["b"]
    shared.commit(Put("memories", [row("memories", "a", text="again")]))
    assert shared.ids() == ["a", "b"]
    assert shared.hook.stats(CTX, shared.at("main")).versions["memories"] == 3
    assert shared.hook.verify(CTX).ok


def test_an_ingest_ends_a_purge_that_died(shared: Any, tmp_path: Path) -> None:
    with held_by_a_process(tmp_path / "store", "a") as kill:
        kill()
    shared.hook.ingest(CTX, [])
    assert shared.hook._heads.load().head.maintenance is None
    assert shared.hook.stats(CTX, shared.at("main")).versions["memories"] == 2
    assert shared.hook.verify(CTX).ok


def test_one_that_ends_while_it_is_watched_lets_the_next_go_on(dict_store: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("perdure.kit._alive.BEAT", 60)
    looked = threading.Event()
    get = dict_store.storage.get
    done: list[object] = []

    def seen(key: bytes) -> bytes | None:
        if key == dict_store.hook._keys.pulse:
            looked.set()
        return get(key)  # type: ignore[no-any-return]

    other = threading.Thread(target=lambda: done.append(dict_store.hook.compact(CTX, LEASELESS)))
    with dict_store.hook._upkeep.maintenance(CTX):
        dict_store.storage.get = seen
        other.start()
        assert looked.wait(60)
    other.join(60)
    assert done


def test_a_deadline_ends_the_watching(dict_store: Any) -> None:
    with dict_store.hook._upkeep.maintenance(CTX), pytest.raises(Busy):
        dict_store.hook.compact(Context(deadline=time.monotonic()), LEASELESS)


def test_only_a_long_one_beats_and_it_leaves_nothing(dict_store: Any) -> None:
    key, written = dict_store.hook._keys.pulse, []
    dict_store.storage.fail = lambda name, at: written.append(at)
    with dict_store.hook._upkeep.maintenance(CTX):
        while written.count(key) < 2:
            time.sleep(BEAT / 10)
    assert dict_store.storage.get(key) is None


class Asleep:
    """A holder that was taken for dead: another maintenance took over, and ended."""

    def __init__(self, store: Any, monkeypatch: Any) -> None:
        monkeypatch.setattr("perdure.kit._alive.BEAT", 60)
        monkeypatch.setattr("perdure.kit._alive.LOOKS", 0)
        self.upkeep = store.hook._upkeep
        self.block = self.upkeep.maintenance(CTX)
        self.mine = self.block.__enter__()
        store.hook.compact(CTX, LEASELESS)


def test_one_that_wakes_up_neither_moves_the_head_nor_deletes(
    dict_store: Any, monkeypatch: Any, row: Any
) -> None:
    dict_store.commit(Put("memories", [row("memories", "a")]))
    zombie = Asleep(dict_store, monkeypatch)
    keys = list(dict_store.storage.data)
    with pytest.raises(Busy):
        zombie.upkeep.advance(CTX, zombie.mine, lambda state: state.head)
    with pytest.raises(Busy):
        zombie.upkeep.delete(zombie.mine, keys)
    with dict_store.hook._upkeep.maintenance(CTX) as other:
        zombie.block.__exit__(None, None, None)
        assert dict_store.hook._heads.load().head.maintenance == other
    assert dict_store.ids() == ["a"]
    assert dict_store.hook.verify(CTX).ok


def test_nothing_that_one_may_still_delete_is_referred_to_again(
    dict_store: Any, monkeypatch: Any, row: Any
) -> None:
    """It wakes up between its look at the head and its deletion, by when a clock that is behind has written."""
    data = b"piece" * 100
    piece = Chunk(chunk_digest(data), data)
    dict_store.commit(chunks=(piece,), force=True)  # nothing refers to it
    (doomed,) = (key for key in dict_store.storage.data if key.startswith(b"ns\0b"))
    Asleep(dict_store, monkeypatch)
    dict_store.storage.put_if_absent(doomed, data)
    monkeypatch.setattr("perdure.kit._writing.now_us", lambda: 1)
    state = row("states", ("o", "s"), payload=f"{len(data)}:{piece.digest}")
    dict_store.commit(Put("states", [state]), chunks=(piece,))
    assert doomed in dict_store.storage.data
    dict_store.storage.delete(doomed)
    dict_store.hook.compact(CTX, LEASELESS)
    assert b"".join(dict_store.hook.read_chunks(CTX, [piece.digest])) == data
    assert dict_store.hook.verify(CTX).ok


@pytest.mark.parametrize("work", ["compact", "purge"])
def test_much_is_deleted_in_batches_and_compaction_ends_with_reclaim(
    dict_store: Any, row: Any, work: str
) -> None:
    calls: list[int] = []

    def delete_many(keys: list[bytes]) -> None:
        calls.append(len(keys))
        Storage.delete_many(dict_store.storage, keys)

    dict_store.storage.delete_many = delete_many
    dict_store.storage.reclaim = lambda: calls.append(0)
    for number in range(300):
        dict_store.commit(Put("memories", [row("memories", "a", tier=number)]), id=uuid7())
    if work == "purge":
        dict_store.hook.purge(CTX, "memories", [("a",)])
        assert 0 not in calls
    else:
        dict_store.hook.compact(CTX, LEASELESS)
        assert calls.pop() == 0
    assert max(calls) == 256
    assert dict_store.hook.verify(CTX).ok


def test_what_is_not_declared_is_refused(dict_storage: Any, driver: Any, row: Any) -> None:

    storage = dict_storage()
    driver(storage, "other")
    backend = KitBackend(storage, "ns", capabilities={"compact": Support.MISSING})
    for call in (
        lambda: backend.compact(CTX, LEASELESS),
        lambda: backend.purge(CTX, "memories", [("a",)]),
        lambda: backend.list_namespaces(CTX),
        lambda: backend.drop_namespace(CTX, "other"),
        lambda: KitBackend(storage, "ns", mode="r", capabilities={}),
    ):
        with pytest.raises(Unsupported):
            call()
    everything = dict.fromkeys(("compact", "purge", "read_only", "namespaces"), Support.FULL)
    assert KitBackend(storage, "ns", mode="r", capabilities=everything).list_namespaces(CTX) == [
        "ns",
        "other",
    ]


def test_a_backend_that_cannot_be_made_closes_its_storage(dict_storage: Any) -> None:

    for mode, error in (("r", NotFound), ("x", InvalidInput)):
        storage, closed = dict_storage(), []
        storage.close = lambda closed=closed: closed.append(True)
        with pytest.raises(error):
            KitBackend(storage, "ns", mode=mode)
        assert closed == [True]
