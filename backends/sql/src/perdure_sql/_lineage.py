"""Lineages as they follow from the branches, and flattening the deep ones."""

from __future__ import annotations

from typing import NamedTuple

from perdure import TABLES, Table

from perdure_sql._arms import arm_params, arms_sql
from perdure_sql._codec import columns, quote, record_hash
from perdure_sql._database import Session
from perdure_sql._places import Arm
from perdure_sql._tables import HEAD, OPEN, VERSION_COLUMNS

__all__ = ["BranchRow", "branch_rows", "flatten", "lineage_of", "store_branch"]

#: Lineages longer than this are flattened by compaction.
DEEP = 8


class BranchRow(NamedTuple):
    """A branch as it is stored, but for the hash."""

    ns: int
    no: int
    id: str
    name: str
    parent: int | None
    fork_seq: int
    head_seq: int
    head_commit: str | None
    head_time: int
    flat: int
    floor: int
    created_at: int


def branch_rows(session: Session, ns: int) -> dict[int, BranchRow]:
    """All branches by number, parents before children."""
    names = ", ".join(BranchRow._fields)
    rows = session.all(f"SELECT {names} FROM branches WHERE ns = :ns ORDER BY no", ns=ns)
    return {row[1]: BranchRow(*row) for row in rows}


def store_branch(session: Session, branch: BranchRow) -> None:
    """Write a branch's floor and whether it is flat."""
    session.run(
        "UPDATE branches SET flat = :flat, floor = :floor, hash = :hash WHERE ns = :ns AND no = :no",
        flat=branch.flat,
        floor=branch.floor,
        hash=record_hash("branches", branch),
        ns=branch.ns,
        no=branch.no,
    )


def lineage_of(branches: dict[int, BranchRow]) -> dict[int, tuple[Arm, ...]]:
    """The lineage of each branch, as its parents say; flat branches stand alone."""
    lineages: dict[int, tuple[Arm, ...]] = {}
    for no, branch in branches.items():
        above: tuple[Arm, ...] = ()
        if branch.parent is not None and not branch.flat:
            above = tuple(
                Arm(ancestor, min(upto, branch.fork_seq))
                for ancestor, upto in lineages.get(branch.parent, ())
            )
        lineages[no] = (Arm(no, HEAD), *above)
    return lineages


def flatten(session: Session, ns: int) -> int:
    """Copy what deep branches inherit into them, so that they have no ancestors to read; how many."""
    count = 0
    branches = branch_rows(session, ns)
    for no in list(branches):
        lineage = lineage_of(branches)[no]
        if len(lineage) <= DEEP:
            continue
        branch = branches[no]
        arms = [Arm(ancestor, min(upto, branch.fork_seq)) for ancestor, upto in lineage]
        for table in TABLES.values():
            _copy(session, ns, table, branch, arms)
        branches[no] = branch._replace(flat=1)
        store_branch(session, branches[no])
        count += 1
    if count:
        for no, lineage in lineage_of(branches).items():
            session.run("DELETE FROM lineage WHERE ns = :ns AND branch = :no", ns=ns, no=no)
            for depth, (ancestor, upto) in enumerate(lineage):
                session.run(
                    "INSERT INTO lineage (ns, branch, depth, ancestor, upto) VALUES (:ns, :no, :depth, :anc, :upto)",
                    ns=ns,
                    no=no,
                    depth=depth,
                    anc=ancestor,
                    upto=upto,
                )
    return count


def _copy(session: Session, ns: int, table: Table, branch: BranchRow, arms: list[Arm]) -> None:
    """Copy what the branch saw at its fork; each copy ends where the branch first wrote the key."""
    on = " AND ".join(f"o.{quote(name)} = v.{quote(name)}" for name in table.key)
    own = (
        f"coalesce((SELECT o.first_seq FROM {table.name}_overrides o "
        f"WHERE o.ns = :ns AND {on} AND o.branch = :b0), {OPEN})"
    )
    cells = (*table.names, *session.dialect.derived.get(table.name, ()))
    wanted = f":ns, :b0, :u0, {own}, 0, v.commit_no, v.hash, {columns(cells)}"
    names = ", ".join([*VERSION_COLUMNS, *(quote(name) for name in cells)])
    params = arm_params(ns, arms)
    for text in arms_sql(table, wanted, arms, "")[1:]:
        session.run_with(f"INSERT INTO {table.name} ({names}) {text}", params)
    session.run(f"DELETE FROM {table.name}_overrides WHERE ns = :ns AND branch = :no", ns=ns, no=branch.no)
