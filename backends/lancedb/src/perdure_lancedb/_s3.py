"""Objects on object storage that speaks S3, created by conditional writes."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import obstore
from obstore.exceptions import AlreadyExistsError, GenericError
from obstore.store import S3Store
from perdure import IncompatibleStore, NotFound, PerdureError, Unavailable, Unsupported

from perdure_lancedb._errors import hide, mask, translated
from perdure_lancedb._format import FORMAT, MARKER, check_format
from perdure_lancedb._objects import TABLES
from perdure_lancedb._options import Bucket, Options

if TYPE_CHECKING:
    from obstore.store import S3Config

__all__ = ["S3Objects"]

#: Where a new place is asked whether it can create an object once.
_PROBES = ".probe"
#: What a store answers that knows no conditional write.
_NOT_IMPLEMENTED = re.compile(r"501 Not Implemented|<Code>NotImplemented</Code>")
_NO_BUCKET = re.compile("NoSuchBucket|bucket does not exist")
_RETRIES = 3
#: Seconds before a doubtful write is tried again; each wait is twice the one before.
_FIRST_WAIT, _LAST_WAIT = 0.05, 0.8
_READERS = 16

#: Endpoints and buckets that kept a condition in this process.
_conditional: set[tuple[str | None, str]] = set()

#: The process that started obstore's threads. They do not survive a fork, and a child that calls it waits forever.
_started_by: int | None = None


def _check_fork() -> None:
    global _started_by  # noqa: PLW0603 - a fact of the process
    if _started_by is None:
        _started_by = os.getpid()
    if _started_by != os.getpid():
        raise Unavailable(
            "this process was forked from one that used object storage, and cannot use it; start processes by spawn: "
            "multiprocessing.set_start_method('spawn')"
        )


class S3Objects:
    """Objects in a bucket, and LanceDB's tables beside them."""

    #: A store answers a write when it is safe.
    durable = True

    def __init__(self, options: Options, *, create: bool) -> None:
        """Open a prefix of a bucket; with `create` for writing, made where there is nothing.

        Raises:
            NotFound: There is no such bucket, or no store, and none is to be made.
            IncompatibleStore: Something else, or a later format, is there.
            Unsupported: The storage does not keep a conditional write.
            PermissionDenied, Unavailable: It refuses the credentials, or cannot be reached.
        """
        assert options.bucket is not None
        _check_fork()
        self._bucket = options.bucket
        self.place = options.place
        hide(options.secrets)
        self._lock = threading.Lock()
        self._readers: ThreadPoolExecutor | None = None
        with self._translated():
            self._store = _store(options.bucket)
        found = self.read(MARKER)
        known = (self._bucket.endpoint, self._bucket.name) in _conditional
        if found is None:
            self._check_empty(create)
            if not known:
                self._check_new()
            found = FORMAT if self.create(MARKER, FORMAT) else self.read(MARKER)
        elif create and found == FORMAT and not known:
            self._check_conditional()
        check_format(found, self.place)
        if create:
            _conditional.add((self._bucket.endpoint, self._bucket.name))

    def __repr__(self) -> str:
        return f"<S3Objects of {self.place}>"

    def _translated(self) -> AbstractContextManager[None]:
        return translated(self.place)

    # ------------------------------------------------------------------------------------------- opening

    def _check_empty(self, create: bool) -> None:
        """See that there is nothing yet where there is no marker, and that the bucket is there."""
        with self._translated():
            page = next(iter(obstore.list(self._store, chunk_size=10)), [])
        if any(not item["path"].startswith(f"{_PROBES}/") for item in page):
            if self.read(MARKER) is not None:
                return  # another process has made it meanwhile
            raise IncompatibleStore(
                f"{self.place} holds something else than a LanceDB store of perdure; choose an empty prefix"
            )
        if not create:
            raise NotFound(f"there is no store at {self.place}; open it with mode 'rw' to create one")

    def _check_new(self) -> None:
        """See by an object of our own that the storage creates one only once."""
        name = f"{_PROBES}/{uuid4().hex}"
        try:
            self.create(name, b"first")
            replaced = self.create(name, b"second")
        except PerdureError:
            with suppress(PerdureError):
                self.remove([name])
            raise
        self.remove([name])
        if replaced:
            raise self._unconditional()

    def _check_conditional(self) -> None:
        """The same by the marker, which is there: where the condition is ignored, it is written as it was."""
        with self._translated():
            try:
                obstore.put(self._store, MARKER, FORMAT, mode="create")
            except AlreadyExistsError:
                return
            except GenericError as error:
                if not _NOT_IMPLEMENTED.search(str(error)):
                    raise
        raise self._unconditional()

    def _unconditional(self) -> Unsupported:
        return Unsupported(
            f"{self.place} cannot create an object only once: it ignores or refuses If-None-Match, or a proxy before it "
            "drops that header, and so commits would be lost; use storage with conditional writes, let the proxy pass the "
            "header, or keep the store in a directory (lancedb:///directory)"
        )

    # ------------------------------------------------------------------------------------------- objects

    def create(self, name: str, data: bytes) -> bool:
        """As `Objects` says.

        That it exists is also said of our own first try, where the answer was lost, and of a conflict in which
        nobody won; after other failures it may be there or not. What is stored tells which it was.
        """
        _check_fork()
        until, wait = (
            time.monotonic() + 2 * self._bucket.timeout,
            _FIRST_WAIT,
        )  # one request may take all of a timeout
        while True:
            doubt = self._put(name, data)
            if doubt is None:
                return True
            try:
                found = self.read(name)
            except Unavailable as error:
                raise self._unknown(name, doubt) from error
            if found is not None:
                return found == data
            if wait > _LAST_WAIT or time.monotonic() + wait > until:
                raise self._unknown(name, doubt)
            time.sleep(wait)
            wait *= 2

    def _put(self, name: str, data: bytes) -> str | None:
        """None where the object was stored, or why that is not known."""
        with self._translated():
            try:
                obstore.put(self._store, name, data, mode="create", use_multipart=False)
            except AlreadyExistsError as error:
                return mask(str(error).partition("Debug source:")[0])
            except GenericError as error:
                if _NOT_IMPLEMENTED.search(str(error)):
                    raise self._unconditional() from None
                return mask(str(error).partition("Debug source:")[0])
            except FileNotFoundError:
                raise self._no_bucket() from None
        return None

    def _no_bucket(self) -> NotFound:
        return NotFound(f"the bucket of {self.place} does not exist; create it, or correct the URL")

    def _unknown(self, name: str, driver: str) -> Unavailable:
        return Unavailable(
            f"{self.place} did not say whether {name} was stored, and it is unknown; look whether it is there before "
            "you write it again",
            driver=" ".join(driver.split())[:2000],
        )

    def read(self, name: str) -> bytes | None:
        """As `Objects` says."""
        _check_fork()
        with self._translated():
            try:
                return obstore.get(self._store, name).bytes().to_bytes()
            except FileNotFoundError as error:
                if _NO_BUCKET.search(str(error)):
                    raise self._no_bucket() from None
                return None

    def read_many(self, names: list[str]) -> list[bytes | None]:
        """As `Objects` says."""
        if len(names) < 2:
            return [self.read(name) for name in names]
        _check_fork()
        with self._lock:
            if self._readers is None:
                self._readers = ThreadPoolExecutor(_READERS, "perdure-lancedb")
            found = self._readers.map(self.read, names)
        return list(found)

    def names(self, folder: str) -> list[str]:
        """As `Objects` says."""
        _check_fork()
        start = f"{folder}/"
        with self._translated():
            pages = obstore.list(self._store, prefix=folder)
            paths = (item["path"].removeprefix(start) for page in pages for item in page)
            return sorted(path for path in paths if "/" not in path)

    def remove(self, names: Iterable[str]) -> None:
        """As `Objects` says."""
        _check_fork()
        paths = list(names)
        with self._translated():
            if paths:
                obstore.delete(self._store, paths)

    # -------------------------------------------------------------------------------------------- tables

    def table(self, name: str) -> tuple[str, dict[str, str] | None]:
        """As `Objects` says."""
        bucket = self._bucket
        options = {
            "aws_access_key_id": bucket.access_key,
            "aws_secret_access_key": bucket.secret_key,
            "aws_region": bucket.region,
            "aws_virtual_hosted_style_request": str(bucket.virtual_hosted).lower(),
            "allow_http": str(bucket.allow_http).lower(),
            "timeout": f"{bucket.timeout:g}s",
            "connect_timeout": f"{min(bucket.timeout, 5.0):g}s",
            "client_max_retries": str(_RETRIES),
            "client_retry_timeout": str(max(1, round(bucket.timeout))),
        }
        if bucket.endpoint is not None:
            options["endpoint"] = bucket.endpoint
        if bucket.token is not None:
            options["aws_session_token"] = bucket.token
        return f"s3://{bucket.name}/{bucket.prefix}/{TABLES}/{name}.lance", options

    def files(self) -> dict[str, list[str]]:
        """As `Objects` says."""
        _check_fork()
        found: dict[str, list[str]] = {}
        with self._translated():
            for page in obstore.list(self._store, prefix=TABLES):
                for item in page:
                    name, _, _ = item["path"].removeprefix(f"{TABLES}/").partition(".lance/")
                    found.setdefault(name, []).append(item["path"])
        return found

    def settle(self, name: str) -> None:
        """There is nothing to do: what the storage acknowledged is safe."""

    def close(self) -> None:
        """Release the threads that read."""
        with self._lock:
            readers, self._readers = self._readers, None
        if readers is not None and _started_by == os.getpid():
            readers.shutdown(wait=False)


def _store(bucket: Bucket) -> S3Store:
    limit = timedelta(seconds=bucket.timeout)
    config: S3Config = {
        "region": bucket.region,
        "access_key_id": bucket.access_key,
        "secret_access_key": bucket.secret_key,
        "virtual_hosted_style_request": bucket.virtual_hosted,
    }
    if bucket.endpoint is not None:
        config["endpoint"] = bucket.endpoint
    if bucket.token is not None:
        config["session_token"] = bucket.token
    return S3Store(
        bucket.name,
        prefix=bucket.prefix,
        config=config,
        client_options={
            "allow_http": bucket.allow_http,
            "timeout": limit,
            "connect_timeout": min(limit, timedelta(seconds=5)),
        },
        retry_config={"max_retries": _RETRIES, "retry_timeout": limit},
    )
