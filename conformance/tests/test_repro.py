"""Programs that show failures: they fail where the backend does, pass where it does not, and need no suite."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from perdure_conformance import Check, Result, Runner, Site, Status, Target, judge
from perdure_conformance.driver import (
    Copy,
    Delete,
    Elsewhere,
    Find,
    Merge,
    Place,
    Put,
    Reopen,
    Scene,
    Second,
    Update,
    Write,
)
from perdure_conformance.repro import attach, file_name
from perdure_conformance.strategies._histories import SETUP

PART = "branches.a_fork_and_its_parent_do_not_see_each_other"

#: Somebody's wrappers, as a module that programs can import.
WRAPPERS = '''
from perdure import hookimpl
from perdure.wrappers import Forward

class Leaky(Forward):
    """Reads the head of main, whatever branch is asked for."""

    @hookimpl
    def resolve(self, ctx, ref):
        return self.inner.resolve(ctx=ctx, ref=type(ref)("main") if ref.name == "lab" else ref)

class Empty(Forward):
    """Finds nothing."""

    @hookimpl
    def fetch(self, ctx, table, keys, at):
        return [None for key in keys]

class Shy(Forward):
    """Hides one row."""

    @hookimpl
    def select(self, ctx, query, at):
        return (row for row in self.inner.select(ctx=ctx, query=query, at=at) if "late" not in row)

class Counts(Forward):
    """Counts one too many."""

    @hookimpl
    def count(self, ctx, table, where, at):
        return self.inner.count(ctx=ctx, table=table, where=where, at=at) + 1

class Breaks(Forward):
    """Has a bug."""

    @hookimpl
    def commit(self, ctx, request):
        return request.no_such_attribute
'''

#: Somebody's checks. `ids` and `time` mean other things elsewhere; a local `LIMIT` hides a global one.
CHECKS = '''
from __future__ import annotations

import time as clock
from datetime import datetime, time

import numpy as np
from hypothesis import strategies as st
from perdure import F, Memory
from perdure.filters import Filter

from other_checks import ids as other_ids
from perdure_conformance import Case, check
from perdure_conformance import expect
from perdure_conformance.expect import equal, unchanged

LIMIT, ODD = 3, {"time": time(1, 2), "text": """a\\'\\"\\\\\\n"""}

def ids(store: object) -> list[str]:
    return [memory.id for memory in store.memories.find(limit=LIMIT)]

@check("DM-001", "BR-005")
def what_is_put_is_there(case: Case) -> None:
    """What is put can be read. """
    LIMIT = "hidden"
    store = case.store()
    with unchanged(store):
        pass
    store.memories.put([Memory(id="a", content=ODD), Memory(id="b")])
    expect.holds(clock.time() > 0 and datetime(2026, 1, 1) and LIMIT, "the time runs")
    equal(other_ids(store), 2, "the number of rows")
    equal([store.memories.get(key) is not None for key in ids(store)], [True, True], "the rows that are read")

def both(case: Case, records: list[Memory], where: Filter, numbers: np.ndarray) -> None:
    with case.new_store() as store:
        store.memories.put(records)
        expect.equal(numbers.sum(), numbers.sum(), "numbers")
        for record in records:
            found = store.memories.get(record.id)
            expect.holds(found is not None, "a record is there", record.id)

@check("DM-001", kind="property", weight=1.0)
def any_is_there(case: Case) -> None:
    """Any record can be read."""
    ids = st.sampled_from(["x", "y"])
    content = st.sampled_from([float("nan"), {1: (2,)}, b"b", None])
    records = st.lists(st.builds(Memory, id=ids, content=content), min_size=1, max_size=2, unique_by=lambda m: m.id)
    filters = st.sampled_from([(F.kind == "a") & ~(F.content["n"] > 3), F.id.is_in(["\\ud800"])])
    case.given(both, records, filters, st.just(np.array([1.5, 2.5])))

@check("BR-005", kind="race", weight=1.0)
def a_race(case: Case) -> None:
    """Nobody knows who is first."""
    case.note("7 of 9 runs failed")
    expect.holds(False, "it is in order")

COUNT = []

@check("BR-005")
def once(case: Case) -> None:
    """Fails in the first process only."""
    import sys
    expect.holds("perdure_conformance" not in sys.modules or not sys.modules["perdure_conformance"], "it is fair")
'''

OTHER = """
def ids(store):
    return store.memories.count()
"""

Fails = Callable[..., Result]


@pytest.fixture(autouse=True)
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in {"wrappers": WRAPPERS, "checks": CHECKS, "other_checks": OTHER}.items():
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
        sys.modules.pop(name, None)
    monkeypatch.syspath_prepend(str(tmp_path))


def wrapped(name: str, backend: str = "memory") -> Target:
    import wrappers  # type: ignore[import-not-found]

    return Target.of(backend, wrap=(getattr(wrappers, name),))


def failing(name: str, target: Target) -> Result:
    """The failure of one of somebody's checks, with its program."""
    import checks  # type: ignore[import-not-found]

    check: Check = getattr(checks, name)
    with Site(target) as site:
        result = Runner(site, seed=3, total=20.0).run_one(check)
    assert result.status is Status.FAILED
    attach(result, target)
    return result


def run(text: str, folder: Path, *words: str) -> tuple[int, str]:
    """Run a program in a process that has no suite."""
    path = folder / "repro.py"
    path.write_text(text, encoding="utf-8")
    block = "import runpy, sys; sys.modules['perdure_conformance'] = sys.modules['pytest'] = None; "
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"{block}runpy.run_path(sys.argv.pop(1), run_name='__main__')",
            str(path),
            *words,
        ],
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("backend", ["memory", "sqlite"])
def test_a_failure_of_the_suite_has_a_program_that_fails_by_itself(backend: str, tmp_path: Path) -> None:
    report = judge(wrapped("Leaky", backend), only=[PART], seed=1, repro=True)
    (entry,) = report.failures
    assert (entry.repro_note, "BR-005: A commit on the parent" in entry.repro) == ("", True)
    assert "perdure_conformance" not in entry.repro
    code, told = run(entry.repro, tmp_path)
    assert (code, f"what: {entry.what}" in told, f"got: {entry.got}" in told) == (1, True, True)
    code, told = run(entry.repro, tmp_path, "--plain")
    assert (code, told) == (0, "this failure is not there\n")
    code, _ = run(entry.repro, tmp_path, f"sqlite:///{tmp_path}/other-{{unique}}.db")
    assert code == 1


def test_a_program_passes_once_the_backend_is_mended(tmp_path: Path) -> None:
    (entry,) = judge(wrapped("Leaky"), only=[PART], seed=1, repro=True).failures
    mended = WRAPPERS.replace('type(ref)("main") if ref.name == "lab" else ref', "ref")
    (tmp_path / "wrappers.py").write_text(mended, encoding="utf-8")
    assert run(entry.repro, tmp_path)[0] == 0


def test_helpers_constants_and_other_names_are_copied(tmp_path: Path) -> None:
    result = failing("what_is_put_is_there", wrapped("Empty"))
    assert result.repro_note == ""
    code, told = run(result.repro, tmp_path)
    assert (code, "what: the rows that are read" in told) == (1, True), told
    assert run(result.repro, tmp_path, "--plain")[0] == 0


def test_a_random_example_is_written_into_the_program(tmp_path: Path) -> None:
    result = failing("any_is_there", wrapped("Empty"))
    assert "Memory(id='x'" in result.repro
    assert "np.array" in result.repro or "np.frombuffer" in result.repro
    assert "hypothesis" not in result.repro
    code, told = run(result.repro, tmp_path)
    assert (code, "what: a record is there" in told) == (1, True), told
    assert run(result.repro, tmp_path, "--plain")[0] == 0


def test_an_error_that_was_not_expected_is_shown_too(tmp_path: Path) -> None:
    (entry,) = judge(wrapped("Breaks"), only=[PART], seed=1, repro=True).failures
    code, told = run(entry.repro, tmp_path)
    assert (code, "no_such_attribute" in told) == (1, True)


def test_an_error_of_the_program_itself_is_no_failure(tmp_path: Path) -> None:
    (entry,) = judge(wrapped("Leaky"), only=[PART], seed=1, repro=True).failures
    broken = entry.repro.replace("case.store()", "case.no_such_method()")
    code, told = run(broken, tmp_path)
    assert (code, "no_such_method" in told) == (2, True)


HISTORY: tuple[Scene, ...] = (
    *SETUP,
    Merge(Place("a"), "main"),
    Second(Write("b", (Update("memories", ("none",), {"tier": 1}),))),
    Write("b", (Delete("memories", (("none",),), missing_ok=False), Put("memories", ({"id": "m9"},)))),
    Reopen(True),
    Find(Place("a"), "memories"),
    Elsewhere(Write("main", (Put("memories", ({"id": "m1"},)),))),
    Copy(),
    Write("a", (Put("memories", ({"id": "late", "tags": ["x"]},)),)),
)


def test_a_history_becomes_its_calls_and_the_rows_that_should_be_there(tmp_path: Path) -> None:
    check = Check("made_up", "walk", ("BR-005",), "core", frozenset(), "history", 1.0, "", lambda case: None)
    target = wrapped("Shy", "sqlite")
    result = Result(check, Status.FAILED, what="a history", expected="a", got="b", example=(HISTORY,))
    attach(result, target)
    assert ".merge('a', into='main'" in result.repro
    assert "with suppress(NotFound):" in result.repro
    assert "Scene" not in result.repro
    code, told = run(result.repro, tmp_path)
    assert (code, "what: all rows at a\n" in told) == (1, True), told
    code, told = run(result.repro, tmp_path, "--plain")
    assert (code, told) == (0, "this failure is not there\n")


def test_a_history_that_fails_otherwise_is_played_again(tmp_path: Path) -> None:
    check = Check("made_up", "walk", ("BR-005",), "core", frozenset(), "history", 1.0, "", lambda case: None)
    result = Result(check, Status.FAILED, what="a history", expected="a", got="b", example=(HISTORY,))
    attach(result, wrapped("Counts"))
    assert "def play(" in result.repro
    assert run(result.repro, tmp_path)[0] == 1
    assert run(result.repro, tmp_path, "--plain")[0] == 0


def test_what_no_program_can_show_is_said() -> None:
    race = failing("a_race", Target.of("memory"))
    assert (race.repro, "order of things" in race.repro_note, race.notes) == (
        "",
        True,
        ["7 of 9 runs failed"],
    )
    fleeting = failing("once", Target.of("memory"))
    assert (fleeting.repro, "it did not fail" in fleeting.repro_note) == ("", True)
    import wrappers
    from perdure_memory import plugin

    unnamed: Any = Target.of(plugin, wrap=(wrappers.Empty,))
    assert "given as an object" in failing("what_is_put_is_there", unnamed).repro_note
    inner: Any = Target.of("memory", wrap=(lambda backend: wrappers.Empty(backend),))
    assert "no function or class of a module" in failing("what_is_put_is_there", inner).repro_note


def test_a_program_does_not_tell_where_somebodys_stores_are(tmp_path: Path) -> None:
    target = Target(f"sqlite:///{tmp_path}/s-{{unique}}.db", None, wrapped("Leaky").wrap)
    (entry,) = judge(target, only=[PART], seed=1, repro=True).failures
    assert entry.repro
    assert str(tmp_path) not in entry.repro
    code, told = run(entry.repro, tmp_path)
    assert (code, "give the URL" in told) == (2, True)
    assert run(entry.repro, tmp_path, "memory://{unique}")[0] == 1


def test_programs_have_names_of_their_own() -> None:
    taken: set[str] = set()
    assert [file_name("BR-005", taken) for _ in range(2)] == ["repro_BR-005.py", "repro_BR-005_2.py"]
    assert file_name("BR-006", taken) == "repro_BR-006.py"
