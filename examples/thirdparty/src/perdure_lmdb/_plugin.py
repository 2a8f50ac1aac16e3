"""What perdure finds by the entry point."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import perdure
from perdure import Support
from perdure.kit import KitBackend

from ._environment import MAP_SIZE, acquire
from ._storage import LmdbStorage

HAS = ("persistent", "concurrent", "read_only", "compact", "namespaces")
HAS_NOT = ("approximate", "purge")


class LmdbBackend(KitBackend):
    """What the kit makes of a storage, but for what LMDB cannot do."""

    @perdure.hookimpl
    def purge(self, ctx: perdure.Context, table: str, keys: Sequence[perdure.Key]) -> perdure.PurgeReport:
        """Refuse: in pages that are free, LMDB keeps the bytes of what was deleted."""
        raise perdure.Unsupported("LMDB keeps deleted bytes; to erase, copy what is left to a new store")


class LmdbPlugin:
    """Opens ``lmdb:///directory``; an absolute path makes four slashes."""

    def describe(self) -> perdure.Description:
        """What the engine can do."""
        return perdure.Description(
            name="lmdb",
            version="0.1.0",
            spec_version=perdure.SPEC_VERSION,
            durability="power",
            levels=("core", "vectors", "concurrent"),
            capabilities=dict.fromkeys(HAS, Support.FULL) | dict.fromkeys(HAS_NOT, Support.UNSUPPORTED),
            limits={"store_bytes": MAP_SIZE},
            example="lmdb:///agent.lmdb",
            template="lmdb:///{tmp}/{unique}",
        )

    def open(self, url: str, namespace: str, mode: Literal["r", "rw"]) -> LmdbBackend:
        """Open a store; with mode "rw" it is created where it is missing."""
        path = url.removeprefix("lmdb:///")
        if path == url or not path or any(mark in path for mark in "?#\0"):
            raise perdure.InvalidURL(f"write lmdb:///directory, without options, not {url!r:.80}")
        perdure.check_name(namespace, "namespace")  # before anything is created
        storage = LmdbStorage(acquire(Path(path), create=mode == "rw"))
        try:
            return LmdbBackend(storage, namespace, mode=mode)
        except BaseException:
            storage.close()
            raise


plugin = LmdbPlugin()
