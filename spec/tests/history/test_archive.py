from __future__ import annotations

import gzip
import io
import os
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from perdure import (
    AlreadyExists,
    Branch,
    Change,
    ChangeBatch,
    Checkpoint,
    Chunk,
    Commit,
    CorruptStore,
    Counter,
    IncompatibleStore,
    InvalidInput,
    NotFound,
    Pick,
    Point,
    Space,
    StorageError,
)
from perdure._hooks import HistoryEvent
from perdure.history import read_archive, write_archive


@pytest.fixture(scope="session")
def events(row: Any) -> list[HistoryEvent]:
    point = Point("b", 2**63 - 1, "c", 5)
    commit = Commit(
        "c",
        "b",
        1,
        5,
        "me",
        "why\n",
        ("p",),
        {"x": 2**62},
        (Pick(point, "links", None), Pick(point, "links", (("k",),))),
        "r",
    )
    rows = [
        row(
            "memories",
            "m",
            tags=("a", "b"),
            importance=0.1,
            tier=-(2**63),
            content='{"a":[1]}',
            text="\U0010ffff",
        ),
        row("traces", "t", causes=("x",), effects=()),
        row("vectors", "s", "m", values=bytes(range(256))),
        row("states", "k", "i", payload="0:", parents=("p",)),
    ]
    tables = ("memories", "traces", "vectors", "states")
    changes = tuple(
        Change(t, r[: 2 if t in ("vectors", "states") else 1], r) for t, r in zip(tables, rows, strict=True)
    )
    return [
        Space("s", 3, "float16", "l2", "model", "memories", 9),
        Branch("b", "main", None, 0, point, 3, 4),
        Chunk("d", b"\0\xff" * 10),
        ChangeBatch(commit, (*changes, Change("links", ("l",), None)), final=False),
        ChangeBatch(commit, ()),
        Checkpoint("best", point, "{}", "m", 1),
        Counter("memories", ("m",), None, 0),
    ]


@pytest.mark.parametrize("compress", [True, False])
def test_round_trip(tmp_path: Path, events: Any, compress: bool) -> None:
    path = tmp_path / "a.perdure"
    info = write_archive(path, iter(events), compress=compress)
    assert list(read_archive(path)) == events
    assert list(read_archive(str(path))) == events
    assert info.size == path.stat().st_size
    assert info.events == {"space": 1, "branch": 1, "chunk": 1, "changes": 2, "checkpoint": 1, "counter": 1}
    assert os.listdir(tmp_path) == ["a.perdure"]
    again = io.BytesIO()
    assert write_archive(again, events, compress=compress) == info
    again.seek(0)
    assert list(read_archive(again)) == events


def test_tags_come_back_as_tuples(tmp_path: Path, events: Any) -> None:
    write_archive(tmp_path / "a", events)
    [batch] = [e for e in read_archive(tmp_path / "a") if isinstance(e, ChangeBatch) and e.changes]
    assert [type(cell) for cell in batch.changes[0].row or ()].count(list) == 0
    assert hash(batch.changes[0].row)


def test_fields_that_come_and_go(tmp_path: Path) -> None:
    """A reader skips what it does not know, and what an earlier version did not write has its default."""
    branch = Branch("b", "main", None, 0, Point("b", 9), floor=5, pins=(2, 3))
    write_archive(tmp_path / "a", [branch])
    assert list(read_archive(tmp_path / "a")) == [branch]
    fields = msgspec.structs.asdict(branch)
    del fields["pins"]
    records = [
        {"type": "branch", "event": {**fields, "novelty": [1]}, "novelty": None},
        {"type": "end", "events": {"branch": 1}},
    ]
    body = b"perdure-history 1 plain\n"
    for record in map(msgspec.msgpack.encode, records):
        body += len(record).to_bytes(4, "big") + record
    (tmp_path / "b").write_bytes(body + blake2b(body, digest_size=32).digest())
    assert list(read_archive(tmp_path / "b")) == [msgspec.structs.replace(branch, pins=())]


def test_empty(tmp_path: Path) -> None:
    write_archive(tmp_path / "a", [])
    assert list(read_archive(tmp_path / "a")) == []


def test_never_overwrites_unless_told(tmp_path: Path, events: Any) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"precious")
    with pytest.raises(AlreadyExists):
        write_archive(path, events)
    assert path.read_bytes() == b"precious"
    write_archive(path, events, overwrite=True)
    assert list(read_archive(path)) == events


def test_somebody_else_was_first_at_the_end(tmp_path: Path, events: Any) -> None:
    path = tmp_path / "a"

    def slow() -> Any:
        yield events[0]
        path.write_bytes(b"precious")

    with pytest.raises(AlreadyExists):
        write_archive(path, slow())
    assert path.read_bytes() == b"precious"
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("error", [StorageError("engine"), KeyError("x")])
def test_a_failed_export_leaves_nothing(tmp_path: Path, events: Any, error: Exception) -> None:
    def broken() -> Any:
        yield events[0]
        raise error

    with pytest.raises(type(error)):
        write_archive(tmp_path / "a", broken())
    with pytest.raises(InvalidInput):
        write_archive(tmp_path / "a", [object()])  # type: ignore[list-item]
    assert os.listdir(tmp_path) == []


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        write_archive(tmp_path / "no" / "a", [])
    with pytest.raises(NotFound):
        read_archive(tmp_path / "a")
    with pytest.raises(NotFound):
        read_archive(tmp_path)


def test_a_full_disk_is_a_storage_error(events: Any) -> None:
    class Full(io.BytesIO):
        def write(self, data: Any) -> int:
            raise OSError(28, "No space left on device")

    with pytest.raises(StorageError, match="No space left"):
        write_archive(Full(), events)


@pytest.mark.parametrize("compress", [True, False])
def test_every_cut_and_every_flipped_bit_is_noticed_before_the_first_event(
    events: Any, compress: bool
) -> None:
    file = io.BytesIO()
    write_archive(file, events[:3], compress=compress)
    good = file.getvalue()
    for size in range(len(good)):
        with pytest.raises((CorruptStore, IncompatibleStore)):
            next(read_archive(io.BytesIO(good[:size])))
    for place in range(len(good)):
        bad = bytearray(good)
        bad[place] ^= 1 << place % 8
        with pytest.raises((CorruptStore, IncompatibleStore)):
            next(read_archive(io.BytesIO(bytes(bad))))
    with pytest.raises(CorruptStore):
        next(read_archive(io.BytesIO(good + b"x")))


@settings(max_examples=50)
@given(st.binary(max_size=200), st.booleans())
def test_hostile_files(body: bytes, compress: bool) -> None:
    """Right digest, wrong content; or anything at all."""
    from hashlib import blake2b

    head = b"perdure-history 1 gzip\n" if compress else b"perdure-history 1 plain\n"
    whole = head + (gzip.compress(body) if compress else body)
    whole += blake2b(whole, digest_size=32).digest()
    for data in (whole, body, head + body):
        with pytest.raises((CorruptStore, IncompatibleStore)):
            list(read_archive(io.BytesIO(data)))


def test_newer_formats_and_other_files(tmp_path: Path) -> None:
    for line in (
        b"perdure-history 2 gzip\n",
        b"perdure-history 1 zstd\n",
        b"SQLite format 3\0",
        b"",
        b"perdure-history\n",
    ):
        (tmp_path / "a").write_bytes(line + b"x" * 100)
        with pytest.raises(IncompatibleStore):
            list(read_archive(tmp_path / "a"))


def test_a_stream_that_cannot_seek(tmp_path: Path, events: Any) -> None:
    write_archive(tmp_path / "a", events)

    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

    assert list(read_archive(Pipe((tmp_path / "a").read_bytes()))) == events
