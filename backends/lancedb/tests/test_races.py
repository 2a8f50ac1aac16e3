"""Processes at one store: what LanceDB alone gets wrong, and numbers of the log that are free again."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lance
import lancedb
import perdure
import pyarrow as pa
import pytest
from perdure import Memory
from perdure_lancedb._local import LocalObjects
from perdure_lancedb._store import Store

CHILDREN = Path(__file__).with_name("children.py")
HEAD = b"main\0h"

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def child() -> Iterator[Start]:
    """Start a job of `children.py` in a new process."""
    started: list[subprocess.Popen[str]] = []

    def run(job: str, *arguments: Any) -> subprocess.Popen[str]:
        command = [sys.executable, str(CHILDREN), job, *map(str, arguments)]
        started.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.communicate()


def together(*processes: "subprocess.Popen[str]") -> list[list[str]]:
    """What each told, once all of them were ready and began at once."""
    for process in processes:
        assert json.loads(process.stdout.readline()) == ["ready"]
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    told = []
    for process in processes:
        output, _ = process.communicate()
        assert process.returncode == 0
        told.append([json.loads(line)[0] for line in output.splitlines()])
    return told


# ------------------------------------------------------------------------------- what LanceDB alone gets wrong


def test_lancedb_alone_inserts_a_key_twice(tmp_path, child):
    """Two connections that looked at the same version both find that the key is new."""
    schema = pa.schema([pa.field("id", pa.string()), pa.field("text", pa.string())])
    lancedb.connect(tmp_path).create_table("t", schema=schema)
    processes = [child("raw", tmp_path / "t.lance", 60) for _ in range(2)]
    together(*processes)
    ids = lance.dataset(str(tmp_path / "t.lance")).to_table()["id"].to_pylist()
    assert len(ids) > len(set(ids)) == 60


def test_a_key_is_inserted_once(tmp_path, child):
    url = f"lancedb:///{tmp_path}/store?fold=40"
    perdure.open(url).close()
    told = together(child("insert", url, 60), child("insert", url, 60))
    assert sorted(told[0] + told[1]) == sorted(f"m{i}" for i in range(60))
    with perdure.open(url) as store:
        assert sorted(row.id for row in store.memories.scan()) == sorted(f"m{i}" for i in range(60))
        assert len({row.text for row in store.memories.scan()}) <= 2
        assert store.verify().ok


def test_of_two_that_expect_the_same_head_one_wins(tmp_path):
    """Another process is stood in for by the same store with other options, which shares nothing with the first."""
    with (
        perdure.open(f"lancedb:///{tmp_path}/s?fold=3") as one,
        perdure.open(f"lancedb:///{tmp_path}/s?fold=4") as two,
    ):
        for i in range(20):
            head = one.head().commit
            one.memories.put(Memory(id=f"one{i}"), expect_head=head)
            with pytest.raises(perdure.StaleHead):
                two.memories.put(Memory(id=f"two{i}"), expect_head=head)
        assert {row.id for row in two.memories.scan()} == {f"one{i}" for i in range(20)}
        assert two.verify().ok


def test_lancedb_alone_loses_the_place_where_a_branch_began(tmp_path):
    table = lancedb.connect(tmp_path).create_table("t", [{"id": "old"}])
    began = table.version
    table.add([{"id": "new"}])
    table.delete("id = 'old'")
    lance.dataset(str(tmp_path / "t.lance")).cleanup_old_versions(older_than=None, retain_versions=1)
    with pytest.raises(ValueError, match="not found"):
        lance.dataset(str(tmp_path / "t.lance"), version=began)


def test_forks_checkpoints_and_old_refs_stay_readable(tmp_path):
    with perdure.open(f"lancedb:///{tmp_path}/s?fold=5") as store:
        store.memories.put([Memory(id="old", text="first"), Memory(id="same")])
        lab = store.branch("lab")
        store.checkpoints.create("then")
        began = store.head()
        for i in range(30):
            store.memories.put(Memory(id="old", text=f"later {i}"))
        store.memories.delete("old")
        for place in (lab, store.at("then"), store.at(began)):
            assert place.memories.get("old").text == "first"
        store.compact()
        for place in (lab, store.at("lab"), store.at("then")):
            assert {row.id: row.text for row in place.memories.scan()} == {"old": "first", "same": None}
        lab.memories.put(Memory(id="more"))
    with perdure.open(f"lancedb:///{tmp_path}/s?fold=5") as store:
        assert {row.id for row in store.at("lab").memories.scan()} == {"old", "same", "more"}
        assert store.at("then").memories.get("old").text == "first"
        assert "old" not in store.memories
        assert store.verify().ok


def test_lancedb_alone_commits_half(tmp_path, child):
    base = lancedb.connect(tmp_path)
    for name in ("memories", "links"):
        base.create_table(name, schema=pa.schema([pa.field("id", pa.string())]))
    assert child("halves", tmp_path).wait() == -9
    assert [base.open_table(name).count_rows() for name in ("memories", "links")] == [1, 0]


# ------------------------------------------------------------------------------ numbers that are free again


class Stopped(LocalObjects):
    """Objects of a process that is stopped before, or after, it creates an entry, while others go on."""

    before: Callable[[], None] | None = None
    after: Callable[[], None] | None = None

    def create(self, name: str, data: bytes) -> bool:
        meanwhile, self.before = self.before, None if name.startswith("log/") else self.before
        if meanwhile is not None and name.startswith("log/"):
            meanwhile()
        done = super().create(name, data)
        meanwhile, self.after = self.after, None if name.startswith("log/") else self.after
        if meanwhile is not None and name.startswith("log/"):
            meanwhile()
        return done


@pytest.fixture
def stopped(tmp_path) -> Stopped:
    return Stopped(tmp_path, create=True)


def engine(path: Path) -> Store:
    return Store(LocalObjects(path, create=True), 1_000, read_only=False)


def key(name: str) -> bytes:
    """A key of a read counter, which any bytes may follow."""
    return b"main\0k" + name.encode()


def add_one(store: Store, name: str) -> None:
    """Count, as a writer does that knows only whether its swap was done."""
    while True:
        old = store.get(key(name))
        if store.swap(key(name), old, b"%d" % (int(old or b"0") + 1)):
            return


@pytest.mark.parametrize("folds", [1, 2, 3])
def test_a_number_that_is_free_again_makes_no_commit(tmp_path, stopped, folds):
    """Whoever takes it writes the same change once more, at its place."""
    one, two = Store(stopped, 1_000, read_only=False), engine(tmp_path)
    add_one(one, "sum")

    def others() -> None:
        for _ in range(folds):
            add_one(two, "sum")
            two.fold()

    stopped.before = others
    one.put([(key("mine"), b"value")])
    add_one(one, "sum")
    for store in (one, two, engine(tmp_path)):
        store.catch_up()
        assert store.get(key("sum")) == b"%d" % (folds + 2)
        assert store.get(key("mine")) == b"value"


@pytest.mark.parametrize("folds", [1, 2, 3])
def test_an_entry_that_was_folded_before_its_writer_went_on_is_done(tmp_path, stopped, folds):
    one, two = Store(stopped, 1_000, read_only=False), engine(tmp_path)
    add_one(one, "sum")

    def others() -> None:
        two.catch_up()
        two.fold()
        for _ in range(folds - 1):
            add_one(two, "sum")
            two.fold()

    stopped.after = others
    one.put([(key("mine"), b"value")])
    add_one(one, "sum")
    for store in (one, two, engine(tmp_path)):
        store.catch_up()
        assert store.get(key("sum")) == b"%d" % (folds + 1)
        assert store.get(key("mine")) == b"value"


def test_an_entry_that_came_after_a_fold_is_not_taken_back(tmp_path, stopped):
    """A base was made while the writer was stopped, but of what it knew; another goes on from its entry at once."""
    one, two, three = Store(stopped, 1_000, read_only=False), engine(tmp_path), engine(tmp_path)
    add_one(one, "sum")
    two.catch_up()
    stopped.before = two.fold
    stopped.after = lambda: add_one(three, "sum")
    add_one(one, "sum")
    add_one(two, "sum")
    for store in (one, two, three, engine(tmp_path)):
        store.catch_up()
        assert store.get(key("sum")) == b"4"


def test_what_was_logged_though_the_disk_said_no_is_folded_with_the_rest(tmp_path, stopped):
    """A writer was told of a failure, yet its entry is there; what it holds no longer waits to be logged."""

    def fail() -> None:
        raise perdure.StorageError("the disk failed just after it had stored the entry")

    one = Store(stopped, 1_000, read_only=False)
    one.put([(key("row"), b"value")])
    stopped.after = fail
    with pytest.raises(perdure.StorageError):
        one.swap(HEAD, None, b"refers to the row")
    one.fold()
    new = engine(tmp_path)
    new.catch_up()
    assert (new.get(HEAD), new.get(key("row"))) == (b"refers to the row", b"value")


def test_a_reader_that_is_many_folds_behind_catches_up(tmp_path):
    reader, writer = engine(tmp_path), engine(tmp_path)
    for i in range(12):
        writer.put([(key(f"k{i}"), b"%d" % i)])
        add_one(writer, "sum")
        if i in (0, 3):
            reader.catch_up()
        if i % 2:
            writer.fold()
    reader.catch_up()
    assert reader.get(key("sum")) == b"12"
    assert reader.get_many([key(f"k{i}") for i in range(12)]) == [b"%d" % i for i in range(12)]


def test_a_reader_whose_files_are_gone_reads_the_new_ones(tmp_path):
    """It had the old version of the table open; two folds later, its files are removed."""
    reader, writer = engine(tmp_path), engine(tmp_path)
    writer.put([(key(f"k{i}"), b"%d" % i) for i in range(50)])
    writer.delete([])
    writer.fold()
    reader.catch_up()
    assert reader.get(key("k7")) == b"7"
    for _ in range(3):
        writer.delete([key("k1")])
        writer.shrink()
    assert reader.get_many([key("k8"), key("k1")]) == [b"8", None]
    found: list[Any] = []
    start, end = key("k"), key("l")
    while start < end:
        page, start = reader.page(start, end, False)
        found += page
    assert len(found) == 49


def test_entries_of_another_process_are_seen_at_once(tmp_path, child):
    url = f"lancedb:///{tmp_path}/s"
    with perdure.open(url) as store:
        other = child("commit", url, "a", 50)
        assert json.loads(other.stdout.readline()) == ["ready"]
        other.stdin.write("go\n")
        other.stdin.flush()
        for line in other.stdout:
            assert json.loads(line)[0] in store.memories
        assert store.memories.get("sum").text == "50"


@pytest.mark.parametrize(("fold", "count"), [(1, 15), (5, 40), (60, 70)])
def test_two_processes_commit_and_fold(tmp_path, child, fold, count):
    url = f"lancedb:///{tmp_path}/s?fold={fold}"
    perdure.open(url).close()
    together(child("commit", url, "a", count), child("commit", url, "b", count))
    with perdure.open(url) as store:
        found = Counter(row.id for row in store.memories.scan())
        assert found == Counter([f"{name}{i}" for name in "ab" for i in range(count)] + ["sum"])
        assert store.memories.get("sum").text == str(2 * count)
        assert len(list(store.log())) == 2 * count
        assert store.verify().ok


def test_two_processes_commit_to_several_branches(tmp_path, child):
    url = f"lancedb:///{tmp_path}/s?fold=25"
    branches = ["x", "y", "z"]
    with perdure.open(url) as store:
        for name in branches:
            store.branch(name)
    together(child("commit", url, "a", 45, *branches), child("commit", url, "b", 45, *branches))
    with perdure.open(url) as store:
        for at, name in enumerate(branches):
            mine = {f"{p}{i}" for p in "ab" for i in range(at, 45, 3)}
            assert {row.id for row in store.at(name).memories.scan()} == mine | {"sum"}
            assert store.at(name).memories.get("sum").text == "30"
        assert store.verify().ok
