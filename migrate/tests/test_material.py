"""Files are read once, through one handle, and never followed away."""

import os
from pathlib import Path

import pytest
from perdure import InvalidInput, InvalidRecord, NotFound
from perdure_migrate import Limits, gather


def test_a_file_is_one_material(samples: Path) -> None:
    material = gather(samples / "nexus.pkl")
    assert (material.directory, material.name, len(material.files)) == (False, "nexus.pkl", 1)
    assert material.files[0].tree is material.files[0].tree
    assert {seen.qualname for seen in material.classes()} >= {"GeometricNexus", "Trace"}
    assert material.digest == gather(samples / "nexus.pkl").digest


def test_the_source_itself_may_be_a_link(samples: Path, tmp_path: Path) -> None:
    (tmp_path / "link.pkl").symlink_to(samples / "nexus.pkl")
    assert gather(tmp_path / "link.pkl").digest == gather(samples / "nexus.pkl").digest


def test_a_directory_is_taken_in_name_order(tmp_path: Path) -> None:
    for name in ("b", "a", "c"):
        (tmp_path / name).write_bytes(b"N.")
    material = gather(tmp_path)
    assert [file.name for file in material.files] == ["a", "b", "c"]
    before = material.digest
    (tmp_path / "a").rename(tmp_path / "d")
    assert gather(tmp_path).digest != before


def test_what_is_not_there(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path / "nu\0l"):
        with pytest.raises(NotFound):
            gather(path)


def test_a_file_that_is_swapped_for_a_link_is_not_followed(samples: Path, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.pkl").write_bytes(b"N.")
    material = gather(folder)
    (folder / "a.pkl").unlink()
    (folder / "a.pkl").symlink_to(samples / "nexus.pkl")
    with pytest.raises(OSError, match="cannot be read"):
        material.files[0].read()


def test_a_file_that_changes_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes(b"N.")
    material = gather(path)
    assert material.files[0].tree is None
    path.write_bytes(b"K\x01.")
    with pytest.raises(InvalidInput, match="changed"):
        material.files[0].read()


def test_a_pipe_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InvalidInput, match="no regular file"):
        gather(tmp_path / "pipe").files[0].read()


def test_limits_hold(samples: Path) -> None:
    with pytest.raises(InvalidInput, match="max_bytes"):
        gather(samples / "nexus.pkl", Limits(max_bytes=1000)).files[0].read()
    with pytest.raises(InvalidRecord, match="max_depth"):
        assert gather(samples / "nexus.pkl", Limits(max_depth=1)).files[0].tree
