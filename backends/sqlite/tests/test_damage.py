"""Damage: a byte that is not what was written is refused or reported, and never read as if it were."""

import random
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import perdure
import pytest

DATA = Path(__file__).parent / "data"
GOLDEN = DATA / "golden-1.db"
PAGE = 4096
NOTICED = ("refused", "reported")


@pytest.fixture(scope="module")
def intact() -> bytes:
    return GOLDEN.read_bytes()


@pytest.fixture(scope="module")
def expected(golden, tmp_path_factory) -> Any:
    copy = tmp_path_factory.mktemp("intact") / "agent.db"
    shutil.copy(GOLDEN, copy)
    with perdure.open(f"sqlite:///{copy}", namespace="golden") as store:
        return golden["dump"](store)


def judge(path: Path, mode: str, golden: Any, expected: Any) -> str:
    """How damage shows: "refused", "reported", "harmless", where everything reads as before, or "missed"."""
    try:
        store = perdure.open(f"sqlite:///{path}", namespace="golden", mode=mode)
    except perdure.PerdureError:
        return "refused"
    with store:
        report = store.verify()
        if not report.ok:
            return "reported"
        return "harmless" if golden["dump"](store) == expected else "missed"


def flip(path: Path, content: bytes, place: int, mask: int) -> None:
    for old in path.parent.glob(path.name + "*"):
        old.unlink()
    damaged = bytearray(content)
    damaged[place] ^= mask
    path.write_bytes(damaged)


def used_bytes(content: bytes) -> list[int]:
    """The places of cells and page headers; what is left is free space inside pages."""
    places: list[int] = list(range(100))
    for start in range(0, len(content), PAGE):
        begin = start + (100 if start == 0 else 0)
        kind, cells = content[begin], int.from_bytes(content[begin + 3 : begin + 5], "big")
        if kind in (2, 5, 10, 13):
            first = int.from_bytes(content[begin + 5 : begin + 7], "big") or 65_536
            header = begin + (12 if kind in (2, 5) else 8) + 2 * cells
            places += [*range(begin, header), *range(start + first, start + PAGE)]
        else:  # overflow
            places += range(start, start + PAGE)
    return places


def flips(content: bytes) -> list[tuple[int, int]]:
    rng = random.Random(2025)
    used = used_bytes(content)
    everywhere = [(place, 1 << rng.randrange(8)) for place in rng.sample(range(len(content)), 40)]
    in_use = [(place, rng.choice([1, 2, 4, 8, 16, 32, 64, 128, 255])) for place in rng.sample(used, 120)]
    header = [(place, 1 << rng.randrange(8)) for place in range(0, 100, 3)]
    return everywhere + in_use + header


@pytest.mark.parametrize("part", range(6))
def test_a_flipped_byte_is_never_read_as_if_it_were_right(path, golden, intact, expected, part):
    outcomes: dict[str, int] = {"refused": 0, "reported": 0, "harmless": 0}
    for i, (place, mask) in enumerate(flips(intact)[part::6]):
        flip(path, intact, place, mask)
        try:
            outcome = judge(path, "rw" if i % 2 else "r", golden, expected)
        except Exception as error:
            raise AssertionError(f"byte {place} ^ {mask} was missed") from error
        assert outcome in outcomes, (place, mask)
        outcomes[outcome] += 1
    assert outcomes["reported"] > outcomes["harmless"]


# --------------------------------------------------------------------- well-formed cells that are wrong


def alter(path: Path, table: str, column: str, row: int) -> bool:
    """Change one cell by SQL, so that pages and indexes agree; False where that cannot be."""
    raw = sqlite3.connect(path)
    try:
        names = [info[1] for info in raw.execute(f"PRAGMA table_info({table})")]
        mine = "" if "ns" not in names else " WHERE ns = 1"
        rows = raw.execute(f"SELECT * FROM {table}{mine}").fetchall()
        cells = dict(zip(names, rows[row % len(rows)], strict=True))
        cell = cells[column]
        other: Any = cell + 1 if isinstance(cell, int | float) else "x" if cell is None else cell[:-1]
        if isinstance(cell, str):
            other = cell[:-1] + chr(ord(cell[-1]) ^ 1) if cell else "x"
        where = " AND ".join(f'"{name}" IS ?' for name in names)
        with raw:
            done = raw.execute(
                f'UPDATE {table} SET "{column}" = ? WHERE {where}', (other, *(cells[name] for name in names))
            )
        return done.rowcount == 1
    except sqlite3.IntegrityError:
        return False
    finally:
        raw.close()


def columns() -> list[tuple[str, str]]:
    with sqlite3.connect(f"file:{GOLDEN}?mode=ro&immutable=1", uri=True) as raw:
        tables = [name for (name,) in raw.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        found = [(table, info[1]) for table in tables for info in raw.execute(f"PRAGMA table_info({table})")]
    raw.close()
    return [(table, column) for table, column in found if table != "sqlite_sequence"]


@pytest.mark.parametrize("row", [0, 1, 2])
def test_a_changed_cell_is_noticed(path, golden, intact, expected, row):
    """DM-084."""
    missed = []
    for table, column in columns():
        flip(path, intact, 0, 0)
        if column == "ns" and (table in perdure.TABLES or table in ("chunks", "commits")):
            continue  # is in every index, against which the pages are checked
        if alter(path, table, column, row) and judge(path, "rw", golden, expected) not in NOTICED:
            missed.append((table, column))
    assert missed == []


def test_a_lost_row_is_noticed(path, golden, intact, expected):
    """Where other rows tell that it was there: markers, counters and names are what nothing else tells of."""
    for table in sorted({table for table, _ in columns()} - {"purged", "counters", "checkpoints"}):
        flip(path, intact, 0, 0)
        raw = sqlite3.connect(path)
        key = "no" if table == "namespaces" else "version_num" if table == "alembic_version" else "ns"
        with raw:
            raw.execute(f"DELETE FROM {table} WHERE {key} IN (1, '0001')")
        raw.close()
        assert judge(path, "r", golden, expected) in NOTICED, table


# ------------------------------------------------------------------------------------ what was cut off


def test_a_truncated_file_is_refused_or_reported(path, golden, intact, expected):
    rng = random.Random(5)
    whole = [PAGE * pages for pages in (0, 1, 2, 30, len(intact) // PAGE - 1)]
    for length in (*whole, 1, 15, 16, 99, 100, *rng.sample(range(len(intact)), 12)):
        for mode in ("r", "rw") if length else ("r",):  # an empty file is one where a store may begin
            flip(path, intact, 0, 0)
            path.write_bytes(intact[:length])
            assert judge(path, mode, golden, expected) in NOTICED, length
            if mode == "r":
                assert path.read_bytes() == intact[:length]


def test_a_cut_or_damaged_log_leaves_whole_commits(path, golden, intact):
    """What the write-ahead log lost is lost, but what is left ends with a whole commit."""
    flip(path, intact, 0, 0)
    url = f"sqlite:///{path}"
    log = path.with_name(path.name + "-wal")
    with perdure.open(url, namespace="golden") as store:
        states = [golden["dump"](store)]
        for i in range(4):
            with store.batch(commit_id=f"log-{i}") as batch:
                batch.memories.put([perdure.Memory(id=f"log-{i}-{j}", text="x" * 900) for j in range(8)])
                batch.memories.delete(f"m{i:02}")
            states.append(golden["dump"](store))
        database, logged = path.read_bytes(), log.read_bytes()
    rng = random.Random(6)
    lengths = [0, 31, 32, 33, len(logged) - 1, *rng.sample(range(len(logged)), 14)]
    damaged = [bytearray(logged) for _ in range(14)]
    for content in damaged:
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    reached = set()
    for content in [logged, *(logged[:length] for length in lengths), *damaged]:
        flip(path, database, 0, 0)
        log.write_bytes(content)
        with perdure.open(url, namespace="golden") as store:
            assert store.verify().ok
            reached.add(states.index(golden["dump"](store)))
    assert reached == set(range(len(states)))
