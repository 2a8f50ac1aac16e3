"""Golden stores: what an earlier version wrote opens for ever, and reads as it did then."""

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import perdure
import pytest
from perdure import Change, ChangeBatch, Commit, F, Memory
from perdure.kit import rows_of

DATA = Path(__file__).parent / "data"
FORMATS = sorted(path.stem for path in DATA.glob("golden-*.db"))


@pytest.fixture(params=FORMATS)
def copy(request, path) -> tuple[str, Any]:
    """A copy of a golden store, and what it reads as."""
    shutil.copy(DATA / f"{request.param}.db", path)
    return f"sqlite:///{path}", json.loads((DATA / f"{request.param}.json").read_text())


@pytest.mark.parametrize("mode", ["r", "rw"])
def test_a_golden_store_reads_as_it_did(copy, mode, golden):
    url, expected = copy
    with perdure.open(url, namespace="golden", mode=mode) as store:
        found = golden["dump"](store)
        for place, tables in expected["places"].items():  # piece by piece, so that a difference is named
            for what, rows in tables.items():
                assert found["places"][place][what] == rows, (place, what)
        assert found == expected
        report = store.verify()
        assert report.ok
        assert {problem.code for problem in report.problems} == {"dangling"}


def test_a_golden_store_goes_on(copy, golden):
    url, expected = copy
    with perdure.open(url, namespace="golden") as store:
        store.branch("lab").memories.put(Memory(id="new", text="written now"))
        store.merge("lab", strategy="field")
        assert store.memories["new"].text == "written now"
        before = golden["dump"](store)["places"]
        assert store.ingest(store.export()).commits == 0
        store.compact()
        assert golden["dump"](store)["places"] == before
        assert store.verify().ok
    assert before["release/1"] == expected["places"]["release/1"]


def test_what_was_purged_does_not_come_back(copy):
    url, _ = copy
    with perdure.open(url, namespace="golden") as store:
        (branch,) = [branch for branch in store.branches.list() if branch.name == "main"]
        row = next(rows_of(store.memories.to_arrow(F.id == "m00").to_batches()[0]))
        head = branch.head
        commit = Commit("old", branch.id, head.seq + 1, head.time, parents=(str(head.commit),))
        changes = [Change("memories", (id_,), (id_, *row[1:-2], 0, 0)) for id_ in ("fresh", "secret")]
        report = store.ingest([branch, ChangeBatch(commit, tuple(changes))])
        assert (report.rows, report.purged) == (1, 1)
        assert "secret" not in store.memories
        assert "fresh" in store.memories
        assert store.verify().ok


def test_the_golden_files_name_no_machine():
    here = [str(part).encode() for part in (Path.home(), DATA.parents[3], Path(tempfile.gettempdir()))]
    for path in DATA.glob("golden-*"):
        assert not [part for part in here if len(part) > 3 and part in path.read_bytes()]


def test_the_newest_golden_store_is_what_this_version_writes(path, golden):
    """Whoever changes the format makes a new golden store, and keeps the old one."""
    with golden["counted"]():
        golden["build"](f"sqlite:///{path}")
    newest = max(FORMATS, key=lambda name: int(name.partition("-")[2]))
    with perdure.open(f"sqlite:///{path}", namespace="golden") as store:
        assert json.loads(json.dumps(golden["dump"](store))) == json.loads(
            (DATA / f"{newest}.json").read_text()
        )
