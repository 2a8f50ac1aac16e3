"""The read-only wrapper: a complete small wrapper, on any engine."""

import perdure
import pytest
from perdure import InvalidInput, InvalidURL, Memory, PermissionDenied, Space
from perdure.wrappers.readonly import wrap


@pytest.fixture
def url() -> str:
    name = f"memory://readonly-{perdure.uuid7()}"
    with perdure.open(name) as store:
        store.memories.put(Memory(id="m", text="kept"))
    return name


def test_it_reads_and_refuses_every_change(url: str) -> None:
    with perdure.open(url, wrap=["readonly"]) as store:
        assert store.memories["m"].text == "kept"
        assert store.memories.count() == 1
        changes = [
            lambda: store.memories.put(Memory(id="n")),
            lambda: store.memories.delete("m"),
            lambda: store.memories.touch("m"),
            lambda: store.memories.purge("m"),
            lambda: store.branch("b"),
            lambda: store.branches.delete("b"),
            lambda: store.checkpoints.create("c"),
            lambda: store.checkpoints.delete("c"),
            lambda: store.spaces.create("s", 2),
            lambda: store.spaces.drop("s"),
            lambda: store.ingest([Space("s", 2)]),
            lambda: store.compact(),
            lambda: store.namespaces.drop("x"),
        ]
        for change in changes:
            with pytest.raises(PermissionDenied, match="readonly wrapper"):
                change()
        assert store.memories.count() == 1


def test_it_says_why(url: str) -> None:
    with perdure.open(url, wrap=[("readonly", {"reason": "an audit is running"})]) as store:
        with pytest.raises(PermissionDenied, match="an audit is running"):
            store.memories.delete("m")


def test_unknown_options_and_wrappers_are_refused(url: str) -> None:
    with pytest.raises(InvalidInput, match="'reason'"):
        wrap(object(), {"raeson": "typo"})
    with pytest.raises(InvalidURL, match="no wrapper 'nosuch'"):
        perdure.open(url, wrap=["nosuch"])


def test_wrappers_compose(url: str) -> None:
    with perdure.open(url, wrap=["readonly", lambda inner: wrap(inner, {"reason": "outer"})]) as store:
        with pytest.raises(PermissionDenied, match="outer"):
            store.memories.delete("m")
