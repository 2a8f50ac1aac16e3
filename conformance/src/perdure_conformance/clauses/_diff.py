"""Diffs: the rows that differ between two places, and the rows that were touched on the way."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from perdure import (
    TABLES,
    HistoryExpired,
    Memory,
    NotFound,
    Query,
    Ref,
    Skill,
    State,
    Store,
    parse_ref,
)

from perdure_conformance._case import Case
from perdure_conformance._checks import check
from perdure_conformance.expect import equal, holds, refused

DAY = datetime(2026, 1, 1, tzinfo=UTC)

#: Ids in the order of their code points, which is not that of UTF-16, of languages, or without case.
IDS = ("!", "10", "9", "A", "Z", "_", "a", "a!", "a/", "ab", "b", "e\u0301", "z", "é", "\uffff", "😀")

#: Two-part keys in order: part by part, whatever a joined text would sort like.
PAIRS = (("a", "z"), ("a!", "a"), ("a/", "a"), ("a/b", "\uffff"), ("a/b", "😀"), ("b", "!"), ("😀", "a"))


def rows_at(hooks: Any, ctx: Any, ref: Ref) -> dict[tuple[str, tuple[str, ...]], tuple[Any, ...]]:
    """All rows at a ref: (table, key) → encoded row."""
    found = {}
    for name, table in TABLES.items():
        for row in hooks.select(ctx=ctx, query=Query(name), at=ref):
            found[name, table.key_of(row)] = row
    return found


def expected_diff(a: dict[Any, Any], b: dict[Any, Any]) -> list[tuple[Any, ...]]:
    """What a diff of two states must yield: table, key, kind, fields, the row before and the row after."""
    found = []
    for entry in sorted(a.keys() | b.keys()):
        table, before, after = TABLES[entry[0]], a.get(entry), b.get(entry)
        if before is None or after is None:
            kind, fields = "removed" if after is None else "added", table.names[len(table.key) :]
        else:
            kind = "changed"
            pairs = zip(table.names, before, after, strict=True)
            fields = tuple(name for name, old, new in pairs if old != new)
        if fields:
            found.append((*entry, kind, fields, before, after))
    return found


def found_diff(store: Store, a: str, b: str) -> list[tuple[Any, ...]]:
    """What the diff of two places yields, in the form of `expected_diff`."""
    return [(d.table, d.key, d.kind, d.fields, d.before, d.after) for d in store.diff(a, b)]


def branched(store: Store) -> list[str]:
    """A history with additions, changes and deletions in all tables on three branches; refs of its places."""
    store.spaces.create("s", 2)
    store.spaces.create("bound", 2, table="memories")
    with store.batch(commit_id="base") as batch:
        batch.memories.put([Memory(id=id, tier=1, title="t") for id in IDS])
        batch.vectors.put([{"space": "bound", "id": id, "values": [1.0, 0.0]} for id in IDS[:3]])
        batch.states.put([State(kind=kind, id=id, payload=b"old") for kind, id in PAIRS])
        batch.skills.put(Skill(id="k", success_count=1, tags=["a"]))
    store.branches.create("lab")
    store.branches.create("other")
    with store.branch("lab").batch(commit_id="lab") as batch:
        batch.memories.put([Memory(id=IDS[0], tier=2, title="t"), Memory(id="new")])
        batch.memories.delete(IDS[1])
        batch.states.put(State(kind="a/b", id="😀", payload=b"new"))
        batch.states.delete(("a!", "a"))
        batch.skills.increment("k", success_count=1)
        batch.links.put({"id": "l", "source": IDS[0], "target": "new"})
    with store.batch(commit_id="later") as batch:
        batch.memories.delete([IDS[0], IDS[-1]])
        batch.vectors.put([{"space": "s", "id": id, "values": [0.5, 2.0]} for id in IDS])
        batch.traces.put([{"id": id, "intent": "new"} for id in IDS])
    store.branches.create("deep", "lab")
    store.branch("deep").memories.put(Memory(id=IDS[1], title="back"))
    store.branch("deep").memories.delete("new")
    store.merge("lab", into="other", commit_id="merged")
    store.checkpoints.create("mark", "deep")
    return ["main@0", "@base", "main", "lab", "deep", "other", "mark"]


@check("CO-030", "CO-031", level="branches")
def a_diff_is_what_two_reads_tell(case: Case) -> None:
    """Between any two places, in either direction, the diff is exactly what a comparison of all rows tells."""
    store, hooks = case.store(), case.hooks()
    refs = branched(store)
    states = {ref: rows_at(hooks, case.ctx, parse_ref(ref)) for ref in refs}
    for a in refs:
        for b in refs:
            expected = expected_diff(states[a], states[b])
            equal(found_diff(store, a, b), expected, f"the diff of {a} and {b}")


@check("CO-030", level="branches")
def a_diff_is_ordered_by_code_point(case: Case) -> None:
    """A diff comes by table name, then key, compared part by part and by code point, each row once."""
    store = case.store()
    branched(store)
    store.links.put([{"id": id, "source": "a", "target": "b"} for id in reversed(IDS)])
    found = [(row.table, row.key) for row in store.diff("main@0", "main")]
    expected: list[tuple[str, tuple[str, ...]]] = [("links", (id,)) for id in IDS]
    expected += [("memories", (id,)) for id in IDS[1:-1]]
    expected += [("skills", ("k",)), *(("states", pair) for pair in PAIRS)]
    expected += [("traces", (id,)) for id in IDS]
    expected += [("vectors", ("bound", id)) for id in IDS[1:3]] + [("vectors", ("s", id)) for id in IDS]
    equal(found, expected, "the rows of a diff, in order")


@check("CO-031", level="branches")
def a_change_names_its_fields(case: Case) -> None:
    """A changed row names exactly the fields that differ, in the order of the columns."""
    store = case.store()
    given = {"created_at": DAY, "updated_at": DAY}
    store.memories.put(
        {"id": "a", "kind": "k", "tags": ["x"], "content": {"n": 1}, "importance": 0.5, **given}
    )
    store.branches.create("old")
    changes: dict[tuple[str, ...], dict[str, Any]] = {
        ("kind",): {"kind": "K"},
        ("kind", "tags"): {"tags": ["x", "y"], "kind": None},
        ("tags",): {"tags": []},
        ("content",): {"content": {"n": 1.0}},
        ("tier", "title", "importance"): {"importance": 0.25, "title": "", "tier": 0},
        ("expires_at", "metadata"): {"metadata": False, "expires_at": DAY},
        ("created_at",): {"created_at": DAY + timedelta(microseconds=1)},
        ("updated_at",): {"updated_at": DAY - timedelta(microseconds=1)},
    }
    for number, (fields, change) in enumerate(changes.items()):
        here = store.branches.create(f"b{number}", "old").name
        store.branch(here).memories.update("a", **({"updated_at": DAY} | change))
        for a, b in (("old", here), (here, "old")):
            found = [(row.table, row.key, row.kind, row.fields) for row in store.diff(a, b)]
            equal(found, [("memories", ("a",), "changed", fields)], f"the diff of {a} and {b} after {change}")


@check("CO-030", level="branches")
def what_went_and_came_back_is_no_difference(case: Case) -> None:
    """Rows that were changed, deleted or added on the way, and are as they were, are not in the diff."""
    store = case.store()
    given = {"created_at": DAY, "updated_at": DAY}
    store.memories.put([{"id": id, "title": "t", **given} for id in "abc"], commit_id="first")
    store.memories.put({"id": "a", "title": "other"})
    store.memories.delete(["b", "c"])
    store.memories.put({"id": "new"})
    store.branch("lab").memories.delete("new")
    with store.batch() as batch:
        batch.memories.put([{"id": id, "title": "t", **given} for id in "abc"])
        batch.memories.delete("new")
    for a, b in (("@first", "main"), ("main", "@first"), ("main", "main"), ("@first", "@first")):
        equal(list(store.diff(a, b)), [], f"the diff of {a} and {b}")
    found = [(row.key[0], row.kind) for row in store.diff("lab", "main")]
    equal(found, [("a", "changed"), ("b", "added"), ("c", "added")], "the diff with a branch from in between")


@check("CO-030", level="branches")
def a_long_diff_is_whole(case: Case) -> None:
    """A diff of some thousands of rows, of several commits that overlap, has each row once."""
    store = case.store()
    ids = [f"m{number:04}" for number in range(2_300)]
    store.memories.put([Memory(id=id) for id in ids], commit_id="first")
    lab = store.branch("lab")
    lab.memories.put([Memory(id=id, tier=1) for id in ids[:1_500]])
    lab.memories.put([Memory(id=id, tier=2) for id in ids[700:1_800]])
    lab.memories.delete(ids[1_750:])
    found = [(row.key[0], row.kind) for row in store.diff("main", "lab")]
    equal(len(found), 2_300, "how many rows differ")
    expected = [(id, "changed" if number < 1_750 else "removed") for number, id in enumerate(ids)]
    equal(found, expected, "the rows that differ")


@check("CO-030", "CO-031", level="branches")
def a_diff_of_some_tables(case: Case) -> None:
    """A diff of named tables has the rows of those and no others; an unknown table is refused."""
    store = case.store()
    branched(store)
    every = list(store.diff("lab", "main"))
    for tables in (["memories"], ["states", "links"], ["vectors"], [], list(TABLES), ["links", "links"]):
        found = list(store.diff("lab", "main", tables=tables))
        equal(found, [row for row in every if row.table in tables], f"the diff of the tables {tables}")
    for unknown in (["nothing"], ["memories", "Memories"]):
        with refused(NotFound, what=f"a diff of the tables {unknown}"):
            list(store.diff("lab", "main", tables=unknown))


@check("CO-030", "CO-031", level="branches", needs=("compact",))
def a_diff_after_compaction_is_the_same_or_refused(case: Case) -> None:
    """A compaction changes no diff of two places that can still be read."""
    store = case.store()
    refs = branched(store)
    before = {(a, b): found_diff(store, a, b) for a in refs for b in refs}
    store.compact(lease=timedelta(0))
    for (a, b), expected in before.items():
        try:
            equal(found_diff(store, a, b), expected, f"the diff of {a} and {b} after a compaction")
        except HistoryExpired:
            past = {"main@0", "@base"} & {a, b}
            holds(past, f"heads and checkpoints are there after a compaction ({a}, {b})")


@check("CO-032", level="branches")
def touched_rows_are_all_there(case: Case) -> None:
    """Between any two own points of a branch, the touched rows have every row that differs, once and in order."""
    store, hooks, ctx = case.store(), case.hooks(), case.ctx
    branched(store)
    for branch in store.branches.list():
        own = [c.seq for c in store.log(branch.name) if c.branch == branch.id]
        numbers = sorted({branch.fork_seq, *own})
        states = {seq: rows_at(hooks, ctx, Ref(branch.name, seq=seq)) for seq in numbers}
        for place, low in enumerate(numbers):
            for high in numbers[place:]:
                what = f"the rows touched on {branch.name} between {low} and {high}"
                found = list(hooks.touched(ctx=ctx, branch=branch.id, after=low, upto=high))
                equal(found, sorted(set(found)), f"{what}, each once and in order")
                missing = {d[:2] for d in expected_diff(states[low], states[high])} - set(found)
                equal(missing, set(), f"what is missing of {what}")
