"""Objects in a directory and on object storage: created once or not at all, by whoever comes first."""

import json
import os
import runpy
import shutil
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lance
import pyarrow as pa
import pytest
from perdure import IncompatibleStore, NotFound, PermissionDenied, StorageError, Unavailable, Unsupported
from perdure_lancedb import _local
from perdure_lancedb._options import parse_url

jobs = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("jobs.py"))))
opened = jobs.opened

PATIENCE = 60  # seconds, after which a job is taken to hang


def result(process: Any) -> Any:
    """What a job has found, by its end."""
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    return json.loads(output.splitlines()[-1])


def go(*processes: Any) -> None:
    """Let jobs begin at once, when all are ready."""
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()


# ------------------------------------------------------------------------------------------- in both places


def test_an_object_is_created_once(url):
    objects = opened(url)
    assert objects.read("log/000000000001") is None
    assert objects.create("log/000000000001", b"first")
    assert not objects.create("log/000000000001", b"second")
    assert objects.read("log/000000000001") == b"first"
    assert opened(url).read("log/000000000001") == b"first"
    objects.close()
    objects.close()


def test_bytes_of_any_length_come_back(url):
    objects = opened(url)
    bodies = [b"", b"\0", os.urandom(4_096), os.urandom(6_000_000)]
    for number, body in enumerate(bodies):
        assert objects.create(f"deep/er/{number}", body)
    names = [f"deep/er/{number}" for number in range(5)]
    assert objects.read_many(names) == [*bodies, None]
    assert objects.read_many(names[:1]) == [b""]
    assert objects.read_many([]) == []


def test_names_are_in_order_and_of_one_folder(url):
    objects = opened(url)
    for name in ("log/10", "log/9", "log/09", "log/sub/1", "logs/1", "state/1"):
        assert objects.create(name, name.encode())
    assert objects.names("log") == ["09", "10", "9"]
    assert objects.names("log/sub") == ["1"]
    assert objects.names("nothing") == []


def test_more_names_than_a_page_of_a_listing_has(s3):
    url = s3.url()
    objects = opened(url)
    bucket = parse_url(url, "rw").bucket
    assert bucket is not None
    for number in range(1_050):
        s3.client.put_object(Bucket=bucket.name, Key=f"{bucket.prefix}/log/{number:06d}", Body=b"x")
    assert objects.names("log") == [f"{number:06d}" for number in range(1_050)]


def test_a_removed_object_is_gone_and_an_absent_one_is_no_error(url):
    objects = opened(url)
    for number in range(3):
        objects.create(f"log/{number}", b"%d" % number)
    objects.remove(iter(["log/0", "log/2", "log/7", "none/1"]))
    objects.remove([])
    assert objects.names("log") == ["1"]
    assert objects.create("log/0", b"again")


def test_who_only_reads_makes_nothing(url, s3):
    with pytest.raises(NotFound, match="mode 'rw'"):
        opened(f"{url}{'&' if '?' in url else '?'}mode=ro")
    options = parse_url(url, "rw")
    if options.directory is not None:
        assert not options.directory.exists()
    else:
        assert s3.keys(options.bucket.name) == []


def test_a_store_that_was_opened_holds_only_its_marker(url, s3):
    opened(url)
    opened(url)
    options = parse_url(url, "rw")
    if options.directory is not None:
        assert [path.name for path in options.directory.rglob("*")] == [".new", "format"]
        assert (options.directory / "format").read_bytes() == b"perdure-lancedb 1\n"
    else:
        assert s3.keys(options.bucket.name) == ["agents/store/format"]


def test_a_later_format_is_named_and_left_alone(url):
    objects = opened(url)
    objects.remove(["format"])
    assert objects.create("format", b"perdure-lancedb 12\n")
    with pytest.raises(IncompatibleStore, match="format 12"):
        opened(url)
    assert objects.read("format") == b"perdure-lancedb 12\n"


def test_what_is_not_ours_is_left_alone(url):
    objects = opened(url)
    objects.create("log/1", b"1")
    objects.remove(["format"])
    for mode in ("rw", "ro"):
        with pytest.raises(IncompatibleStore, match="something else"):
            opened(f"{url}{'&' if '?' in url else '?'}mode={mode}")
    assert objects.create("format", b"notes\n")
    with pytest.raises(IncompatibleStore, match="something else"):
        opened(url)
    assert objects.read("format") == b"notes\n"


def test_a_table_lies_beside_the_objects(url):
    objects = opened(url)
    where, how = objects.table("items")
    table = pa.table({"id": ["a", "b"]})
    lance.write_dataset(table, where, storage_options=how)
    assert lance.dataset(where, storage_options=how).count_rows() == 2
    objects.settle("items")
    opened(url)


def test_four_processes_race_for_every_name(url, start):
    names = 60
    racers = [start("race", url, names) for _ in range(4)]
    go(*racers)
    won = [name for racer in racers for name in result(racer)]
    assert sorted(won) == [f"log/{number:06d}" for number in range(names)]


def test_what_a_killed_process_acknowledged_is_whole(url, start):
    process = start("stream", url)
    go(process)
    last = [int(process.stdout.readline()) for _ in range(20)][-1]
    process.kill()
    last = max([last, *map(int, process.stdout.read().split("\n")[:-1])])
    objects = opened(url)
    names = objects.names("log")
    assert names[: last + 1] == [f"{number:09d}" for number in range(last + 1)]
    assert len(names) <= last + 2
    for name in names:
        assert objects.read(f"log/{name}") == b"%d " % int(name) * 5_000


# ------------------------------------------------------------------------------------------ in a directory


def test_a_directory_and_those_above_it_are_made(tmp_path):
    assert opened(f"lancedb:///{tmp_path}/a/b%20c/ü").create("log/1", b"1")
    assert (tmp_path / "a" / "b c" / "ü" / "log" / "1").read_bytes() == b"1"


def test_a_file_is_no_directory(tmp_path):
    (tmp_path / "file").write_text("notes")
    for name in ("file", "file/beneath", "x" * 300):
        for mode in ("rw", "ro"):
            with pytest.raises(IncompatibleStore, match="another path"):
                opened(f"lancedb:///{tmp_path}/{name}?mode={mode}")
    assert (tmp_path / "file").read_text() == "notes"


def test_content_is_synced_before_its_name_and_the_name_before_the_answer(tmp_path, monkeypatch):
    """Seen from outside: the calls that are made, each of them real."""
    calls: list[tuple[str, str]] = []
    sync, link = os.fsync, os.link

    def fsync(descriptor: int) -> None:
        calls.append(("sync", os.path.relpath(os.readlink(f"/proc/self/fd/{descriptor}"), tmp_path)))
        sync(descriptor)

    def linked(draft: str, path: str) -> None:
        calls.append(("link", os.path.relpath(path, tmp_path)))
        link(draft, path)

    monkeypatch.setattr(_local.os, "fsync", fsync)
    monkeypatch.setattr(_local.os, "link", linked)
    objects = opened(f"lancedb:///{tmp_path}/a/b")
    assert {("sync", "."), ("sync", "a"), ("sync", "a/b")} <= set(calls)
    calls.clear()
    objects.create("log/1", b"1")
    assert [call for call in calls if call[1] == "a/b"] == [("sync", "a/b")]  # the folder is new
    calls.clear()
    objects.create("log/2", b"2")
    assert [(what, path.partition(".new")[0]) for what, path in calls] == [
        ("sync", "a/b/"),
        ("link", "a/b/log/2"),
        ("sync", "a/b/log"),
    ]
    calls.clear()
    objects.remove(["log/1", "log/2"])
    assert calls == [("sync", "a/b/log")]


def test_a_table_is_settled_file_by_file_once(tmp_path, monkeypatch):
    objects = opened(f"lancedb:///{tmp_path}/store")
    where, _ = objects.table("items")
    lance.write_dataset(pa.table({"id": ["a"]}), where)
    synced: list[str] = []
    sync = _local._sync
    monkeypatch.setattr(_local, "_sync", lambda path: (synced.append(path), sync(path)))
    objects.settle("items")
    files = {str(path) for path in Path(where).rglob("*")} | {
        where,
        str(tmp_path / "store"),
        str(tmp_path / "store" / "tables"),
    }
    assert set(synced) == files
    synced.clear()
    objects.settle("items")
    assert synced == []
    before = {path for path in Path(where).rglob("*") if path.is_file()}
    lance.write_dataset(pa.table({"id": ["b"]}), where, mode="append")
    objects.settle("items")
    added = {str(path) for path in Path(where).rglob("*") if path.is_file()} - {str(path) for path in before}
    assert len(added) >= 3  # data, transaction, manifest
    assert added <= set(synced)
    assert {os.path.dirname(path) for path in added} <= set(synced)
    objects.settle("none")


def test_drafts_of_the_dead_are_swept_and_those_of_the_living_are_not(tmp_path):
    opened(f"lancedb:///{tmp_path}/store").create("log/1", b"1")
    old, new = (tmp_path / "store" / ".new" / name for name in ("old", "new"))
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    opened(f"lancedb:///{tmp_path}/store?mode=ro")
    assert old.exists()
    assert opened(f"lancedb:///{tmp_path}/store").names("log") == ["1"]
    assert not old.exists()
    assert new.exists()


def test_a_disk_that_takes_no_more_leaves_nothing_half_written(tmp_path, start):
    process = start("limited", f"lancedb:///{tmp_path}/store", 100_000)
    go(process)
    kind, message = result(process)
    assert kind == "StorageError"
    assert "make room" in message
    assert sorted(path.name for path in (tmp_path / "store").rglob("*")) == [".new", "format", "log", "small"]


def test_a_directory_that_may_not_be_written_can_be_read(start):
    with tempfile.TemporaryDirectory() as where:  # pytest's own may not be entered by others
        store = Path(where, "store")
        opened(f"lancedb:///{store}").create("log/0", b"0")
        os.chmod(where, 0o755)
        for path in (store, *store.rglob("*")):
            path.chmod(0o444 if path.is_file() else 0o555)
        try:
            process = start("stranger", f"lancedb:///{store}")
            go(process)
            told = result(process)
        finally:
            for path in (store, store / "log", store / ".new"):
                path.chmod(0o755)
    assert "mode=ro" in told[0]
    assert "check its owner" in told[1]
    assert told[2] == "b'0'"


def test_a_directory_that_was_removed_is_not_made_again(tmp_path):
    objects = opened(f"lancedb:///{tmp_path}/store")
    shutil.rmtree(tmp_path / "store")
    with pytest.raises(StorageError, match="removed"):
        objects.create("log/1", b"1")
    assert not (tmp_path / "store").exists()


def test_a_forked_process_goes_on_with_a_directory(tmp_path, start):
    process = start("fork", f"lancedb:///{tmp_path}/store")
    go(process)
    assert result(process) == ["it went", "it went"]


# --------------------------------------------------------------------------------------- on object storage


@pytest.fixture
def stubbed(stub, s3_kit):
    """A store at the stub, which goes wrong from now on as it is told."""
    objects = opened(s3_kit.url_of("bucket", "p", stub.endpoint, timeout=2))
    assert list(stub.objects) == ["/bucket/p/format"]
    return objects


@pytest.mark.parametrize(
    ("faults", "stored", "sent"),
    [
        ([409], True, 2),  # nobody won; it is tried again
        ([409, 409, 409], True, 4),
        (["stored 412"], True, 1),  # another's 412 would be the same
        (["stored 500"], True, 2),  # the driver tries again, and is told of its own first try
        (["500", "503"], True, 3),
        (["drop"], True, 2),
        (["stored drop"], True, 2),
        (["stored hang"], True, 1),
        (["hang"], True, 2),
        (["other 412"], False, 1),
        (["other 500"], False, 2),
        (["other drop"], False, 2),
        (["other hang"], False, 1),
    ],
)
def test_a_doubtful_answer_is_settled_by_what_is_stored(stubbed, stub, faults, stored, sent):
    stub.faults.extend(faults)
    assert stubbed.create("log/1", b"mine") is stored
    assert stubbed.read("log/1") == (b"mine" if stored else b"another's")
    assert stub.puts("log/1") == sent


def test_what_stays_unknown_is_told_as_unknown(stubbed, stub):
    stub.faults.extend([409] * 50)
    with pytest.raises(Unavailable, match="it is unknown"):
        stubbed.create("log/1", b"mine")
    assert stubbed.read("log/1") is None


def test_a_write_that_is_forbidden_is_no_doubt(stubbed, stub):
    stub.faults.append(403)
    with pytest.raises(PermissionDenied, match="check the credentials"):
        stubbed.create("log/1", b"mine")
    assert stub.puts("log/1") == 1


def test_storage_that_says_it_has_no_conditional_writes_is_refused(stub, s3_kit):
    stub.faults.extend([501] * 10)
    with pytest.raises(Unsupported, match="If-None-Match"):
        opened(s3_kit.url_of("bucket", "p", stub.endpoint, timeout=5))
    assert stub.objects == {}


def test_a_proxy_that_drops_conditions_is_refused(s3, s3_kit):
    bucket = s3.bucket()
    through = s3_kit.url_of(bucket, "store", s3.stripping)
    with pytest.raises(Unsupported, match="If-None-Match"):
        opened(through)
    assert s3.keys(bucket) == []
    direct = opened(s3_kit.url_of(bucket, "store", s3.endpoint))
    assert direct.create("log/1", b"1")
    with pytest.raises(Unsupported, match="If-None-Match"):
        opened(through)
    assert s3.keys(bucket) == ["store/format", "store/log/1"]
    assert opened(f"{through}&mode=ro").read("log/1") == b"1"
    opened(s3_kit.url_of(bucket, "store", s3.endpoint))


def test_a_bucket_is_asked_for_conditions_once_by_each_process(stub, s3_kit):
    for prefix in ("a", "b", "a"):
        opened(s3_kit.url_of("bucket", prefix, stub.endpoint))
    puts = [path for method, path in stub.requests if method == "PUT"]
    probe, again, *markers = puts
    assert probe == again
    assert markers == ["/bucket/a/format", "/bucket/b/format"]


def test_a_bucket_that_is_missing(s3, s3_kit):
    for mode in ("rw", "ro"):
        with pytest.raises(NotFound, match="create it"):
            opened(s3_kit.url_of("no-such-bucket", "store", s3.endpoint, mode=mode))


def test_a_bucket_that_was_removed_is_not_an_empty_one(s3):
    url = s3.url()
    objects = opened(url)
    objects.remove(["format"])
    s3.client.delete_bucket(Bucket=parse_url(url, "rw").bucket.name)
    with pytest.raises(NotFound):
        objects.read("log/1")
    with pytest.raises(NotFound):
        objects.create("log/1", b"1")


def test_an_endpoint_that_is_down(stub, s3_kit):
    url = s3_kit.url_of("bucket", "p", stub.endpoint, timeout=1)
    objects = opened(url)
    stub.close()
    for use in (lambda: opened(url), lambda: objects.read("log/1"), lambda: objects.create("log/1", b"1")):
        with pytest.raises(Unavailable) as caught:
            use()
        assert not [
            word for word in ("Zq9", s3_kit.KEY) if word in repr(vars(caught.value)) + str(caught.value)
        ]


def test_a_forked_process_is_told_to_be_spawned(s3, start):
    process = start("fork", s3.url())
    go(process)
    told = result(process)
    assert [text.partition(":")[0] for text in told] == ["Unavailable", "Unavailable"]
    assert all("spawn" in text for text in told)


def test_stores_beside_each_other_in_a_bucket(s3, s3_kit):
    bucket = s3.bucket()
    first, second = (opened(s3_kit.url_of(bucket, prefix, s3.endpoint)) for prefix in ("a/b", "a/bc"))
    assert first.create("log/1", b"first")
    assert second.create("log/1", b"second")
    assert first.names("log") == ["1"]
    with pytest.raises(IncompatibleStore):  # what lies above them is theirs
        opened(s3_kit.url_of(bucket, "a", s3.endpoint))
