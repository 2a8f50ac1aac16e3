"""The commands, as people and programs run them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import perdure
import pytest
from perdure import Memory, Store
from perdure.cli import main

Fill = Callable[..., Store]
Fresh = Callable[[str], str]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the program in this process: exit code, stdout, stderr."""

    def program(*words: Any) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main([str(word) for word in words])
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return program


def test_migrate_takes_stores(filled: Fill, fresh: Fresh, run: Run, tmp_path: Path) -> None:
    source, target = fresh("sqlite"), fresh("memory")
    filled(source).close()
    code, out, _ = run("migrate", source, target, "--report", tmp_path / "r.json")
    assert (code, "all equal" in out) == (0, True)
    assert json.loads((tmp_path / "r.json").read_text())["namespaces"][0]["mismatched"] == 0
    code, out, _ = run("migrate", "verify", source, target, "--json")
    assert (code, json.loads(out)["ok"]) == (0, True)
    assert run("migrate", source, target, "--branch", "lab")[0] == 2


def test_sync_copies_and_says_what_it_keeps(filled: Fill, fresh: Fresh, run: Run) -> None:
    source, target = fresh("sqlite"), fresh("sqlite")
    with filled(source) as store:
        assert run("sync", source, target)[0] == 0
        store.memories.put(Memory(id="new"))
        code, out, _ = run("sync", source, target)
        assert (code, "default\t1\t1\t0\t0\t0\t" in out, "up to date" in out) == (0, True, True)
        store.branches.delete("late")
    code, out, err = run("sync", source, target)
    assert (code, "all equal" in out, "branch late" in err) == (0, True, True)
    code, out, _ = run("sync", source, target, "--prune", "--full", "--json")
    assert json.loads(out)["namespaces"][0]["pruned"] == ["branch late"]
    with perdure.open(target) as store:
        store.memories.put(Memory(id="mine"))
    code, _, err = run("sync", source, target)
    assert (code, "--into" in err) == (4, True)
    assert run("sync", source, target, "--into", "copy")[0] == 0


def test_export_and_import(filled: Fill, fresh: Fresh, run: Run, tmp_path: Path) -> None:
    source, target, file = fresh("sqlite"), fresh("sqlite"), tmp_path / "x.perdure"
    filled(source).close()
    assert run("export", source, file)[0] == 0
    assert run("export", source, file)[0] == 4
    assert run("import", file, target, "--dry-run")[0] == 0
    assert not Path(target.removeprefix("sqlite:///")).exists()
    code, out, _ = run("import", file, target, "--json")
    assert (code, json.loads(out)["action"]) == (0, "migrate")
    assert run("migrate", "verify", file, target)[0] == 0
    assert run("migrate", source, tmp_path / "y.perdure")[0] == 0
    assert (tmp_path / "y.perdure").read_bytes() == file.read_bytes()
    assert run("import", source, target)[0] == 2


def test_a_difference_ends_with_its_code(filled: Fill, fresh: Fresh, run: Run) -> None:
    source, target = fresh("memory"), fresh("memory")
    filled(source).close()
    run("migrate", source, target)
    with perdure.open(target) as store:
        store.purge("memories", ["m1"])
    code, out, err = run("migrate", "verify", source, target)
    assert (code, "missing" in err, "1 mismatches" in out) == (1, True, True)


def test_passwords_are_not_told(run: Run) -> None:
    for words in (
        ("sync", "postgresql://u:secret@127.0.0.1:1/db", "memory://x"),
        ("export", "memory://x", "a://b:secret@c"),
    ):
        code, out, err = run(*words)
        assert code
        assert "secret" not in out + err
