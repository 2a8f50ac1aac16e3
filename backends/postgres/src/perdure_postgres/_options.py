"""The URL of a Postgres store."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple
from urllib.parse import parse_qsl, unquote

import psycopg
from perdure import InvalidURL
from psycopg.conninfo import conninfo_to_dict, make_conninfo, timeout_from_conninfo

__all__ = ["OPTIONS", "SCHEMA", "Options", "parse_url"]

#: The schema that tables are in where the URL names no other.
SCHEMA = "perdure"

#: URL query options → what they do. Others, such as ``sslmode``, go to libpq.
OPTIONS = {
    "schema": f"the schema that holds the tables; default {SCHEMA}",
    "pool": "connections that one process opens at most; default 10",
    "timeout": "seconds to wait for a connection of the pool, and for a lock; default 30",
    "mode": "ro opens the store read-only, rw (default) for writing",
    "cache": "MiB of vectors kept in memory for search; default 512",
    "index": "vectors from which a space is indexed, where the database has pgvector; default 20000, 0 for never",
    "ef_search": "candidates that a search of an index keeps in view at least; default 40, at most 1000",
}

#: Longer names are cut off by Postgres, so that two would be one.
_LONGEST_NAME = 63


class Options(NamedTuple):
    """What a URL says.

    Attributes:
        conninfo: For libpq; empty for an embedded server. May hold a password.
        directory: Of an embedded server, absolute; None for another one.
        schema: The schema of the tables.
        pool: The greatest number of connections.
        timeout: Seconds to wait for a connection or a lock.
        read_only: Whether writing is refused.
        cache: Bytes of vectors to keep in memory.
        indexed: The size from which a space is indexed; 0 for never.
        ef_search: The least breadth of a search of an index.
        place: The store for messages, without a password.
    """

    conninfo: str
    directory: Path | None
    schema: str
    pool: int
    timeout: float
    read_only: bool
    cache: int
    indexed: int
    ef_search: int
    place: str

    def __repr__(self) -> str:
        return f"<Options of the schema {self.schema!r} in {self.place}>"


def parse_url(url: str, mode: Literal["r", "rw"], *, embedded: bool) -> Options:
    """Parse ``postgresql://user:password@host:port/database`` or ``postgresql+embedded:///directory``.

    Raises:
        InvalidURL: It is malformed, or an option is unknown or malformed.
    """
    rest, _, query = url.partition("?")
    values: dict[str, str] = {}
    for key, value in parse_qsl(query, keep_blank_values=True):
        if key in values:
            raise InvalidURL(f"option {key[:40]!r} is given twice", option=key[:40])
        values[key] = value
    if any("\0" in text for text in (unquote(rest), *values, *values.values())):
        raise InvalidURL("a URL holds no NUL")
    ours = {key: values.pop(key) for key in OPTIONS if key in values}
    directory, conninfo = None, ""
    if embedded:
        directory = _directory(rest)
        if values:
            known = ", ".join(sorted(OPTIONS))
            raise InvalidURL(
                f"an embedded server has no option {min(values)[:40]!r}; the options are {known}"
            )
    else:
        conninfo = _conninfo(rest, values)
    return Options(
        conninfo,
        directory,
        _schema(ours.get("schema", SCHEMA)),
        int(_number(ours, "pool", 10, 1, 10_000)),
        _number(ours, "timeout", 30.0, 0.0, 86_400.0),
        _choice(ours, "mode", ("rw", "ro")) == "ro" or mode == "r",
        int(_number(ours, "cache", 512.0, 0.0, 2.0**30) * 2**20),
        int(_number(ours, "index", 20_000, 0, 10_000_000_000)),
        int(_number(ours, "ef_search", 40, 1, 1_000)),
        str(directory) if directory is not None else _place(conninfo),
    )


def _directory(rest: str) -> Path:
    place = rest.partition("://")[2]
    name = unquote(place[1:], errors="surrogateescape")
    if not place.startswith("/") or not name:
        raise InvalidURL(
            "an embedded server lives in a directory: write postgresql+embedded:///relative or "
            "postgresql+embedded:////absolute/path"
        )
    return Path(name).absolute()


def _conninfo(rest: str, extra: dict[str, str]) -> str:
    """What libpq takes, as keywords: the URL may have a driver's name after its scheme."""
    place = rest.partition("://")[2]
    found = _keywords(place, extra)
    if found is not None:
        _check_numbers(found)
        return found
    unknown = [key for key in extra if "@" not in key and not _known(key)]
    where = f"libpq has no option {unknown[0][:40]!r}" if unknown else "it is malformed"
    raise InvalidURL(
        f"this is no Postgres URL: {where}; write postgresql://user:password@host:5432/database, each "
        "special character of user and password percent-encoded"
    )


def _check_numbers(conninfo: str) -> None:
    """What is wrong here would be told later as a host that cannot be found, or as a failure of the server.

    What is given is not told: after a colon that was not percent-encoded, it may be a part of a password.
    """
    given = conninfo_to_dict(conninfo)
    for port in filter(None, str(given.get("port") or "").split(",")):
        if not port.isdecimal() or not 0 < int(port) < 65_536:
            raise InvalidURL("the port is no number from 1 to 65535", option="port")
    try:
        timeout_from_conninfo(given)
    except psycopg.ProgrammingError:
        raise InvalidURL("option connect_timeout is no number of seconds", option="connect_timeout") from None


def _keywords(place: str, extra: dict[str, str]) -> str | None:
    """None where it is malformed: libpq's own words, which may quote the password, end here."""
    server, _, database = place.partition("/")
    # A password that is not percent-encoded would be taken apart, and be told as host or database.
    if server.count("@") > 1 or "@" in database:
        return None
    try:
        return make_conninfo(**{**conninfo_to_dict(f"postgresql://{place}"), **extra})  # type: ignore[arg-type]
    except (psycopg.Error, ValueError):
        return None


def _known(key: str) -> bool:
    try:
        make_conninfo(**{key: ""})
    except psycopg.Error:
        return False
    return True


def _place(conninfo: str) -> str:
    given = conninfo_to_dict(conninfo)
    host = given.get("host") or given.get("hostaddr") or "localhost"
    return f"database {given.get('dbname') or given.get('user') or 'of this user'!s} on {host}"


def _schema(name: str) -> str:
    if (
        not name
        or len(name.encode()) > _LONGEST_NAME
        or name.startswith("pg_")
        or name == "information_schema"
    ):
        raise InvalidURL(
            f"option schema={name[:80]!r} names no schema: it has 1 to {_LONGEST_NAME} bytes, and is none of "
            "Postgres's own",
            option="schema",
        )
    return name


def _choice(values: dict[str, str], key: str, choices: tuple[str, ...]) -> str:
    value = values.get(key, choices[0])
    if value not in choices:
        raise InvalidURL(f"option {key}={value[:40]!r} is not one of {', '.join(choices)}", option=key)
    return value


def _number(values: dict[str, str], key: str, default: float, least: float, most: float) -> float:
    text = values.get(key)
    if text is None:
        return default
    try:
        number = float(text)
    except ValueError:
        number = least - 1
    if not least <= number <= most:
        raise InvalidURL(
            f"option {key}={text[:40]!r} is no number from {least:.0f} to {most:.0f}", option=key
        )
    return number
