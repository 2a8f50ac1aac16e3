"""Long ranges, stretch by stretch, in both directions: as a sorted dictionary has them."""

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from perdure import Space
from perdure.kit import CODES, encode_row
from perdure_lancedb import _folding, _sql, _steps, _tables
from perdure_lancedb._columns import kind_of
from perdure_lancedb._entries import Fence, State, Stored
from perdure_lancedb._folding import fold, shrink
from perdure_lancedb._local import LocalObjects
from perdure_lancedb._options import Indexing
from perdure_lancedb._steps import Interfered, Steps, forget
from perdure_lancedb._store import Store
from perdure_lancedb._tables import Tables


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stretches of few items, conditions of few keys, and few fragments."""
    for module in (_tables, _folding):
        monkeypatch.setattr(module, "NUMBER", 4)
        monkeypatch.setattr(module, "BYTES", 60)
    monkeypatch.setattr(_sql, "_LISTED", 3)
    monkeypatch.setattr(_steps, "_FRAGMENTS", 3)


def engine(path: Path) -> Store:
    return Store(LocalObjects(path, create=True), 1_000_000, read_only=False)


def only(store: Store) -> Stored:
    """The only table of a store."""
    (stored,) = store.now.state.tables.values()
    return stored


def folded(
    objects: LocalObjects, state: State, puts: list[tuple[bytes, bytes]], deletes: list[bytes]
) -> State:
    """What a fold makes of a state."""
    tables, pending = fold(objects, state, {}, puts, deletes, Known(), [], Indexing(0, "ivf_flat"))
    return State(tables=tables, pending=pending)


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
    fences = [fence.key for fence in only(store).fences]
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
    fences = only(store).fences
    for start, end in zip(fences, [*fences[1:], Fence(b"\xff", 0, 0)], strict=True):
        found = Tables(store.objects, store.now.state).page(start.key, end.key, False)[0]
        assert len(found) == start.items <= _tables.NUMBER
        assert sum(len(value) for _, value in found) == start.size <= max(_tables.BYTES, 40)
    store.delete([b"m\0k%04d" % (i * 7919 % 10_000) for i in range(40)])
    store.shrink()
    assert store.now.state.tables == {}
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
    objects = LocalObjects(tmp_path, create=True)
    state = folded(objects, State(), [(key, key) for key in keys], [])
    assert Tables(objects, state).get_many([*keys, b"m\0k?"]) == {key: key for key in keys}
    state = folded(objects, state, [], [keys[2], b"m\0k?"])
    assert Tables(objects, state).get_many(keys).keys() == set(keys) - {keys[2]}


def test_versions_that_count_and_later_ones_are_kept(tmp_path):
    objects = LocalObjects(tmp_path, create=True)
    states = [State()]
    for i in range(4):
        states.append(folded(objects, states[-1], [(b"m\0k%d" % i, b"")], []))
    (name,) = states[1].tables
    kept = {states[1].tables[name].version, states[3].tables[name].version}
    forget(objects.table(name), kept)
    later = folded(objects, states[4], [(b"m\0k5", b"")], [])
    assert states[4].tables[name].version < later.tables[name].version
    forget(objects.table(name), kept)  # a third process is folding by now
    for i in (1, 3, 4):
        assert len(Tables(objects, states[i]).get_many([b"m\0k%d" % n for n in range(4)])) == i
    with pytest.raises(ValueError, match="not found"):
        Tables(objects, states[2]).get_many([b"m\0k1"])


def test_a_stale_fold_leaves_the_newer_one_as_it_is(tmp_path):
    objects = LocalObjects(tmp_path, create=True)
    keys = [b"m\0k1", b"m\0k2", b"m\0k3"]
    old = folded(objects, State(), [(keys[0], b"1")], [])
    new = folded(objects, old, [(keys[1], b"2")], [])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Steps, "__init__", _begun)
        with pytest.raises(Interfered):
            folded(objects, old, [(keys[2], b"3")], [])
    assert set(Tables(objects, new).get_many(keys)) == {keys[0], keys[1]}
    (name,) = new.tables
    shrunk = State(tables={name: shrink(objects, name, replace(new.tables[name], deleted=True))})
    assert set(Tables(objects, shrunk).get_many(keys)) == {keys[0], keys[1]}


def test_a_table_in_which_nothing_was_deleted_is_not_rewritten(tmp_path):
    objects = LocalObjects(tmp_path, create=True)
    state = folded(objects, State(), [(b"m\0k1", b"1"), (b"m\0k2", b"2")], [])
    ((name, clean),) = state.tables.items()
    assert shrink(objects, name, clean) == clean
    dirty = folded(objects, state, [], [b"m\0k1"]).tables[name]
    shrunk = shrink(objects, name, dirty)
    assert shrunk.version > dirty.version
    assert shrink(objects, name, shrunk) == shrunk


def _begun(steps: Any, place: Any, version: int) -> None:
    """As one that looked at the table before the other had changed it."""
    steps._uri, steps._options = place
    steps.version, steps._table = version, None


# ------------------------------------------------------------------------------------- several tables at once


class Known:
    """Tells which attempts were committed by their tokens, and what spaces there are."""

    def committed(self, key: bytes) -> bool:
        return key[-12:] == YES

    def lost(self, key: bytes) -> bool:
        return False

    def space(self, namespace: bytes, name: str) -> Space | None:
        return Space(name, 2, "float32") if name == "a" else None


YES, NO = b"committed...", b"not yet....."
#: One namespace begins with another's name, and one row's key with another's.
ROWS = st.builds(
    lambda namespace, row, slot: (*row, namespace + b"\0r" + CODES[row[0]] + row[1] + slot),
    st.sampled_from([b"m", b"m-", b"mm"]),
    st.one_of(
        st.tuples(
            st.sampled_from(["links", "memories"]),
            st.sampled_from([b"a\0", b"ab\0", b"b\0", "\uffff\0".encode()]),
        ),
        st.tuples(st.just("states"), st.sampled_from([b"a\0a\0", b"a\0ab\0", b"ab\0a\0", b"b\0\1\0"])),
        st.tuples(st.just("vectors"), st.sampled_from([b"a\0a\0", b"a\0b\0", b"ab\0a\0"])),
    ),
    st.builds(
        lambda branch, seq, token: branch.to_bytes(4, "big") + seq.to_bytes(8, "big") + token,
        st.sampled_from([0, 1, 255, 256]),
        st.sampled_from([1, 2, 255, 256, 2**62 - 1]),
        st.sampled_from([YES, NO]),
    ),
)
OTHERS = st.builds(
    lambda ns, tail: ns + b"\0" + tail,
    st.sampled_from([b"m", b"m-", b"mm"]),
    st.sampled_from([b"c" + bytes(28), b"k\xff", b"p", b"s", b"q\0\xff"]),
)
ROW: dict[str, tuple[object, ...]] = {
    "vectors": ("s", "i", b"\0\0\x80\x3f\0\0\0\x80", None, "{}", 1, 2),
    "states": ("k", "i", "{}", None, (), "{}", 1, 2),
    "links": ("i", "a", "b", None, None, "{}", 1, 2),
    "memories": ("i", *(None,) * 6, "{}", ("a", "b"), 1.5, None, None, "{}", 1, 2),
}


def value_of(table: str, dead: bool) -> bytes:
    return encode_row(table, (), None if dead else ROW[table])


ITEMS = st.one_of(
    st.builds(lambda row, dead: (row[2], value_of(row[0], dead)), ROWS, st.booleans()),
    st.tuples(OTHERS, SMALL),
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rounds=st.lists(
        st.tuples(st.lists(ITEMS, max_size=12), st.randoms(use_true_random=False)), min_size=1, max_size=2
    ),
    ends=st.lists(
        st.one_of(ITEMS.map(lambda item: item[0]), st.binary(max_size=9).map(b"m\0r".__add__)), max_size=6
    ),
)
def test_ranges_over_several_tables_are_those_of_a_sorted_dictionary(rounds, ends):
    """Rows of several kinds, spaces and namespaces, committed or not, live or deleted, beside other objects."""
    with tempfile.TemporaryDirectory() as folder:
        objects, state = LocalObjects(Path(folder), create=True), State()
        model: dict[bytes, bytes] = {}
        for items, numbers in rounds:
            gone = numbers.sample(sorted(model), len(model) // 3)
            fresh = {key: value for key, value in items if key not in model}
            for key in gone:
                del model[key]
            model |= fresh
            state = folded(objects, state, list(fresh.items()), gone)
            tables = Tables(objects, state)
            assert tables.get_many([*model, *gone, *ends]) == model
            edges = [b"", b"m\0", b"m\0r", b"m\0rm", b"m\0rva\0", b"m\0s", b"n", *ends, *model]
            pairs = [sorted(numbers.sample(edges, 2)) for _ in range(3)]
            for start, end in [*pairs, (b"m\0r", b"m\0s")]:
                for reverse in (False, True):
                    expected = sorted(((k, v) for k, v in model.items() if start <= k < end), reverse=reverse)
                    assert sorted(walk(tables, start, end, reverse=reverse), reverse=reverse) == expected
            rows = {key[:-24] for key in model if kind_of(key)}
            found = sorted(tables.groups([*rows, b"m\0rmnone\0"]))
            assert found == sorted((k, v) for k, v in model.items() if kind_of(k))
            homes = {(stored.kind, stored.prefix) for stored in state.tables.values()}
            assert homes == {home(key) for key in model}
            assert state.pending == sum(kind_of(key) is not None and home(key) == ("", b"") for key in model)


def home(key: bytes) -> tuple[str, bytes]:
    """The kind and prefix of the table in which a key should be."""
    kind = kind_of(key)
    if kind is None or key[-12:] != YES:
        return "", b""
    if kind != "vectors":
        return kind, b""
    namespace, _, rest = key.partition(b"\0")
    prefix = namespace + b"\0" + rest[: rest.index(b"\0") + 1]
    return ("vectors", prefix) if prefix.endswith(b"rva\0") else ("", b"")
