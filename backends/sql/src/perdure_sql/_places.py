"""Where to read: refs and points to a place, which is a list of ancestors with how far each is visible."""

from __future__ import annotations

from typing import Any, NamedTuple

from perdure import At, CorruptStore, HistoryExpired, NotFound, Point, Ref, format_time

from perdure_sql._codec import commit_of
from perdure_sql._database import Session
from perdure_sql._tables import OPEN

__all__ = [
    "BRANCHES",
    "COMMITS",
    "STANDS",
    "Arm",
    "Place",
    "Seen",
    "branch_number",
    "head",
    "pinned",
    "place",
]

_HEAD = """
SELECT b.no, b.id, b.name, b.parent, b.fork_seq, b.head_seq, b.head_commit, b.head_time, b.floor,
       n.purge_epoch, l.ancestor, l.upto
FROM branches b JOIN namespaces n ON n.no = b.ns JOIN lineage l ON l.ns = b.ns AND l.branch = b.no
WHERE b.ns = :ns AND b.{by} = :value ORDER BY l.depth"""
_BY_NAME, _BY_ID, _BY_NO = (_HEAD.format(by=column) for column in ("name", "id", "no"))

_NEWEST = "SELECT head_seq, head_commit, head_time FROM branches WHERE ns = :ns AND no = :no AND id = :id AND name = :name"

#: Branches, in the column order of `branch_of`.
BRANCHES = """
SELECT b.id, b.name, p.id, b.fork_seq, b.head_seq, b.head_commit, b.head_time, b.floor, b.created_at
FROM branches b LEFT JOIN branches p ON p.ns = b.ns AND p.no = b.parent AND p.no < b.no WHERE b.ns = :ns"""

#: Commits with their branch id, then in the column order of `commit_of`.
COMMITS = """
SELECT b.id, c.id, c.seq, c.time, c.author, c.message, c.parents, c.vector, c.picks, c.reverts
FROM commits c JOIN branches b ON b.ns = c.ns AND b.no = c.branch WHERE c.ns = :ns"""


class Arm(NamedTuple):
    """One branch of the lineage: its versions with ``from_seq <= upto < to_seq`` are visible."""

    ancestor: int
    upto: int


class Place(NamedTuple):
    """A readable place in history.

    Attributes:
        branch: The branch's number.
        point: The same place, as callers see it.
        arms: The branch itself, then its ancestors; a closer one hides the rows of those behind it.
        head: Whether this was the branch's newest point.
        epoch: The namespace's purge epoch when the place was read.
    """

    branch: int
    point: Point
    arms: tuple[Arm, ...]
    head: bool
    epoch: int


class _Branch(NamedTuple):
    no: int
    id: str
    name: str
    parent: int | None
    fork: int
    head: Point
    floor: int
    epoch: int
    lineage: tuple[Arm, ...]

    def at(self, point: Point) -> Place:
        seq = point.seq
        arms = tuple(Arm(ancestor, min(upto, seq)) for ancestor, upto in self.lineage)
        return Place(self.no, point, arms, seq >= self.head.seq, self.epoch)


def place(session: Session, ns: int, at: At) -> Place:
    """Resolve a ref or check a point.

    Raises:
        NotFound: There is no such branch, checkpoint or commit.
        HistoryExpired: Compaction dropped the point.
    """
    if isinstance(at, Point):
        branch = _load(session, ns, _BY_ID, at.branch)
        if branch is None:
            raise NotFound(f"branch {at.branch!r} was deleted; resolve the ref again", branch=at.branch)
        if at.seq >= branch.head.seq:
            return branch.at(branch.head)
        return _at(
            session, ns, branch, at if at.commit is not None else _nearest(session, ns, branch, at.seq)
        )
    if at.commit is not None:
        found = session.one(f"{COMMITS} AND c.id = :id", ns=ns, id=at.commit)
        if found is None:
            raise NotFound(f"there is no commit {at.commit!r} (compaction drops old ones)", commit=at.commit)
        commit = commit_of(found[0], found[1:])
        return place(session, ns, Point(commit.branch, commit.seq, commit.id, commit.time))
    branch = _load(session, ns, _BY_NAME, at.name)
    if branch is None:
        return _checkpoint(session, ns, at)
    if at.seq is None and at.time is None:
        return branch.at(branch.head)
    if at.time is not None:
        return _at_time(session, ns, branch, at.time, at)
    assert at.seq is not None
    return _at(session, ns, branch, _nearest(session, ns, branch, at.seq))


def head(session: Session, ns: int, name: str) -> Place | None:
    """The head of a branch, in one statement; None where there is no such branch."""
    branch = _load(session, ns, _BY_NAME, name)
    return None if branch is None else branch.at(branch.head)


def _load(session: Session, ns: int, text: str, value: str | int) -> _Branch | None:
    rows = session.all(text, ns=ns, value=value)
    if not rows:
        return None
    no, id_, name, parent, fork, seq, commit, time, floor, epoch = rows[0][:10]
    if parent is not None and parent >= no:  # would be followed for ever
        raise CorruptStore(
            f"branch {name!r} is damaged: its parent is no older branch; run verify", branch=id_
        )
    lineage = tuple(Arm(row[10], row[11]) for row in rows)
    return _Branch(no, id_, name, parent, fork, Point(id_, seq, commit, time), floor, epoch, lineage)


def _checkpoint(session: Session, ns: int, ref: Ref) -> Place:
    found = session.one(
        "SELECT b.id, c.seq, c.commit_id, c.time FROM checkpoints c "
        "JOIN branches b ON b.ns = c.ns AND b.no = c.branch WHERE c.ns = :ns AND c.name = :name",
        ns=ns,
        name=ref.name,
    )
    if found is None:
        raise NotFound(
            f"there is no branch or checkpoint {ref.name!r}; list them, or create it", ref=str(ref)
        )
    if ref.seq is not None or ref.time is not None:
        raise NotFound(
            f"{ref.name!r} is a checkpoint, so {str(ref)!r} means nothing; use {ref.name!r}", ref=str(ref)
        )
    return place(session, ns, Point(*found))


def _at(session: Session, ns: int, branch: _Branch, point: Point) -> Place:
    """The place of a point of the branch, or of the ancestor that the point really belongs to."""
    if branch.parent is not None and (
        point.seq < branch.fork or (point.seq == branch.fork and branch.floor > branch.fork)
    ):
        parent = _load(session, ns, _BY_NO, branch.parent)
        assert parent is not None  # a branch with children is never deleted
        return _at(session, ns, parent, Point(parent.id, point.seq, point.commit, point.time))
    if point.seq < branch.floor and not pinned(session, ns, branch.no, point.seq):
        raise _expired(branch, str(point.seq))
    return branch.at(point)


def _nearest(session: Session, ns: int, branch: _Branch, seq: int) -> Point:
    """The branch's point at the last commit with a sequence number of at most `seq`."""
    if seq >= branch.head.seq:
        return branch.head
    if seq <= branch.fork:
        if branch.parent is None:
            return Point(branch.id, 0)
        parent = _load(session, ns, _BY_NO, branch.parent)
        assert parent is not None
        point = _nearest(session, ns, parent, seq)
        return Point(branch.id, branch.fork, point.commit, point.time) if seq == branch.fork else point
    if seq < branch.floor and not pinned(session, ns, branch.no, seq):
        raise _expired(branch, str(seq))
    found = session.one(
        "SELECT seq, id, time FROM commits WHERE ns = :ns AND branch = :branch AND seq <= :seq "
        "ORDER BY seq DESC LIMIT 1",
        ns=ns,
        branch=branch.no,
        seq=seq,
    )
    return Point(branch.id, *found) if found else _nearest(session, ns, branch, branch.fork)


def _at_time(session: Session, ns: int, branch: _Branch, time: int, ref: Ref) -> Place:
    if time >= branch.head.time:
        return branch.at(branch.head)
    current, upto = branch, OPEN
    while True:
        found = session.one(
            "SELECT seq, id, time FROM commits WHERE ns = :ns AND branch = :branch AND seq <= :seq "
            "AND time <= :time ORDER BY seq DESC LIMIT 1",
            ns=ns,
            branch=current.no,
            seq=upto,
            time=time,
        )
        hidden = found is None and upto > current.fork < current.floor
        if hidden and time >= _fork_time(session, ns, current):
            raise _expired(current, format_time(time))  # what came before the floor may be gone
        if found is not None or current.parent is None:
            break
        upto = min(upto, current.fork)
        parent = _load(session, ns, _BY_NO, current.parent)
        assert parent is not None
        current = parent
    point = Point(current.id, *found) if found else Point(current.id, 0)
    # Below the floor commits may be gone, so which was last is unknown; but at a fork nothing came after it.
    if point.seq < current.floor and point.seq != upto:
        raise _expired(current, format_time(time))
    return current.at(point)


def _fork_time(session: Session, ns: int, branch: _Branch) -> int:
    if branch.parent is None:
        return 0
    parent = _load(session, ns, _BY_NO, branch.parent)
    assert parent is not None
    return _nearest(session, ns, parent, branch.fork).time


#: That a place which was seen before can be read as it was: its branch is there, the point lies in the kept
#: window, and nothing was compacted or purged since. It has the parameters of `Seen.params`.
STANDS = (
    "EXISTS (SELECT 1 FROM branches b JOIN namespaces n ON n.no = b.ns WHERE b.ns = :ns AND b.no = :b0 "
    "AND b.id = :seen_id AND b.floor <= :u0 AND b.head_seq >= :u0 AND n.purge_epoch = :seen_epoch)"
)


class Seen:
    """Places that were read, so that later points of the same branches need no look-up first. Thread-safe."""

    def __init__(self) -> None:
        self._places: dict[str, Place] = {}
        self._names: dict[str, Place] = {}

    def head(self, session: Session, ns: int, name: str) -> Point | None:
        """The head of a branch that was seen, without a look at its ancestors; None where it is unknown."""
        known = self._names.get(name)
        if known is None:
            return None
        id_ = known.point.branch
        found = session.one(_NEWEST, ns=ns, no=known.branch, id=id_, name=name)
        return None if found is None else Point(id_, *found)

    def rooted(self, session: Session, ns: int, name: str) -> tuple[int, str] | None:
        """The number and id of a branch of that name, if it has no ancestors; it may be deleted by now."""
        known = self._names.get(name)
        if known is None:
            known = head(session, ns, name)
            if known is None:
                return None
            self.note(known, name)
        return (known.branch, known.point.branch) if len(known.arms) == 1 else None

    def note(self, where: Place, name: str | None = None) -> None:
        """Remember a place, which is the head of the branch of that name where one is given."""
        if len(self._places) > 1_000:
            self._places.clear()
            self._names.clear()
        self._places[where.point.branch] = where
        if name is not None:
            self._names[name] = where

    def at(self, at: At) -> Place | None:
        """The place of a point, if it is no older than one that was seen; to be read where `STANDS` holds."""
        if not isinstance(at, Point):
            return None
        known = self._places.get(at.branch)
        # From its fork on, all points of a branch see the same of its ancestors.
        if known is None or known.arms[0].ancestor != known.branch or at.seq < known.point.seq:
            return None
        return known._replace(point=at, arms=(Arm(known.branch, at.seq), *known.arms[1:]))

    def still(self, session: Session, ns: int, where: Place) -> bool:
        """Whether `STANDS` holds now, and so did for all that was read at the place before."""
        params = {"ns": ns, "b0": where.branch, "u0": where.point.seq, **self.params(where)}
        return bool(session.one_with(f"SELECT 1 WHERE {STANDS}", params))

    @staticmethod
    def params(where: Place) -> dict[str, Any]:
        """What `STANDS` needs beside the parameters of the arms."""
        return {"seen_id": where.point.branch, "seen_epoch": where.epoch}


def pinned(session: Session, ns: int, branch: int, seq: int) -> bool:
    """Whether compaction kept this point, though it is below the branch's floor."""
    return (
        session.one(
            "SELECT 1 FROM pins WHERE ns = :ns AND branch = :branch AND seq = :seq",
            ns=ns,
            branch=branch,
            seq=seq,
        )
        is not None
    )


def _expired(branch: _Branch, where: str) -> HistoryExpired:
    return HistoryExpired(
        f"{branch.name}@{where} was dropped by compaction; the oldest readable point is {branch.name}@{branch.floor}",
        branch=branch.name,
        floor=branch.floor,
    )


def branch_number(session: Session, ns: int, branch_id: str) -> tuple[int, int, int]:
    """A branch's number, fork and floor, by its id; raises `NotFound`."""
    found = session.one(
        "SELECT no, fork_seq, floor FROM branches WHERE ns = :ns AND id = :id", ns=ns, id=branch_id
    )
    if found is None:
        raise NotFound(
            f"there is no branch with id {branch_id!r}; it may have been deleted", branch=branch_id
        )
    return tuple(found)
