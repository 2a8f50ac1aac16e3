"""Hooks with malformed arguments: each is refused with the error of the specification, and nothing changes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from math import nan
from typing import Any

from perdure import (
    Checkpoint,
    CompactRequest,
    InvalidFilter,
    InvalidInput,
    InvalidRecord,
    InvalidRef,
    Memory,
    NotFound,
    PerdureError,
    Point,
    Query,
    Ref,
    Search,
    Space,
    Store,
)
from perdure.filters import TRUE, F, OrderTerm

from perdure_conformance._case import Case
from perdure_conformance._checks import check
from perdure_conformance.expect import equal, refused, unchanged

MAIN = Ref("main")
TOP = 2**63 - 1

#: What is no int from 0 to 2^63 - 1, and what is no int of 64 bits.
NO_COUNT: tuple[Any, ...] = (-1, 2**63, 2**80, -(2**80), 1.0, nan, True, "1", b"1", None, [1], object())
NO_INT64: tuple[Any, ...] = (2**63, -(2**63) - 1, 2**80, 1.0, nan, True, "1", None, [1], object())
NO_FLAG: tuple[Any, ...] = (0, 1, None, "yes", [], object())
NO_TEXT: tuple[Any, ...] = ("a\0b", "\ud800", None, 1, b"a", ["a"], object())

#: What names nothing that there could be.
NO_NAME: tuple[Any, ...] = (*NO_TEXT, "", "a b", "é", "a@b", "x" * 201, "x" * 1_000_000)
NO_TABLE: tuple[Any, ...] = ("nope", "", "Memories", "memories ", "a\0", "\ud800", "x" * 1_000_000, *NO_TEXT)

#: What are no keys of memories, in place of a list of them.
NO_KEYS: tuple[Any, ...] = (
    *(None, 1, "a", b"a", {"a"}, {("a",): 1}, object(), iter([("a",)]), ["a"], [["a"]], [("a", "b")], [()]),
    *([(part,)] for part in (*NO_TEXT, "", "x" * 513, "é" * 257, "x" * 1_000_000)),
    [("a",), ("b",), ("c", "d")],
    [*((f"k{i}",) for i in range(30)), ("a\0",)],
)

#: What is no place in history.
NO_PLACE: tuple[Any, ...] = (
    *(None, "main", 1, ("main", 1), {}, object()),
    *(Ref(name) for name in NO_NAME),
    *(Ref("", commit=name) for name in NO_NAME if name is not None),
    *(Ref("main", seq=seq) for seq in NO_COUNT if seq is not None),
    *(Ref("main", time=time) for time in NO_INT64 if time is not None),
    *(Point(branch, 0) for branch in NO_TEXT),
    *(Point("b", seq) for seq in NO_COUNT),
    *(Point("b", 0, None, time) for time in NO_INT64),
    *(Point("b", 0, commit) for commit in NO_TEXT if commit is not None),
)


def filled(case: Case) -> tuple[Store, Any]:
    """A store with a few things, and the hooks of the same namespace."""
    store = case.store()
    store.spaces.create("free", 2)
    store.memories.put([Memory(id=key, title=key, tier=1) for key in ("a", "b", "c")])
    store.vectors.put({"space": "free", "id": "v", "values": [1.0, 0.0]})
    store.branches.create("lab")
    store.checkpoints.create("mark")
    return store, case.hooks()


def whole(result: Any) -> None:
    """Take all that a hook gives: one that gives an iterator may refuse when it is first asked for an item."""
    if isinstance(result, Iterator):
        for _ in result:
            pass


def refuse(
    case: Case, hook: Callable[..., Any], errors: Any, name: str, bad: Iterable[Any], /, **others: Any
) -> None:
    """The hook refuses each of these values of an argument with this error."""
    kinds: tuple[type[PerdureError], ...] = errors if isinstance(errors, tuple) else (errors,)
    for value in bad:
        what = f"{getattr(hook, 'name', 'a hook')} with {name} {value!r:.80}"
        with refused(*kinds, what=what):
            whole(hook(ctx=case.ctx, **{name: value}, **others))


@check("HK-012", "ER-001")
def an_unknown_table_is_not_found(case: Case) -> None:
    """Every hook that takes a table refuses one that there is not with `NotFound`."""
    store, hooks = filled(case)
    with unchanged(store):
        for hook in (hooks.fetch, hooks.versions):
            refuse(case, hook, NotFound, "table", NO_TABLE, keys=[("a",)], at=MAIN)
        refuse(case, hooks.counters, NotFound, "table", NO_TABLE, keys=[("a",)])
        refuse(case, hooks.touch, NotFound, "table", NO_TABLE, keys=[("a",)], time=0)
        refuse(case, hooks.count, NotFound, "table", NO_TABLE, where=None, at=MAIN)
        for hook in (hooks.select, hooks.scan):
            refuse(case, hook, NotFound, "query", map(Query, NO_TABLE), at=MAIN)


@check("HK-012", "ER-001", needs=("purge",))
def a_malformed_purge_is_refused(case: Case) -> None:
    """`purge` refuses an unknown table with `NotFound`, and malformed keys with `InvalidRecord`."""
    store, hooks = filled(case)
    with unchanged(store):
        refuse(case, hooks.purge, NotFound, "table", NO_TABLE, keys=[("a",)])
        refuse(case, hooks.purge, InvalidRecord, "keys", NO_KEYS, table="memories")


@check("HK-012", "DM-021", "ER-001")
def malformed_keys_are_refused(case: Case) -> None:
    """Every hook that takes keys refuses what no key of the table can be with `InvalidRecord`."""
    store, hooks = filled(case)
    with unchanged(store):
        for hook in (hooks.fetch, hooks.versions):
            refuse(case, hook, InvalidRecord, "keys", NO_KEYS, table="memories", at=MAIN)
            refuse(case, hook, InvalidRecord, "keys", [[("a",)], [("a", "")]], table="states", at=MAIN)
        refuse(case, hooks.counters, InvalidRecord, "keys", NO_KEYS, table="memories")
        refuse(case, hooks.touch, InvalidRecord, "keys", NO_KEYS, table="memories", time=0)


@check("HK-012", "HK-013", "ER-001")
def a_malformed_place_is_refused(case: Case) -> None:
    """Every hook that takes a ref or a point refuses a malformed one with `InvalidRef`."""
    store, hooks = filled(case)
    vector = bytes(8) + b"\0\0\0\0\0\0\xf0?"
    with unchanged(store):
        for hook in (hooks.fetch, hooks.versions):
            refuse(case, hook, InvalidRef, "at", NO_PLACE, table="memories", keys=[("a",)])
        for hook in (hooks.select, hooks.scan):
            refuse(case, hook, InvalidRef, "at", NO_PLACE, query=Query("memories"))
        refuse(case, hooks.count, InvalidRef, "at", NO_PLACE, table="memories", where=None)
        refuse(case, hooks.search, InvalidRef, "at", NO_PLACE, search=Search("free", vector, 1))
        refuse(case, hooks.stats, InvalidRef, "at", NO_PLACE)
        refuse(case, hooks.resolve, InvalidRef, "ref", NO_PLACE)
        refuse(case, hooks.resolve, InvalidRef, "ref", [Point("b", 0)])


@check("HK-012", "RE-004", "ER-001")
def a_place_that_is_not_there_is_not_found(case: Case) -> None:
    """Well-formed names, commit ids and branch ids that there are not are refused with `NotFound`."""
    store, hooks = filled(case)
    nowhere: list[Any] = [Ref("never"), Ref("never", seq=1), Ref("never", time=0), Ref("", commit="never")]
    nowhere += [Ref("mark", seq=1), Ref("mark", time=0), Ref("x" * 200), Point("never", 0), Point("", TOP)]
    nowhere += [Point("x" * 100_000, 0)]
    with unchanged(store):
        refuse(case, hooks.count, NotFound, "at", nowhere, table="memories", where=None)
        refuse(case, hooks.fetch, NotFound, "at", nowhere, table="memories", keys=[("a",)])
        refuse(case, hooks.select, NotFound, "at", nowhere, query=Query("memories"))
        refuse(case, hooks.create_branch, NotFound, "at", nowhere, name="new")
        for hook in (hooks.log, hooks.changes, hooks.touched):
            more = {"merges": False, "newest_first": False} if hook is hooks.log else {}
            more |= {"compacted": False} if hook is hooks.changes else {}
            refuse(
                case, hook, NotFound, "branch", ["never", "", "main", "x" * 100_000], after=0, upto=1, **more
            )


@check("HK-012", "HK-013", "ER-001")
def malformed_spans_of_history_are_refused(case: Case) -> None:
    """`log`, `changes` and `touched` refuse bounds beyond 0 to 2^63 - 1, and branches that are no text."""
    store, hooks = filled(case)
    branch = store.head().branch
    with unchanged(store):
        for hook, more in (
            (hooks.log, {"merges": False, "newest_first": False}),
            (hooks.log, {"merges": True, "newest_first": True}),
            (hooks.changes, {"compacted": False}),
            (hooks.changes, {"compacted": True}),
            (hooks.touched, {}),
        ):
            refuse(case, hook, InvalidInput, "after", NO_COUNT, branch=branch, upto=TOP, **more)
            refuse(case, hook, InvalidInput, "upto", NO_COUNT, branch=branch, after=0, **more)
            refuse(case, hook, InvalidRef, "branch", NO_TEXT, after=0, upto=TOP, **more)
            for flag in more:
                rest = {name: value for name, value in more.items() if name != flag}
                refuse(case, hook, InvalidInput, flag, NO_FLAG, branch=branch, after=0, upto=TOP, **rest)


@check("HK-013")
def the_greatest_number_stands_for_no_bound(case: Case) -> None:
    """2^63 - 1 as a sequence number, a bound, a limit or a `k` asks for all there is."""
    store, hooks = filled(case)
    branch, ctx = store.head().branch, case.ctx
    log = list(hooks.log(ctx=ctx, branch=branch, after=0, upto=TOP, merges=False, newest_first=False))
    equal([commit.id for commit in log][::-1], [commit.id for commit in store.log()], "the log")
    batches = list(hooks.changes(ctx=ctx, branch=branch, after=0, upto=TOP, compacted=False))
    equal([batch.commit.id for batch in batches], [commit.id for commit in log], "the changes")
    touched = list(hooks.touched(ctx=ctx, branch=branch, after=0, upto=TOP))
    equal(
        [key for table, key in touched if table == "memories"], [("a",), ("b",), ("c",)], "the rows touched"
    )
    none = list(hooks.log(ctx=ctx, branch=branch, after=TOP, upto=TOP, merges=False, newest_first=False))
    equal(none, [], "the log after everything")
    equal(hooks.resolve(ctx=ctx, ref=Ref("main", seq=TOP)), store.head(), "the point of the greatest number")
    for at in (Ref("main", seq=TOP), Ref("main", time=TOP), Point(branch, TOP)):
        rows = list(hooks.select(ctx=ctx, query=Query("memories", limit=TOP), at=at))
        equal(len(rows), 3, f"the rows at {at}")
    hits = hooks.search(ctx=ctx, search=Search("free", b"\0\0\0\0\0\0\xf0?" + bytes(8), TOP), at=MAIN)
    equal([hit.id for hit in hits], ["v"], "the vectors found")


@check("HK-012", "HK-013", "ER-001")
def a_malformed_query_is_refused(case: Case) -> None:
    """`select` and `scan` refuse malformed limits, positions, orders, columns and filters."""
    store, hooks = filled(case)
    tier = (OrderTerm("tier"),)
    limits = [Query("memories", limit=limit) for limit in NO_COUNT if limit is not None]
    after: list[Any] = ["a", 1, (), ("a", "b"), {"a"}, object()]
    positions = [Query("memories", after=position) for position in after]
    after = [(), (1,), ("a",), (1, "a", "b"), ("x", "a"), (1.0, "a"), (True, "a"), (2**63, "a"), ([], "a")]
    positions += [Query("memories", order=tier, after=position) for position in after]
    titles = [("a\0", "a"), ("\ud800", "a"), (1, "a"), (b"a", "a")]
    positions += [Query("memories", order=(OrderTerm("title"),), after=position) for position in titles]
    keys = [(1, key) for key in (*NO_TEXT, "", "x" * 513)]
    keyed = [Query("memories", order=tier, after=position) for position in keys]
    with unchanged(store):
        for hook in (hooks.select, hooks.scan):
            refuse(case, hook, InvalidInput, "query", [*limits, *positions, *keyed], at=MAIN)
            refuse(case, hook, InvalidInput, "query", [None, "memories", 1, {}, object()], at=MAIN)


@check("HK-012", "ER-001")
def malformed_orders_and_columns_are_refused(case: Case) -> None:
    """Orders, columns and filters that the table does not take are refused with `InvalidFilter`."""
    store, hooks = filled(case)
    names: list[Any] = [
        "nope",
        "",
        "-tier",
        "tags",
        "content",
        "access_count",
        "a\0",
        "\ud800",
        None,
        1,
        ["tier"],
    ]
    orders: list[Any] = [(OrderTerm(name),) for name in names]
    orders += ["tier", ("tier",), (None,), OrderTerm("tier"), (OrderTerm("tier"),) * 2, 1, object()]
    columns: list[Any] = [
        "id",
        ("nope",),
        ("id", "nope"),
        (None,),
        (1,),
        (["id"],),
        ("a\0",),
        ("\ud800",),
        1,
        {"id"},
    ]
    filters: list[Any] = ["id = 'a'", {"id": "a"}, 1, True, b"", [], object(), F.nope == 1, F.tier == "a"]
    filters += [F.tags == "a", F.title > 1, F.id == "a\0"]
    queries = [Query("memories", order=order) for order in orders]
    queries += [Query("memories", columns=names) for names in columns]
    queries += [Query("memories", where) for where in filters]
    with unchanged(store):
        for hook in (hooks.select, hooks.scan):
            refuse(case, hook, InvalidFilter, "query", queries, at=MAIN)
        refuse(case, hooks.count, InvalidFilter, "where", filters, table="memories", at=MAIN)


@check("HK-012", "HK-013", "ER-001", level="vectors")
def a_malformed_search_is_refused(case: Case) -> None:
    """`search` refuses malformed spaces, vectors, `k`s, filters and flags, and unknown spaces."""
    store, hooks = filled(case)
    good = b"\0\0\0\0\0\0\xf0?" + bytes(8)
    infinite, no_number = bytes(8) + b"\0\0\0\0\0\0\xf0\x7f", bytes(8) + b"\0\0\0\0\0\0\xf8\x7f"
    vectors: list[Any] = [
        b"",
        good[:8],
        good * 2,
        good[:15],
        infinite,
        no_number,
        bytes(16),
        [1.0, 0.0],
        None,
        "x" * 16,
    ]
    filters: list[Any] = ["x", {"id": "a"}, 1, TRUE & F.nope.is_null(), F.tier == 1, object()]
    cases: list[tuple[Any, list[Search]]] = [
        (InvalidRef, [Search(name, good, 1) for name in NO_NAME]),
        (NotFound, [Search("never", good, 1)]),
        (InvalidRecord, [Search("free", vector, 1) for vector in vectors]),
        (InvalidInput, [Search("free", good, k) for k in NO_COUNT]),
        (InvalidFilter, [Search("free", good, 1, where) for where in filters]),
        (InvalidInput, [Search("free", good, 1, None, exact) for exact in NO_FLAG]),
    ]
    with unchanged(store):
        for error, searches in cases:
            refuse(case, hooks.search, error, "search", searches, at=MAIN)
        refuse(case, hooks.search, InvalidInput, "search", [None, "free", 1, {}], at=MAIN)


@check("HK-012", "HK-013", "ER-001")
def a_malformed_touch_is_refused(case: Case) -> None:
    """`touch` refuses a time that is no int of 64 bits, and counts nothing."""
    store, hooks = filled(case)
    refuse(case, hooks.touch, InvalidInput, "time", NO_INT64, table="memories", keys=[("a",)])
    refuse(case, hooks.touch, InvalidRecord, "keys", [[("a",), ("",)]], table="memories", time=0)
    equal(store.memories.counters("a").access_count, 0, "the reads that were counted")


@check("HK-012", "ER-001")
def malformed_lists_of_names_are_refused(case: Case) -> None:
    """`get_commits` and `read_chunks` refuse what is no list of texts; an unknown commit gives None."""
    store, hooks = filled(case)
    lists: list[Any] = [None, "a", b"a", 1, {"a"}, object(), *([text] for text in NO_TEXT)]
    with unchanged(store):
        refuse(case, hooks.get_commits, InvalidInput, "ids", lists)
        refuse(case, hooks.read_chunks, InvalidInput, "digests", lists)
        unknown = hooks.get_commits(ctx=case.ctx, ids=["never", "", "a b", "x" * 100_000])
    equal(unknown, [None] * 4, "unknown commits")


@check("HK-012", "RE-003", "ER-001", level="branches")
def malformed_branches_are_refused(case: Case) -> None:
    """Branches and checkpoints of malformed names, places, flags and texts are refused."""
    store, hooks = filled(case)
    point = store.head()
    marks: list[tuple[Any, list[Any]]] = [
        (InvalidRef, [Checkpoint(name, point) for name in NO_NAME]),
        (InvalidRef, [Checkpoint("new", place) for place in NO_PLACE if not isinstance(place, Ref)]),
        (InvalidRef, [Checkpoint("new", MAIN)]),  # type: ignore[arg-type]
        (NotFound, [Checkpoint("new", Point("never", 0))]),
        (InvalidRecord, [Checkpoint("new", point, metrics) for metrics in NO_TEXT]),
        (InvalidInput, [Checkpoint("new", point, "null", message) for message in NO_TEXT]),
        (InvalidRecord, [Checkpoint("new", point, created_at=time) for time in NO_INT64]),
        (InvalidRecord, [None, "new", 1, {}]),
    ]
    with unchanged(store):
        refuse(case, hooks.create_branch, InvalidRef, "name", NO_NAME, at=MAIN)
        refuse(case, hooks.create_branch, InvalidRef, "at", NO_PLACE, name="new")
        refuse(case, hooks.delete_branch, InvalidRef, "name", NO_NAME, cascade=True)
        refuse(case, hooks.delete_branch, InvalidInput, "cascade", NO_FLAG, name="lab")
        refuse(case, hooks.delete_branch, NotFound, "name", ["never", "mark"], cascade=True)
        refuse(case, hooks.delete_checkpoint, InvalidRef, "name", NO_NAME)
        refuse(case, hooks.delete_checkpoint, NotFound, "name", ["never", "lab"])
        for error, checkpoints in marks:
            refuse(case, hooks.create_checkpoint, error, "checkpoint", checkpoints)


@check("HK-012", "VE-002", "ER-001", level="vectors")
def malformed_spaces_are_refused(case: Case) -> None:
    """Spaces of malformed names, dimensions, dtypes, metrics, models or tables are refused."""
    store, hooks = filled(case)
    dims: list[Any] = [0, -1, 65_537, 2**63, 2**80, 1.0, True, "2", None, [2]]
    words: list[Any] = ["", "int8", "FLOAT32", "a\0", "\ud800", None, 1, b"float32", ["float32"]]
    tables: list[Any] = ["vectors", "nope", "", "a\0", "\ud800", 1, ["memories"]]
    spaces: list[tuple[Any, list[Any]]] = [
        (InvalidRef, [Space(name, 2) for name in NO_NAME]),
        (InvalidRecord, [Space("new", dim) for dim in dims]),
        (InvalidRecord, [Space("new", 2, dtype=word) for word in words]),
        (InvalidRecord, [Space("new", 2, metric=word) for word in words]),
        (InvalidRecord, [Space("new", 2, model=model) for model in NO_TEXT]),
        (InvalidRecord, [Space("new", 2, table=table) for table in tables]),
        (InvalidRecord, [Space("new", 2, created_at=time) for time in NO_INT64]),
        (InvalidRecord, [None, "new", 1, {}]),
    ]
    with unchanged(store):
        for error, definitions in spaces:
            refuse(case, hooks.create_space, error, "space", definitions)
        refuse(case, hooks.drop_space, InvalidRef, "name", NO_NAME)
        refuse(case, hooks.drop_space, NotFound, "name", ["never", "lab"])


@check("HK-012", "HK-013", "ER-001", needs=("compact",))
def a_malformed_compaction_is_refused(case: Case) -> None:
    """`compact` refuses malformed windows and leases with `InvalidInput`, and drops nothing."""
    store, hooks = filled(case)
    requests: list[Any] = [CompactRequest(keep_commits=n) for n in NO_COUNT if n is not None]
    requests += [CompactRequest(keep_since=time) for time in NO_INT64 if time is not None]
    requests += [CompactRequest(lease=lease) for lease in NO_COUNT]
    requests += [None, 1, "all", {}]
    with unchanged(store):
        refuse(case, hooks.compact, InvalidInput, "request", requests)
