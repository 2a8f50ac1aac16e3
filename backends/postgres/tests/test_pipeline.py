"""Statements of a commit that nobody waits for: an error of any of them, or beside them, undoes them all."""

import linecache
import os
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterator
from types import FrameType
from typing import Any

import perdure
import pytest
from perdure import (
    AlreadyExists,
    Busy,
    CommitRequest,
    Context,
    Delete,
    Increment,
    InvalidRecord,
    Memory,
    NotFound,
    Put,
    PutArrow,
    Ref,
    Skill,
    StaleHead,
    StorageError,
    Update,
    Vector,
)
from perdure.kit import batch_of
from perdure_postgres import embedded
from perdure_sql import Scope
from psycopg import pq

CTX = Context()
SKILLS = perdure.TABLES["skills"]


def row(id_: Any, body: str = "null") -> tuple[Any, ...]:
    cells = {"id": id_, "body": body, "metadata": "null", "tags": ()}
    cells |= {"success_count": 0, "failure_count": 0}
    return tuple(cells.get(name) for name in SKILLS.names)


def put(backend: Any, id_: str, *rows: tuple[Any, ...], **more: Any) -> Any:
    request = CommitRequest("main", id_, [Put("skills", list(rows or [row(id_)]))], **more)
    return backend.commit(ctx=CTX, request=request)


def there(backend: Any, *ids: str) -> int:
    found = backend.fetch(ctx=CTX, table="skills", keys=[(id_,) for id_ in ids], at=Ref("main"))
    return sum(each is not None for each in found)


def idle(backend: Any) -> list[Any]:
    """Connections that wait in the pool."""
    return list(backend._database.dialect._pool._idle)


def schema_of(url: str) -> str:
    return url.partition("schema=")[2].partition("&")[0]


class Broken:
    """Payload pieces that cannot be read, after everything else was sent."""

    def __iter__(self) -> Iterator[Any]:
        raise ZeroDivisionError


# ------------------------------------------------------------------------------------- nothing is committed


def vector(id_: str) -> Vector:
    return Vector(space="space", id=id_, values=[1.0, 2.0])


SHAPES = {
    "one": lambda batch: batch.skills.put(Skill(id="x")),
    "two": lambda batch: batch.skills.put(Skill(id=f"x{i}") for i in range(2)),
    "23": lambda batch: batch.skills.put(Skill(id=f"x{i}") for i in range(23)),
    "24": lambda batch: batch.skills.put(Skill(id=f"x{i}") for i in range(24)),
    "25": lambda batch: batch.skills.put(Skill(id=f"x{i}") for i in range(25)),
    "change": lambda batch: batch.skills.increment("old", success_count=1),
    "delete": lambda batch: batch.skills.delete("old"),
    "two tables": lambda batch: (batch.skills.put(Skill(id="x")), batch.memories.put(Memory(id="x"))),
    "vector": lambda batch: batch.vectors.put(vector("old")),
    "delete with its vector": lambda batch: batch.skills.delete("bound"),
}


def state(store: perdure.Store) -> Any:
    vectors = [vector.id for vector in store.vectors.scan()]
    skills = [(skill.id, skill.success_count) for skill in store.skills.scan()]
    return skills, store.memories.count(), vectors, [commit.id for commit in store.log()]


@pytest.fixture(params=["main", "lab"])
def place(request: Any, url: str) -> Iterator[perdure.Store]:
    """A branch without ancestors, and one that hides what its parent has."""
    with perdure.open(url) as store:
        store.skills.put([Skill(id="old"), Skill(id="bound")])
        store.spaces.create("space", 2, table="skills")
        store.vectors.put(vector("bound"))
        yield store if request.param == "main" else store.branch("lab")


@pytest.mark.parametrize("shape", SHAPES)
def test_an_error_of_the_client_or_the_server_undoes_all(place, url, server, shape):
    before = state(place)
    table = f"{schema_of(url)}.branches"
    server.run(
        f"CREATE FUNCTION {table}_no() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'the trigger says no'; END$$"
    )
    for when in ("BEFORE UPDATE", "AFTER UPDATE"):
        server.run(f"CREATE TRIGGER no {when} ON {table} FOR EACH ROW EXECUTE FUNCTION {table}_no()")
        with pytest.raises(StorageError, match="the trigger says no"), place.batch() as batch:
            SHAPES[shape](batch)
        server.run(f"DROP TRIGGER no ON {table}")
        assert state(place) == before
    with place.batch(commit_id="done") as batch:
        SHAPES[shape](batch)
    assert state(place) != before
    assert place.verify().problems == ()


@pytest.mark.parametrize("count", [1, 2, 23, 24, 25])
def test_an_exception_after_all_was_sent(store, server, count):
    put(store, "first")
    log = next(path for path in server.directory.rglob("log") if path.is_file())
    told = log.stat().st_size
    mine = idle(store)
    rows = [row(f"x{i}") for i in range(count)]
    with pytest.raises(ZeroDivisionError):
        put(store, "broken", *rows, chunks=Broken())
    with pytest.raises(StaleHead):
        put(store, "stale", *rows, expect_head="other")
    assert there(store, *(r[0] for r in rows)) == 0
    assert idle(store) == mine
    assert [(c.piped, c.pgconn.transaction_status) for c in mine] == [(False, pq.TransactionStatus.IDLE)]
    assert put(store, "again", *rows).point.seq == 2
    assert b"WARNING" not in log.read_bytes()[told:]


def test_what_the_server_refuses_at_the_very_end(store, url, server):
    put(store, "first")
    schema = schema_of(url)
    server.run(f"CREATE SEQUENCE {schema}.runs")
    server.run(
        f"CREATE FUNCTION {schema}.no() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN "
        f"PERFORM nextval('{schema}.runs'); RAISE 'not at the end'; END$$"
    )
    server.run(
        f"CREATE CONSTRAINT TRIGGER no AFTER INSERT ON {schema}.skills DEFERRABLE INITIALLY DEFERRED "
        f"FOR EACH ROW EXECUTE FUNCTION {schema}.no()"
    )
    with pytest.raises(StorageError, match="not at the end"):
        put(store, "second")
    assert server.run(f"SELECT last_value FROM {schema}.runs") == [(1,)]
    assert there(store, "second") == 0
    server.run(f"DROP TRIGGER no ON {schema}.skills")
    assert put(store, "second").point.seq == 2


# ------------------------------------------------------------------------------------ connections afterwards


@pytest.mark.parametrize("before", range(1, 9))
def test_a_statement_that_was_left_out_after_an_error_is_run_the_next_time(server, before):
    """After some runs the driver has a statement prepared, which the server leaves out if there was an error."""
    url = server.url(timeout=0.1)
    backend, other = embedded.open(url, "default", "rw"), embedded.open(url + "&pool=2", "default", "rw")
    for number in range(before):
        put(backend, f"c{number}")
    with other._database.writing(None, other._ns, Scope.NAMESPACE), pytest.raises(Busy):
        put(backend, "late")
    for number in range(before, before + 3):
        assert put(backend, f"c{number}").point.seq == number + 1
    backend.close(ctx=None)
    other.close(ctx=None)


def test_deadlines_of_all_kinds_need_one_cursor(store):
    for number in range(100):
        context = Context(deadline=time.monotonic() + 20 + number / 100)
        store.commit(ctx=context, request=CommitRequest("main", f"c{number}", [], force=True))
    (connection,) = idle(store)
    assert sum("lock_timeout" in text for text in connection.kept) == 1


def test_large_values_do_not_stay_in_memory(store):
    body = '"' + "x" * 3_000_000 + '"'
    put(store, "small")
    tracemalloc.start()
    try:
        for number in range(2):  # the driver forgets what it sends to a statement that it has prepared
            put(store, f"large{number}", row(f"large{number}", body))
        keys = [(f"{'k' * 200}{number}",) for number in range(4_000)]
        assert store.fetch(ctx=CTX, table="skills", keys=keys, at=Ref("main")) == [None] * 4_000
        assert there(store, "large1") == 1
        del keys
        assert tracemalloc.get_traced_memory()[0] < 1_000_000
    finally:
        tracemalloc.stop()
    (connection,) = idle(store)
    results = [cursor.pgresult for cursor in connection.kept.values() if cursor.pgresult is not None]
    cells = [result.get_value(0, i) for result in results if result.ntuples for i in range(result.nfields)]
    assert max(len(cell) for cell in cells if cell is not None) < 1_000


def _at_with(frame: FrameType) -> bool:
    return linecache.getline(frame.f_code.co_filename, frame.f_lineno).lstrip().startswith("with ")


class Interrupt:
    """Ctrl-C at the line after `lines` more of the driver and the engine."""

    def __init__(self, lines: int) -> None:
        self.left, self.came = lines, False

    def trace(self, frame: FrameType, event: str, _: Any) -> Any:
        name, code = frame.f_code.co_filename, frame.f_code.co_name
        ours = any(part in name for part in ("psycopg/", "perdure_sql", "perdure_postgres"))
        # A `with` has its line once more at its end, where a real signal never comes.
        return self._line if ours and code not in ("__del__", "writer", "take") else None

    def _line(self, frame: FrameType, event: str, _: Any) -> Any:
        if event == "line" and not self.came and not _at_with(frame):
            self.left -= 1
            if self.left < 0:
                self.came = True
                raise KeyboardInterrupt
        return self._line


@pytest.mark.parametrize(("count", "step"), [(1, 7), (3, 23), (30, 41)])
def test_an_interrupt_anywhere(store, count, step):
    for number in range(8):
        put(store, f"c{number}")
    lines = 0
    while True:
        rows, interrupt = [row(f"{lines}-{i}") for i in range(count)], Interrupt(lines)
        traced = sys.gettrace()
        sys.settrace(interrupt.trace)
        try:
            with pytest.raises(KeyboardInterrupt):
                put(store, str(lines), *rows)
        except pytest.fail.Exception:
            assert not interrupt.came, "the interrupt was lost"
            break
        finally:
            sys.settrace(traced)
        written = there(store, *(r[0] for r in rows))
        assert written in (0, count)
        assert put(store, str(lines), *rows).replayed == bool(written)
        assert not any(c.piped or c.pgconn.transaction_status for c in idle(store))
        lines += step
    assert lines > 10 * step


FORKS = """
import os, runpy, sys
from perdure.kit import batch_of
from perdure_postgres import embedded
tests = runpy.run_path(sys.argv[2])
backend = embedded.open(sys.argv[1], "test", "rw")
class Forks:
    def __iter__(self):
        child = os.fork()
        if not child:
            raise SystemExit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        raise ZeroDivisionError
try:
    tests["put"](backend, "forked", chunks=Forks())
except ZeroDivisionError:
    assert not tests["there"](backend, "forked")
    tests["put"](backend, "after")
"""


def test_a_child_that_is_forked_in_the_middle_ends_nothing(store, url):
    done = subprocess.run([sys.executable, "-c", FORKS, url, __file__], env=dict(os.environ), timeout=120)
    assert done.returncode == 0
    assert (there(store, "forked"), there(store, "after")) == (0, 1)


# --------------------------------------------------------------------------------------------------- requests


@pytest.mark.parametrize(
    "operation",
    [
        Put("skills", [()]),
        Put("skills", [("a",)]),
        Put("skills", [row(None)]),
        Put("skills", [row(7)]),
        Put("skills", [row("")]),
        Put("skills", [row("\ud800")]),
        Put("skills", [row("a\0b")]),
        Put("skills", [row(["list"])]),
        Put("skills", [list(row("a"))]),
        Put("nothing", [row("a")]),
        Put(["skills"], [row("a")]),
        Put("skills", None),
        Delete("skills", [("a", "b")]),
        Delete("skills", ["a"]),
        Delete("vectors", [("a",)]),
        Update("skills", "a", {}),
        Update("skills", None, {}),
        Update("skills", (b"a",), {}),
        Increment("skills", ("a", "b"), {"success_count": 1}),
    ],
    ids=repr,
)
def test_a_malformed_operation_is_told_as_such(store, operation):
    put(store, "first")
    with pytest.raises((InvalidRecord, NotFound)):
        store.commit(ctx=CTX, request=CommitRequest("main", "bad", [operation]))
    assert put(store, "second").point.seq == 2


def test_keys_of_all_kinds(store):
    for number, id_ in enumerate(
        ["ключ", "😀", "a'b\"c", "%s", "k" * 300, "a b", "\u200b", "é", "e\u0301"], 1
    ):
        assert put(store, str(number), row(id_)).point.seq == number
        assert there(store, id_) == 1
        with pytest.raises(AlreadyExists):
            insert = [Put("skills", [row(id_)], "insert")]
            store.commit(ctx=CTX, request=CommitRequest("main", "again", insert))


def stream(*batches: list[str]) -> PutArrow:
    made = [
        batch_of(SKILLS.arrow, [row(id_, str(number)) for id_ in batch])
        for number, batch in enumerate(batches)
    ]
    return PutArrow("skills", made, unique=True)


@pytest.mark.parametrize("second", [["b", "a"], ["a"]])
def test_a_stream_that_says_that_its_keys_are_unique(store, second):
    put(store, "first", row("a", '"before"'))
    with pytest.raises(InvalidRecord, match="unique=False"):
        store.commit(
            ctx=CTX, request=CommitRequest("main", "s", [stream(["a"], [*second, *map(str, range(30))])])
        )
    assert there(store, "a", "b", "0") == 1


def test_a_long_stream_of_short_batches(store):
    """So many rows that the planner's figures are renewed in the middle."""
    batches = [[f"{number}-{i}" for i in range(1 if not number else 20)] for number in range(80)]
    assert store.commit(ctx=CTX, request=CommitRequest("main", "s", [stream(*batches)])).written == 1_581
    assert there(store, "0-0", "79-19") == 2


# ----------------------------------------------------------------------------------------- what was seen before


def test_a_name_whose_meaning_others_change(url):
    with perdure.open(url) as store, perdure.open(url) as other:
        store.skills.put(Skill(id="a"))
        seen = store.branch("lab")
        for text in ("1", "2"):
            seen.skills.put(Skill(id="lab", name=text))
            assert (seen.skills["lab"].name, seen.skills.get("missing")) == (text, None)
            assert "a" in seen.skills
            other.branches.delete("lab")
            with pytest.raises(NotFound):
                seen.skills.get("lab")
            other.branches.create("lab")
            assert (seen.skills.get("lab"), "a" in seen.skills) == (None, True)
            assert seen.head() == other.branch("lab").head()
        other.branches.delete("lab")
        other.checkpoints.create("lab")
        store.skills.delete("a")
        assert store.at("lab").skills.get("a") is not None
        assert store.skills.get("a") is None
        other.purge("skills", ["a"])
        assert store.skills.get("a") is None
        assert store.verify().problems == ()
