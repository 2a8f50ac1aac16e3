"""The URL of a LanceDB store: a directory, or a prefix in a bucket."""

from __future__ import annotations

import os
import re
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from perdure import InvalidURL, PermissionDenied

__all__ = ["BUCKET_OPTIONS", "INDEXING", "OPTIONS", "Bucket", "Indexing", "Options", "parse_url"]

#: URL query options → what they do.
OPTIONS = {
    "mode": "ro opens the store read-only, rw (default) for writing",
    "fold": "items of commits after which the log is folded into the table; default 4000, on object storage 2000",
    "index": "vectors from which a space is indexed, approximately searched; default 20000, 0 for never",
    "method": "how it is indexed: ivf_flat (default), ivf_rq or hnsw",
}

#: Those that only a store on object storage has.
BUCKET_OPTIONS = {
    "endpoint": "object storage other than AWS, such as https://host:9000; default AWS_ENDPOINT_URL",
    "region": "the bucket's region; default AWS_REGION or AWS_DEFAULT_REGION, else us-east-1",
    "allow_http": "true lets an endpoint be http, unencrypted; default AWS_ALLOW_HTTP, else false",
    "virtual_hosted": "true where the endpoint's host begins with the bucket's name; default false",
    "timeout": "seconds that a request may take; default 30",
}

_BUCKET = re.compile(r"(?!.*\.\.)[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_SEGMENT = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._=-]+")
_ENDPOINT = re.compile(r"https?://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?(/[A-Za-z0-9._/-]*)?")
_REGION = re.compile(r"[a-z0-9-]{1,40}")
#: S3's keys have up to 1024 bytes; the rest is for the names of tables and their files.
_LONGEST_PREFIX = 700


@dataclass(frozen=True)
class Indexing:
    """Which vectors get an index.

    Attributes:
        least: From how many on in one space; 0 for never.
        method: LanceDB's way to do it.
    """

    least: int = 20_000
    method: Literal["ivf_flat", "ivf_rq", "hnsw"] = "ivf_flat"


#: Where a URL says nothing.
INDEXING = Indexing()


@dataclass(frozen=True)
class Bucket:
    """Where a store lies on object storage, and how it is reached.

    Attributes:
        name: The bucket's.
        prefix: Of all keys, without slashes at its ends.
        endpoint: A URL; None for AWS.
        region: The bucket's.
        allow_http: Whether the endpoint may be unencrypted.
        virtual_hosted: Whether the endpoint's host begins with the bucket's name.
        access_key: The first half of the credentials.
        secret_key: The other half.
        token: Of a session; None where there is none.
        timeout: Seconds that a request may take.
    """

    name: str
    prefix: str
    endpoint: str | None
    region: str
    allow_http: bool
    virtual_hosted: bool
    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    token: str | None = field(repr=False)
    timeout: float


@dataclass(frozen=True, repr=False)
class Options:
    """What a URL says, and the environment where the URL is silent.

    Attributes:
        directory: Absolute; None on object storage.
        bucket: On object storage; None for a directory.
        read_only: Whether writing is refused.
        fold: Items of commits after which the log is folded into the table.
        indexing: Which vectors get an index.
    """

    directory: Path | None
    bucket: Bucket | None
    read_only: bool
    fold: int
    indexing: Indexing

    def __repr__(self) -> str:
        return f"<Options of {self.place}>"

    @property
    def place(self) -> str:
        """The store for messages, without credentials."""
        if self.bucket is None:
            return str(self.directory)
        at = f" at {self.bucket.endpoint}" if self.bucket.endpoint else ""
        return f"s3://{self.bucket.name}/{self.bucket.prefix}{at}"

    @property
    def identity(self) -> Hashable:
        """What tells this store from others; of a directory, once it is there, by whatever path it is reached."""
        if self.bucket is not None:
            return ("s3", self.bucket.endpoint, self.bucket.name, self.bucket.prefix)
        assert self.directory is not None
        try:
            found = self.directory.stat()
        except OSError:
            return str(self.directory)
        return (found.st_dev, found.st_ino)

    @property
    def secrets(self) -> tuple[str, ...]:
        """What no message may show, as it is and as a URL may have it."""
        if self.bucket is None:
            return ()
        given = filter(None, (self.bucket.secret_key, self.bucket.token, self.bucket.access_key))
        return tuple(dict.fromkeys(text for key in given for text in (key, quote(key, safe=""))))


def parse_url(url: str, mode: Literal["r", "rw"]) -> Options:
    """Parse ``lancedb:///directory``, or ``lancedb+s3://bucket/prefix`` with what else the environment says.

    Raises:
        InvalidURL: It is malformed, or an option is unknown or malformed; what is told has no credentials.
        PermissionDenied: There are no credentials for object storage.
    """
    rest, _, query = url.partition("?")
    scheme, _, place = rest.partition("://")
    remote = scheme == "lancedb+s3"
    if "#" in url:
        raise InvalidURL("a store URL has no fragment; write # as %23")
    if remote:
        _check_at(place, query)
    values = _values(query, remote)
    directory = None if remote else _directory(place)
    return Options(
        directory,
        _bucket(place, values) if remote else None,
        _choice(values, "mode", ("rw", "ro")) == "ro" or mode == "r",
        int(_number(values, "fold", 2_000 if remote else 4_000, 1, 1_000_000_000)),
        _indexing(values),
    )


def _indexing(values: Mapping[str, str]) -> Indexing:
    method = _choice(values, "method", ("ivf_flat", "ivf_rq", "hnsw"))
    return Indexing(
        int(_number(values, "index", Indexing.least, 0, 1_000_000_000)),
        cast(Literal["ivf_flat", "ivf_rq", "hnsw"], method),
    )


def _check_at(place: str, query: str) -> None:
    """A secret that is not percent-encoded would be taken apart, and be told as bucket, prefix or option."""
    netloc, _, path = place.partition("/")
    if netloc.count("@") > 1 or "@" in path or "@" in query:
        raise InvalidURL(
            "an @ stands where none belongs; in lancedb+s3://KEY:SECRET@bucket/prefix percent-encode each special "
            "character of the credentials (/ is %2F, + is %2B, @ is %40)"
        )


def _values(query: str, remote: bool) -> dict[str, str]:
    known = OPTIONS | BUCKET_OPTIONS if remote else OPTIONS
    values: dict[str, str] = {}
    for key, value in parse_qsl(query, keep_blank_values=True):
        if key not in known:
            named = f"option {key!r}" if re.fullmatch(r"[A-Za-z_-]{1,30}", key) else "such option"
            raise InvalidURL(
                f"a LanceDB store {'on object storage' if remote else 'in a directory'} has no {named}; the options "
                f"are {', '.join(sorted(known))}, and credentials are no option"
            )
        if key in values:
            raise InvalidURL(f"option {key!r} is given twice", option=key)
        if "\0" in value:
            raise InvalidURL("a URL holds no NUL", option=key)
        values[key] = value
    return values


def _directory(place: str) -> Path:
    if not place.startswith("/"):
        raise InvalidURL(
            "the URL names a host, or no directory; write lancedb:///relative or lancedb:////absolute/directory"
        )
    try:
        name = unquote(place[1:], errors="strict")
        name.encode()
    except UnicodeError:
        raise InvalidURL(
            "LanceDB takes only directories whose names are UTF-8; choose another name"
        ) from None
    if not name or "\0" in name:
        raise InvalidURL(
            "the URL names no directory; write lancedb:///relative or lancedb:////absolute/directory"
        )
    return Path(name).absolute()


def _bucket(place: str, values: Mapping[str, str]) -> Bucket:
    netloc, _, path = place.partition("/")
    user, _, name = netloc.rpartition("@")
    if not _BUCKET.fullmatch(name):
        raise InvalidURL(
            "the URL names no bucket; write lancedb+s3://bucket/prefix, the bucket in 3 to 63 small letters, digits, "
            "dots and hyphens; a host goes into ?endpoint=http://host:port"
        )
    prefix = unquote(path).removesuffix("/")
    if not all(_SEGMENT.fullmatch(part) for part in prefix.split("/")) or len(prefix) > _LONGEST_PREFIX:
        raise InvalidURL(
            f"the prefix after the bucket has to be 1 to {_LONGEST_PREFIX} letters, digits and ._=- in segments that "
            "are neither empty nor . or ..; write lancedb+s3://bucket/prefix"
        )
    access_key, secret_key, token = _credentials(user)
    allow_http = _truth(values, "allow_http", "AWS_ALLOW_HTTP")
    virtual_hosted = _truth(values, "virtual_hosted", None)
    return Bucket(
        name,
        prefix,
        _endpoint(values, name, allow_http, virtual_hosted),
        _region(values),
        allow_http,
        virtual_hosted,
        access_key,
        secret_key,
        token,
        _number(values, "timeout", 30.0, 0.1, 86_400.0),
    )


def _credentials(user: str) -> tuple[str, str, str | None]:
    if user:
        access_key, _, secret_key = (unquote(part) for part in user.partition(":"))
        token, source = None, "lancedb+s3://KEY:SECRET@bucket/prefix needs both, each percent-encoded"
        if os.environ.get("AWS_SESSION_TOKEN"):  # which the drivers would send along
            raise InvalidURL(
                "the URL has credentials, and AWS_SESSION_TOKEN belongs to others; unset it, or leave the credentials "
                "out of the URL"
            )
    else:
        access_key = os.environ.get("AWS_ACCESS_KEY_ID", "")
        secret_key = os.environ.get("AWS_SECRET_ACCESS_KEY", "")
        token = os.environ.get("AWS_SESSION_TOKEN") or None
        source = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY have to be set both"
    if not access_key and not secret_key and not user:
        raise PermissionDenied(
            "there are no credentials for the bucket; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or write "
            "lancedb+s3://KEY:SECRET@bucket/prefix"
        )
    # They go into HTTP headers.
    if not all(text.isascii() and text.isprintable() for text in (access_key, secret_key, token or "")):
        raise InvalidURL("credentials are printable ASCII; percent-encode what was meant, or correct them")
    if not access_key or not secret_key:
        raise InvalidURL(f"a half of the credentials is missing; {source}")
    return access_key, secret_key, token


def _endpoint(values: Mapping[str, str], bucket: str, allow_http: bool, virtual_hosted: bool) -> str | None:
    given = values.get("endpoint")
    text = os.environ.get("AWS_ENDPOINT_URL", "") if given is None else given
    if given is None and not text:
        return None
    source = "AWS_ENDPOINT_URL" if given is None else "option endpoint"
    if not _ENDPOINT.fullmatch(text) or not _has_port(text):
        raise InvalidURL(
            f"{source} is no URL such as https://host:port, without credentials", option="endpoint"
        )
    if text.startswith("http:") and not allow_http:
        raise InvalidURL(
            f"{source} is http, so that all would be sent unencrypted; use https, or say allow_http=true",
            option="allow_http",
        )
    if virtual_hosted and not text.partition("://")[2].startswith(f"{bucket}."):
        raise InvalidURL(
            f"with virtual_hosted=true the host of {source} begins with the bucket: https://{bucket}.host",
            option="virtual_hosted",
        )
    return text.rstrip("/")


def _has_port(url: str) -> bool:
    """Whether its port, if it names one, is one; and its host is one."""
    try:
        return urlsplit(url).port != 0
    except ValueError:
        return False


def _region(values: Mapping[str, str]) -> str:
    environment = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
    text = values.get("region", environment)
    if not _REGION.fullmatch(text):
        source = "option region" if "region" in values else "AWS_REGION or AWS_DEFAULT_REGION"
        raise InvalidURL(f"{source} is no region such as eu-central-1", option="region")
    return text


def _truth(values: Mapping[str, str], key: str, variable: str | None) -> bool:
    if key not in values and variable is not None:
        text, source = os.environ.get(variable) or "false", variable
    else:
        text, source = values.get(key, "false"), f"option {key}"
    if text.lower() not in ("true", "false", "1", "0"):
        raise InvalidURL(f"{source} is neither true nor false", option=key)
    return text.lower() in ("true", "1")


def _choice(values: Mapping[str, str], key: str, choices: tuple[str, ...]) -> str:
    value = values.get(key, choices[0])
    if value not in choices:
        raise InvalidURL(f"option {key}={value[:40]!r} is not one of {', '.join(choices)}", option=key)
    return value


def _number(values: Mapping[str, str], key: str, default: float, least: float, most: float) -> float:
    text = values.get(key)
    if text is None:
        return default
    try:
        number = float(text)
    except ValueError:
        number = least - 1
    if not least <= number <= most:
        raise InvalidURL(f"option {key}={text[:40]!r} is no number from {least:g} to {most:.0f}", option=key)
    return number
