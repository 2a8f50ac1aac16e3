"""Purge: erase rows from all history, and remember that they were, without remembering what they were."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from typing import Any

from perdure import TABLES, Key, NotFound, PurgeReport, Table, now_us
from perdure.kit import owner_id

from perdure_sql._branches import bump
from perdure_sql._codec import commit_cells, commit_of, key_text, quote, record_hash
from perdure_sql._commit import load_spaces
from perdure_sql._database import Session
from perdure_sql._places import COMMITS

__all__ = ["Markers", "digests", "drop_chunks", "forget_picks", "purge"]


class Markers:
    """The keyed hashes of what was purged from a namespace."""

    def __init__(self, session: Session, ns: int) -> None:
        self._session = session
        self._ns = ns
        found = session.one("SELECT key FROM namespaces WHERE no = :ns", ns=ns)
        if found is None:
            raise NotFound("this namespace was dropped; open it again to create it anew")
        self._key: bytes = found[0]

    def marker(self, table: str, key: Key) -> bytes:
        """BLAKE2b-256 of the table and the key, keyed by the namespace's secret."""
        text = "\0".join((table, *key)).encode()  # no key part holds a NUL
        return blake2b(text, key=self._key, digest_size=32).digest()

    def add(self, table: str, key: Key, time: int) -> None:
        """Mark a key as purged at a time; the newest time counts."""
        cells = (self._ns, self.marker(table, key), time)
        self._session.run(
            "INSERT INTO purged (ns, marker, time, hash) VALUES (:ns, :marker, :time, :hash) "
            "ON CONFLICT (ns, marker) DO UPDATE SET time = excluded.time, hash = excluded.hash",
            ns=cells[0],
            marker=cells[1],
            time=time,
            hash=record_hash("purged", cells),
        )

    def purged(self, table: str, key: Key, time: int) -> bool:
        """Whether a key was purged at that time or later."""
        marker = self.marker(table, key)
        query = "SELECT 1 FROM purged WHERE ns = :ns AND marker = :marker AND time >= :time"
        return self._session.one(query, ns=self._ns, marker=marker, time=time) is not None


def purge(session: Session, ns: int, table: Table, keys: Sequence[Key]) -> PurgeReport:
    """Erase rows and what hangs on them, inside the caller's write transaction."""
    session.dialect.overwrite(session.raw, ns)
    markers = Markers(session, ns)
    newest = session.one("SELECT max(head_time) FROM branches WHERE ns = :ns", ns=ns)[0]
    time = max(now_us(), newest or 0)  # no earlier than any commit, whatever clocks said
    bound = [name for name, space in load_spaces(session, ns).items() if space.table == table.name]
    found = versions = vectors = 0
    payloads: set[str] = set()
    wanted = list(dict.fromkeys(keys))
    for key in wanted:
        count = _erase(session, ns, table, key, payloads)
        markers.add(table.name, key, time)
        found += count > 0
        versions += count
        for space in bound:
            owned = (space, owner_id(key))
            vectors += _erase(session, ns, TABLES["vectors"], owned, payloads) > 0
            markers.add("vectors", owned, time)
    forget_picks(session, ns, table.name, set(wanted).__contains__)
    if bound:
        owned_keys = {(space, owner_id(key)) for space in bound for key in wanted}
        forget_picks(session, ns, "vectors", owned_keys.__contains__)
    chunks = drop_chunks(session, ns, payloads) if payloads else 0
    bump(session, ns, purges=1)
    return PurgeReport(keys=found, versions=versions, vectors=vectors, chunks=chunks)


def _erase(session: Session, ns: int, table: Table, key: Key, payloads: set[str]) -> int:
    """Delete every version of a key on every branch; how many there were."""
    values: dict[str, Any] = {"ns": ns, "tbl": table.name, "key": key_text(key)}
    for i, part in enumerate(key):
        values[f"k{i}"] = part
    on = "ns = :ns AND " + " AND ".join(f"{quote(name)} = :k{i}" for i, name in enumerate(table.key))
    versions = f"{on} AND branch IN (SELECT no FROM branches WHERE ns = :ns)"
    for column in table.columns:
        if column.kind == "payload":
            query = f"SELECT {quote(column.name)} FROM {table.name} WHERE {versions} AND {quote(column.name)} IS NOT NULL"
            for (manifest,) in session.run_with(query, values).fetchall():
                payloads |= set(digests(manifest))
    count = session.run_with(f"DELETE FROM {table.name} WHERE {versions}", values).rowcount
    session.run_with(f"DELETE FROM {table.name}_overrides WHERE {on}", values)
    session.run_with("DELETE FROM counters WHERE ns = :ns AND tbl = :tbl AND row_key = :key", values)
    return int(count)


def digests(manifest: str) -> list[str]:
    """The digests of a payload manifest."""
    rest = manifest.partition(":")[2]
    return rest.split(",") if rest else []


def drop_chunks(session: Session, ns: int, among: Iterable[str] | None) -> int:
    """Delete payload pieces (all, or those named) that no version refers to; how many."""
    used: set[str] = set()
    for (manifest,) in session.run(
        "SELECT payload FROM states WHERE ns = :ns AND payload IS NOT NULL", ns=ns
    ):
        used.update(digests(manifest))
    if among is None:
        among = [row[0] for row in session.all("SELECT digest FROM chunks WHERE ns = :ns", ns=ns)]
    return sum(
        session.count("DELETE FROM chunks WHERE ns = :ns AND digest = :digest", ns=ns, digest=digest)
        for digest in among
        if digest not in used
    )


def forget_picks(session: Session, ns: int, table: str, gone: Callable[[Key], bool]) -> None:
    """Take purged keys out of what selective merges recorded."""
    for row in session.all(f"{COMMITS} AND c.picks <> '[]'", ns=ns):
        commit = commit_of(row[0], row[1:])
        picks = tuple(
            pick
            if pick.table != table or pick.keys is None
            else type(pick)(pick.source, pick.table, tuple(key for key in pick.keys if not gone(key)))
            for pick in commit.picks
        )
        if picks == commit.picks:
            continue
        number, wall = session.one(
            "SELECT branch, wall FROM commits WHERE ns = :ns AND id = :id", ns=ns, id=commit.id
        )
        kept = {name: getattr(commit, name) for name in commit.__struct_fields__}
        cells = commit_cells(ns, number, type(commit)(**{**kept, "picks": picks}), wall)
        session.run(
            "UPDATE commits SET picks = :picks, hash = :hash WHERE ns = :ns AND id = :id",
            picks=cells[10],
            hash=cells[-1],
            ns=ns,
            id=commit.id,
        )
