"""Read counters: shared by branches, unversioned."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from perdure import Key, Table
from perdure.filters import Counters

from perdure_sql._codec import columns, key_text, quote, record_hash
from perdure_sql._database import Session
from perdure_sql._query import read_counters
from perdure_sql._tables import OPEN, RECORDS

__all__ = ["store_counters", "touch"]

_CHUNK = 500


def touch(session: Session, ns: int, table: Table, keys: Sequence[Key], time: int) -> int:
    """Count one read of each row that exists on any branch."""
    wanted = list(dict.fromkeys(keys))
    counted = 0
    for start in range(0, len(wanted), _CHUNK):
        live = _existing(session, ns, table, wanted[start : start + _CHUNK])
        known = read_counters(session, ns, table, list(live))
        fresh: dict[Key, Counters] = {}
        for key in live:
            accessed, count = known.get(key, (None, 0))
            fresh[key] = (time if accessed is None else max(accessed, time), count + 1)
        store_counters(session, ns, table, fresh)
        counted += len(live)
    return counted


def store_counters(session: Session, ns: int, table: Table, counters: Mapping[Key, Counters]) -> None:
    """Write read counters."""
    names = RECORDS["counters"]
    rows = []
    for key, (accessed, count) in counters.items():
        cells = (ns, table.name, key_text(key), accessed, count)
        rows.append(dict(zip(names, (*cells, record_hash("counters", cells)), strict=True)))
    session.many(
        f"INSERT INTO counters ({', '.join(names)}) VALUES ({', '.join(':' + name for name in names)}) "
        "ON CONFLICT (ns, tbl, row_key) DO UPDATE SET "
        "accessed_at = excluded.accessed_at, access_count = excluded.access_count, hash = excluded.hash",
        rows,
    )


def _existing(session: Session, ns: int, table: Table, keys: Sequence[Key]) -> dict[Key, None]:
    """The keys that the head of some branch shows."""
    found: dict[Key, bool] = {}
    source, parts = session.dialect.key_source(len(table.key))
    on = " AND ".join(f"v.{quote(name)} = {part}" for name, part in zip(table.key, parts, strict=True))
    asked = session.dialect.bind_keys(keys)
    # A live current version is visible at the head of its own branch.
    for row in session.run(
        f"SELECT DISTINCT {columns(table.key)} FROM {source} CROSS JOIN branches b CROSS JOIN {table.name} v "
        f"WHERE b.ns = :ns AND v.ns = b.ns AND v.branch = b.no AND {on} AND v.to_seq = {OPEN} AND v.dead = 0",
        ns=ns,
        **asked,
    ):
        found[tuple(row)] = True
    left = [key for key in keys if key not in found]
    if left:
        found.update(dict.fromkeys(_inherited(session, ns, table, left, on, source), True))
    return {key: None for key in keys if key in found}


def _inherited(
    session: Session, ns: int, table: Table, keys: Sequence[Key], on: str, source: str
) -> Iterable[Key]:
    """Keys that were deleted on the branch that wrote them, but live on in a fork."""
    closest: dict[tuple[int, Key], tuple[int, int]] = {}
    for branch, depth, dead, *key in session.run(
        f"SELECT l.branch, l.depth, v.dead, {columns(table.key)} FROM {source} CROSS JOIN lineage l "
        f"CROSS JOIN {table.name} v WHERE l.ns = :ns AND v.ns = l.ns AND v.branch = l.ancestor AND {on} "
        "AND v.from_seq <= l.upto AND v.to_seq > l.upto",
        ns=ns,
        **session.dialect.bind_keys(keys),
    ):
        at = (branch, tuple(key))
        closest[at] = min(closest.get(at, (depth, dead)), (depth, dead))
    return [key for (_, key), (_, dead) in closest.items() if not dead]
