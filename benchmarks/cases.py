"""What is measured on every engine; an engine's own module brings the raw contestant, and its limits."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import count, cycle
from typing import Any

import msgspec
import numpy as np
import perdure
import pyarrow as pa
from numpy.typing import NDArray
from perdure import F, Memory, Store

from benchmarks.harness import Line, compare
from benchmarks.work import memories, vectors

DEPTH = 10
BULK = 10_000
TOP = 50
LOADED = 10_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

#: `to_seq` of a version that nothing replaced yet is above this.
NEWEST = 2**62 - 1

_NAMES = ", ".join(f'"{name}"' for name in perdure.TABLES["memories"].names)

#: The newest version on a branch is the last one by from_seq: the raw way to ask for it.
GET = f"SELECT {_NAMES} FROM memories WHERE ns = ? AND branch = ? AND id = ? ORDER BY from_seq DESC LIMIT 1"

FIND = (
    f"SELECT {_NAMES} FROM memories WHERE ns = ? AND branch = ? AND kind = ? AND to_seq > ? AND dead = 0 "
    f"ORDER BY importance DESC, id LIMIT {TOP}"
)

Row = tuple[Any, ...]


class Raw(ABC):
    """What a careful user of the raw driver would write, on tables like perdure's.

    Attributes:
        columns: The columns of a memory's version row.
        place: Namespace and branch, as numbers, of the rows that were copied from the store.
    """

    columns: Sequence[str]
    place: tuple[int, int]

    @abstractmethod
    def stored(self, rows: int) -> list[Row]:
        """So many version rows, as perdure stored them."""

    @abstractmethod
    def put(self, row: Row) -> None:
        """Insert a row in a durable transaction."""

    @abstractmethod
    def load(self, rows: Sequence[Row]) -> None:
        """Insert many rows in a durable transaction, in the driver's fastest way."""

    @abstractmethod
    def get(self, id: str) -> Memory:
        """One row by its key."""

    @abstractmethod
    def find(self) -> list[Memory]:
        """The most important episodes."""

    def fresh(self, rows: int, prefix: str) -> list[Row]:
        """So many version rows with other ids."""
        place = self.columns.index("id")
        return [
            (*row[:place], f"{prefix}{i:08d}", *row[place + 1 :]) for i, row in enumerate(self.stored(rows))
        ]


@dataclass(frozen=True)
class Bench:
    """A store with `rows` memories, a branch of it ten deep, and the raw contestant with the same rows.

    Attributes:
        driver: The raw contestant's name.
        durability: How both make a commit durable.
        limits: Case → the ratio that the design allows; ``branch`` is in milliseconds.
    """

    store: Store
    deep: Store
    raw: Raw
    rows: int
    driver: str
    durability: str
    limits: Mapping[str, float]


Case = Callable[[Bench], Iterator[Line]]


def load(store: Store, rows: int) -> Store:
    """Put the memories, and make the branch that is ten deep, which is returned."""
    for start in range(0, rows, LOADED):
        store.memories.put(memories(min(LOADED, rows - start), start=start))
    for level in range(1, DEPTH + 1):
        store = store.branch(f"depth-{level}")
        store.memories.put(memories(20, prefix=f"d{level}-"))
        store.memories.update(f"m{level * 100:08d}", importance=0.5)
    return store


def get(bench: Bench) -> Iterator[Line]:
    """One row by id, on main and ten branches deep."""
    ids = cycle([f"m{i * 7919 % bench.rows:08d}" for i in range(1_000)])

    def on(store: Store) -> Callable[[], object]:
        return lambda: store.memories.get(next(ids))

    def raw() -> object:
        return bench.raw.get(next(ids))

    assert bench.raw.get("m00000007") == bench.store.memories.get("m00000007")
    yield compare("get by id", on(bench.store), raw, limit=bench.limits["get"], rounds=15, calls=300)
    deeper = f"get by id at depth {DEPTH}, beside main"
    yield compare(deeper, on(bench.deep), on(bench.store), limit=2, rounds=15, calls=300)


def find(bench: Bench) -> Iterator[Line]:
    """The fifty most important of a kind."""

    def on(store: Store) -> Callable[[], list[Memory]]:
        return lambda: store.memories.find(F.kind == "episode", order_by="-importance", limit=TOP)

    assert bench.raw.find() == on(bench.store)()
    yield compare(
        f"find: filter, order, top {TOP}", on(bench.store), bench.raw.find, limit=2, rounds=15, calls=20
    )
    yield compare(
        f"find at depth {DEPTH}, beside main", on(bench.deep), on(bench.store), limit=2, rounds=15, calls=20
    )


def put_one(bench: Bench) -> Iterator[Line]:
    """One record, one durable commit."""
    fresh = iter(memories(1_000, prefix="one-"))
    rows = iter(bench.raw.fresh(1_000, "one-"))

    def ours() -> None:
        bench.store.memories.put(next(fresh))

    def raw() -> None:
        bench.raw.put(next(rows))

    note = f"both {bench.durability}; perdure also writes the commit and the head"
    yield compare("put one, one commit", ours, raw, limit=2, rounds=15, calls=40, note=note)


def put_many(bench: Bench) -> Iterator[Line]:
    """10,000 records in one commit, from records and from Arrow."""
    rounds = 5
    table = bench.store.memories.to_arrow(limit=BULK)
    batches = iter([bench.raw.fresh(BULK, f"raw{i}-") for i in range(2 * (rounds + 1))])
    records = iter([memories(BULK, prefix=f"bulk{i}-") for i in range(rounds + 1)])
    tables = iter([renamed(table, f"arrow{i}-") for i in range(rounds + 1)])

    def raw() -> None:
        bench.raw.load(next(batches))

    def from_records() -> None:
        bench.store.memories.put(next(records))

    def from_arrow() -> None:
        bench.store.memories.put(next(tables))

    note = f"beside {bench.driver}; both {bench.durability}"
    yield compare(f"put {BULK:,} from records", from_records, raw, limit=4, rounds=rounds, note=note)
    yield compare(f"put {BULK:,} from Arrow", from_arrow, raw, limit=2, rounds=rounds, note=note)


def branch(bench: Bench) -> Iterator[Line]:
    """Creating a branch, beside one raw durable insert."""
    names = count()
    rows = iter(bench.raw.fresh(200, "branch-"))

    def ours() -> None:
        bench.store.branches.create(f"b{next(names)}")

    def raw() -> None:
        bench.raw.put(next(rows))

    line = compare("create a branch, beside one durable insert", ours, raw, limit=None, calls=20)
    most = bench.limits["branch"]
    verdict = "ok" if line.ours <= most * 1_000 else "MISSED"
    note = f"{line.ours / 1000:.2f} ms at {bench.rows:,} rows; at most {most:g} ms: {verdict}; {bench.durability}"
    yield replace(line, note=note)


def exact(bench: Bench, size: int) -> Iterator[Line]:
    """Exact top-10 over 384 dimensions, beside a cached numpy product."""
    matrix = vectors(size, 384)
    space = fill_space(bench.store, f"s{size}", matrix)
    unit = matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
    queries = cycle(vectors(50, 384, seed=3))

    def ours() -> object:
        return bench.store.vectors.search(next(queries), k=10, space=space, exact=True)

    def raw() -> object:
        query = next(queries)
        product = unit @ (query / np.linalg.norm(query))
        best = np.argpartition(-product, 10)[:10]
        return best[np.argsort(-product[best])]

    note = "beside a cached numpy product, which answers with numbers of rows alone"
    yield compare(f"exact top-10 of {size:,} × 384", ours, raw, limit=1.5, calls=10, note=note)


def fill_space(store: Store, space: str, matrix: NDArray[np.float32]) -> str:
    """Put the vectors into a new cosine space, whose name is returned."""
    size, dim = matrix.shape
    store.spaces.create(space, dim, metric="cosine")
    flat = pa.FixedSizeListArray.from_arrays(pa.array(matrix.ravel()), dim)
    ids = [f"v{i:07d}" for i in range(size)]
    store.vectors.put(pa.table({"space": [space] * size, "id": ids, "values": flat}))
    return space


def record(row: Row) -> Memory:
    """What a careful user of the raw driver would write to get the same objects."""
    cells = list(row)
    for place in (11, 13, 14):  # times
        if cells[place] is not None:
            cells[place] = EPOCH + timedelta(microseconds=cells[place])
    cells[7] = msgspec.json.decode(cells[7])
    if not isinstance(cells[8], list):  # tags, where the engine has no lists
        cells[8] = msgspec.json.decode(cells[8])
    cells[12] = msgspec.json.decode(cells[12])
    return Memory(*cells)


def renamed(table: pa.Table, prefix: str) -> pa.Table:
    """The same rows with other ids."""
    return table.set_column(0, "id", pa.array([f"{prefix}{i:08d}" for i in range(table.num_rows)]))


#: Reads come first, so that what is put does not change what they read.
CASES: dict[str, Case] = {
    "get": get,
    "find": find,
    "put one": put_one,
    "put many": put_many,
    "branch": branch,
}


def run_cases(bench: Bench, cases: Mapping[str, Case], wanted: Callable[[str], bool]) -> Iterator[Line]:
    """The lines of the cases that are wanted, one after the other."""
    for name, measure in cases.items():
        if wanted(name):
            for line in measure(bench):
                yield line if line.note else replace(line, note=f"a read; the store is {bench.durability}")
