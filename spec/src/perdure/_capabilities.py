"""What a backend says of itself before any I/O happens."""

from __future__ import annotations

from enum import StrEnum

import msgspec

__all__ = ["CAPABILITIES", "CORE", "SPEC_VERSION", "Description", "Support"]

#: The version of the specification that this package implements.
SPEC_VERSION = "1.0"

#: What every backend has; no declaration removes it.
CORE = frozenset(
    {"commit", "read", "scan", "filter", "history", "branches", "checkpoints", "vectors", "ingest"}
)

#: What a backend may lack, and what it is.
CAPABILITIES: dict[str, str] = {
    "persistent": "what was committed is there after the store is closed and opened again",
    "concurrent": "several processes may write at once",
    "approximate": "search may use an approximate index",
    "read_only": "the store can be opened read-only",
    "compact": "compaction drops old versions",
    "purge": "purge erases rows from all history",
    "namespaces": "namespaces can be listed and dropped",
}


class Support(StrEnum):
    """How far a capability goes."""

    FULL = "full"
    UNSUPPORTED = "unsupported"  #: the engine cannot do it
    MISSING = "missing"  #: the engine could, this backend does not


class Description(msgspec.Struct, frozen=True):
    """A backend's declaration, available without opening a store.

    Attributes:
        name: The URL scheme.
        version: Of the backend's distribution.
        spec_version: The specification that it keeps; newer arguments are `Unsupported`.
        durability: What an acknowledged commit survives: "none" (nothing), "crash" (the death of the
            process), "power" (the loss of power).
        levels: The conformance levels that it claims.
        capabilities: Each of `CAPABILITIES`; absent means unsupported.
        limits: Numbers of the engine, such as the greatest payload in bytes.
        options: URL query options → what they do.
        example: A URL to copy.
        template: A URL from which tests make stores that are empty and go away: `{unique}` stands for a
            word that is used once, `{tmp}` for the path of an empty directory.
    """

    name: str
    version: str
    spec_version: str
    durability: str
    levels: tuple[str, ...]
    capabilities: dict[str, Support]
    limits: dict[str, int] = {}
    options: dict[str, str] = {}
    example: str = ""
    template: str = ""

    def supports(self, capability: str) -> bool:
        """Whether the capability is there in full (core always is)."""
        return capability in CORE or self.capabilities.get(capability) is Support.FULL
