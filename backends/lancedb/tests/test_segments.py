"""Rows in segments: read, written again, deleted and purged, folded here and elsewhere, killed, and damaged."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import perdure
import perdure_lancedb
import pyarrow as pa
import pytest
from perdure import CommitRequest, Context, CorruptStore, Memory, PutArrow
from perdure_lancedb._local import LocalObjects
from perdure_lancedb._options import parse_url
from perdure_lancedb._s3 import S3Objects
from perdure_lancedb._store import Store

HERE = Path(__file__).parent
MANY = 1_000


def table(first: int = 0, count: int = MANY, text: str = "t") -> pa.Table:
    ids = range(first, first + count)
    return pa.table({"id": [f"r{i}" for i in ids], "text": [f"{text}{i}" for i in ids]})


def objects(url: str) -> Any:
    options = parse_url(url, "rw")
    if options.directory is not None:
        return LocalObjects(options.directory, create=True)
    return S3Objects(options, create=True)


def fold(url: str) -> None:
    """As another process would."""
    store = Store(objects(url), 1_000_000, read_only=False)
    store.fold()
    store.close()


def ids(store: Any) -> set[str]:
    return {row.id for row in store.memories.scan()}


def names(*ranges: range) -> set[str]:
    return {f"r{i}" for some in ranges for i in some}


def test_rows_of_a_segment_are_written_again_deleted_and_purged(url):
    """Read by the process that wrote them, one that was open, one that opens later, and one that only reads."""
    with perdure.open(url) as store, perdure.open(url, mode="r") as reader:
        store.memories.put(table())
        assert len(objects(url).names("seg")) == 1
        then = store.head()
        store.branch("lab").memories.put(Memory(id="r4", text="lab"))
        assert reader.memories.get("r7").text == "t7"
        store.memories.put(Memory(id="r1", text="new"))
        store.memories.delete(["r2", "r3"])
        store.memories.put(Memory(id="r3", text="again"))
        store.purge("memories", ["r5"])
        store.memories.put(table(500, MANY))  # half of them new

        def check() -> None:
            with perdure.open(url) as late, perdure.open(url, mode="r") as other:
                for some in (store, reader, late, other):
                    assert ids(some) == names(range(1_500)) - {"r2", "r5"}
                    assert some.memories.get("r1").text == "new"
                    assert some.memories.get("r3").text == "again"
                    assert some.memories.get("r5") is None
                    assert some.at(then).memories.get("r1").text == "t1"
                    assert ids(some.at(then)) == names(range(MANY)) - {"r5"}
                    lab = some.branch("lab")
                    assert lab.memories.get("r4").text == "lab"
                    assert ids(lab) == names(range(MANY)) - {"r5"}
                    assert some.memories.count() == 1_498
                assert late.verify().ok

        check()
        fold(url)
        assert objects(url).names("seg") == []
        check()
        store.compact()
        check()


def test_a_purge_of_rows_in_a_segment_holds_where_nobody_has_read_them(url):
    """The fold makes the table that the deletions are of."""
    with perdure.open(url) as store:
        store.memories.put(table())
        store.purge("memories", ["r5"])
        fold(url)
        assert ids(store) == names(range(MANY)) - {"r5"}


def test_branches_with_segments_are_merged(url):
    with perdure.open(url) as store:
        store.memories.put(table())
        lab = store.branch("lab")
        lab.memories.put(table(MANY, MANY))
        store.memories.put(table(2 * MANY, MANY))
        lab.memories.put(Memory(id="r1", text="lab"))
        fold(url)
        lab.memories.put(table(3 * MANY, MANY))
        store.merge("lab")
        assert ids(store) == names(range(4 * MANY))
        assert store.memories.get("r1").text == "lab"
        fold(url)
        assert ids(store) == names(range(4 * MANY))
        assert store.verify().ok


class Between:
    """Batches, with something that happens before one of them."""

    def __init__(self, batches: list[pa.RecordBatch], act: Callable[[], None]) -> None:
        self._batches = batches
        self._act: Callable[[], None] | None = act

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        for number, batch in enumerate(self._batches):
            if number and self._act is not None:
                act, self._act = self._act, None
                act()
            yield batch


def slowly(url: str, store: Any, act: Callable[[], None], commit_id: str = "slow") -> None:
    """Commit two batches of rows, with something that happens between them."""
    fields = perdure.TABLES["memories"].arrow
    columns = {name: pa.nulls(MANY, kind) for name, kind in zip(fields.names, fields.types, strict=True)}
    columns["tags"] = pa.array([[]] * MANY, fields.field("tags").type)
    columns["content"] = columns["metadata"] = pa.array(["null"] * MANY)
    loose = pa.schema([field.with_nullable(True) for field in fields])
    batches = [
        pa.RecordBatch.from_arrays(
            list({**columns, "id": pa.array([f"r{i}" for i in range(at, at + MANY)])}.values()), schema=loose
        )
        for at in (0, MANY)
    ]
    plugin = perdure_lancedb.s3 if url.startswith("lancedb+s3") else perdure_lancedb.local
    backend = plugin.open(url, "default", "rw")
    put = PutArrow("memories", Between(batches, act), unique=True)
    backend.commit(Context(), CommitRequest("main", commit_id, (put,)))
    backend.close(Context())


def test_rows_outlive_a_fold_that_knows_of_a_later_attempt(url):
    """Another namespace goes on meanwhile; then they are read, so that they are held one by one too."""
    with perdure.open(url) as store, perdure.open(url, namespace="other") as other:
        other.memories.put(table())

        def act() -> None:
            other.memories.put(Memory(id="later"))
            fold(url)

        store.memories.put(table(5 * MANY))
        slowly(url, store, act)
        expected = names(range(2 * MANY), range(5 * MANY, 6 * MANY))
        assert ids(store) == expected
        assert store.verify().ok
        store.memories.delete(["r0"])
        next(iter(perdure_lancedb._plugin._STORES._handles.values())).it.fold()
        assert ids(store) == expected - {"r0"}
        assert store.verify().ok


@pytest.mark.parametrize("what", ["compact", "fold", "commit"])
def test_a_commit_under_way_meets_others(url, what):
    """A compaction may take its segments, a commit its head: then it begins anew, and is there once."""
    with perdure.open(url) as store:
        store.memories.put(table(5 * MANY))

        def act() -> None:
            child("acts", url, what)

        slowly(url, store, act)
        more = {"other"} if what == "commit" else set()
        expected = names(range(2 * MANY), range(5 * MANY, 6 * MANY)) | more
        assert ids(store) == expected
        fold(url)
        assert ids(store) == expected
        store.compact()
        assert ids(store) == expected
        assert objects(url).names("seg") == []
        assert store.verify().ok


# -------------------------------------------------------------------------------------------------- processes


def child(job: str, *arguments: Any) -> list[Any]:
    code, told = ended(started(job, *arguments))
    assert code == 0
    return told


def started(job: str, *arguments: Any) -> subprocess.Popen[str]:
    command = [sys.executable, str(HERE / "bulk.py"), job, *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def ended(process: subprocess.Popen[str]) -> tuple[int, list[Any]]:
    out, _ = process.communicate("\n", timeout=300)
    return process.returncode, [json.loads(line) for line in out.splitlines()]


def test_kills_at_any_step_leave_whole_commits(tmp_path):
    """Large commits, the folds after them, and a compaction, killed before every fifth change of a file."""
    url = f"lancedb:///{tmp_path}/s?fold=3000"
    perdure.open(url).close()
    done: set[str] = set()
    at, code = 0, -signal.SIGKILL
    while code == -signal.SIGKILL:
        at += 5
        code, told = ended(started("killed", url, at))
        assert code in (0, -signal.SIGKILL), told
        acknowledged = {run for what, run in told if what == "commit"}
        with perdure.open(url) as store:
            found: dict[str, int] = {}
            for row in store.memories.scan():
                run = row.id.partition("/")[0]
                found[run] = found.get(run, 0) + 1
            assert set(found.values()) <= {MANY}  # whole, or not at all
            done |= acknowledged
            assert done <= set(found)
            if at % 2 == 0:
                assert store.verify().ok
    assert at > 20
    with perdure.open(url) as store:
        store.compact()
        assert objects(url).names("seg") == []
        assert store.verify().ok


def test_a_purge_leaves_no_byte_of_what_a_killed_writer_had_saved(tmp_path):
    url = f"lancedb:///{tmp_path}/s"
    with perdure.open(url) as store:
        store.memories.put(Memory(id="r5", text="first"))
        assert ended(started("left", url))[0] == -signal.SIGKILL
        assert objects(url).names("seg") != []
        assert holding(tmp_path, b"hidden text") != []
        store.purge("memories", ["r6"])
        store.compact()
        assert objects(url).names("seg") == []
        assert holding(tmp_path, b"hidden text") == []
        assert ids(store) == {"r5"}


def test_a_purge_of_rows_in_a_segment_leaves_no_byte(tmp_path):
    with perdure.open(f"lancedb:///{tmp_path}/s") as store:
        store.memories.put(table(text="hidden text"))
        assert holding(tmp_path, b"hidden text") != []
        store.purge("memories", [f"r{i}" for i in range(MANY)])
        store.compact()
        assert holding(tmp_path, b"hidden text") == []


def holding(folder: Path, text: bytes) -> list[str]:
    return [str(path) for path in folder.rglob("*") if path.is_file() and text in path.read_bytes()]


def test_writers_of_the_same_keys_leave_each_version_once(url):
    """Two processes put the same rows at once: both commits are there, one after the other."""
    perdure.open(url).close()
    writers = [started("puts", url, name, 4) for name in ("a", "b")]
    for writer in writers:
        assert writer.stdout is not None
        assert json.loads(writer.stdout.readline()) == ["ready"]
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("\n")
        writer.stdin.flush()
    told = [ended(writer) for writer in writers]
    assert [code for code, _ in told] == [0, 0]
    engine = Store(objects(url), 1_000_000, read_only=False)
    for _ in range(2):
        engine.catch_up()
        keys = [key for key, _ in engine.range(b"default\0rm", b"default\0rn")]
        slots = [(key[:-24], key[-24:-12]) for key in keys]
        assert len(slots) == len(set(slots)) == 8 * MANY  # of all attempts, only those that were committed
        engine.fold()
    with perdure.open(url) as store:
        assert ids(store) == names(range(MANY))
        texts = {row.text[0] for row in store.memories.scan()}
        assert len(texts) == 1
        assert store.verify().ok


def test_a_full_disk_fails_the_commit_and_leaves_nothing(tmp_path):
    url = f"lancedb:///{tmp_path}/s"
    with perdure.open(url) as store:
        assert child("full", url) == [["StorageError"]]
        assert objects(url).names("seg") == []
        assert ids(store) == {"small"}
        assert store.verify().ok


def test_threads_of_one_store_put_and_read_at_once(tmp_path):
    failed: list[BaseException] = []
    with perdure.open(f"lancedb:///{tmp_path}/s?fold=1500") as store:

        def put(number: int) -> None:
            for i in range(3):
                store.memories.put(table((3 * number + i) * MANY, MANY))

        def read() -> None:
            for _ in range(8):
                assert store.memories.count() % MANY == 0

        def caught(job: Callable[[], None]) -> None:
            try:
                job()
            except BaseException as error:
                failed.append(error)

        jobs = [lambda: put(0), lambda: put(1), read, read]
        threads = [threading.Thread(target=caught, args=(job,)) for job in jobs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failed == []
        assert ids(store) == names(range(6 * MANY))


# ---------------------------------------------------------------------------------------------------- damage


@pytest.mark.parametrize("how", ["gone", "flipped", "cut"])
def test_a_damaged_segment_is_told(tmp_path, how):
    """By whatever reads it; what does not need it goes on."""
    url = f"lancedb:///{tmp_path}/s"
    with perdure.open(url) as store:
        store.memories.put(table())
        store.skills.put(perdure.Skill(id="s", name="s"))
    (path,) = (tmp_path / "s" / "seg").iterdir()
    data = bytearray(path.read_bytes())
    if how == "gone":
        path.unlink()
    elif how == "flipped":
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    else:
        path.write_bytes(data[: len(data) // 2])
    with perdure.open(url) as store:
        uses: list[Callable[[], Any]] = [
            lambda: store.memories.get("r5"),
            lambda: ids(store),
            store.memories.count,
            lambda: store.memories.put(table()),
            store.verify,
            store.compact,
        ]
        for use in uses:
            with pytest.raises(CorruptStore, match="seg/"):
                use()
        assert store.skills.get("s") is not None


def test_a_strange_file_among_segments_does_no_harm(tmp_path):
    url = f"lancedb:///{tmp_path}/s"
    with perdure.open(url) as store:
        store.memories.put(table())
        strange = tmp_path / "s" / "seg" / ".strange"
        strange.write_bytes(b"somebody's")
        store.compact()
        assert ids(store) == names(range(MANY))
        assert os.path.exists(strange)
