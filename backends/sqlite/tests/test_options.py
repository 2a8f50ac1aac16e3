"""URLs of SQLite stores."""

import pytest
from perdure import InvalidURL
from perdure_sqlite import plugin


@pytest.mark.parametrize(
    "url",
    [
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite://host/a.db",
        "sqlite:///a.db?nonsense=1",
        "sqlite:///a.db?timeout=soon",
        "sqlite:///a.db?timeout=nan",
        "sqlite:///a.db?timeout=-1",
        "sqlite:///a.db?synchronous=off",
        "sqlite:///a.db?mode=r&mode=ro",
        "sqlite:///a%00b.db",
    ],
)
def test_malformed_urls(url, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidURL):
        plugin.open(url, "n", "rw")
    assert not list(tmp_path.iterdir())


def test_relative_odd_and_absolute_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("plain.db", "with space.db", "ünïcode.db", "50%25.db", "hash%23.db", "a'b.db", "q%3F.db"):
        plugin.open(f"sqlite:///{name}?timeout=1.5&synchronous=normal", "n", "rw").close(ctx=None)
    plugin.open(f"sqlite:///{tmp_path}/absolute.db", "n", "rw").close(ctx=None)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(
        ["plain.db", "with space.db", "ünïcode.db", "50%.db", "hash#.db", "a'b.db", "q?.db", "absolute.db"]
    )


def test_the_description_needs_no_file():
    description = plugin.describe()
    assert description.name == "sqlite"
    assert description.supports("concurrent")
    assert not description.supports("approximate")
    assert description.durability == "power"
