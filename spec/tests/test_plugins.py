"""Backends are found by name, checked against the hookspecs, and composed with wrappers."""

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import perdure
import perdure_memory
import pytest
from perdure import InvalidURL, Memory, PersistenceBackend, PluginError, hook_names, hookimpl
from perdure._plugins import check, manager
from perdure.wrappers import Forward


def distribution(folder: Path, name: str, group: str, entry: str, module: str = "", body: str = "") -> None:
    """A distribution as pip would install it: metadata with one entry point, and perhaps a module."""
    info = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{group}]\n{entry}\n")
    if module:
        (folder / f"{module}.py").write_text(body)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in [
        n for n, m in sys.modules.items() if str(getattr(m, "__file__", "")).startswith(str(tmp_path))
    ]:
        del sys.modules[name]


def test_a_scheme_that_nobody_declares_says_what_to_install() -> None:
    """HK-023."""
    with pytest.raises(InvalidURL, match="pip install perdure-nosuch"):
        perdure.open("nosuch://x")


@pytest.mark.parametrize("url", ["", "agent.db", "sqlite:agent.db", 5, None])
def test_what_is_no_url(url: Any) -> None:
    with pytest.raises(InvalidURL, match="sqlite:///agent.db"):
        perdure.open(url)


def test_two_distributions_of_one_scheme_are_an_error_that_names_both(site: Path) -> None:
    """HK-022."""
    distribution(site, "first-engine", "perdure.backends", "twice = a:plugin")
    distribution(site, "second-engine", "perdure.backends", "twice = b:plugin")
    with pytest.raises(PluginError, match="first-engine and second-engine"):
        perdure.open("twice://x")


def test_a_plugin_object_needs_no_entry_point() -> None:
    plugin = perdure_memory.MemoryPlugin()
    with perdure.open("memory://mine", plugin=plugin) as store:
        store.memories.put(Memory(id="m1"))
        with perdure.open("memory://mine", plugin=plugin) as other:
            assert [memory.id for memory in other.memories.scan()] == ["m1"]
    with perdure.open("memory://mine") as installed:  # another object, and other stores
        assert installed.memories.count() == 0


def test_what_is_no_plugin_is_refused() -> None:
    with pytest.raises(PluginError, match=r"it needs describe\(\) and open\(\)"):
        perdure.open("memory://", plugin=object())  # type: ignore[arg-type]


def test_hooks_can_be_had_without_a_store() -> None:
    ctx = perdure.Context(principal="me")
    hooks = perdure.open_hooks("memory://", namespace="n", wrap=[Forward])
    assert [branch.name for branch in hooks.list_branches(ctx=ctx)] == ["main"]
    assert hooks.close(ctx=ctx)
    with pytest.raises(perdure.InvalidRef):
        perdure.open_hooks("memory://", namespace="no name")


def test_a_backend_says_what_it_is_without_a_store() -> None:
    assert perdure.describe_backend("memory").name == "memory"
    with pytest.raises(InvalidURL, match="pip install perdure-nosuch"):
        perdure.describe_backend("nosuch")


def test_a_plugin_that_fails_to_load_names_its_distribution(site: Path) -> None:
    distribution(
        site, "broken-engine", "perdure.backends", "broken = brokenmodule:plugin", "brokenmodule", "1/0"
    )
    with pytest.raises(PluginError, match=r"broken-engine fails to load: ZeroDivisionError"):
        perdure.open("broken://x")
    assert isinstance(perdure.describe_backends()["broken"], PluginError)
    assert not isinstance(perdure.describe_backends()["memory"], PluginError)


def test_the_plugin_of_a_url_is_found_without_opening_a_store() -> None:
    assert perdure.find_backend("memory://") is perdure_memory.plugin
    with pytest.raises(InvalidURL, match="pip install perdure-nosuch"):
        perdure.find_backend("nosuch://x")
    with pytest.raises(InvalidURL, match="no store URL"):
        perdure.find_backend("memory")


def test_a_backend_of_a_stranger_needs_an_entry_point_and_nothing_else(site: Path) -> None:
    body = """
import perdure_memory

class Plugin:
    describe = perdure_memory.plugin.describe

    def open(self, url, namespace, mode):
        return perdure_memory.plugin.open("memory://", namespace, mode)

plugin = Plugin()
"""
    distribution(
        site, "strange-engine", "perdure.backends", "strange = strangemodule:plugin", "strangemodule", body
    )
    with perdure.open("strange://") as store:
        store.memories.put(Memory(id="m"))
        assert "m" in store.memories


def test_every_hook_is_documented_and_typed() -> None:
    for name in hook_names():
        hook = getattr(PersistenceBackend, name)
        assert inspect.getdoc(hook), name
        signature = inspect.signature(hook)
        assert list(signature.parameters)[:2] == ["self", "ctx"], name
        assert signature.return_annotation not in (inspect.Signature.empty, "None"), name


def test_the_forward_wrapper_has_every_hook_with_its_exact_signature() -> None:
    for name in hook_names():
        assert inspect.signature(getattr(Forward, name)) == inspect.signature(
            getattr(PersistenceBackend, name)
        ), name


class Lacking:
    """A backend with one hook."""

    @hookimpl
    def close(self, ctx: Any) -> bool:
        return True


def test_a_backend_that_lacks_a_hook_is_refused() -> None:
    with pytest.raises(PluginError, match="Lacking lacks the hook"):
        check(Lacking())


class Careless(Forward):
    """Drops an argument, which pluggy would allow."""

    @hookimpl
    def fetch(self, ctx: Any, table: str, keys: Any) -> Any:  # type: ignore[override]
        return self.inner.fetch(ctx=ctx, table=table, keys=keys, at=None)


class Misspelt(Forward):
    """Takes an argument that no hook has."""

    @hookimpl
    def fetch(self, ctx: Any, table: str, keys: Any, at: Any, colour: Any) -> Any:  # type: ignore[override]
        return self.inner.fetch(ctx=ctx, table=table, keys=keys, at=at)


class Inventive(Forward):
    """Has a hook that the specification has not."""

    @hookimpl
    def teleport(self, ctx: Any) -> Any:
        return self.inner


@pytest.mark.parametrize("wrapper", [Careless, Misspelt, Inventive])
def test_signatures_are_checked_when_a_store_is_opened(wrapper: type[Forward]) -> None:
    with pytest.raises(PluginError):
        perdure.open("memory://", wrap=[wrapper])


def test_each_store_has_one_backend_and_observers_only_watch() -> None:
    seen: list[str] = []

    class Watch:
        @hookimpl(wrapper=True)
        def fetch(self, table: str) -> Any:
            seen.append(table)
            return (yield)

    with perdure.open("memory://", observers=[Watch()]) as store, perdure.open("memory://") as other:
        store.memories.get("a")
        other.memories.get("a")
        assert seen == ["memories"]


def test_an_observer_that_is_no_wrapper_is_refused() -> None:
    class Second:
        @hookimpl
        def fetch(self, ctx: Any) -> Any:
            return []

    with perdure.open("memory://") as store, pytest.raises(PluginError, match="implemented twice"):
        manager(store._session.hook.fetch.get_hookimpls()[0].plugin, [Second()])


def test_a_mistyped_scheme_is_told_the_right_one() -> None:
    with pytest.raises(InvalidURL, match="did you mean 'memory'"):
        perdure.open("memry://")
