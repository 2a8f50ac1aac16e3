"""What perdure finds by the entry point."""

from pathlib import Path
from typing import Literal
from urllib.parse import unquote

from perdure import SPEC_VERSION, Description, InvalidURL, Support
from perdure.kit import KitBackend, ShortKeys

from ._environment import MAP_SIZE, acquire
from ._storage import KEY, LmdbStorage

HAS = ("persistent", "concurrent", "read_only", "compact", "namespaces")
HAS_NOT = ("approximate", "purge")  # in pages that are free, LMDB keeps the bytes of what was deleted
CAPABILITIES = dict.fromkeys(HAS, Support.FULL) | dict.fromkeys(HAS_NOT, Support.UNSUPPORTED)


class LmdbPlugin:
    """Opens ``lmdb:///directory``; an absolute path makes four slashes."""

    def describe(self) -> Description:
        """What the engine can do."""
        return Description(
            name="lmdb",
            version="0.1.0",
            spec_version=SPEC_VERSION,
            durability="power",
            levels=("core", "branches", "vectors", "crash", "power", "concurrent"),
            capabilities=CAPABILITIES,
            limits={"store_bytes": MAP_SIZE},
            example="lmdb:///agent.lmdb",
            template="lmdb:///{tmp}/{unique}",
        )

    def open(self, url: str, namespace: str, mode: Literal["r", "rw"]) -> KitBackend:
        """Open a store; with mode "rw" it is created where it is missing."""
        path = unquote(url.removeprefix("lmdb:///"), errors="surrogateescape")
        if not url.startswith("lmdb:///") or not path or "\0" in path or "?" in url or "#" in url:
            raise InvalidURL(f"write lmdb:///directory, without options, not {url!r:.80}")
        storage = LmdbStorage(acquire(Path(path), create=mode == "rw"))
        return KitBackend(ShortKeys(storage, KEY), namespace, mode=mode, capabilities=CAPABILITIES)


plugin = LmdbPlugin()
