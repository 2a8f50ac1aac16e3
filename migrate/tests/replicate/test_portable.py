"""Portable files: whole, or refused; read by anybody who can read ZIP, JSON and Arrow."""

import json
import zipfile
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path

import perdure
import pyarrow as pa
import pytest
from perdure import AlreadyExists, CorruptStore, IncompatibleStore, NotFound, Store
from perdure_conformance.dump import dump, same_dump
from perdure_migrate.replicate import PortableFile, copy, export_file, is_history, is_portable

Fill = Callable[..., Store]
Fresh = Callable[[str], str]


@pytest.fixture
def source(filled: Fill, fresh: Fresh) -> str:
    url = fresh("memory")
    filled(url).close()
    return url


@pytest.fixture
def file(source: str, tmp_path: Path) -> Path:
    path = tmp_path / "x.perdure"
    assert export_file(source, str(path)).ok
    return path


def sealed(path: Path, members: dict[str, bytes], manifest: dict[str, object], version: int = 1) -> None:
    """Write a file of any content whose digests are right."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("perdure-portable", f"{version}\n")
        listed = []
        for name, data in members.items():
            archive.writestr(name, data)
            listed.append({"name": name, "blake2b": blake2b(data, digest_size=32).hexdigest()})
        data = json.dumps({**manifest, "members": listed}).encode()
        archive.writestr("manifest.json", data)
        digest = blake2b(data, digest_size=32).hexdigest()
        archive.comment = f"perdure-portable {version} {digest}".encode()


def test_it_gives_the_events_that_an_export_gives(source: str, file: Path) -> None:
    """Pieces come before all else of their segment, the rest in the order of the export. [CO-090]"""
    with perdure.open(source) as store, PortableFile(file) as opened:
        written = [event for event in store.export() if not isinstance(event, perdure.Chunk)]
        read = [event for event in opened.events("default") if not isinstance(event, perdure.Chunk)]
        assert read == written
        chunks = {e.digest: e.data for e in opened.events("default") if isinstance(e, perdure.Chunk)}
        assert chunks == {e.digest: e.data for e in store.export() if isinstance(e, perdure.Chunk)}


def test_the_same_history_makes_the_same_bytes(source: str, file: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.perdure"
    export_file(source, str(again))
    assert again.read_bytes() == file.read_bytes()


def test_others_can_read_it(file: Path) -> None:
    with zipfile.ZipFile(file) as archive:
        manifest = json.loads(archive.read("manifest.json"))
        assert (manifest["format"], manifest["version"]) == ("perdure-portable", 1)
        (found,) = manifest["namespaces"]
        assert found["name"] == "default"
        rows = 0
        for member in manifest["members"]:
            data = archive.read(member["name"])
            assert blake2b(data, digest_size=32).hexdigest() == member["blake2b"]
            table = pa.ipc.open_stream(data).read_all()
            assert table.num_rows == member["rows"]
            rows += table.num_rows if member["name"].endswith("/memories.arrow") else 0
        assert rows > 30


def test_several_namespaces_go_into_one_file(filled: Fill, fresh: Fresh, tmp_path: Path) -> None:
    source, target, path = fresh("memory"), fresh("sqlite"), str(tmp_path / "all.perdure")
    for name in ("default", "other"):
        filled(source, namespace=name, rows=2).close()
    export_file(source, path)
    assert copy(path, target).ok
    for name in ("default", "other"):
        with perdure.open(source, namespace=name) as one, perdure.open(target, namespace=name) as other:
            same_dump(dump(one), dump(other), name)


def test_a_large_history_has_several_segments(filled: Fill, fresh: Fresh, tmp_path: Path) -> None:
    source, path = fresh("memory"), tmp_path / "large.perdure"
    filled(source, rows=25_000).close()
    export_file(source, str(path))
    with zipfile.ZipFile(path) as archive:
        assert json.loads(archive.read("manifest.json"))["namespaces"][0]["segments"] > 2


def test_any_changed_byte_is_noticed_before_the_first_event(file: Path) -> None:
    """Damage in what a member holds, in the manifest or in the seal. [CO-091]"""
    whole = file.read_bytes()
    with zipfile.ZipFile(file) as archive:
        places = [info.header_offset + 60 + len(info.filename) for info in archive.infolist()[1:]]
    for place in [*places, len(whole) - 3]:
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(CorruptStore):
            PortableFile(file)
    for length in range(60, len(whole), len(whole) // 20):
        file.write_bytes(whole[:length])
        with pytest.raises(CorruptStore):
            PortableFile(file)


def test_a_newer_version_and_what_is_no_such_file_are_refused(tmp_path: Path) -> None:
    """A version that this program does not know. [CO-092]"""
    path = tmp_path / "new.perdure"
    sealed(path, {}, {"namespaces": []}, version=2)
    with pytest.raises(IncompatibleStore, match="upgrade"):
        PortableFile(path)
    path.write_bytes(b"something else")
    assert not is_portable(path)
    with pytest.raises(IncompatibleStore):
        PortableFile(path)
    with pytest.raises(NotFound):
        PortableFile(tmp_path / "nowhere")


def test_a_sealed_file_with_other_content_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "odd.perdure"
    named = {"namespaces": [{"name": "default", "segments": 1, "events": {}}]}
    table = pa.table({"other": [1]})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    for data in (sink.getvalue().to_pybytes(), b"no arrow at all", b""):
        sealed(path, {"0000/000000/commits.arrow": data}, named)
        with PortableFile(path) as opened, pytest.raises(CorruptStore):
            list(opened.events("default"))
    sealed(path, {}, {"namespaces": 7})
    with pytest.raises(CorruptStore, match="manifest"):
        PortableFile(path)


def test_a_file_that_is_there_is_kept(source: str, file: Path) -> None:
    """Nothing is replaced unless that is asked for, and nothing is left of a write that failed. [CO-093]"""
    file.write_bytes(b"mine")
    with pytest.raises(AlreadyExists):
        export_file(source, str(file))
    assert file.read_bytes() == b"mine"
    assert export_file(source, str(file), overwrite=True).ok
    with pytest.raises(perdure.PerdureError):
        export_file(source, str(file.parent / "other.perdure"), namespaces=["nobody"])
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_a_backup_is_history_too(source: str, fresh: Fresh, tmp_path: Path) -> None:
    target, path = fresh("sqlite"), tmp_path / "backup"
    with perdure.open(source) as store:
        store.backup(path)
    assert is_history(str(path))
    assert copy(str(path), target).ok
    with perdure.open(source) as one, perdure.open(target) as other:
        same_dump(dump(one), dump(other), "the dumps")
