"""Commits of many rows: whatever way these take, they mean what they mean on every engine."""

import random
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import numpy as np
import perdure
import perdure_lancedb
import perdure_lancedb._snapshot
import perdure_memory
import pyarrow as pa
import pytest
from perdure import (
    TABLES,
    AlreadyExists,
    CommitRequest,
    CompactRequest,
    Context,
    Delete,
    InvalidRecord,
    NotFound,
    PerdureError,
    Put,
    PutArrow,
    Query,
    Ref,
    Space,
    StaleHead,
)
from perdure.kit import batch_of, rows_of

CTX = Context()
MAIN = Ref("main")
MANY = 1_200  # more than go the kit's way


def cells(table: str, key: tuple[str, ...], rng: random.Random) -> tuple[Any, ...]:
    """A row with something, or nothing, in each column."""
    made: dict[str, Callable[[], Any]] = {
        "text": lambda: rng.choice(["", "x", "é\n'\"\\", "\U00010000", "y" * 300]),
        "int": lambda: rng.choice([0, -(2**63), 2**63 - 1, 7]),
        "float": lambda: rng.choice([0.0, 5e-324, -1.5, 1.7e308]),
        "time": lambda: rng.choice([0, -1, 2**53, 1_700_000_000_000_000]),
        "tags": lambda: tuple(rng.sample(["a", "é", "", "z"], rng.randrange(4))),
        "value": lambda: rng.choice(["null", '{"a":1}', '"é"']),
        "payload": lambda: None,
        "vector": lambda: np.array([rng.random(), 0.0, -1.0], np.float32).tobytes(),
    }
    row: list[Any] = list(key)
    for column in TABLES[table].columns[len(key) :]:
        none = column.nullable or column.name in ("created_at", "updated_at")
        row.append(None if none and rng.random() < 0.3 else made[column.kind]())
    return tuple(row)


def batch(table: str, ids: Any, seed: int = 0, space: str = "free") -> pa.RecordBatch:
    rng = random.Random(seed)
    first = {"states": ("kind",), "vectors": (space,)}.get(table, ())
    rows = [cells(table, (*first, str(i)), rng) for i in ids]
    fields = [field.with_nullable(True) for field in TABLES[table].arrow]
    return batch_of(pa.schema(fields), rows)


def put(
    backend: Any, table: str, *batches: pa.RecordBatch, mode: Any = "put", branch: str = "main", time: int = 0
) -> Any:
    operation = PutArrow(table, list(batches), unique=True, mode=mode)
    return backend.commit(CTX, CommitRequest(branch, str(uuid4()), (operation,), time=time or None))


def put_rows(backend: Any, table: str, found: pa.RecordBatch, *, time: int = 0, **more: Any) -> Any:
    """The same rows one by one, as records come."""
    operation = Put(table, list(rows_of(found)), **more)
    return backend.commit(CTX, CommitRequest("main", str(uuid4()), (operation,), time=time or None))


def rows(backend: Any, table: str, at: Any = MAIN) -> list[Any]:
    return list(backend.select(CTX, Query(table), at))


@pytest.fixture(params=[1_000_000, 1_000], ids=["log", "folded"])
def both(request: pytest.FixtureRequest, tmp_path: Any) -> Iterator[list[Any]]:
    """A store of ours, and one in memory, that have the same space."""
    backends = [
        perdure_lancedb.local.open(f"lancedb:///{tmp_path}/s?fold={request.param}", "main", "rw"),
        perdure_memory.plugin.open("memory://", "main", "rw"),
    ]
    for backend in backends:
        backend.create_space(CTX, Space("free", 3))
        backend.create_space(CTX, Space("bound", 3, table="memories"))
    yield backends
    for backend in backends:
        backend.close(CTX)


def same(both: list[Any], *tables: str) -> None:
    ours, theirs = both
    for table in tables:
        assert rows(ours, table) == rows(theirs, table)
        assert ours.count(CTX, table, None, MAIN) == theirs.count(CTX, table, None, MAIN)
    report = ours.verify(CTX)
    assert report.ok


def told(act: Callable[[], Any]) -> str:
    try:
        act()
    except PerdureError as error:
        return type(error).__name__
    return ""


@pytest.mark.parametrize("put", [put, put_rows], ids=["columns", "rows"])
@pytest.mark.parametrize("table", TABLES)
def test_every_kind_of_row_is_what_it_is_in_memory(both, table, put):
    """New rows, then a part of them again with others, then a part deleted and put again."""
    steps = [(range(MANY), 1, 1_000), (range(600, 600 + MANY), 2, 2_000), (range(MANY), 3, 3_000)]
    for ids, seed, time in steps:
        for backend in both:
            put(backend, table, batch(table, ids, seed), time=time)
        same(both, table)
    width = len(TABLES[table].key)
    gone = tuple(row[:width] for row in rows(both[1], table)[::3])
    for backend in both:
        operation = Delete(table, gone)
        backend.commit(CTX, CommitRequest("main", str(uuid4()), (operation,), time=4_000))
    same(both, table)
    for backend in both:
        put(backend, table, batch(table, range(2 * MANY), 5), time=5_000)
    same(both, table)


def test_an_insert_that_meets_a_row_does_nothing(both):
    for backend in both:
        put(backend, "memories", batch("memories", range(MANY)), time=1)
        with pytest.raises(AlreadyExists):
            put(backend, "memories", batch("memories", range(MANY - 1, 2 * MANY)), mode="insert")
        put(backend, "memories", batch("memories", range(MANY, 2 * MANY)), mode="insert", time=2)
    same(both, "memories")


@pytest.mark.parametrize(
    "ids",
    [
        [[*range(MANY), 5]],
        [range(MANY), range(MANY - 1, 2 * MANY)],
        [range(MANY), [3]],
        [[3], range(MANY)],
        [[100_000], range(MANY), [100_000]],
    ],
    ids=["in a batch", "in two", "then in a small one", "first in a small one", "in two small ones"],
)
def test_a_key_that_comes_twice_is_refused(both, ids, tmp_path):
    """Though the batch says that none does."""
    ours = both[0]
    with pytest.raises(InvalidRecord, match="unique=False"):
        put(ours, "memories", *(batch("memories", some, i) for i, some in enumerate(ids)))
    assert rows(ours, "memories") == []
    assert segments(tmp_path) == []
    put(ours, "memories", batch("memories", range(MANY)))
    assert len(rows(ours, "memories")) == MANY
    assert ours.verify(CTX).ok


def test_a_key_that_comes_twice_is_refused_where_references_are_looked_up(both, tmp_path):
    """Which is done with rows."""
    ours, twice = both[0], [batch("memories", range(MANY)), batch("memories", range(MANY))]
    operation = PutArrow("memories", twice, unique=True)
    with pytest.raises(InvalidRecord, match="unique=False"):
        ours.commit(CTX, CommitRequest("main", "one", (operation,), check_references=True))
    assert rows(ours, "memories") == []
    assert segments(tmp_path) == []


def changed(table: str, column: str, cell: Any, kind: pa.DataType | None = None) -> pa.RecordBatch:
    """A batch with another cell in the middle of a column."""
    found = batch(table, range(MANY))
    place = found.schema.get_field_index(column)
    values = found[column].to_pylist()
    values[MANY // 2] = cell
    field = found.schema.field(place)
    return found.set_column(place, field, pa.array(values, kind or field.type))


def broken(table: str, column: str) -> pa.RecordBatch:
    """A batch with a text that is no UTF-8."""
    found = batch(table, range(MANY))
    place = found.schema.get_field_index(column)
    values = [b"x%d" % i for i in range(MANY)]
    values[MANY // 2] = b"\xff\xfe"
    texts = pa.array(values, pa.binary())
    return found.set_column(
        place, found.schema.field(place), pa.Array.from_buffers(pa.string(), MANY, texts.buffers())
    )


HOSTILE: dict[str, Callable[[], Any]] = {
    "no batch": lambda: pa.table({"id": ["a"]}),
    "other columns": lambda: batch("links", range(MANY)),
    "large texts": lambda: changed("memories", "text", "x").set_column(
        5, "text", pa.array(["x"] * MANY, pa.large_string())
    ),
    "a dictionary": lambda: batch("memories", range(MANY)).set_column(
        0, "id", pa.array([f"{i}" for i in range(MANY)]).dictionary_encode()
    ),
    "an empty key": lambda: changed("memories", "id", ""),
    "no key": lambda: changed("memories", "id", None),
    "NUL in a key": lambda: changed("memories", "id", "a\0b"),
    "a key too long": lambda: changed("memories", "id", "x" * 513),
    "no UTF-8 in a key": lambda: broken("memories", "id"),
    "no UTF-8 in a text": lambda: broken("memories", "text"),
    "NaN": lambda: changed("memories", "importance", float("nan")),
    "infinity": lambda: changed("memories", "importance", float("inf")),
    "-0.0": lambda: changed("memories", "importance", -0.0),
    "null tags": lambda: changed("memories", "tags", None),
    "a null tag": lambda: changed("memories", "tags", ["a", None]),
    "no source": lambda: changed("links", "source", None),
    "a vector too short": lambda: changed("vectors", "values", b"1234"),
    "no vector": lambda: changed("vectors", "values", None),
    "no such space": lambda: changed("vectors", "space", "nowhere"),
    "no space": lambda: changed("vectors", "space", None),
    "no UTF-8 in a space": lambda: broken("vectors", "space"),
    "all in no such space": lambda: batch("vectors", range(MANY), space="nowhere"),
    "a vector of no row": lambda: batch("vectors", range(MANY), space="bound"),
}


@pytest.mark.parametrize("what", HOSTILE)
@pytest.mark.parametrize("full", [False, True])
def test_a_hostile_batch_is_refused_as_in_memory(both, what, full):
    """Given to the hook itself, after a good one; also where a table has rows of that kind."""
    names = ["links", "memories", "vectors"]
    for backend in both:
        for table in names if full else ():
            put(backend, table, batch(table, range(5_000, 5_000 + MANY)), time=1)
    hostile = HOSTILE[what]()
    here = {tuple(TABLES[name].arrow.names): name for name in names}
    table = here.get(tuple(hostile.schema.names), "memories")
    if what == "other columns":
        table = "memories"
    good = batch(table, range(10_000, 10_000 + MANY))
    ours, theirs = (told(lambda b=backend: put(b, table, good, hostile)) for backend in both)
    assert ours == theirs != ""
    same(both, *names)
    assert ours in {InvalidRecord.__name__, NotFound.__name__}


def test_a_row_without_a_key_is_refused_where_each_key_is_looked_up(both, monkeypatch):
    """As they are in a table that is much larger than the batch."""
    monkeypatch.setattr(perdure_lancedb._snapshot, "_FEW", 0)
    ours = both[0]
    put(ours, "memories", batch("memories", range(MANY)), time=1)
    ours.compact(CTX, CompactRequest(keep_commits=1))
    put(ours, "memories", batch("memories", range(MANY, 2 * MANY)), time=2)
    with pytest.raises(InvalidRecord):
        put(ours, "memories", changed("memories", "id", None))
    assert len(rows(ours, "memories")) == 2 * MANY


def test_odd_batches_that_are_right(both):
    """An empty one, a part of a larger one, vectors of several spaces, and of a bound space with their rows."""
    large = batch("memories", range(3 * MANY))
    mixed = pa.concat_batches(
        [batch("vectors", range(MANY)), batch("vectors", range(MANY), 1, space="bound")]
    )
    for backend in both:
        put(backend, "memories", large.slice(0, 0), large.slice(17, 2 * MANY), large.slice(0, 17), time=1)
        put(backend, "vectors", mixed, time=2)
        put(backend, "vectors", batch("vectors", range(MANY, MANY + 700), 2, space="bound"), time=3)
    same(both, "memories", "vectors")


def test_a_caller_may_change_its_memory_afterwards(tmp_path):
    """The columns of a batch may be somebody's arrays."""
    numbers = np.arange(MANY, dtype=np.float64) + 1
    found = batch("memories", range(MANY))
    place = found.schema.get_field_index("importance")
    found = found.set_column(place, found.schema.field(place), pa.array(numbers))
    with perdure.open(f"lancedb:///{tmp_path}/s") as store:
        backend = perdure_lancedb.local.open(f"lancedb:///{tmp_path}/s", "default", "rw")
        put(backend, "memories", found)
        numbers[:] = -7.0
        store.compact()
        assert store.verify().ok
        assert {row.importance for row in store.memories.scan()} == set(np.arange(1.0, MANY + 1))
        backend.close(CTX)


def test_a_batch_may_be_large(both):
    """It goes to several segments."""
    text = pa.array(["x" * 30_000] * MANY)
    found = batch("memories", range(MANY)).set_column(6, TABLES["memories"].arrow.field("text"), text)
    assert found.nbytes > 32_000_000
    for backend in both:
        put(backend, "memories", found, time=1)
    same(both, "memories")


def segments(tmp_path: Any) -> list[str]:
    return sorted(path.name for path in (tmp_path / "s" / "seg").glob("*"))


def test_many_new_rows_go_to_segments_and_others_do_not(tmp_path):
    ours = perdure_lancedb.local.open(f"lancedb:///{tmp_path}/s?fold=1000000", "main", "rw")
    put_rows(ours, "memories", batch("memories", range(499)))
    assert segments(tmp_path) == []
    put_rows(ours, "memories", batch("memories", range(MANY)))
    assert len(segments(tmp_path)) == 1
    assert not ours._writer._bulk.fresh, "a million keys would stay in memory until the next commit"
    put_rows(ours, "memories", batch("memories", range(MANY), 1))
    assert len(segments(tmp_path)) == 1, "all of them were there"
    ours.close(CTX)


def test_one_commit_of_many_sorts_of_rows(both):
    """Vectors of two spaces, one of them bound; rows that go again; rows that come twice in it; a deletion."""
    memories = list(rows_of(batch("memories", range(MANY))))
    again = list(rows_of(batch("memories", range(700, MANY + 700), 4)))
    operations = (
        Put("memories", memories),
        Put("vectors", list(rows_of(batch("vectors", range(MANY), 1)))),
        Put("vectors", list(rows_of(batch("vectors", range(MANY), 2, space="bound")))),
        Put("memories", again),
        Delete("memories", tuple((str(i),) for i in range(0, MANY, 7))),
        Put("links", list(rows_of(batch("links", range(30))))),
    )
    for time in (1, 2):
        for backend in both:
            backend.commit(CTX, CommitRequest("main", str(uuid4()), operations, time=time))
        same(both, "memories", "vectors", "links")


REFUSED: dict[str, Callable[[], tuple[Any, ...]]] = {
    "a number beyond 64 bits": lambda: ("memories", "created_at", 2**63),
    "a lone surrogate": lambda: ("memories", "text", "\ud800"),
    "a lone surrogate in a key": lambda: ("memories", "id", "\ud800"),
    "another type": lambda: ("memories", "text", 5),
    "NaN": lambda: ("memories", "importance", float("nan")),
    "no vector": lambda: ("vectors", "values", None),
    "a vector too long": lambda: ("vectors", "values", b"1234" * 4),
    "no such space": lambda: ("vectors", "space", "nowhere"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_hostile_row_among_many_is_refused_as_in_memory(both, what, tmp_path):
    """With rows of another table before it in the commit, which do not stay either."""
    table, column, cell = REFUSED[what]()
    hostile = [list(row) for row in rows_of(batch(table, range(MANY)))]
    hostile[MANY - 1][TABLES[table].position[column]] = cell
    operations = (
        Put("links", list(rows_of(batch("links", range(MANY))))),
        Put(table, [tuple(row) for row in hostile]),
    )
    request = CommitRequest("main", "one", operations, time=1)
    ours, theirs = (told(lambda b=backend: b.commit(CTX, request)) for backend in both)
    assert ours == theirs != ""
    same(both, "links", table)
    assert segments(tmp_path) == []


def test_an_insert_of_many_that_meets_a_row_leaves_no_segment(both, tmp_path):
    for backend in both:
        put_rows(backend, "memories", batch("memories", [5]), time=1)
        with pytest.raises(AlreadyExists):
            put_rows(backend, "memories", batch("memories", range(MANY)), mode="insert")
        with pytest.raises(StaleHead):
            backend.commit(
                CTX,
                CommitRequest(
                    "main",
                    "two",
                    (Put("memories", list(rows_of(batch("memories", range(MANY))))),),
                    expect_head="another",
                ),
            )
    same(both, "memories")
    assert segments(tmp_path) == []


def test_many_rows_may_be_large(both):
    """They go to several segments."""
    found = [list(row) for row in rows_of(batch("memories", range(MANY)))]
    for row in found:
        row[6] = "x" * 30_000
    operation = Put("memories", [tuple(row) for row in found])
    for backend in both:
        backend.commit(CTX, CommitRequest("main", "one", (operation,), time=1))
    same(both, "memories")
