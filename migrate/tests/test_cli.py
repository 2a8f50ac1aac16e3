"""The command, as people and programs run it."""

import gzip
import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import perdure
import pytest
from perdure.cli import main

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


def test_source_and_target_are_enough(samples: Path, url: str, run: Run) -> None:
    code, out, _ = run("migrate", samples / "nexus.pkl", url)
    assert code == 0
    assert "memories\t200\t0\t200\n" in out
    assert "all equal" in out
    with perdure.open(url) as store:
        assert store.memories.count() == 200


def test_json_is_one_document(samples: Path, url: str, run: Run) -> None:
    code, out, _ = run("migrate", samples / "aura_state", url, "--json")
    document = json.loads(out)
    assert (code, document["ok"], document["equal"]) == (0, True, {"states": 24})
    assert document["checkpoints"] == ["checkpoint_1767400000"]
    assert {"module", "qualname", "count"} == set(document["classes"][0])


def test_options_may_come_first_and_the_word_run_may_be_said(samples: Path, tmp_path: Path, run: Run) -> None:
    url = f"sqlite:///{tmp_path / 'new.db'}"
    code, out, _ = run("migrate", "--dry-run", samples / "nexus.pkl", url)
    assert (code, "dry run" in out) == (0, True)
    assert run("migrate", "run", samples / "nexus.pkl", url, "--dry-run")[0] == 0
    assert not (tmp_path / "new.db").exists()


def test_a_report_is_written(samples: Path, tmp_path: Path, run: Run) -> None:
    assert run("migrate", samples / "nexus.pkl", "memory://", "--report", tmp_path / "r.json")[0] == 0
    document = json.loads((tmp_path / "r.json").read_text())
    assert document["planned"] == document["equal"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r.json", "samples"]


@pytest.mark.parametrize("place", ["nexus.pkl", "aura_state/report.json"])
def test_a_report_never_goes_into_the_source(samples: Path, run: Run, place: str) -> None:
    source = samples / Path(place).parts[0]
    before = (samples / "nexus.pkl").read_bytes()
    code, _, err = run("migrate", source, "memory://", "--report", samples / place)
    assert (code, "another place" in err) == (2, True)
    assert (samples / "nexus.pkl").read_bytes() == before
    assert not (samples / "aura_state" / "report.json").exists()


def test_a_mismatch_ends_with_1_and_names_the_row(samples: Path, url: str, run: Run) -> None:
    run("migrate", samples / "nexus.pkl", url)
    assert run("migrate", "verify", samples / "nexus.pkl", url)[0] == 0
    with perdure.open(url) as store:
        key = store.memories.find(limit=1)[0].id
        store.memories.update(key, content="tampered")
    code, out, err = run("migrate", "verify", samples / "nexus.pkl", url)
    assert code == 1
    assert "1 mismatches" in out
    assert f"memories {key!r} differs in content" in err
    assert run("migrate", samples / "nexus.pkl", url)[0] == 4  # something else is there


def test_something_left_out_ends_with_1(samples: Path, run: Run) -> None:
    (samples / "aura_state" / "inner").mkdir()
    code, out, err = run("migrate", samples / "aura_state", "memory://")
    assert (code, "left out" in out, "'inner'" in err) == (1, True, True)


def test_exit_codes_of_refusals(samples: Path, tmp_path: Path, run: Run) -> None:
    (tmp_path / "list.pkl").write_bytes(b"]q\x00.")
    (tmp_path / "cut.pkl").write_bytes((samples / "nexus.pkl").read_bytes()[:-1])
    assert run("migrate", tmp_path / "none.pkl", "memory://")[0] == 3
    assert run("migrate", tmp_path / "list.pkl", "memory://")[0] == 2
    assert run("migrate", tmp_path / "cut.pkl", "memory://")[0] == 2
    assert run("migrate", samples / "nexus.pkl", "nowhere://")[0] == 2
    assert run("migrate", samples / "nexus.pkl")[0] == 2
    assert run("migrate", samples / "nexus.pkl", "memory://", "--metric", "far")[0] == 2
    assert run("migrate", "verify", samples / "nexus.pkl", f"sqlite:///{tmp_path / 'no.db'}")[0] == 3
    assert not (tmp_path / "no.db").exists()


def test_a_target_that_is_no_store_is_left_as_it_was(samples: Path, tmp_path: Path, run: Run) -> None:
    target = tmp_path / "notes.txt"
    target.write_bytes(b"my notes " * 1000)
    assert run("migrate", samples / "nexus.pkl", f"sqlite:///{target}")[0] == 6
    assert target.read_bytes() == b"my notes " * 1000


def test_inspect_writes_nothing(samples: Path, tmp_path: Path, run: Run) -> None:
    code, out, _ = run("migrate", "inspect", samples / "nexus.pkl", "--json")
    document = json.loads(out)
    assert code == 0
    assert document["found"] == {"nodes": 200, "edges": 597, "traces": 60, "vectors": 200}
    assert document["classes"]["geometry_os.nexus.GeometricNexus"] == 1
    (tmp_path / "odd.pkl").write_bytes(b"]q\x00.")
    assert run("migrate", "inspect", tmp_path / "odd.pkl")[0] == 0


def test_the_installed_program_has_the_command(samples: Path) -> None:
    program = Path(sys.executable).with_name("perdure")
    done = subprocess.run(
        [program, "migrate", samples / "nexus.pkl", "memory://"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "all equal" in done.stdout
    shown = subprocess.run([program, "migrate", "--help"], capture_output=True, text=True, check=True).stdout
    assert all(word in shown for word in ("run", "verify", "inspect"))


def test_limits_are_told_by_their_options_and_raised_by_them(tmp_path: Path, run: Run) -> None:
    source = tmp_path / "nexus.pkl.gz"
    source.write_bytes(
        gzip.compress(pickle.dumps({"graph": {}, "vectors": {}, "traces": {}, "z": [0] * 2**21}))
    )
    words = ["migrate", "inspect", source, "--kind", "nexus"]
    code, _, err = run(*words)
    assert (code, "--max-expansion" in err) == (2, True)
    code, _, err = run(*words, "--max-expansion", 5_000, "--max-memory", "1M")
    assert (code, "--max-memory" in err) == (2, True)
    assert run(*words, "--max-expansion", 5_000, "--max-memory", "1G")[0] == 0


@pytest.mark.parametrize("size", ["", "0", "-1", "1.5G", "5GG", "G", "9X", "٣"])
def test_a_size_is_a_number_with_a_unit(samples: Path, run: Run, size: str) -> None:
    code, _, err = run("migrate", "inspect", samples / "nexus.pkl", "--max-memory", size)
    assert (code, "--max-memory" in err) == (2, True)
