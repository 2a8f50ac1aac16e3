"""A whole backend over plain files: what the author of a simple engine writes, and nothing more.

A key is the hex of its bytes, cut into folders of 32 bytes; `!` ends a file's name and `+` a folder's, so that
names in order are keys in order. Every write is synced before it is acknowledged.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

from perdure._capabilities import SPEC_VERSION, Description, Support
from perdure.kit import KitBackend, Storage

WIDTH = 64


class FileStorage(Storage):
    def __init__(self, root: Path) -> None:
        self._root, self._spare = root / "objects", root / "spare"
        self._root.mkdir(parents=True, exist_ok=True)
        self._spare.mkdir(exist_ok=True)

    def _path(self, key: bytes) -> Path:
        text = key.hex()
        cuts = [text[at : at + WIDTH] for at in range(0, len(text), WIDTH)]
        return self._root.joinpath(*[cut + "+" for cut in cuts[:-1]], cuts[-1] + "!")

    def get(self, key: bytes) -> bytes | None:
        try:
            return self._path(key).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def range(self, start: bytes, end: bytes, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        for text in self._names(self._root, "", start.hex(), end.hex(), reverse):
            key = bytes.fromhex(text)
            value = self.get(key)
            if value is not None:
                yield key, value

    def _names(self, folder: Path, prefix: str, start: str, end: str, reverse: bool) -> Iterator[str]:
        for entry in sorted(os.listdir(folder), reverse=reverse):
            text = prefix + entry[:-1]
            if entry.endswith("!"):
                if start <= text < end:
                    yield text
            elif start[: len(text)] <= text < end:
                yield from self._names(folder / entry, text, start, end, reverse)

    @contextmanager
    def _written(self, path: Path, value: bytes) -> Iterator[Path]:
        path.parent.mkdir(parents=True, exist_ok=True)
        spare = self._spare / uuid4().hex
        with open(spare, "wb") as file:
            file.write(value)
            file.flush()
            os.fsync(file.fileno())
        try:
            yield spare
        finally:
            spare.unlink(missing_ok=True)
            folder = os.open(path.parent, os.O_RDONLY)
            os.fsync(folder)
            os.close(folder)

    def put_if_absent(self, key: bytes, value: bytes) -> bool:
        path = self._path(key)
        with self._written(path, value) as spare:
            try:
                os.link(spare, path)
            except FileExistsError:
                return False
        return True

    def delete(self, key: bytes) -> None:
        self._path(key).unlink(missing_ok=True)

    def compare_and_swap(self, key: bytes, old: bytes | None, new: bytes) -> bool:
        with open(self._spare / "lock", "wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if self.get(key) != old:
                return False
            path = self._path(key)
            with self._written(path, new) as spare:
                os.replace(spare, path)
        return True

    def close(self) -> None:
        """Every call opens and closes its own files."""


class Plugin:
    def describe(self) -> Description:
        able = ("persistent", "concurrent", "read_only", "compact", "purge", "namespaces")
        return Description("files", "1", SPEC_VERSION, "crash", ("core",), dict.fromkeys(able, Support.FULL))

    def open(self, url: str, namespace: str, mode: str) -> KitBackend:
        return KitBackend(FileStorage(Path(urlsplit(url).path)), namespace, mode=mode)
