"""`log`, `diff`, `merge`, `revert`, `branch` and `checkpoint`."""

from typing import Any

import pytest


@pytest.fixture
def forked(run: Any, filled: str) -> str:
    """A branch `lab` that changed m1 and added m9; main then changed m1 to something else."""
    assert run("branch", "create", filled, "lab").code == 0
    lab = [{"id": "m1", "kind": "fix", "text": "lab", "importance": 0.1}, {"id": "m9", "text": "new"}]
    assert run("put", filled, "memories", "-b", "lab", "-m", "in the lab", input=lab).code == 0
    main = [{"id": "m1", "kind": "fix", "text": "main", "importance": 0.1}]
    assert run("put", filled, "memories", input=main).code == 0
    return filled


def test_log_is_newest_first_across_forks(run: Any, forked: str) -> None:
    commits = run("log", forked, "-b", "lab", "--json").lines
    assert [(c["branch"], c["message"]) for c in commits] == [
        ("lab", "in the lab"),
        ("main", ""),
        ("main", "first"),
    ]
    assert commits[0]["parents"] == [commits[1]["id"]]
    assert all(c["time"].endswith("Z") for c in commits)
    assert run("log", forked, "--at", "lab", "--limit", "1", "--json").lines == commits[:1]
    assert run("log", forked, "--at", f"@{commits[1]['id']}", "--all", "--json").lines == commits[1:]
    assert run("log", forked).out.splitlines()[0] == "id\tbranch\tseq\ttime\tauthor\tmessage"


def test_diff_names_rows_and_fields(run: Any, forked: str) -> None:
    changed, added = run("diff", forked, "main", "lab", "--json").lines
    assert (changed["table"], changed["key"], changed["kind"]) == ("memories", ["m1"], "changed")
    assert (changed["fields"], changed["after"]["text"]) == (["text", "updated_at"], "lab")
    assert (added["kind"], added["before"], added["after"]["id"]) == ("added", None, "m9")
    assert run("diff", forked, "main", "lab", "--table", "links").out == ""
    assert run("diff", forked, "lab").out.splitlines()[1] == "m1\tmemories\tchanged\ttext, updated_at"
    assert run("diff", forked, "lab", "--table", "nope").code == 3


def test_diff_shows_vectors_as_numbers_and_payloads_by_manifest(run: Any, forked: str) -> None:
    vector = {"space": "emb", "id": "m1", "values": [0, 0, 2]}
    run("put", forked, "vectors", "-b", "lab", input=[vector])
    run("put", forked, "states", "-b", "lab", input=[{"kind": "w", "id": "s", "payload": "AAEC"}])
    state, changed = run("diff", forked, "main", "lab", "-t", "vectors", "-t", "states", "--json").lines
    assert changed["before"]["values"] == [1.0, 0.0, pytest.approx(0.1)]
    assert changed["after"]["values"] == [0.0, 0.0, 2.0]
    assert state["after"]["payload"]["manifest"].startswith("3:")


def test_a_merge_with_conflicts_applies_nothing(run: Any, forked: str) -> None:
    done = run("merge", forked, "lab", "--json")
    assert (done.code, done.out, done.error["error"]) == (1, "", "merge_conflict")
    (conflict,) = done.error["detail"]["conflicts"]
    assert (conflict["table"], conflict["key"], conflict["fields"]) == ("memories", ["m1"], ["text"])
    assert [conflict[side]["text"] for side in ("base", "ours", "theirs")] == ["text 1", "main", "lab"]
    plain = run("merge", forked, "lab")
    assert plain.out.splitlines() == ["key\ttable\tkind\tfields", "m1\tmemories\tboth_changed\ttext"]
    assert run("count", forked, "memories").out == "5\n"


def test_a_dry_merge_shows_what_would_happen(run: Any, forked: str) -> None:
    done = run("merge", forked, "lab", "--dry-run", "--json")
    assert (done.code, done.document["commit"], len(done.document["conflicts"])) == (1, None, 1)
    assert {"table": "memories", "key": ["m9"], "change": "put"} in done.document["changes"]
    assert run("merge", forked, "lab", "--dry-run", "--strategy", "theirs").code == 0
    assert "m9\tmemories\tput" in run("merge", forked, "lab", "--dry-run").out
    assert run("count", forked, "memories").out == "5\n"


@pytest.mark.parametrize(("strategy", "text"), [("ours", "main"), ("theirs", "lab")])
def test_a_strategy_settles_conflicts(run: Any, forked: str, strategy: str, text: str) -> None:
    done = run("merge", forked, "lab", "--strategy", strategy, "-m", "joined", "--json")
    assert (done.code, done.document["commit"]["message"]) == (0, "joined")
    assert len(done.document["commit"]["parents"]) == 2
    assert run("get", forked, "memories", "m1", "--json").document["text"] == text
    again = run("merge", forked, "lab", "--json").document
    assert (again["already_merged"], again["commit"]) == (True, None)


def test_a_merge_of_some_rows_into_another_branch(run: Any, forked: str) -> None:
    run("branch", "create", forked, "other", "--at", "main")
    assert run("merge", forked, "lab", "--into", "other", "--key", "memories:m9").code == 0
    assert run("count", forked, "memories", "-b", "other").out == "6\n"
    assert run("get", forked, "memories", "m1", "-b", "other", "--json").document["text"] == "main"
    assert run("merge", forked, "lab", "--key", "m9").code == 2
    assert run("merge", forked, "lab", "--key", "nope:m9").code == 3
    assert run("merge", forked, "lab", "--key", "vectors:emb").code == 2
    assert run("merge", forked, "lab", "--table", "links", "--key", "vectors:emb,m1").code == 0


def test_revert_undoes_a_commit_and_keeps_what_came_later(run: Any, filled: str) -> None:
    commit = run("put", filled, "memories", "--json", input=[{"id": "m1", "text": "oops"}]).document["commit"]
    run("put", filled, "memories", input=[{"id": "m7"}])
    dry = run("revert", filled, commit, "--dry-run", "--json").document
    assert (dry["commit"], dry["written"]) == (None, 1)
    done = run("revert", filled, f"@{commit}", "--json")
    assert done.document["commit"]["reverts"] == commit
    assert run("get", filled, "memories", "m1", "m7", "--json").lines[0]["text"] == "text 1"
    assert run("revert", filled, "nope").code == 3


def test_reverting_a_merge_needs_a_parent(run: Any, forked: str) -> None:
    commit = run("merge", forked, "lab", "-s", "theirs", "--json").document["commit"]["id"]
    assert run("revert", forked, commit).code == 2
    assert run("revert", forked, commit, "--parent", "0").code == 0
    assert run("get", forked, "memories", "m1", "--json").document["text"] == "main"


def test_branches(run: Any, filled: str) -> None:
    made = run("branch", "create", filled, "a/b", "--json").document
    assert (made["name"], made["parent"]) == ("a/b", "main")
    run("branch", "create", filled, "c", "--branch", "a/b")
    assert [branch["name"] for branch in run("branch", "list", filled, "--json").lines] == [
        "a/b",
        "c",
        "main",
    ]
    assert run("branch", "create", filled, "c").code == 4
    assert run("branch", "create", filled, "a b").code == 2
    assert run("branch", "delete", filled, "a/b").code == 4
    assert run("branch", "delete", filled, "main", "--cascade").code == 4
    assert run("branch", "delete", filled, "a/b", "--cascade", "--json").document["branches"] == 2
    assert run("branch", "delete", filled, "a/b").code == 3


def test_checkpoints(run: Any, filled: str) -> None:
    words = ["checkpoint", "create", filled, "v1", "--metrics", '{"loss": 0.5}', "-m", "good", "--json"]
    made = run(*words).document
    assert (made["name"], made["metrics"], made["message"]) == ("v1", {"loss": 0.5}, "good")
    assert run("checkpoint", "list", filled, "--json").lines == [made]
    run("delete", filled, "memories", "m0")
    assert run("count", filled, "memories", "--at", "v1").out == "5\n"
    assert run(*words).code == 4
    assert run("checkpoint", "create", filled, "v2", "--metrics", "{").code == 2
    assert run("checkpoint", "delete", filled, "v1").code == 0
    assert run("checkpoint", "delete", filled, "v1").code == 3
