"""Files: what is refused and left as it was, read-only stores, limits, damage."""

import shutil
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import perdure
import pytest
from perdure import CommitRequest, Context, Memory, Put, Ref
from perdure_sqlite import plugin
from perdure_sqlite._schema import ddl

CTX = Context()
NAMES = perdure.TABLES["memories"].names


def memory(id_: str, text: str | None = None) -> tuple[object, ...]:
    cells: dict[str, object] = {"id": id_, "text": text, "content": "null", "metadata": "null", "tags": ()}
    return tuple(cells.get(name) for name in NAMES)


def put(backend, *rows, branch="main"):
    return backend.commit(
        ctx=CTX, request=CommitRequest(branch, perdure.uuid7(), [Put("memories", list(rows))])
    )


def fetch(backend, *ids, at="main"):
    return backend.fetch(ctx=CTX, table="memories", keys=[(i,) for i in ids], at=Ref(at))


def opened(path: Path, mode="rw", query=""):
    return plugin.open(f"sqlite:///{path}{query}", "test", mode)


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"not a database at all", perdure.IncompatibleStore),
        (b"SQLite format 3\0" + b"\0" * 200, perdure.IncompatibleStore),
        (b"SQLite for", perdure.CorruptStore),
        (b"\0" * 4096, perdure.IncompatibleStore),
    ],
)
def test_other_files_are_refused_and_left_alone(path, content, error):
    path.write_bytes(content)
    for mode in ("r", "rw"):
        with pytest.raises(error):
            opened(path, mode)
    assert path.read_bytes() == content
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_another_programs_database_is_left_byte_for_byte(path):
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE mine (x)")
    other.close()
    before = path.read_bytes()
    with pytest.raises(perdure.IncompatibleStore, match="another program"):
        opened(path)
    assert path.read_bytes() == before


def test_a_truncated_store_is_corrupt_and_left_alone(path, store):
    put(store, *(memory(f"m{i}", "x" * 500) for i in range(200)))
    store.close(ctx=None)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)
    before = path.read_bytes()
    with pytest.raises(perdure.CorruptStore):
        opened(path)
    assert path.read_bytes() == before


def test_a_newer_schema_is_refused(path, store):
    store.close(ctx=None)
    with sqlite3.connect(path) as raw:
        raw.execute("PRAGMA user_version = 99")
    raw.close()
    with pytest.raises(perdure.IncompatibleStore, match="upgrade"):
        opened(path)


def test_an_older_schema_is_upgraded(path, store):
    put(store, memory("a"))
    store.close(ctx=None)
    with sqlite3.connect(path) as raw:
        raw.execute("PRAGMA user_version = 0")
    raw.close()
    again = opened(path)
    assert fetch(again, "a") != [None]
    assert again.verify(ctx=CTX).ok
    again.close(ctx=None)


def test_an_empty_file_becomes_a_store(path):
    path.touch()
    backend = opened(path)
    put(backend, memory("a"))
    backend.close(ctx=None)


def test_a_store_whose_creation_was_cut_short_is_created_anew(path, tmp_path):
    """A process that dies, or power that goes, while the first pages are written leaves them and a journal."""
    begun = tmp_path / "begun.db"
    with closing(sqlite3.connect(begun, isolation_level=None)) as connection:
        connection.execute("PRAGMA cache_size = 1")  # so that pages reach the file before the commit
        connection.execute("BEGIN")
        for statement in ddl():
            connection.execute(statement)
        for file in (begun, begun.with_name("begun.db-journal")):
            shutil.copyfile(file, path.with_name(file.name.replace("begun.db", path.name)))
    assert path.stat().st_size
    with pytest.raises(perdure.NotFound):
        perdure.open(f"sqlite:///{path}", mode="r")
    with perdure.open(f"sqlite:///{path}") as store:
        store.memories.put(Memory(id="a"))
        assert store.verify().problems == ()


def test_a_missing_file_or_namespace_is_not_found_read_only(path, store):
    with pytest.raises(perdure.NotFound):
        opened(path.with_name("none.db"), "r")
    with pytest.raises(perdure.NotFound):
        plugin.open(f"sqlite:///{path}", "other", "r")
    with pytest.raises(perdure.NotFound):
        opened(path.parent / "no" / "such.db")


@pytest.mark.parametrize("how", [("r", ""), ("rw", "?mode=ro")])
def test_read_only_reads_and_refuses_writes(path, store, how):
    put(store, memory("a"))
    reader = opened(path, *how)
    assert fetch(reader, "a") != [None]
    with pytest.raises(perdure.PermissionDenied):
        put(reader, memory("b"))
    put(store, memory("c"))
    assert fetch(reader, "c") != [None]
    reader.close(ctx=None)


READ_ONLY = """
import os, sys
import perdure
from perdure_sqlite import plugin
from perdure import Context, Ref
if os.getuid() == 0:  # to whom no directory is read-only
    os.setuid(65534)
try:
    open(sys.argv[1] + "-x", "w")
    sys.exit("the directory can be written")
except OSError:
    pass
store = plugin.open("sqlite:///" + sys.argv[1], "test", "r")
print(store.count(ctx=Context(), table="memories", where=None, at=Ref("main")))
"""


def test_a_read_only_directory():
    with tempfile.TemporaryDirectory() as name:  # which everybody can enter, unlike those of pytest
        folder = Path(name)
        backend = opened(folder / "agent.db")
        put(backend, memory("a"))
        backend.close(ctx=None)
        (folder / "agent.db").chmod(0o444)
        folder.chmod(0o555)
        command = [sys.executable, "-c", READ_ONLY, str(folder / "agent.db")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        folder.chmod(0o755)
    assert (done.stdout.strip(), done.returncode) == ("1", 0), done.stderr


def test_a_full_disk_leaves_the_previous_commit(path):
    backend = opened(path, query="?max_pages=120")
    put(backend, memory("first"))
    with pytest.raises(perdure.StorageError, match="full"):
        put(backend, *(memory(f"m{i}", "x" * 3000) for i in range(500)))
    assert fetch(backend, "first", "m0") == [fetch(backend, "first")[0], None]
    assert backend.verify(ctx=CTX).ok
    put(backend, memory("after"))
    backend.close(ctx=None)


FILE_LIMIT = """
import resource, signal, sys
import perdure
from perdure import CommitRequest, Context, Put, Ref
from perdure_sqlite import plugin
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store = plugin.open("sqlite:///" + sys.argv[1], "test", "rw")
names = perdure.TABLES["memories"].names
cells = {"text": "x" * 2000, "content": "null", "metadata": "null", "tags": ()}
rows = [tuple({**cells, "id": f"m{i}"}.get(n) for n in names) for i in range(400)]
store.commit(ctx=Context(), request=CommitRequest("main", "one", [Put("memories", rows[:1])]))
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
try:
    store.commit(ctx=Context(), request=CommitRequest("main", "two", [Put("memories", rows)]))
except perdure.StorageError as error:
    print("refused", error.code)
print(store.count(ctx=Context(), table="memories", where=None, at=Ref("main")))
"""


def test_a_failing_write_leaves_the_previous_commit(path):
    done = subprocess.run(
        [sys.executable, "-c", FILE_LIMIT, str(path)], capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["refused", "storage_error", "1"], done.stderr
    backend = opened(path)
    assert backend.verify(ctx=CTX).ok
    assert backend.count(ctx=CTX, table="memories", where=None, at=Ref("main")) == 1
    backend.close(ctx=None)


def test_a_flipped_byte_is_noticed(path, store):
    put(store, *(memory(f"m{i:03}", f"needle {i}") for i in range(50)))
    store.close(ctx=None)
    content = path.read_bytes()
    for place in (content.index(b"needle 7"), content.rindex(b"m013"), content.index(b"main", 8192)):
        damaged = bytearray(content)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        try:
            backend = opened(path)
        except perdure.PerdureError:
            continue
        assert not backend.verify(ctx=CTX).ok, place
        backend.close(ctx=None)


def test_a_dropped_index_is_noticed(path, store):
    store.close(ctx=None)
    with sqlite3.connect(path) as raw:
        raw.execute("DROP INDEX memories_by_scope")
    raw.close()
    backend = opened(path)
    problems = backend.verify(ctx=CTX).problems
    assert [p.where for p in problems] == ["agent.db:memories_by_scope"]
    backend.close(ctx=None)


def test_purge_and_compact_leave_no_byte(path, store):
    put(store, memory("secret-id-4711", "secret-text-4711"), memory("other", "kept-text"))
    put(store, memory("secret-id-4711", "secret-text-4711 again"))
    store.create_branch(ctx=CTX, name="lab", at=Ref("main"))
    put(store, memory("secret-id-4711", "secret-text-4711 there"), branch="lab")
    report = store.purge(ctx=CTX, table="memories", keys=[("secret-id-4711",)])
    assert (report.keys, report.versions) == (1, 3)
    store.compact(ctx=CTX, request=perdure.CompactRequest())
    stored = b"".join(p.read_bytes() for p in path.parent.iterdir() if not p.name.endswith("-shm"))
    assert b"kept-text" in stored
    assert b"4711" not in stored


def test_a_closed_store_is_unavailable(path, store):
    store.close(ctx=CTX)
    assert store.close(ctx=CTX) is True
    with pytest.raises(perdure.Unavailable):
        fetch(store, "a")
    with pytest.raises(perdure.Unavailable):
        put(store, memory("a"))
