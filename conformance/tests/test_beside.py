"""Most examples run in another process, beside the checks that are timed."""

from __future__ import annotations

from pathlib import Path

import pytest
from perdure_conformance import Status, Target, judge
from perdure_conformance._beside import WORTH, goes_beside
from perdure_conformance.clauses import CHECKS

#: Parts of the suite that are examples alone, and enough of them.
ONLY = ("merge_rows", "merge_strategies", "merges", "picks", "what_if", "ancestry")

#: In the other process, dies when its 20th store is opened.
DYING = """
import multiprocessing, os, signal
import perdure_memory

class Plugin(perdure_memory.MemoryPlugin):
    opened = 0

    def open(self, url, namespace, mode):
        self.opened += 1
        if self.opened == 20 and multiprocessing.parent_process() is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().open(url, namespace, mode)
"""


def test_what_can_go_beside() -> None:
    found = goes_beside(Target("memory://{unique}"), CHECKS)
    assert len(found) > WORTH
    assert {check.kind for check in found} == {"example"}
    assert goes_beside(Target("memory://here"), CHECKS) == []  # one place, which two would share
    assert goes_beside(Target("memory://{unique}", plugin=object()), CHECKS) == []
    assert goes_beside(Target("memory://{unique}"), found[: WORTH - 1]) == []


def test_each_check_has_one_result() -> None:
    seen: list[str] = []
    report = judge("memory://", only=ONLY, seed=1, on_result=lambda result: seen.append(result.check.id))
    assert len(seen) == len(set(seen)) == report.counts.ran > WORTH
    assert report.good


def test_where_the_process_dies_its_check_has_failed_and_the_others_are_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dying.py").write_text(DYING, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    report = judge("dying:Plugin", only=ONLY, seed=1)
    (failure,) = report.failures
    assert failure.what == "the process of the check"
    assert report.counts.passed == report.counts.ran - 1 > WORTH
    assert report.counts.not_run == report.counts.declared - report.counts.ran
    assert all(entry.status is not Status.SKIPPED for entry in report.entries)
