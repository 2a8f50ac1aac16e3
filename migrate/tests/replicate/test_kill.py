"""A copy is killed, really, wherever it is; run again, it goes on and ends equal."""

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import perdure
import pytest
from perdure import Memory, Store
from perdure_conformance.dump import dump, same_dump
from perdure_migrate.replicate import Limits, copy, export_file, sync

Fill = Callable[..., Store]
Fresh = Callable[[str], str]

#: Copies in slices of two commits, and kills itself before the event of that number, or after the last.
PROGRAM = """
import itertools, os, signal, sys
from perdure_migrate.replicate import Limits, _run, _slices, copy

number, seen = int(sys.argv[3]), itertools.count(1)
real = _slices._Cutter.slice

def slice_(self):
    for event in real(self):
        if next(seen) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        yield event

_slices._Cutter.slice = slice_
copy(sys.argv[1], sys.argv[2], limits=Limits(commits=2))
os.kill(os.getpid(), signal.SIGKILL)
"""


def killed(source: str, target: str, at: int) -> None:
    """Copy in another process that dies at an event."""
    done = subprocess.run([sys.executable, "-c", PROGRAM, source, target, str(at)], check=False, timeout=120)
    assert done.returncode == -signal.SIGKILL


def same(store: Store, url: str) -> None:
    with perdure.open(url, mode="r") as other:
        same_dump(dump(store), dump(other), "the dumps")


@pytest.mark.parametrize("engine", ["sqlite", "lancedb"])
@pytest.mark.parametrize("at", [1, 7, 30, 41, 10_000])
def test_a_copy_that_was_killed_goes_on(engine: str, at: int, filled: Fill, fresh: Fresh) -> None:
    source, target = fresh("sqlite"), fresh(engine)
    store = filled(source)
    whole = len(list(store.log()))
    killed(source, target, at)
    (found,) = copy(source, target, limits=Limits(commits=2)).namespaces
    assert found.ok
    assert found.equal_commits > whole
    if at > 20:  # slices before that point are there already
        assert found.commits < found.equal_commits
    same(store, target)
    (again,) = copy(source, target).namespaces
    assert (again.commits, again.rows) == (0, 0)


def test_killed_again_and_again_it_still_ends(filled: Fill, fresh: Fresh) -> None:
    source, target = fresh("sqlite"), fresh("sqlite")
    store = filled(source)
    for at in range(12, 45, 8):
        killed(source, target, at)
    store.memories.put(Memory(id="meanwhile"))
    assert sync(source, target, full=True).ok
    same(store, target)


def test_an_import_that_was_killed_goes_on(filled: Fill, fresh: Fresh, tmp_path: Path) -> None:
    source, target, file = fresh("sqlite"), fresh("sqlite"), str(tmp_path / "x.perdure")
    store = filled(source)
    export_file(source, file)
    killed(file, target, 40)
    (found,) = copy(file, target).namespaces
    assert found.ok
    assert 0 < found.commits < found.equal_commits
    same(store, target)
