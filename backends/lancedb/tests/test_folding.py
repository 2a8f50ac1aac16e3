"""Folds that are killed at each step, that meet others, or that fail: nothing is lost, and nothing is twice."""

import json
import random
import runpy
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lance
import perdure
import pytest
from perdure import Memory
from perdure_lancedb import _steps
from perdure_lancedb._local import LocalObjects
from perdure_lancedb._store import Store

CHILDREN = Path(__file__).with_name("children.py")
children = SimpleNamespace(**runpy.run_path(str(CHILDREN)))


def run(job: str, *arguments: Any) -> tuple[int, list[Any]]:
    """How a job of `children.py` ended, and what it told."""
    command = [sys.executable, str(CHILDREN), job, *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=120, check=False)
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


def engine(path: Path, fold: int = 1_000_000) -> Store:
    return Store(LocalObjects(path, create=True), fold, read_only=False)


def key(name: str) -> bytes:
    return b"main\0k" + name.encode()


def table(path: Path, kind: str = "") -> Any:
    """LanceDB's newest version of the only table of a kind."""
    (name,) = (name for name, stored in engine(path).now.state.tables.items() if stored.kind == kind)
    return lance.dataset(f"{path}/tables/{name}.lance")


def content(store: Store) -> dict[bytes, bytes]:
    """All read counters, page by page; no key comes twice."""
    store.catch_up()
    found: list[tuple[bytes, bytes]] = []
    start, end = b"main\0k", b"main\0l"
    while start < end:
        page, start = store.page(start, end, False)
        found += page
    assert len(found) == len(dict(found))
    return dict(found)


# ----------------------------------------------------------------------------------------- killed at each step


class Run:
    """One store, the processes that were killed while they wrote to it, and what they acknowledged."""

    def __init__(self, folder: Path) -> None:
        self.url = f"lancedb:///{folder}/store?fold=20"
        self.acknowledged: dict[str, list[str]] = {"main": [], "lab": []}
        perdure.open(self.url).close()

    def kill(self, at: int) -> list[Any]:
        code, told = run("work", self.url, at, f"r{at}")
        assert code in (0, -signal.SIGKILL)
        assert code == 0 or told[-1][0] == "killed"
        for what, *facts in told:
            if what == "commit":
                self.acknowledged[facts[0]].append(facts[1])
        return told

    def check(self) -> None:
        """What was acknowledged is there, in order and once; of what was not, all or nothing."""
        with perdure.open(self.url) as store:
            assert store.verify().problems == ()
            for branch in {branch.name for branch in store.branches.list()}:
                place = store.at(branch)
                commits = [commit.id for commit in store.log(branch)][::-1]
                assert [id_ for id_ in commits if id_ in self.acknowledged[branch]] == self.acknowledged[
                    branch
                ]
                assert len(commits) == len(set(commits))
                self.whole(place, [id_ for id_ in commits if id_[-1].isdigit()])
            assert set(self.acknowledged["lab"]) <= {row.id for row in store.branch("lab").memories.scan()}

    @staticmethod
    def whole(place: Any, commits: list[str]) -> None:
        memory, link = place.memories.get("group"), place.links.get("group")
        trace, state = place.traces.get("group"), place.states.get(("k", "group"))
        marks = {memory and memory.text, link and link.relation, trace and trace.session}
        assert len(marks) == 1
        mark = marks.pop()
        assert mark == (commits[-1] if commits else None)
        assert (state and state.payload) == (mark and mark.encode() * 1_000)
        assert {row.id for row in place.memories.scan()} >= set(commits)


@pytest.mark.parametrize("part", range(2))
def test_whatever_step_a_process_is_killed_at(tmp_path, part):
    """Each one begins with what those before it have left. The parts begin nine steps apart."""
    harness, names = Run(tmp_path), set()
    for at in range(1 + 9 * part, 1_000, 18):
        told = harness.kill(at)
        harness.check()
        if told[-1][0] == "steps":
            break
        names.add(told[-1][1])
    else:
        pytest.fail("no run came to its end")
    assert len(names) > 1  # steps of several sorts
    with perdure.open(harness.url) as store:
        store.compact()
        assert store.verify().ok
    harness.check()


def test_a_lease_that_a_killed_process_holds_stops_no_fold_for_ever(tmp_path):
    store = engine(tmp_path, 10)
    objects = LocalObjects(tmp_path, create=True)
    assert objects.create("fold/0000000000000001", b"its process was killed")
    for i in range(18):
        store.put([(key(f"k{i}"), b"")])
        store.delete([])
    assert objects.names("base") == []  # it may be at work still
    for i in range(18, 25):
        store.put([(key(f"k{i}"), b"")])
        store.delete([])
    assert objects.names("base") == ["0000000000000001"]
    assert objects.names("fold") == []
    assert len(content(store)) == len(content(engine(tmp_path))) == 25


# ------------------------------------------------------------------------------------- others at the same table


def changed(store: Store) -> dict[bytes, bytes]:
    """Fold, then delete some and put others, so that the next fold has steps of all sorts."""
    store.put([(key(f"a{i}"), b"first") for i in range(40)])
    store.delete([])
    store.fold()
    store.delete([key(f"a{i}") for i in range(0, 40, 2)])
    store.put([(key(f"b{i}"), b"second") for i in range(40)])
    store.delete([])
    return content(store)


def foreign(path: Path, what: str) -> None:
    """What another process does to the table, in one step of its own."""
    items = table(path)
    if what == "append":
        some = items.to_table().slice(0, 1)
        lance.write_dataset(some, items, mode="append")
    elif what == "delete":
        items.delete(f"key IN (X'{key('a1').hex()}', X'{key('b1').hex()}')")
    elif what == "restore":
        oldest = min(version["version"] for version in items.versions())
        items.checkout_version(oldest).restore()
    else:
        items.delete("true")
        lance.write_dataset(items.schema.empty_table(), items, mode="append")


@pytest.mark.parametrize("what", ["append", "delete", "restore", "all"])
@pytest.mark.parametrize("act", ["fold", "shrink"])
def test_another_process_changes_the_table_between_two_steps(tmp_path, monkeypatch, act, what):
    """Whatever step it comes before: the fold begins anew, and the foreign rows are not the store's."""
    monkeypatch.setattr(_steps, "_FRAGMENTS", 1)
    for at in range(1, 100):
        path = tmp_path / str(at)
        store = engine(path)
        expected = changed(store)
        count = 0

        def before(name: str, at: int = at, path: Path = path) -> None:
            nonlocal count
            count += name not in ("create", "remove", "settle")
            if count == at:
                count += 1
                foreign(path, what)

        steps = children.Steps(before)
        try:
            getattr(store, act)()
        finally:
            steps.close()
        assert content(store) == content(engine(path)) == expected, f"before step {at}"
        store.fold()
        assert content(engine(path)) == expected, f"before step {at}, folded again"
        if count < at:
            break
    assert 5 < at < 100


def test_two_folds_at_once(tmp_path):
    """A whole fold of another process lies between two steps of ours: ours counts nothing."""
    for at in range(1, 100):
        path = tmp_path / str(at)
        one, two = engine(path), engine(path)
        expected = changed(one)
        two.put([(key("two"), b"two")])
        two.delete([])
        expected[key("two")] = b"two"
        count = 0

        def before(name: str, at: int = at, two: Store = two) -> None:
            nonlocal count
            count += 1
            if count == at:
                two.catch_up()
                two.fold()

        steps = children.Steps(before)
        try:
            one.fold()
        finally:
            steps.close()
        for store in (one, two, engine(path)):
            assert content(store) == expected, f"before step {at}"
        if count < at:
            break
    assert 5 < at < 100


def test_who_sweeps_late_takes_nothing_newer(tmp_path):
    """A process that is stopped after it has made its base, and goes on when others have folded since."""
    one, two = engine(tmp_path), engine(tmp_path)
    one.put([(key(f"k{i}"), b"") for i in range(10)])
    waits = True

    def before(name: str) -> None:
        nonlocal waits
        if waits and name == "remove":
            waits = False
            for i in range(3):
                two.put([(key(f"two{i}"), b"")])
                two.delete([])
                two.fold()
            foreign(tmp_path, "append")  # a third process has begun to fold

    one.delete([])
    steps = children.Steps(before)
    try:
        one.fold()
    finally:
        steps.close()
    assert not waits
    assert len(content(engine(tmp_path))) == len(content(two)) == len(content(one)) == 13


def test_what_a_dead_fold_has_left_is_undone(tmp_path):
    """Versions of the table after the one that counts: their rows, and what they lack, are not the store's."""
    store = engine(tmp_path)
    expected = changed(store)
    for what in ("append", "delete", "all", "append"):
        foreign(tmp_path, what)
    assert content(engine(tmp_path)) == expected
    store.fold()
    assert content(engine(tmp_path)) == expected
    assert table(tmp_path).count_rows() == len(expected)


def test_what_a_first_fold_left_when_it_died_is_not_the_store_s(tmp_path):
    store = engine(tmp_path)
    store.put([(key(f"k{i}"), b"v") for i in range(10)])
    store.delete([])

    class Died(Exception):
        pass

    def before(name: str) -> None:
        if name == "create_scalar_index":
            raise Died

    steps = children.Steps(before)
    try:
        with pytest.raises(Died):
            store.fold()
    finally:
        steps.close()
    new = engine(tmp_path)
    new.delete([key("k3")])
    new.fold()
    assert set(content(engine(tmp_path))) == {key(f"k{i}") for i in range(10) if i != 3}


# ---------------------------------------------------------------------------------------------- folds that fail


def test_a_full_disk_fails_the_fold_and_not_the_commit(tmp_path):
    """No file may grow beyond what an entry of the log needs, so that LanceDB cannot write its own."""
    url = f"lancedb:///{tmp_path}/s?fold=20"
    perdure.open(url).close()
    code, told = run("full", url, 6_000)
    assert code == 0
    assert told == [[f"m{i}"] for i in range(30)]
    objects = LocalObjects(tmp_path / "s", create=True)
    assert objects.names("base") == []
    with perdure.open(url) as store:
        assert {row.id for row in store.memories.scan()} == {f"m{i}" for i in range(30)}
        store.memories.put(Memory(id="more"))
        assert objects.names("base") != []
        assert len(list(store.memories.scan())) == 31
        assert store.verify().ok


def test_a_file_in_the_place_of_the_tables_fails_the_fold_and_not_the_commit(tmp_path):
    url = f"lancedb:///{tmp_path}/s?fold=20"
    with perdure.open(url) as store:
        (tmp_path / "s" / "tables").write_bytes(b"somebody's")
        for i in range(30):
            store.memories.put(Memory(id=f"m{i}"))
        assert len(list(store.memories.scan())) == 30
        with pytest.raises(perdure.PerdureError):
            store.compact()
        (tmp_path / "s" / "tables").unlink()
        store.compact()
        assert len(list(store.memories.scan())) == 30


# ------------------------------------------------------------------------------------------------------- purge


def forms(text: bytes) -> list[bytes]:
    return [text, text.hex().encode(), text.hex().upper().encode()]


def found(folder: Path, *texts: bytes) -> list[tuple[str, bytes]]:
    """The files that have one of the texts, plain or as hexadecimal digits, in their bytes or in their names."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [
        (str(path.relative_to(folder)), form)
        for path in files
        for text in texts
        for form in forms(text)
        if form in path.read_bytes() or form in str(path).encode()
    ]


@pytest.mark.parametrize("fold", [1, 20, 100_000])
def test_purge_and_compact_leave_no_byte(tmp_path, fold):
    rng = random.Random(fold)
    noise = [f"{rng.getrandbits(200):x}" for _ in range(3)]
    with perdure.open(f"lancedb:///{tmp_path}/s?fold={fold}") as store:
        store.memories.put(Memory(id="secret-id", text=noise[0]))
        store.branch("lab").memories.put(Memory(id="secret-id", text=noise[1]))
        store.checkpoints.create("then")
        for i in range(20):
            store.memories.put(Memory(id=f"m{i}"))
        store.memories.put(Memory(id="secret-id", text=noise[2]))
        texts = [b"secret-id", *(text.encode() for text in noise)]
        if fold == 20:
            assert {text for _, text in found(tmp_path, *texts)} >= set(texts)
        store.purge("memories", ["secret-id"])
        store.compact()
        assert found(tmp_path, *texts) == []
        assert len(list(store.memories.scan())) == 20
        assert store.verify().ok


@pytest.mark.parametrize("folder", ["data", "_indices", "_transactions", "_versions"])
def test_purge_and_compact_leave_no_byte_of_what_a_killed_process_had_begun(tmp_path, folder):
    """Its files are in no version of the table, or in one that does not count."""
    url = f"lancedb:///{tmp_path}/s?fold=20"
    perdure.open(url).close()
    assert run("folded", url, folder) == (-signal.SIGKILL, [])
    with perdure.open(url) as store:
        store.purge("memories", [row.id for row in store.memories.scan()])
        store.compact()
        assert found(tmp_path, b"secret-id", b"secret text") == []
        assert list(store.memories.scan()) == []
        assert store.verify().ok
