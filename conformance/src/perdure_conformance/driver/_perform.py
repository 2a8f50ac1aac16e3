"""A step on a store, with an outcome that the same step on another store, or on the model, can be compared with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

import numpy as np
from perdure import ABSENT, TABLES, Commit, Committed, MergeResult, Options, PerdureError, Snapshot, Store

from perdure_conformance._plain import plain
from perdure_conformance.driver._steps import (
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

__all__ = ["Outcome", "Resolver", "perform"]


@dataclass(frozen=True)
class Outcome:
    """What a step came to.

    Attributes:
        error: The name of the error's class, or None.
        result: What can be compared: counts, keys, rows; no ids and no times of the store's own.
        commit: The commit that the step made, if any; not compared, as its time is the clock's.
        message: The error's message, for reports.
    """

    error: str | None
    result: Any = None
    commit: Commit | None = None
    message: str = ""


class Resolver(Protocol):
    """Makes concrete what a step says symbolically."""

    def ref(self, place: Place) -> str:
        """A ref that names the place."""
        ...

    def commit_id(self, place: Place) -> str:
        """The id of the last commit at a place; one that does not exist where there is none."""
        ...

    def head(self, branch: str, expected: str) -> str | None:
        """The `expect_head` that an expectation means."""
        ...

    def version(self, branch: str, table: str, key: tuple[str, ...], condition: str) -> str | None:
        """The `if_version` that a condition means."""
        ...


def perform(store: Store, step: Step, resolver: Resolver, commit_id: str) -> Outcome:
    """Run one step on a store.

    Args:
        store: Any handle; steps name their branch.
        step: What to do.
        resolver: Answers for places and versions as they are before the step.
        commit_id: The id of the commit that the step may make.
    """
    try:
        result, commit = _STEPS[type(step)](store, step, resolver, commit_id)
    except PerdureError as error:
        return Outcome(type(error).__name__, message=str(error))
    return Outcome(None, result, commit)


def _on(store: Store, branch: str) -> Store:
    store.branches.get(branch)
    return store.branch(branch)


def _key(key: tuple[str, ...]) -> Any:
    return key[0] if len(key) == 1 else key


# ------------------------------------------------------------------------------------------- writing


def _write(store: Store, step: Write, resolver: Resolver, commit_id: str) -> Any:
    here = _on(store, step.branch)
    done = _write_once(here, step, resolver, commit_id)
    first = _counts(done)
    if not step.again:
        return first, done.commit
    second = _write_once(here, step, resolver, commit_id)
    return (*first, "again", *_counts(second)), second.commit


def _write_once(here: Store, step: Write, resolver: Resolver, commit_id: str) -> Committed:
    said: dict[str, Any] = {"commit_id": commit_id, "check_references": step.check_references}
    said |= {"message": f"step {commit_id}", "author": "conformance"}
    if step.expect != "none":
        said["expect_head"] = resolver.head(step.branch, step.expect)
    done: Committed | None
    if len(step.writes) == 1:
        done = _submit(here, step.writes[0], step.branch, resolver, said)
    else:
        with here.batch(**said) as batch:
            for write in step.writes:
                _submit(batch, write, step.branch, resolver, None)
        done = batch.result
    assert done is not None
    return done


def _submit(where: Any, write: Any, branch: str, resolver: Resolver, said: dict[str, Any] | None) -> Any:
    options = None if said is None else Options(**said)
    if isinstance(write, Increment):
        return where.skills.increment(write.id, options, **write.amounts)
    table = where.table(write.table)
    if isinstance(write, Delete):
        return table.delete([_key(key) for key in write.keys], missing_ok=write.missing_ok, **(said or {}))
    if isinstance(write, Update):
        version = resolver.version(branch, write.table, write.key, write.condition)
        return table.update(_key(write.key), if_version=version, options=options, **write.fields)
    records = [_arrayed(write.table, fields) for fields in write.records]
    if write.insert:
        return table.insert(records, **(said or {}))
    if write.condition == "none":
        return table.put(records, **(said or {}))
    key = tuple(records[0][name] for name in TABLES[write.table].key)
    version = resolver.version(branch, write.table, key, write.condition)
    if version == ABSENT:
        return table.put(records[0], if_absent=True, **(said or {}))
    return table.put(records[0], if_version=version, **(said or {}))


def _arrayed(table: str, fields: Any) -> Any:
    return {**fields, "values": np.array(fields["values"], "<f8")} if table == "vectors" else dict(fields)


def _counts(done: Committed) -> tuple[Any, ...]:
    return (done.commit is not None, done.written, done.deleted, done.replayed)


def _expire(store: Store, step: Expire, resolver: Resolver, commit_id: str) -> Any:
    done = _on(store, step.branch).expire(step.now)
    return (False, 0, 0, False) if done is None else _counts(done), None if done is None else done.commit


def _touch(store: Store, step: Touch, resolver: Resolver, commit_id: str) -> Any:
    return store.table(step.table).touch([_key(key) for key in step.keys], step.at), None


# ----------------------------------------------------------------------------------- merges, reverts


def _merge(store: Store, step: Merge, resolver: Resolver, commit_id: str) -> Any:
    keys = None if step.keys is None else {t: [_key(key) for key in ks] for t, ks in step.keys.items()}
    done = store.merge(
        resolver.ref(step.source),
        into=step.into,
        strategy=step.strategy,
        dry_run=step.dry_run,
        tables=step.tables,
        keys=keys,
        commit_id=commit_id,
    )
    return _merged(done), done.commit


def _sync(store: Store, step: Sync, resolver: Resolver, commit_id: str) -> Any:
    done = _on(store, step.branch).sync(strategy=step.strategy, commit_id=commit_id)
    return _merged(done), done.commit


def _revert(store: Store, step: Revert, resolver: Resolver, commit_id: str) -> Any:
    done = _on(store, step.branch).revert(
        resolver.commit_id(step.commit),
        parent=step.parent,
        strategy=step.strategy,
        dry_run=step.dry_run,
        commit_id=commit_id,
    )
    return _merged(done), done.commit


def _merged(done: MergeResult) -> dict[str, Any]:
    return {
        "committed": done.commit is not None,
        "already": done.already_merged,
        "bases": sorted(base.commit or "" for base in done.bases),
        "changes": [(change.table, change.key, change.row is None) for change in done.changes],
        "conflicts": [(row.table, row.key, row.kind, row.fields) for row in done.conflicts],
    }


# ----------------------------------------------------------------------------------- named things


def _fork(store: Store, step: Fork, resolver: Resolver, commit_id: str) -> Any:
    return store.branches.create(step.name, resolver.ref(step.at)).name, None


def _drop_branch(store: Store, step: DropBranch, resolver: Resolver, commit_id: str) -> Any:
    return store.branches.delete(step.name, cascade=step.cascade), None


def _mark(store: Store, step: Mark, resolver: Resolver, commit_id: str) -> Any:
    return store.checkpoints.create(step.name, resolver.ref(step.at), metrics=step.metrics).name, None


def _unmark(store: Store, step: Unmark, resolver: Resolver, commit_id: str) -> Any:
    store.checkpoints.delete(step.name)
    return None, None


def _create_space(store: Store, step: CreateSpace, resolver: Resolver, commit_id: str) -> Any:
    return _defined(store.spaces.create(step.name, step.dim, **step.options)), None


def _defined(space: Any) -> tuple[Any, ...]:
    """A space without the time of its making."""
    return (space.name, space.dim, space.dtype, space.metric, space.model, space.table)


def _drop_space(store: Store, step: DropSpace, resolver: Resolver, commit_id: str) -> Any:
    store.spaces.drop(step.name)
    return None, None


def _compact(store: Store, step: Compact, resolver: Resolver, commit_id: str) -> Any:
    if step.lease:
        store.compact(step.keep)
    else:
        store.compact(step.keep, lease=timedelta(0))
    return None, None


def _purge(store: Store, step: Purge, resolver: Resolver, commit_id: str) -> Any:
    report = store.table(step.table).purge([_key(key) for key in step.keys])
    return (report.keys, report.vectors), None


# --------------------------------------------------------------------------------------------- reads


def _find(store: Store, step: Find, resolver: Resolver, commit_id: str) -> Any:
    table = store.at(resolver.ref(step.at)).table(step.table)
    page = table.find(step.where, order_by=step.order_by, limit=step.page)
    found = list(page)
    while page.cursor is not None:
        page = table.find(step.where, order_by=step.order_by, limit=step.page, after=page.cursor)
        found += page
    return ([_parts(record.key) for record in found], table.count(step.where)), None


def _parts(key: Any) -> tuple[str, ...]:
    return key if isinstance(key, tuple) else (key,)


def _search(store: Store, step: Search, resolver: Resolver, commit_id: str) -> Any:
    vectors = store.at(resolver.ref(step.at))
    space = store.spaces.get(step.space)
    table = vectors.table(space.table or "vectors")
    hits = table.search(np.array(step.vector), k=step.k, where=step.where, space=step.space, exact=True)
    return [(_parts(hit.record.key), hit.score) for hit in hits], None


def _diff(store: Store, step: Diff, resolver: Resolver, commit_id: str) -> Any:
    rows = store.diff(resolver.ref(step.a), resolver.ref(step.b))
    return [(row.table, row.key, row.kind, row.fields) for row in rows], None


def _log(store: Store, step: Log, resolver: Resolver, commit_id: str) -> Any:
    return [commit.id for commit in store.log(resolver.ref(step.at))], None


def _without(store: Store, step: Without, resolver: Resolver, commit_id: str) -> Any:
    view = store.at(resolver.ref(step.at), without=resolver.commit_id(step.commit))
    return rows_of(view), None


def rows_of(view: Store | Snapshot) -> dict[str, list[dict[str, Any]]]:
    """All rows at one place, by table, in key order, in the plain form of the model."""
    return {name: [plain(name, record) for record in view.table(name).scan()] for name in TABLES}


_STEPS: dict[type, Callable[..., Any]] = {
    Write: _write,
    Expire: _expire,
    Touch: _touch,
    Merge: _merge,
    Sync: _sync,
    Revert: _revert,
    Fork: _fork,
    DropBranch: _drop_branch,
    Mark: _mark,
    Unmark: _unmark,
    CreateSpace: _create_space,
    DropSpace: _drop_space,
    Compact: _compact,
    Purge: _purge,
    Find: _find,
    Search: _search,
    Diff: _diff,
    Log: _log,
    Without: _without,
}
