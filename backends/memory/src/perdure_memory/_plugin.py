"""The entry point: `memory://` is a private store, `memory://name` one that this process shares."""

from __future__ import annotations

import threading
from importlib.metadata import version
from typing import Literal
from urllib.parse import urlsplit

from perdure import SPEC_VERSION, Description, InvalidInput, InvalidRef, InvalidURL, Support, check_name
from perdure.kit import KitBackend

from perdure_memory._storage import MemoryStorage

__all__ = ["MemoryPlugin"]


class MemoryPlugin:
    """Opens stores in memory, and keeps the named ones."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stores: dict[str, MemoryStorage] = {}

    def describe(self) -> Description:
        """What the engine offers; no I/O."""
        return Description(
            name="memory",
            version=version("perdure-memory"),
            spec_version=SPEC_VERSION,
            durability="none",
            levels=("core", "branches", "vectors"),
            capabilities={
                "persistent": Support.UNSUPPORTED,
                "concurrent": Support.UNSUPPORTED,
                "approximate": Support.MISSING,
                "read_only": Support.FULL,
                "compact": Support.FULL,
                "purge": Support.FULL,
                "namespaces": Support.FULL,
            },
            example="memory://scratch",
            template="memory://{unique}",
        )

    def open(self, url: str, namespace: str, mode: Literal["rw", "r"]) -> KitBackend:
        """Open a namespace of a store.

        Args:
            url: ``memory://`` for a store of its own, which goes with the backend; ``memory://name`` for
                the store of that name in this process, which stays until `drop` or the end of the process.
            namespace: Created where it is missing, unless the mode is "r".
            mode: "rw" or "r".

        Raises:
            InvalidURL: The URL has options, or a name with other characters than a branch may have.
            NotFound: The mode is "r", and there is no such namespace.
        """
        if mode not in ("rw", "r"):
            raise InvalidInput(f"mode {mode!r} is unknown; use 'rw' or 'r'")
        name = _name(url)
        if not name:
            return KitBackend(MemoryStorage(), namespace, mode=mode)
        with self._lock:
            storage = self._stores.get(name) or MemoryStorage()
            backend = KitBackend(storage, namespace, mode=mode)
            self._stores[name] = storage
        return backend

    def drop(self, name: str) -> bool:
        """Forget a named store; whether there was one. Backends that are open on it keep it until closed."""
        with self._lock:
            return self._stores.pop(name, None) is not None


def _name(url: str) -> str:
    """The store's name in a URL; empty for a private one."""
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise InvalidURL(f"{url[:200]!r} is no URL ({error}); use memory:// or memory://name") from None
    if parts.scheme != "memory" or not url.lower().startswith("memory://"):
        raise InvalidURL(f"{url[:200]!r} does not name a store in memory; use memory:// or memory://name")
    if parts.query or parts.fragment:
        raise InvalidURL(
            f"memory URLs take no options, and {url[:200]!r} has some; use memory:// or memory://name"
        )
    name = parts.netloc + parts.path
    if name in ("", "/"):
        return ""
    try:
        return check_name(name, "store name")
    except InvalidRef as error:
        raise InvalidURL(error.message) from None
