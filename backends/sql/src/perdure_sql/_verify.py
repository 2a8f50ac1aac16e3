"""Verify: everything that is stored, recomputed from what it should follow from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from perdure import (
    TABLES,
    Key,
    PerdureError,
    PermissionDenied,
    Problem,
    Retryable,
    Table,
    VerifyReport,
)
from perdure.kit import chunk_digest, owner_key, row_hash

from perdure_sql._arms import arm_params, arms_sql
from perdure_sql._codec import columns, decoder, encoder, quote, record_hash
from perdure_sql._commit import load_spaces
from perdure_sql._database import Session
from perdure_sql._lineage import branch_rows, lineage_of
from perdure_sql._places import Arm, pinned
from perdure_sql._purge import digests
from perdure_sql._rows import RowReader
from perdure_sql._tables import HEAD, OPEN, RECORDS, SCHEMA_REVISION, VERSION_COLUMNS

__all__ = ["verify"]

#: Problems after which the rest is not listed.
_LIMIT = 1_000

#: Records in tables with indexes, which tell whether a record is in the namespace that it was written in.
_INDEXED = ("branches", "commits")

#: What reading a damaged cell may raise.
_MALFORMED = (
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    RecursionError,
    PerdureError,
)


def verify(session: Session, ns: int) -> VerifyReport:
    """Check one namespace, and the engine's own structures."""
    checker = _Checker(session, ns)
    steps = (
        checker.engine,
        checker.records,
        checker.lineage,
        checker.heads,
        checker.points,
        *(lambda table=table: checker.versions(table) for table in TABLES.values()),
        *(lambda table=table: checker.overrides(table) for table in TABLES.values()),
        checker.chunks,
        *(lambda table=table: checker.references(table) for table in TABLES.values()),
    )
    for step in steps:
        try:
            step()
        except session.dialect.driver_error as error:
            if isinstance(session.dialect.translate(error), Retryable | PermissionDenied):
                raise  # which says nothing about the store
            checker.report("error", "unreadable", session.dialect.name, f"a page cannot be read: {error}")
        except _MALFORMED as error:
            checker.report("error", "malformed", session.dialect.name, f"a stored cell is malformed: {error}")
    return VerifyReport(dict(checker.checked), tuple(checker.problems[:_LIMIT]))


class _Checker:
    def __init__(self, session: Session, ns: int) -> None:
        self.session = session
        self.ns = ns
        self.checked: Counter[str] = Counter()
        self.problems: list[Problem] = []

    def report(self, severity: Any, code: str, where: str, message: str) -> None:
        """Note a finding."""
        self.problems.append(Problem(severity, code, where, message))

    def engine(self) -> None:
        """The engine's pages, indexes and schema text."""
        self.problems += self.session.dialect.integrity(self.session.raw)
        self.checked["pages"] += 1
        revisions = self.session.all("SELECT version_num FROM alembic_version")
        if [tuple(row) for row in revisions] != [(SCHEMA_REVISION,)]:
            self.report("error", "schema", "alembic_version", "it does not name this version's revision")

    def records(self) -> None:
        """Hashes of everything that is not a row; of other namespaces too, where one might have strayed there."""
        for table, names in RECORDS.items():
            indexed = table in _INDEXED or not self.session.dialect.strays
            own = f" WHERE {names[0]} = {self.ns:d}" if indexed else ""
            for row in self.session.stream(f"SELECT {', '.join(names)} FROM {table}{own}"):
                self.checked[table] += row[0] == self.ns
                if record_hash(table, row[:-1]) != row[-1]:
                    name = next((str(cell) for cell in row[1:3] if isinstance(cell, str)), "")
                    self.report(
                        "error", "record_hash", f"{table}:{name}", "the record is not what was written"
                    )

    def lineage(self) -> None:
        """Lineage records, against the parents of branches."""
        expected = lineage_of(branch_rows(self.session, self.ns))
        actual: dict[int, list[Arm]] = {}
        for branch, depth, ancestor, upto in self.session.all(
            "SELECT branch, depth, ancestor, upto FROM lineage WHERE ns = :ns ORDER BY branch, depth",
            ns=self.ns,
        ):
            arms = actual.setdefault(branch, [])
            if depth == len(arms):
                arms.append(Arm(ancestor, upto))
            self.checked["lineage"] += 1
        for branch in sorted(expected.keys() | actual.keys()):
            if list(expected.get(branch, ())) != actual.get(branch):
                self.report(
                    "error", "lineage", f"branch {branch}", "its lineage does not follow from its parents"
                )

    def heads(self) -> None:
        """Branch heads, against the commits; and the times of commits, which never decrease."""
        for branch in branch_rows(self.session, self.ns).values():
            last: tuple[int, str | None, int] = (branch.fork_seq, None, 0)
            for seq, id_, time in self.session.stream(
                "SELECT seq, id, time FROM commits WHERE ns = :ns AND branch = :no ORDER BY seq",
                ns=self.ns,
                no=branch.no,
            ):
                if seq <= branch.fork_seq or time < last[2]:
                    self.report(
                        "error", "commit_order", f"commit {id_}", "it does not follow the one before it"
                    )
                last = (seq, id_, time)
            if last[0] != branch.head_seq or (
                last[1] is not None and last[1:] != (branch.head_commit, branch.head_time)
            ):
                self.report(
                    "error", "head", f"branch {branch.name}", f"its head {branch.head_seq} is no commit of it"
                )

    def points(self) -> None:
        """What forks and checkpoints name lies in the kept window, or compaction noted that it is kept."""
        branches = branch_rows(self.session, self.ns)
        named = [
            (f"branch {b.name}", b.parent, b.fork_seq) for b in branches.values() if b.parent is not None
        ]
        named += [
            (f"checkpoint {name}", number, seq)
            for name, number, seq in self.session.all(
                "SELECT name, branch, seq FROM checkpoints WHERE ns = :ns", ns=self.ns
            )
        ]
        for where, number, seq in named:
            branch = branches[number]
            while branch.parent is not None and seq <= branch.fork_seq and branch.parent < branch.no:
                branch = branches[branch.parent]
            if seq > branch.head_seq or (
                seq < branch.floor and not pinned(self.session, self.ns, branch.no, seq)
            ):
                self.report("error", "point", where, f"the point {branch.name}@{seq} is not kept")

    def versions(self, table: Table) -> None:
        """Row hashes, and that the versions of a key follow one another."""
        branches = branch_rows(self.session, self.ns)
        decode, encode, width = decoder(table), encoder(table), len(table.key)
        lead = len(VERSION_COLUMNS)
        blank = (None,) * (len(table.names) - width)
        names = ", ".join(f"v.{name}" for name in VERSION_COLUMNS)
        order = columns(("branch", *table.key, "from_seq"))
        before: Any = None
        for cells in self._stream(
            f"SELECT {names}, {columns(table.names)}, c.branch, c.seq FROM {table.name} v "
            f"LEFT JOIN commits c ON c.no = v.commit_no AND c.ns = v.ns WHERE v.ns = :ns ORDER BY {order}"
        ):
            self.checked[table.name] += 1
            _, number, begin, end, dead, _, stored = cells[:lead]
            key = cells[lead : lead + width]
            where = f"{table.name}:{'/'.join(map(str, key))}@{number}:{begin}"
            branch = branches.get(number)
            if branch is None:
                self.report("error", "orphan", where, "its branch does not exist")
                continue
            row = None if dead else decode(cells[lead:-2])
            expected = (*key, *blank) if row is None else encode(row)
            if tuple(cells[lead:-2]) != expected or row_hash(row) != stored:
                self.report("error", "row_hash", where, "the row is not what was written")
            copied = bool(branch.flat) and begin == branch.fork_seq
            if not copied and tuple(cells[-2:]) != (number, begin):
                self.report("error", "row_commit", where, "the commit that wrote it does not exist")
            if dead not in (0, 1) or not begin < end or begin > branch.head_seq:
                self.report(
                    "error", "row_range", where, f"the range {begin} to {end} of its visibility is impossible"
                )
            if before is not None and before[0] == (number, key):
                if before[1] != begin:
                    self.report("error", "row_chain", where, "it does not begin where the one before it ends")
            elif before is not None:
                self._ended(before)
            before = ((number, key), end, where)
        if before is not None:
            self._ended(before)

    def _ended(self, before: Any) -> None:
        if before[1] != OPEN:
            self.report("error", "row_end", before[2], "it ends, and nothing follows it")

    def _stream(self, text: str) -> Iterator[Any]:
        yield from self.session.stream(text, ns=self.ns)

    def overrides(self, table: Table) -> None:
        """The keys that a branch has versions of, against what hides its ancestors' rows."""
        names = columns(table.key)
        on = " AND ".join(f"o.{quote(name)} = v.{quote(name)}" for name in table.key)
        forks = "SELECT no FROM branches WHERE ns = :ns AND parent IS NOT NULL AND flat = 0"
        for row in self._stream(
            f"SELECT {names}, v.branch FROM {table.name} v WHERE v.ns = :ns AND v.branch IN ({forks}) "
            f"AND NOT EXISTS (SELECT 1 FROM {table.name}_overrides o WHERE o.ns = v.ns AND {on} "
            "AND o.branch = v.branch AND o.first_seq <= v.from_seq)"
        ):
            self.report(
                "error", "override", f"{table.name}:{row[0]}", "it does not hide what the ancestors have"
            )
        for row in self._stream(
            f"SELECT {columns(table.key, 'o.')}, o.first_seq, b.flat, "
            f"(SELECT min(v.from_seq) FROM {table.name} v WHERE v.ns = :ns AND v.branch = o.branch AND {on}) "
            f"FROM {table.name}_overrides o LEFT JOIN branches b ON b.ns = o.ns AND b.no = o.branch WHERE o.ns = :ns"
        ):
            self.checked["overrides"] += 1
            first, flat, least = row[-3:]
            if flat != 0 or first != least:
                self.report("error", "override", f"{table.name}:{row[0]}", "no version of it begins there")

    def chunks(self) -> None:
        """Payload pieces: their names, and that none is missing."""
        there = set()
        for digest, data in self._stream("SELECT digest, data FROM chunks WHERE ns = :ns"):
            self.checked["chunks"] += 1
            there.add(digest)
            if chunk_digest(data) != digest:
                self.report("error", "chunk_hash", f"chunk {digest}", "the piece does not hash to its name")
        for kind, id_, manifest in self._stream(
            "SELECT kind, id, payload FROM states WHERE ns = :ns AND payload IS NOT NULL"
        ):
            missing = [digest for digest in digests(manifest) if digest not in there]
            if missing:
                self.report(
                    "error", "chunk_missing", f"states:{kind}/{id_}", f"payload piece {missing[0]} is missing"
                )

    def references(self, table: Table) -> None:
        """What current rows refer to: dangling references are worth a look, vectors without a row are damage."""
        refer = [column for column in table.columns if column.references is not None]
        spaces = load_spaces(self.session, self.ns)
        if not refer and table.name != "vectors":
            return
        wanted = [*table.key, *(column.name for column in refer)]
        branches = branch_rows(self.session, self.ns)
        for no, lineage in lineage_of(branches).items():
            branch = branches[no]
            for rows in self._pages(_referring(table, wanted, lineage), arm_params(self.ns, lineage)):
                targets: dict[str, dict[Key, str]] = {}
                for row in rows:
                    where = f"{table.name}:{'/'.join(row[: len(table.key)])}@{branch.name}"
                    for column, to in zip(refer, row[len(table.key) :], strict=True):
                        if to is not None:
                            targets.setdefault(str(column.references), {})[(to,)] = where
                    if table.name == "vectors":
                        space = spaces.get(row[0])
                        if space is None:
                            self.report("error", "orphan", where, "its space does not exist")
                        elif space.table is not None:
                            targets.setdefault(space.table, {})[owner_key(TABLES[space.table], row[1])] = (
                                where
                            )
                self._targets(table, branch.no, targets)

    def _targets(self, table: Table, branch: int, targets: dict[str, dict[Key, str]]) -> None:
        for name, wanted in targets.items():
            reader = RowReader(TABLES[name], self.session.dialect)
            found = reader.closest(self.session, self.ns, branch, HEAD, list(wanted))
            for key, where in wanted.items():
                if key not in found or found[key][1]:
                    severity, code = (
                        ("error", "orphan") if table.name == "vectors" else ("warning", "dangling")
                    )
                    self.report(
                        severity, code, where, f"it refers to {name} {'/'.join(key)!r}, which does not exist"
                    )

    def _pages(self, texts: list[str], params: dict[str, Any]) -> Iterator[list[Any]]:
        for text in texts:
            cursor = self.session.run_with(text, params)
            while rows := cursor.fetchmany(1_000):
                yield rows


def _referring(table: Table, wanted: list[str], lineage: Sequence[Arm]) -> list[str]:
    """The current rows of a branch's own, and those inherited ones that refer to what a closer branch wrote."""
    names = columns(wanted)
    texts = arms_sql(table, names, lineage[:1], "")
    for depth in range(1, len(lineage)):
        closer = ", ".join(f":b{d}" for d in range(depth))
        replaced = " OR ".join(
            f"EXISTS (SELECT 1 FROM {column.references}_overrides t WHERE t.ns = :ns "
            f"AND t.id = v.{quote(column.name)} AND t.branch IN ({closer}))"
            for column in table.columns
            if column.references is not None
        )
        if replaced:
            texts.append(arms_sql(table, names, lineage[: depth + 1], f" AND ({replaced})")[depth])
    return texts
