"""The reader's own process: what it gives back, what it may not do, and what it may cost."""

from __future__ import annotations

import gc
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import zoneinfo
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from perdure import InvalidRecord, NotFound, PermissionDenied, StorageError
from perdure_migrate.inert import Limits, Reader, _reader, loads

Write = Callable[[bytes], Path]


@pytest.fixture(scope="module")
def reader() -> Iterator[Reader]:
    with Reader() as made:
        yield made


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def to_file(data: bytes) -> Path:
        path = tmp_path / "file.pkl"
        path.write_bytes(data)
        return path

    return to_file


def test_a_file_is_read(reader: Reader, write: Write) -> None:
    found = reader.read(write(pickle.dumps({"a": [1, 2.5, None]}, 4)))
    assert found.value == {"a": [1, 2.5, None]}
    assert (found.kind, found.layers, found.size, found.report.protocol) == ("pickle", (), 35, 4)
    assert len(found.sha256) == 64


def test_sharing_cycles_and_stand_ins_come_back(reader: Reader, write: Write) -> None:
    found = reader.read(write(b"]q\0(cnowhere\nThing\n)\x81}X\x01\0\0\0ah\0sbh\0h\0e.")).value
    thing, first, second = found
    assert first is second is found
    assert (thing.module, thing.qualname, thing.args) == ("nowhere", "Thing", ())
    assert thing.state["a"] is found


def test_what_is_named_is_reported(reader: Reader, write: Write) -> None:
    report = reader.read(write(b"cos\nsystem\n(S'touch HARMED'\ntR.")).report
    assert [(seen.module, seen.qualname, seen.count) for seen in report.calls] == [("os", "system", 1)]
    assert report.globals == report.opaque == report.calls


def test_time_zones_need_no_file(reader: Reader, write: Write, same: Any) -> None:
    value = [
        datetime(2021, 10, 31, 2, 30, tzinfo=zoneinfo.ZoneInfo(key), fold=1)
        for key in ("Europe/Paris", "UTC")
    ]
    assert same(reader.read(write(pickle.dumps([value, zoneinfo.ZoneInfo("Asia/Tokyo")]))).value[0], value)


def test_a_zone_outside_of_the_database_stays_a_stand_in(reader: Reader, write: Write) -> None:
    for key in ("posix/Europe/Paris", "right/UTC", "No/Such"):
        body = pickle.dumps((key, True), 4)[2:-1]
        assert (
            reader.read(write(b"\x80\x04czoneinfo\nZoneInfo._unpickle\n" + body + b"R.")).value.args[0] == key
        )


def test_one_process_serves_many_files(reader: Reader, write: Write) -> None:
    pids = set()
    for number in range(20):
        assert reader.read(write(pickle.dumps(number))).value == number
        with pytest.raises(InvalidRecord):
            reader.read(write(b"\xff"))
        assert reader._process is not None
        pids.add(reader._process.pid)
    assert len(pids) == 1


def test_the_process_ends_with_its_reader(write: Write) -> None:
    reader = Reader()
    reader.read(write(b"N."))
    assert reader._process is not None
    other = psutil.Process(reader._process.pid)
    del reader
    gc.collect()
    assert not other.is_running()


def test_a_descriptor_stays_open_and_where_it_was(reader: Reader, write: Write) -> None:
    descriptor = os.open(write(b"K\x05."), os.O_RDONLY)
    try:
        assert [reader.read(descriptor).value for _ in range(2)] == [5, 5]
        assert os.lseek(descriptor, 0, os.SEEK_CUR) == 0
    finally:
        os.close(descriptor)


def test_files_that_cannot_be_read(reader: Reader, tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path / "nu\0l"):
        with pytest.raises(NotFound):
            reader.read(path)
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises((StorageError, PermissionDenied), match="cannot be read"):
            reader.read(path)


def test_the_process_has_next_to_nothing(reader: Reader, write: Write) -> None:
    reader.read(write(b"N."))
    assert reader._process is not None
    other = psutil.Process(reader._process.pid)
    assert set(other.environ()) <= {*_reader._PASSED, *_reader._SINGLE}
    assert "HOME" not in other.environ()
    assert other.cwd() == "/"
    assert [file.path for file in other.open_files()] == []
    for kind in (psutil.RLIMIT_CORE, psutil.RLIMIT_FSIZE):
        assert other.rlimit(kind) == (0, 0)
    assert other.rlimit(psutil.RLIMIT_CPU)[0] <= Limits().max_cpu + 60


# -- limits

MANY_LISTS = b"(" + b"]" * 1_000_000 + b"t."
LONG_WORK = b"N" + b"N0" * 4_000_000 + b"."


def test_memory_is_limited_and_the_next_file_is_read(write: Write) -> None:
    with Reader(Limits(max_memory=2**25)) as small:
        with pytest.raises(InvalidRecord, match="max_memory.*--max-memory") as caught:
            small.read(write(MANY_LISTS))
        assert caught.value.detail["limit"] == "max_memory"
        assert small.read(write(b"N.")).value is None


def test_processor_time_is_limited(write: Write) -> None:
    with Reader(Limits(max_cpu=1)) as short:
        with pytest.raises(InvalidRecord, match="Limits.max_cpu") as caught:
            short.read(write(LONG_WORK * 3))
        assert caught.value.detail["limit"] == "max_cpu"
        assert short.read(write(b"N.")).value is None


def test_time_is_limited(write: Write) -> None:
    with Reader(Limits(max_seconds=1)) as short:
        with pytest.raises(InvalidRecord, match="Limits.max_seconds") as caught:
            short.read(write(LONG_WORK * 3))
        assert caught.value.detail["limit"] == "max_seconds"


def test_the_length_of_a_file_is_limited(write: Write) -> None:
    with Reader(Limits(max_bytes=1000)) as small, pytest.raises(InvalidRecord, match="Limits.max_bytes"):
        small.read(write(b"N" * 2000))


def test_a_process_that_dies_is_an_error_and_is_replaced(reader: Reader, write: Write) -> None:
    reader.read(write(b"N."))
    assert reader._process is not None
    os.kill(reader._process.pid, signal.SIGKILL)
    with pytest.raises(InvalidRecord, match="ended"):
        reader.read(write(b"N."))
    assert reader.read(write(b"N.")).value is None


# -- the judge


def test_a_flaw_in_the_reader_ends_at_its_first_event(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process whose reader would open a file: the judge stops it before it does."""
    flaw = f"_child.read_container = lambda *_: open({str(tmp_path / 'HARMED')!r}, 'w'); "
    boot = _reader._BOOT.replace("; from", "; from perdure_migrate.inert import _child; " + flaw + "from", 1)
    monkeypatch.setattr(_reader, "_BOOT", boot)
    with Reader() as flawed, pytest.raises(InvalidRecord, match="'open'") as caught:
        flawed.read(write(b"N."))
    assert caught.value.detail["event"] == "open"
    assert not (tmp_path / "HARMED").exists()


def test_every_kind_of_event_ends_the_process(tmp_path: Path) -> None:
    program = textwrap.dedent(
        """
        import ctypes, json, os, resource, socket, subprocess, sys
        from perdure_migrate.inert._child import _Judge

        actions = {
            "import": lambda: __import__("antigravity"),
            "open": lambda: open("HARMED", "w"),
            "compile": lambda: compile("1", "x", "eval"),
            "exec": lambda: exec((lambda: None).__code__),
            "os.system": lambda: os.system("touch HARMED"),
            "subprocess.Popen": lambda: subprocess.run(["touch", "HARMED"]),
            "socket.__new__": lambda: socket.socket(),
            "ctypes.dlopen": lambda: ctypes.CDLL(None),
            "os.fork": lambda: os.fork(),
            "os.exec": lambda: os.execv("/bin/touch", ["touch", "HARMED"]),
            "os.remove": lambda: os.remove("HARMED"),
            "os.putenv": lambda: os.putenv("HARMED", "1"),
            "resource.setrlimit": lambda: resource.setrlimit(resource.RLIMIT_CPU, (1, 1)),
            "sys.addaudithook": lambda: sys.addaudithook(print),
        }
        for event, action in actions.items():
            ours, theirs = os.pipe()
            pid = os.fork()
            if not pid:
                sys.addaudithook(_Judge(theirs))
                try:
                    action()
                finally:
                    os._exit(0)
            os.close(theirs)
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            said = os.read(ours, 10_000)[8:]
            seen = json.loads(said)["detail"]["event"] if said else None
            assert (code, seen) == (1, event), (event, code, seen)
        print(len(actions))
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, "14"), done.stderr
    assert list(tmp_path.iterdir()) == []


def test_what_the_process_reads_is_what_is_read_here(reader: Reader, write: Write, same: Any) -> None:
    data = pickle.dumps([np.arange(6.0).reshape(2, 3).T, {"x": (1,) * 3}, b"b" * 300, "\ud800"], 5)
    assert same(reader.read(write(data)).value, loads(data))
