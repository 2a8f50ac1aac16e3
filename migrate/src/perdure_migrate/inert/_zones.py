"""Time zones by their keys: looked up in the system's database, or all of them ahead of the reading."""

from __future__ import annotations

import os
import zoneinfo
from collections.abc import Callable
from contextlib import suppress
from datetime import tzinfo

__all__ = ["ZoneOf", "every_zone", "system_zone"]

#: Answers the zone of a key that is well-formed, or None where there is none.
ZoneOf = Callable[[str], tzinfo | None]


def system_zone(data: bytes) -> ZoneOf:
    """Looks a key up when it comes; opens the file of that zone in the time zone database, and no other.

    Where the system has no database of its own, the keys of the package tzdata are listed here, before
    anything is read, since listing them imports and opens files.
    """
    packaged: frozenset[str] = frozenset()
    if b"zoneinfo" in data and not any(map(os.path.isdir, zoneinfo.TZPATH)):
        packaged = frozenset(zoneinfo.available_timezones())

    def zone(key: str) -> tzinfo | None:
        if key not in packaged and not any(os.path.isfile(f"{root}/{key}") for root in zoneinfo.TZPATH):
            return None  # `ZoneInfo` would go on to look for a package of that name
        try:
            return zoneinfo.ZoneInfo(key)
        except (ValueError, OSError, zoneinfo.ZoneInfoNotFoundError):
            return None

    return zone


def every_zone() -> dict[str, tzinfo]:
    """All zones of the database, loaded, so that no file is opened later."""
    found: dict[str, tzinfo] = {}
    for key in sorted(zoneinfo.available_timezones()):
        with suppress(ValueError, OSError, zoneinfo.ZoneInfoNotFoundError):  # a damaged file of the system
            found[key] = zoneinfo.ZoneInfo(key)
    return found
