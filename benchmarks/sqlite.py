"""SQLite: perdure beside `sqlite3` on a file with the same schema, pragmas and bytes.

The raw file is a copy of a perdure file without rows: what the raw contestant inserts are the very rows
that perdure stored, read back from its file.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import perdure
from perdure import Memory

from benchmarks.cases import CASES, FIND, GET, NEWEST, Bench, Case, Raw, Row, exact, load, record, run_cases
from benchmarks.harness import Line

LIMITS = {"get": 3.0, "branch": 5.0}


def run(folder: Path, rows: int, wanted: Callable[[str], bool]) -> Iterator[Line]:
    """All lines, one after the other."""
    with perdure.open(f"sqlite:///{folder / 'ours.db'}") as store:
        deep = load(store, rows)
        with closing(_twin(folder)) as connection:
            raw = Sqlite3(connection)
            bench = Bench(store, deep, raw, rows, "executemany", "synchronous=FULL", LIMITS)
            yield from run_cases(bench, {**CASES, **_OWN}, wanted)


def search(bench: Bench) -> Iterator[Line]:
    """Exact search."""
    for size in (10_000, 100_000):
        yield from exact(bench, size)


_OWN: dict[str, Case] = {"search exact": search}


class Sqlite3(Raw):
    """`sqlite3`, as its user would write it."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.columns = [row[1] for row in connection.execute("PRAGMA table_info(memories)")]
        self.place = connection.execute("SELECT ns, no FROM ours.branches WHERE name = 'main'").fetchone()
        marks = ", ".join("?" * len(self.columns))
        self._insert = f"INSERT INTO memories ({', '.join(self.columns)}) VALUES ({marks})"
        connection.execute("DETACH ours")

    def stored(self, rows: int) -> list[Row]:
        return self._connection.execute(
            f"SELECT {', '.join(self.columns)} FROM memories WHERE branch = ? LIMIT ?", (self.place[1], rows)
        ).fetchall()

    def put(self, row: Row) -> None:
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.execute(self._insert, row)
        self._connection.execute("COMMIT")

    def load(self, rows: Sequence[Row]) -> None:
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.executemany(self._insert, rows)
        self._connection.execute("COMMIT")

    def get(self, id: str) -> Memory:
        return record(self._connection.execute(GET, (*self.place, id)).fetchone())

    def find(self) -> list[Memory]:
        return [record(row) for row in self._connection.execute(FIND, (*self.place, "episode", NEWEST))]


def _twin(folder: Path) -> sqlite3.Connection:
    """A raw connection, with perdure's pragmas, to a file with the same tables and rows; ours is attached."""
    with perdure.open(f"sqlite:///{folder / 'empty.db'}"):
        pass
    shutil.copy(folder / "empty.db", folder / "raw.db")
    twin = sqlite3.connect(folder / "raw.db", isolation_level=None, check_same_thread=False)
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "cache_size=-65536", "temp_store=MEMORY"):
        twin.execute(f"PRAGMA {pragma}")
    twin.execute("ATTACH ? AS ours", (str(folder / "ours.db"),))
    twin.execute("INSERT INTO memories SELECT * FROM ours.memories")
    twin.execute("ANALYZE main")
    return twin
