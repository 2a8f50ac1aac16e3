"""History: commits, and what each left in which rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import Any

from perdure import TABLES, Change, ChangeBatch, Commit, HistoryExpired, Key, Table

from perdure_sql._codec import columns, commit_of, decoder
from perdure_sql._database import Database
from perdure_sql._places import COMMITS, branch_number, pinned

__all__ = ["History"]

_PAGE = 500

#: Changes of one batch at most, so that a large commit is never held whole.
_CHANGES = 2_000

#: Touched keys read at a time; each time sorts all, so few times are wanted.
_KEYS = 20_000


class History:
    """Reads the commits of one namespace. Holds no session between pages."""

    def __init__(self, database: Database, ns: int) -> None:
        self._database = database
        self._ns = ns

    def log(self, branch: str, after: int, upto: int, merges: bool, newest_first: bool) -> Iterator[Commit]:
        """Own commits of a branch."""
        with self._database.reading() as session:
            number = branch_number(session, self._ns, branch)[0]
        return self._log(branch, number, after, upto, merges, newest_first)

    def _log(
        self, branch: str, number: int, after: int, upto: int, merges: bool, newest_first: bool
    ) -> Iterator[Commit]:
        only = " AND (c.vector <> '{}' OR c.picks <> '[]')" if merges else ""
        order = "DESC" if newest_first else "ASC"
        while after < upto:
            with self._database.reading() as session:
                rows = session.all(
                    f"{COMMITS} AND c.branch = :branch AND c.seq > :after AND c.seq <= :upto{only} "
                    f"ORDER BY c.seq {order} LIMIT {_PAGE}",
                    ns=self._ns,
                    branch=number,
                    after=after,
                    upto=upto,
                )
            yield from (commit_of(branch, row[1:]) for row in rows)
            if len(rows) < _PAGE:
                return
            if newest_first:
                upto = rows[-1][2] - 1
            else:
                after = rows[-1][2]

    def get_commits(self, ids: Sequence[str]) -> list[Commit | None]:
        """Commits by id, in the order asked."""
        found: dict[str, Commit] = {}
        with self._database.reading() as session:
            source, (part,) = session.dialect.key_source(1)
            keys = [(id_,) for id_ in dict.fromkeys(ids)]
            for start in range(0, len(keys), _PAGE):
                bound = session.dialect.bind_keys(keys[start : start + _PAGE])
                text = COMMITS.replace("FROM commits c", f"FROM {source} CROSS JOIN commits c")
                for row in session.run(f"{text} AND c.id = {part}", ns=self._ns, **bound):
                    found[row[1]] = commit_of(row[0], row[1:])
        return [found.get(id_) for id_ in ids]

    # ---------------------------------------------------------------------------------------- changes

    def changes(self, branch: str, after: int, upto: int, compacted: bool) -> Iterator[ChangeBatch]:
        """Own commits of a branch, oldest first, with the rows they left."""
        with self._database.reading() as session:
            number, fork, floor = branch_number(session, self._ns, branch)
            if after < floor and floor > fork and not compacted:
                raise HistoryExpired(
                    f"changes after {after} were dropped by compaction; start anew from a scan at {floor} or later",
                    floor=floor,
                )
        return self._changes(branch, number, max(after, fork), upto)

    def _changes(self, branch: str, number: int, after: int, upto: int) -> Iterator[ChangeBatch]:
        for commit in self._log(branch, number, after, upto, False, False):
            pending: list[Change] = []
            for name in sorted(TABLES):
                for change in self._rows_of(TABLES[name], number, commit.seq):
                    pending.append(change)
                    if len(pending) > _CHANGES:
                        yield ChangeBatch(commit, tuple(pending[:_CHANGES]), False)
                        del pending[:_CHANGES]
            yield ChangeBatch(commit, tuple(pending), True)

    def _rows_of(self, table: Table, number: int, seq: int) -> Iterator[Change]:
        """The versions that a commit wrote, by key."""
        decode, width = decoder(table), len(table.key)
        order = columns(table.key)
        # The keys first, ordered; then the rows by key, so that nothing large is sorted or held.
        with self._database.reading() as session:
            cursor = session.run(
                f"SELECT {order} FROM {table.name} v WHERE v.ns = :ns AND v.branch = :branch AND v.from_seq = :seq "
                f"ORDER BY {order}",
                ns=self._ns,
                branch=number,
                seq=seq,
            )
            keys: list[Key] = cursor.fetchall()
        for start in range(0, len(keys), _PAGE):
            source, parts = self._database.dialect.key_source(width)
            on = " AND ".join(f'v."{name}" = {part}' for name, part in zip(table.key, parts, strict=True))
            with self._database.reading() as session:
                rows = session.all(
                    f"SELECT v.dead, {columns(table.names)} FROM {source} CROSS JOIN {table.name} v "
                    f"WHERE v.ns = :ns AND v.branch = :branch AND {on} AND v.from_seq = :seq",
                    ns=self._ns,
                    branch=number,
                    seq=seq,
                    **session.dialect.bind_keys(keys[start : start + _PAGE]),
                )
            rows.sort(key=itemgetter(*range(1, 1 + width)))
            for cells in rows:
                key = tuple(cells[1 : 1 + width])
                yield Change(table.name, key, None if cells[0] else decode(cells[1:]))

    def touched(self, branch: str, after: int, upto: int) -> Iterator[tuple[str, Key]]:
        """Keys with versions that begin between two points of a branch."""
        with self._database.reading() as session:
            number, fork, floor = branch_number(session, self._ns, branch)
            for seq in (after, upto):
                if fork < seq < floor and not pinned(session, self._ns, number, seq):
                    raise HistoryExpired(
                        f"point {seq} of the branch was dropped by compaction; its oldest readable point is {floor}",
                        floor=floor,
                    )
        return self._touched(number, max(after, fork), upto)

    def _touched(self, number: int, after: int, upto: int) -> Iterator[tuple[str, Key]]:
        for name in sorted(TABLES):
            order = columns(TABLES[name].key)
            marks = [f"k{i}" for i in range(len(TABLES[name].key))]
            beyond = ""
            last: dict[str, str] = {}
            while True:
                with self._database.reading() as session:
                    rows: list[Any] = session.all(
                        f"SELECT DISTINCT {order} FROM {name} v WHERE v.ns = :ns AND v.branch = :branch "
                        f"AND v.from_seq > :after AND v.from_seq <= :upto{beyond} ORDER BY {order} LIMIT {_KEYS}",
                        ns=self._ns,
                        branch=number,
                        after=after,
                        upto=upto,
                        **last,
                    )
                yield from ((name, tuple(row)) for row in rows)
                if len(rows) < _KEYS:
                    break
                beyond = f" AND ({order}) > (:{', :'.join(marks)})"
                last = dict(zip(marks, rows[-1], strict=True))
