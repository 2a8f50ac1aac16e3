"""Objects in a directory: created by a link, which is there once or not at all, and synced."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from perdure import IncompatibleStore, NotFound, PermissionDenied

from perdure_lancedb._errors import translate, translated
from perdure_lancedb._format import FORMAT, MARKER, check_format
from perdure_lancedb._objects import TABLES

__all__ = ["LocalObjects"]

#: Where objects are written before they get their name.
_DRAFTS = ".new"
#: Where LanceDB has a folder for each index.
_INDICES = "_indices"
#: The age in seconds from which a draft is one that a killed process left.
_FORGOTTEN = 3_600.0


class LocalObjects:
    """Objects in a directory, and LanceDB's tables beside them.

    Without obstore: its local store syncs nothing, and hangs in a forked process.
    """

    durable = True

    def __init__(self, directory: Path, *, create: bool) -> None:
        """Open the directory; with `create` for writing, made where it is missing.

        Raises:
            NotFound: There is no store, and none is to be made.
            IncompatibleStore: Something else, or a later format, is there.
            PermissionDenied, StorageError: The medium forbids it, or failed.
        """
        self.place = str(directory)
        self._root = self.place if self.place.endswith("/") else f"{self.place}/"
        self._kept: set[str] = set()  # folders that are there, and will be after a loss of power
        self._settled: dict[str, set[tuple[str, int, int, int]]] = {}
        self._lock = threading.Lock()
        with translated(self.place):
            found = self.read(MARKER)
            if found is None:
                self._check_empty(directory, create)
            else:
                check_format(found, self.place)
            if create:
                self._prepare(directory)
                check_format(self.read(MARKER), self.place)

    def _check_empty(self, directory: Path, create: bool) -> None:
        """See that a directory without a marker is none, or is empty."""
        try:
            others = set(os.listdir(directory)) - {_DRAFTS}
        except FileNotFoundError:
            others = set()
        except NotADirectoryError:
            raise IncompatibleStore(
                f"{directory} is a file, or lies beneath one; choose another path"
            ) from None
        if others and self.read(MARKER) is None:  # else another process has made it meanwhile
            raise IncompatibleStore(
                f"{directory} holds something else than a LanceDB store of perdure; choose an empty directory, or "
                "another path"
            )
        if not others and not create:
            raise NotFound(f"there is no store at {directory}; open it with mode 'rw' to create one")

    def _prepare(self, directory: Path) -> None:
        made = [path for path in (directory, *directory.parents) if not path.exists()]
        directory.mkdir(parents=True, exist_ok=True)
        if not os.access(directory, os.W_OK | os.X_OK):
            raise PermissionDenied(
                f"{directory} may not be written; open it with ?mode=ro, or check its owner"
            )
        for path in made:
            _sync(str(path.parent))
        if not made:
            with suppress(PermissionError):  # another process may have just made it
                _sync(str(directory.parent))
        drafts = directory / _DRAFTS
        drafts.mkdir(exist_ok=True)
        self._sweep(drafts)
        if self.read(MARKER) is None:
            self.create(MARKER, FORMAT)

    def _sweep(self, drafts: Path) -> None:
        """Remove what killed processes left."""
        oldest = time.time() - _FORGOTTEN
        with os.scandir(drafts) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):  # another process sweeps too
                    if entry.stat(follow_symlinks=False).st_mtime < oldest:
                        os.unlink(entry.path)

    def create(self, name: str, data: bytes) -> bool:
        """As `Objects` says: the object is on the disk, and its name too, before this returns True."""
        path = self._root + name
        folder = os.path.dirname(path)
        draft = f"{self._root}{_DRAFTS}/{uuid4().hex}"
        try:
            there = self.read(name)
            if there is None:
                there = self._create(path, folder, draft, data)
            if there != data:
                return False
            _sync(folder)
        except OSError as error:
            raise translate(error, self.place) from error
        return True

    def _create(self, path: str, folder: str, draft: str, data: bytes) -> bytes | None:
        """Write an object, and give it its name unless that is taken; what has the name then."""
        try:
            _write(draft, data)
            self._keep(folder)
            os.link(draft, path)
            return data
        except FileExistsError:
            # On a network file system, a link that was made may be told as one that was there.
            return self.read(path.removeprefix(self._root))
        finally:
            with suppress(FileNotFoundError):
                os.unlink(draft)

    def _keep(self, folder: str) -> None:
        """See that a folder is there for good. It may be another process that made it, and has not synced it yet."""
        if folder in self._kept:
            return
        os.makedirs(folder, exist_ok=True)
        above = folder
        while len(above) >= len(self._root):
            above = os.path.dirname(above)
            _sync(above)
        self._kept.add(folder)

    def read(self, name: str) -> bytes | None:
        """As `Objects` says."""
        try:
            descriptor = os.open(self._root + name, os.O_RDONLY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise translate(error, self.place) from error
        try:
            size = os.fstat(descriptor).st_size
            data = os.read(descriptor, size)
            while len(data) < size and (more := os.read(descriptor, size - len(data))):
                data += more
            return data
        except OSError as error:
            raise translate(error, self.place) from error
        finally:
            os.close(descriptor)

    def read_many(self, names: list[str]) -> list[bytes | None]:
        """As `Objects` says."""
        return [self.read(name) for name in names]

    def names(self, folder: str) -> list[str]:
        """As `Objects` says."""
        try:
            with os.scandir(self._root + folder) as entries:
                return sorted(entry.name for entry in entries if entry.is_file())
        except FileNotFoundError:
            return []
        except OSError as error:
            raise translate(error, self.place) from error

    def remove(self, names: Iterable[str]) -> None:
        """As `Objects` says."""
        folders = set()
        try:
            for name in names:
                path = self._root + name
                with suppress(FileNotFoundError):
                    os.unlink(path)
                    folders.add(os.path.dirname(path))
            for folder in folders:
                _sync(folder)
                if os.path.basename(os.path.dirname(folder)) == _INDICES:
                    with suppress(OSError):  # it has other files
                        os.rmdir(folder)
        except OSError as error:
            raise translate(error, self.place) from error

    def table(self, name: str) -> tuple[str, dict[str, str] | None]:
        """As `Objects` says."""
        return f"{self._root}{TABLES}/{name}.lance", None

    def files(self) -> dict[str, list[str]]:
        """As `Objects` says."""
        try:
            tables = [path.stem for path in Path(self._root, TABLES).glob("*.lance")]
        except OSError as error:
            raise translate(error, self.place) from error
        return {name: self._files(name) for name in tables}

    def _files(self, name: str) -> list[str]:
        found = os.walk(self.table(name)[0])
        return [f"{folder}/{file}".removeprefix(self._root) for folder, _, files in found for file in files]

    def settle(self, name: str) -> None:
        """As `Objects` says. LanceDB syncs nothing itself, and never writes to a file that has its name."""
        root = self.table(name)[0]
        with self._lock, translated(self.place):
            self._keep(self._root + TABLES)
            before, now = self._settled.get(name, set()), set()
            for folder, _, files in os.walk(root, topdown=False):
                for path in (folder, *(f"{folder}/{file}" for file in files)):
                    with suppress(FileNotFoundError):  # LanceDB removes files too
                        now.add(_mark(path))
            for path, *_ in now - before:
                with suppress(FileNotFoundError):
                    _sync(path)
            for folder in {os.path.dirname(path) for path, *_ in now - before}:
                with suppress(FileNotFoundError):
                    _sync(folder)
            self._settled[name] = now

    def close(self) -> None:
        """It holds nothing open."""


def _mark(path: str) -> tuple[str, int, int, int]:
    """What tells a file from a later one of that name. Of a folder only that it is there: what is in it has marks."""
    found = os.stat(path)
    if os.path.isdir(path):
        return path, found.st_ino, 0, 0
    return path, found.st_ino, found.st_size, found.st_mtime_ns


def _write(path: str, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
