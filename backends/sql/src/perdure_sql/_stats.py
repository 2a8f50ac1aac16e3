"""Figures of a namespace."""

from __future__ import annotations

from perdure import TABLES, Stats

from perdure_sql._database import Session
from perdure_sql._places import Place
from perdure_sql._query import Queries

__all__ = ["stats"]


def stats(session: Session, ns: int, where: Place, queries: Queries) -> Stats:
    """Live rows at a place, and the size of everything else."""

    def count(table: str) -> int:
        return int(session.one(f"SELECT count(*) FROM {table} WHERE ns = :ns", ns=ns)[0])

    name = session.one("SELECT name FROM branches WHERE ns = :ns AND no = :no", ns=ns, no=where.branch)[0]
    payload = session.one("SELECT coalesce(sum(length(data)), 0) FROM chunks WHERE ns = :ns", ns=ns)[0]
    return Stats(
        branch=name,
        rows={table: queries.live(session, TABLES[table], where) for table in TABLES},
        versions={table: count(table) for table in TABLES},
        commits=count("commits"),
        branches=count("branches"),
        checkpoints=count("checkpoints"),
        spaces=count("spaces"),
        payload_bytes=int(payload),
        store_bytes=session.dialect.store_bytes(session.raw),
    )
