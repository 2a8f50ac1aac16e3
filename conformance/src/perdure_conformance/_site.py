"""Where the stores of a run are: places that the suite makes, and removes when it is done."""

from __future__ import annotations

import itertools
import shutil
import tempfile
import uuid
import warnings
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from perdure import Description, Store, Unsupported

from perdure_conformance._processes import Child
from perdure_conformance._target import Place, Target
from perdure_conformance.report import masked

__all__ = ["Site"]


class Site:
    """The places of one run on one target. Close it to remove everything that the run made.

    Attributes:
        target: What is judged.
        description: What it declares.
        workers: Processes that wait for work at a place; they end with the run.
    """

    def __init__(self, target: Target) -> None:
        self.target = target
        self.description: Description = target.describe()
        self.workers: dict[Place, list[Child]] = {}
        self._prefix = uuid.uuid4().hex[:12]
        self._numbers = itertools.count()
        self._root: Path | None = None
        self._shared: Place | None = None
        self._kept: Store | None = None

    def word(self) -> str:
        """A word that is used once, in lower-case letters and digits.

        It ends with a letter: a check may put digits after one, and would have the word of another check otherwise.
        """
        return f"c{self._prefix}n{next(self._numbers)}x"

    def directory(self) -> Path:
        """A new, empty directory."""
        if self._root is None:
            self._root = Path(tempfile.mkdtemp(prefix="perdure-conformance-"))
        path = self._root / f"d{next(self._numbers)}"
        path.mkdir()
        return path

    def place(self) -> Place:
        """A new place."""
        if not self.target.many:
            raise ValueError("a check that moves must say that it needs 'places'")
        return self.target.place(self.word(), self.directory())

    @property
    def shared(self) -> Place:
        """The place that all cases share, in namespaces of their own."""
        if self._shared is None:
            self._shared = (
                self.place()
                if self.target.many
                else Place(self.target.template, self.target.plugin, self.target.wrap)
            )
            self._keep(self._shared)
        return self._shared

    def _keep(self, place: Place) -> None:
        """Hold a handle for as long as the run lasts: an engine with a server would start one for each check."""
        with suppress(Exception):  # whatever is wrong with opening, the checks say it
            self._kept = Place(place.url, place.plugin).open(self.word())

    def close(self) -> None:
        """End the workers, drop the namespaces of a place that stays, and remove the directories.

        Warns of what cannot be removed: the results of the run are not lost for that.
        """
        for children in self.workers.values():
            for child in children:
                child.close()
        self.workers.clear()
        if self._kept is not None:
            with suppress(Exception):
                self._kept.close()
            self._kept = None
        if self._shared is not None and not self.target.many:
            try:
                self._drop(self._shared)
            except Exception as error:
                told = (
                    f"namespaces with c{self._prefix} in them may be left at "
                    f"{masked(self.target.template)}: {error}"
                )
                warnings.warn(told, stacklevel=2)
            self._shared = None
        if self._root is not None:
            shutil.rmtree(self._root, ignore_errors=True)
            self._root = None

    def _drop(self, place: Place) -> None:
        """Drop the run's own namespaces, which all have a word of the run in them, and no others.

        A namespace cannot be dropped through a handle on itself: that is one of somebody else's, which is only
        opened, or the default one, which then stays.
        """
        if not self.description.supports("namespaces"):
            raise Unsupported("the backend cannot drop namespaces")
        with place.open(self.word()) as store:
            others = [name for name in store.namespaces.list() if not self._mine(name)]
        with place.open(others[0] if others and "default" not in others else "default") as store:
            for name in filter(self._mine, store.namespaces.list()):
                store.namespaces.drop(name)

    def _mine(self, namespace: str) -> bool:
        return f"c{self._prefix}n" in namespace.casefold()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
