"""Strategies of steps and of histories: small pools of names, keys and values, so that steps meet.

Most steps are valid where the names that they use are there; a few are refused, and must then leave the
store as it was.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st
from perdure import TABLES

from perdure_conformance.driver import (
    Changes,
    Compact,
    CreateSpace,
    Delete,
    Diff,
    DropBranch,
    DropSpace,
    Expire,
    Find,
    Fork,
    Increment,
    Log,
    Mark,
    Merge,
    Place,
    Purge,
    Put,
    Revert,
    Search,
    Step,
    Sync,
    Touch,
    Unmark,
    Update,
    Without,
    Write,
)
from perdure_conformance.strategies._filters import filters, orders

__all__ = [
    "SETUP",
    "a_record",
    "histories",
    "maintenance",
    "merges",
    "namings",
    "one_write",
    "reads",
    "reverts",
    "steps",
    "writes",
]

_BRANCHES = ("main", "main", "main", "a", "a", "b", "c")
_MARKS = ("v1", "v2")
_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
_TIMES = tuple(_EPOCH + timedelta(days=days) for days in (-9_000, 0, 1, 9_000))

#: The spaces of histories: bound to a table with a short key, to one with a long key, and to none.
SPACES = (
    CreateSpace("mem", 2, {"table": "memories"}),
    CreateSpace("st", 2, {"table": "states", "metric": "l2", "dtype": "float64", "model": "m"}),
    CreateSpace("free", 2, {"metric": "dot", "dtype": "float16"}),
)

#: How histories begin, so that what comes finds rows, branches and something to merge.
SETUP: tuple[Step, ...] = (
    *SPACES,
    Write(
        "main",
        (
            Put("memories", ({"id": "m1", "tags": ["a", "b"]}, {"id": "m2", "tier": 1})),
            Put("vectors", ({"space": "mem", "id": "m1", "values": (1.0, 0.5)},)),
            Put("skills", ({"id": "s1", "success_count": 1},)),
            Put("states", ({"kind": "k", "id": "x", "payload": b"abc"},)),
            Put("vectors", ({"space": "st", "id": "k/x", "values": (1.0, -2.0)},)),
        ),
    ),
    Fork("a", Place("main")),
    Write(
        "a",
        (Update("memories", ("m1",), {"tags": ["b", "c"], "tier": 2}), Increment("s1", {"success_count": 2})),
    ),
    Fork("b", Place("a")),
)

_KEYS: dict[str, tuple[tuple[str, ...], ...]] = {
    "memories": (("m1",), ("m2",), ("m3",)),
    "links": (("l1",), ("l2",)),
    "skills": (("s1",), ("s2",)),
    "traces": (("t1",), ("t2",)),
    "states": (("k", "x"), ("k/~", "y")),
    "vectors": (
        ("mem", "m1"),
        ("mem", "m2"),
        ("st", "k/x"),
        ("st", "k~1~0/y"),
        ("free", "f1"),
        ("free", "f2"),
    ),
}
_TEXT = st.sampled_from(("a", "ab", "b", "é", "😀"))
_VALUE = st.sampled_from((None, 1, 1.0, True, "a", {"a": [1, {"b": None}]}, [1, 2], (1,), b"\0", {1, 2}))
_TAGS = st.lists(_TEXT, max_size=3, unique=True)
_FLOAT = st.sampled_from((None, 0.0, 0.5, 1.0, -1.5))
_INT = st.sampled_from((None, 0, 1, 2))
_TIME = st.none() | st.sampled_from(_TIMES)
_NUMBERS = st.sampled_from((-2.0, -1.0, 0.5, 1.0, 3.0))
_FIELDS: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "memories": {
        "kind": _TEXT,
        "tier": _INT,
        "text": _TEXT,
        "content": _VALUE,
        "tags": _TAGS,
        "importance": _FLOAT,
        "expires_at": _TIME,
    },
    "links": {"weight": _FLOAT, "relation": _TEXT, "context": _VALUE},
    "skills": {
        "name": _TEXT,
        "trigger": st.sampled_from(("a+", "^b", None)),
        "tags": _TAGS,
        "confidence": _FLOAT,
        "success_count": st.integers(0, 3),
        "failure_count": st.sampled_from((0, 1, 2**63 - 2)),
        "last_used_at": _TIME,
        "trace_id": st.sampled_from((None, "t1", "t9")),
    },
    "traces": {
        "intent": _TEXT,
        "step": _INT,
        "result": _VALUE,
        "causes": _TAGS,
        "cost": _FLOAT,
        "skill_id": st.sampled_from((None, "s1", "s9")),
    },
    "states": {
        "data": _VALUE,
        "payload": st.sampled_from((None, b"", b"abc", b"x" * 65_537)),
        "parents": st.lists(st.sampled_from(("x", "y")), max_size=2, unique=True),
    },
    "vectors": {"values": st.tuples(_NUMBERS, _NUMBERS), "text": _TEXT},
}
_REQUIRED: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "links": {"source": st.sampled_from(("m1", "m2")), "target": st.sampled_from(("m2", "m9"))},
    "vectors": {"values": st.tuples(_NUMBERS, _NUMBERS)},
}
_GIVEN_TIMES: dict[str, st.SearchStrategy[Any]] = {
    "created_at": st.sampled_from(_TIMES),
    "updated_at": st.sampled_from(_TIMES),
}
_STRATEGY: st.SearchStrategy[Any] = st.sampled_from(("fail", "ours", "theirs", "field", "field"))


def _tables() -> st.SearchStrategy[str]:
    return st.sampled_from(
        ("memories", "memories", "vectors", "vectors", "skills", "states", "links", "traces")
    )


def _branches() -> st.SearchStrategy[str]:
    return st.sampled_from(_BRANCHES)


def _places() -> st.SearchStrategy[Place]:
    heads = _branches().map(Place)
    return (
        heads
        | heads
        | st.builds(Place, _branches(), st.integers(1, 4), st.sampled_from(("commit", "number", "time")))
        | st.sampled_from(_MARKS).map(Place)
    )


def _a_key(table: str) -> st.SearchStrategy[tuple[str, ...]]:
    return st.sampled_from(_KEYS[table])


def a_record(table: str, value: st.SearchStrategy[Any] = _VALUE) -> st.SearchStrategy[dict[str, Any]]:
    """The fields of a record with few different values; `value` is what value fields hold."""
    names = TABLES[table].key
    keys = _a_key(table).map(lambda key: dict(zip(names, key, strict=True)))
    required = st.fixed_dictionaries(_REQUIRED.get(table, {}))
    fields = st.fixed_dictionaries(
        {}, optional={n: value if s is _VALUE else s for n, s in _FIELDS[table].items()}
    )
    times: st.SearchStrategy[dict[str, Any]] = (
        st.just({}) | st.just({}) | st.fixed_dictionaries({}, optional=_GIVEN_TIMES)
    )
    return st.builds(
        lambda key, *rest: key | {k: v for part in rest for k, v in part.items()},
        keys,
        required,
        fields,
        times,
    )


def _conditions() -> st.SearchStrategy[Any]:
    return st.sampled_from(("none", "none", "none", "none", "current", "current", "absent", "other"))


def _puts(table: str) -> st.SearchStrategy[Put]:
    several = st.lists(a_record(table), min_size=1, max_size=3).map(tuple)
    one = a_record(table).map(lambda record: (record,))
    return st.builds(Put, st.just(table), several, st.sampled_from((False, False, True))) | st.builds(
        Put, st.just(table), one, condition=_conditions()
    )


def _updates(table: str) -> st.SearchStrategy[Update]:
    fields = st.fixed_dictionaries({}, optional=_FIELDS[table] | _GIVEN_TIMES)
    return st.builds(Update, st.just(table), _a_key(table), fields, _conditions())


def _deletes(table: str) -> st.SearchStrategy[Delete]:
    keys = st.lists(_a_key(table), min_size=1, max_size=2, unique=True).map(tuple)
    return st.builds(Delete, st.just(table), keys, st.sampled_from((True, True, False)))


def _increments() -> st.SearchStrategy[Increment]:
    names = st.sampled_from(("success_count", "failure_count"))
    amounts = st.dictionaries(names, st.sampled_from((0, 1, 2, -1)), min_size=1)
    return st.builds(Increment, st.sampled_from(("s1", "s2")), amounts)


def one_write() -> st.SearchStrategy[Put | Update | Delete | Increment]:
    """One write of a commit."""
    return st.one_of(
        _tables().flatmap(_puts),
        _tables().flatmap(_puts),
        _tables().flatmap(_updates),
        _tables().flatmap(_deletes),
        _increments(),
    )


def writes() -> st.SearchStrategy[Write]:
    """Commits: single writes, and batches over several tables, some of which must fail whole."""
    flags = st.sampled_from((False, False, False, False, True))
    one = one_write().map(lambda write: (write,))
    several = st.lists(one_write(), min_size=1, max_size=5).map(tuple)
    expected = st.sampled_from(("none", "none", "none", "none", "right", "stale"))
    return st.builds(Write, _branches(), one | several, flags, flags, expected)


def merges() -> st.SearchStrategy[Step]:
    """Merges, whole and selective, and syncs."""
    tables = st.lists(_tables(), min_size=1, max_size=2, unique=True).map(tuple)
    keys = _tables().flatmap(
        lambda table: st.lists(_a_key(table), min_size=1, max_size=2, unique=True).map(
            lambda chosen: {table: tuple(chosen)}
        )
    )
    dry = st.sampled_from((False, False, False, True))
    whole = st.builds(Merge, _places(), _branches(), _STRATEGY, dry)
    return st.one_of(
        whole,
        whole,
        st.builds(Merge, _places(), _branches(), _STRATEGY, dry, tables),
        st.builds(Merge, _places(), _branches(), _STRATEGY, dry, st.none(), keys),
        st.builds(Sync, _branches(), _STRATEGY),
    )


def reverts() -> st.SearchStrategy[Revert]:
    """Reverts of commits of the same or another branch."""
    parents = st.sampled_from((None, None, 0, 1, 2))
    return st.builds(
        Revert, _branches(), _places(), parents, _STRATEGY, st.sampled_from((False, False, True))
    )


def namings() -> st.SearchStrategy[Step]:
    """Branches and checkpoints that come and go."""
    names = st.sampled_from(("b", "c", "a", *_MARKS))
    return st.one_of(
        st.builds(Fork, names, _places()),
        st.builds(Fork, names, _places()),
        st.builds(Mark, st.sampled_from((*_MARKS, "a")), _places(), _VALUE),
        st.builds(DropBranch, _branches(), st.booleans()),
        st.builds(Unmark, st.sampled_from(_MARKS)),
    )


def maintenance() -> st.SearchStrategy[Step]:
    """Compaction, purge, expiry, read counters, spaces."""

    def keyed(kind: Any, *rest: st.SearchStrategy[Any]) -> st.SearchStrategy[Step]:
        return _tables().flatmap(
            lambda table: st.builds(
                kind,
                st.just(table),
                st.lists(_a_key(table), min_size=1, max_size=2, unique=True).map(tuple),
                *rest,
            )
        )

    return st.one_of(
        st.builds(Compact, st.sampled_from((None, 1, 3)), st.sampled_from((False, False, True))),
        keyed(Purge),
        keyed(Touch, st.sampled_from(_TIMES)),
        st.builds(Expire, _branches(), st.sampled_from(_TIMES)),
        st.sampled_from(SPACES),
        st.sampled_from([DropSpace(space.name) for space in SPACES]),
    )


def reads() -> st.SearchStrategy[Step]:
    """Reads whose answers are compared."""

    def find(table: str, at: Place) -> st.SearchStrategy[Step]:
        head = at.back == 0 and at.name in _BRANCHES
        where = st.none() | filters(TABLES[table], counters=head)
        terms = orders(TABLES[table]).map(lambda order: [order] if isinstance(order, str) else order)
        return st.builds(Find, st.just(at), st.just(table), where, terms, st.sampled_from((None, 1, 2)))

    def search(space: CreateSpace, at: Place) -> st.SearchStrategy[Step]:
        where = st.none() | filters(TABLES[space.options.get("table") or "vectors"], counters=False)
        query = st.tuples(_NUMBERS, _NUMBERS)
        return st.builds(Search, st.just(at), st.just(space.name), query, st.integers(0, 4), where)

    return st.one_of(
        st.tuples(_tables(), _places()).flatmap(lambda pair: find(*pair)),
        st.tuples(st.sampled_from(SPACES), _places()).flatmap(lambda pair: search(*pair)),
        st.builds(Diff, _places(), _places()),
        st.builds(Log, _places()),
        st.just(Changes()),
        st.builds(Without, _places(), _places()),
    )


def steps() -> st.SearchStrategy[Step]:
    """Any step."""
    return st.one_of(
        writes(), writes(), writes(), namings(), merges(), merges(), reverts(), maintenance(), reads()
    )


def histories(max_size: int = 25) -> st.SearchStrategy[list[Step]]:
    """Histories that begin with `SETUP`, and then take up to `max_size` steps."""
    return st.lists(steps(), max_size=max_size).map(lambda drawn: [*SETUP, *drawn])
