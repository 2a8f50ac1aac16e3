"""What stands in for the suite in a program that shows a failure. Programs get a copy of what they use."""

from __future__ import annotations

import argparse
import random
import shutil
import tempfile
import traceback
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import perdure
from perdure import Context, Description, Store

__all__ = ["Case", "Place", "main"]

#: An error of these kinds in a program may be the program's own.
_OWN = ("AttributeError", "ImportError", "ModuleNotFoundError", "NameError", "TypeError")


@dataclass(frozen=True)
class Place:
    """One store URL, with the plugin and the wrappers that are tried."""

    url: str
    plugin: Any
    wrap: tuple[Any, ...]
    directory: Path

    def files(self) -> list[Path]:
        """The files that are there."""
        return sorted(path for path in self.directory.rglob("*") if path.is_file())

    def open(self, namespace: str = "default", **more: Any) -> Store:
        """A handle on a namespace."""
        return perdure.open(self.url, namespace=namespace, wrap=self.wrap, plugin=self.plugin, **more)

    def hooks(self, namespace: str = "default", **more: Any) -> Any:
        """The hooks of a handle on a namespace."""
        return perdure.open_hooks(self.url, namespace=namespace, wrap=self.wrap, plugin=self.plugin, **more)


class Case:
    """Stores in a temporary directory, and randomness that is always the same."""

    def __init__(
        self, template: str, plugin: Any, wrap: tuple[Any, ...], root: Path, seeds: tuple[int, int, int]
    ) -> None:
        self._template, self._plugin, self._wrap, self._root = template, plugin, wrap, root
        self._prefix, self._words, self._open = uuid.uuid4().hex[:12], 0, ExitStack()
        self.random, self.round, self._round_seed = random.Random(seeds[0]), seeds[1], seeds[2]
        self.seconds = 0.0
        self.ctx = Context(principal="conformance")
        self.namespace = self.unique()
        self.description: Description = (
            perdure.describe_backend(template.partition("://")[0]) if plugin is None else plugin.describe()
        )
        self.place = self.move()

    def unique(self) -> str:
        """A word that is used once."""
        self._words += 1
        return f"c{self._prefix}n{self._words}x"

    def directory(self) -> Path:
        """A new, empty directory."""
        path = self._root / self.unique()
        path.mkdir()
        return path

    def move(self) -> Place:
        """Go to a place of one's own."""
        directory = self.directory()
        url = self._template.replace("{unique}", self.unique()).replace("{tmp}", str(directory))
        self.place = Place(url, self._plugin, self._wrap, directory)
        return self.place

    def store(self, namespace: str | None = None, *, principal: str = "conformance", **more: Any) -> Store:
        """A handle on the namespace of the case, or on another."""
        store = self.place.open(namespace or self.namespace, principal=principal, **more)
        self._open.callback(store.close)
        return store

    def new_store(self) -> Store:
        """A handle on a new namespace."""
        return self.store(self.unique())

    def hooks(self, namespace: str | None = None, **more: Any) -> Any:
        """The hooks of a handle on the namespace of the case, or on another."""
        hooks = self.place.hooks(namespace or self.namespace, **more)
        self._open.callback(hooks.close, ctx=self.ctx)
        return hooks

    def supports(self, capability: str) -> bool:
        """Whether the backend declares the capability."""
        return self.description.supports(capability)

    def rounds(self) -> Iterator[int]:
        """The one round that failed."""
        self.random.seed(self._round_seed)
        yield self.round

    def note(self, text: str) -> None:
        """Something that the check tells of itself."""
        print(text)

    def close(self) -> None:
        """Close what was opened."""
        self._open.close()


def main(
    run: Callable[[Case], None],
    template: str,
    plugin: Any = None,
    wrap: Iterable[Any] = (),
    seeds: tuple[int, int, int] = (0, 0, 0),
    error: str = "",
) -> int:
    """Run one case and print how it fails: 1 if it does, 0 if it does not, 2 if it could not be tried.

    Args:
        run: What to try.
        template: The store URL; the first word of the command line goes before it.
        plugin: The plugin, where the URL does not name it.
        wrap: Wrappers around it.
        seeds: Of the random numbers, the number of the round, and that round's seed.
        error: The error that was seen, where it was not a wrong result.
    """
    parser = argparse.ArgumentParser(description="Shows one failure: exit code 1 if it is there.")
    parser.add_argument(
        "url", nargs="?", default=template, help="a store URL; {unique} and {tmp} are filled in"
    )
    parser.add_argument(
        "--plain", action="store_true", help="leave out the plugin and the wrappers named here"
    )
    words = parser.parse_args()
    if not words.url:
        parser.error("give the URL of a store to try")
    root = Path(tempfile.mkdtemp(prefix="perdure-repro-"))
    around = () if words.plain else tuple(wrap)
    try:
        case = Case(words.url, None if words.plain else plugin, around, root, seeds)
        try:
            run(case)
        finally:
            case.close()
    except AssertionError as failure:
        told = (
            ("what", "a condition"),
            ("expected", "it holds"),
            ("got", f"{type(failure).__name__}: {failure}"),
        )
        for name, plain in told:
            print(f"{name}: {getattr(failure, name, plain)}")
        return 1
    except Exception as failure:
        kind, got = type(failure).__name__, f"{type(failure).__name__}: {failure}"
        print(f"what: the calls of the check\nexpected: no error\ngot: {got}")
        traceback.print_exc()
        return 1 if kind == error.partition(":")[0] and (kind not in _OWN or got == error) else 2
    finally:
        shutil.rmtree(root, ignore_errors=True)
    print("this failure is not there")
    return 0
