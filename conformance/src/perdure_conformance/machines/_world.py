"""Several handles, two namespaces of one engine, and what happens to them: where a whole history plays."""

from __future__ import annotations

from collections.abc import Callable

from perdure import Store

from perdure_conformance.driver import Compact, Copy, DropBranch, Elsewhere, Purge, Reopen, Scene, Second
from perdure_conformance.dump import dump, same_dump
from perdure_conformance.machines._lockstep import Lockstep

__all__ = ["World"]

#: The namespaces of a world, after its own name.
HERE, ELSEWHERE, COPY = "", "-elsewhere", "-copy"


class World:
    """Two handles on a namespace, one on another of the same engine, each namespace beside its model.

    Args:
        open_store: Opens a store, for writing, on the namespace given.
        name: The namespace; others begin with its name.
        persistent: Whether the data outlives its last handle, so that all can be closed.
        without: Kinds of steps that are left out: what the engine does not offer.

    Attributes:
        history: The steps that were run, the last of them begun.
    """

    def __init__(
        self,
        open_store: Callable[[str], Store],
        name: str,
        *,
        persistent: bool = True,
        without: tuple[type, ...] = (),
    ) -> None:
        self._open = open_store
        self._name = name
        self._persistent = persistent
        self._without = without
        self._copies = 0
        self.history: list[Scene] = []
        self.here = Lockstep([open_store(name + HERE), open_store(name + HERE)])
        self.elsewhere = Lockstep([open_store(name + ELSEWHERE)])

    @property
    def namespaces(self) -> list[str]:
        """All namespaces that it made."""
        copies = [f"{self._name}{COPY}{number}" for number in range(self._copies)]
        return [self._name + HERE, self._name + ELSEWHERE, *copies]

    def run(self, scene: Scene) -> None:
        """Run one step.

        Raises:
            AssertionError: The store and the model do not agree.
        """
        step = scene.step if isinstance(scene, (Second, Elsewhere)) else scene
        if isinstance(step, self._without):
            return
        self.history.append(scene)
        if isinstance(scene, Second):
            self.here.run(scene.step, 1)
        elif isinstance(scene, Elsewhere):
            self.elsewhere.run(scene.step)
        elif isinstance(scene, Reopen):
            self._reopen(scene.every and self._persistent)
        elif isinstance(scene, Copy):
            self._copy()
        else:
            self.here.run(scene)

    def _reopen(self, every: bool) -> None:
        locksteps = [(self.here, HERE), (self.elsewhere, ELSEWHERE)]
        if not every:
            self.here.handles[0].close()
            self.here.handles[0] = self._open(self._name + HERE)
            return
        for lockstep, _ in locksteps:
            for handle in lockstep.handles:
                handle.close()
        for lockstep, suffix in locksteps:
            lockstep.handles = [self._open(self._name + suffix) for _ in lockstep.handles]

    def _copy(self) -> None:
        """What is exported and ingested elsewhere must be the same, and come only once."""
        source = self.here.handles[0]
        name = f"{self._name}{COPY}{self._copies}"
        self._copies += 1
        whole = not self.here.lost
        with self._open(name) as target:
            target.ingest(source.export())
            same_dump(dump(source, history=whole), dump(target, history=whole), "the store and its copy")
            again = target.ingest(source.export())
            assert (again.commits, again.branches, again.rows) == (0, 0, 0), f"a second ingest wrote {again}"

    def check(self) -> None:
        """Everything that can be seen now, in both namespaces."""
        self.here.check()
        if not self.history or isinstance(self.history[-1], (Elsewhere, Reopen, Compact, Purge, DropBranch)):
            self.elsewhere.check()

    def close(self) -> None:
        """Close all handles."""
        for lockstep in (self.here, self.elsewhere):
            for handle in lockstep.handles:
                handle.close()
