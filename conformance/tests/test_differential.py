"""One history on both engines gives the same dump; so does its export, ingested into the other engine."""

from __future__ import annotations

import itertools
from pathlib import Path

import perdure
import pytest
from hypothesis import HealthCheck, given, settings
from perdure_conformance.driver import Put, Step, Write
from perdure_conformance.dump import dump
from perdure_conformance.invariants import check_copy, differential, has_lost_history, same_dump
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
