"""What a pickle named and asked to be called, none of which was looked up or called."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

__all__ = ["Report", "Seen"]

Name = tuple[str, str]


@dataclass(frozen=True, slots=True, order=True)
class Seen:
    """One name in a pickle, and how often it came up."""

    module: str
    qualname: str
    count: int


@dataclass(slots=True)
class Report:
    """The names that the pickles of one stream hold.

    Attributes:
        protocol: The highest protocol declared; 0 where none is.
        pickles: How many pickles were read.
        size: Length of the stream after decompression, in bytes.
    """

    protocol: int = 0
    pickles: int = 0
    size: int = 0
    _globals: Counter[Name] = field(default_factory=Counter, repr=False)
    _calls: Counter[Name] = field(default_factory=Counter, repr=False)
    _opaque: Counter[Name] = field(default_factory=Counter, repr=False)

    @property
    def globals(self) -> list[Seen]:
        """Every class or function named, in name order; counted once per mention."""
        return _sorted(self._globals)

    @property
    def calls(self) -> list[Seen]:
        """Every class or function that the pickle asked to call, in name order; counted once per call."""
        return _sorted(self._calls)

    @property
    def opaque(self) -> list[Seen]:
        """The calls that no rebuilder of the allowlist took: each gave one `Opaque`."""
        return _sorted(self._opaque)


def _sorted(counter: Counter[Name]) -> list[Seen]:
    return sorted(Seen(module, qualname, count) for (module, qualname), count in counter.items())
