"""Ranges read in pages, and long keys over a storage that takes only short ones."""

from __future__ import annotations

from typing import Any

import pytest
from perdure import Context, Put
from perdure.kit import ShortKeys, paged

LIMIT = 60  # so that a head has 28 bytes

HEADS = [b"a", b"a" * 27, b"a" * 28, b"a" * 29, b"a" * 90, b"b" * 28 + b"\0"]
KEYS = sorted({head + tail for head in HEADS for tail in (b"", b"\0", b"\xff", b"xy", bytes(range(40)))})


@pytest.mark.parametrize("reverse", [False, True])
def test_long_keys_keep_their_order(dict_storage: Any, reverse: bool) -> None:
    below = dict_storage()
    storage = ShortKeys(below, LIMIT)
    assert storage.put_many([(key, b"of " + key) for key in reversed(KEYS)]) == len(KEYS)
    assert max(map(len, below.data)) == LIMIT
    assert storage.get_many([*KEYS, b"no"]) == [*(b"of " + key for key in KEYS), None]
    bounds = [b"", *KEYS, b"c"]
    for low, start in enumerate(bounds):
        for end in bounds[low:]:
            expected = [key for key in KEYS if start <= key < end]
            found = list(storage.range(start, end, reverse))
            assert [key for key, _ in found] == (expected[::-1] if reverse else expected)
            assert all(value == b"of " + key for key, value in found)


def test_long_keys_are_changed_and_deleted(dict_storage: Any) -> None:
    storage, key, other = ShortKeys(dict_storage(), LIMIT), b"a" * 90 + b"1", b"a" * 90 + b"2"
    assert storage.put_if_absent(key, b"1")
    assert not storage.put_if_absent(key, b"2")
    assert storage.put_if_absent(other, b"2")
    assert not storage.compare_and_swap(key, None, b"3")
    assert storage.compare_and_swap(key, b"1", b"3")
    storage.delete(other)
    assert list(storage.range(b"", b"b")) == [(key, b"3")]
    storage.delete_many([key, other])
    assert storage.get(key) is None


def test_a_backend_over_short_keys(dict_storage: Any, driver: Any, row: Any) -> None:
    store = driver(ShortKeys(dict_storage(), LIMIT))
    keys = ["k" * length for length in (1, 20, 30, 31, 500)]
    for text in "xy":
        store.commit(Put("memories", [row("memories", key, text=text) for key in keys]))
    assert store.ids() == keys
    assert {held[6] for held in store.contents().values()} == {"y"}
    assert store.hook.verify(Context()).ok


def test_a_storage_is_asked_for_the_newest_head_once_by_each_read(
    dict_storage: Any, driver: Any, row: Any
) -> None:
    class Remote(dict_storage):  # type: ignore[misc]
        looks = 0

        def get(self, key: bytes) -> bytes | None:
            self.looks += 1
            return super().get(key)

        def get_again(self, key: bytes) -> bytes | None:
            return super().get(key)

    below = Remote()
    store = driver(ShortKeys(below, LIMIT))
    store.commit(Put("memories", [row("memories", "m1")]))
    assert ShortKeys(below, LIMIT).get_again(b"no") is None
    before = below.looks
    assert [found[0] for found in store.fetch("memories", ("m1",))] == ["m1"]
    assert below.looks == before + 1


@pytest.mark.parametrize("size", [1, 2, 100])
@pytest.mark.parametrize("reverse", [False, True])
def test_pages_are_put_together(dict_storage: Any, size: int, reverse: bool) -> None:
    storage = dict_storage()
    storage.put_many([(key, b"") for key in KEYS])

    def read(start: bytes, end: bytes, reverse: bool) -> list[tuple[bytes, bytes]]:
        return list(storage.range(start, end, reverse))[:size]

    for start, end in ((b"", b"c"), (KEYS[3], KEYS[-2]), (b"x", b"z"), (KEYS[0], KEYS[0])):
        assert list(paged(read, start, end, reverse)) == list(storage.range(start, end, reverse))
