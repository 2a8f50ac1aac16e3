"""One history on both engines gives the same dump; so does its export, ingested into the other engine."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import cast

import msgspec
import perdure
import pytest
from hypothesis import HealthCheck, given, settings
from perdure import CommitRequest, Committed, Context, Increment, hookimpl
from perdure.wrappers import Forward
from perdure_conformance import Target
from perdure_conformance.driver import Put, Step, Write
from perdure_conformance.dump import dump
from perdure_conformance.invariants import (
    check_copy,
    differential,
    differential_run,
    has_lost_history,
    same_dump,
)
from perdure_conformance.machines import run_history
from perdure_conformance.strategies import histories

_RUNS = itertools.count()
_FEW = settings(
    max_examples=max(10, settings().max_examples // 6),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@pytest.fixture
def urls(tmp_path: Path) -> tuple[str, str]:
    return f"memory://{tmp_path.name}", f"sqlite:///{tmp_path}/other.db"


@_FEW
@given(history=histories(20))
def test_one_history_gives_one_dump_on_all_engines(urls: tuple[str, str], history: list[Step]) -> None:
    namespace = f"run{next(_RUNS)}"
    with perdure.open(urls[0], namespace=namespace) as a, perdure.open(urls[1], namespace=namespace) as b:
        differential((a, b), history)


@pytest.mark.parametrize("forward", [True, False])
@_FEW
@given(history=histories(15))
def test_an_export_is_ingested_alike(urls: tuple[str, str], forward: bool, history: list[Step]) -> None:
    namespace = f"run{next(_RUNS)}"
    source, target = urls if forward else reversed(urls)
    with perdure.open(source, namespace=namespace) as a, perdure.open(target, namespace=namespace) as b:
        differential((a,), history)
        check_copy(a, b, history=not has_lost_history(history))


def test_dumps_tell_stores_apart() -> None:
    step = Write("main", (Put("memories", ({"id": "m1", "tier": 1},)),))
    other = Write("main", (Put("memories", ({"id": "m1", "tier": 2},)),))
    with perdure.open("memory://") as a, perdure.open("memory://") as b, perdure.open("memory://") as c:
        differential((a, b), [step])
        differential((c,), [other])
        with pytest.raises(AssertionError, match="branches/main/rows/memories/0/tier"):
            same_dump(dump(a), dump(c), "a and c")


class Forgetful(Forward):
    """Loses what is added to counters."""

    @hookimpl
    def commit(self, ctx: Context, request: CommitRequest) -> Committed:
        kept = [op for op in request.operations if not isinstance(op, Increment)]
        return cast(
            Committed, self.inner.commit(ctx=ctx, request=msgspec.structs.replace(request, operations=kept))
        )


def test_a_differential_run_finds_nothing_between_the_engines() -> None:
    assert differential_run(["memory", "sqlite"], runs=3, steps=6) is None


def test_a_differential_run_leaves_a_history_that_fails_again() -> None:
    found = differential_run(["memory", Target.of("memory", wrap=(Forgetful,))], runs=2, steps=2)
    assert found is not None
    assert "Increment(" in str(found)
    with perdure.open("memory://") as good:
        run_history(good, found.history)
    with perdure.open("memory://", wrap=[Forgetful]) as bad, pytest.raises(AssertionError):
        run_history(bad, found.history)


def test_a_differential_run_compares() -> None:
    with pytest.raises(ValueError, match="two backends"):
        differential_run(["memory"])
