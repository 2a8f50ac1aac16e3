"""Where the stores of a run are: places that the suite makes, and removes when it is done."""

from __future__ import annotations

import itertools
import shutil
import tempfile
import uuid
from pathlib import Path
from types import TracebackType
from typing import Self

from perdure import Description, PerdureError

from perdure_conformance._processes import Child
from perdure_conformance._target import Place, Target

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
        self._used: dict[Place, set[str]] = {}

    def word(self) -> str:
        """A word that is used once, in lower-case letters and digits."""
        return f"c{self._prefix}n{next(self._numbers)}"

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
        return self._shared

    def used(self, place: Place, namespace: str) -> None:
        """Remember a namespace, to drop it at the end where its place stays."""
        if not self.target.many:
            self._used.setdefault(place, set()).add(namespace)

    def close(self) -> None:
        """End the workers, drop the namespaces of a place that stays, and remove the directories."""
        for children in self.workers.values():
            for child in children:
                child.close()
        self.workers.clear()
        for place, names in self._used.items():
            self._drop(place, names)
        self._used.clear()
        if self._root is not None:
            shutil.rmtree(self._root, ignore_errors=True)
            self._root = None

    def _drop(self, place: Place, names: set[str]) -> None:
        if not self.description.supports("namespaces"):
            return
        # A namespace cannot be dropped through a handle on itself; the default one may stay.
        with place.open() as store:
            for name in sorted(names & set(store.namespaces.list())):
                store.namespaces.drop(name)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except PerdureError:
            if error is None:
                raise
