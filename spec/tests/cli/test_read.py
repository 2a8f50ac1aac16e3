"""`find`, `get`, `count` and `search`."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest


def test_find_filters_orders_and_limits(run: Any, filled: str) -> None:
    done = run("find", filled, "memories", "--where", 'kind = "bug"', "--order-by", "-importance", "--json")
    assert [record["id"] for record in done.lines] == ["m4", "m2", "m0"]
    assert done.err == ""


def test_find_prints_tab_separated_text_where_no_terminal_is(run: Any, filled: str) -> None:
    done = run("find", filled, "memories", "--columns", "id,kind", "--limit", "2")
    assert done.out == "id\tkind\nm0\tbug\nm1\tfix\n"


def test_a_page_tells_the_cursor_of_the_next(run: Any, filled: str) -> None:
    first = run("find", filled, "memories", "--limit", "3", "--json")
    rest = run("find", filled, "memories", "--limit", "3", "--json", "--after", first.error["cursor"])
    assert [record["id"] for record in first.lines + rest.lines] == ["m0", "m1", "m2", "m3", "m4"]
    assert rest.err == ""
    assert "--after " in run("find", filled, "memories", "--limit", "3").err


def test_all_streams_everything_and_takes_no_cursor(run: Any, filled: str) -> None:
    assert len(run("find", filled, "memories", "--all", "--json").lines) == 5
    assert run("find", filled, "memories", "--all", "--after", "x").code == 2


def test_a_long_key_is_neither_cut_nor_wrapped(run: Any, url: str) -> None:
    key = "k" * 500
    run("put", url, "memories", input=[{"id": key, "text": "a\tb\nc\x1b[31m"}])
    line = run("find", url, "memories", "--columns", "id,text").out.splitlines()[1]
    assert line == f"{key}\ta\\tb\\nc\\x1b[31m"


def test_get_shows_what_is_there_and_fails_for_what_is_not(run: Any, filled: str) -> None:
    done = run("get", filled, "memories", "m1", "nope", "m2", "--json")
    assert [record["id"] for record in done.lines] == ["m1", "m2"]
    assert done.code == 3
    assert done.error["error"] == "not_found"
    assert done.error["detail"]["keys"] == ["nope"]
    assert run("get", filled, "memories", "m1").out.startswith("id\tm1\nkind\tfix\ntext\ttext 1\n")


def test_keys_of_two_parts_are_two_words(run: Any, filled: str) -> None:
    assert run("get", filled, "vectors", "emb", "m2", "--json").document["values"] == [0.0, 1.0, 0.0]
    done = run("get", filled, "vectors", "emb")
    assert (done.code, done.out) == (2, "")
    assert "space and id" in done.err


@pytest.mark.parametrize(("where", "number"), [(None, 5), ('kind = "fix"', 2), ("importance > 0.15", 3)])
def test_count(run: Any, filled: str, where: str | None, number: int) -> None:
    words = ["count", filled, "memories", *(["--where", where] if where else [])]
    assert run(*words).out == f"{number}\n"
    assert run(*words, "--json").document == {"table": "memories", "count": number}


def test_reads_go_back_in_time_and_to_branches(run: Any, filled: str) -> None:
    seq = run("info", filled, "--json").document["head"]["seq"]
    run("branch", "create", filled, "lab")
    run("put", filled, "memories", "--branch", "lab", input=[{"id": "m9"}])
    run("delete", filled, "memories", "m0")
    count = ["count", filled, "memories"]
    assert run(*count).out == "4\n"
    assert run(*count, "--branch", "lab").out == "6\n"
    assert run(*count, "--at", f"main@{seq}").out == "5\n"
    assert run(*count, "--at", "lab").out == "6\n"
    assert run(*count, "--at", "lab@").code == 2
    assert run(*count, "--at", "other").code == 3


def test_search_by_json_by_file_and_from_standard_input(run: Any, filled: str, tmp_path: Path) -> None:
    np.save(tmp_path / "q.npy", np.array([1, 0.5, 0]))
    (tmp_path / "q.json").write_text("[1, 0.5, 0]")
    query = ["search", filled, "memories", "--json", "--vector"]
    found = run(*query, "[1, 0.5, 0]")
    assert [hit["record"]["id"] for hit in found.lines] == ["m1", "m2"]
    assert found.lines[0]["score"] > found.lines[1]["score"]
    assert run(*query, str(tmp_path / "q.npy")).out == found.out
    assert run(*query, str(tmp_path / "q.json")).out == found.out
    assert run(*query, "-", input="[1, 0.5, 0]").out == found.out
    assert run(*query, "[1, 0.5, 0]", "-k", "1").out == found.out.splitlines(keepends=True)[0]
    filtered = run(*query, "[1, 0.5, 0]", "--where", 'kind = "bug"', "--space", "emb")
    assert [hit["record"]["id"] for hit in filtered.lines] == ["m2"]
    plain = run("search", filled, "memories", "--vector", "[1,0,0]", "--columns", "id").out.splitlines()
    assert plain[0] == "id\tscore"


@pytest.mark.parametrize(
    "vector", ["[1, 0]", "[1, 0, NaN]", '["a", 0, 0]', "[true, 0, 0]", "[[1], 0, 0]", "[" * 5_000, "[]", "{}"]
)
def test_search_refuses_what_is_no_vector_of_the_space(run: Any, filled: str, vector: str) -> None:
    done = run("search", filled, "memories", "--json", "--vector", vector)
    assert (done.code, done.out) == ((3, "") if vector == "{}" else (2, ""))


def test_search_runs_nothing_from_a_file(run: Any, filled: str, tmp_path: Path) -> None:
    np.save(tmp_path / "q.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    assert run("search", filled, "memories", "--vector", str(tmp_path / "q.npy")).code == 2


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["find", "--where", "kind ="], 2),
        (["find", "--where", "nope = 1"], 2),
        (["find", "--order-by", "nope"], 2),
        (["find", "--columns", "nope"], 2),
        (["find", "--columns", ","], 2),
        (["find", "--after", "nope"], 2),
        (["find", "--limit", "-1"], 2),
        (["find", "--branch", "nope"], 3),
        (["find", "--branch", "a b"], 2),
        (["find", "--namespace", "nope"], 3),
        (["find", "--namespace", ""], 2),
        (["get", "\0"], 2),
        (["get", "k" * 513], 2),
        (["search", "--vector", "[1,0,0]", "--space", "nope"], 3),
    ],
)
def test_what_is_malformed_or_absent_has_its_exit_code(
    run: Any, filled: str, words: list[str], code: int
) -> None:
    done = run(words[0], filled, "memories", *words[1:], "--json")
    assert (done.code, done.out) == (code, "")
    assert set(done.error) == {"error", "message", "detail"}


def test_an_unknown_table_is_not_found(run: Any, url: str) -> None:
    for words in (["find"], ["count"], ["get", "k"], ["put"], ["delete", "k"], ["purge", "k"]):
        done = run(words[0], url, "nope", *words[1:])
        assert done.code == 3
        assert "memories, links, skills, traces, vectors, states" in done.err


def test_reading_never_creates_a_file(run: Any, url: str, tmp_path: Path) -> None:
    reads = (
        ["find", url, "memories"], ["get", url, "memories", "k"], ["count", url, "memories"], ["info", url],
        ["stats", url], ["log", url], ["verify", url], ["diff", url, "main"], ["branch", "list", url],
        ["search", url, "memories", "--vector", "[1]"], ["backup", url, str(tmp_path / "b")],
        ["put", url, "memories", "--insert", "--dry-run"],
    )  # fmt: skip
    for words in reads:
        assert run(*words).code == (0 if "--dry-run" in words else 3), words
    assert list(tmp_path.iterdir()) == []


def test_json_is_what_put_takes_back(run: Any, filled: str, tmp_path: Path) -> None:
    copy = f"sqlite:///{tmp_path / 'copy.db'}"
    run("space", "create", copy, "emb", "--dim", "3", "--table", "memories")
    for table in ("memories", "vectors"):
        dump = run("find", filled, table, "--all", "--json").out
        run("put", copy, table, input=dump)
        assert run("find", copy, table, "--all", "--json").out == dump
        assert all(json.loads(line)["created_at"].endswith("Z") for line in dump.splitlines())


def test_bare_numbers_are_told_how_a_vector_is_written(run: Any, filled: str) -> None:
    done = run("search", filled, "memories", "--vector", "1, 2,3")
    assert (done.code, "'[1, 2,3]'" in done.err) == (2, True)
