"""Finding, checking and composing backends.

Each store has a `pluggy.PluginManager` of its own with exactly one backend in it. Entry points are
loaded by name, only when wanted.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from difflib import get_close_matches
from functools import lru_cache, partial
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal, Protocol
from urllib.parse import urlsplit

import pluggy

from perdure._capabilities import Description
from perdure._errors import InvalidInput, InvalidURL, PerdureError, PluginError
from perdure._hooks import PROJECT, PersistenceBackend
from perdure._names import check_name
from perdure._show import shown_url
from perdure._types import Context

__all__ = [
    "BACKENDS",
    "WRAPPERS",
    "Plugin",
    "Wrap",
    "WrapperSpec",
    "describe_backend",
    "describe_backends",
    "find_backend",
    "hook_names",
    "load",
    "manager",
    "open_backend",
    "open_hooks",
]

#: The entry point group of backends; the name is the URL scheme.
BACKENDS = "perdure.backends"

#: The entry point group of wrappers.
WRAPPERS = "perdure.wrappers"

Mode = Literal["r", "rw"]


class Plugin(Protocol):
    """What a `perdure.backends` entry point names."""

    def describe(self) -> Description:
        """What the backend is and can do, without any I/O."""
        ...

    def open(self, url: str, namespace: str, mode: Mode) -> object:
        """Open a store; the object's `hookimpl` methods are the backend."""
        ...


#: `wrap(inner, config)`: a backend around a backend.
Wrap = Callable[[Any, dict[str, Any]], object]

#: A wrapper by entry point name, by name with its configuration, or the function itself.
WrapperSpec = str | tuple[str, dict[str, Any]] | Callable[[Any], object]


def hook_names() -> tuple[str, ...]:
    """The names of all hooks, in the order of the specification."""
    marker = f"{PROJECT}_spec"
    return tuple(name for name, member in vars(PersistenceBackend).items() if hasattr(member, marker))


def load(group: str, name: str) -> Any:
    """Load the entry point `name` of `group`.

    Raises:
        InvalidURL: There is none; the message says what to install.
        PluginError: Two distributions declare it, or it fails to load.
    """
    found = _declared(group, name, tuple(sys.path))
    if not found:
        _declared.cache_clear()  # it may have been installed since
        found = _declared(group, name, tuple(sys.path))
    targets = {(point.value, _dist(point)) for point in found}
    if not found:
        kind = "backend" if group == BACKENDS else "wrapper"
        known = sorted({point.name for point in entry_points(group=group)})
        close = get_close_matches(name, known, 1)
        hint = (
            f"did you mean {close[0]!r}?" if close else f"try: pip install perdure-{name.partition('+')[0]}"
        )
        raise InvalidURL(f"no {kind} {name!r} is installed (installed: {', '.join(known) or 'none'}); {hint}")
    if len(targets) > 1:
        owners = " and ".join(sorted(dist for _, dist in targets))
        raise PluginError(f"{group} {name!r} is declared by {owners}; uninstall one of them")
    try:
        return found[0].load()
    except PerdureError:
        raise
    except Exception as error:
        raise PluginError(
            f"{group} {name!r} of {_dist(found[0])} fails to load: {type(error).__name__}: {error}; reinstall it"
        ) from error


@lru_cache(maxsize=64)
def _declared(group: str, name: str, _path: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    """The entry points of a name; kept, since looking reads a file of every installed distribution."""
    return tuple(point for point in entry_points(group=group) if point.name == name)


def _dist(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else "an unknown distribution"


def describe_backend(name: str) -> Description:
    """What the backend of a URL scheme declares, without opening a store.

    Raises:
        InvalidURL: None of that name is installed.
        PluginError: It fails to load.
    """
    description: Description = load(BACKENDS, name).describe()
    return description


def describe_backends() -> dict[str, Description | PerdureError]:
    """Each installed backend's description, or the error that its entry point raises."""
    result: dict[str, Description | PerdureError] = {}
    for name in sorted({point.name for point in entry_points(group=BACKENDS)}):
        try:
            result[name] = describe_backend(name)
        except PerdureError as error:
            result[name] = error
    return result


def find_backend(url: str) -> Plugin:
    """The plugin of the backend that a URL's scheme names, for what it offers beside `perdure.open`.

    Raises:
        InvalidURL: It is no store URL, or no such backend is installed.
        PluginError: The backend fails to load.
    """
    _check_url(url)
    return load(BACKENDS, url.partition("://")[0])  # type: ignore[no-any-return]


def _check_url(url: str) -> None:
    if not isinstance(url, str) or "://" not in url:
        raise InvalidURL(f"{shown_url(url)} is no store URL; write it like sqlite:///agent.db or memory://")


def open_backend(
    url: str,
    namespace: str,
    mode: Mode,
    wrap: Sequence[WrapperSpec] = (),
    ctx: Context | None = None,
    plugin: Plugin | None = None,
) -> tuple[object, Description]:
    """Open the backend that the URL's scheme, or else `plugin`, names, inside its wrappers (the last is outermost)."""
    _check_url(url)
    if plugin is None:
        plugin = load(BACKENDS, url.partition("://")[0])
    elif not (callable(getattr(plugin, "describe", None)) and callable(getattr(plugin, "open", None))):
        raise PluginError(f"{type(plugin).__name__} is no backend plugin: it needs describe() and open()")
    # Wrappers are looked up first, so that a misspelled one leaves no store open.
    if isinstance(wrap, (str, bytes)) or not isinstance(wrap, Iterable):
        raise InvalidInput(f"wrap is a list of wrappers, not {type(wrap).__name__}")
    wrappers = [_wrapper(spec) for spec in wrap]
    backend = plugin.open(url, namespace, mode)
    if wrappers:
        check(backend)
    try:
        description = plugin.describe()
        for around in wrappers:
            outer = around(backend)
            check(outer)
            backend = outer
    except BaseException:
        backend.close(ctx=ctx)  # type: ignore[union-attr]
        raise
    return backend, description


def _wrapper(spec: WrapperSpec) -> Callable[[Any], object]:
    if callable(spec):
        return spec
    parts = (spec, {}) if isinstance(spec, str) else spec
    if not (
        isinstance(parts, tuple)
        and len(parts) == 2
        and isinstance(parts[0], str)
        and isinstance(parts[1], dict)
    ):
        raise InvalidInput("a wrapper is a name, a (name, configuration) pair or a function")
    name, config = parts
    return partial(_call_wrap, load(WRAPPERS, name), config)


def _call_wrap(wrap: Wrap, config: dict[str, Any], inner: Any) -> object:
    return wrap(inner, config)


def open_hooks(
    url: str,
    *,
    namespace: str = "default",
    mode: Mode = "rw",
    wrap: Sequence[WrapperSpec] = (),
    plugin: Plugin | None = None,
    ctx: Context | None = None,
) -> Any:
    """Open a backend without a `Store` around it: an object with a method for each hook, for tools and suites.

    Each hook takes keyword arguments, as `PersistenceBackend` says; end with ``close(ctx=...)``.

    Args:
        url: As for `perdure.open`.
        namespace: As for `perdure.open`.
        mode: As for `perdure.open`.
        wrap: As for `perdure.open`.
        plugin: As for `perdure.open`.
        ctx: In whose name it is opened; not for later calls, each of which takes its own.

    Raises:
        InvalidURL, NotFound, IncompatibleStore, CorruptStore, PluginError: As for `perdure.open`.
    """
    name = check_name(namespace, "namespace")
    backend, _ = open_backend(url, name, mode, wrap, ctx or Context(), plugin)
    return manager(backend).hook


def check(backend: object) -> None:
    """Check that an object implements every hook, with the hookspecs' names and arguments.

    Raises:
        PluginError: It does not; the message names the hook.
    """
    manager(backend)


def manager(backend: object, observers: Iterable[object] = ()) -> pluggy.PluginManager:
    """A plugin manager with exactly this backend (and plain hook wrappers, which only observe)."""
    plugins = pluggy.PluginManager(PROJECT)
    plugins.add_hookspecs(PersistenceBackend)
    if isinstance(observers, (str, bytes)) or not isinstance(observers, Iterable):
        raise InvalidInput(f"observers are objects in a list, not {type(observers).__name__}")
    try:
        plugins.register(backend, name="backend")
        for observer in observers:
            plugins.register(observer)
        plugins.check_pending()
    except (pluggy.PluginValidationError, ValueError) as error:
        raise PluginError(f"{type(backend).__name__} does not keep to the hookspecs: {error}") from error
    for name in hook_names():
        _check_hook(plugins, name, backend)
    return plugins


def _check_hook(plugins: pluggy.PluginManager, name: str, backend: object) -> None:
    caller = getattr(plugins.hook, name)
    plain = [impl for impl in caller.get_hookimpls() if not (impl.wrapper or impl.hookwrapper)]
    mine = [impl for impl in plain if impl.plugin is backend]
    if not mine:
        raise PluginError(f"{type(backend).__name__} lacks the hook {name!r}; every hook is required")
    if len(plain) > 1:
        raise PluginError(f"{name!r} is implemented twice; an observer must be a hook wrapper (wrapper=True)")
    spec = caller.spec
    assert spec is not None
    # Pluggy drops an argument that an implementation does not name; the contract does not.
    missing = set(spec.argnames) - set(mine[0].argnames)
    if missing:
        raise PluginError(f"{type(backend).__name__}.{name} does not take {', '.join(sorted(missing))}")


def split_url(url: str) -> tuple[str, str]:
    """A store URL's scheme and the URL without query and password, for messages."""
    parts = None
    with suppress(ValueError):  # whose words may quote a password
        parts = urlsplit(url)
    if parts is None:
        raise InvalidURL(f"{shown_url(url)} is no URL")
    host = parts.hostname or ""
    return parts.scheme, f"{parts.scheme}://{host}{parts.path}"
