"""`perdure.open` with a LanceDB store: how it is opened, shared, closed, and opened again."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import perdure
import pytest
from perdure import Memory, NotFound, PermissionDenied, Support
from perdure_lancedb import _plugin
from perdure_lancedb._local import LocalObjects
from perdure_lancedb._options import parse_url
from perdure_lancedb._s3 import S3Objects


@pytest.mark.parametrize(("scheme", "power"), [("lancedb", True), ("lancedb+s3", False)])
def test_what_a_backend_says_of_itself(scheme, power):
    said = {d.name: d for d in (_plugin.LancePlugin(remote=remote).describe() for remote in (False, True))}[
        scheme
    ]
    assert ("power" in said.levels) is power
    assert set(said.levels) >= {"core", "branches", "vectors", "crash", "concurrent"}
    assert said.capabilities["purge"] is Support.FULL
    assert "fold" in said.options


def test_a_store_is_opened_closed_and_opened_again(url):
    with perdure.open(url) as store:
        store.memories.put([Memory(id="a", text="1"), Memory(id="b")])
        store.branch("lab").memories.delete("b")
    assert not _plugin._STORES._handles
    with pytest.raises(perdure.Unavailable):
        store.memories.get("a")
    with perdure.open(url) as store:
        assert store.memories.get("a").text == "1"
        assert {row.id for row in store.at("lab").memories.scan()} == {"a"}
        assert store.verify().ok


def test_a_store_that_is_not_there_is_not_made_by_reading(url):
    with pytest.raises(NotFound):
        perdure.open(url, mode="r")
    with perdure.open(url) as store:
        store.memories.put(Memory(id="a"))
    with perdure.open(url, mode="r") as store:
        assert "a" in store.memories
        with pytest.raises(PermissionDenied):
            store.memories.put(Memory(id="b"))
        with pytest.raises(PermissionDenied):
            store.compact()
    with pytest.raises(NotFound):
        perdure.open(url, namespace="other", mode="r")


def test_readers_follow_a_writer_through_folds(url):
    joint = "&" if "?" in url else "?"
    with perdure.open(f"{url}{joint}fold=5") as writer, perdure.open(url, mode="r") as reader:
        for i in range(12):
            writer.memories.put(Memory(id=f"m{i}"))
            assert len(list(reader.memories.scan())) == i + 1
        writer.compact()
        assert len(list(reader.memories.scan())) == 12


def test_the_same_options_share_a_store_and_others_do_not(tmp_path):
    url = f"lancedb:///{tmp_path}/s"
    with perdure.open(url) as one, perdure.open(url, namespace="other") as two:
        assert len(_plugin._STORES._handles) == 1
        with perdure.open(f"{url}?fold=3") as three:
            assert len(_plugin._STORES._handles) == 2
            for i in range(6):
                for store in (one, three, two):
                    store.memories.put(Memory(id=f"m{i}", text=store.namespace))
            assert len(list(one.memories.scan())) == len(list(three.memories.scan())) == 6
        assert {row.text for row in two.memories.scan()} == {"other"}
        assert one.memories.get("m5").text == one.namespace
        assert one.verify().ok
        assert two.verify().ok
    assert not _plugin._STORES._handles


def test_names_of_one_directory_share_a_store(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path)
    with (
        perdure.open(f"lancedb:///{tmp_path}/s") as one,
        perdure.open(f"lancedb:///{tmp_path}/link/s") as two,
    ):
        assert len(_plugin._STORES._handles) == 1
        one.memories.put(Memory(id="a"))
        assert "a" in two.memories


def test_a_directory_of_something_else_is_refused(tmp_path):
    (tmp_path / "notes").write_text("mine")
    with pytest.raises(perdure.IncompatibleStore, match="something else"):
        perdure.open(f"lancedb:///{tmp_path}")
    assert [path.name for path in Path(tmp_path).iterdir()] == ["notes"]


def test_purge_and_compact_leave_no_byte_in_any_object(url):
    joint = "&" if "?" in url else "?"
    options = parse_url(url, "rw")
    with perdure.open(f"{url}{joint}fold=10") as store:
        for i in range(8):
            store.memories.put([Memory(id="classified-id", text=f"classified text {i}"), Memory(id=f"m{i}")])
        directory = options.directory
        objects = (
            S3Objects(options, create=False) if directory is None else LocalObjects(directory, create=False)
        )
        tables = sorted(objects.files())
        assert [name.partition("-")[0] for name in tables] == ["items", "memories"]
        junk = [f"tables/{name}.lance/data/{'0' * 40}.lance" for name in tables]
        for name in junk:
            objects.create(
                name, b"classified text, written by a process that was killed before it told of the file"
            )
        assert {file for files in objects.files().values() for file in files} >= {*junk}
        store.purge("memories", ["classified-id"])
        store.compact()
        after = [file for files in objects.files().values() for file in files]
        assert after
        assert not {*junk} & {*after}
        kept = [f"{folder}/{name}" for folder in ("log", "base", "state") for name in objects.names(folder)]
        for name in [*after, *kept]:
            data = objects.read(name)
            assert b"classified" not in data
            assert b"classified".hex().encode() not in data.lower()
        assert len(list(store.memories.scan())) == 8
        assert store.verify().ok


def test_how_many_requests_a_call_takes_on_object_storage(stub, s3_kit):
    with perdure.open(s3_kit.url_of("bucket", "store", stub.endpoint)) as store:
        store.memories.put(Memory(id="a", text="one"))

        def requests(call):
            del stub.requests[:]
            call()
            return [f"{method} {path.split('/')[3]}" for method, path in stub.requests]

        look = ["GET log", "GET base"]
        assert requests(lambda: store.memories.get("a")) == look
        assert requests(lambda: store.memories.put(Memory(id="b", text="two"))) == [
            *look,
            "PUT log",
            "GET base",
        ]


def test_how_many_requests_a_fold_takes_on_object_storage(s3_kit):
    """A fold opens each of two tables once, however many steps it takes; a compaction removes all at once."""
    seen: list[str] = []

    def requests(call):
        del seen[:]
        call()
        return Counter(line.partition(" ")[0] for line in seen)

    with (
        s3_kit.serving(lenient=True, seen=seen) as ports,
        perdure.open(s3_kit.url_of("bucket", "store", f"http://127.0.0.1:{ports[0]}")) as store,
    ):
        engine = next(iter(_plugin._STORES._handles.values())).it
        for text in ("first", "again"):
            store.memories.put([Memory(id=f"m{i}", text=text) for i in range(20)])
            found = requests(engine.fold)
            assert found["HEAD"] <= 2
            assert found.total() <= 100, found
        store.memories.delete("m1")
        found = requests(store.compact)
        assert found["POST"] <= 3  # after the fold, after the compaction of the tables, and their files
        assert found.total() <= 150, found
        assert found.total() > 2 * requests(store.compact).total()  # nothing has come since
        assert len(list(store.memories.scan())) == 19


def test_a_command_runs_beside_object_storage(s3_kit):
    opens = (
        "import perdure; perdure.open('lancedb+s3://new-bucket/store').memories.put(perdure.Memory(id='a'))"
    )
    for program, code in ((opens, 0), ("raise SystemExit(3)", 3)):
        command = [sys.executable, s3_kit.__file__, sys.executable, "-c", program]
        assert subprocess.run(command, check=False, timeout=120).returncode == code
