"""Long ranges, stretch by stretch, in both directions: as a sorted dictionary has them."""

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from perdure_lancedb import _items
from perdure_lancedb._entries import Fence, State
from perdure_lancedb._items import Interfered, Items, fold, forget, shrink
from perdure_lancedb._local import LocalObjects
from perdure_lancedb._store import Store


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stretches of few items, conditions of few keys, and few fragments."""
    monkeypatch.setattr(_items, "_ITEMS", 4)
    monkeypatch.setattr(_items, "_BYTES", 60)
    monkeypatch.setattr(_items, "_LISTED", 3)
    monkeypatch.setattr(_items, "_FRAGMENTS", 3)


def engine(path: Path) -> Store:
    return Store(LocalObjects(path, create=True), 1_000_000, read_only=False)


def walk(store: Any, start: bytes, end: bytes, *, reverse: bool) -> list[tuple[bytes, bytes]]:
    """A range page by page, as `LanceStorage.range` does it."""
    found: list[tuple[bytes, bytes]] = []
    while start < end:
        page, rest = store.page(start, end, reverse)
        found += page
        if reverse:
            if rest <= start:
                break
            end = rest
        else:
            assert rest > start
            start = rest
    return found


KEYS = st.binary(max_size=3).map(lambda tail: b"m\0k" + tail)
SMALL = st.binary(max_size=20)
ACTS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.lists(st.tuples(KEYS, SMALL), max_size=12)),
        st.tuples(st.just("delete"), st.lists(KEYS, max_size=5)),
        st.tuples(st.sampled_from(["fold", "shrink", "other", "open"]), st.none()),
    ),
    max_size=14,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(acts=ACTS, ends=st.lists(KEYS, max_size=4), numbers=st.randoms(use_true_random=False))
def test_ranges_are_those_of_a_sorted_dictionary(acts, ends, numbers):
    """What is put, deleted, put again and folded, by two processes in turn."""
    with tempfile.TemporaryDirectory() as folder:
        one, two = engine(Path(folder)), engine(Path(folder))
        model: dict[bytes, bytes] = {}
        for act, what in [*acts, ("fold", None), *acts[:4]]:
            if act == "put":
                fresh = {k: v for k, v in dict(what).items() if k not in model}
                assert one.put(list(dict(what).items())) == len(fresh)
                one.delete([])
                model |= fresh
            elif act == "delete":
                one.delete(what)
                for k in what:
                    model.pop(k, None)
            elif act == "other":
                one, two = two, one
                one.catch_up()
            elif act == "open":
                one = engine(Path(folder))
                one.catch_up()
            else:
                getattr(one, act)()
            start, end = sorted(numbers.sample([*ends, *model, b"m\0k", b"m\0l"], 2))
            for reverse in (False, True):
                expected = sorted(((k, v) for k, v in model.items() if start <= k < end), reverse=reverse)
                assert walk(one, start, end, reverse=reverse) == expected
        asked = [*ends, *model]
        for store in (one, two):
            store.catch_up()
            assert store.get_many(asked) == [model.get(k) for k in asked]
            assert walk(store, b"", b"\xff", reverse=False) == sorted(model.items())
            assert walk(store, b"", b"\xff", reverse=True) == sorted(model.items(), reverse=True)


def test_ranges_that_begin_and_end_at_fences(tmp_path):
    store = engine(tmp_path)
    items = [(b"m\0k%02d" % i, b"%d" % i) for i in range(30)]
    store.put(items)
    store.fold()
    store.put([])
    store.delete([])
    store.fold()
    fences = [fence.key for fence in store._state.fences]
    assert len(fences) > 5
    assert fences[0] in (b"m\0k00", b"")
    edges = [edge for key in fences for edge in (key, key + b"\0", key[:-1])]
    for start in edges:
        for end in edges:
            expected = [item for item in items if start <= item[0] < end]
            assert walk(store, start, end, reverse=False) == expected
            assert walk(store, start, end, reverse=True) == expected[::-1]


def test_stretches_are_as_long_as_they_may_be(tmp_path):
    store = engine(tmp_path)
    for i in range(40):
        store.put([(b"m\0k%04d" % (i * 7919 % 10_000), bytes(i))])
        if i % 5 == 0:
            store.delete([])
            store.fold()
    store.delete([])
    store.fold()
    for start, end in zip(store._state.fences, [*store._state.fences[1:], Fence(b"\xff", 0, 0)], strict=True):
        found = Items(store._objects.table("items"), store._state).page(start.key, end.key, False)[0]
        assert len(found) == start.items <= _items._ITEMS
        assert sum(len(value) for _, value in found) == start.size <= max(_items._BYTES, 40)
    store.delete([b"m\0k%04d" % (i * 7919 % 10_000) for i in range(40)])
    store.shrink()
    assert store._state.fences == []
    assert walk(store, b"", b"\xff", reverse=True) == []


@pytest.mark.parametrize("size", [0, 1, 3_000_000])
def test_values_of_any_size(tmp_path, size):
    store = engine(tmp_path)
    items = [(b"m\0k" + bytes([i]), bytes([i]) * size) for i in range(4)]
    store.put(items)
    store.fold()
    assert walk(store, b"", b"\xff", reverse=False) == items  # those that wait are still here
    store.delete([])
    store.fold()
    new = engine(tmp_path)
    assert walk(new, b"", b"\xff", reverse=True) == items[::-1]
    assert new.get_many([key for key, _ in items]) == [value for _, value in items]


def test_keys_of_any_bytes(tmp_path):
    keys = sorted(
        b"m\0k" + tail for tail in (b"", b"\0", b"'", b"''", b"\xff" * 1_200, b"\x80x", b"--", b"\\")
    )
    place = LocalObjects(tmp_path, create=True).table("items")
    version, fences = fold(place, State(), [(key, key) for key in keys], [])
    items = Items(place, State(version, fences=fences))
    assert items.get_many(keys) == {key: key for key in keys}
    assert items.present([*keys, b"m\0k?"]) == set(keys)
    version, fences = fold(place, State(version, fences=fences), [], [keys[2], b"m\0k?"])
    assert Items(place, State(version)).present(keys) == set(keys) - {keys[2]}


def test_versions_that_count_and_later_ones_are_kept(tmp_path):
    place = LocalObjects(tmp_path, create=True).table("items")
    state, made = State(), []
    for i in range(4):
        version, fences = fold(place, state, [(b"m\0k%d" % i, b"")], [])
        state = State(version, fences=fences)
        made.append(version)
    forget(place, {made[0], made[2]})
    assert made[3] < fold(place, state, [(b"m\0k5", b"")], [])[0]
    forget(place, {made[0], made[2]})  # a third process is folding by now
    for i in (0, 2, 3):
        assert len(Items(place, State(made[i])).present([b"m\0k%d" % n for n in range(4)])) == i + 1
    with pytest.raises(ValueError, match="not found"):
        Items(place, State(made[1]))


def test_a_stale_fold_leaves_the_newer_one_as_it_is(tmp_path):
    place = LocalObjects(tmp_path, create=True).table("items")
    old = State(*_version(fold(place, State(), [(b"m\0k1", b"1")], [])))
    new = State(*_version(fold(place, old, [(b"m\0k2", b"2")], [])))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_items._Steps, "__init__", _begun)
        with pytest.raises(Interfered):
            fold(place, old, [(b"m\0k3", b"3")], [])
    assert Items(place, new).present([b"m\0k1", b"m\0k2", b"m\0k3"]) == {b"m\0k1", b"m\0k2"}
    version, _ = shrink(place, new)
    assert Items(place, State(version)).present([b"m\0k1", b"m\0k2", b"m\0k3"]) == {b"m\0k1", b"m\0k2"}


def _version(folded: tuple[int, list[Fence]]) -> tuple[int]:
    return (folded[0],)


def _begun(steps: Any, place: _items.Place, version: int) -> None:
    """As one that looked at the table before the other had changed it."""
    steps._uri, steps._options = place
    steps.version = version
