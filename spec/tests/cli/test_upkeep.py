"""`verify`, `backup`, `restore`, `compact`, `purge`, `info`, `stats`, `backends`, `namespace` and `space`."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from perdure import InvalidInput
from perdure.cli._upkeep import parse_keep


def test_verify_is_clean_for_a_sound_store(run: Any, filled: str) -> None:
    document = run("verify", filled, "--json").document
    assert document["ok"]
    assert document["problems"] == []
    assert run("verify", filled).out.startswith("ok\tyes\n")


def test_damage_is_a_finding(run: Any, filled: str, tmp_path: Path) -> None:
    file = tmp_path / "agent.db"
    data = file.read_bytes()
    assert data.count(b"text 3") == 1
    file.write_bytes(data.replace(b"text 3", b"text 8"))
    done = run("verify", filled, "--json")
    assert (done.code, done.document["ok"], done.err) == (1, False, "")
    assert any(problem["severity"] == "error" for problem in done.document["problems"])
    assert run("verify", filled).out.startswith("ok\tno\n")


def test_a_file_that_is_no_store_is_left_alone(run: Any, url: str, tmp_path: Path) -> None:
    file = tmp_path / "agent.db"
    file.write_bytes(b"this is not a database, whatever its name says" * 100)
    before = file.read_bytes()
    for words in (["stats", url], ["put", url, "memories"], ["compact", url]):
        assert run(*words, "--json", input="").code == 6, words
    assert file.read_bytes() == before


def test_a_backup_is_restored_with_its_history(run: Any, filled: str, tmp_path: Path) -> None:
    archive, copy = str(tmp_path / "b.perdure"), f"sqlite:///{tmp_path / 'copy.db'}"
    assert run("backup", filled, archive, "--json").document["bytes"] == Path(archive).stat().st_size
    assert run("backup", filled, archive).code == 4
    assert run("backup", filled, archive, "--overwrite").code == 0
    assert run("restore", archive, copy, "--json").document["commits"] == 2
    assert run("log", copy, "--json").out == run("log", filled, "--json").out
    assert run("find", copy, "vectors", "--json").out == run("find", filled, "vectors", "--json").out


def test_a_damaged_backup_is_refused(run: Any, filled: str, tmp_path: Path) -> None:
    archive = tmp_path / "b.perdure"
    run("backup", filled, str(archive))
    archive.write_bytes(archive.read_bytes()[:-20])
    assert run("restore", str(archive), f"sqlite:///{tmp_path / 'copy.db'}").code == 6


def test_a_backup_to_nowhere_says_so(run: Any, filled: str, tmp_path: Path) -> None:
    done = run("backup", filled, str(tmp_path / "no" / "folder"), "--json")
    assert done.code in (3, 6)
    assert set(done.error) == {"error", "message", "detail"}


def test_compact(run: Any, filled: str) -> None:
    run("put", filled, "memories", input=[{"id": "m1", "text": "newer"}])
    assert set(run("compact", filled, "--keep", "30d", "--json").document) == {
        "versions", "commits", "chunks", "flattened", "bytes_freed",
    }  # fmt: skip
    assert run("compact", filled, "--keep", "soon").code == 2
    assert run("get", filled, "memories", "m1", "--json").document["text"] == "newer"


@pytest.mark.parametrize(
    ("text", "keep"),
    [("100", 100), ("90s", timedelta(seconds=90)), ("12h", timedelta(hours=12)), ("8w", timedelta(weeks=8))],
)
def test_what_to_keep_is_a_number_or_a_time(text: str, keep: object) -> None:
    assert parse_keep(text) == keep


@pytest.mark.parametrize(
    "text", ["", "0", "0d", "-1", "1.5d", "1y", "d", " 1", "1 d", "٣", "9" * 30, "999999999w"]
)
def test_what_to_keep_is_nothing_else(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_keep(text)


def test_purge_erases_from_all_history(run: Any, filled: str) -> None:
    seq = run("info", filled, "--json").document["head"]["seq"]
    assert run("purge", filled, "memories", "m1", "--json").document["keys"] == 1
    assert run("get", filled, "memories", "m1", "--at", f"main@{seq}").code == 3
    assert run("get", filled, "vectors", "emb", "m1").code == 3


def test_info_and_stats(run: Any, filled: str) -> None:
    info = run("info", filled, "--json").document
    assert (info["url"], info["namespace"], info["branch"]) == (filled, "default", "main")
    assert (info["backend"]["name"], info["head"]["branch"]) == ("sqlite", "main")
    assert info["backend"]["capabilities"]["persistent"] == "full"
    stats = run("stats", filled, "--json").document
    assert (stats["rows"]["memories"], stats["rows"]["vectors"], stats["commits"]) == (5, 2, 2)
    assert stats == {"branch": "main", **info["stats"]}
    assert "rows.memories\t5\n" in run("stats", filled).out
    assert run("stats", filled, "--at", "main@1", "--json").document["rows"]["vectors"] == 0


def test_namespaces_are_listed_where_the_default_one_is_missing(run: Any, url: str) -> None:
    run("put", url, "memories", "--namespace", "other", input=[{"id": "m1"}])
    assert run("namespace", "list", url, "--json").lines == [{"name": "other"}]
    assert "(there are: other)" in run("count", url, "memories").err
    assert run("namespace", "list", "sqlite:///nowhere.db").code == 3


def test_what_is_no_archive_leaves_no_new_store(run: Any, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("buy milk")
    made = tmp_path / "new.db"
    assert run("restore", str(tmp_path / "notes.txt"), f"sqlite:///{made}").code == 6
    assert not made.exists()


def test_backends(run: Any) -> None:
    found = {backend["name"]: backend for backend in run("backends", "--json").lines}
    assert {"memory", "sqlite"} <= set(found)
    assert found["sqlite"]["durability"] == "power"
    assert run("backends").out.startswith("name\texample\tversion\t")


def test_namespaces_are_apart_and_can_be_dropped(run: Any, filled: str) -> None:
    run("put", filled, "memories", "--namespace", "other", input=[{"id": "x"}])
    assert run("count", filled, "memories", "-n", "other").out == "1\n"
    assert run("namespace", "list", filled).out == "name\ndefault\nother\n"
    assert run("namespace", "drop", filled, "default").code == 4
    assert run("namespace", "drop", filled, "other", "--json").document == {"dropped": "other"}
    assert run("count", filled, "memories", "-n", "other").code == 3
    assert run("namespace", "drop", filled, "a b").code == 2


def test_spaces(run: Any, filled: str) -> None:
    assert [space["name"] for space in run("space", "list", filled, "--json").lines] == ["emb"]
    create = [
        "space",
        "create",
        filled,
        "free",
        "--dim",
        "2",
        "--dtype",
        "float64",
        "--metric",
        "l2",
        "--json",
    ]
    made = run(*create).document
    assert (made["dim"], made["dtype"], made["metric"], made["table"]) == (2, "float64", "l2", None)
    assert run("space", "create", filled, "free", "--dim", "3").code == 4
    assert run("space", "create", filled, "x", "--dim", "0").code == 2
    assert run("space", "create", filled, "x", "--dim", "2", "--metric", "nope").code == 2
    assert run("space", "create", filled, "x", "--dim", "2", "--table", "nope").code == 2
    assert run("space", "drop", filled, "emb", "--json").document["vectors"] == 2
    assert run("space", "drop", filled, "emb").code == 3
