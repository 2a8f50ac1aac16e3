"""Compaction: what must stay readable stays; other versions, commits and payload pieces go."""

from __future__ import annotations

from collections.abc import Iterator

from perdure import TABLES, CompactReport, CompactRequest, Context, Table, now_us

from perdure_sql._branches import bump, insert
from perdure_sql._codec import commit_of, quote
from perdure_sql._database import Database, Session
from perdure_sql._dialect import Scope
from perdure_sql._lineage import BranchRow, branch_rows, flatten, store_branch
from perdure_sql._places import COMMITS
from perdure_sql._purge import drop_chunks
from perdure_sql._tables import OPEN

__all__ = ["compact"]


def compact(database: Database, ctx: Context, ns: int, request: CompactRequest) -> CompactReport:
    """Drop what nothing needs, flatten deep branches, give space back."""
    report = database.write(ctx, ns, Scope.NAMESPACE, lambda session: _compact(session, ns, request))
    freed = database.dialect.reclaim(ctx.deadline if ctx is not None else None)
    return CompactReport(*report, freed)


def _compact(session: Session, ns: int, request: CompactRequest) -> tuple[int, int, int, int]:
    """What was dropped: versions, commits, payload pieces; and how many branches were flattened."""
    flattened = flatten(session, ns)
    branches = branch_rows(session, ns)
    floors = {no: _floor(session, branch, request) for no, branch in branches.items()}
    pins = _pins(session, ns, branches, floors)
    session.run("DELETE FROM pins WHERE ns = :ns", ns=ns)
    for number, seq in sorted(pins):
        insert(session, "pins", ns, number, seq)
    versions = 0
    for no, branch in branches.items():
        if branch.floor != floors[no]:
            store_branch(session, branch._replace(floor=floors[no]))
        root = branch.parent is None or bool(branch.flat)
        versions += sum(_drop_versions(session, ns, no, table, floors[no], root) for table in TABLES.values())
    commits = sum(_drop_commits(session, ns, no, floors[no]) for no in branches)
    chunks = drop_chunks(session, ns, None)
    if flattened or versions:
        bump(session, ns, purges=1)  # cached vectors follow lineages, and miss tombstones that are gone
    return versions, commits, chunks, flattened


def _floor(session: Session, branch: BranchRow, request: CompactRequest) -> int:
    """The least sequence number of the branch that the window or the lease needs."""
    values = {"ns": branch.ns, "no": branch.no}
    own = "FROM commits WHERE ns = :ns AND branch = :no"

    def held_at(clock: str, time: int) -> int:
        """What was the head at that time."""
        found = session.run_with(
            f"SELECT max(seq) {own} AND {clock} <= :time", {**values, "time": time}
        ).fetchone()
        return branch.fork_seq if found[0] is None else int(found[0])

    needed = [branch.head_seq, held_at("wall", now_us() - request.lease)]
    if request.keep_since is not None:
        needed.append(held_at("time", request.keep_since))
    if request.keep_commits is not None:
        found = session.run_with(
            f"SELECT seq {own} ORDER BY seq DESC LIMIT 1 OFFSET :skip",
            {**values, "skip": max(0, request.keep_commits - 1)},
        ).fetchone()
        needed.append(branch.fork_seq if found is None else found[0])
    return max(branch.floor, min(needed))


def _pins(
    session: Session, ns: int, branches: dict[int, BranchRow], floors: dict[int, int]
) -> set[tuple[int, int]]:
    """Points below the floors that a fork, a checkpoint, a later merge or a later pick needs."""
    pins: set[tuple[int, int]] = set()
    for no, seq in _needed(session, ns, branches):
        branch = branches[no]
        while branch.parent is not None and seq <= branch.fork_seq:
            branch = branches[branch.parent]
        if seq >= floors[branch.no]:
            continue
        # Only what is readable now can stay readable.
        was = session.one(
            "SELECT 1 FROM pins WHERE ns = :ns AND branch = :no AND seq = :seq", ns=ns, no=branch.no, seq=seq
        )
        if seq >= branch.floor or was:
            pins.add((branch.no, seq))
    return pins


def _needed(session: Session, ns: int, branches: dict[int, BranchRow]) -> Iterator[tuple[int, int]]:
    for branch in branches.values():
        if branch.parent is not None:
            yield branch.parent, branch.fork_seq
    for no, seq in session.all("SELECT branch, seq FROM checkpoints WHERE ns = :ns", ns=ns):
        yield no, seq
    numbers = {branch.id: branch.no for branch in branches.values()}
    merges: dict[int, list[tuple[int, dict[str, int]]]] = {}
    for row in session.all(f"{COMMITS} AND (c.vector <> '{{}}' OR c.picks <> '[]') ORDER BY c.seq", ns=ns):
        commit = commit_of(row[0], row[1:])
        for pick in commit.picks:
            if pick.source.branch in numbers:
                yield numbers[pick.source.branch], pick.source.seq
        merges.setdefault(numbers[commit.branch], []).append((commit.seq, commit.vector))
    for branch in branches.values():
        # What each branch last took in, at its head: a base of the next merge is among these.
        reached: dict[str, int] = {}
        current: BranchRow | None = branch
        upto = OPEN
        while current is not None:
            for seq, vector in merges.get(current.no, ()):
                if seq <= upto:
                    for id_, reach in vector.items():
                        reached[id_] = max(reach, reached.get(id_, 0))
            upto = min(upto, current.fork_seq)
            current = None if current.parent is None else branches[current.parent]
        for id_, seq in reached.items():
            if id_ in numbers:
                yield numbers[id_], seq


def _drop_versions(session: Session, ns: int, branch: int, table: Table, floor: int, root: bool) -> int:
    values = {"ns": ns, "no": branch, "floor": floor}
    dropped = session.run_with(
        f"DELETE FROM {table.name} WHERE ns = :ns AND branch = :no AND from_seq < :floor AND to_seq <= :floor "
        "AND NOT EXISTS (SELECT 1 FROM pins p WHERE p.ns = :ns AND p.branch = :no "
        f"AND p.seq >= {table.name}.from_seq AND p.seq < {table.name}.to_seq)",
        values,
    ).rowcount
    if root:  # with nothing behind it to hide, a tombstone that no readable version precedes says nothing
        on = " AND ".join(f"o.{quote(name)} = {table.name}.{quote(name)}" for name in table.key)
        dropped += session.run_with(
            f"DELETE FROM {table.name} WHERE ns = :ns AND branch = :no AND from_seq <= :floor AND dead = 1 "
            f"AND to_seq = {OPEN} AND NOT EXISTS (SELECT 1 FROM {table.name} o WHERE o.ns = :ns "
            f"AND o.branch = :no AND {on} AND o.from_seq < {table.name}.from_seq)",
            values,
        ).rowcount
    _join(session, table, values, root)
    return int(dropped)


def _join(session: Session, table: Table, values: dict[str, int], root: bool) -> None:
    """Let each version end where the next one left begins, so that `verify` can tell every `to_seq`.

    No point between is readable, else there were a version for it.
    """
    name = table.name
    later = f"FROM {name} n WHERE n.ns = :ns AND n.branch = :no AND " + " AND ".join(
        f"n.{quote(key)} = {name}.{quote(key)}" for key in table.key
    )
    session.run_with(
        f"UPDATE {name} SET to_seq = (SELECT min(n.from_seq) {later} AND n.from_seq > {name}.from_seq) "
        f"WHERE ns = :ns AND branch = :no AND from_seq < :floor AND to_seq <= :floor "
        f"AND NOT EXISTS (SELECT 1 {later} AND n.from_seq = {name}.to_seq)",
        values,
    )
    if not root:
        first = (
            f"SELECT min(v.from_seq) FROM {name} v WHERE v.ns = :ns AND v.branch = :no AND "
            + " AND ".join(f"v.{quote(key)} = {name}_overrides.{quote(key)}" for key in table.key)
        )
        session.run_with(
            f"UPDATE {name}_overrides SET first_seq = ({first}) "
            f"WHERE ns = :ns AND branch = :no AND first_seq < :floor AND first_seq <> ({first})",
            values,
        )


def _drop_commits(session: Session, ns: int, branch: int, floor: int) -> int:
    """Commits below the floor that no version, point or merge base refers to."""
    own = " ".join(
        f"AND NOT EXISTS (SELECT 1 FROM {name} v WHERE v.ns = :ns AND v.branch = :no AND v.from_seq = commits.seq)"
        for name in TABLES
    )
    copies = " ".join(
        f"AND no NOT IN (SELECT DISTINCT v.commit_no FROM branches b JOIN {name} v ON v.ns = b.ns AND v.branch = b.no "
        "AND v.from_seq = b.fork_seq WHERE b.ns = :ns AND b.flat = 1)"
        for name in TABLES
    )
    return session.count(
        "DELETE FROM commits WHERE ns = :ns AND branch = :no AND seq < :floor AND vector = '{}' AND picks = '[]' "
        "AND seq NOT IN (SELECT seq FROM pins p WHERE p.ns = :ns AND p.branch = :no) "
        f"{own} {copies}",
        ns=ns,
        no=branch,
        floor=floor,
    )
