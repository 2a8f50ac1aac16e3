"""What is judged: a backend, and how to get stores of it."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import perdure
from perdure import Description, InvalidURL, PluginError, Store

__all__ = ["Place", "Target", "Wrap"]

#: A wrapper as `perdure.open` takes it; a function must be one that a module names, for other processes.
Wrap = Any

TOKEN, TMP = "{unique}", "{tmp}"


@dataclass(frozen=True)
class Place:
    """One URL of a target: all namespaces there share an engine. Other processes get it by pickling.

    Attributes:
        url: Where the store is.
        plugin: The plugin object, ``pkg.mod:name`` of one or of a function that makes one, or None for
            the installed backend that the URL's scheme names.
        wrap: Wrappers, innermost first.
        directory: The directory that the URL's `{tmp}` stood for: the engine's files are below it, and nothing
            else is. None where there was no `{tmp}`.
    """

    url: str
    plugin: Any = None
    wrap: tuple[Wrap, ...] = ()
    directory: Path | None = None

    def files(self) -> list[Path]:
        """The files that the engine keeps here, as far as they can be seen."""
        if self.directory is None:
            return []
        return sorted(path for path in self.directory.rglob("*") if path.is_file())

    def open(
        self,
        namespace: str = "default",
        *,
        mode: Literal["r", "rw"] = "rw",
        branch: str = "main",
        principal: str = "",
        observers: Iterable[object] = (),
    ) -> Store:
        """A new handle on a namespace here."""
        return perdure.open(
            self.url,
            namespace=namespace,
            mode=mode,
            branch=branch,
            wrap=self.wrap,
            observers=observers,
            principal=principal,
            plugin=_plugin(self.plugin),
        )

    def hooks(self, namespace: str = "default", *, mode: Literal["r", "rw"] = "rw") -> Any:
        """The hooks of a new handle on a namespace here; close it with ``close(ctx=...)``."""
        return perdure.open_hooks(
            self.url, namespace=namespace, mode=mode, wrap=self.wrap, plugin=_plugin(self.plugin)
        )


@dataclass(frozen=True)
class Target:
    """A backend to judge.

    Attributes:
        template: A store URL. `{unique}` stands for a word that is used once, `{tmp}` for the path of an
            empty directory that is removed afterwards. A URL without them names the one place that all
            checks share, in namespaces of their own, which are dropped afterwards; checks that need a
            place of their own are then skipped.
        plugin: As for `Place`.
        wrap: Wrappers to judge with the backend, innermost first.
    """

    template: str
    plugin: Any = None
    wrap: tuple[Wrap, ...] = ()

    @classmethod
    def of(cls, what: Any, *, url: str | None = None, wrap: tuple[Wrap, ...] = ()) -> Target:
        """A target from what a person gives.

        Args:
            what: A URL or template; the scheme alone (``sqlite`` or ``sqlite://``) for the template that
                the backend declares; ``pkg.mod:name`` of a plugin object, or of a function that makes one;
                or such an object.
            url: The URL or template for a plugin that is given by name or as an object; default: the
                template, or else the example, that it declares.
            wrap: Wrappers to judge with the backend.

        Raises:
            InvalidURL: Neither the argument nor the backend says where stores can be.
            PluginError: The plugin cannot be imported, or is none.
        """
        if isinstance(what, Target):
            return what
        if isinstance(what, str):
            scheme, colon, rest = what.partition("://")
            if colon and rest:
                return cls(what, None, wrap)
            if colon or ":" not in what:
                template = url or _declared(perdure.describe_backend(scheme), what)
                return cls(template, None, wrap)
        return cls(url or _declared(_description(_plugin(what)), what), what, wrap)

    def describe(self) -> Description:
        """What the backend declares.

        Raises:
            PluginError: It does not say.
        """
        if self.plugin is not None:
            return _description(_plugin(self.plugin))
        return _versioned(perdure.describe_backend(self.template.partition("://")[0]))

    @property
    def many(self) -> bool:
        """Whether there can be several places."""
        return TOKEN in self.template or TMP in self.template

    @property
    def portable(self) -> bool:
        """Whether another process can open the same places."""
        return self.plugin is None or isinstance(self.plugin, str)

    def place(self, token: str, directory: Path) -> Place:
        """One place of the target.

        Args:
            token: The word for `{unique}`.
            directory: The empty directory for `{tmp}`.
        """
        url = self.template.replace(TOKEN, token).replace(TMP, str(directory))
        return Place(url, self.plugin, self.wrap, directory if TMP in self.template else None)


def _declared(description: Description, what: Any) -> str:
    template = description.template or description.example
    if not template:
        raise InvalidURL(f"{what!r:.80} declares neither a template nor an example; give a URL with {TOKEN}")
    return template


def _description(plugin: Any) -> Description:
    """What a plugin object says of itself."""
    name = type(plugin).__name__
    if not callable(getattr(plugin, "describe", None)):
        raise PluginError(f"{name} is no backend plugin: it needs describe() and open()")
    try:
        description = plugin.describe()
    except Exception as error:
        raise PluginError(f"describe() of {name} fails: {type(error).__name__}: {error}") from error
    if not isinstance(description, Description):
        raise PluginError(f"describe() of {name} returns {type(description).__name__}, not a Description")
    return _versioned(description)


def _versioned(description: Description) -> Description:
    """The description, if the version in it is one: it decides which clauses bind the backend."""
    version = description.spec_version
    if not (isinstance(version, str) and re.fullmatch(r"[0-9]+\.[0-9]+", version)):
        raise PluginError(
            f"{description.name!r:.80} declares the specification {version!r:.40}; write it like 1.0"
        )
    return description


def _plugin(what: Any) -> Any:
    """The plugin object that is meant, or None for the one that is installed."""
    return _imported(what) if isinstance(what, str) else what


@cache
def _imported(name: str) -> Any:
    """One object a process, so that a backend in memory keeps its stores."""
    module, _, path = name.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
        made = found() if isinstance(found, type) or not hasattr(found, "describe") else found
    except (ImportError, AttributeError, ValueError) as error:
        raise PluginError(
            f"{name!r} cannot be imported: {error}; write it like package.module:name"
        ) from error
    except Exception as error:
        raise PluginError(f"{name!r} cannot be made: {type(error).__name__}: {error}") from error
    return made
