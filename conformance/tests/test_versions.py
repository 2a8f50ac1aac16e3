"""A backend is judged by the version of the specification that it declares; what came later is a preview."""

from __future__ import annotations

from typing import Any

import msgspec
import perdure_memory
import pytest
from perdure import Description
from perdure_conformance import Specification, Status, judge
from perdure_conformance import _judge as judging
from perdure_conformance._spec import Clause, clauses_of, newer


class Older(perdure_memory.MemoryPlugin):
    """A backend of a version before the first."""

    def describe(self) -> Description:
        return msgspec.structs.replace(super().describe(), spec_version="0.9")


def test_newer_clauses_run_as_a_preview_and_grant_nothing() -> None:
    report = judge(Older(), only=["branches.main_is_there_and_stays"], seed=1)
    (entry,) = [entry for entry in report.entries if entry.status is not Status.NOT_RUN]
    assert (entry.status, entry.reason) == (Status.PREVIEW, "passed, as a preview")
    assert report.granted == ()


def test_a_clause_that_has_ended_binds_older_backends_only(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = Specification.load()
    ended: dict[str, Any] = {**spec, "BR-001": Clause("BR-001", "main MUST stay", until="0.9")}
    monkeypatch.setattr(judging.Specification, "load", lambda: Specification(ended))
    name = "branches.main_is_there_and_stays"
    older, now = Older().describe(), perdure_memory.plugin.describe()
    assert name in {check.id for check in judging.bound(older)}
    assert name not in {check.id for check in judging.bound(now)}


def test_versions_stand_in_the_text_of_a_clause() -> None:
    text = "- **BR-090** It MUST (since 1.2).\n- **BR-091** It MUST NOT (until 1.10).\n- **BR-092** It MAY.\n"
    assert [(c.since, c.until, c.must) for c in clauses_of(text)] == [
        ("1.2", None, True),
        ("1.0", "1.10", True),
        ("1.0", None, False),
    ]
    assert newer("1.10", "1.9")
