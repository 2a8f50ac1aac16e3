"""The AURA mapping: a directory of snapshots, and checkpoints."""

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import perdure
import pytest
from perdure import Conflict, InvalidInput, InvalidRecord
from perdure.values import equal
from perdure_migrate import migrate

Write = Callable[..., Path]


def checkpoint(name: Any = "cp", **states: Any) -> Any:
    """What a checkpoint file holds: dicts with the fields of the snapshots."""
    return {
        "checkpoint_id": name,
        "timestamp": 1767400001.0,
        "states": {f"component_state_{key}": vars(state) for key, state in states.items()},
    }


def test_the_sample_arrives_equal(samples: Path, url: str, legacy: Callable[[], Any]) -> None:
    folder = samples / "aura_state"
    report = migrate(folder, url)
    assert report.ok
    assert (report.equal, report.checkpoints) == ({"states": 24}, ["checkpoint_1767400000"])
    assert not report.notes
    with legacy(), perdure.open(url) as store:
        files = sorted(folder.glob("*.pkl"))
        assert [state.id for state in store.states.find(order_by="id")] == [file.stem for file in files]
        for file in files:
            source = vars(pickle.loads(file.read_bytes()))
            state = store.states[source["state_type"].value, file.stem]
            assert equal(state.data, source.pop("data"))
            assert state.created_at is not None
            assert state.created_at.timestamp() == state.updated_at.timestamp() == source["timestamp"]
            assert state.metrics.pop("legacy")["class"].endswith(".StateSnapshot")
            assert state.metrics.pop("state_type").args == (source.pop("state_type").value,)
            assert equal(state.metrics, source)
        at = store.at("checkpoint_1767400000")
        assert at.states.count() == 24
        metrics = store.checkpoints.metrics("checkpoint_1767400000")
        assert metrics["timestamp"] == 1767400000.0
        assert metrics["legacy"]["file"] == "checkpoint_1767400000.checkpoint"
        assert [branch.name for branch in store.branches.list()] == ["main"]  # it names the commit itself


def test_a_checkpoint_of_other_states_has_a_branch(write: Write, tmp_path: Path, url: str) -> None:
    for name in ("one", "two"):
        write(lambda old, name=name: old.snapshot(name, n=2), f"aura/component_state_{name}.pkl")
    write(
        lambda old: checkpoint(one=old.snapshot("one", n=1), gone=old.snapshot("gone")),
        "aura/checkpoint_1.checkpoint",
    )
    report = migrate(tmp_path / "aura", url)
    assert report.ok
    with perdure.open(url) as store:
        assert {state.id: state.data for state in store.states.find()} == {
            "component_state_one": {"n": 2}, "component_state_two": {"n": 2},
        }  # fmt: skip
        assert {state.id: state.data for state in store.at("cp").states.find()} == {
            "component_state_one": {"n": 1}, "component_state_gone": {},
        }  # fmt: skip
        assert "checkpoint/cp" in {branch.name for branch in store.branches.list()}
        commits = store.stats().commits
    again = migrate(tmp_path / "aura", url)
    assert again.ok
    with perdure.open(url) as store:
        assert store.stats().commits == commits


def test_several_checkpoints_of_one_name(write: Write, tmp_path: Path, url: str) -> None:
    write(lambda old: old.snapshot("one"), "aura/component_state_one.pkl")
    for number in range(3):
        make = lambda old, n=number: checkpoint(one=old.snapshot("one", n=n))  # noqa: E731
        write(make, f"aura/checkpoint_{number}.checkpoint")
    report = migrate(tmp_path / "aura", url)
    assert report.ok
    assert len(set(report.checkpoints)) == 3
    assert migrate(tmp_path / "aura", url).checkpoints == report.checkpoints
    with perdure.open(url) as store:
        held = [store.at(name).states.find()[0].data for name in report.checkpoints]
        assert held == [{"n": 0}, {"n": 1}, {"n": 2}]


def test_a_checkpoint_whose_name_cannot_be_one(write: Write, tmp_path: Path, url: str) -> None:
    write(lambda old: checkpoint("näme with spaces", one=old.snapshot("one")), "aura/a.checkpoint")
    report = migrate(tmp_path / "aura", url)
    assert report.ok
    (name,) = report.checkpoints
    with perdure.open(url) as store:
        assert store.checkpoints.metrics(name)["checkpoint_id"] == "näme with spaces"
        assert store.states.count() == 1


def test_single_files(write: Write, url: str) -> None:
    assert migrate(write(lambda old: old.snapshot("solo", x=1), "component_state_solo.pkl"), url).ok
    cp = write(lambda old: checkpoint(other=old.snapshot("other")), "c.checkpoint")
    assert migrate(cp, url).ok
    with perdure.open(url) as store:
        assert {state.id for state in store.states.find()} == {
            "component_state_solo",
            "component_state_other",
        }


def test_other_files_are_kept_whole_and_links_are_not_followed(
    write: Write, tmp_path: Path, url: str
) -> None:
    folder = write(lambda old: old.snapshot("one"), "aura/component_state_one.pkl").parent
    write(lambda old: {"some": "thing"}, "aura/other.pkl")
    (folder / "notes.txt").write_bytes(b"\x00\xffnotes")
    secret = tmp_path / "secret.pkl"
    secret.write_bytes(b"secret")
    (folder / "link.pkl").symlink_to(secret)
    (folder / "inner").mkdir()
    os.mkfifo(folder / "pipe.pkl")
    report = migrate(folder, url)
    assert not report.ok  # three things were not read
    assert not report.mismatches
    left_out = {note.where for note in report.notes if note.kind == "left out"}
    assert left_out == {"'link.pkl'", "'inner'", "'pipe.pkl'"}
    with perdure.open(url) as store:
        assert store.states["legacy.unmapped", "notes.txt"].payload == b"\x00\xffnotes"
        assert store.states["legacy.unmapped", "other.pkl"].data == {"some": "thing"}
        assert store.states.count() == 3


def test_odd_snapshots(write: Write, tmp_path: Path, url: str) -> None:
    def odd(**fields: Any) -> Callable[[Any], Any]:
        return lambda old: old.StateSnapshot(**{**vars(old.snapshot("x")), **fields})

    folder = write(odd(timestamp=float("nan")), "aura/nan.pkl").parent
    write(odd(timestamp=1e300), "aura/far.pkl")
    write(odd(state_type=17), "aura/type.pkl")
    write(odd(state_type="plain text", legacy=1, data=None), "aura/plain.pkl")
    (folder / os.fsdecode(b"b\xff.pkl")).write_bytes((folder / "nan.pkl").read_bytes())
    report = migrate(folder, url)
    assert report.ok
    json.dumps(report.document()).encode()  # no lone surrogate gets through
    with perdure.open(url) as store:
        assert store.states["aura", "type"].metrics["state_type"] == 17
        plain = store.states["plain text", "plain"]
        assert plain.metrics["legacy"]["fields"]["legacy"] == 1
        assert "data" in plain.metrics["legacy"]["fields"]
        assert equal(store.states["component_state", "nan"].metrics["timestamp"], float("nan"))
        (bad,) = [state for state in store.states.find() if state.id.startswith("legacy-")]
        assert bad.metrics["legacy"]["name"] == "b\udcff"


def test_one_truncated_file_stops_all(samples: Path, tmp_path: Path) -> None:
    path = samples / "aura_state" / "memory_tier_agent_012.pkl"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(InvalidRecord, match=r"memory_tier_agent_012\.pkl"):
        migrate(samples / "aura_state", f"sqlite:///{tmp_path / 'new.db'}")
    assert not (tmp_path / "new.db").exists()


def test_directories_of_something_else_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    with pytest.raises(InvalidInput, match="no source recognises 'empty'"):
        migrate(folder, "memory://")
    (folder / "a.pkl").write_bytes(pickle.dumps([1]))
    with pytest.raises(InvalidInput, match=r"aura 0\.20"):
        migrate(folder, "memory://")


def test_a_name_that_is_taken_is_a_conflict(samples: Path, url: str) -> None:
    with perdure.open(url) as store:
        store.branches.create("checkpoint_1767400000")
    with pytest.raises(Conflict, match="checkpoint_1767400000"):
        migrate(samples / "aura_state", url)
    with perdure.open(url) as store:
        assert store.states.count() == 0
