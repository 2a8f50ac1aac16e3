"""One history on several engines, and one engine's history on another."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import hypothesis
from hypothesis import HealthCheck, Phase
from perdure import Store

from perdure_conformance._site import Site
from perdure_conformance._target import Target
from perdure_conformance.driver import Compact, DropBranch, Purge, Scene, shown
from perdure_conformance.dump import dump, same_dump
from perdure_conformance.machines import run_history
from perdure_conformance.strategies import histories

__all__ = ["Difference", "check_copy", "differential", "differential_run", "has_lost_history"]


def has_lost_history(history: Sequence[Scene]) -> bool:
    """Whether a history drops some of its own: what is then left of it is each engine's choice."""
    return any(isinstance(step, (Compact, DropBranch)) for step in history)


def differential(stores: Iterable[Store], history: Sequence[Scene]) -> None:
    """Run a history on several empty stores, each in step with the model; their dumps must be equal.

    Raises:
        AssertionError: A store differs from the model, or from the first of them.
    """
    dumps = []
    for store in stores:
        run_history(store, history)
        dumps.append((store, dump(store, history=not has_lost_history(history))))
    for other, dumped in dumps[1:]:
        same_dump(dumps[0][1], dumped, f"{dumps[0][0]} and {other}")


def check_copy(source: Store, target: Store, *, history: bool = True) -> None:
    """Export a store into an empty one of any engine: the copy must dump alike, and take nothing twice.

    Raises:
        AssertionError: It does not.
    """
    target.ingest(source.export())
    same_dump(dump(source, history=history), dump(target, history=history), f"{source} and its copy {target}")
    again = target.ingest(source.export())
    assert (again.commits, again.branches, again.rows) == (0, 0, 0), f"a second ingest wrote {again}"


@dataclass(frozen=True)
class Difference:
    """Where backends differ: the smallest history that was found, and what it shows.

    Attributes:
        history: The steps; `run_history` runs them again on any store.
        message: What differs.
    """

    history: tuple[Scene, ...]
    message: str

    def __str__(self) -> str:
        return f"{self.message}\n\nThe history:\n{shown(self.history)}"


def differential_run(
    targets: Sequence[Target | str], *, runs: int = 20, seed: int = 0, steps: int = 20
) -> Difference | None:
    """Run random histories on all targets: after each, the stores must dump alike, and so must copies.

    Each store is exported into an empty one of the next target. What a target does not offer, compaction
    or purge, is left out of the histories of all.

    Args:
        targets: Two or more backends, as `Target.of` takes them.
        runs: How many histories.
        seed: Of the histories.
        steps: The most steps of a history, after those that begin each.

    Returns:
        The first difference, shrunk; None where there is none.
    """
    chosen = [Target.of(target) for target in targets]
    if len(chosen) < 2:
        raise ValueError("a differential run needs two backends or more")
    descriptions = [target.describe() for target in chosen]
    kinds = (("compact", Compact), ("purge", Purge))
    absent = tuple(kind for name, kind in kinds if not all(d.supports(name) for d in descriptions))
    found: list[Difference] = []

    def attempt(drawn: list[Scene]) -> None:
        history = tuple(step for step in drawn if not isinstance(step, absent))
        try:
            _attempt(sites, history)
        except Exception as error:
            found.append(Difference(history, f"{type(error).__name__}: {error}"))
            raise

    sites = [Site(target) for target in chosen]
    test = hypothesis.given(histories(steps))(attempt)
    quiet = hypothesis.settings(
        max_examples=runs,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.target, Phase.shrink),
        report_multiple_bugs=False,
        print_blob=False,
        verbosity=hypothesis.Verbosity.quiet,
    )
    try:
        hypothesis.seed(seed)(quiet(test))()
    except Exception:
        if not found:
            raise
    finally:
        for site in sites:
            site.close()
    return found[-1] if found else None


def _attempt(sites: Sequence[Site], history: Sequence[Scene]) -> None:
    """The history on each site, and each site's export on the next."""
    stores: list[Store] = []
    copies: list[Store] = []
    try:
        for site in sites:
            for opened in (stores, copies):
                name = site.word()
                opened.append(site.shared.open(name))
        differential(stores, history)
        whole = not has_lost_history(history)
        for source, copy in zip(stores, [*copies[1:], copies[0]], strict=True):
            check_copy(source, copy, history=whole)
    finally:
        for store in (*stores, *copies):
            store.close()
