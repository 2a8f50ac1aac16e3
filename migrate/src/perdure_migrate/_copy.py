"""Writing a plan into a store, so that it can be stopped at any point and run again.

Only rows that are missing are written, and they are inserted: nothing that the store holds is ever changed.
Commit ids follow from the content, so a commit whose answer was lost is not made twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import islice
from typing import Any

from perdure import Committed, Conflict, Space, Store

from perdure_migrate._plan import ORDER, Plan, Planned, PlannedCheckpoint
from perdure_migrate._verify import Progress, check_checkpoint, compare

__all__ = ["Standing", "copy_plan", "look"]

#: Rows per commit.
CHUNK = 2_000

_PREFIX = "migrate-"


@dataclass(slots=True)
class Standing:
    """How far a store already is.

    Attributes:
        missing: Rows to write, owners before vectors.
        present: Rows that are there and equal, by table.
        spaces: Spaces to create.
        checkpoints: Checkpoints to make.
    """

    missing: list[tuple[str, Any, Planned]] = field(default_factory=list)
    present: dict[str, int] = field(default_factory=dict)
    spaces: list[Any] = field(default_factory=list)
    checkpoints: list[PlannedCheckpoint] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether there is nothing to write."""
        return not (self.missing or self.spaces or self.checkpoints)


def look(plan: Plan, store: Store | None) -> Standing:
    """Compare a plan with a store (None: there is none yet) without writing.

    Raises:
        Conflict: The store holds something else under a key or a name of the plan; `detail` has the rows.
    """
    if store is None:
        return Standing(list(plan.each()), {}, list(plan.spaces), list(plan.checkpoints))
    standing, clashes = Standing(), []
    spaces = {space.name: space for space in store.spaces.list()}
    for wanted in plan.spaces:
        if wanted.name not in spaces:
            standing.spaces.append(wanted)
        elif not _same_space(spaces[wanted.name], wanted):
            clashes.append(f"space {wanted.name!r} has another definition")
    absent = {wanted.name for wanted in standing.spaces}
    for table in ORDER:
        rows = plan.rows[table]
        if table == "vectors" and absent:
            standing.missing += [(table, key, rows[key]) for key in rows if key[0] in absent]
            rows = {key: planned for key, planned in rows.items() if key[0] not in absent}
        for key, planned, fields in compare(store, table, rows):
            if fields is None:
                standing.missing.append((table, key, planned))
            elif fields:
                clashes.append(f"{table} {key!r} differs in {', '.join(fields)}")
            else:
                standing.present[table] = standing.present.get(table, 0) + 1
    if not clashes:
        clashes += _look_at_checkpoints(plan, store, standing)
    if clashes:
        raise Conflict(
            f"the target already holds something else under {len(clashes)} of the keys to write, such as: "
            f"{clashes[0]}. Nothing was written. Use another --namespace or --branch",
            clashes=clashes[:1_000],
        )
    return standing


def _same_space(space: Space, wanted: Any) -> bool:
    names = ("dim", "dtype", "metric", "table")
    return all(getattr(space, name) == getattr(wanted, name) for name in names)


def _look_at_checkpoints(plan: Plan, store: Store, standing: Standing) -> Iterator[str]:
    checkpoints = {checkpoint.name for checkpoint in store.checkpoints.list()}
    branches = {branch.name: branch for branch in store.branches.list()}
    for wanted in plan.checkpoints:
        if wanted.name in checkpoints:
            for mismatch in check_checkpoint(plan, wanted, store):
                yield f"checkpoint {wanted.name!r} {mismatch.what}"
            continue
        standing.checkpoints.append(wanted)
        if wanted.name in branches:
            yield f"a branch has the name of checkpoint {wanted.name!r}"
        if not wanted.same and wanted.branch in checkpoints:
            yield f"a checkpoint has the name of branch {wanted.branch!r}"
        if not wanted.same and wanted.branch in branches:
            own = branches[wanted.branch].id
            if any(c.branch == own and not c.id.startswith(_PREFIX) for c in store.log(wanted.branch)):
                yield f"branch {wanted.branch!r} is in use"


def copy_plan(plan: Plan, standing: Standing, store: Store, progress: Progress) -> list[str]:
    """Write what is missing; the ids of the commits made.

    Raises:
        AlreadyExists: Somebody wrote one of the rows meanwhile; what was committed before stays.
    """
    for space in standing.spaces:
        store.spaces.create(space.name, space.dim, dtype=space.dtype, metric=space.metric, table=space.table)
    made: list[str] = []
    done, last = 0, None
    for chunk in _chunks(standing.missing):
        result = _write(plan, store, chunk)
        if result.commit is not None:
            made.append(result.commit.id)
            last = result.point
        done += len(chunk)
        progress("copy", done, len(standing.missing))
    for checkpoint in standing.checkpoints:
        if checkpoint.same:
            at = last or store.head()
        else:
            at, commit = _write_branch(plan, checkpoint, store)
            made += [commit] if commit else []
        _name(store, checkpoint, at)
    return made


def _chunks(rows: Iterable[tuple[str, Any, Planned]]) -> Iterator[list[tuple[str, Any, Planned]]]:
    """Blocks of `CHUNK` rows."""
    rows = iter(rows)
    while block := list(islice(rows, CHUNK)):
        yield block


def _write(plan: Plan, store: Store, chunk: list[tuple[str, Any, Planned]]) -> Committed:
    keys = [f"{table} {key!r}" for table, key, _ in chunk]
    branch = store.branches.get(store.branch_name).id
    commit_id = _commit_id(plan, branch, keys)
    result = _insert(plan, store, chunk, commit_id)
    if result.replayed and any(_lacks(store, chunk)):
        # The rows were written once and removed since. To migrate again is to want them back.
        result = _insert(plan, store, chunk, _commit_id(plan, branch, [*keys, str(store.head())]))
    return result


def _lacks(store: Store, chunk: list[tuple[str, Any, Planned]]) -> Iterator[bool]:
    """For each row of a chunk, whether the store lacks it."""
    for table in ORDER:
        keys = [key for name, key, _ in chunk if name == table]
        if keys:
            yield from (record is None for record in getattr(store, table).get_many(keys))


def _insert(plan: Plan, store: Store, chunk: list[tuple[str, Any, Planned]], commit_id: str) -> Committed:
    with store.batch(message=_message(plan), commit_id=commit_id) as batch:
        for table in ORDER:
            records = [planned.record for name, _, planned in chunk if name == table]
            if records:
                getattr(batch, table).insert(records)
    assert batch.result is not None
    return batch.result


def _write_branch(plan: Plan, checkpoint: PlannedCheckpoint, store: Store) -> tuple[Any, str | None]:
    """Make the branch of a checkpoint hold its states, and of the plan's no others."""
    lab = store.branch(checkpoint.branch)
    wrong = [p.record for _, p, fields in compare(lab, "states", checkpoint.states) if fields != []]
    extra = [
        key
        for key in plan.rows["states"]
        if key not in checkpoint.states and not key[0].startswith("legacy.")
    ]
    extra = [key for key, found in zip(extra, lab.states.get_many(extra), strict=True) if found is not None]
    if not wrong and not extra:
        return lab.head(), None
    words = [checkpoint.name, *map(repr, extra), *(repr(record.key) for record in wrong)]
    commit_id = _commit_id(plan, store.branches.get(checkpoint.branch).id, words)
    with lab.batch(message=_message(plan), commit_id=commit_id) as batch:
        if wrong:
            batch.states.put(wrong)
        if extra:
            batch.states.delete(extra)
    return lab.head(), commit_id


def _name(store: Store, checkpoint: PlannedCheckpoint, at: Any) -> None:
    store.checkpoints.create(checkpoint.name, at, metrics=checkpoint.metrics, message=checkpoint.message)


def _message(plan: Plan) -> str:
    name = plan.name.encode("utf-8", "backslashreplace").decode().replace("\0", "")
    return f"migrate {name} ({plan.rules}, sha256 {plan.digest})"


def _commit_id(plan: Plan, branch: str, words: Iterable[str]) -> str:
    digest = blake2b(digest_size=20, person=b"perdure.migrate")
    for part in (plan.rules, plan.digest, branch, *words):
        data = part.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "little") + data)
    return _PREFIX + digest.hexdigest()
