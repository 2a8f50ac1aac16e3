"""`MemoryStorage` against a plain dict."""

from __future__ import annotations

import random
import threading

from perdure_memory import MemoryStorage


def test_it_is_an_ordered_map() -> None:
    dice = random.Random(3)
    storage, model = MemoryStorage(), dict[bytes, bytes]()

    def key() -> bytes:
        return dice.randrange(20_000).to_bytes(2, "big")

    for step in range(30_000):
        at = key()
        if dice.random() < 0.7:
            assert storage.put_if_absent(at, b"%d" % step) is (at not in model)
            model.setdefault(at, b"%d" % step)
        else:
            storage.delete(at)
            model.pop(at, None)
        assert storage.get(at) == model.get(at)
        if step % 1_000 == 0:
            start, end = key(), key()
            found = [(k, model[k]) for k in sorted(model) if start <= k < end]
            assert list(storage.range(start, end)) == found
            assert list(storage.range(start, end, reverse=True)) == found[::-1]
    assert list(storage.range(b"", b"\xff\xff\xff")) == sorted(model.items())
    for at in list(model):
        storage.delete(at)
    assert list(storage.range(b"", b"\xff\xff\xff")) == []
    assert list(storage.range(b"", b"\xff\xff\xff", reverse=True)) == []


def test_a_range_goes_on_while_others_write() -> None:
    storage = MemoryStorage()
    kept = [b"%05d" % number for number in range(0, 5_000, 2)]
    assert storage.put_many([(key, b"") for key in kept]) == len(kept)
    for reverse in (False, True):
        seen = []
        for key, _ in storage.range(b"", b"a", reverse):
            seen.append(key)
            storage.put_if_absent(key + b"x", b"")
            storage.delete(key + b"x")
        assert seen == (kept[::-1] if reverse else kept)


def test_one_of_many_swaps_wins() -> None:
    storage, wins = MemoryStorage(), list[int]()
    threads = [
        threading.Thread(
            target=lambda n=n: wins.append(n) if storage.compare_and_swap(b"h", None, b"%d" % n) else None
        )
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(wins) == 1
    assert storage.get(b"h") == b"%d" % wins[0]
    assert not storage.compare_and_swap(b"h", b"other", b"x")
    assert list(storage.range(b"", b"z")) == [(b"h", b"%d" % wins[0])]
