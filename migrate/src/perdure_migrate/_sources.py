"""What a source plugin is, and how the right one is found.

A distribution adds a source by an entry point in the group `perdure.sources`: an object, or a class that
makes one without arguments, with what the protocol `Source` asks for.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Protocol

from perdure import InvalidInput, PluginError

from perdure_migrate._aura import AuraSource
from perdure_migrate._material import Material
from perdure_migrate._nexus import NexusSource
from perdure_migrate._plan import Plan
from perdure_migrate._settings import Settings

__all__ = ["SOURCES", "Detection", "Source", "choose", "detect", "sources"]

#: The entry point group of sources.
SOURCES = "perdure.sources"

#: Below this score a source is not taken for what it may be.
ENOUGH = 0.5

_BUILT_IN = (NexusSource, AuraSource)


class Source(Protocol):
    """Knows one kind of legacy store: recognises it, and says what becomes of it. Writes nothing."""

    name: str

    def detect(self, material: Material) -> tuple[float, str] | None:
        """How sure it is that this is its kind, from 0 to 1, with the reason; None: certainly not."""
        ...

    def plan(self, material: Material, settings: Settings) -> Plan:
        """What is to be written; the same for the same content, whenever it is asked."""
        ...


@dataclass(frozen=True, slots=True)
class Detection:
    """What one source made of a material."""

    source: str
    score: float
    reason: str


def sources() -> dict[str, Source]:
    """Every source by name: the built-in ones, and those of installed distributions.

    Raises:
        PluginError: Two have one name, or one fails to load.
    """
    found: dict[str, Source] = {cls.name: cls() for cls in _BUILT_IN}
    origin = dict.fromkeys(found, "perdure-migrate")
    for point in sorted(entry_points(group=SOURCES), key=lambda p: p.name):
        owner = point.dist.name if point.dist is not None else "an unknown distribution"
        if point.name in found:
            raise PluginError(f"source {point.name!r} is declared by {origin[point.name]} and {owner}")
        found[point.name], origin[point.name] = _load(point, owner), owner
    return found


def _load(point: EntryPoint, owner: str) -> Source:
    try:
        loaded: Any = point.load()
        source: Source = loaded() if isinstance(loaded, type) else loaded
    except Exception as error:
        raise PluginError(f"source {point.name!r} of {owner} fails to load: {error}; reinstall it") from error
    return source


def detect(material: Material) -> list[Detection]:
    """What each source makes of it, the surest first.

    Raises:
        InvalidRecord, StorageError: The material is damaged or cannot be read.
    """
    found = []
    for name, source in sources().items():
        if (verdict := source.detect(material)) is not None:
            found.append(Detection(name, *verdict))
    return sorted(found, key=lambda d: (-d.score, d.source))


def choose(material: Material, name: str | None = None) -> tuple[Source, list[Detection]]:
    """The source of that name, or the one that recognises the material; with all verdicts.

    Raises:
        InvalidInput: No source is of that name, or none is sure enough, or two are equally sure.
    """
    known = sources()
    if name is not None:
        if name not in known:
            raise InvalidInput(f"there is no source {name!r}; there are {', '.join(sorted(known))}")
        return known[name], [Detection(name, 1.0, "chosen by name")]
    found = detect(material)
    if not found or found[0].score < ENOUGH:
        guesses = "; ".join(f"{d.source} {d.score:.2f}: {d.reason}" for d in found) or "none came near"
        raise InvalidInput(
            f"no source recognises {material.name!r} ({guesses}); "
            f"name one of {', '.join(sorted(known))} if you know what it is"
        )
    if len(found) > 1 and found[1].score == found[0].score:
        raise InvalidInput(
            f"{material.name!r} may be {found[0].source} or {found[1].source}; say which one it is"
        )
    return known[found[0].source], found
