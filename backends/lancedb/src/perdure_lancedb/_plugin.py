"""The entry points: `describe`, and `open`."""

from __future__ import annotations

from importlib.metadata import version
from typing import Literal

from perdure import SPEC_VERSION, Description, Support, check_name
from perdure.kit import Lease, Shared

from perdure_lancedb._backend import LanceBackend
from perdure_lancedb._local import LocalObjects
from perdure_lancedb._objects import Objects
from perdure_lancedb._options import BUCKET_OPTIONS, OPTIONS, Options, parse_url
from perdure_lancedb._storage import LanceStorage
from perdure_lancedb._store import Store

__all__ = ["LancePlugin"]

#: The stores that this process has open.
_STORES: Shared[Store] = Shared(Store.close)

_CAPABILITIES = {
    "persistent": Support.FULL,
    "concurrent": Support.FULL,
    "approximate": Support.FULL,
    "read_only": Support.FULL,
    "compact": Support.FULL,
    "purge": Support.FULL,
    "namespaces": Support.FULL,
}


class LancePlugin:
    """What `perdure.backends` finds under the names `lancedb` and `lancedb+s3`.

    Args:
        remote: Whether stores are on object storage.
    """

    def __init__(self, *, remote: bool) -> None:
        self._remote = remote

    def describe(self) -> Description:
        """What this backend is and can do, without any I/O."""
        scheme = "lancedb+s3" if self._remote else "lancedb"
        levels = ("core", "branches", "vectors", "crash", *(() if self._remote else ("power",)), "concurrent")
        return Description(
            name=scheme,
            version=version("perdure-lancedb"),
            spec_version=SPEC_VERSION,
            durability="power",
            levels=levels,
            capabilities=_CAPABILITIES,
            options=OPTIONS | (BUCKET_OPTIONS if self._remote else {}),
            example="lancedb+s3://bucket/agent" if self._remote else "lancedb:///agent",
            template="" if self._remote else "lancedb:///{tmp}/{unique}",
        )

    def open(self, url: str, namespace: str, mode: Literal["r", "rw"]) -> LanceBackend:
        """Open a store, made where it is missing and `mode` is "rw".

        Raises:
            InvalidURL, InvalidRef: The URL or the namespace's name is malformed.
            NotFound: With mode "r": there is no such store or namespace. On object storage: there is no such bucket.
            IncompatibleStore, CorruptStore: What is there is not one that this version can use.
            Unsupported: The object storage does not keep conditional writes.
            PermissionDenied, StorageError, Unavailable: The medium refuses, or failed.
        """
        options = parse_url(url, mode)
        check_name(namespace, "namespace")
        storage = LanceStorage(_lease(options))
        return LanceBackend(
            storage, namespace, mode="r" if options.read_only else "rw", capabilities=_CAPABILITIES
        )


def _lease(options: Options) -> Lease[Store]:
    create = not options.read_only
    if options.directory is not None:
        objects = LocalObjects(options.directory, create=create)
        identity = (options.identity, options.read_only, options.fold, options.indexing)  # it is there now
        return _STORES.lease(identity, lambda: _store(objects, options))

    def make() -> Store:
        from perdure_lancedb._s3 import S3Objects  # noqa: PLC0415 - needs obstore, which a directory does not

        return _store(S3Objects(options, create=create), options)

    return _STORES.lease(options, make)


def _store(objects: Objects, options: Options) -> Store:
    return Store(objects, options.fold, read_only=options.read_only, indexing=options.indexing)
