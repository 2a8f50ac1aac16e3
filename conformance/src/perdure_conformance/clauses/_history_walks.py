"""Random histories beside the model: every place of the past, the feed from every cursor, diffs and copies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import product
from typing import Any

from perdure import (
    TABLES,
    Change,
    Commit,
    Context,
    HistoryExpired,
    NotFound,
    Query,
    Record,
    Ref,
    Snapshot,
    Store,
)
from perdure.history import RowDiff

from perdure_conformance._case import Case
from perdure_conformance._checks import check
from perdure_conformance._plain import plain
from perdure_conformance.clauses._histories import absent
from perdure_conformance.driver import Compact, Step
from perdure_conformance.expect import equal, holds
from perdure_conformance.machines import Lockstep
from perdure_conformance.model import Model
from perdure_conformance.strategies import histories

#: Histories in a round, and steps in each: a history is walked in full, so that few are enough.
EXAMPLES = 4
STEPS = 12


def played(case: Case, store: Store, history: Sequence[Step]) -> Model:
    """A history, run on a store and on the model, which agree about each step; without what the backend lacks."""
    lockstep = Lockstep([store])
    for step in history:
        if not isinstance(step, absent(case)):
            lockstep.run(step)
    return lockstep.model


@contextmanager
def hooked(case: Case, store: Store) -> Iterator[Any]:
    """The hooks of another handle on the namespace of a store, closed at the end of the block."""
    hooks = case.hooks(store.namespace)
    try:
        yield hooks
    finally:
        hooks.close(ctx=case.ctx)


def parts(record: Record) -> tuple[str, ...]:
    """The key of a record as a tuple."""
    return record.key if isinstance(record.key, tuple) else (record.key,)


def rows_of(view: Store | Snapshot) -> dict[Any, Any]:
    """All rows of a view: (table, key) → plain row."""
    return {
        (name, parts(record)): plain(name, record) for name in TABLES for record in view.table(name).scan()
    }


def modelled(model: Model, commit: str | None) -> dict[Any, Any]:
    """All rows that the model has after a commit."""
    return {entry: version.row for entry, version in model.graph.rows(commit).items()}


def check_ref(store: Store, model: Model, ref: Ref, commit: str | None, *, may_expire: bool) -> None:
    """A ref names a commit, and shows what the model has there; it may be gone where a compaction allows it."""
    try:
        view = store.at(ref)
        found = rows_of(view)
    except NotFound as error:
        expired = isinstance(error, HistoryExpired) or ref.commit is not None
        holds(may_expire and expired, f"{ref} can be read", error)
        return
    equal(view.point.commit, commit, f"the commit of {ref}")
    equal(found, modelled(model, commit), f"the rows at {ref}")


def walk_the_past(case: Case, history: list[Step]) -> None:
    """Every commit of every branch, by id, by number and by time, is as the model has it."""
    with case.new_store() as store:
        model = played(case, store, history)
        numbers = {c.id: c.seq for branch in store.branches.list() for c in store.log(branch.name)}
        seen: set[str] = set()
        for line in list(model.graph.lines.values()):
            chain = model.graph.lineage(line.head)
            times = [model.graph.nodes[commit].time for commit in chain]
            for place, commit in enumerate(chain):
                gone = commit in model.gone
                if commit not in seen:
                    check_ref(store, model, Ref("", commit=commit), commit, may_expire=gone)
                    seen.add(commit)
                if commit in numbers:
                    at_number = Ref(line.name, seq=numbers[commit])
                    check_ref(store, model, at_number, commit, may_expire=gone)
                last = next(other for other, time in zip(chain, times, strict=True) if time <= times[place])
                at_time = Ref(line.name, time=times[place])
                check_ref(store, model, at_time, last, may_expire=bool(model.gone))
            start = Ref(line.name, time=times[-1] - 1 if times else 0)
            check_ref(store, model, start, None, may_expire=bool(model.gone))


@check("RE-001", "RE-004", "RE-005", "RE-006", "RE-009", level="branches", kind="property", weight=1.0)
def every_place_of_random_histories(case: Case) -> None:
    """After a random history each commit's state is found by id, by number and by time from all its branches."""
    case.given(walk_the_past, histories(STEPS), examples=EXAMPLES)


def walk_the_feed(case: Case, history: list[Step]) -> None:
    """The feed has all commits; from every cursor it has the rest; put together, it makes the heads."""
    with case.new_store() as store, hooked(case, store) as hooks:
        played(case, store, [step for step in history if not isinstance(step, Compact)])
        items = list(store.changes())
        done = [(item.batch.commit.id if item.batch and item.batch.final else None) for item in items]
        logged = {c.id for branch in store.branches.list() for c in store.log(branch.name)}
        equal(sorted(filter(None, done)), sorted(logged), "the commits in the feed")
        for place, item in enumerate(items):
            rest = store.changes(item.cursor)
            found = [i.batch.commit.id for i in rest if i.batch is not None and i.batch.final]
            expected = sorted(filter(None, done[place + 1 :]))
            equal(sorted(found), expected, f"the commits after item {place} of {len(items)}")
        own: dict[str, list[tuple[Commit, Change]]] = {}
        for item in items:
            if item.batch is not None:
                changes = own.setdefault(item.batch.commit.branch, [])
                changes += [(item.batch.commit, change) for change in item.batch.changes]
        branches = {branch.id: branch for branch in store.branches.list()}

        def assembled(id: str, upto: int) -> dict[Any, Any]:
            branch = branches[id]
            rows = {} if branch.parent is None else assembled(branch.parent, min(upto, branch.fork_seq))
            for commit, change in own.get(id, ()):
                if commit.seq <= upto:
                    rows.pop((change.table, change.key), None)
                    if change.row is not None:
                        rows[change.table, change.key] = change.row
            return rows

        for branch in branches.values():
            there = encoded_rows(hooks, case.ctx, Ref(branch.name))
            equal(assembled(branch.id, branch.head.seq), there, f"the rows of {branch.name}, put together")


def encoded_rows(hooks: Any, ctx: Context, ref: Ref) -> dict[Any, Any]:
    """All rows at a ref: (table, key) → encoded row."""
    return {
        (name, table.key_of(row)): row
        for name, table in TABLES.items()
        for row in hooks.select(ctx=ctx, query=Query(name), at=ref)
    }


@check("CO-040", "CO-041", "CO-043", level="branches", kind="property", weight=1.0)
def the_feed_of_random_histories(case: Case) -> None:
    """The feed of a random history has each commit once, goes on from every item, and adds up to all heads."""
    case.given(walk_the_feed, histories(STEPS), examples=EXAMPLES)


def expected_diff(before: Mapping[Any, Any], after: Mapping[Any, Any]) -> list[tuple[Any, ...]]:
    """What a diff of two states of the model must yield."""
    found: list[tuple[Any, ...]] = []
    for entry in sorted(before.keys() | after.keys()):
        old, new, table = before.get(entry), after.get(entry), TABLES[entry[0]]
        if old is None or new is None:
            found.append((*entry, "added" if old is None else "removed", table.names[len(table.key) :]))
        elif old != new:
            found.append((*entry, "changed", tuple(name for name in table.names if old[name] != new[name])))
    return found


def told(rows: list[RowDiff]) -> list[tuple[Any, ...]]:
    """The parts of a diff that the model knows."""
    return [(row.table, row.key, row.kind, row.fields) for row in rows]


def walk_the_diffs(case: Case, history: list[Step]) -> None:
    """Diffs of many pairs of commits, and what is touched between own points, are as the model has them."""
    with case.new_store() as store, hooked(case, store) as hooks:
        model = played(case, store, [step for step in history if not isinstance(step, Compact)])
        commits = [c for line in model.graph.lines.values() for c in model.graph.lineage(line.head)]
        some = commits[:: max(1, len(commits) // 4)]
        for a, b in product(some, some):
            expected = expected_diff(modelled(model, a), modelled(model, b))
            equal(told(list(store.diff(f"@{a}", f"@{b}"))), expected, f"the diff of two commits, {a} and {b}")
        for branch in store.branches.list():
            own = [commit for commit in store.log(branch.name) if commit.branch == branch.id]
            for commit in own:
                touched = hooks.touched(
                    ctx=case.ctx, branch=branch.id, after=commit.seq, upto=branch.head.seq
                )
                found = list(touched)
                what = f"the rows touched on {branch.name} since {commit.id}"
                equal(found, sorted(set(found)), f"{what}, in order")
                differ = expected_diff(modelled(model, commit.id), modelled(model, branch.head.commit))
                equal({row[:2] for row in differ} - set(found), set(), f"what is missing of {what}")


@check("CO-030", "CO-031", "CO-032", level="branches", kind="property", weight=1.0)
def diffs_of_random_histories(case: Case) -> None:
    """Diffs of random commits of a random history are exactly what differs in the model."""
    case.given(walk_the_diffs, histories(STEPS), examples=EXAMPLES)


def walk_a_copy(case: Case, history: list[Step]) -> None:
    """A copy shows at every commit, by id, by number and by time, what the source does."""
    with (
        case.new_store() as store,
        case.new_store() as copy,
        hooked(case, store) as hooks,
        hooked(case, copy) as there,
    ):
        played(case, store, [step for step in history if not isinstance(step, Compact)])
        copy.ingest(store.export())
        equal(there.list_checkpoints(ctx=case.ctx), hooks.list_checkpoints(ctx=case.ctx), "the checkpoints")
        refs = [Ref(mark.name) for mark in store.checkpoints.list()]
        for branch in store.branches.list():
            log = list(store.log(branch.name))
            equal(list(copy.log(branch.name)), log, f"the log of {branch.name}")
            refs.append(Ref(branch.name))
            for commit in log:
                refs += [Ref("", commit=commit.id), Ref(branch.name, seq=commit.seq)]
                refs += [Ref(branch.name, time=commit.time), Ref(branch.name, time=commit.time - 1)]
        for ref in {str(ref): ref for ref in refs}.values():
            here, other = encoded_rows(hooks, case.ctx, ref), encoded_rows(there, case.ctx, ref)
            equal(other, here, f"the rows of the copy at {ref}")


@check("CO-061", "CO-066", level="branches", kind="property", weight=1.0)
def copies_of_random_histories(case: Case) -> None:
    """An export of a random history can be taken in its order, and the copy reads the same everywhere."""
    case.given(walk_a_copy, histories(STEPS), examples=EXAMPLES)
