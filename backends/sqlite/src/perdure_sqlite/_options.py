"""The URL of an SQLite store."""

from __future__ import annotations

from pathlib import Path
from typing import Literal
from urllib.parse import parse_qsl, unquote

from perdure import InvalidURL

__all__ = ["OPTIONS", "Options", "parse_url"]

#: URL query options → what they do.
OPTIONS = {
    "synchronous": "full (default): a commit survives the loss of power; normal: only the death of the process",
    "timeout": "seconds to wait for the write lock; default 30",
    "mode": "ro opens the store read-only, rw (default) for writing",
    "cache": "MiB of vectors kept in memory for search; default 512",
    "max_pages": "the greatest size of the file, in pages of 4,096 bytes",
}


class Options:
    """What a URL says.

    Attributes:
        path: The database file, absolute.
        synchronous: "FULL" or "NORMAL".
        timeout: Seconds to wait for the write lock.
        read_only: Whether writing is refused.
        cache: Bytes of vectors to keep in memory.
        max_pages: The greatest number of pages, or None.
    """

    __slots__ = ("cache", "max_pages", "path", "read_only", "synchronous", "timeout")

    def __init__(self, path: Path, values: dict[str, str], mode: Literal["r", "rw"]) -> None:
        self.path = path
        self.synchronous = _choice(values, "synchronous", ("full", "normal")).upper()
        self.read_only = _choice(values, "mode", ("rw", "ro")) == "ro" or mode == "r"
        self.timeout = _number(values, "timeout", 30.0, 86_400.0)
        self.cache = int(_number(values, "cache", 512.0, 2.0**30) * 2**20)
        self.max_pages = int(_number(values, "max_pages", 0.0, 2.0**32)) or None


def parse_url(url: str, mode: Literal["r", "rw"]) -> Options:
    """Parse ``sqlite:///relative.db`` or ``sqlite:////absolute.db``, with options.

    Raises:
        InvalidURL: It names no file, or an option is unknown or malformed.
    """
    rest = url.partition("://")[2]
    place, _, query = rest.partition("?")
    if not place.startswith("/"):
        raise InvalidURL(
            f"{url[:200]!r} names a host, or no file; write sqlite:///relative.db or sqlite:////absolute/path.db"
        )
    name = unquote(place[1:], errors="surrogateescape")
    if name in ("", ":memory:"):
        raise InvalidURL(
            "an SQLite store is a file, such as sqlite:///agent.db; for one in memory use memory://"
        )
    if "\0" in name or name.startswith("file:"):
        raise InvalidURL(f"{name[:80]!r} is no file path")
    values: dict[str, str] = {}
    for key, value in parse_qsl(query, keep_blank_values=True):
        if key not in OPTIONS:
            known = ", ".join(sorted(OPTIONS))
            raise InvalidURL(
                f"an SQLite store has no option {key[:40]!r}; the options are {known}", option=key
            )
        if key in values:
            raise InvalidURL(f"option {key!r} is given twice", option=key)
        values[key] = value
    return Options(Path(name).absolute(), values, mode)


def _choice(values: dict[str, str], key: str, choices: tuple[str, ...]) -> str:
    value = values.get(key, choices[0])
    if value not in choices:
        raise InvalidURL(f"option {key}={value[:40]!r} is not one of {', '.join(choices)}", option=key)
    return value


def _number(values: dict[str, str], key: str, default: float, limit: float) -> float:
    text = values.get(key)
    if text is None:
        return default
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= limit:
        raise InvalidURL(f"option {key}={text[:40]!r} is no number from 0 to {limit:.0f}", option=key)
    return number
