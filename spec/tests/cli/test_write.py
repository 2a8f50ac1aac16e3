"""`put` and `delete`."""

import json
from pathlib import Path
from typing import Any

import pytest


def test_put_from_a_file_and_from_standard_input(run: Any, url: str, tmp_path: Path) -> None:
    file = tmp_path / "in.jsonl"
    file.write_bytes(b'\xef\xbb\xbf{"id": "a"}\r\n\r\n{"id": "b"}')
    done = run("put", url, "memories", str(file), "--json", "-m", "from a file", "--author", "ann")
    assert (done.document["read"], done.document["written"], done.document["commits"]) == (2, 2, 1)
    (commit,) = run("log", url, "--json").lines
    assert (commit["id"], commit["message"], commit["author"]) == (
        done.document["commit"], "from a file", "ann",
    )  # fmt: skip
    assert run("put", url, "memories", "-", input=[{"id": "c"}]).code == 0
    assert run("count", url, "memories").out == "3\n"


def test_writing_the_same_again_makes_no_commit(run: Any, url: str) -> None:
    run("put", url, "memories", input=[{"id": "a", "text": "x"}])
    again = run("put", url, "memories", "--json", input=[{"id": "a", "text": "x"}]).document
    assert again == {"table": "memories", "read": 1, "written": 0, "commits": 0, "commit": None}
    assert run("put", url, "memories", "--json", input="").document["read"] == 0


def test_put_is_all_or_nothing_and_names_the_line(run: Any, url: str) -> None:
    done = run("put", url, "memories", "--json", input=[{"id": "a"}, {"id": 5}, {"id": "c"}])
    assert (done.code, done.out) == (2, "")
    assert done.error["message"].startswith("line 2: memories.id must be text")
    assert done.error["detail"]["line"] == 2
    assert run("count", url, "memories").out == "0\n"


def test_chunks_are_committed_one_by_one(run: Any, url: str) -> None:
    memories: list[dict[str, Any]] = [{"id": f"m{i}"} for i in range(5)]
    assert run("put", url, "memories", "--chunk", "2", "--json", input=memories).document["commits"] == 3
    done = run(
        "put",
        url,
        "memories",
        "--chunk",
        "2",
        "--json",
        input=[{"id": f"n{i}"} for i in range(3)] + [{"id": ""}],
    )
    assert done.error["detail"] == {"line": 4, "committed": 2}
    assert run("count", url, "memories").out == "7\n"


def test_insert_refuses_a_key_that_exists(run: Any, url: str) -> None:
    run("put", url, "memories", input=[{"id": "a"}])
    done = run("put", url, "memories", "--insert", "--json", input=[{"id": "b"}, {"id": "a"}])
    assert (done.code, done.error["error"]) == (4, "already_exists")
    assert run("count", url, "memories").out == "1\n"


def test_a_dry_run_checks_and_writes_nothing(run: Any, filled: str, tmp_path: Path) -> None:
    before = (tmp_path / "agent.db").read_bytes()
    put = ["put", filled, "memories", "--dry-run", "--json"]
    done = run(*put, input=[{"id": "m1"}, {"id": "new"}])
    assert done.document == {"table": "memories", "read": 2, "new": 1, "existing": 1, "dry_run": True}
    assert run(*put, "--insert", input=[{"id": "m1"}]).code == 4
    assert run(*put, input=[{"id": "a"}, {"tier": 2**80}]).error["detail"]["line"] == 2
    assert run(*put, "--branch", "nope", input=[]).code == 3
    vector = {"space": "emb", "id": "m3", "values": [1, 2]}
    assert run("put", filled, "vectors", "--dry-run", input=[vector]).code == 2
    assert run("put", filled, "vectors", "--dry-run", input=[{**vector, "space": "nope"}]).code == 3
    assert (tmp_path / "agent.db").read_bytes() == before


def test_a_dry_run_needs_no_store(run: Any, url: str, tmp_path: Path) -> None:
    done = run("put", url, "memories", "--dry-run", "--json", input=[{"id": "m1"}])
    assert done.document["new"] == 1
    vector = {"space": "emb", "id": "m3", "values": [1, 2]}
    assert run("put", url, "vectors", "--dry-run", input=[vector]).code == 3
    assert list(tmp_path.iterdir()) == []


def test_links_get_derived_ids_and_references_are_checked_on_request(run: Any, filled: str) -> None:
    link = {"source": "m1", "target": "m2", "relation": "causes"}
    for _ in range(2):
        assert run("put", filled, "links", input=[link]).code == 0
    assert run("count", filled, "links").out == "1\n"
    done = run("put", filled, "links", "--check-references", input=[{**link, "target": "nope"}])
    assert done.code in (2, 3)


@pytest.mark.parametrize(
    ("source", "code"), [("nope.jsonl", 3), (".", 2), ("\0", 2)], ids=["absent", "directory", "NUL"]
)
def test_a_file_that_cannot_be_read(run: Any, url: str, tmp_path: Path, source: str, code: int) -> None:
    file = source if source == "\0" else str(tmp_path / source)
    done = run("put", url, "memories", file, "--json")
    assert (done.code, set(done.error)) == (code, {"error", "message", "detail"})
    assert list(tmp_path.iterdir()) == []


def test_a_payload_is_base64(run: Any, url: str) -> None:
    state = {"kind": "weights", "id": "s1", "payload": "AAEC", "data": {"epoch": 3}}
    assert run("put", url, "states", input=[state]).code == 0
    assert run("get", url, "states", "weights", "s1", "--json").document["payload"] == "AAEC"
    assert run("put", url, "states", input=[{**state, "payload": "?"}]).code == 2


def test_delete(run: Any, filled: str) -> None:
    done = run("delete", filled, "memories", "m1", "m3", "--json", "-m", "gone")
    assert (done.document["table"], done.document["deleted"]) == ("memories", 3)  # a vector goes with m1
    assert run("log", filled, "--json").lines[0]["id"] == done.document["commit"]
    assert run("delete", filled, "memories", "m0", "m1").code == 3
    assert run("count", filled, "memories").out == "3\n"
    assert run("delete", filled, "memories", "m1", "--missing-ok", "--json").document["commit"] is None


def test_a_mistyped_store_is_not_created_by_commands_that_change_one(
    run: Any, url: str, tmp_path: Path
) -> None:
    writes = (
        ["delete", url, "memories", "m"], ["merge", url, "lab"], ["revert", url, "c"], ["compact", url],
        ["purge", url, "memories", "m"], ["branch", "create", url, "b"], ["branch", "delete", url, "b"],
        ["checkpoint", "create", url, "c"], ["space", "drop", url, "s"], ["namespace", "drop", url, "n"],
        ["restore", str(tmp_path / "nope"), url],
    )  # fmt: skip
    for words in writes:
        assert run(*words).code == 3, words
    assert list(tmp_path.iterdir()) == []


def test_tagged_values_come_back_as_they_were(run: Any, url: str) -> None:
    content = {
        "plain": [1, 2.5, 1e16, None, True, "ü"],
        "tuple": {"$tuple": [1, 2]},
        "bytes": {"$bytes": "YWI="},
        "nan": {"$float": "nan"},
        "escaped": {"$dict": [["$ref", 1]]},
    }
    run("put", url, "memories", input=[{"id": "m", "content": content}, {"id": "big", "content": 2**80}])
    assert run("get", url, "memories", "m", "--json").document["content"] == content
    assert run("get", url, "memories", "big", "--json").document["content"] == {"$int": hex(2**80)}


def test_text_beyond_ascii_is_printed_as_it_is(run: Any, url: str) -> None:
    run("put", url, "memories", input=json.dumps({"id": "m", "text": "Grüße 🌍"}, ensure_ascii=False))
    assert "Grüße 🌍" in run("get", url, "memories", "m", "--json").out
    assert "Grüße 🌍" in run("get", url, "memories", "m").out
