"""Ingest: history as it was written elsewhere, with its ids, times, authors and parents."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from perdure import (
    TABLES,
    Branch,
    Change,
    ChangeBatch,
    Checkpoint,
    Chunk,
    Commit,
    Conflict,
    Counter,
    HistoryEvent,
    IngestReport,
    Key,
    Pick,
    Point,
    Row,
    Space,
)
from perdure.kit import check_events, check_ingested_vector

from perdure_sql._branches import add_branch, add_space, bump, insert, list_checkpoints
from perdure_sql._codec import record_hash
from perdure_sql._commit import load_spaces, store_chunks
from perdure_sql._counters import store_counters
from perdure_sql._database import Session
from perdure_sql._lineage import BranchRow, branch_rows, lineage_of
from perdure_sql._places import Arm, pinned
from perdure_sql._purge import Markers, digests
from perdure_sql._query import read_counters
from perdure_sql._rows import RowReader
from perdure_sql._tables import HEAD
from perdure_sql._writer import Writer, insert_commit, update_head

__all__ = ["Ingester"]

_PAYLOAD = TABLES["states"].position["payload"]


class Ingester:
    """Writes history events inside the caller's write transaction, which an error must roll back."""

    def __init__(
        self, session: Session, ns: int, readers: Mapping[str, RowReader], writers: Mapping[str, Writer]
    ) -> None:
        self._session = session
        self._ns = ns
        self._readers = readers
        self._writers = writers
        self._markers = Markers(session, ns)
        self._branches = {branch.id: branch for branch in branch_rows(session, ns).values()}
        #: What the branches that were there before ended with; each is continued once.
        self._heads = {branch.id: branch.head_commit for branch in self._branches.values()}
        self._spaces = load_spaces(session, ns)
        self._open: tuple[str, int] | None = None
        self._pieces: set[str] = set()  # payload pieces that are there
        self._counts = dict.fromkeys(IngestReport.__struct_fields__, 0)

    def run(self, events: Iterable[HistoryEvent]) -> IngestReport:
        """Write all events."""
        for event in check_events(events):
            if isinstance(event, ChangeBatch):
                self._batch(event)
            elif isinstance(event, Chunk):
                self._chunk(event)
            elif isinstance(event, Branch):
                self._branch(event)
            elif isinstance(event, Space):
                self._space(event)
            elif isinstance(event, Checkpoint):
                self._checkpoint(event)
            else:
                self._counter(event)
        bump(self._session, self._ns, purges=1)
        return IngestReport(**self._counts)

    # ------------------------------------------------------------------------------- spaces, branches

    def _space(self, space: Space) -> None:
        known = self._spaces.get(space.name)
        if known is None:
            self._spaces[space.name] = add_space(self._session, self._ns, space)
            self._counts["spaces"] += 1
        elif _definition(known) != _definition(space):
            raise Conflict(f"space {space.name!r} is there with another definition", space=space.name)
        else:
            self._counts["known"] += 1

    def _branch(self, branch: Branch) -> None:
        known = self._branches.get(branch.id)
        if known is not None:
            parent = None if known.parent is None else self._number(known.parent).id
            if (known.name, parent, known.fork_seq) != (branch.name, branch.parent, branch.fork_seq):
                raise Conflict(f"branch {branch.name!r} ({branch.id}) is there with another name or origin")
            if branch.floor > max(known.head_seq, branch.fork_seq):
                raise Conflict(
                    f"branch {branch.name!r} was compacted beyond {known.head_seq}, which is all that is here; "
                    "ingest into an empty namespace"
                )
            self._counts["known"] += 1
            return
        named = next((b for b in self._branches.values() if b.name == branch.name), None)
        if named is not None:
            self._adopt(named, branch)
            return
        self._refuse_checkpoint(branch.name)
        parent_row = None
        arms: tuple[Arm, ...] = ()
        if branch.parent is not None:
            parent_row = self._by_id(branch.parent)
            if branch.fork_seq > parent_row.head_seq:
                raise Conflict(f"branch {branch.name!r} forks from a point of its parent that is not there")
            lineage = lineage_of(branch_rows(self._session, self._ns))[parent_row.no]
            arms = tuple(Arm(ancestor, min(upto, branch.fork_seq)) for ancestor, upto in lineage)
            self._pin(parent_row, branch.fork_seq)
        commit = self._commit_at(parent_row, branch.fork_seq)
        head = Point("", branch.fork_seq, *commit)
        floor = max(branch.floor, branch.fork_seq)
        made = Branch(branch.id, branch.name, branch.parent, branch.fork_seq, head, floor, branch.created_at)
        add_branch(self._session, self._ns, made, None if parent_row is None else parent_row.no, arms)
        self._reload()
        self._keep_pins(branch)
        self._counts["branches"] += 1

    def _adopt(self, mine: BranchRow, branch: Branch) -> None:
        """An empty namespace has a branch `main` of its own, which gives way to the one that comes."""
        used = self._session.one(
            "SELECT 1 FROM branches WHERE ns = :ns AND parent = :no UNION ALL "
            "SELECT 1 FROM checkpoints WHERE ns = :ns AND branch = :no",
            ns=self._ns,
            no=mine.no,
        )
        if used or mine.head_seq or mine.parent is not None or branch.parent is not None:
            raise Conflict(f"there is another branch {branch.name!r} already; ingest into an empty namespace")
        cells = mine._replace(id=branch.id, floor=branch.floor, created_at=branch.created_at)
        self._session.run(
            "UPDATE branches SET id = :id, floor = :floor, created_at = :created, hash = :hash "
            "WHERE ns = :ns AND no = :no",
            id=branch.id,
            floor=branch.floor,
            created=branch.created_at,
            hash=record_hash("branches", cells),
            ns=self._ns,
            no=mine.no,
        )
        self._reload()
        self._keep_pins(branch)
        self._counts["branches"] += 1

    def _commit_at(self, branch: BranchRow | None, seq: int) -> tuple[str | None, int]:
        """The id and time of the last commit at or before a point."""
        rows = {b.no: b for b in self._branches.values()}
        while branch is not None:
            found = self._session.one(
                "SELECT id, time FROM commits WHERE ns = :ns AND branch = :no AND seq <= :seq "
                "ORDER BY seq DESC LIMIT 1",
                ns=self._ns,
                no=branch.no,
                seq=seq,
            )
            if found is not None:
                return found[0], found[1]
            seq = min(seq, branch.fork_seq)
            branch = None if branch.parent is None else rows[branch.parent]
        return None, 0

    def _pin(self, branch: BranchRow, seq: int) -> None:
        """A point below the floor that was kept where the history comes from."""
        rows = {b.no: b for b in self._branches.values()}
        while branch.parent is not None and seq <= branch.fork_seq:
            branch = rows[branch.parent]
        if seq < branch.floor and not pinned(self._session, self._ns, branch.no, seq):
            insert(self._session, "pins", self._ns, branch.no, seq)

    def _keep_pins(self, branch: Branch) -> None:
        """What is readable below the floor where the history comes from stays so."""
        for seq in branch.pins:
            if branch.fork_seq < seq < branch.floor:
                self._pin(self._by_id(branch.id), seq)

    def _reload(self) -> None:
        self._branches = {branch.id: branch for branch in branch_rows(self._session, self._ns).values()}

    def _by_id(self, id_: str) -> BranchRow:
        branch = self._branches.get(id_)
        if branch is None:
            raise Conflict(
                f"the history refers to branch {id_!r}, which is not there; branches come before commits"
            )
        return branch

    def _number(self, number: int) -> BranchRow:
        return next(branch for branch in self._branches.values() if branch.no == number)

    # ---------------------------------------------------------------------------------------- commits

    def _batch(self, batch: ChangeBatch) -> None:
        commit = batch.commit
        branch = self._by_id(commit.branch)
        if self._open is None:
            if self._known(commit, branch):
                self._counts["known"] += batch.final
                return
            recorded = self._without_purged(commit)
            self._open = (commit.id, insert_commit(self._session, self._ns, branch.no, recorded))
            update_head(self._session, self._ns, branch[1:], commit)
            moved = branch._replace(head_seq=commit.seq, head_commit=commit.id, head_time=commit.time)
            self._branches[branch.id] = branch = moved
            self._counts["commits"] += 1
        kept = [
            change for change in batch.changes if not self._is_purged(change.table, change.key, commit.time)
        ]
        self._counts["purged"] += len(batch.changes) - len(kept)
        self._counts["rows"] += len(kept)
        for change in kept:
            self._check_row(change)
        self._write(branch, commit, self._open[1], kept)
        if batch.final:
            self._open = None

    def _check_row(self, change: Change) -> None:
        """What a row refers to must be there."""
        if change.row is None:
            return
        if change.table == "vectors":
            check_ingested_vector(self._spaces.get(change.key[0]), change.row)
        elif change.table == "states":
            for digest in digests(str(change.row[_PAYLOAD] or "")):
                if digest in self._pieces:
                    continue
                query = "SELECT 1 FROM chunks WHERE ns = :ns AND digest = :digest"
                if self._session.one(query, ns=self._ns, digest=digest) is None:
                    raise Conflict(f"a row came before its payload piece {digest!r}", digest=digest)
                self._pieces.add(digest)

    def _known(self, commit: Commit, branch: BranchRow) -> bool:
        found = self._session.one(
            "SELECT branch, seq FROM commits WHERE ns = :ns AND id = :id", ns=self._ns, id=commit.id
        )
        if found is not None:
            if tuple(found) != (branch.no, commit.seq):
                raise Conflict(f"commit {commit.id!r} is there at another place of history", commit=commit.id)
            return True
        if commit.seq <= branch.head_seq or commit.time < branch.head_time:
            if commit.seq < branch.floor:  # compacted here
                return True
            raise Conflict(
                f"branch {branch.name!r} has moved on its own since: commit {commit.id!r} ({commit.seq}) does not "
                f"follow its head {branch.head_seq}; ingest into an empty namespace, and merge",
                commit=commit.id,
            )
        continues = commit.parents[:1] == (branch.head_commit,)
        if self._heads.pop(branch.id, None) and not continues:
            raise Conflict(
                f"branch {branch.name!r} went another way here: commit {commit.id!r} does not continue its head; "
                "ingest into an empty or older namespace",
                commit=commit.id,
            )
        return False

    def _write(self, branch: BranchRow, commit: Commit, number: int, changes: list[Change]) -> None:
        by_table: dict[str, list[tuple[Key, Row | None]]] = {}
        for change in changes:
            by_table.setdefault(change.table, []).append((change.key, change.row))
        shadows = branch.parent is not None and not branch.flat
        for name, writes in by_table.items():
            found = self._readers[name].closest(
                self._session, self._ns, branch.no, HEAD, [key for key, _ in writes]
            )
            own = {key: cells[2] for key, cells in found.items() if not cells[0]}
            where = (self._ns, branch.no)
            self._writers[name].write(
                self._session, where, commit.seq, number, writes, own, shadows, self._spaces
            )

    def _without_purged(self, commit: Commit) -> Commit:
        """A commit whose record of what it took does not mention what was purged since."""

        def kept(pick: Pick) -> Pick:
            if pick.keys is None:
                return pick
            keys = tuple(key for key in pick.keys if not self._is_purged(pick.table, key, commit.time))
            return Pick(pick.source, pick.table, keys)

        if not commit.picks:
            return commit
        fields = {name: getattr(commit, name) for name in commit.__struct_fields__}
        return Commit(**{**fields, "picks": tuple(kept(pick) for pick in commit.picks)})

    def _is_purged(self, table: str, key: Key, time: int) -> bool:
        return self._markers.purged(table, key, time)

    # ----------------------------------------------------------------------- chunks, checkpoints, counters

    def _chunk(self, chunk: Chunk) -> None:
        store_chunks(self._session, self._ns, [chunk])
        self._pieces.add(chunk.digest)

    def _checkpoint(self, checkpoint: Checkpoint) -> None:
        known = {c.name: c for c in list_checkpoints(self._session, self._ns)}.get(checkpoint.name)
        if known is not None:
            if known != checkpoint:
                raise Conflict(
                    f"there is another checkpoint {checkpoint.name!r} already", name=checkpoint.name
                )
            self._counts["known"] += 1
            return
        if any(branch.name == checkpoint.name for branch in self._branches.values()):
            raise Conflict(f"there is a branch {checkpoint.name!r} already", name=checkpoint.name)
        point = checkpoint.point
        branch = self._by_id(point.branch)
        if point.seq > branch.head_seq:
            raise Conflict(f"checkpoint {checkpoint.name!r} names a point that is not there")
        self._pin(branch, point.seq)
        insert(
            self._session,
            "checkpoints",
            *(self._ns, checkpoint.name, branch.no, point.seq, point.commit, point.time),
            *(checkpoint.metrics, checkpoint.message, checkpoint.created_at),
        )
        self._counts["checkpoints"] += 1

    def _refuse_checkpoint(self, name: str) -> None:
        if self._session.one(
            "SELECT 1 FROM checkpoints WHERE ns = :ns AND name = :name", ns=self._ns, name=name
        ):
            raise Conflict(f"there is a checkpoint {name!r} already", name=name)

    def _counter(self, counter: Counter) -> None:
        moment = -(2**63) if counter.accessed_at is None else counter.accessed_at
        if self._is_purged(counter.table, counter.key, moment):
            self._counts["purged"] += 1
            return
        table = TABLES[counter.table]
        accessed, count = read_counters(self._session, self._ns, table, [counter.key]).get(
            counter.key, (None, 0)
        )
        times = [time for time in (accessed, counter.accessed_at) if time is not None]
        merged = (max(times, default=None), max(count, counter.access_count))
        store_counters(self._session, self._ns, table, {counter.key: merged})


def _definition(space: Space) -> tuple[object, ...]:
    return space.name, space.dim, space.dtype, space.metric, space.model, space.table
