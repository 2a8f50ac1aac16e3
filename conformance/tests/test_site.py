"""Where the stores of a run are: the run leaves nothing behind, and harms nothing that was there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import perdure
import pytest
from perdure import Context, Memory, PluginError, StorageError, hookimpl
from perdure.wrappers import Forward
from perdure_conformance import Runner, Site, Status, Target, judge
from perdure_conformance._judge import by_id

MAIN = "branches.main_is_there_and_stays"

#: A check that counts rows.
COUNTS = "conditions.references_to_absent_rows_are_allowed"


class Panic(BaseException):
    """What a driver raises that is no `Exception`."""


class Panics(Forward):
    """Panics where rows are counted."""

    @hookimpl
    def count(self, ctx: Context, table: str, where: Any, at: Any) -> int:
        raise Panic("the driver gave up")


class DoesNotClose(Forward):
    """Fails where a handle is closed."""

    @hookimpl
    def close(self, ctx: Context) -> bool:
        super().close(ctx=ctx)
        raise RuntimeError("it does not close")


class DropsNothing(Forward):
    """Fails where a namespace is dropped."""

    @hookimpl
    def drop_namespace(self, ctx: Context, name: str) -> bool:
        raise StorageError("it cannot be dropped")


@pytest.mark.parametrize("mine", [("mine",), ("default", "mine")])
def test_a_place_that_stays_keeps_what_was_there_and_nothing_else(
    tmp_path: Path, mine: tuple[str, ...]
) -> None:
    url = f"sqlite:///{tmp_path}/agent.db"
    for name in mine:
        with perdure.open(url, namespace=name) as store:
            store.memories.put(Memory(id="a"))
    made = judge(url, only=["namespaces.", "threads_seeing.", MAIN], seed=1)
    assert (made.counts.failed, made.counts.passed > 5) == (0, True)
    with perdure.open(url, namespace="mine", mode="r") as store:
        assert tuple(store.namespaces.list()) == mine
        assert store.memories.count() == 1


def test_what_cannot_be_removed_is_told_and_costs_no_result() -> None:
    target = Target.of("memory", url="memory://stays", wrap=(DropsNothing,))
    with pytest.warns(UserWarning, match="may be left at memory://stays"):
        made = judge(target, only=[MAIN])
    assert made.counts.passed == 1


@pytest.mark.parametrize(
    ("broken", "got"),
    [(Panics, "Panic: the driver gave up"), (DoesNotClose, "RuntimeError: it does not close")],
)
def test_a_backend_that_fails_in_any_way_fails_its_checks_and_no_more(broken: Any, got: str) -> None:
    with Site(Target.of("memory", wrap=(broken,))) as site:
        result = Runner(site, total=1.0).run_one(by_id(COUNTS))
    assert (result.status, result.got) == (Status.FAILED, got)


@pytest.mark.parametrize("what", [object(), "os:getcwd", "os:nothing", "json:loads"])
def test_what_is_no_plugin_is_told(what: Any) -> None:
    with pytest.raises(PluginError):
        Target.of(what)


def test_what_a_plugin_says_of_itself_is_looked_at() -> None:
    class Dumb:
        def describe(self) -> Any:
            return {"name": "dumb"}

    with pytest.raises(PluginError, match="returns dict, not a Description"):
        Target.of(Dumb())


def test_a_version_that_is_none_is_told() -> None:
    class Odd:
        def describe(self) -> Any:
            return msgspec.structs.replace(perdure.describe_backend("memory"), spec_version="new")

    with pytest.raises(PluginError, match="write it like 1.0"):
        Target.of(Odd()).describe()
