"""Mutants that search vectors wrongly."""

from __future__ import annotations

import weakref
from typing import Any, ClassVar

import numpy as np
from perdure import At, Context, Hit, NotFound, Point, PurgeReport, Ref, Search, Space, hookimpl
from perdure.wrappers import Forward

from perdure_conformance.mutants._base import Mutant, Places, changed

__all__ = ["MUTANTS"]


class _Hits(Forward):
    """Alters the hits of a search."""

    def hits(self, ctx: Context, search: Search, at: At, found: list[Hit]) -> list[Hit]:
        """What is returned in place of the hits."""
        return found

    @hookimpl
    def search(self, ctx: Context, search: Search, at: At) -> list[Hit]:
        return self.hits(ctx, search, at, self.inner.search(ctx=ctx, search=search, at=at))


class FilterAfterTopK(_Hits):
    """Takes the nearest k, then filters them."""

    def hits(self, ctx: Context, search: Search, at: At, found: list[Hit]) -> list[Hit]:
        if search.where is None:
            return found
        nearest = self.inner.search(ctx=ctx, search=changed(search, where=None), at=at)
        kept = {hit.id for hit in found}
        return [hit for hit in nearest if hit.id in kept]


class SearchUnfiltered(Forward):
    """Drops the filter of a search."""

    @hookimpl
    def search(self, ctx: Context, search: Search, at: At) -> list[Hit]:
        return super().search(ctx=ctx, search=changed(search, where=None), at=at)


class TiesByIdDescending(_Hits):
    """Orders hits of one score by id, descending."""

    def hits(self, ctx: Context, search: Search, at: At, found: list[Hit]) -> list[Hit]:
        return sorted(sorted(found, key=lambda hit: hit.id, reverse=True), key=lambda hit: -hit.score)


class ScoresInFloat32(_Hits):
    """Computes scores in float32."""

    def hits(self, ctx: Context, search: Search, at: At, found: list[Hit]) -> list[Hit]:
        return [Hit(hit.id, float(np.float32(hit.score))) for hit in found]


class SquaredDistance(_Hits):
    """Gives the squared distance as the score of an l2 space."""

    def hits(self, ctx: Context, search: Search, at: At, found: list[Hit]) -> list[Hit]:
        (space,) = [s for s in self.inner.list_spaces(ctx=ctx) if s.name == search.space]
        return [Hit(h.id, -h.score * h.score) for h in found] if space.metric == "l2" else found


class WorstOfTopLost(_Hits):
    """Finds one hit less than there are, as an index that was not asked for enough candidates."""

    def hits(self, ctx: Context, search: Search, at: At, found: list[Hit]) -> list[Hit]:
        return found[:-1] if len(found) > 2 and len(found) == search.k else found


class SearchOfBranchStarves(_Hits):
    """Takes the nearest k of the parent, then drops what the branch overrode."""

    def hits(self, ctx: Context, search: Search, at: At, found: list[Hit]) -> list[Hit]:
        branch = self.inner.resolve(ctx=ctx, ref=at).branch if isinstance(at, Ref) else at.branch
        (here,) = [b for b in self.inner.list_branches(ctx=ctx) if b.id == branch]
        if here.parent is None:
            return found
        before = self.inner.search(ctx=ctx, search=search, at=Point(here.parent, here.fork_seq))
        there = {hit.id for hit in before}
        return [hit for hit in found if hit.id in there]


class SearchOfHead(Places):
    """Searches the head wherever it should search the past."""

    @hookimpl
    def search(self, ctx: Context, search: Search, at: At) -> list[Hit]:
        point = at if isinstance(at, Point) else super().resolve(ctx=ctx, ref=at)
        heads = {b.id: b.head for b in self.inner.list_branches(ctx=ctx)}
        return super().search(ctx=ctx, search=search, at=heads.get(point.branch, point))


class DeletedStillFound(_Hits):
    """Goes on finding vectors that were deleted or purged, as an index that is never cleaned."""

    def __init__(self, inner: Any) -> None:
        super().__init__(inner)
        self._ghosts: dict[str, dict[str, float]] = {}

    def hits(self, ctx: Context, search: Search, at: At, found: list[Hit]) -> list[Hit]:
        known = self._ghosts.setdefault(search.space, {})
        known.update((hit.id, hit.score) for hit in found)
        hits = [Hit(name, score) for name, score in known.items()]
        return sorted(hits, key=lambda hit: (-hit.score, hit.id))[: search.k]


class SearchLeaksNamespaces(_Hits):
    """Finds the vectors of other namespaces too."""

    _all: ClassVar[weakref.WeakSet[Any]] = weakref.WeakSet()

    def __init__(self, inner: Any) -> None:
        super().__init__(inner)
        self._all.add(self)

    def hits(self, ctx: Context, search: Search, at: At, found: list[Hit]) -> list[Hit]:
        hits = {hit.id: hit for hit in found}
        for other in list(self._all):
            try:
                more = other.inner.search(ctx=ctx, search=search, at=Ref("main"))
            except Exception:
                # It is closed, or has no such space.
                continue
            for hit in more:
                hits.setdefault(hit.id, hit)
        return sorted(hits.values(), key=lambda hit: (-hit.score, hit.id))[: search.k]


class SpaceRedefined(Forward):
    """Takes any second definition of a space for the first."""

    @hookimpl
    def create_space(self, ctx: Context, space: Space) -> Space:
        for known in self.inner.list_spaces(ctx=ctx):
            if known.name == space.name:
                first: Space = known
                return first
        return super().create_space(ctx=ctx, space=space)


class SpaceNotDropped(Forward):
    """Keeps a space that is dropped."""

    @hookimpl
    def drop_space(self, ctx: Context, name: str) -> PurgeReport:
        if not any(space.name == name for space in self.inner.list_spaces(ctx=ctx)):
            raise NotFound(f"there is no space {name!r:.80}; see store.spaces.list()")
        return PurgeReport()


MUTANTS = (
    Mutant("VE-035", FilterAfterTopK),
    Mutant("VE-035", SearchUnfiltered),
    Mutant("VE-032", TiesByIdDescending),
    Mutant("VE-031", ScoresInFloat32),
    Mutant("VE-030", SquaredDistance),
    Mutant("VE-033", WorstOfTopLost),
    Mutant("VE-033", SearchOfBranchStarves),
    Mutant("VE-025", SearchOfHead),
    Mutant("VE-036", DeletedStillFound),
    Mutant("DM-002", SearchLeaksNamespaces),
    Mutant("VE-003", SpaceRedefined),
    Mutant("VE-004", SpaceNotDropped),
)
