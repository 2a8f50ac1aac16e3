"""Branches, checkpoints, embedding spaces and namespaces: the records that are not rows."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from perdure import (
    MAIN,
    TABLES,
    AlreadyExists,
    At,
    Branch,
    Checkpoint,
    Conflict,
    CorruptStore,
    NotFound,
    Point,
    PurgeReport,
    Space,
    check_name,
    now_us,
    uuid7,
)

from perdure_sql._codec import branch_of, checkpoint_of, columns, record_hash, space_of
from perdure_sql._commit import load_spaces
from perdure_sql._database import Session
from perdure_sql._places import BRANCHES, Arm, place
from perdure_sql._tables import HEAD, RECORDS

__all__ = [
    "add_branch",
    "add_checkpoint",
    "add_namespace",
    "add_space",
    "bump",
    "check_namespaces",
    "create_branch",
    "create_checkpoint",
    "create_space",
    "delete_branch",
    "delete_checkpoint",
    "drop_namespace",
    "drop_space",
    "insert",
    "list_branches",
    "list_checkpoints",
    "namespace_number",
    "record_prefix",
]

#: All branches, in the column order of `branch_of`, once for each pin.
_LIST = """
SELECT b.id, b.name, p.id, b.fork_seq, b.head_seq, b.head_commit, b.head_time, b.floor, b.created_at, k.seq
FROM branches b LEFT JOIN branches p ON p.ns = b.ns AND p.no = b.parent AND p.no < b.no
LEFT JOIN pins k ON k.ns = b.ns AND k.branch = b.no WHERE b.ns = :ns ORDER BY b.name, k.seq"""

_CHECKPOINTS = """
SELECT b.id, c.name, c.seq, c.commit_id, c.time, c.metrics, c.message, c.created_at
FROM checkpoints c JOIN branches b ON b.ns = c.ns AND b.no = c.branch WHERE c.ns = :ns"""


def insert(session: Session, table: str, *cells: Any) -> None:
    """Insert a record; its hash is added."""
    names = RECORDS[table]
    values = (*cells, record_hash(table, cells))
    session.run_with(
        f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join(':' + name for name in names)})",
        dict(zip(names, values, strict=True)),
    )


# ---------------------------------------------------------------------------------------- namespaces


def namespace_number(session: Session, name: str) -> int | None:
    """The number of a namespace, or None."""
    found = session.one("SELECT no FROM namespaces WHERE name = :name", name=name)
    return None if found is None else found[0]


def check_namespaces(session: Session, name: str, number: int | None) -> None:
    """Tell a namespace that is not there from one that cannot be found because its record is damaged.

    Raises:
        CorruptStore: The record of this namespace, or one that might have been it, is damaged.
    """
    names = ", ".join(RECORDS["namespaces"])
    rows = session.all(
        f"SELECT {names} FROM namespaces"
        if number is None
        else f"SELECT {names} FROM namespaces WHERE no = {number:d}"
    )
    for row in rows:
        if record_hash("namespaces", row[:-1]) != row[-1] or (row[1] == name) is (number is None):
            raise CorruptStore(
                f"the record of namespace {name!r} is damaged; stop writing, run verify, restore from a backup",
                namespace=name,
            )


def add_namespace(session: Session, name: str) -> int:
    """Create a namespace with its branch `main`; its number."""
    time, key = now_us(), os.urandom(32)
    number = session.one(
        "INSERT INTO namespaces (name, branch_count, space_epoch, purge_epoch, key, created_at, hash) "
        "VALUES (:name, 0, 0, 0, :key, :time, :key) RETURNING no",
        name=name,
        key=key,
        time=time,
    )[0]
    bump(session, number)
    add_branch(session, number, Branch(uuid7(), MAIN, None, 0, Point("", 0), 0, time), None, ())
    return number  # type: ignore[no-any-return]


def bump(session: Session, ns: int, *, branches: int = 0, spaces: int = 0, purges: int = 0) -> int:
    """Count up what caches and branch numbers are made of; the number of branches ever made."""
    found = session.one(
        "SELECT no, name, branch_count, space_epoch, purge_epoch, key, created_at FROM namespaces WHERE no = :ns",
        ns=ns,
    )
    if found is None:
        raise NotFound("this namespace was dropped; open it again to create it anew")
    no, name, count, space_epoch, purge_epoch, key, created = found
    cells = (no, name, count + branches, space_epoch + spaces, purge_epoch + purges, key, created)
    session.run(
        "UPDATE namespaces SET branch_count = :count, space_epoch = :spaces, purge_epoch = :purges, hash = :hash "
        "WHERE no = :ns",
        count=cells[2],
        spaces=cells[3],
        purges=cells[4],
        hash=record_hash("namespaces", cells),
        ns=ns,
    )
    return cells[2]  # type: ignore[no-any-return]


def drop_namespace(session: Session, name: str, number: int) -> bool:
    """Delete a namespace and all it holds; not another one of that name that was made since `number` was read."""
    if namespace_number(session, name) != number:
        raise NotFound(f"there is no namespace {name!r}; list them to see which there are", namespace=name)
    session.dialect.overwrite(session.raw, number)
    others = (
        "branches",
        "lineage",
        "commits",
        "checkpoints",
        "pins",
        "spaces",
        "counters",
        "chunks",
        "purged",
    )
    for table in (*others, *TABLES, *(f"{table}_overrides" for table in TABLES)):
        session.run(f"DELETE FROM {table} WHERE ns = :ns", ns=number)
    session.run("DELETE FROM namespaces WHERE no = :ns", ns=number)
    return True


# ------------------------------------------------------------------------------------------ branches


def create_branch(session: Session, ns: int, name: str, at: At) -> Branch:
    """Fork a branch: a branch record, and a lineage record for each ancestor."""
    _check_free(session, ns, name)
    where = place(session, ns, _bare(at))
    point = where.point
    fork = Point("", point.seq, point.commit, point.time)
    branch = Branch(uuid7(), name, point.branch, point.seq, fork, point.seq, now_us())
    return add_branch(session, ns, branch, where.branch, where.arms)


def add_branch(session: Session, ns: int, branch: Branch, parent: int | None, arms: Sequence[Arm]) -> Branch:
    """Record a branch below the ancestors `arms`; its head's branch id is filled in."""
    number = bump(session, ns, branches=1)
    head = branch.head
    insert(
        session,
        "branches",
        *(ns, number, branch.id, branch.name, parent, branch.fork_seq),
        *(head.seq, head.commit, head.time, 0, branch.floor, branch.created_at),
    )
    for depth, (ancestor, upto) in enumerate((Arm(number, HEAD), *arms)):
        session.run(
            "INSERT INTO lineage (ns, branch, depth, ancestor, upto) VALUES (:ns, :branch, :depth, :ancestor, :upto)",
            ns=ns,
            branch=number,
            depth=depth,
            ancestor=ancestor,
            upto=upto,
        )
    made = branch_of(session.one(f"{BRANCHES} AND b.no = :no", ns=ns, no=number))
    assert made.id == branch.id
    return made


def _check_free(session: Session, ns: int, name: str) -> None:
    check_name(name)
    for table, kind in (("branches", "branch"), ("checkpoints", "checkpoint")):
        if session.one(f"SELECT 1 FROM {table} WHERE ns = :ns AND name = :name", ns=ns, name=name):
            raise AlreadyExists(
                f"there is a {kind} {name!r} already; choose another name, or delete it", name=name
            )


def list_branches(session: Session, ns: int) -> list[Branch]:
    """All branches, by name."""
    rows = groupby(session.all(_LIST, ns=ns), lambda row: row[:-1])
    return [branch_of(cells, tuple(row[-1] for row in each if row[-1] is not None)) for cells, each in rows]


def delete_branch(session: Session, ns: int, name: str, cascade: bool) -> int:
    """Delete a branch with its rows and commits."""
    found = session.one("SELECT no FROM branches WHERE ns = :ns AND name = :name", ns=ns, name=name)
    if found is None:
        raise NotFound(f"there is no branch {name!r}; list the branches to see which there are", branch=name)
    if name == MAIN:
        raise Conflict("branch 'main' is never deleted; drop the namespace instead")
    doomed = [found[0]]
    for number in doomed:  # grows while it is read: children after their parents
        doomed += [
            r[0]
            for r in session.all("SELECT no FROM branches WHERE ns = :ns AND parent = :no", ns=ns, no=number)
        ]
    if not cascade:
        if len(doomed) > 1:
            raise Conflict(
                f"branch {name!r} has children; delete them first, or pass cascade=True", branch=name
            )
        pin = session.one(
            "SELECT name FROM checkpoints WHERE ns = :ns AND branch = :no ORDER BY name LIMIT 1",
            ns=ns,
            no=doomed[0],
        )
        if pin:
            raise Conflict(
                f"branch {name!r} is pinned by checkpoint {pin[0]!r}; delete that first, or pass cascade=True",
                branch=name,
                checkpoint=pin[0],
            )
    for number in doomed:
        _erase_branch(session, ns, number)
    return len(doomed)


def _erase_branch(session: Session, ns: int, number: int) -> None:
    for table in TABLES.values():
        keys = columns(table.key, "")
        session.run(
            f"DELETE FROM {table.name}_overrides WHERE ns = :ns AND branch = :no AND ({keys}) IN "
            f"(SELECT {keys} FROM {table.name} WHERE ns = :ns AND branch = :no)",
            ns=ns,
            no=number,
        )
        session.run(f"DELETE FROM {table.name} WHERE ns = :ns AND branch = :no", ns=ns, no=number)
    for name in ("lineage", "commits", "checkpoints", "pins"):
        session.run(f"DELETE FROM {name} WHERE ns = :ns AND branch = :no", ns=ns, no=number)
    session.run("DELETE FROM branches WHERE ns = :ns AND no = :no", ns=ns, no=number)


def _bare(at: At) -> At:
    """Without what a caller says of a point's commit and time: what is recorded comes from the store."""
    return Point(at.branch, at.seq) if isinstance(at, Point) else at


# --------------------------------------------------------------------------------------- checkpoints


def create_checkpoint(session: Session, ns: int, checkpoint: Checkpoint) -> Checkpoint:
    """Name a readable point."""
    _check_free(session, ns, checkpoint.name)
    return add_checkpoint(session, ns, checkpoint)


def add_checkpoint(session: Session, ns: int, checkpoint: Checkpoint) -> Checkpoint:
    """Record a checkpoint whose name is free."""
    where = place(session, ns, _bare(checkpoint.point))
    point = where.point
    created = checkpoint.created_at or now_us()
    insert(
        session,
        "checkpoints",
        *(ns, checkpoint.name, where.branch, point.seq, point.commit, point.time),
        *(checkpoint.metrics, checkpoint.message, created),
    )
    return Checkpoint(checkpoint.name, point, checkpoint.metrics, checkpoint.message, created)


def delete_checkpoint(session: Session, ns: int, name: str) -> bool:
    """Forget a checkpoint's name."""
    if not session.count("DELETE FROM checkpoints WHERE ns = :ns AND name = :name", ns=ns, name=name):
        raise NotFound(
            f"there is no checkpoint {name!r}; list the checkpoints to see which there are", checkpoint=name
        )
    return True


def list_checkpoints(session: Session, ns: int) -> list[Checkpoint]:
    """All checkpoints, by name."""
    return [checkpoint_of(row[0], row[1:]) for row in session.all(f"{_CHECKPOINTS} ORDER BY c.name", ns=ns)]


# -------------------------------------------------------------------------------------------- spaces


def create_space(session: Session, ns: int, space: Space) -> Space:
    """Create a space, or find the same one."""
    known = load_spaces(session, ns).get(space.name)
    if known is None:
        return add_space(session, ns, space)
    if _definition(known) != _definition(space):
        raise AlreadyExists(
            f"space {space.name!r} exists with another definition; choose another name, or drop it",
            space=space.name,
        )
    return known


def add_space(session: Session, ns: int, space: Space) -> Space:
    """Record a space whose name is free."""
    made = space_of((*_definition(space), space.created_at or now_us()))
    insert(session, "spaces", ns, *_definition(made), made.created_at)
    bump(session, ns, spaces=1)
    return made


def _definition(space: Space) -> tuple[Any, ...]:
    return space.name, space.dim, space.dtype, space.metric, space.model, space.table


def drop_space(session: Session, ns: int, name: str) -> PurgeReport:
    """Drop a space and every version of its vectors."""
    where: Mapping[str, Any] = {"ns": ns, "name": name}
    session.dialect.overwrite(session.raw, ns)
    if not session.run_with("DELETE FROM spaces WHERE ns = :ns AND name = :name", where).rowcount:
        raise NotFound(f"there is no space {name!r}; list the spaces to see which there are", space=name)
    keys = session.one("SELECT count(DISTINCT id) FROM vectors WHERE ns = :ns AND space = :name", **where)[0]
    versions = session.count("DELETE FROM vectors WHERE ns = :ns AND space = :name", **where)
    session.run("DELETE FROM vectors_overrides WHERE ns = :ns AND space = :name", **where)
    low = record_prefix(name)
    session.run(
        "DELETE FROM counters WHERE ns = :ns AND tbl = 'vectors' AND row_key >= :low AND row_key < :high",
        ns=ns,
        low=low,
        high=low[:-1] + chr(ord(low[-1]) + 1),
    )
    bump(session, ns, spaces=1, purges=1)
    return PurgeReport(keys=keys, versions=versions, vectors=keys)


def record_prefix(space: str) -> str:
    """What the key texts of all vectors of a space start with; a space's name needs no escapes."""
    return f'["{space}",'
